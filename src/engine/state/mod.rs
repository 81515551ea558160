//! What the threads of one call share, as pure state: no threads, no events, no code of the user's.
//!
//! Each transition is made under one lock. What it means for others (to start a job, to wake somebody) is noted as
//! [`Effects`], which whoever holds the lock carries out. What depends on who pulls the source is its [`Driver`]'s: [`caller`] or
//! [`feeder`]. The tests of both run the transitions in every order.

pub(crate) mod caller;
pub(crate) mod feeder;

use crate::engine::block::{Block, Queued};
use crate::engine::open_block::OpenBlock;
use crate::engine::run_chunk::{Done, Left};
use crate::engine::sizing::{Plan, Sizer};
use crate::engine::window::{Chunk, Window};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What one lock guards.
pub(crate) struct State<B: Block, R, D> {
    pub(super) window: Window<B, Done<R>>,
    pub(super) sizer: Sizer,
    /// How far the source is, as whoever pulls it sees it.
    pub(super) driver: D,
    /// How many jobs there may be: one for each worker.
    most_jobs: usize,
    /// Jobs that were started and have not left.
    jobs: usize,
    /// Those among them that are about to look for items: they have not come to a worker yet, or they nap.
    looking: usize,
    /// How many of those nap.
    napping: usize,
    /// Chunks that are being run: taken, and not handed over.
    running: usize,
    /// Items in the line that are done.
    finished: usize,
    /// Whether a job has taken a block to cut a chunk off it, and will put back the rest.
    is_cutting: bool,
    /// The consumer wants no more results.
    is_stopped: bool,
    /// What the consumer waits for, if it does.
    consumer_waits: Option<Until>,
    /// When the present stretch of the call began, and how long those before it took: chunks grow with their sum.
    since: Instant,
    before: Duration,
    effects: Effects,
}

/// What the consumer waits for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Until {
    /// A result whose turn it is.
    Front,
    /// The workers run dry.
    Dry,
    /// A result whose turn it is, or an item to run: the consumer is itself a worker.
    Work,
}

/// What is to be done outside, on account of the transitions since it was last asked.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Effects {
    /// So many jobs are to be started. They are counted already.
    pub(crate) start: usize,
    pub(crate) wake_consumer: bool,
    pub(crate) wake_feeder: bool,
    pub(crate) end_nap: bool,
    /// Whether the front of the line has become ready, or was taken.
    pub(crate) front_ready: Option<bool>,
    /// Whether jobs are asked for what is left of their chunks, or not any more.
    pub(crate) wants_items: Option<bool>,
}

/// What came of a chunk after the end.
pub(crate) struct Late<R> {
    pub(crate) done: Done<R>,
    /// Whether nothing more is at work.
    pub(crate) is_last: bool,
}

/// What a job does next.
pub(crate) enum Step<B: Block> {
    Run(Chunk<B>),
    /// Cuts a chunk of so many items off this block, which is code of the user's, and comes back with [`State::cut`].
    Cut(Chunk<B>, usize),
    /// Waits for a moment, and comes back with [`State::end_nap`].
    Nap,
    /// Lets others go first, and is to be started again, behind them.
    Yield,
    Leave,
}

/// What depends on who pulls the source: whom to wake and when. The two were tuned apart.
pub(crate) trait Driver: Sized {
    /// How long a job naps that finds less than a chunk.
    const NAP: Duration;

    /// Whether the consumer is called when a job finds nothing to do though more may come, or leaves as the last one.
    const CALLS_WHEN_DRY: bool;

    /// Whether a worker drops what it hands over after the end, since nobody will come for it.
    const DROPS_LATE_RESULTS: bool;

    /// Whether more items may be queued for now. If not, the rest is shared out evenly.
    fn is_open(&self) -> bool;

    /// Whether one more job is to be started, where items wait and a worker is left.
    fn wants_help<B: Block, R>(state: &State<B, R, Self>) -> bool;

