//! Make a loop parallel by changing one word, and keep the order.
#![forbid(unsafe_code)]
#![allow(dead_code)] // The engine that uses it follows.

mod window;
mod chunk;

mod pool;
mod worker;
mod names;
mod lease;

mod panic;
mod trace;

mod log;

#[cfg(test)]
#[path = "../tests/it/child.rs"]
mod child;

pub use crate::lease::IntoPool;
pub use crate::log::{Prefix, clear_line_sink, prefix, set_line_sink};
pub use crate::panic::{TaskPanic, traced};
pub use crate::pool::{Pool, PoolBuilder, PoolError};
pub use crate::trace::{Frame, Trace};
pub use crate::worker::Worker;

#[doc(hidden)]
pub use crate::log::print_line as __print_line;
