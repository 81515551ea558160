//! The workers' side of a call: take a chunk, run it, hand over what came of it, take the next.
//!
//! A job on a worker does this until nothing is queued; at most one runs on each worker. It never waits: with an empty queue
//! it leaves, and whoever queues the next items starts another. So a worker is free for others as soon as this call has
//! nothing for it. Where others wait for a worker, it gives way after its turn and comes back behind them.

use crate::base::current_worker;
use crate::base::event::Event;
use crate::engine::block::{Block, Queued};
use crate::engine::run_chunk::{Done, Left, Runner};
use crate::engine::sizing::{Plan, Sizer};
use crate::engine::stop::StopFlag;
use crate::engine::window::{Chunk, Window};
use crate::engine::work::{self, Work, WorkOn};
use crate::observe::{self, ObserverRef};
use crate::panics::{self, Call, TaskPanic};
use crate::threads::job_queue::Interrupt;
use crate::threads::workers_scope::{Lent, WorkersScope};
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The place where the caller and the workers of one call meet.
pub(crate) struct CallState<B: Block, W: Work> {
    pub(crate) work: W,
    pub(crate) call: Arc<Call>,
    /// The observer of the pool; those of the call itself are in `work`.
    pool_watch: Option<ObserverRef<'static>>,
    /// One state for each worker; its job has it while that runs.
    states: States<W::State>,
    /// What lets nothing more start: a panic, the caller, a token.
    pub(crate) stop: Arc<StopFlag>,
    /// Set with the front of the line, cleared by the caller when it looks. Relaxed, for the same reason.
    front_ready: AtomicBool,
    state: Mutex<State<B, W::Output>>,
}

/// What wakes the caller.
#[derive(Clone, Copy, PartialEq)]
enum Until {
    /// The front of the line is ready, or the workers run dry.
    Front,
    /// The workers run dry.
    Dry,
}

/// For so long after the start of a call its caller stays awake, though it gives way to whoever wants its core: what is done
/// by then need not wake it, which takes tens of microseconds.
const AWAKE: Duration = Duration::from_micros(20);

/// When the caller has waited for so long, what its jobs may have given to rayon is to be shared among idle workers.
pub(crate) const WATCH_AFTER: Duration = Duration::from_micros(200);

/// What one lock guards. No user code runs under it.
struct State<B: Block, R> {
    window: Window<B, Done<R>>,
    sizer: Sizer,
    /// Jobs that were started and have not left; at most one for each worker.
    workers: usize,
    /// Chunks that are being run: taken, and not handed over.
    running: usize,
    /// True when no more items will be queued for now, so that the rest is to be shared out evenly.
    last: bool,
    /// Whether a job has taken a block to cut a chunk off it, and will put back the rest.
    is_cutting: bool,
    /// The caller wants no more results.
    is_stopped: bool,
    /// What the caller waits for at its event, if it waits.
    caller_waits: Option<Until>,
    /// When the present stretch of the call began, and how long those before it took: chunks grow with their sum.
    since: Instant,
    before: Duration,
}

/// The states of the workers. Dropped one by one, on the caller's thread: the panic of one must not meet that of another.
struct States<S>(Vec<Mutex<Option<S>>>);

impl<S> Drop for States<S> {
    fn drop(&mut self) {
        panics::contain_all(self.0.drain(..).map(Mutex::into_inner));
    }
}

impl<B: Block, R> State<B, R> {
    fn elapsed(&self, now: Instant) -> Duration {
        self.before + now.saturating_duration_since(self.since)
    }

    /// Whether a chunk is at work, or will be.
    fn is_at_work(&self) -> bool {
        self.running > 0 || self.window.queued_items() > 0
    }

    /// Makes what is queued a part of the line that gave no results: a token has stopped the call. Gives the items.
    fn give_up_queued(&mut self) -> Vec<Queued<B>> {
        let mut items = Vec::new();
        while let Some(chunk) = self.window.take_block() {
            let done = Done {
                results: Vec::new(),
                items: chunk.items.size(),
                panic: None,
                deferred: Vec::new(),
                busy: Duration::ZERO,
            };
            self.window.complete(chunk.first, done);
            items.push(chunk.items);
        }
        items
    }

