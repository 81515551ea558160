//! [`Task`]: one closure on a worker, and what comes of it.

use crate::base::current_worker;
use crate::base::fork::is_forked;
use crate::base::sync::thread::{self, ThreadId};
use crate::base::sync::{Condvar, Mutex, MutexGuard};
use crate::engine::stop::{CancelToken, OnCancel};
use crate::observe::{self, CallerRole, ItemTimer, ObserverRef};
use crate::panics::{self, Call, JobEnd, PanicKind, TaskPanic, TraceSink};
use crate::threads::job_queue::{Job, JobQueue, Owner};
use crate::threads::pool::Pool;
use crate::threads::wait_graph::{PoolId, WaitPermit, permit_for_later};
use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use std::{fmt, mem};

/// A closure that runs on a pool in the background. Made by [`Pool::spawn`].
///
/// Dropping a `Task` detaches it; the closure still runs. If it then panics, its trace is printed and the process continues.
/// So every panic is seen: [`join`](Task::join) raises it, [`try_join`](Task::try_join) returns it, or it is printed.
///
/// A task is also a [`Future`]: `let sum = pool.spawn(move || heavy(data)).await;`. It works on any runtime, and the `await`
/// raises a panic.
///
/// # Examples
///
/// ```
/// use pool_map::Pool;
///
/// let pool = Pool::new(2)?;
/// let task = pool.spawn(|| (1..=100).sum::<u32>());
/// assert_eq!(task.join(), 5050);
/// # Ok::<(), pool_map::PoolError>(())
/// ```
pub struct Task<R> {
    /// Shared with the job that runs it, and with the tokens that may cancel it.
    pub(super) state: Arc<TaskState<'static, R>>,
    /// A worker of another pool that has spawned it may wait for it.
    _permit: Option<WaitPermit>,
}

/// What a task and its worker share. Its closure may borrow.
pub(super) struct TaskState<'f, R> {
    call: Arc<Call>,
    /// The observer of the pool.
    watch: Option<Box<ObserverRef<'static>>>,
    /// The pool that runs it, unless it ran at once, in place.
    pool: Option<(PoolId, Arc<JobQueue>)>,
    progress: Mutex<Progress<'f, R>>,
    /// Notified when there is an outcome.
    done: Condvar,
}

/// No user code runs under the lock of this.
struct Progress<'f, R> {
    stage: TaskStage<'f, R>,
    /// Who awaits the task, if it is awaited. Taken when there is an outcome.
    waker: Option<Waker>,
    /// While it is awaited on a worker of another pool.
    permit: Option<WaitPermit>,
    /// The task was dropped: nobody will ask for the outcome.
    unheard: bool,
}

enum TaskStage<'f, R> {
    /// No worker has taken it yet.
    Waiting(Box<dyn FnOnce() -> R + Send + 'f>),
    /// On this thread.
    Running(ThreadId),
    Done(Finished<R>),
    /// The outcome was handed out.
    Taken,
}

pub(super) struct Finished<R> {
    result: Result<R, TaskPanic>,
    /// What there is to print before the outcome is given: panics that the closure caught, traces of calls in it.
    deferred: Vec<String>,
    /// Where it is printed.
    trace_sink: TraceSink,
}

