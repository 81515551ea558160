//! The transitions of a call whose caller pulls the source, a block at a time.

use super::{Driver, State};
use crate::engine::block::{Block, Queued};
use crate::engine::run_chunk::Done;
use crate::engine::sizing::Plan;
use std::collections::VecDeque;
use std::mem;
use std::time::{Duration, Instant};

/// The caller pulls.
#[derive(Debug, Default)]
pub(crate) struct CallerPulls {
    /// Whether no more items will be queued for now.
    last: bool,
    demand: Demand,
    /// Whether the caller queues each item before it asks its source for the next.
    queues_each: bool,
}

/// What results the caller wants.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Demand {
    /// One after the other, in its own time.
    #[default]
    Next,
    /// All of those that are queued, when all are done.
    Batch,
    /// All there are, which it keeps.
    All,
}

impl Driver for CallerPulls {
    const NAP: Duration = Duration::from_micros(200);

    /// It has more items to queue, or nothing more to wait for.
    const CALLS_WHEN_DRY: bool = true;
    /// It drops them itself, when all jobs have left.
    const DROPS_LATE_RESULTS: bool = false;

    fn is_open(&self) -> bool {
        !self.last
    }

    /// Where items come one by one, as with a [`feeder`](super::feeder).
    fn wants_help<B: Block, R>(state: &State<B, R, Self>) -> bool {
        !state.driver.queues_each || state.looking == 0
    }

    fn is_scant<B: Block, R>(state: &State<B, R, Self>) -> bool {
        Self::expects_more(state) && state.has_less_than_a_chunk()
    }

    fn expects_more<B: Block, R>(state: &State<B, R, Self>) -> bool {
        state.driver.queues_each && state.sizer.is_worth_a_nap()
    }

    fn takes_batches(&self) -> bool {
        self.demand == Demand::Batch
    }

    /// So many items are queued before the first is timed. While the caller asks its source, which may take for ever, nothing
    /// waits for it.
    fn workers_stop(&self) -> bool {
        self.demand == Demand::Next && !self.queues_each
    }

    /// What is done and waits for a slow item before it would be kept all the same.
    fn uncounted<B: Block, R>(state: &State<B, R, Self>) -> usize {
        if state.driver.demand == Demand::All { state.finished } else { 0 }
    }

    /// Whoever waits pulls more before he waits again.
    fn ran_low<B: Block, R>(state: &mut State<B, R, Self>) {
        state.wake_consumer();
    }
}

impl<B: Block, R> State<B, R, CallerPulls> {
    /// Begins a stretch in which the workers are at work.
    pub(crate) fn open(&mut self, now: Instant) -> Plan {
        self.since = now;
        self.driver.last = false;
        self.driver.demand = Demand::Next;
        self.plan(now)
    }

    /// The caller wants more than the next result.
    pub(crate) fn demand(&mut self, demand: Demand) {
        self.driver.demand = demand;
    }

    /// No more items will be queued in this stretch.
    pub(crate) fn close(&mut self) {
        self.driver.last = true;
    }

    /// Ends the stretch when all jobs have left. Gives what nobody took, and how long it took.
    pub(crate) fn shut(&mut self, now: Instant) -> (Vec<Queued<B>>, Duration) {
        debug_assert_eq!(self.running, 0, "BUG: the scope ended before its jobs");
        // Those that no worker has come to were withdrawn.
        (self.jobs, self.looking) = (0, 0);
        let took = now.saturating_duration_since(self.since);
        self.before += took;
        self.since = now;
        (self.window.abandon(), took)
    }

    /// Queues items, `first` being the index of the first; `last` says that no more will come for now.
    pub(crate) fn submit(&mut self, first: u64, items: B, pull: Duration, last: bool, now: Instant) -> Plan {
        let count = items.size();
        self.window.push(first, items);
        self.end_pull(count, pull, last, now)
    }

    /// The caller is about to ask its source for several items, and puts each into the open block before it asks for the next.
    pub(crate) fn begin_pull(&mut self) {
        self.driver.queues_each = true;
        self.made_room();
    }

    /// Notes that the source took so long for so many items, which are queued.
    pub(crate) fn end_pull(&mut self, items: usize, took: Duration, last: bool, now: Instant) -> Plan {
        if mem::take(&mut self.driver.queues_each) {
            self.sizer.pulled_each(items, took);
        } else {
            self.sizer.pulled(items, took);
        }
        self.end_naps();
        self.effects.wants_items = Some(false);
        self.driver.last = last;
        let plan = self.plan(now);
        // One for each chunk, so that a consumer that is the slowest of all need not share its core with workers that
        // find nothing; the rest of a source is shared out in smaller parts.
        let chunks = if last { self.queued() } else { self.queued().div_ceil(plan.chunk) };
        self.start(chunks.min(self.most_jobs - self.jobs));
        plan
    }

