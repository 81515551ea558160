//! [`Pool`]: a handle of named worker threads.
//!
//! Behind the last handle stand its [threads](super::worker_thread): rayon's pool, their join handles, and the block of
//! numbers that makes their names.

use super::install;
use super::job_queue::JobQueue;
use super::wait_graph::{PoolId, WaitPermit};
use super::worker_thread::{Threads, on_a_worker};
use crate::base::current_worker;
use crate::base::fork::is_forked;
use crate::observe::SharedObserver;
use crate::panics::text::TraceLevel;
use crate::panics::{self, TraceSink};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A pool of named threads; clones are cheap handles.
///
/// The threads live until the last handle is dropped, which waits for them (see [`join`](Pool::join)). After a panic in a job
/// the pool has the same threads with the same names.
///
/// Workers are named `PoolWorker-1`, `PoolWorker-2` and so on, or after [`PoolBuilder::name`](crate::PoolBuilder::name). No two living workers of a
/// process share a name: a pool takes the lowest free block of numbers for its name. So a second pool of four has
/// `PoolWorker-5` to `PoolWorker-8` while the first one lives. Linux shows the first 15 bytes of a thread's name.
///
/// In a child made by `fork`, the parent's pools have no threads: calls run on the caller's thread, and dropping a pool waits
/// for nothing. What was running continues in the parent only. In the child, a [`PoolImap`](crate::PoolImap) that had started
/// ends early, and joining a [`Task`](crate::Task) that was running panics. A call that streams while its own thread forks,
/// for example in the body of a `for_each`, may never end in the child.
///
/// # Examples
///
/// ```
/// use pool_map::Pool;
///
/// let pool = Pool::new(4)?;
/// println!("{pool:?}"); // Pool { name: "PoolWorker", threads: 4 }
/// assert_eq!(pool.threads(), 4);
/// # Ok::<(), pool_map::PoolError>(())
/// ```
#[derive(Clone)]
pub struct Pool {
    /// What all handles of this pool share; the threads end with the last of them.
    shared: Arc<PoolState>,
}

/// What the handles of one pool share.
struct PoolState {
    settings: Settings,
    /// Whether a handle was given up by [`Pool::join`], so that the end of the pool finishes the jobs that wait.
    finishes: AtomicBool,
    /// `None` in an inline pool, and only there.
    threads: Option<Threads>,
}

/// What is set before the threads start, and stays.
pub(super) struct Settings {
    /// The name as given, without a number.
    pub(super) name: Arc<str>,
    /// How many items can be worked on at once: the number of threads, 1 for an inline pool. Never 0.
    pub(super) width: usize,
    /// The level set on the builder; `None` leaves it to the call and the environment.
    pub(super) trace: Option<TraceLevel>,
    /// Where the traces of its calls go.
    pub(super) trace_sink: TraceSink,
    /// Told of every call on this pool.
    pub(super) observer: Option<SharedObserver>,
}

impl Drop for PoolState {
    fn drop(&mut self) {
        let Some(threads) = self.threads.as_ref().filter(|_| !is_forked()) else { return };
        if !*self.finishes.get_mut() {
            panics::contain_all(threads.queue.close());
        }
    }
}

impl Pool {
    /// Returns a pool without threads: every call on it runs on the caller's thread, one item after the other.
    ///
    /// Use it with a debugger, or where there are no threads. It has one worker, the caller. With the environment variable
    /// `POOL_MAP_INLINE=1`, every pool [leased by a number](crate::IntoPool) is such a pool.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = pool_map::Pool::inline();
    /// let here = std::thread::current().id();
    /// assert_eq!(pool.install(|| std::thread::current().id()), here);
    /// assert_eq!(pool.threads(), 1);
    /// assert!(pool.is_inline());
    /// ```
    #[must_use]
    pub fn inline() -> Pool {
        let name = Arc::from("inline");
        let settings = Settings { name, width: 1, trace: None, trace_sink: TraceSink::default(), observer: None };
        Pool { shared: Arc::new(PoolState { settings, finishes: AtomicBool::new(false), threads: None }) }
    }

