//! [`Timeline`]: the recorder. It keeps sums that are exact, and spans that merge when they become too many.

use super::rows::Rows;
use super::running::RunningItem;
use super::snapshot::{NamedCall, Snapshot};
use super::spans::nanos;
use parking_lot::Mutex;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Records what each thread did, to print it, draw it, or pass it to other tools.
///
/// It is an [`Observer`](crate::Observer): attach it with [`PoolMap::observe`](crate::PoolMap::observe),
/// [`PoolImap::observe`](crate::PoolImap::observe) or [`PoolBuilder::observer`](crate::PoolBuilder::observer), to one call or
/// to several. You can look at it while they run: it shows an item a millisecond after its end, or when its chunk is done.
/// [Seeing a run](crate::guide::seeing) explains how to read it.
///
/// - Its `Display` is a summary: who did how much, how long they waited, which items were slow, which panicked.
/// - [`write_svg`](Self::write_svg) draws a chart with a row for each thread.
/// - [`write_chrome_trace`](Self::write_chrome_trace) is for the Perfetto UI, `chrome://tracing`, the Firefox Profiler and
///   speedscope.
/// - [`write_joblog`](Self::write_joblog) writes a table like GNU parallel's `--joblog`.
///
/// # Memory
///
/// About 50 bytes per item, up to 131 072 items. After that, neighbouring items of a thread are merged in pictures and files,
/// so a timeline stays under 64 MB however long it runs. Counts, times and the slowest items stay exact.
///
/// Each thread has a row under its name, up to 1024 names. Threads with further names share one row, `others`. Their items
/// count like any other, but pictures and files show those that ran at the same time as one. The first 1024 calls keep their
/// names; later ones are shown as `items`.
///
/// # Examples
///
/// ```
/// use pool_map::{PoolIterator, Timeline};
/// use std::fs::File;
///
/// let timeline = Timeline::new();
/// let total: u64 = (0..100_u64).pool_map(2, |x| x * x).observe(&timeline).sum();
/// assert_eq!((total, timeline.items()), (328_350, 100));
///
/// print!("{timeline}");
/// // 100 items in 312 µs on 2 workers: speed-up 1.34, efficiency 67 %
/// // …
/// # if false {
/// timeline.write_svg(File::create("timeline.svg")?)?;
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Timeline {
    /// Times are kept as nanoseconds since this.
    pub(super) origin: Instant,
    /// The same moment for those who want a date.
    pub(super) origin_date: SystemTime,
    pub(super) rows: Rows,
    pub(super) calls: Mutex<Calls>,
    /// What the picture is headed, in place of its figures.
    title: Option<String>,
}

/// The calls that were seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    /// Calls that have not finished, and when the first of those began.
    pub(super) open: usize,
    pub(super) since: u64,
    /// How long there was at least one of them, up to `since`.
    pub(super) elapsed: u64,
    /// When the first of all began, and when the last one ended.
    pub(super) first: Option<u64>,
    pub(super) last: u64,
    pub(super) count: u64,
    pub(super) workers: usize,
    /// Of finished calls that are no item's: the times of the caller's thread, and of the whole.
    pub(super) source: Duration,
    pub(super) waiting: Duration,
    pub(super) callers: Duration,
    /// Of finished streams: the time that their feeders spent in the source, and of the whole.
    pub(super) fed: Duration,
    pub(super) feeders: Duration,
    pub(super) named: Vec<NamedCall>,
}

impl Timeline {
    /// Creates an empty timeline. Its clock starts now.
    #[must_use]
    pub fn new() -> Self {
        Timeline {
            origin: Instant::now(),
            origin_date: SystemTime::now(),
            rows: Rows::new(),
            calls: Mutex::default(),
            title: None,
        }
    }

