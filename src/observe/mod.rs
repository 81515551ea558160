//! What a run looks like from outside: who is told of calls and items, and what they are told.
//!
//! A [`ObserverRef`] is one observer of one call. Whoever runs items asks for the watches of the call once a chunk, so a call that has
//! none pays for that question and nothing else; with one, each item has its clock readings and is told when it ends.

mod chrome;
#[cfg(test)]
mod golden;
mod joblog;
mod summary;
mod svg;
mod timeline;

pub use self::timeline::Timeline;

use crate::base::current_worker::{self, name_of_this_thread};
use crate::panics::{self, Call, LineKind};
use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Is told what calls do: for a progress bar, a metric, a timeline.
///
/// Attach one to a call with [`observe`](crate::PoolMap::observe), or to all calls of a pool with
/// [`observer`](crate::PoolBuilder::observer). [`Timeline`] is one that comes with the crate.
///
/// Every method does nothing by default. For each call that is asked for a result there is one `call_started`, then one
/// `task_finished` for each item that ran, then one `call_finished`. Items are told on the thread that ran them, several at once
/// and in any order; the other two come on the thread that asks for the results, but for these:
///
/// - A [stream that runs ahead](crate::PoolImap) and is dropped before its end is over when its last item has ended, and that is
///   told on the worker which ran it. A stream that is forgotten has no end, unless it is that of its [scope](crate::adaptors::scope()).
/// - A [task](crate::Pool::spawn) is a call of one item, and starts when it is spawned. Its end is told where it ran, before
///   anybody has its outcome; or where it was cancelled.
///
/// Calls inside `f`, and calls that run in place for another reason, are reported like any other, with the thread they
/// ran on, to their own observers and to that of the pool they were given; [`TaskInfo::depth`] tells the items that ran
/// inside another item.
///
/// # Panics
///
/// A panic of an observer goes no further: the results are those of a call without it. It leaves a line on standard error,
/// and for the rest of that call the observer is not told anything more.
///
/// # Performance
///
/// A call without an observer pays nothing for there being such a thing. An item of a call with one costs two readings of the
/// clock, and what the observer does (`cargo bench -p pool-map-benches --bench observe`).
///
/// # Examples
///
/// ```
/// use pool_map::{Observer, PoolIterator, TaskInfo};
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// #[derive(Default)]
/// struct Count(AtomicUsize);
///
/// impl Observer for Count {
///     fn task_finished(&self, _: &TaskInfo<'_>) {
///         self.0.fetch_add(1, Ordering::Relaxed);
///     }
/// }
///
/// let count = Count::default();
/// let squares: Vec<u64> = (0..8).pool_map(4, |x| x * x).observe(&count).collect();
/// assert_eq!(squares.len(), 8);
/// assert_eq!(count.0.into_inner(), 8);
/// ```
pub trait Observer: Sync {
    /// A call is asked for its first result.
    fn call_started(&self, call: &CallInfo<'_>) {
        let _ = call;
    }

    /// An item ran to its end, or to its panic.
    fn task_finished(&self, task: &TaskInfo<'_>) {
        let _ = task;
    }

    /// A call has given its last result, has raised a panic, or was dropped before its end. None of its items runs any more;
    /// of a stream, the source may.
    fn call_finished(&self, call: &CallInfo<'_>) {
        let _ = call;
    }

    /// By what one observer is known, through whatever points to it: its address, or 0 where it has no size.
    #[doc(hidden)]
    fn __identity(&self) -> usize {
        if size_of_val(self) == 0 { 0 } else { std::ptr::from_ref(self).cast::<()>().addr() }
    }
}

macro_rules! observe_through {
    ($([$($generics:tt)*] $pointer:ty;)*) => {$(
        impl<$($generics)*> Observer for $pointer {
            fn call_started(&self, call: &CallInfo<'_>) {
                (**self).call_started(call);
            }

            fn task_finished(&self, task: &TaskInfo<'_>) {
                (**self).task_finished(task);
            }

            fn call_finished(&self, call: &CallInfo<'_>) {
                (**self).call_finished(call);
            }

            fn __identity(&self) -> usize {
                (**self).__identity()
            }
        }
    )*};
}

observe_through! {
    [T: Observer + ?Sized] &T;
    [T: Observer + ?Sized] Box<T>;
    [T: Observer + Send + ?Sized] Arc<T>;
}

/// An observer that a pool keeps.
pub(crate) type SharedObserver = Arc<dyn Observer + Send>;

/// How an item ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// `f` returned, be it an `Err`.
    Returned,
    /// `f` panicked, whether the panic is raised again or comes as a value.
    Panicked,
}

