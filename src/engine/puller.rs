//! The workers' side of a call: take a chunk, run it, hand over what came of it, take the next.
//!
//! A *puller* is a job on a worker that does this until nothing is queued; at most one runs on each worker. It never waits:
//! with an empty queue it leaves, and whoever queues the next items starts another. So a worker is free for other calls
//! as soon as this one has nothing for it. While items are queued they stay: calls that share a pool begin in turn, and one
//! whose source and consumer keep up with the workers has them until it ends.
//!
//! One job for each chunk would be simpler and wrong: a worker that waits inside `f` (a nested `par_iter`) takes up
//! other jobs meanwhile, and chunks of the same call would pile up on top of the half-run `f`, under the locks it holds.

use crate::engine::block::Block;
use crate::engine::sizing::{Plan, Sizer};
use crate::engine::stop::StopFlag;
use crate::engine::window::{Chunk, Window};
use crate::engine::work::{self, At, Work};
use crate::observe::{self, ItemTimer, ObserverRef, Outcome};
use crate::panics::{self, Call, JobEnd, TaskPanic};
use crate::threads::pool;
use crate::threads::seat::Seat;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What came of one chunk.
#[derive(Debug)]
pub(crate) struct Done<R> {
    /// The results of the items that ran to their end: the first ones, in order.
    pub(crate) results: Vec<R>,
    /// How many items the chunk held.
    pub(crate) items: usize,
    /// The panic that ended the chunk, if one did.
    pub(crate) panic: Option<TaskPanic>,
    /// Text that the caller has to print: panics that `f` caught itself, traces of calls inside `f`.
    pub(crate) notes: Vec<String>,
    /// How long the worker was at it.
    pub(crate) busy: Duration,
}

/// The place where the caller and the workers of one call meet.
pub(crate) struct Exchange<B: Block, W: Work<B::Item>> {
    pub(crate) work: W,
    pub(crate) call: Arc<Call>,
    /// The observer of the pool; those of the call itself are in `work`.
    pool_watch: Option<ObserverRef<'static>>,
    /// One state for each worker, in the hands of its puller while that runs.
    states: States<W::State>,
    /// What lets nothing more start: a panic, the caller, a token.
    pub(crate) brake: Arc<StopFlag>,
    /// Set with the front of the line, cleared by the caller when it looks. Relaxed, for the same reason.
    front_ready: AtomicBool,
    desk: Mutex<Desk<B, W::Output>>,
    /// Notified when the front of the line is ready and the caller waits for it; its partner is `Desk::caller_waits`.
    ready: Condvar,
    /// Set when `Desk::caller_waits` is taken, for a caller that has not gone to sleep yet.
    called: AtomicBool,
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

/// How long items without hands wait until a worker is asked again.
const STRANDED: Duration = Duration::from_millis(1);

/// What one lock guards. No user code runs under it.
struct Desk<B, R> {
    window: Window<B, Done<R>>,
    sizer: Sizer,
    /// Pullers that were started and have not left; at most one for each worker.
    pullers: usize,
    /// True when no more items will be queued for now, so that the rest is to be shared out evenly.
    last: bool,
    /// Whether a puller has taken a block to cut a chunk off it, and will put back the rest.
    is_cutting: bool,
    /// The caller wants no more results.
    is_stopped: bool,
    /// What the caller sleeps for on `Exchange::ready`, if it sleeps.
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

impl<B: Block, R> Desk<B, R> {
    fn elapsed(&self, now: Instant) -> Duration {
        self.before + now.saturating_duration_since(self.since)
    }

    /// Whether items are queued that no puller will take.
    fn is_stranded(&self) -> bool {
        self.pullers == 0 && self.window.queued_items() > 0
    }

    fn plan(&self) -> Plan {
        self.sizer.plan(self.elapsed(Instant::now()))
    }
}

impl<B: Block, W: Work<B::Item>> Exchange<B, W> {
    pub(crate) fn new(work: W, call: Arc<Call>, workers: usize, sizer: Sizer) -> Self {
        Exchange {
            work,
            call,
            pool_watch: None,
            states: States(std::iter::repeat_with(|| Mutex::new(None)).take(workers).collect()),
            brake: Arc::new(StopFlag::new()),
            front_ready: AtomicBool::new(false),
            desk: Mutex::new(Desk {
                window: Window::new(),
                sizer,
                pullers: 0,
                last: false,
                is_cutting: false,
                is_stopped: false,
                caller_waits: None,
                since: Instant::now(),
                before: Duration::ZERO,
            }),
            ready: Condvar::new(),
            called: AtomicBool::new(false),
        }
    }

