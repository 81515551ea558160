//! [`Spans`]: when one thread ran which items. Neighbours merge when there are too many.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// So many spans are kept in all, 48 bytes each. Beyond that threads with more than their part merge neighbours.
pub(super) const MOST_SPANS: usize = 1 << 17;
/// So many a thread may have at least, however many threads there are.
const FEWEST_SPANS: usize = 8;
/// Spans are counted in steps of so many, since the count is everybody's.
const COUNTED: usize = 64;

/// What is on all shards together. Relaxed: these are measures of memory, and a little late is good enough.
#[derive(Debug, Default)]
pub(super) struct SpanBudget {
    pub(super) rows: AtomicUsize,
    /// In full [`COUNTED`]s of each row.
    spans: AtomicUsize,
}

impl SpanBudget {
    /// How many spans one row may keep of one kind, having `len`: as many as it likes until there are too many in all.
    fn most(&self, len: usize) -> usize {
        if self.spans.load(Ordering::Relaxed) <= MOST_SPANS {
            return len;
        }
        (MOST_SPANS / self.rows.load(Ordering::Relaxed).max(1)).max(FEWEST_SPANS)
    }

    /// Counts one more row, if there are fewer than `most`. The lock of the row's index is held.
    pub(super) fn add_row(&self, most: usize) -> bool {
        let add = |rows| (rows < most).then_some(rows + 1);
        self.rows.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    fn changed(&self, before: usize, after: usize) {
        let (before, after) = (before / COUNTED * COUNTED, after / COUNTED * COUNTED);
        if after != before {
            // It wraps around, and so takes away as well.
            self.spans.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        }
    }
}

/// One item, or several that follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) start: u64,
    /// Not before `start`.
    pub(super) end: u64,
    /// The time within that some item ran.
    pub(super) busy: u64,
    /// The call and the index of the first item.
    pub(super) call: u64,
    pub(super) index: u64,
    pub(super) items: u32,
    pub(super) panics: u32,
}

impl Span {
    /// Takes in `other`, which ended later.
    fn absorb(&mut self, other: &Span) {
        // Where one lies inside the other its time is in the other's already.
        self.busy = if other.start >= self.end { self.busy + other.busy } else { self.busy.max(other.busy) };
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
        self.items = self.items.saturating_add(other.items);
        self.panics = self.panics.saturating_add(other.panics);
    }
}

/// The spans of one row, in the order of their ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans {
    pub(super) list: Vec<Span>,
    /// Spans that begin within the same stretch of so many nanoseconds are one; 0 as long as each item has its own.
    pub(super) resolution: u64,
    /// Where the stretch of the last span ends.
    stretch_end: u64,
}

impl Spans {
    /// Spans of several threads, which may overlap: those that do are one from the start.
    pub(super) fn apart() -> Self {
        Spans { resolution: 1, ..Spans::default() }
    }

    pub(super) fn push(&mut self, span: Span, budget: &SpanBudget) {
        let stretch_end = self.stretch_end;
        let goes_on = |last: &&mut Span| span.start < stretch_end && span.start >= last.end;
        if let Some(last) = self.list.last_mut().filter(goes_on) {
            // By far the most, where there are very many.
            return last.absorb(&span);
        }
        let before = self.list.len();
        self.list.push(span);
        self.merge_last();
        while self.list.len() > budget.most(self.list.len()) {
            self.coarsen();
        }
        budget.changed(before, self.list.len());
        if let Some(stretch) = self.list.last().and_then(|last| last.start.checked_div(self.resolution)) {
            self.stretch_end = (stretch + 1).saturating_mul(self.resolution);
        }
    }

    /// Twice as coarse, or as coarse as it has to be to begin with.
    fn coarsen(&mut self) {
        let reach = self.list.last().map_or(0, |last| last.end.saturating_sub(self.list[0].start));
        self.resolution = (self.resolution * 2).max(reach / self.list.len() as u64).max(1);
        let spans = std::mem::take(&mut self.list);
        // About half remain, and there is one more while it is merged.
        self.list.reserve_exact(spans.len() / 2 + 1);
        for span in spans {
            self.list.push(span);
            self.merge_last();
        }
    }

    /// Merges the last span with those before it that begin in the same stretch, or lie inside of it.
    fn merge_last(&mut self) {
        while self.resolution > 0 {
            let [.., before, last] = &mut self.list[..] else { return };
            let same = before.start / self.resolution >= last.start / self.resolution;
            if !same && last.start >= before.end {
                return;
            }
            before.absorb(last);
            self.list.pop();
        }
    }
}

