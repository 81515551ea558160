//! [`PoolParallelIterator`]: the second door, for data that rayon can split. Behind it is the same engine.
//!
//! A plain iterator gives its items one by one, on one thread; what rayon can split is cut into pieces without a look at
//! the items, and those are made on the workers. So [`Split`] is another [`Source`](crate::engine::source::Source), and all else is
//! as with [`PoolMap`](crate::PoolMap). Rayon shows the data inside a callback only, which is why [`PoolParMap`] is no
//! iterator itself, and hands [`PoolResults`] to a closure.

mod split;
mod whole;

use crate::adaptors::options::{CallOptions, call_options};
use crate::adaptors::results::PoolResults;
use crate::engine::caller_pulls::{self, CallerState, Delivery, Stream};
use crate::engine::star::StarFn;
use crate::engine::stop::CancelToken;
use crate::engine::work::{Catching, CatchingItems, Map, MapInit, Observed, StarMap, WorkOn};
use crate::observe::{CallerRole, IntoObserver, ObserverRef};
use crate::panics::{self, text::TraceLevel};
use crate::threads::lease::{IntoPool, Workers};
use rayon::iter::IndexedParallelIterator;
use rayon::iter::plumbing::{Producer, ProducerCallback};
use split::{Piece, Split};
use std::any::type_name;
use std::fmt;
use std::iter::{Product, Sum};
use std::panic::{RefUnwindSafe, UnwindSafe};

/// The same methods for data that rayon can split: slices, vectors, ranges of `usize` or smaller integers, and what `zip`,
/// `chunks`, `enumerate`, `rev`… make of them.
///
/// The workers make the items from the data in place, instead of your thread pulling them one by one. Everything else is as
/// with [`PoolIterator`](crate::PoolIterator): the order, the [limit](PoolParMap::max_in_flight), panics, named workers,
/// borrowed data. The trait extends [`rayon::iter::IndexedParallelIterator`], so rayon 1 is part of the public API of this
/// trait.
///
/// # When to use it
///
/// Use it if the data is in memory and an item costs less than about 100 ns. On two cores it was 1.13 times as fast as the
/// plain iterator at 5 ns, 1.05 times at 25 ns, and equally fast from 100 ns on (bench `doors`). With
/// [`collect_vec`](PoolParMap::collect_vec) it is as fast as rayon at any cost. A plain iterator is more general: it may borrow,
/// block and read, and its result is an iterator again.
///
/// # Examples
///
/// ```
/// use pool_map::PoolParallelIterator;
/// use rayon::prelude::*;
///
/// let words = vec!["so", "much", "depends", "upon"];
/// let lengths: Vec<usize> = words.par_iter().pool_map(2, |word| word.len()).collect();
/// assert_eq!(lengths, [2, 4, 7, 4]);
///
/// let mut lines = Vec::new();
/// let numbered = words.par_iter().enumerate().pool_map(2, |(i, word)| format!("{i}: {word}"));
/// numbered.for_each(|line| lines.push(line));
/// assert_eq!(lines, ["0: so", "1: much", "2: depends", "3: upon"]);
/// ```
pub trait PoolParallelIterator: IndexedParallelIterator {
    /// Maps the items with `f` on the workers of `pool`; the results come in the order of the items.
    ///
    /// As [`PoolIterator::pool_map`](crate::PoolIterator::pool_map). A panic while an item is made, for example in a
    /// [`map`](rayon::iter::ParallelIterator::map) before this, counts as a panic of that item.
    ///
    /// # Panics
    ///
    /// If `pool` is 0, or more threads than a pool can have. The method that consumes the results panics if `f` does.
    #[track_caller]
    fn pool_map<R, F>(self, pool: impl IntoPool, f: F) -> PoolParMap<Self, Map<F, R>>
    where
        R: Send,
        F: Fn(Self::Item) -> R + Sync,
    {
        PoolParMap::new(self, pool.to_workers(), Map::new(f), "pool_map")
    }

