//! Pools and their workers: the only file that names rayon.
//!
//! A [`Pool`] is a handle. Behind the last handle stands `Threads`: rayon's pool, the join handles of its threads and
//! the block of numbers that makes their names. Each thread mans a `WorkerThread`: it puts on its badge, greets, works until
//! rayon says that the pool has ended, says goodbye, takes the badge off.

use std::error::Error;
use std::num::NonZeroUsize;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::{fmt, io, mem, thread};

use crate::Trace;
use crate::base::current_worker::LineSink;
use crate::base::current_worker::{CURRENT_WORKER, CurrentWorker, Worker};
use crate::base::fork::is_forked;
use crate::base::stdio;
use crate::base::unwind::{self, Payload};
use crate::observe::{IntoObserver, ObserverHandle, SharedObserver};
use crate::panics::{self, Outlet};
use crate::threads::lobby::{Errand, Lobby};
use crate::threads::names::Block;
use crate::threads::seat;
use once_cell::sync::OnceCell;

/// What workers are called when the builder was given no name.
const DEFAULT_NAME: &str = "PoolWorker";

/// A fixed number of named worker threads, by handle.
///
/// Handles are cheap to clone. The threads live until the last handle is dropped, which waits for them (see
/// [`join`](Pool::join)). A panic in a job leaves the pool as it was: the same threads under the same names.
///
/// Workers are called `PoolWorker-1`, `PoolWorker-2` and so on, or after [`PoolBuilder::name`]. No two living workers
/// of the process share a name: a pool takes the lowest free block of numbers of its name, so a second pool of four is
/// `PoolWorker-5` to `PoolWorker-8` while the first one lives. Linux shows the first 15 bytes of a thread's name.
///
/// After `fork` the child has none of the parent's threads. A pool of the parent is then an empty shell there: calls on
/// it run on the caller's thread, and dropping it waits for nobody. What ran on those threads runs on in the parent: in the child
/// a [`PoolImap`](crate::PoolImap) that was started before ends early, and joining a [`Task`](crate::Task) that ran panics. A
/// call that streams while its own thread forks, in the body of a `for_each` say, may never end in the child.
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
    shared: Arc<Shared>,
}

/// What the handles of one pool share.
struct Shared {
    /// The name as given, without a number.
    name: Arc<str>,
    /// How many items can be worked on at once: the number of threads, 1 for an inline pool. Never 0.
    width: usize,
    /// The level set on the builder; `None` leaves it to the call and the environment.
    trace: Option<Trace>,
    /// Where the traces of its calls go.
    outlet: Outlet,
    /// Told of every call on this pool.
    observer: Option<SharedObserver>,
    /// Whether a handle was given up by [`Pool::join`], so that the end of the pool waits for the errands in the lobby.
    finishes: AtomicBool,
    /// `None` in an inline pool, and only there.
    threads: Option<Threads>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let Some(threads) = self.threads.as_ref().filter(|_| !is_forked()) else { return };
        if !*self.finishes.get_mut() {
            panics::contain_all(threads.lobby.close());
        }
    }
}

impl Pool {
    /// Starts a pool of `threads` workers named `PoolWorker-…`.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = pool_map::Pool::new(2)?;
    /// assert_eq!(pool.threads(), 2);
    /// println!("{}", pool_map::Pool::new(0).unwrap_err()); // a pool needs at least one worker, got 0
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When `threads` is 0 or more than a pool can have (65 535 on a 64-bit machine), when the system refuses a thread,
    /// and in a child made by `fork` of a process that had used pools.
    pub fn new(threads: usize) -> Result<Pool, PoolError> {
        Pool::builder().threads(threads).build()
    }

    /// A builder, for a name, a stack size and whatever else [`new`](Pool::new) leaves at its default.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = pool_map::Pool::builder().threads(2).name("Resize").build()?;
    /// assert_eq!(pool.worker_names(), ["Resize-1", "Resize-2"]);
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    pub fn builder() -> PoolBuilder {
        PoolBuilder {
            threads: None,
            name: Arc::from(DEFAULT_NAME),
            stack_size: None,
            trace: None,
            outlet: Outlet::default(),
            observer: None,
            sink: None,
            on_start: None,
            on_exit: None,
        }
    }

