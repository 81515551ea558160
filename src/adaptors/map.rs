//! [`PoolMap`]: the caller's side of a call. It pulls the source, queues the items, and delivers the results in order.
//!
//! There are two ways to ask an iterator for its items, and so two ways to run:
//!
//! - **Streaming**, when the whole iterator is handed over (`collect`, `for_each`, `sum`, `fold`…): the workers run while
//!   the consumer consumes, inside one scope.
//! - **Batches**, when items are asked for one by one (`next`, so `for` loops, `zip`, `take`…): borrowed data must not be
//!   in use between two calls of `next`, so each batch is pulled, run and finished within one of them.

use crate::base::current_worker::Worker;
use crate::engine::inbox::Chunked;
use crate::engine::puller::Exchange;
use crate::engine::sizing::Sizer;
use crate::engine::source::Plain;
use crate::engine::stop::CancelToken;
use crate::engine::stream::{self, Delivery, Stream};
use crate::engine::work::{Catching, Observed, Work};
use crate::observe::{CallerRole, IntoObserver, ObserverRef};
use crate::panics;
use crate::panics::text::Trace;
use crate::threads::lease::{WaitingLease, Workers};
use crate::threads::workers_scope;
use std::any::type_name;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::{fmt, vec};

/// An iterator that maps the items of another one on the workers of a pool, and yields the results in order.
///
/// Made by [`pool_map`](crate::PoolIterator::pool_map) and its kin, where the full description is. The methods here are
/// its options; set them before the first result is asked for.
#[must_use = "iterators are lazy: nothing is pulled and no worker starts until a result is asked for; use `pool_for_each` to run for the effect alone"]
pub struct PoolMap<I: Iterator, W: Work<I::Item>> {
    source: Plain<I>,
    workers: Workers,
    exchange: Exchange<vec::IntoIter<I::Item>, W>,
    delivery: Delivery<W::Output>,
    /// Threads could not start: the call stays on the caller's thread.
    threadless: bool,
}

impl<I: Iterator, W: Work<I::Item>> PoolMap<I, W> {
    #[track_caller]
    pub(crate) fn new(source: I, workers: Workers, work: W, method: &'static str) -> Self {
        let call = Arc::new(panics::Call::here(method, workers.trace()).with_outlet(workers.outlet()));
        PoolMap::assemble(source, workers, work, call, Sizer::new::<I::Item, W::Output>)
    }

    fn assemble(
        source: I,
        workers: Workers,
        work: W,
        call: Arc<panics::Call>,
        sizer: impl FnOnce(usize) -> Sizer,
    ) -> Self {
        let count = workers.threads();
        let delivery = Delivery::new(call.outlet());
        let mut exchange = Exchange::new(work, call, count, sizer(count));
        exchange.set_pool_watch(workers.observer().map(ObserverRef::shared));
        PoolMap { source: Plain(source), exchange, delivery, workers, threadless: false }
    }

    /// Gives every chunk `items` items (the last ones may hold fewer), in place of sizes measured during the run. The source is
    /// asked until a chunk is full, however long that takes, and only then does a worker get it.
    ///
    /// A chunk is what one worker takes at a time. By itself it grows until it takes about 1/64 of the time the call has run
    /// so far, between 20 µs and 5 ms, and holds 8192 items or 64 KiB at most.
    ///
    /// # Panics
    ///
    /// If `items` is 0.
    #[track_caller]
    pub fn chunk_size(mut self, items: usize) -> Self {
        assert!(items > 0, "chunk_size needs at least one item, got 0");
        self.exchange.sizer_mut().fix_chunk(items);
        self
    }

    /// Lets at most `items` items be in flight: pulled from the source and not yet delivered, whether they wait for a
    /// worker, are being worked on, or are finished and wait for their turn. It wins over [`chunk_size`](Self::chunk_size).
    ///
    /// By itself the limit follows the measurements: for each worker 6 chunks, or what it does in half a millisecond, or 16
    /// items, whichever is most; so never more than 49 152 items for each worker, nor than 384 KiB of items or results that
    /// are 4 KiB or less. Before the first item has been timed it is 16 items for each worker or, if that is more, 64 in
    /// all, as far as those fit in 64 KiB. With `chunk_size(n)` it is 6 × `n` items for each worker, or 16 if that is more,
    /// whatever their size. With `max_in_flight(1)` each item is delivered before the next is pulled, as with `map`.
    ///
    /// # Panics
    ///
    /// If `items` is 0.
    #[track_caller]
    pub fn max_in_flight(mut self, items: usize) -> Self {
        assert!(items > 0, "max_in_flight needs at least one item, got 0");
        self.exchange.sizer_mut().fix_in_flight(items);
        self
    }

