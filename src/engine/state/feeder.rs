//! The transitions of a stream, whose source a feeder pulls ahead of the consumer, one item at a time.
//!
//! To keep cheap items cheap, no item wakes a worker that needs not be woken:
//!
//! - While some job is *looking* (it was started and has not come yet, or it naps), no other is started. It will see
//!   whatever there is by then, and whoever leaves items behind starts the next. So where a thousand items come in the
//!   time that waking takes, they wake one worker.
//! - A job that finds only a few cheap items naps first, for a bounded time, and takes what has come by then.

use super::{Driver, State};
use crate::engine::block::{Block, Queued};
use crate::engine::run_chunk::Done;
use crate::engine::sizing::Sizer;
use crate::engine::source::SourceState;
use crate::engine::window::Window;
use crate::panics::Payload;
use std::mem;
use std::time::{Duration, Instant};

/// A feeder pulls.
pub(crate) struct FeederPulls {
    source: SourceState,
    /// Items that came from the source, so also the index of the next one, as the feeder last said; and those that the consumer
    /// is done with.
    pulled: u64,
    delivered: u64,
    /// How many items a worker takes, and how many may be in flight, as last computed.
    chunk: usize,
    limit: usize,
    cost: Cost,
    /// The feeder is done with the source, and is about to leave.
    is_fed: bool,
    /// The feeder waits for room.
    feeder_waits: bool,
}

/// What an item takes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cost {
    Unknown,
    Little,
    /// So much that only few may wait.
    Much,
}

/// What the feeder does next.
#[derive(Debug, PartialEq)]
pub(crate) enum Feed {
    Pull(Pull),
    /// Waits for room.
    Wait,
    /// It is done with the source.
    End,
}

/// What the feeder may pull before it looks again.
#[derive(Debug, PartialEq)]
pub(crate) struct Pull {
    /// The index of the next item.
    pub(crate) first: u64,
    /// How many items; at least 1.
    pub(crate) most: usize,
    /// Blocks of so many are made of them.
    pub(crate) block: usize,
}

/// What comes next out of a stream.
pub(crate) enum Turn<R> {
    Done(Done<R>),
    Ended,
    /// The source panicked.
    Panicked(Payload),
}

impl Driver for FeederPulls {
    const NAP: Duration = Duration::from_micros(50);

    /// Where the consumer waits for the front of the line, that has to come first.
    const CALLS_WHEN_DRY: bool = false;
    /// The consumer is gone.
    const DROPS_LATE_RESULTS: bool = true;

    fn is_open(&self) -> bool {
        self.source.is_open()
    }

    fn wants_help<B: Block, R>(state: &State<B, R, Self>) -> bool {
        state.looking == 0
    }

    fn is_scant<B: Block, R>(state: &State<B, R, Self>) -> bool {
        state.has_less_than_a_chunk() && state.driver.source.is_open() && !state.driver.feeder_waits
    }

    fn completed<B: Block, R>(state: &mut State<B, R, Self>, now: Instant) {
        let was_unknown = state.driver.cost == Cost::Unknown;
        state.update_plan(now);
        if was_unknown {
            // Now it is known how many may be in flight.
            state.tell_of_room();
        }
        if state.driver.is_fed && !state.is_at_work() {
            // It waits for the last chunk.
            state.effects.wake_feeder = true;
        }
    }

    fn ran_low<B: Block, R>(state: &mut State<B, R, Self>) {
        state.effects.wake_feeder |= mem::take(&mut state.driver.feeder_waits);
    }
}

impl<B: Block, R> State<B, R, FeederPulls> {
    /// A stream whose items go to `jobs` workers at most.
    pub(crate) fn stream(sizer: Sizer, jobs: usize, ordered: bool) -> Self {
        let driver = FeederPulls {
            source: SourceState::Open,
            pulled: 0,
            delivered: 0,
            chunk: 1,
            limit: 1,
            cost: Cost::Unknown,
            is_fed: false,
            feeder_waits: false,
        };
        let window = if ordered { Window::new() } else { Window::unordered() };
        let mut state = State::new(window, sizer, jobs, driver);
        state.update_plan(Instant::now());
        state
    }