impl Pool {
    /// Runs `f` on a worker of this pool, in the background.
    ///
    /// Tasks start in the order in which they were spawned. They take turns with calls and streams on the pool. On an
    /// [`inline`](Pool::inline) pool, and after `fork`, `f` runs at once on this thread; the [`Task`] keeps its result or its
    /// panic.
    ///
    /// A task does not keep its pool alive. Dropping the last handle of the pool drops the closures that have not started
    /// (unless [`join`](Pool::join) was called), and joining their tasks says so.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let tasks: Vec<_> = (1..=3_u64).map(|x| pool.spawn(move || x.pow(2))).collect();
    /// let squares: Vec<u64> = tasks.into_iter().map(|task| task.join()).collect();
    /// assert_eq!(squares, [1, 4, 9]);
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    #[track_caller]
    pub fn spawn<R, F>(&self, f: F) -> Task<R>
    where
        R: Send + 'static,
        F: FnOnce() -> R + Send + 'static,
    {
        let call = Arc::new(Call::task("Pool::spawn", self.trace()).with_trace_sink(self.trace_sink()));
        let is_usable = self.is_usable();
        let watch = self.observer().map(|observer| Box::new(ObserverRef::shared(observer)));
        if let Some(watch) = &watch {
            watch.start(&call, if is_usable { self.threads() } else { 1 }, (1, Some(1)), CallerRole::Nothing);
        }
        let pool = self.id().map(|id| (id, Arc::clone(self.queue())));
        let permit = self.id().and_then(permit_for_later);
        let state = Arc::new(TaskState::new(call, watch, pool, f));
        match &state.pool {
            Some((_, queue)) => {
                queue.task_spawned();
                let job = TaskJob { state: Arc::clone(&state), queue: Arc::clone(queue) };
                queue.push(Job::new(Owner::NOBODY, move || job.state.run()).watched());
            }
            None => state.run(),
        }
        Task { state, _permit: permit }
    }
}

/// What the pool has of a task. Dropped without being run, it tells the task so.
struct TaskJob<R> {
    state: Arc<TaskState<'static, R>>,
    queue: Arc<JobQueue>,
}

impl<R> Drop for TaskJob<R> {
    fn drop(&mut self) {
        self.state.give_up(PanicKind::PoolDropped);
        self.queue.task_done();
    }
}

impl<R> Task<R> {
    /// Waits for the closure and returns its result. If it panicked, prints the trace and raises the same panic.
    ///
    /// The counterpart of [`std::thread::JoinHandle::join`], which returns a `Result`, is [`try_join`](Task::try_join).
    ///
    /// On a worker of the task's own pool, a task that has not started runs at once, on the worker that waits. So tasks may
    /// join other tasks of their pool, even if it has one worker. The same happens where pools would otherwise wait for each
    /// other in a circle.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::Pool;
    ///
    /// let pool = Pool::new(1)?;
    /// let inside = pool.clone();
    /// let task = pool.spawn(move || inside.spawn(|| 20).join() + 1);
    /// assert_eq!(task.join(), 21);
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the closure panicked, with the same payload. Also:
    ///
    /// - if the closure never ran, because it was [cancelled](Task::cancel_on) or its pool was dropped before it started;
    /// - if the task waits for itself: its closure was given its own `Task`, or it waits inside rayon on a worker that picked
    ///   up a rayon job which joins the task;
    /// - in a child made by `fork` while the closure was running, which continues in the parent. A closure that had not
    ///   started by then runs in the child as well, where it is joined.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "many a task is joined for its effect")]
    pub fn join(self) -> R {
        self.state.join()
    }

    /// Waits for the closure and returns its result, or its panic as a value. Its trace is not printed;
    /// [`PoolMap::catch_panics`](crate::PoolMap::catch_panics) says what may be.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let panic = pool.spawn(|| "1x".parse::<i32>().unwrap()).try_join().unwrap_err();
    /// assert!(panic.message().contains("InvalidDigit"));
    /// println!("{panic}");
    /// // [TRACE:PoolWorker-1] task panicked at src/main.rs:4:52: called `Result::unwrap()` on …
    /// // [TRACE:PoolWorker-1]   in Pool::spawn called at src/main.rs:4:18, on thread 'main'
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the closure panicked, or never ran because it was [cancelled](Task::cancel_on) or its pool was dropped before it
    /// started. Also in a child made by `fork` while the closure was running, as with [`join`](Task::join).
    ///
    /// # Panics
    ///
    /// If the task waits for itself, as with [`join`](Task::join).
    #[track_caller]
    pub fn try_join(self) -> Result<R, TaskPanic> {
        self.state.try_join()
    }