/// One item that ran: what an [`Observer`] is told of it.
#[derive(Clone, Copy, Debug)]
pub struct TaskInfo<'a> {
    pub(crate) call: u64,
    pub(crate) label: Option<&'a str>,
    pub(crate) index: u64,
    pub(crate) worker: &'a str,
    /// `None` on a thread that is no worker.
    pub(crate) worker_index: Option<usize>,
    pub(crate) depth: usize,
    pub(crate) start: Instant,
    pub(crate) end: Instant,
    pub(crate) outcome: Outcome,
}

impl<'a> TaskInfo<'a> {
    /// The [`id`](CallInfo::id) of the call.
    #[must_use]
    pub fn call(&self) -> u64 {
        self.call
    }

    /// The name given to the call with [`named`](crate::PoolMap::named).
    #[must_use]
    pub fn label(&self) -> Option<&'a str> {
        self.label
    }

    /// The index of the item, counted from 0 in the order of the source.
    #[must_use]
    pub fn index(&self) -> usize {
        usize::try_from(self.index).unwrap_or(usize::MAX)
    }

    /// The name of the thread that ran it: `PoolWorker-1`, or that of the caller where the call ran in place.
    #[must_use]
    pub fn worker(&self) -> &'a str {
        self.worker
    }

    /// The [index](crate::Worker::index) of that thread in its pool; `None` where it is no worker.
    #[must_use]
    pub fn worker_index(&self) -> Option<usize> {
        self.worker_index
    }

    /// How many items of calls with the same observer this one ran inside of, on the same thread: 0 but for nested calls.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// When it began.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.start
    }

    /// When it ended.
    #[must_use]
    pub fn end(&self) -> Instant {
        self.end
    }

    /// How long it took: wall time, whether the thread had a core or not.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.end.saturating_duration_since(self.start)
    }

    /// Whether it returned or panicked.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }
}

/// One call: what an [`Observer`] is told at its start and at its end.
///
/// What only time can tell ([`items`](Self::items), the times) is zero at the start.
#[derive(Clone, Copy, Debug)]
pub struct CallInfo<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) method: &'static str,
    pub(crate) site: &'static Location<'static>,
    pub(crate) label: Option<&'a str>,
    pub(crate) tally: Tally,
}

/// What is known of a call when it starts.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) id: u64,
    pub(crate) started: Instant,
    pub(crate) size_hint: (usize, Option<usize>),
    pub(crate) workers: usize,
    pub(crate) part: Part,
    pub(crate) depth: usize,
    pub(crate) caller: Arc<str>,
}

/// What the thread that makes a call does for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It pulls the source and takes the results.
    Both,
    /// It takes the results; the source has a feeder.
    Results,
    /// Nothing: the call is a task.
    Nothing,
}

/// What is known of a call at its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) items: u64,
    pub(crate) elapsed: Duration,
    pub(crate) source: Duration,
    pub(crate) waiting: Duration,
}

impl<'a> CallInfo<'a> {
    /// A number that no other call of this process has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.facts.id
    }

    /// The method that was called: `pool_map`, `pool_for_each`, `Pool::map`, `Pool::spawn`…
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// Where it was called.
    #[must_use]
    pub fn site(&self) -> &'static Location<'static> {
        self.site
    }

    /// The name given to it with [`named`](crate::PoolMap::named).
    #[must_use]
    pub fn label(&self) -> Option<&'a str> {
        self.label
    }

    /// What the iterator said of its length at the start; one item for a task.
    #[must_use]
    pub fn size_hint(&self) -> (usize, Option<usize>) {
        self.facts.size_hint
    }

    /// How many threads may run its items: the workers it was given, or 1 where it runs in place, on the thread that asks for
    /// the results.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.facts.workers
    }

    /// How many items of calls with the same observer it was made inside of, on the same thread: 0 for an outermost call.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.facts.depth
    }

    /// Whether its source is pulled by a thread of its own, as that of a stream that runs ahead is, unless it runs in place.
    #[must_use]
    pub fn has_feeder(&self) -> bool {
        self.facts.part == Part::Results
    }

    /// The name of the thread that asked for the first result, or spawned the task.
    #[must_use]
    pub fn caller(&self) -> &'a str {
        &self.facts.caller
    }

    /// When it was asked for the first result, or the task was spawned.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.facts.started
    }

    /// How many items were pulled from the source.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.tally.items
    }

    /// How long it took, from [`started`](Self::started) to the end.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.tally.elapsed
    }

    /// How long the source took for its items, of [`elapsed`](Self::elapsed). Where the source [has a
    /// feeder](Self::has_feeder), that is time of the feeder, not of the caller's thread.
    #[must_use]
    pub fn source_time(&self) -> Duration {
        self.tally.source
    }

    /// How long the caller's thread waited for results, or worked for them itself, of [`elapsed`](Self::elapsed).
    ///
    /// What is left of it when this is taken away, and [`source_time`](Self::source_time) too unless it is that of a
    /// [feeder](Self::has_feeder), is the time of whatever consumes the results. A task does not know who waits for it: 0.
    #[must_use]
    pub fn waiting_time(&self) -> Duration {
        self.tally.waiting
    }
}

