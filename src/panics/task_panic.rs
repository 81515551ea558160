//! [`TaskPanic`]: a caught panic as a value, and the way on from there.

use std::any::{Any, TypeId};
use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::current_worker::Worker;
use crate::base::unwind::{Payload, quietly, resume};

use super::call::Call;
use super::job::with_job;
use super::output::{emit, emit_raw};
use super::record::{Origin, PanicKind, PanicRecord};
use super::text::{Frame, Style, TraceLevel};
use super::trace_sink::TraceSink;
use super::unclaimed;

/// The panic of one item: its message, its place, and the payload.
///
/// [`catch_panics`](crate::PoolMap::catch_panics) yields it in place of a result. Its `Display` is the trace that would have
/// been printed, without colour. It is complete: if an inner call raised the panic, it has the place and the frames of that
/// panic. You cannot create one.
///
/// # Examples
///
/// ```
/// use pool_map::PoolIterator;
///
/// let quotients = [5, 0].iter().pool_map(2, |d| 10 / d).catch_panics();
/// let quotients: Vec<Result<u32, pool_map::TaskPanic>> = quotients.collect();
/// assert_eq!(quotients[0].as_ref().ok(), Some(&2));
///
/// let panic = quotients[1].as_ref().unwrap_err();
/// assert_eq!(panic.index(), Some(1));
/// assert_eq!(panic.message(), "attempt to divide by zero");
/// println!("{panic}");
/// // [TRACE:PoolWorker-1] item 1 panicked at src/main.rs:3:80: attempt to divide by zero
/// // [TRACE:PoolWorker-1]   in pool_map called at src/main.rs:3:64, on thread 'main'
/// ```
pub struct TaskPanic {
    record: Box<PanicRecord>,
    /// Locked by nobody: a payload is `Send` but not `Sync`, and the mutex is what makes it so.
    payload: Mutex<Payload>,
    /// Whether its block has been told.
    reported: AtomicBool,
}

