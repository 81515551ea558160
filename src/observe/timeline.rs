//! [`Timeline`]: the recorder. It keeps sums that are exact, and spans that merge when they become too many.

use super::{CallInfo, Observer, Outcome, Part, TaskInfo, nanos};
use parking_lot::Mutex;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// So many spans are kept in all, 48 bytes each. Beyond that threads with more than their part merge neighbours.
const MOST_SPANS: usize = 1 << 17;
/// So many a thread may have at least, however many threads there are.
const FEWEST_SPANS: usize = 8;
/// Spans are counted in steps of so many, since the count is everybody's.
const COUNTED: usize = 64;
/// So many slow items are remembered.
pub(super) const SLOWEST: usize = 5;
/// So many panicked items are remembered for each thread; all are counted.
const PANICS: usize = 8;
/// So many calls are remembered by name; all are counted.
const CALLS: usize = 1 << 10;
/// Threads are spread over so many locks.
const SHELVES: usize = 64;

/// Records what a run did, thread by thread, to be printed, drawn, or given to other tools.
///
/// It is an [`Observer`]: attach it with [`PoolMap::observe`](crate::PoolMap::observe),
/// [`PoolImap::observe`](crate::PoolImap::observe) or [`PoolBuilder::observer`](crate::PoolBuilder::observer). It may watch several calls, one after the other or at once.
/// What it holds can be looked at while they run. [Seeing a run](crate::guide::seeing) tells how to read it.
///
/// - Its `Display` is a summary: who did how much, how long they waited, which items were slow, which panicked.
/// - [`write_svg`](Self::write_svg) draws a chart with a row for each thread.
/// - [`write_chrome_trace`](Self::write_chrome_trace) is for the Perfetto UI, `chrome://tracing`, the Firefox Profiler and
///   speedscope.
/// - [`write_joblog`](Self::write_joblog) is the table that GNU parallel writes with `--joblog`.
///
/// # Memory
///
/// Some 50 bytes an item up to 131 072 items. Beyond that neighbouring items of a thread are merged in what is drawn and
/// written, so a timeline of any length stays under 64 MB; counts, times and the slowest items stay exact.
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
    /// The threads, by the index of the worker; each its own lock, which nobody else wants for long.
    shelves: Box<[IdlePools]>,
    stock: Stock,
    calls: Mutex<Calls>,
    /// What the picture is headed, in place of its figures.
    title: Option<String>,
}

/// A few lanes under one lock, far enough from the next one for its cache line.
#[derive(Default)]
#[repr(align(128))]
struct IdlePools(Mutex<Vec<Lane>>);

/// What is on all shelves together. Relaxed: these are measures of memory, and a little late is good enough.
#[derive(Debug, Default)]
struct Stock {
    lanes: AtomicUsize,
    /// In full [`COUNTED`]s of each lane.
    spans: AtomicUsize,
}

impl Stock {
    /// How many spans one lane may keep of one kind, having `len`: as many as it likes until there are too many in all.
    fn most(&self, len: usize) -> usize {
        if self.spans.load(Ordering::Relaxed) <= MOST_SPANS {
            return len;
        }
        (MOST_SPANS / self.lanes.load(Ordering::Relaxed).max(1)).max(FEWEST_SPANS)
    }

    fn changed(&self, before: usize, after: usize) {
        let (before, after) = (before / COUNTED * COUNTED, after / COUNTED * COUNTED);
        if after != before {
            // It wraps around, and so takes away as well.
            self.spans.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        }
    }
}

/// What one thread did.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) name: Arc<str>,
    /// Whether it is a worker, of any pool.
    pub(super) is_worker: bool,
    /// Items that ran inside no other.
    pub(super) items: u64,
    /// Items of nested calls, inside those.
    pub(super) nested_items: u64,
    /// The time of the outermost items.
    pub(super) busy: Duration,
    pub(super) panics: u64,
    /// The first of them: call and index.
    pub(super) panicked: Vec<(u64, u64)>,
    /// The longest items, the longest first.
    pub(super) slowest: Vec<Slow>,
    /// The outermost items, in the order of their ends.
    pub(super) outer: Spans,
    /// The items inside those.
    pub(super) nested: Spans,
}

