//! The feeder's way to run a call: the source is pulled ahead of the consumer, on a thread of its own.
//!
//! The **feeder** pulls the source, one item at a time, while there is room. Each item is at once where a
//! worker can take it, so none ever waits for the source to give the next. **Jobs** on the workers take what
//! is there, a chunk at a time, run it, and put the results into their place in the line. The **consumer** takes them from
//! the front. Nobody holds the lock while user code runs: `next` of the source, `f`, any destructor.

use crate::base::sync::{Mutex, MutexGuard, rounds_awake, thread};
use crate::engine::block::Queued;
use crate::engine::call::{CallState, Locked, WATCH_AFTER};
use crate::engine::inbox::Inbox;
use crate::engine::sizing::Sizer;
use crate::engine::source::SourceState;
use crate::engine::state::feeder::{Feed, FeederPulls, Pull, Turn};
use crate::engine::state::{Late, State, Until};
use crate::engine::stop::StopFlag;
use crate::engine::work::{Work, WorkOn};
use crate::observe::{self, CallerRole, ObserverRef};
use crate::panics::{self, Call, TaskPanic};
use crate::threads::job_queue::{Interrupt, JobQueue};
use crate::threads::lease::Lease;
use crate::threads::pool::Pool;
use crate::threads::wait_graph::{PoolId, WaitPermit};
use crate::threads::workers_scope::{self, Holders, Lent, Shared, WorkersScope};
use std::any::Any;
use std::sync::{Arc, OnceLock, Weak};
use std::task::Waker;
use std::time::Instant;
use std::vec;

/// How often the consumer gives way at the end of a stream before it waits for the others to let go.
const ROUNDS_AWAKE: u32 = rounds_awake(16);

/// How long the consumer waits for what comes next.
pub(crate) enum Patience {
    Endless,
    /// Until then, if nothing comes before; and it runs nothing itself.
    Until(Instant),
    /// Not at all: it is woken.
    Polled {
        /// Taken when it is to be woken.
        waker: Option<Waker>,
        /// What it may wait for the pool by, from now to the next poll.
        permit: Option<WaitPermit>,
    },
}

/// A block of a stream: its items were pulled one by one.
type Items<T> = vec::IntoIter<T>;

/// Where the lease of a stream lies from its start until the consumer takes it away.
pub(crate) type LeaseSlot = Mutex<Option<Lease>>;

/// What one stream's threads share.
pub(crate) struct StreamState<T, W: Work> {
    shared: CallState<Items<T>, W, FeederPulls>,
    /// A leased pool, kept by each job until it has left: the next lease is to have it alone. Not by the feeder, whose source
    /// may block for ever.
    kept: OnceLock<Weak<LeaseSlot>>,
    /// The jobs of the workers, from the start on. Not the pool: the feeder, which may block for ever, is not to keep that.
    pool: OnceLock<(PoolId, Arc<JobQueue>)>,
}

impl<T, W: Work> StreamState<T, W> {
    pub(crate) fn new(
        work: W,
        call: Arc<Call>,
        workers: usize,
        sizer: Sizer,
        ordered: bool,
        stop: Arc<StopFlag>,
        pool_watch: Option<Box<ObserverRef<'static>>>,
    ) -> Self {
        let state = State::stream(sizer, workers, ordered);
        let shared = CallState::new(work, call, workers, stop, pool_watch, state);
        StreamState { shared, kept: OnceLock::new(), pool: OnceLock::new() }
    }

    /// Keeps the lease in `slot` until the last job of this stream has ended.
    pub(crate) fn keep(&self, slot: &Arc<LeaseSlot>) {
        self.kept.get_or_init(|| Arc::downgrade(slot));
    }

    /// Runs on the workers of `pool`, which [is usable](Pool::is_usable).
    pub(crate) fn set_pool(&self, pool: &Pool) {
        let id = pool.id().expect("BUG: a stream that is fed has workers");
        self.pool.get_or_init(|| (id, Arc::clone(pool.queue())));
    }

