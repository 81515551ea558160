//! [`Observer`], and what it is told: of calls, and of items.

use super::timeline::Timeline;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Is told what calls do: for a progress bar, a metric, a timeline.
///
/// Attach one to a call with [`observe`](crate::PoolMap::observe), or to all calls of a pool with
/// [`observer`](crate::PoolBuilder::observer). [`Timeline`] is one that comes with the crate.
///
/// Every method does nothing by default. For each call that is asked for a result there is one `call_started`, then one
/// `task_started` and one `task_finished` for each item that runs, then one `call_finished`. Items are told on the thread that
/// runs them, several at once and in any order; calls are told on the thread that asks for the results, with two exceptions:
///
/// - A [stream that runs ahead](crate::PoolImap) and is dropped before its end is over when its last item has ended, and that is
///   told on the worker which ran it. A stream that is forgotten has no end, unless it is that of its [scope](crate::scope()).
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
/// clock, and what the observer does; with timelines only, mostly one reading (`cargo bench -p pool-map-benches --bench observe`).
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
    /// A call is asked for its first result.
    fn call_started(&self, call: &CallInfo<'_>) {
        let _ = call;
    }

    /// An item begins. [`task_finished`](Self::task_finished) follows on the same thread.
    fn task_started(&self, task: &TaskStart<'_>) {
        let _ = task;
    }

    /// An item ran to its end, or to its panic.
    fn task_finished(&self, task: &TaskInfo<'_>) {
        let _ = task;
    }

    /// The [`Timeline`] that items are recorded in, instead of being told with `task_finished`.
    ///
    /// For an observer that holds a timeline and is itself interested in calls only: recording costs less than telling. It is asked
    /// once for each chunk of items that a thread runs. The observer passes on `call_started` and `call_finished` as well.
    fn timeline(&self) -> Option<&Timeline> {
        None
    }

    /// A call has given its last result, has raised a panic, or was dropped before its end. None of its items runs any more;
    /// of a stream, the source may.
    fn call_finished(&self, call: &CallInfo<'_>) {
        let _ = call;
    }
}

/// How an item ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskOutcome {
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
    pub fn outcome(&self) -> TaskOutcome {
        self.outcome
    }
}

/// One item that begins: what an [`Observer`] is told of it.
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

    /// When it begins.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.start
    }
}

/// One call: what an [`Observer`] is told at its start and at its end.
///
/// What only time can tell ([`items`](Self::items), the times) is zero at the start.
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
    /// A number that no other call of this process has.
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

    /// What the iterator said of its length at the start; one item for a task.
    #[must_use]
    pub fn size_hint(&self) -> (usize, Option<usize>) {
        self.start.size_hint
    }

    /// How many threads may run its items: the workers it was given, or 1 where it runs in place, on the thread that asks for
    /// the results.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.start.workers
    }

    /// How many items of calls with the same observer it was made inside of, on the same thread: 0 for an outermost call.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.start.depth
    }

    /// Whether its source is pulled by a thread of its own, as that of a stream that runs ahead is, unless it runs in place.
    #[must_use]
    pub fn has_feeder(&self) -> bool {
        self.start.role == CallerRole::Results
    }

    /// The name of the thread that asked for the first result, or spawned the task.
    #[must_use]
    pub fn caller(&self) -> &'a str {
        &self.start.caller
    }

    /// When it was asked for the first result, or the task was spawned.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.start.started
    }

    /// How many items were pulled from the source.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.totals.items
    }

    /// How long it took, from [`started`](Self::started) to the end.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.totals.elapsed
    }

    /// How long the source took for its items, of [`elapsed`](Self::elapsed). Where the source [has a
    /// feeder](Self::has_feeder), that is time of the feeder, not of the caller's thread.
    #[must_use]
    pub fn source_time(&self) -> Duration {
        self.totals.source
    }

    /// How long the caller's thread waited for results, or worked for them itself, of [`elapsed`](Self::elapsed).
    ///
    /// What is left of it when this is taken away, and [`source_time`](Self::source_time) too unless it is that of a
    /// [feeder](Self::has_feeder), is the time of whatever consumes the results. A task does not know who waits for it: 0.
    #[must_use]
    pub fn waiting_time(&self) -> Duration {
        self.totals.waiting
    }
}
