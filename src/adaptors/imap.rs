//! [`PoolImap`]: the consumer's side of a stream that runs ahead while the loop body runs.
//!
//! What the consumer shares with the feeder and the workers is a [`StreamState`]; here is what is the consumer's alone. Where a
//! stream gets its threads is its [`Host`]: a pool and a detached feeder, or a [scope](crate::scope()) for borrowed data.

use crate::adaptors::options::{CallOptions, call_options};
use crate::base::fork::is_forked;
use crate::base::sync::{Mutex, thread};
use crate::engine::feeder_pulls::{LeaseSlot, Patience, StreamState};
use crate::engine::inbox::{Chunked, Inbox};
use crate::engine::run_chunk::Done;
use crate::engine::source::size_hint_of;
use crate::engine::state::feeder::Turn;
use crate::engine::stop::CancelToken;
use crate::engine::work::{Catching, CatchingItems, Observed, Work, WorkOn};
use crate::log::go_past_the_lock;
use crate::observe::{IntoObserver, ObserverRef};
use crate::panics::{self, text::TraceLevel};
use crate::threads::lease::Workers;
use crate::threads::names::NumberBlock;
use crate::threads::wait_graph::{WaitPermit, permit_for_later};
use crate::threads::workers_scope::Holders as _;
use std::error::Error;
use std::iter::FusedIterator;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use std::{fmt, iter, mem, vec};

/// An iterator that maps the items of another one on the workers of a pool, and works ahead of the loop that takes the
/// results.
///
/// Made by [`pool_imap`](crate::PoolIterator::pool_imap), [`pool_imap_unordered`](crate::PoolIterator::pool_imap_unordered)
/// and the methods of a [`Scope`](crate::Scope), which have the full description. The methods here set options. Call them
/// before the first result is requested.
///
/// After a drop no item starts. The drop returns at once: it waits neither for running items nor for a source that blocks; the
/// feeder ends when the source next returns. If this is the last handle of a [`Pool`](crate::Pool), though, the drop [ends
/// that pool](crate::Pool::join) and waits for what runs.
///
/// After `fork`, the feeder and the workers of a stream that had started exist only in the parent. In the child the stream
/// yields the results at hand and then `None`, even if items are left.
#[must_use = "iterators are lazy: nothing is pulled and no thread starts until a result is asked for"]
pub struct PoolImap<I: Iterator, W: Work, H = Background> {
    consumer: Consumer<I, W>,
    /// Dropped last: a stream has let go of its workers when its pool may end.
    host: H,
}

/// What [`PoolImap::next_timeout`] and [`PoolImap::try_next`] return while the next result is not ready: the stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NotReady;

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no result is ready yet")
    }
}

impl Error for NotReady {}

/// What the consumer has of a stream.
struct Consumer<I: Iterator, W: Work> {
    stage: StreamStage<I, W>,
    /// The chunk whose turn it is.
    inbox: Inbox<W::Output>,
    /// How many items that chunk was made of, to be counted as delivered once it is empty.
    handed: usize,
    /// Results that came out before that chunk, and in it.
    given: usize,
    /// The size hint of the source before it went to its feeder.
    hint: (usize, Option<usize>),
    /// A token has ended the stream before all results were delivered.
    cut_short: bool,
    /// From a poll to the next, for one that awaits the stream on a worker of another pool.
    permit: Option<WaitPermit>,
}

/// How far a stream is.
enum StreamStage<I: Iterator, W: Work> {
    /// Nothing was asked for yet.
    Ready(Setup<I, W>),
    /// The source is with its feeder.
    Running(Arc<StreamState<I::Item, W>>),
    /// There are no threads: each item is pulled and run on the consumer's thread. With the index of the next one.
    Here(I, Arc<StreamState<I::Item, W>>, u64),
    Over,
}

/// A stream before its start.
struct Setup<I, W> {
    source: I,
    work: W,
    options: CallOptions,
    workers: usize,
    ordered: bool,
    /// The observer of the pool.
    pool_watch: Option<Box<ObserverRef<'static>>>,
}

/// How a stream starts.
pub(crate) enum Start<I> {
    /// It has a feeder.
    Fed,
    /// There are no threads: its items are pulled and run on the consumer's.
    Here(I),
    /// Not at all: its scope is over.
    TooLate(I),
}