    /// Waits for the closure for at most `timeout`. The closure keeps running after that.
    ///
    /// A timeout of zero only checks. A timeout that is too large for a clock, such as [`Duration::MAX`], makes this a
    /// [`join`](Task::join). Otherwise this never runs the task itself: on the only worker of the task's own pool it waits
    /// until the time is up, and returns the task.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::Pool;
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    ///
    /// let pool = Pool::new(1)?;
    /// let (sender, receiver) = mpsc::channel();
    /// let task = pool.spawn(move || receiver.recv());
    /// let Err(task) = task.join_timeout(Duration::from_millis(1)) else {
    ///     unreachable!("nothing was sent")
    /// };
    /// sender.send("now").expect("the task listens");
    /// assert_eq!(task.join(), Ok("now"));
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the task itself if it is not done in time.
    ///
    /// # Panics
    ///
    /// As [`join`](Task::join); but if the task waits for itself it is returned, unless the timeout is too large for a clock.
    #[track_caller]
    pub fn join_timeout(self, timeout: Duration) -> Result<R, Task<R>> {
        self.state.wait(Some(timeout));
        match self.state.take() {
            Some(outcome) => Ok(outcome.raise()),
            None => Err(self),
        }
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

    /// Cancels the task if it has not started, and says whether that came in time: its closure is dropped here, and joining
    /// it says so. A closure that has started goes on, and what comes of it is there as ever.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::{Pool, PanicKind};
    ///
    /// let pool = Pool::new(1)?;
    /// let (sender, receiver) = std::sync::mpsc::channel::<()>();
    /// let first = pool.spawn(move || receiver.recv().is_err());
    /// let second = pool.spawn(|| 2);
    /// assert!(second.cancel());
    /// assert_eq!(second.try_join().unwrap_err().kind(), PanicKind::Cancelled);
    /// drop(sender);
    /// pool.wait_idle();
    /// assert!(!first.cancel()); // it has run
    /// assert!(first.join());
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    #[expect(clippy::must_use_candidate, reason = "mostly it is done for its effect")]
    pub fn cancel(&self) -> bool {
        self.state.give_up(PanicKind::Cancelled)
    }

    /// Lets `token` cancel this task until it starts: its closure is dropped, and joining it says so. A closure that has
    /// started continues; it can check [`is_cancelled`](CancelToken::is_cancelled) itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::{CancelToken, Pool};
    ///
    /// let pool = Pool::new(1)?;
    /// let token = CancelToken::new();
    /// let (sender, receiver) = std::sync::mpsc::channel::<()>();
    /// let first = pool.spawn(move || receiver.recv());
    /// let second = pool.spawn(|| 2).cancel_on(&token);
    /// token.cancel();
    /// let end = second.try_join().unwrap_err();
    /// assert_eq!(end.message(), "the task was cancelled before it started");
    /// drop(sender);
    /// assert!(first.join().is_err());
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    #[expect(clippy::return_self_not_must_use, clippy::must_use_candidate, reason = "dropping a task lets it run")]
    pub fn cancel_on(self, token: &CancelToken) -> Task<R>
    where
        R: Send + 'static,
    {
        token.stops(&self.state);
        self
    }
}

impl<'f, R> TaskState<'f, R> {
    pub(super) fn new(
        call: Arc<Call>,
        watch: Option<Box<ObserverRef<'static>>>,
        pool: Option<(PoolId, Arc<JobQueue>)>,
        f: impl FnOnce() -> R + Send + 'f,
    ) -> Self {
        let progress = Progress { stage: TaskStage::Waiting(Box::new(f)), waker: None, permit: None, unheard: false };
        TaskState { call, watch, pool, progress: Mutex::new(progress), done: Condvar::new() }
    }

    /// Whether there is an outcome, or was.
    pub(super) fn is_finished(&self) -> bool {
        matches!(self.progress.lock().stage, TaskStage::Done(_) | TaskStage::Taken)
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.progress.lock().stage, TaskStage::Running(_))
    }

    /// Waits for the outcome and raises a panic.
    #[track_caller]
    pub(super) fn join(&self) -> R {
        self.outcome().raise()
    }

