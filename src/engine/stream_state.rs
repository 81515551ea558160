//! The shared state of a stream: what the consumer, its feeder and the workers meet at.
//!
//! The **feeder** is a thread that pulls the source, one item at a time, while there is room. Each item is at once where a
//! worker can take it, so none ever waits for the source to give the next. **Jobs** on the workers take what
//! is there, a chunk at a time, run it, and put the results into their place in the line. The **consumer** takes them from
//! the front. Nobody holds the lock while user code runs: `next` of the source, `f`, any destructor.
//!
//! To keep cheap items cheap, no item wakes a worker that needs not be woken:
//!
//! - While some job is *looking* (it was called and has not come yet, or it naps), nobody else is called. It will see
//!   whatever there is by then, and whoever leaves items behind calls the next. So where a thousand items come in the
//!   time that waking takes, they wake one worker.
//! - A job that finds only a few cheap items naps first, for a bounded time, and takes what has come by then.

use crate::engine::block::Queued;
use crate::engine::call::WATCH_AFTER;
use crate::engine::run_chunk::{Done, Left, Runner};
use crate::engine::sizing::Sizer;
use crate::engine::stop::StopFlag;
use crate::engine::window::{Chunk, Window};
use crate::engine::work::{self, Work, WorkOn};
use crate::observe::{self, CallerRole, ObserverRef};
use crate::panics::{self, Call, Payload, TaskPanic};
use crate::threads::job_queue::{Interrupt, JobQueue};
use crate::threads::lease::Lease;
use crate::threads::pool::Pool;
use crate::threads::wait_graph::{PoolId, WaitPermit};
use crate::threads::workers_scope::{self, Holders, Lent, Shared, WorkersScope};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::any::Any;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};
use std::{mem, thread, vec};

/// How long a job naps that finds less than a chunk.
const NAP: Duration = Duration::from_micros(50);

/// How often the consumer gives way at the end of a stream before it waits for the others to let go.
const ROUNDS_AWAKE: u32 = 16;

/// A block of a stream: its items were pulled one by one.
type Items<T> = vec::IntoIter<T>;

/// Where the lease of a stream lies from its start until the consumer takes it away.
pub(crate) type LeaseSlot = Mutex<Option<Lease>>;

/// What one stream's threads share.
pub(crate) struct StreamState<T, W: Work> {
    /// `Some` until the drop.
    work: Option<W>,
    call: Arc<Call>,
    /// The observer of the pool; those of the call itself are in `work`.
    pool_watch: Option<Box<ObserverRef<'static>>>,
    pub(crate) stop: Arc<StopFlag>,
    /// How many jobs there may be.
    workers: usize,
    state: Mutex<State<T, W::Output>>,
    /// Notified when a napping job has nothing more to wait for.
    nap: Condvar,
    /// A leased pool, kept by each job until it has left: the next lease is to have it alone. Not by the feeder, whose source
    /// may block for ever.
    kept: OnceLock<Weak<LeaseSlot>>,
    /// The jobs of the workers, from the start on. Not the pool: the feeder, which may block for ever, is not to keep that.
    pool: OnceLock<(PoolId, Arc<JobQueue>)>,
}

/// What one lock guards. No user code runs under it.
struct State<T, R> {
    window: Window<Items<T>, Done<R>>,
    /// The items behind all those in `window`: the block that the feeder is filling.
    open: Vec<T>,
    sizer: Sizer,
    /// How many items a worker takes, and how many may be in flight, as last computed.
    chunk: usize,
    limit: usize,
    since: Instant,
    /// Items that came from the source, so also the index of the next one; and those that the consumer is done with.
    pulled: u64,
    delivered: u64,
    source: Source,
    /// The feeder is done with the source, and is about to leave.
    is_fed: bool,
    /// Chunks that are being run: taken, and not handed in.
    running: usize,
    /// Workers that were called and have not left; at most one for each worker.
    jobs: usize,
    /// Workers among them that are about to look for items. While any item is queued, this is not 0, or each of the
    /// workers has a job, which will look when it is done with its chunk. That is what keeps a stream alive.
    looking: usize,
    /// How many of those nap.
    napping: usize,
    /// The feeder waits at its bell for room.
    feeder_waits: bool,
    /// The consumer waits at its bell, for this.
    consumer_waits: Option<Until>,
    /// The consumer wants nothing more.
    stopped: bool,
}

/// How far the source is.
enum Source {
    Open,
    /// It gave `None`, and is not asked again.
    Ended,
    /// It panicked, and is not asked again. The panic's turn comes after every result.
    Panicked(Payload),
}

/// What the consumer waits for.
#[derive(Clone, Copy, PartialEq)]
enum Until {
    /// A result whose turn it is.
    Front,
    /// That, or an item to run: the consumer is itself a worker.
    Work,
}

/// What a job does next.
enum Next<T> {
    /// Runs this, after it has called another job if need be.
    Run {
        chunk: Chunk<Items<T>>,
        help: bool,
    },
    /// Lets other errands go first.
    StepBack,
    Leave,
}

/// How long the consumer waits for what comes next.
#[derive(Clone, Copy)]
pub(crate) enum Patience {
    Endless,
    /// Until then, if nothing comes before; and it runs nothing itself.
    Until(Instant),
}

