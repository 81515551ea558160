//! How a timeline learns of calls and items: as an [`Observer`], and by a [`Recorder`], without being called for each item.
//!
//! A thread that runs items of one call in a row has a recorder for each timeline that watches them. What runs is noted in three
//! atomics, [`Running`]; what has ended is gathered, and put into the thread's row together. So an item takes no lock.

use super::observer::{CallInfo, CallerRole, Observer, TaskInfo, TaskOutcome};
use super::row::Item;
use super::rows::SharedRow;
use super::running::Running;
use super::snapshot::NamedCall;
use super::timeline::Timeline;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Instant;

/// So many calls are remembered by name; all are counted.
pub(super) const MOST_CALLS: usize = 1 << 10;

/// So many items are gathered at most.
const BATCH: usize = 64;
/// Nor is an item kept back for longer than this while the next ones run: what takes so long can afford a lock.
const BATCH_NS: u64 = 1_000_000;

/// One thread, for one call that a timeline watches.
pub(super) struct Recorder<'t> {
    timeline: &'t Timeline,
    row: Arc<SharedRow>,
    running: Arc<Running>,
    call: u64,
    is_nested: bool,
    ended: RefCell<Vec<Item>>,
    /// The moment that was converted last: an item often begins when the one before has ended.
    moment: Cell<(Instant, u64)>,
}

impl<'t> Recorder<'t> {
    pub(super) fn new(timeline: &'t Timeline, worker: &Arc<str>, is_worker: bool, call: u64, depth: usize) -> Self {
        let row = timeline.rows.of(worker, is_worker);
        let running = row.claim(worker, call);
        Recorder {
            timeline,
            row,
            running,
            call,
            is_nested: depth > 0,
            ended: RefCell::default(),
            moment: Cell::new((timeline.origin, 0)),
        }
    }

    /// An item begins.
    pub(super) fn started(&self, index: u64, start: Instant) {
        self.running.begin(index, self.nanos_of(start));
    }

    /// The item that began at `start` has ended.
    pub(super) fn finished(&self, index: u64, start: Instant, end: Instant, panicked: bool) {
        self.running.end();
        let (start, end) = (self.nanos_of(start), self.nanos_of(end));
        let Recorder { call, is_nested, .. } = *self;
        let mut ended = self.ended.borrow_mut();
        ended.push(Item { call, index, start, end: end.max(start), is_nested, panicked });
        if ended.len() == BATCH || end.saturating_sub(ended[0].start) > BATCH_NS {
            self.hand_in(&mut ended);
        }
    }

    fn nanos_of(&self, moment: Instant) -> u64 {
        let (last, nanos) = self.moment.get();
        if last == moment {
            return nanos;
        }
        let nanos = self.timeline.since_origin(moment);
        self.moment.set((moment, nanos));
        nanos
    }

    fn hand_in(&self, ended: &mut Vec<Item>) {
        let mut row = self.row.row.lock();
        for item in ended.drain(..) {
            row.record(&item, &self.timeline.rows.budget);
        }
    }
}

