//! The queue of one pool: jobs that wait for a worker, and workers that wait for a job.
//!
//! Jobs are taken in the order in which they were pushed. A job that has much to do gives way from time to time: it asks
//! [`JobQueue::should_yield`] between two steps, pushes itself again behind those that wait, and returns.
//!
//! Rayon has queues of its own, which this one knows nothing of but whom to wake for them. See
//! [`worker_loop`](super::worker_loop).

use crate::base::sync::atomic::{AtomicUsize, Ordering};
use crate::base::sync::{Condvar, Mutex, thread};
use crate::panics;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a job may work while others wait.
pub(crate) const TURN: Duration = Duration::from_millis(10);

/// What a worker does, once.
pub(crate) type Run = Box<dyn FnOnce() + Send>;

/// A job that can be told, while it runs, that others wait.
pub(crate) trait Interrupt: Send + Sync {
    /// Has it ask [`JobQueue::should_yield`] soon.
    fn interrupt(&self);
}

/// Something for a worker to do.
pub(crate) struct Job {
    /// Whose it is; see [`JobQueue::withdraw`].
    owner: Owner,
    /// Without it, the job asks by itself soon enough, or has no way to give way.
    interrupt: Option<Arc<dyn Interrupt>>,
    /// Whether an idle worker looks at rayon's queues from the start, since nobody may be waiting for this job.
    is_watched: bool,
    run: Run,
}

/// Tells the jobs of one call, stream or task from those of others. 0 is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner(usize);

impl Owner {
    pub(crate) const NOBODY: Owner = Owner(0);

    /// The owner that lives at this address for as long as it has jobs.
    pub(crate) fn at<T>(place: *const T) -> Owner {
        Owner(place.addr())
    }
}

impl Job {
    pub(crate) fn new(owner: Owner, run: impl FnOnce() + Send + 'static) -> Job {
        Job { owner, interrupt: None, is_watched: false, run: Box::new(run) }
    }

    /// What it does with rayon is shared from the start.
    pub(crate) fn watched(self) -> Job {
        Job { is_watched: true, ..self }
    }

    pub(crate) fn with_interrupt(self, interrupt: Option<Arc<dyn Interrupt>>) -> Job {
        Job { interrupt, ..self }
    }
}

/// The jobs of one pool.
pub(crate) struct JobQueue {
    pub(super) state: Mutex<QueueState>,
    /// Idle workers wait here.
    pub(super) wake: Condvar,
    /// Notified when nothing waits and nothing runs.
    quiet: Condvar,
    /// The length of `QueueState::jobs`, for a look without the lock.
    waiting: AtomicUsize,
}

/// What the lock guards. No job runs under it.
pub(super) struct QueueState {
    jobs: VecDeque<Job>,
    /// Workers that wait at `wake`. Whoever notifies one counts it out.
    pub(super) idle: usize,
    /// Workers that were notified there and have not come yet.
    pub(super) woken: usize,
    /// Workers that have nothing to do and stay awake for a moment. They look at `jobs` after that.
    pub(super) spinning: usize,
    /// Workers that have not entered their loop yet.
    pub(super) not_started: usize,
    /// Workers that are at a job.
    pub(super) busy: usize,
    /// The jobs among those that can be interrupted, each as often as it runs.
    running: Vec<Arc<dyn Interrupt>>,
    /// Workers that look for jobs of rayon's, or have found one and are at it.
    pub(super) looking: usize,
    /// Idle workers among them that look at rayon's queues from time to time.
    pub(super) watchers: usize,
    /// How many threads want that somebody does.
    watched: usize,
    /// Whether a worker has ever found a job of rayon's.
    pub(super) has_seen_rayon: bool,
    /// No job is taken in any more.
    is_closed: bool,
    /// The workers are to end once nothing waits.
    pub(super) is_over: bool,
    /// Tasks that were spawned and are not done.
    tasks: usize,
}

impl JobQueue {
    pub(crate) fn new(workers: usize) -> Self {
        let state = QueueState {
            jobs: VecDeque::new(),
            idle: 0,
            woken: 0,
            spinning: 0,
            not_started: workers,
            busy: 0,
            running: Vec::new(),
            looking: 0,
            watchers: 0,
            watched: 0,
            has_seen_rayon: false,
            is_closed: false,
            is_over: false,
            tasks: 0,
        };
        JobQueue { state: Mutex::new(state), wake: Condvar::new(), quiet: Condvar::new(), waiting: AtomicUsize::new(0) }
    }

    /// Has a job done. One that comes after [`close`](Self::close) is dropped.
    pub(crate) fn push(&self, job: Job) {
        let mut state = self.state.lock();
        if state.is_closed {
            drop(state);
            // What a job holds learns from its destructor that it was not run.
            return panics::contain(job);
        }
        state.jobs.push_back(job);
        self.count(&state);
        // Those that are awake and have nothing to do look at the queue before they wait.
        if state.jobs.len() > state.spinning + state.woken {
            self.wake_one(&mut state);
            if state.idle + state.spinning + state.woken == 0 {
                state.running.iter().for_each(|job| job.interrupt());
            }
        }
    }

    /// Wakes a worker that waits at `wake`. Under the lock: one whose time has just run out counts itself out, and sees what
    /// there is by then.
    pub(super) fn wake_one(&self, state: &mut QueueState) {
        if state.idle > 0 && self.wake.notify_one() {
            state.idle -= 1;
            state.woken += 1;
        }
    }

