//! [`Snapshot`]: all that a timeline knows at one moment, for those who write it.

use super::row::{Row, SLOWEST, Slow};
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// All that a timeline knows, at one moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) title: Option<String>,
    pub(super) origin_date: SystemTime,
    /// Callers first, then the workers by name and number.
    pub(super) rows: Vec<Row>,
    /// From the start of the first call to the end of the last one.
    pub(super) start: u64,
    pub(super) end: u64,
    /// How long there was a call.
    pub(super) elapsed: Duration,
    pub(super) workers: usize,
    pub(super) calls: u64,
    /// By their ids.
    pub(super) named_calls: Vec<NamedCall>,
    pub(super) source: Duration,
    pub(super) waiting: Duration,
    pub(super) callers: Duration,
    pub(super) fed: Duration,
    pub(super) feeders: Duration,
}

/// A call by name.
#[derive(Clone, Debug)]
pub(super) struct NamedCall {
    pub(super) id: u64,
    pub(super) method: &'static str,
    pub(super) site: &'static Location<'static>,
    pub(super) label: Option<Arc<str>>,
}

impl Snapshot {
    pub(super) fn items(&self) -> u64 {
        self.rows.iter().map(|row| row.items).sum()
    }

    pub(super) fn nested_items(&self) -> u64 {
        self.rows.iter().map(|row| row.nested_items).sum()
    }

    pub(super) fn panics(&self) -> u64 {
        self.rows.iter().map(|row| row.panics).sum()
    }

    pub(super) fn busy(&self) -> Duration {
        self.rows.iter().map(|row| row.busy).sum()
    }

    /// How long an outermost item took on average.
    pub(super) fn mean(&self) -> Duration {
        let nanos = self.busy().as_nanos() / u128::from(self.items().max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The longest items of all, the longest first.
    pub(super) fn slowest(&self) -> Vec<Slow> {
        let mut slowest: Vec<Slow> = self.rows.iter().flat_map(|row| row.slowest.iter().copied()).collect();
        slowest.sort_by_key(|slow| (std::cmp::Reverse(slow.took()), slow.call, slow.index));
        slowest.truncate(SLOWEST);
        slowest
    }

    /// What to call the items of a call: by its label, or as in `pool_map`.
    pub(super) fn name(&self, call: u64) -> &str {
        let named =
            self.named_calls.binary_search_by_key(&call, |named| named.id).ok().map(|place| &self.named_calls[place]);
        named.map_or("items", |named| named.label.as_deref().unwrap_or(named.method))
    }
}
