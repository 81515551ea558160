//! [`ItemTimer`]: takes the times of the items that one thread runs in a row, and tells the observers of them.

use super::call_observer::ObserverRef;
use super::enclosing::{self, thread_name};
use super::observer::{TaskInfo, TaskOutcome, TaskStart};
use super::recorder::Recorder;
use crate::base::current_worker;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

/// Items that this thread runs in a row, for those who observe them.
pub(crate) struct ItemTimer<'w> {
    observers: Vec<ItemObserver<'w>>,
    worker: Arc<str>,
    worker_index: Option<usize>,
    /// When the last item ended, if nothing of the user's has run since.
    last_end: Cell<Option<Instant>>,
}

/// One observer of the items.
struct ItemObserver<'w> {
    observer: &'w ObserverRef<'w>,
    depth: usize,
    /// For a timeline, which is not told of each item.
    recorder: Option<Recorder<'w>>,
}

impl<'w> ItemTimer<'w> {
    pub(crate) fn begin(observers: Vec<&'w ObserverRef<'w>>) -> Self {
        let (worker, worker_index) = (thread_name(), current_worker::index());
        let of_items = |observer: &'w ObserverRef<'w>| {
            let depth = enclosing::depth(observer.identity());
            let recorder = observer.recorder(&worker, worker_index.is_some(), depth);
            ItemObserver { observer, depth, recorder }
        };
        let observers: Vec<_> = observers.into_iter().map(of_items).collect();
        enclosing::enter(observers.iter().map(|each| each.observer.identity()));
        ItemTimer { observers, worker, worker_index, last_end: Cell::new(None) }
    }

    /// When the next item begins, if that is right now. Does not read the clock again after an item that was only recorded.
    pub(crate) fn next_start(&self) -> Instant {
        self.last_end.take().unwrap_or_else(Instant::now)
    }

    /// Tells of one item that is about to run. `start` is what [`finished`](Self::finished) gets at its end.
    pub(crate) fn started(&self, index: u64, start: Instant) {
        for ItemObserver { observer, depth, recorder } in &self.observers {
            if let Some(recorder) = recorder {
                recorder.started(index, start);
                continue;
            }
            let Some((call_start, call)) = observer.started.get() else { continue };
            let (call, label, worker, worker_index) = (call_start.id, call.label(), &self.worker, self.worker_index);
            let task = TaskStart { call, label, index, worker, worker_index, depth: *depth, start };
            observer.tell(|observer| observer.task_started(&task));
        }
    }

    /// Tells of one item, which began at `start` and ends now or, without an observer, is not told of at all.
    pub(crate) fn finished(&self, index: u64, start: Instant, outcome: TaskOutcome) {
        if self.observers.is_empty() {
            return;
        }
        let end = Instant::now();
        for ItemObserver { observer, depth, recorder } in &self.observers {
            if let Some(recorder) = recorder {
                recorder.finished(index, start, end, outcome == TaskOutcome::Panicked);
                continue;
            }
            let Some((call_start, call)) = observer.started.get() else { continue };
            let (call, label, worker, worker_index) = (call_start.id, call.label(), &self.worker, self.worker_index);
            let task = TaskInfo { call, label, index, worker, worker_index, depth: *depth, start, end, outcome };
            observer.tell(|observer| observer.task_finished(&task));
        }
        self.last_end.set(self.observers.iter().all(|each| each.recorder.is_some()).then_some(end));
    }
}

impl Drop for ItemTimer<'_> {
    fn drop(&mut self) {
        enclosing::leave(self.observers.len());
    }
}
