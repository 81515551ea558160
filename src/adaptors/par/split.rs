//! Data that rayon can split, as a source of the engine: a block is a piece that was split off, in constant time, and its
//! items are made on the worker.

use crate::engine::block::Block;
use crate::engine::sizing::BlockPlan;
use crate::engine::source::{Pulled, Source, SourceState};
use crate::panics::{self, Payload};
use rayon::iter::plumbing::Producer;
use std::mem;
use std::time::Duration;

/// What is left of the data.
pub(super) enum Split<P: Producer> {
    Whole(Piece<P>),
    /// Without workers the items are made on the caller's thread, one by one.
    Here(P::IntoIter),
    Ended,
}

impl<P: Producer> Split<P> {
    pub(super) fn new(producer: P, size: usize) -> Self {
        Split::Whole(Piece { size, state: PieceState::Good(producer) })
    }
}

impl<P: Producer> Source for Split<P> {
    type Item = P::Item;
    type Block = Piece<P>;

    fn size_hint(&self) -> (usize, Option<usize>) {
        let size = match self {
            Split::Whole(piece) => piece.size,
            Split::Here(items) => items.len(),
            Split::Ended => 0,
        };
        (size, Some(size))
    }

    fn known_len(&self) -> Option<usize> {
        Some(self.size_hint().0)
    }

    fn pull(&mut self, want: usize, _: BlockPlan) -> Pulled<Piece<P>> {
        let (items, state) = match self {
            Split::Whole(piece) if want < piece.size => (piece.split_front(want), SourceState::Open),
            rest => match mem::replace(rest, Split::Ended) {
                Split::Whole(piece) => (piece, SourceState::Ended),
                Split::Here(_) | Split::Ended => (Piece { size: 0, state: PieceState::Gone }, SourceState::Ended),
            },
        };
        Pulled { items, took: Duration::ZERO, state }
    }

    fn pull_one(&mut self) -> Option<P::Item> {
        if let Split::Whole(_) = self {
            if let Split::Whole(piece) = mem::replace(self, Split::Ended) {
                *self = Split::Here(piece.into_items());
            }
        }
        match self {
            Split::Here(items) => items.next(),
            Split::Whole(_) | Split::Ended => None,
        }
    }
}

/// Consecutive items that were not made yet.
pub(super) struct Piece<P> {
    size: usize,
    state: PieceState<P>,
}

enum PieceState<P> {
    Good(P),
    /// The code that splits it has panicked, and the payload was not seen yet.
    Broken(Payload),
    /// There is nothing in it, or what was in it is lost behind a broken piece.
    Gone,
}

impl<P: Producer> Block for Piece<P> {
    type Item = P::Item;
    type Items = P::IntoIter;

    const HAS_TO_DROP: bool = mem::needs_drop::<P::IntoIter>();
    const CUTS_BY_USER: bool = true;

    fn size(&self) -> usize {
        self.size
    }

    fn split_front(&mut self, count: usize) -> Self {
        self.size -= count;
        let producer = match mem::replace(&mut self.state, PieceState::Gone) {
            PieceState::Good(producer) => producer,
            // Whoever comes to its first item raises the panic.
            state => return Piece { size: count, state },
        };
        // Whose code this is, rayon's or the user's, nobody knows. A panic of it is that of the first item in the piece.
        let state = match panics::catch(|| producer.split_at(count)) {
            Ok((front, back)) => {
                self.state = PieceState::Good(back);
                PieceState::Good(front)
            }
            Err(payload) => PieceState::Broken(payload),
        };
        Piece { size: count, state }
    }

    fn into_items(self) -> P::IntoIter {
        match self.state {
            PieceState::Good(producer) => producer.into_iter(),
            PieceState::Broken(payload) => panics::resume(payload),
            PieceState::Gone => panic!("the items were lost when the data before them could not be split"),
        }
    }

    fn is_to_drop(_: &P::IntoIter) -> bool {
        Self::HAS_TO_DROP
    }

    fn abandon_rest(rest: P::IntoIter, _: impl FnMut(usize)) {
        panics::contain(rest);
    }

