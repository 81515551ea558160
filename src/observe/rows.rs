//! [`Rows`]: the rows of a timeline, found by the name of the thread.

use super::row::Row;
use super::running::{Running, RunningItem};
use super::spans::SpanBudget;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, OnceLock};

/// So many threads have a row of their own, by name. Those with further names share one.
pub(super) const MOST_ROWS: usize = 1 << 10;
/// The name of the row that they share.
const OTHERS: &str = "others";
/// The index of the rows is spread over so many locks.
const SHARDS: usize = 64;

/// All rows of a timeline.
pub(super) struct Rows {
    /// The index.
    shards: Box<[Shard]>,
    others: OnceLock<Arc<SharedRow>>,
    pub(super) budget: SpanBudget,
}

/// A part of the index, far enough from the next one for its cache line.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<HashMap<Arc<str>, Arc<SharedRow>>>);

/// A row that its thread writes and others read. Its locks are hardly ever contended.
pub(super) struct SharedRow {
    pub(super) row: Mutex<Row>,
    /// What the thread runs, with an entry for each call of which it runs items: one, unless calls are nested or several threads
    /// have this name.
    running: Mutex<Vec<Arc<Running>>>,
}

impl SharedRow {
    fn new(row: Row) -> Arc<Self> {
        Arc::new(SharedRow { row: Mutex::new(row), running: Mutex::default() })
    }

    /// An entry that nobody else holds, until it is dropped.
    pub(super) fn claim(&self, worker: &Arc<str>, call: u64) -> Arc<Running> {
        let mut running = self.running.lock();
        let is_free = |running: &Arc<Running>| Arc::strong_count(running) == 1;
        let Some(free) = running.iter_mut().find(|running| is_free(running)) else {
            running.push(Running::new(worker, call));
            return Arc::clone(&running[running.len() - 1]);
        };
        // What the one who let go of it wrote comes before what is written now.
        fence(Ordering::Acquire);
        if *free.worker == **worker {
            free.set_call(call);
        } else {
            *free = Running::new(worker, call);
        }
        Arc::clone(free)
    }
}

impl Rows {
    pub(super) fn new() -> Self {
        Rows {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            others: OnceLock::new(),
            budget: SpanBudget::default(),
        }
    }

    /// The row of the thread with this name.
    pub(super) fn of(&self, name: &str, is_worker: bool) -> Arc<SharedRow> {
        let mut shard = self.shards[shard_of(name)].0.lock();
        if let Some(row) = shard.get(name) {
            return Arc::clone(row);
        }
        if !self.budget.add_row(MOST_ROWS) {
            return self.others(is_worker);
        }
        let name: Arc<str> = Arc::from(name);
        let row = SharedRow::new(Row::new(Arc::clone(&name), is_worker));
        Arc::clone(shard.entry(name).or_insert(row))
    }

    fn others(&self, is_worker: bool) -> Arc<SharedRow> {
        let others = self.others.get_or_init(|| SharedRow::new(Row::of_others(Arc::from(OTHERS))));
        if is_worker {
            others.row.lock().is_worker = true;
        }
        Arc::clone(others)
    }

    /// Adds up what `count` says of each row.
    pub(super) fn sum<S: std::iter::Sum>(&self, count: impl Fn(&Row) -> S) -> S {
        self.all().map(|row| count(&row.row.lock())).sum()
    }

    /// Copies of all rows: callers first, then workers, by name and number; last what the others share.
    pub(super) fn copy(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.all().map(|row| row.row.lock().clone()).collect();
        rows.sort_by_cached_key(|row| {
            let stem = row.name.trim_end_matches(|c: char| c.is_ascii_digit());
            let number = row.name[stem.len()..].parse::<u64>().unwrap_or(0);
            (row.is_shared, row.is_worker, stem.to_owned(), number)
        });
        rows
    }

    /// What runs now.
    pub(super) fn running(&self) -> Vec<RunningItem> {
        let of = |row: &SharedRow| -> Vec<_> {
            let running = row.running.lock();
            running.iter().filter_map(|running| running.get()).collect()
        };
        self.all().flat_map(|row| of(&row)).collect()
    }

    /// No lock of the index is held while a row is looked at.
    fn all(&self) -> impl Iterator<Item = Arc<SharedRow>> {
        let of = |shard: &Shard| shard.0.lock().values().cloned().collect::<Vec<_>>();
        self.shards.iter().flat_map(of).chain(self.others.get().cloned())
    }
}

/// Names of workers differ in the number at their end.
fn shard_of(name: &str) -> usize {
    name.bytes().rev().take(3).fold(0, |hash, byte| (hash * 10 + usize::from(byte)) % SHARDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::spans::Span;

    impl SharedRow {
        /// How many items could be listed as running.
        pub(in super::super) fn places(&self) -> usize {
            self.running.lock().len()
        }
    }

    impl Rows {
        /// How many bytes the rows take, as far as that grows with what is recorded.
        pub(in super::super) fn bytes(&self) -> usize {
            let spans = |row: &Row| (row.outer.list.capacity() + row.nested.list.capacity()) * size_of::<Span>();
            let names: usize = self.shards.iter().map(|shard| shard.0.lock().capacity()).sum();
            let entries = names * (size_of::<Arc<str>>() + size_of::<Arc<SharedRow>>());
            SHARDS * size_of::<Shard>() + entries + self.sum(|row| size_of::<SharedRow>() + spans(row))
        }
    }

    #[test]
    fn a_thread_has_one_row_under_its_name() {
        let rows = Rows::new();
        let first = rows.of("a", true);
        assert!(Arc::ptr_eq(&first, &rows.of("a", true)) && !Arc::ptr_eq(&first, &rows.of("b", true)));
        assert!(Arc::ptr_eq(&first, &rows.of("a", false)), "whatever the thread is");
        assert_eq!(rows.budget.rows.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn threads_beyond_the_bound_share_a_row() {
        let rows = Rows::new();
        let own: Vec<_> = (0..MOST_ROWS).map(|number| rows.of(&number.to_string(), false)).collect();
        let others = rows.of("one more", false);
        assert!(own.iter().all(|row| !Arc::ptr_eq(row, &others)));
        assert!(Arc::ptr_eq(&others, &rows.of("another", false)));
        assert!(Arc::ptr_eq(&own[7], &rows.of("7", false)), "those that have one keep it");
        assert!(!others.row.lock().is_worker);
        rows.of("a worker", true);
        assert!(others.row.lock().is_worker);
        let names: Vec<_> = rows.copy().into_iter().map(|row| row.name).collect();
        assert_eq!((names.len(), &*names[0], &*names[MOST_ROWS]), (MOST_ROWS + 1, "0", OTHERS));
    }
}