    /// Sets the heading of the picture, in place of the figures of the run.
    #[must_use]
    pub fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Returns how many items have run, including those of nested calls.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.rows.sum(|row| row.items + row.nested_items)
    }

    /// Returns how many of them panicked.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.rows.sum(|row| row.panics)
    }

    /// Returns the total run time of the items on all threads. An item inside another one is not counted twice.
    #[must_use]
    pub fn busy(&self) -> Duration {
        self.rows.sum(|row| row.busy)
    }

    /// Returns the items that are running, the oldest first, including items inside other items.
    ///
    /// Call it on another thread to see why a run does not end. An [`Observer`](crate::Observer) that forwards to a timeline has to return it
    /// from [`Observer::timeline`](crate::Observer::timeline) for its items to be listed.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::{PoolIterator, Timeline};
    /// use std::sync::Barrier;
    ///
    /// let (timeline, barrier) = (Timeline::new(), Barrier::new(2));
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         let waits = (7..8).pool_map(1, |_| [barrier.wait(), barrier.wait()]);
    ///         waits.observe(&timeline).for_each(drop);
    ///     });
    ///     barrier.wait();
    ///     for task in timeline.running() {
    ///         let since = task.start().elapsed();
    ///         println!("{} runs item {} since {since:?}", task.worker(), task.index());
    ///     }
    ///     assert_eq!(timeline.running()[0].index(), 0);
    ///     barrier.wait();
    /// });
    /// assert!(timeline.running().is_empty());
    /// ```
    #[must_use]
    pub fn running(&self) -> Vec<RunningTask> {
        let mut running = self.rows.running();
        running.sort_unstable_by_key(|running| running.start);
        let calls = self.calls.lock();
        let task = |running: RunningItem| {
            let label = calls.named.iter().find(|named| named.id == running.call).and_then(|named| named.label.clone());
            let start = self.origin + Duration::from_nanos(running.start);
            RunningTask { call: running.call, label, index: running.index, worker: running.worker, start }
        };
        running.into_iter().map(task).collect()
    }

    /// Returns how long at least one call was running.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.snapshot().elapsed
    }

    pub(super) fn since_origin(&self, moment: Instant) -> u64 {
        nanos(moment.saturating_duration_since(self.origin))
    }

    /// All that is known now. The threads may go on meanwhile.
    pub(super) fn snapshot(&self) -> Snapshot {
        let calls = self.calls.lock().clone();
        let mut named_calls = calls.named;
        named_calls.sort_by_key(|call| call.id);
        let rows = self.rows.copy();
        let spans = || rows.iter().flat_map(|row| row.outer.list.iter().chain(&row.nested.list));
        let now = if calls.open > 0 { self.since_origin(Instant::now()) } else { calls.last };
        let start = calls.first.or_else(|| spans().map(|span| span.start).min()).unwrap_or(0);
        let end = spans().map(|span| span.end).fold(now.max(start), u64::max);
        let open = if calls.open > 0 { now.saturating_sub(calls.since) } else { 0 };
        let elapsed = if calls.first.is_some() { calls.elapsed + open } else { end - start };
        Snapshot {
            title: self.title.clone(),
            origin_date: self.origin_date,
            start,
            end,
            elapsed: Duration::from_nanos(elapsed),
            workers: calls.workers.max(1),
            calls: calls.count,
            named_calls,
            source: calls.source,
            waiting: calls.waiting,
            callers: calls.callers,
            fed: calls.fed,
            feeders: calls.feeders,
            rows,
        }
    }
}

/// A running item, from [`Timeline::running`].
#[derive(Clone, Debug)]
pub struct RunningTask {
    call: u64,
    label: Option<Arc<str>>,
    index: u64,
    worker: Arc<str>,
    start: Instant,
}

impl RunningTask {
    /// The [`id`](crate::CallInfo::id) of the call.
    #[must_use]
    pub fn call(&self) -> u64 {
        self.call
    }

    /// The name given to the call with [`named`](crate::PoolMap::named), if it is one of the first 1024.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// The index of the item, counted from 0 in the order of the source.
    #[must_use]
    pub fn index(&self) -> usize {
        usize::try_from(self.index).unwrap_or(usize::MAX)
    }

    /// The name of the thread that runs it, as in [`TaskInfo::worker`](crate::TaskInfo::worker).
    #[must_use]
    pub fn worker(&self) -> &str {
        &self.worker
    }

    /// When it began.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.start
    }
}

/// A panic of `f` or of an observer leaves no lock of it held and nothing half done.
impl UnwindSafe for Timeline {}
impl RefUnwindSafe for Timeline {}

impl Default for Timeline {
    fn default() -> Self {
        Timeline::new()
    }
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeline").field("items", &self.items()).field("panics", &self.panics()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::observer::{Observer as _, TaskInfo, TaskOutcome};
    use super::super::recorder::MOST_CALLS;
    use super::super::row::{PANICS, SLOWEST};
    use super::super::rows::MOST_ROWS;
    use super::super::spans::{MOST_SPANS, Span};
    use super::*;
    use crate::{Pool, PoolIterator};

