//! [`PoolMap`]: the caller's side of a call. It pulls the source, queues the items, and delivers the results in order.
//!
//! There are two ways to ask an iterator for its items, and so two ways to run:
//!
//! - **Streaming**, when the whole iterator is handed over (`collect`, `for_each`, `sum`, `fold`…): the workers run while
//!   the consumer consumes, inside one scope.
//! - **Batches**, when items are asked for one by one (`next`, so `for` loops, `zip`, `take`…): borrowed data must not be
//!   in use between two calls of `next`, so each batch is pulled, run and finished within one of them.

use crate::block::Block;
use crate::cancel::CancelToken;
use crate::chunk::{Plan, Sizer};
use crate::lease::{Lease, Workers};
use crate::observe::{Observer, Watch};
use crate::panic::{self, Outlet, Payload, TaskPanic};
use crate::pool::{self, Crew};
use crate::puller::{Done, Exchange};
use crate::trace::Trace;
use crate::work::{Catching, Observed, Work};
use std::any::type_name;
use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, mem, vec};

/// A batch is not filled any further once its source alone has taken this long.
const LONGEST_FILL: Duration = Duration::from_millis(20);

/// No more bytes than these are set aside on the word of a source, which may be wrong.
const MOST_RESERVED: usize = 64 << 20;

/// An iterator that maps the items of another one on the workers of a pool, and yields the results in order.
///
/// Made by [`pool_map`](crate::PoolIterator::pool_map) and its kin, where the full description is. The methods here are
/// its options; set them before the first result is asked for.
#[must_use = "iterators are lazy: nothing is pulled and no worker starts until a result is asked for; use `pool_for_each` to run for the effect alone"]
pub struct PoolMap<I: Iterator, W: Work<I::Item>> {
    source: I,
    workers: Workers,
    exchange: Exchange<vec::IntoIter<I::Item>, W>,
    delivery: Delivery<W::Output>,
    /// Threads could not start: the call stays on the caller's thread.
    threadless: bool,
}

impl<I: Iterator, W: Work<I::Item>> PoolMap<I, W> {
    #[track_caller]
    pub(crate) fn new(source: I, workers: Workers, work: W, method: &'static str) -> Self {
        let call = Arc::new(panic::Call::here(method, workers.trace()).with_outlet(workers.outlet()));
        PoolMap::assemble(source, workers, work, call, Sizer::new::<I::Item, W::Output>)
    }

    fn assemble(
        source: I,
        workers: Workers,
        work: W,
        call: Arc<panic::Call>,
        sizer: impl FnOnce(usize) -> Sizer,
    ) -> Self {
        let count = workers.threads();
        let delivery = Delivery::new(call.outlet());
        let mut exchange = Exchange::new(work, call, count, sizer(count));
        exchange.set_pool_watch(workers.observer().map(Watch::shared));
        PoolMap { source, exchange, delivery, workers, threadless: false }
    }

    /// Gives every chunk `items` items (the last ones may hold fewer), in place of sizes measured during the run.
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
    /// are 4 KiB or less. Before the first item has been timed it is 256 items in all, if that is more. With
    /// `max_in_flight(1)` each item is delivered before the next is pulled, as with `map`.
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

    /// Yields `Result<R, TaskPanic>` and runs every item: a panic becomes an `Err` in its place, and nothing is printed.
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
    /// assert_eq!((panic.index(), panic.message()), (1, "attempt to divide by zero"));
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
    /// Several observers may be attached. Without one nothing is measured.
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
    pub fn observe(self, observer: &dyn Observer) -> PoolMap<I, Observed<'_, W>> {
        assert!(self.delivery.pulled == 0, "observe has to come before the first result is asked for");
        self.with_work(|work| Observed { work, watch: Watch::borrowed(observer) })
    }

    /// The same call, before its start, with other work.
    fn with_work<V: Work<I::Item>>(self, wrap: impl FnOnce(W) -> V) -> PoolMap<I, V> {
        let (work, call, sizer, brake) = self.exchange.into_parts();
        let mut rewrapped = PoolMap::assemble(self.source, self.workers, wrap(work), call, |_| sizer);
        rewrapped.exchange.brake = brake;
        rewrapped
    }

    /// Tells the observers that the call starts, the first time that it is asked for a result. `leased` says whether it has
    /// workers to run on.
    fn announce(&self, leased: bool) {
        let workers = if leased { self.exchange.workers() } else { 1 };
        for watch in self.exchange.watches() {
            watch.start(&self.exchange.call, workers, self.delivery.size_hint(&self.source));
        }
    }

    /// The pool to run on, or none: on a worker (where waiting could deadlock) and where threads cannot start, the call
    /// runs on the thread that asks for the results.
    fn lease(&mut self) -> Option<Lease> {
        if self.threadless || pool::on_a_worker() {
            return None;
        }
        let lease = self.workers.get();
        self.threadless = lease.is_inline() || !lease.is_usable();
        (!self.threadless).then_some(lease)
    }
}

