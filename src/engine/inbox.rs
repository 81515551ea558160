//! The consumer's side of a call, whoever pulls its source: the results whose turn it is, and what comes after them.

use crate::engine::run_chunk::Done;
use crate::panics::{self, TaskPanic, TraceSink};
use std::{mem, vec};

/// The chunk that is being consumed.
pub(crate) struct Inbox<R> {
    /// Where the traces of the call go.
    trace_sink: TraceSink,
    /// Whether results come in the order of the items.
    is_ordered: bool,
    /// The results whose turn it is.
    pub(crate) current: vec::IntoIter<R>,
    /// The panic whose turn it is after `current`; nothing behind it is delivered.
    failure: Option<TaskPanic>,
    /// A token has left a gap after `current`: nothing behind it is delivered.
    has_gap: bool,
    /// The items of this chunk that gave no result, because of `failure` or the gap.
    lost: usize,
    /// A panic of an item was raised: other panics of the call are mentioned as such.
    raised: bool,
}

impl<R> Inbox<R> {
    pub(crate) fn new(trace_sink: TraceSink, is_ordered: bool) -> Self {
        Inbox {
            trace_sink,
            is_ordered,
            current: Vec::new().into_iter(),
            failure: None,
            has_gap: false,
            lost: 0,
            raised: false,
        }
    }

    /// Takes in the next chunk. The one before has to be empty, and what comes after it taken.
    pub(crate) fn take_in(&mut self, done: Done<R>) {
        panics::emit(self.trace_sink, done.deferred.concat());
        self.lost = done.items - done.results.len();
        // Only a token leaves items out without a panic. Without order, what comes behind the gap is as good.
        self.has_gap = self.is_ordered && self.lost > 0 && done.panic.is_none();
        self.failure = done.panic;
        self.current = done.results.into_iter();
    }

    /// How many items of this chunk are not delivered yet, or never will be.
    pub(crate) fn in_flight(&self) -> usize {
        self.current.len() + self.lost
    }

    /// The panic that comes after the results. Its trace was printed, and it is the caller's to raise it.
    pub(crate) fn take_failure(&mut self) -> Option<TaskPanic> {
        self.failure.take().inspect(|panic| self.report(panic))
    }

    /// Prints the trace of a panic that is about to be raised.
    pub(crate) fn report(&mut self, panic: &TaskPanic) {
        self.raised = true;
        panic.report();
    }

    /// Whether the call ends after the results, because of a token.
    pub(crate) fn take_gap(&mut self) -> bool {
        mem::take(&mut self.has_gap)
    }

    /// Drops what will not be delivered any more, here and in the chunks that `follow`, and mentions the panics in it.
    pub(crate) fn settle(&mut self, follow: impl IntoIterator<Item = Done<R>>) {
        panics::contain_all(mem::take(&mut self.current));
        let mut panics: Vec<_> = self.failure.take().into_iter().collect();
        for done in follow {
            panics::emit(self.trace_sink, done.deferred.concat());
            panics.extend(done.panic);
            panics::contain_all(done.results);
        }
        panics::mention(panics, self.raised);
    }
}

/// Results that come a chunk at a time.
pub(crate) trait Chunked<R> {
    /// What is left of the present chunk.
    fn current(&mut self) -> &mut vec::IntoIter<R>;

    /// The next result when none is at hand.
    fn refill(&mut self) -> Option<R>;

    /// The next result.
    #[inline]
    fn next_result(&mut self) -> Option<R> {
        match self.current().next() {
            None => self.refill(),
            result => result,
        }
    }

    /// Folds all results that are left.
    fn fold_results<A>(&mut self, init: A, mut g: impl FnMut(A, R) -> A) -> A {
        let mut folded = init;
        while let Some(result) = self.next_result() {
            folded = g(folded, result);
            // The rest of a chunk needs no look at anything else.
            for result in self.current().by_ref() {
                folded = g(folded, result);
            }
        }
        folded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn done(results: Vec<u32>, items: usize) -> Done<u32> {
        Done { results, items, panic: None, deferred: Vec::new(), busy: Duration::ZERO }
    }

    /// Chunks that lie ready.
    struct Ready(vec::IntoIter<u32>, Vec<Vec<u32>>);

    impl Chunked<u32> for Ready {
        fn current(&mut self) -> &mut vec::IntoIter<u32> {
            &mut self.0
        }

        fn refill(&mut self) -> Option<u32> {
            self.0 = self.1.pop()?.into_iter();
            self.0.next()
        }
    }

    #[test]
    fn a_fold_goes_on_where_next_stopped_and_over_every_chunk() {
        let mut results = Ready(vec![1, 2, 3].into_iter(), vec![vec![6], vec![4, 5]]);
        assert_eq!(results.next_result(), Some(1));
        let folded = results.fold_results(Vec::new(), |mut all, x| {
            all.push(x);
            all
        });
        assert_eq!((folded, results.next_result()), (vec![2, 3, 4, 5, 6], None));
    }

    #[test]
    fn results_that_a_token_left_out_end_an_ordered_call_alone() {
        for is_ordered in [true, false] {
            let mut inbox = Inbox::new(TraceSink::Stderr, is_ordered);
            inbox.take_in(done(vec![0, 1], 2));
            assert_eq!((inbox.in_flight(), inbox.take_gap()), (2, false));
            inbox.current.by_ref().for_each(drop);
            inbox.take_in(done(vec![2], 3));
            assert_eq!((inbox.in_flight(), inbox.current.next(), inbox.in_flight()), (3, Some(2), 2));
            assert_eq!((inbox.take_gap(), inbox.take_gap()), (is_ordered, false));
        }
    }
}
