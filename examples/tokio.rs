//! Rows come from a channel, their checksums go out in order, and the runtime goes on meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use futures_util::StreamExt;
use pool_map::PoolIterator;

/// Work for a processor, which would hold up all other tasks of the runtime.
fn checksum(row: String) -> (String, u32) {
    let sum = (0..200_000).fold(0x811c_9dc5_u32, |sum, _| {
        row.bytes().fold(sum, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    });
    (row, sum)
}

static TURNS: AtomicUsize = AtomicUsize::new(0);

async fn run() {
    let (rows, source) = mpsc::channel();
    let writer = tokio::spawn(async move {
        for number in 0..8 {
            rows.send(format!("row {number}")).expect("the stream listens");
            tokio::task::yield_now().await;
        }
    });
    let others = tokio::spawn(async {
        loop {
            TURNS.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });

    // The feeder waits for the next row on a thread of its own; here nothing blocks.
    let mut sums = source.into_iter().pool_imap(2, checksum).into_stream();
    while let Some((row, sum)) = sums.next().await {
        println!("{row}: {sum:08x}");
    }
    writer.await.expect("no panic");
    others.abort();
    println!("another task had its turn meanwhile: {}", TURNS.load(Ordering::Relaxed) > 8);
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    runtime.block_on(run());
}