impl Drop for Recorder<'_> {
    fn drop(&mut self) {
        self.running.end();
        self.hand_in(&mut self.ended.borrow_mut());
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
        if calls.named.len() < MOST_CALLS {
            let (id, method, site) = (call.id(), call.method(), call.site());
            calls.named.push(NamedCall { id, method, site, label: call.label().map(Arc::from) });
        }
    }

    fn task_finished(&self, task: &TaskInfo<'_>) {
        let (start, end) = (self.since_origin(task.start), self.since_origin(task.end));
        let TaskInfo { call, index, depth, outcome, .. } = *task;
        let (is_nested, panicked) = (depth > 0, outcome == TaskOutcome::Panicked);
        let item = Item { call, index, start, end: end.max(start), is_nested, panicked };
        self.rows.of(task.worker, task.worker_index.is_some()).row.lock().record(&item, &self.rows.budget);
    }

    fn timeline(&self) -> Option<&Timeline> {
        Some(self)
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
        if call.depth() > 0 || call.start.role == CallerRole::Nothing {
            return;
        }
        if !call.has_feeder() {
            calls.source += call.source_time();
        }
        calls.waiting += call.waiting_time();
        calls.callers += call.elapsed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn recorder<'t>(timeline: &'t Timeline, worker: &str, call: u64) -> Recorder<'t> {
        Recorder::new(timeline, &Arc::from(worker), true, call, 0)
    }

    /// Runs an item of so many nanoseconds, which begins at `start`.
    fn run(recorder: &Recorder<'_>, index: u64, start: u64, took: u64) {
        let at = |nanos| recorder.timeline.origin + Duration::from_nanos(nanos);
        recorder.started(index, at(start));
        recorder.finished(index, at(start), at(start + took), false);
    }

    #[test]
    fn short_items_are_gathered_and_long_ones_are_not_kept_back() {
        let timeline = Timeline::new();
        let one = recorder(&timeline, "a", 1);
        (0..BATCH as u64 - 1).for_each(|index| run(&one, index, 10 * index, 10));
        assert_eq!(timeline.items(), 0);
        run(&one, 63, 630, 10);
        assert_eq!((timeline.items(), timeline.busy()), (64, Duration::from_nanos(640)));
        run(&one, 64, 1000, BATCH_NS);
        assert_eq!(timeline.items(), 64);
        run(&one, 65, 1000 + BATCH_NS, 1);
        assert_eq!(timeline.items(), 66);
        run(&one, 66, 2 * BATCH_NS, 1);
        assert_eq!(timeline.items(), 66);
        drop(one);
        assert_eq!(timeline.items(), 67);
    }

    #[test]
    fn what_runs_is_listed_under_the_name_of_its_thread() {
        let timeline = Timeline::new();
        let listed = || {
            let tasks = timeline.running().into_iter();
            tasks.map(|task| (task.call(), task.index(), task.worker().to_owned())).collect::<Vec<_>>()
        };
        let at = |nanos| timeline.origin + Duration::from_nanos(nanos);
        let [outer, inner, namesake, other] =
            [("a", 1), ("a", 2), ("a", 3), ("b", 1)].map(|(name, call)| recorder(&timeline, name, call));
        assert_eq!(listed(), []);
        for (place, recorder) in [&other, &outer, &inner, &namesake].into_iter().enumerate() {
            recorder.started(place as u64, at(place as u64));
        }
        let [a, b] = ["a", "b"].map(str::to_owned);
        assert_eq!(listed(), [(1, 0, b.clone()), (1, 1, a.clone()), (2, 2, a.clone()), (3, 3, a.clone())]);
        assert_eq!(timeline.running()[3].start(), at(3));
        drop(inner);
        other.finished(0, at(0), at(9), false);
        assert_eq!(listed(), [(1, 1, a.clone()), (3, 3, a.clone())]);
        // The place of the one that is gone.
        let next = recorder(&timeline, "a", 4);
        assert_eq!(listed().len(), 2);
        next.started(5, at(20));
        assert_eq!(listed()[2], (4, 5, a));
        assert_eq!(timeline.rows.of("a", true).places(), 3);
    }

    #[test]
    fn threads_that_share_a_row_are_listed_under_their_own_names() {
        let timeline = Timeline::new();
        (0..crate::observe::rows::MOST_ROWS).for_each(|number| drop(timeline.rows.of(&number.to_string(), true)));
        let workers = || timeline.running().iter().map(|task| task.worker().to_owned()).collect::<Vec<_>>();
        for name in ["c", "d"] {
            let recorder = recorder(&timeline, name, 1);
            recorder.started(0, timeline.origin);
            assert_eq!(workers(), [name]);
        }
        assert_eq!(timeline.rows.of("e", true).places(), 1);
        assert!(workers().is_empty());
    }
}