/// What comes next out of a stream.
pub(crate) enum Turn<R> {
    /// Nothing has come in time.
    NotReady,
    Done(Done<R>),
    Ended,
    /// The source panicked.
    Panicked(Payload),
}

impl<T, R> State<T, R> {
    fn new(sizer: Sizer, ordered: bool) -> Self {
        let since = Instant::now();
        let mut state = State {
            window: if ordered { Window::new() } else { Window::unordered() },
            open: Vec::new(),
            sizer,
            chunk: 1,
            limit: 1,
            since,
            pulled: 0,
            delivered: 0,
            source: Source::Open,
            is_fed: false,
            running: 0,
            jobs: 0,
            looking: 0,
            napping: 0,
            feeder_waits: false,
            consumer_waits: None,
            stopped: false,
        };
        state.plan(since);
        state
    }

    fn in_flight(&self) -> usize {
        usize::try_from(self.pulled - self.delivered).expect("BUG: more in flight than memory holds")
    }

    fn queued(&self) -> usize {
        self.window.queued_items() + self.open.len()
    }

    fn push(&mut self, item: T) {
        if self.open.capacity() == 0 {
            self.open.reserve(self.chunk.min(64));
        }
        self.open.push(item);
        self.pulled += 1;
        if self.open.len() >= self.chunk {
            self.close_block();
        }
    }

    /// Puts the block that is being filled behind the others.
    fn close_block(&mut self) {
        let first = self.pulled - self.open.len() as u64;
        self.window.push(first, mem::take(&mut self.open).into_iter());
    }

    fn take(&mut self, most: usize) -> Option<Chunk<Items<T>>> {
        if self.window.queued_items() == 0 {
            self.close_block();
        }
        let chunk = self.window.take(most)?;
        self.running += 1;
        Some(chunk)
    }

    /// How many items a worker takes now.
    fn most(&self, now: Instant) -> usize {
        self.sizer.take(now.saturating_duration_since(self.since), self.queued(), !self.source.is_open())
    }

    /// Counts a job in if items wait that nobody is about to look for; then it has to be called.
    fn wants_job(&mut self, workers: usize) -> bool {
        let wants = self.queued() > 0 && self.looking == 0 && self.jobs < workers;
        if wants {
            self.jobs += 1;
            self.looking += 1;
        }
        wants
    }

    /// Whether all that waits is less than the shortest chunk worth taking: 20 µs of work, or what the user fixed.
    fn is_scant(&self) -> bool {
        let queued = self.queued();
        queued < self.sizer.take(Duration::ZERO, queued, false) && self.source.is_open() && !self.feeder_waits
    }

    /// Notes what was measured of a chunk.
    fn measure(&mut self, done: &Done<R>, now: Instant) {
        self.sizer.worked(done.results.len(), done.busy);
        self.plan(now);
    }

    fn plan(&mut self, now: Instant) {
        let plan = self.sizer.plan(now.saturating_duration_since(self.since));
        self.chunk = plan.block.items;
        self.limit = plan.in_flight;
    }

    /// Whether the room is worth waking the feeder for: where items are cheap, not for every few of them.
    fn has_room_to_tell_of(&self) -> bool {
        let worth_it = if self.chunk == 1 { 1 } else { self.chunk.saturating_mul(2).min(self.limit / 4).max(1) };
        self.in_flight().saturating_add(worth_it) <= self.limit
    }

    fn take_back(&mut self) -> Vec<Queued<Items<T>>> {
        self.close_block();
        self.window.abandon().into()
    }
}

impl Source {
    fn is_open(&self) -> bool {
        matches!(self, Source::Open)
    }
}

impl<T, W: WorkOn<T>> StreamState<T, W> {
    pub(crate) fn new(
        work: W,
        call: Arc<Call>,
        workers: usize,
        sizer: Sizer,
        ordered: bool,
        stop: Arc<StopFlag>,
        pool_watch: Option<Box<ObserverRef<'static>>>,
    ) -> Self {
        StreamState {
            work: Some(work),
            call,
            pool_watch,
            stop,
            workers,
            state: Mutex::new(State::new(sizer, ordered)),
            nap: Condvar::new(),
            kept: OnceLock::new(),
            pool: OnceLock::new(),
        }
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

    /// Tells those who watch that the stream starts, and lets its feeder begin, which waits for that. `fed` says whether it
    /// has one.
    pub(crate) fn open(&self, size_hint: (usize, Option<usize>), fed: bool) {
        let watches = self.watches();
        if watches.is_empty() {
            return;
        }
        let (workers, part) = if fed { (self.workers, CallerRole::Results) } else { (1, CallerRole::Both) };
        for watch in watches {
            watch.start(&self.call, workers, size_hint, part);
        }
        self.stop.feeder.set();
    }

    /// Lets them know how long the consumer waits for results in `wait`.
    fn waiting<R>(&self, wait: impl FnOnce() -> R) -> R {
        observe::wait(&self.watches(), wait)
    }

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
        let watches = self.watches();
        if watches.is_empty() {
            self.pull_all(&mut source, Iterator::next, scope);
        } else {
            // The start is told before anything else. A token may set it as well, but then nothing is pulled.
            self.stop.feeder.wait();
            self.pull_all(&mut source, |source| observe::pull(&watches, || source.next()), scope);
        }
        panics::contain(source.take());
    }

