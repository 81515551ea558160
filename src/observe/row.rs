//! [`Row`]: what one thread did.

use super::spans::{Span, SpanBudget, Spans};
use std::sync::Arc;
use std::time::Duration;

/// So many slow items are remembered.
pub(super) const SLOWEST: usize = 5;
/// So many panicked items are remembered for each thread; all are counted.
pub(super) const PANICS: usize = 8;

/// What one thread did.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) name: Arc<str>,
    /// Whether it is a worker, of any pool.
    pub(super) is_worker: bool,
    /// Whether several threads share the row, because there are too many.
    pub(super) is_shared: bool,
    /// Items that ran inside no other.
    pub(super) items: u64,
    /// Items of nested calls, inside those.
    pub(super) nested_items: u64,
    /// The time of the outermost items.
    pub(super) busy: Duration,
    pub(super) panics: u64,
    /// The first of them: call and index.
    pub(super) panicked: Vec<(u64, u64)>,
    /// The longest items, the longest first.
    pub(super) slowest: Vec<Slow>,
    /// The outermost items, in the order of their ends.
    pub(super) outer: Spans,
    /// The items inside those.
    pub(super) nested: Spans,
}

/// An item that ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) call: u64,
    pub(super) index: u64,
    /// Nanoseconds since the origin, as all times here.
    pub(super) start: u64,
    /// Not before `start`.
    pub(super) end: u64,
    /// Whether it ran inside another item.
    pub(super) is_nested: bool,
    pub(super) panicked: bool,
}

/// An item that took long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slow {
    pub(super) call: u64,
    pub(super) index: u64,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) panicked: bool,
}

impl Slow {
    pub(super) fn took(&self) -> u64 {
        self.end - self.start
    }
}

impl Row {
    pub(super) fn new(name: Arc<str>, is_worker: bool) -> Row {
        Row {
            name,
            is_worker,
            is_shared: false,
            items: 0,
            nested_items: 0,
            busy: Duration::ZERO,
            panics: 0,
            panicked: Vec::new(),
            slowest: Vec::new(),
            outer: Spans::default(),
            nested: Spans::default(),
        }
    }

    /// The row that threads without one of their own share. Items that run at the same time are one span there.
    pub(super) fn of_others(name: Arc<str>) -> Row {
        Row { is_shared: true, outer: Spans::apart(), nested: Spans::apart(), ..Row::new(name, false) }
    }

    pub(super) fn record(&mut self, item: &Item, budget: &SpanBudget) {
        let Item { call, index, start, end, is_nested, panicked } = *item;
        if panicked {
            self.panics += 1;
            if self.panicked.len() < PANICS {
                self.panicked.push((call, index));
            }
        }
        let busy = end - start;
        let span = Span { start, end, busy, call, index, items: 1, panics: u32::from(panicked) };
        if is_nested {
            self.nested_items += 1;
            self.nested.push(span, budget);
            return;
        }
        self.items += 1;
        self.busy += Duration::from_nanos(busy);
        self.outer.push(span, budget);
        if self.slowest.len() < SLOWEST || self.slowest.last().is_some_and(|least| least.took() < busy) {
            let place = self.slowest.partition_point(|slow| slow.took() >= busy);
            self.slowest.truncate(SLOWEST - 1);
            self.slowest.insert(place, Slow { call, index, start, end, panicked });
        }
    }
}