    fn plan(&self) -> Plan {
        self.sizer.plan(self.elapsed(Instant::now()))
    }
}

impl<B: Block, W: WorkOn<B::Item>> CallState<B, W> {
    pub(crate) fn new(work: W, call: Arc<Call>, workers: usize, sizer: Sizer) -> Self {
        CallState {
            work,
            call,
            pool_watch: None,
            states: States(std::iter::repeat_with(|| Mutex::new(None)).take(workers).collect()),
            stop: Arc::new(StopFlag::new()),
            front_ready: AtomicBool::new(false),
            state: Mutex::new(State {
                window: Window::new(),
                sizer,
                workers: 0,
                running: 0,
                last: false,
                is_cutting: false,
                is_stopped: false,
                caller_waits: None,
                since: Instant::now(),
                before: Duration::ZERO,
            }),
        }
    }

    pub(crate) fn set_pool_watch(&mut self, watch: Option<ObserverRef<'static>>) {
        self.pool_watch = watch;
    }

    // Who watches.

    /// All who watch this call, each once.
    pub(crate) fn watches(&self) -> Vec<&ObserverRef<'_>> {
        work::watches(&self.work, self.pool_watch.as_ref())
    }

    /// Tells those who watch that this call is over.
    pub(crate) fn finish(&self) {
        self.watches().into_iter().for_each(ObserverRef::finish);
    }

    /// Asks the source for one item on behalf of a call without workers.
    pub(crate) fn pull_here(&self, next: impl FnOnce() -> Option<B::Item>) -> Option<B::Item> {
        observe::pull(&self.watches(), next)
    }

    /// Lets those who watch know how long the caller waits for results in `wait`.
    pub(crate) fn waiting<R>(&self, wait: impl FnOnce() -> R) -> R {
        observe::wait(&self.watches(), wait)
    }

    // What the caller does.

    /// Begins a stretch in which the workers are at work.
    pub(crate) fn open(&self) -> Plan {
        let mut state = self.state.lock();
        state.since = Instant::now();
        state.last = false;
        state.plan()
    }

    /// No more items will be queued in this stretch.
    pub(crate) fn close(&self) {
        self.state.lock().last = true;
    }

    /// Ends the stretch when all jobs have left: moves what finished to `ready`, drops what nobody took, and gives how
    /// long it took.
    pub(crate) fn shut(&self, ready: &mut VecDeque<Done<W::Output>>) -> Duration {
        let mut state = self.state.lock();
        debug_assert_eq!(state.running, 0, "BUG: the scope ended before its jobs");
        // Those that no worker has come to were withdrawn.
        state.workers = 0;
        let took = state.since.elapsed();
        state.before += took;
        self.move_ready(&mut state, ready);
        let queued = state.window.abandon();
        drop(state);
        queued.into_iter().for_each(Queued::abandon);
        took
    }

    /// The number of workers, and of jobs at most.
    pub(crate) fn workers(&self) -> usize {
        self.states.0.len()
    }

    /// True if no panic was caught and the caller did not stop the call.
    pub(crate) fn goes_on(&self) -> bool {
        self.stop.goes_on()
    }

    /// True if the front of the line became ready since the caller last looked.
    pub(crate) fn front_ready(&self) -> bool {
        self.front_ready.load(Ordering::Relaxed)
    }

    /// Queues items, `first` being the index of the first. Gives how many jobs the caller has to start.
    pub(crate) fn submit(&self, first: u64, items: B, pull: Duration, last: bool) -> (Plan, usize) {
        let count = items.size();
        for watch in self.watches() {
            watch.pulled(count, pull);
        }
        let mut state = self.state.lock();
        state.sizer.pulled(count, pull);
        state.window.push(first, items);
        self.stop.wants_no_items_if(true);
        state.last = last;
        let plan = state.plan();
        let missing = self.states.0.len() - state.workers;
        let queued = state.window.queued_items();
        // One for each chunk, so that a consumer that is the slowest of all need not share its core with workers that
        // find nothing; the rest of a source is shared out in smaller parts.
        let chunks = if last { queued } else { queued.div_ceil(plan.chunk) };
        let wanted = missing.min(chunks);
        state.workers += wanted;
        (plan, wanted)
    }

    /// Moves what is ready at the front of the line to `ready`.
    pub(crate) fn collect(&self, ready: &mut VecDeque<Done<W::Output>>) -> Plan {
        let mut state = self.state.lock();
        self.move_ready(&mut state, ready);
        state.plan()
    }

    /// Waits until the front of the line is ready, and moves what is ready to `ready`. Something has to be in flight.
    pub(crate) fn wait(&self, ready: &mut VecDeque<Done<W::Output>>, scope: WorkersScope<'_>) -> Plan {
        let mut state = self.state.lock();
        self.move_ready(&mut state, ready);
        if ready.is_empty() && state.elapsed(Instant::now()) < AWAKE {
            self.stay_awake(&mut state);
            self.move_ready(&mut state, ready);
        }
        if let Some(nap) = state.sizer.nap(state.elapsed(Instant::now())).filter(|_| ready.is_empty()) {
            self.sleep(&mut state, Until::Dry, |event| {
                event.wait_for(nap);
            });
            self.move_ready(&mut state, ready);
        }
        while ready.is_empty() {
            debug_assert!(!state.window.is_empty(), "BUG: nothing to wait for");
            if self.stop.is_cancelled() {
                Self::give_up_queued(&mut state);
                self.move_ready(&mut state, ready);
                if !ready.is_empty() {
                    break;
                }
            }
            self.sleep_while_watched(&mut state, Until::Front, scope);
            self.move_ready(&mut state, ready);
        }
        state.plan()
    }

    /// Waits until everything queued is done, or the call is cancelled.
    pub(crate) fn wait_for_all(&self, scope: WorkersScope<'_>) {
        let mut state = self.state.lock();
        loop {
            if self.stop.is_cancelled() {
                Self::give_up_queued(&mut state);
            }
            if !state.is_at_work() {
                break;
            }
            self.sleep_while_watched(&mut state, Until::Dry, scope);
        }
    }

    /// Lets nothing wait for a worker any more, however long the workers are busy with something else.
    fn give_up_queued(state: &mut MutexGuard<'_, State<B, W::Output>>) {
        let items = state.give_up_queued();
        MutexGuard::unlocked(state, || items.into_iter().for_each(Queued::abandon));
    }

    /// Waits until the workers run dry, for the first moments of a call.
    fn stay_awake(&self, state: &mut MutexGuard<'_, State<B, W::Output>>) {
        let elapsed = state.elapsed(Instant::now());
        self.sleep(state, Until::Dry, |event| {
            let start = Instant::now();
            while !event.is_set() && elapsed + start.elapsed() < AWAKE {
                thread::yield_now();
            }
        });
    }

    /// Wakes the caller, if it waits.
    fn call(&self, state: &mut MutexGuard<'_, State<B, W::Output>>) {
        if state.caller_waits.take().is_some() {
            self.stop.consumer.set();
        }
    }

    /// Waits at the event of the caller, without the lock, for what `until` says.
    fn sleep(&self, state: &mut MutexGuard<'_, State<B, W::Output>>, until: Until, wait: impl FnOnce(&Event)) {
        state.caller_waits = Some(until);
        MutexGuard::unlocked(state, || wait(&self.stop.consumer));
        state.caller_waits = None;
    }

    /// The same for as long as it takes. After a while, idle workers share what the jobs have given to rayon.
    fn sleep_while_watched(
        &self,
        state: &mut MutexGuard<'_, State<B, W::Output>>,
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

    fn move_ready(&self, state: &mut MutexGuard<'_, State<B, W::Output>>, ready: &mut VecDeque<Done<W::Output>>) {
        self.front_ready.store(false, Ordering::Relaxed);
        ready.extend(std::iter::from_fn(|| state.window.deliver()));
    }

    /// Lets nothing more start: the caller wants no more results.
    pub(crate) fn stop(&self) {
        self.stop.stop_at(0);
        let mut state = self.state.lock();
        state.is_stopped = true;
        let queued = state.window.abandon();
        drop(state);
        queued.into_iter().for_each(Queued::abandon);
    }

    /// Runs one item here, on the caller's thread.
    pub(crate) fn run_here(&self, index: u64, item: B::Item) -> Result<W::Output, TaskPanic> {
        let mut worker_state = self.states.0[0].lock().take();
        let outcome = self.runner(&|_| false).run_here(&self.watches(), &mut worker_state, index, item);
        *self.states.0[0].lock() = worker_state;
        outcome
    }

    // What the workers do.

    /// What one job does on a worker.
    fn run(&self, scope: &WorkersScope<'_>)
    where
        B: Block<Item: Send> + Send,
    {
        let index = current_worker::index().expect("BUG: jobs run on workers");
        let mut worker_state = self.states.0[index].lock().take();
        let mut done = None;
        let gives_way = loop {
            match self.complete_and_take(done, |now| scope.should_yield(now)) {
                Next::Run { chunk, help } => {
                    if help {
                        scope.spawn();
                    }
                    let first = chunk.first;
                    self.stop.settle_unless(|| scope.others_wait());
                    let should_yield = |now| scope.should_yield(now);
                    let (completed, left) = self.runner(&should_yield).run(self.watches(), chunk, &mut worker_state);
                    if let Some(left) = left {
                        self.hand_back(left);
                    }
                    done = Some((first, completed));
                }
                Next::Yield => break true,
                Next::Leave => break false,
            }
        };
        *self.states.0[index].lock() = worker_state;
        if gives_way {
            scope.spawn();
        }
    }

    fn runner<'a>(&'a self, should_yield: &'a dyn Fn(Instant) -> bool) -> Runner<'a, W> {
        Runner { work: &self.work, call: &self.call, stop: &self.stop, should_yield }
    }

    /// What is left of a chunk waits again for a worker.
    fn hand_back(&self, left: Left<B>) {
        let mut state = self.state.lock();
        if state.is_stopped {
            drop(state);
            return left.blocks.into_iter().for_each(Queued::abandon);
        }
        left.into_blocks().for_each(|block| state.window.put_back(block));
    }

    /// Takes the next chunk of data whose splitting is code of the user's, which runs without a lock.
    fn cut(state: &mut MutexGuard<'_, State<B, W::Output>>, most: usize) -> Option<Chunk<B>> {
        let mut chunk = state.window.take_block()?;
        if chunk.items.size() <= most {
            return Some(chunk);
        }
        state.is_cutting = true;
        let rest = MutexGuard::unlocked(state, || chunk.cut(most));
        state.is_cutting = false;
        match rest {
            Some((_, rest)) if state.is_stopped => MutexGuard::unlocked(state, || rest.abandon()),
            Some(rest) => state.window.put_back(rest),
            None => {}
        }
        Some(chunk)
    }

    /// Hands over a chunk and takes the next. `should_yield` says whether others are to go first.
    fn complete_and_take(
        &self,
        done: Option<(u64, Done<W::Output>)>,
        should_yield: impl FnOnce(Instant) -> bool,
    ) -> Next<Chunk<B>> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let mut front = false;
        let has_worked = done.is_some();
        if let Some((first, done)) = done {
            state.running -= 1;
            state.sizer.worked(done.results.len(), done.busy);
            front = state.window.complete(first, done);
            if front {
                self.front_ready.store(true, Ordering::Relaxed);
            }
        }
        let queued = state.window.queued_items();
        if has_worked && queued > 0 && should_yield(now) {
            if front && state.caller_waits == Some(Until::Front) {
                self.call(&mut state);
            }
            // It stays counted, and comes back.
            return Next::Yield;
        }
        let most = state.sizer.take(state.elapsed(now), queued, state.last);
        let chunk = if B::CUTS_BY_USER {
            if front && state.caller_waits == Some(Until::Front) {
                // However long the cutting takes.
                self.call(&mut state);
            }
            if state.is_cutting {
                // It may not take what lies behind that block. Whoever cuts it stays, and calls for help then.
                state.workers -= 1;
                return Next::Leave;
            }
            Self::cut(&mut state, most)
        } else {
            state.window.take(most)
        };
        // Whoever leaves is struck off under the same lock that showed the queue empty, so the next to queue items knows.
        // Whoever stays calls in one more if there is still more to do than workers.
        let help = chunk.is_some() && state.window.queued_items() > 0 && state.workers < self.states.0.len();
        if chunk.is_none() {
            state.workers -= 1;
            if state.running > 0 && !state.is_stopped {
                self.stop.ask_for_items();
            }
        } else {
            state.running += 1;
            state.workers += usize::from(help);
            self.stop.wants_no_items_if(state.window.queued_items() > 0);
        }
        let dry = chunk.is_none() && (state.running == 0 || !state.last);
        if dry || (front && state.caller_waits == Some(Until::Front)) {
            self.call(&mut state);
        }
        chunk.map_or(Next::Leave, |chunk| Next::Run { chunk, help })
    }
}

