//! What may stand for a pool in a call, and the idle pools behind a plain number.
//!
//! `it.pool_map(4, f)` names no pool, so each call leases one of exactly four workers: an idle one if there is one,
//! else a new one. A lease has its pool alone and puts it back among the idle ones when dropped.

use std::num::NonZeroUsize;
use std::ops::Deref;
use std::time::{Duration, Instant};
use std::{mem, thread};

use once_cell::race::OnceBool;
use parking_lot::Mutex;

use crate::base::current_worker::Worker;
use crate::base::fork::is_forked;
use crate::observe::SharedObserver;
use crate::panics::TraceSink;
use crate::panics::text::TraceLevel;
use crate::threads::builder::{check_threads, default_threads};
use crate::threads::pool::Pool;
use crate::threads::wait_graph::WaitPermit;

/// How many threads may be idle at once, in all pools of the cache. The pool returned last is kept whatever its size,
/// or a loop on more workers than this would start them anew for each of its batches.
const MOST_IDLE_THREADS: usize = 256;

/// How long a pool stays idle before its threads are ended.
const KEPT_IDLE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });

/// The workers of a call: a number of threads, or a [`Pool`].
///
/// | first argument | workers |
/// |---|---|
/// | `usize`, [`NonZeroUsize`] | that many threads, leased from a cache while the call runs |
/// | [`Cores`] | as many as [`Pool::global`] has, leased in the same way |
/// | `&Pool`, `Pool` | that pool's, which other calls may share |
///
/// A call has its leased workers alone. The cache keeps at most 256 idle threads (or one pool, if that is larger), and ends
/// those that were idle for 10 seconds. If the threads of a number cannot start, the call runs on the caller's thread. The
/// same happens to every call by number if the environment variable `POOL_MAP_INLINE` is `1` when the first such call is made.
/// This helps with a debugger: items run one after the other, as with [`Pool::inline`].
/// `POOL_MAP_THREADS` sets how many threads [`Pool::global`] and [`Cores`] have.
///
/// A number starts that many threads, or fewer where the source knows that it has fewer items. They inherit priority, affinity
/// and signal mask from the thread that made the first such call. Their thread-locals are dropped when the threads have been idle for 10 seconds, or
/// never if the program ends before that.
///
/// This trait is sealed: there are no other types. A [`Pool`] is a cheap handle: clone it instead of wrapping it in an
/// [`Arc`](std::sync::Arc). Where it is in one, write `&*pool`.
///
/// # Examples
///
/// ```
/// use pool_map::{IntoPool, Pool};
///
/// fn is_pool(_: impl IntoPool) {}
///
/// is_pool(4);
/// is_pool(Pool::global());
/// ```
///
/// # Panics
///
/// A call given 0, or more than a pool can have (65 535 workers on a 64-bit machine), panics at its own line.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a number of threads (`usize`) nor a `Pool`",
    label = "expected a number of threads (`usize`) or a `Pool`",
    note = "if it is a number `n` of another type, write `n as usize`",
    note = "a `NonZeroUsize`, `Cores` and a `&Pool` are accepted, too; for a pool in an `Arc` or a `Box`, write `&*pool`"
)]
pub trait IntoPool: sealed::ToWorkers {}

/// As many workers as there are cores, leased for one call as by a number: the call has them alone.
///
/// Their number is that of [`Pool::global`], whose workers all calls share: one per available core, or `POOL_MAP_THREADS`.
///
/// # Examples
///
/// ```
/// use pool_map::{Cores, PoolIterator};
///
/// let squares: Vec<u64> = (0..4).pool_map(Cores, |x| x * x).collect();
/// assert_eq!(squares, [0, 1, 4, 9]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cores;

pub(crate) use sealed::ToWorkers;

mod sealed {
    /// The working half of [`IntoPool`](super::IntoPool), out of reach for other crates.
    #[expect(unnameable_types, reason = "a sealed trait: nobody else may implement it")]
    pub trait ToWorkers {
        #[track_caller]
        fn to_workers(self) -> super::Workers;
    }
}