    /// Whether what waits is so little that a job which comes back takes a nap first.
    fn is_scant<B: Block, R>(_: &State<B, R, Self>) -> bool {
        false
    }

    /// Whether more items are to come soon, as a rule.
    fn expects_more<B: Block, R>(_: &State<B, R, Self>) -> bool {
        false
    }

    /// Whether nothing that waits is too much, since the consumer takes it all at once.
    fn takes_batches(&self) -> bool {
        false
    }

    /// Whether workers stop where too many results are ready. Else whoever pulls stops before.
    fn workers_stop(&self) -> bool {
        false
    }

    /// So many items in flight do not count against a measured limit.
    fn uncounted<B: Block, R>(_: &State<B, R, Self>) -> usize {
        0
    }

    /// Notes that a chunk was handed over.
    fn completed<B: Block, R>(_: &mut State<B, R, Self>, _now: Instant) {}

    /// Calls whoever pulls: few slow items wait.
    fn ran_low<B: Block, R>(_: &mut State<B, R, Self>);
}

impl<B: Block, R, D: Driver> State<B, R, D> {
    /// A call whose items go to `jobs` workers at most.
    pub(crate) fn new(window: Window<B, Done<R>>, sizer: Sizer, jobs: usize, driver: D) -> Self {
        State {
            window,
            sizer,
            driver,
            most_jobs: jobs,
            jobs: 0,
            looking: 0,
            napping: 0,
            running: 0,
            finished: 0,
            is_cutting: false,
            is_stopped: false,
            consumer_waits: None,
            since: Instant::now(),
            before: Duration::ZERO,
            effects: Effects::default(),
        }
    }

    /// What is to be done by whoever holds the lock.
    pub(crate) fn take_effects(&mut self) -> Effects {
        mem::take(&mut self.effects)
    }

