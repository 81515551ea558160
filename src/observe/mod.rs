//! What a run looks like from outside: who is told of calls and items, and what they are told.
//!
//! ```text
//! observer        Observer, and what it is told: CallInfo, TaskInfo
//! into_observer   what can be attached as an observer, and which two are the same one
//! call_observer   ObserverRef: one observer of one call, from its start to its end
//! item_timer      ItemTimer: the items that one thread runs in a row
//! enclosing       the items that one thread is in the middle of
//! timeline        Timeline: an observer that records
//! recorder        how a timeline learns of calls and items; running: of those that run now
//! slow            SlowItems: an observer that prints a line about each item that takes long
//! snapshot        what a Timeline knows at one moment; spans and rows are its parts
//! summary, svg, chrome, joblog   the four ways to write a snapshot
//! ```
//!
//! The engine asks for the observers of a call once a chunk, so a call without any pays for that question and nothing else. With
//! an observer, the clock is read before and after each item.

// First, so that the page of `Timeline` starts with `new`.
mod timeline;
mod call_observer;
mod chrome;
mod enclosing;
#[cfg(test)]
mod golden;
mod into_observer;
mod item_timer;
mod joblog;
mod observer;
mod recorder;
mod row;
mod rows;
mod running;
mod slow;
mod snapshot;
mod spans;
mod summary;
mod svg;

pub(crate) use self::call_observer::{ObserverRef, pull, wait};
pub use self::into_observer::IntoObserver;
pub(crate) use self::into_observer::{ObserverHandle, SharedObserver};
pub(crate) use self::item_timer::ItemTimer;
pub(crate) use self::observer::CallerRole;
pub use self::observer::{CallInfo, Observer, TaskInfo, TaskOutcome, TaskStart};
pub(crate) use self::slow::SlowItems;
pub use self::timeline::{RunningTask, Timeline};
