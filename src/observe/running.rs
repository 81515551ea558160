//! [`Running`]: the item that a thread is at, for whoever asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// The item that a thread is running. Written by that thread only, read by whoever asks.
///
/// The reader may come at any moment, so `start` is written last, and is [`IDLE`] while the others change.
#[repr(align(128))]
pub(super) struct Running {
    pub(super) worker: Arc<str>,
    call: AtomicU64,
    index: AtomicU64,
    /// Nanoseconds since the timeline's origin, or [`IDLE`].
    start: AtomicU64,
}

/// What [`Running`] says at one moment.
pub(super) struct RunningItem {
    pub(super) worker: Arc<str>,
    pub(super) call: u64,
    pub(super) index: u64,
    pub(super) start: u64,
}

/// No item runs.
const IDLE: u64 = u64::MAX;

impl Running {
    pub(super) fn new(worker: &Arc<str>, call: u64) -> Arc<Self> {
        let worker = Arc::clone(worker);
        Arc::new(Running { worker, call: call.into(), index: 0.into(), start: IDLE.into() })
    }

    /// Changes hands. Nothing runs at this moment.
    pub(super) fn set_call(&self, call: u64) {
        fence(Ordering::Release);
        self.call.store(call, Ordering::Relaxed);
    }

    pub(super) fn begin(&self, index: u64, start: u64) {
        // Whoever sees this index sees that the item before has ended.
        fence(Ordering::Release);
        self.index.store(index, Ordering::Relaxed);
        self.start.store(start, Ordering::Release);
    }

    pub(super) fn end(&self) {
        self.start.store(IDLE, Ordering::Relaxed);
    }

    /// The item that runs, if there is one.
    pub(super) fn get(&self) -> Option<RunningItem> {
        loop {
            let start = self.start.load(Ordering::Acquire);
            if start == IDLE {
                return None;
            }
            let (call, index) = (self.call.load(Ordering::Relaxed), self.index.load(Ordering::Relaxed));
            // Another item may have begun meanwhile.
            fence(Ordering::Acquire);
            if self.start.load(Ordering::Relaxed) == start {
                return Some(RunningItem { worker: Arc::clone(&self.worker), call, index, start });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader beside a thread that runs one item after the other, each with the index in its start.
    #[test]
    fn what_is_read_of_a_running_item_belongs_together() {
        let running = Running::new(&Arc::from("a"), 1);
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for index in 1..200_000 {
                    running.begin(index, 10 * index);
                    running.end();
                }
                over.store(true, Ordering::Release);
            });
            while !over.load(Ordering::Acquire) {
                if let Some(RunningItem { index, start, .. }) = running.get() {
                    assert_eq!(10 * index, start);
                }
            }
        });
        assert!(running.get().is_none());
    }
}