    pub(crate) fn stop_flag(&self) -> &Arc<StopFlag> {
        &self.shared.stop
    }

    /// Tells those who watch that the stream starts, and lets its feeder begin, which waits for that. `fed` says whether it
    /// has one.
    pub(crate) fn open(&self, size_hint: (usize, Option<usize>), fed: bool) {
        let watches = self.shared.watches();
        if watches.is_empty() {
            return;
        }
        let (workers, part) = if fed { (self.shared.workers(), CallerRole::Results) } else { (1, CallerRole::Both) };
        for watch in watches {
            watch.start(&self.shared.call, workers, size_hint, part);
        }
        self.shared.stop.feeder.set();
    }

    /// Tells them that it is over: the consumer is done with it, and no item runs. Gives what there is to print of that.
    fn finish(&self) -> String {
        let watches = self.shared.watches();
        if watches.is_empty() {
            return String::new();
        }
        // As a job, since on a worker nothing else may print.
        let call = Arc::new(self.shared.call.without_items());
        panics::run_job(&call, 0, |_| watches.into_iter().for_each(ObserverRef::finish)).deferred.concat()
    }

    /// No worker is to come any more.
    fn withdraw_jobs(&self) {
        if let Some((_, queue)) = self.pool.get() {
            queue.withdraw(workers_scope::owner_of(self));
        }
    }

    /// Nobody waits for the stream as a future any more.
    pub(crate) fn wake_no_more(&self) {
        panics::contain(self.shared.stop.consumer.wake_no_more());
    }

    /// Lets nothing more start and drops what is left, for the consumer wants nothing more. What runs goes on, and so does
    /// the source's `next`. `inbox` is what the consumer has of it.
    pub(crate) fn stop(&self, inbox: &mut Inbox<W::Output>) {
        self.shared.stop.stop_at(0);
        let mut state = self.shared.lock();
        let (items, line, source) = state.stop_stream();
        let is_over = state.is_drained();
        self.shared.apply_here(&mut state);
        drop(state);
        self.withdraw_jobs();
        items.into_iter().for_each(Queued::abandon);
        inbox.settle(line);
        panics::contain(source);
        // Else whoever runs the last item does.
        if is_over {
            panics::emit(self.shared.call.trace_sink(), self.finish());
        }
    }
}

impl<T, W: WorkOn<T>> StreamState<T, W> {
    // What the feeder does.

    /// The life of a feeder whose stream borrows: pulls the source until it ends or nothing more is wanted, and returns when
    /// no job of this stream runs.
    pub(crate) fn feed_borrowed<I>(&self, source: I)
    where
        I: Iterator<Item = T>,
        T: Send,
        W: Send,
    {
        workers_scope::lend(self.queue(), self, |scope| {
            self.feed(source, scope);
            self.wait_for_workers();
        });
    }

    /// The same for a stream that owns all its data. It returns when it is done with the source.
    pub(crate) fn feed_owned<I>(self: &Arc<Self>, source: I)
    where
        I: Iterator<Item = T>,
        T: Send + 'static,
        W: Send + 'static,
    {
        let shared: Arc<dyn Shared> = Arc::clone(self) as _;
        workers_scope::share(self.queue(), &shared, |scope| self.feed(source, scope));
    }

    fn queue(&self) -> &Arc<JobQueue> {
        let (_, queue) = self.pool.get().expect("BUG: a stream that is fed has workers");
        queue
    }

    fn feed<I: Iterator<Item = T>>(&self, source: I, scope: WorkersScope<'_>) {
        let mut source = Some(source);
        let watches = self.shared.watches();
        if watches.is_empty() {
            self.pull_all(&mut source, Iterator::next, scope);
        } else {
            // The start is told before anything else. A token may set it as well, but then nothing is pulled.
            self.shared.stop.feeder.wait();
            self.pull_all(&mut source, |source| observe::pull(&watches, || source.next()), scope);
        }
        panics::contain(source.take());
    }