/// The nanoseconds of a time, as spans count them.
pub(super) fn nanos(time: Duration) -> u64 {
    // Twice for every item that is watched, so without a detour by 128 bits.
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(time.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u64, end: u64) -> Span {
        Span { start, end, busy: end - start, call: 1, index: 0, items: 1, panics: 0 }
    }

    #[test]
    fn what_is_kept_in_all_bounds_what_a_row_keeps() {
        let budget = SpanBudget::default();
        budget.rows.store(4, Ordering::Relaxed);
        budget.spans.store(MOST_SPANS, Ordering::Relaxed);
        assert_eq!(budget.most(10), 10);
        budget.spans.store(MOST_SPANS + 1, Ordering::Relaxed);
        assert_eq!(budget.most(10), MOST_SPANS / 4);
        budget.rows.store(MOST_SPANS, Ordering::Relaxed);
        assert_eq!(budget.most(10), FEWEST_SPANS);

        let budget = SpanBudget::default();
        let steps =
            [(0, 2 * COUNTED + 1, 2), (5, 6, 2), (COUNTED - 1, COUNTED, 3), (3 * COUNTED, COUNTED, 1), (6, 5, 1)];
        for (before, after, counted) in steps {
            budget.changed(before, after);
            assert_eq!(budget.spans.load(Ordering::Relaxed), counted * COUNTED, "{before} to {after}");
        }
    }

    #[test]
    fn a_span_that_takes_in_another_is_busy_for_both() {
        let mut first = span(0, 3);
        first.absorb(&span(5, 9));
        assert_eq!(first, Span { end: 9, busy: 7, items: 2, ..span(0, 3) });
        first.absorb(&span(9, 10));
        assert_eq!((first.end, first.busy, first.items), (10, 8, 3));
        first.absorb(&span(4, 11));
        assert_eq!((first.end, first.busy, first.items), (11, 8, 4), "as far as can be told");
    }

    #[test]
    fn spans_of_one_stretch_merge_and_stretches_double() {
        let budget = SpanBudget::default();
        let mut spans = Spans::default();
        let starts = |spans: &Spans| spans.list.iter().map(|span| span.start).collect::<Vec<_>>();
        for start in [0, 50, 120, 390] {
            spans.push(span(start, start + 10), &budget);
        }
        assert_eq!(starts(&spans), [0, 50, 120, 390]);
        spans.coarsen();
        assert_eq!((spans.resolution, starts(&spans)), (100, vec![0, 120, 390]));
        spans.push(span(400, 401), &budget);
        assert_eq!(starts(&spans), [0, 120, 390, 400], "another stretch");
        for (start, places) in [(499, 4), (500, 5), (500, 5), (599, 5), (600, 6)] {
            spans.push(span(start, start + 1), &budget);
            assert_eq!(spans.list.len(), places, "at {start}");
            assert_eq!(spans.stretch_end, (start / 100 + 1) * 100, "up to which the next one needs no search");
        }
        spans.coarsen();
        assert_eq!((spans.resolution, starts(&spans)), (200, vec![0, 390, 400, 600]));
        assert_eq!(spans.list.iter().map(|span| span.items).sum::<u32>(), 10);
        // One that began long before its end lies around those that ended earlier.
        spans.push(span(390, 700), &budget);
        assert_eq!(starts(&spans), [0, 390]);
    }

    #[test]
    fn spans_that_were_merged_take_no_more_room_than_they_need() {
        let mut spans = Spans { list: (0..48).map(|at| span(at, at + 1)).collect(), ..Spans::default() };
        (spans.resolution, spans.stretch_end) = (1, 48);
        spans.coarsen();
        assert_eq!((spans.resolution, spans.list.len(), spans.list.capacity()), (2, 24, 25));
    }

    #[test]
    fn an_item_around_others_of_its_depth_does_not_count_twice_in_a_span() {
        let span = |start, end| Span { start, end, busy: end - start, call: 1, index: 0, items: 1, panics: 0 };
        let mut spans = Spans { list: vec![span(10, 20), span(30, 40)], resolution: 1, stretch_end: 31 };
        spans.list.push(span(5, 50));
        spans.merge_last();
        assert_eq!(spans.list, [Span { items: 3, ..span(5, 50) }]);
    }
}
