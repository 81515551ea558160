//! Seeing a run: from "it is slow" to the cause.
//!
//! Attach a [`Timeline`] and print it. It changes nothing in the loop:
//!
//! ```
//! use pool_map::{PoolIterator, Timeline};
//!
//! let timeline = Timeline::new();
//! let lengths: Vec<usize> = ["a", "bc"].iter().pool_map(2, |word| word.len()).observe(&timeline).collect();
//! print!("{timeline}");
//! # assert_eq!(lengths, [1, 2]);
//! ```
//!
//! The summaries below are those of `cargo run --release --example seeing`, which has the loops. Read them in this order: is the
//! efficiency near 100 %? Then the workers are what there is too little of. If not, what does the caller do: does it wait for
//! the source, or for whatever takes the results? If neither, are there items that take long, or do none take any time at all?
//!
//! The speed-up is the time of all items over the time of the run, so what a loop over the same items would have taken,
//! had they taken as long there. The efficiency is the speed-up over the number of workers. Items are timed by the clock on
//! the wall: with more workers than free cores, an item that waits for a core counts as busy.
//!
//! # Too few workers
//!
//! Everyone is busy all of the time. More workers help, as long as there are cores for them, or as the items wait for
//! something else than a core.
//!
//! ```text
//! 60 items in 304 ms on 2 workers: speed-up 1.99, efficiency 100 %
//! worker             items      busy      idle share
//! PoolWorker-1          30    303 ms   1.23 ms 100 %  ██████████████████████████████
//! PoolWorker-2          30    303 ms   1.43 ms 100 %  ██████████████████████████████
//! caller: 0 % in the source, 100 % waiting for results, 0 % with them
//! mean: 10.1 ms an item; slowest: item 26 (10.2 ms), item 25 (10.1 ms), item 28 (10.1 ms), item 47 (10.1 ms), item 27 (10.1 ms)
//! ```
//!
//! # One giant item
//!
//! One worker is busy to the end, the others have nothing left; the slowest item takes many times the mean. Let it begin
//! earlier (sort the source by size), or split it.
//!
//! ```text
//! 60 items in 422 ms on 4 workers: speed-up 2.13, efficiency 53 %
//! worker             items      busy      idle share
//! PoolWorker-3          15    152 ms    270 ms  36 %  ███████████···················
//! PoolWorker-4          13    421 ms    248 µs 100 %  ██████████████████████████████
//! PoolWorker-5          16    162 ms    260 ms  38 %  ████████████··················
//! PoolWorker-6          16    162 ms    260 ms  38 %  ████████████··················
//! caller: 0 % in the source, 100 % waiting for results, 0 % with them
//! mean: 14.9 ms an item; slowest: item 50 (300 ms), item 52 (10.2 ms), item 32 (10.2 ms), item 53 (10.2 ms), item 33 (10.1 ms)
//! ```
//!
//! # A slow source
//!
//! The caller is in the source nearly all of the time. More workers do not help; what may is to move work from the source into
//! `f`, which runs on the workers: pull paths and open the files there, pull lines and parse them there.
//!
//! ```text
//! 60 items in 497 ms on 4 workers: speed-up 1.22, efficiency 31 %
//! worker             items      busy      idle share
//! PoolWorker-3          30    305 ms    191 ms  61 %  ██████████████████············
//! PoolWorker-4          29    293 ms    204 ms  59 %  ██████████████████············
//! PoolWorker-5           1   10.1 ms    487 ms   2 %  █·····························
//! + 1 worker without an item
//! caller: 98 % in the source, 2 % waiting for results, 0 % with them
//! mean: 10.1 ms an item; slowest: item 42 (12.6 ms), item 44 (10.2 ms), item 51 (10.1 ms), item 0 (10.1 ms), item 59 (10.1 ms)
//! ```
//!
//! # A slow consumer
//!
//! The caller is busy with the results. Move what it does with each of them into `f`, and leave what has to be in order.
//!
//! ```text
//! 60 items in 496 ms on 4 workers: speed-up 1.22, efficiency 31 %
//! worker             items      busy      idle share
//! PoolWorker-3          15    152 ms    345 ms  31 %  █████████·····················
//! PoolWorker-4          15    152 ms    345 ms  31 %  █████████·····················
//! PoolWorker-5          15    152 ms    345 ms  31 %  █████████·····················
//! PoolWorker-6          15    152 ms    345 ms  31 %  █████████·····················
//! caller: 0 % in the source, 2 % waiting for results, 98 % with them
//! mean: 10.1 ms an item; slowest: item 12 (10.2 ms), item 32 (10.2 ms), item 48 (10.2 ms), item 40 (10.2 ms), item 13 (10.2 ms)
//! ```
//!
//! Where the loop is a `for` loop, workers and body take turns ([why](crate::PoolIterator#which-methods-stream)): the caller is partly
//! waiting, partly with the results, and neither is busy all of the time. `for_each` lets them overlap.
//!
//! ```text
//! 60 items in 339 ms on 4 workers: speed-up 1.79, efficiency 45 %
//! worker             items      busy      idle share
//! PoolWorker-3          15    152 ms    187 ms  45 %  █████████████·················
//! PoolWorker-4          15    152 ms    187 ms  45 %  █████████████·················
//! PoolWorker-5          15    152 ms    187 ms  45 %  █████████████·················
//! PoolWorker-6          15    151 ms    188 ms  45 %  █████████████·················
//! caller: 0 % in the source, 45 % waiting for results, 55 % with them
//! mean: 10.1 ms an item; slowest: item 40 (10.2 ms), item 41 (10.1 ms), item 12 (10.1 ms), item 52 (10.1 ms), item 32 (10.1 ms)
//! ```
//!
//! # Cheap items
//!
//! The mean is some nanoseconds, the workers hardly do anything, and the caller waits: handing an item over takes longer
//! than `f`. Give each item more to do (`chunks` of a slice, whole files in place of lines), or keep `map`.
//!
//! ```text
//! 200 000 items in 35.5 ms on 4 workers: speed-up 0.35, efficiency 9 %
//! worker             items      busy      idle share
//! PoolWorker-3      71 102   1.77 ms   33.7 ms   5 %  █·····························
//! PoolWorker-4      31 304    807 µs   34.7 ms   2 %  █·····························
//! PoolWorker-5      53 572   8.64 ms   26.9 ms  24 %  ███████·······················
//! PoolWorker-6      44 022   1.12 ms   34.4 ms   3 %  █·····························
//! caller: 1 % in the source, 82 % waiting for results, 17 % with them
//! mean: 61 ns an item; slowest: item 177185 (6.47 ms), item 12294 (843 µs), item 122000 (24.2 µs), item 58396 (15.9 µs), item 22406 (15.8 µs)
//! ```
//!
//! # Streams and tasks
//!
//! A stream that [runs ahead](crate::PoolImap::observe) keeps its observer: give it an `Arc<Timeline>` or, in a
//! [scope](crate::scope()), a reference. Its source is pulled by a feeder, so the summary has a line more:
//!
//! ```
//! use pool_map::{PoolIterator, Timeline};
//! use std::sync::Arc;
//!
//! let timeline = Arc::new(Timeline::new());
//! for length in ["a", "bc"].into_iter().pool_imap(2, str::len).observe(Arc::clone(&timeline)) {
//!     assert!(length < 3);
//! }
//! assert!(timeline.to_string().contains("\nfeeder: ")); // feeder: 2 % in the source
//! ```
//!
//! Where the feeder is in the source nearly all of the time, the source is slow; where the caller is with the results, the consumer is.
//! [Tasks](crate::Pool::spawn) are told to the [observer of their pool](crate::PoolBuilder::observer), each as a call of one item.
//!
//! # In pictures
//!
//! [`write_svg`](crate::Timeline::write_svg) draws who ran which item when; the gaps in a row are what the summary calls idle.
//! [`write_chrome_trace`](crate::Timeline::write_chrome_trace) is the same to zoom into, in the Perfetto UI or the Firefox Profiler, and
//! [`write_joblog`](crate::Timeline::write_joblog) a table. `cargo run --release --example timeline -- DIR` makes all three.
//!
//! # While it runs
//!
//! A timeline can be printed at any time. Where a run does not end, [`Timeline::running`] lists the items that run now, the oldest
//! first, each with its worker and its start. Ask from another thread.
//!
//! There are two truths about progress, and a bar shows one of them. A bar over the results (indicatif's `.progress()` works as it
//! is, since a [`PoolMap`](crate::PoolMap) is an [`ExactSizeIterator`] where its source is one) shows how far the *order* has
//! come: it stands still while a slow item is at the front of the line, though the workers go on, and then jumps over all that was
//! finished meanwhile. A bar in an [`Observer`] shows how many items are *done*, in whatever order: it moves evenly, and is
//! full a little before the last result is out. Show the first where what counts is what has been written, the second where what
//! counts is how long it will take. `.progress()` asks for one result after the other, so the workers take turns with the
//! loop; to keep them streaming, advance the bar inside `for_each`. `examples/progress.rs` has both bars, and
//! [`set_line_sink`](crate::set_line_sink) to put the lines of [`pool_println!`](crate::pool_println!) above them.
//!
//! # Logs
//!
//! - [`prefix`](crate::prefix()) is the worker and the time, for the formatter of a logger: `examples/logger.rs` has it with
//!   `env_logger`.
//! - With the feature `log`, traces of panics are also records of level `ERROR` and target `pool_map`;
//!   `PoolBuilder::traces_to_logger_only` keeps them from standard error.
//! - With the feature `tracing`, `f` runs in the span that was current where `pool_map` was called, under the same subscriber, be it
//!   one set by `with_default`. A call that is [named](crate::PoolMap::named) gives each item a span of its own, `item` with the
//!   fields `call` and `index` and the target `pool_map`, where the level `TRACE` is wanted. `examples/spans.rs` shows span and worker.
//!
//! Neither feature sets up a logger or a subscriber.
//!
//! [`Observer`]: crate::Observer
//! [`Timeline`]: crate::Timeline
//! [`Timeline::running`]: crate::Timeline::running
