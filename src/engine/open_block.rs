//! A block that is filled one item at a time, and that a worker may take before it is full.

use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::mem;

/// Room for so many items, and for so many bytes of them, is made at once at most.
const MOST_RESERVED: usize = 1024;
const MOST_RESERVED_BYTES: usize = 64 * 1024;

/// It has a lock of its own, which is free nearly always: filling it costs some 5 ns an item, while workers hand over their
/// chunks under the lock of the call.
pub(crate) struct OpenBlock<T> {
    filling: Mutex<Filling<T>>,
    /// How many items there are, for whoever does not hold the lock.
    len: AtomicUsize,
    /// Whoever fills it is to look at the state before it goes on.
    is_plan_new: AtomicBool,
}

struct Filling<T> {
    /// The index of the first item.
    first: u64,
    items: Vec<T>,
    /// Nothing more is wanted.
    is_shut: bool,
}

impl<T> Default for OpenBlock<T> {
    fn default() -> Self {
        let filling = Filling { first: 0, items: Vec::new(), is_shut: false };
        OpenBlock { filling: Mutex::new(filling), len: AtomicUsize::new(0), is_plan_new: AtomicBool::new(false) }
    }
}

impl<T> OpenBlock<T> {
    /// Adds the item of this index, which follows the others. Gives how many there are now; there will be `capacity`, unless they
    /// are taken before. Or gives the item back, if nothing more is wanted.
    #[inline]
    pub(crate) fn push(&self, index: u64, item: T, capacity: usize) -> Result<usize, T> {
        let mut filling = self.filling.lock();
        if filling.is_shut {
            return Err(item);
        }
        if filling.items.is_empty() {
            filling.first = index;
            let room = MOST_RESERVED.min(MOST_RESERVED_BYTES / size_of::<T>().max(1));
            filling.items.reserve(capacity.min(room));
        }
        filling.items.push(item);
        let len = filling.items.len();
        self.len.store(len, Ordering::Relaxed);
        Ok(len)
    }

    /// Takes all items there are, with the index of the first.
    pub(crate) fn take(&self) -> Option<(u64, Vec<T>)> {
        // Without the lock, which would hold up whoever fills it.
        if self.len() == 0 {
            return None;
        }
        let mut filling = self.filling.lock();
        self.len.store(0, Ordering::Relaxed);
        let items = mem::take(&mut filling.items);
        (!items.is_empty()).then_some((filling.first, items))
    }

    /// Lets nothing more be added.
    pub(crate) fn shut(&self) {
        self.filling.lock().is_shut = true;
    }

    /// Says whether whoever fills it is to look at the state before it goes on, since fewer items may be in flight.
    pub(crate) fn note_plan(&self, is_new: bool) {
        self.is_plan_new.store(is_new, Ordering::Relaxed);
    }

    pub(crate) fn is_plan_new(&self) -> bool {
        self.is_plan_new.load(Ordering::Relaxed)
    }

    /// How many items there are. Whoever was told of an item sees it here.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_taken_together_and_the_next_begin_a_new_block() {
        let block = OpenBlock::default();
        assert_eq!(block.take(), None);
        assert_eq!([7, 8].map(|item| block.push(item, item, 4)), [Ok(1), Ok(2)]);
        assert_eq!((block.len(), block.take(), block.len()), (2, Some((7, vec![7, 8])), 0));
        assert_eq!((block.push(9, 9, 4), block.take()), (Ok(1), Some((9, vec![9]))));
    }

    #[test]
    fn room_is_made_for_what_is_to_come_within_reason() {
        let block = OpenBlock::default();
        assert_eq!((block.push(0, 0_u8, 100), block.take().map(|(_, items)| items.capacity())), (Ok(1), Some(100)));
        assert!(block.push(1, 0, usize::MAX).is_ok(), "room for so many cannot be made");
        let large = OpenBlock::default();
        assert_eq!(
            (large.push(0, [0_u8; 10_000], 1000), large.take().map(|(_, items)| items.capacity())),
            (Ok(1), Some(6))
        );
    }

    #[test]
    fn one_that_is_shut_takes_nothing_more_and_keeps_what_it_has() {
        let block = OpenBlock::default();
        assert_eq!(block.push(0, 'a', 4), Ok(1));
        block.shut();
        assert_eq!((block.push(1, 'b', 4), block.len(), block.take()), (Err('b'), 1, Some((0, vec!['a']))));
        assert_eq!((block.push(1, 'b', 4), block.take()), (Err('b'), None));
    }
}
