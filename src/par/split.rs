//! Data that rayon can split, as a source of the engine: a block is a piece that was split off, in constant time, and its
//! items are made on the worker.

use crate::block::Block;
use crate::chunk;
use crate::panic::{self, Payload};
use crate::supply::{Pulled, SourceState, Supply};
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
        Split::Whole(Piece { size, state: State::Good(producer) })
    }
}

impl<P: Producer> Supply for Split<P> {
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

    fn pull(&mut self, want: usize, _: chunk::Block) -> Pulled<Piece<P>> {
        let (items, state) = match self {
            Split::Whole(piece) if want < piece.size => (piece.split_front(want), SourceState::Open),
            rest => match mem::replace(rest, Split::Ended) {
                Split::Whole(piece) => (piece, SourceState::Ended),
                Split::Here(_) | Split::Ended => (Piece { size: 0, state: State::Gone }, SourceState::Ended),
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
    state: State<P>,
}

enum State<P> {
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

    fn size(&self) -> usize {
        self.size
    }

    fn split_front(&mut self, count: usize) -> Self {
        self.size -= count;
        let State::Good(producer) = mem::replace(&mut self.state, State::Gone) else {
            return Piece { size: count, state: State::Gone };
        };
        // Whose code this is, rayon's or the user's, nobody knows. A panic of it is that of the first item in the piece.
        let state = match panic::catch(|| producer.split_at(count)) {
            Ok((front, back)) => {
                self.state = State::Good(back);
                State::Good(front)
            }
            Err(payload) => State::Broken(payload),
        };
        Piece { size: count, state }
    }

    fn into_items(self) -> P::IntoIter {
        match self.state {
            State::Good(producer) => producer.into_iter(),
            State::Broken(payload) => panic::resume(payload),
            State::Gone => panic!("the items were lost when the data before them could not be split"),
        }
    }

    fn is_to_drop(_: &P::IntoIter) -> bool {
        Self::HAS_TO_DROP
    }

    fn abandon_rest(rest: P::IntoIter, _: impl FnMut(usize)) {
        panic::contain(rest);
    }

    fn abandon(self) {
        panic::contain(self.state);
    }
}
