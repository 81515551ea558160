//! The panic hook: how it is put in place, and what it does.
//!
//! # Installation
//!
//! Std keeps the hook behind a reader-writer lock. A thread that panics holds it for reading while the hook runs, and
//! `take_hook` and `set_hook` lock it for writing, so they wait for every hook that runs at the moment. A hook may take long,
//! and it may wait for this very call: it may have made it, on its own thread or on another one. So a call must not wait
//! for that lock.
//!
//! - A call on a thread that panics begins no installation. (Std would not allow it either.) Nor does a call inside of its
//!   jobs: they run on other threads, for which the hook waits all the same.
//! - Any other call has the hook put in place by a thread of its own and waits for that, since a panic in the next moment
//!   should be seen. It waits for [`PATIENCE`] at most, and so do all calls of the process together. Then they go on
//!   without the hook, and traces say that the location was not recorded.
//! - That thread goes on waiting, and calls that begin after it has finished find the hook in place.
//!
//! What cannot be helped: a writer that waits holds up new readers. So a thread that panics meanwhile waits until the
//! other hook has ended. It hangs if that hook waits for it, which takes all of this: the first call of the process, made
//! on a plain thread for which a hook waits, and a panic in that call. Std has no way to try the lock or to give up.
//!
//! Where no thread can be started, the calling thread installs the hook itself.

use std::cell::Cell;
use std::panic::{self, Location, PanicHookInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::base::current_worker::Worker;
use crate::base::fork::Home;
use crate::base::stdio;
use crate::base::unwind;

use super::call::{Call, Presence, Subject};
use super::job::{position, with_job};
use super::record::PanicRecord;
use super::sighting::{Sighting, thread_name};
use super::span::TraceContext;
use super::text::TraceLevel;
use super::trace_sink::TraceSink;
use super::unclaimed;

/// How long the calls of a process wait, all together, until the hook is in place.
const PATIENCE: Duration = Duration::from_secs(1);

/// Set once our hook is in place. It is never taken away: that would race with whoever has installed one since.
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// When the installation began. Locked only for moments, never while std's lock is waited for.
static BEGAN: Mutex<Option<Instant>> = Mutex::new(None);

/// Notified when the hook is in place.
static DONE: Condvar = Condvar::new();

thread_local! {
    /// Whether this thread runs a job of a call that began while its thread was panicking.
    static CALLER_PANICKING: Cell<bool> = const { Cell::new(false) };
}

/// Puts our hook before the one in place, once per process, unless that could hang.
pub(super) fn install() -> Presence {
    /// The process that was the first to come here.
    static HOME: Home = Home::unknown();

    if is_installed() {
        return Presence::Installed;
    }
    if cfg!(shuttle) {
        // Its own panics come in the middle of a step, where nothing may look at a thread-local.
        return Presence::Pending;
    }
    // What the hook says before an abort has to be written, come what may.
    stdio::prepare();
    if thread::panicking() || CALLER_PANICKING.try_with(Cell::get).unwrap_or(false) {
        Presence::CallerPanicking
    } else if HOME.is_here() && install_and_wait() {
        Presence::Installed
    } else {
        Presence::Pending
    }
}

impl Call {
    /// Describes a call of `method` made by the current thread, and sees to it that the hook is in place.
    #[track_caller]
    pub(crate) fn here(method: &'static str, trace: Option<TraceLevel>) -> Call {
        let hook = install();
        let trace = trace.unwrap_or_default();
        let (subject, trace_sink, context) = (Subject::Items, TraceSink::default(), TraceContext::here());
        let (site, caller) = (Location::caller(), Some(thread_name()));
        Call { method, site, label: None, caller, subject, trace, trace_sink, context, hook, orphans: Arc::default() }
    }

    /// The same for a task, which has no items.
    #[track_caller]
    pub(crate) fn task(method: &'static str, trace: Option<TraceLevel>) -> Call {
        Call { subject: Subject::Task, ..Call::here(method, trace) }
    }
}

pub(super) fn is_installed() -> bool {
    INSTALLED.load(Ordering::Acquire)
}

/// Begins the installation, if nobody has, and waits for its end, but not for long. False if it has not ended.
#[cold]
fn install_and_wait() -> bool {
    let mut began = BEGAN.lock();
    let is_first = began.is_none();
    let deadline = *began.get_or_insert_with(Instant::now) + PATIENCE;
    let mut installer = None;
    if is_first {
        let small = thread::Builder::new().name("PoolHook".to_owned()).stack_size(1 << 16);
        match small.spawn(replace_hook) {
            Ok(thread) => installer = Some(thread),
            Err(_) => MutexGuard::unlocked(&mut began, replace_hook),
        }
    }
    while !is_installed() && !DONE.wait_until(&mut began, deadline).timed_out() {}
    drop(began);
    if let Some(installer) = installer.filter(|_| is_installed()) {
        // It is about to end. Whoever counts threads should not find it.
        let _ = installer.join();
    }
    is_installed()
}

/// Waits for std's lock.
fn replace_hook() {
    let previous = Previous::take();
    let witness = Witness;
    panic::set_hook(Box::new(move |info| {
        let _alive = &witness;
        on_panic(&previous, info);
    }));
    let _waits = BEGAN.lock();
    INSTALLED.store(true, Ordering::Release);
    DONE.notify_all();
}

/// Runs `f`, a job of a call that was made under these circumstances. Calls inside it inherit them.
pub(super) fn inherit<R>(presence: Presence, f: impl FnOnce() -> R) -> R {
    if presence != Presence::CallerPanicking {
        return f();
    }
    let before = CALLER_PANICKING.try_with(|flag| flag.replace(true)).unwrap_or(false);
    let result = f();
    let _ = CALLER_PANICKING.try_with(|flag| flag.set(before));
    result
}

/// Set when somebody drops our hook.
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

/// Why a panic of a job has passed our hook by. `at_start` is how it was when the job began.
pub(super) fn reason_for_missing_it(at_start: Presence) -> &'static str {
    match at_start {
        Presence::CallerPanicking => "(location not recorded: the call began while its thread was panicking)",
        Presence::Pending => "(location not recorded: the call began while the panic hook could not be installed)",
        Presence::Installed if REPLACED.load(Ordering::Relaxed) => {
            "(location not recorded: another panic hook was installed after this pool's)"
        }
        Presence::Installed => "(location not recorded: raised again without this pool's panic hook)",
    }
}

