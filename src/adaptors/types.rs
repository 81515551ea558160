//! Types in the signatures of this crate that a program need not name.
//!
//! The second parameter of [`PoolMap`](crate::PoolMap), [`PoolImap`](crate::PoolImap) and [`PoolParMap`](crate::PoolParMap) is
//! what is done with an item: a [`Map`], [`StarMap`], [`MapInit`], [`MapTryInit`] or [`MapWith`], depending on the
//! method, wrapped in a [`Catching`], a [`CatchingItems`] or an
//! [`Observed`] for each of these options. The third one of `PoolImap` is where its threads come from: a [`Background`] or a
//! [`Scope`](crate::Scope). The traits [`Work`], [`WorkOn`]
//! and [`Host`] describe both, and [`AnyTask`] what [`as_completed`](crate::as_completed) takes; they are sealed. Use these names where a struct
//! holds such an iterator:
//!
//! ```
//! use pool_map::types::Map;
//! use pool_map::{PoolImap, PoolIterator, PoolMap};
//! use std::ops::Range;
//! use std::vec;
//!
//! /// With a function pointer, nothing is generic.
//! struct Squares {
//!     results: PoolMap<Range<u64>, Map<fn(u64) -> u64, u64>>,
//! }
//!
//! /// Any source and any closure `F` that gives an `R`.
//! struct Results<I: Iterator, F, R> {
//!     results: PoolMap<I, Map<F, R>>,
//! }
//!
//! /// A stream that works ahead.
//! struct Lines {
//!     upper: PoolImap<vec::IntoIter<String>, Map<fn(String) -> String, String>>,
//! }
//!
//! /// Whatever gives such results.
//! struct Anything {
//!     results: Box<dyn Iterator<Item = u64> + Send>,
//! }
//!
//! let squares = Squares { results: (0..4).pool_map(2, |x| x * x) };
//! assert_eq!(squares.results.sum::<u64>(), 14);
//! let halves = Results { results: [2, 4].into_iter().pool_map(2, |x| x / 2) };
//! assert_eq!(halves.results.collect::<Vec<_>>(), [1, 2]);
//! let lines = vec!["so".to_owned(), "much".to_owned()].into_iter();
//! let mut lines = Lines { upper: lines.pool_imap(2, |line| line.to_uppercase()) };
//! assert_eq!(lines.upper.next().as_deref(), Some("SO"));
//! let anything = Anything { results: Box::new((0..4).pool_imap(2, |x| x * x)) };
//! assert_eq!(anything.results.sum::<u64>(), 14);
//! ```

pub use crate::adaptors::imap::{Background, Host};
pub use crate::adaptors::task::AnyTask;
pub use crate::engine::work::{
    Catching, CatchingItems, Map, MapInit, MapTryInit, MapWith, Observed, StarMap, Work, WorkOn,
};