    // What the user sets before the start.

    pub(crate) fn sizer_mut(&mut self) -> &mut Sizer {
        &mut self.desk.get_mut().sizer
    }

    pub(crate) fn call_mut(&mut self) -> &mut Call {
        Arc::make_mut(&mut self.call)
    }

    pub(crate) fn set_pool_watch(&mut self, watch: Option<ObserverRef<'static>>) {
        self.pool_watch = watch;
    }

    pub(crate) fn into_parts(self) -> (W, Arc<Call>, Sizer, Arc<StopFlag>) {
        (self.work, self.call, self.desk.into_inner().sizer, self.brake)
    }

    // Who watches.

    /// All who watch this call, each once.
    pub(crate) fn watches(&self) -> Vec<&ObserverRef<'_>> {
        work::watches::<B::Item, W>(&self.work, self.pool_watch.as_ref())
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
        let mut desk = self.desk.lock();
        desk.since = Instant::now();
        desk.last = false;
        desk.plan()
    }

    /// No more items will be queued in this stretch.
    pub(crate) fn close(&self) {
        self.desk.lock().last = true;
    }

    /// Ends the stretch when all pullers have left: moves what finished to `ready`, drops what nobody took, and gives how
    /// long it took.
    pub(crate) fn shut(&self, ready: &mut VecDeque<Done<W::Output>>) -> Duration {
        let mut desk = self.desk.lock();
        debug_assert_eq!(desk.pullers, 0, "BUG: the scope ended before its pullers");
        let took = desk.since.elapsed();
        desk.before += took;
        self.move_ready(&mut desk, ready);
        let queued = desk.window.abandon();
        drop(desk);
        queued.into_iter().for_each(Block::abandon);
        took
    }

    /// The number of workers, and of pullers at most.
    pub(crate) fn workers(&self) -> usize {
        self.states.0.len()
    }

    /// True if no panic was caught and the caller did not stop the call.
    pub(crate) fn goes_on(&self) -> bool {
        self.brake.goes_on()
    }

    /// True if the front of the line became ready since the caller last looked.
    pub(crate) fn front_ready(&self) -> bool {
        self.front_ready.load(Ordering::Relaxed)
    }

    /// Queues items, `first` being the index of the first. Gives how many pullers the caller has to start.
    pub(crate) fn submit(&self, first: u64, items: B, pull: Duration, last: bool) -> (Plan, usize) {
        let count = items.size();
        for watch in self.watches() {
            watch.pulled(count, pull);
        }
        let mut desk = self.desk.lock();
        desk.sizer.pulled(count, pull);
        desk.window.push(first, items);
        desk.last = last;
        let plan = desk.plan();
        let missing = self.states.0.len() - desk.pullers;
        let queued = desk.window.queued_items();
        // One for each chunk, so that a consumer that is the slowest of all need not share its core with workers that
        // find nothing; the rest of a source is shared out in smaller parts.
        let hands = if last { queued } else { queued.div_ceil(plan.chunk) };
        let wanted = missing.min(hands);
        desk.pullers += wanted;
        (plan, wanted)
    }

    /// Moves what is ready at the front of the line to `ready`.
    pub(crate) fn collect(&self, ready: &mut VecDeque<Done<W::Output>>) -> Plan {
        let mut desk = self.desk.lock();
        self.move_ready(&mut desk, ready);
        desk.plan()
    }

    /// Waits until the front of the line is ready, and moves what is ready to `ready`. Something has to be in flight.
    /// Gives how many pullers the caller has to start, too.
    pub(crate) fn wait(&self, ready: &mut VecDeque<Done<W::Output>>) -> (Plan, usize) {
        let mut desk = self.desk.lock();
        self.move_ready(&mut desk, ready);
        if ready.is_empty() && desk.elapsed(Instant::now()) < AWAKE {
            self.stay_awake(&mut desk);
            self.move_ready(&mut desk, ready);
        }
        if let Some(nap) = desk.sizer.nap(desk.elapsed(Instant::now())).filter(|_| ready.is_empty()) {
            desk.caller_waits = Some(Until::Dry);
            self.ready.wait_for(&mut desk, nap);
            self.move_ready(&mut desk, ready);
        }
        let mut pullers = 0;
        while ready.is_empty() && pullers == 0 {
            debug_assert!(!desk.window.is_empty(), "BUG: nothing to wait for");
            pullers = self.sleep(&mut desk, Until::Front);
            self.move_ready(&mut desk, ready);
        }
        desk.caller_waits = None;
        (desk.plan(), pullers)
    }

