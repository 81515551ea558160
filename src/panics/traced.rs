//! [`traced`], for threads that are not a pool's.

use std::panic::Location;
use std::sync::Arc;

use super::call::{Call, Subject};
use super::catch::run_job;
use super::hook;
use super::output::emit_raw;
use super::span::TraceContext;
use super::task_panic::TaskPanic;
use super::text::TraceLevel;
use super::trace_sink::TraceSink;

/// Runs `f` at once, on this thread, and prints a trace if it panics.
///
/// For threads that do not belong to a pool. The lines have the thread's name and the place of this call; then the same panic
/// continues. They are written directly to standard error, because a thread that waits for this one may hold its lock; so
/// `cargo test` does not capture them. With the feature `log` they also go to the program's logger.
///
/// # Examples
///
/// ```
/// use pool_map::traced;
/// use std::thread;
///
/// let parse = || "12".parse::<u32>().unwrap();
/// let builder = thread::Builder::new().name("parser".into());
/// let worker = builder.spawn(move || traced(parse)).unwrap();
/// assert_eq!(worker.join().unwrap(), 12);
///
/// // With "1x" in place of "12" there would be on standard error, before `join` returns:
/// // [TRACE:parser] panicked at src/main.rs:5:40: called `Result::unwrap()` on an `Err` …
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
    let hook = hook::install();
    let trace = TraceLevel::default();
    let (site, trace_sink, context) = (Location::caller(), TraceSink::default(), TraceContext::none());
    let subject = Subject::Closure;
    let call = Call {
        method: "traced",
        site,
        label: None,
        caller: None,
        subject,
        trace,
        trace_sink,
        context,
        hook,
        orphans: Arc::default(),
    };
    let mut result = None;
    let end = run_job(&Arc::new(call), 0, |_| result = Some(f()));
    let block = end.panic.as_ref().and_then(TaskPanic::unreported);
    for text in end.deferred.into_iter().chain(block) {
        emit_raw(trace_sink, text);
    }
    match end.panic {
        Some(panic) => panic.resume(),
        None => result.expect("BUG: a job that did not panic has run to its end"),
    }
}