/// The workers a call was given, before it takes hold of any.
#[derive(Clone, Debug)]
#[expect(unnameable_types, reason = "what a sealed trait deals in")]
pub enum Workers {
    /// So many, leased each time.
    Leased(NonZeroUsize),
    /// Those of a pool that others may use too.
    Shared(Pool),
}

impl Workers {
    /// Takes hold of the workers until the lease is dropped. No more are started than there are `items`, if that is known.
    pub(crate) fn get(&self, items: Option<usize>) -> Lease {
        match self {
            Workers::Leased(threads) => lease(*threads, items),
            Workers::Shared(pool) => Lease { pool: Some(pool.clone()), goes_back: false },
        }
    }

    /// The same for a call that waits for its jobs on this thread; `None` where it has to run in place: where threads cannot
    /// start, where a number was given on a worker of ours, and on a worker of the pool itself or of one that it waits for.
    pub(crate) fn get_to_wait(&self, items: Option<usize>) -> Option<WaitingLease> {
        if matches!(self, Workers::Leased(_)) && Worker::is_here() {
            return None;
        }
        let lease = self.get(items);
        let permit = WaitPermit::for_pool(lease.id()?)?;
        Some(WaitingLease { lease, _permit: permit })
    }

    /// How much its panics print, where the pool says.
    pub(crate) fn trace(&self) -> Option<TraceLevel> {
        match self {
            Workers::Leased(_) => None,
            Workers::Shared(pool) => pool.trace(),
        }
    }

    /// Where its traces go.
    pub(crate) fn trace_sink(&self) -> TraceSink {
        match self {
            Workers::Leased(_) => TraceSink::default(),
            Workers::Shared(pool) => pool.trace_sink(),
        }
    }

    /// Who is told of its items, where the pool says.
    pub(crate) fn observer(&self) -> Option<SharedObserver> {
        match self {
            Workers::Leased(_) => None,
            Workers::Shared(pool) => pool.observer(),
        }
    }

    /// How many workers there will be; fewer only where threads cannot start.
    pub(crate) fn threads(&self) -> usize {
        match self {
            Workers::Leased(threads) => threads.get(),
            Workers::Shared(pool) => pool.threads(),
        }
    }
}

// By hand: the compiler shows these lines where a type is none of them.

impl IntoPool for usize {}
impl IntoPool for NonZeroUsize {}
impl IntoPool for Cores {}
impl IntoPool for Pool {}
impl IntoPool for &Pool {}

impl ToWorkers for usize {
    fn to_workers(self) -> Workers {
        leased(self)
    }
}

impl ToWorkers for NonZeroUsize {
    fn to_workers(self) -> Workers {
        leased(self.get())
    }
}

impl ToWorkers for Cores {
    fn to_workers(self) -> Workers {
        leased(default_threads())
    }
}

impl ToWorkers for Pool {
    fn to_workers(self) -> Workers {
        Workers::Shared(self)
    }
}

impl ToWorkers for &Pool {
    fn to_workers(self) -> Workers {
        Workers::Shared(self.clone())
    }
}

#[track_caller]
fn leased(threads: usize) -> Workers {
    if let Err(error) = check_threads(threads) {
        panic!("{error}");
    }
    Workers::Leased(NonZeroUsize::new(threads).expect("BUG: 0 is out of range"))
}

// ---- Leases ---------------------------------------------------------------------------------------------------------

/// A pool for as long as a call works with it.
#[derive(Debug)]
pub(crate) struct Lease {
    /// `Some` until the drop.
    pool: Option<Pool>,
    /// Whether the pool came from the cache, so that this lease has it alone.
    goes_back: bool,
}

impl Deref for Lease {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        self.pool.as_ref().expect("BUG: a lease has its pool until it is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let pool = self.pool.take();
        // Where somebody kept a handle, the next lease would not have the pool alone.
        let goes_back = |pool: &Pool| self.goes_back && pool.is_usable() && pool.is_sole_handle();
        if let Some(pool) = pool.filter(goes_back) {
            give_back(pool);
        }
    }
}