/// Where a stream gets its threads.
pub trait Host<I: Iterator, W: WorkOn<I::Item>>: sealed::StartFeeder<I, W> {}

pub(crate) mod sealed {
    use super::Start;
    use crate::engine::feeder_pulls::StreamState;
    use crate::engine::work::WorkOn;
    use std::sync::Arc;

    /// The working half of [`Host`](super::Host).
    #[expect(unnameable_types, reason = "a sealed trait: nobody else may implement it")]
    pub trait StartFeeder<I: Iterator, W: WorkOn<I::Item>> {
        /// Starts a feeder for the source.
        #[expect(private_interfaces, reason = "nobody outside can call it")]
        fn start(&mut self, source: I, stream: &Arc<StreamState<I::Item, W>>) -> Start<I>;

        /// Lets go of the workers: nothing more is wanted.
        fn release(&mut self);
    }
}

impl<I: Iterator, W: WorkOn<I::Item>, H> PoolImap<I, W, H> {
    #[track_caller]
    pub(crate) fn new(source: I, workers: &Workers, work: W, method: &'static str, ordered: bool, host: H) -> Self {
        let options = CallOptions::new::<I::Item, W::Output>(method, workers);
        let pool_watch = workers.observer().map(|observer| Box::new(ObserverRef::shared(observer)));
        PoolImap::assemble(Setup { source, work, options, workers: workers.threads(), ordered, pool_watch }, host)
    }

    fn assemble(setup: Setup<I, W>, host: H) -> Self {
        let inbox = Inbox::new(setup.options.call.trace_sink(), setup.ordered);
        let stage = StreamStage::Ready(setup);
        let consumer = Consumer { stage, inbox, handed: 0, given: 0, hint: (0, None), cut_short: false, permit: None };
        PoolImap { consumer, host }
    }

    #[track_caller]
    fn options(&mut self, option: &str) -> &mut CallOptions {
        match &mut self.consumer.stage {
            StreamStage::Ready(setup) => &mut setup.options,
            StreamStage::Running(_) | StreamStage::Here(..) | StreamStage::Over => CallOptions::too_late(option),
        }
    }

    /// The same stream, before its start, with other work.
    #[track_caller]
    fn with_work<V: WorkOn<I::Item>>(self, option: &str, wrap: impl FnOnce(W) -> V) -> PoolImap<I, V, H> {
        let PoolImap { mut consumer, host } = self;
        match mem::replace(&mut consumer.stage, StreamStage::Over) {
            StreamStage::Ready(Setup { source, work, options, workers, ordered, pool_watch }) => {
                let work = wrap(work);
                PoolImap::assemble(Setup { source, work, options, workers, ordered, pool_watch }, host)
            }
            started => {
                consumer.stage = started;
                CallOptions::too_late(option)
            }
        }
    }
}

call_options! {
    impl PoolImap<I: Iterator, W, H>;
    too_late: "a result was already asked for";

    /// A worker takes the items that are there, up to `items`; it does not wait for more. `chunk_size(1)` is strict: each
    /// result is delivered as soon as it and all before it are done.
    chunk_size;

    /// By default the limit is that of [`PoolMap::max_in_flight`](crate::PoolMap::max_in_flight); before the first item has been
    /// timed, it is three items for each worker. A chunk counts as delivered
    /// when the result after its last one is requested. So with `max_in_flight(1)` nothing works ahead: an item is pulled when
    /// its result is requested.
    max_in_flight;

    /// A source that blocks does not delay the end.
    cancel_on;

    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolIterator;
    ///
    /// let mut results = [2, 0, 5].into_iter().pool_imap(2, |x| 10 / x).catch_panics();
    /// assert_eq!(results.next().unwrap().unwrap(), 5);
    /// assert_eq!(results.next().unwrap().unwrap_err().message(), "attempt to divide by zero");
    /// assert_eq!(results.next().unwrap().unwrap(), 2);
    /// ```
    catch_panics;

    with_items;

    /// Running items continue when the iterator is dropped, so the stream keeps the observer until its last thread has
    /// finished. Pass an [`Arc`] of one (or `&Arc`, which is cloned) or, in a [scope](crate::scope()), a reference to one from
    /// outside the scope. The observer is told the end when no more results will come and no item is running.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::{PoolIterator, Timeline};
    /// use std::sync::Arc;
    ///
    /// let timeline = Arc::new(Timeline::new());
    /// let sum: u64 = (0..8).pool_imap(4, |x| x * x).observe(Arc::clone(&timeline)).sum();
    /// assert_eq!((sum, timeline.items()), (140, 8));
    ///
    /// let timeline = Timeline::new();
    /// let sum: u64 = pool_map::scope(4, |s| s.imap(0..8, |x| x * x).observe(&timeline).sum());
    /// assert_eq!((sum, timeline.items()), (140, 8));
    /// ```
    observe;
}