    /// Waits until nothing is queued or at work: what is spawned is withdrawn after that.
    fn wait_for_workers(&self) {
        let mut state = self.state.lock();
        while !state.stopped && (state.queued() > 0 || state.running > 0) {
            MutexGuard::unlocked(&mut state, || self.stop.feeder.wait());
        }
    }

    fn pull_all<I>(&self, source: &mut Option<I>, mut next: impl FnMut(&mut I) -> Option<T>, scope: WorkersScope<'_>)
    where
        I: Iterator<Item = T>,
    {
        let mut state = self.state.lock();
        while let (true, Some(open)) = (self.has_room(&mut state), source.as_mut()) {
            // User code. It may block for ever, and the consumer may be gone when it returns.
            match MutexGuard::unlocked(&mut state, || panics::catch(|| next(open))) {
                Ok(Some(item)) if self.stop.goes_on() => state.push(item),
                Ok(Some(item)) => MutexGuard::unlocked(&mut state, || panics::contain(item)),
                Ok(None) => Self::end_source(&mut state, source, Source::Ended),
                Err(payload) => Self::end_source(&mut state, source, Source::Panicked(payload)),
            }
            self.announce(&mut state, scope);
        }
    }

    /// Drops the source before anybody hears of its end: when a stream gives `None`, nothing of it is left.
    fn end_source<I>(state: &mut MutexGuard<'_, State<T, W::Output>>, source: &mut Option<I>, how: Source) {
        MutexGuard::unlocked(state, || panics::contain(source.take()));
        state.is_fed = true;
        if state.source.is_open() {
            state.source = how;
        } else {
            // The consumer wants nothing more.
            MutexGuard::unlocked(state, || panics::contain(how));
        }
    }

    /// Waits until one more item may be pulled; false if none ever may.
    fn has_room(&self, state: &mut MutexGuard<'_, State<T, W::Output>>) -> bool {
        while state.source.is_open() && self.stop.goes_on() {
            if state.in_flight() < state.limit {
                return true;
            }
            state.feeder_waits = true;
            // Nothing more comes that a nap could wait for.
            self.end_naps(state);
            MutexGuard::unlocked(state, || self.stop.feeder.wait());
            state.feeder_waits = false;
        }
        false
    }

    /// Tells of an item that has come, or of the end, those who need to know.
    fn announce(&self, state: &mut MutexGuard<'_, State<T, W::Output>>, scope: WorkersScope<'_>) {
        let open = state.source.is_open();
        if !open || state.queued() >= state.chunk {
            self.end_naps(state);
        }
        if state.wants_job(self.workers) {
            MutexGuard::unlocked(state, || scope.spawn());
        }
        let concerned = if open { state.consumer_waits == Some(Until::Work) } else { state.consumer_waits.is_some() };
        if concerned {
            state.consumer_waits = None;
            self.stop.consumer.set();
        }
    }

    // What the workers do.

    /// What one job does on a worker. It was counted in when it was spawned.
    fn work_on(&self, scope: &WorkersScope<'_>) {
        self.state.lock().looking -= 1;
        let mut done = None;
        loop {
            match self.complete_and_take(done.take(), |now| scope.should_yield(now)) {
                Next::Run { chunk, help } => {
                    if help {
                        scope.spawn();
                    }
                    let first = chunk.first;
                    self.stop.settle_unless(|| scope.others_wait());
                    done = Some((first, self.run(chunk, &|now| scope.should_yield(now))));
                }
                Next::StepBack => return scope.spawn(),
                Next::Leave => return,
            }
        }
    }

    fn runner<'a>(&'a self, should_yield: &'a dyn Fn(Instant) -> bool) -> Runner<'a, W> {
        Runner { work: self.work(), call: &self.call, stop: &self.stop, should_yield }
    }

    /// Runs a chunk. What is handed back of it waits again for a worker.
    fn run(&self, chunk: Chunk<Items<T>>, should_yield: &dyn Fn(Instant) -> bool) -> Done<W::Output> {
        let (done, left) = self.runner(should_yield).run(self.watches(), chunk, &mut None);
        if let Some(left) = left {
            self.hand_back(left);
        }
        done
    }

    fn hand_back(&self, left: Left<Items<T>>) {
        let mut state = self.state.lock();
        if state.stopped {
            drop(state);
            return left.blocks.into_iter().for_each(Queued::abandon);
        }
        left.into_blocks().for_each(|block| state.window.put_back(block));
    }

    /// Hands over a chunk and takes the next.
    fn complete_and_take(
        &self,
        done: Option<(u64, Done<W::Output>)>,
        should_yield: impl FnOnce(Instant) -> bool,
    ) -> Next<T> {
        let now = Instant::now();
        let has_worked = done.is_some();
        let mut state = self.state.lock();
        if let Some((first, done)) = done {
            self.hand_in(&mut state, first, done, now);
        }
        if has_worked && state.queued() > 0 && should_yield(now) {
            state.looking += 1;
            return Next::StepBack;
        }
        // Who has just come was called for what is there; who comes back and finds something, will find more soon.
        if has_worked && state.queued() > 0 && state.is_scant() {
            if state.looking > 0 {
                state.jobs -= 1;
                return Next::Leave;
            }
            state.looking += 1;
            state.napping += 1;
            self.nap.wait_for(&mut state, NAP);
            state.napping -= 1;
            state.looking -= 1;
        }
        let most = state.most(now);
        if let Some(chunk) = state.take(most) {
            self.stop.wants_no_items_if(state.queued() > 0);
            return Next::Run { chunk, help: state.wants_job(self.workers) };
        }
        state.jobs -= 1;
        if state.running > 0 {
            self.stop.ask_for_items();
        }
        Next::Leave
    }

    /// Puts what came of a chunk into its place in the line.
    fn hand_in(
        &self,
        state: &mut MutexGuard<'_, State<T, W::Output>>,
        first: u64,
        done: Done<W::Output>,
        now: Instant,
    ) {
        state.measure(&done, now);
        state.running -= 1;
        if state.stopped {
            let is_last = state.running == 0;
            // Nobody will ask for it. What it has to say of panics is said here.
            return MutexGuard::unlocked(state, || {
                panics::contain_all(done.results);
                panics::mention_there(self.call.outlet(), &done.deferred, done.panic);
                if is_last {
                    panics::emit_raw(self.call.outlet(), self.finish());
                }
            });
        }
        let front = state.window.complete(first, done);
        if front && state.consumer_waits.take().is_some() {
            self.stop.consumer.set();
        }
        if state.is_fed && state.running == 0 && state.queued() == 0 {
            // It waits for the last chunk.
            self.stop.feeder.set();
        }
    }

    /// At the end of a stream whose source has ended, waits until no other thread holds anything of it: they are about to let
    /// go.
    pub(crate) fn wait_for_others(&self) {
        if !self.state.lock().is_fed {
            return;
        }
        self.withdraw_jobs();
        // Which takes a moment, as a rule, and a sleep would take longer.
        for _ in 0..ROUNDS_AWAKE {
            if !self.stop.is_held_by_others() {
                return;
            }
            thread::yield_now();
        }
        while self.stop.is_held_by_others() {
            self.stop.consumer.wait();
        }
    }

    // What the consumer does.

    /// Waits for what comes next. `handed` items have been handed out since the last time, or will never be. On a
    /// worker that must not wait for the pool it runs what waits for a worker, and waits only for what runs elsewhere.
    pub(crate) fn deliver(&self, handed: usize, patience: Patience) -> Turn<W::Output> {
        let mut state = self.state.lock();
        state.delivered += handed as u64;
        loop {
            if state.feeder_waits && state.has_room_to_tell_of() {
                state.feeder_waits = false;
                self.stop.feeder.set();
            }
            let cancelled = self.stop.is_cancelled();
            if cancelled {
                // The token may not have come so far. Nothing may be queued behind the gap that is made here.
                self.stop.stop_at(0);
                let items = state.take_back();
                self.stop.feeder.set();
                if !items.is_empty() && state.window.is_ordered() {
                    // Nor does a panic of the source come out from behind it.
                    let source = mem::replace(&mut state.source, Source::Ended);
                    MutexGuard::unlocked(&mut state, || panics::contain(source));
                }
                MutexGuard::unlocked(&mut state, || items.into_iter().for_each(Queued::abandon));
            }
            if let Some(done) = state.window.deliver() {
                return Turn::Done(done);
            }
            if state.queued() == 0 && state.window.is_empty() && (cancelled || !state.source.is_open()) {
                return match mem::replace(&mut state.source, Source::Ended) {
                    Source::Panicked(payload) => Turn::Panicked(payload),
                    Source::Open | Source::Ended => Turn::Ended,
                };
            }
            if let Patience::Until(deadline) = patience {
                // A wait with an end may wait for anybody.
                if Instant::now() >= deadline {
                    return Turn::NotReady;
                }
                state.consumer_waits = Some(Until::Front);
                MutexGuard::unlocked(&mut state, || self.waiting(|| self.stop.consumer.wait_until(deadline)));
                state.consumer_waits = None;
                continue;
            }
            let permit = self.pool.get().map(|&(pool, _)| WaitPermit::for_pool(pool));
            let helps = matches!(permit, Some(None));
            if !(helps && self.run_one(&mut state)) {
                state.consumer_waits = Some(if helps { Until::Work } else { Until::Front });
                MutexGuard::unlocked(&mut state, || self.waiting(|| self.wait_at_event()));
                state.consumer_waits = None;
            }
        }
    }

    /// Waits for the consumer's event. After a while, idle workers share what the jobs have given to rayon.
    fn wait_at_event(&self) {
        if !self.stop.consumer.wait_for(WATCH_AFTER) {
            let _watched = self.pool.get().map(|(_, queue)| queue.watch_rayon());
            self.stop.consumer.wait();
        }
    }

    /// Runs the next chunk on the consumer's thread; false if none waits.
    fn run_one(&self, state: &mut MutexGuard<'_, State<T, W::Output>>) -> bool {
        let most = state.most(Instant::now());
        let Some(chunk) = state.take(most) else { return false };
        let first = chunk.first;
        let done = MutexGuard::unlocked(state, || self.waiting(|| self.run(chunk, &|_| false)));
        self.hand_in(state, first, done, Instant::now());
        true
    }

    /// Whether the source has ended by itself, and `results` is the number of its items.
    pub(crate) fn has_given_all(&self, results: usize) -> bool {
        let state = self.state.lock();
        state.is_fed && state.pulled == results as u64
    }

    /// Pulls one item on the consumer's thread, where there are no workers.
    pub(crate) fn pull_here(&self, next: impl FnOnce() -> Option<T>) -> Option<T> {
        observe::pull(&self.watches(), next)
    }

    /// Runs it there. The end is told when the flow is dropped, of which the consumer has the only handle.
    pub(crate) fn run_here(&self, index: u64, item: T) -> Result<W::Output, TaskPanic> {
        self.runner(&|_| false).run_here(&self.watches(), &mut None, index, item)
    }
}

/// What needs no item to be run.
impl<T, W: Work> StreamState<T, W> {
    fn work(&self) -> &W {
        self.work.as_ref().expect("BUG: the work stays until the drop")
    }