    /// Moves what is ready at the front of the line to `ready`.
    pub(crate) fn take_ready(&mut self, ready: &mut VecDeque<Done<R>>) {
        // Slow ones stay here until they are wanted, so that the workers know how far ahead they are.
        let most = if self.driver.demand == Demand::Next && self.has_slow_items() { 1 } else { usize::MAX };
        ready.extend(std::iter::from_fn(|| self.deliver()).take(most));
        self.effects.front_ready = Some(self.window.is_front_ready());
        self.made_room();
    }

    /// Whether the caller, which has so many items in flight, is to pull more before it waits.
    pub(crate) fn wants_more(&self, in_flight: usize, now: Instant) -> bool {
        let plan = self.plan(now);
        // A chunk for each worker, or what a few slow items are.
        let is_low =
            self.is_low() || (!self.has_slow_items() && self.queued() < plan.chunk.saturating_mul(self.most_jobs));
        is_low && in_flight < plan.in_flight
    }

    /// For how long the caller leaves the workers to themselves before it waits for the front of the line.
    pub(crate) fn nap(&self, now: Instant) -> Option<Duration> {
        self.sizer.nap(self.elapsed(now))
    }
}

/// The jobs of a call in any order between the steps of its caller: what one does from one hand-over to the next is a
/// step, as is what the caller does between two waits. No step waits for another, so what the lock keeps whole is all that
/// can happen.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::run_chunk::Runner;
    use crate::engine::sizing::Sizer;
    use crate::engine::state::{Step, Until};
    use crate::engine::stop::StopFlag;
    use crate::engine::window::{Chunk, Window};
    use crate::engine::work::Map;
    use crate::panics::{Call, TaskPanic};
    use crate::testing::orders::{self, Given, Way};
    use crate::threads::job_queue::Interrupt as _;
    use parking_lot::Mutex;
    use proptest::prelude::*;
    use std::panic::resume_unwind;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::vec;

    /// What is done in one run.
    #[derive(Clone, Debug)]
    struct Setting {
        workers: usize,
        items: usize,
        chunk: usize,
        limit: usize,
        /// These items panic.
        bad: Vec<usize>,
        /// The caller stops after so many results.
        stop_after: usize,
        /// How often a job may find that others wait, and that it has had its turn.
        yields: usize,
        /// How often a job may hand back the rest of its chunk.
        hands_back: usize,
        demand: Demand,
        /// The caller queues each item before it asks for the next, in every second pull.
        each: bool,
        /// The items are slow.
        slow: bool,
    }

    impl Default for Setting {
        fn default() -> Setting {
            let (bad, stop_after) = (Vec::new(), usize::MAX);
            Setting {
                workers: 2,
                items: 6,
                chunk: 1,
                limit: 6,
                bad,
                stop_after,
                yields: 0,
                hands_back: 0,
                demand: Demand::Next,
                each: false,
                slow: false,
            }
        }
    }

    /// An item, which is counted as long as it lives.
    struct Item<'a>(usize, &'a AtomicUsize);

    impl<'a> Item<'a> {
        fn new(number: usize, alive: &'a AtomicUsize) -> Self {
            alive.fetch_add(1, Ordering::Relaxed);
            Item(number, alive)
        }
    }

    impl Drop for Item<'_> {
        fn drop(&mut self) {
            self.1.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Where a job stands.
    enum Stage<T, R> {
        Called,
        /// It has just handed over a chunk.
        Came,
        Naps,
        Took(Chunk<vec::IntoIter<T>>),
        Ran(u64, Done<R>),
    }

    impl<T, R> Stage<T, R> {
        fn stands(&self) -> (u8, u64) {
            match self {
                Stage::Called | Stage::Came => (0, 0),
                Stage::Naps => (3, 0),
                Stage::Took(chunk) => (1, chunk.first),
                Stage::Ran(first, _) => (2, *first),
            }
        }
    }

    /// What the caller has seen so far.
    #[derive(Debug, Default)]
    struct Seen {
        out: usize,
        results: Vec<usize>,
        failure: Option<usize>,
    }

    impl Seen {
        /// Takes the results up to the first failure, in order.
        fn take_up(&mut self, ready: &mut VecDeque<Done<usize>>) {
            for done in ready.drain(..) {
                self.out -= done.items;
                if self.failure.is_none() {
                    self.results.extend(done.results);
                    self.failure = done.panic.as_ref().and_then(TaskPanic::index);
                }
            }
        }
    }

    /// Runs one call, `way` being asked who goes next, and checks all that is promised of it.
    #[expect(clippy::too_many_lines, reason = "one run from top to bottom")]
    fn run(setting: &Setting, way: &mut dyn Way) {
        let Setting { workers, items, chunk, limit, bad, stop_after, yields, hands_back, demand, each, slow } = setting;
        let batch = *demand == Demand::Batch;
        let (alive, runs) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = Map::new(|item: Item<'_>| {
            runs.lock().push(item.0);
            if bad.contains(&item.0) {
                resume_unwind(Box::new(item.0));
            }
            item.0
        });
        let mut sizer = Sizer::new::<Item<'_>, usize>(*workers);
        sizer.fix_chunk(*chunk);
        if *slow {
            sizer.worked(1, Duration::from_millis(1));
        }
        let (call, stop) = (Arc::new(Call::here("orders", None)), StopFlag::new());
        let mut state = State::new(Window::new(), sizer, *workers, CallerPulls::default());
        let now = Instant::now();
        let mut plan = state.open(now);
        state.demand(*demand);

        let mut jobs: Vec<Stage<Item<'_>, usize>> = Vec::new();
        let (mut pulled, mut yielded, mut handed_back) = (0, 0, 0);
        // Where items are queued one by one: up to which, and how many there were; and whether the open block is full, where that
        // is to be told.
        let (mut pulls, mut pull, mut filled) = (0, None, None);
        let (mut ready, mut seen) = (VecDeque::new(), Seen::default());
        // The least item whose panic was caught so far.
        let mut caught = u64::MAX;
        let (mut over, mut closed, mut asleep, mut front_ready) = (false, false, false, false);
        loop {
            // Jobs that have not begun are all the same.
            let called = jobs.iter().position(|job| matches!(job, Stage::Called));
            let mut actors: Vec<_> = (0..jobs.len())
                .filter(|at| Some(*at) == called || !matches!(jobs[*at], Stage::Called))
                .map(Some)
                .collect();
            if !asleep && !over {
                actors.push(None);
            }
            if actors.is_empty() {
                assert!(over, "the caller sleeps for ever: {setting:?}");
                break;
            }
            let actor = actors[way.choose(actors.len())];
            let may_pull = pulled < *items && stop.goes_on() && seen.out < *limit && plan.queue_room > 0;
            let mut has_taken = false;
            if let Some(actor) = actor {
                match mem::replace(&mut jobs[actor], Stage::Called) {
                    Stage::Took(chunk) => {
                        let first = chunk.first;
                        let before = runs.lock().len();
                        let asked = handed_back < *hands_back && way.choose(2) == 1;
                        // However slow this machine is, nothing is handed back unasked.
                        stop.wants_no_items();
                        stop.settle_unless(|| false);
                        if asked {
                            stop.interrupt();
                        }
                        let runner = Runner { work: &work, call: &call, stop: &stop, should_yield: &|_| asked };
                        let (mut done, left) = runner.run(Vec::new(), chunk, &mut None);
                        done.busy = Duration::from_millis(done.results.len() as u64 * u64::from(*slow));
                        if let Some(left) = left {
                            handed_back += 1;
                            assert!(!done.results.is_empty(), "each visit gets something done");
                            let unwanted = state.hand_back(left);
                            unwanted.into_iter().flat_map(|left| left.blocks).for_each(Queued::abandon);
                        }
                        stop.settle_unless(|| false);
                        for index in &runs.lock()[before..] {
                            assert!((*index as u64) < caught, "item {index} started after the panic of {caught}");
                            assert!(!over, "item {index} started after the end");
                        }
                        caught = done.panic.as_ref().map_or(caught, |panic| caught.min(panic.item()));
                        assert!((first..).zip(&done.results).all(|(index, result)| index == *result as u64));
                        jobs[actor] = Stage::Ran(first, done);
                    }
                    came => {
                        has_taken = true;
                        let mut may_yield = false;
                        let naps = matches!(came, Stage::Naps);
                        if let Stage::Ran(first, done) = came {
                            assert!(state.complete(first, done, now).is_none(), "the caller takes it");
                            may_yield = yielded < *yields;
                            jobs[actor] = Stage::Came;
                        } else if !naps {
                            state.begin_job();
                        }
                        let has_worked = matches!(jobs[actor], Stage::Came);
                        let next = if naps {
                            state.end_nap(now)
                        } else {
                            state.next(has_worked, now, || may_yield && way.choose(2) == 1)
                        };
                        match next {
                            Step::Run(chunk) => jobs[actor] = Stage::Took(chunk),
                            Step::Yield => {
                                yielded += 1;
                                jobs[actor] = Stage::Called;
                            }
                            Step::Leave => drop(jobs.swap_remove(actor)),
                            Step::Nap => jobs[actor] = Stage::Naps,
                            Step::Cut(..) => unreachable!("such blocks are no code of the user's"),
                        }
                    }
                }
            } else if let Some((until, count)) = pull {
                // The caller, as in `CallState::queue_each`.
                if let Some(is_full) = filled.take() {
                    state.filled(is_full);
                } else if pulled < until {
                    seen.out += 1;
                    let there = state.open_block().push(pulled as u64, Item::new(pulled, &alive), *chunk);
                    let there = there.unwrap_or_else(|_| unreachable!("the caller wants it"));
                    pulled += 1;
                    filled = (there == 1 || there >= *chunk).then_some(there >= *chunk);
                } else {
                    plan = state.end_pull(count, Duration::ZERO, pulled == *items, now);
                    pull = None;
                }
            } else if front_ready && !batch && !(*slow && may_pull && way.choose(2) == 1) {
                // As in `Stream::advance` and `Stream::run_batch`.
                state.take_ready(&mut ready);
                plan = state.plan(now);
            } else if may_pull {
                let count = (*chunk).min(items - pulled).min(limit - seen.out).min(plan.queue_room);
                pulls += 1;
                if *each && pulls % 2 == 1 {
                    state.begin_pull();
                    pull = Some((pulled + count, count));
                } else {
                    let block: Vec<_> = (pulled..pulled + count).map(|number| Item::new(number, &alive)).collect();
                    let first = pulled as u64;
                    pulled += count;
                    seen.out += count;
                    plan = state.submit(first, block.into_iter(), Duration::ZERO, pulled == *items, now);
                }
            } else if batch && !closed {
                state.close();
                closed = true;
            } else {
                // `wait` and `wait_for_all` without their sleep.
                if !batch {
                    state.take_ready(&mut ready);
                    plan = state.plan(now);
                }
                let until = if batch { Until::Dry } else { Until::Front };
                let is_more_to_come = batch || seen.out > 0;
                let may_pull = pulled < *items && stop.goes_on() && seen.out < *limit;
                let wants_more = !batch && may_pull && state.wants_more(0, now);
                if ready.is_empty() && !wants_more {
                    asleep = is_more_to_come && state.begin_wait(until);
                    over = !asleep;
                    assert!(!asleep || state.jobs > 0, "nobody will wake the caller: {setting:?}");
                }
            }
            seen.take_up(&mut ready);
            if actor.is_none() && (over || seen.failure.is_some() || seen.results.len() >= *stop_after) {
                over = true;
                stop.stop_at(0);
                state.stop().into_iter().for_each(Queued::abandon);
            }
            let effects = state.take_effects();
            jobs.extend(spawned(effects.start));
            asleep &= !effects.wake_consumer;
            front_ready = effects.front_ready.unwrap_or(front_ready);

            // What always holds.
            assert_eq!(state.jobs, jobs.len(), "{setting:?}");
            assert!(jobs.len() <= *workers, "{setting:?}");
            assert_eq!(
                state.looking,
                jobs.iter().filter(|job| matches!(job, Stage::Called | Stage::Naps)).count(),
                "{setting:?}"
            );
            assert!(seen.out <= *limit, "{setting:?}");
            assert_eq!(asleep, state.consumer_waits.is_some(), "{setting:?}");
            let all_come = jobs.len() == *workers || state.looking > 0 || state.is_full() || filled.is_some();
            assert!(!has_taken || all_come || state.queued() == 0, "a worker was not called: {setting:?}");
            let waits_for_caller = (state.is_full() && front_ready && pull.is_none()) || filled.is_some();
            assert!(state.queued() == 0 || !jobs.is_empty() || waits_for_caller, "items wait for nobody: {setting:?}");

            let waits = state.consumer_waits;
            let may_pull = pulled < *items && stop.goes_on() && seen.out < *limit;
            let is_called = !may_pull || waits != Some(Until::Front) || !state.has_slow_items() || !state.is_low();
            assert!(is_called, "the caller sleeps where it may pull: {setting:?}");
            let line =
                state.window.map_line(|done| done.as_ref().map(|done| (done.results.len(), done.panic.is_some())));
            let front = state.window.is_front_ready();
            let mut stands: Vec<_> = jobs.iter().map(Stage::stands).collect();
            stands.sort_unstable();
            assert!(!front || waits != Some(Until::Front), "the caller sleeps beside its result: {setting:?}");
            assert_eq!(front, front_ready, "{setting:?}");
            let call =
                ((pull, filled, pulls % 2), pulled, caught, over, closed, yielded, handed_back, waits.is_some(), front);
            if way.was_here(format!("{call:?} {seen:?} {stands:?} {line:?}")) {
                return;
            }
        }
        let (left, _) = state.shut(now);
        left.into_iter().for_each(Queued::abandon);
        state.take_ready(&mut ready);
        if seen.failure.is_none() && seen.results.len() < *stop_after {
            seen.take_up(&mut ready);
        }
        drop(ready);
        let Seen { results, failure, .. } = seen;
        assert_eq!(alive.load(Ordering::Relaxed), 0, "items are left: {setting:?}");
        assert!(results.iter().copied().eq(0..results.len()), "{results:?}, {setting:?}");
        let mut runs = runs.lock().clone();
        runs.sort_unstable();
        assert!(runs.windows(2).all(|pair| pair[0] < pair[1]), "an item ran twice: {runs:?}, {setting:?}");
        // Of a batch, what is beyond its limit is left for the next one.
        let all = if batch { *items.min(limit) } else { *items };
        let lowest_bad = bad.iter().copied().filter(|bad| *bad < all).min();
        if results.len() < *stop_after {
            assert_eq!(failure, lowest_bad, "{setting:?}");
            assert_eq!(results.len(), lowest_bad.unwrap_or(all), "{setting:?}");
        }
    }

    fn spawned<T, R>(count: usize) -> impl Iterator<Item = Stage<T, R>> {
        std::iter::repeat_with(|| Stage::Called).take(count)
    }

    #[test]
    fn up_to_six_jobs_in_every_order() {
        // Four workers find no new order in more than four jobs, but ten times as many of the old ones.
        for (workers, items) in
            [1, 2, 3].into_iter().flat_map(|workers| (0..=6).map(move |items| (workers, items))).chain([(4, 4)])
        {
            let base = Setting { workers, items, ..Setting::default() };
            for demand in [Demand::Next, Demand::Batch] {
                let base = Setting { demand, ..base.clone() };
                orders::all(|way| run(&base, way));
                orders::all(|way| run(&Setting { limit: 2, ..base.clone() }, way));
                orders::all(|way| run(&Setting { bad: vec![1, 3], ..base.clone() }, way));
                orders::all(|way| run(&Setting { bad: (0..6).collect(), ..base.clone() }, way));
                orders::all(|way| {
                    run(&Setting { items: 2 * items, chunk: 2, limit: 8, bad: vec![3], ..base.clone() }, way);
                });
                orders::all(|way| run(&Setting { items: items.min(4), yields: 2, ..base.clone() }, way));
                orders::all(|way| {
                    run(&Setting { items: items.min(5), chunk: 3, hands_back: 2, bad: vec![4], ..base.clone() }, way);
                });
            }
            for (demand, each, slow) in [
                (Demand::Next, false, true),
                (Demand::Next, true, false),
                (Demand::Next, true, true),
                (Demand::All, true, true),
                (Demand::All, false, false),
            ] {
                let base = Setting { items: items.min(4), demand, each, slow, ..base.clone() };
                orders::all(|way| run(&base, way));
                orders::all(|way| run(&Setting { chunk: 2, bad: vec![3], ..base.clone() }, way));
            }
            for stop_after in 1..3 {
                orders::all(|way| run(&Setting { stop_after, ..base.clone() }, way));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn many_jobs_in_random_orders(
            (workers, items) in (1..6_usize, 0..60_usize),
            (chunk, limit) in (1..5_usize, 1..30_usize),
            bad in prop::collection::vec(0..120_usize, 0..4),
            stop_after in prop_oneof![3 => Just(usize::MAX), 1 => 1..60_usize],
            (yields, hands_back) in (0..5_usize, 0..5_usize),
            demand in prop_oneof![Just(Demand::Next), Just(Demand::Batch), Just(Demand::All)],
            (each, slow) in any::<(bool, bool)>(),
            choices in prop::collection::vec(any::<usize>(), 0..400),
        ) {
            // Who takes nothing before the end does not stop before it.
            let stop_after = if demand == Demand::Batch { usize::MAX } else { stop_after };
            let setting = Setting { workers, items, chunk, limit, bad, stop_after, yields, hands_back, demand, each, slow };
            run(&setting, &mut Given(choices.into_iter()));
        }
    }
}
