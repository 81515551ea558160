//! Works until it is done or Ctrl-C is pressed, and says what was done: items that run are let finish, none starts.

use pool_map::{CancelToken, PoolIterator, pool_println};
use std::time::Duration;

fn main() -> Result<(), ctrlc::Error> {
    let token = CancelToken::new();
    let stop = token.clone();
    ctrlc::set_handler(move || stop.cancel())?;

    let work = |x: u64| {
        pool_println!("Started: x={x}");
        std::thread::sleep(Duration::from_millis(500));
        x * x
    };
    let mut done = Vec::new();
    for square in (0..40).pool_imap(4, work).cancel_on(&token) {
        done.push(square);
    }
    let end = if token.is_cancelled() { "stopped" } else { "finished" };
    println!("{end} after {} of 40: {done:?}", done.len());
    Ok(())
}