    fn update_plan(&mut self, now: Instant) {
        let plan = self.plan(now);
        let most_untimed = self.sizer.most_untimed();
        let limit = plan.in_flight.min(most_untimed.unwrap_or(usize::MAX));
        let cost = match (most_untimed, self.has_slow_items()) {
            (Some(_), _) => Cost::Unknown,
            (None, false) => Cost::Little,
            (None, true) => Cost::Much,
        };
        if limit < self.driver.limit || cost != self.driver.cost {
            self.open_block().note_plan(true);
        }
        (self.driver.chunk, self.driver.limit, self.driver.cost) = (plan.block.items, limit, cost);
    }

    /// Wakes a feeder that waits for room, where there is some.
    fn tell_of_room(&mut self) {
        if self.driver.feeder_waits && self.has_room_to_tell_of() {
            self.driver.feeder_waits = false;
            self.effects.wake_feeder = true;
        }
    }

    fn in_flight(&self) -> usize {
        let in_flight = self.driver.pulled - self.driver.delivered;
        usize::try_from(in_flight).expect("BUG: more in flight than memory holds")
    }

    // What the feeder does.

    /// What it does next; `goes_on` is false once nothing more is wanted.
    pub(crate) fn feed(&mut self, goes_on: bool) -> Feed {
        if !self.driver.source.is_open() || !goes_on {
            return Feed::End;
        }
        let slow_room = if self.driver.cost == Cost::Much { self.queue_room() } else { usize::MAX };
        let room = self.driver.limit.saturating_sub(self.in_flight()).min(slow_room);
        if room > 0 {
            let FeederPulls { pulled, chunk, .. } = self.driver;
            self.open_block().note_plan(false);
            return Feed::Pull(Pull { first: pulled, most: room.min(chunk), block: chunk });
        }
        self.driver.feeder_waits = true;
        // Nothing more comes that a nap could wait for.
        self.end_naps();
        Feed::Wait
    }

    /// It waits no more, whatever woke it.
    pub(crate) fn end_feeder_wait(&mut self) {
        self.driver.feeder_waits = false;
    }

    /// It has pulled all items up to this index, and put them into the open block.
    pub(crate) fn pulled_up_to(&mut self, index: u64) {
        self.driver.pulled = index;
    }

    /// The feeder has pulled one item.
    #[cfg(test)]
    pub(crate) fn push(&mut self, item: B::Item) {
        let FeederPulls { pulled, chunk, .. } = self.driver;
        let there = self.open_block().push(pulled, item, chunk).unwrap_or_else(|_| panic!("it is wanted"));
        self.filled(there >= chunk);
        self.pulled_up_to(pulled + 1);
    }

    /// Notes how the source ended. Gives that back where nobody wants to know.
    pub(crate) fn end_source(&mut self, how: SourceState) -> Option<SourceState> {
        self.driver.is_fed = true;
        let unwanted = if self.driver.source.is_open() {
            self.driver.source = how;
            None
        } else {
            Some(how)
        };
        self.end_naps();
        self.start_one();
        self.wake_consumer();
        unwanted
    }

    /// Whether the feeder is done with the source.
    pub(crate) fn is_fed(&self) -> bool {
        self.driver.is_fed
    }

    /// Whether the source has ended by itself, and `results` is the number of its items.
    pub(crate) fn has_given_all(&self, results: usize) -> bool {
        self.driver.is_fed && self.driver.pulled == results as u64
    }

    // What the consumer does.

    /// The consumer is done with so many more items.
    pub(crate) fn delivered(&mut self, items: usize) {
        self.driver.delivered += items as u64;
    }

    /// What comes next, if it is there already. `cancelled` says that a token has stopped the stream: nothing may be queued
    /// any more then.
    pub(crate) fn next_turn(&mut self, cancelled: bool) -> Option<Turn<R>> {
        if self.is_stopped() {
            // By its scope: the consumer is the feeder of another stream, and is woken when the feeder of this one ends.
            return Some(Turn::Ended);
        }
        if self.driver.feeder_waits && self.has_room_to_tell_of() {
            self.driver.feeder_waits = false;
            self.effects.wake_feeder = true;
        }
        if let Some(done) = self.window.deliver() {
            return Some(Turn::Done(done));
        }
        let is_over = self.window.is_empty() && (cancelled || !self.driver.source.is_open());
        is_over.then(|| match mem::replace(&mut self.driver.source, SourceState::Ended) {
            SourceState::Panicked(payload) => Turn::Panicked(payload),
            SourceState::Open | SourceState::Ended => Turn::Ended,
        })
    }

