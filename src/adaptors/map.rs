//! [`PoolMap`]: the caller's side of a call. It pulls the source, queues the items, and delivers the results in order.
//!
//! There are two ways to ask an iterator for its items, and so two ways to run:
//!
//! - **Streaming**, when the whole iterator is handed over (`collect`, `for_each`, `sum`, `fold`…): the workers run while
//!   the consumer consumes, inside one scope.
//! - **Batches**, when items are asked for one by one (`next`, so `for` loops, `zip`, `take`…): borrowed data must not be
//!   in use between two calls of `next`, so each batch is pulled, run and finished within one of them.

use crate::adaptors::imap::PoolImap;
use crate::adaptors::options::{CallOptions, call_options};
use crate::adaptors::results::PoolResults;
use crate::base::current_worker::Worker;
use crate::engine::caller_pulls::{self, CallerState, Delivery, Stream};
use crate::engine::inbox::Chunked;
use crate::engine::source::{Plain, size_hint_of};
use crate::engine::stop::CancelToken;
use crate::engine::work::{Catching, CatchingItems, Observed, Work, WorkOn};
use crate::observe::{CallerRole, IntoObserver, ObserverRef};
use crate::panics;
use crate::panics::text::TraceLevel;
use crate::threads::lease::{WaitingLease, Workers};
use crate::threads::workers_scope;
use std::any::type_name;
use std::iter::FusedIterator;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::{fmt, mem, vec};

/// An iterator that maps the items of another one on the workers of a pool, and yields the results in order.
///
/// Made by [`pool_map`](crate::PoolIterator::pool_map), [`pool_starmap`](crate::PoolIterator::pool_starmap) and
/// [`pool_map_init`](crate::PoolIterator::pool_map_init), which have the full description. The methods here set options. Call
/// them before the first result is requested.
#[must_use = "iterators are lazy: nothing is pulled and no worker starts until a result is asked for; use `pool_for_each` if only the side effects matter"]
pub struct PoolMap<I: Iterator, W: Work> {
    source: Plain<I>,
    workers: Workers,
    stage: CallStage<I::Item, W>,
    delivery: Delivery<W::Output>,
    /// Threads could not start: the call stays on the caller's thread.
    threadless: bool,
}

/// How far a call is.
#[expect(clippy::large_enum_variant, reason = "a box would cost every call an allocation")]
enum CallStage<T, W: Work> {
    /// Nothing was asked for yet.
    Ready(W, CallOptions),
    Started(CallerState<vec::IntoIter<T>, W>),
    /// Between the two.
    Starting,
}

impl<I: Iterator, W: WorkOn<I::Item>> PoolMap<I, W> {
    #[track_caller]
    pub(crate) fn new(source: I, workers: Workers, work: W, method: &'static str) -> Self {
        let options = CallOptions::new::<I::Item, W::Output>(method, &workers);
        PoolMap::assemble(source, workers, work, options)
    }

    fn assemble(source: I, workers: Workers, work: W, options: CallOptions) -> Self {
        let delivery = Delivery::new(options.call.trace_sink());
        PoolMap { source: Plain(source), workers, stage: CallStage::Ready(work, options), delivery, threadless: false }
    }

    #[track_caller]
    fn options(&mut self, option: &str) -> &mut CallOptions {
        match &mut self.stage {
            CallStage::Ready(_, options) => options,
            CallStage::Started(_) | CallStage::Starting => CallOptions::too_late(option),
        }
    }

    /// The same call, before its start, with other work.
    #[track_caller]
    fn with_work<V: WorkOn<I::Item>>(self, option: &str, wrap: impl FnOnce(W) -> V) -> PoolMap<I, V> {
        match self.stage {
            CallStage::Ready(work, options) => PoolMap::assemble(self.source.0, self.workers, wrap(work), options),
            CallStage::Started(_) | CallStage::Starting => CallOptions::too_late(option),
        }
    }

    /// The call at work; it starts when a result is asked for the first time.
    #[expect(clippy::type_complexity, reason = "a name would say less")]
    fn at_work(&mut self) -> (&mut Plain<I>, &CallerState<vec::IntoIter<I::Item>, W>, &mut Delivery<W::Output>) {
        if let CallStage::Ready(..) = self.stage {
            if let CallStage::Ready(work, options) = mem::replace(&mut self.stage, CallStage::Starting) {
                self.stage = CallStage::Started(options.into_state(work, &self.workers));
            }
        }
        let CallStage::Started(shared) = &self.stage else { unreachable!("BUG: it was started above") };
        (&mut self.source, shared, &mut self.delivery)
    }

    /// Tells the observers that the call starts, the first time that it is asked for a result.
    fn announce(&mut self, lease: Option<&WaitingLease>) {
        let (source, shared, delivery) = self.at_work();
        let workers = lease.map_or(1, |lease| lease.threads());
        for watch in shared.watches() {
            watch.start(&shared.call, workers, delivery.size_hint(source), CallerRole::Both);
        }
    }