    /// Maps tuples with a function of several arguments, as
    /// [`PoolIterator::pool_starmap`](crate::PoolIterator::pool_starmap) does.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolParallelIterator;
    /// use rayon::prelude::*;
    ///
    /// let pairs = vec![(2, 5), (3, 2)];
    /// let powers: Vec<u32> = pairs.into_par_iter().pool_starmap(2, u32::pow).collect();
    /// assert_eq!(powers, [32, 9]);
    /// ```
    ///
    /// # Panics
    ///
    /// As [`pool_map`](Self::pool_map).
    #[track_caller]
    fn pool_starmap<F>(self, pool: impl IntoPool, f: F) -> PoolParMap<Self, StarMap<F, F::Output>>
    where
        F: StarFn<Self::Item> + Sync,
        F::Output: Send,
    {
        PoolParMap::new(self, pool.to_workers(), StarMap::new(f), "pool_starmap")
    }

    /// Maps with a state for each worker, as [`PoolIterator::pool_map_init`](crate::PoolIterator::pool_map_init) does.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolParallelIterator;
    /// use rayon::prelude::*;
    ///
    /// let joined: Vec<usize> = ["a", "b c", ""]
    ///     .par_iter()
    ///     .pool_map_init(2, Vec::new, |parts, line| {
    ///         parts.clear();
    ///         parts.extend(line.split_whitespace());
    ///         parts.len()
    ///     })
    ///     .collect();
    /// assert_eq!(joined, [1, 2, 0]);
    /// ```
    ///
    /// # Panics
    ///
    /// As [`pool_map`](Self::pool_map). A panic of `init` counts as a panic of the item for which it ran.
    #[track_caller]
    fn pool_map_init<S, R, N, F>(self, pool: impl IntoPool, init: N, f: F) -> PoolParMap<Self, MapInit<N, F, S, R>>
    where
        S: Send,
        R: Send,
        N: Fn() -> S + Sync,
        F: Fn(&mut S, Self::Item) -> R + Sync,
    {
        PoolParMap::new(self, pool.to_workers(), MapInit::new(init, f), "pool_map_init")
    }

    /// Runs `f` on every item: the loop body itself in parallel. Workers take the items in order, a chunk at a time; items of
    /// different chunks start and finish in any order.
    ///
    /// # Panics
    ///
    /// As [`pool_map`](Self::pool_map), and if `f` does.
    #[track_caller]
    fn pool_for_each<F>(self, pool: impl IntoPool, f: F)
    where
        F: Fn(Self::Item) + Sync,
    {
        PoolParMap::new(self, pool.to_workers(), Map::new(f), "pool_for_each").for_each(drop);
    }
}

impl<I: IndexedParallelIterator> PoolParallelIterator for I {}

/// Data that rayon can split, to be mapped on the workers of a pool, with the results in order.
///
/// Made by the methods of [`PoolParallelIterator`]. It does nothing until the results are requested: by
/// [`consume`](Self::consume) in general, and by the other methods for common cases. All of them stream: the workers continue
/// while the calling thread consumes the results.
#[must_use = "nothing runs until the results are asked for, by `collect`, `for_each` or another method"]
pub struct PoolParMap<I, W> {
    source: I,
    work: W,
    workers: Workers,
    options: CallOptions,
}

impl<I: IndexedParallelIterator, W: WorkOn<I::Item>> PoolParMap<I, W> {
    #[track_caller]
    fn new(source: I, workers: Workers, work: W, method: &'static str) -> Self {
        let options = CallOptions::new::<I::Item, W::Output>(method, &workers);
        PoolParMap { source, work, workers, options }
    }

    /// None is too late: what asks for results takes `self`.
    fn options(&mut self, _: &str) -> &mut CallOptions {
        &mut self.options
    }

    fn with_work<V: WorkOn<I::Item>>(self, _: &str, wrap: impl FnOnce(W) -> V) -> PoolParMap<I, V> {
        let PoolParMap { source, work, workers, options } = self;
        PoolParMap { source, work: wrap(work), workers, options }
    }
}

