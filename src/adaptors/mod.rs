//! What the methods return: the iterators and handles that a user holds. Each is a thin face of the engine.

pub(crate) mod imap;
pub(crate) mod map;
pub(crate) mod options;
pub(crate) mod par;
pub(crate) mod results;
pub(crate) mod scope;
pub(crate) mod scoped_task;
#[cfg(feature = "futures")]
pub(crate) mod stream;
pub(crate) mod task;
pub mod types;