    /// The pool to run on, or none: then the call runs on the thread that asks for the results.
    fn lease(&mut self) -> Option<WaitingLease> {
        if self.threadless {
            return None;
        }
        let lease = self.workers.get_to_wait(size_hint_of(&self.source.0).1);
        self.threadless = lease.is_none() && !Worker::is_here();
        lease
    }
}

impl<I: Iterator, W: WorkOn<I::Item>> PoolMap<I, W> {
    /// The same call as a stream that works ahead while the body of your loop runs, as that of
    /// [`pool_imap`](crate::PoolIterator::pool_imap). The options that were set stay.
    ///
    /// So whatever makes a `PoolMap` can work ahead: with a state for each worker, or a function of several arguments. For
    /// results as they come, go on with [`unordered`](PoolImap::unordered).
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolIterator;
    ///
    /// fn area(width: u32, height: u32) -> u32 {
    ///     width * height
    /// }
    ///
    /// let mut areas = Vec::new();
    /// for area in (0..4).zip(10..14).pool_starmap(2, area).run_ahead() {
    ///     areas.push(area); // meanwhile the workers run the next items
    /// }
    /// assert_eq!(areas, [0, 11, 24, 39]);
    ///
    /// let init = || String::with_capacity(80);
    /// let words = ["so", "much", "depends"].into_iter();
    /// let lengths = words.pool_map_init(2, init, |buffer, word| {
    ///     buffer.clear();
    ///     buffer.push_str(word);
    ///     buffer.len()
    /// });
    /// assert_eq!(lengths.run_ahead().unordered().sum::<usize>(), 13);
    /// ```
    ///
    /// # Panics
    ///
    /// If a result was already asked for.
    #[track_caller]
    pub fn run_ahead(self) -> PoolImap<I, W>
    where
        I: Send + 'static,
        I::Item: Send + 'static,
        W: Send + 'static,
    {
        match self.stage {
            CallStage::Ready(work, options) => PoolImap::ahead(self.source.0, self.workers, work, options),
            CallStage::Started(_) | CallStage::Starting => CallOptions::too_late("run_ahead"),
        }
    }
}

call_options! {
    impl PoolMap<I: Iterator, W>;
    too_late: "a result was already asked for";

    /// The last chunks may hold fewer, and so may those that a worker takes while the source blocks.
    chunk_size;

    /// By default the limit adapts to measured times. For each worker it is the largest of:
    ///
    /// - 6 chunks,
    /// - what the worker does in half a millisecond,
    /// - 16 items.
    ///
    /// Where items take 100 µs or more, fewer of them wait, so that a consumer that is slower than the workers does not fill
    /// the memory with large results: for each worker two items, or what it does in half a millisecond if that is more. These are
    /// items that wait for a worker and results that wait for the consumer. A result that waits for an item before it does not
    /// count. This holds where the results [stream](crate::PoolIterator#which-methods-stream), not for batches.
    ///
    /// `collect` into a `Vec` keeps all results, so those that wait for a slow item before them do not count against any limit
    /// but one that you set.
    ///
    /// So it is never more than 49 152 items for each worker, nor more than 384 KiB of items or results of 4 KiB or less.
    /// Before the first item has been timed, it is 16 items for each worker or 64 in all, whichever is more, as far as those
    /// fit in 64 KiB. With `chunk_size(n)` it is 6 × `n` items for each worker, or 16 if that is more, whatever their size.
    /// With `max_in_flight(1)` each item is delivered before the next is pulled, as with `map`.
    max_in_flight;

    /// While the source blocks, the call cannot end, because your own thread pulls the source.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::{CancelToken, PoolIterator};
    ///
    /// let token = CancelToken::new();
    /// token.cancel();
    /// let squares: Vec<u64> = (0..8).pool_map(4, |x| x * x).cancel_on(&token).collect();
    /// assert!(squares.is_empty());
    /// ```
    cancel_on;

    /// With [`pool_map_init`](crate::PoolIterator::pool_map_init), the state of the worker that panicked is dropped. Its next
    /// item gets a new one.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolIterator;
    ///
    /// let quotients = [2, 0, 5].into_iter().pool_map(2, |x| 10 / x);
    /// let results: Vec<_> = quotients.catch_panics().collect();
    ///
    /// assert_eq!(results[0].as_ref().unwrap(), &5);
    /// let panic = results[1].as_ref().unwrap_err();
    /// assert_eq!((panic.index(), panic.message()), (Some(1), "attempt to divide by zero"));
    /// assert_eq!(results[2].as_ref().unwrap(), &2);
    /// ```
    catch_panics;

    /// # Examples
    ///
    /// Those that failed are tried again:
    ///
    /// ```
    /// use pool_map::{PoolIterator, TraceLevel};
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// let calls = AtomicU32::new(0);
    /// let fetch = |url: &str| {
    ///     assert_ne!(calls.fetch_add(1, Ordering::Relaxed), 1, "timed out"); // the second call
    ///     format!("page of {url}")
    /// };
    /// let (mut pages, mut urls) = (Vec::new(), vec!["a.org", "b.org", "c.org"]);
    /// for attempt in 1..=3 {
    ///     let results = urls.into_iter().pool_map(4, fetch).trace(TraceLevel::Header);
    ///     urls = Vec::new();
    ///     for result in results.catch_panics().with_items() {
    ///         match result {
    ///             Ok(page) => pages.push(page),
    ///             Err((url, panic)) => {
    ///                 println!("{url}, attempt {attempt}: {}", panic.message());
    ///                 // b.org, attempt 1: timed out
    ///                 urls.push(url);
    ///             }
    ///         }
    ///     }
    /// }
    /// assert_eq!((pages.len(), urls.len()), (3, 0));
    /// ```
    with_items;

    /// Pass a reference to an [`Observer`](crate::Observer), or an [`Arc`](std::sync::Arc) of one.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::{PoolIterator, Timeline};
    ///
    /// let timeline = Timeline::new();
    /// let squares: Vec<u64> = (0..8).pool_map(4, |x| x * x).observe(&timeline).collect();
    /// println!("{timeline}"); // who did how much, how long they waited, which items were slow
    /// assert_eq!(timeline.items(), 8);
    /// # assert_eq!(squares.len(), 8);
    /// ```
    observe;
}

