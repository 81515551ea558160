//! [`Sighting`]: a panic as the hook saw it, and how it and a payload that is caught later find each other.

use std::any::{Any, TypeId};
use std::panic::{Location, PanicHookInfo};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::base::current_worker::Worker;
use crate::base::unwind::{message, text_address};

use super::stack::Stack;
use super::text;

/// How many panics were seen so far, in the whole process.
static SEEN: AtomicU64 = AtomicU64::new(0);

/// The number of the next sighting.
pub(super) fn next_number() -> u64 {
    SEEN.load(Ordering::Relaxed)
}

pub(super) struct Sighting {
    /// The name of the thread that panicked.
    pub(super) thread: String,
    pub(super) payload: Fingerprint,
    /// `None` only if a later std should not know it.
    pub(super) place: Option<String>,
    /// `None` where nobody wants frames, and off our workers.
    pub(super) stack: Option<Stack>,
    /// Sightings are counted in the order in which they were made.
    pub(super) number: u64,
    /// Whether another job may raise this panic: on our workers, which run rayon's jobs as well.
    pub(super) is_shared: bool,
    /// Whether a job may still find it to be its own.
    is_open: AtomicBool,
    /// Whether it was ever found to be the panic of some job, or to be nobody's. It is told by then.
    was_claimed: AtomicBool,
}

impl Sighting {
    /// The panic that the hook is called for.
    pub(super) fn now(info: &PanicHookInfo<'_>, wants_frames: bool) -> Sighting {
        let is_shared = Worker::is_here();
        Sighting {
            thread: thread_name(),
            payload: Fingerprint::of(info.payload()),
            place: info.location().map(place),
            stack: (wants_frames || is_shared).then(Stack::here),
            number: SEEN.fetch_add(1, Ordering::Relaxed),
            is_shared,
            is_open: AtomicBool::new(true),
            was_claimed: AtomicBool::new(false),
        }
    }

    /// Whether it may be the panic of another job than the one that its thread was running. (`None` where that cannot be
    /// known, in a program without names.)
    pub(super) fn may_be_of_another_job(&self) -> Option<bool> {
        match &self.stack {
            Some(stack) if self.is_shared => stack.is_in_a_rayon_job(),
            _ => Some(self.is_shared),
        }
    }

    /// Takes down that it was found to be the panic of some job, or to be nobody's.
    pub(super) fn claim(&self) {
        self.was_claimed.store(true, Ordering::Relaxed);
        self.is_open.store(false, Ordering::Relaxed);
    }

    /// Lets it be found once more: its panic is about to be raised again.
    pub(super) fn reopen(&self) {
        self.is_open.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    pub(super) fn was_claimed(&self) -> bool {
        self.was_claimed.load(Ordering::Relaxed)
    }
}

/// What tells one payload from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) kind: TypeId,
    pub(super) message: String,
    /// Where the text lies, if the payload owns it: the same from the hook to the catch, and different for every payload that
    /// is alive.
    address: Option<usize>,
}

impl Fingerprint {
    pub(super) fn of(payload: &(dyn Any + Send)) -> Fingerprint {
        let message = message(payload).to_owned();
        Fingerprint { kind: payload.type_id(), message, address: text_address(payload) }
    }

    /// Whether it is the very same payload. Never certain for those without a text of their own.
    pub(super) fn is(&self, other: &Fingerprint) -> bool {
        self.has_address() && self == other
    }

    /// Whether it may be the same payload, by its type and its text.
    pub(super) fn is_like(&self, other: &Fingerprint) -> bool {
        self.kind == other.kind && self.message == other.message
    }

    pub(super) fn has_address(&self) -> bool {
        self.address.is_some()
    }
}

/// `src/x.rs:88:14`.
pub(super) fn place(location: &Location<'_>) -> String {
    text::place(location.file(), location.line(), location.column())
}

/// The name of this thread, as traces have it.
pub(super) fn thread_name() -> String {
    thread::current().name().unwrap_or("unnamed thread").to_owned()
}