    /// Whether there is anything to do: as a rule there is not, after an item that was queued.
    #[inline]
    pub(crate) fn has_effects(&self) -> bool {
        self.effects != Effects::default()
    }

    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        self.before + now.saturating_duration_since(self.since)
    }

    pub(crate) fn plan(&self, now: Instant) -> Plan {
        let mut plan = self.sizer.plan(self.elapsed(now));
        plan.queue_room = self.queue_room();
        if !self.sizer.is_limited() {
            plan.in_flight = plan.in_flight.saturating_add(D::uncounted(self));
        }
        plan
    }

    /// How many items may wait, where they are slow.
    fn backlog(&self) -> Option<usize> {
        if self.driver.takes_batches() { None } else { self.sizer.backlog() }
    }

    /// How many items are ready for the consumer.
    fn ready(&self) -> usize {
        self.window.ready().map(|done| done.items).sum()
    }

    /// How many more items may be queued, where they are slow.
    fn queue_room(&self) -> usize {
        self.backlog().map_or(usize::MAX, |most| most.saturating_sub(self.queued() + self.ready()))
    }

    /// Whether so few slow items wait, for a worker or for the consumer, that more are to be pulled.
    fn is_low(&self) -> bool {
        self.backlog().is_some_and(|most| self.queued() + self.ready() <= most / 2)
    }

    /// Whether so many results of slow items are ready that the workers stop until the consumer has taken some.
    fn is_full(&self) -> bool {
        self.driver.workers_stop() && self.backlog().is_some_and(|most| self.ready() >= most)
    }

    /// How many items a worker takes now.
    fn most(&self, now: Instant) -> usize {
        self.sizer.take(self.elapsed(now), self.queued(), !self.driver.is_open())
    }

    /// How many items wait for a worker.
    pub(crate) fn queued(&self) -> usize {
        self.window.queued_items()
    }

    /// Whether a chunk is at work, or will be.
    pub(crate) fn is_at_work(&self) -> bool {
        self.running > 0 || self.queued() > 0
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Whether what is queued is less than the shortest chunk worth taking: 20 µs of work, or what the user fixed.
    fn has_less_than_a_chunk(&self) -> bool {
        let queued = self.queued();
        queued < self.sizer.take(Duration::ZERO, queued, false)
    }

    // What whoever pulls does.

    /// Where he puts items one by one. It is not under the lock of this state.
    pub(crate) fn open_block(&self) -> &Arc<OpenBlock<B::Item>> {
        self.window.open_block()
    }

    /// The open block has got its first item, or is full.
    pub(crate) fn filled(&mut self, is_full: bool) {
        if is_full {
            self.window.close_block();
            self.end_naps();
        }
        self.start_one();
        if self.consumer_waits == Some(Until::Work) {
            self.wake_consumer();
        }
    }

    // What the jobs do.

    /// Counts in one more job, where that is wanted.
    fn start_one(&mut self) {
        if self.queued() > 0 && self.jobs < self.most_jobs && D::wants_help(self) {
            self.start(1);
        }
    }

    fn start(&mut self, jobs: usize) {
        self.jobs += jobs;
        self.looking += jobs;
        self.effects.start += jobs;
    }

    /// A job has come to a worker.
    pub(crate) fn begin_job(&mut self) {
        self.looking -= 1;
    }

    /// Puts what came of a chunk into its place in the line. Gives it back where nobody will come for it.
    pub(crate) fn complete(&mut self, first: u64, done: Done<R>, now: Instant) -> Option<Late<R>> {
        self.running -= 1;
        self.sizer.worked(done.results.len(), done.busy);
        if self.is_stopped && D::DROPS_LATE_RESULTS {
            return Some(Late { done, is_last: self.running == 0 });
        }
        if self.line_up(first, done) {
            self.effects.front_ready = Some(true);
            if self.consumer_waits != Some(Until::Dry) {
                self.wake_consumer();
            }
        }
        D::completed(self, now);
        None
    }

    /// Puts what came of a chunk into the line; true if it is to be delivered next.
    fn line_up(&mut self, first: u64, done: Done<R>) -> bool {
        self.finished += done.items;
        self.window.complete(first, done)
    }

    /// Takes what is ready at the front of the line.
    fn deliver(&mut self) -> Option<Done<R>> {
        let done = self.window.deliver()?;
        self.finished -= done.items;
        Some(done)
    }

    /// What a job does next. `has_worked` says whether it has just handed over a chunk, `should_yield` whether others are to
    /// go first by now.
    pub(crate) fn next(&mut self, has_worked: bool, now: Instant, should_yield: impl FnOnce() -> bool) -> Step<B> {
        if has_worked && (self.queued() > 0 || D::expects_more(self)) {
            if should_yield() {
                // It stays counted.
                self.looking += 1;
                return Step::Yield;
            }
            // Who has just come was called for what is there; who comes back and finds something, will find more soon. Where items
            // are few because the source is slow, two of them nap: when the first takes what there is, nobody need be called for
            // the next item.
            if D::is_scant(self) {
                if self.looking > usize::from(D::expects_more(self)) {
                    self.jobs -= 1;
                    return Step::Leave;
                }
                self.looking += 1;
                self.napping += 1;
                return Step::Nap;
            }
        }
        self.take(now)
    }

    /// What a job does after its nap.
    pub(crate) fn end_nap(&mut self, now: Instant) -> Step<B> {
        self.napping -= 1;
        self.looking -= 1;
        self.take(now)
    }

    /// Has naps end that have nothing more to wait for.
    pub(crate) fn end_naps(&mut self) {
        self.effects.end_nap |= self.napping > 0;
    }

    fn take(&mut self, now: Instant) -> Step<B> {
        if self.is_cutting {
            // Nobody may take what lies behind that block. Whoever cuts it stays, and calls for help then.
            self.jobs -= 1;
            return Step::Leave;
        }
        if self.is_full() {
            // There is something for the consumer, which calls when it has taken it.
            self.jobs -= 1;
            self.wake_consumer();
            return Step::Leave;
        }
        let most = self.most(now);
        let Some(mut chunk) = self.window.take_block() else { return self.leave() };
        self.running += 1;
        if B::CUTS_BY_USER && chunk.items.size() > most {
            self.is_cutting = true;
            return Step::Cut(chunk, most);
        }
        if let Some(rest) = chunk.cut(most) {
            self.window.put_back(rest);
        }
        Step::Run(self.took(chunk))
    }

    /// A job has cut a chunk off its block. Gives back the rest where nobody is to run it.
    pub(crate) fn cut(&mut self, chunk: Chunk<B>, rest: Option<(u64, Queued<B>)>) -> (Chunk<B>, Option<Queued<B>>) {
        self.is_cutting = false;
        let mut unwanted = None;
        match rest {
            Some((_, rest)) if self.is_stopped => unwanted = Some(rest),
            Some(rest) => self.window.put_back(rest),
            None => {}
        }
        (self.took(chunk), unwanted)
    }

    /// Whoever stays calls in one more if there is still more to do than workers.
    fn took(&mut self, chunk: Chunk<B>) -> Chunk<B> {
        if self.queued() > 0 {
            self.effects.wants_items = Some(false);
            self.start_one();
        }
        if self.is_low() && self.driver.is_open() {
            D::ran_low(self);
        }
        chunk
    }

    /// The consumer has taken results: whoever left for want of room comes back.
    fn made_room(&mut self) {
        if self.has_slow_items() && !self.is_full() {
            self.start_one();
        }
    }

    fn has_slow_items(&self) -> bool {
        self.backlog().is_some()
    }

    /// Takes a chunk for the consumer, which runs it on its own thread.
    pub(crate) fn take_here(&mut self, now: Instant) -> Option<Chunk<B>> {
        let most = self.most(now);
        let chunk = self.window.take(most)?;
        self.running += 1;
        Some(chunk)
    }

    /// Whoever leaves is struck off under the same lock that showed the queue empty, so the next to queue items knows.
    fn leave(&mut self) -> Step<B> {
        self.jobs -= 1;
        if self.running > 0 && !self.is_stopped {
            self.effects.wants_items = Some(true);
        }
        if D::CALLS_WHEN_DRY && (self.running == 0 || self.driver.is_open()) {
            self.wake_consumer();
        }
        Step::Leave
    }

    /// What is left of a chunk waits again for a worker. Gives it back where nobody is to run it.
    pub(crate) fn hand_back(&mut self, left: Left<B>) -> Option<Left<B>> {
        if self.is_stopped {
            return Some(left);
        }
        left.into_blocks().for_each(|block| self.window.put_back(block));
        None
    }

    // What the consumer does.

    fn wake_consumer(&mut self) {
        self.effects.wake_consumer |= self.consumer_waits.take().is_some();
    }

    /// Begins to wait for what `until` says; false if there is nothing to wait for.
    pub(crate) fn begin_wait(&mut self, until: Until) -> bool {
        let is_there = match until {
            Until::Dry => !self.is_at_work(),
            Until::Front => self.window.is_front_ready(),
            Until::Work => self.window.is_front_ready() || self.queued() > 0,
        };
        self.consumer_waits = (!is_there).then_some(until);
        !is_there
    }

    /// The consumer waits no more, whatever woke it.
    pub(crate) fn end_wait(&mut self) {
        self.consumer_waits = None;
    }

    /// Lets nothing wait for a worker any more, however long the workers are busy with something else: a token has stopped the
    /// call. What is queued becomes a part of the line that gave no results. Gives the items.
    pub(crate) fn give_up_queued(&mut self) -> Vec<Queued<B>> {
        let mut items = Vec::new();
        self.window.shut();
        while let Some(chunk) = self.window.take_block() {
            self.line_up(chunk.first, Done::nothing(chunk.items.size()));
            items.push(chunk.items);
        }
        items
    }

    /// Whether no chunk is being run.
    pub(crate) fn is_drained(&self) -> bool {
        self.running == 0
    }

    /// Nothing more is wanted. Gives what waits for a worker.
    pub(crate) fn stop(&mut self) -> Vec<Queued<B>> {
        self.is_stopped = true;
        self.end_naps();
        self.window.shut();
        self.window.abandon()
    }
}