    /// The pool of the process: one worker per available core, started at the first call and never ended.
    ///
    /// The number of cores is that of [`std::thread::available_parallelism`]. If the threads cannot start, this is an
    /// [`inline`](Pool::inline) pool.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::Pool;
    ///
    /// println!("{} workers", Pool::global().threads()); // 16 workers
    /// ```
    pub fn global() -> &'static Pool {
        static GLOBAL: OnceCell<Pool> = OnceCell::new();
        static FORKED: OnceCell<Pool> = OnceCell::new();
        // In a forked child the first cell may for ever be in the making, by a thread that is not there.
        if is_forked() {
            return FORKED.get_or_init(Pool::inline);
        }
        GLOBAL.get_or_init(|| Pool::builder().build().unwrap_or_else(|_| Pool::inline()))
    }

    /// A pool without threads: every call on it runs on the caller's thread, one item after the other.
    ///
    /// For a debugger, and for places that have no threads. It counts as one worker, the caller. The environment variable
    /// `POOL_MAP_INLINE=1` puts it in the place of every pool that is [leased by a number](crate::IntoPool).
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
        let shared = Shared {
            name: Arc::from("inline"),
            width: 1,
            trace: None,
            outlet: Outlet::default(),
            observer: None,
            finishes: AtomicBool::new(false),
            threads: None,
        };
        Pool { shared: Arc::new(shared) }
    }

    /// How many workers the pool has; 1 for an [`inline`](Pool::inline) pool, where the caller is the worker.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.shared.width
    }

    /// The name of the pool: that of its workers, without the number.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Whether this is a pool without threads, as made by [`inline`](Pool::inline).
    #[must_use]
    pub fn is_inline(&self) -> bool {
        self.shared.threads.is_none()
    }

    /// The names of the workers, in the order of their [`index`](Worker::index); none for an inline pool.
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
        let block = self.shared.threads.as_ref().map(|threads| &threads.block);
        block.map_or_else(Vec::new, |block| (0..self.threads()).map(|index| block.worker_name(index)).collect())
    }

    /// Runs `op` on a worker of this pool and returns what it returns: this is rayon.
    ///
    /// Inside `op` every parallel call of rayon uses these workers. It is [`rayon::ThreadPool::install`], with its
    /// rules: a panic of `op` goes on here, and `op` sees the worker's thread-locals, not the caller's. On an inline
    /// pool, and after `fork`, `op` runs here.
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
    /// When `op` does, with the same payload.
    ///
    /// [`rayon::ThreadPool::install`]: https://docs.rs/rayon/latest/rayon/struct.ThreadPool.html#method.install
    pub fn install<R: Send>(&self, op: impl FnOnce() -> R + Send) -> R {
        match self.rayon() {
            Some(rayon) => rayon.install(op),
            None => op(),
        }
    }

    /// Gives this handle up; with the last one, finishes what was submitted and waits until the threads have ended.
    ///
    /// Dropping the last handle waits, too, but only for what runs: [tasks](Pool::spawn) that have not started are
    /// dropped. Once a handle was given up by `join`, the pool finishes them, whichever handle is the last.
    ///
    /// While other handles live, it returns at once and the pool goes on; a [`PoolImap`](crate::PoolImap) holds one
    /// until it is dropped or has ended. On a worker thread (of any pool) nothing is waited for, since two workers that end
    /// each other's pool would wait for ever: the threads then end on their own, after what was submitted.
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
    }

    /// The level set with [`PoolBuilder::trace`].
    pub(crate) fn trace(&self) -> Option<Trace> {
        self.shared.trace
    }

    /// Where the traces of its calls go.
    pub(crate) fn outlet(&self) -> Outlet {
        self.shared.outlet
    }

    /// The one set with [`PoolBuilder::observer`].
    pub(crate) fn observer(&self) -> Option<SharedObserver> {
        self.shared.observer.clone()
    }

    /// Whether there are threads to give work to: neither an inline pool nor one that stayed behind at a `fork`.
    pub(crate) fn is_usable(&self) -> bool {
        self.rayon().is_some()
    }

    /// Runs `body` on this thread while the jobs it spawns run on the workers; returns when all of them have returned.
    ///
    /// Asked of a pool that [is not usable](Pool::is_usable), it panics.
    pub(crate) fn scope<'s, R>(&self, body: impl FnOnce(Crew<'_, 's>) -> R) -> R {
        let rayon = self.rayon().expect("BUG: a scope needs a pool with threads");
        rayon.in_place_scope(|scope| body(Crew(scope)))
    }

    /// Has an errand done by a worker. Asked of a pool that [is not usable](Pool::is_usable), it panics.
    pub(crate) fn post(&self, errand: Errand<'static>) {
        let threads = self.shared.threads.as_ref().expect("BUG: an errand needs a pool with threads");
        threads.lobby.post(errand, &|| call_hand(threads.rayon.as_ref(), &threads.lobby));
    }

    /// Whether no other handle of this pool lives.
    pub(crate) fn is_sole_handle(&self) -> bool {
        Arc::strong_count(&self.shared) == 1
    }

    fn rayon(&self) -> Option<&rayon::ThreadPool> {
        let threads = self.shared.threads.as_ref().filter(|_| !is_forked())?;
        threads.rayon.as_ref()
    }
}

