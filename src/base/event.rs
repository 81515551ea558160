//! [`Event`]: a thread waits until another one sets it, or a future is woken then.

use crate::base::sync::atomic::{AtomicBool, Ordering};
use crate::base::sync::{Condvar, Mutex};
use crate::base::unwind;
use std::mem;
use std::task::Waker;
use std::time::{Duration, Instant};

/// One thread waits for it at a time; any may set it. One that is set before the wait is kept, so none is missed.
#[derive(Debug)]
pub(crate) struct Event {
    /// Whether it was set since the last wait ended. Set under the lock.
    is_set: AtomicBool,
    /// Has who waits as a future, and is woken when it is set.
    lock: Mutex<Option<Waker>>,
    /// Notified when it is set.
    changed: Condvar,
}

impl Event {
    pub(crate) const fn new() -> Event {
        Event { is_set: AtomicBool::new(false), lock: Mutex::new(None), changed: Condvar::new() }
    }

    /// Sets it. A waker is code of the user's, so this is for where no lock is held; else see [`Event::set_under_lock`].
    pub(crate) fn set(&self) {
        if let Some(waker) = self.set_under_lock() {
            wake(waker);
        }
    }

    /// Sets it, and gives the waker that is to be [woken](wake) for that when no lock is held any more.
    #[must_use]
    pub(crate) fn set_under_lock(&self) -> Option<Waker> {
        let mut lock = self.lock.lock();
        self.is_set.store(true, Ordering::Release);
        self.changed.notify_one();
        lock.take()
    }

    /// Has `waker` woken by whoever sets it next; false if it was set already, which is over then. What was there before takes
    /// its place, to be dropped where no lock is held.
    pub(crate) fn wake_later(&self, waker: &mut Option<Waker>) -> bool {
        let mut lock = self.lock.lock();
        let waits = !self.is_set.swap(false, Ordering::Acquire);
        if waits {
            mem::swap(&mut *lock, waker);
        }
        waits
    }

    /// Takes back a waker.
    pub(crate) fn wake_no_more(&self) -> Option<Waker> {
        self.lock.lock().take()
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

/// Wakes a future. The executor's panic is nobody's here, on whatever thread this is.
#[cold]
pub(crate) fn wake(waker: Waker) {
    if let Err(payload) = unwind::catch(|| waker.wake()) {
        unwind::drop_payload(payload);
    }
}
