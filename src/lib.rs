//! Make a loop parallel by changing one word, and keep the order.
//!
//! ```
//! use pool_map::PoolIterator;
//!
//! let squares: Vec<u64> = (0..8).pool_map(4, |x| x * x).collect(); // was: (0..8).map(|x| x * x).collect()
//! assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36, 49]);
//! ```
//!
//! **`it.pool_map(n, f)` yields exactly what `it.map(f)` yields, in the same order.** `f` runs on `n` worker threads named
//! `PoolWorker-1` to `PoolWorker-n`; the iterator is pulled, and the results are consumed, on your own thread. So `it` may be
//! any iterator (lines, files, database rows, one that holds an `Rc`), and `f`, the items and the results may borrow from
//! the stack. When `f` panics, a trace names the item, the worker and the place, and then the same panic goes on in your
//! thread.
//!
//! # From the top
//!
//! - [`PoolIterator`] adds the methods to every iterator: [`pool_map`], [`pool_starmap`] (tuples as arguments),
//!   [`pool_map_init`] (a state for each worker) and [`pool_for_each`] (the loop body itself).
//! - Two more run ahead in the background while the body of a loop runs: [`pool_imap`], which keeps the order, and
//!   [`pool_imap_unordered`]. They own their data and return a [`PoolImap`], with the same options; [`scope()`] has the same for
//!   borrowed data.
//! - [`PoolParallelIterator`] has the first four for data that rayon can split, such as `vec.par_iter()`: the same contract,
//!   without pulling each item on your thread. Three of them return a [`PoolParMap`].
//! - [`Pool::spawn`] runs one closure; the [`Task`] waits for it, or is awaited.
//! - The first three return a [`PoolMap`], an ordinary lazy [`Iterator`] with a few options: [`chunk_size`](PoolMap::chunk_size),
//!   [`max_in_flight`](PoolMap::max_in_flight), [`named`](PoolMap::named), [`trace`](PoolMap::trace),
//!   [`catch_panics`](PoolMap::catch_panics), [`cancel_on`](PoolMap::cancel_on), [`observe`](PoolMap::observe).
//! - The first argument of the methods on iterators, and of [`scope()`], is a number of threads, leased from a process-wide stock
//!   of idle ones, or a [`Pool`] of your own ([`Pool::new`], [`Pool::builder`], [`Pool::global`]).
//! - [`pool_println!`] prints lines that begin with worker and time; [`prefix`] is the same for your logger.
//! - A [`Timeline`] records what each worker did, and sums it up, draws it, or writes it for other tools; [`Observer`] is for
//!   recorders of your own. [Seeing a run](guide::seeing) goes from "it is slow" to the cause.
//! - A [`CancelToken`] stops calls, streams and tasks from anywhere.
//! - [`TaskPanic`] is what is known of a panic; [`traced`] gives any closure, on any thread, the same trace.
//!
//! [`pool_map`]: PoolIterator::pool_map
//! [`pool_starmap`]: PoolIterator::pool_starmap
//! [`pool_map_init`]: PoolIterator::pool_map_init
//! [`pool_for_each`]: PoolIterator::pool_for_each
//! [`pool_imap`]: PoolIterator::pool_imap
//! [`pool_imap_unordered`]: PoolIterator::pool_imap_unordered
//!
//! Those who know Python's pools find each of its names in [Coming from Python](guide::coming_from_python).
//!
//! # The contract
//!
//! Each promise is a module of `tests/it`, in this order.
//!
//!  1. **Same as `map`.** The same items in the same order through every method of [`Iterator`] that takes them from the front,
//!     in any mix; [`size_hint`](Iterator::size_hint) is right at every step. What `map` has and `pool_map` has not is
//!     [listed](PoolIterator#what-map-has-and-pool_map-has-not), with its cure. Items read ahead and not delivered are gone from
//!     a source passed by [`by_ref`](Iterator::by_ref).
//!  2. **Only `f` leaves your thread.** The source is pulled and the results are consumed on the caller's thread, so the source
//!     need not be [`Send`], and the side effects of both stay in sequence. Nothing has to be `'static`.
//!  3. **Lazy.** Nothing is pulled and no thread starts before the first result is asked for.
//!  4. **Bounded.** Items pulled and not yet delivered never exceed [a limit](PoolMap::max_in_flight). An infinite source and a
//!     slow consumer run in constant memory.
//!  5. **Once.** `f` runs at most once for each item pulled and exactly once for each result delivered; every item and every
//!     result is dropped exactly once, on every path.
//!  6. **The sequential failure.** If `f` panics, every result before that item is delivered first, then the original payload
//!     of the lowest failing item is raised on the caller's thread, always. A panic of the source takes its place in the same
//!     order. `collect::<Result<_, _>>()` returns the first `Err` in order, and stops. After a panic was raised, the iterator
//!     is over.
//!  7. **Told before raised.** Before a panic is raised again its trace is on standard error: the worker, the index of the
//!     item, where `pool_map` was called, and your own frames. A panic that is never reached (a `break` before it) leaves one
//!     line when the iterator is dropped.
//!  8. **Stops.** Once a panic is caught no item after the lowest failing one starts, but for one on each worker that is already past
//!     the check; the same once the consumer has seen an `Err`, breaks, or drops.
//!  9. **Nothing outlives the call.** When a method returns or unwinds, no job of it is running. Forgetting the iterator leaks
//!     memory and its handle of a [`Pool`], and never leaves a borrow in use or a worker busy.
//! 10. **The pool survives** any panic, with the same threads and names. Dropping the last handle of a pool joins its threads.
//! 11. **No deadlock by nesting.** Inside `f`, at any depth, on pools of any size, with rayon's own parallelism in between, calls
//!     complete. [How](#nesting).
//! 12. **Works without threads.** Where threads cannot start (a limit is reached, after `fork`), a call runs on the caller's
//!     thread; [`Pool::new`] says why. What ran in the background at the fork is [the parent's](Pool).
//! 13. **A good neighbour.** The panic hook is chained, acts inside our jobs only, never panics, and on Unix neither it nor a
//!     worker's log line takes a lock that you could hold.
//! 14. **No unsafe.** `#![forbid(unsafe_code)]`. None of the types of our dependencies is in the public API, but for the traits of
//!     rayon that [`PoolParallelIterator`] extends.
//!
//! For the streams that run ahead, these are different, and 1 and 6 hold without the order for [`pool_imap_unordered`]:
//!
//! | promise | [`pool_imap`] | [`scope()`] |
//! |---|---|---|
//! | 2 | the source is pulled on a feeder thread; everything is `'static` and [`Send`] | the source is pulled on a feeder thread; everything is [`Send`], and may borrow from outside the scope |
//! | 8 | nothing more starts from the drop on, which never waits for a source that blocks: the feeder ends when the source next returns | the same; leaving the scope waits for the source's `next` in progress |
//! | 9 | items that run end on their own; the end of their pool waits for them. A forgotten stream keeps the threads it has leased, or its handle of a [`Pool`], and its feeder, unless the source has ended | nothing runs after the end of the scope |
//! | live | an item that was pulled is worked on and delivered without waiting for the next one, as soon as its chunk and all before are done | the same |
//!
//! `pool_map` is not live in that sense: it pulls on your thread.
//!
//! # What it costs
//!
//! An item of `f` should be worth sharing. On two cores, `collect` over a plain range reached 1.9 times the speed of the
//! sequential loop from 1 µs an item on, 1.3 times at 5 ns, and lost below a few nanoseconds (`cargo bench -p pool-map-benches --bench cost`). A
//! call as such costs what waking sleeping threads costs: 31 to 38 µs there for 8 trivial items, and 7 µs where the next call
//! comes at once (`cargo bench -p pool-map-benches --bench small`).
//!
//! # Which methods stream
//!
//! Streaming methods keep the workers busy while the results are consumed. The others take turns: a batch of items is run to
//! its end, its results are delivered, then the next batch is run. That is the price of borrowing: between two calls
//! of `next` nothing may be in use. Batches grow until the workers are busy nine tenths of the time.
//!
//! | how | methods |
//! |---|---|
//! | streams | `collect`, `for_each`, `fold`, `count`, `last`, `sum` and `product` (but not into a `Result` or an `Option`), `max`, `min` and their `_by` kin, `reduce`, `unzip`, `partition`, and these after `filter`, `map`, `enumerate`, `inspect`, `chain`…, but for `collect` |
//! | batches | `next`, so `for` loops; `zip`, `take`, `skip`, `peekable`, `step_by`, `nth`, `find`, `any`, `all`, `position`, `try_for_each`, `try_fold`, `eq`, `cmp`; `sum` and `product` into a `Result` or an `Option`; `Vec::extend`, and `collect` after another adaptor |
//!
//! Where the body of the loop is heavy itself, use `for_each` in place of `for`, or a stream that runs ahead: then it overlaps
//! with the workers. 200 items of 4 ms on 4 workers and a body of 1 ms (`cargo bench -p pool-map-benches --bench streams`), as a multiple of the
//! body alone:
//!
//! | `pool_map`, `for` | `pool_map`, `for_each` | [`pool_imap`], `for` | [`scope()`], `for` |
//! |---|---|---|---|
//! | 1.97 | 1.02 | 1.03 | 1.02 |
//!
//! # Nesting
//!
//! A call made on a worker, of any pool of this crate or of rayon, runs in place: on that worker, in order, like `map`. So
//! parallelise the outer loop; the inner ones follow. (A worker that waited for others would have rayon run an unrelated job on
//! top of a half-run `f`, under the locks it holds.) A worker that waits for a [`Task`] or for the next result of a
//! [`PoolImap`] runs what has not started, and waits only for what runs elsewhere. One thing cannot be helped: an `f` that
//! joins a plain thread, which itself waits for a call on the same pool while all its workers do the same.
//!
//! # When not to use it
//!
//! - `f` takes nanoseconds and the order does not matter: rayon's own `par_iter` does less. Where it does matter and the data is a
//!   slice or a range, there is [`collect_vec`](PoolParMap::collect_vec).
//! - Thousands of sockets that mostly wait: that is what async is for. A hundred are fine: `pool_map(100, fetch)`.
//! - The cores of one machine are too few: [More than one machine](guide::more_machines) has what to do then.
//!
//! # Features
//!
//! None is on by default, and none sets up a logger or a subscriber.
//!
//! - `tracing`: `f` runs in the caller's span, under the caller's subscriber.
//! - `log`: traces of panics go to the program's logger, too. [More of both](guide::seeing#logs).
//!
//! # Panics that abort
//!
//! With `panic = "abort"` no panic can be caught: the trace is printed on the worker, and the process ends. A panic inside a
//! `Drop` that runs while another panic unwinds ends the process too; both traces are printed first.
#![deny(unsafe_code)]
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

/// The code in the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use crate::adaptors::imap::PoolImap;
pub use crate::adaptors::map::PoolMap;
pub use crate::adaptors::par::{PoolParMap, PoolParallelIterator, Results};
pub use crate::adaptors::scope::{Scope, scope};
pub use crate::adaptors::task::Task;
pub use crate::adaptors::types;
pub use crate::base::current_worker::Worker;
pub use crate::engine::star::StarFn;
pub use crate::engine::stop::CancelToken;
pub use crate::iter::PoolIterator;
pub use crate::log::{Prefix, clear_line_sink, prefix, set_line_sink};
pub use crate::observe::{CallInfo, IntoObserver, Observer, Outcome, RunningTask, TaskInfo, TaskStart, Timeline};
pub use crate::panics::text::{Frame, Trace};
pub use crate::panics::{TaskPanic, traced};
pub use crate::threads::builder::PoolBuilder;
pub use crate::threads::error::PoolError;
pub use crate::threads::lease::IntoPool;
pub use crate::threads::pool::Pool;

#[doc(hidden)]
pub use crate::log::print_line as __print_line;