call_options! {
    impl PoolParMap<I: IndexedParallelIterator, W>;

    /// The last chunks may hold fewer.
    chunk_size;

    /// By default the limit is that of [`PoolMap::max_in_flight`](crate::PoolMap::max_in_flight).
    max_in_flight;

    cancel_on;

    /// With [`pool_map_init`](PoolParallelIterator::pool_map_init), the state of the worker that panicked is dropped. Its next
    /// item gets a new one. A panic while an item is made, before `f` gets it, is still raised.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolParallelIterator;
    /// use rayon::prelude::*;
    ///
    /// let results: Vec<_> = [2, 0, 5].par_iter().pool_map(2, |x| 10 / x).catch_panics().collect();
    /// assert_eq!(results[1].as_ref().unwrap_err().index(), Some(1));
    /// assert_eq!(results[2].as_ref().unwrap(), &2);
    /// ```
    catch_panics;

    with_items;

    /// Pass a reference to an [`Observer`](crate::Observer), or an [`Arc`](std::sync::Arc) of one.
    observe;
}

impl<I: IndexedParallelIterator, W: WorkOn<I::Item>> PoolParMap<I, W> {
    /// Passes the results to `consume`, in order, while the workers continue, and returns its value. If `consume` returns
    /// early, no further item starts.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolParallelIterator;
    /// use rayon::prelude::*;
    ///
    /// let first_large = (0..1_000_000_usize)
    ///     .into_par_iter()
    ///     .pool_map(4, |x| x * x)
    ///     .consume(|mut squares| squares.find(|&square| square > 1000));
    /// assert_eq!(first_large, Some(1024));
    /// ```
    ///
    /// # Panics
    ///
    /// If `f` panics, after all results before that item were consumed. If `consume` panics.
    pub fn consume<B>(self, consume: impl FnOnce(PoolResults<'_, W::Output>) -> B) -> B {
        let PoolParMap { source, work, workers, options } = self;
        let size = source.len();
        source.with_producer(Engine { size, work, workers, options, consume })
    }

    /// Collects the results: `Vec<R>`, `Result<Vec<T>, E>`, `HashMap<K, V>`…
    ///
    /// Collecting `Result`s stops at the first `Err` in order, and no further item starts.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolParallelIterator;
    /// use rayon::prelude::*;
    ///
    /// let words = ["1", "two", "3", "four"];
    /// let parsed: Result<Vec<i32>, _> = words.par_iter().pool_map(2, |s| s.parse()).collect();
    /// assert_eq!(parsed, "two".parse::<i32>().map(|_| vec![]));
    /// ```
    ///
    /// # Panics
    ///
    /// As [`consume`](Self::consume).
    pub fn collect<B: FromIterator<W::Output>>(self) -> B {
        // As in `PoolMap`.
        if type_name::<B>() == type_name::<Vec<W::Output>>() {
            self.into_vec().into_iter().collect()
        } else {
            self.consume(|results| results.collect())
        }
    }

    /// Collects the results in a vector with rayon's own `collect`: the worker that made a result writes it to its place.
    ///
    /// It is faster where an item costs nanoseconds, and promises less than `collect`. While `f` waits inside rayon, its
    /// worker may pick up another item, so `f` must not hold a lock then. The line about a panic that `f` caught itself does
    /// not name the item. It is the same as `collect` on a shared [`Pool`](crate::Pool); with a chunk size, a limit, a token,
    /// an observer, a state, or spans for the items; with `panic = "abort"`; on a worker; and where there are no threads.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolParallelIterator;
    /// use rayon::prelude::*;
    ///
    /// let squares = (0..8_u32).into_par_iter().pool_map(4, |x| x * x).collect_vec();
    /// assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36, 49]);
    /// ```
    ///
    /// # Panics
    ///
    /// If `f` panics. The panic is that of the lowest item.
    pub fn collect_vec(self) -> Vec<W::Output> {
        let is_whole = !(self.options.is_special
            || W::HAS_STATE
            || cfg!(panic = "abort")
            || self.workers.observer().is_some()
            || self.options.call.spans_items());
        // On a pool that it has alone: rayon's waiting workers take up its items, whatever locks are held below them.
        let is_alone = matches!(self.workers, Workers::Leased(_));
        match self.workers.get_to_wait(Some(self.source.len())).filter(|_| is_whole && is_alone) {
            Some(lease) => whole::collect(self.source, &self.work, &self.options.call, &lease),
            None => self.into_vec(),
        }
    }

    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method alone is not general enough")]
    fn into_vec(self) -> Vec<W::Output> {
        self.consume(|results| results.into_vec())
    }

    /// Calls `f` with each result, in order, on this thread.
    ///
    /// # Panics
    ///
    /// As [`consume`](Self::consume).
    pub fn for_each(self, f: impl FnMut(W::Output)) {
        self.consume(|results| results.for_each(f));
    }

    /// Calls `f` with each result, in order, on this thread, up to the first `Err`.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolParallelIterator;
    /// use rayon::prelude::*;
    /// use std::io::Write;
    ///
    /// let mut out = Vec::new();
    /// (0..3_u32).into_par_iter().pool_map(2, |x| x * 10).try_for_each(|x| writeln!(out, "{x}"))?;
    /// assert_eq!(out, b"0\n10\n20\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the first error of `f`.
    ///
    /// # Panics
    ///
    /// As [`consume`](Self::consume).
    pub fn try_for_each<E>(self, f: impl FnMut(W::Output) -> Result<(), E>) -> Result<(), E> {
        self.consume(|mut results| results.try_for_each(f))
    }

    /// Folds the results into one value, from the first to the last, on this thread.
    ///
    /// # Panics
    ///
    /// As [`consume`](Self::consume).
    pub fn fold<A>(self, init: A, f: impl FnMut(A, W::Output) -> A) -> A {
        self.consume(|results| results.fold(init, f))
    }

    /// Adds the results up, in order.
    ///
    /// # Panics
    ///
    /// As [`consume`](Self::consume).
    pub fn sum<S: Sum<W::Output>>(self) -> S {
        self.consume(|results| results.sum())
    }

    /// Multiplies the results, in order.
    ///
    /// # Panics
    ///
    /// As [`consume`](Self::consume).
    pub fn product<P: Product<W::Output>>(self) -> P {
        self.consume(|results| results.product())
    }
}

// As std's `Map`.
impl<I: UnwindSafe, W: UnwindSafe> UnwindSafe for PoolParMap<I, W> {}
impl<I: RefUnwindSafe, W: RefUnwindSafe> RefUnwindSafe for PoolParMap<I, W> {}

impl<I: IndexedParallelIterator, W> fmt::Debug for PoolParMap<I, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolParMap")
            .field("items", &self.source.len())
            .field("workers", &self.workers)
            .field("call_site", self.options.call.site())
            .finish_non_exhaustive()
    }
}