    /// Gives this call a name, which its traces show beside the place of the call.
    pub fn named(mut self, label: impl Into<String>) -> Self {
        self.exchange.call_mut().set_label(label.into());
        self
    }

    /// Sets how much a panic of this call prints; wins over the pool's own level and over `RUST_BACKTRACE`.
    pub fn trace(mut self, level: Trace) -> Self {
        self.exchange.call_mut().set_trace(level);
        self
    }

    /// Yields `Result<R, TaskPanic>` and runs every item: a panic becomes an `Err` in its place, and no trace of it is printed.
    ///
    /// A panic hook of your own still sees it; where there is none and the level is [`Trace::Off`], std's does, and prints its
    /// message. Other panics are told of: one that a call inside `f` has raised by a trace, one that `f` has caught by a line.
    ///
    /// With [`pool_map_init`](crate::PoolIterator::pool_map_init), the state of the worker that panicked is dropped, and
    /// made anew for its next item.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolIterator;
    ///
    /// let results: Vec<_> = [2, 0, 5].into_iter().pool_map(2, |x| 10 / x).catch_panics().collect();
    ///
    /// assert_eq!(results[0].as_ref().unwrap(), &5);
    /// let panic = results[1].as_ref().unwrap_err();
    /// assert_eq!((panic.index(), panic.message()), (Some(1), "attempt to divide by zero"));
    /// assert_eq!(results[2].as_ref().unwrap(), &2);
    /// ```
    ///
    /// # Panics
    ///
    /// If a result was already asked for.
    #[track_caller]
    pub fn catch_panics(self) -> PoolMap<I, Catching<W>>
    where
        I::Item: Send,
    {
        assert!(self.delivery.pulled == 0, "catch_panics has to come before the first result is asked for");
        self.with_work(Catching)
    }

    /// Lets `token` stop this call: no new item starts, items that run are let finish, what is done up to the first item
    /// that did not run is delivered, then the iterator ends. It may then yield less than its
    /// [`size_hint`](Iterator::size_hint) said. See [`CancelToken`].
    ///
    /// While the source blocks, so does the end, for the source is pulled on the thread that asks for the results. With
    /// several tokens, each of them stops it.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::{CancelToken, PoolIterator};
    ///
    /// let token = CancelToken::new();
    /// token.cancel();
    /// let squares: Vec<u64> = (0..8).pool_map(4, |x| x * x).cancel_on(&token).collect();
    /// assert!(squares.is_empty());
    /// ```
    pub fn cancel_on(self, token: &CancelToken) -> Self {
        token.stops(&self.exchange.brake);
        self
    }

    /// Tells `observer` what this call does: when it starts, each item that ran, when it ends.
    ///
    /// It is a reference to an [`Observer`](crate::Observer), or an [`Arc`] of one. Several observers may be attached. Without one
    /// nothing is measured.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::{PoolIterator, Timeline};
    ///
    /// let timeline = Timeline::new();
    /// let squares: Vec<u64> = (0..8).pool_map(4, |x| x * x).observe(&timeline).collect();
    /// println!("{timeline}"); // who did how much, how long they waited, which items were slow
    /// assert_eq!(timeline.items(), 8);
    /// # assert_eq!(squares.len(), 8);
    /// ```
    ///
    /// # Panics
    ///
    /// If a result was already asked for.
    #[track_caller]
    pub fn observe<'a>(self, observer: impl IntoObserver<'a>) -> PoolMap<I, Observed<'a, W>> {
        assert!(self.delivery.pulled == 0, "observe has to come before the first result is asked for");
        self.with_work(|work| Observed { work, watch: ObserverRef::new(observer) })
    }

    /// The same call, before its start, with other work.
    fn with_work<V: Work<I::Item>>(self, wrap: impl FnOnce(W) -> V) -> PoolMap<I, V> {
        let (work, call, sizer, brake) = self.exchange.into_parts();
        let mut rewrapped = PoolMap::assemble(self.source.0, self.workers, wrap(work), call, |_| sizer);
        rewrapped.exchange.brake = brake;
        rewrapped
    }

    /// Tells the observers that the call starts, the first time that it is asked for a result. `leased` says whether it has
    /// workers to run on.
    fn announce(&self, leased: bool) {
        let workers = if leased { self.exchange.workers() } else { 1 };
        for watch in self.exchange.watches() {
            watch.start(&self.exchange.call, workers, self.delivery.size_hint(&self.source), CallerRole::Both);
        }
    }

    /// The pool to run on, or none: then the call runs on the thread that asks for the results.
    fn lease(&mut self) -> Option<WaitingLease> {
        if self.threadless {
            return None;
        }
        let lease = self.workers.get_to_wait();
        self.threadless = lease.is_none() && !Worker::is_here();
        lease
    }
}