#[cfg(test)]
mod tests {
    use super::caller::CallerPulls;
    use super::*;
    use std::vec;

    type Numbers = vec::IntoIter<u32>;

    /// A state of a call with chunks of one item, whose caller has queued `items`; `last` says that these are all.
    fn state(workers: usize, items: Vec<u32>, last: bool) -> State<Numbers, u32, CallerPulls> {
        let mut sizer = Sizer::new::<u32, u32>(workers);
        sizer.fix_chunk(1);
        let mut state = State::new(Window::new(), sizer, workers, CallerPulls::default());
        state.open(Instant::now());
        state.submit(0, items.into_iter(), Duration::ZERO, last, Instant::now());
        // The jobs of the tests have begun.
        state.looking = 0;
        state
    }

    fn finished(chunk: Chunk<Numbers>) -> (u64, Done<u32>) {
        let results = chunk.items.into_vec();
        let items = results.len();
        (chunk.first, Done { results, items, panic: None, deferred: Vec::new(), busy: Duration::ZERO })
    }

    /// What a job does next that others do not wait for: the chunk it takes, and the effects of that.
    fn next_of(
        state: &mut State<Numbers, u32, CallerPulls>,
        done: Option<(u64, Done<u32>)>,
    ) -> (Option<Chunk<Numbers>>, Effects) {
        let now = Instant::now();
        state.take_effects();
        let has_worked = done.is_some();
        if let Some((first, done)) = done {
            assert!(state.complete(first, done, now).is_none());
        }
        let chunk = match state.next(has_worked, now, || false) {
            Step::Run(chunk) => Some(chunk),
            Step::Leave => None,
            _ => unreachable!("nobody waits"),
        };
        (chunk, state.take_effects())
    }