// ---- One observer of one call ---------------------------------------------------------------------------------------

/// One observer of one call, from the first result asked for to the end.
pub struct ObserverRef<'a> {
    observer: Handle<'a>,
    /// Set when the call starts; only then is it told to have finished.
    started: OnceLock<(Facts, Arc<Call>)>,
    /// No more is told: the call has finished, or the observer has panicked.
    over: AtomicBool,
    // Written by whichever thread pulls the source, and by the caller's.
    items: AtomicU64,
    source_ns: AtomicU64,
    waiting_ns: AtomicU64,
}

enum Handle<'a> {
    /// That of `observe`.
    Borrowed(&'a dyn Observer),
    /// That of `observe`, where items may outlive the iterator.
    Owned(Box<dyn Observer + Send + 'a>),
    /// That of a pool.
    Shared(SharedObserver),
}

impl<'a> ObserverRef<'a> {
    pub(crate) fn borrowed(observer: &'a dyn Observer) -> Self {
        ObserverRef::new(Handle::Borrowed(observer))
    }

    pub(crate) fn owned(observer: impl Observer + Send + 'a) -> Self {
        ObserverRef::new(Handle::Owned(Box::new(observer)))
    }

    pub(crate) fn shared(observer: SharedObserver) -> Self {
        ObserverRef::new(Handle::Shared(observer))
    }

    fn new(observer: Handle<'a>) -> Self {
        let none = || AtomicU64::new(0);
        let (items, source_ns, waiting_ns) = (none(), none(), none());
        ObserverRef { observer, started: OnceLock::new(), over: AtomicBool::new(false), items, source_ns, waiting_ns }
    }

    fn observer(&self) -> &dyn Observer {
        match &self.observer {
            Handle::Borrowed(observer) => *observer,
            Handle::Owned(observer) => &**observer,
            Handle::Shared(observer) => &**observer,
        }
    }

    /// Whether `other` tells the same observer. Two without a size are taken for different ones.
    pub(crate) fn is_twin_of(&self, other: &ObserverRef<'_>) -> bool {
        let identity = self.observer().__identity();
        identity != 0 && identity == other.observer().__identity()
    }

    /// Tells of the start, once.
    pub(crate) fn start(&self, call: &Arc<Call>, workers: usize, size_hint: (usize, Option<usize>), part: Part) {
        static CALLS: AtomicU64 = AtomicU64::new(1);

        if self.started.get().is_some() {
            return;
        }
        let (id, started) = (CALLS.fetch_add(1, Ordering::Relaxed), Instant::now());
        let facts = Facts { id, started, size_hint, workers, part, depth: depth_of(self), caller: thread_name() };
        if self.started.set((facts, Arc::clone(call))).is_ok() {
            self.tell(|observer| observer.call_started(&self.info(Duration::ZERO).expect("BUG: it has just started")));
        }
    }

    /// Tells of the end, once, and only of what has started.
    pub(crate) fn finish(&self) {
        if let Some((facts, _)) = self.started.get() {
            let elapsed = facts.started.elapsed();
            let tell = || self.observer().call_finished(&self.info(elapsed).expect("BUG: it has started"));
            if !self.over.swap(true, Ordering::Relaxed) {
                panics::keep_in(LineKind::Observer, tell);
            }
        }
    }

    fn info(&self, elapsed: Duration) -> Option<CallInfo<'_>> {
        let (facts, call) = self.started.get()?;
        let nanos = |counter: &AtomicU64| Duration::from_nanos(counter.load(Ordering::Relaxed));
        let items = self.items.load(Ordering::Relaxed);
        let tally = Tally { items, elapsed, source: nanos(&self.source_ns), waiting: nanos(&self.waiting_ns) };
        Some(CallInfo { facts, method: call.method(), site: call.site(), label: call.label(), tally })
    }

    /// The source gave `items` items, in so much time.
    pub(crate) fn pulled(&self, items: usize, took: Duration) {
        self.items.fetch_add(items as u64, Ordering::Relaxed);
        self.source_ns.fetch_add(nanos(took), Ordering::Relaxed);
    }

    /// The caller's thread waited for results.
    pub(crate) fn waited(&self, took: Duration) {
        self.waiting_ns.fetch_add(nanos(took), Ordering::Relaxed);
    }

    /// Whoever watches a loop must not change it: a panic of the observer stays in here, and was its last word.
    fn tell(&self, news: impl FnOnce(&dyn Observer)) {
        if !self.over.load(Ordering::Relaxed) && !panics::keep_in(LineKind::Observer, || news(self.observer())) {
            self.over.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for ObserverRef<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}

impl fmt::Debug for ObserverRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserverRef").field("started", &self.started).finish_non_exhaustive()
    }
}