impl<I, W> PoolMap<I, W>
where
    I: Iterator,
    I::Item: Send,
    W: Work<I::Item>,
{
    /// Hands the results to `consume` while the workers go on.
    fn stream<B>(mut self, consume: impl FnOnce(Stream<'_, Plain<I>, W>) -> B) -> B {
        let lease = self.lease();
        self.announce(lease.is_some());
        let PoolMap { source, exchange, delivery, .. } = &mut self;
        let exchange = &*exchange;
        let Some(lease) = lease else {
            let outcome = consume(Stream { supply: source, exchange, delivery, scope: None });
            drop(self);
            return outcome;
        };
        let outcome = stream::run(source, lease, exchange, delivery, consume);
        let outcome = outcome.unwrap_or_else(|payload| panics::resume(payload));
        // Not left to the end of this function: if the source's destructor panics there, the compiler leaks what is being
        // returned (rust-lang/rust#47949).
        drop(self);
        outcome
    }
}

impl<I, W> Chunked<W::Output> for PoolMap<I, W>
where
    I: Iterator,
    I::Item: Send,
    W: Work<I::Item>,
{
    fn current(&mut self) -> &mut vec::IntoIter<W::Output> {
        &mut self.delivery.inbox.current
    }

    /// Runs a batch.
    #[cold]
    fn refill(&mut self) -> Option<W::Output> {
        while !self.delivery.advance() {
            if self.delivery.finished(self.exchange.brake.is_cancelled()) {
                self.exchange.finish();
                return None;
            }
            let lease = self.lease();
            self.announce(lease.is_some());
            let PoolMap { source, exchange, delivery, .. } = self;
            let exchange = &*exchange;
            let Some(lease) = lease else {
                return Stream { supply: source, exchange, delivery, scope: None }.run_here();
            };
            // Pulled, run and finished here: nothing of it runs when we return.
            delivery.plan = exchange.open();
            workers_scope::lend(lease.queue(), exchange, |scope| {
                Stream { supply: source, exchange, delivery: &mut *delivery, scope: Some(scope) }.run_batch(scope);
            });
            let took = exchange.shut(&mut delivery.ready);
            delivery.grow_batch(took, exchange.workers());
        }
        self.delivery.inbox.current.next()
    }
}

impl<I, W> Iterator for PoolMap<I, W>
where
    I: Iterator,
    I::Item: Send,
    W: Work<I::Item>,
{
    type Item = W::Output;

    #[inline]
    fn next(&mut self) -> Option<W::Output> {
        self.next_result()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.delivery.size_hint(&self.source)
    }

    fn fold<A, G>(self, init: A, g: G) -> A
    where
        G: FnMut(A, W::Output) -> A,
    {
        self.stream(|results| results.fold(init, g))
    }

    // `Vec::from_iter` loops over `next`, which would run in batches.
    fn collect<B: FromIterator<W::Output>>(self) -> B {
        // By far the most collections are vectors, and a vector takes over whole chunks instead of one item after the
        // other. The names may be equal for different types; then this is a detour by way of a vector, not a mistake.
        if type_name::<B>() == type_name::<Vec<W::Output>>() {
            #[expect(clippy::redundant_closure_for_method_calls, reason = "the method alone is not general enough")]
            self.stream(|results| results.into_vec()).into_iter().collect()
        } else {
            self.stream(|results| results.collect())
        }
    }
}

impl<I, W> ExactSizeIterator for PoolMap<I, W>
where
    I: ExactSizeIterator,
    I::Item: Send,
    W: Work<I::Item>,
{
}

impl<I, W> FusedIterator for PoolMap<I, W>
where
    I: Iterator,
    I::Item: Send,
    W: Work<I::Item>,
{
}

impl<I: Iterator + fmt::Debug, W: Work<I::Item>> fmt::Debug for PoolMap<I, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolMap")
            .field("source", &self.source.0)
            .field("workers", &self.workers)
            .field("call_site", self.exchange.call.site())
            .finish_non_exhaustive()
    }
}
