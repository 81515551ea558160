//! The order and the bound: a queue of items that wait, and a line of chunks that were taken.
//!
//! Pure state, without threads and without closures. Order comes from the index of the first item: queue and line are sorted
//! by it, and results leave at the front only, once no item before them waits. Where no order is wanted, a chunk gets its
//! place in the line when it is done.

use crate::engine::block::{Block, Queued};
use crate::engine::open_block::OpenBlock;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

/// Consecutive items on their way to one worker.
pub(crate) struct Chunk<B: Block> {
    /// The index of the first item, counted from the start of the call. It goes back into [`Window::complete`].
    pub(crate) first: u64,
    pub(crate) items: Queued<B>,
}

impl<B: Block> Chunk<B> {
    /// Keeps the first `most` items, and gives the others with the index of their first, if there are any.
    pub(crate) fn cut(&mut self, most: usize) -> Option<(u64, Queued<B>)> {
        if self.items.size() <= most {
            return None;
        }
        let front = self.items.split_front(most);
        Some((self.first + most as u64, mem::replace(&mut self.items, front)))
    }
}

/// What lies between the source and the consumer of one call.
pub(crate) struct Window<B: Block, D> {
    /// Blocks that wait, each with the index of its first item, in order; never an empty block.
    queued: VecDeque<(u64, Queued<B>)>,
    /// The items behind all those: a block that is filled one by one.
    open: Arc<OpenBlock<B::Item>>,
    /// The sum of the lengths in `queued`.
    queued_items: usize,
    /// The chunks that were taken and not delivered, each by the index of its first item, in order; `None` while a worker
    /// has it.
    line: VecDeque<(u64, Option<D>)>,
    /// How many chunks are with the workers, where no order is wanted; they are not in `line`. Else `None`.
    astray: Option<usize>,
}

impl<B: Block, D> Window<B, D> {
    pub(crate) fn new() -> Self {
        Window { queued: VecDeque::new(), open: Arc::default(), queued_items: 0, line: VecDeque::new(), astray: None }
    }

    /// One whose results leave as they come.
    pub(crate) fn unordered() -> Self {
        Window { astray: Some(0), ..Window::new() }
    }

    /// Queues a block of items behind all others; `first` is the index of its first item.
    pub(crate) fn push(&mut self, first: u64, items: B) {
        let count = items.size();
        self.close_block();
        if count > 0 {
            self.queued_items += count;
            self.queued.push_back((first, Queued::Block(items)));
        }
    }

    /// The block that is filled one by one, behind all others. Its items wait here as the others do.
    pub(crate) fn open_block(&self) -> &Arc<OpenBlock<B::Item>> {
        &self.open
    }

    /// Puts the block that is being filled behind the others, which makes room for another one.
    pub(crate) fn close_block(&mut self) {
        if let Some((first, items)) = self.open.take() {
            self.queued_items += items.len();
            self.queued.push_back((first, Queued::Items(items.into_iter())));
        }
    }

    /// How many items wait to be taken.
    pub(crate) fn queued_items(&self) -> usize {
        self.queued_items + self.open.len()
    }

    /// Takes up to `most` items (at least one) from the front of the queue.
    pub(crate) fn take(&mut self, most: usize) -> Option<Chunk<B>> {
        let mut chunk = self.take_block()?;
        if let Some(rest) = chunk.cut(most) {
            self.put_back(rest);
        }
        Some(chunk)
    }

    /// The same for a whole block. What is [cut](Chunk::cut) off has to come back before anybody else takes something.
    pub(crate) fn take_block(&mut self) -> Option<Chunk<B>> {
        if self.queued.is_empty() {
            self.close_block();
        }
        let (first, items) = self.queued.pop_front()?;
        self.queued_items -= items.size();
        if let Some(chunks) = &mut self.astray {
            *chunks += 1;
        } else {
            // Behind all others, unless it was handed back.
            let place = self.line.partition_point(|&(other, _)| other < first);
            self.line.insert(place, (first, None));
        }
        Some(Chunk { first, items })
    }

    /// Queues a block again that was taken before, at its place.
    pub(crate) fn put_back(&mut self, (first, items): (u64, Queued<B>)) {
        self.queued_items += items.size();
        let place = self.queued.iter().take_while(|&&(other, _)| other < first).count();
        self.queued.insert(place, (first, items));
    }