    #[track_caller]
    pub(super) fn try_join(&self) -> Result<R, TaskPanic> {
        let outcome = self.outcome();
        panics::emit(outcome.trace_sink, outcome.deferred.concat());
        outcome.result
    }

    /// Has `waker` woken when there is an outcome; false if there is one.
    pub(super) fn wake_later(&self, waker: Waker) -> bool {
        let mut state = self.progress.lock();
        let is_finished = matches!(state.stage, TaskStage::Done(_) | TaskStage::Taken);
        let before = if is_finished { Some(waker) } else { state.waker.replace(waker) };
        drop(state);
        // Somebody else's, who has polled the task.
        panics::contain(before);
        !is_finished
    }

    /// Prepares for a wait: a closure that must not be waited for is run here. Adds the permit for the others.
    #[track_caller]
    pub(super) fn permit_or_finish(&self, permits: &mut Vec<WaitPermit>) {
        permits.extend(self.permit_or_run());
        let mut state = self.progress.lock();
        self.give_up_if_elsewhere(&mut state);
        let is_done = matches!(state.stage, TaskStage::Done(_));
        let waker = if is_done { state.waker.take() } else { None };
        let is_own = matches!(state.stage, TaskStage::Running(on) if on == thread::current().id());
        drop(state);
        assert!(!is_own, "a task cannot wait for itself: it runs on this very thread, below the one that waits");
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Nobody has the task any more.
    pub(super) fn detach(&self) {
        let mut state = self.progress.lock();
        state.unheard = true;
        let waker = state.waker.take();
        let outcome = take(&mut state);
        drop(state);
        panics::contain(waker);
        if let Some(outcome) = outcome {
            outcome.forget_here();
        }
    }

    /// Runs the closure on this thread, if nobody has begun to.
    pub(super) fn run(&self) {
        let Some(f) = self.claim() else { return };
        // User code. What it has captured is dropped in the job, a panic becomes a value.
        let mut result = None;
        let job = |begin: &dyn Fn()| {
            panics::run_job(&self.call, 0, |_| {
                begin();
                result = Some(f());
            })
        };
        let end = match &self.watch {
            None => job(&|| ()),
            Some(watch) => run_watched(&self.call, watch, job),
        };
        let result = match end.panic {
            None => Ok(result.expect("BUG: a job that did not panic has run to its end")),
            Some(panic) => Err(panic),
        };
        self.finish(Finished { result, deferred: end.deferred, trace_sink: self.call.trace_sink() });
    }

    fn claim(&self) -> Option<Box<dyn FnOnce() -> R + Send + 'f>> {
        let mut state = self.progress.lock();
        match mem::replace(&mut state.stage, TaskStage::Running(thread::current().id())) {
            TaskStage::Waiting(f) => Some(f),
            other => {
                state.stage = other;
                None
            }
        }
    }

    /// Lets the closure never run, if nobody has begun to; false if somebody has.
    pub(super) fn give_up(&self, why: PanicKind) -> bool {
        let Some(f) = self.claim() else { return false };
        panics::contain(f);
        if let Some(watch) = &self.watch {
            watch.finish();
        }
        let result = Err(TaskPanic::not_run(&self.call, why));
        self.finish(Finished { result, deferred: Vec::new(), trace_sink: self.call.trace_sink() });
        true
    }

    fn finish(&self, outcome: Finished<R>) {
        let mut state = self.progress.lock();
        if state.unheard {
            drop(state);
            return outcome.forget_there();
        }
        state.stage = TaskStage::Done(outcome);
        let waker = state.waker.take();
        drop(state);
        self.done.notify_all();
        // Wakers are the executor's code.
        if let Some(payload) = waker.and_then(|waker| panics::catch(|| waker.wake()).err()) {
            panics::contain(payload);
        }
    }

    /// In a child made by `fork`: what runs in the parent will never be done here.
    fn give_up_if_elsewhere(&self, state: &mut Progress<'f, R>) {
        if matches!(state.stage, TaskStage::Running(_)) && is_forked() {
            let result = Err(TaskPanic::not_run(&self.call, PanicKind::Forked));
            state.stage =
                TaskStage::Done(Finished { result, deferred: Vec::new(), trace_sink: self.call.trace_sink() });
        }
    }