impl Pool {
    /// Runs one job of each kind on idle workers, so at the bottom of their stacks.
    fn calibrate(&self) {
        if on_a_worker() {
            // A scope waits there as rayon does: it takes up other jobs on top of this one, which may hold whatever lock the
            // pool is made under. A plain thread only waits.
            thread::scope(|threads| {
                let _ = thread::Builder::new()
                    .spawn_scoped(threads, || self.calibrate())
                    .map(thread::ScopedJoinHandle::join);
            });
            return;
        }
        self.scope(|crew| crew.spawn(|_| ()));
        let (begun, begins) = mpsc::channel::<()>();
        self.post(Box::new(move |_| drop(begun)));
        // The channel closes when the errand was done.
        let _ = begins.recv();
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

/// The jobs of one [`Pool::scope`]: what may spawn more of them.
#[derive(Clone, Copy)]
pub(crate) struct Crew<'a, 's>(&'a rayon::Scope<'s>);

impl<'s> Crew<'_, 's> {
    /// Hands `job` to the workers; it may spawn others in turn.
    pub(crate) fn spawn(self, job: impl for<'b> FnOnce(Crew<'b, 's>) + Send + 's) {
        spawn_boxed(self.0, Box::new(job));
    }
}

/// A job in a box, so that all of them are spawned by the same code and [begin](seat::begin) at the same depth.
pub(crate) type Job<'s> = Box<dyn for<'b> FnOnce(Crew<'b, 's>) + Send + 's>;

#[inline(never)]
fn spawn_boxed<'s>(scope: &rayon::Scope<'s>, job: Job<'s>) {
    scope.spawn(move |scope| seat::begin(Crew(scope), job));
}

/// Calls a hand to the lobby of the pool that this thread works for.
pub(crate) fn call_hand_here(lobby: &Arc<Lobby<'static>>) {
    call_hand(None, lobby);
}

/// Spawns a job for the lobby's errands on `rayon`, or on the pool of this thread. Both by one closure, so that rayon begins
/// it by the same frames.
#[inline(never)]
fn call_hand(rayon: Option<&rayon::ThreadPool>, lobby: &Arc<Lobby<'static>>) {
    let lobby = Arc::clone(lobby);
    let hand = move || seat::begin_hand(&lobby);
    match rayon {
        Some(rayon) => rayon.spawn(hand),
        None => rayon::spawn(hand),
    }
}

/// Whether this thread is a worker, of ours or of any rayon pool: waiting here could deadlock, so calls run inline.
pub(crate) fn on_a_worker() -> bool {
    rayon::current_thread_index().is_some() || Worker::is_here()
}

/// The index of this thread in its rayon pool, 0 off the pools.
pub(crate) fn worker_index() -> usize {
    rayon::current_thread_index().unwrap_or(0)
}

// ---- Building -------------------------------------------------------------------------------------------------------

/// What the user runs when a worker starts or ends.
type Hook = Arc<dyn Fn(&Worker) + Send + Sync>;

/// Settings of a pool to be; made by [`Pool::builder`].
///
/// # Examples
///
/// ```
/// use pool_map::Pool;
///
/// let pool = Pool::builder()
///     .threads(2)
///     .name("Resize")
///     .stack_size(1 << 20)
///     .on_start(|worker| println!("{} is up", worker.name())) // Resize-1 is up
///     .build()?;
/// assert_eq!(pool.name(), "Resize");
/// # Ok::<(), pool_map::PoolError>(())
/// ```
#[must_use = "a builder starts nothing until `build()` is called"]
pub struct PoolBuilder {
    /// `None` stands for one worker per available core. May be out of range until `build`.
    threads: Option<usize>,
    /// May hold a NUL until `build`.
    name: Arc<str>,
    /// In bytes; `None` leaves it to the standard library.
    stack_size: Option<usize>,
    /// Handed through to the pool.
    trace: Option<Trace>,
    /// Handed through to the pool.
    outlet: Outlet,
    /// Handed through to the pool.
    observer: Option<SharedObserver>,
    /// Worn by the workers, for the log.
    sink: Option<LineSink>,
    /// Run by each worker before its first job.
    on_start: Option<Hook>,
    /// Run by each worker that has started, after its last job.
    on_exit: Option<Hook>,
}

