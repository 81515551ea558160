//! A call at work: the source is pulled, the items are queued, the results are delivered in order.
//!
//! A [`Stream`] is an iterator over the results while the workers run, for whoever holds the whole call; or it runs one
//! batch. What is left over between two batches is the [`Delivery`].

use crate::base::event::Event;
use crate::base::sync::{MutexGuard, thread};
use crate::engine::block::{Block, Queued};
use crate::engine::call::{CallState, Locked, WATCH_AFTER};
use crate::engine::inbox::{Chunked, Inbox};
use crate::engine::run_chunk::Done;
use crate::engine::sizing::{BlockPlan, Plan, Sizer};
use crate::engine::source::{Clock, Source, SourceState};
use crate::engine::state::caller::{CallerPulls, Demand};
use crate::engine::state::{State, Until};
use crate::engine::stop::StopFlag;
use crate::engine::window::Window;
use crate::engine::work::{Work, WorkOn};
use crate::observe::ObserverRef;
use crate::panics::{self, Call, Payload, TaskPanic, TraceSink};
use crate::threads::job_queue::Interrupt;
use crate::threads::lease::WaitingLease;
use crate::threads::workers_scope::{self, Lent, WorkersScope};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{mem, vec};

/// A batch is not filled any further once its source alone has taken this long.
const LONGEST_FILL: Duration = Duration::from_millis(20);

/// No more bytes than these are set aside on the word of a source, which may be wrong.
const MOST_RESERVED: usize = 64 << 20;

/// For so long after the start of a call its caller stays awake, though it gives way to whoever wants its core: what is done
/// by then need not wake it, which takes tens of microseconds.
const AWAKE: Duration = Duration::from_micros(20);

/// What caller and workers of a call share.
pub(crate) type CallerState<B, W> = CallState<B, W, CallerPulls>;

impl<B: Block, W: Work> CallerState<B, W> {
    /// A call whose caller pulls the source.
    pub(crate) fn start(
        work: W,
        call: Arc<Call>,
        workers: usize,
        sizer: Sizer,
        stop: Arc<StopFlag>,
        pool_watch: Option<Box<ObserverRef<'static>>>,
    ) -> Self {
        let state = State::new(Window::new(), sizer, workers, CallerPulls::default());
        CallState::new(work, call, workers, stop, pool_watch, state)
    }

    /// Begins a stretch in which the workers are at work.
    pub(crate) fn open(&self) -> Plan {
        self.lock().open(Instant::now())
    }

    /// The caller wants more than the next result.
    fn demand(&self, demand: Demand) {
        self.lock().demand(demand);
    }

    /// No more items will be queued in this stretch.
    fn close(&self) {
        self.lock().close();
    }

    /// Ends the stretch when all jobs have left: moves what finished to `ready`, drops what nobody took, and gives how
    /// long it took.
    pub(crate) fn shut(&self, ready: &mut VecDeque<Done<W::Output>>) -> Duration {
        let mut state = self.lock();
        state.demand(Demand::All);
        let (queued, took) = state.shut(Instant::now());
        state.take_ready(ready);
        self.apply_here(&mut state);
        drop(state);
        queued.into_iter().for_each(Queued::abandon);
        took
    }

    /// Lets nothing more start: the caller wants no more results.
    fn stop(&self) {
        self.stop.stop_at(0);
        let queued = self.lock().stop();
        queued.into_iter().for_each(Queued::abandon);
    }

    /// Queues items, `first` being the index of the first. Gives how many jobs the caller has to start.
    fn submit(&self, first: u64, items: B, pull: Duration, last: bool) -> (Plan, usize) {
        for watch in self.watches() {
            watch.pulled(items.size(), pull);
        }
        let mut state = self.lock();
        let plan = state.submit(first, items, pull, last, Instant::now());
        (plan, self.apply(&mut state))
    }

    /// Notes how long the source took for items that were queued one by one. Gives how many jobs the caller has to start.
    fn end_pull(&self, items: usize, took: Duration, last: bool) -> (Plan, usize) {
        for watch in self.watches() {
            watch.pulled(items, took);
        }
        let mut state = self.lock();
        let plan = state.end_pull(items, took, last, Instant::now());
        (plan, self.apply(&mut state))
    }