    /// Waits for the outcome. What has not started is run here, if this is a worker.
    #[track_caller]
    fn wait(&self, timeout: Option<Duration>) {
        // A timeout beyond the reach of the clock is none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        // A wait with an end may wait for anybody.
        let _permit = if deadline.is_none() { self.permit_or_run() } else { None };
        let mut state = self.progress.lock();
        self.give_up_if_elsewhere(&mut state);
        while matches!(state.stage, TaskStage::Waiting(_) | TaskStage::Running(_)) {
            let is_own = matches!(state.stage, TaskStage::Running(on) if on == thread::current().id());
            match deadline {
                None if is_own => {
                    drop(state);
                    panic!("a task cannot wait for itself: it runs on this very thread, below the one that waits");
                }
                Some(deadline) => {
                    if self.done.wait_until(&mut state, deadline).timed_out() {
                        return;
                    }
                }
                None => self.done.wait(&mut state),
            }
        }
    }

    /// The right to wait for the pool or, where that could be for ever, the closure is run here if it has not started.
    fn permit_or_run(&self) -> Option<WaitPermit> {
        let (pool, _) = self.pool.as_ref()?;
        let permit = if is_forked() { None } else { WaitPermit::for_pool(*pool) };
        if permit.is_none() {
            self.run();
        }
        permit
    }

    /// The same for a poll. On a worker of the pool itself, another one that is free runs the closure.
    fn permit_to_await(&self) -> Option<WaitPermit> {
        let (pool, queue) = self.pool.as_ref()?;
        let is_own = current_worker::pool_id() == Some(*pool);
        let waits = self.progress.lock().permit.is_some();
        if !is_forked() && (waits || (is_own && queue.has_free_worker())) { None } else { self.permit_or_run() }
    }

    /// Waits for the outcome and takes it.
    #[track_caller]
    fn outcome(&self) -> Finished<R> {
        self.wait(None);
        self.take().expect("BUG: a task has an outcome after the wait")
    }

    fn take(&self) -> Option<Finished<R>> {
        take(&mut self.progress.lock())
    }
}

/// Runs a task for one who watches it.
#[cold]
fn run_watched(call: &Arc<Call>, watch: &ObserverRef<'_>, job: impl FnOnce(&dyn Fn()) -> JobEnd) -> JobEnd {
    let round = ItemTimer::begin(vec![watch]);
    watch.pulled(1, Duration::ZERO);
    let start = Instant::now();
    let mut end = job(&|| round.started(0, start));
    let outcome = if end.panic.is_some() { observe::TaskOutcome::Panicked } else { observe::TaskOutcome::Returned };
    // A job again, for what an observer's panic has to say.
    let told = panics::run_job(call, 0, |_| {
        round.finished(0, start, outcome);
        watch.finish();
    });
    end.deferred.extend(told.deferred);
    end
}

/// The outcome, once, if there is one.
fn take<R>(state: &mut MutexGuard<'_, Progress<'_, R>>) -> Option<Finished<R>> {
    match mem::replace(&mut state.stage, TaskStage::Taken) {
        TaskStage::Done(outcome) => Some(outcome),
        other => {
            state.stage = other;
            None
        }
    }
}

impl<R> Finished<R> {
    fn raise(self) -> R {
        panics::emit(self.trace_sink, self.deferred.concat());
        self.result.unwrap_or_else(|panic| panic.resume())
    }

    /// Drops what nobody asked for, on the thread that had the task. A panic is printed with its whole trace.
    fn forget_here(self) {
        panics::emit(self.trace_sink, self.deferred.concat());
        match self.result {
            Ok(result) => panics::contain(result),
            Err(panic) => {
                if panic.has_happened() {
                    panic.report();
                }
                panics::contain(panic);
            }
        }
    }

