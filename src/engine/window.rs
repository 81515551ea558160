//! The order and the bound: a queue of items that wait, and a line of tickets for those that were taken.
//!
//! Pure state, without threads and without closures. Order comes from the line: whoever takes items gets the ticket
//! behind all tickets before it, and results leave at the front only. Where no order is wanted, a chunk gets its place in
//! the line when it is done.

use crate::engine::block::Block;
use std::collections::VecDeque;
use std::mem;

/// Consecutive items on their way to one worker, and the ticket under which their results come back.
#[derive(Debug)]
pub(crate) struct Chunk<B> {
    /// Where in the line the results belong; goes back into [`Window::fill`].
    pub(crate) ticket: u64,
    /// The index of the first item, counted from the start of the call.
    pub(crate) first: u64,
    pub(crate) items: B,
}

impl<B: Block> Chunk<B> {
    /// Keeps the first `most` items, and gives the others with the index of their first, if there are any.
    pub(crate) fn cut(&mut self, most: usize) -> Option<(u64, B)> {
        if self.items.size() <= most {
            return None;
        }
        let front = self.items.split_front(most);
        Some((self.first + most as u64, mem::replace(&mut self.items, front)))
    }
}

/// What lies between the source and the consumer of one call.
#[derive(Debug)]
pub(crate) struct Window<B, D> {
    /// Blocks as they were pulled, in order, each with the index of its first item; never an empty block.
    queued: VecDeque<(u64, B)>,
    /// The sum of the lengths in `queued`.
    queued_items: usize,
    /// One place per chunk taken and not delivered, in order; `None` while a worker has it.
    line: VecDeque<Option<D>>,
    /// The ticket number of the front of `line`.
    front: u64,
    /// How many chunks are with the workers, where no order is wanted; their places are not in `line`. Else `None`.
    astray: Option<usize>,
}

impl<B: Block, D> Window<B, D> {
    pub(crate) fn new() -> Self {
        Window { queued: VecDeque::new(), queued_items: 0, line: VecDeque::new(), front: 0, astray: None }
    }

    /// One whose results leave as they come.
    pub(crate) fn unordered() -> Self {
        Window { astray: Some(0), ..Window::new() }
    }

    /// Whether results leave in the order of the items.
    pub(crate) fn is_ordered(&self) -> bool {
        self.astray.is_none()
    }

    /// Queues a block of items behind all others; `first` is the index of its first item.
    pub(crate) fn push(&mut self, first: u64, items: B) {
        let count = items.size();
        if count > 0 {
            self.queued_items += count;
            self.queued.push_back((first, items));
        }
    }

    /// How many items wait to be taken.
    pub(crate) fn queued_items(&self) -> usize {
        self.queued_items
    }

    /// Takes up to `most` items (at least one) from the front of the queue, and a ticket at the back of the line.
    pub(crate) fn take(&mut self, most: usize) -> Option<Chunk<B>> {
        let mut chunk = self.take_block()?;
        if let Some(rest) = chunk.cut(most) {
            self.put_back(rest);
        }
        Some(chunk)
    }

    /// The same for a whole block. What is [cut](Chunk::cut) off has to come back before anybody else takes something.
    pub(crate) fn take_block(&mut self) -> Option<Chunk<B>> {
        let (first, items) = self.queued.pop_front()?;
        self.queued_items -= items.size();
        let ticket = self.front + self.line.len() as u64;
        match &mut self.astray {
            Some(chunks) => *chunks += 1,
            None => self.line.push_back(None),
        }
        Some(Chunk { ticket, first, items })
    }

    /// Queues a block before all others.
    pub(crate) fn put_back(&mut self, (first, items): (u64, B)) {
        self.queued_items += items.size();
        self.queued.push_front((first, items));
    }

    /// Puts what came of a chunk into its place in the line; true if that place is the front.
    pub(crate) fn fill(&mut self, ticket: u64, done: D) -> bool {
        if let Some(chunks) = &mut self.astray {
            *chunks -= 1;
            self.line.push_back(Some(done));
            return true;
        }
        let place = usize::try_from(ticket - self.front).expect("BUG: a line longer than memory");
        let place = self.line.get_mut(place).expect("BUG: a ticket that was never given");
        assert!(place.replace(done).is_none(), "BUG: a ticket was used twice");
        ticket == self.front
    }