    #[test]
    fn help_is_called_while_there_is_more_to_do_than_jobs() {
        let mut state = state(4, vec![0, 1, 2], true);
        state.jobs = 1;
        let (first, effects) = next_of(&mut state, None);
        assert!(first.is_some() && effects.start == 1, "two are queued");
        let (second, effects) = next_of(&mut state, None);
        assert!(second.is_some() && effects.start == 1, "one is queued");
        let (third, effects) = next_of(&mut state, None);
        assert!(third.is_some() && effects.start == 0 && state.jobs == 3, "none is queued");
        for chunk in [first, second, third].into_iter().flatten() {
            let (chunk, effects) = next_of(&mut state, Some(finished(chunk)));
            assert!(chunk.is_none() && effects.start == 0);
        }
        assert_eq!(state.jobs, 0);
    }

    #[test]
    fn the_caller_is_called_for_the_front_or_when_the_workers_run_dry() {
        // Whether a caller that waits for `until` is called by the next step of a job.
        let calls = |state: &mut State<_, _, _>, until, done| {
            state.consumer_waits = Some(until);
            let (chunk, effects) = next_of(state, done);
            assert_ne!(effects.wake_consumer, state.consumer_waits.is_some());
            (chunk, effects.wake_consumer)
        };
        for last in [false, true] {
            let mut state = state(2, vec![0, 1], last);
            let (first, called) = calls(&mut state, Until::Dry, None);
            assert!(!called, "one more is queued");
            let (second, called) = calls(&mut state, Until::Front, None);
            assert!(!called, "and runs");
            // Where more is to come, whoever finds nothing calls for it; else the last to leave says that all is done.
            let (_, called) = calls(&mut state, Until::Dry, second.map(finished));
            assert_eq!(called, !last);
            let (_, called) = calls(&mut state, Until::Dry, first.map(finished));
            assert!(called);
        }
        let mut state = state(2, vec![0, 1, 2, 3], true);
        let [first, second] = [(); 2].map(|()| next_of(&mut state, None).0);
        let (_, called) = calls(&mut state, Until::Front, second.map(finished));
        assert!(!called, "it is not the front of the line");
        let (_, called) = calls(&mut state, Until::Front, first.map(finished));
        assert!(called);
    }

