//! The caller's span on the workers: what `f` logs lies in it, and the name of the worker stands beside.
//!
//! ```text
//! cargo run --example spans --features tracing
//! ```

use std::thread::sleep;
use std::time::Duration;

use pool_map::PoolIterator;
use tracing_subscriber::fmt;

fn main() {
    fmt().with_max_level(tracing::Level::INFO).with_thread_names(true).with_target(false).without_time().init();

    for batch in 0..2 {
        let span = tracing::info_span!("batch", batch);
        let doubled: u32 = span.in_scope(|| (0..4).pool_map(2, double).sum());
        tracing::info!(doubled, "done");
    }
}

fn double(x: u32) -> u32 {
    tracing::info!(x, "doubling");
    sleep(Duration::from_millis(50)); // Long enough for both workers to take part.
    2 * x
}