    /// Moves what is ready at the front of the line to `ready`.
    fn collect(&self, ready: &mut VecDeque<Done<W::Output>>, scope: WorkersScope<'_>) -> Plan {
        let mut state = self.lock();
        self.take_ready(&mut state, ready, scope);
        state.plan(Instant::now())
    }

    /// Waits until the front of the line is ready, and moves what is ready to `ready`; or until more is to be pulled, where the
    /// caller says how many items are in flight and may pull. Something has to be in flight.
    fn wait(&self, ready: &mut VecDeque<Done<W::Output>>, pulls: Option<usize>, scope: WorkersScope<'_>) -> Plan {
        let mut state = self.lock();
        let wants_more = |state: &Locked<'_, _, _, CallerPulls>| {
            pulls.is_some_and(|in_flight| self.goes_on() && state.wants_more(in_flight, Instant::now()))
        };
        self.take_ready(&mut state, ready, scope);
        let elapsed = state.elapsed(Instant::now());
        if ready.is_empty() && elapsed < AWAKE {
            self.sleep(&mut state, Until::Dry, |event| stay_awake(event, AWAKE.saturating_sub(elapsed)));
            self.take_ready(&mut state, ready, scope);
        }
        if let Some(nap) = state.nap(Instant::now()).filter(|_| ready.is_empty() && !wants_more(&state)) {
            self.sleep(&mut state, Until::Dry, |event| {
                event.wait_for(nap);
            });
            self.take_ready(&mut state, ready, scope);
        }
        while ready.is_empty() && !wants_more(&state) {
            if !self.give_up_if_cancelled(&mut state) {
                self.sleep_while_watched(&mut state, Until::Front, scope);
            }
            self.take_ready(&mut state, ready, scope);
        }
        state.plan(Instant::now())
    }

    /// Waits until everything queued is done, or the call is cancelled.
    fn wait_for_all(&self, scope: WorkersScope<'_>) {
        let mut state = self.lock();
        while state.is_at_work() {
            if !self.give_up_if_cancelled(&mut state) {
                self.sleep_while_watched(&mut state, Until::Dry, scope);
            }
        }
    }

    /// Once a token has stopped the call, nothing waits for a worker any more; true if something did.
    fn give_up_if_cancelled(&self, state: &mut Locked<'_, B, W::Output, CallerPulls>) -> bool {
        if !self.stop.is_cancelled() {
            return false;
        }
        let items = state.give_up_queued();
        let gave_up = !items.is_empty();
        MutexGuard::unlocked(state, || items.into_iter().for_each(Queued::abandon));
        gave_up
    }

    /// Waits at the event of the caller, without the lock, for what `until` says, unless that is there.
    fn sleep(&self, state: &mut Locked<'_, B, W::Output, CallerPulls>, until: Until, wait: impl FnOnce(&Event)) {
        if state.begin_wait(until) {
            self.apply_here(state);
            MutexGuard::unlocked(state, || wait(&self.stop.consumer));
            state.end_wait();
        }
    }

    /// The same for as long as it takes. After a while, idle workers share what the jobs have given to rayon.
    fn sleep_while_watched(
        &self,
        state: &mut Locked<'_, B, W::Output, CallerPulls>,
        until: Until,
        scope: WorkersScope<'_>,
    ) {
        self.sleep(state, until, |event| {
            if !event.wait_for(WATCH_AFTER) {
                let _watched = scope.watch_rayon();
                event.wait();
            }
        });
    }

    /// Moves what is ready at the front of the line to `ready`.
    fn take_ready(
        &self,
        state: &mut Locked<'_, B, W::Output, CallerPulls>,
        ready: &mut VecDeque<Done<W::Output>>,
        scope: WorkersScope<'_>,
    ) {
        state.take_ready(ready);
        self.apply_all(state, scope);
    }
}

