//! Where the items of a call come from, as the engine sees it: something that gives one [`Block`] after the other.

use crate::block::Block;
use crate::chunk;
use crate::panic::{self, Payload};
use std::time::{Duration, Instant};
use std::vec;

/// The source of a call. It is asked on the caller's thread only.
pub(crate) trait Supply {
    type Item;
    type Block: Block<Item = Self::Item>;

    /// What is known of how many items there are left.
    fn size_hint(&self) -> (usize, Option<usize>);

    /// Gives the next `want` items, or fewer where that takes longer than `plan` says, or the source is not open any more.
    fn pull(&mut self, want: usize, plan: chunk::Block) -> Pulled<Self::Block>;

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

/// Any iterator: its items are pulled one by one.
#[derive(Debug)]
pub(crate) struct Plain<I>(pub(crate) I);

impl<I: Iterator> Supply for Plain<I> {
    type Item = I::Item;
    type Block = vec::IntoIter<I::Item>;

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }

    fn pull(&mut self, want: usize, plan: chunk::Block) -> Pulled<Self::Block> {
        let mut items = Vec::with_capacity(want.min(plan.capacity));
        let start = Instant::now();
        let mut took = Duration::ZERO;
        // `next` is user code, on the user's own thread. It may panic: the items before are kept, and the panic takes its
        // place behind their results.
        let outcome = panic::catch(|| {
            while items.len() < want && took < plan.time {
                let look = plan.look.min(want - items.len());
                let before = items.len();
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