    /// Waits until everything queued is done, or gives how many pullers the caller has to start for it.
    pub(crate) fn wait_for_all(&self) -> usize {
        let mut desk = self.desk.lock();
        let mut pullers = 0;
        while pullers == 0 && (desk.pullers > 0 || desk.is_stranded()) {
            pullers = self.sleep(&mut desk, Until::Dry);
        }
        pullers
    }

    /// Waits until the workers run dry, for the first moments of a call.
    fn stay_awake(&self, desk: &mut MutexGuard<'_, Desk<B, W::Output>>) {
        desk.caller_waits = Some(Until::Dry);
        self.called.store(false, Ordering::Relaxed);
        let elapsed = desk.elapsed(Instant::now());
        MutexGuard::unlocked(desk, || {
            let start = Instant::now();
            while !self.called.load(Ordering::Relaxed) && elapsed + start.elapsed() < AWAKE {
                thread::yield_now();
            }
        });
    }

    /// Wakes the caller, if it waits.
    fn call(&self, mut desk: MutexGuard<'_, Desk<B, W::Output>>) {
        let waits = desk.caller_waits.take().is_some();
        drop(desk);
        if waits {
            self.called.store(true, Ordering::Relaxed);
            self.ready.notify_one();
        }
    }

    /// Sleeps until woken. Gives how many pullers the caller has to start: one if there are items but no hands.
    fn sleep(&self, desk: &mut MutexGuard<'_, Desk<B, W::Output>>, until: Until) -> usize {
        if !desk.is_stranded() {
            desk.caller_waits = Some(until);
            self.ready.wait(desk);
        }
        if !desk.is_stranded() {
            return 0;
        }
        // The only worker that is not busy waits inside rayon. It gets some time, or it would be asked without a pause.
        self.ready.wait_for(desk, STRANDED);
        desk.pullers += 1;
        1
    }

    fn move_ready(&self, desk: &mut MutexGuard<'_, Desk<B, W::Output>>, ready: &mut VecDeque<Done<W::Output>>) {
        self.front_ready.store(false, Ordering::Relaxed);
        ready.extend(std::iter::from_fn(|| desk.window.deliver()));
    }

    /// Lets nothing more start: the caller wants no more results.
    pub(crate) fn stop(&self) {
        self.brake.stop_at(0);
        let mut desk = self.desk.lock();
        desk.is_stopped = true;
        let queued = desk.window.abandon();
        drop(desk);
        queued.into_iter().for_each(Block::abandon);
    }

    /// Runs one item here, on the caller's thread.
    pub(crate) fn run_here(&self, index: u64, item: B::Item) -> Result<W::Output, TaskPanic> {
        let mut state = self.states.0[0].lock().take();
        let outcome = run_here(&self.work, &self.call, &self.watches(), &mut state, index, item);
        *self.states.0[0].lock() = state;
        outcome
    }

    // What the workers do.

    /// A puller's life. `another` starts one more of this call.
    pub(crate) fn pull(&self, another: impl Fn()) {
        let Some(_seat) = Seat::take() else {
            self.leave_to_others();
            return;
        };
        let slot = &self.states.0[pool::worker_index()];
        let mut state = slot.lock().take();
        let mut done = None;
        while let (Some(chunk), help) = self.exchange(done) {
            if help {
                another();
            }
            let ticket = chunk.ticket;
            done = Some((ticket, run_chunk(&self.work, &self.call, &self.brake, self.watches(), chunk, &mut state)));
        }
        *slot.lock() = state;
    }

    /// What a puller does that was taken up by a worker in the middle of something else: it leaves, though items may be
    /// queued. The next puller of the call that takes a chunk calls for help again; where there is none, the caller does.
    fn leave_to_others(&self) {
        let mut desk = self.desk.lock();
        desk.pullers -= 1;
        if desk.pullers == 0 {
            self.call(desk);
        }
    }

