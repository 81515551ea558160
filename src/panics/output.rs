//! Output: where the text about a panic goes, and by whom it is printed.
//!
//! Inside a job nothing of ours touches standard error, for another thread may hold its lock and wait for this very
//! job. What there is to say is handed to the job, and its caller prints it.

use crate::base::stdio::write_stderr;
use crate::base::unwind::quietly;

use super::job::with_job;
use super::logger;

/// Where traces go besides the program's logger, which gets them all where the feature `log` is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TraceSink {
    #[default]
    Stderr,
    /// Nowhere, unless there is no logger that takes them.
    #[cfg_attr(not(feature = "log"), expect(dead_code, reason = "chosen by a method that comes with the feature"))]
    OnlyLogger,
}

/// Prints tagged text, or hands it to the job that this thread is in.
///
/// One `eprint!`, so that libtest shows it with the test that called, and so that a caller who holds the lock of
/// standard error is not kept waiting for itself.
pub(crate) fn emit(trace_sink: TraceSink, text: String) {
    if let Some(text) = defer(trace_sink, text) {
        write(trace_sink, &text, |text| eprint!("{text}"));
    }
}

/// Prints tagged text from a worker, whose caller is gone. Whoever holds the lock of standard error may wait for this very
/// worker, so it goes past that lock.
pub(crate) fn emit_raw(trace_sink: TraceSink, text: String) {
    if let Some(text) = defer(trace_sink, text) {
        write(trace_sink, &text, write_stderr);
    }
}

/// Prints tagged text from a thread of ours that runs no job and that nobody waits for.
pub(crate) fn emit_aside(trace_sink: TraceSink, text: &str) {
    if !text.is_empty() {
        write(trace_sink, text, write_stderr);
    }
}

/// Gives text to the logger and, unless that is to be enough, to standard error by `print`.
fn write(trace_sink: TraceSink, text: &str, print: impl FnOnce(&str)) {
    // A logger is the user's, and `eprint!` panics where standard error is closed.
    let logged = quietly(|| logger::error(text)).unwrap_or(false);
    if trace_sink == TraceSink::Stderr || !logged {
        quietly(|| print(text));
    }
}

/// Gives text to the job that this thread is in, or gives it back.
fn defer(trace_sink: TraceSink, text: String) -> Option<String> {
    let mut text = Some(text).filter(|text| !text.is_empty());
    let overflow = with_job(|job| text.take().map(|text| job.defer(text))).flatten().unwrap_or_default();
    if !overflow.is_empty() {
        write(trace_sink, &overflow, write_stderr);
    }
    text
}
