//! Where the items of a call come from, as the engine sees it: something that gives one [`Block`] after the other.

use crate::engine::block::Block;
use crate::engine::sizing::BlockPlan;
use crate::panics::{self, Payload};
use std::time::{Duration, Instant};
use std::vec;

/// The source of a call. It is asked on the caller's thread only.
pub(crate) trait Source {
    type Item;
    type Block: Block<Item = Self::Item>;

    /// What is known of how many items there are left.
    fn size_hint(&self) -> (usize, Option<usize>);

    /// How many items there are left, if that is known. A source that does not know may take long for an item after a quick one:
    /// then each item is handed over before the next is asked for.
    fn known_len(&self) -> Option<usize>;

    /// Gives the next `want` items, or fewer where that takes longer than `plan` says, or the source is not open any more.
    fn pull(&mut self, want: usize, plan: BlockPlan) -> Pulled<Self::Block>;

    /// Gives one item, for the caller to run it. A panic of the source comes out.
    fn pull_one(&mut self) -> Option<Self::Item>;
}

/// What was pulled.
pub(crate) struct Pulled<B> {
    pub(crate) items: B,
    /// How long the source took.
    pub(crate) took: Duration,
    /// How far it is now.
    pub(crate) state: SourceState,
}

/// How far a source is.
pub(crate) enum SourceState {
    Open,
    /// It gave `None`, and is not asked again.
    Ended,
    /// It panicked, and is not asked again. The panic's turn comes after every result.
    Panicked(Payload),
}

impl SourceState {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, SourceState::Open)
    }
}

/// The clock is read after so many items of a block at most, then after twice as many in all, and so on: should a quick
/// source turn slow, no more items wait for that to show than came before.
const FIRST_LOOK: usize = 16;

/// What a source says of its length where nobody has asked for that: nothing, if it panics.
pub(crate) fn size_hint_of(source: &impl Iterator) -> (usize, Option<usize>) {
    panics::catch(|| source.size_hint()).unwrap_or_else(|payload| {
        panics::contain(payload);
        (0, None)
    })
}

/// How long it takes to fill a block.
pub(crate) struct Clock {
    plan: BlockPlan,
    start: Instant,
    took: Duration,
    /// It is read once there are so many items.
    next_look: usize,
}

impl Clock {
    pub(crate) fn start(plan: BlockPlan) -> Self {
        Clock { plan, start: Instant::now(), took: Duration::ZERO, next_look: Self::look(plan, 0) }
    }

    fn look(plan: BlockPlan, items: usize) -> usize {
        items.saturating_add(plan.look.min(items.max(FIRST_LOOK)))
    }

    /// Whether there is time for more than so many items.
    #[inline]
    pub(crate) fn has_time(&mut self, items: usize) -> bool {
        if items >= self.next_look {
            self.took = self.start.elapsed();
            self.next_look = Self::look(self.plan, items);
        }
        self.took < self.plan.time
    }

    /// How long it took in all.
    pub(crate) fn took(self) -> Duration {
        self.start.elapsed()
    }
}

/// Any iterator: its items are pulled one by one.
#[derive(Debug)]
pub(crate) struct Plain<I>(pub(crate) I);