/// A lease whose holder waits for it.
#[derive(Debug)]
pub(crate) struct WaitingLease {
    lease: Lease,
    _permit: WaitPermit,
}

impl Deref for WaitingLease {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        &self.lease
    }
}

/// Whether calls that were given a number run on the caller's thread, for a debugger: `POOL_MAP_INLINE=1`.
fn is_inline() -> bool {
    // Of those that never wait: after a fork, the thread that was about to set it may not be in this process.
    static INLINE: OnceBool = OnceBool::new();
    INLINE.get_or_init(|| std::env::var_os("POOL_MAP_INLINE").is_some_and(|value| value == "1"))
}

/// Leases a pool of `threads` workers, or a new one of fewer that is enough for so many `items`; one without threads where those
/// cannot start, or the environment says so.
pub(crate) fn lease(threads: NonZeroUsize, items: Option<usize>) -> Lease {
    if is_inline() {
        return Lease { pool: Some(Pool::inline()), goes_back: false };
    }
    let threads = threads.get();
    let enough = items.map_or(threads, |items| items.clamp(1, threads));
    let idle = || {
        let idle_pools = &mut CACHE.lock().idle_pools;
        idle_pools.take(threads).or_else(|| idle_pools.take(enough))
    };
    let idle = if is_forked() { None } else { idle() };
    let pool = idle.or_else(|| Pool::new(enough).ok()).unwrap_or_else(Pool::inline);
    Lease { pool: Some(pool), goes_back: true }
}

// ---- The cache ------------------------------------------------------------------------------------------------------

static CACHE: Mutex<Cache> = Mutex::new(Cache { idle_pools: IdlePools::new(), has_reaper: false });

/// The idle pools of the process. No pool is made or ended while this is locked.
struct Cache {
    /// Keyed by number of threads; none of these pools has another handle.
    idle_pools: IdlePools<Pool>,
    /// Whether a `PoolReaper` lives, or is just being started. True whenever the list of idle pools is not empty.
    has_reaper: bool,
}

fn give_back(pool: Pool) {
    let mut cache = CACHE.lock();
    let over = cache.idle_pools.put(pool.threads(), pool, Instant::now());
    let had_reaper = mem::replace(&mut cache.has_reaper, true);
    drop(cache);
    drop(over);
    if had_reaper {
        return;
    }
    if thread::Builder::new().name("PoolReaper".to_owned()).spawn(reap).is_err() {
        // Nobody would end what is idle, so nothing stays idle.
        let left = CACHE.lock().close();
        drop(left);
    }
}

impl Cache {
    /// Empties the cache where no reaper could be had.
    fn close(&mut self) -> Vec<Pool> {
        self.has_reaper = false;
        self.idle_pools.take_all()
    }
}

/// Ends the pools whose time has come, until it finds the cache empty.
///
/// It sleeps to the next deadline, and nothing needs to wake it earlier: whatever happens to the list of idle pools meanwhile, its
/// next deadline only moves further away. An empty list is noticed at that time, not at once, so that a loop which
/// leases and returns one pool in turn does not start a thread each time.
fn reap() {
    loop {
        let mut cache = CACHE.lock();
        let expired = cache.idle_pools.take_expired(Instant::now());
        let deadline = cache.idle_pools.deadline();
        cache.has_reaper = deadline.is_some();
        drop(cache);
        drop(expired);
        let Some(deadline) = deadline else { return };
        thread::sleep(deadline.saturating_duration_since(Instant::now()));
    }
}

/// Idle pools in the order of their return; knows nothing of threads or clocks.
struct IdlePools<P> {
    /// Oldest first. All but the last one have at most `MOST_IDLE_THREADS` threads together with it.
    idle: Vec<Idle<P>>,
}

/// One pool on the list of idle pools.
struct Idle<P> {
    threads: usize,
    since: Instant,
    pool: P,
}

impl<P> IdlePools<P> {
    const fn new() -> IdlePools<P> {
        IdlePools { idle: Vec::new() }
    }

