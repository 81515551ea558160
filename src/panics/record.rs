//! [`PanicRecord`]: all that is known of one panic, but for its payload.

use std::any::Any;
use std::panic::PanicHookInfo;
use std::sync::Arc;

use once_cell::sync::Lazy;

use super::call::{Call, Subject};
use super::sighting::{Fingerprint, Sighting, place, thread_name};
use super::text::{self, Frames, LineKind, Part, Report, Style, TraceLevel};

/// The position of a job that does not note down which item it is at; see `TaskPanic::at`.
pub(crate) const UNKNOWN_ITEM: u64 = u64::MAX;

/// All that is known of one panic, but for its payload.
pub(super) struct PanicRecord {
    pub(super) call: Arc<Call>,
    /// The name of the thread that the job ran on.
    pub(super) worker: String,
    pub(super) item: u64,
    /// Its place among the panics of its job that the hook saw.
    pub(super) number: u64,
    /// How a record and a payload find each other.
    pub(super) payload: Fingerprint,
    pub(super) origin: Origin,
}

pub(super) enum Origin {
    /// Seen by the hook.
    Hook {
        sighting: Arc<Sighting>,
        /// The part of its stack that belongs to the job.
        part: Part,
    },
    /// The panic of an inner call, which has told it already.
    Inner(Box<PanicRecord>),
    /// Not seen by the hook, for the reason in the text.
    Unseen(&'static str),
    /// There was no panic: a task ended without being run, for this reason.
    NotRun(PanicKind),
}

/// What a [`TaskPanic`](crate::TaskPanic) means; see [`TaskPanic::kind`](crate::TaskPanic::kind).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PanicKind {
    /// `f`, or the closure of a task, panicked.
    Panicked,
    /// The closure of a task was not run: it was [cancelled](crate::Task::cancel), or its [`CancelToken`](crate::CancelToken) was,
    /// before it started.
    Cancelled,
    /// The closure of a task did not run: the last handle of its pool was dropped before it started.
    PoolDropped,
    /// It is not known whether the closure of a task finishes: it was running in the process that this one was forked from.
    Forked,
}

impl PanicKind {
    /// What a task that was not run is raised with.
    pub(super) fn message(self) -> &'static str {
        match self {
            PanicKind::Panicked => "the task panicked",
            PanicKind::Cancelled => "the task was cancelled before it started",
            PanicKind::PoolDropped => "the task's pool was dropped before it started",
            PanicKind::Forked => "the task runs in the process that this one was forked from",
        }
    }
}

impl PanicRecord {
    /// The panic that the hook is called for.
    pub(super) fn now(call: Arc<Call>, item: u64, info: &PanicHookInfo<'_>) -> PanicRecord {
        let sighting = Arc::new(Sighting::now(info, call.trace.wants_frames()));
        PanicRecord {
            call,
            worker: thread_name(),
            item,
            number: 0,
            payload: sighting.payload.clone(),
            origin: Origin::Hook { sighting, part: Part::Job },
        }
    }

    pub(super) fn new(call: Arc<Call>, item: u64, payload: &(dyn Any + Send), origin: Origin) -> PanicRecord {
        PanicRecord { call, worker: thread_name(), item, number: 0, payload: Fingerprint::of(payload), origin }
    }

    /// The panic of an item that made an inner call, which raised the panic `inner` again.
    pub(super) fn around(call: &Arc<Call>, item: u64, inner: PanicRecord) -> PanicRecord {
        let payload = inner.payload.clone();
        let origin = Origin::Inner(Box::new(inner));
        PanicRecord { call: Arc::clone(call), worker: thread_name(), item, number: 0, payload, origin }
    }

    /// The panic of an item of which rayon has run a part on another worker.
    pub(super) fn from_elsewhere(call: &Arc<Call>, item: u64, sighting: Arc<Sighting>) -> PanicRecord {
        let payload = sighting.payload.clone();
        let origin = Origin::Hook { sighting, part: Part::RayonJob };
        PanicRecord { call: Arc::clone(call), worker: thread_name(), item, number: 0, payload, origin }
    }

    /// A panic that our hook was not called for, for the reason given.
    pub(super) fn unseen(call: &Arc<Call>, item: u64, payload: &(dyn Any + Send), why: &'static str) -> PanicRecord {
        let why = if call.trace == TraceLevel::Off { "" } else { why };
        PanicRecord::new(Arc::clone(call), item, payload, Origin::Unseen(why))
    }

    /// The record that knows where the panic began, through all inner calls.
    fn first(&self) -> &PanicRecord {
        match &self.origin {
            Origin::Inner(inner) => inner.first(),
            Origin::Hook { .. } | Origin::Unseen(_) | Origin::NotRun(_) => self,
        }
    }

    /// What the hook saw of it, on whichever thread and in whichever inner call.
    pub(super) fn sighting(&self) -> Option<&Arc<Sighting>> {
        match &self.first().origin {
            Origin::Hook { sighting, .. } => Some(sighting),
            Origin::Inner(_) | Origin::Unseen(_) | Origin::NotRun(_) => None,
        }
    }