impl<I, W> PoolMap<I, W>
where
    I: Iterator,
    I::Item: Send,
    W: Work<I::Item>,
{
    /// Hands the results to `consume` while the workers go on.
    fn stream<B>(mut self, consume: impl FnOnce(Stream<'_, '_, '_, I, W>) -> B) -> B {
        let lease = self.lease();
        self.announce(lease.is_some());
        let PoolMap { source, exchange, delivery, .. } = &mut self;
        let exchange = &*exchange;
        let Some(lease) = lease else {
            let outcome = consume(Stream { source, exchange, delivery, crew: None });
            drop(self);
            return outcome;
        };
        delivery.plan = exchange.open();
        // The scope must not unwind: rayon's could then return before its jobs. So what is thrown in it, by the
        // consumer or by us through the consumer, leaves it as a value (*).
        let outcome = lease.scope(|crew| {
            let stream = Stream { source, exchange, delivery: &mut *delivery, crew: Some(crew) };
            let outcome = panic::catch(|| consume(stream));
            exchange.stop();
            outcome
        });
        exchange.shut(&mut delivery.ready);
        drop(lease);
        delivery.settle();
        let outcome = outcome.unwrap_or_else(|payload| panic::resume(payload)); // (*) and goes on from here.
        // Not left to the end of this function: if the source's destructor panics there, the compiler leaks what is being
        // returned (rust-lang/rust#47949).
        drop(self);
        outcome
    }

    /// The next result when none is at hand.
    #[cold]
    fn next_batch(&mut self) -> Option<W::Output> {
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
                return Stream { source, exchange, delivery, crew: None }.run_here();
            };
            // Pulled, run and finished here: nothing of it runs when we return.
            delivery.plan = exchange.open();
            lease.scope(|crew| Stream { source, exchange, delivery: &mut *delivery, crew: Some(crew) }.run_batch(crew));
            let took = exchange.shut(&mut delivery.ready);
            delivery.grow_batch(took, exchange.workers());
        }
        self.delivery.current.next()
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
        match self.delivery.current.next() {
            None => self.next_batch(),
            result => result,
        }
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
            .field("source", &self.source)
            .field("workers", &self.workers)
            .field("call_site", self.exchange.call.site())
            .finish_non_exhaustive()
    }
}

/// The results of one call while its workers are at work.
struct Stream<'a, 'c, 's, I: Iterator, W: Work<I::Item>> {
    source: &'a mut I,
    exchange: &'s Exchange<vec::IntoIter<I::Item>, W>,
    delivery: &'a mut Delivery<W::Output>,
    /// The way to the workers; without one every item runs here, on the thread that asks.
    crew: Option<Crew<'c, 's>>,
}

