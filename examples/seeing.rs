//! The runs behind the page "Seeing a run": each has another cause for being slow, and shows it in its summary.
//!
//! ```text
//! cargo run --release --example seeing
//! ```
//!
//! The work is sleeping, so the figures are the same on a machine with few cores.

use std::thread::sleep;
use std::time::Duration;

use pool_map::{PoolIterator, Timeline};

/// `f` for so many milliseconds.
fn work(millis: u64) {
    sleep(Duration::from_millis(millis));
}

fn show(title: &str, run: impl FnOnce(&Timeline)) {
    let timeline = Timeline::new();
    run(&timeline);
    println!("{title}\n\n{timeline}");
}

fn main() {
    show("too few workers", |timeline| {
        (0..60).pool_map(2, |_| work(10)).observe(timeline).for_each(drop);
    });
    show("one giant item", |timeline| {
        (0..60).pool_map(4, |x| work(if x == 50 { 300 } else { 10 })).observe(timeline).for_each(drop);
    });
    show("a slow source", |timeline| {
        let source = (0..60).inspect(|_| work(8));
        source.pool_map(4, |_| work(10)).observe(timeline).for_each(drop);
    });
    show("a slow consumer", |timeline| {
        (0..60).pool_map(4, |_| work(10)).observe(timeline).for_each(|()| work(8));
    });
    show("a `for` loop with a slow body", |timeline| {
        for () in (0..60).pool_map(4, |_| work(10)).observe(timeline) {
            work(3);
        }
    });
    show("cheap items", |timeline| {
        let sum: u64 = (0..200_000).pool_map(4, |x: u64| x * x).observe(timeline).sum();
        assert_eq!(sum, 2_666_646_666_700_000);
    });
}
