//! [`scope`]: streams that run ahead over borrowed data, and tasks.
//!
//! It is [`std::thread::scope`] for the feeders; each feeder opens a scope on its pool for the workers' part, so that a
//! feeder has ended only when the last item of its stream has. When the body is over, the streams are stopped by what they
//! share with their threads, whatever became of the iterators.

use crate::adaptors::imap::{self, Host, PoolImap, Start};
use crate::adaptors::scoped_task::{ScopeTasks, ScopedTask};
use crate::adaptors::task::TaskState;
use crate::base::fork::is_forked;
use crate::engine::feeder_pulls::{Stop, StreamState};
use crate::engine::stop::WeakList;
use crate::engine::work::{Map, WorkOn};
use crate::log::go_past_the_lock;
use crate::observe::{CallerRole, ObserverRef};
use crate::panics::{self, Call};
use crate::threads::lease::{IntoPool, WaitingLease, Workers};
use crate::threads::names::NumberBlock;
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use std::marker::PhantomData;
use std::sync::Arc;
use std::{fmt, thread};

/// Runs `body`, which may start streams over borrowed data that work ahead, and [tasks](Scope::spawn). Returns when all of
/// them have ended.
///
/// A stream here is that of [`pool_imap`](crate::PoolIterator::pool_imap), for data that outlives the scope but need not be
/// `'static`. A feeder thread pulls the source, and the workers work ahead of the loop body. All streams of a scope share its
/// workers and take turns. A number of threads is leased when the first result is requested.
///
/// When `body` returns or panics, all streams that are left are stopped: no item starts, and results that are ready are
/// dropped. The scope then waits for running items and for a call of the source's `next` in progress, but not longer. A source
/// that blocks for ever therefore blocks the scope for ever. A leaked stream (by [`std::mem::forget`]) is stopped like the
/// others.
///
/// Where `pool_map` would [run in place](crate::guide::guarantees#which-thread-runs-it), so do the streams of a scope:
/// each item when it is requested.
///
/// # Examples
///
/// ```
/// let words = vec!["so".to_owned(), "much".to_owned(), "depends".to_owned()];
/// let mut longest = "";
/// pool_map::scope(2, |s| {
///     for (word, length) in words.iter().zip(s.imap(&words, |word| word.len())) {
///         if length > longest.len() {
///             longest = word;
///         }
///     }
/// });
/// assert_eq!(longest, "depends");
/// ```
///
/// # Panics
///
/// If `pool` is 0, or more threads than a pool can have. If `body` panics, with the same payload, after all streams have
/// ended.
#[track_caller]
pub fn scope<'env, R>(pool: impl IntoPool, body: impl for<'scope> FnOnce(&Scope<'scope, 'env>) -> R) -> R {
    let workers = pool.to_workers();
    // Outlives the feeders, which the thread scope waits for.
    let lease = OnceCell::new();
    let outcome = thread::scope(|threads| {
        let streams = Mutex::new(Some(WeakList::new()));
        let tasks = Arc::new(ScopeTasks::new());
        let shared = Arc::new(Shared { workers, lease: &lease, spawn: spawner(threads), streams, tasks });
        // A thread scope that unwinds waits as well, but not for our streams to be stopped first.
        run_body(&Scope { shared, env: PhantomData }, body)
    });
    outcome.unwrap_or_else(|payload| panics::resume(payload))
}

/// Runs the body and stops what is left of its streams.
fn run_body<'scope, 'env, R>(
    scope: &Scope<'scope, 'env>,
    body: impl FnOnce(&Scope<'scope, 'env>) -> R,
) -> Result<R, panics::Payload> {
    let outcome = panics::catch(|| body(scope));
    let streams = scope.shared.streams.lock().take();
    for stream in streams.into_iter().flat_map(|mut streams| streams.take()) {
        stream.stop();
    }
    scope.shared.tasks.close();
    outcome
}

/// Starts a thread that the thread scope waits for; false if none can start.
type Spawn<'scope> = Box<dyn Fn(String, FeederBody<'scope>) -> bool + Send + Sync + 'scope>;

fn spawner<'scope>(threads: &'scope thread::Scope<'scope, '_>) -> Spawn<'scope> {
    Box::new(|name, job| thread::Builder::new().name(name).spawn_scoped(threads, job).is_ok())
}