    /// Waits until nothing is queued or at work: what is spawned is withdrawn after that.
    fn wait_for_workers(&self) {
        let mut state = self.shared.lock();
        while !state.is_stopped() && state.is_at_work() {
            MutexGuard::unlocked(&mut state, || self.shared.stop.feeder.wait());
        }
    }

    fn pull_all<I>(&self, source: &mut Option<I>, mut next: impl FnMut(&mut I) -> Option<T>, scope: WorkersScope<'_>)
    where
        I: Iterator<Item = T>,
    {
        let mut state = self.shared.lock();
        let open = Arc::clone(state.open_block());
        while let Some(pull) = self.has_room(&mut state) {
            let Some(from) = source.as_mut() else { break };
            let mut index = pull.first;
            // User code. It may block for ever, and the consumer may be gone when it returns.
            let pull_some = || {
                let end = pull.first + pull.most as u64;
                while index < end && self.shared.goes_on() && !open.is_plan_new() {
                    let Some(item) = next(from) else { return SourceState::Ended };
                    if let Err(item) = self.shared.queue_one(&open, index, item, pull.block, scope) {
                        panics::contain(item);
                        break;
                    }
                    index += 1;
                }
                SourceState::Open
            };
            let how =
                MutexGuard::unlocked(&mut state, || panics::catch(pull_some)).unwrap_or_else(SourceState::Panicked);
            state.pulled_up_to(index);
            let mut unwanted = None;
            if !how.is_open() {
                // Dropped before anybody hears of its end: when a stream gives `None`, nothing of it is left.
                MutexGuard::unlocked(&mut state, || panics::contain(source.take()));
                unwanted = state.end_source(how);
            }
            self.shared.apply_all(&mut state, scope);
            MutexGuard::unlocked(&mut state, || panics::contain(unwanted));
        }
    }

    /// Waits until more items may be pulled; `None` if none ever may.
    fn has_room(&self, state: &mut Locked<'_, Items<T>, W::Output, FeederPulls>) -> Option<Pull> {
        loop {
            match state.feed(self.shared.goes_on()) {
                Feed::Pull(pull) => return Some(pull),
                Feed::End => return None,
                Feed::Wait => {
                    self.shared.apply_here(state);
                    MutexGuard::unlocked(state, || self.shared.stop.feeder.wait());
                    state.end_feeder_wait();
                }
            }
        }
    }

    // What the workers do.

    /// Drops what a job hands over after the end: nobody will ask for it. What it has to say of panics is said here.
    fn drop_late(&self, Late { done, is_last }: Late<W::Output>) {
        panics::contain_all(done.results);
        panics::mention_there(self.shared.call.trace_sink(), &done.deferred, done.panic);
        if is_last {
            panics::emit_raw(self.shared.call.trace_sink(), self.finish());
        }
    }

    // What the consumer does.

    /// Waits for what comes next. `handed` items have been handed out since the last time, or will never be. On a
    /// worker that must not wait for the pool it runs what waits for a worker, and waits only for what runs elsewhere.
    /// `None` where nothing has come in time.
    pub(crate) fn deliver(&self, handed: usize, patience: &mut Patience) -> Option<Turn<W::Output>> {
        let mut state = self.shared.lock();
        // It may have been polled before.
        state.end_wait();
        state.delivered(handed);
        loop {
            let cancelled = self.shared.stop.is_cancelled();
            if cancelled {
                // The token may not have come so far. Nothing may be queued behind the gap that is made here.
                self.shared.stop.stop_at(0);
                self.shared.stop.feeder.set();
                let items = state.give_up_queued();
                MutexGuard::unlocked(&mut state, || items.into_iter().for_each(Queued::abandon));
            }
            let turn = state.next_turn(cancelled);
            self.shared.apply_here(&mut state);
            if turn.is_some() {
                return turn;
            }
            if let Patience::Until(deadline) = *patience {
                // A wait with an end may wait for anybody.
                if Instant::now() >= deadline {
                    return None;
                }
                if state.begin_wait(Until::Front) {
                    MutexGuard::unlocked(&mut state, || {
                        self.shared.waiting(|| self.shared.stop.consumer.wait_until(deadline))
                    });
                    state.end_wait();
                }
                continue;
            }
            let own = self.pool.get().map(|&(pool, _)| WaitPermit::for_pool(pool));
            let helps = matches!(own, Some(None));
            if helps && self.shared.run_chunk_here(&mut state) {
                self.shared.apply_here(&mut state);
            } else if state.begin_wait(if helps { Until::Work } else { Until::Front }) {
                if let Patience::Polled { waker, permit } = patience {
                    if self.shared.stop.consumer.wake_later(waker) {
                        *permit = own.flatten();
                        return None;
                    }
                } else {
                    MutexGuard::unlocked(&mut state, || self.shared.waiting(|| self.wait_at_event()));
                }
                state.end_wait();
            }
        }
    }

    /// Waits for the consumer's event. After a while, idle workers share what the jobs have given to rayon.
    fn wait_at_event(&self) {
        if !self.shared.stop.consumer.wait_for(WATCH_AFTER) {
            let _watched = self.pool.get().map(|(_, queue)| queue.watch_rayon());
            self.shared.stop.consumer.wait();
        }
    }

    /// At the end of a stream whose source has ended, waits until no other thread holds anything of it: they are about to let
    /// go. False where somebody does and `patience` is to be woken when they have.
    pub(crate) fn wait_for_others(&self, patience: &mut Patience) -> bool {
        if !self.shared.lock().is_fed() {
            return true;
        }
        self.withdraw_jobs();
        // Which takes a moment, as a rule, and a sleep would take longer.
        for _ in 0..ROUNDS_AWAKE {
            if !self.shared.stop.is_held_by_others() {
                return true;
            }
            thread::yield_now();
        }
        while self.shared.stop.is_held_by_others() {
            match patience {
                Patience::Polled { waker, .. } => {
                    if self.shared.stop.consumer.wake_later(waker) {
                        return false;
                    }
                }
                Patience::Endless | Patience::Until(_) => self.shared.stop.consumer.wait(),
            }
        }
        true
    }

    /// Whether the source has ended by itself, and `results` is the number of its items.
    pub(crate) fn has_given_all(&self, results: usize) -> bool {
        self.shared.lock().has_given_all(results)
    }

    /// Pulls one item on the consumer's thread, where there are no workers.
    pub(crate) fn pull_here(&self, next: impl FnOnce() -> Option<T>) -> Option<T> {
        self.shared.pull_here(next)
    }

    /// Runs it there. The end is told when the stream is dropped, of which the consumer has the only handle.
    pub(crate) fn run_here(&self, index: u64, item: T) -> Result<W::Output, TaskPanic> {
        self.shared.run_here(index, item)
    }
}

impl<T: Send, W: WorkOn<T> + Send> Lent for StreamState<T, W> {
    fn work(&self, scope: &WorkersScope<'_>) {
        self.shared.run(scope, |late| self.drop_late(late));
    }