/// Gives way to others until the event is set, for so long at most.
fn stay_awake(event: &Event, time: Duration) {
    let start = Instant::now();
    while !event.is_set() && start.elapsed() < time {
        thread::yield_now();
    }
}

impl<B: Block<Item: Send> + Send, W: WorkOn<B::Item>> CallerState<B, W> {
    /// Asks the source for so many items, and queues each before it asks for the next, so that none waits for a source that
    /// pauses. Says how many there were, how long it took, and how far the source is.
    fn queue_each(
        &self,
        first: u64,
        want: usize,
        block: BlockPlan,
        mut next: impl FnMut() -> Option<B::Item>,
        scope: WorkersScope<'_>,
    ) -> (usize, Duration, SourceState) {
        let mut clock = Clock::start(block);
        let mut count = 0;
        let mut state = self.lock();
        state.begin_pull();
        let open = Arc::clone(state.open_block());
        self.apply_all(&mut state, scope);
        drop(state);
        let outcome = panics::catch(|| {
            while count < want && self.goes_on() && clock.has_time(count) {
                let Some(item) = next() else { return SourceState::Ended };
                if let Err(item) = self.queue_one(&open, first + count as u64, item, block.items, scope) {
                    panics::contain(item);
                    break;
                }
                count += 1;
            }
            SourceState::Open
        });
        (count, clock.took(), outcome.unwrap_or_else(SourceState::Panicked))
    }
}

impl<B: Block<Item: Send> + Send, W: WorkOn<B::Item>> Lent for CallerState<B, W> {
    fn work(&self, scope: &WorkersScope<'_>) {
        self.run(scope, |_| unreachable!("BUG: the caller takes what comes late"));
    }

    fn interrupt(&self) -> Option<Arc<dyn Interrupt>> {
        Some(Arc::clone(&self.stop) as _)
    }
}

/// Hands the results to `consume` while the workers of `lease` go on; returns when all of them have left. A panic of the
/// consumer, or one of ours that went through it, is the caller's to raise.
pub(crate) fn run<S, W, B>(
    source: &mut S,
    lease: WaitingLease,
    shared: &CallerState<S::Block, W>,
    delivery: &mut Delivery<W::Output>,
    consume: impl FnOnce(Stream<'_, S, W>) -> B,
) -> Result<B, Payload>
where
    S: Source<Item: Send, Block: Send>,
    W: WorkOn<S::Item>,
{
    delivery.plan = shared.open();
    let outcome = workers_scope::lend(lease.queue(), shared, |scope| {
        let stream = Stream { source, shared, delivery: &mut *delivery, scope: Some(scope) };
        let outcome = panics::catch(|| consume(stream));
        shared.stop();
        outcome
    });
    shared.shut(&mut delivery.ready);
    drop(lease);
    delivery.settle();
    outcome
}

/// The results of one call while its workers are at work.
pub(crate) struct Stream<'a, S: Source, W: Work> {
    pub(crate) source: &'a mut S,
    pub(crate) shared: &'a CallerState<S::Block, W>,
    pub(crate) delivery: &'a mut Delivery<W::Output>,
    /// The way to the workers; without one every item runs here, on the thread that asks.
    pub(crate) scope: Option<WorkersScope<'a>>,
}

