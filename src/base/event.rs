//! [`Event`]: a thread waits until another one rings. A ring that comes before the wait is kept, so none is missed.

use parking_lot::{Condvar, Mutex};

/// One thread waits at it at a time; any may ring.
#[derive(Debug)]
pub(crate) struct Event {
    /// Whether it rang since the last wait ended.
    rung: Mutex<bool>,
    /// Notified when `rung` is set.
    rings: Condvar,
}

impl Event {
    pub(crate) const fn new() -> Event {
        Event { rung: Mutex::new(false), rings: Condvar::new() }
    }

    pub(crate) fn ring(&self) {
        *self.rung.lock() = true;
        self.rings.notify_one();
    }

    /// Returns after a ring. It may be one from before, so whoever waits looks again at what it waits for.
    pub(crate) fn wait(&self) {
        let mut rung = self.rung.lock();
        while !*rung {
            self.rings.wait(&mut rung);
        }
        *rung = false;
    }
}
