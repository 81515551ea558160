//! A panic from where it is raised to where it is raised again: the hook, the catch, the value that carries it, the
//! resume. The only file that knows panic hooks, unwinding and the `backtrace` crate.
//!
//! 1. While a thread runs a job, the [hook](install) writes down what exists only before unwinding: the place, the
//!    message, the stack (unresolved: that is milliseconds saved) and the item. It prints nothing.
//! 2. [`run_job`] catches, finds the record that belongs to the payload, and returns both as a [`TaskPanic`].
//! 3. The caller lets it [`report`](TaskPanic::report), which resolves the stack and prints, and then
//!    [`resume`](TaskPanic::resume).
//!
//! Inside a job nothing of ours touches standard error, for another thread may hold its lock and wait for this very
//! job. What there is to say becomes a note of the job, and the caller prints it.

pub(crate) mod logger;
pub(crate) mod span;
pub(crate) mod text;

use std::any::{Any, TypeId};
use std::cell::Cell;
use std::fmt;
use std::mem;
use std::panic::{self, Location, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use backtrace::{Backtrace, BacktraceFrame};
use once_cell::sync::{Lazy, OnceCell};

use self::span::TraceContext;
pub(crate) use self::text::LineKind;
use self::text::{Frame, Frames, Report, Style, Trace};
use crate::base::fork::Home;
use crate::base::stdio::write_stderr as write_raw;
use crate::base::unwind::{self, message};
pub(crate) use crate::base::unwind::{Payload, catch, quietly, resume};

/// The position of a job that does not note down which item it is at; see [`TaskPanic::at`].
pub(crate) const UNKNOWN_ITEM: u64 = u64::MAX;

/// How many panics of one kind get a line of their own before the rest are only counted.
const LINES: usize = 8;

/// How many bytes a job keeps of what inner calls told, for its caller to print. What is more is printed by the job.
const MOST_TOLD: usize = 64 * 1024;

thread_local! {
    /// The innermost job that this thread is in the middle of. Taken out only for the length of [`with_job`].
    static JOB: Cell<Option<Box<Job>>> = const { Cell::new(None) };
    /// The item that this job is at; without meaning outside a job.
    static POSITION: Cell<u64> = const { Cell::new(0) };
}

/// What all jobs of one call have in common.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// `pool_map`, or whichever method was called.
    method: &'static str,
    /// Where the user called it.
    site: &'static Location<'static>,
    /// The label that the user gave to the call.
    label: Option<Arc<str>>,
    /// The name of the thread that called; `None` for [`traced`], which has no thread but its own.
    caller: Option<String>,
    /// What the job is a part of.
    subject: Subject,
    trace: Trace,
    outlet: Outlet,
    /// What was current where the call was made.
    surroundings: TraceContext,
}

/// Where traces go besides the program's logger, which gets them all where the feature `log` is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outlet {
    #[default]
    Stderr,
    /// Nowhere, unless there is no logger that takes them.
    #[cfg_attr(not(feature = "log"), expect(dead_code, reason = "chosen by a method that comes with the feature"))]
    OnlyLogger,
}

/// What a trace speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// Items, each with its index.
    Items,
    /// A task.
    Task,
    /// A closure on some thread.
    Closure,
}

impl Call {
    /// Describes a call of `method` made by the current thread, and sees to it that the hook is in place.
    #[track_caller]
    pub(crate) fn here(method: &'static str, trace: Option<Trace>) -> Call {
        install();
        let trace = trace.unwrap_or_default();
        let (subject, outlet, surroundings) = (Subject::Items, Outlet::default(), TraceContext::here());
        let (site, caller) = (Location::caller(), Some(thread_name()));
        Call { method, site, label: None, caller, subject, trace, outlet, surroundings }
    }

    /// The same for a task, which has no items.
    #[track_caller]
    pub(crate) fn task(method: &'static str, trace: Option<Trace>) -> Call {
        Call { subject: Subject::Task, ..Call::here(method, trace) }
    }

    pub(crate) fn site(&self) -> &'static Location<'static> {
        self.site
    }

    pub(crate) fn method(&self) -> &'static str {
        self.method
    }

    pub(crate) fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    pub(crate) fn set_label(&mut self, label: String) {
        self.label = Some(Arc::from(label));
    }

    pub(crate) fn with_outlet(self, outlet: Outlet) -> Call {
        Call { outlet, ..self }
    }

    pub(crate) fn outlet(&self) -> Outlet {
        self.outlet
    }

    /// The same for a job that is about none of its items.
    pub(crate) fn without_items(&self) -> Call {
        Call { subject: Subject::Closure, ..self.clone() }
    }

    /// Whether each item of the call runs in a span of its own.
    pub(crate) fn spans_items(&self) -> bool {
        self.surroundings.span_items(self.label())
    }

    /// Runs one item, in a span of its own where that is wanted.
    #[inline]
    pub(crate) fn in_item_span<R>(&self, index: u64, f: impl FnOnce() -> R) -> R {
        self.surroundings.item(self.label(), index, f)
    }

    pub(crate) fn set_trace(&mut self, trace: Trace) {
        self.trace = trace;
    }

    /// The text about `self` for one line, as in `pool_map at src/lib.rs:30:9`.
    fn place(&self) -> String {
        format!("{} at {}", self.method, place(self.site))
    }
}