    fn abandon(self) {
        panics::contain(self.state);
    }

    fn broken(payload: Payload, size: usize) -> Self {
        Piece { size, state: PieceState::Broken(payload) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Range;

    /// Numbers, and something that is dropped with what is left of them.
    struct Numbers<D> {
        range: Range<usize>,
        beside: D,
    }

    impl<D: Clone + Send> Producer for Numbers<D> {
        type Item = usize;
        type IntoIter = Numbers<D>;

        fn into_iter(self) -> Self {
            self
        }

        fn split_at(self, index: usize) -> (Self, Self) {
            let Numbers { range: Range { start, end }, beside } = self;
            let front = Numbers { range: start..start + index, beside: beside.clone() };
            (front, Numbers { range: start + index..end, beside })
        }
    }

    impl<D> Iterator for Numbers<D> {
        type Item = usize;

        fn next(&mut self) -> Option<usize> {
            self.range.next()
        }

        fn size_hint(&self) -> (usize, Option<usize>) {
            self.range.size_hint()
        }
    }

    impl<D> DoubleEndedIterator for Numbers<D> {
        fn next_back(&mut self) -> Option<usize> {
            self.range.next_back()
        }
    }

    impl<D> ExactSizeIterator for Numbers<D> {}

    fn numbers<D: Clone + Send>(size: usize, beside: D) -> Split<Numbers<D>> {
        Split::new(Numbers { range: 0..size, beside }, size)
    }

    #[derive(Clone)]
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panics::resume(Box::new("a bomb"));
        }
    }

    #[test]
    fn pieces_come_off_the_front_until_the_last() {
        let mut source = numbers(10, ());
        assert_eq!(source.size_hint(), (10, Some(10)));
        let Pulled { items, state, .. } = source.pull(4, BlockPlan::default());
        assert!(items.size() == 4 && items.into_items().eq(0..4) && state.is_open());
        assert_eq!(source.size_hint(), (6, Some(6)));
        let Pulled { items, state, .. } = source.pull(6, BlockPlan::default());
        assert!(items.size() == 6 && items.into_items().eq(4..10) && !state.is_open(), "that was all");
        assert_eq!(source.size_hint(), (0, Some(0)));
    }

    #[test]
    fn items_one_by_one_are_counted_down() {
        let mut source = numbers(2, ());
        for left in [1, 0] {
            assert_eq!((source.pull_one(), source.size_hint()), (Some(1 - left), (left, Some(left))));
        }
        assert_eq!(source.pull_one(), None);
    }

    struct NotTwice;

    impl Clone for NotTwice {
        fn clone(&self) -> Self {
            panics::resume(Box::new("not twice"));
        }
    }

    #[test]
    fn a_panic_of_splitting_is_that_of_the_first_item_however_small_its_piece_becomes() {
        let mut source = numbers(10, NotTwice);
        let mut broken = source.pull(4, BlockPlan::default()).items;
        let [first, second] = [1, 2].map(|count| broken.split_front(count));
        assert_eq!([first.size(), second.size(), broken.size()], [1, 2, 1]);
        let payload = |piece: Piece<_>| panics::catch(|| piece.into_items()).err().expect("it cannot be split");
        assert_eq!(payload(first).downcast_ref(), Some(&"not twice"));
        assert!(payload(second).downcast_ref::<&str>().expect("text").contains("lost"));
    }

    #[test]
    fn panics_of_what_is_dropped_with_the_rest_stay_in() {
        let rest = |bombs: Piece<Numbers<Bomb>>| bombs.into_items();
        let mut source = numbers(4, Bomb);
        let front = rest(source.pull(2, BlockPlan::default()).items);
        assert!(Piece::<Numbers<Bomb>>::is_to_drop(&front));
        Piece::<Numbers<Bomb>>::abandon_rest(front, |_| {});
        source.pull(2, BlockPlan::default()).items.abandon();
        let harmless = numbers(2, ()).pull(2, BlockPlan::default()).items.into_items();
        assert!(!Piece::<Numbers<()>>::is_to_drop(&harmless));
    }
}