impl<B: Block<Item: Send> + Send, W: WorkOn<B::Item>> Lent for CallState<B, W> {
    fn work(&self, scope: &WorkersScope<'_>) {
        self.run(scope);
    }

    fn interrupt(&self) -> Option<Arc<dyn Interrupt>> {
        Some(Arc::clone(&self.stop) as _)
    }
}

/// What a job does next.
enum Next<C> {
    /// Runs this, after it has started one more job if need be.
    Run {
        chunk: C,
        help: bool,
    },
    /// Lets others go first, and comes back.
    Yield,
    Leave,
}

/// The jobs of a call in any order between the steps of its caller: what one does from one hand-over to the next is a
/// step, as is what the caller does between two waits. No step waits for another, so what the lock keeps whole is all that
/// can happen.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::work::Map;
    use crate::testing::orders::{self, Given, Way};
    use proptest::prelude::*;
    use std::panic::resume_unwind;
    use std::sync::atomic::AtomicUsize;
    use std::{mem, vec};

    type Numbers = vec::IntoIter<u32>;
    type Same = Map<fn(u32) -> u32, u32>;

    /// What a job does next that others do not wait for: the chunk it takes, and whether it starts one more.
    fn next_of<B: Block, W: WorkOn<B::Item>>(
        exchange: &CallState<B, W>,
        done: Option<(u64, Done<W::Output>)>,
    ) -> (Option<Chunk<B>>, bool) {
        match exchange.complete_and_take(done, |_| false) {
            Next::Run { chunk, help } => (Some(chunk), help),
            Next::Yield => unreachable!("nobody waits"),
            Next::Leave => (None, false),
        }
    }

    /// A call of so many workers whose items are queued and whose jobs only the test plays: chunks of one item.
    fn exchange(workers: usize, items: Vec<u32>, last: bool) -> CallState<Numbers, Same> {
        let mut sizer = Sizer::new::<u32, u32>(workers);
        sizer.fix_chunk(1);
        let exchange =
            CallState::new(Map::new((|x| x) as fn(u32) -> u32), Arc::new(Call::here("pool_map", None)), workers, sizer);
        exchange.open();
        exchange.submit(0, items.into_iter(), Duration::ZERO, last);
        exchange
    }

    fn finished<B: Block<Item = u32>>(chunk: Chunk<B>) -> (u64, Done<u32>) {
        let results = chunk.items.into_vec();
        let items = results.len();
        (chunk.first, Done { results, items, panic: None, deferred: Vec::new(), busy: Duration::ZERO })
    }

    #[test]
    fn help_is_called_while_there_is_more_to_do_than_jobs() {
        let exchange = exchange(4, vec![0, 1, 2], true);
        exchange.state.lock().workers = 1;
        let (first, help) = next_of(&exchange, None);
        assert!(first.is_some() && help, "two are queued");
        let (second, help) = next_of(&exchange, None);
        assert!(second.is_some() && help, "one is queued");
        let (third, help) = next_of(&exchange, None);
        assert!(third.is_some() && !help && exchange.state.lock().workers == 3, "none is queued");
        for chunk in [first, second, third].into_iter().flatten() {
            let (chunk, help) = next_of(&exchange, Some(finished(chunk)));
            assert!(chunk.is_none() && !help);
        }
        assert_eq!(exchange.state.lock().workers, 0);
    }

    /// Whether a caller that waits for `until` is called by what `step` does.
    fn calls<B: Block, W: WorkOn<B::Item>, R>(
        exchange: &CallState<B, W>,
        until: Until,
        step: impl FnOnce(&CallState<B, W>) -> R,
    ) -> (R, bool) {
        exchange.state.lock().caller_waits = Some(until);
        let event = &exchange.stop.consumer;
        event.wait_for(Duration::ZERO);
        let end = step(exchange);
        let called = event.is_set();
        assert_ne!(called, exchange.state.lock().caller_waits.is_some());
        (end, called)
    }

    #[test]
    fn the_caller_is_called_for_the_front_or_when_the_workers_run_dry() {
        for last in [false, true] {
            let exchange = exchange(2, vec![0, 1], last);
            let take = |exchange: &CallState<_, _>| next_of(exchange, None).0.expect("a chunk");
            let (first, called) = calls(&exchange, Until::Dry, take);
            assert!(!called, "one more is queued");
            let (second, called) = calls(&exchange, Until::Front, take);
            assert!(!called, "and runs");
            exchange.state.lock().workers = 2;
            // Where more is to come, whoever finds nothing calls for it; else the last to leave says that all is done.
            let (_, called) = calls(&exchange, Until::Dry, |exchange| next_of(exchange, Some(finished(second))));
            assert_eq!(called, !last);
            let (_, called) = calls(&exchange, Until::Dry, |exchange| next_of(exchange, Some(finished(first))));
            assert!(called);
        }
        let exchange = exchange(2, vec![0, 1, 2, 3], true);
        exchange.state.lock().workers = 2;
        let [first, second] = [(); 2].map(|()| next_of(&exchange, None).0.expect("a chunk"));
        let (_, called) = calls(&exchange, Until::Front, |exchange| next_of(exchange, Some(finished(second))));
        assert!(!called, "it is not the front of the line");
        let (_, called) = calls(&exchange, Until::Front, |exchange| next_of(exchange, Some(finished(first))));
        assert!(called);
    }

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
        first: impl FnOnce(&CallState<Cuttable, Same>) + Send + 'static,
    ) -> Arc<CallState<Cuttable, Same>> {
        let mut sizer = Sizer::new::<u32, u32>(2);
        sizer.fix_chunk(1);
        let work = Map::new((|x| x) as fn(u32) -> u32);
        let exchange = Arc::new(CallState::new(work, Arc::new(Call::here("pool_map", None)), 2, sizer));
        exchange.open();
        exchange.submit(0, Cuttable { numbers: vec![0].into_iter(), first: None }, Duration::ZERO, false);
        let here = Arc::clone(&exchange);
        let items = Cuttable { numbers: items.into_iter(), first: Some(Box::new(move || first(&here))) };
        exchange.submit(1, items, Duration::ZERO, true);
        exchange.state.lock().workers = 2;
        exchange
    }

    #[test]
    fn while_one_job_cuts_others_leave_and_the_call_may_stop() {
        for stops in [false, true] {
            let exchange = cutting(vec![1, 2, 3], move |exchange| {
                let (chunk, help) = next_of(exchange, None);
                assert!(chunk.is_none() && !help && exchange.state.lock().workers == 1, "it has left");
                if stops {
                    exchange.stop();
                }
            });
            let chunk = next_of(&exchange, None).0.expect("a chunk");
            let (next, help) = next_of(&exchange, Some(finished(chunk)));
            assert_eq!(next.expect("it was cut off").items.into_vec(), [1]);
            assert_eq!((help, exchange.state.lock().window.queued_items()), (!stops, if stops { 0 } else { 2 }));
        }
    }

    #[test]
    fn a_caller_that_waits_for_the_front_is_called_before_the_next_is_cut() {
        for until in [Until::Front, Until::Dry] {
            let called_before = Arc::new(AtomicBool::new(false));
            let told = Arc::clone(&called_before);
            let exchange = cutting(vec![1, 2], move |exchange| {
                told.store(exchange.stop.consumer.is_set(), Ordering::Relaxed);
            });
            let chunk = next_of(&exchange, None).0.expect("a chunk");
            calls(&exchange, until, |exchange| next_of(exchange, Some(finished(chunk))));
            assert_eq!(called_before.load(Ordering::Relaxed), until == Until::Front);
        }
    }

    #[test]
    fn a_job_that_has_had_its_turn_gives_way_where_more_is_queued() {
        let exchange = exchange(2, vec![0, 1], true);
        let first = next_of(&exchange, None).0.expect("a chunk");
        assert!(matches!(exchange.complete_and_take(Some(finished(first)), |_| true), Next::Yield));
        assert_eq!(exchange.state.lock().workers, 2, "it comes back");
        let second = next_of(&exchange, None).0.expect("a chunk");
        assert!(matches!(exchange.complete_and_take(Some(finished(second)), |_| true), Next::Leave), "nothing is left");
    }

    #[test]
    fn what_a_token_gives_up_is_a_gap_in_the_line() {
        let exchange = exchange(2, vec![0, 1, 2], true);
        let first = next_of(&exchange, None).0.expect("a chunk");
        CallState::<Numbers, Same>::give_up_queued(&mut exchange.state.lock());
        assert!(next_of(&exchange, Some(finished(first))).0.is_none());
        let mut ready = VecDeque::new();
        exchange.collect(&mut ready);
        let line: Vec<_> = ready.iter().map(|done| (done.results.len(), done.items)).collect();
        assert_eq!(line, [(1, 1), (0, 2)]);
        assert!(exchange.state.lock().window.is_empty());
    }

    #[test]
    fn the_time_of_a_call_is_the_sum_of_its_stretches() {
        let exchange = exchange(1, vec![], false);
        let mut took = exchange.shut(&mut VecDeque::new());
        exchange.open();
        exchange.close();
        assert!(exchange.state.lock().last, "the rest is shared out");
        took += exchange.shut(&mut VecDeque::new());
        exchange.open();
        let state = exchange.state.lock();
        assert!(!state.last);
        assert_eq!(state.elapsed(state.since + AWAKE), took + AWAKE);
    }

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
        Took(Chunk<vec::IntoIter<T>>),
        Ran(u64, Done<R>),
    }

    impl<T, R> Stage<T, R> {
        fn stands(&self) -> (u8, u64) {
            match self {
                Stage::Called => (0, 0),
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
        let exchange = CallState::new(work, Arc::new(Call::here("orders", None)), *workers, sizer);
        exchange.open();

        let mut jobs: Vec<Stage<Item<'_>, usize>> = Vec::new();
        let (mut pulled, mut yielded, mut handed_back) = (0, 0, 0);
        let (mut ready, mut seen) = (VecDeque::new(), Seen::default());
        // The least item whose panic was caught so far.
        let mut caught = u64::MAX;
        let (mut over, mut closed) = (false, false);
        loop {
            let asleep = exchange.state.lock().caller_waits.is_some();
            // Pullers that have not begun are all the same.
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
            if let Some(actor) = actor {
                match mem::replace(&mut jobs[actor], Stage::Called) {
                    Stage::Took(chunk) => {
                        let first = chunk.first;
                        let before = runs.lock().len();
                        let asked = handed_back < *hands_back && way.choose(2) == 1;
                        // However slow this machine is, nothing is handed back unasked.
                        exchange.stop.wants_no_items_if(true);
                        exchange.stop.settle_unless(|| false);
                        if asked {
                            exchange.stop.interrupt();
                        }
                        let (done, left) = exchange.runner(&|_| asked).run(Vec::new(), chunk, &mut None);
                        if let Some(left) = left {
                            handed_back += 1;
                            assert!(!done.results.is_empty(), "each visit gets something done");
                            exchange.hand_back(left);
                        }
                        exchange.stop.settle_unless(|| false);
                        for index in &runs.lock()[before..] {
                            assert!((*index as u64) < caught, "item {index} started after the panic of {caught}");
                            assert!(!over, "item {index} started after the end");
                        }
                        caught = done.panic.as_ref().map_or(caught, |panic| caught.min(panic.item()));
                        assert!((first..).zip(&done.results).all(|(index, result)| index == *result as u64));
                        jobs[actor] = Stage::Ran(first, done);
                    }
                    stage => {
                        let done = if let Stage::Ran(first, done) = stage { Some((first, done)) } else { None };
                        let may_yield = done.is_some() && yielded < *yields;
                        let next = exchange.complete_and_take(done, |_| may_yield && way.choose(2) == 1);
                        let help = matches!(next, Next::Run { help: true, .. });
                        jobs.extend(spawned(usize::from(help)));
                        // One that gives way comes back, and calls others then.
                        let comes_back = matches!(next, Next::Yield);
                        let is_called =
                            |(at, job): (usize, &_)| (at != actor || comes_back) && matches!(job, Stage::Called);
                        let all_come = jobs.len() == *workers || jobs.iter().enumerate().any(is_called);
                        let none_wait = exchange.state.lock().window.queued_items() == 0;
                        assert!(all_come || none_wait, "a worker was not called: {setting:?}");
                        match next {
                            Next::Run { chunk, .. } => jobs[actor] = Stage::Took(chunk),
                            Next::Yield => yielded += 1,
                            Next::Leave => drop(jobs.swap_remove(actor)),
                        }
                    }
                }
            } else if exchange.front_ready() && !batch {
                // The caller, as in `Stream::advance` and `Stream::run_batch`.
                exchange.collect(&mut ready);
            } else if pulled < *items && exchange.goes_on() && seen.out < *limit {
                let count = (*chunk).min(items - pulled).min(limit - seen.out);
                let block: Vec<_> = (pulled..pulled + count).map(|number| Item::new(number, &alive)).collect();
                let first = pulled as u64;
                pulled += count;
                seen.out += count;
                let (_, wanted) = exchange.submit(first, block.into_iter(), Duration::ZERO, pulled == *items);
                jobs.extend(spawned(wanted));
            } else if *batch && !closed {
                exchange.close();
                closed = true;
            } else {
                // `wait` and `wait_for_all` without their sleep.
                let mut state = exchange.state.lock();
                if !batch {
                    exchange.move_ready(&mut state, &mut ready);
                }
                if !ready.is_empty() {
                } else if if *batch { state.is_at_work() } else { seen.out > 0 } {
                    assert!(state.workers > 0, "nobody will wake the caller: {setting:?}");
                    state.caller_waits = Some(if *batch { Until::Dry } else { Until::Front });
                } else {
                    over = true;
                }
            }
            seen.take_up(&mut ready);
            if actor.is_none() && (over || seen.failure.is_some() || seen.results.len() >= *stop_after) {
                over = true;
                exchange.stop();
            }

            // What always holds.
            let state = exchange.state.lock();
            assert_eq!(state.workers, jobs.len(), "{setting:?}");
            assert!(jobs.len() <= *workers, "{setting:?}");
            assert!(seen.out <= *limit, "{setting:?}");
            let work_waits = state.window.queued_items() > 0;
            assert!(!work_waits || !jobs.is_empty(), "items wait for nobody: {setting:?}");

            let waits = state.caller_waits;
            let line =
                state.window.map_line(|done| done.as_ref().map(|done| (done.results.len(), done.panic.is_some())));
            let front = state.window.is_front_ready();
            drop(state);
            let mut stands: Vec<_> = jobs.iter().map(Stage::stands).collect();
            stands.sort_unstable();
            assert!(!front || waits != Some(Until::Front), "the caller sleeps beside its result: {setting:?}");
            assert_eq!(front, exchange.front_ready(), "{setting:?}");
            let call = (pulled, caught, over, closed, yielded, handed_back, waits.is_some(), front);
            if way.was_here(format!("{call:?} {seen:?} {stands:?} {line:?}")) {
                return;
            }
        }
        exchange.shut(&mut ready);
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