    /// Whether the room is worth waking the feeder for: where items are cheap, not for every few of them.
    fn has_room_to_tell_of(&self) -> bool {
        let FeederPulls { chunk, limit, .. } = self.driver;
        let worth_it = if chunk == 1 { 1 } else { chunk.saturating_mul(2).min(limit / 4).max(1) };
        self.in_flight().saturating_add(worth_it) <= limit && (self.driver.cost != Cost::Much || self.is_low())
    }

    /// Nothing more is wanted. Gives what waits for a worker, what waits for the consumer, and the source's end.
    pub(crate) fn stop_stream(&mut self) -> (Vec<Queued<B>>, Vec<Done<R>>, SourceState) {
        let items = self.stop();
        let line = std::iter::from_fn(|| self.window.deliver_any()).collect();
        self.effects.wake_feeder = true;
        (items, line, self.take_source())
    }

    /// Takes the source's panic, if there is one: nobody is to see it any more.
    pub(crate) fn take_source(&mut self) -> SourceState {
        mem::replace(&mut self.driver.source, SourceState::Ended)
    }
}

/// The threads of a stream in any order: what each does from one look at the state to the next is a step.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::run_chunk::Runner;
    use crate::engine::state::{Step, Until};
    use crate::engine::stop::StopFlag;
    use crate::engine::window::Chunk;
    use crate::engine::work::Map;
    use crate::panics::Call;
    use crate::testing::orders::{self, Given, Way};
    use parking_lot::Mutex;
    use proptest::prelude::*;
    use std::panic::resume_unwind;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::vec;

    type Numbers = State<vec::IntoIter<u64>, u64, FeederPulls>;

    /// A state of two workers, with `queued` items on it.
    fn state(queued: u64, set: impl FnOnce(&mut Sizer)) -> Numbers {
        let mut sizer = Sizer::new::<u64, u64>(2);
        set(&mut sizer);
        let mut state = Numbers::stream(sizer, 2, true);
        (0..queued).for_each(|item| state.push(item));
        state
    }

    fn done(results: usize, busy: Duration) -> Done<u64> {
        Done { results: vec![0; results], busy, ..Done::nothing(results) }
    }

    #[test]
    fn the_end_of_a_stream_is_shared_out() {
        let mut state = state(100, |sizer| sizer.worked(1000, Duration::from_micros(1)));
        let now = state.since;
        assert_eq!(state.most(now), 8192);
        state.driver.source = SourceState::Ended;
        assert_eq!(state.most(now), 25, "two parts for each worker");
    }

    #[test]
    fn less_than_a_chunk_is_scant_while_more_may_come() {
        let of = |queued| state(queued, |sizer| sizer.fix_chunk(4));
        assert_eq!([1, 3, 4, 5].map(|queued| FeederPulls::is_scant(&of(queued))), [true, true, false, false]);
        let mut ended = of(3);
        ended.driver.source = SourceState::Ended;
        assert!(!FeederPulls::is_scant(&ended));
        let mut full = of(3);
        full.driver.feeder_waits = true;
        assert!(!FeederPulls::is_scant(&full));
    }

    #[test]
    fn the_feeder_is_told_of_room_for_two_chunks_or_a_quarter() {
        let in_flight = |chunk, limit, most: u64| {
            let has_room = |pulled| {
                let mut state = state(0, |_| {});
                (state.driver.chunk, state.driver.limit, state.driver.pulled) = (chunk, limit, pulled);
                state.has_room_to_tell_of()
            };
            has_room(most) && !has_room(most + 1)
        };
        assert!(in_flight(1, 5, 4) && in_flight(8, 100, 84) && in_flight(8, 40, 30) && in_flight(8, 3, 2));
    }

    #[test]
    fn a_consumer_of_a_stopped_stream_is_told_the_end() {
        let mut state = state(0, |_| {});
        assert!(state.next_turn(false).is_none());
        state.stop_stream();
        assert!(matches!(state.next_turn(false), Some(Turn::Ended)));
    }

    #[test]
    fn a_job_is_started_for_items_that_nobody_is_about_to_see() {
        let starts = |queued, looking, jobs| {
            let mut state = state(queued, |_| {});
            state.take_effects();
            (state.jobs, state.looking) = (jobs, looking);
            state.start_one();
            let started = state.take_effects().start;
            assert_eq!((state.looking - looking, state.jobs - jobs), (started, started));
            started == 1
        };
        assert!(starts(1, 0, 0) && starts(1, 0, 1));
        assert!(!starts(0, 0, 0) && !starts(1, 1, 1) && !starts(1, 0, 2));
    }

    #[test]
    fn the_feeder_looks_again_once_fewer_items_may_be_in_flight() {
        let mut state = state(1, |sizer| sizer.worked(1000, Duration::from_micros(1)));
        let Feed::Pull(pull) = state.feed(true) else { panic!("there is room") };
        assert!(pull.most > 1000 && !state.open_block().is_plan_new());
        let first = state.take_here(state.since).expect("an item").first;
        state.complete(first, done(1, Duration::from_millis(1)), state.since);
        assert!(state.open_block().is_plan_new());
        assert!(matches!(state.feed(true), Feed::Pull(Pull { most: ..5, .. })), "items are slow");
        assert!(!state.open_block().is_plan_new());
    }

    #[test]
    fn what_was_measured_changes_the_plan() {
        let mut state = state(1, |_| {});
        assert_eq!(state.driver.chunk, 1);
        let first = state.take_here(state.since).expect("an item").first;
        state.complete(first, done(10, Duration::from_micros(10)), state.since);
        assert_eq!(state.driver.chunk, 20, "20 µs of items of 1 µs");
    }

    /// What a job that hands in a chunk does next, or one that comes for the first time: with one item queued of the four
    /// that make a chunk, `looking` other jobs about to look, and whether others wait.
    fn next_step(has_worked: bool, looking: usize, other: bool) -> (&'static str, [usize; 3]) {
        let mut state = state(0, |sizer| sizer.fix_chunk(4));
        let now = state.since;
        if has_worked {
            (0..4).for_each(|item| state.push(item));
            let first = state.take_here(now).expect("four items").first;
            state.complete(first, done(4, Duration::ZERO), now);
        }
        state.push(4);
        (state.jobs, state.looking) = (2, looking);
        let step = match state.next(has_worked, now, || other) {
            Step::Run(_) => "run",
            Step::Nap => "nap",
            Step::Yield => "yield",
            Step::Leave => "leave",
            Step::Cut(..) => "cut",
        };
        (step, [state.jobs, state.looking, state.napping])
    }

    #[test]
    fn a_job_naps_for_more_unless_another_will_see_to_it() {
        assert_eq!(next_step(false, 0, false), ("run", [2, 0, 0]));
        assert_eq!(next_step(false, 1, false), ("run", [2, 1, 0]), "it was started for what is there");
        assert_eq!(next_step(true, 0, false), ("nap", [2, 1, 1]));
        assert_eq!(next_step(true, 1, false), ("leave", [1, 1, 0]));
        assert_eq!(next_step(true, 0, true), ("yield", [2, 1, 0]));
        assert_eq!(next_step(false, 0, true), ("run", [2, 0, 0]), "its turn has just come");
    }

    /// What is done in one run.
    #[derive(Clone, Debug)]
    struct Setting {
        workers: usize,
        items: usize,
        chunk: usize,
        /// How many may be in flight; without such a limit the items are slow, and few may wait.
        limit: Option<usize>,
        ordered: bool,
        /// This item panics.
        bad: Option<usize>,
        /// The source panics in place of this item, or of its end.
        bad_source: Option<usize>,
        /// The consumer stops after so many results.
        stop_after: usize,
        /// How often others wait for a worker, and a job has had its turn.
        others: usize,
    }

    impl Default for Setting {
        fn default() -> Setting {
            let (bad, bad_source) = (None, None);
            let (limit, stop_after, others) = (Some(5), usize::MAX, 0);
            Setting { workers: 2, items: 5, chunk: 1, limit, ordered: true, bad, bad_source, stop_after, others }
        }
    }

    /// An item, which is counted as long as it lives.
    struct Item(u64, Arc<AtomicUsize>);

    impl Item {
        fn new(number: usize, alive: &Arc<AtomicUsize>) -> Item {
            alive.fetch_add(1, Ordering::Relaxed);
            Item(number as u64, Arc::clone(alive))
        }
    }

    impl Drop for Item {
        fn drop(&mut self) {
            self.1.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Where a job stands.
    enum Stage {
        Called,
        Naps,
        Took(Chunk<vec::IntoIter<Item>>),
        Ran(u64, Done<u64>),
    }

    impl Stage {
        fn stands(&self) -> (u8, u64) {
            match self {
                Stage::Called => (0, 0),
                Stage::Naps => (3, 0),
                Stage::Took(chunk) => (1, chunk.first),
                Stage::Ran(first, done) => (2, done.results.first().copied().unwrap_or(*first)),
            }
        }
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Actor {
        Feeder,
        Consumer,
        Job(usize),
    }

    /// How a stream ended for its consumer.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum End {
        None,
        Item(usize),
        Source,
        Stopped,
    }

    /// Runs one stream, `way` being asked who goes next, and checks all that is promised of it.
    #[expect(clippy::too_many_lines, reason = "one run from top to bottom")]
    fn run(setting: &Setting, way: &mut dyn Way) {
        let Setting { workers, items, chunk, limit, ordered, bad, bad_source, stop_after, others } = setting;
        let (alive, runs) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (fails, ran) = (bad.map(|bad| bad as u64), Arc::clone(&runs));
        let work = Map::new(move |item: Item| {
            ran.lock().push(item.0);
            if Some(item.0) == fails {
                resume_unwind(Box::new("f"));
            }
            item.0
        });
        let mut sizer = Sizer::new::<Item, u64>(*workers);
        sizer.fix_chunk(*chunk);
        match limit {
            Some(limit) => sizer.fix_in_flight(*limit),
            None => sizer.worked(1, Duration::from_millis(1)),
        }
        let (call, stop) = (Arc::new(Call::here("orders", None)), StopFlag::new());
        let mut state = State::<vec::IntoIter<Item>, u64, _>::stream(sizer, *workers, *ordered);
        let now = Instant::now();

        let mut stages: Vec<Stage> = Vec::new();
        let (mut pulled, mut fed, mut yielded) = (0, false, 0);
        // Up to which item the feeder pulls; whether the open block is full, where that is to be told.
        let (mut pull, mut filled) = (None, None);
        let (mut results, mut handed, mut end) = (Vec::new(), 0, None);
        let (mut feeder_waits, mut consumer_waits) = (false, false);
        loop {
            let called = stages.iter().position(|job| matches!(job, Stage::Called));
            let is_one_of_many = |at: &usize| Some(*at) == called || !matches!(stages[*at], Stage::Called);
            let mut actors: Vec<_> = (0..stages.len()).filter(is_one_of_many).map(Actor::Job).collect();
            actors.extend((!fed && !feeder_waits).then_some(Actor::Feeder));
            actors.extend((end.is_none() && !consumer_waits).then_some(Actor::Consumer));
            if actors.is_empty() {
                assert!(fed && end.is_some(), "the stream has come to a stop: {setting:?}, {results:?}");
                break;
            }
            let actor = actors[way.choose(actors.len())];
            match actor {
                Actor::Feeder => {
                    // As in `StreamState::pull_all`.
                    if let Some(is_full) = filled.take() {
                        state.filled(is_full);
                    } else if let Some(until) = pull {
                        let is_full = pulled as u64 == until || state.open_block().is_plan_new();
                        let fails = *bad_source == Some(pulled);
                        let ends = !is_full && (fails || pulled == *items);
                        let is_pulled = is_full || ends || {
                            let index = pulled as u64;
                            let there = state.open_block().push(index, Item::new(pulled, &alive), *chunk);
                            filled = there
                                .as_ref()
                                .ok()
                                .filter(|there| **there == 1 || *there >= chunk)
                                .map(|there| there >= chunk);
                            pulled += usize::from(there.is_ok());
                            there.is_err()
                        };
                        if is_pulled {
                            state.pulled_up_to(pulled as u64);
                            pull = None;
                        }
                        if ends {
                            let how =
                                if fails { SourceState::Panicked(Box::new("source")) } else { SourceState::Ended };
                            assert!(state.end_source(how).is_none() || end.is_some(), "{setting:?}");
                        }
                    } else {
                        state.end_feeder_wait();
                        match state.feed(stop.goes_on()) {
                            Feed::End => fed = true,
                            Feed::Wait => feeder_waits = true,
                            Feed::Pull(Pull { first, most, .. }) => pull = Some(first + most as u64),
                        }
                    }
                }
                Actor::Consumer => {
                    state.end_wait();
                    state.delivered(mem::take(&mut handed));
                    match state.next_turn(false) {
                        Some(Turn::Done(done)) => {
                            handed = done.items;
                            results.extend(done.results);
                            end = done.panic.and_then(|panic| panic.index()).map(End::Item);
                        }
                        Some(Turn::Ended) => end = Some(End::None),
                        Some(Turn::Panicked(_)) => end = Some(End::Source),
                        None => {
                            assert!(state.begin_wait(Until::Front), "it would have been delivered: {setting:?}");
                            consumer_waits = true;
                        }
                    }
                    if end.is_none() && results.len() >= *stop_after {
                        end = Some(End::Stopped);
                    }
                    if end.is_some() {
                        stop.stop_at(0);
                        let (items, line, _) = state.stop_stream();
                        items.into_iter().for_each(Queued::abandon);
                        drop(line);
                    }
                }
                Actor::Job(at) => match mem::replace(&mut stages[at], Stage::Called) {
                    Stage::Took(chunk) => {
                        let (first, before) = (chunk.first, runs.lock().len());
                        // However slow this machine is, nothing is handed back.
                        stop.wants_no_items();
                        stop.settle_unless(|| false);
                        let runner = Runner { work: &work, call: &call, stop: &stop, should_yield: &|_| false };
                        let (mut done, left) = runner.run(Vec::new(), chunk, &mut None);
                        assert!(left.is_none());
                        done.busy = Duration::from_millis(done.results.len() as u64);
                        assert!(end.is_none() || runs.lock().len() == before, "started after the end: {setting:?}");
                        stages[at] = Stage::Ran(first, done);
                    }
                    came => {
                        let next = match came {
                            Stage::Ran(first, done) => {
                                let late = state.complete(first, done, now);
                                assert_eq!(late.is_some(), end.is_some(), "{setting:?}");
                                let may_yield = yielded < *others;
                                state.next(true, now, || may_yield && way.choose(2) == 1)
                            }
                            Stage::Naps => state.end_nap(now),
                            Stage::Called | Stage::Took(_) => {
                                state.begin_job();
                                state.next(false, now, || false)
                            }
                        };
                        match next {
                            Step::Run(chunk) => stages[at] = Stage::Took(chunk),
                            Step::Nap => stages[at] = Stage::Naps,
                            Step::Yield => yielded += 1,
                            Step::Leave => drop(stages.swap_remove(at)),
                            Step::Cut(..) => unreachable!("a vector is cut by us"),
                        }
                    }
                },
            }
            let effects = state.take_effects();
            stages.extend(std::iter::repeat_with(|| Stage::Called).take(effects.start));
            consumer_waits &= !effects.wake_consumer;
            feeder_waits &= !effects.wake_feeder;

            // What always holds.
            assert_eq!(state.jobs, stages.len(), "{setting:?}");
            assert!(stages.len() <= *workers, "{setting:?}");
            assert!(limit.is_none_or(|limit| pulled as u64 - state.driver.delivered <= limit as u64), "{setting:?}");
            let waiting = state.queued() + state.ready();
            // Two for each worker and what they are at; with an order, what waited for a slow item is ready all at once.
            let most = 3 * workers * chunk;
            assert!(limit.is_some() || *ordered || waiting <= most, "{waiting} slow items wait: {setting:?}");
            let looking = stages.iter().filter(|job| matches!(job, Stage::Called | Stage::Naps)).count();
            assert_eq!(state.looking, looking, "{setting:?}");
            let is_looked_after = state.queued() == 0 || looking > 0 || stages.len() == *workers || filled.is_some();
            assert!(is_looked_after, "items wait for nobody: {setting:?}");
            let line =
                state.window.map_line(|done| done.as_ref().map(|done| (done.results.clone(), done.panic.is_some())));
            let front = line.first().is_some_and(Option::is_some);
            assert!(!front || state.consumer_waits.is_none(), "the consumer sleeps beside its result: {setting:?}");
            let waits = (feeder_waits, consumer_waits, state.driver.source.is_open(), state.driver.delivered);
            let blocks = (state.window.queued_items(), state.driver.feeder_waits, stop.stop());
            let mut stands: Vec<_> = stages.iter().map(Stage::stands).collect();
            stands.sort_unstable();
            let seen = ((pulled, pull, filled), fed, yielded, &results, handed, end, waits, blocks);
            if way.was_here(format!("{seen:?} {stands:?} {line:?}")) {
                return;
            }
        }

        let end = end.expect("the loop ends with it");
        assert_eq!(alive.load(Ordering::Relaxed), 0, "items are left: {setting:?}");
        let mut ran = runs.lock().clone();
        ran.sort_unstable();
        assert!(ran.windows(2).all(|pair| pair[0] < pair[1]), "an item ran twice: {ran:?}, {setting:?}");
        let source_fails = bad_source.filter(|bad| bad <= items);
        let last = source_fails.unwrap_or(*items);
        if !ordered {
            results.sort_unstable();
            assert!(results.iter().all(|result| ran.contains(result)), "{results:?}, {setting:?}");
            assert!(end != End::None || results.len() == last, "{results:?}, {setting:?}");
            return;
        }
        assert!((0..).zip(&results).all(|(index, result)| index == *result), "{results:?}, {setting:?}");
        if end != End::Stopped {
            let bad = bad.filter(|bad| *bad < last);
            assert_eq!(results.len(), bad.unwrap_or(last), "{setting:?}");
            let source = if source_fails.is_some() { End::Source } else { End::None };
            assert_eq!(end, bad.map_or(source, End::Item), "{setting:?}");
        }
    }

    #[test]
    fn streams_in_every_order() {
        for (workers, items) in [(1, 5), (2, 0), (2, 1), (2, 4), (3, 3)] {
            for ordered in [true, false] {
                let base = Setting { workers, items, ordered, ..Setting::default() };
                for setting in [
                    base.clone(),
                    Setting { limit: Some(1), ..base.clone() },
                    Setting { limit: Some(2), others: 1, ..base.clone() },
                    Setting { bad: Some(1), ..base.clone() },
                    Setting { bad_source: Some(2), ..base.clone() },
                    Setting { bad: Some(2), bad_source: Some(3), limit: Some(2), ..base.clone() },
                    Setting { stop_after: 1, ..base.clone() },
                    Setting { chunk: 2, ..base.clone() },
                    Setting { limit: None, ..base.clone() },
                ] {
                    orders::all(|way| run(&setting, way));
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn streams_in_random_orders(
            (workers, items) in (1..6_usize, 0..40_usize),
            (chunk, limit) in (1..5_usize, prop::option::of(1..20_usize)),
            ordered in any::<bool>(),
            bad in prop::option::of(0..60_usize),
            bad_source in prop::option::of(0..60_usize),
            stop_after in prop_oneof![3 => Just(usize::MAX), 1 => 1..40_usize],
            others in 0..5_usize,
            choices in prop::collection::vec(any::<usize>(), 0..400),
        ) {
            let setting = Setting { workers, items, chunk, limit, ordered, bad, bad_source, stop_after, others };
            run(&setting, &mut Given(choices.into_iter()));
        }
    }
}
