//! Panics that go no further: those of destructors and of observers.

use std::mem;

use crate::base::unwind::{self, catch};

use super::job::with_job;
use super::text::LineKind;

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