    // Who watches.

    fn watches(&self) -> Vec<&ObserverRef<'_>> {
        work::watches(self.work(), self.pool_watch.as_deref())
    }

    /// Tells them that it is over: the consumer is done with it, and no item runs. Gives what there is to print of that.
    fn finish(&self) -> String {
        let watches = self.watches();
        if watches.is_empty() {
            return String::new();
        }
        // As a job, since on a worker nothing else may print.
        let call = Arc::new(self.call.without_items());
        panics::run_job(&call, 0, |_| watches.into_iter().for_each(ObserverRef::finish)).deferred.concat()
    }

    fn end_naps(&self, state: &mut MutexGuard<'_, State<T, W::Output>>) {
        if state.napping > 0 {
            self.nap.notify_one();
        }
    }

    /// No worker is to come any more.
    fn withdraw_jobs(&self) {
        if let Some((_, queue)) = self.pool.get() {
            queue.withdraw(workers_scope::owner_of(self));
        }
    }

    /// Lets nothing more start and drops what is left, for the consumer wants nothing more. What runs goes on, and so does
    /// the source's `next`. `raised` says whether the consumer has raised a panic of this stream.
    pub(crate) fn stop(&self, raised: bool) {
        self.stop.stop_at(0);
        let mut state = self.state.lock();
        state.stopped = true;
        let items = state.take_back();
        let line: Vec<Done<W::Output>> = std::iter::from_fn(|| state.window.deliver_any()).collect();
        let source = mem::replace(&mut state.source, Source::Ended);
        let is_over = state.running == 0;
        self.end_naps(&mut state);
        drop(state);
        self.stop.feeder.set();
        self.withdraw_jobs();
        items.into_iter().for_each(Queued::abandon);
        let mut panics = Vec::new();
        for done in line {
            panics::emit(self.call.outlet(), done.deferred.concat());
            panics.extend(done.panic);
            panics::contain_all(done.results);
        }
        panics::mention(panics, raised);
        panics::contain(source);
        // Else whoever runs the last item does.
        if is_over {
            panics::emit(self.call.outlet(), self.finish());
        }
    }
}