impl<I, W, H> Chunked<W::Output> for PoolImap<I, W, H>
where
    I: Iterator,
    W: WorkOn<I::Item>,
    H: Host<I, W>,
{
    fn current(&mut self) -> &mut vec::IntoIter<W::Output> {
        &mut self.consumer.inbox.current
    }

    #[cold]
    fn refill(&mut self) -> Option<W::Output> {
        self.refill_in(&mut Patience::Endless).expect("BUG: it waits without end")
    }
}

impl<I: Iterator, W: WorkOn<I::Item>> PoolImap<I, W> {
    /// A stream made from a call that has its options already.
    pub(crate) fn ahead(source: I, workers: Workers, work: W, options: CallOptions) -> Self {
        let pool_watch = workers.observer().map(|observer| Box::new(ObserverRef::shared(observer)));
        let setup = Setup { source, work, options, workers: workers.threads(), ordered: true, pool_watch };
        PoolImap::assemble(setup, Background::new(workers))
    }
}

impl<I: Iterator, W: WorkOn<I::Item>, H> PoolImap<I, W, H> {
    /// Yields each result as soon as it is ready, in any order, as
    /// [`pool_imap_unordered`](crate::PoolIterator::pool_imap_unordered) does.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolIterator;
    ///
    /// let mut squares: Vec<u32> = (0..4).pool_imap(2, |x| x * x).unordered().collect();
    /// squares.sort();
    /// assert_eq!(squares, [0, 1, 4, 9]);
    /// ```
    ///
    /// # Panics
    ///
    /// If a result was already asked for.
    #[track_caller]
    pub fn unordered(mut self) -> Self {
        let trace_sink = self.options("unordered").call.trace_sink();
        if let StreamStage::Ready(setup) = &mut self.consumer.stage {
            setup.ordered = false;
        }
        self.consumer.inbox = Inbox::new(trace_sink, false);
        self
    }
}

impl<I: Iterator, W: Work, H> PoolImap<I, W, H> {
    /// Whether every `next` from here on gives `None`, as far as is known without waiting.
    #[cfg(feature = "futures")]
    pub(super) fn is_over(&self) -> bool {
        matches!(self.consumer.stage, StreamStage::Over) && self.consumer.inbox.current.len() == 0
    }

    /// Whether a [`CancelToken`] has ended the results early, as
    /// [`PoolMap::was_cut_short`](crate::PoolMap::was_cut_short) says. Known once `next` has returned `None`, and `false` before.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::{CancelToken, PoolIterator};
    ///
    /// let token = CancelToken::new();
    /// let mut squares = (0..).pool_imap(2, |x| x * x).cancel_on(&token);
    /// squares.by_ref().take(10).for_each(drop);
    /// token.cancel();
    /// squares.by_ref().for_each(drop); // what had been read ahead
    /// assert!(squares.was_cut_short());
    /// ```
    #[must_use]
    pub fn was_cut_short(&self) -> bool {
        self.consumer.cut_short
    }
}

