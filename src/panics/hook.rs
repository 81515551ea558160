//! The panic hook: how it is put in place, and what it does.

use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use once_cell::sync::Lazy;

use crate::base::fork::Home;
use crate::base::stdio::write_stderr;
use crate::base::unwind;

use super::job::{position, with_job};
use super::record::PanicRecord;
use super::text::Trace;

/// Puts our hook before the one in place, once per process.
///
/// While this thread is panicking the hook cannot be changed, and the next call tries again. The hook is never taken
/// away: that would race with whoever has installed one since.
///
/// Nor is it put there in a child that was forked while another thread was about to do so, which is not here.
pub(crate) fn install() {
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

/// Why a panic inside a job may have passed us by.
pub(super) fn reason_for_missing_it() -> &'static str {
    if Lazy::get(&HOOK).is_none() {
        "(location not recorded: the call began while its thread was panicking)"
    } else if REPLACED.load(Ordering::Relaxed) {
        "(location not recorded: another panic hook was installed after this pool's)"
    } else {
        "(location not recorded: raised again without this pool's panic hook)"
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
        let record = PanicRecord::now(call, position(), info);
        with_job(|job| job.raised(record));
    }
    if !previous.is_default {
        (previous.hook)(info);
    }
    if fate != Fate::Unwinds {
        // Nobody will catch anything any more, so all that is known has to be said now.
        if let Some(text) = with_job(|job| job.last_words()) {
            write_stderr(&text);
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