    fn wake_all(&self, state: &mut QueueState) {
        let woken = self.wake.notify_all();
        state.idle -= woken;
        state.woken += woken;
    }

    /// The job whose turn it is.
    pub(super) fn pop(&self, state: &mut QueueState) -> Option<Job> {
        let job = state.jobs.pop_front()?;
        self.count(state);
        Some(job)
    }

    /// A worker begins with a job.
    pub(super) fn begin(&self, state: &mut QueueState, job: Job) -> (Run, Option<Arc<dyn Interrupt>>) {
        state.busy += 1;
        if job.is_watched || state.watched > 0 {
            self.wake_watcher(state);
        }
        state.running.extend(job.interrupt.clone());
        (job.run, job.interrupt)
    }

    pub(super) fn finish(state: &mut QueueState, interrupt: Option<Arc<dyn Interrupt>>) {
        state.busy -= 1;
        if let Some(interrupt) = interrupt {
            let place = state.running.iter().position(|running| Arc::ptr_eq(running, &interrupt));
            state.running.swap_remove(place.expect("BUG: it was running"));
        }
    }

    /// Takes back the jobs of one owner that no worker has taken, which are dropped, and gives how many there were.
    pub(crate) fn withdraw(&self, owner: Owner) -> usize {
        let mut state = self.state.lock();
        if state.jobs.iter().all(|job| job.owner != owner) {
            return 0;
        }
        let (own, others) = state.jobs.drain(..).partition::<VecDeque<_>, _>(|job| job.owner == owner);
        state.jobs = others;
        self.count(&state);
        self.tell_if_quiet(&state);
        drop(state);
        let count = own.len();
        panics::contain_all(own);
        count
    }

    /// Whether there is an idle worker for each job that waits.
    pub(crate) fn has_free_worker(&self) -> bool {
        /// A look at rayon's queues that finds nothing takes less than this.
        const LOOK: Duration = Duration::from_micros(50);
        let start = Instant::now();
        loop {
            let state = self.state.lock();
            let free = state.idle + state.woken + state.spinning + state.not_started;
            if free > 0 && free >= state.jobs.len() {
                return true;
            }
            // One that only looks at rayon's queues is about to be idle. One that has found something there is not.
            if state.looking == 0 || start.elapsed() > LOOK {
                return false;
            }
            drop(state);
            thread::yield_now();
        }
    }

    /// Takes no more jobs in, and gives back those that wait.
    pub(crate) fn close(&self) -> VecDeque<Job> {
        let mut state = self.state.lock();
        state.is_closed = true;
        let jobs = std::mem::take(&mut state.jobs);
        self.count(&state);
        self.tell_if_quiet(&state);
        jobs
    }

    /// Lets the workers end once nothing waits.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        state.is_over = true;
        self.wake_all(&mut state);
    }

    /// While what this returns lives, an idle worker looks at rayon's queues if there is one: somebody has waited for a job for
    /// a while, and what that does with rayon can be shared.
    pub(crate) fn watch_rayon(&self) -> Watched<'_> {
        let mut state = self.state.lock();
        state.watched += 1;
        if state.is_at_work() {
            self.wake_watcher(&mut state);
        }
        Watched(self)
    }

    /// Wakes a worker to look at rayon's queues, if none does.
    pub(super) fn wake_watcher(&self, state: &mut QueueState) {
        if state.watchers == 0 {
            self.wake_one(state);
        }
    }

    // Who waits for the end.

    pub(crate) fn task_spawned(&self) {
        self.state.lock().tasks += 1;
    }

    pub(crate) fn task_done(&self) {
        let mut state = self.state.lock();
        state.tasks -= 1;
        self.tell_if_quiet(&state);
    }

    /// Returns when every task that was spawned is done, those that they have spawned included.
    pub(crate) fn wait_for_tasks(&self) {
        self.quiet.wait_while(&mut self.state.lock(), |state| state.tasks > 0);
    }

    /// Returns when no job waits and none runs.
    pub(crate) fn wait_idle(&self) {
        self.quiet.wait_while(&mut self.state.lock(), |state| !state.is_quiet());
    }

    /// Whether others wait for a worker, and a job that began at `since` has had its turn by `now`.
    pub(crate) fn should_yield(&self, since: Instant, now: Instant) -> bool {
        self.has_waiting_job() && now.saturating_duration_since(since) >= TURN
    }

    pub(crate) fn has_waiting_job(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn count(&self, state: &QueueState) {
        self.waiting.store(state.jobs.len(), Ordering::Relaxed);
    }

    pub(super) fn has_jobs(state: &QueueState) -> bool {
        !state.jobs.is_empty()
    }

    pub(super) fn tell_if_quiet(&self, state: &QueueState) {
        if state.tasks == 0 {
            self.quiet.notify_all();
        }
    }
}

impl QueueState {
    /// Whether some worker is at something, which it may share by way of rayon.
    pub(super) fn is_at_work(&self) -> bool {
        self.busy + self.looking > 0
    }

    fn is_quiet(&self) -> bool {
        self.tasks == 0 && !self.is_at_work() && self.jobs.is_empty()
    }
}

/// See [`JobQueue::watch_rayon`].
pub(crate) struct Watched<'a>(&'a JobQueue);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.state.lock().watched -= 1;
    }
}

#[cfg(test)]
impl JobQueue {
    /// How many jobs wait.
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().jobs.len()
    }
}