/// Asks a source for one item, and lets those who watch know how long it took.
pub(crate) fn pull<T>(watches: &[&ObserverRef<'_>], next: impl FnOnce() -> Option<T>) -> Option<T> {
    if watches.is_empty() {
        return next();
    }
    let start = Instant::now();
    let item = next();
    let took = start.elapsed();
    for watch in watches {
        watch.pulled(usize::from(item.is_some()), took);
    }
    item
}

/// Lets those who watch know how long the caller waits for results in `wait`.
pub(crate) fn wait<R>(watches: &[&ObserverRef<'_>], wait: impl FnOnce() -> R) -> R {
    if watches.is_empty() {
        return wait();
    }
    let start = Instant::now();
    let result = wait();
    let took = start.elapsed();
    for watch in watches {
        watch.waited(took);
    }
    result
}

fn nanos(time: Duration) -> u64 {
    // Twice for every item that is watched, so without a detour by 128 bits.
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(time.subsec_nanos()))
}

// ---- The items of one chunk -----------------------------------------------------------------------------------------

thread_local! {
    /// The identities of the observers of the items that this thread is in the middle of, outermost first.
    static ENCLOSING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    /// A thread never changes its name.
    static NAME: OnceCell<Arc<str>> = const { OnceCell::new() };
}

/// How many items with this observer this thread is in the middle of.
fn depth_of(watch: &ObserverRef<'_>) -> usize {
    let own = watch.observer().__identity();
    let count = |enclosing: &RefCell<Vec<usize>>| enclosing.borrow().iter().filter(|&&other| other == own).count();
    ENCLOSING.try_with(count).unwrap_or(0)
}

fn thread_name() -> Arc<str> {
    NAME.try_with(|cell| Arc::clone(cell.get_or_init(name_of_this_thread)))
        .unwrap_or_else(|_| Arc::from("ending thread"))
}

/// Items that this thread runs in a row, for those who watch them.
pub(crate) struct ItemTimer<'w> {
    /// Each with the depth of its items.
    watches: Vec<(&'w ObserverRef<'w>, usize)>,
    worker: Arc<str>,
    worker_index: Option<usize>,
}

impl<'w> ItemTimer<'w> {
    pub(crate) fn begin(watches: Vec<&'w ObserverRef<'w>>) -> Self {
        let watches: Vec<_> = watches.into_iter().map(|watch| (watch, depth_of(watch))).collect();
        let identities = watches.iter().map(|(watch, _)| watch.observer().__identity());
        // A thread at its end has no such list any more, and nothing that could be nested.
        let _ = ENCLOSING.try_with(|enclosing| enclosing.borrow_mut().extend(identities));
        let worker_index = current_worker::index();
        ItemTimer { watches, worker: thread_name(), worker_index }
    }

    /// Tells of one item, which began at `start` and ends now or, without an observer, is not told of at all.
    pub(crate) fn tell(&self, index: u64, start: Instant, outcome: Outcome) {
        if self.watches.is_empty() {
            return;
        }
        let end = Instant::now();
        for &(watch, depth) in &self.watches {
            let Some((facts, call)) = watch.started.get() else { continue };
            let ItemTimer { worker, worker_index, .. } = self;
            let (call, label) = (facts.id, call.label());
            let worker_index = *worker_index;
            let task = TaskInfo { call, label, index, worker, worker_index, depth, start, end, outcome };
            watch.tell(|observer| observer.task_finished(&task));
        }
    }
}

impl Drop for ItemTimer<'_> {
    fn drop(&mut self) {
        let count = self.watches.len();
        let _ = ENCLOSING.try_with(|enclosing| {
            let mut enclosing = enclosing.borrow_mut();
            let rest = enclosing.len().saturating_sub(count);
            enclosing.truncate(rest);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_shared_by_the_workers() {
        fn check<T: Send + Sync>() {}
        check::<ObserverRef<'_>>();
    }
}