impl<I, W, H> PoolImap<I, W, H>
where
    I: Iterator,
    W: WorkOn<I::Item>,
    H: Host<I, W>,
{
    /// The next result if it comes within `timeout`, else [`NotReady`]: the wait ends then, and the stream goes on.
    ///
    /// With a timeout of zero it is [`try_next`](Self::try_next); with one that is too large for a clock, such as
    /// [`Duration::MAX`], it is `next`. The first call starts the stream. It never runs an item itself, unless there are no
    /// threads to run it: on the only worker of the stream's own pool it waits in vain.
    ///
    /// # Examples
    ///
    /// A line on the screen while nothing comes:
    ///
    /// ```
    /// use pool_map::PoolIterator;
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    ///
    /// let (sender, receiver) = mpsc::channel();
    /// let mut sender = Some(sender);
    /// let mut squares = receiver.into_iter().pool_imap(2, |x: u32| x * x);
    /// let mut seen = Vec::new();
    /// loop {
    ///     match squares.next_timeout(Duration::from_millis(1)) {
    ///         Ok(Some(square)) => seen.push(square),
    ///         Ok(None) => break,
    ///         Err(not_ready) => {
    ///             println!("{not_ready}"); // no result is ready yet
    ///             if let Some(sender) = sender.take() {
    ///                 sender.send(7)?;
    ///             }
    ///         }
    ///     }
    /// }
    /// assert_eq!(seen, [49]);
    /// # Ok::<(), mpsc::SendError<u32>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotReady`] if neither a result nor the end has come in time. The end itself is `Ok(None)`.
    ///
    /// # Panics
    ///
    /// As `next`: if `f` or the source does.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<W::Output>, NotReady> {
        // A timeout beyond the reach of the clock is none.
        let mut patience = Instant::now().checked_add(timeout).map_or(Patience::Endless, Patience::Until);
        match self.consumer.inbox.current.next() {
            None => self.refill_in(&mut patience),
            result => Ok(result),
        }
    }

    /// The next result if it is ready. It does not wait.
    ///
    /// The first call starts the stream, so it is seldom ready then. Where there are no threads, it runs the next item.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::{NotReady, PoolIterator};
    /// use std::sync::mpsc;
    ///
    /// let (sender, receiver) = mpsc::channel::<u32>();
    /// let mut squares = receiver.into_iter().pool_imap(2, |x| x * x);
    /// assert_eq!(squares.try_next(), Err(NotReady));
    /// sender.send(3)?;
    /// assert_eq!(squares.next(), Some(9));
    /// drop(sender);
    /// assert_eq!(squares.next(), None);
    /// assert_eq!(squares.try_next(), Ok(None));
    /// # Ok::<(), mpsc::SendError<u32>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotReady`] if neither a result nor the end is there. The end itself is `Ok(None)`.
    ///
    /// # Panics
    ///
    /// As `next`: if `f` or the source does.
    pub fn try_next(&mut self) -> Result<Option<W::Output>, NotReady> {
        self.next_timeout(Duration::ZERO)
    }

    /// The next result for a future: ready if it is there, else `waker` of `context` is woken when it may be.
    ///
    /// On any runtime, and without a dependency: `std::future::poll_fn(|context| stream.poll_next(context)).await`. With the
    /// feature `futures`, `into_stream` makes it a `futures_core::Stream`, which has the methods of `StreamExt`:
    /// `stream.next().await`.
    ///
    /// The first poll starts the stream. A poll runs no item, unless there are no threads to run it, or the executor runs on a
    /// worker that must not wait for the stream's pool: a worker of that pool itself, or of one that it waits for. After the end
    /// every poll gives `None`. Only the waker of the last poll is woken. Blocking calls such as `next` may come between two
    /// polls. Dropping the stream [does not wait](PoolImap), so it may be dropped in async code; results that are left are
    /// dropped there.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolIterator;
    /// use std::future::poll_fn;
    ///
    /// async fn total(numbers: Vec<u32>) -> u32 {
    ///     let mut squares = numbers.into_iter().pool_imap(2, |x| x * x);
    ///     let mut total = 0;
    ///     while let Some(square) = poll_fn(|context| squares.poll_next(context)).await {
    ///         total += square; // the runtime goes on with other tasks while no square is ready
    ///     }
    ///     total
    /// }
    /// # use std::sync::Arc;
    /// # use std::task::{Context, Poll, Wake};
    /// # struct Unpark(std::thread::Thread);
    /// # impl Wake for Unpark {
    /// #     fn wake(self: Arc<Self>) {
    /// #         self.0.unpark();
    /// #     }
    /// # }
    /// # let waker = Arc::new(Unpark(std::thread::current())).into();
    /// # let mut future = std::pin::pin!(total(vec![1, 2, 3]));
    /// # let total = loop {
    /// #     match future.as_mut().poll(&mut Context::from_waker(&waker)) {
    /// #         Poll::Ready(total) => break total,
    /// #         Poll::Pending => std::thread::park(),
    /// #     }
    /// # };
    /// # assert_eq!(total, 14);
    /// ```
    ///
    /// # Panics
    ///
    /// As `next`: if `f` or the source does.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<W::Output>> {
        if let Some(result) = self.consumer.inbox.current.next() {
            return Poll::Ready(Some(result));
        }
        let mut patience = Patience::Polled { waker: Some(context.waker().clone()), permit: None };
        let next = self.refill_in(&mut patience);
        if let Patience::Polled { waker, permit } = patience {
            panics::contain(waker);
            self.consumer.permit = permit;
        }
        next.map_or(Poll::Pending, Poll::Ready)
    }

    /// The next result when none is at hand.
    fn refill_in(&mut self, patience: &mut Patience) -> Result<Option<W::Output>, NotReady> {
        self.consumer.end_poll();
        loop {
            let consumer = &mut self.consumer;
            consumer.raise();
            if consumer.inbox.take_gap() {
                consumer.cut_short = true;
                self.end();
                return Ok(None);
            }
            match &mut consumer.stage {
                StreamStage::Ready(_) => self.start(),
                StreamStage::Running(stream) => {
                    let handed = mem::take(&mut consumer.handed);
                    // After a fork the other side of the stream is in the parent, with the locks it may hold.
                    let turn = if is_forked() { Some(Turn::Ended) } else { stream.deliver(handed, patience) };
                    match turn {
                        None => return Err(NotReady),
                        Some(Turn::Done(done)) => {
                            if let Some(result) = consumer.take_in(done) {
                                return Ok(Some(result));
                            }
                        }
                        Some(Turn::Ended) => {
                            if !is_forked() {
                                consumer.cut_short = consumer.hint.1 != Some(consumer.given)
                                    && stream.stop_flag().is_cancelled()
                                    && !stream.has_given_all(consumer.given);
                                if !stream.wait_for_others(patience) {
                                    return Err(NotReady);
                                }
                            }
                            self.end();
                        }
                        Some(Turn::Panicked(payload)) => {
                            self.end();
                            panics::resume(payload);
                        }
                    }
                }
                StreamStage::Here(..) => return Ok(consumer.run_here()),
                StreamStage::Over => return Ok(None),
            }
        }
    }

    fn start(&mut self) {
        let StreamStage::Ready(setup) = mem::replace(&mut self.consumer.stage, StreamStage::Over) else { return };
        let Setup { source, work, options, workers, ordered, pool_watch } = setup;
        let CallOptions { call, sizer, stop, .. } = options;
        let hint = source.size_hint();
        self.consumer.hint = hint;
        let stream = Arc::new(StreamState::new(work, call, workers, sizer, ordered, stop, pool_watch));
        self.consumer.stage = match self.host.start(source, &stream) {
            Start::Fed => {
                stream.open(hint, true);
                StreamStage::Running(stream)
            }
            Start::Here(source) => {
                stream.open(hint, false);
                StreamStage::Here(source, stream, 0)
            }
            Start::TooLate(source) => {
                panics::contain(source);
                StreamStage::Over
            }
        };
    }

    /// Lets go of everything: the stream is over.
    fn end(&mut self) {
        self.consumer.close();
        self.host.release();
    }
}

