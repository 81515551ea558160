//! The locks, condition variables, atomics, threads and thread-locals of all that waits for one another: the engine, the job
//! queue, tasks, tokens.
//!
//! Under `cfg(shuttle)` they are built on the crate shuttle, which runs a test again and again, each time in another order of
//! its threads' steps. `.ci/schedules` does that with the tests in `src/testing/schedules.rs`. A pool has no rayon then: its
//! threads are shuttle's, and run the worker loop alone. All threads are one for the system, so a lock of `parking_lot` may only
//! be held where no other step can come between.

#[cfg(not(shuttle))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
#[cfg(not(shuttle))]
pub(crate) use std::{sync::atomic, thread, thread_local};

#[cfg(shuttle)]
pub(crate) use self::scheduled::{Condvar, Mutex, MutexGuard};
#[cfg(shuttle)]
pub(crate) use shuttle::{sync::atomic, thread, thread_local};

/// How often a thread that is about to wait gives way before: so many times, or once under shuttle, since others would be done by
/// then and nobody would wait.
pub(crate) const fn rounds_awake(rounds: u32) -> u32 {
    if cfg!(shuttle) { 1 } else { rounds }
}

/// The interface of parking_lot over shuttle.
#[cfg(shuttle)]
mod scheduled {
    use shuttle::rand::Rng;
    use shuttle::sync as inner;
    use std::collections::VecDeque;
    use std::fmt;
    use std::ops::{Deref, DerefMut};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, PoisonError};
    use std::time::{Duration, Instant};

    #[derive(Default)]
    pub(crate) struct Mutex<T>(inner::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Mutex(inner::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard { mutex: self, guard: Some(self.lock_inner()) }
        }

        fn lock_inner(&self) -> inner::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn into_inner(self) -> T {
            self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl<T> fmt::Debug for Mutex<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Mutex").finish_non_exhaustive()
        }
    }

    pub(crate) struct MutexGuard<'a, T> {
        mutex: &'a Mutex<T>,
        /// `None` while it is unlocked for a moment.
        guard: Option<inner::MutexGuard<'a, T>>,
    }

    impl<'a, T> MutexGuard<'a, T> {
        pub(crate) fn unlocked<R>(this: &mut Self, f: impl FnOnce() -> R) -> R {
            this.guard = None;
            // On unwinding as well.
            let _relock = Relock(this);
            f()
        }
    }

    struct Relock<'g, 'a, T>(&'g mut MutexGuard<'a, T>);

    impl<T> Drop for Relock<'_, '_, T> {
        fn drop(&mut self) {
            self.0.guard = Some(self.0.mutex.lock_inner());
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.guard.as_ref().expect("BUG: it is locked")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.guard.as_mut().expect("BUG: it is locked")
        }
    }

    /// As with parking_lot, nobody wakes by chance, and whoever notifies learns how many were woken. A wait with an end ends at a
    /// moment that is chosen at random, however long it was to take.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar {
        /// Those that wait and were not notified. Taking this lock is a step, so others come between a look and the wait after it.
        waiters: inner::Mutex<VecDeque<Arc<Waiter>>>,
    }

    #[derive(Debug)]
    struct Waiter {
        thread: shuttle::thread::Thread,
        was_notified: AtomicBool,
    }

    impl Waiter {
        fn was_notified(&self) -> bool {
            self.was_notified.load(Ordering::Relaxed)
        }

        fn notify(&self) {
            self.was_notified.store(true, Ordering::Relaxed);
            self.thread.unpark();
        }
    }

    pub(crate) struct WaitTimeoutResult(bool);

    impl WaitTimeoutResult {
        pub(crate) fn timed_out(&self) -> bool {
            self.0
        }
    }

    impl Condvar {
        pub(crate) const fn new() -> Self {
            Condvar { waiters: inner::Mutex::new(VecDeque::new()) }
        }

        fn waiters(&self) -> inner::MutexGuard<'_, VecDeque<Arc<Waiter>>> {
            self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// Waits in `wait`, without the lock.
        fn wait_in<T, R>(&self, guard: &mut MutexGuard<'_, T>, wait: impl FnOnce(&Arc<Waiter>) -> R) -> R {
            let thread = shuttle::thread::current();
            let waiter = Arc::new(Waiter { thread, was_notified: AtomicBool::new(false) });
            self.waiters().push_back(Arc::clone(&waiter));
            MutexGuard::unlocked(guard, || wait(&waiter))
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            self.wait_in(guard, |waiter| {
                while !waiter.was_notified() {
                    shuttle::thread::park();
                }
            });
        }

        pub(crate) fn wait_while<T>(&self, guard: &mut MutexGuard<'_, T>, mut condition: impl FnMut(&mut T) -> bool) {
            while condition(guard) {
                self.wait(guard);
            }
        }

        pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _: Duration) -> WaitTimeoutResult {
            self.wait_in(guard, |waiter| {
                for _ in 0..shuttle::rand::thread_rng().gen_range(0..4) {
                    if waiter.was_notified() {
                        break;
                    }
                    shuttle::thread::yield_now();
                }
                let mut waiters = self.waiters();
                let place = waiters.iter().position(|other| Arc::ptr_eq(other, waiter));
                WaitTimeoutResult(place.and_then(|place| waiters.remove(place)).is_some())
            })
        }

        pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _: Instant) -> WaitTimeoutResult {
            self.wait_for(guard, Duration::ZERO)
        }

        pub(crate) fn notify_one(&self) -> bool {
            let first = self.waiters().pop_front();
            first.iter().for_each(|waiter| waiter.notify());
            first.is_some()
        }

        pub(crate) fn notify_all(&self) -> usize {
            let all = std::mem::take(&mut *self.waiters());
            all.iter().for_each(|waiter| waiter.notify());
            all.len()
        }
    }
}