/// One job while it runs.
struct Job {
    call: Arc<Call>,
    /// What happened so far, oldest first.
    events: Vec<Event>,
    /// How many panics the hook saw, and how many of those were forgotten to keep `events` short.
    raised: u64,
    forgotten: usize,
    /// The bytes of all texts in `events`.
    told: usize,
}

enum Event {
    /// Text of an inner call that has to be printed.
    Told(String),
    /// The hook saw a panic. The job may end with it, or the closure may have caught it.
    Raised(PanicRecord),
    /// An inner call raised its panic again on this thread. The same holds.
    Inner(PanicRecord),
    /// A panic of a value's destructor or of an observer, which went no further.
    Contained(PanicRecord, LineKind),
}

/// All that is known of one panic, but for its payload.
struct PanicRecord {
    call: Arc<Call>,
    /// The name of the thread that the job ran on.
    worker: String,
    item: u64,
    /// Its place among the panics of its job that the hook saw.
    number: u64,
    /// The type and the text of the payload: how a story and a payload find each other.
    kind: TypeId,
    message: String,
    origin: Origin,
}

enum Origin {
    /// Seen by the hook.
    Hook {
        /// `None` only if a later std should not know it.
        place: Option<String>,
        /// `None` where the level of the call wants no frames.
        stack: Option<Backtrace>,
        /// The stack once somebody has asked for it.
        frames: OnceCell<Frames>,
    },
    /// The panic of an inner call, which has told it already.
    Inner(Box<PanicRecord>),
    /// Not seen by the hook, for the reason in the text.
    Unseen(&'static str),
    /// There was no panic: a task ended without being run.
    NotRun,
}

/// How one job ended.
#[derive(Debug)]
pub(crate) struct JobEnd {
    /// The panic that ended it early.
    pub(crate) panic: Option<TaskPanic>,
    /// Tagged lines which the caller has to [tell](tell_by), before the panic: what the closure caught, and inner calls.
    pub(crate) notes: Vec<String>,
}

// ---------------------------------------------------------------------------------------------------------------------
// The hook.

/// Puts our hook before the one in place, once per process.
///
/// While this thread is panicking the hook cannot be changed, and the next call tries again. The hook is never taken
/// away: that would race with whoever has installed one since.
///
/// Nor is it put there in a child that was forked while another thread was about to do so, which is not here.
fn install() {
    /// The process that was the first to come here.
    static HOME: Home = Home::unknown();

    if Lazy::get(&HOOK).is_none() && !thread::panicking() && HOME.is_here() {
        Lazy::force(&HOOK);
    }
}

static HOOK: Lazy<()> = Lazy::new(|| {
    let previous = Previous::take();
    let witness = Witness;
    panic::set_hook(Box::new(move |info| {
        let _alive = &witness;
        on_panic(&previous, info);
    }));
});

/// Whether somebody has dropped our hook.
static REPLACED: AtomicBool = AtomicBool::new(false);

/// Lives inside our hook, to notice the end of it.
struct Witness;

impl Drop for Witness {
    fn drop(&mut self) {
        REPLACED.store(true, Ordering::Relaxed);
    }
}

/// The hook that was there before ours.
struct Previous {
    hook: Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send + 'static>,
    /// Std's own, which would say a second time what we say.
    is_default: bool,
}

impl Previous {
    fn take() -> Previous {
        let hook = panic::take_hook();
        // Once a hook is taken std's own is in place, so the second one taken is a sample to compare with. Std's hook
        // is a function without state: its boxes all point nowhere, and it is the vtable that tells it from others.
        // A vtable may in theory be duplicated or shared; the price would be a message printed twice or only by us.
        #[allow(ambiguous_wide_pointer_comparisons, reason = "the vtables are what is compared")]
        let is_default = std::ptr::eq(&raw const *hook, &raw const *panic::take_hook());
        Previous { hook, is_default }
    }
}

/// Runs on the panicking thread before it unwinds. A panic in here would abort the process.
fn on_panic(previous: &Previous, info: &PanicHookInfo<'_>) {
    if unwind::is_quiet() {
        return;
    }
    let call = with_job(|job| Arc::clone(&job.call)).filter(|call| call.trace != Trace::Off);
    let Some(call) = call else { return (previous.hook)(info) };
    let fate = Fate::of(info);
    if fate != Fate::SaidAlready {
        let story = PanicRecord::now(call, info);
        with_job(|job| job.raised(story));
    }
    if !previous.is_default {
        (previous.hook)(info);
    }
    if fate != Fate::Unwinds {
        // Nobody will catch anything any more, so all that is known has to be said now.
        if let Some(text) = with_job(|job| job.last_words()) {
            write_raw(&text);
        }
    }
}

/// What comes after the hook.
#[derive(PartialEq, Eq)]
enum Fate {
    Unwinds,
    Aborts,
    /// An abort because of a panic that was recorded before, such as one in a destructor during unwinding.
    SaidAlready,
}

impl Fate {
    fn of(info: &PanicHookInfo<'_>) -> Fate {
        // There is no stable way to ask, but the debugging output says it. Should that change, an abort of a double
        // panic loses our text; a test watches it.
        let debug = format!("{info:?}");
        if debug.contains("force_no_backtrace: true") {
            Fate::SaidAlready
        } else if cfg!(panic = "abort") || debug.contains("can_unwind: false") {
            Fate::Aborts
        } else {
            Fate::Unwinds
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The catch.

/// Runs one job, whose first item is `first`.
///
/// The body sets the cell it is given to the index of each item before it runs it. Neither a panic of the body nor one
/// of what it has captured comes out of here. Jobs may lie on top of each other on one thread: a worker that waits
/// inside rayon may take up another one.
pub(crate) fn run_job(call: &Arc<Call>, first: u64, body: impl FnOnce(&Cell<u64>)) -> JobEnd {
    let job = Box::new(Job { call: Arc::clone(call), events: Vec::new(), raised: 0, forgotten: 0, told: 0 });
    // Where the thread is at its end and its locals are gone, the job runs all the same, unobserved by the hook.
    let below = JOB.try_with(|slot| slot.replace(Some(job))).ok().flatten();
    // An item as a job of its own within a job of the same call is in the caller's surroundings already.
    let is_inside = below.as_ref().is_some_and(|job| Arc::ptr_eq(&job.call, call));
    let (outcome, item) = POSITION.with(|position| {
        let item_below = position.replace(first);
        let run = || __rust_begin_short_backtrace(|| body(position));
        let outcome = catch(|| if is_inside { run() } else { call.surroundings.around(run) });
        (outcome, position.replace(item_below))
    });
    let job = JOB.try_with(|slot| slot.replace(below)).ok().flatten();
    let (events, forgotten) = job.map_or_else(Default::default, |job| (job.events, job.forgotten));
    sort_out(call, item, outcome.err(), events, forgotten)
}

/// Runs one item as a job of its own. Its notes go where those of an inner call go.
pub(crate) fn run_item<R>(call: &Arc<Call>, index: u64, f: impl FnOnce() -> R) -> Result<R, TaskPanic> {
    let mut result = None;
    let end = run_job(call, index, |_| result = Some(f()));
    tell_by(call.outlet, end.notes.concat());
    match end.panic {
        Some(panic) => Err(panic),
        None => Ok(result.expect("BUG: a job that did not panic has run to its end")),
    }
}

/// The frame at which a trace ends: below it there is nothing of the user's. Std's short backtraces know the name.
#[inline(never)]
fn __rust_begin_short_backtrace<R>(f: impl FnOnce() -> R) -> R {
    let result = f();
    // Keeps the call from becoming a jump, which would leave no frame.
    std::hint::black_box(());
    result
}

/// Finds the event that belongs to the payload, and words the others.
fn sort_out(call: &Arc<Call>, item: u64, payload: Option<Payload>, events: Vec<Event>, forgotten: usize) -> JobEnd {
    if payload.is_none() && events.is_empty() {
        // The usual end, of which a loop has many.
        return JobEnd { panic: None, notes: Vec::new() };
    }
    // The last that fits: a destructor may have caught a panic of its own after the one that goes on.
    let own = payload.as_deref().and_then(|payload| events.iter().rposition(|event| event.is_of(payload)));
    let mut notes = Vec::new();
    let mut story = None;
    let mut caught = Caught::new(forgotten);
    for (at, event) in events.into_iter().enumerate() {
        match event {
            Event::Told(text) => notes.push(text),
            Event::Raised(raised) if own == Some(at) => story = Some(raised),
            Event::Inner(inner) if own == Some(at) => story = Some(PanicRecord::around(call, item, inner)),
            Event::Raised(raised) => notes.extend(caught.line(&raised, LineKind::Caught)),
            Event::Contained(raised, aside) => notes.extend(caught.line(&raised, aside)),
            Event::Inner(_) => {}
        }
    }
    notes.extend(caught.rest());
    let panic = payload.map(|payload| {
        let story = story.unwrap_or_else(|| PanicRecord::unseen(call, item, &*payload));
        TaskPanic { story: Box::new(story), payload: Mutex::new(payload), reported: AtomicBool::new(false) }
    });
    JobEnd { panic, notes }
}

/// The lines about panics that did not end the job, of which there may be as many as there are items.
struct Caught {
    lines: usize,
    /// How many got no line.
    left_out: usize,
    worker: String,
}

impl Caught {
    fn new(left_out: usize) -> Caught {
        Caught { lines: 0, left_out, worker: thread_name() }
    }

    fn line(&mut self, story: &PanicRecord, aside: LineKind) -> Option<String> {
        if self.lines == LINES {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(story.line(aside, Style::of_stderr()))
    }

    fn rest(self) -> Option<String> {
        let what = "panics caught inside the closure";
        (self.left_out > 0).then(|| text::more(&self.worker, self.left_out, what, Style::of_stderr()))
    }
}

/// What ends a job from inside of a library's loop, which knows no other way.
struct Stopped;

/// Ends the job of this thread here and now, as a panic would, but nobody is told.
pub(crate) fn stop() -> ! {
    resume(Box::new(Stopped))
}

/// Drops a value whose destructor may panic, and keeps the panic in.
pub(crate) fn contain<T>(value: T) {
    keep_in(LineKind::Contained, || drop(value));
}

/// Runs code of the user's that is not `f`, and keeps a panic of it in; false if there was one.
///
/// It was told by the hook or, inside a job, becomes a note.
pub(crate) fn keep_in(aside: LineKind, act: impl FnOnce()) -> bool {
    let before = with_job(|job| job.raised);
    let Err(payload) = catch(act) else { return true };
    with_job(|job| job.contained(before.unwrap_or(0), aside));
    unwind::drop_payload(payload);
    false
}

/// Drops values one by one, so that a destructor that panics does not keep the others from running.
pub(crate) fn contain_all<T>(values: impl IntoIterator<Item = T>) {
    if mem::needs_drop::<T>() {
        values.into_iter().for_each(contain);
    }
}

/// Runs `f` on the job of this thread, if there is one. `f` must not panic, nor run code of the user's.
fn with_job<R>(f: impl FnOnce(&mut Job) -> R) -> Option<R> {
    JOB.try_with(|slot| {
        let mut job = slot.take()?;
        let result = f(&mut job);
        slot.set(Some(job));
        Some(result)
    })
    .ok()
    .flatten()
}

impl Job {
    /// Takes down a panic that the hook saw.
    fn raised(&mut self, mut story: PanicRecord) {
        story.number = self.raised;
        self.raised += 1;
        self.forgotten += self.forget_between(LINES, |event| matches!(event, Event::Raised(_)));
        self.events.push(Event::Raised(story));
    }

    /// Takes down the panic of an inner call, which has told it.
    fn raised_again(&mut self, story: PanicRecord) {
        self.forget_between(0, |event| matches!(event, Event::Inner(_)));
        self.events.push(Event::Inner(story));
    }

    /// Makes room for one more event of a kind. A closure that catches panics all the time must not fill the memory: the
    /// first ones stay, if they are to be shown, and the last two, since either may be the one that ends the job.
    fn forget_between(&mut self, first: usize, kind: impl Fn(&Event) -> bool) -> usize {
        let mut beyond = self.events.iter().enumerate().filter(|(_, event)| kind(event)).skip(first).map(|(at, _)| at);
        let (Some(at), Some(_)) = (beyond.next(), beyond.next()) else { return 0 };
        self.events.remove(at);
        1
    }

    /// Takes down text for the caller. Where it has become too much, gives back all of it.
    fn tell(&mut self, text: String) -> String {
        self.told += text.len();
        self.events.push(Event::Told(text));
        if self.told <= MOST_TOLD {
            return String::new();
        }
        self.told = 0;
        let mut overflow = String::new();
        self.events.retain(|event| match event {
            Event::Told(text) => {
                overflow += text;
                false
            }
            _ => true,
        });
        overflow
    }

    /// Marks the panics from that number on as what `aside` says.
    fn contained(&mut self, from: u64, aside: LineKind) {
        let events = mem::take(&mut self.events).into_iter().map(|event| match event {
            Event::Raised(story) if story.number >= from => Event::Contained(story, aside),
            other => other,
        });
        self.events = events.collect();
    }

    /// Everything known of this job, as text. The last two panics are the ones that may have led to an abort.
    fn last_words(&self) -> String {
        let raised = self.events.iter().filter(|event| matches!(event, Event::Raised(_))).count();
        let mut seen = 0;
        let mut text = String::new();
        for event in &self.events {
            match event {
                Event::Told(told) => text.push_str(told),
                Event::Raised(story) => {
                    seen += 1;
                    text += &if seen + 2 > raised {
                        story.block(Style::Plain)
                    } else {
                        story.line(LineKind::Caught, Style::Plain)
                    };
                }
                Event::Inner(_) | Event::Contained(..) => {}
            }
        }
        text
    }
}

impl Event {
    /// Whether a panic that arrived with `payload` may be this one.
    fn is_of(&self, payload: &(dyn Any + Send)) -> bool {
        let (Event::Raised(story) | Event::Inner(story)) = self else { return false };
        story.kind == payload.type_id() && story.message == message(payload)
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The story.

impl PanicRecord {
    /// The panic that the hook is called for.
    fn now(call: Arc<Call>, info: &PanicHookInfo<'_>) -> PanicRecord {
        let stack = call.trace.wants_frames().then(Backtrace::new_unresolved);
        let place = info.location().map(place);
        let item = POSITION.try_with(Cell::get).unwrap_or(0);
        PanicRecord::new(call, item, info.payload(), Origin::Hook { place, stack, frames: OnceCell::new() })
    }

    fn new(call: Arc<Call>, item: u64, payload: &(dyn Any + Send), origin: Origin) -> PanicRecord {
        let message = message(payload).to_owned();
        PanicRecord { call, worker: thread_name(), item, number: 0, kind: payload.type_id(), message, origin }
    }

    /// The panic of an item that made an inner call, which raised the panic `inner` again.
    fn around(call: &Arc<Call>, item: u64, inner: PanicRecord) -> PanicRecord {
        let (kind, message) = (inner.kind, inner.message.clone());
        let origin = Origin::Inner(Box::new(inner));
        PanicRecord { call: Arc::clone(call), worker: thread_name(), item, number: 0, kind, message, origin }
    }

    /// A panic that our hook was not called for.
    fn unseen(call: &Arc<Call>, item: u64, payload: &(dyn Any + Send)) -> PanicRecord {
        let why = if call.trace == Trace::Off {
            ""
        } else if Lazy::get(&HOOK).is_none() {
            "(location not recorded: the call began while its thread was panicking)"
        } else if REPLACED.load(Ordering::Relaxed) {
            "(location not recorded: another panic hook was installed after this pool's)"
        } else {
            "(location not recorded: raised again without this pool's panic hook)"
        };
        PanicRecord::new(Arc::clone(call), item, payload, Origin::Unseen(why))
    }

    /// The story that knows where the panic began, through all inner calls.
    fn first(&self) -> &PanicRecord {
        match &self.origin {
            Origin::Inner(inner) => inner.first(),
            Origin::Hook { .. } | Origin::Unseen(_) | Origin::NotRun => self,
        }
    }

    fn location(&self) -> Option<&str> {
        match &self.first().origin {
            Origin::Hook { place, .. } => place.as_deref(),
            _ => None,
        }
    }

    /// The frames, looked up on first use.
    fn frames(&self) -> &Frames {
        static NONE: Lazy<Frames> = Lazy::new(Frames::default);

        match &self.first().origin {
            Origin::Hook { stack: Some(stack), frames, .. } => frames.get_or_init(|| Frames::new(resolve(stack))),
            _ => &NONE,
        }
    }

    fn index(&self) -> Option<u64> {
        (self.call.subject == Subject::Items && self.item != UNKNOWN_ITEM).then_some(self.item)
    }

    /// The whole text about this panic, as the level of its call has it.
    fn block(&self, style: Style) -> String {
        // The frames of an inner call's panic stand in the block of that call, right above.
        let own = match &self.origin {
            Origin::Hook { .. } => self.frames(),
            Origin::Inner(_) | Origin::Unseen(_) | Origin::NotRun => &Frames::default(),
        };
        self.with_report(|report| report.block(own, self.call.trace, style))
    }

    fn line(&self, aside: LineKind, style: Style) -> String {
        self.with_report(|report| report.line(aside, style))
    }

    fn with_report(&self, f: impl FnOnce(&Report<'_>) -> String) -> String {
        let is_task = self.call.subject == Subject::Task;
        let panicked = if is_task { "task panicked" } else { "panicked" };
        let (verb, place_of_panic) = match &self.origin {
            Origin::Hook { place, .. } => {
                (panicked, place.as_ref().map_or_else(String::new, |place| format!("at {place}")))
            }
            Origin::Unseen(why) => (panicked, (*why).to_owned()),
            Origin::NotRun => ("task did not run", String::new()),
            Origin::Inner(inner) => {
                let item = inner.index().map_or_else(String::new, |item| format!(", item {item}"));
                let verb = if is_task { "task re-raised the panic above" } else { "re-raised the panic above" };
                (verb, format!("(inner {}{item})", inner.call.place()))
            }
        };
        f(&Report {
            worker: &self.worker,
            item: self.index(),
            verb,
            place: &place_of_panic,
            message: &self.message,
            method: self.call.method,
            label: self.call.label.as_deref(),
            site: &place(self.call.site),
            caller: self.call.caller.as_deref(),
        })
    }
}

/// Looks up the names and lines of a stack.
fn resolve(stack: &Backtrace) -> Vec<Frame> {
    let mut stack = stack.clone();
    stack.resolve();
    // A frame without a name says nothing to anybody.
    let named = stack.frames().iter().flat_map(BacktraceFrame::symbols).filter_map(|symbol| {
        let name = format!("{:#}", symbol.name()?);
        Some(Frame::new(&name, symbol.filename(), symbol.lineno(), symbol.colno()))
    });
    named.collect()
}

fn place(location: &Location<'_>) -> String {
    text::place(location.file(), location.line(), location.column())
}

fn thread_name() -> String {
    thread::current().name().unwrap_or("unnamed thread").to_owned()
}

// ---------------------------------------------------------------------------------------------------------------------
// The value, and the way out.

/// The panic of one item: what it was, where it came from, and the payload itself.
///
/// [`catch_panics`](crate::PoolMap::catch_panics) yields it in place of a result. Its `Display` is the trace that
/// would have been printed, without colour. It cannot be made by hand.
///
/// # Examples
///
/// ```
/// use pool_map::PoolIterator;
///
/// let quotients: Vec<Result<u32, pool_map::TaskPanic>> = [5, 0].iter().pool_map(2, |d| 10 / d).catch_panics().collect();
/// assert_eq!(quotients[0].as_ref().ok(), Some(&2));
///
/// let panic = quotients[1].as_ref().unwrap_err();
/// assert_eq!(panic.index(), 1);
/// assert_eq!(panic.message(), "attempt to divide by zero");
/// println!("{panic}");
/// // [TRACE:PoolWorker-1] item 1 panicked at src/main.rs:3:80: attempt to divide by zero
/// // [TRACE:PoolWorker-1]   in pool_map called at src/main.rs:3:64, on thread 'main'
/// ```
pub struct TaskPanic {
    story: Box<PanicRecord>,
    /// Locked by nobody: a payload is `Send` but not `Sync`, and the mutex is what makes it so.
    payload: Mutex<Payload>,
    /// Whether its block has been told.
    reported: AtomicBool,
}

impl TaskPanic {
    /// Returns the index of the item, counted from 0 in the order of the source.
    #[must_use]
    pub fn index(&self) -> usize {
        usize::try_from(self.story.item).unwrap_or(usize::MAX)
    }

    /// Returns the name of the thread that ran the item, such as `PoolWorker-1`.
    #[must_use]
    pub fn worker(&self) -> &str {
        &self.story.worker
    }

    /// Returns the text of the panic, or `non-string panic payload` where the payload is none.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.story.message
    }

    /// Returns where it panicked, as in `src/parse.rs:88:14`.
    ///
    /// `None` where no hook of ours saw it: the panic was raised by [`resume_unwind`](std::panic::resume_unwind),
    /// under a hook that was installed later, or with [`Trace::Off`].
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.story.location()
    }

    /// Returns where the parallel call stands in the source.
    #[must_use]
    pub fn call_site(&self) -> &'static Location<'static> {
        self.story.call.site
    }

    /// Returns the frames of the user's own code, the innermost first.
    ///
    /// Empty where there is no [`location`](TaskPanic::location), where the level is [`Trace::Header`], and in a
    /// program stripped of its symbols.
    ///
    /// # Performance
    ///
    /// The first use looks the frames up in the debug information, which takes milliseconds.
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        self.story.frames().user()
    }

    /// Returns what was passed to `panic!` or `panic_any`, to look at or to raise again.
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.payload.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands for the result of a task that was never run. Raised again, its message says why.
    pub(crate) fn not_run(call: &Arc<Call>, why: &'static str) -> TaskPanic {
        let payload: Payload = Box::new(why);
        let story = PanicRecord::new(Arc::clone(call), 0, &*payload, Origin::NotRun);
        TaskPanic { story: Box::new(story), payload: Mutex::new(payload), reported: AtomicBool::new(false) }
    }

    /// The same panic, of a job that did not note down its position.
    pub(crate) fn at(mut self, index: u64) -> TaskPanic {
        self.story.item = index;
        self
    }

    /// Whether it is none, but the way in which [`stop`] ends a job.
    pub(crate) fn is_stop(&self) -> bool {
        self.story.kind == TypeId::of::<Stopped>()
    }

    /// Tells its whole block, once.
    pub(crate) fn report(&self) {
        if let Some(text) = self.unreported() {
            tell_by(self.story.call.outlet, text);
        }
    }

    /// The block, if it was not told before and the level has one. It counts as told from now on.
    fn unreported(&self) -> Option<String> {
        let first_time = !self.reported.swap(true, Ordering::Relaxed);
        (first_time && self.story.call.trace != Trace::Off)
            .then(|| quietly(|| self.story.block(Style::of_stderr())))
            .flatten()
    }

    /// Tells its block, if that was not done, and raises it again on this thread.
    ///
    /// Where this thread is itself in a job, that job will know the panic for this one.
    pub(crate) fn resume(self) -> ! {
        self.report();
        with_job(|job| job.raised_again(*self.story));
        resume(self.payload.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether there was a panic at all, and not a task that was never run.
    pub(crate) fn has_happened(&self) -> bool {
        !matches!(self.story.origin, Origin::NotRun)
    }

    /// Tells its block and notes from a worker, where nobody will ask for its result.
    pub(crate) fn report_there(&self, notes: &[String]) {
        tell_there(self.story.call.outlet, notes.concat() + &self.unreported().unwrap_or_default());
    }

    fn unless_off(&self, text: impl FnOnce(Style) -> String) -> String {
        if self.story.call.trace == Trace::Off { String::new() } else { text(Style::of_stderr()) }
    }
}

/// Tells of panics that are not raised again, in a line each, and drops them: those that came with one that is, or
/// those that nobody got to because the iterator was dropped before.
pub(crate) fn mention(panics: Vec<TaskPanic>, beside_another: bool) {
    let outlet = panics.first().map_or_else(Outlet::default, |panic| panic.story.call.outlet);
    tell_by(outlet, lines_about(&panics, beside_another));
    contain_all(panics);
}

/// The same for a worker that finds nobody to hand its panic to: what it and its notes say is [told there](tell_there).
pub(crate) fn mention_there(outlet: Outlet, notes: &[String], panic: Option<TaskPanic>) {
    let panics: Vec<_> = panic.into_iter().collect();
    tell_there(outlet, notes.concat() + &lines_about(&panics, false));
    contain_all(panics);
}

fn lines_about(panics: &[TaskPanic], beside_another: bool) -> String {
    let aside = if beside_another { LineKind::Stopping } else { LineKind::Unreached };
    let line = |panic: &TaskPanic| panic.unless_off(|style| panic.story.line(aside, style));
    let mut text: String = panics.iter().take(LINES).map(line).collect();
    let left_out = panics.len().saturating_sub(LINES);
    if let Some(last) = panics.last().filter(|_| left_out > 0) {
        let what = if beside_another { "panicked while stopping" } else { "panicked and were not reached" };
        text += &last.unless_off(|style| text::more(last.worker(), left_out, what, style));
    }
    text
}

impl fmt::Display for TaskPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.story.block(Style::Plain).trim_end())
    }
}

impl fmt::Debug for TaskPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskPanic")
            .field("index", &self.index())
            .field("worker", &self.worker())
            .field("message", &self.message())
            .field("location", &self.location())
            .field("call_site", &self.call_site())
            .finish_non_exhaustive()
    }
}

impl std::error::Error for TaskPanic {}

/// Prints tagged text, or hands it to the job that this thread is in.
///
/// One `eprint!`, so that libtest shows it with the test that called, and so that a caller who holds the lock of
/// standard error is not kept waiting for itself.
pub(crate) fn tell_by(outlet: Outlet, text: String) {
    if let Some(text) = hand_over(outlet, text) {
        tell(outlet, &text, |text| eprint!("{text}"));
    }
}

/// Prints tagged text from a worker, whose caller is gone. Whoever holds the lock of standard error may wait for this very
/// worker, so it goes past that lock.
pub(crate) fn tell_there(outlet: Outlet, text: String) {
    if let Some(text) = hand_over(outlet, text) {
        tell(outlet, &text, write_raw);
    }
}

/// Gives text to the logger and, unless that is to be enough, to standard error by `print`.
fn tell(outlet: Outlet, text: &str, print: impl FnOnce(&str)) {
    // A logger is the user's, and `eprint!` panics where standard error is closed.
    let logged = quietly(|| logger::error(text)).unwrap_or(false);
    if outlet == Outlet::Stderr || !logged {
        quietly(|| print(text));
    }
}

/// Gives text to the job that this thread is in, or gives it back.
fn hand_over(outlet: Outlet, text: String) -> Option<String> {
    let mut text = Some(text).filter(|text| !text.is_empty());
    let overflow = with_job(|job| text.take().map(|text| job.tell(text))).flatten().unwrap_or_default();
    if !overflow.is_empty() {
        tell(outlet, &overflow, write_raw);
    }
    text
}

/// Runs `f` at once, on this thread, and prints a trace if it panics.
///
/// For threads that are not a pool's: the lines carry the thread's name and the place of this call, and the panic then
/// goes on as it was. They are written past the lock of standard error, which a thread that waits for this one may hold,
/// and so past the capture of `cargo test`, too. (With the feature `log` the program's logger has them as well: its locks are its
/// own.)
///
/// # Examples
///
/// ```
/// use pool_map::traced;
/// use std::thread;
///
/// let parse = || "12".parse::<u32>().unwrap();
/// let worker = thread::Builder::new().name("parser".into()).spawn(move || traced(parse)).unwrap();
/// assert_eq!(worker.join().unwrap(), 12);
///
/// // With "1x" in place of "12" there would be on standard error, before `join` returns:
/// // [TRACE:parser] panicked at src/main.rs:5:40: called `Result::unwrap()` on an `Err` value: ParseIntError { … }
/// // [TRACE:parser]   in traced called at src/main.rs:6:77
/// // [TRACE:parser]   0: app::main::{{closure}}      at src/main.rs:5:40
/// // [TRACE:parser]   + 43 runtime frames (RUST_BACKTRACE=full shows them)
/// ```
///
/// # Panics
///
/// If `f` does, with the same payload.
#[track_caller]
pub fn traced<R>(f: impl FnOnce() -> R) -> R {
    install();
    let trace = Trace::default();
    let (site, outlet, surroundings) = (Location::caller(), Outlet::default(), TraceContext::none());
    let subject = Subject::Closure;
    let call = Call { method: "traced", site, label: None, caller: None, subject, trace, outlet, surroundings };
    let mut result = None;
    let end = run_job(&Arc::new(call), 0, |_| result = Some(f()));
    let block = end.panic.as_ref().and_then(TaskPanic::unreported);
    for text in end.notes.into_iter().chain(block) {
        tell_there(outlet, text);
    }
    match end.panic {
        Some(panic) => panic.resume(),
        None => result.expect("BUG: a job that did not panic has run to its end"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Arc<Call> {
        Arc::new(Call::here("pool_map", Some(Trace::Header)))
    }

    fn payload(message: &str) -> Payload {
        Box::new(message.to_owned())
    }

    fn story(message: &str) -> PanicRecord {
        PanicRecord::new(call(), 7, &*payload(message), Origin::Unseen(""))
    }

    fn job() -> Job {
        Job { call: call(), events: Vec::new(), raised: 0, forgotten: 0, told: 0 }
    }

    fn ends_with(message: &str, events: Vec<Event>) -> JobEnd {
        sort_out(&call(), 7, Some(payload(message)), events, 0)
    }

    #[test]
    fn a_job_that_goes_on_and_on_keeps_little_of_its_panics() {
        let mut job = job();
        for count in 0..100 {
            job.raised(story(&format!("caught {count}")));
            job.raised_again(story(&format!("inner {count}")));
        }
        let message = |event: &Event| match event {
            Event::Raised(story) | Event::Inner(story) => story.message.clone(),
            Event::Told(_) | Event::Contained(..) => unreachable!("there is none"),
        };
        let kept: Vec<_> = job.events.iter().map(message).collect();
        let raised = (0..8).chain([98, 99]).map(|count| format!("caught {count}"));
        assert_eq!(job.forgotten, 90);
        assert!(
            raised.chain(["inner 98".into(), "inner 99".into()]).all(|message| kept.contains(&message)),
            "{kept:?}"
        );
        assert_eq!(kept.len(), 12);
    }

    #[test]
    fn what_is_forgotten_meanwhile_does_not_hide_that_a_panic_was_contained() {
        let mut job = job();
        (0..10).for_each(|count| job.raised(story(&format!("caught {count}"))));
        job.raised(story("goes on"));
        for destructor in ["first", "second"] {
            let before = job.raised;
            job.raised(story(destructor));
            job.contained(before, LineKind::Contained);
        }
        let contained = |event: &Event| matches!(event, Event::Contained(story, _) if story.message != "goes on");
        assert_eq!(job.events.iter().filter(|event| contained(event)).count(), 2);
        let kept = |event: &Event| matches!(event, Event::Raised(story) if story.message == "goes on");
        assert!(job.events.iter().any(kept));
    }

    #[test]
    fn text_is_kept_up_to_a_size_and_given_back_whole() {
        let mut job = job();
        let (first, second) = ("a".repeat(MOST_TOLD - 1), "b".to_owned());
        assert_eq!(job.tell(first.clone()), "");
        job.raised(story("between"));
        assert_eq!(job.tell(second.clone()), "", "just as much as it holds");
        assert_eq!(job.tell("c".to_owned()), first + &second + "c");
        assert_eq!(job.events.len(), 1, "the panic is still there");
        assert_eq!(job.tell("d".to_owned()), "", "from the start");
    }

    #[test]
    fn the_last_words_are_of_the_last_two_panics() {
        let mut job = job();
        job.tell("told\n".to_owned());
        let all = ["one", "two", "three"];
        for message in all {
            job.raised(story(message));
        }
        let [line, ..] = all.map(|message| story(message).line(LineKind::Caught, Style::Plain));
        let [_, two, three] = all.map(|message| story(message).block(Style::Plain));
        assert_eq!(job.last_words(), format!("told\n{line}{two}{three}"));
    }

    #[test]
    fn the_panic_that_ends_a_job_is_the_last_one_that_fits() {
        let end = ends_with("own", vec![Event::Raised(story("own")), Event::Inner(story("caught by a destructor"))]);
        assert!(end.notes.is_empty(), "the inner call has told it");
        assert!(matches!(end.panic.expect("it ends so").story.origin, Origin::Unseen(_)));

        let end = ends_with("both", vec![Event::Raised(story("both")), Event::Inner(story("both"))]);
        assert_eq!(end.notes.len(), 1, "the first was caught");
        assert!(matches!(end.panic.expect("it ends so").story.origin, Origin::Inner(_)));
    }

    #[test]
    fn many_panics_that_nobody_reached_are_some_lines_and_a_number() {
        let panics = |count: usize| -> Vec<_> {
            (0..count).map(|_| ends_with("lost", Vec::new()).panic.expect("it ends so")).collect()
        };
        let text = lines_about(&panics(LINES), false);
        assert_eq!((text.lines().count(), text.contains("more")), (LINES, false), "{text}");
        let text = lines_about(&panics(LINES + 3), false);
        let last = text.lines().last().expect("nine");
        assert!(text.lines().count() == LINES + 1 && last.contains("3 more panicked and were not reached"), "{text}");
    }
}