    /// The pool of exactly `threads` threads that was returned last, whose memory is the warmest.
    fn take(&mut self, threads: usize) -> Option<P> {
        let last = self.idle.iter().rposition(|idle| idle.threads == threads)?;
        Some(self.idle.remove(last).pool)
    }

    /// Puts a pool on the list of idle pools and returns those that it pushes off, the oldest ones.
    fn put(&mut self, threads: usize, pool: P, now: Instant) -> Vec<P> {
        self.idle.push(Idle { threads, since: now, pool });
        let mut total = 0_usize;
        // Counted from the newest, which stays; the first that does not fit goes, with all older ones.
        let kept = self.idle.iter().rev().take_while(|idle| {
            let is_newest = total == 0;
            total += idle.threads;
            is_newest || total <= MOST_IDLE_THREADS
        });
        let over = self.idle.len() - kept.count();
        self.idle.drain(..over).map(|idle| idle.pool).collect()
    }

    /// When the oldest pool will have been idle for long; `None` when the list of idle pools is empty.
    fn deadline(&self) -> Option<Instant> {
        self.idle.first().map(|oldest| oldest.since + KEPT_IDLE)
    }

    fn take_expired(&mut self, now: Instant) -> Vec<P> {
        let expired = self.idle.iter().take_while(|idle| idle.since + KEPT_IDLE <= now).count();
        self.idle.drain(..expired).map(|idle| idle.pool).collect()
    }