impl<T: Send, W: WorkOn<T> + Send> Lent for StreamState<T, W> {
    fn work(&self, scope: &WorkersScope<'_>) {
        self.work_on(scope);
    }

    fn runs_ahead(&self) -> bool {
        true
    }

    fn interrupt(&self) -> Option<Arc<dyn Interrupt>> {
        Some(Arc::clone(&self.stop) as _)
    }

    fn kept(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        let slot = self.kept.get().and_then(Weak::upgrade)?;
        Some(slot)
    }
}

impl<T: Send, W: WorkOn<T> + Send> Shared for StreamState<T, W> {
    fn holders(&self) -> Arc<dyn Holders> {
        Arc::clone(&self.stop) as _
    }
}

/// What can be stopped at the end of a scope, whatever its items are.
pub(crate) trait Stop: Send + Sync {
    fn stop(&self);
}

impl<T: Send, W: WorkOn<T> + Send> Stop for StreamState<T, W> {
    fn stop(&self) {
        StreamState::stop(self, false);
    }
}

impl<T, W: Work> Drop for StreamState<T, W> {
    fn drop(&mut self) {
        // On whatever thread it was that let go last; its panics would end that thread.
        panics::contain(self.work.take());
        panics::contain(self.pool_watch.take());
        panics::contain(mem::replace(&mut self.state.get_mut().source, Source::Ended));
    }
}