impl<I: Iterator, W: WorkOn<I::Item>> Consumer<I, W> {
    /// Raises the panic whose turn has come.
    fn raise(&mut self) {
        if let Some(panic) = self.inbox.take_failure() {
            self.close();
            panic.resume();
        }
    }

    /// Takes in the next chunk, and gives its first result.
    fn take_in(&mut self, done: Done<W::Output>) -> Option<W::Output> {
        self.handed = done.items;
        self.given += done.results.len();
        self.inbox.take_in(done);
        self.inbox.current.next()
    }

    /// The next result where there are no workers: one item pulled and run on this thread.
    fn run_here(&mut self) -> Option<W::Output> {
        // Should the source panic, the stream is over.
        let StreamStage::Here(mut source, stream, index) = mem::replace(&mut self.stage, StreamStage::Over) else {
            return None;
        };
        if !stream.stop_flag().goes_on() {
            self.cut_short = stream.stop_flag().is_cancelled() && source.size_hint().1 != Some(0);
            return None;
        }
        let item = stream.pull_here(|| source.next())?;
        match stream.run_here(index, item) {
            Ok(result) => {
                self.stage = StreamStage::Here(source, stream, index + 1);
                Some(result)
            }
            Err(panic) => {
                self.inbox.report(&panic);
                panic.resume()
            }
        }
    }
}