/// Runs on the panicking thread before it unwinds. A panic in here would abort the process.
fn on_panic(previous: &Previous, info: &PanicHookInfo<'_>) {
    if unwind::is_quiet() {
        return;
    }
    let Some(call) = with_job(|job| Arc::clone(&job.call)) else {
        // An idle worker runs jobs of rayon's, whose panics may come out of a job of ours on another one.
        if Worker::is_here() {
            unclaimed::keep(&Arc::new(Sighting::now(info, false)));
        }
        return (previous.hook)(info);
    };
    if call.trace == TraceLevel::Off {
        return (previous.hook)(info);
    }
    let fate = Fate::of(info);
    if fate != Fate::SaidAlready {
        let record = PanicRecord::now(call, position(), info);
        record.sighting().into_iter().for_each(unclaimed::keep);
        with_job(|job| job.raised(record));
    }
    if !previous.is_default {
        (previous.hook)(info);
    }
    if fate != Fate::Unwinds {
        // Nobody will catch anything any more, so all that is known has to be said now.
        if let Some(text) = with_job(|job| job.last_words()) {
            stdio::write_stderr(&text);
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
        let location = info.location().map_or_else(String::new, |location| format!("{location:?}"));
        Fate::read(&format!("{info:?}"), &location)
    }

    /// Reads the debugging output, in which the location stands as it is given: its file may have any name.
    fn read(debug: &str, location: &str) -> Fate {
        let fields = debug.replacen(location, "", 1);
        if fields.contains("force_no_backtrace: true") {
            Fate::SaidAlready
        } else if cfg!(panic = "abort") || fields.contains("can_unwind: false") {
            Fate::Aborts
        } else {
            Fate::Unwinds
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_says_nothing_about_the_fate() {
        let fate = |file: &str, fields: &str| {
            let location = format!("Location {{ file: {file:?}, line: 3, column: 5 }}");
            let debug = format!("PanicHookInfo {{ payload: Any {{ .. }}, location: {location}, {fields} }}");
            Fate::read(&debug, &location)
        };
        for file in ["a.rs", "can_unwind: false.rs", "force_no_backtrace: true.rs"] {
            assert!(fate(file, "can_unwind: true, force_no_backtrace: false") == Fate::Unwinds, "{file}");
            assert!(fate(file, "can_unwind: false, force_no_backtrace: false") == Fate::Aborts, "{file}");
            assert!(fate(file, "can_unwind: false, force_no_backtrace: true") == Fate::SaidAlready, "{file}");
        }
    }
}