    /// The same on a worker, where no lock may be taken that somebody holds who waits for it.
    fn forget_there(self) {
        match self.result {
            Ok(result) => {
                panics::emit_raw(self.trace_sink, self.deferred.concat());
                panics::contain(result);
            }
            Err(panic) => {
                if panic.has_happened() {
                    panic.report_there(&self.deferred);
                }
                panics::contain(panic);
            }
        }
    }
}

impl<R: Send> OnCancel for TaskState<'_, R> {
    fn cancel(&self) {
        self.give_up(PanicKind::Cancelled);
    }
}

impl<R> Drop for TaskState<'_, R> {
    fn drop(&mut self) {
        // The observer is the user's, and this may be its last handle.
        if let Some(watch) = self.watch.take() {
            panics::contain(watch);
        }
    }
}

impl<R> Drop for Task<R> {
    fn drop(&mut self) {
        self.state.detach();
    }
}

impl<R> Future for Task<R> {
    type Output = R;

    /// Yields the result of the closure, or raises its panic. If an executor runs on a worker of the task's own pool and no
    /// other worker is free, a task that has not started runs within the poll. The same holds in a child made by `fork`.
    ///
    /// # Panics
    ///
    /// As [`join`](Task::join), and if it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        let permit = self.state.permit_to_await();
        let waker = context.waker().clone();
        let mut state = self.state.progress.lock();
        assert!(!matches!(state.stage, TaskStage::Taken), "a task was polled after it was ready");
        self.state.give_up_if_elsewhere(&mut state);
        if let Some(outcome) = take(&mut state) {
            state.permit = None;
            drop(state);
            return Poll::Ready(outcome.raise());
        }
        state.permit = permit.or(state.permit.take());
        let before = state.waker.replace(waker);
        drop(state);
        drop(before);
        Poll::Pending
    }
}

/// Yields tasks in the order in which they finish: those that have finished first, then each as soon as it does.
///
/// Each task that comes out has its outcome, so [`join`](Task::join) and [`try_join`](Task::try_join) return at once. The first
/// of several is `next()`, all of them are a loop, and the first failure is
/// `find_map(|task| task.try_join().err())`. Tasks that were cancelled come too. Dropping the iterator detaches the tasks that
/// are left, as dropping a [`Task`] does.
///
/// # Examples
///
/// ```
/// use pool_map::{Pool, as_completed};
///
/// let pool = Pool::new(2)?;
/// let (sender, receiver) = std::sync::mpsc::channel();
/// let slow = pool.spawn(move || receiver.recv().unwrap());
/// let quick = pool.spawn(|| "quick");
/// let mut names = Vec::new();
/// for task in as_completed([slow, quick]) {
///     names.push(task.join());
///     let _ = sender.send("slow");
/// }
/// assert_eq!(names, ["quick", "slow"]);
/// # Ok::<(), pool_map::PoolError>(())
/// ```
///
/// The first failure, without a wait for slower tasks before it:
///
/// ```
/// use pool_map::{Pool, as_completed};
///
/// let pool = Pool::new(2)?;
/// let (sender, receiver) = std::sync::mpsc::channel::<()>();
/// let slow = pool.spawn(move || receiver.recv().is_err());
/// let failing = pool.spawn(|| panic!("no such host"));
/// let failure = as_completed([slow, failing]).find_map(|task| task.try_join().err());
/// println!("{}", failure.unwrap().message()); // no such host
/// # drop(sender);
/// # Ok::<(), pool_map::PoolError>(())
/// ```
///
/// Tasks of a scope, which may borrow, come out of [`Scope::spawn`](crate::Scope::spawn). To know which of them came out, let
/// each return its number beside its result. On a worker of a task's own pool, `next` runs tasks that have not started, as
/// [`join`](Task::join) does.
///
/// # Panics
///
/// `next` does if it would wait for a task that runs further down on this thread's own stack.
pub fn as_completed<T: AnyTask>(tasks: impl IntoIterator<Item = T>) -> AsCompleted<T> {
    let finished = Arc::new(FinishedTasks { order: Mutex::default(), changed: Condvar::new() });
    let wait = |(place, task): (usize, T)| {
        let notes = Waker::from(Arc::new(NotesFinish { place, finished: Arc::clone(&finished) }));
        if !task.wake_later(notes) {
            finished.add(place);
        }
        Some(task)
    };
    let tasks: Vec<_> = tasks.into_iter().enumerate().map(wait).collect();
    AsCompleted { left: tasks.len(), tasks, finished }
}