impl<I: Iterator, W: Work> Consumer<I, W> {
    /// Nobody waits for the next result as a future any more.
    fn end_poll(&mut self) {
        let permit = self.permit.take();
        if is_forked() {
            // It has a lock, which may have been locked at the fork.
            mem::forget(permit);
        }
    }

    /// Drops what will not be delivered any more, and mentions the panics in it.
    fn close(&mut self) {
        self.end_poll();
        match mem::replace(&mut self.stage, StreamStage::Over) {
            // What was the parent's is left to it.
            StreamStage::Running(stream) if is_forked() => mem::forget(stream),
            StreamStage::Running(stream) => {
                stream.wake_no_more();
                stream.stop(&mut self.inbox);
            }
            StreamStage::Here(source, ..) => panics::contain(source),
            StreamStage::Ready(_) | StreamStage::Over => {}
        }
        self.inbox.settle(iter::empty());
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.stage {
            StreamStage::Over => (self.inbox.current.len(), Some(self.inbox.current.len())),
            StreamStage::Ready(setup) => setup.source.size_hint(),
            StreamStage::Here(source, ..) => source.size_hint(),
            StreamStage::Running(_) => {
                let out = self.given - self.inbox.current.len();
                let (low, high) = self.hint;
                (low.saturating_sub(out), high.map(|high| high.saturating_sub(out)))
            }
        }
    }
}

impl<I: Iterator, W: Work> Drop for Consumer<I, W> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<I, W, H> Iterator for PoolImap<I, W, H>
where
    I: Iterator,
    W: WorkOn<I::Item>,
    H: Host<I, W>,
{
    type Item = W::Output;

    #[inline]
    fn next(&mut self) -> Option<W::Output> {
        self.next_result()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.consumer.size_hint()
    }

    fn fold<A, G>(mut self, init: A, g: G) -> A
    where
        G: FnMut(A, W::Output) -> A,
    {
        self.fold_results(init, g)
    }
}

impl<I, W, H> ExactSizeIterator for PoolImap<I, W, H>
where
    I: ExactSizeIterator,
    W: WorkOn<I::Item>,
    H: Host<I, W>,
{
}

impl<I, W, H> FusedIterator for PoolImap<I, W, H>
where
    I: Iterator,
    W: WorkOn<I::Item>,
    H: Host<I, W>,
{
}

// Nothing in it is pinned: the source is moved to its feeder.
impl<I: Iterator, W: Work, H> Unpin for PoolImap<I, W, H> {}

// As std's `Map`. After a panic the stream is over, whatever host it had.
impl<I: Iterator + UnwindSafe, W: Work + UnwindSafe, H> UnwindSafe for PoolImap<I, W, H> {}
impl<I: Iterator + RefUnwindSafe, W: Work + RefUnwindSafe, H> RefUnwindSafe for PoolImap<I, W, H> {}

impl<I: Iterator, W: Work, H: fmt::Debug> fmt::Debug for PoolImap<I, W, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.consumer.stage {
            StreamStage::Ready(_) => "not started",
            StreamStage::Running(_) => "running",
            StreamStage::Here(..) => "on the caller's thread",
            StreamStage::Over => "over",
        };
        f.debug_struct("PoolImap").field("host", &self.host).field("stage", &stage).finish_non_exhaustive()
    }
}

// ---- The threads of a stream that owns all its data -------------------------------------------------------------------

/// The threads of a [`PoolImap`] made by [`pool_imap`](crate::PoolIterator::pool_imap): the workers of its pool, and a
/// detached feeder.
pub struct Background {
    /// `None` once the stream has ended, for they may be the last handle of a pool.
    workers: Option<Workers>,
    /// The lease from the start to the end of the stream. The feeder knows it too, and may find it gone.
    slot: Option<Arc<LeaseSlot>>,
    /// A worker of another pool that has started the stream may wait for it.
    permit: Option<WaitPermit>,
}