    /// Takes the next chunk of data whose splitting is code of the user's, which runs without a lock.
    fn cut(desk: &mut MutexGuard<'_, Desk<B, W::Output>>, most: usize) -> Option<Chunk<B>> {
        let mut chunk = desk.window.take_block()?;
        if chunk.items.size() <= most {
            return Some(chunk);
        }
        desk.is_cutting = true;
        let rest = MutexGuard::unlocked(desk, || chunk.cut(most));
        desk.is_cutting = false;
        match rest {
            Some((_, rest)) if desk.is_stopped => MutexGuard::unlocked(desk, || rest.abandon()),
            Some(rest) => desk.window.put_back(rest),
            None => {}
        }
        Some(chunk)
    }

    /// Hands over a chunk and takes the next: none if the puller has to leave, and whether it has to start another.
    fn exchange(&self, done: Option<(u64, Done<W::Output>)>) -> (Option<Chunk<B>>, bool) {
        let now = Instant::now();
        let mut desk = self.desk.lock();
        let mut front = false;
        if let Some((ticket, done)) = done {
            desk.sizer.worked(done.results.len(), done.busy);
            front = desk.window.fill(ticket, done);
            if front {
                self.front_ready.store(true, Ordering::Relaxed);
            }
        }
        let queued = desk.window.queued_items();
        let most = desk.sizer.take(desk.elapsed(now), queued, desk.last);
        let chunk = if B::CUTS_BY_USER {
            if front && desk.caller_waits == Some(Until::Front) {
                // However long the cutting takes.
                self.call(desk);
                desk = self.desk.lock();
            }
            if desk.is_cutting {
                // It may not take what lies behind that block. Whoever cuts it stays, and calls for help then.
                desk.pullers -= 1;
                return (None, false);
            }
            Self::cut(&mut desk, most)
        } else {
            desk.window.take(most)
        };
        // Whoever leaves is struck off under the same lock that showed the queue empty, so the next to queue items knows.
        // Whoever stays calls in one more if there is still more to do than hands.
        let help = chunk.is_some() && desk.window.queued_items() > 0 && desk.pullers < self.states.0.len();
        if chunk.is_none() {
            desk.pullers -= 1;
        } else if help {
            desk.pullers += 1;
        }
        let dry = chunk.is_none() && (desk.pullers == 0 || !desk.last);
        let wake = dry || (front && desk.caller_waits == Some(Until::Front));
        if wake {
            self.call(desk);
        }
        (chunk, help)
    }
}

/// Runs the items of a chunk, up to the first panic or the end of the call.
pub(crate) fn run_chunk<B: Block, W: Work<B::Item>>(
    work: &W,
    call: &Arc<Call>,
    brake: &StopFlag,
    watches: Vec<&ObserverRef<'_>>,
    chunk: Chunk<B>,
    state: &mut Option<W::State>,
) -> Done<W::Output> {
    let Chunk { first, items: block, .. } = chunk;
    let count = block.size();
    // Outside the catch as well: what is left of the items is dropped one by one.
    let mut rest = None;
    let mut results = Vec::new();
    let start = Instant::now();
    // `f` is user code. It may return: its result is kept, outside the catch. Panic: the results before it stay. Call
    // us again: that call runs inline. Wait inside rayon: other jobs run on top of it, but never another item of
    // this call.
    let mut end = if watches.is_empty() && !panics::catch(|| call.spans_items()).unwrap_or(false) {
        panics::run_job(call, first, |position| {
            // In here, since data may claim any length.
            results.reserve(count);
            let mut index = first;
            // `may_stop` is known where this is called, and so costs nothing.
            let mut run = move |item, may_stop: bool| {
                if may_stop && index >= brake.end() {
                    panics::contain(item);
                    panics::stop();
                }
                let result = work.run(state, item, At { call, index });
                index += 1;
                position.set(index);
                result
            };
            if cfg!(panic = "abort") {
                // Nothing ends a loop from inside of a library here but the end of the process.
                let items = rest.insert(block.into_items());
                while position.get() < brake.end() {
                    let Some(item) = items.next() else { break };
                    results.push(run(item, false));
                }
                return;
            }
            // Not a loop that pushes: an iterator whose length is known writes its results without asking for room each
            // time, and keeps the count in a register. Items without a destructor may get lost in unwinding.
            let run = move |item| run(item, true);
            if B::HAS_TO_DROP {
                results.extend(rest.insert(block.into_items()).map(run));
            } else {
                results.extend(block.into_items().map(run));
            }
            assert_eq!(results.len(), count, "the data has another number of items than it said");
        })
    } else {
        run_watched(work, call, brake, watches, first, (block, &mut rest), &mut results, state)
    };
    let busy = start.elapsed();
    if let Some(panic) = end.panic.as_ref().filter(|panic| !panic.is_stop()) {
        brake.stop_at(panic.index() as u64);
    }
    panics::contain_all(results.drain(count.min(results.len())..));
    if let Some(rest) = rest.filter(B::is_to_drop) {
        let left = first + results.len() as u64 + u64::from(end.panic.is_some());
        let drop_all = |position: &Cell<u64>| B::abandon_rest(rest, |place| position.set(left + place as u64));
        end.notes.extend(panics::run_job(call, left, drop_all).notes);
    }
    let panic = end.panic.filter(|panic| !panic.is_stop());
    Done { results, items: count, panic, notes: end.notes, busy }
}

/// The loop of [`run_chunk`] for a call that is watched: each item has its times taken and told, and its span.
#[cold]
#[inline(never)]
#[expect(clippy::too_many_arguments, reason = "it is a part of one function")]
fn run_watched<B: Block, W: Work<B::Item>>(
    work: &W,
    call: &Arc<Call>,
    brake: &StopFlag,
    watches: Vec<&ObserverRef<'_>>,
    first: u64,
    (block, rest): (B, &mut Option<B::Items>),
    results: &mut Vec<W::Output>,
    state: &mut Option<W::State>,
) -> JobEnd {
    let round = ItemTimer::begin(watches);
    // When the item began that runs now.
    let begun = Cell::new(None);
    let mut end = panics::run_job(call, first, |position| {
        results.reserve(block.size());
        let items = rest.insert(block.into_items());
        let mut index = first;
        while index < brake.end() {
            position.set(index);
            let Some(item) = items.next() else { break };
            // To make an item may take time, to take one out of a vector does not.
            let start = if B::CUTS_BY_USER { Instant::now() } else { round.next_start() };
            begun.set(Some(start));
            round.started(index, start);
            let result = call.in_item_span(index, || work.run(state, item, At { call, index }));
            begun.set(None);
            round.finished(index, start, outcome(W::is_panic(&result)));
            results.push(result);
            index += 1;
        }
    });
    if let (Some(start), Some(panic)) = (begun.get(), &end.panic) {
        let index = panic.index() as u64;
        end.notes.extend(panics::run_job(call, index, |_| round.finished(index, start, Outcome::Panicked)).notes);
    }
    end
}

/// Runs one item on the thread that asks for its result.
pub(crate) fn run_here<T, W: Work<T>>(
    work: &W,
    call: &Arc<Call>,
    watches: &[&ObserverRef<'_>],
    state: &mut Option<W::State>,
    index: u64,
    item: T,
) -> Result<W::Output, TaskPanic> {
    let run = || call.in_item_span(index, || work.run(state, item, At { call, index }));
    if watches.is_empty() {
        panics::run_item(call, index, run)
    } else {
        run_here_watched::<T, W>(call, watches, index, run)
    }
}

#[cold]
fn run_here_watched<T, W: Work<T>>(
    call: &Arc<Call>,
    watches: &[&ObserverRef<'_>],
    index: u64,
    run: impl FnOnce() -> W::Output,
) -> Result<W::Output, TaskPanic> {
    let round = ItemTimer::begin(watches.to_vec());
    let start = Instant::now();
    let run = || {
        round.started(index, start);
        run()
    };
    let result = observe::wait(watches, || panics::run_item(call, index, run));
    let panicked = result.as_ref().map_or(true, W::is_panic);
    // As a job, so that what there is to say about an observer's panic is said like that of any other.
    let end = panics::run_job(call, index, |_| round.finished(index, start, outcome(panicked)));
    panics::tell_by(call.outlet(), end.notes.concat());
    result
}

fn outcome(panicked: bool) -> Outcome {
    if panicked { Outcome::Panicked } else { Outcome::Returned }
}

/// The pullers of a call in any order between the steps of its caller: what one does from one hand-over to the next is a
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
    type Same = Map<fn(u32) -> u32>;

    /// A call of so many workers whose items are queued and whose pullers only the test plays: chunks of one item.
    fn exchange(workers: usize, items: Vec<u32>, last: bool) -> Exchange<Numbers, Same> {
        let mut sizer = Sizer::new::<u32, u32>(workers);
        sizer.fix_chunk(1);
        let exchange =
            Exchange::new(Map((|x| x) as fn(u32) -> u32), Arc::new(Call::here("pool_map", None)), workers, sizer);
        exchange.open();
        exchange.submit(0, items.into_iter(), Duration::ZERO, last);
        exchange
    }

    fn finished<B: Block<Item = u32>>(chunk: Chunk<B>) -> (u64, Done<u32>) {
        let results = chunk.items.into_items().collect::<Vec<_>>();
        let items = results.len();
        (chunk.ticket, Done { results, items, panic: None, notes: Vec::new(), busy: Duration::ZERO })
    }

    #[test]
    fn help_is_called_while_there_is_more_to_do_than_hands() {
        let exchange = exchange(4, vec![0, 1, 2], true);
        exchange.desk.lock().pullers = 1;
        let (first, help) = exchange.exchange(None);
        assert!(first.is_some() && help, "two are queued");
        let (second, help) = exchange.exchange(None);
        assert!(second.is_some() && help, "one is queued");
        let (third, help) = exchange.exchange(None);
        assert!(third.is_some() && !help && exchange.desk.lock().pullers == 3, "none is queued");
        for chunk in [first, second, third].into_iter().flatten() {
            let (chunk, help) = exchange.exchange(Some(finished(chunk)));
            assert!(chunk.is_none() && !help);
        }
        assert_eq!(exchange.desk.lock().pullers, 0);
    }

    /// Whether a caller that waits for `until` is called by what `step` does.
    fn calls<B: Block, W: Work<B::Item>, R>(
        exchange: &Exchange<B, W>,
        until: Until,
        step: impl FnOnce(&Exchange<B, W>) -> R,
    ) -> (R, bool) {
        exchange.desk.lock().caller_waits = Some(until);
        exchange.called.store(false, Ordering::Relaxed);
        let end = step(exchange);
        let called = exchange.called.load(Ordering::Relaxed);
        assert_ne!(called, exchange.desk.lock().caller_waits.is_some());
        (end, called)
    }

    #[test]
    fn the_caller_is_called_for_the_front_or_when_the_workers_run_dry() {
        for last in [false, true] {
            let exchange = exchange(2, vec![0, 1], last);
            let take = |exchange: &Exchange<_, _>| exchange.exchange(None).0.expect("a chunk");
            let (first, called) = calls(&exchange, Until::Dry, take);
            assert!(!called, "one more is queued");
            let (second, called) = calls(&exchange, Until::Front, take);
            assert!(!called, "and runs");
            exchange.desk.lock().pullers = 2;
            // Where more is to come, whoever finds nothing calls for it; else the last to leave says that all is done.
            let (_, called) = calls(&exchange, Until::Dry, |exchange| exchange.exchange(Some(finished(second))));
            assert_eq!(called, !last);
            let (_, called) = calls(&exchange, Until::Dry, |exchange| exchange.exchange(Some(finished(first))));
            assert!(called);
        }
        let exchange = exchange(2, vec![0, 1, 2, 3], true);
        exchange.desk.lock().pullers = 2;
        let [first, second] = [(); 2].map(|()| exchange.exchange(None).0.expect("a chunk"));
        let (_, called) = calls(&exchange, Until::Front, |exchange| exchange.exchange(Some(finished(second))));
        assert!(!called, "it is not the front of the line");
        let (_, called) = calls(&exchange, Until::Front, |exchange| exchange.exchange(Some(finished(first))));
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
    }

    /// A call of two workers with the item 0, and then a block that is cut into chunks of one item, the first time after `first`.
    fn cutting(
        items: Vec<u32>,
        first: impl FnOnce(&Exchange<Cuttable, Same>) + Send + 'static,
    ) -> Arc<Exchange<Cuttable, Same>> {
        let mut sizer = Sizer::new::<u32, u32>(2);
        sizer.fix_chunk(1);
        let work = Map((|x| x) as fn(u32) -> u32);
        let exchange = Arc::new(Exchange::new(work, Arc::new(Call::here("pool_map", None)), 2, sizer));
        exchange.open();
        exchange.submit(0, Cuttable { numbers: vec![0].into_iter(), first: None }, Duration::ZERO, false);
        let here = Arc::clone(&exchange);
        let items = Cuttable { numbers: items.into_iter(), first: Some(Box::new(move || first(&here))) };
        exchange.submit(1, items, Duration::ZERO, true);
        exchange.desk.lock().pullers = 2;
        exchange
    }

    #[test]
    fn while_one_puller_cuts_others_leave_and_the_call_may_stop() {
        for stops in [false, true] {
            let exchange = cutting(vec![1, 2, 3], move |exchange| {
                let (chunk, help) = exchange.exchange(None);
                assert!(chunk.is_none() && !help && exchange.desk.lock().pullers == 1, "it has left");
                if stops {
                    exchange.stop();
                }
            });
            let chunk = exchange.exchange(None).0.expect("a chunk");
            let (next, help) = exchange.exchange(Some(finished(chunk)));
            assert_eq!(next.expect("it was cut off").items.into_items().collect::<Vec<_>>(), [1]);
            assert_eq!((help, exchange.desk.lock().window.queued_items()), (!stops, if stops { 0 } else { 2 }));
        }
    }

    #[test]
    fn a_caller_that_waits_for_the_front_is_called_before_the_next_is_cut() {
        for until in [Until::Front, Until::Dry] {
            let called_before = Arc::new(AtomicBool::new(false));
            let told = Arc::clone(&called_before);
            let exchange = cutting(vec![1, 2], move |exchange| {
                told.store(exchange.called.load(Ordering::Relaxed), Ordering::Relaxed);
            });
            let chunk = exchange.exchange(None).0.expect("a chunk");
            calls(&exchange, until, |exchange| exchange.exchange(Some(finished(chunk))));
            assert_eq!(called_before.load(Ordering::Relaxed), until == Until::Front);
        }
    }

    #[test]
    fn for_items_without_hands_the_caller_starts_a_puller() {
        let exchange = exchange(2, vec![0], true);
        exchange.leave_to_others();
        let (_, pullers) = exchange.wait(&mut VecDeque::new());
        assert_eq!((pullers, exchange.desk.lock().pullers), (1, 1));
        exchange.leave_to_others();
        assert_eq!((exchange.wait_for_all(), exchange.desk.lock().pullers), (1, 1));
    }

    #[test]
    fn the_time_of_a_call_is_the_sum_of_its_stretches() {
        let exchange = exchange(1, vec![], false);
        exchange.desk.lock().pullers = 0;
        let mut took = exchange.shut(&mut VecDeque::new());
        exchange.open();
        exchange.close();
        assert!(exchange.desk.lock().last, "the rest is shared out");
        took += exchange.shut(&mut VecDeque::new());
        exchange.open();
        let desk = exchange.desk.lock();
        assert!(!desk.last);
        assert_eq!(desk.elapsed(desk.since + AWAKE), took + AWAKE);
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
        /// How many pullers may find that their worker is in the middle of something else.
        refused: usize,
        /// The caller takes nothing before all is done.
        batch: bool,
    }

    impl Default for Setting {
        fn default() -> Setting {
            let (bad, stop_after) = (Vec::new(), usize::MAX);
            Setting { workers: 2, items: 6, chunk: 1, limit: 6, bad, stop_after, refused: 0, batch: false }
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

    /// Where a puller stands.
    enum Hand<T, R> {
        Called,
        Took(Chunk<vec::IntoIter<T>>),
        Ran(u64, Done<R>),
    }

    impl<T, R> Hand<T, R> {
        fn stands(&self) -> (u8, u64) {
            match self {
                Hand::Called => (0, 0),
                Hand::Took(chunk) => (1, chunk.ticket),
                Hand::Ran(ticket, _) => (2, *ticket),
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
                    self.failure = done.panic.as_ref().map(TaskPanic::index);
                }
            }
        }
    }

    /// Runs one call, `way` being asked who goes next, and checks all that is promised of it.
    #[expect(clippy::too_many_lines, reason = "one run from top to bottom")]
    fn run(setting: &Setting, way: &mut dyn Way) {
        let Setting { workers, items, chunk, limit, bad, stop_after, refused, batch } = setting;
        let (alive, runs) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = Map(|item: Item<'_>| {
            runs.lock().push(item.0);
            if bad.contains(&item.0) {
                resume_unwind(Box::new(item.0));
            }
            item.0
        });
        let mut sizer = Sizer::new::<Item<'_>, usize>(*workers);
        sizer.fix_chunk(*chunk);
        let exchange = Exchange::new(work, Arc::new(Call::here("orders", None)), *workers, sizer);
        exchange.open();

        let mut hands: Vec<Hand<Item<'_>, usize>> = Vec::new();
        let (mut pulled, mut refusals) = (0, 0);
        let (mut ready, mut seen) = (VecDeque::new(), Seen::default());
        // The least item whose panic was caught so far.
        let mut caught = u64::MAX;
        let (mut over, mut closed) = (false, false);
        loop {
            let asleep = exchange.desk.lock().caller_waits.is_some();
            // Pullers that have not begun are all the same.
            let called = hands.iter().position(|hand| matches!(hand, Hand::Called));
            let mut actors: Vec<_> = (0..hands.len())
                .filter(|at| Some(*at) == called || !matches!(hands[*at], Hand::Called))
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
                match mem::replace(&mut hands[actor], Hand::Called) {
                    Hand::Called if refusals < *refused && way.choose(2) == 1 => {
                        refusals += 1;
                        exchange.leave_to_others();
                        hands.swap_remove(actor);
                    }
                    Hand::Took(chunk) => {
                        let (first, ticket) = (chunk.first, chunk.ticket);
                        let before = runs.lock().len();
                        let call = &exchange.call;
                        let done = run_chunk(&exchange.work, call, &exchange.brake, Vec::new(), chunk, &mut None);
                        for index in &runs.lock()[before..] {
                            assert!((*index as u64) < caught, "item {index} started after the panic of {caught}");
                            assert!(!over, "item {index} started after the end");
                        }
                        caught = done.panic.as_ref().map_or(caught, |panic| caught.min(panic.index() as u64));
                        assert!((first..).zip(&done.results).all(|(index, result)| index == *result as u64));
                        hands[actor] = Hand::Ran(ticket, done);
                    }
                    stage => {
                        let done = if let Hand::Ran(ticket, done) = stage { Some((ticket, done)) } else { None };
                        let (chunk, help) = exchange.exchange(done);
                        hands.extend(called_hands(usize::from(help)));
                        let is_called = |(at, hand): (usize, &_)| at != actor && matches!(hand, Hand::Called);
                        let all_come = hands.len() == *workers || hands.iter().enumerate().any(is_called);
                        let none_wait = exchange.desk.lock().window.queued_items() == 0;
                        assert!(all_come || none_wait, "a worker was not called: {setting:?}");
                        match chunk {
                            Some(chunk) => hands[actor] = Hand::Took(chunk),
                            None => drop(hands.swap_remove(actor)),
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
                hands.extend(called_hands(wanted));
            } else if *batch && !closed {
                exchange.close();
                closed = true;
            } else {
                // `wait` and `wait_for_all` without their sleep.
                let mut desk = exchange.desk.lock();
                if !batch {
                    exchange.move_ready(&mut desk, &mut ready);
                }
                if !ready.is_empty() {
                } else if desk.is_stranded() {
                    desk.pullers += 1;
                    hands.extend(called_hands(1));
                } else if if *batch { desk.pullers > 0 } else { seen.out > 0 } {
                    assert!(desk.pullers > 0, "nobody will wake the caller: {setting:?}");
                    desk.caller_waits = Some(if *batch { Until::Dry } else { Until::Front });
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
            let desk = exchange.desk.lock();
            assert_eq!(desk.pullers, hands.len(), "{setting:?}");
            assert!(hands.len() <= *workers, "{setting:?}");
            assert!(seen.out <= *limit, "{setting:?}");
            let work_waits = desk.window.queued_items() > 0;
            assert!(!work_waits || !hands.is_empty() || refusals > 0, "items wait for nobody: {setting:?}");

            let waits = desk.caller_waits;
            let line =
                desk.window.map_line(|done| done.as_ref().map(|done| (done.results.len(), done.panic.is_some())));
            drop(desk);
            let mut stands: Vec<_> = hands.iter().map(Hand::stands).collect();
            stands.sort_unstable();
            let front = line.first().is_some_and(Option::is_some);
            assert!(!front || waits != Some(Until::Front), "the caller sleeps beside its result: {setting:?}");
            assert_eq!(front, exchange.front_ready(), "{setting:?}");
            let call = (pulled, caught, over, closed, refusals, waits.is_some(), front);
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

    fn called_hands<T, R>(count: usize) -> impl Iterator<Item = Hand<T, R>> {
        std::iter::repeat_with(|| Hand::Called).take(count)
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
                orders::all(|way| run(&Setting { items: items.min(4), refused: 2, ..base.clone() }, way));
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
            refused in 0..5_usize,
            batch in any::<bool>(),
            choices in prop::collection::vec(any::<usize>(), 0..400),
        ) {
            // Who takes nothing before the end does not stop before it.
            let stop_after = if batch { usize::MAX } else { stop_after };
            let setting = Setting { workers, items, chunk, limit, bad, stop_after, refused, batch };
            run(&setting, &mut Given(choices.into_iter()));
        }
    }
}