    #[test]
    fn a_job_that_has_had_its_turn_gives_way_where_more_is_queued() {
        let mut state = state(2, vec![0, 1], true);
        let now = Instant::now();
        let hand_over = |state: &mut State<_, _, _>, chunk: Option<Chunk<_>>| {
            let (first, done) = finished(chunk.expect("a chunk"));
            state.complete(first, done, now);
            state.next(true, now, || true)
        };
        let first = next_of(&mut state, None).0;
        assert!(matches!(hand_over(&mut state, first), Step::Yield));
        assert_eq!(state.jobs, 2, "it comes back");
        let second = next_of(&mut state, None).0;
        assert!(matches!(hand_over(&mut state, second), Step::Leave), "nothing is left");
    }

    #[test]
    fn a_caller_that_waits_for_the_front_is_called_before_anything_is_taken() {
        for until in [Until::Front, Until::Dry] {
            let mut state = state(2, vec![0, 1, 2], true);
            let (first, done) = next_of(&mut state, None).0.map(finished).expect("a chunk");
            state.consumer_waits = Some(until);
            state.complete(first, done, Instant::now());
            assert_eq!(state.take_effects().wake_consumer, until == Until::Front);
        }
    }

    #[test]
    fn what_a_token_gives_up_is_a_gap_in_the_line() {
        let mut state = state(2, vec![0, 1, 2], true);
        let first = next_of(&mut state, None).0;
        let items = state.give_up_queued();
        assert!(items.into_iter().flat_map(Queued::into_vec).eq([1, 2]));
        assert!(next_of(&mut state, first.map(finished)).0.is_none());
        let line: Vec<_> = std::iter::from_fn(|| state.window.deliver()).collect();
        let line: Vec<_> = line.iter().map(|done| (done.results.len(), done.items)).collect();
        assert_eq!(line, [(1, 1), (0, 2)]);
        assert!(state.window.is_empty());
    }

    #[test]
    fn a_full_block_is_a_chunk_of_its_own_and_ends_naps() {
        let mut state = state(2, vec![], false);
        (state.jobs, state.napping) = (1, 1);
        for item in 0..2 {
            assert!(state.open_block().push(item, 7, 2).is_ok());
            state.filled(item == 1);
            assert_eq!(state.take_effects().end_nap, item == 1);
        }
        assert!(state.open_block().push(2, 8, 2) == Ok(1), "a new block has begun");
        assert_eq!(state.queued(), 3);
    }

    #[test]
    fn after_the_end_nothing_can_be_queued() {
        for is_cancelled in [false, true] {
            let mut state = state(2, vec![], false);
            assert_eq!(state.open_block().push(0, 5, 1), Ok(1));
            let left = if is_cancelled { state.give_up_queued() } else { state.stop() };
            assert_eq!(left.len(), 1);
            assert_eq!((state.open_block().push(1, 6, 1), state.queued()), (Err(6), 0));
        }
    }

    #[test]
    fn the_time_of_a_call_is_the_sum_of_its_stretches() {
        let mut state = state(1, vec![], false);
        let (_, mut took) = state.shut(Instant::now());
        state.open(Instant::now());
        state.close();
        assert!(!state.driver.is_open(), "the rest is shared out");
        took += state.shut(Instant::now()).1;
        state.open(Instant::now());
        assert!(state.driver.is_open());
        let later = Duration::from_millis(1);
        assert_eq!(state.elapsed(state.since + later), took + later);
    }
}
