//! [`Call`]: what all jobs of one call have in common, as far as their panics are concerned.

use std::panic::Location;
use std::sync::Arc;

use super::orphans::Orphans;
use super::sighting::place;
use super::span::TraceContext;
use super::text::TraceLevel;
use super::trace_sink::TraceSink;

/// What all jobs of one call have in common.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// `pool_map`, or whichever method was called.
    pub(super) method: &'static str,
    /// Where the user called it.
    pub(super) site: &'static Location<'static>,
    /// The label that the user gave to the call.
    pub(super) label: Option<Arc<str>>,
    /// The name of the thread that called; `None` for `traced`, which has no thread but its own.
    pub(super) caller: Option<String>,
    /// What the job is a part of.
    pub(super) subject: Subject,
    pub(super) trace: TraceLevel,
    pub(super) trace_sink: TraceSink,
    /// What was current where the call was made.
    pub(super) context: TraceContext,
    /// Whether our panic hook was there when the call was made.
    pub(super) hook: Presence,
    pub(super) orphans: Arc<Orphans>,
}

/// Whether our hook was there when a call began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It was there.
    Installed,
    /// It was not: the calling thread was panicking, or ran a job of a call that began so.
    CallerPanicking,
    /// It was not: another thread kept the lock of the hook, or this process was forked during the installation.
    Pending,
}

/// What a trace speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// Items, each with its index.
    Items,
    /// A task.
    Task,
    /// A closure on some thread.
    Closure,
}

impl Call {
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

    pub(crate) fn with_trace_sink(self, trace_sink: TraceSink) -> Call {
        Call { trace_sink, ..self }
    }

    pub(crate) fn trace_sink(&self) -> TraceSink {
        self.trace_sink
    }

    /// The same for a job that is about none of its items.
    pub(crate) fn without_items(&self) -> Call {
        Call { subject: Subject::Closure, ..self.clone() }
    }

    /// Whether each item of the call runs in a span of its own.
    pub(crate) fn spans_items(&self) -> bool {
        self.context.span_items(self.label())
    }

    /// Runs one item, in a span of its own where that is wanted.
    #[inline]
    pub(crate) fn in_item_span<R>(&self, index: u64, f: impl FnOnce() -> R) -> R {
        self.context.item(self.label(), index, f)
    }

    pub(crate) fn set_trace(&mut self, trace: TraceLevel) {
        self.trace = trace;
    }

    /// The text about `self` for one line, as in `pool_map at src/lib.rs:30:9`.
    pub(super) fn place(&self) -> String {
        format!("{} at {}", self.method, place(self.site))
    }
}