/// An item that took long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slow {
    pub(super) call: u64,
    pub(super) index: u64,
    /// Nanoseconds since the origin, as all times here.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) panicked: bool,
}

impl Slow {
    pub(super) fn took(&self) -> u64 {
        self.end - self.start
    }
}

/// One item, or several that follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) start: u64,
    /// Not before `start`.
    pub(super) end: u64,
    /// The time within that some item ran.
    pub(super) busy: u64,
    /// The call and the index of the first item.
    pub(super) call: u64,
    pub(super) index: u64,
    pub(super) items: u32,
    pub(super) panics: u32,
}

impl Span {
    /// Takes in `other`, which ended later.
    fn absorb(&mut self, other: &Span) {
        // Where one lies inside the other its time is in the other's already.
        self.busy = if other.start >= self.end { self.busy + other.busy } else { self.busy.max(other.busy) };
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
        self.items = self.items.saturating_add(other.items);
        self.panics = self.panics.saturating_add(other.panics);
    }
}

/// The spans of one lane, in the order of their ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans {
    pub(super) list: Vec<Span>,
    /// Spans that begin within the same stretch of so many nanoseconds are one; 0 as long as each item has its own.
    pub(super) resolution: u64,
    /// Where the stretch of the last span ends.
    stretch_end: u64,
}

impl Spans {
    fn push(&mut self, span: Span, stock: &Stock) {
        let stretch_end = self.stretch_end;
        let goes_on = |last: &&mut Span| span.start < stretch_end && span.start >= last.end;
        if let Some(last) = self.list.last_mut().filter(goes_on) {
            // By far the most, where there are very many.
            return last.absorb(&span);
        }
        let before = self.list.len();
        self.list.push(span);
        self.merge_last();
        while self.list.len() > stock.most(self.list.len()) {
            self.coarsen();
        }
        stock.changed(before, self.list.len());
        if let Some(stretch) = self.list.last().and_then(|last| last.start.checked_div(self.resolution)) {
            self.stretch_end = (stretch + 1).saturating_mul(self.resolution);
        }
    }

    /// Twice as coarse, or as coarse as it has to be to begin with.
    fn coarsen(&mut self) {
        let reach = self.list.last().map_or(0, |last| last.end.saturating_sub(self.list[0].start));
        self.resolution = (self.resolution * 2).max(reach / self.list.len() as u64).max(1);
        let spans = std::mem::take(&mut self.list);
        // About half remain, and there is one more while it is merged.
        self.list.reserve_exact(spans.len() / 2 + 1);
        for span in spans {
            self.list.push(span);
            self.merge_last();
        }
    }

    /// Merges the last span with those before it that begin in the same stretch, or lie inside of it.
    fn merge_last(&mut self) {
        while self.resolution > 0 {
            let [.., before, last] = &mut self.list[..] else { return };
            let same = before.start / self.resolution >= last.start / self.resolution;
            if !same && last.start >= before.end {
                return;
            }
            before.absorb(last);
            self.list.pop();
        }
    }
}

/// The calls that were seen.
#[derive(Clone, Debug, Default)]
struct Calls {
    /// Calls that have not finished, and when the first of those began.
    open: usize,
    since: u64,
    /// How long there was at least one of them, up to `since`.
    elapsed: u64,
    /// When the first of all began, and when the last one ended.
    first: Option<u64>,
    last: u64,
    count: u64,
    workers: usize,
    /// Of finished calls that are no item's: the times of the caller's thread, and of the whole.
    source: Duration,
    waiting: Duration,
    callers: Duration,
    /// Of finished streams: the time that their feeders spent in the source, and of the whole.
    fed: Duration,
    feeders: Duration,
    known: Vec<Known>,
}

/// A call by name.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: u64,
    pub(super) method: &'static str,
    pub(super) site: &'static Location<'static>,
    pub(super) label: Option<Arc<str>>,
}

