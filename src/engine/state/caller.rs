//! The transitions of a call whose caller pulls the source, a block at a time.

use super::{Driver, State};
use crate::engine::block::{Block, Queued};
use crate::engine::run_chunk::Done;
use crate::engine::sizing::Plan;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The caller pulls.
#[derive(Debug, Default)]
pub(crate) struct CallerPulls {
    /// Whether no more items will be queued for now.
    last: bool,
}

impl Driver for CallerPulls {
    /// It has more items to queue, or nothing more to wait for.
    const CALLS_WHEN_DRY: bool = true;
    /// It drops them itself, when all jobs have left.
    const DROPS_LATE_RESULTS: bool = false;

    fn is_open(&self) -> bool {
        !self.last
    }

    fn wants_help<B: Block, R>(_: &State<B, R, Self>) -> bool {
        true
    }
}

impl<B: Block, R> State<B, R, CallerPulls> {
    /// Begins a stretch in which the workers are at work.
    pub(crate) fn open(&mut self, now: Instant) -> Plan {
        self.since = now;
        self.driver.last = false;
        self.plan(now)
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
        self.sizer.pulled(items.size(), pull);
        self.window.push(first, items);
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
        self.effects.front_ready = Some(false);
        ready.extend(std::iter::from_fn(|| self.window.deliver()));
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
    use std::{mem, vec};

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
        /// The caller takes nothing before all is done.
        batch: bool,
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
                batch: false,
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
        Took(Chunk<vec::IntoIter<T>>),
        Ran(u64, Done<R>),
    }

    impl<T, R> Stage<T, R> {
        fn stands(&self) -> (u8, u64) {
            match self {
                Stage::Called | Stage::Came => (0, 0),
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
        let Setting { workers, items, chunk, limit, bad, stop_after, yields, hands_back, batch } = setting;
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
        let (call, stop) = (Arc::new(Call::here("orders", None)), StopFlag::new());
        let mut state = State::new(Window::new(), sizer, *workers, CallerPulls::default());
        let now = Instant::now();
        state.open(now);

        let mut jobs: Vec<Stage<Item<'_>, usize>> = Vec::new();
        let (mut pulled, mut yielded, mut handed_back) = (0, 0, 0);
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
                        let (done, left) = runner.run(Vec::new(), chunk, &mut None);
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
                        if let Stage::Ran(first, done) = came {
                            assert!(state.complete(first, done, now).is_none(), "the caller takes it");
                            may_yield = yielded < *yields;
                            jobs[actor] = Stage::Came;
                        } else {
                            state.begin_job();
                        }
                        let has_worked = matches!(jobs[actor], Stage::Came);
                        match state.next(has_worked, now, || may_yield && way.choose(2) == 1) {
                            Step::Run(chunk) => jobs[actor] = Stage::Took(chunk),
                            Step::Yield => {
                                yielded += 1;
                                jobs[actor] = Stage::Called;
                            }
                            Step::Leave => drop(jobs.swap_remove(actor)),
                            Step::Nap | Step::Cut(..) => unreachable!("no job of such a call does"),
                        }
                    }
                }
            } else if front_ready && !batch {
                // The caller, as in `Stream::advance` and `Stream::run_batch`.
                state.take_ready(&mut ready);
            } else if pulled < *items && stop.goes_on() && seen.out < *limit {
                let count = (*chunk).min(items - pulled).min(limit - seen.out);
                let block: Vec<_> = (pulled..pulled + count).map(|number| Item::new(number, &alive)).collect();
                let first = pulled as u64;
                pulled += count;
                seen.out += count;
                state.submit(first, block.into_iter(), Duration::ZERO, pulled == *items, now);
            } else if *batch && !closed {
                state.close();
                closed = true;
            } else {
                // `wait` and `wait_for_all` without their sleep.
                if !batch {
                    state.take_ready(&mut ready);
                }
                let until = if *batch { Until::Dry } else { Until::Front };
                let is_more_to_come = *batch || seen.out > 0;
                if ready.is_empty() {
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
            assert_eq!(state.looking, jobs.iter().filter(|job| matches!(job, Stage::Called)).count(), "{setting:?}");
            assert!(seen.out <= *limit, "{setting:?}");
            assert_eq!(asleep, state.consumer_waits.is_some(), "{setting:?}");
            let all_come = jobs.len() == *workers || state.looking > 0;
            assert!(!has_taken || all_come || state.queued() == 0, "a worker was not called: {setting:?}");
            assert!(state.queued() == 0 || !jobs.is_empty(), "items wait for nobody: {setting:?}");

            let waits = state.consumer_waits;
            let line =
                state.window.map_line(|done| done.as_ref().map(|done| (done.results.len(), done.panic.is_some())));
            let front = state.window.is_front_ready();
            let mut stands: Vec<_> = jobs.iter().map(Stage::stands).collect();
            stands.sort_unstable();
            assert!(!front || waits != Some(Until::Front), "the caller sleeps beside its result: {setting:?}");
            assert_eq!(front, front_ready, "{setting:?}");
            let call = (pulled, caught, over, closed, yielded, handed_back, waits.is_some(), front);
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
        let all = if *batch { *items.min(limit) } else { *items };
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
            for batch in [false, true] {
                let base = Setting { batch, ..base.clone() };
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
            batch in any::<bool>(),
            choices in prop::collection::vec(any::<usize>(), 0..400),
        ) {
            // Who takes nothing before the end does not stop before it.
            let stop_after = if batch { usize::MAX } else { stop_after };
            let setting = Setting { workers, items, chunk, limit, bad, stop_after, yields, hands_back, batch };
            run(&setting, &mut Given(choices.into_iter()));
        }
    }
}