    /// Puts what came of a chunk into its place in the line; true if it is to be delivered next.
    pub(crate) fn complete(&mut self, first: u64, done: D) -> bool {
        if let Some(chunks) = &mut self.astray {
            *chunks -= 1;
            self.line.push_back((first, Some(done)));
            return true;
        }
        let place = self.line.partition_point(|&(other, _)| other < first);
        let (_, cell) =
            self.line.get_mut(place).filter(|(at, _)| *at == first).expect("BUG: a chunk that was never taken");
        assert!(cell.replace(done).is_none(), "BUG: a chunk was completed twice");
        place == 0 && self.is_front_ready()
    }

    /// Whether the front of the line is done, and no item before it waits.
    pub(crate) fn is_front_ready(&self) -> bool {
        let waits_before = |first| self.queued.front().is_some_and(|&(other, _)| other < first);
        self.line
            .front()
            .is_some_and(|(first, done)| done.is_some() && (self.astray.is_some() || !waits_before(*first)))
    }

    /// What is ready at the front of the line.
    pub(crate) fn ready(&self) -> impl Iterator<Item = &D> {
        let is_ready = self.is_front_ready();
        let waiting = self.queued.front().map_or(u64::MAX, |&(first, _)| first);
        let is_ordered = self.astray.is_none();
        let ready = self.line.iter().take_while(move |(first, _)| is_ready && !(is_ordered && *first > waiting));
        ready.map_while(|(_, done)| done.as_ref())
    }

    /// Takes what is ready at the front of the line.
    pub(crate) fn deliver(&mut self) -> Option<D> {
        if !self.is_front_ready() {
            return None;
        }
        self.line.pop_front()?.1
    }

    /// Takes what is ready anywhere in the line; the rest of it is given up, and no chunk may come back.
    pub(crate) fn deliver_any(&mut self) -> Option<D> {
        while let Some((_, place)) = self.line.pop_front() {
            if place.is_some() {
                return place;
            }
        }
        None
    }

    /// True if nothing waits, nothing is being worked on and nothing is left to deliver.
    pub(crate) fn is_empty(&self) -> bool {
        self.queued_items() == 0 && self.line.is_empty() && self.astray.unwrap_or(0) == 0
    }

    /// What stands in the line, place by place.
    #[cfg(test)]
    pub(crate) fn map_line<S>(&self, f: impl Fn(&Option<D>) -> S) -> Vec<S> {
        self.line.iter().map(|(_, done)| f(done)).collect()
    }

    /// Lets no more items be added to the block that is filled one by one.
    pub(crate) fn shut(&mut self) {
        self.open.shut();
    }

