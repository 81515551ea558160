//! What a worker does with one chunk: it runs the items, up to the first panic or the end of the call, or hands the rest
//! back.
//!
//! A chunk is sized by what items took so far. Where they turn slow within a chunk, the rest of it must not wait for this
//! worker: once another one has nothing to do, or others wait and this call has had its turn, items look closer
//! ([`StopFlag::look`]) and the rest goes back to the queue. It costs nothing as long as nobody asks.

use crate::engine::block::{Block, Queued};
use crate::engine::stop::StopFlag;
use crate::engine::window::Chunk;
use crate::engine::work::{At, WorkOn};
use crate::observe::{self, ItemTimer, ObserverRef, TaskOutcome};
use crate::panics::{self, Call, JobEnd, TaskPanic};
use std::cell::Cell;
use std::sync::Arc;
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
    pub(crate) deferred: Vec<String>,
    /// How long the worker was at it.
    pub(crate) busy: Duration,
}

impl<R> Done<R> {
    /// What comes of so many items that never start.
    pub(crate) fn nothing(items: usize) -> Self {
        Done { results: Vec::new(), items, panic: None, deferred: Vec::new(), busy: Duration::ZERO }
    }
}

/// A chunk is planned to take no longer than this, so a rest that takes less is nothing unusual.
const WORTH_HANDING_BACK: Duration = Duration::from_millis(5);
/// While somebody asks, the clock is read about this often…
const CLOSER_LOOK: Duration = Duration::from_micros(20);
/// …and after this many items at the latest, should they turn slow.
const MOST_UNSEEN: u64 = 16;

/// How a worker runs the chunks of one call.
pub(crate) struct Runner<'a, W> {
    pub(crate) work: &'a W,
    pub(crate) call: &'a Arc<Call>,
    pub(crate) stop: &'a StopFlag,
    /// Whether others that wait for a worker are to go first by then.
    pub(crate) should_yield: &'a dyn Fn(Instant) -> bool,
}

/// What is handed back of a chunk: blocks that follow each other, from the item of this index on.
pub(crate) struct Left<B: Block> {
    pub(crate) first: u64,
    pub(crate) blocks: Vec<Queued<B>>,
}

impl<B: Block> Left<B> {
    /// Each block with the index of its first item.
    pub(crate) fn into_blocks(self) -> impl Iterator<Item = (u64, Queued<B>)> {
        let mut next = self.first;
        self.blocks.into_iter().map(move |block| {
            let first = next;
            next += block.size() as u64;
            (first, block)
        })
    }
}

/// What an item does that looks closer.
enum Look {
    /// It starts. Up to this index, only whether the call has been stopped matters.
    GoOn(u64),
    HandBack,
    Stop,
}

/// What comes out of a chunk besides the results.
struct End<B: Block> {
    job: JobEnd,
    /// The item that looked closer, and is to be handed back. In a box, since items may be large and stacks small.
    held: Option<Box<B::Item>>,
    rest: Option<B::Items>,
}