impl<'s, I, W> Stream<'_, '_, 's, I, W>
where
    I: Iterator,
    I::Item: Send + 's,
    W: Work<I::Item>,
{
    /// Makes `delivery.current` hold a result; false if there are no more.
    fn advance(&mut self, crew: Crew<'_, 's>) -> bool {
        while !self.delivery.advance() {
            if self.delivery.finished(self.exchange.brake.is_cancelled()) {
                return false;
            }
            if self.exchange.front_ready() {
                // The source may take long, so what is ready goes out before the source is asked again.
                self.delivery.plan = self.exchange.collect(&mut self.delivery.ready);
            } else if self.may_pull() {
                self.pull(crew, usize::MAX);
            } else if self.delivery.out > 0 {
                let (plan, pullers) = self.exchange.waiting(|| self.exchange.wait(&mut self.delivery.ready));
                self.delivery.plan = plan;
                self.start_pullers(crew, pullers);
            }
            // Else a token has just stopped the call, and the next turn of this loop sees it.
        }
        true
    }

    /// All results.
    fn into_vec(mut self) -> Vec<W::Output> {
        let room = MOST_RESERVED / size_of::<W::Output>().max(1);
        let mut results = Vec::with_capacity(self.size_hint().0.min(room));
        match self.crew {
            None => results.extend(self),
            Some(crew) => {
                while self.advance(crew) {
                    results.extend(mem::take(&mut self.delivery.current));
                }
            }
        }
        results
    }

    fn may_pull(&self) -> bool {
        self.delivery.source.is_open()
            && self.exchange.goes_on()
            && self.delivery.in_flight() < self.delivery.plan.in_flight
    }

    /// Pulls one block from the source, of `most` items at most, and queues it. Returns how long the source took.
    fn pull(&mut self, crew: Crew<'_, 's>, most: usize) -> Duration {
        let Self { source, delivery, .. } = self;
        let block = delivery.plan.block;
        let want = block.items.min(delivery.plan.in_flight - delivery.in_flight()).min(most);
        let mut items = Vec::with_capacity(want.min(block.capacity));
        let start = Instant::now();
        let mut took = Duration::ZERO;
        // `next` is user code, on the user's own thread. It may panic: the items before are kept, and the panic takes its
        // place behind their results.
        let outcome = panic::catch(|| {
            while items.len() < want && took < block.time {
                let look = block.look.min(want - items.len());
                let before = items.len();
                items.extend(source.by_ref().take(look));
                took = start.elapsed();
                if items.len() - before < look {
                    return true;
                }
            }
            false
        });
        let first = delivery.pulled;
        delivery.pulled += items.len() as u64;
        delivery.out += items.len();
        match outcome {
            Ok(false) => {}
            Ok(true) => delivery.source = SourceState::Ended,
            Err(payload) => delivery.source = SourceState::Panicked(payload),
        }
        let last = !delivery.source.is_open() || items.len() == most;
        let (plan, pullers) = self.exchange.submit(first, items.into_iter(), took, last);
        delivery.plan = plan;
        self.start_pullers(crew, pullers);
        took
    }

    fn start_pullers(&self, crew: Crew<'_, 's>, pullers: usize) {
        for _ in 0..pullers {
            start_puller(crew, self.exchange);
        }
    }

    /// Pulls the next batch and waits until it is done.
    fn run_batch(&mut self, crew: Crew<'_, 's>) {
        let mut missing = self.delivery.plan.batch.saturating_mul(self.delivery.batch);
        let mut took = Duration::ZERO;
        while missing > 0 && took < LONGEST_FILL && self.may_pull() {
            let before = self.delivery.pulled;
            took += self.pull(crew, missing);
            missing -= usize::try_from(self.delivery.pulled - before).expect("BUG: a batch larger than memory");
        }
        self.exchange.close();
        loop {
            match self.exchange.waiting(|| self.exchange.wait_for_all()) {
                0 => break,
                pullers => self.start_pullers(crew, pullers),
            }
        }
    }

    /// The next result where there are no workers: what is at hand, or one item pulled and run on this thread.
    fn run_here(&mut self) -> Option<W::Output> {
        if self.delivery.advance() {
            return self.delivery.current.next();
        }
        if self.delivery.finished(self.exchange.brake.is_cancelled()) {
            return None;
        }
        // Should the source panic, the iterator is over.
        self.delivery.over = true;
        let item = self.exchange.pull_here(|| self.source.next());
        self.delivery.over = false;
        let Some(item) = item else {
            self.delivery.source = SourceState::Ended;
            return None;
        };
        let index = self.delivery.pulled;
        self.delivery.pulled += 1;
        match self.exchange.run_here(index, item) {
            Ok(result) => Some(result),
            Err(panic) => self.delivery.fail(panic),
        }
    }
}

