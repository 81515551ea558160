//! [`Event`]: a thread waits until another one sets it.

use crate::base::sync::atomic::{AtomicBool, Ordering};
use crate::base::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// One thread waits for it at a time; any may set it. One that is set before the wait is kept, so none is missed.
#[derive(Debug)]
pub(crate) struct Event {
    /// Whether it was set since the last wait ended. Set under the lock.
    is_set: AtomicBool,
    lock: Mutex<()>,
    /// Notified when it is set.
    changed: Condvar,
}

impl Event {
    pub(crate) const fn new() -> Event {
        Event { is_set: AtomicBool::new(false), lock: Mutex::new(()), changed: Condvar::new() }
    }

    pub(crate) fn set(&self) {
        let _lock = self.lock.lock();
        self.is_set.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// Whether a wait would return at once.
    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// Returns once it is set. That may have been before, so whoever waits looks again at what it waits for.
    pub(crate) fn wait(&self) {
        let mut lock = self.lock.lock();
        while !self.is_set.swap(false, Ordering::Acquire) {
            self.changed.wait(&mut lock);
        }
    }

    /// The same for a limited time; false if it was not set by then.
    pub(crate) fn wait_for(&self, time: Duration) -> bool {
        self.wait_until(Instant::now() + time)
    }

    /// The same up to a moment.
    pub(crate) fn wait_until(&self, deadline: Instant) -> bool {
        let mut lock = self.lock.lock();
        loop {
            if self.is_set.swap(false, Ordering::Acquire) {
                return true;
            }
            if self.changed.wait_until(&mut lock, deadline).timed_out() {
                return self.is_set.swap(false, Ordering::Acquire);
            }
        }
    }
}