    fn take_all(&mut self) -> Vec<P> {
        self.idle.drain(..).map(|idle| idle.pool).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::panic::{self, AssertUnwindSafe};
    use std::sync::{Arc, Barrier, mpsc};

    use super::*;
    use crate::testing::child;
    use crate::threads::job_queue::{Job, Owner};

    fn counted(threads: usize) -> Lease {
        lease(NonZeroUsize::new(threads).expect("tests lease one or more"), None)
    }

    #[track_caller]
    fn workers(given: impl IntoPool) -> Workers {
        given.to_workers()
    }

    #[test]
    fn a_plain_number_is_a_usize() {
        assert!(matches!(workers(4), Workers::Leased(threads) if threads.get() == 4));
        assert!(matches!(workers(NonZeroUsize::MIN), Workers::Leased(NonZeroUsize::MIN)));
    }

    #[test]
    fn a_pool_is_itself_by_any_way_to_hold_it() {
        let pool = Arc::new(Pool::builder().name("Itself").threads(1).build().expect("one thread"));
        for workers in [workers(&*pool), workers(Pool::clone(&pool))] {
            assert_eq!(workers.threads(), 1);
            assert_eq!(workers.get(None).worker_names(), ["Itself-1"]);
        }
    }

    #[test]
    fn a_bad_number_panics_at_the_callers_line() {
        let child = child::succeeds(|| {
            let _ = panic::catch_unwind(|| workers(0));
            let _ = panic::catch_unwind(|| workers(usize::MAX));
            println!("before line {}", line!());
        });
        let out = String::from_utf8_lossy(&child.stdout);
        let line = out.lines().find_map(|line| line.split_once("before line ")).expect("it says the line").1;
        let line: u32 = line.trim().parse().expect("a number");
        let err = String::from_utf8_lossy(&child.stderr);
        assert!(err.contains(&format!("lease.rs:{}:", line - 2)), "{err}");
        assert!(err.contains("a pool needs at least one worker, got 0"), "{err}");
        assert!(err.contains(&format!("lease.rs:{}:", line - 1)), "{err}");
        assert!(err.contains(&format!("workers, got {}", usize::MAX)), "{err}");
    }

    #[test]
    fn a_returned_pool_is_leased_again_and_never_twice_at_once() {
        child::succeeds(|| {
            let first = counted(3);
            let names = first.worker_names();
            let second = counted(3);
            assert_ne!(second.worker_names(), names);
            drop(first);
            assert_eq!(counted(3).worker_names(), names);
            assert_eq!(counted(2).threads(), 2, "another size is another pool");
            drop(second);
        });
    }

    #[test]
    fn a_lease_is_returned_by_unwinding_and_by_a_worker() {
        child::succeeds(|| {
            let lease = counted(1);
            let names = lease.worker_names();
            let unwound = panic::catch_unwind(AssertUnwindSafe(move || {
                assert!(lease.worker_names().is_empty(), "unwinds with the lease");
            }));
            assert!(unwound.is_err());
            let lease = counted(1);
            assert_eq!(lease.worker_names(), names);
            counted(2).install(move || drop(lease));
            let lease = counted(1);
            assert_eq!(lease.worker_names(), names);
            let kept = Pool::clone(&lease);
            drop(lease);
            assert_ne!(counted(1).worker_names(), kept.worker_names());
        });
    }

    #[cfg(not(windows))] // The harness needs a thread there.
    #[test]
    fn without_threads_a_lease_is_inline() {
        // No system gives a thread a stack of that size.
        child::with_env("RUST_MIN_STACK", &(usize::MAX / 4 * 3).to_string()).succeeds(|| {
            assert!(Pool::new(4).is_err());
            let lease = counted(4);
            assert!(lease.is_inline() && !lease.is_usable());
            let here = thread::current().id();
            assert_eq!(lease.install(|| thread::current().id()), here);
            assert!(Pool::global().is_inline());
        });
    }

    thread_local! {
        static AT_THE_END: RefCell<Option<Tell>> = const { RefCell::new(None) };
    }

    struct Tell(mpsc::Sender<()>);

    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.send(()).expect("the test waits for every thread");
        }
    }

    #[test]
    fn idle_threads_end_without_being_asked() {
        let (tell, told) = mpsc::channel();
        let lease = counted(2);
        let both = Arc::new(Barrier::new(2));
        for _ in 0..2 {
            let (tell, both) = (Tell(tell.clone()), Arc::clone(&both));
            lease.queue().push(Job::new(Owner::NOBODY, move || {
                both.wait();
                AT_THE_END.set(Some(tell));
            }));
        }
        lease.wait_idle();
        drop((tell, lease));
        // The channel closes when both threads have run their destructors.
        assert_eq!(told.into_iter().count(), 2);
    }

    #[test]
    fn a_shelf_lends_the_newest_of_the_size() {
        let mut idle_pools = IdlePools::new();
        let now = Instant::now();
        for (threads, name) in [(4, "a"), (4, "b"), (2, "c")] {
            assert!(idle_pools.put(threads, name, now).is_empty());
        }
        assert_eq!(idle_pools.take(4), Some("b"));
        assert_eq!(idle_pools.take(4), Some("a"));
        assert_eq!(idle_pools.take(4), None);
        assert_eq!(idle_pools.take_all(), ["c"]);
    }

    #[test]
    fn a_full_list_lets_the_oldest_go() {
        let mut idle_pools = IdlePools::new();
        let now = Instant::now();
        let half = MOST_IDLE_THREADS / 2;
        assert!(idle_pools.put(half - 4, "a", now).is_empty());
        assert!(idle_pools.put(half - 4, "b", now).is_empty());
        assert!(idle_pools.put(8, "c", now).is_empty());
        assert_eq!(idle_pools.put(1, "d", now), ["a"]);
        assert_eq!(idle_pools.put(MOST_IDLE_THREADS + 1, "e", now), ["b", "c", "d"]);
        assert_eq!(idle_pools.put(1, "f", now), ["e"]);
    }

    #[test]
    fn a_pool_expires_after_its_time() {
        let mut idle_pools = IdlePools::new();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        idle_pools.put(1, "a", start);
        idle_pools.put(1, "b", start + second);
        assert_eq!(idle_pools.deadline(), Some(start + KEPT_IDLE));
        assert!(idle_pools.take_expired(start + KEPT_IDLE / 2).is_empty());
        assert_eq!(idle_pools.take_expired(start + KEPT_IDLE), ["a"]);
        assert_eq!(idle_pools.deadline(), Some(start + second + KEPT_IDLE));
        assert_eq!(idle_pools.take_expired(start + 2 * KEPT_IDLE), ["b"]);
        assert_eq!(idle_pools.deadline(), None);
    }
}
