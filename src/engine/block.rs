//! Items on their way to a worker, in one piece that can be divided.

use crate::panics::{self, Payload};
use std::mem;
use std::vec;

/// Consecutive items that nobody has looked at yet. Of a plain iterator they were pulled on the caller's thread, and lie in
/// a vector; of data that can be split ([`Piece`](crate::adaptors::par)) they are still to be made, on the worker.
pub(crate) trait Block: Sized {
    type Item;
    type Items: Iterator<Item = Self::Item>;

    /// Whether code of the user's may run when items are dropped.
    const HAS_TO_DROP: bool;

    /// Whether code of the user's may run when a block is split.
    const CUTS_BY_USER: bool;

    fn size(&self) -> usize;

    /// Takes the first `count` items off; at least one, and not all.
    fn split_front(&mut self, count: usize) -> Self;

    fn into_items(self) -> Self::Items;

    /// Whether something is left in `rest` that has to be dropped with care.
    fn is_to_drop(rest: &Self::Items) -> bool;

    /// Drops what is left of the items and keeps the panics of their destructors in. `at` is told which one it is at, from
    /// 0 on, as far as that can be known.
    fn abandon_rest(rest: Self::Items, at: impl FnMut(usize));

    /// Drops all items, and keeps the panics in.
    fn abandon(self);

    /// A block of so many items that raises this panic at the first of them.
    fn broken(payload: Payload, size: usize) -> Self;
}

/// Items that wait for a worker.
pub(crate) enum Queued<B: Block> {
    /// A block as it came.
    Block(B),
    /// Items that were pulled one by one, or that a worker has handed back.
    Items(vec::IntoIter<B::Item>),
}

impl<B: Block> Queued<B> {
    pub(crate) fn size(&self) -> usize {
        match self {
            Queued::Block(block) => block.size(),
            Queued::Items(items) => items.size(),
        }
    }

    /// Takes the first `count` items off; at least one, and not all.
    pub(crate) fn split_front(&mut self, count: usize) -> Self {
        match self {
            Queued::Block(block) => Queued::Block(block.split_front(count)),
            Queued::Items(items) => Queued::Items(items.split_front(count)),
        }
    }

    /// Drops all items, and keeps the panics in.
    pub(crate) fn abandon(self) {
        match self {
            Queued::Block(block) => block.abandon(),
            Queued::Items(items) => items.abandon(),
        }
    }

    #[cfg(test)]
    pub(crate) fn into_vec(self) -> Vec<B::Item> {
        match self {
            Queued::Block(block) => block.into_items().collect(),
            Queued::Items(items) => items.collect(),
        }
    }

    /// What is left of a block of which `held` was the last item that came out, `size` items in all. If making one of the
    /// others panics, that is the panic of its item.
    pub(crate) fn left(held: B::Item, mut rest: B::Items, size: usize) -> Vec<Self> {
        let mut items = Vec::with_capacity(size);
        items.push(held);
        let outcome = panics::catch(|| items.extend(rest.by_ref()));
        panics::contain(rest);
        let lost = size.saturating_sub(items.len());
        let mut left = vec![Queued::Items(items.into_iter())];
        if let Err(payload) = outcome {
            left.push(Queued::Block(B::broken(payload, lost)));
        }
        left
    }
}

impl<T> Block for vec::IntoIter<T> {
    type Item = T;
    type Items = vec::IntoIter<T>;

    const HAS_TO_DROP: bool = mem::needs_drop::<T>();
    const CUTS_BY_USER: bool = false;

    fn size(&self) -> usize {
        self.len()
    }

    fn split_front(&mut self, count: usize) -> Self {
        self.by_ref().take(count).collect::<Vec<T>>().into_iter()
    }

    fn into_items(self) -> Self {
        self
    }

    fn is_to_drop(rest: &Self) -> bool {
        Self::HAS_TO_DROP && rest.len() > 0
    }

    fn abandon_rest(rest: Self, mut at: impl FnMut(usize)) {
        for (place, item) in rest.enumerate() {
            at(place);
            panics::contain(item);
        }
    }

    fn abandon(self) {
        panics::contain_all(self);
    }

    fn broken(_: Payload, _: usize) -> Self {
        unreachable!("BUG: a vector gives its items without running code of the user's")
    }
}
