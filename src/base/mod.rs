//! What knows nothing of the rest.

pub(crate) mod current_worker;
pub(crate) mod event;
pub(crate) mod fork;
pub(crate) mod scoped_job;
pub(crate) mod stdio;
pub(crate) mod sync;
pub(crate) mod unwind;
