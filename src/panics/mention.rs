//! Panics that are not raised again: those that came with one that is, and those that nobody got to.

use super::contain::contain_all;
use super::output::{emit, emit_raw};
use super::task_panic::TaskPanic;
use super::text::{self, LINES, LineKind};
use super::trace_sink::TraceSink;

/// Tells of panics that are not raised again, in a line each, and drops them: those that came with one that is, or
/// those that nobody got to because the iterator was dropped before.
pub(crate) fn mention(panics: Vec<TaskPanic>, beside_another: bool) {
    let trace_sink = panics.first().map_or_else(TraceSink::default, TaskPanic::trace_sink);
    emit(trace_sink, lines_about(&panics, beside_another));
    contain_all(panics);
}

/// The same for a worker that finds nobody to hand its panic to: the panic and the deferred output are [emitted raw](emit_raw).
pub(crate) fn mention_there(trace_sink: TraceSink, deferred: &[String], panic: Option<TaskPanic>) {
    let panics: Vec<_> = panic.into_iter().collect();
    emit_raw(trace_sink, deferred.concat() + &lines_about(&panics, false));
    contain_all(panics);
}

fn lines_about(panics: &[TaskPanic], beside_another: bool) -> String {
    let aside = if beside_another { LineKind::Stopping } else { LineKind::Unreached };
    let line = |panic: &TaskPanic| panic.unless_off(|style| panic.record().line(aside, style));
    let mut text: String = panics.iter().take(LINES).map(line).collect();
    let left_out = panics.len().saturating_sub(LINES);
    if let Some(last) = panics.last().filter(|_| left_out > 0) {
        let what = if beside_another { "panicked while stopping" } else { "panicked and were not reached" };
        text += &last.unless_off(|style| text::more(last.worker(), left_out, what, style));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::{payload, record};
    use super::*;

    #[test]
    fn many_panics_that_nobody_reached_are_some_lines_and_a_number() {
        let panics =
            |count: usize| -> Vec<_> { (0..count).map(|_| TaskPanic::new(record("lost"), payload("lost"))).collect() };
        let text = lines_about(&panics(LINES), false);
        assert_eq!((text.lines().count(), text.contains("more")), (LINES, false), "{text}");
        let text = lines_about(&panics(LINES + 3), false);
        let last = text.lines().last().expect("nine");
        assert!(text.lines().count() == LINES + 1 && last.contains("3 more panicked and were not reached"), "{text}");
    }
}
