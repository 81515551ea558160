//! What the threads of one call share, and what a worker does for it: take a chunk, run it, hand over what came of it, take
//! the next.
//!
//! A job on a worker does this until nothing is queued; at most one runs on each worker. It never waits: with an empty queue
//! it leaves, and whoever queues the next items starts another. So a worker is free for others as soon as this call has
//! nothing for it. Where others wait for a worker, it gives way after its turn and comes back behind them.
//!
//! What is to be done when is the [`State`]'s to say. Here are the lock around it, the events, and the code of the user's, which
//! runs without the lock.

use crate::base::current_worker;
use crate::base::event;
use crate::base::sync::atomic::{AtomicBool, Ordering};
use crate::base::sync::{Mutex, MutexGuard};
use crate::engine::block::{Block, Queued};
use crate::engine::open_block::OpenBlock;
use crate::engine::run_chunk::{Done, Runner};
use crate::engine::state::{Driver, Late, State, Step};
use crate::engine::stop::StopFlag;
use crate::engine::window::Chunk;
use crate::engine::work::{self, Work, WorkOn};
use crate::observe::{self, ObserverRef};
use crate::panics::{self, Call, TaskPanic};
use crate::threads::workers_scope::WorkersScope;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When the consumer has waited for so long, what its jobs may have given to rayon is to be shared among idle workers.
pub(super) const WATCH_AFTER: Duration = Duration::from_micros(200);

/// The place where the threads of one call meet.
pub(crate) struct CallState<B: Block, W: Work, D> {
    /// `Some` until the drop.
    work: Option<W>,
    pub(crate) call: Arc<Call>,
    /// The observer of the pool; those of the call itself are in `work`.
    pool_watch: Option<Box<ObserverRef<'static>>>,
    /// One state for each worker, which its job has while it runs; and one for the thread that asks for the results.
    worker_states: WorkerStates<W::State>,
    /// What lets nothing more start: a panic, the consumer, a token.
    pub(crate) stop: Arc<StopFlag>,
    /// Set with the front of the line, cleared by the caller when it looks. Relaxed: it is a hint, for whoever has time.
    front_ready: AtomicBool,
    state: Mutex<State<B, W::Output, D>>,
}

/// The state of a call, under its lock.
pub(super) type Locked<'a, B, R, D> = MutexGuard<'a, State<B, R, D>>;

/// The states of the workers. Dropped one by one, on the thread that lets go last: the panic of one must not meet that of another.
struct WorkerStates<S>(Vec<Mutex<Option<S>>>);

impl<S> Drop for WorkerStates<S> {
    fn drop(&mut self) {
        panics::contain_all(self.0.drain(..).map(Mutex::into_inner));
    }
}

impl<B: Block, W: Work, D: Driver> CallState<B, W, D> {
    /// A call on so many workers.
    pub(crate) fn new(
        work: W,
        call: Arc<Call>,
        workers: usize,
        stop: Arc<StopFlag>,
        pool_watch: Option<Box<ObserverRef<'static>>>,
        state: State<B, W::Output, D>,
    ) -> Self {
        CallState {
            work: Some(work),
            call,
            pool_watch,
            worker_states: WorkerStates(std::iter::repeat_with(|| Mutex::new(None)).take(workers + 1).collect()),
            stop,
            front_ready: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    fn work(&self) -> &W {
        self.work.as_ref().expect("BUG: the work stays until the drop")
    }

    /// Drops what is the user's, and keeps its panics in: on whatever thread this is, they would end it.
    pub(super) fn drop_contained(&mut self) {
        panics::contain(self.work.take());
        panics::contain(self.pool_watch.take());
    }

    /// The number of workers, and of jobs at most.
    pub(crate) fn workers(&self) -> usize {
        self.worker_states.0.len() - 1
    }

    /// True if no panic was caught and nobody has stopped the call.
    pub(crate) fn goes_on(&self) -> bool {
        self.stop.goes_on()
    }

    /// True if the front of the line became ready since the caller last looked.
    pub(crate) fn front_ready(&self) -> bool {
        self.front_ready.load(Ordering::Relaxed)
    }

    // The state.

    pub(super) fn lock(&self) -> Locked<'_, B, W::Output, D> {
        self.state.lock()
    }

    pub(super) fn state_mut(&mut self) -> &mut State<B, W::Output, D> {
        self.state.get_mut()
    }

    /// Does what the transitions so far are to do outside, but for the jobs that are to be started: says how many. A waker is
    /// woken without the lock. It comes before the lock is given up, or somebody else would take the jobs for his own.
    #[must_use]
    pub(super) fn apply(&self, state: &mut Locked<'_, B, W::Output, D>) -> usize {
        if !state.has_effects() {
            return 0;
        }
        let effects = state.take_effects();
        if let Some(is_ready) = effects.front_ready {
            self.front_ready.store(is_ready, Ordering::Relaxed);
        }
        match effects.wants_items {
            Some(true) => self.stop.ask_for_items(),
            Some(false) => self.stop.wants_no_items(),
            None => {}
        }
        if effects.end_nap {
            self.stop.nap.notify_all();
        }
        if effects.wake_feeder {
            self.stop.feeder.set();
        }
        if effects.wake_consumer {
            if let Some(waker) = self.stop.consumer.set_under_lock() {
                MutexGuard::unlocked(state, || event::wake(waker));
            }
        }
        effects.start
    }

    /// The same after a transition that starts no jobs.
    pub(super) fn apply_here(&self, state: &mut Locked<'_, B, W::Output, D>) {
        let jobs = self.apply(state);
        debug_assert_eq!(jobs, 0, "BUG: these jobs are counted, and nobody starts them");
    }

    // Who watches.

    /// All who watch this call, each once.
    pub(crate) fn watches(&self) -> Vec<&ObserverRef<'_>> {
        work::watches(self.work(), self.pool_watch.as_deref())
    }

