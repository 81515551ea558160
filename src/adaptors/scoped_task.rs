//! [`ScopedTask`]: one closure that borrows, on a worker of a scope.
//!
//! The closures wait in the scope. A thread of the scope, which the first of them starts, lends that queue to the workers and
//! calls one of them for each closure. It ends when the body of the scope is over and no closure is left, and the scope
//! waits for it.

use crate::adaptors::task::{TaskState, any_task};
use crate::panics::{self, PanicKind, TaskPanic};
use crate::threads::job_queue::JobQueue;
use crate::threads::workers_scope::{self, Lent, WorkersScope};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// A closure that runs on a worker of a [`Scope`](crate::Scope), and may borrow from outside it. Made by
/// [`Scope::spawn`](crate::Scope::spawn).
///
/// It is a [`Task`](crate::Task) that the scope waits for. Dropping it detaches it; the closure still runs. If it then panics,
/// its trace is printed, and the scope goes on.
pub struct ScopedTask<'scope, R> {
    pub(super) state: Arc<TaskState<'scope, R>>,
}

impl<R> ScopedTask<'_, R> {
    /// Waits for the closure and returns its result. If it panicked, prints the trace and raises the same panic. As
    /// [`Task::join`](crate::Task::join).
    ///
    /// # Panics
    ///
    /// If the closure panicked, with the same payload; if it never ran, because it was [cancelled](Self::cancel); if the task
    /// waits for itself.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "many a task is joined for its effect")]
    pub fn join(self) -> R {
        self.state.join()
    }

    /// Waits for the closure and returns its result, or its panic as a value. As [`Task::try_join`](crate::Task::try_join).
    ///
    /// # Errors
    ///
    /// If the closure panicked, or was [cancelled](Self::cancel).
    ///
    /// # Panics
    ///
    /// If the task waits for itself.
    #[track_caller]
    pub fn try_join(self) -> Result<R, TaskPanic> {
        self.state.try_join()
    }

    /// Returns whether the closure has returned or panicked, or will never run.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.state.is_finished()
    }

    /// Whether a thread is at work on the closure.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state.is_running()
    }

    /// Cancels the task if it has not started, and says whether that came in time. As [`Task::cancel`](crate::Task::cancel).
    #[expect(clippy::must_use_candidate, reason = "mostly it is done for its effect")]
    pub fn cancel(&self) -> bool {
        self.state.give_up(PanicKind::Cancelled)
    }
}

any_task!(ScopedTask<'_, R>, R);

impl<R> Drop for ScopedTask<'_, R> {
    fn drop(&mut self) {
        self.state.detach();
    }
}

impl<R> fmt::Debug for ScopedTask<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedTask").field("is_finished", &self.is_finished()).finish_non_exhaustive()
    }
}

/// A task, whatever its result is.
pub(super) trait Runs: Send + Sync {
    fn run(&self);
}

impl<R: Send> Runs for TaskState<'_, R> {
    fn run(&self) {
        TaskState::run(self);
    }
}

/// The tasks of a scope.
pub(super) struct ScopeTasks<'scope> {
    state: Mutex<Queue<'scope>>,
    /// Notified when the feeder has something to do.
    changed: Condvar,
}

struct Queue<'scope> {
    waiting: VecDeque<Arc<dyn Runs + 'scope>>,
    /// How many workers were called that have not come yet.
    called: usize,
    running: usize,
    has_feeder: bool,
    /// The body of the scope is over.
    is_closed: bool,
}

impl<'scope> ScopeTasks<'scope> {
    pub(super) fn new() -> Self {
        let waiting = VecDeque::new();
        let state = Queue { waiting, called: 0, running: 0, has_feeder: false, is_closed: false };
        ScopeTasks { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Queues a task; false if there is no feeder and none can start.
    pub(super) fn push(&self, task: Arc<dyn Runs + 'scope>, start_feeder: impl FnOnce() -> bool) -> bool {
        let mut state = self.state.lock();
        // It waits for this lock first of all.
        state.has_feeder = state.has_feeder || start_feeder();
        if state.has_feeder {
            state.waiting.push_back(task);
            self.changed.notify_one();
        }
        state.has_feeder
    }

    /// The body of the scope is over.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// The life of the feeder: calls a worker for each task, until the scope is over and none is left.
    pub(super) fn feed(&self, queue: &Arc<JobQueue>) {
        workers_scope::lend(queue, self, |scope| {
            let mut state = self.state.lock();
            loop {
                if state.called < state.waiting.len() {
                    state.called += 1;
                    MutexGuard::unlocked(&mut state, || scope.spawn());
                } else if state.is_closed && state.waiting.is_empty() && state.running == 0 {
                    break;
                } else {
                    self.changed.wait(&mut state);
                }
            }
            // A task that is spawned by what still runs in the scope starts another.
            state.has_feeder = false;
        });
    }
}

impl Lent for ScopeTasks<'_> {
    fn work(&self, _: &WorkersScope<'_>) {
        let mut state = self.state.lock();
        state.called -= 1;
        let Some(task) = state.waiting.pop_front() else { return };
        state.running += 1;
        drop(state);
        task.run();
        // With what nobody else holds of it.
        panics::contain(task);
        self.state.lock().running -= 1;
        self.changed.notify_one();
    }

    fn runs_ahead(&self) -> bool {
        true
    }
}