impl<'s, I, W> Iterator for Stream<'_, '_, 's, I, W>
where
    I: Iterator,
    I::Item: Send + 's,
    W: Work<I::Item>,
{
    type Item = W::Output;

    #[inline]
    fn next(&mut self) -> Option<W::Output> {
        loop {
            if let Some(result) = self.delivery.current.next() {
                return Some(result);
            }
            let Some(crew) = self.crew else {
                return self.run_here();
            };
            if !self.advance(crew) {
                return None;
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.delivery.size_hint(self.source)
    }

    fn fold<A, G>(mut self, init: A, mut g: G) -> A
    where
        G: FnMut(A, W::Output) -> A,
    {
        let mut folded = init;
        while let Some(result) = self.next() {
            folded = g(folded, result);
            // The rest of a chunk needs no look at anything else.
            for result in self.delivery.current.by_ref() {
                folded = g(folded, result);
            }
        }
        folded
    }
}

fn start_puller<'s, B, W>(crew: Crew<'_, 's>, exchange: &'s Exchange<B, W>)
where
    B: Block + Send,
    W: Work<B::Item>,
{
    crew.spawn(move |crew| exchange.pull(|| start_puller(crew, exchange)));
}

/// How far a source is.
enum SourceState {
    Open,
    /// It gave `None`, and is not asked again.
    Ended,
    /// It panicked, and is not asked again. The panic's turn comes after every result.
    Panicked(Payload),
}

/// What the caller keeps of a call: how far it is, and what is at hand.
struct Delivery<R> {
    /// Where its traces go.
    outlet: Outlet,
    /// The results whose turn it is.
    current: vec::IntoIter<R>,
    /// What finished after them, in order.
    ready: VecDeque<Done<R>>,
    /// The panic whose turn it is after `current`; nothing behind it is delivered.
    failure: Option<TaskPanic>,
    /// The items of the present chunk that gave no result because of `failure`.
    lost: usize,
    /// A token has left a gap after `current`: nothing behind it is delivered.
    cut: bool,
    /// Items pulled so far, so also the index of the next one.
    pulled: u64,
    /// Items whose chunk has not become `current` yet.
    out: usize,
    /// Whether the source is to be asked again.
    source: SourceState,
    /// Nothing more is delivered, whatever is left.
    over: bool,
    /// A panic of an item was raised: other panics of the call are mentioned as such.
    raised: bool,
    /// How large the next batch is: so many times the smallest one.
    batch: usize,
    /// How much to pull, as last computed from the measurements.
    plan: Plan,
}

impl SourceState {
    fn is_open(&self) -> bool {
        matches!(self, SourceState::Open)
    }
}

impl<R> Delivery<R> {
    fn new(outlet: Outlet) -> Self {
        Delivery {
            outlet,
            current: Vec::new().into_iter(),
            ready: VecDeque::new(),
            failure: None,
            lost: 0,
            cut: false,
            pulled: 0,
            out: 0,
            source: SourceState::Open,
            over: false,
            raised: false,
            batch: 1,
            plan: Plan::default(),
        }
    }

    /// Items pulled and not yet delivered.
    fn in_flight(&self) -> usize {
        self.out + self.current.len() + self.lost
    }

    fn size_hint<I: Iterator>(&self, source: &I) -> (usize, Option<usize>) {
        if self.over {
            return (0, Some(0));
        }
        let (low, high) = if self.source.is_open() { source.size_hint() } else { (0, Some(0)) };
        let here = self.in_flight();
        (low.saturating_add(here), high.and_then(|high| high.checked_add(here)))
    }

    /// Makes `current` hold a result from what is ready; false if nothing is. Raises a panic whose turn has come.
    fn advance(&mut self) -> bool {
        while self.current.len() == 0 {
            if let Some(panic) = self.failure.take() {
                self.fail(panic);
            }
            if mem::take(&mut self.cut) {
                self.over = true;
                self.settle();
            }
            let Some(done) = self.ready.pop_front() else { return false };
            panic::tell_by(self.outlet, done.notes.concat());
            self.out -= done.items;
            self.lost = done.items - done.results.len();
            self.cut = self.lost > 0 && done.panic.is_none();
            self.failure = done.panic;
            self.current = done.results.into_iter();
        }
        true
    }

    /// True if nothing is left to wait for. Raises the panic of the source when its turn has come.
    fn finished(&mut self, cancelled: bool) -> bool {
        if !self.over && self.out == 0 && (cancelled || !self.source.is_open()) {
            self.over = true;
            if let SourceState::Panicked(payload) = mem::replace(&mut self.source, SourceState::Ended) {
                panic::resume(payload);
            }
        }
        self.over
    }

    /// Prints the trace and raises the panic again: the sequential loop would have stopped here.
    fn fail(&mut self, panic: TaskPanic) -> ! {
        self.over = true;
        self.raised = true;
        panic.report();
        self.settle();
        panic.resume()
    }

    /// Batches grow until they keep the workers busy for nine tenths of the time, by as much as is missing to that.
    fn grow_batch(&mut self, took: Duration, workers: usize) {
        let busy: Duration = self.ready.iter().map(|done| done.busy).sum();
        let needed = took.mul_f32(0.9) * u32::try_from(workers).unwrap_or(u32::MAX);
        if busy < needed {
            let factor = needed.as_nanos().div_ceil(busy.as_nanos().max(1));
            self.batch = self.batch.saturating_mul(usize::try_from(factor).unwrap_or(usize::MAX).clamp(2, 16));
        }
    }

    /// Drops what will not be delivered any more, and mentions the panics in it.
    fn settle(&mut self) {
        panic::contain_all(mem::take(&mut self.current));
        let mut panics: Vec<_> = self.failure.take().into_iter().collect();
        for done in self.ready.drain(..) {
            panic::tell_by(self.outlet, done.notes.concat());
            panics.extend(done.panic);
            panic::contain_all(done.results);
        }
        panic::mention(panics, self.raised);
    }
}

impl<R> Drop for Delivery<R> {
    fn drop(&mut self) {
        self.settle();
        panic::contain(mem::replace(&mut self.source, SourceState::Ended));
    }
}