/// A call that waits for rayon to show its data.
struct Engine<W, C> {
    size: usize,
    work: W,
    workers: Workers,
    options: CallOptions,
    consume: C,
}

impl<T, W, C, B> ProducerCallback<T> for Engine<W, C>
where
    T: Send,
    W: WorkOn<T>,
    C: FnOnce(PoolResults<'_, W::Output>) -> B,
{
    type Output = B;

    fn callback<P: Producer<Item = T>>(self, producer: P) -> B {
        let Engine { size, work, workers, options, consume } = self;
        let mut delivery = Delivery::new(options.call.trace_sink());
        let shared: CallerState<Piece<P>, W> = options.into_state(work, &workers);
        let mut source = Split::new(producer, size);
        let lease = workers.get_to_wait(Some(size));
        let count = lease.as_ref().map_or(1, |lease| lease.threads());
        for watch in shared.watches() {
            watch.start(&shared.call, count, (size, Some(size)), CallerRole::Both);
        }
        let outcome = if let Some(lease) = lease {
            caller_pulls::run(&mut source, lease, &shared, &mut delivery, |mut stream| {
                consume(PoolResults::new(&mut stream))
            })
        } else {
            let mut stream = Stream { source: &mut source, shared: &shared, delivery: &mut delivery, scope: None };
            panics::catch(|| consume(PoolResults::new(&mut stream)))
        };
        // Before anything is raised: a second panic while one unwinds would end the process.
        panics::contain(source);
        drop(delivery);
        drop(shared);
        outcome.unwrap_or_else(|payload| panics::resume(payload))
    }
}