type FeederBody<'scope> = Box<dyn FnOnce() + Send + 'scope>;

/// Starts streams and tasks over borrowed data; see [`scope`]. Clones are the same scope.
pub struct Scope<'scope, 'env: 'scope> {
    shared: Arc<Shared<'scope>>,
    env: PhantomData<&'scope mut &'env ()>,
}

/// What a scope and its streams share.
struct Shared<'scope> {
    workers: Workers,
    /// The workers of all streams of this scope, from the first one's start.
    lease: &'scope OnceCell<Option<WaitingLease>>,
    spawn: Spawn<'scope>,
    /// Those that were started; `None` once the body is over.
    streams: Mutex<Option<WeakList<dyn Stop + 'scope>>>,
    tasks: Arc<ScopeTasks<'scope>>,
}

impl Clone for Scope<'_, '_> {
    fn clone(&self) -> Self {
        Scope { shared: Arc::clone(&self.shared), env: PhantomData }
    }
}

impl<'scope> Shared<'scope> {
    /// The workers; `None` where everything runs in place.
    fn lease(&self) -> Option<&'scope WaitingLease> {
        self.lease.get_or_init(|| self.workers.get_to_wait(None)).as_ref()
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a feeder that the scope waits for, for the pool of this lease; false if none can start.
    fn start_feeder(&self, lease: &WaitingLease, feed: impl FnOnce() + Send + 'scope) -> bool {
        let number = NumberBlock::take(&imap::feeder_name(lease.name()), 1);
        let name = number.worker_name(0);
        let feeder = move || {
            go_past_the_lock();
            feed();
            drop(number);
        };
        (self.shared.spawn)(name, Box::new(feeder))
    }

    /// Maps `items` with `f`, in order, working ahead of the loop that takes the results.
    ///
    /// [`pool_imap`](crate::PoolIterator::pool_imap) has the full description. `items` and `f` may borrow from outside the
    /// scope, and `items` may be another stream of this scope: then both work ahead.
    ///
    /// # Examples
    ///
    /// ```
    /// let prices = vec![3, 5, 8];
    /// let rate = 2;
    /// let doubled: Vec<i32> =
    ///     pool_map::scope(4, |s| s.imap(&prices, |price| price * rate).collect());
    /// assert_eq!(doubled, [6, 10, 16]);
    /// ```
    ///
    /// Two stages, on the same workers:
    ///
    /// ```
    /// let names = vec!["so".to_owned(), "much".to_owned()];
    /// let lengths: Vec<usize> = pool_map::scope(2, |s| {
    ///     let upper = s.imap(&names, |name| name.to_uppercase());
    ///     s.imap(upper, |name| name.len()).collect()
    /// });
    /// assert_eq!(lengths, [2, 4]);
    /// ```
    ///
    /// # Panics
    ///
    /// The iterator panics when `f` or the source does, as that of [`pool_imap`](crate::PoolIterator::pool_imap).
    #[track_caller]
    pub fn imap<T, R, F>(&self, items: T, f: F) -> PoolImap<T::IntoIter, Map<F, R>, Self>
    where
        T: IntoIterator<Item: Send + 'scope, IntoIter: Send + 'scope>,
        R: Send + 'scope,
        F: Fn(T::Item) -> R + Send + Sync + 'scope,
    {
        PoolImap::new(items.into_iter(), &self.shared.workers, Map::new(f), "Scope::imap", true, self.clone())
    }