impl<I, W> PoolMap<I, W>
where
    I: Iterator,
    I::Item: Send,
    W: WorkOn<I::Item>,
{
    /// Hands the results to `consume` as an iterator, in order, while the workers go on, and returns what it returns.
    ///
    /// So whatever is done with that iterator streams: a `for` loop, `?`, `filter(…).collect()`, `take_while`, `flatten`,
    /// a sum into a `Result`, a progress bar, `itertools`. On `PoolMap` itself these [take
    /// turns](crate::PoolIterator#which-methods-stream) with the workers. Results that `consume` leaves are not waited for:
    /// nothing more starts, and when this returns, nothing of the call runs.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolIterator;
    /// use std::num::ParseIntError;
    ///
    /// fn total(lines: &[&str]) -> Result<u64, ParseIntError> {
    ///     lines.iter().pool_map(4, |line| line.parse::<u64>()).consume(|results| {
    ///         let mut total = 0;
    ///         for number in results {
    ///             total += number?; // the workers go on meanwhile
    ///         }
    ///         Ok(total)
    ///     })
    /// }
    ///
    /// assert_eq!(total(&["1", "2", "3"]), Ok(6));
    /// assert_eq!(total(&["1", "two"]).unwrap_err().to_string(), "invalid digit found in string");
    /// ```
    ///
    /// What `filter_map` and `flat_map` are to `map`, in a line each:
    ///
    /// ```
    /// use pool_map::PoolIterator;
    ///
    /// let words = ["1", "two", "3"];
    /// let numbers: Vec<u32> =
    ///     words.iter()
    ///         .pool_map(2, |word| word.parse().ok())
    ///         .consume(|results| results.flatten().collect());
    /// assert_eq!(numbers, [1, 3]);
    ///
    /// let letters: String =
    ///     words.iter().pool_map(2, |word| word.to_uppercase().chars().collect::<Vec<_>>())
    ///         .consume(|results| results.flatten().collect());
    /// assert_eq!(letters, "1TWO3");
    /// ```
    ///
    /// # Panics
    ///
    /// If `f` or the source does, once all results before are consumed, and if `consume` does.
    pub fn consume<B>(self, consume: impl FnOnce(PoolResults<'_, W::Output, I>) -> B) -> B {
        self.stream(|mut stream| consume(PoolResults::new(&mut stream)))
    }

    /// Whether a [`CancelToken`] has ended the results early. Known once `next` has returned `None`, and `false` before.
    ///
    /// It is `false` for a call whose results are complete, even if its token was cancelled. It is `true` if an item that
    /// was pulled gave no result, or if the source might have given more: it was not asked until its end, and its
    /// [`size_hint`](Iterator::size_hint) does not say that nothing is left. To ask after `collect` or another method that
    /// takes the iterator, use [`consume`](Self::consume) and [`PoolResults::was_cut_short`].
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::{CancelToken, PoolIterator};
    ///
    /// let token = CancelToken::new();
    /// let mut squares = (0..).pool_map(2, |x| x * x).cancel_on(&token);
    /// for square in &mut squares {
    ///     if square > 1000 {
    ///         token.cancel();
    ///     }
    /// }
    /// assert!(squares.was_cut_short());
    ///
    /// let mut squares = (0..3).pool_map(2, |x| x * x).cancel_on(&CancelToken::new());
    /// assert_eq!(squares.by_ref().count(), 3);
    /// assert!(!squares.was_cut_short());
    /// ```
    #[must_use]
    pub fn was_cut_short(&self) -> bool {
        self.delivery.inbox.current.len() == 0 && self.delivery.was_cut_short(&self.source)
    }

    /// Hands the results to `consume` while the workers go on.
    fn stream<B>(mut self, consume: impl FnOnce(Stream<'_, Plain<I>, W>) -> B) -> B {
        let lease = self.lease();
        self.announce(lease.as_ref());
        let (source, shared, delivery) = self.at_work();
        let Some(lease) = lease else {
            let outcome = consume(Stream { source, shared, delivery, scope: None });
            drop(self);
            return outcome;
        };
        let outcome = caller_pulls::run(source, lease, shared, delivery, consume);
        let outcome = outcome.unwrap_or_else(|payload| panics::resume(payload));
        // Not left to the end of this function: if the source's destructor panics there, the compiler leaks what is being
        // returned (rust-lang/rust#47949).
        drop(self);
        outcome
    }
}

impl<I, W> Chunked<W::Output> for PoolMap<I, W>
where
    I: Iterator,
    I::Item: Send,
    W: WorkOn<I::Item>,
{
    fn current(&mut self) -> &mut vec::IntoIter<W::Output> {
        &mut self.delivery.inbox.current
    }

    /// Runs a batch.
    #[cold]
    fn refill(&mut self) -> Option<W::Output> {
        while !self.delivery.advance() {
            let (_, shared, delivery) = self.at_work();
            if delivery.finished(shared.stop.is_cancelled()) {
                shared.finish();
                return None;
            }
            let lease = self.lease();
            self.announce(lease.as_ref());
            let (source, shared, delivery) = self.at_work();
            let Some(lease) = lease else {
                return Stream { source, shared, delivery, scope: None }.run_here();
            };
            // Pulled, run and finished here: nothing of it runs when we return.
            delivery.plan = shared.open();
            workers_scope::lend(lease.queue(), shared, |scope| {
                Stream { source, shared, delivery: &mut *delivery, scope: Some(scope) }.run_batch(scope);
            });
            let took = shared.shut(&mut delivery.ready);
            delivery.grow_batch(took, shared.workers());
        }
        self.delivery.inbox.current.next()
    }
}

impl<I, W> Iterator for PoolMap<I, W>
where
    I: Iterator,
    I::Item: Send,
    W: WorkOn<I::Item>,
{
    type Item = W::Output;

    #[inline]
    fn next(&mut self) -> Option<W::Output> {
        self.next_result()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.delivery.size_hint(&self.source)
    }

    fn fold<A, G>(self, init: A, g: G) -> A
    where
        G: FnMut(A, W::Output) -> A,
    {
        self.stream(|results| results.fold(init, g))
    }

    // `Vec::from_iter` loops over `next`, which would run in batches.
    fn collect<B: FromIterator<W::Output>>(self) -> B {
        // By far the most collections are vectors, and a vector takes over whole chunks instead of one item after the
        // other. The names may be equal for different types; then this is a detour by way of a vector, not a mistake.
        if type_name::<B>() == type_name::<Vec<W::Output>>() {
            #[expect(clippy::redundant_closure_for_method_calls, reason = "the method alone is not general enough")]
            self.stream(|results| results.into_vec()).into_iter().collect()
        } else {
            self.stream(|results| results.collect())
        }
    }
}

impl<I, W> ExactSizeIterator for PoolMap<I, W>
where
    I: ExactSizeIterator,
    I::Item: Send,
    W: WorkOn<I::Item>,
{
}

impl<I, W> FusedIterator for PoolMap<I, W>
where
    I: Iterator,
    I::Item: Send,
    W: WorkOn<I::Item>,
{
}

// As std's `Map`. After a panic the iterator is over, and what the workers had is let go.
impl<I: Iterator + UnwindSafe, W: Work + UnwindSafe> UnwindSafe for PoolMap<I, W> {}
impl<I: Iterator + RefUnwindSafe, W: Work + RefUnwindSafe> RefUnwindSafe for PoolMap<I, W> {}

impl<I: Iterator + fmt::Debug, W: Work> fmt::Debug for PoolMap<I, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("PoolMap");
        debug.field("source", &self.source.0).field("workers", &self.workers);
        match &self.stage {
            CallStage::Ready(_, options) => debug.field("call_site", options.call.site()),
            CallStage::Started(shared) => debug.field("call_site", shared.call.site()),
            CallStage::Starting => &mut debug,
        };
        debug.finish_non_exhaustive()
    }
}