impl PoolBuilder {
    /// How many workers; one per available core unless set.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// What the workers are called: `{name}-1`, `{name}-2`, …; `PoolWorker` unless set.
    ///
    /// Linux shows the first 15 bytes of a thread's name in its tools; panics and log lines show all of it.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Arc::from(name.into());
        self
    }

    /// The stack of each worker, in bytes; that of [`std::thread::Builder`] unless set: 2 MiB, or `RUST_MIN_STACK`.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// How much of a panic's trace calls on this pool print, where the call itself does not say.
    pub fn trace(mut self, trace: Trace) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Sends the traces of this pool's calls to the program's logger alone, not to standard error besides.
    ///
    /// They are records at level `ERROR` with the target `pool_map`. While there is no logger that takes such, they go to
    /// standard error all the same: no panic is passed over in silence. With the feature `log` only.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = pool_map::Pool::builder().threads(2).traces_to_logger_only().build()?;
    /// # drop(pool);
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    #[cfg(feature = "log")]
    pub fn traces_to_logger_only(mut self) -> Self {
        self.outlet = Outlet::OnlyLogger;
        self
    }

    /// Who is told of every call on this pool and of its items: `pool_map` and its kin, streams that run ahead, tasks. Pass an
    /// [`Arc`] of it, or `&Arc`, which is cloned.
    ///
    /// Calls made in place by one of its workers are told of too if they were given this pool, but not if they were given a
    /// number or another pool. A call may have [observers](crate::PoolMap::observe) of its own besides; one that is both is told
    /// once.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::{Pool, Timeline};
    /// use std::sync::Arc;
    ///
    /// let timeline = Arc::new(Timeline::new());
    /// let pool = Pool::builder().threads(2).observer(Arc::clone(&timeline)).build()?;
    /// pool.map(0..8, |x| x * x);
    /// pool.map(0..8, |x| x + x);
    /// pool.spawn(|| 6 * 7).join();
    /// assert_eq!(timeline.items(), 17);
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    pub fn observer(mut self, observer: impl IntoObserver<'static>) -> Self {
        self.observer = Some(ObserverHandle::new(observer));
        self
    }

    /// Where the log lines of this pool's workers go, instead of standard output.
    ///
    /// On these workers it wins over [`set_line_sink`](crate::set_line_sink), whose rules it shares.
    pub fn line_sink(mut self, sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.sink = Some(Arc::new(sink));
        self
    }

    /// What each worker runs before its first job; [`build`](PoolBuilder::build) waits for it.
    pub fn on_start(mut self, hook: impl Fn(&Worker) + Send + Sync + 'static) -> Self {
        self.on_start = Some(Arc::new(hook));
        self
    }

    /// What each worker runs after its last job.
    ///
    /// A panic in it is reported as one line on standard error and goes no further.
    pub fn on_exit(mut self, hook: impl Fn(&Worker) + Send + Sync + 'static) -> Self {
        self.on_exit = Some(Arc::new(hook));
        self
    }

    /// Starts the workers.
    ///
    /// # Errors
    ///
    /// When the number of threads is 0 or more than a pool can have (65 535 on a 64-bit machine), the name holds a NUL
    /// character, the system refuses a thread, `on_start` panics, or the process is a child made by `fork` of one that
    /// had used pools. Workers that had started by then have ended when this returns.
    pub fn build(self) -> Result<Pool, PoolError> {
        let width = self.threads.unwrap_or_else(available_cores);
        check_threads(width)?;
        if self.name.contains('\0') {
            return Err(Reason::NulInName { name: self.name }.into());
        }
        if is_forked() {
            return Err(Reason::Forked.into());
        }
        let threads = self.start(width)?;
        let Self { name, trace, outlet, observer, .. } = self;
        let finishes = AtomicBool::new(false);
        let shared = Shared { name, width, trace, outlet, observer, finishes, threads: Some(threads) };
        let pool = Pool { shared: Arc::new(shared) };
        if !seat::is_calibrated() {
            pool.calibrate();
        }
        Ok(pool)
    }

    /// Starts all threads, waits for their greeting, and ends them again if any of them fails.
    fn start(&self, width: usize) -> Result<Threads, PoolError> {
        let block = Arc::new(Block::take(&self.name, width));
        let lobby = Arc::new(Lobby::new(width));
        let mut threads = Threads { rayon: None, joins: Vec::new(), block, lobby };
        let (report, reports) = mpsc::channel();
        let mut refusal = None;
        let built = rayon::ThreadPoolBuilder::new()
            .num_threads(width)
            // Only a net: our jobs catch. What falls in would otherwise abort the process.
            .panic_handler(|payload| drop(text_of(payload)))
            .spawn_handler(|rayon_thread| {
                let index = rayon_thread.index();
                let post = self.post(index, &threads.block, &report);
                match self.thread(&post).spawn(move || post.man(|| rayon_thread.run())) {
                    Ok(join) => threads.joins.push(join),
                    Err(error) => {
                        let echo = io::Error::from(error.kind());
                        refusal = Some(PoolError::from(Reason::Refused { number: index + 1, width, error }));
                        return Err(echo);
                    }
                }
                Ok(())
            })
            .build();
        drop(report);
        match built {
            Ok(rayon) => threads.rayon = Some(rayon),
            Err(_) => {
                return Err(refusal.expect("BUG: rayon fails only where a thread was refused"));
            }
        }
        // The channel closes when every worker has greeted, well or not.
        match reports.into_iter().min_by_key(|&(index, _)| index) {
            Some((_, failure)) => Err(failure),
            None => Ok(threads),
        }
    }

    fn post(&self, index: usize, block: &Arc<Block>, report: &Report) -> WorkerThread {
        let name = Arc::from(block.worker_name(index));
        WorkerThread {
            badge: CurrentWorker {
                worker: Worker { name, index, pool: Arc::clone(&self.name) },
                sink: self.sink.clone(),
            },
            on_start: self.on_start.clone(),
            on_exit: self.on_exit.clone(),
            report: report.clone(),
            block: Arc::clone(block),
        }
    }

    fn thread(&self, post: &WorkerThread) -> thread::Builder {
        let builder = thread::Builder::new().name(post.badge.worker.name.to_string());
        match self.stack_size {
            // The standard library rounds up to whole pages, which must not overflow; nobody has that much to give.
            Some(bytes) => builder.stack_size(bytes.min(isize::MAX.unsigned_abs())),
            None => builder,
        }
    }
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("threads", &self.threads)
            .field("name", &self.name)
            .field("stack_size", &self.stack_size)
            .field("trace", &self.trace)
            .finish_non_exhaustive()
    }
}