impl TaskPanic {
    /// Returns the index of the item, counted from 0 in the order of the source.
    ///
    /// `None` if there is no item, as with a [`Task`](crate::Task).
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        self.record.index().map(|index| usize::try_from(index).unwrap_or(usize::MAX))
    }

    /// The position of the item, for calls that have items.
    pub(crate) fn item(&self) -> u64 {
        self.record.item
    }

    /// Returns whether the item panicked. The error of a [`Task`](crate::Task) may also mean that its closure never ran.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::{CancelToken, PanicKind, Pool};
    ///
    /// let pool = Pool::new(1)?;
    /// let token = CancelToken::new();
    /// token.cancel();
    /// let tasks = [pool.spawn(|| panic!("on purpose")), pool.spawn(|| ()).cancel_on(&token)];
    /// for error in tasks.map(|task| task.try_join().unwrap_err()) {
    ///     match error.kind() {
    ///         PanicKind::Panicked => println!("failed: {}", error.message()),
    ///         kind => println!("not run: {kind:?}"),
    ///     }
    /// }
    /// // failed: on purpose
    /// // not run: Cancelled
    /// # let tasks = [pool.spawn(|| panic!("again")), pool.spawn(|| ()).cancel_on(&token)];
    /// # let kinds = tasks.map(|task| task.try_join().unwrap_err().kind());
    /// # assert_eq!(kinds, [PanicKind::Panicked, PanicKind::Cancelled]);
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    #[must_use]
    pub fn kind(&self) -> PanicKind {
        match self.record.origin {
            Origin::NotRun(kind) => kind,
            Origin::Hook { .. } | Origin::Inner(_) | Origin::Unseen(_) => PanicKind::Panicked,
        }
    }

    /// Returns the name of the thread that ran the item, such as `PoolWorker-1`.
    #[must_use]
    pub fn worker(&self) -> &str {
        &self.record.worker
    }

    /// Returns the message of the panic, or `non-string panic payload` if the payload is not a string.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.record.payload.message
    }

    /// Returns where it panicked, as in `src/parse.rs:88:14`.
    ///
    /// `None` if this crate's panic hook did not see it: the panic was raised by [`resume_unwind`](std::panic::resume_unwind),
    /// another hook was installed later, or the level is [`TraceLevel::Off`].
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.record.location()
    }

    /// Returns where the parallel call stands in the source.
    #[must_use]
    pub fn call_site(&self) -> &'static Location<'static> {
        self.record.call.site
    }

    /// Returns the frames of your own code, innermost first.
    ///
    /// Empty if there is no [`location`](TaskPanic::location), if the level is [`TraceLevel::Header`], in a program stripped
    /// of its symbols, and without the feature `backtrace`.
    ///
    /// # Performance
    ///
    /// The first call looks the frames up in the debug information, which takes milliseconds.
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        self.record.frames().user()
    }

    /// Returns what was passed to `panic!` or `panic_any`, to look at or to raise again.
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.payload.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn new(record: PanicRecord, payload: Payload) -> TaskPanic {
        TaskPanic { record: Box::new(record), payload: Mutex::new(payload), reported: AtomicBool::new(false) }
    }

    pub(super) fn record(&self) -> &PanicRecord {
        &self.record
    }

    pub(super) fn trace_sink(&self) -> TraceSink {
        self.record.call.trace_sink
    }

    /// What stands for the result of a task that was never run. Raised again, its message says why.
    pub(crate) fn not_run(call: &Arc<Call>, kind: PanicKind) -> TaskPanic {
        let payload: Payload = Box::new(kind.message());
        let record = PanicRecord::new(Arc::clone(call), 0, &*payload, Origin::NotRun(kind));
        TaskPanic::new(record, payload)
    }

    /// The same panic, of a job that did not note down its position.
    pub(crate) fn at(mut self, index: u64) -> TaskPanic {
        self.record.item = index;
        self
    }

    /// Whether it is none, but the way in which `stop` ends a job.
    pub(crate) fn is_stop(&self) -> bool {
        self.record.payload.kind == TypeId::of::<Stopped>()
    }

    /// Tells its whole block, once.
    pub(crate) fn report(&self) {
        if let Some(text) = self.unreported() {
            emit(self.trace_sink(), text);
        }
    }

    /// The block, if it was not told before and the level has one. It counts as told from now on.
    pub(super) fn unreported(&self) -> Option<String> {
        let first_time = !self.reported.swap(true, Ordering::Relaxed);
        (first_time && self.record.call.trace != TraceLevel::Off)
            .then(|| quietly(|| self.record.block(Style::of_stderr())))
            .flatten()
    }

    /// Tells its block, if that was not done, and raises it again on this thread.
    ///
    /// Where this thread is itself in a job, that job will know the panic for this one.
    pub(crate) fn resume(self) -> ! {
        self.report();
        if let Some(sighting) = self.record.sighting().filter(|_| Worker::is_here()) {
            // Where this thread is in a job of rayon's, another one of ours may get the panic.
            sighting.reopen();
            unclaimed::keep(sighting);
        }
        with_job(|job| job.raised_again(*self.record));
        resume(self.payload.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether there was a panic at all, and not a task that was never run.
    pub(crate) fn has_happened(&self) -> bool {
        self.kind() == PanicKind::Panicked
    }

    /// Emits its block and the deferred output from a worker, where nobody will ask for its result.
    pub(crate) fn report_there(&self, deferred: &[String]) {
        emit_raw(self.trace_sink(), deferred.concat() + &self.unreported().unwrap_or_default());
    }

    pub(super) fn unless_off(&self, text: impl FnOnce(Style) -> String) -> String {
        if self.record.call.trace == TraceLevel::Off { String::new() } else { text(Style::of_stderr()) }
    }
}

impl fmt::Display for TaskPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.record.whole_block().trim_end())
    }
}

impl fmt::Debug for TaskPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskPanic")
            .field("kind", &self.kind())
            .field("index", &self.index())
            .field("worker", &self.worker())
            .field("message", &self.message())
            .field("location", &self.location())
            .field("call_site", &self.call_site())
            .finish_non_exhaustive()
    }
}

impl std::error::Error for TaskPanic {}

/// What ends a job from inside of a library's loop, which knows no other way.
pub(super) struct Stopped;