    fn runs_ahead(&self) -> bool {
        true
    }

    fn interrupt(&self) -> Option<Arc<dyn Interrupt>> {
        Some(Arc::clone(&self.shared.stop) as _)
    }

    fn kept(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        let slot = self.kept.get().and_then(Weak::upgrade)?;
        Some(slot)
    }
}

impl<T: Send, W: WorkOn<T> + Send> Shared for StreamState<T, W> {
    fn holders(&self) -> Arc<dyn Holders> {
        Arc::clone(&self.shared.stop) as _
    }
}

/// What can be stopped at the end of a scope, whatever its items are.
pub(crate) trait Stop: Send + Sync {
    fn stop(&self);
}

impl<T: Send, W: WorkOn<T> + Send> Stop for StreamState<T, W> {
    fn stop(&self) {
        StreamState::stop(self, &mut Inbox::new(self.shared.call.trace_sink(), true));
    }
}

impl<T, W: Work> Drop for StreamState<T, W> {
    fn drop(&mut self) {
        // On whatever thread it was that let go last; its panics would end that thread.
        self.shared.drop_contained();
        panics::contain(self.shared.state_mut().take_source());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::run_chunk::Done;
    use crate::engine::work::Map;
    use std::iter;
    use std::sync::atomic::{AtomicUsize, Ordering};

    type Mapped<T, R> = StreamState<T, Map<fn(T) -> R, R>>;

    fn stream<T, R>(f: fn(T) -> R, ordered: bool) -> Mapped<T, R> {
        let mut sizer = Sizer::new::<T, R>(1);
        sizer.fix_chunk(1);
        let call = Arc::new(Call::here("steps", None));
        StreamState::new(Map::new(f), call, 1, sizer, ordered, Arc::new(StopFlag::new()), None)
    }

    /// How a stream ends that is cancelled after its first item was run, with `queued` more waiting and a source that has
    /// panicked behind them; and whether its feeder may go on.
    fn cancelled_end(queued: u64, ordered: bool) -> (bool, bool) {
        let stream = stream(|item: u64| item, ordered);
        {
            let mut state = stream.shared.lock();
            (0..=queued).for_each(|item| state.push(item));
            let first = state.take_here(Instant::now()).expect("one item or more").first;
            let done = Done { results: vec![0], ..Done::nothing(1) };
            assert!(state.complete(first, done, Instant::now()).is_none());
            assert!(state.end_source(SourceState::Panicked(Box::new("the source"))).is_none());
            // There are no workers.
            state.take_effects();
        }
        let stop = stream.stop_flag();
        stop.note_cancelled();
        assert!(stop.goes_on(), "the token has not come so far");
        assert!(matches!(stream.deliver(0, &mut Patience::Endless), Some(Turn::Done(done)) if done.results == [0]));
        assert_eq!(stream.shared.lock().queued(), 0);
        let goes_on = stop.goes_on();
        let next = match stream.deliver(1, &mut Patience::Endless) {
            // Each of the others was a chunk; with an order, the first of them is the end.
            Some(Turn::Done(gap)) if ordered => return (gap.results.len() == gap.items, goes_on),
            next => next,
        };
        let next = (1..=queued).fold(next, |next, _| match next {
            Some(Turn::Done(_)) => stream.deliver(1, &mut Patience::Endless),
            next => next,
        });
        (matches!(next, Some(Turn::Panicked(_))), goes_on)
    }

    #[test]
    fn behind_what_a_token_takes_back_nothing_is_queued() {
        let raises = |queued, ordered| {
            let (raises, goes_on) = cancelled_end(queued, ordered);
            assert!(!goes_on, "the feeder keeps what it comes with, for there is a gap before it");
            raises
        };
        assert!(!raises(2, true), "the gap comes before the panic of the source");
        assert!(raises(0, true), "there is no gap");
        assert!(raises(2, false), "there is no order that it could be behind in");
    }

    struct Item(Arc<AtomicUsize>);

    impl Drop for Item {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_the_source_gives_after_the_stop_is_dropped_at_once() {
        let stream = Arc::new(stream(|_: Item| 0, true));
        let alive = Arc::new(AtomicUsize::new(1));
        let next = || {
            Stop::stop(&*stream);
            Some(Item(Arc::clone(&alive)))
        };
        let mut source = Some(iter::empty::<Item>());
        let shared: Arc<dyn Shared> = Arc::clone(&stream) as _;
        let queue = Arc::new(JobQueue::new(1));
        workers_scope::share(&queue, &shared, |scope| stream.pull_all(&mut source, |_| next(), scope));
        assert_eq!(queue.waiting(), 0, "nobody is called for it");
        assert_eq!(alive.load(Ordering::Relaxed), 0);
        assert_eq!(stream.shared.lock().queued(), 0);
    }
}
