//! [`Observer`], and what it is told: of calls, and of items.

use super::timeline::Timeline;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sees what calls do: for a progress bar, a metric, a timeline.
///
/// Attach one to a call with [`observe`](crate::PoolMap::observe), or to all calls of a pool with
/// [`observer`](crate::PoolBuilder::observer). This crate has one, [`Timeline`].
///
/// By default every method does nothing. A call from which a result is requested causes one `call_started`, then
/// `task_started` and `task_finished` for each item that runs, then one `call_finished`. The methods for items run on the
/// thread that runs the item, several at once and in any order. Those for calls run on the thread that requests the results,
/// with two exceptions:
///
/// - A [stream](crate::PoolImap) that is dropped before its end finishes with its last item, on the worker that ran it. A
///   leaked stream never finishes, unless it belongs to a [scope](crate::scope()).
/// - A [task](crate::Pool::spawn) is a call with one item, and starts when it is spawned. It finishes on the thread that ran
///   or cancelled it, before its result can be seen.
///
/// Calls inside `f`, and calls that run in place for another reason, are reported like any other, with the thread that they
/// ran on. Their own observers and that of the pool they were given are told. [`TaskInfo::depth`] marks the items that ran
/// inside another item.
///
/// # Panics
///
/// A panic of an observer is not propagated and changes no result. It prints one line to standard error, and that observer
/// sees nothing more of that call.
///
/// # Performance
///
/// Free when no observer is attached. With one, an item costs two readings of the clock and what the observer does; with
/// timelines only, mostly one reading (bench `observe`).
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
pub trait Observer: Send + Sync {
    /// The first result of a call is requested.
    fn call_started(&self, call: &CallInfo<'_>) {
        let _ = call;
    }

    /// An item starts. [`task_finished`](Self::task_finished) follows on the same thread.
    fn task_started(&self, task: &TaskStart<'_>) {
        let _ = task;
    }

    /// An item has returned or panicked.
    fn task_finished(&self, task: &TaskInfo<'_>) {
        let _ = task;
    }

    /// Returns a [`Timeline`] that records the items in place of `task_finished`.
    ///
    /// For an observer that holds a timeline and only needs to see calls itself: recording costs less. It is called once for
    /// each chunk of items that a thread runs. The observer still passes `call_started` and `call_finished` on.
    fn timeline(&self) -> Option<&Timeline> {
        None
    }

    /// A call has delivered its last result, has raised a panic, or was dropped before its end. None of its items is running;
    /// the source of a stream may be.
    fn call_finished(&self, call: &CallInfo<'_>) {
        let _ = call;
    }
}

/// How an item ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskOutcome {
    /// `f` returned, even if it returned an `Err`.
    Returned,
    /// `f` panicked, whether the panic is raised or is a value.
    Panicked,
}

/// An item that ran, as an [`Observer`] sees it.
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
    pub(crate) outcome: TaskOutcome,
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

    /// When it started.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.start
    }

    /// When it ended.
    #[must_use]
    pub fn end(&self) -> Instant {
        self.end
    }

    /// How long it took, in wall time, even if the thread had no core.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.end.saturating_duration_since(self.start)
    }

    /// Whether it returned or panicked.
    #[must_use]
    pub fn outcome(&self) -> TaskOutcome {
        self.outcome
    }
}

/// An item that starts, as an [`Observer`] sees it.
#[derive(Clone, Copy, Debug)]
pub struct TaskStart<'a> {
    pub(crate) call: u64,
    pub(crate) label: Option<&'a str>,
    pub(crate) index: u64,
    pub(crate) worker: &'a str,
    /// `None` on a thread that is no worker.
    pub(crate) worker_index: Option<usize>,
    pub(crate) depth: usize,
    pub(crate) start: Instant,
}

impl<'a> TaskStart<'a> {
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

    /// The name of the thread that runs it, as in [`TaskInfo::worker`].
    #[must_use]
    pub fn worker(&self) -> &'a str {
        self.worker
    }

    /// The [index](crate::Worker::index) of that thread in its pool; `None` where it is no worker.
    #[must_use]
    pub fn worker_index(&self) -> Option<usize> {
        self.worker_index
    }

    /// As [`TaskInfo::depth`].
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// When it started.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.start
    }
}

/// A call, as an [`Observer`] sees it at its start and at its end.
///
/// At the start, [`items`](Self::items) and the times are zero.
#[derive(Clone, Copy, Debug)]
pub struct CallInfo<'a> {
    pub(crate) start: &'a CallStart,
    pub(crate) method: &'static str,
    pub(crate) site: &'static Location<'static>,
    pub(crate) label: Option<&'a str>,
    pub(crate) totals: CallTotals,
}

/// What is known of a call when it starts.
#[derive(Clone, Debug)]
pub(crate) struct CallStart {
    pub(crate) id: u64,
    pub(crate) started: Instant,
    pub(crate) size_hint: (usize, Option<usize>),
    pub(crate) workers: usize,
    pub(crate) role: CallerRole,
    pub(crate) depth: usize,
    pub(crate) caller: Arc<str>,
}

/// What the thread that makes a call does for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallerRole {
    /// It pulls the source and takes the results.
    Both,
    /// It takes the results; the source has a feeder.
    Results,
    /// Nothing: the call is a task.
    Nothing,
}

/// What is known of a call at its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CallTotals {
    pub(crate) items: u64,
    pub(crate) elapsed: Duration,
    pub(crate) source: Duration,
    pub(crate) waiting: Duration,
}

impl<'a> CallInfo<'a> {
    /// A number that is unique among the calls of this process.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.start.id
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

    /// The size hint of the source at the start; one item for a task.
    #[must_use]
    pub fn size_hint(&self) -> (usize, Option<usize>) {
        self.start.size_hint
    }

    /// How many threads may run its items: the workers it was given, or 1 if it runs in place, on the thread that requests the
    /// results.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.start.workers
    }

    /// How many items of calls with the same observer it was made inside of, on the same thread: 0 for an outermost call.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.start.depth
    }

    /// Whether a feeder thread pulls its source, as with streams that do not run in place.
    #[must_use]
    pub fn has_feeder(&self) -> bool {
        self.start.role == CallerRole::Results
    }

    /// The name of the thread that requested the first result, or spawned the task.
    #[must_use]
    pub fn caller(&self) -> &'a str {
        &self.start.caller
    }

    /// When the first result was requested, or the task was spawned.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.start.started
    }

    /// How many items were pulled from the source.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.totals.items
    }

    /// How long it took, from [`started`](Self::started) to its end.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.totals.elapsed
    }

    /// How much of [`elapsed`](Self::elapsed) the source took for its items. If the source [has a feeder](Self::has_feeder),
    /// this is time on the feeder, not on the caller's thread.
    #[must_use]
    pub fn source_time(&self) -> Duration {
        self.totals.source
    }

    /// How much of [`elapsed`](Self::elapsed) the caller's thread waited for results, or worked for them itself.
    ///
    /// The rest of the time, without [`source_time`](Self::source_time) if there is no [feeder](Self::has_feeder), went into
    /// consuming the results. It is 0 for a task, which does not know who waits for it.
    #[must_use]
    pub fn waiting_time(&self) -> Duration {
        self.totals.waiting
    }
}
