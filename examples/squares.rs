//! Eight slow squares on four workers: two seconds, not eight.

use std::thread::sleep;
use std::time::Duration;

use pool_map::{PoolIterator, pool_println};

fn square(x: u64) -> u64 {
    pool_println!("Started: x={x}");
    sleep(Duration::from_secs(1));
    pool_println!("Ended : x={x}");
    x * x
}

fn main() {
    let squares: Vec<u64> = (0..8).pool_map(4, square).collect(); // was: (0..8).map(square).collect()
    println!("{squares:?}");
}