    /// Items of a worker that follow each other, each so many nanoseconds after the end of the one before, and as long as `took`
    /// says.
    struct Feed<'t> {
        timeline: &'t Timeline,
        worker: String,
        worker_index: usize,
        now: u64,
    }

    impl<'t> Feed<'t> {
        fn new(timeline: &'t Timeline, worker_index: usize) -> Self {
            Feed { timeline, worker: format!("PoolWorker-{}", worker_index + 1), worker_index, now: 0 }
        }

        fn item(&mut self, index: u64, took: u64, depth: usize, outcome: TaskOutcome) {
            let at = |nanos| self.timeline.origin + Duration::from_nanos(nanos);
            self.timeline.task_finished(&TaskInfo {
                call: 1,
                label: None,
                index,
                worker: &self.worker,
                worker_index: Some(self.worker_index),
                depth,
                start: at(self.now),
                end: at(self.now + took),
                outcome,
            });
        }

        fn next(&mut self, index: u64, took: u64, gap: u64) {
            self.item(
                index,
                took,
                0,
                if index % 1_000_003 == 7 { TaskOutcome::Panicked } else { TaskOutcome::Returned },
            );
            self.now += took + gap;
        }
    }

    impl Timeline {
        fn bytes(&self) -> usize {
            self.rows.bytes()
        }
    }

    /// Feeds items to so many workers in turns, and checks what is exact.
    fn feed(count: u64, workers: usize) -> Timeline {
        let timeline = Timeline::new();
        let mut feeds: Vec<_> = (0..workers).map(|index| Feed::new(&timeline, index)).collect();
        let mut busy = 0;
        let mut panics = 0;
        for index in 0..count {
            let took = if index == count / 2 { 9_000_000 } else { index * 2_654_435_761 % 1000 };
            busy += took;
            panics += u64::from(index % 1_000_003 == 7);
            // A few workers do most of the work.
            let turn = u64::from(index.trailing_zeros()) + if index % 7 == 0 { index } else { 0 };
            let turn = usize::try_from(turn).expect("a small number") % workers;
            feeds[turn].next(index, took, index % 50);
        }
        assert_eq!((timeline.items(), timeline.panics()), (count, panics));
        assert_eq!(timeline.busy(), Duration::from_nanos(busy));
        let snapshot = timeline.snapshot();
        let slowest = snapshot.slowest()[0];
        assert_eq!((slowest.index, slowest.took()), (count / 2, 9_000_000));
        let spans = || snapshot.rows.iter().flat_map(|row| &row.outer.list);
        assert_eq!(spans().map(|span| u64::from(span.items)).sum::<u64>(), count, "each item is in one span");
        assert_eq!(spans().map(|span| u64::from(span.panics)).sum::<u64>(), panics);
        assert_eq!(spans().map(|span| span.busy).sum::<u64>(), busy);
        for row in &snapshot.rows {
            let pairs = row.outer.list.windows(2);
            pairs.for_each(|pair| assert!(pair[0].end <= pair[1].start, "in order and apart: {pair:?}"));
        }
        timeline
    }

    #[test]
    fn each_item_is_kept_by_itself_while_there_are_not_too_many() {
        let timeline = feed(MOST_SPANS as u64 - 100, 5);
        let snapshot = timeline.snapshot();
        assert!(snapshot.rows.iter().all(|row| row.outer.resolution == 0));
    }

    #[test]
    fn beyond_that_neighbours_merge_and_the_sums_stay_exact() {
        for workers in [1, 2, 64, 300] {
            let timeline = feed(500_000, workers);
            assert!(timeline.bytes() < 32 << 20, "{workers} workers: {}", timeline.bytes());
            let spans: usize = timeline.snapshot().rows.iter().map(|row| row.outer.list.len()).sum();
            assert!(spans > MOST_SPANS / 4, "merged no more than needed: {spans}");
        }
    }

    /// `cargo test --release --lib -- --ignored hundred`
    #[test]
    #[ignore = "takes a minute where nothing is optimised"]
    fn a_hundred_million_items_take_less_than_64_mb() {
        let timeline = feed(100_000_000, 16);
        assert!(timeline.bytes() < 32 << 20, "{}", timeline.bytes());
        timeline.write_svg(std::io::sink()).expect("it takes everything");
        timeline.write_chrome_trace(std::io::sink()).expect("it takes everything");
        #[cfg(target_os = "linux")]
        {
            let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells it");
            println!("the process took {peak} at most");
        }
    }

    #[test]
    fn items_of_nested_calls_count_beside_and_merge_apart() {
        let timeline = Timeline::new();
        let mut feed = Feed::new(&timeline, 0);
        for index in 0..200_000_u64 {
            feed.item(index, 10, 1, TaskOutcome::Returned);
            feed.item(index, 20, 0, TaskOutcome::Returned);
            feed.now += 25;
        }
        assert_eq!(timeline.items(), 400_000);
        assert_eq!(timeline.busy(), Duration::from_millis(4), "the inner time is part of the outer");
        let snapshot = timeline.snapshot();
        assert_eq!((snapshot.items(), snapshot.nested_items()), (200_000, 200_000));
        assert!(timeline.bytes() < 32 << 20);
    }

    #[test]
    fn the_slowest_are_in_order_whatever_the_threads() {
        let timeline = Timeline::new();
        for worker in 0..3 {
            let mut feed = Feed::new(&timeline, worker);
            (0..10).for_each(|index| feed.next(index * 3 + worker as u64, index * 30 + worker as u64, 0));
        }
        let slowest: Vec<_> = timeline.snapshot().slowest().iter().map(|slow| (slow.index, slow.took())).collect();
        assert_eq!(slowest, [(29, 272), (28, 271), (27, 270), (26, 242), (25, 241)]);
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let timeline = Timeline::new();
        // Of a pool with more workers than there are rows, too.
        let mut feed = Feed::new(&timeline, 1 << 12);
        for index in 0..20 {
            feed.item(index, 10 + index % 3, 0, TaskOutcome::Panicked);
        }
        let row = &timeline.snapshot().rows[0];
        assert_eq!((row.panics, row.panicked.len(), row.slowest.len()), (20, PANICS, SLOWEST));
        let first: Vec<_> = row.slowest.iter().map(|slow| slow.index).collect();
        assert_eq!(first, [2, 5, 8, 11, 14], "the first of equals");

        (0..20).pool_map(Pool::inline(), |x| x).observe(&timeline).for_each(drop);
        let calls = MOST_CALLS + 20;
        (1..calls)
            .for_each(|_| [0; 0].into_iter().pool_map(Pool::inline(), |x: i32| x).observe(&timeline).for_each(drop));
        let snapshot = timeline.snapshot();
        assert_eq!((snapshot.calls, snapshot.named_calls.len()), (calls as u64, MOST_CALLS));
    }

    /// As of a server that names a thread after each request.
    #[test]
    fn any_number_of_threads_has_a_bounded_number_of_rows() {
        const NAMES: usize = 10_000;
        let timeline = Timeline::new();
        let mut bytes = 0;
        for name in 0..NAMES {
            let mut feed = Feed { worker: format!("request-{name}"), ..Feed::new(&timeline, 0) };
            // Several at a time.
            feed.now = name as u64 / 4 * 100;
            feed.item(0, 30, 1, TaskOutcome::Returned);
            feed.item(
                0,
                60 + name as u64 % 4,
                0,
                if name % 10 == 3 { TaskOutcome::Panicked } else { TaskOutcome::Returned },
            );
            if name == 2 * MOST_ROWS {
                bytes = timeline.bytes();
            }
        }
        assert_eq!((timeline.items(), timeline.panics()), (2 * NAMES as u64, NAMES as u64 / 10));
        assert_eq!(timeline.busy(), Duration::from_nanos((60 * 4 + 6) * NAMES as u64 / 4));
        let snapshot = timeline.snapshot();
        assert_eq!(snapshot.rows.len(), MOST_ROWS + 1);
        let others = &snapshot.rows[MOST_ROWS];
        assert_eq!((&*others.name, others.items, others.nested_items), ("others", 8976, 8976));
        for spans in [&others.outer, &others.nested] {
            assert_eq!(spans.list.iter().map(|span| span.items).sum::<u32>(), 8976);
            let pairs = spans.list.windows(2);
            pairs.for_each(|pair| assert!(pair[0].end <= pair[1].start, "apart, as a trace wants it: {pair:?}"));
        }
        assert!(snapshot.slowest().iter().all(|slow| slow.took() == 63), "{:?}", snapshot.slowest());
        let spans = 2 * (NAMES / 4).next_power_of_two() * size_of::<Span>();
        assert!(timeline.bytes() <= bytes + spans, "only spans came: {bytes} {}", timeline.bytes());
        assert!(timeline.to_string().contains("\n+ 961 more\n"), "{timeline}");
    }

    #[test]
    fn a_clock_that_stands_still_divides_nothing_by_nothing() {
        let timeline = Timeline::new();
        let mut feed = Feed::new(&timeline, 0);
        (0..10).for_each(|index| feed.next(index, 0, 0));
        let text = timeline.to_string();
        assert!(text.starts_with("10 items in 0 ns on 1 worker\n"), "{text}");
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        let mut svg = Vec::new();
        timeline.write_svg(&mut svg).expect("room in memory");
        let svg = String::from_utf8(svg).expect("text");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(svg.contains("class=\"item l1\""), "though they took no time they are to be seen");
    }

    #[test]
    fn an_item_from_before_the_timeline_begins_with_it() {
        let before = Instant::now();
        let timeline = Timeline::new();
        let mut feed = Feed::new(&timeline, 0);
        feed.next(0, 5, 0);
        let (call, label, worker, worker_index) = (1, None, "w", Some(0));
        let (start, end, outcome) = (before, before, TaskOutcome::Returned);
        timeline.task_finished(&TaskInfo {
            call,
            label,
            index: 1,
            worker,
            worker_index,
            depth: 0,
            start,
            end,
            outcome,
        });
        assert_eq!(timeline.busy(), Duration::from_nanos(5));
    }
}