fn available_cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get).min(rayon::max_num_threads())
}

/// Whether a pool can have that many workers at all; rayon would silently give fewer, or its own default for 0.
pub(crate) fn check_threads(threads: usize) -> Result<(), PoolError> {
    let most = rayon::max_num_threads();
    match threads {
        0 => Err(Reason::NoThreads.into()),
        _ if threads > most => Err(Reason::TooMany { threads, most }.into()),
        _ => Ok(()),
    }
}

/// Why a pool could not be built.
///
/// Its `Display` says what failed; where the system gave a reason, that is the [`source`](Error::source), which
/// `Display` does not repeat.
///
/// # Examples
///
/// ```
/// let error = pool_map::Pool::new(0).unwrap_err();
/// assert_eq!(error.to_string(), "a pool needs at least one worker, got 0");
/// ```
#[derive(Debug)]
pub struct PoolError {
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    NoThreads,
    TooMany {
        threads: usize,
        most: usize,
    },
    NulInName {
        name: Arc<str>,
    },
    /// `number` counts from 1.
    Refused {
        number: usize,
        width: usize,
        error: io::Error,
    },
    OnStart {
        worker: Arc<str>,
        message: String,
    },
    Forked,
}

impl From<Reason> for PoolError {
    fn from(reason: Reason) -> Self {
        PoolError { reason }
    }
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::NoThreads => f.write_str("a pool needs at least one worker, got 0"),
            Reason::TooMany { threads, most } => {
                write!(f, "a pool has at most {most} workers, got {threads}")
            }
            Reason::NulInName { name } => write!(f, "the name of a pool cannot hold a NUL character, got {name:?}"),
            Reason::Refused { number, width, .. } => {
                write!(f, "thread {number} of {width} could not start")
            }
            Reason::OnStart { worker, message } => {
                write!(f, "on_start panicked on {worker}: {message}")
            }
            Reason::Forked => f.write_str("this process was forked from one that had used pools, so it can start none"),
        }
    }
}

impl Error for PoolError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.reason {
            Reason::Refused { error, .. } => Some(error),
            _ => None,
        }
    }
}

