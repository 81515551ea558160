//! What a panic looks like: item 0 divides by zero, its trace appears, and the same panic ends `main`.

use pool_map::PoolIterator;

fn divide(x: u32, y: u32) -> u32 {
    y / x
}

fn main() {
    let quotients: Vec<u32> = (0..8).zip(10..18).pool_map(4, |(x, y)| divide(x, y)).collect();
    println!("{quotients:?}"); // Not reached.
}