    /// Takes back every item that no worker took.
    pub(crate) fn abandon(&mut self) -> Vec<Queued<B>> {
        self.close_block();
        self.queued_items = 0;
        self.queued.drain(..).map(|(_, block)| block).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Range;
    use std::vec;

    type Window<D> = super::Window<vec::IntoIter<u64>, D>;

    fn push<D>(window: &mut Window<D>, items: Range<u64>) {
        window.push(items.start, items.collect::<Vec<_>>().into_iter());
    }

    #[test]
    fn items_leave_in_the_order_they_came_whatever_the_sizes() {
        for most in 1..=7 {
            let mut window = Window::<()>::new();
            push(&mut window, 0..5);
            push(&mut window, 5..6);
            push(&mut window, 6..12);
            let mut seen = Vec::new();
            while let Some(chunk) = window.take(most) {
                let items = chunk.items.into_vec();
                assert!(items.len() <= most);
                assert_eq!(items[0], chunk.first);
                seen.extend(items);
            }
            assert_eq!(seen, (0..12).collect::<Vec<_>>());
            assert_eq!(window.queued_items(), 0);
        }
    }

    #[test]
    fn results_leave_in_the_order_of_the_chunks() {
        let mut window = Window::<char>::new();
        push(&mut window, 0..3);
        let chunks: Vec<u64> = std::iter::from_fn(|| window.take(1)).map(|chunk| chunk.first).collect();
        assert!(!window.complete(chunks[2], 'c'));
        assert!(!window.complete(chunks[1], 'b'));
        assert_eq!(window.deliver(), None, "the front is still being worked on");
        assert!(window.complete(chunks[0], 'a'));
        assert_eq!(std::iter::from_fn(|| window.deliver()).collect::<String>(), "abc");
        assert!(window.is_empty());
    }

    #[test]
    fn without_order_results_leave_as_they_come() {
        let mut window = Window::<char>::unordered();
        push(&mut window, 0..3);
        let chunks: Vec<u64> = std::iter::from_fn(|| window.take(1)).map(|chunk| chunk.first).collect();
        assert!(window.complete(chunks[2], 'c'));
        assert_eq!(window.deliver(), Some('c'));
        assert_eq!(window.deliver(), None);
        assert!(window.complete(chunks[0], 'a'));
        assert!(!window.is_empty(), "a chunk is still out");
        assert!(window.complete(chunks[1], 'b'));
        assert_eq!(std::iter::from_fn(|| window.deliver()).collect::<String>(), "ab");
        assert!(window.is_empty());
    }

    #[test]
    fn a_block_without_items_gives_no_chunk() {
        let mut window = Window::<()>::new();
        push(&mut window, 0..0);
        assert!(window.take(1).is_none());
        assert!(window.is_empty());
    }

    #[test]
    fn what_was_handed_back_is_taken_and_delivered_at_its_place() {
        let mut window = Window::<char>::new();
        push(&mut window, 0..6);
        let firsts: Vec<u64> = std::iter::from_fn(|| window.take(2)).map(|chunk| chunk.first).collect();
        assert_eq!(firsts, [0, 2, 4]);
        // Of the first two chunks one item each was done.
        window.put_back((3, Queued::Items(vec![3].into_iter())));
        window.put_back((1, Queued::Items(vec![1].into_iter())));
        assert!(!window.complete(4, 'e') && !window.complete(2, 'c') && window.complete(0, 'a'));
        assert_eq!((window.deliver(), window.deliver()), (Some('a'), None), "1 waits before 2");
        let chunk = window.take(9).expect("it waits");
        assert_eq!((chunk.first, window.queued_items(), window.deliver()), (1, 1, None));
        assert!(window.complete(1, 'b'));
        assert_eq!((window.deliver(), window.deliver(), window.deliver()), (Some('b'), Some('c'), None));
        assert_eq!(window.take(9).map(|chunk| chunk.first), Some(3));
        assert!(window.complete(3, 'd'));
        assert_eq!(std::iter::from_fn(|| window.deliver()).collect::<String>(), "de");
        assert!(window.is_empty());
    }

    #[test]
    fn what_no_worker_took_comes_back() {
        let mut window = Window::<()>::new();
        push(&mut window, 0..3);
        window.take(1);
        let rest: Vec<u64> = window.abandon().into_iter().flat_map(Queued::into_vec).collect();
        assert_eq!(rest, [1, 2]);
        assert_eq!(window.queued_items(), 0);
        assert!(!window.is_empty(), "the chunk that was taken is still out");
    }

    #[test]
    fn items_that_come_one_by_one_are_queued_by_the_chunk() {
        let mut window = Window::<()>::new();
        let push = |window: &Window<()>, items: Range<u64>| {
            items.for_each(|item| assert!(window.open_block().push(item, item, 8).is_ok()));
        };
        push(&window, 0..8);
        assert_eq!((window.queued.len(), window.queued_items()), (0, 8));
        window.close_block();
        window.close_block();
        assert_eq!((window.queued.len(), window.queued_items()), (1, 8));
        push(&window, 8..9);
        assert_eq!((window.queued.len(), window.queued_items()), (1, 9));
        let firsts: Vec<u64> = std::iter::from_fn(|| window.take(5)).map(|chunk| chunk.first).collect();
        assert_eq!((firsts, window.queued_items()), (vec![0, 5, 8], 0));
        push(&window, 9..10);
        window.push(10, vec![10].into_iter());
        assert!(window.abandon().into_iter().flat_map(Queued::into_vec).eq(9..11));
        assert_eq!(window.queued_items(), 0);
    }

    #[test]
    #[should_panic(expected = "BUG: a chunk was completed twice")]
    fn a_chunk_is_completed_once() {
        let mut window = Window::<()>::new();
        push(&mut window, 0..2);
        window.take(1);
        window.take(1);
        window.complete(1, ());
        window.complete(1, ());
    }
}
