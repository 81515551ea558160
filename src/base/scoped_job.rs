//! A job that borrows, in a queue that outlives what it borrows: the one file with `unsafe`.
//!
//! A pool's queue holds `'static` jobs and lives as long as the pool. A call borrows its items and its closure from the
//! caller's stack. [`lend`] bridges the two: it makes a handle without a lifetime, and neither returns nor unwinds before
//! every copy of that handle is gone.
//!
//! # Why it is sound
//!
//! 1. The pointer in a handle is private to this file, and used in [`JobHandle::run`] only.
//! 2. The original handle never leaves `lend`: `body` and [`ScopedJob::run`] see references whose lifetime they cannot
//!    name. They can make copies, and each is counted before it exists and counted down as its last act.
//! 3. `lend` waits in a destructor for the count to be zero, on return and on unwinding alike. So while a copy exists
//!    `lend` has not returned, and `'s`, which outlives the call of `lend`, goes on.
//! 4. A copy that is leaked is never counted down: `lend` then hangs, and nothing dangles.
//! 5. It is a raw pointer because a copy may be an argument of a function that drops it. A reference would be promised to
//!    be valid until that function returns, which is after the count is zero.

use crate::base::sync::{Condvar, Mutex, rounds_awake, thread};
use std::mem;
use std::sync::Arc;

/// What a borrowed job does. It catches the panics of what it runs.
pub(crate) trait ScopedJob: Sync {
    /// Runs on a worker. `handle` is for calling in more workers.
    fn run(&self, handle: &JobHandle);
}

/// A borrowed job, for a queue that knows nothing of its lifetime.
pub(crate) struct JobHandle {
    job: *const (dyn ScopedJob + 'static),
    copies: Arc<Copies>,
}

// SAFETY: the pointer is used as a shared reference to a `ScopedJob` only, and a `ScopedJob` is `Sync`.
#[allow(unsafe_code)]
unsafe impl Send for JobHandle {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for JobHandle {}

/// How many copies of a handle there are, besides the original.
#[derive(Default)]
struct Copies {
    count: Mutex<usize>,
    /// Notified when the count is zero.
    none: Condvar,
}

impl JobHandle {
    /// Runs the job on this thread.
    #[allow(unsafe_code)]
    fn run(&self) {
        // SAFETY: this handle is the original or a copy, so `lend` has not returned, and the job is alive.
        unsafe { &*self.job }.run(self);
    }

    /// One more copy, which `lend` waits for.
    pub(crate) fn copy(&self) -> JobCopy {
        *self.copies.count.lock() += 1;
        JobCopy(JobHandle { job: self.job, copies: Arc::clone(&self.copies) })
    }
}

/// A handle that is counted.
pub(crate) struct JobCopy(JobHandle);

impl JobCopy {
    pub(crate) fn run(&self) {
        self.0.run();
    }
}

impl Drop for JobCopy {
    fn drop(&mut self) {
        let mut count = self.0.copies.count.lock();
        *count -= 1;
        if *count == 0 {
            self.0.copies.none.notify_one();
        }
    }
}

/// How often it gives way before it waits.
const ROUNDS_AWAKE: u32 = rounds_awake(16);

/// Waits for all copies when it is dropped.
struct WaitForCopies<'a>(&'a Copies);

impl Drop for WaitForCopies<'_> {
    fn drop(&mut self) {
        // The last copies are about to go, as a rule, and a sleep would take longer.
        let is_over = || *self.0.count.lock() == 0;
        if !(0..ROUNDS_AWAKE).any(|_| is_over() || (thread::yield_now(), false).1) {
            self.0.none.wait_while(&mut self.0.count.lock(), |count| *count > 0);
        }
    }
}

/// Lends `job` to whoever gets a copy of the handle that `body` sees; returns when `body` is over and no copy is left.
#[allow(unsafe_code, clippy::transmute_ptr_to_ptr, reason = "a cast may not make a lifetime longer")]
pub(crate) fn lend<'s, R>(job: &'s (dyn ScopedJob + 's), body: impl FnOnce(&JobHandle) -> R) -> R {
    // SAFETY: the two types differ in a lifetime only; the rest is the proof above.
    let job = unsafe { mem::transmute::<*const (dyn ScopedJob + 's), *const (dyn ScopedJob + 'static)>(job) };
    let handle = JobHandle { job, copies: Arc::default() };
    let _wait = WaitForCopies(&handle.copies);
    body(&handle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;

    struct Count<'a>(&'a AtomicUsize);

    impl ScopedJob for Count<'_> {
        fn run(&self, _: &JobHandle) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn it_returns_after_the_last_copy_is_gone() {
        let count = AtomicUsize::new(0);
        let (sender, receiver) = mpsc::channel::<JobCopy>();
        let worker = thread::spawn(move || receiver.into_iter().for_each(|copy| copy.run()));
        lend(&Count(&count), |handle| (0..100).for_each(|_| sender.send(handle.copy()).expect("it listens")));
        assert_eq!(count.into_inner(), 100);
        drop(sender);
        worker.join().expect("no job panics");
    }

    #[test]
    fn it_waits_when_the_body_panics() {
        let count = AtomicUsize::new(0);
        let (sender, receiver) = mpsc::channel::<JobCopy>();
        let worker = thread::spawn(move || receiver.into_iter().for_each(|copy| copy.run()));
        let outcome = crate::base::unwind::catch(|| {
            lend(&Count(&count), |handle| {
                sender.send(handle.copy()).expect("it listens");
                crate::base::unwind::resume(Box::new("body"));
            });
        });
        assert!(outcome.is_err());
        assert_eq!(count.into_inner(), 1);
        drop(sender);
        worker.join().expect("no job panics");
    }
}