impl<S, W> Stream<'_, S, W>
where
    S: Source<Item: Send, Block: Send>,
    W: WorkOn<S::Item>,
{
    /// Makes the inbox hold a result; false if there are no more.
    pub(crate) fn advance(&mut self, scope: WorkersScope<'_>) -> bool {
        while !self.delivery.advance() {
            if self.delivery.finished(self.shared.stop.is_cancelled()) {
                return false;
            }
            if self.shared.front_ready() {
                // The source may take long, so what is ready goes out before the source is asked again.
                self.delivery.plan = self.shared.collect(&mut self.delivery.ready, scope);
            } else if self.may_pull() {
                self.pull(scope, usize::MAX);
            } else if self.delivery.out > 0 {
                let delivery = &mut *self.delivery;
                let pulls = delivery.source.is_open().then(|| delivery.in_flight());
                delivery.plan = self.shared.waiting(|| self.shared.wait(&mut delivery.ready, pulls, scope));
            }
            // Else a token has just stopped the call, and the next turn of this loop sees it.
        }
        // However long the consumer takes for these results, the workers do not run dry meanwhile.
        while self.delivery.plan.source_is_quick && self.may_pull() {
            self.pull(scope, usize::MAX);
        }
        true
    }

    /// All results.
    pub(crate) fn into_vec(mut self) -> Vec<W::Output> {
        let room = MOST_RESERVED / size_of::<W::Output>().max(1);
        let mut results = Vec::with_capacity(self.size_hint().0.min(room));
        match self.scope {
            None => results.extend(self),
            Some(scope) => {
                self.shared.demand(Demand::All);
                while self.advance(scope) {
                    results.extend(mem::take(&mut self.delivery.inbox.current));
                }
            }
        }
        results
    }

    fn may_pull(&self) -> bool {
        let plan = &self.delivery.plan;
        self.delivery.source.is_open()
            && self.shared.goes_on()
            && self.delivery.in_flight() < plan.in_flight
            && plan.queue_room > 0
    }

    /// Pulls one block from the source, of `most` items at most, and queues it. Returns how long the source took.
    fn pull(&mut self, scope: WorkersScope<'_>, most: usize) -> Duration {
        let Self { source, delivery, shared, .. } = self;
        let Plan { block, in_flight, queue_room, queues_each, is_untimed, .. } = delivery.plan;
        let known_len = source.known_len();
        let items = if is_untimed && known_len.is_some() { in_flight } else { block.items };
        let want = items.min(in_flight - delivery.in_flight()).min(queue_room).min(most);
        let first = delivery.pulled;
        let (count, took, plan, jobs);
        if queues_each && known_len.is_none() {
            (count, took, delivery.source) = shared.queue_each(first, want, block, || source.pull_one(), scope);
            let last = !delivery.source.is_open() || count == most;
            (plan, jobs) = shared.end_pull(count, took, last);
        } else {
            let pulled = source.pull(want, block);
            (count, took, delivery.source) = (pulled.items.size(), pulled.took, pulled.state);
            // The rest is shared out once it is all there, though the source has not said so itself.
            let last = !delivery.source.is_open() || count == most || known_len == Some(count);
            (plan, jobs) = shared.submit(first, pulled.items, took, last);
        }
        delivery.pulled += count as u64;
        delivery.out += count;
        delivery.plan = plan;
        start(scope, jobs);
        took
    }

    /// Pulls the next batch and waits until it is done.
    pub(crate) fn run_batch(&mut self, scope: WorkersScope<'_>) {
        self.shared.demand(Demand::Batch);
        let mut missing = self.delivery.plan.batch.saturating_mul(self.delivery.batch);
        let mut took = Duration::ZERO;
        while missing > 0 && took < LONGEST_FILL && self.may_pull() {
            let before = self.delivery.pulled;
            took += self.pull(scope, missing);
            missing -= usize::try_from(self.delivery.pulled - before).expect("BUG: a batch larger than memory");
        }
        self.shared.close();
        self.shared.waiting(|| self.shared.wait_for_all(scope));
    }

    /// The next result where there are no workers: what is at hand, or one item pulled and run on this thread.
    pub(crate) fn run_here(&mut self) -> Option<W::Output> {
        if self.delivery.advance() {
            return self.delivery.inbox.current.next();
        }
        if self.delivery.finished(self.shared.stop.is_cancelled()) {
            return None;
        }
        // Should the source panic, the iterator is over.
        self.delivery.over = true;
        let item = self.shared.pull_here(|| self.source.pull_one());
        self.delivery.over = false;
        let Some(item) = item else {
            self.delivery.source = SourceState::Ended;
            return None;
        };
        let index = self.delivery.pulled;
        self.delivery.pulled += 1;
        match self.shared.run_here(index, item) {
            Ok(result) => Some(result),
            Err(panic) => {
                self.delivery.inbox.report(&panic);
                self.delivery.fail(panic)
            }
        }
    }
}