    /// Takes what is ready at the front of the line.
    pub(crate) fn deliver(&mut self) -> Option<D> {
        if self.line.front()?.is_none() {
            return None;
        }
        self.front += 1;
        self.line.pop_front().flatten()
    }

    /// Takes what is ready anywhere in the line; the rest of it is given up, and no ticket may come back.
    pub(crate) fn deliver_any(&mut self) -> Option<D> {
        while let Some(place) = self.line.pop_front() {
            if place.is_some() {
                return place;
            }
        }
        None
    }

    /// True if nothing waits, nothing is being worked on and nothing is left to deliver.
    pub(crate) fn is_empty(&self) -> bool {
        self.queued.is_empty() && self.line.is_empty() && self.astray.unwrap_or(0) == 0
    }

    /// What stands in the line, place by place.
    #[cfg(test)]
    pub(crate) fn map_line<S>(&self, f: impl Fn(&Option<D>) -> S) -> Vec<S> {
        self.line.iter().map(f).collect()
    }

    /// Takes back every item that no worker took.
    pub(crate) fn abandon(&mut self) -> VecDeque<B> {
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

    fn indices(chunk: &Chunk<vec::IntoIter<u64>>) -> Vec<u64> {
        chunk.items.as_slice().to_vec()
    }

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
                assert!(chunk.items.len() <= most);
                assert_eq!(chunk.items.as_slice()[0], chunk.first);
                assert_eq!(chunk.ticket, window.line.len() as u64 - 1);
                seen.extend(indices(&chunk));
            }
            assert_eq!(seen, (0..12).collect::<Vec<_>>());
            assert_eq!(window.queued_items(), 0);
        }
    }

    #[test]
    fn results_leave_in_the_order_of_the_tickets() {
        let mut window = Window::<char>::new();
        push(&mut window, 0..3);
        let tickets: Vec<u64> = std::iter::from_fn(|| window.take(1)).map(|chunk| chunk.ticket).collect();
        assert!(!window.fill(tickets[2], 'c'));
        assert!(!window.fill(tickets[1], 'b'));
        assert_eq!(window.deliver(), None, "the front is still being worked on");
        assert!(window.fill(tickets[0], 'a'));
        assert_eq!(std::iter::from_fn(|| window.deliver()).collect::<String>(), "abc");
        assert!(window.is_empty());
    }

    #[test]
    fn without_order_results_leave_as_they_come() {
        let mut window = Window::<char>::unordered();
        push(&mut window, 0..3);
        let tickets: Vec<u64> = std::iter::from_fn(|| window.take(1)).map(|chunk| chunk.ticket).collect();
        assert!(window.fill(tickets[2], 'c'));
        assert_eq!(window.deliver(), Some('c'));
        assert_eq!(window.deliver(), None);
        assert!(window.fill(tickets[0], 'a'));
        assert!(!window.is_empty(), "a chunk is still out");
        assert!(window.fill(tickets[1], 'b'));
        assert_eq!(std::iter::from_fn(|| window.deliver()).collect::<String>(), "ab");
        assert!(window.is_empty());
    }

    #[test]
    fn a_block_without_items_gives_no_ticket() {
        let mut window = Window::<()>::new();
        push(&mut window, 0..0);
        assert!(window.take(1).is_none());
        assert!(window.is_empty());
    }

    #[test]
    fn what_no_worker_took_comes_back() {
        let mut window = Window::<()>::new();
        push(&mut window, 0..3);
        window.take(1);
        let rest: Vec<u64> = window.abandon().into_iter().flatten().collect();
        assert_eq!(rest, [1, 2]);
        assert_eq!(window.queued_items(), 0);
        assert!(!window.is_empty(), "the chunk that was taken is still out");
    }

    #[test]
    #[should_panic(expected = "BUG: a ticket was used twice")]
    fn a_ticket_is_good_once() {
        let mut window = Window::<()>::new();
        push(&mut window, 0..2);
        window.take(1);
        window.take(1);
        window.fill(1, ());
        window.fill(1, ());
    }
}