    pub(super) fn location(&self) -> Option<&str> {
        self.sighting()?.place.as_deref()
    }

    /// Whether another job than the one it was seen in may raise it; `None` where that cannot be known.
    pub(super) fn may_be_of_another_job(&self) -> Option<bool> {
        match &self.origin {
            Origin::Hook { sighting, .. } => sighting.may_be_of_another_job(),
            Origin::Inner(_) | Origin::Unseen(_) | Origin::NotRun(_) => Some(false),
        }
    }

    /// The frames, looked up on first use.
    pub(super) fn frames(&self) -> &Frames {
        static NONE: Lazy<Frames> = Lazy::new(Frames::default);

        let first = self.first();
        match &first.origin {
            Origin::Hook { sighting, part } if first.call.trace.wants_frames() => {
                sighting.stack.as_ref().map_or(&NONE, |stack| stack.frames(*part))
            }
            _ => &NONE,
        }
    }

    pub(super) fn index(&self) -> Option<u64> {
        (self.call.subject == Subject::Items && self.item != UNKNOWN_ITEM).then_some(self.item)
    }

    /// The whole text about this panic, as the level of its call has it, to be printed below that of an inner call.
    pub(super) fn block(&self, style: Style) -> String {
        // The frames of an inner call's panic stand in the block of that call, right above.
        let own = match &self.origin {
            Origin::Inner(inner) if inner.is_printed() => &Frames::default(),
            _ => self.frames(),
        };
        self.with_report(false, |report| report.block(own, self.call.trace, style))
    }

    /// The same before an abort, when nobody can say any more whose panic it is.
    pub(super) fn last_block(&self) -> String {
        let is_items = self.may_be_of_another_job() != Some(true);
        let item = if is_items { self.index() } else { None };
        self.with_report(false, |report| Report { item, ..*report }.block(self.frames(), self.call.trace, Style::Plain))
    }

    /// The same as a text that stands by itself.
    pub(super) fn whole_block(&self) -> String {
        self.with_report(true, |report| report.block(self.frames(), self.call.trace, Style::Plain))
    }

    pub(super) fn line(&self, aside: LineKind, style: Style) -> String {
        self.with_report(false, |report| report.line(aside, style))
    }

    /// `at src/x.rs:88:14`, or in brackets why that is not known; may be empty.
    fn place_of_panic(&self) -> String {
        match &self.origin {
            Origin::Hook { sighting, .. } => {
                let place = sighting.place.as_ref().map_or_else(String::new, |place| format!("at {place}"));
                let is_here = sighting.thread == self.worker;
                if is_here { place } else { format!("{place}, in a job of rayon's on {}", sighting.thread) }
            }
            Origin::Unseen(why) => (*why).to_owned(),
            Origin::Inner(_) | Origin::NotRun(_) => String::new(),
        }
    }

    /// The call, and the item if it has any, as in `pool_map at src/lib.rs:30:9, item 7`.
    fn place_of_item(&self) -> String {
        let item = self.index().map_or_else(String::new, |item| format!(", item {item}"));
        self.call.place() + &item
    }

    /// Whether a block about it was printed before it was raised again.
    fn is_printed(&self) -> bool {
        self.call.trace != TraceLevel::Off
    }

    fn with_report(&self, by_itself: bool, f: impl FnOnce(&Report<'_>) -> String) -> String {
        let task = if self.call.subject == Subject::Task { "task " } else { "" };
        let (verb, place_of_panic) = match &self.origin {
            Origin::Hook { .. } | Origin::Unseen(_) => ("panicked", self.place_of_panic()),
            Origin::NotRun(_) => ("did not run", String::new()),
            Origin::Inner(inner) if inner.is_printed() && !by_itself => {
                ("re-raised the panic above", format!("(inner {})", inner.place_of_item()))
            }
            Origin::Inner(inner) => {
                let mut calls = vec![inner.place_of_item()];
                let mut next = inner;
                while let Origin::Inner(inner) = &next.origin {
                    calls.push(inner.place_of_item());
                    next = inner;
                }
                let calls = calls.join("; ");
                ("re-raised the panic of an inner call", text::join([&next.place_of_panic(), &format!("({calls})")]))
            }
        };
        let verb = format!("{task}{verb}");
        f(&Report {
            worker: &self.worker,
            item: self.index(),
            verb: &verb,
            place: &place_of_panic,
            message: &self.payload.message,
            method: self.call.method,
            label: self.call.label.as_deref(),
            site: &place(self.call.site),
            caller: self.call.caller.as_deref(),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::unwind::Payload;

    pub(crate) fn call() -> Arc<Call> {
        Arc::new(Call::here("pool_map", Some(TraceLevel::Header)))
    }

    pub(crate) fn payload(message: &str) -> Payload {
        Box::new(message.to_owned())
    }

    pub(crate) fn record(message: &str) -> PanicRecord {
        // Never dropped: no other payload may come to lie there.
        PanicRecord::new(call(), 7, Box::leak(payload(message)), Origin::Unseen(""))
    }
}