impl<S, W> Chunked<W::Output> for Stream<'_, S, W>
where
    S: Source<Item: Send, Block: Send>,
    W: WorkOn<S::Item>,
{
    fn current(&mut self) -> &mut vec::IntoIter<W::Output> {
        &mut self.delivery.inbox.current
    }

    fn refill(&mut self) -> Option<W::Output> {
        match self.scope {
            Some(scope) => self.advance(scope).then(|| self.delivery.inbox.current.next()).flatten(),
            None => self.run_here(),
        }
    }
}

impl<S, W> Iterator for Stream<'_, S, W>
where
    S: Source<Item: Send, Block: Send>,
    W: WorkOn<S::Item>,
{
    type Item = W::Output;

    #[inline]
    fn next(&mut self) -> Option<W::Output> {
        self.next_result()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.delivery.size_hint(self.source)
    }

    fn fold<A, G>(mut self, init: A, g: G) -> A
    where
        G: FnMut(A, W::Output) -> A,
    {
        self.fold_results(init, g)
    }
}

fn start(scope: WorkersScope<'_>, jobs: usize) {
    (0..jobs).for_each(|_| scope.spawn());
}

/// What the caller keeps of a call: how far it is, and what is at hand.
pub(crate) struct Delivery<R> {
    /// The chunk whose turn it is.
    pub(crate) inbox: Inbox<R>,
    /// What finished after it, in order.
    pub(crate) ready: VecDeque<Done<R>>,
    /// Items pulled so far, so also the index of the next one.
    pub(crate) pulled: u64,
    /// Items whose chunk has not come to `inbox` yet.
    out: usize,
    /// Whether the source is to be asked again.
    source: SourceState,
    /// Nothing more is delivered, whatever is left.
    pub(crate) over: bool,
    /// A token has ended the call before all that was pulled was delivered.
    has_lost: bool,
    /// A token has ended the call before the source did.
    has_left: bool,
    /// How large the next batch is: so many times the smallest one.
    batch: usize,
    /// How much to pull, as last computed from the measurements.
    pub(crate) plan: Plan,
}

impl<R> Delivery<R> {
    pub(crate) fn new(trace_sink: TraceSink) -> Self {
        Delivery {
            inbox: Inbox::new(trace_sink, true),
            ready: VecDeque::new(),
            pulled: 0,
            out: 0,
            source: SourceState::Open,
            over: false,
            has_lost: false,
            has_left: false,
            batch: 1,
            plan: Plan::default(),
        }
    }

    /// Items pulled and not yet delivered.
    fn in_flight(&self) -> usize {
        self.out + self.inbox.in_flight()
    }

    pub(crate) fn size_hint(&self, source: &impl Source) -> (usize, Option<usize>) {
        if self.over {
            return (0, Some(0));
        }
        let (low, high) = if self.source.is_open() { source.size_hint() } else { (0, Some(0)) };
        let here = self.in_flight();
        (low.saturating_add(here), high.and_then(|high| high.checked_add(here)))
    }

    /// Makes the inbox hold a result from what is ready; false if nothing is. Raises a panic whose turn has come.
    pub(crate) fn advance(&mut self) -> bool {
        while self.inbox.current.len() == 0 {
            if let Some(panic) = self.inbox.take_failure() {
                self.fail(panic);
            }
            if self.inbox.take_gap() {
                self.over = true;
                self.has_lost = true;
                self.settle();
            }
            let Some(done) = self.ready.pop_front() else { return false };
            self.out -= done.items;
            self.inbox.take_in(done);
        }
        true
    }

    /// True if nothing is left to wait for. Raises the panic of the source when its turn has come.
    pub(crate) fn finished(&mut self, cancelled: bool) -> bool {
        if !self.over && self.out == 0 && (cancelled || !self.source.is_open()) {
            self.over = true;
            self.has_left = self.source.is_open();
            if let SourceState::Panicked(payload) = mem::replace(&mut self.source, SourceState::Ended) {
                panics::resume(payload);
            }
        }
        self.over
    }

