//! [`PoolBuilder`]: the settings of a pool, and how its threads start. The constructors of [`Pool`] that start threads are here too.

use super::error::{PoolError, Reason};
use super::names::NumberBlock;
use super::pool::{Pool, Settings};
use super::wait_graph::PoolId;
use super::worker_thread::{FailureSender, Hook, Threads, WorkerThread};
use crate::base::current_worker::{CurrentWorker, LineSink, Worker};
use crate::base::fork::is_forked;
use crate::base::sync::thread;
use crate::base::{stdio, unwind};
use crate::observe::{IntoObserver, ObserverHandle, SharedObserver};
use crate::panics::TraceSink;
use crate::panics::text::TraceLevel;
use once_cell::race::OnceNonZeroUsize;
use once_cell::sync::OnceCell;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::{fmt, io};

/// What workers are called when the builder was given no name.
const DEFAULT_NAME: &str = "PoolWorker";

/// What a recursion finds that ran on the main thread before: most systems give that one 8 MiB. Only what is used of it takes
/// memory. Where addresses are scarce, it is what the standard library gives.
const STACK_SIZE: Option<usize> = if usize::BITS < 64 { None } else { Some(8 << 20) };

/// Builds a [`Pool`] with settings. Made by [`Pool::builder`].
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
    trace: Option<TraceLevel>,
    /// Handed through to the pool.
    trace_sink: TraceSink,
    /// Handed through to the pool.
    observer: Option<SharedObserver>,
    /// Worn by the workers, for the log.
    sink: Option<LineSink>,
    /// Run by each worker before its first job.
    on_start: Option<Hook>,
    /// Run by each worker that has started, after its last job.
    on_exit: Option<Hook>,
}

impl Pool {
    /// Starts a pool of `threads` workers named `PoolWorker-…`.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = pool_map::Pool::new(2)?;
    /// assert_eq!(pool.threads(), 2);
    /// let error = pool_map::Pool::new(0).unwrap_err();
    /// println!("{error}"); // a pool needs at least one worker, got 0
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If `threads` is 0 or more than a pool can have (65 535 on a 64-bit machine), if the system refuses a thread, and in a
    /// child made by `fork` of a process that had used pools.
    pub fn new(threads: usize) -> Result<Pool, PoolError> {
        Pool::builder().threads(threads).build()
    }

    /// Returns a builder, to set a name, a stack size and other options.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = pool_map::Pool::builder().threads(2).name("Resize").build()?;
    /// assert_eq!(pool.worker_names(), ["Resize-1", "Resize-2"]);
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    pub fn builder() -> PoolBuilder {
        PoolBuilder::new()
    }

    /// Returns the process-wide pool. It has one worker per available core, starts at the first call, and never ends.
    ///
    /// The number of cores is that of [`std::thread::available_parallelism`]. The environment variable `POOL_MAP_THREADS`
    /// sets another number of workers. Like `RAYON_NUM_THREADS`, it is read once, and passed over where it is 0 or no
    /// number; one that is larger than a pool can be stands for the largest. If the threads cannot start, this is an
    /// [`inline`](Pool::inline) pool.
    ///
    /// Everybody in the process shares these workers, so no item may wait for another one that needs a worker too: with a bounded
    /// channel, the items that send may take all workers while those that receive wait behind them. For items that wait for
    /// each other, give a number or [`Cores`](crate::Cores): such a call has its workers alone.
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
        GLOBAL.get_or_init(|| Pool::new(default_threads()).unwrap_or_else(|_| Pool::inline()))
    }
}

impl PoolBuilder {
    pub(super) fn new() -> Self {
        PoolBuilder {
            threads: None,
            name: Arc::from(DEFAULT_NAME),
            stack_size: None,
            trace: None,
            trace_sink: TraceSink::default(),
            observer: None,
            sink: None,
            on_start: None,
            on_exit: None,
        }
    }

