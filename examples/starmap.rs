//! Tuples as arguments: `f(a, b)` for each `(a, b)`.

use pool_map::PoolIterator;

fn multiply(x: u32, y: u32) -> u32 {
    x * y
}

fn main() {
    let products: Vec<u32> = (0..8).zip(10..18).pool_starmap(4, multiply).collect();
    println!("{products:?}");
}