    /// Returns the number of workers; 1 for an [`inline`](Pool::inline) pool, where the caller is the worker.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.shared.settings.width
    }

    /// Returns the name of the pool: that of its workers, without the number.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.settings.name
    }

    /// Returns whether this is a pool without threads, as made by [`inline`](Pool::inline).
    #[must_use]
    pub fn is_inline(&self) -> bool {
        self.shared.threads.is_none()
    }

    /// Returns the names of the workers, in the order of their [`index`](crate::Worker::index); none for an inline pool.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = pool_map::Pool::builder().name("Thumb").threads(2).build()?;
    /// assert_eq!(pool.worker_names(), ["Thumb-1", "Thumb-2"]);
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    #[must_use]
    pub fn worker_names(&self) -> Vec<String> {
        let numbers = self.shared.threads.as_ref().map(|threads| &threads.numbers);
        numbers.map_or_else(Vec::new, |numbers| (0..self.threads()).map(|index| numbers.worker_name(index)).collect())
    }

    /// Runs `op` on a worker of this pool, where rayon uses this pool, and returns its result.
    ///
    /// As with [`rayon::ThreadPool::install`], rayon's parallel calls inside `op` use these workers, a panic of `op` continues
    /// on your thread, and `op` sees the thread-locals of the worker. `op` takes turns with the calls and tasks of the pool.
    /// Unlike in rayon, a worker of another pool that waits here picks up no other work. On a worker of this pool, on an
    /// inline pool, and after `fork`, `op` runs on the calling thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use rayon::prelude::*;
    ///
    /// let pool = pool_map::Pool::new(2)?;
    /// let sum: u64 = pool.install(|| (0..1000u64).into_par_iter().sum());
    /// assert_eq!(sum, 499_500);
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If `op` does, with the same payload.
    ///
    /// [`rayon::ThreadPool::install`]: https://docs.rs/rayon/latest/rayon/struct.ThreadPool.html#method.install
    pub fn install<R: Send>(&self, op: impl FnOnce() -> R + Send) -> R {
        let Some(threads) = self.running() else { return op() };
        match WaitPermit::for_pool(threads.id) {
            Some(_permit) => install::run(&threads.queue, op),
            // This is a worker of the pool or, where the wait would close a circle of pools, none may be left to run it.
            None => op(),
        }
    }

    /// Waits until every [task](Pool::spawn) of the pool is done, including tasks that tasks spawn, and drops this handle. If
    /// it is the last one, the threads end, and this waits for them.
    ///
    /// Dropping the last handle waits too, but only for what is running: tasks that have not started are dropped, unless
    /// `join` was called on some handle before.
    ///
    /// It does not wait for calls and streams of other handles; [`wait_idle`](Pool::wait_idle) does. A
    /// [`PoolImap`](crate::PoolImap) holds a handle until it is dropped or has ended. On a worker (of this pool, another one,
    /// or rayon) it waits for nothing, because two workers that end each other's pool would wait for ever. The threads then
    /// end on their own after the tasks.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = pool_map::Pool::new(2)?;
    /// let task = pool.spawn(|| 6 * 7);
    /// pool.join(); // the task is done, both threads are gone
    /// assert!(task.is_finished());
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    pub fn join(self) {
        self.shared.finishes.store(true, Ordering::Relaxed);
        if let Some(threads) = self.running().filter(|_| !on_a_worker()) {
            threads.queue.wait_for_tasks();
        }
    }

    /// Waits until this pool has nothing to do: no call, stream or task is queued or running.
    ///
    /// On an [`inline`](Pool::inline) pool, and after `fork`, there is nothing to wait for. If others keep giving the pool
    /// work, this may wait for ever; [`join`](Pool::join) waits for tasks only.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// let pool = pool_map::Pool::new(2)?;
    /// let (inside, count) = (pool.clone(), Arc::new(AtomicU32::new(0)));
    /// let counted = Arc::clone(&count);
    /// pool.spawn(move || inside.spawn(move || counted.fetch_add(1, Ordering::Relaxed)));
    /// pool.wait_idle();
    /// assert_eq!(count.load(Ordering::Relaxed), 1);
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// On a worker of this pool, which would wait for itself.
    #[track_caller]
    pub fn wait_idle(&self) {
        let Some(threads) = self.running() else { return };
        assert!(current_worker::pool_id() != Some(threads.id), "a worker cannot wait for its own pool to be idle");
        threads.queue.wait_idle();
    }

    /// The level set with [`PoolBuilder::trace`](crate::PoolBuilder::trace).
    pub(crate) fn trace(&self) -> Option<TraceLevel> {
        self.shared.settings.trace
    }

    /// Where the traces of its calls go.
    pub(crate) fn trace_sink(&self) -> TraceSink {
        self.shared.settings.trace_sink
    }

    /// The one set with [`PoolBuilder::observer`](crate::PoolBuilder::observer).
    pub(crate) fn observer(&self) -> Option<SharedObserver> {
        self.shared.settings.observer.clone()
    }

    /// Whether there are threads to give work to: neither an inline pool nor one that stayed behind at a `fork`.
    pub(crate) fn is_usable(&self) -> bool {
        self.running().is_some()
    }

    /// The number of this pool, which tells it from all others; `None` for one that is [not usable](Pool::is_usable).
    pub(crate) fn id(&self) -> Option<PoolId> {
        self.running().map(|threads| threads.id)
    }

    /// The jobs of this pool. Asked of a pool that [is not usable](Pool::is_usable), it panics.
    pub(crate) fn queue(&self) -> &Arc<JobQueue> {
        &self.shared.threads.as_ref().expect("BUG: only a pool with threads has a queue").queue
    }

    /// Whether no other handle of this pool lives.
    pub(crate) fn is_sole_handle(&self) -> bool {
        Arc::strong_count(&self.shared) == 1
    }

    pub(super) fn of(threads: Threads, settings: Settings) -> Pool {
        let shared = PoolState { settings, finishes: AtomicBool::new(false), threads: Some(threads) };
        Pool { shared: Arc::new(shared) }
    }

    fn running(&self) -> Option<&Threads> {
        self.shared.threads.as_ref().filter(|_| !is_forked())
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.name()).field("threads", &self.threads()).finish()
    }
}

// A panic cannot leave a pool half-changed: nothing behind the handle changes between its building and its end, but for
// rayon's own queues, which no user code runs inside of.
impl UnwindSafe for Pool {}
impl RefUnwindSafe for Pool {}
