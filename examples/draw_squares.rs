//! Draws the README's picture from a real run: the loop of `squares.rs` as it was, and beside it the same loop on four workers.
//!
//! ```text
//! cargo run --release --example draw_squares
//! ```
//!
//! Both run at the same time, on one time axis; they sleep, so neither takes anything from the other.

use std::fs::File;
use std::io;
use std::thread::{self, sleep};
use std::time::Duration;

use pool_map::{Pool, PoolIterator, Timeline};

fn square(x: u64) -> u64 {
    sleep(Duration::from_secs(1));
    x * x
}

fn main() -> io::Result<()> {
    let timeline = Timeline::new().titled("(0..8).map(square) beside (0..8).pool_map(4, square)");
    let loops = [("sequential", Pool::inline()), ("four workers", Pool::new(4).expect("four threads"))];
    thread::scope(|scope| {
        for (name, pool) in &loops {
            let timeline = &timeline;
            let squares = move || (0..8).pool_map(pool, square).named(*name).observe(timeline).collect::<Vec<_>>();
            let caller = thread::Builder::new().name((*name).to_owned()).spawn_scoped(scope, squares);
            caller.expect("a thread starts");
        }
    });
    print!("{timeline}");
    timeline.write_svg(File::create("examples/pictures/squares.svg")?)
}
