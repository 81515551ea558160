//! Make a loop parallel by changing one word, and keep the order of its results.
//!
//! ```
//! use pool_map::PoolIterator;
//!
//! let squares: Vec<u64> = (0..8).pool_map(4, |x| x * x).collect(); // was: .map(|x| x * x)
//! assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36, 49]);
//!
//! for (word, length) in ["so", "much"].iter().pool_map(4, |word| (word, word.len())) {
//!     println!("{word} has {length} letters"); // still a `for` loop, still in order
//! }
//! ```
//!
//! | you want | use |
//! |---|---|
//! | the results in a `Vec`, a sum, `for_each` | [`pool_map`](PoolIterator::pool_map) |
//! | only side effects | [`pool_for_each`](PoolIterator::pool_for_each); if it can fail, [`pool_try_for_each`](PoolIterator::pool_try_for_each) |
//! | `filter`, `flatten`, `find`, a progress bar or `?` between the workers and you | [`pool_map`](PoolIterator::pool_map), then [`consume`](PoolMap::consume) |
//! | a `for` loop with a heavy body, a source that pauses | [`pool_imap`](PoolIterator::pool_imap); with borrowed data, [`scope`](scope()) |
//! | results in any order, or any first hit | [`pool_imap_unordered`](PoolIterator::pool_imap_unordered) |
//! | a buffer or a connection for each worker | [`pool_map_init`](PoolIterator::pool_map_init) |
//! | data in memory, items under 100 ns | [`par_iter().pool_map`](PoolParallelIterator) |
//! | one closure in the background, or from async code | [`Pool::spawn`]; with borrowed data, [`Scope::spawn`] |
//! | to see what is slow, to stop early, to log | [`Timeline`], [`CancelToken`], [`pool_println!`] |
//!
//! `f` runs on worker threads named `PoolWorker-1` to `PoolWorker-4`. Your own thread pulls the iterator and takes the results,
//! so any iterator works, `Send` or not, and everything may borrow from the stack. If `f` panics, you see where, and then the
//! same panic continues on your thread:
//!
//! ```text
//! [TRACE:PoolWorker-2] item 0 panicked at examples/trace.rs:6:5: attempt to divide by zero
//! [TRACE:PoolWorker-2]   in pool_map called at examples/trace.rs:10:50, on thread 'main'
//! [TRACE:PoolWorker-2]   0: trace::divide                 at examples/trace.rs:6:5
//! [TRACE:PoolWorker-2]   1: trace::main::{{closure}}      at examples/trace.rs:10:71
//! [TRACE:PoolWorker-2]   + 65 runtime frames (RUST_BACKTRACE=full shows them)
//! ```
//!
//! # What it costs
//!
//! On two cores, `collect` was 1.9 times as fast as the sequential loop from 1 µs per item on, 1.3 times at 5 ns, and slower
//! below a few nanoseconds (bench `cost`). The fixed cost of a call is waking its threads: for 8 trivial items 31 to 38 µs, or
//! 7 µs if the next call follows at once (bench `small`).
//!
//! # When not to use it
//!
//! - `f` takes nanoseconds and the order does not matter: rayon's own `par_iter` does less.
//! - Thousands of sockets that mostly wait: use async. A hundred are fine: `pool_map(100, fetch)`.
//! - One machine has too few cores: see [More than one machine](guide::more_machines).
//!
//! # More
//!
//! [Promises](guide::guarantees), [nesting](guide::guarantees#nesting), [recipes](guide::recipes), [why it is
//! slow](guide::seeing), [from rayon or channels](guide::coming_from_rayon), [from Python](guide::coming_from_python).
//!
//! # Features
//!
//! - `backtrace` (default): traces show stack frames. Without it they end after the two header lines.
//! - `chrono` (default): log lines show the local time. Without it, the seconds since the first log line.
//! - [`tracing`, `log`](guide::seeing#logs): the caller's span in `f`; traces in the program's log. `futures`: [`poll_next`](PoolImap::poll_next).
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc(test(attr(deny(warnings))))]

// The layers, the top first: a folder imports only from those below it.
mod iter;
mod adaptors;
mod engine;
mod threads;
mod observe;
mod panics;
mod log;
mod base;
// End of the layers. Nothing imports these two: pages of documentation, and what only tests use.
pub mod guide;
#[cfg(any(test, doctest))]
mod testing;

// Every `#[test]` has a time limit.
#[cfg(test)]
#[macro_use]
extern crate watched;
#[cfg(test)]
use crate::testing::watch;

/// The code in the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use crate::adaptors::imap::{NotReady, PoolImap};
pub use crate::adaptors::map::PoolMap;
pub use crate::adaptors::par::{PoolParMap, PoolParallelIterator};
pub use crate::adaptors::results::PoolResults;
pub use crate::adaptors::scope::{Scope, scope};
pub use crate::adaptors::scoped_task::ScopedTask;
#[cfg(feature = "futures")]
pub use crate::adaptors::stream::PoolStream;
pub use crate::adaptors::task::{AsCompleted, Task, as_completed};
pub use crate::adaptors::types;
pub use crate::base::current_worker::Worker;
pub use crate::engine::star::StarFn;
pub use crate::engine::stop::CancelToken;
pub use crate::iter::PoolIterator;
pub use crate::log::{LogPrefix, clear_line_sink, log_prefix, set_line_sink};
pub use crate::observe::{CallInfo, IntoObserver, Observer, RunningTask, TaskInfo, TaskOutcome, TaskStart, Timeline};
pub use crate::panics::text::{Frame, TraceLevel};
pub use crate::panics::{PanicKind, TaskPanic, traced};
pub use crate::threads::builder::PoolBuilder;
pub use crate::threads::error::PoolError;
pub use crate::threads::lease::{Cores, IntoPool};
pub use crate::threads::pool::Pool;

#[doc(hidden)]
pub use crate::log::print_line as __print_line;
