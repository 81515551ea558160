//! What `pool_map` guarantees: sixteen promises, and the limits of each.
//!
//! Every promise has its tests in `tests/it`, in this order. They hold for [`pool_map`], [`pool_starmap`], [`pool_map_init`],
//! [`pool_for_each`] and the methods of [`PoolParallelIterator`]. [`pool_imap`], [`pool_imap_unordered`] and
//! [`scope()`](crate::scope()) differ in [a few of them](#streams).
//!
//! # The promises
//!
//!  1. **Same as `map`.** `it.pool_map(n, f)` yields what `it.map(f)` yields, in the same order, through every method of
//!     [`Iterator`] that takes items from the front, in any mix. [`size_hint`](Iterator::size_hint) is right at every step.
//!     [Differences from `map`](crate::PoolIterator#differences-from-map) lists what is missing, with workarounds. Items that were
//!     read ahead but not delivered are gone from a source passed by [`by_ref`](Iterator::by_ref).
//!  2. **Only `f` leaves your thread.** Your own thread pulls the source and takes the results, so the source need not be
//!     [`Send`] and the side effects of both stay in sequence. Nothing has to be `'static`.
//!  3. **Lazy.** Nothing is pulled and no thread starts before the first result is requested.
//!  4. **Bounded.** The number of items in flight (pulled but not yet delivered) never exceeds
//!     [a limit](crate::PoolMap::max_in_flight). An infinite source and a slow consumer run in constant memory. Until the first
//!     item has been timed, the limit is 64 items, or 16 for each worker if that is more. Results that `collect` will keep in its
//!     `Vec` anyway count only against a limit that you set.
//!  5. **Once.** `f` runs at most once for each item pulled, and exactly once for each result delivered. Every item and every
//!     result is dropped exactly once, on every path.
//!  6. **The sequential failure.** If `f` panics, all results before that item are delivered first. Then the original payload
//!     of the lowest failing item is raised on your thread. A panic of the source takes its place in the same order.
//!     `collect::<Result<_, _>>()` returns the first `Err` in order and stops. After a panic the iterator is finished.
//!  7. **Reported, then propagated.** Before a panic is raised on your thread, its trace is printed to standard error: the
//!     worker, the index of the item, the line that called `pool_map`, and your own stack frames. A panic whose item is never
//!     reached (because of a `break` before it) prints one line when the iterator is dropped.
//!  8. **Stops.** Once a panic is caught, no item after the lowest failing one starts, except for at most one on each worker
//!     that has already passed the check. The same holds as soon as the consumer sees an `Err`, breaks, or drops the iterator.
//!     Cancelling by a [`CancelToken`] ends a call at once, even if its pool is busy with other work; only
//!     items that are already running, and a source that blocks, delay it.
//!  9. **Nothing outlives the call.** When a method returns or unwinds, no job of that call is running. Forgetting the
//!     iterator leaks memory and its handle to the [`Pool`], but leaves no borrow in use and no worker busy.
//! 10. **The pool survives** any panic, with the same threads and the same names. Dropping the last handle joins the threads.
//!     [`Pool::join`] waits for the pool's tasks and for the tasks they spawn, even if other handles are alive;
//!     [`Pool::wait_idle`] waits until the pool has nothing to do.
//! 11. **No deadlock by nesting.** Calls, streams, tasks and `install` inside `f` complete, at any depth, on pools of any
//!     size, with rayon's own parallelism in between. Nothing polls while it waits. [How, and the limits](#nesting).
//! 12. **Works without threads.** Where threads cannot start (a limit is reached, after `fork`, or on `wasm32-wasip1`), a call
//!     runs on the caller's thread. [`Pool::new`] returns the reason as an error. Work that was in the background at the time of
//!     the fork [stays with the parent](crate::Pool). `wasm32-unknown-unknown` has no clock, which every call needs: calls
//!     panic there.
//! 13. **A good neighbour.** The panic hook is chained, acts only inside this crate's jobs, and never panics. On Unix,
//!     neither the hook nor a worker's log line takes a lock that you could hold. On Windows a worker's log line takes none
//!     either, which was tested under wine; the hook was only compiled for it.
//! 14. **No `unsafe`, except in one file.** The crate is `#![deny(unsafe_code)]`. The one exception is
//!     `src/base/scoped_job.rs`: it puts a job that borrows from your stack into a pool's queue. It is under 100 lines of code,
//!     with its proof beside it. Promises 11, 15 and 16 depend on it. The public API exposes no dependency except the
//!     rayon traits that [`PoolParallelIterator`] extends and, with the feature `futures`, the traits of `futures-core`.
//! 15. **Fair.** Calls, streams, tasks and `install` on one pool take turns: whichever has worked for about 10 ms lets the
//!     others go first. None waits for the end of another. A slow item delays only itself and the delivery of the
//!     items after it. Items that share its chunk go back to the queue as soon as [another worker could run them](#chunks).
//! 16. **The pool you name runs it**, with its `on_start` state, its stack size and its width, wherever the call is made.
//!     [The exceptions](#which-thread-runs-it) run on the calling thread, and observers are told so.
//!
//! # Streams
//!
//! For streams that work ahead, these promises differ. [`pool_imap_unordered`] keeps 1 and 6 except for the order.
//!
//! | promise | [`pool_imap`] | [`scope()`](crate::scope()) |
//! |---|---|---|
//! | 2 | a feeder thread pulls the source; everything is `'static` and [`Send`] | a feeder thread pulls the source; everything is [`Send`], and may borrow from outside the scope |
//! | 8 | after the drop no item starts; the drop never waits for a source that blocks (the feeder ends when the source next returns) | the same, but leaving the scope waits for a call of the source's `next` in progress |
//! | 9 | running items finish on their own, and the end of their pool waits for them; a forgotten stream keeps its leased threads (or its handle to a [`Pool`]) and, until the source ends, its feeder | nothing runs after the end of the scope, which waits for its [tasks](crate::Scope::spawn), too |
//! | live | an item that was pulled is processed and delivered without waiting for the next one, as soon as its chunk and all items before it are done | the same |
//!
//! `pool_map` cannot promise the last row: it pulls on your thread, so while it waits for the source, finished results wait too.
//! The documentation of [`pool_map`] says what waits.
//!
//! # Which thread runs it
//!
//! A call, stream, task or `install` runs on the pool you name, whether you are on an ordinary thread, on a worker of
//! another pool, or on a thread of plain rayon. A worker that waits for another pool waits without taking up other work. Three
//! cases run *in place*, on the calling thread and in order, like `map`:
//!
//! | where the call is made | `&pool` | a plain number |
//! |---|---|---|
//! | any other thread | the pool's workers | leased workers |
//! | a worker of that same pool | in place | in place |
//! | a worker of another pool of this crate | the pool's workers; in place if that pool, directly or through others, already waits for this one | in place |
//! | a worker of plain rayon | the pool's workers; the rayon thread waits without stealing | leased workers; the rayon thread waits without stealing |
//!
//! So parallelise the outer loop; inner loops on the same pool, or by number, then run in place. To run an inner loop in parallel
//! as well, give it a pool of its own.
//!
//! The table is about [`pool_map`] and the like, about [`scope()`](crate::scope()) and, as to `&pool`, about
//! [`install`](crate::Pool::install). Streams and tasks are in the background, so they differ a little:
//!
//! - [`pool_imap`] by a plain number leases workers everywhere. On a worker of the same pool, the worker that requests results
//!   runs the items that no other worker has taken.
//! - [`Task::join`] on a worker of the same pool runs the task in place if it has not started. [`Task::join_timeout`] never
//!   does: it waits, and returns the task when the time is up.
//! - If you `await` a task on a worker of the same pool, a free worker of that pool runs it; if none is free, it runs in place.
//! - If you [poll](crate::PoolImap::poll_next) a stream on a worker of the same pool, the poll runs a chunk that no other worker
//!   has taken.
//!
//! # Nesting
//!
//! Each worker runs a loop that takes work from the pool's own queue; none of it is in rayon's queues. So
//! code inside `f` that waits in rayon (`join`, `scope`, `par_iter`, `install`, `yield_now`) never picks up another item, task or
//! stream of this crate halfway through `f`. It is safe to hold a lock across such a wait, as far as this crate is concerned.
//! Rayon itself may still run other rayon jobs there, as it does in any rayon program.
//!
//! Inside `f`, rayon means the pool that runs `f`: `par_iter`, `join` and `scope` use that pool's workers, and
//! `rayon::current_num_threads` returns its size. Where there are no threads (promise 12, or [`Pool::inline`]), `f` runs on your
//! thread, and rayon means there what it means to you.
//!
//! One method is different: [`collect_vec`](crate::PoolParMap::collect_vec) by a plain number uses rayon's own `collect`, on workers
//! that it has alone. There, a worker that waits in rayon may pick up another item of the same call. On a `&Pool` it is `collect`.
//!
//! Any depth means any depth that fits the stack: calls that run in place nest on one worker's stack, 8 MiB by default. Use
//! [`stack_size`](crate::PoolBuilder::stack_size) for more.
//!
//! Three kinds of deadlock remain:
//!
//! - Every worker's `f` joins a plain thread that itself waits for this pool.
//! - A task calls `rayon::broadcast` while another worker of the same pool is blocked joining that task. The broadcast needs
//!   every worker, the blocked one included.
//! - A task of another pool, which was spawned on no worker of this one, is already running and waits for this pool, and
//!   only then every worker of this pool waits for that task. A circle of pools is noticed when a task is spawned and when
//!   a wait begins, and here neither showed one.
//!
//! Items that wait for one another (say through a bounded channel whose reader is also an item) need as many free workers
//! as there are such items. A plain number leases workers that the call has alone. A shared pool, [`Pool::global`]
//! in particular, may be busy with other calls, so such items may wait for ever there; give them a pool of their own.
//!
//! # Chunks
//!
//! Workers take cheap items several at a time, as a chunk. A chunk is sized to take between 20 µs and 5 ms, but costs vary. A
//! worker therefore gives back the rest of its chunk in two cases: when another worker has nothing to do and the rest would
//! take 5 ms or more, and when other work on the pool waits and its turn of about 10 ms is over. It does so after the current item,
//! or after at most 16 more if the items are short.
//!
//! # Panics that abort
//!
//! With `panic = "abort"` no panic can be caught: the trace is printed on the worker, and the process ends. A panic inside a
//! `Drop` that runs while another panic unwinds also ends the process; both traces are printed first.
//!
//! [`pool_map`]: crate::PoolIterator::pool_map
//! [`pool_starmap`]: crate::PoolIterator::pool_starmap
//! [`pool_map_init`]: crate::PoolIterator::pool_map_init
//! [`pool_for_each`]: crate::PoolIterator::pool_for_each
//! [`pool_imap`]: crate::PoolIterator::pool_imap
//! [`pool_imap_unordered`]: crate::PoolIterator::pool_imap_unordered
//! [`PoolParallelIterator`]: crate::PoolParallelIterator
//! [`CancelToken`]: crate::CancelToken
//! [`Pool`]: crate::Pool
//! [`Task::join`]: crate::Task::join
//! [`Task::join_timeout`]: crate::Task::join_timeout
//! [`Pool::join`]: crate::Pool::join
//! [`Pool::wait_idle`]: crate::Pool::wait_idle
//! [`Pool::new`]: crate::Pool::new
//! [`Pool::global`]: crate::Pool::global
//! [`Pool::inline`]: crate::Pool::inline