/// All that a timeline knows, at one moment.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub(super) title: Option<String>,
    pub(super) origin_date: SystemTime,
    /// Callers first, then the workers by name and number.
    pub(super) lanes: Vec<Lane>,
    /// From the start of the first call to the end of the last one.
    pub(super) start: u64,
    pub(super) end: u64,
    /// How long there was a call.
    pub(super) elapsed: Duration,
    pub(super) workers: usize,
    pub(super) calls: u64,
    pub(super) known: Vec<Known>,
    pub(super) source: Duration,
    pub(super) waiting: Duration,
    pub(super) callers: Duration,
    pub(super) fed: Duration,
    pub(super) feeders: Duration,
}

impl Timeline {
    /// A timeline of nothing yet. Its clock starts now.
    #[must_use]
    pub fn new() -> Self {
        Timeline {
            origin: Instant::now(),
            origin_date: SystemTime::now(),
            shelves: (0..SHELVES).map(|_| IdlePools::default()).collect(),
            stock: Stock::default(),
            calls: Mutex::default(),
            title: None,
        }
    }

    /// Heads the picture with these words in place of the figures of the run.
    #[must_use]
    pub fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// How many items have run, those of nested calls included.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.sum(|lane| lane.items + lane.nested_items)
    }

    /// How many of them panicked.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.sum(|lane| lane.panics)
    }

    /// How long items have run, on all threads together. An item inside another one does not count twice.
    #[must_use]
    pub fn busy(&self) -> Duration {
        self.shelves.iter().flat_map(|shelf| shelf.0.lock().iter().map(|lane| lane.busy).collect::<Vec<_>>()).sum()
    }

    /// How long there was a call at work.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.picture().elapsed
    }

    fn sum(&self, count: impl Fn(&Lane) -> u64) -> u64 {
        self.shelves.iter().map(|shelf| shelf.0.lock().iter().map(&count).sum::<u64>()).sum()
    }

    fn since_origin(&self, moment: Instant) -> u64 {
        nanos(moment.saturating_duration_since(self.origin))
    }

    /// All that is known now. The threads may go on meanwhile.
    pub(super) fn picture(&self) -> Picture {
        let calls = self.calls.lock().clone();
        let mut lanes: Vec<Lane> = self.shelves.iter().flat_map(|shelf| shelf.0.lock().clone()).collect();
        lanes.sort_by_cached_key(|lane| {
            let stem = lane.name.trim_end_matches(|c: char| c.is_ascii_digit());
            let number = lane.name[stem.len()..].parse::<u64>().unwrap_or(0);
            (lane.is_worker, stem.to_owned(), number)
        });
        let spans = || lanes.iter().flat_map(|lane| lane.outer.list.iter().chain(&lane.nested.list));
        let now = if calls.open > 0 { self.since_origin(Instant::now()) } else { calls.last };
        let start = calls.first.or_else(|| spans().map(|span| span.start).min()).unwrap_or(0);
        let end = spans().map(|span| span.end).fold(now.max(start), u64::max);
        let open = if calls.open > 0 { now.saturating_sub(calls.since) } else { 0 };
        let elapsed = if calls.first.is_some() { calls.elapsed + open } else { end - start };
        Picture {
            title: self.title.clone(),
            origin_date: self.origin_date,
            start,
            end,
            elapsed: Duration::from_nanos(elapsed),
            workers: calls.workers.max(1),
            calls: calls.count,
            known: calls.known,
            source: calls.source,
            waiting: calls.waiting,
            callers: calls.callers,
            fed: calls.fed,
            feeders: calls.feeders,
            lanes,
        }
    }
}

