//! `draw_squares [FILE]`: draws the README's picture from a real run, the loop of `squares.rs` before and after. Without FILE, it
//! writes `target/squares.svg`. Both loops run at the same time, on one time axis; they sleep, so neither slows the other down.
//!
//! ```text
//! cargo run --release --example draw_squares
//! ```

use std::fs::{self, File};
use std::thread::{self, sleep};
use std::time::Duration;
use std::{env, io};

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
    let file = env::args_os().nth(1);
    if file.is_none() {
        fs::create_dir_all("target")?;
    }
    timeline.write_svg(File::create(file.unwrap_or_else(|| "target/squares.svg".into()))?)
}