impl<I: Iterator> Source for Plain<I> {
    type Item = I::Item;
    type Block = vec::IntoIter<I::Item>;

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }

    /// What knows its length has its items at hand, as a rule: a range, a vector. A channel, a file and a filter do not.
    fn known_len(&self) -> Option<usize> {
        let (low, high) = size_hint_of(&self.0);
        high.filter(|high| *high == low)
    }

    fn pull(&mut self, want: usize, plan: BlockPlan) -> Pulled<Self::Block> {
        let mut items = Vec::with_capacity(want.min(plan.capacity));
        let start = Instant::now();
        let mut took = Duration::ZERO;
        // `next` is user code, on the user's own thread. It may panic: the items before are kept, and the panic takes its
        // place behind their results.
        let outcome = panics::catch(|| {
            while items.len() < want && took < plan.time {
                let before = items.len();
                let look = plan.look.min(before.max(FIRST_LOOK)).min(want - before);
                items.extend(self.0.by_ref().take(look));
                took = start.elapsed();
                if items.len() - before < look {
                    return SourceState::Ended;
                }
            }
            SourceState::Open
        });
        Pulled { items: items.into_iter(), took, state: outcome.unwrap_or_else(SourceState::Panicked) }
    }

    fn pull_one(&mut self) -> Option<I::Item> {
        self.0.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::{iter, thread};

    fn plan(time: Duration, look: usize) -> BlockPlan {
        BlockPlan { items: usize::MAX, capacity: 4, time, look }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_pull_gives_what_is_wanted_and_not_one_more() {
        for look in 1..=4 {
            let asked = Cell::new(0);
            let mut source = Plain((0..10).inspect(|_| asked.set(asked.get() + 1)));
            let pulled = source.pull(6, plan(LONG, look));
            assert!(pulled.items.eq(0..6) && pulled.state.is_open(), "by {look}");
            assert_eq!((asked.get(), source.size_hint()), (6, (4, Some(4))));
            let pulled = source.pull(4, plan(LONG, look));
            assert!(pulled.items.eq(6..10) && pulled.state.is_open(), "it has not said that this was all");
            let pulled = source.pull(4, plan(LONG, look));
            assert!(pulled.items.len() == 0 && !pulled.state.is_open());
        }
    }

    #[test]
    fn a_source_that_ends_early_is_not_asked_again() {
        for look in 1..=4 {
            let ends = Cell::new(0);
            let mut left = 0..3;
            let mut source = Plain(iter::from_fn(|| left.next().or_else(|| (ends.set(ends.get() + 1), None).1)));
            let pulled = source.pull(9, plan(LONG, look));
            assert!(pulled.items.eq(0..3) && !pulled.state.is_open());
            assert_eq!(ends.get(), 1);
        }
    }

    #[test]
    fn a_slow_source_gives_less() {
        let slow = || (0..100).inspect(|_| thread::sleep(Duration::from_millis(2)));
        let pulled = Plain(slow()).pull(100, plan(Duration::from_millis(1), 1));
        assert!(pulled.items.eq(0..1) && pulled.state.is_open());
        assert!(pulled.took >= Duration::from_millis(2));
        let pulled = Plain(slow()).pull(100, plan(Duration::from_millis(1), 3));
        assert!(pulled.items.eq(0..3), "the clock is read after three");
        let pulled = Plain(slow()).pull(100, plan(Duration::ZERO, 1));
        assert!(pulled.items.len() == 0, "no time is none");
    }

    #[test]
    fn a_source_that_turns_slow_is_noticed_before_as_many_items_again() {
        for quick in [0, 1, 15, 16, 17, 100, 500] {
            let slow = (0..10_000).inspect(|&item| {
                if item >= quick {
                    thread::sleep(Duration::from_millis(1));
                }
            });
            let pulled = Plain(slow).pull(usize::MAX, plan(Duration::from_millis(1), 1024));
            assert!(pulled.items.len() <= (2 * quick).max(FIRST_LOOK), "{} after {quick}", pulled.items.len());
            assert!(pulled.state.is_open());
        }
    }

    #[test]
    fn a_panic_of_the_source_keeps_the_items_before_it() {
        let mut source = Plain((0..9).inspect(|&x| {
            if x == 4 {
                panics::resume(Box::new("four"))
            }
        }));
        let Pulled { items, state, .. } = source.pull(9, plan(LONG, 3));
        assert!(items.eq(0..4));
        let SourceState::Panicked(payload) = state else { panic!("it has panicked") };
        assert_eq!(payload.downcast_ref(), Some(&"four"));
    }
}