    /// Whether a token has ended the call, and `source` may have had more. Known once there are no more results.
    pub(crate) fn was_cut_short(&self, source: &impl Source) -> bool {
        self.has_lost || (self.has_left && source.size_hint().1 != Some(0))
    }

    /// Raises a panic that was reported: the sequential loop would have stopped here.
    fn fail(&mut self, panic: TaskPanic) -> ! {
        self.over = true;
        self.settle();
        panic.resume()
    }

    /// Batches grow until they keep the workers busy for nine tenths of the time, by as much as is missing to that.
    pub(crate) fn grow_batch(&mut self, took: Duration, workers: usize) {
        let busy: Duration = self.ready.iter().map(|done| done.busy).sum();
        let needed = took.mul_f32(0.9) * u32::try_from(workers).unwrap_or(u32::MAX);
        if busy < needed {
            let factor = needed.as_nanos().div_ceil(busy.as_nanos().max(1));
            self.batch = self.batch.saturating_mul(usize::try_from(factor).unwrap_or(usize::MAX).clamp(2, 16));
        }
    }

    /// Drops what will not be delivered any more, and mentions the panics in it.
    pub(crate) fn settle(&mut self) {
        self.inbox.settle(self.ready.drain(..));
    }
}

impl<R> Drop for Delivery<R> {
    fn drop(&mut self) {
        self.settle();
        panics::contain(mem::replace(&mut self.source, SourceState::Ended));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PoolIterator;
    use crate::engine::source::Plain;

    fn done(results: Vec<u32>, items: usize, busy: u64) -> Done<u32> {
        Done { results, items, panic: None, deferred: Vec::new(), busy: Duration::from_millis(busy) }
    }

    #[test]
    fn a_batch_grows_by_what_the_workers_lack() {
        // Nine tenths of 10 ms on two workers are 18 ms.
        for (busy, batch) in [(&[20][..], 1), (&[9, 10], 1), (&[17], 2), (&[3, 3], 3), (&[], 16)] {
            let mut delivery = Delivery::new(TraceSink::Stderr);
            delivery.ready.extend(busy.iter().map(|&busy| done(Vec::new(), 0, busy)));
            delivery.grow_batch(Duration::from_millis(10), 2);
            assert_eq!(delivery.batch, batch, "{busy:?}");
            delivery.grow_batch(Duration::from_millis(10), 2);
            assert_eq!(delivery.batch, batch * batch, "{busy:?}");
        }
    }

    #[test]
    fn room_for_results_of_a_known_number_is_made_once() {
        let squares: Vec<u32> = (0..100).pool_map(2, |x| x * x).collect();
        assert_eq!((squares.len(), squares.capacity()), (100, 100));
    }

    #[test]
    fn what_is_out_at_hand_and_lost_counts_as_in_flight() {
        let mut delivery = Delivery::new(TraceSink::Stderr);
        delivery.pulled = 10;
        delivery.out = 7;
        delivery.ready.push_back(done(vec![0, 1], 2, 0));
        assert!(delivery.advance());
        assert_eq!((delivery.out, delivery.inbox.current.len(), delivery.inbox.in_flight()), (5, 2, 2));
        assert_eq!((delivery.in_flight(), delivery.size_hint(&Plain(0..30))), (7, (37, Some(37))));
        delivery.source = SourceState::Ended;
        assert_eq!(delivery.size_hint(&Plain(0..30)), (7, Some(7)));
        assert_eq!(delivery.inbox.current.by_ref().count(), 2);
        assert!(!delivery.advance() && !delivery.finished(false), "five are still out");
        // A chunk that was cut short: its results are delivered, and nothing behind it.
        delivery.ready.push_back(done(vec![2], 3, 0));
        delivery.ready.push_back(done(vec![5, 6], 2, 0));
        assert!(delivery.advance());
        assert_eq!((delivery.out, delivery.inbox.in_flight(), delivery.in_flight()), (2, 3, 5));
        assert_eq!(delivery.inbox.current.next(), Some(2));
        assert!(!delivery.advance() && delivery.finished(true));
        assert_eq!(delivery.size_hint(&Plain(0..30)), (0, Some(0)));
    }
}
