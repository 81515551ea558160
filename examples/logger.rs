//! Log lines and traces through `env_logger`, each after the worker and the time.
//!
//! ```text
//! cargo run --example logger --features log
//! ```

use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use pool_map::{Pool, PoolIterator};

fn main() {
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Info)
        .format(|out, record| writeln!(out, "{} {} {}", pool_map::log_prefix(), record.level(), record.args()))
        .init();

    // Without the switch the trace would be on standard error a second time, where env_logger writes, too.
    let pool = Pool::builder().threads(2).traces_to_logger_only().build().expect("two threads start");
    let ratio = |x: u32| {
        log::info!("x={x}");
        sleep(Duration::from_millis(50)); // Long enough for both workers to take part.
        12 / x
    };
    let ratios: Vec<u32> = [3, 2, 1, 0].into_iter().pool_map(&pool, ratio).collect();
    println!("{ratios:?}"); // Not reached.
}