    /// Tells those who watch that this call is over.
    pub(crate) fn finish(&self) {
        self.watches().into_iter().for_each(ObserverRef::finish);
    }

    /// Lets those who watch know how long the consumer waits for results in `wait`.
    pub(crate) fn waiting<R>(&self, wait: impl FnOnce() -> R) -> R {
        observe::wait(&self.watches(), wait)
    }

    /// Asks the source for one item on behalf of a call without workers.
    pub(crate) fn pull_here<T>(&self, next: impl FnOnce() -> Option<T>) -> Option<T> {
        observe::pull(&self.watches(), next)
    }
}

impl<B: Block, W: Work, D: Driver> CallState<B, W, D> {
    /// Puts an item where a worker can take it at once; they make blocks of `block` items. Gives it back if nothing more is wanted.
    #[inline]
    pub(super) fn queue_one(
        &self,
        open: &OpenBlock<B::Item>,
        index: u64,
        item: B::Item,
        block: usize,
        scope: WorkersScope<'_>,
    ) -> Result<(), B::Item> {
        let there = open.push(index, item, block)?;
        if there == 1 || there >= block {
            let mut state = self.lock();
            state.filled(there >= block);
            self.apply_all(&mut state, scope);
        }
        Ok(())
    }

    /// Does what the transitions so far are to do outside, and starts the jobs among that.
    pub(super) fn apply_all(&self, state: &mut Locked<'_, B, W::Output, D>, scope: WorkersScope<'_>) {
        let jobs = self.apply(state);
        if jobs > 0 {
            MutexGuard::unlocked(state, || (0..jobs).for_each(|_| scope.spawn()));
        }
    }
}

impl<B: Block, W: WorkOn<B::Item>, D: Driver> CallState<B, W, D> {
    /// What one job does on a worker. It was counted in when it was started. `drop_late` takes what comes too late for the
    /// consumer.
    pub(super) fn run(&self, scope: &WorkersScope<'_>, drop_late: impl Fn(Late<W::Output>)) {
        let index = current_worker::index().expect("BUG: jobs run on workers");
        let mut worker_state = self.worker_states.0[index].lock().take();
        let mut done = None;
        let comes_back = loop {
            let should_yield = |now| scope.should_yield(now);
            match self.complete_and_take(done.take(), &drop_late, should_yield, || scope.others_wait()) {
                Next::Run { chunk, start } => {
                    (0..start).for_each(|_| scope.spawn());
                    let first = chunk.first;
                    self.stop.settle_unless(|| scope.others_wait());
                    done = Some((first, self.run_chunk(chunk, &mut worker_state, &|now| scope.should_yield(now))));
                }
                Next::Yield => break true,
                Next::Leave => break false,
            }
        };
        *self.worker_states.0[index].lock() = worker_state;
        if comes_back {
            scope.spawn();
        }
    }