/// The threads of a stream in any order: what each does from one look at the state to the next is a step. Only the waits at
/// the bells are made up here, as the knowledge of who waits for what.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::work::Map;
    use crate::testing::orders::{self, Given, Way};
    use proptest::prelude::*;
    use std::iter;
    use std::panic::resume_unwind;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A state of two workers, with `queued` items on it.
    fn state(queued: u64, set: impl FnOnce(&mut Sizer)) -> State<u64, u64> {
        let mut sizer = Sizer::new::<u64, u64>(2);
        set(&mut sizer);
        let mut state = State::new(sizer, true);
        (0..queued).for_each(|item| state.push(item));
        state
    }

    #[test]
    fn items_are_queued_by_the_chunk_and_come_back_in_order() {
        let mut state = state(3, |sizer| sizer.fix_chunk(8));
        assert!(state.open.capacity() >= 8, "room for all of them");
        assert_eq!((state.open.len(), state.window.queued_items(), state.queued()), (3, 0, 3));
        (3..9).for_each(|item| state.push(item));
        assert_eq!((state.open.len(), state.window.queued_items(), state.queued()), (1, 8, 9));
        assert!(state.take_back().into_iter().flat_map(Queued::into_vec).eq(0..9));
        assert_eq!(state.queued(), 0);
    }

    #[test]
    fn the_end_of_a_stream_is_shared_out() {
        let mut state = state(100, |sizer| sizer.worked(1000, Duration::from_micros(1)));
        let now = state.since;
        assert_eq!(state.most(now), 8192);
        state.source = Source::Ended;
        assert_eq!(state.most(now), 25, "two parts for each worker");
    }

    #[test]
    fn less_than_a_chunk_is_scant_while_more_may_come() {
        let of = |queued| state(queued, |sizer| sizer.fix_chunk(4));
        assert_eq!([1, 3, 4, 5].map(|queued| of(queued).is_scant()), [true, true, false, false]);
        assert!(!State { source: Source::Ended, ..of(3) }.is_scant());
        assert!(!State { feeder_waits: true, ..of(3) }.is_scant());
    }

    #[test]
    fn the_feeder_is_told_of_room_for_two_chunks_or_a_quarter() {
        let in_flight = |chunk, limit, most: u64| {
            let state = |pulled| State { chunk, limit, pulled, ..state(0, |_| {}) };
            state(most).has_room_to_tell_of() && !state(most + 1).has_room_to_tell_of()
        };
        assert!(in_flight(1, 5, 4) && in_flight(8, 100, 84) && in_flight(8, 40, 30) && in_flight(8, 3, 2));
    }

    #[test]
    fn a_puller_is_called_for_items_that_nobody_is_about_to_see() {
        let wants = |queued, looking, jobs| {
            let mut state = State { jobs, looking, ..state(queued, |_| {}) };
            let wants = state.wants_job(2);
            assert_eq!((state.looking - looking, state.jobs - jobs), (usize::from(wants), usize::from(wants)));
            wants
        };
        assert!(wants(1, 0, 0) && wants(1, 0, 1));
        assert!(!wants(0, 0, 0) && !wants(1, 1, 1) && !wants(1, 0, 2));
    }

    #[test]
    fn what_was_measured_changes_the_plan() {
        let mut state = state(0, |_| {});
        assert_eq!(state.chunk, 1);
        let done = Done {
            results: vec![0; 10],
            items: 10,
            panic: None,
            deferred: Vec::new(),
            busy: Duration::from_micros(10),
        };
        state.measure(&done, state.since);
        assert_eq!(state.chunk, 20, "20 µs of items of 1 µs");
    }

    /// What a job that hands in a chunk does next, or one that comes for the first time: with one item queued of the four
    /// that make a chunk, `looking` other jobs about to look, and whether others wait.
    fn next_step(has_worked: bool, looking: usize, other: bool) -> (&'static str, [usize; 3]) {
        let mut sizer = Sizer::new::<u64, u64>(2);
        sizer.fix_chunk(4);
        let (call, stop) = (Arc::new(Call::here("steps", None)), Arc::new(StopFlag::new()));
        let flow = StreamState::new(Map::new(|item: u64| item), call, 2, sizer, true, stop, None);
        let mut done = None;
        {
            let mut state = flow.state.lock();
            (state.jobs, state.looking) = (2, looking);
            if has_worked {
                (0..4).for_each(|item| state.push(item));
                let first = state.take(4).expect("four items").first;
                let results = vec![0; 4];
                done =
                    Some((first, Done { results, items: 4, panic: None, deferred: Vec::new(), busy: Duration::ZERO }));
            }
            state.push(4);
        }
        let next = match flow.complete_and_take(done, |_| other) {
            Next::Run { .. } => "run",
            Next::StepBack => "step back",
            Next::Leave => "leave",
        };
        let state = flow.state.lock();
        (next, [state.jobs, state.looking, state.napping])
    }

    #[test]
    fn a_puller_naps_for_more_unless_another_will_see_to_it() {
        assert_eq!(next_step(false, 0, false), ("run", [2, 0, 0]));
        assert_eq!(next_step(false, 1, false), ("run", [2, 1, 0]), "it was called for what is there");
        assert_eq!(next_step(true, 0, false), ("run", [2, 0, 0]), "after a nap");
        assert_eq!(next_step(true, 1, false), ("leave", [1, 1, 0]));
        assert_eq!(next_step(true, 0, true), ("step back", [2, 1, 0]));
        assert_eq!(next_step(false, 0, true), ("run", [2, 0, 0]), "its turn has just come");
    }

    /// How a stream ends that is cancelled after its first item was run, with `queued` more waiting and a source that has
    /// panicked behind them; and whether its feeder may go on.
    fn cancelled_end(queued: u64, ordered: bool) -> (bool, bool) {
        let mut sizer = Sizer::new::<u64, u64>(1);
        sizer.fix_chunk(1);
        let (call, stop) = (Arc::new(Call::here("steps", None)), Arc::new(StopFlag::new()));
        let flow = StreamState::new(Map::new(|item: u64| item), call, 1, sizer, ordered, Arc::clone(&stop), None);
        {
            let mut state = flow.state.lock();
            (0..=queued).for_each(|item| state.push(item));
            let first = state.take(1).expect("one item or more").first;
            let done = Done { results: vec![0], items: 1, panic: None, deferred: Vec::new(), busy: Duration::ZERO };
            flow.hand_in(&mut state, first, done, Instant::now());
            state.source = Source::Panicked(Box::new("the source"));
        }
        stop.note_cancelled();
        assert!(stop.goes_on(), "the token has not come so far");
        assert!(matches!(flow.deliver(0, Patience::Endless), Turn::Done(done) if done.results == [0]));
        assert_eq!(flow.state.lock().queued(), 0);
        let goes_on = stop.goes_on();
        (matches!(flow.deliver(1, Patience::Endless), Turn::Panicked(_)), goes_on)
    }

    #[test]
    fn behind_what_a_token_takes_back_nothing_is_queued() {
        let raises = |queued, ordered| {
            let (raises, goes_on) = cancelled_end(queued, ordered);
            assert!(!goes_on, "the feeder keeps what it comes with, for there is a gap before it");
            raises
        };
        assert!(!raises(2, true), "the source keeps its panic as well");
        assert!(raises(0, true), "there is no gap");
        assert!(raises(2, false), "there is no order that it could be behind in");
    }

    #[test]
    fn what_the_source_gives_after_the_stop_is_dropped_at_once() {
        let (call, stop) = (Arc::new(Call::here("steps", None)), Arc::new(StopFlag::new()));
        let work = Map::new(|item: Item| item.0);
        let flow = Arc::new(StreamState::new(work, call, 1, Sizer::new::<Item, u64>(1), true, stop, None));
        let alive = Arc::new(AtomicUsize::new(0));
        let next = || {
            flow.stop(false);
            Some(Item::new(0, &alive))
        };
        let mut source = Some(iter::empty::<Item>());
        let shared: Arc<dyn Shared> = Arc::clone(&flow) as _;
        let queue = Arc::new(JobQueue::new(1));
        workers_scope::share(&queue, &shared, |scope| flow.pull_all(&mut source, |_| next(), scope));
        assert_eq!(queue.waiting(), 0, "nobody is called for it");
        assert_eq!(alive.load(Ordering::Relaxed), 0);
        assert_eq!(flow.state.lock().pulled, 0);
    }

    /// What is done in one run.
    #[derive(Clone, Debug)]
    struct Setting {
        workers: usize,
        items: usize,
        chunk: usize,
        limit: usize,
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
            let (stop_after, others) = (usize::MAX, 0);
            Setting { workers: 2, items: 5, chunk: 1, limit: 5, ordered: true, bad, bad_source, stop_after, others }
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
        Took(Chunk<vec::IntoIter<Item>>),
        Ran(u64, Done<u64>),
    }

    impl Stage {
        fn stands(&self) -> (u8, u64) {
            match self {
                Stage::Called => (0, 0),
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
        sizer.fix_in_flight(*limit);
        let call = Arc::new(Call::here("orders", None));
        let flow = Arc::new(StreamState::new(work, call, *workers, sizer, *ordered, Arc::new(StopFlag::new()), None));
        let queue = Arc::new(JobQueue::new(*workers));
        let shared: Arc<dyn Shared> = Arc::clone(&flow) as _;

        let mut stages: Vec<Stage> = Vec::new();
        let (mut pulled, mut fed, mut stepped_back) = (0, false, 0);
        let (mut results, mut handed, mut end) = (Vec::new(), 0, None);
        loop {
            let (feeder_waits, consumer_waits) = {
                let state = flow.state.lock();
                (state.feeder_waits, state.consumer_waits.is_some())
            };
            let called = stages.iter().position(|job| matches!(job, Stage::Called));
            let is_one_of_many = |at: &usize| Some(*at) == called || !matches!(stages[*at], Stage::Called);
            let mut actors: Vec<_> = (0..stages.len()).filter(is_one_of_many).map(Actor::Job).collect();
            // At its end the consumer rings for the feeder, without a word at the state.
            actors.extend((!fed && (!feeder_waits || end.is_some())).then_some(Actor::Feeder));
            actors.extend((end.is_none() && !consumer_waits).then_some(Actor::Consumer));
            if actors.is_empty() {
                assert!(fed && end.is_some(), "the stream has come to a stop: {setting:?}, {results:?}");
                break;
            }
            let actor = actors[way.choose(actors.len())];
            match actor {
                Actor::Feeder => {
                    // As in `feed` and `has_room`.
                    let mut state = flow.state.lock();
                    state.feeder_waits = false;
                    if !state.source.is_open() || !flow.stop.goes_on() {
                        fed = true;
                    } else if state.in_flight() < state.limit {
                        if *bad_source == Some(pulled) {
                            state.source = Source::Panicked(Box::new("source"));
                        } else if pulled == *items {
                            state.source = Source::Ended;
                        } else {
                            state.push(Item::new(pulled, &alive));
                            pulled += 1;
                        }
                        workers_scope::share(&queue, &shared, |scope| flow.announce(&mut state, scope));
                        drop(state);
                        // No thread is behind this queue.
                        let posted = queue.withdraw(workers_scope::owner_of(&*flow));
                        stages.extend(std::iter::repeat_with(|| Stage::Called).take(posted));
                    } else {
                        state.feeder_waits = true;
                        flow.end_naps(&mut state);
                    }
                }
                Actor::Consumer => {
                    let (is_ready, is_over) = {
                        let state = flow.state.lock();
                        let is_ready = state.window.map_line(Option::is_some).first() == Some(&true);
                        (is_ready, state.queued() == 0 && state.window.is_empty() && !state.source.is_open())
                    };
                    if is_ready || is_over {
                        match flow.deliver(std::mem::take(&mut handed), Patience::Endless) {
                            Turn::Done(done) => {
                                handed = done.items;
                                results.extend(done.results);
                                end = done.panic.and_then(|panic| panic.index()).map(End::Item);
                            }
                            Turn::Ended => end = Some(End::None),
                            Turn::NotReady => unreachable!("it waits without end"),
                            Turn::Panicked(_) => end = Some(End::Source),
                        }
                        if end.is_none() && results.len() >= *stop_after {
                            end = Some(End::Stopped);
                        }
                        if end.is_some() {
                            flow.stop(matches!(end, Some(End::Item(_))));
                        }
                    } else {
                        // What `deliver` does before it waits.
                        let mut state = flow.state.lock();
                        state.delivered += std::mem::take(&mut handed) as u64;
                        if state.feeder_waits && state.has_room_to_tell_of() {
                            state.feeder_waits = false;
                        }
                        state.consumer_waits = Some(Until::Front);
                    }
                }
                Actor::Job(at) => match std::mem::replace(&mut stages[at], Stage::Called) {
                    Stage::Took(chunk) => {
                        let (first, before) = (chunk.first, runs.lock().len());
                        // However slow this machine is, nothing is handed back.
                        flow.stop.wants_no_items_if(true);
                        flow.stop.settle_unless(|| false);
                        let done = flow.run(chunk, &|_| false);
                        assert!(end.is_none() || runs.lock().len() == before, "started after the end: {setting:?}");
                        stages[at] = Stage::Ran(first, done);
                    }
                    stage => {
                        let done = match stage {
                            Stage::Ran(first, done) => Some((first, done)),
                            Stage::Called | Stage::Took(_) => {
                                flow.state.lock().looking -= 1;
                                None
                            }
                        };
                        let gives_way = done.is_some() && stepped_back < *others && way.choose(2) == 1;
                        match flow.complete_and_take(done, |_| gives_way) {
                            Next::Run { chunk, help } => {
                                stages[at] = Stage::Took(chunk);
                                stages.extend(help.then_some(Stage::Called));
                            }
                            Next::StepBack => stepped_back += 1,
                            Next::Leave => drop(stages.swap_remove(at)),
                        }
                    }
                },
            }

            // What always holds.
            let state = flow.state.lock();
            assert_eq!(state.jobs, stages.len(), "{setting:?}");
            assert!(stages.len() <= *workers, "{setting:?}");
            assert!(state.in_flight() <= *limit, "{setting:?}");
            let looking = stages.iter().filter(|job| matches!(job, Stage::Called)).count();
            assert_eq!(state.looking, looking, "{setting:?}");
            let is_looked_after = state.queued() == 0 || looking > 0 || stages.len() == *workers;
            assert!(is_looked_after, "items wait for nobody: {setting:?}");
            let line =
                state.window.map_line(|done| done.as_ref().map(|done| (done.results.clone(), done.panic.is_some())));
            let front = line.first().is_some_and(Option::is_some);
            assert!(!front || state.consumer_waits.is_none(), "the consumer sleeps beside its result: {setting:?}");
            let waits = (state.feeder_waits, state.consumer_waits.is_some(), state.source.is_open(), state.delivered);
            let blocks = (state.window.queued_items(), state.open.len(), flow.stop.stop());
            drop(state);
            let mut stands: Vec<_> = stages.iter().map(Stage::stands).collect();
            stands.sort_unstable();
            let seen = (pulled, fed, stepped_back, &results, handed, end, waits, blocks);
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
                    Setting { limit: 1, ..base.clone() },
                    Setting { limit: 2, others: 1, ..base.clone() },
                    Setting { bad: Some(1), ..base.clone() },
                    Setting { bad_source: Some(2), ..base.clone() },
                    Setting { bad: Some(2), bad_source: Some(3), limit: 2, ..base.clone() },
                    Setting { stop_after: 1, ..base.clone() },
                    Setting { chunk: 2, ..base.clone() },
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
            (chunk, limit) in (1..5_usize, 1..20_usize),
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