impl<W> Runner<'_, W> {
    /// Runs the items of a chunk.
    pub(crate) fn run<B: Block>(
        &self,
        watches: Vec<&ObserverRef<'_>>,
        chunk: Chunk<B>,
        state: &mut Option<W::State>,
    ) -> (Done<W::Output>, Option<Left<B>>)
    where
        W: WorkOn<B::Item>,
    {
        match chunk.items {
            Queued::Block(block) => self.run_block(watches, chunk.first, block, state),
            Queued::Items(items) => {
                let (done, left) = self.run_block(watches, chunk.first, items, state);
                let again = |block| match block {
                    Queued::Block(items) | Queued::Items(items) => Queued::Items(items),
                };
                let left =
                    left.map(|left| Left { first: left.first, blocks: left.blocks.into_iter().map(again).collect() });
                (done, left)
            }
        }
    }

    fn run_block<B: Block>(
        &self,
        watches: Vec<&ObserverRef<'_>>,
        first: u64,
        block: B,
        state: &mut Option<W::State>,
    ) -> (Done<W::Output>, Option<Left<B>>)
    where
        W: WorkOn<B::Item>,
    {
        let count = block.size();
        let mut results = Vec::new();
        let start = Instant::now();
        // `f` is user code. It may return: its result is kept, outside the catch. Panic: the results before it stay. Call
        // us again, or wait inside rayon: nothing of ours runs on top of it.
        let is_watched = !watches.is_empty() || panics::catch(|| self.call.spans_items()).unwrap_or(false);
        let End { mut job, held, rest } = if is_watched {
            self.run_watched(watches, first, block, &mut results, state, start)
        } else {
            self.run_unwatched(first, block, &mut results, state, start)
        };
        let busy = start.elapsed();
        let panic = job.panic.take();
        let has_stopped = panic.as_ref().is_some_and(TaskPanic::is_stop);
        let panic = panic.filter(|panic| !panic.is_stop());
        if let Some(panic) = &panic {
            self.stop.stop_at(panic.item());
        }
        panics::contain_all(results.drain(count.min(results.len())..));
        let done = results.len();
        let (mut items, mut left) = (count, None);
        match (held, rest) {
            (Some(held), Some(rest)) => {
                items = done;
                let blocks = Queued::left(*held, rest, count - done);
                left = Some(Left { first: first + done as u64, blocks });
            }
            (None, Some(rest)) if B::is_to_drop(&rest) => {
                // The item that panicked is gone already, and so is the one that was stopped.
                let left = first + done as u64 + u64::from(panic.is_some() || has_stopped);
                let drop_all = |position: &Cell<u64>| B::abandon_rest(rest, |place| position.set(left + place as u64));
                job.deferred.extend(panics::run_job(self.call, left, drop_all).deferred);
            }
            _ => {}
        }
        (Done { results, items, panic, deferred: job.deferred, busy }, left)
    }

    /// The loop over the items of a chunk.
    fn run_unwatched<B: Block>(
        &self,
        first: u64,
        block: B,
        results: &mut Vec<W::Output>,
        state: &mut Option<W::State>,
        start: Instant,
    ) -> End<B>
    where
        W: WorkOn<B::Item>,
    {
        let Runner { work, call, stop, .. } = *self;
        let count = block.size();
        let (mut held, mut rest) = (None, None);
        let job = panics::run_job(call, first, |position| {
            // In here, since data may claim any length.
            results.reserve(count);
            let mut looks_from = first;
            let (held, items) = (&mut held, rest.insert(block.into_items()));
            if cfg!(panic = "abort") {
                let mut index = first;
                // Nothing ends a loop from inside of a library here but the end of the process.
                while index < stop.stop() {
                    let Some(item) = items.next() else { break };
                    if index >= stop.look() {
                        match self.look_closer(first, count, index, looks_from, start) {
                            Look::GoOn(until) => looks_from = until,
                            Look::HandBack => {
                                set_aside(held, item);
                                break;
                            }
                            Look::Stop => return panics::contain(item),
                        }
                    }
                    results.push(work.run(state, item, At { call, index }));
                    index += 1;
                    position.set(index);
                }
                return;
            }
            // Not a loop that pushes: an iterator whose length is known writes its results without asking for room each
            // time, and keeps the count in a register. It is ended early by unwinding.
            results.extend(items.map(|item| {
                let index = position.get();
                if index >= stop.look() {
                    match self.look_closer(first, count, index, looks_from, start) {
                        Look::GoOn(until) => looks_from = until,
                        Look::HandBack => {
                            set_aside(held, item);
                            panics::stop();
                        }
                        Look::Stop => {
                            panics::contain(item);
                            panics::stop();
                        }
                    }
                }
                let result = work.run(state, item, At { call, index });
                position.set(index + 1);
                result
            }));
            assert_eq!(results.len(), count, "the data has another number of items than it said");
        });
        End { job, held, rest }
    }

    /// The same for a call that is watched: each item has its times taken and told, and its span.
    #[cold]
    #[inline(never)]
    fn run_watched<B: Block>(
        &self,
        watches: Vec<&ObserverRef<'_>>,
        first: u64,
        block: B,
        results: &mut Vec<W::Output>,
        state: &mut Option<W::State>,
        since: Instant,
    ) -> End<B>
    where
        W: WorkOn<B::Item>,
    {
        let Runner { work, call, stop, .. } = *self;
        let count = block.size();
        let timer = ItemTimer::begin(watches);
        let (mut held, mut rest) = (None, None);
        // When the item began that runs now.
        let begun = Cell::new(None);
        let mut job = panics::run_job(call, first, |position| {
            results.reserve(count);
            let items = rest.insert(block.into_items());
            let (mut index, mut looks_from) = (first, first);
            while index < stop.stop() {
                position.set(index);
                let Some(item) = items.next() else { break };
                if index >= stop.look() {
                    match self.look_closer(first, count, index, looks_from, since) {
                        Look::GoOn(until) => looks_from = until,
                        Look::HandBack => {
                            return set_aside(&mut held, item);
                        }
                        Look::Stop => return panics::contain(item),
                    }
                }
                // To make an item may take time, to take one out of a vector does not.
                let start = if B::CUTS_BY_USER { Instant::now() } else { timer.next_start() };
                timer.started(index, start);
                begun.set(Some(start));
                let result = call.in_item_span(index, || work.run(state, item, At { call, index }));
                begun.set(None);
                timer.finished(index, start, outcome(W::is_panic(&result)));
                results.push(result);
                index += 1;
            }
        });
        if let (Some(start), Some(panic)) = (begun.get(), &job.panic) {
            let index = panic.item();
            job.deferred
                .extend(panics::run_job(call, index, |_| timer.finished(index, start, TaskOutcome::Panicked)).deferred);
        }
        End { job, held, rest }
    }

    /// What the item `index` does in a chunk of `count` items from `first` on, which began at `start`: the call has been
    /// stopped, or the workers have been asked for items. The clock is not read before `looks_from`.
    #[cold]
    #[inline(never)]
    fn look_closer(&self, first: u64, count: usize, index: u64, looks_from: u64, start: Instant) -> Look {
        if index >= self.stop.stop() {
            return Look::Stop;
        }
        if index < looks_from {
            return Look::GoOn(looks_from);
        }
        let done = index - first;
        if done == 0 {
            // Each visit gets something done.
            return Look::GoOn(index + 1);
        }
        let now = Instant::now();
        let took = now.saturating_duration_since(start);
        let each = (took.as_nanos() / u128::from(done)).max(1);
        let left = (count as u64).saturating_sub(done);
        let is_worth_it = left > 1 && each * u128::from(left) >= WORTH_HANDING_BACK.as_nanos();
        if (self.stop.wants_items() && is_worth_it) || (self.should_yield)(now) {
            return Look::HandBack;
        }
        let unseen = u64::try_from(CLOSER_LOOK.as_nanos() / each).unwrap_or(MOST_UNSEEN);
        Look::GoOn(index + unseen.clamp(1, MOST_UNSEEN))
    }

    /// Runs one item on the thread that asks for its result.
    pub(crate) fn run_here<T>(
        &self,
        watches: &[&ObserverRef<'_>],
        state: &mut Option<W::State>,
        index: u64,
        item: T,
    ) -> Result<W::Output, TaskPanic>
    where
        W: WorkOn<T>,
    {
        let Runner { work, call, .. } = *self;
        let run = || call.in_item_span(index, || work.run(state, item, At { call, index }));
        if watches.is_empty() {
            panics::run_item(call, index, run)
        } else {
            run_here_watched::<T, W>(call, watches, index, run)
        }
    }
}

#[cold]
#[inline(never)]
fn set_aside<T>(held: &mut Option<Box<T>>, item: T) {
    *held = Some(Box::new(item));
}

#[cold]
fn run_here_watched<T, W: WorkOn<T>>(
    call: &Arc<Call>,
    watches: &[&ObserverRef<'_>],
    index: u64,
    run: impl FnOnce() -> W::Output,
) -> Result<W::Output, TaskPanic> {
    let timer = ItemTimer::begin(watches.to_vec());
    let start = Instant::now();
    let run = || {
        timer.started(index, start);
        run()
    };
    let result = observe::wait(watches, || panics::run_item(call, index, run));
    let panicked = result.as_ref().map_or(true, W::is_panic);
    // As a job, so that what there is to say about an observer's panic is said like that of any other.
    let end = panics::run_job(call, index, |_| timer.finished(index, start, outcome(panicked)));
    panics::emit(call.trace_sink(), end.deferred.concat());
    result
}

fn outcome(panicked: bool) -> TaskOutcome {
    if panicked { TaskOutcome::Panicked } else { TaskOutcome::Returned }
}
