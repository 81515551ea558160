//! Seeing a run: how to find out why a loop is slow.
//!
//! Attach a [`Timeline`] and print it. The loop stays as it is:
//!
//! ```
//! use pool_map::{PoolIterator, Timeline};
//!
//! let timeline = Timeline::new();
//! let lengths = ["a", "bc"].iter().pool_map(2, |word| word.len());
//! let lengths: Vec<usize> = lengths.observe(&timeline).collect();
//! print!("{timeline}");
//! # assert_eq!(lengths, [1, 2]);
//! ```
//!
//! The summaries below come from `cargo run --release --example seeing`, which contains the loops. Read a summary in this order:
//!
//! 1. Is the efficiency near 100 %? Then more workers may help.
//! 2. If not, where does the caller spend its time: in the source, or with the results?
//! 3. If neither, does one item take very long, or do all items take almost no time?
//!
//! The speed-up is the total time of all items divided by the time of the run. It compares the run with a sequential loop in which
//! each item takes as long as here. The efficiency is the speed-up divided by the number of workers. Items are
//! timed by wall clock: with more workers than free cores, an item that waits for a core counts as busy.
//!
//! # Nothing got faster
//!
//! If only one worker has items, or the header says `1 worker`, the call ran [in place](crate::guide::guarantees#which-thread-runs-it):
//! it was made on a worker of the same pool, or by a plain number on a worker of this crate, or threads could not start, or
//! `POOL_MAP_INLINE=1` is set. Parallelise the outer loop, or give the inner one a pool of its own.
//!
//! # Too few workers
//!
//! All workers are busy all the time. More workers help if there are cores for them, or if the items mostly wait for
//! something other than a core.
//!
//! ```text
//! 60 items in 304 ms on 2 workers: speed-up 1.99, efficiency 100 %
//! worker             items      busy      idle share
//! PoolWorker-1          30    303 ms   1.23 ms 100 %  ██████████████████████████████
//! PoolWorker-2          30    303 ms   1.43 ms 100 %  ██████████████████████████████
//! caller: 0 % in the source, 100 % waiting for results, 0 % with them
//! mean: 10.1 ms an item; slowest: item 26 (10.2 ms), item 25 (10.1 ms), item 28 (10.1 ms), …
//! ```
//!
//! # One giant item
//!
//! One worker is busy until the end while the others have nothing left, and the slowest item takes many times the mean. Start
//! it earlier (sort the source by size), or split it.
//!
//! ```text
//! 60 items in 422 ms on 4 workers: speed-up 2.13, efficiency 53 %
//! worker             items      busy      idle share
//! PoolWorker-3          15    152 ms    270 ms  36 %  ███████████···················
//! PoolWorker-4          13    421 ms    248 µs 100 %  ██████████████████████████████
//! PoolWorker-5          16    162 ms    260 ms  38 %  ████████████··················
//! PoolWorker-6          16    162 ms    260 ms  38 %  ████████████··················
//! caller: 0 % in the source, 100 % waiting for results, 0 % with them
//! mean: 14.9 ms an item; slowest: item 50 (300 ms), item 52 (10.2 ms), item 32 (10.2 ms), …
//! ```
//!
//! # A slow source
//!
//! The caller spends nearly all its time in the source. More workers do not help. Move work from the source into `f`, which
//! runs on the workers: pull paths and open the files in `f`, or pull lines and parse them in `f`.
//!
//! ```text
//! 60 items in 497 ms on 4 workers: speed-up 1.22, efficiency 31 %
//! worker             items      busy      idle share
//! PoolWorker-3          30    305 ms    191 ms  61 %  ██████████████████············
//! PoolWorker-4          29    293 ms    204 ms  59 %  ██████████████████············
//! PoolWorker-5           1   10.1 ms    487 ms   2 %  █·····························
//! + 1 worker without an item
//! caller: 98 % in the source, 2 % waiting for results, 0 % with them
//! mean: 10.1 ms an item; slowest: item 42 (12.6 ms), item 44 (10.2 ms), item 51 (10.1 ms), …
//! ```
//!
//! # A slow consumer
//!
//! The caller is busy with the results. Move as much of that as possible into `f`, and keep only what must happen in order.
//!
//! ```text
//! 60 items in 496 ms on 4 workers: speed-up 1.22, efficiency 31 %
//! worker             items      busy      idle share
//! PoolWorker-3          15    152 ms    345 ms  31 %  █████████·····················
//! PoolWorker-4          15    152 ms    345 ms  31 %  █████████·····················
//! PoolWorker-5          15    152 ms    345 ms  31 %  █████████·····················
//! PoolWorker-6          15    152 ms    345 ms  31 %  █████████·····················
//! caller: 0 % in the source, 2 % waiting for results, 98 % with them
//! mean: 10.1 ms an item; slowest: item 12 (10.2 ms), item 32 (10.2 ms), item 48 (10.2 ms), …
//! ```
//!
//! In a `for` loop, the workers and the body take turns ([why](crate::PoolIterator#which-methods-stream)). The caller partly
//! waits and partly handles results, and neither side is busy all the time. `for_each` lets them overlap.
//!
//! ```text
//! 60 items in 339 ms on 4 workers: speed-up 1.79, efficiency 45 %
//! worker             items      busy      idle share
//! PoolWorker-3          15    152 ms    187 ms  45 %  █████████████·················
//! PoolWorker-4          15    152 ms    187 ms  45 %  █████████████·················
//! PoolWorker-5          15    152 ms    187 ms  45 %  █████████████·················
//! PoolWorker-6          15    151 ms    188 ms  45 %  █████████████·················
//! caller: 0 % in the source, 45 % waiting for results, 55 % with them
//! mean: 10.1 ms an item; slowest: item 40 (10.2 ms), item 41 (10.1 ms), item 12 (10.1 ms), …
//! ```
//!
//! # Cheap items
//!
//! The mean is a few nanoseconds, the workers do hardly anything, and the caller waits: handing over an item takes longer
//! than `f`. Make items larger (`chunks` of a slice, whole files instead of lines), or stay with `map`.
//!
//! ```text
//! 200 000 items in 35.5 ms on 4 workers: speed-up 0.35, efficiency 9 %
//! worker             items      busy      idle share
//! PoolWorker-3      71 102   1.77 ms   33.7 ms   5 %  █·····························
//! PoolWorker-4      31 304    807 µs   34.7 ms   2 %  █·····························
//! PoolWorker-5      53 572   8.64 ms   26.9 ms  24 %  ███████·······················
//! PoolWorker-6      44 022   1.12 ms   34.4 ms   3 %  █·····························
//! caller: 1 % in the source, 82 % waiting for results, 17 % with them
//! mean: 61 ns an item; slowest: item 177185 (6.47 ms), item 12294 (843 µs), …
//! ```
//!
//! # Streams and tasks
//!
//! A stream that [works ahead](crate::PoolImap::observe) keeps its observer: pass an `Arc<Timeline>` or, in a
//! [scope](crate::scope()), a reference. A feeder thread pulls its source, so the summary has one more line:
//!
//! ```
//! use pool_map::{PoolIterator, Timeline};
//! use std::sync::Arc;
//!
//! let timeline = Arc::new(Timeline::new());
//! let lengths = ["a", "bc"].into_iter().pool_imap(2, str::len);
//! for length in lengths.observe(Arc::clone(&timeline)) {
//!     assert!(length < 3);
//! }
//! assert!(timeline.to_string().contains("\nfeeder: ")); // feeder: 2 % in the source
//! ```
//!
//! If the feeder spends nearly all its time in the source, the source is slow. If the caller spends it with the results, the
//! consumer is slow. The [observer of a pool](crate::PoolBuilder::observer) sees its [tasks](crate::Pool::spawn) too, each
//! as a call with one item.
//!
//! # In pictures
//!
//! [`write_svg`](crate::Timeline::write_svg) draws which worker ran which item and when; the gaps in a row are the idle time.
//! [`write_chrome_trace`](crate::Timeline::write_chrome_trace) writes the same for the Perfetto UI or the Firefox Profiler, where you
//! can zoom. [`write_joblog`](crate::Timeline::write_joblog) writes a table. `cargo run --release --example timeline -- DIR`
//! makes all three.
//!
//! # While it runs
//!
//! A timeline can be printed at any time, from another thread too. If a run does not end, [`Timeline::running`] lists the items
//! that are running, the oldest first, each with its worker and its start.
//!
//! There are two ways to show progress:
//!
//! - **By results delivered.** indicatif's `.progress()` works as it is, since a [`PoolMap`](crate::PoolMap) is an
//!   [`ExactSizeIterator`] if its source is one. The bar stands still while a slow item is next in order, then jumps
//!   over everything that finished meanwhile. Use it if what counts is what has been written. `.progress()` requests
//!   one result at a time, so the workers take turns with the loop. In [`consume`](crate::PoolMap::consume) they overlap:
//!
//!   ```text
//!   let results = paths.iter().pool_map(4, |path| resize(path));
//!   let count = paths.len() as u64;
//!   let sizes: Vec<u64> = results.consume(|results| results.progress_count(count).collect());
//!   ```
//!
//! - **By items finished**, in any order, with an [`Observer`]. This bar moves evenly, and is full slightly before the last
//!   result is delivered. Use it if what counts is the time left.
//!
//! `examples/progress.rs` has both bars, and uses [`set_line_sink`](crate::set_line_sink) to print the lines of
//! [`pool_println!`](crate::pool_println!) above them.
//!
//! # Logs
//!
//! - [`log_prefix`](crate::log_prefix()) is the worker and the time, for a logger's formatter. `examples/logger.rs` uses it with
//!   `env_logger`.
//! - With the feature `log`, traces of panics are also records with level `ERROR` and target `pool_map`.
//!   `PoolBuilder::traces_to_logger_only` keeps them off standard error.
//! - With the feature `tracing`, `f` runs in the span that was current where `pool_map` was called, and under the same subscriber,
//!   even one set by `with_default`. If a call is [named](crate::PoolMap::named) and the level `TRACE` is enabled, each item
//!   gets a span of its own: `item`, with the fields `call` and `index` and the target `pool_map`. `examples/spans.rs`
//!   shows span and worker.
//!
//! Neither feature installs a logger or a subscriber.
//!
//! [`Observer`]: crate::Observer
//! [`Timeline`]: crate::Timeline
//! [`Timeline::running`]: crate::Timeline::running