    /// Sets the number of workers. The default is one per available core.
    ///
    /// Rayon's workers search each other's queues when they start and end, so pools of many hundred threads take long for both:
    /// on two cores 1000 workers took 0.7 s to start, as in a pool of rayon's, and 3 s to end.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Sets the name of the workers: `{name}-1`, `{name}-2`, … The default is `PoolWorker`.
    ///
    /// Linux shows the first 15 bytes of a thread's name in its tools; panics and log lines show all of it.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Arc::from(name.into());
        self
    }

    /// Sets the stack size of each worker in bytes. The default is `RUST_MIN_STACK`, if that is set, else 8 MiB, which is what the
    /// main thread usually has (on 32-bit systems 2 MiB). Memory is only used as far as a stack grows. A stack that overflows ends
    /// the process.
    ///
    /// Workers leased by a number have the default size.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Sets how much calls on this pool print of a panic, unless the call itself sets it.
    pub fn trace(mut self, trace: TraceLevel) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Sends the traces of calls on this pool only to the program's logger, not also to standard error.
    ///
    /// They are records with level `ERROR` and target `pool_map`. If no logger accepts these, they go to standard error, so no
    /// panic is lost. Needs the feature `log`.
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
        self.trace_sink = TraceSink::OnlyLogger;
        self
    }

    /// Attaches an observer to every call on this pool, its streams and its tasks, and to their items. Pass an [`Arc`] of it,
    /// or `&Arc`, which is cloned.
    ///
    /// It also sees calls that run in place on one of its workers if they were given this pool, but not if they were given a
    /// number or another pool. A call may have [observers](crate::PoolMap::observe) of its own as well; one that is both is
    /// told once.
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

    /// Sets where the log lines of this pool's workers go, instead of standard output.
    ///
    /// On these workers it overrides [`set_line_sink`](crate::set_line_sink), and follows the same rules.
    pub fn line_sink(mut self, sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.sink = Some(Arc::new(sink));
        self
    }

    /// Sets what each worker runs before its first job; [`build`](PoolBuilder::build) waits for it.
    ///
    /// Every item, task and `install` of this pool finds what the hook has set up on its thread, even if it is requested on a
    /// worker of another pool. The exception is a call that runs in place because pools would otherwise wait for each other in
    /// a circle.
    pub fn on_start(mut self, hook: impl Fn(&Worker) + Send + Sync + 'static) -> Self {
        self.on_start = Some(Arc::new(hook));
        self
    }

    /// Sets what each worker runs after its last job.
    ///
    /// A panic in it prints one line to standard error and is not propagated.
    pub fn on_exit(mut self, hook: impl Fn(&Worker) + Send + Sync + 'static) -> Self {
        self.on_exit = Some(Arc::new(hook));
        self
    }

    /// Starts the workers.
    ///
    /// # Errors
    ///
    /// If the number of threads is 0 or more than a pool can have (65 535 on a 64-bit machine), the name contains a NUL
    /// character, the system refuses a thread, `on_start` panics, or the process is a child made by `fork` of one that had
    /// used pools. The workers that had started by then have ended when this returns.
    pub fn build(self) -> Result<Pool, PoolError> {
        let width = self.threads.unwrap_or_else(available_cores);
        check_threads(width)?;
        if self.name.contains('\0') {
            return Err(Reason::NulInName { name: self.name }.into());
        }
        if is_forked() {
            return Err(Reason::Forked.into());
        }
        // While there are free descriptors.
        stdio::prepare();
        let threads = self.start(width)?;
        let Self { name, trace, trace_sink, observer, .. } = self;
        Ok(Pool::of(threads, Settings { name, width, trace, trace_sink, observer }))
    }

    /// Starts all threads, waits for their `on_start`, and ends them again if any of them fails.
    fn start(&self, width: usize) -> Result<Threads, PoolError> {
        if cfg!(shuttle) {
            return Ok(self.start_without_rayon(width));
        }
        let numbers = Arc::new(NumberBlock::take(&self.name, width));
        let id = next_id();
        let mut threads = Threads::new(id, numbers, width);
        let (report, reports) = mpsc::channel();
        let mut refusal = None;
        let built = rayon::ThreadPoolBuilder::new()
            .num_threads(width)
            // Only a net: our jobs catch. What falls in would otherwise abort the process.
            .panic_handler(unwind::drop_payload)
            .spawn_handler(|rayon_thread| {
                let index = rayon_thread.index();
                let worker = self.worker(index, &threads, &report);
                match self.thread(worker.name()).spawn(move || worker.live(|| rayon_thread.run())) {
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
        // The channel closes when every worker has run `on_start`, well or not.
        if let Some((_, failure)) = reports.into_iter().min_by_key(|&(index, _)| index) {
            return Err(failure);
        }
        threads.start_loops();
        Ok(threads)
    }

    /// Starts the worker loops on threads that are not rayon's, where none fails; see `base/sync.rs`.
    fn start_without_rayon(&self, width: usize) -> Threads {
        let mut threads = Threads::new(next_id(), Arc::new(NumberBlock::take(&self.name, width)), width);
        let (report, _) = mpsc::channel();
        for index in 0..width {
            let (worker, queue) = (self.worker(index, &threads, &report), Arc::clone(&threads.queue));
            threads.joins.push(thread::spawn(move || worker.live(|| queue.work())));
        }
        threads
    }

    fn worker(&self, index: usize, threads: &Threads, report: &FailureSender) -> WorkerThread {
        let name = Arc::from(threads.numbers.worker_name(index));
        let worker = Worker { name, index, pool: Arc::clone(&self.name) };
        WorkerThread {
            current: CurrentWorker { worker, sink: self.sink.clone(), pool_id: threads.id },
            on_start: self.on_start.clone(),
            on_exit: self.on_exit.clone(),
            report: report.clone(),
            numbers: Arc::clone(&threads.numbers),
        }
    }

    fn thread(&self, name: &str) -> thread::Builder {
        let builder = thread::Builder::new().name(name.to_owned());
        let has_variable = || std::env::var_os("RUST_MIN_STACK").is_some();
        match self.stack_size.or_else(|| STACK_SIZE.filter(|_| !has_variable())) {
            // The standard library rounds up to whole pages, which must not overflow; nobody has that much to give.
            Some(bytes) => builder.stack_size(bytes.min(isize::MAX.unsigned_abs())),
            None => builder,
        }
    }
}

/// A number for a pool that no other pool of the process has.
fn next_id() -> PoolId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
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

/// How many workers the pool of the process has, and a lease of [`Cores`](super::lease::Cores): `POOL_MAP_THREADS`, or one per
/// available core.
pub(super) fn default_threads() -> usize {
    // Of those that never wait: after a fork, the thread that was about to set it may not be in this process.
    static THREADS: OnceNonZeroUsize = OnceNonZeroUsize::new();
    let choose = || {
        let variable = std::env::var("POOL_MAP_THREADS").ok();
        let threads = from_variable(variable.as_deref()).unwrap_or_else(available_cores);
        NonZeroUsize::new(threads).expect("BUG: at least one")
    };
    THREADS.get_or_init(choose).get()
}

/// What is no number is passed over, and so is 0, as `RAYON_NUM_THREADS` has it.
fn from_variable(value: Option<&str>) -> Option<usize> {
    // However wide a `usize` is, a large number is the largest.
    let threads: u64 = value?.parse().ok()?;
    (threads > 0).then(|| usize::try_from(threads).unwrap_or(usize::MAX).min(rayon::max_num_threads()))
}

fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(rayon::max_num_threads())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_no_number_of_threads_is_passed_over() {
        let most = rayon::max_num_threads();
        for (value, threads) in [("3", Some(3)), ("1", Some(1)), ("99999999999", Some(most))] {
            assert_eq!(from_variable(Some(value)), threads, "{value}");
        }
        for value in ["0", "", " 3", "-1", "four", "3.0", "99999999999999999999999"] {
            assert_eq!(from_variable(Some(value)), None, "{value}");
        }
        assert_eq!(from_variable(None), None);
    }

    #[test]
    fn a_pool_may_have_as_many_workers_as_rayon_knows() {
        let most = rayon::max_num_threads();
        assert!(check_threads(most).is_ok());
        let text = check_threads(most + 1).map_err(|error| error.to_string());
        assert!(text.is_err_and(|text| text.contains(&most.to_string())));
    }
}