    /// Runs a chunk. What is handed back of it waits again for a worker.
    fn run_chunk(
        &self,
        chunk: Chunk<B>,
        worker_state: &mut Option<W::State>,
        should_yield: &dyn Fn(Instant) -> bool,
    ) -> Done<W::Output> {
        let (done, left) = self.runner(should_yield).run(self.watches(), chunk, worker_state);
        if let Some(left) = left {
            let unwanted = self.lock().hand_back(left);
            unwanted.into_iter().flat_map(|left| left.blocks).for_each(Queued::abandon);
        }
        done
    }

    fn runner<'a>(&'a self, should_yield: &'a dyn Fn(Instant) -> bool) -> Runner<'a, W> {
        Runner { work: self.work(), call: &self.call, stop: &self.stop, should_yield }
    }

    /// Runs `run` with the state of the thread that asks for the results.
    fn with_own_state<R>(&self, run: impl FnOnce(&mut Option<W::State>) -> R) -> R {
        let own = &self.worker_states.0[self.workers()];
        let mut worker_state = own.lock().take();
        let outcome = run(&mut worker_state);
        *own.lock() = worker_state;
        outcome
    }

    /// Runs one item here, on the thread that asks for its result.
    pub(crate) fn run_here(&self, index: u64, item: B::Item) -> Result<W::Output, TaskPanic> {
        self.with_own_state(|state| self.runner(&|_| false).run_here(&self.watches(), state, index, item))
    }

    /// Runs the next chunk here, on the thread that asks for the results; false if none waits.
    pub(super) fn run_chunk_here(&self, state: &mut Locked<'_, B, W::Output, D>) -> bool {
        let Some(chunk) = state.take_here(Instant::now()) else { return false };
        let first = chunk.first;
        let done = MutexGuard::unlocked(state, || {
            self.waiting(|| self.with_own_state(|own| self.run_chunk(chunk, own, &|_| false)))
        });
        state.complete(first, done, Instant::now());
        true
    }

    /// Hands over a chunk and takes the next. `should_yield` says whether others are to go first, `others_wait` whether there are
    /// others.
    fn complete_and_take(
        &self,
        done: Option<(u64, Done<W::Output>)>,
        drop_late: impl Fn(Late<W::Output>),
        should_yield: impl FnOnce(Instant) -> bool,
        others_wait: impl Fn() -> bool,
    ) -> Next<B> {
        let now = Instant::now();
        let has_worked = done.is_some();
        let mut state = self.lock();
        if let Some((first, done)) = done {
            if let Some(late) = state.complete(first, done, now) {
                MutexGuard::unlocked(&mut state, || drop_late(late));
            }
        } else {
            state.begin_job();
        }
        let mut step = state.next(has_worked, now, || should_yield(now));
        loop {
            step = match step {
                Step::Nap => {
                    self.apply_here(&mut state);
                    if !others_wait() {
                        self.stop.nap.wait_for(&mut state, D::NAP);
                    }
                    state.end_nap(now)
                }
                Step::Cut(mut chunk, most) => {
                    // The consumer is woken before that, however long the cutting takes.
                    self.apply_here(&mut state);
                    let rest = MutexGuard::unlocked(&mut state, || chunk.cut(most));
                    let (chunk, unwanted) = state.cut(chunk, rest);
                    let start = self.apply(&mut state);
                    MutexGuard::unlocked(&mut state, || unwanted.into_iter().for_each(Queued::abandon));
                    return Next::Run { chunk, start };
                }
                Step::Run(chunk) => return Next::Run { chunk, start: self.apply(&mut state) },
                Step::Yield | Step::Leave => {
                    self.apply_here(&mut state);
                    return if matches!(step, Step::Yield) { Next::Yield } else { Next::Leave };
                }
            }
        }
    }
}

/// What a job does next.
enum Next<B: Block> {
    /// Runs this, after it has started so many more jobs.
    Run {
        chunk: Chunk<B>,
        start: usize,
    },
    /// Lets others go first, and comes back.
    Yield,
    Leave,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::caller_pulls::CallerState;
    use crate::engine::sizing::Sizer;
    use crate::engine::state::Until;
    use crate::engine::work::Map;
    use std::vec;