impl Picture {
    pub(super) fn items(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.items).sum()
    }

    pub(super) fn nested_items(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.nested_items).sum()
    }

    pub(super) fn panics(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.panics).sum()
    }

    pub(super) fn busy(&self) -> Duration {
        self.lanes.iter().map(|lane| lane.busy).sum()
    }

    /// How long an outermost item took on average.
    pub(super) fn mean(&self) -> Duration {
        let nanos = self.busy().as_nanos() / u128::from(self.items().max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The longest items of all, the longest first.
    pub(super) fn slowest(&self) -> Vec<Slow> {
        let mut slowest: Vec<Slow> = self.lanes.iter().flat_map(|lane| lane.slowest.iter().copied()).collect();
        slowest.sort_by_key(|slow| (std::cmp::Reverse(slow.took()), slow.call, slow.index));
        slowest.truncate(SLOWEST);
        slowest
    }

    /// What to call the items of a call: by its label, or as in `pool_map`.
    pub(super) fn name(&self, call: u64) -> &str {
        let known = self.known.iter().find(|known| known.id == call);
        known.map_or("items", |known| known.label.as_deref().unwrap_or(known.method))
    }
}

impl Lane {
    fn new(task: &TaskInfo<'_>) -> Lane {
        Lane {
            name: Arc::from(task.worker),
            is_worker: task.worker_index.is_some(),
            items: 0,
            nested_items: 0,
            busy: Duration::ZERO,
            panics: 0,
            panicked: Vec::new(),
            slowest: Vec::new(),
            outer: Spans::default(),
            nested: Spans::default(),
        }
    }

    fn record(&mut self, task: &TaskInfo<'_>, start: u64, end: u64, stock: &Stock) {
        let panicked = task.outcome == Outcome::Panicked;
        if panicked {
            self.panics += 1;
            if self.panicked.len() < PANICS {
                self.panicked.push((task.call, task.index));
            }
        }
        let (call, index) = (task.call, task.index);
        let busy = end - start;
        let span = Span { start, end, busy, call, index, items: 1, panics: u32::from(panicked) };
        if task.depth > 0 {
            self.nested_items += 1;
            self.nested.push(span, stock);
            return;
        }
        self.items += 1;
        self.busy += Duration::from_nanos(busy);
        self.outer.push(span, stock);
        if self.slowest.len() < SLOWEST || self.slowest.last().is_some_and(|least| least.took() < busy) {
            let place = self.slowest.partition_point(|slow| slow.took() >= busy);
            self.slowest.truncate(SLOWEST - 1);
            self.slowest.insert(place, Slow { call, index, start, end, panicked });
        }
    }
}

impl Observer for Timeline {
    fn call_started(&self, call: &CallInfo<'_>) {
        let start = self.since_origin(call.started());
        let mut calls = self.calls.lock();
        calls.count += 1;
        calls.first = Some(calls.first.map_or(start, |first| first.min(start)));
        calls.workers = calls.workers.max(call.workers());
        if calls.open == 0 {
            calls.since = start;
        }
        calls.open += 1;
        if calls.known.len() < CALLS {
            let (id, method, site) = (call.id(), call.method(), call.site());
            calls.known.push(Known { id, method, site, label: call.label().map(Arc::from) });
        }
    }

    fn task_finished(&self, task: &TaskInfo<'_>) {
        let (start, end) = (self.since_origin(task.start), self.since_origin(task.end));
        let mut lanes = self.shelves[task.worker_index.unwrap_or(0) % SHELVES].0.lock();
        let place = lanes.iter().position(|lane| *lane.name == *task.worker);
        let place = place.unwrap_or_else(|| {
            self.stock.lanes.fetch_add(1, Ordering::Relaxed);
            lanes.push(Lane::new(task));
            lanes.len() - 1
        });
        lanes[place].record(task, start, end.max(start), &self.stock);
    }

    fn call_finished(&self, call: &CallInfo<'_>) {
        let end = self.since_origin(call.started() + call.elapsed());
        let mut calls = self.calls.lock();
        calls.last = calls.last.max(end);
        calls.open = calls.open.saturating_sub(1);
        if calls.open == 0 {
            calls.elapsed += end.saturating_sub(calls.since);
        }
        if call.has_feeder() {
            calls.fed += call.source_time();
            calls.feeders += call.elapsed();
        }
        if call.depth() > 0 || call.facts.part == Part::Nothing {
            return;
        }
        if !call.has_feeder() {
            calls.source += call.source_time();
        }
        calls.waiting += call.waiting_time();
        calls.callers += call.elapsed();
    }
}

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
    use super::*;
    use crate::{Pool, PoolIterator};

    fn span(start: u64, end: u64) -> Span {
        Span { start, end, busy: end - start, call: 1, index: 0, items: 1, panics: 0 }
    }

    #[test]
    fn what_is_kept_in_all_bounds_what_a_lane_keeps() {
        let stock = Stock::default();
        stock.lanes.store(4, Ordering::Relaxed);
        stock.spans.store(MOST_SPANS, Ordering::Relaxed);
        assert_eq!(stock.most(10), 10);
        stock.spans.store(MOST_SPANS + 1, Ordering::Relaxed);
        assert_eq!(stock.most(10), MOST_SPANS / 4);
        stock.lanes.store(MOST_SPANS, Ordering::Relaxed);
        assert_eq!(stock.most(10), FEWEST_SPANS);

        let stock = Stock::default();
        let steps =
            [(0, 2 * COUNTED + 1, 2), (5, 6, 2), (COUNTED - 1, COUNTED, 3), (3 * COUNTED, COUNTED, 1), (6, 5, 1)];
        for (before, after, counted) in steps {
            stock.changed(before, after);
            assert_eq!(stock.spans.load(Ordering::Relaxed), counted * COUNTED, "{before} to {after}");
        }
    }

    #[test]
    fn a_span_that_takes_in_another_is_busy_for_both() {
        let mut first = span(0, 3);
        first.absorb(&span(5, 9));
        assert_eq!(first, Span { end: 9, busy: 7, items: 2, ..span(0, 3) });
        first.absorb(&span(9, 10));
        assert_eq!((first.end, first.busy, first.items), (10, 8, 3));
        first.absorb(&span(4, 11));
        assert_eq!((first.end, first.busy, first.items), (11, 8, 4), "as far as can be told");
    }

    #[test]
    fn spans_of_one_stretch_merge_and_stretches_double() {
        let stock = Stock::default();
        let mut spans = Spans::default();
        let starts = |spans: &Spans| spans.list.iter().map(|span| span.start).collect::<Vec<_>>();
        for start in [0, 50, 120, 390] {
            spans.push(span(start, start + 10), &stock);
        }
        assert_eq!(starts(&spans), [0, 50, 120, 390]);
        spans.coarsen();
        assert_eq!((spans.resolution, starts(&spans)), (100, vec![0, 120, 390]));
        spans.push(span(400, 401), &stock);
        assert_eq!(starts(&spans), [0, 120, 390, 400], "another stretch");
        for (start, places) in [(499, 4), (500, 5), (500, 5), (599, 5), (600, 6)] {
            spans.push(span(start, start + 1), &stock);
            assert_eq!(spans.list.len(), places, "at {start}");
            assert_eq!(spans.stretch_end, (start / 100 + 1) * 100, "up to which the next one needs no search");
        }
        spans.coarsen();
        assert_eq!((spans.resolution, starts(&spans)), (200, vec![0, 390, 400, 600]));
        assert_eq!(spans.list.iter().map(|span| span.items).sum::<u32>(), 10);
        // One that began long before its end lies around those that ended earlier.
        spans.push(span(390, 700), &stock);
        assert_eq!(starts(&spans), [0, 390]);
    }

    #[test]
    fn spans_that_were_merged_take_no_more_room_than_they_need() {
        let mut spans = Spans { list: (0..48).map(|at| span(at, at + 1)).collect(), ..Spans::default() };
        (spans.resolution, spans.stretch_end) = (1, 48);
        spans.coarsen();
        assert_eq!((spans.resolution, spans.list.len(), spans.list.capacity()), (2, 24, 25));
    }

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

        fn item(&mut self, index: u64, took: u64, depth: usize, outcome: Outcome) {
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
            self.item(index, took, 0, if index % 1_000_003 == 7 { Outcome::Panicked } else { Outcome::Returned });
            self.now += took + gap;
        }
    }

    impl Timeline {
        fn bytes(&self) -> usize {
            let spans = |lane: &Lane| (lane.outer.list.capacity() + lane.nested.list.capacity()) * size_of::<Span>();
            let of = |lanes: &Vec<Lane>| lanes.iter().map(|lane| size_of::<Lane>() + spans(lane)).sum::<usize>();
            self.shelves.iter().map(|shelf| size_of::<IdlePools>() + of(&shelf.0.lock())).sum()
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
        let picture = timeline.picture();
        let slowest = picture.slowest()[0];
        assert_eq!((slowest.index, slowest.took()), (count / 2, 9_000_000));
        let spans = || picture.lanes.iter().flat_map(|lane| &lane.outer.list);
        assert_eq!(spans().map(|span| u64::from(span.items)).sum::<u64>(), count, "each item is in one span");
        assert_eq!(spans().map(|span| u64::from(span.panics)).sum::<u64>(), panics);
        assert_eq!(spans().map(|span| span.busy).sum::<u64>(), busy);
        for lane in &picture.lanes {
            let pairs = lane.outer.list.windows(2);
            pairs.for_each(|pair| assert!(pair[0].end <= pair[1].start, "in order and apart: {pair:?}"));
        }
        timeline
    }

    #[test]
    fn each_item_is_kept_by_itself_while_there_are_not_too_many() {
        let timeline = feed(MOST_SPANS as u64 - 100, 5);
        let picture = timeline.picture();
        assert!(picture.lanes.iter().all(|lane| lane.outer.resolution == 0));
    }

    #[test]
    fn beyond_that_neighbours_merge_and_the_sums_stay_exact() {
        for workers in [1, 2, 64, 300] {
            let timeline = feed(500_000, workers);
            assert!(timeline.bytes() < 32 << 20, "{workers} workers: {}", timeline.bytes());
            let spans: usize = timeline.picture().lanes.iter().map(|lane| lane.outer.list.len()).sum();
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
            feed.item(index, 10, 1, Outcome::Returned);
            feed.item(index, 20, 0, Outcome::Returned);
            feed.now += 25;
        }
        assert_eq!(timeline.items(), 400_000);
        assert_eq!(timeline.busy(), Duration::from_millis(4), "the inner time is part of the outer");
        let picture = timeline.picture();
        assert_eq!((picture.items(), picture.nested_items()), (200_000, 200_000));
        assert!(timeline.bytes() < 32 << 20);
    }

    #[test]
    fn an_item_around_others_of_its_depth_does_not_count_twice_in_a_span() {
        let span = |start, end| Span { start, end, busy: end - start, call: 1, index: 0, items: 1, panics: 0 };
        let mut spans = Spans { list: vec![span(10, 20), span(30, 40)], resolution: 1, stretch_end: 31 };
        spans.list.push(span(5, 50));
        spans.merge_last();
        assert_eq!(spans.list, [Span { items: 3, ..span(5, 50) }]);
    }

    #[test]
    fn the_slowest_are_in_order_whatever_the_threads() {
        let timeline = Timeline::new();
        for worker in 0..3 {
            let mut feed = Feed::new(&timeline, worker);
            (0..10).for_each(|index| feed.next(index * 3 + worker as u64, index * 30 + worker as u64, 0));
        }
        let slowest: Vec<_> = timeline.picture().slowest().iter().map(|slow| (slow.index, slow.took())).collect();
        assert_eq!(slowest, [(29, 272), (28, 271), (27, 270), (26, 242), (25, 241)]);
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let timeline = Timeline::new();
        // Of a pool with more workers than there are locks, too.
        let mut feed = Feed::new(&timeline, SHELVES * SHELVES);
        for index in 0..20 {
            feed.item(index, 10 + index % 3, 0, Outcome::Panicked);
        }
        let lane = &timeline.picture().lanes[0];
        assert_eq!((lane.panics, lane.panicked.len(), lane.slowest.len()), (20, PANICS, SLOWEST));
        let first: Vec<_> = lane.slowest.iter().map(|slow| slow.index).collect();
        assert_eq!(first, [2, 5, 8, 11, 14], "the first of equals");

        (0..20).pool_map(Pool::inline(), |x| x).observe(&timeline).for_each(drop);
        let calls = CALLS + 20;
        (1..calls)
            .for_each(|_| [0; 0].into_iter().pool_map(Pool::inline(), |x: i32| x).observe(&timeline).for_each(drop));
        let picture = timeline.picture();
        assert_eq!((picture.calls, picture.known.len()), (calls as u64, CALLS));
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
        let (start, end, outcome) = (before, before, Outcome::Returned);
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
