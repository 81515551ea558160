//! Output: where the text about a panic goes, and by whom it is printed.
//!
//! Inside a job nothing of ours touches standard error, for another thread may hold its lock and wait for this very
//! job. What there is to say is handed to the job, and its caller prints it.

use crate::base::stdio::write_stderr;

use super::job::with_job;
use super::trace_sink::TraceSink;

/// Prints tagged text, or hands it to the job that this thread is in.
///
/// One `eprint!`, so that libtest shows it with the test that called, and so that a caller who holds the lock of
/// standard error is not kept waiting for itself.
pub(crate) fn emit(trace_sink: TraceSink, text: String) {
    if let Some(text) = defer(trace_sink, text) {
        trace_sink.write(&text, |text| eprint!("{text}"));
    }
}

/// Prints tagged text from a worker, whose caller is gone. Whoever holds the lock of standard error may wait for this very
/// worker, so it goes past that lock.
pub(crate) fn emit_raw(trace_sink: TraceSink, text: String) {
    if let Some(text) = defer(trace_sink, text) {
        trace_sink.write(&text, write_stderr);
    }
}

/// Prints tagged text from a thread of ours that runs no job and that nobody waits for.
pub(crate) fn emit_aside(trace_sink: TraceSink, text: &str) {
    if !text.is_empty() {
        trace_sink.write(text, write_stderr);
    }
}

/// Gives text to the job that this thread is in, or gives it back.
fn defer(trace_sink: TraceSink, text: String) -> Option<String> {
    let mut text = Some(text).filter(|text| !text.is_empty());
    let overflow = with_job(|job| text.take().map(|text| job.defer(text))).flatten().unwrap_or_default();
    if !overflow.is_empty() {
        trace_sink.write(&overflow, write_stderr);
    }
    text
}