    type Numbers = vec::IntoIter<u32>;
    type Same = Map<fn(u32) -> u32, u32>;

    /// Numbers that are cut by code of the user's, which does something else first.
    struct Cuttable {
        numbers: Numbers,
        first: Option<Box<dyn FnOnce() + Send>>,
    }

    impl Block for Cuttable {
        type Item = u32;
        type Items = Numbers;

        const HAS_TO_DROP: bool = false;
        const CUTS_BY_USER: bool = true;

        fn size(&self) -> usize {
            self.numbers.size()
        }

        fn split_front(&mut self, count: usize) -> Self {
            self.first.take().into_iter().for_each(|first| first());
            Cuttable { numbers: self.numbers.split_front(count), first: None }
        }

        fn into_items(self) -> Numbers {
            self.numbers
        }

        fn is_to_drop(_: &Numbers) -> bool {
            false
        }

        fn abandon_rest(_: Numbers, _: impl FnMut(usize)) {}

        fn abandon(self) {}

        fn broken(_: panics::Payload, _: usize) -> Self {
            unreachable!("its numbers are there")
        }
    }

    /// A call of two workers with the item 0, and then a block that is cut into chunks of one item, the first time after `first`.
    fn cutting(
        items: Vec<u32>,
        first: impl FnOnce(&CallerState<Cuttable, Same>) + Send + 'static,
    ) -> Arc<CallerState<Cuttable, Same>> {
        let mut sizer = Sizer::new::<u32, u32>(2);
        sizer.fix_chunk(1);
        let (work, call) = (Map::new((|x| x) as fn(u32) -> u32), Arc::new(Call::here("pool_map", None)));
        let shared = Arc::new(CallerState::start(work, call, 2, sizer, Arc::new(StopFlag::new()), None));
        let here = Arc::clone(&shared);
        let mut state = shared.lock();
        let now = Instant::now();
        state.submit(0, Cuttable { numbers: vec![0].into_iter(), first: None }, Duration::ZERO, true, now);
        let items = Cuttable { numbers: items.into_iter(), first: Some(Box::new(move || first(&here))) };
        state.submit(1, items, Duration::ZERO, true, now);
        drop(state);
        shared
    }

    fn next_of(
        shared: &CallerState<Cuttable, Same>,
        done: Option<(u64, Done<u32>)>,
    ) -> Option<(Chunk<Cuttable>, usize)> {
        match shared.complete_and_take(done, |_| unreachable!("nothing is late"), |_| false, || false) {
            Next::Run { chunk, start } => Some((chunk, start)),
            Next::Yield => unreachable!("nobody waits"),
            Next::Leave => None,
        }
    }

    fn finished(chunk: Chunk<Cuttable>) -> (u64, Done<u32>) {
        let results = chunk.items.into_vec();
        (chunk.first, Done { items: results.len(), results, ..Done::nothing(0) })
    }

    #[test]
    fn no_lock_is_held_while_a_block_is_cut_and_the_call_may_stop_meanwhile() {
        for stops in [false, true] {
            let shared = cutting(vec![1, 2, 3], move |shared| {
                assert!(next_of(shared, None).is_none(), "the other job leaves");
                if stops {
                    shared.stop.stop_at(0);
                    assert!(shared.lock().stop().is_empty());
                }
            });
            let (chunk, _) = next_of(&shared, None).expect("a chunk");
            let (next, start) = next_of(&shared, Some(finished(chunk))).expect("it was cut off");
            assert_eq!(next.items.into_vec(), [1]);
            assert_eq!((start, shared.lock().queued()), if stops { (0, 0) } else { (1, 2) });
        }
    }

    #[test]
    fn a_caller_that_waits_for_the_front_is_woken_before_the_next_is_cut() {
        for until in [Until::Front, Until::Dry] {
            let woken_before = Arc::new(AtomicBool::new(false));
            let woken = Arc::clone(&woken_before);
            let shared = cutting(vec![1, 2], move |shared| {
                woken.store(shared.stop.consumer.is_set(), Ordering::Relaxed);
            });
            let (chunk, _) = next_of(&shared, None).expect("a chunk");
            assert!(shared.lock().begin_wait(until));
            next_of(&shared, Some(finished(chunk))).expect("a chunk");
            assert_eq!(woken_before.load(Ordering::Relaxed), until == Until::Front);
        }
    }
}
