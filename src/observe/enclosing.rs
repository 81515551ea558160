//! The items that this thread is in the middle of, and its name, as observers are told of both.

use super::into_observer::Identity;
use crate::base::current_worker::name_of_this_thread;
use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

thread_local! {
    /// The identities of the observers of the items that this thread is in the middle of, outermost first.
    static ENCLOSING: RefCell<Vec<Option<Identity>>> = const { RefCell::new(Vec::new()) };
    /// A thread never changes its name.
    static NAME: OnceCell<Arc<str>> = const { OnceCell::new() };
}

/// How many items with this observer this thread is in the middle of.
pub(super) fn depth(observer: Option<Identity>) -> usize {
    let Some(own) = observer else { return 0 };
    let is_own = |other: &&Option<Identity>| **other == Some(own);
    let count = |enclosing: &RefCell<Vec<Option<Identity>>>| enclosing.borrow().iter().filter(is_own).count();
    ENCLOSING.try_with(count).unwrap_or(0)
}

/// Items with these observers begin.
pub(super) fn enter(observers: impl Iterator<Item = Option<Identity>>) {
    // A thread at its end has no such list any more, and nothing that could be nested.
    let _ = ENCLOSING.try_with(|enclosing| enclosing.borrow_mut().extend(observers));
}

/// The items that were entered last, with so many observers, have ended.
pub(super) fn leave(observers: usize) {
    let _ = ENCLOSING.try_with(|enclosing| {
        let mut enclosing = enclosing.borrow_mut();
        let rest = enclosing.len().saturating_sub(observers);
        enclosing.truncate(rest);
    });
}

/// The name of the thread, or of the worker.
pub(super) fn thread_name() -> Arc<str> {
    NAME.try_with(|cell| Arc::clone(cell.get_or_init(name_of_this_thread)))
        .unwrap_or_else(|_| Arc::from("ending thread"))
}