    /// Like [`imap`](Self::imap), but yields each result as soon as it is ready.
    ///
    /// # Examples
    ///
    /// ```
    /// let prices = vec![3, 5, 8];
    /// let total: i32 = pool_map::scope(4, |s| s.imap_unordered(&prices, |price| price * 2).sum());
    /// assert_eq!(total, 32);
    /// ```
    ///
    /// # Panics
    ///
    /// The iterator panics when `f` or the source does, as that of
    /// [`pool_imap_unordered`](crate::PoolIterator::pool_imap_unordered).
    #[track_caller]
    pub fn imap_unordered<T, R, F>(&self, items: T, f: F) -> PoolImap<T::IntoIter, Map<F, R>, Self>
    where
        T: IntoIterator<Item: Send + 'scope, IntoIter: Send + 'scope>,
        R: Send + 'scope,
        F: Fn(T::Item) -> R + Send + Sync + 'scope,
    {
        PoolImap::new(
            items.into_iter(),
            &self.shared.workers,
            Map::new(f),
            "Scope::imap_unordered",
            false,
            self.clone(),
        )
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Runs `f` on a worker of this scope, in the background. `f` may borrow from outside the scope.
    ///
    /// Tasks start in the order in which they were spawned, and take turns with the streams of the scope. The scope returns
    /// when all of them have ended, those that were dropped too, whether its body returns or panics. A task may spawn others
    /// on a [clone](Clone) of the scope. Where streams of the scope would run in place, `f` runs at once on this thread.
    ///
    /// Several can be waited for with [`as_completed`](crate::as_completed).
    ///
    /// # Examples
    ///
    /// ```
    /// let words = vec!["so".to_owned(), "much".to_owned(), "depends".to_owned()];
    /// let (longest, letters) = pool_map::scope(2, |s| {
    ///     let longest = s.spawn(|| words.iter().max_by_key(|word| word.len()));
    ///     let letters = s.spawn(|| words.iter().map(String::len).sum::<usize>());
    ///     (longest.join(), letters.join())
    /// });
    /// println!("{longest:?}, {letters} letters"); // Some("depends"), 13 letters
    /// assert_eq!((longest.unwrap().as_str(), letters), ("depends", 13));
    /// ```
    #[track_caller]
    pub fn spawn<R, F>(&self, f: F) -> ScopedTask<'scope, R>
    where
        R: Send + 'scope,
        F: FnOnce() -> R + Send + 'scope,
    {
        let workers = &self.shared.workers;
        let call = Arc::new(Call::task("Scope::spawn", workers.trace()).with_trace_sink(workers.trace_sink()));
        let lease = if is_forked() { None } else { self.shared.lease() };
        let watch = workers.observer().map(|observer| Box::new(ObserverRef::shared(observer)));
        if let Some(watch) = &watch {
            let workers = lease.map_or(1, |lease| lease.threads());
            watch.start(&call, workers, (1, Some(1)), CallerRole::Nothing);
        }
        let pool = lease.and_then(|lease| Some((lease.id()?, Arc::clone(lease.queue()))));
        let state = Arc::new(TaskState::new(call, watch, pool, f));
        let is_taken = lease.is_some_and(|lease| {
            let (tasks, queue) = (Arc::clone(&self.shared.tasks), Arc::clone(lease.queue()));
            self.shared.tasks.push(Arc::clone(&state) as _, || self.start_feeder(lease, move || tasks.feed(&queue)))
        });
        if !is_taken {
            state.run();
        }
        ScopedTask { state }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("workers", &self.shared.workers).finish_non_exhaustive()
    }
}

impl<'scope, I, W> Host<I, W> for Scope<'scope, '_>
where
    I: Iterator + Send + 'scope,
    I::Item: Send + 'scope,
    W: WorkOn<I::Item> + Send + 'scope,
{
}

impl<'scope, I, W> imap::sealed::StartFeeder<I, W> for Scope<'scope, '_>
where
    I: Iterator + Send + 'scope,
    I::Item: Send + 'scope,
    W: WorkOn<I::Item> + Send + 'scope,
{
    #[expect(private_interfaces, reason = "as in the trait")]
    fn start(&mut self, source: I, stream: &Arc<StreamState<I::Item, W>>) -> Start<I> {
        let shared = &*self.shared;
        // Until it is among those that are stopped at the end.
        let mut streams = shared.streams.lock();
        let Some(streams) = &mut *streams else { return Start::TooLate(source) };
        let Some(lease) = shared.lease() else { return Start::Here(source) };
        let number = NumberBlock::take(&imap::feeder_name(lease.name()), 1);
        stream.set_pool(lease);
        let feed = |stream: &Arc<StreamState<_, _>>, source| stream.feed_borrowed(source);
        if let Err(source) = imap::start_feeder(number, source, &shared.spawn, stream, feed) {
            return Start::Here(source);
        }
        let stream: Arc<dyn Stop + 'scope> = Arc::clone(stream) as _;
        streams.add(Arc::downgrade(&stream));
        Start::Fed
    }

    fn release(&mut self) {}
}
