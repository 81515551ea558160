//! [`ItemTimer`]: takes the times of the items that one thread runs in a row, and tells the observers of them.

use super::call_observer::ObserverRef;
use super::into_observer::Identity;
use super::observer::{Outcome, TaskInfo};
use crate::base::current_worker::{self, name_of_this_thread};
use std::cell::{OnceCell, RefCell};
use std::sync::Arc;
use std::time::Instant;

thread_local! {
    /// The identities of the observers of the items that this thread is in the middle of, outermost first.
    static ENCLOSING: RefCell<Vec<Option<Identity>>> = const { RefCell::new(Vec::new()) };
    /// A thread never changes its name.
    static NAME: OnceCell<Arc<str>> = const { OnceCell::new() };
}

/// How many items with this observer this thread is in the middle of.
pub(super) fn depth_of(watch: &ObserverRef<'_>) -> usize {
    let Some(own) = watch.identity() else { return 0 };
    let is_own = |other: &&Option<Identity>| **other == Some(own);
    let count = |enclosing: &RefCell<Vec<Option<Identity>>>| enclosing.borrow().iter().filter(is_own).count();
    ENCLOSING.try_with(count).unwrap_or(0)
}

pub(super) fn thread_name() -> Arc<str> {
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
        let identities = watches.iter().map(|(watch, _)| watch.identity());
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
            let Some((call_start, call)) = watch.started.get() else { continue };
            let ItemTimer { worker, worker_index, .. } = self;
            let (call, label) = (call_start.id, call.label());
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
