//! Make a loop parallel by changing one word, and keep the order.
#![forbid(unsafe_code)]
#![allow(dead_code)] // The engine that uses it follows.

mod window;
mod chunk;

mod panic;
mod trace;

pub use crate::panic::{TaskPanic, traced};
pub use crate::trace::{Frame, Trace};