impl Background {
    pub(crate) fn new(workers: Workers) -> Self {
        Background { workers: Some(workers), slot: None, permit: None }
    }

    fn let_go(&mut self) {
        if is_forked() {
            // What has a lock may have been locked at the fork, by a thread that is not here.
            mem::forget((self.slot.take(), self.permit.take()));
        }
        self.permit = None;
        let (workers, slot) = (self.workers.take(), self.slot.take());
        // A leased pool goes back when the last job of this stream has ended, for the next lease is to have it alone. A
        // shared one is let go here and now, for dropping its last handle has to be the end of it.
        if let (Some(Workers::Shared(_)), Some(slot)) = (&workers, slot) {
            let lease = slot.lock().take();
            drop(lease);
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.workers.fmt(f)
    }
}

impl<I, W> Host<I, W> for Background
where
    I: Iterator + Send + 'static,
    I::Item: Send + 'static,
    W: WorkOn<I::Item> + Send + 'static,
{
}

impl<I, W> sealed::StartFeeder<I, W> for Background
where
    I: Iterator + Send + 'static,
    I::Item: Send + 'static,
    W: WorkOn<I::Item> + Send + 'static,
{
    #[expect(private_interfaces, reason = "as in the trait")]
    fn start(&mut self, source: I, stream: &Arc<StreamState<I::Item, W>>) -> Start<I> {
        let Some(workers) = &self.workers else { return Start::Here(source) };
        let lease = workers.get(size_hint_of(&source).1);
        if !lease.is_usable() {
            return Start::Here(source);
        }
        let number = NumberBlock::take(&feeder_name(lease.name()), 1);
        stream.set_pool(&lease);
        self.permit = lease.id().and_then(permit_for_later);
        let slot = Arc::new(Mutex::new(Some(lease)));
        if let Workers::Leased(_) = workers {
            // Before the feeder calls the first worker.
            stream.keep(&slot);
        }
        let spawn = |name, feeder| thread::Builder::new().name(name).spawn(feeder).is_ok();
        if let Err(source) = start_feeder(number, source, spawn, stream, StreamState::feed_owned) {
            return Start::Here(source);
        }
        self.slot = Some(slot);
        Start::Fed
    }

    fn release(&mut self) {
        self.let_go();
    }
}

/// Starts a thread that feeds the source; gives it back where none can start. The number of its name is taken until the
/// feeder has ended.
pub(crate) fn start_feeder<'j, I, W>(
    number: NumberBlock,
    source: I,
    spawn: impl FnOnce(String, Box<dyn FnOnce() + Send + 'j>) -> bool,
    stream: &Arc<StreamState<I::Item, W>>,
    feed: impl FnOnce(&Arc<StreamState<I::Item, W>>, I) + Send + 'j,
) -> Result<(), I>
where
    I: Iterator + Send + 'j,
    I::Item: Send + 'j,
    W: WorkOn<I::Item> + Send + 'j,
{
    // What a thread was to run is lost with a thread that does not start, so the source is not given to it that way.
    let given = Arc::new(Mutex::new(Some(source)));
    let taken = Arc::clone(&given);
    let name = number.worker_name(0);
    let held = Arc::clone(stream);
    stream.stop_flag().add();
    let feeder = move || {
        go_past_the_lock();
        let source = taken.lock().take();
        if let Some(source) = source {
            feed(&held, source);
        }
        let stop = Arc::clone(held.stop_flag());
        drop(held);
        stop.remove();
        drop(number);
    };
    if spawn(name, Box::new(feeder)) {
        return Ok(());
    }
    stream.stop_flag().remove();
    let source = given.lock().take();
    Err(source.expect("BUG: a feeder that did not start took nothing"))
}

/// What the feeders of a pool are called: `PoolFeeder` beside `PoolWorker`, `ResizeFeeder` beside `Resize`.
pub(crate) fn feeder_name(pool: &str) -> Arc<str> {
    Arc::from(format!("{}Feeder", pool.strip_suffix("Worker").unwrap_or(pool)))
}