// ---- Threads --------------------------------------------------------------------------------------------------------

/// The threads of one pool, from the first one started to the end of the last one.
struct Threads {
    /// `None` while the pool is being built, and after it has been told to end.
    rayon: Option<rayon::ThreadPool>,
    /// One for each thread that has started.
    joins: Vec<JoinHandle<()>>,
    /// Held here as well as by each thread, so the numbers are free again when nothing is left of the pool.
    block: Arc<Block>,
    /// Errands for these threads. A hand that is called keeps its thread from ending before it has left.
    lobby: Arc<Lobby<'static>>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        let rayon = self.rayon.take();
        let joins = mem::take(&mut self.joins);
        if is_forked() {
            // These threads are the parent's. To wake them would take locks they may have held at the fork.
            mem::forget((rayon, joins));
            return;
        }
        // Rayon only tells its threads to end, after the jobs they still have.
        drop(rayon);
        // A worker cannot wait for itself, and two that end each other's pool would wait for ever.
        if on_a_worker() {
            return;
        }
        for join in joins {
            // An error is a panic outside of any job, from dropping a hook; the panic hook has told of it.
            if let Err(payload) = join.join() {
                drop(text_of(payload));
            }
        }
    }
}

/// How workers tell `build` that `on_start` panicked. The channel closes once each has greeted.
type Report = mpsc::Sender<(usize, PoolError)>;

/// All that one worker thread needs.
struct WorkerThread {
    /// Worn from before the greeting until after the goodbye.
    badge: CurrentWorker,
    on_start: Option<Hook>,
    on_exit: Option<Hook>,
    /// Dropped after the greeting, since `build` waits for that.
    report: Report,
    /// Let go as the thread's last act.
    block: Arc<Block>,
}

impl WorkerThread {
    /// The life of a worker thread; `work` is rayon's part of it.
    fn man(self, work: impl FnOnce()) {
        let WorkerThread { badge, on_start, on_exit, report, block } = self;
        let worker = badge.worker.clone();
        CURRENT_WORKER.set(Some(badge));
        let greeted = contained(|| on_start.iter().for_each(|hook| hook(&worker)));
        if let Err(message) = greeted {
            let failure = PoolError::from(Reason::OnStart { worker: Arc::clone(&worker.name), message });
            // Nobody listens only if another thread was refused meanwhile, which is then the error.
            let _ = report.send((worker.index, failure));
        } else {
            drop(report);
            seat::enter_main_loop();
            work();
            if let Err(message) = contained(|| on_exit.iter().for_each(|hook| hook(&worker))) {
                stdio::write_stderr(&format!("[TRACE:{}] on_exit panicked: {message}\n", worker.name));
            }
        }
        // What is left in a thread-local is dropped where a panic aborts, and the sink is the user's.
        let badge = CURRENT_WORKER.take();
        let _ = contained(move || drop((badge, on_start, on_exit)));
        drop(block);
    }
}

/// Runs the user's code where no panic may pass: an error is its message.
fn contained(act: impl FnOnce()) -> Result<(), String> {
    unwind::catch(act).map_err(text_of)
}

/// The message of a panic, whose payload is dropped.
fn text_of(payload: Payload) -> String {
    let text = unwind::message(&*payload).to_owned();
    unwind::drop_payload(payload);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[test]
    fn a_pool_may_have_as_many_workers_as_rayon_knows() {
        let most = rayon::max_num_threads();
        assert!(check_threads(most).is_ok());
        let text = check_threads(most + 1).map_err(|error| error.to_string());
        assert!(text.is_err_and(|text| text.contains(&most.to_string())));
    }

    #[test]
    fn a_scope_runs_its_body_here_and_its_jobs_on_the_workers() {
        let pool = Pool::builder().name("Scope").threads(2).build().expect("two threads");
        let caller = thread::current().id();
        let workers = Mutex::new(Vec::new());
        let body = pool.scope(|crew| {
            for _ in 0..3 {
                crew.spawn(|crew| {
                    workers.lock().push(Worker::current().map(|worker| worker.pool));
                    crew.spawn(|_| {
                        let worker = Worker::current();
                        workers.lock().push(worker.map(|worker| worker.pool));
                    });
                });
            }
            thread::current().id()
        });
        assert_eq!(body, caller);
        let workers = workers.into_inner();
        assert_eq!(workers.len(), 6);
        assert!(workers.iter().all(|pool| pool.as_deref() == Some("Scope")));
    }
}