/// A [`Task`] or a [`ScopedTask`](crate::ScopedTask). Not for implementing elsewhere.
pub trait AnyTask: sealed::Waits {}

pub(super) mod sealed {
    use crate::threads::wait_graph::WaitPermit;
    use std::task::Waker;

    #[expect(unnameable_types, reason = "a sealed trait: nobody else may implement it")]
    pub trait Waits {
        /// Has `waker` woken when there is an outcome; false if there is one.
        fn wake_later(&self, waker: Waker) -> bool;

        /// Prepares for a wait.
        #[expect(private_interfaces, reason = "nobody outside can call it")]
        fn permit_or_finish(&self, permits: &mut Vec<WaitPermit>);
    }
}

macro_rules! any_task {
    ($Task:ty, $($generics:tt)+) => {
        impl<$($generics)+> $crate::adaptors::task::AnyTask for $Task {}

        impl<$($generics)+> $crate::adaptors::task::sealed::Waits for $Task {
            fn wake_later(&self, waker: std::task::Waker) -> bool {
                self.state.wake_later(waker)
            }

            #[track_caller]
            #[expect(private_interfaces, reason = "as in the trait")]
            fn permit_or_finish(&self, permits: &mut Vec<$crate::threads::wait_graph::WaitPermit>) {
                self.state.permit_or_finish(permits);
            }
        }
    };
}

any_task!(Task<R>, R);
pub(super) use any_task;

/// The iterator that [`as_completed`] returns.
#[must_use = "iterators are lazy: dropping this one detaches its tasks"]
pub struct AsCompleted<T> {
    /// `None` for those that came out.
    tasks: Vec<Option<T>>,
    left: usize,
    finished: Arc<FinishedTasks>,
}

/// Which tasks have finished and not come out.
struct FinishedTasks {
    /// By their places, in the order in which they finished.
    order: Mutex<VecDeque<usize>>,
    changed: Condvar,
}

impl FinishedTasks {
    fn add(&self, place: usize) {
        self.order.lock().push_back(place);
        self.changed.notify_one();
    }
}

/// Woken by a task that has finished.
struct NotesFinish {
    place: usize,
    finished: Arc<FinishedTasks>,
}

impl Wake for NotesFinish {
    fn wake(self: Arc<Self>) {
        self.finished.add(self.place);
    }
}

impl<T: AnyTask> AsCompleted<T> {
    /// Runs what has not started where this is a worker that must not wait for it. The permits are for a wait.
    #[track_caller]
    fn permits_or_run(&self) -> Vec<WaitPermit> {
        let mut permits = Vec::new();
        for task in self.tasks.iter().flatten() {
            task.permit_or_finish(&mut permits);
            if !self.finished.order.lock().is_empty() {
                break;
            }
        }
        permits
    }
}

impl<T: AnyTask> Iterator for AsCompleted<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.left == 0 {
            return None;
        }
        let mut first = self.finished.order.lock().pop_front();
        if first.is_none() {
            let _permits = self.permits_or_run();
            let mut order = self.finished.order.lock();
            while order.is_empty() {
                self.finished.changed.wait(&mut order);
            }
            first = order.pop_front();
        }
        self.left -= 1;
        self.tasks[first.expect("BUG: the wait ends with one")].take()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T: AnyTask> ExactSizeIterator for AsCompleted<T> {}

impl<T: AnyTask> FusedIterator for AsCompleted<T> {}

impl<T> fmt::Debug for AsCompleted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted").field("left", &self.left).finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("is_finished", &self.is_finished()).finish_non_exhaustive()
    }
}
