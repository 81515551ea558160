//! [`PoolIterator`]: the methods that stand where `map` stood.

use crate::adaptors::imap::{Background, PoolImap};
use crate::adaptors::map::PoolMap;
use crate::engine::star::StarFn;
use crate::engine::work::{Map, MapInit, StarMap};
use crate::threads::lease::{IntoPool, ToWorkers};
use crate::threads::pool::Pool;

/// Parallel, ordered methods on every [`Iterator`].
///
/// # What `map` has and `pool_map` has not
///
/// | after `map` | here |
/// |---|---|
/// | `rev`, `rfold`, `next_back` | reverse the source: `it.rev().pool_map(n, f)` |
/// | `cycle` | needs `Clone`: `collect` first, or put `cycle` before `pool_map` |
/// | an `FnMut` closure | [`pool_map_init`](Self::pool_map_init), or a `Mutex` or an atomic in the closure |
/// | `f` does not run for an item until that item is asked for | items are read ahead, up to [a limit](PoolMap::max_in_flight) |
pub trait PoolIterator: Iterator + Sized {
    /// Maps the items with `f` on the workers of `pool`, and yields the results in the order of the items.
    ///
    /// `pool` is a number of worker threads, or a [`Pool`]. Given a number, the call leases that many idle
    /// threads from a process-wide stock while it is at work, and has them alone.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolIterator;
    ///
    /// let words = vec!["so", "much", "depends", "upon"];
    /// let lengths: Vec<usize> = words.iter().pool_map(2, |word| word.len()).collect();
    /// assert_eq!(lengths, [2, 4, 7, 4]);
    /// ```
    ///
    /// In a loop, with `?`, over lines:
    ///
    /// ```
    /// use pool_map::PoolIterator;
    /// use std::io::BufRead;
    ///
    /// fn total(input: impl BufRead) -> Result<u64, Box<dyn std::error::Error>> {
    ///     let mut total = 0;
    ///     for number in input.lines().pool_map(4, |line| line.map(|line| line.parse::<u64>())) {
    ///         total += number??;
    ///     }
    ///     Ok(total)
    /// }
    ///
    /// assert_eq!(total("1\n2\n3\n".as_bytes()).unwrap(), 6);
    /// assert_eq!(total("1\ntwo\n".as_bytes()).unwrap_err().to_string(), "invalid digit found in string");
    /// ```
    ///
    /// # Order and laziness
    ///
    /// Results come in the order of the items, whichever is finished first. Nothing is pulled before the first result is asked
    /// for; from then on items are read ahead, [so many at most](PoolMap::max_in_flight). The source is asked
    /// for its next item while no result is ready, and between two results as well where it took less than an eighth of the
    /// time of `f` so far. While it blocks, the results of the items before are held back, so a source that waits for the
    /// consumer's answer needs `max_in_flight(1)`.
    ///
    /// # Panics
    ///
    /// When `pool` is 0, or more threads than a pool can have.
    ///
    /// The iterator panics when `f` or the source does: with the same payload, in the same place of the sequence, after
    /// all results before it. See [the contract](crate#the-contract).
    ///
    /// # Performance
    ///
    /// `collect`, `for_each`, `sum` (but not into a `Result` or an `Option`) and other methods that take the whole iterator
    /// overlap with the workers; a `for` loop takes turns with them. See [which methods stream](crate#which-methods-stream).
    #[track_caller]
    fn pool_map<R, F>(self, pool: impl IntoPool, f: F) -> PoolMap<Self, Map<F>>
    where
        Self::Item: Send,
        R: Send,
        F: Fn(Self::Item) -> R + Sync,
    {
        PoolMap::new(self, pool.to_workers(), Map(f), "pool_map")
    }

    /// Like [`pool_map`](Self::pool_map), with tuples as items and a function of several arguments: `f(a, b)` for `(a, b)`.
    ///
    /// Tuples of 1 to 12 values. For a closure, `pool_map` with a pattern says the same, and its types are inferred:
    /// `pool_map(4, |(a, b)| …)`.
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
    /// let areas: Vec<u32> = (0..8).zip(10..18).pool_starmap(4, area).collect();
    /// assert_eq!(areas, [0, 11, 24, 39, 56, 75, 96, 119]);
    /// ```
    ///
    /// # Panics
    ///
    /// As [`pool_map`](Self::pool_map).
    #[track_caller]
    fn pool_starmap<F>(self, pool: impl IntoPool, f: F) -> PoolMap<Self, StarMap<F>>
    where
        Self::Item: Send,
        F: StarFn<Self::Item> + Sync,
        F::Output: Send,
    {
        PoolMap::new(self, pool.to_workers(), StarMap(f), "pool_starmap")
    }

    /// Like [`pool_map`](Self::pool_map), with a state for each worker: a buffer, a connection, a random number generator.
    ///
    /// `init` runs on the worker before its first item, so at most once for each worker and call, and not at all on a worker that
    /// gets no item. The states are dropped on the caller's thread when the iterator is; which items share one is
    /// not defined.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolIterator;
    /// use std::fmt::Write;
    ///
    /// let hex: Vec<usize> = [10_u32, 255, 4096]
    ///     .into_iter()
    ///     .pool_map_init(2, String::new, |buffer, x| {
    ///         buffer.clear();
    ///         write!(buffer, "{x:x}").unwrap();
    ///         buffer.len()
    ///     })
    ///     .collect();
    /// assert_eq!(hex, [1, 2, 4]);
    /// ```
    ///
    /// # Panics
    ///
    /// As [`pool_map`](Self::pool_map); a panic of `init` is that of the item for which it ran.
    #[track_caller]
    fn pool_map_init<S, R, N, F>(self, pool: impl IntoPool, init: N, f: F) -> PoolMap<Self, MapInit<N, F>>
    where
        Self::Item: Send,
        S: Send,
        R: Send,
        N: Fn() -> S + Sync,
        F: Fn(&mut S, Self::Item) -> R + Sync,
    {
        PoolMap::new(self, pool.to_workers(), MapInit { init, f }, "pool_map_init")
    }

    /// Runs `f` on every item, on the workers of `pool`: the loop body itself in parallel.
    ///
    /// Workers take the items in order, a chunk at a time; items of different chunks start and finish in any order. To consume
    /// results in order while the workers go on, write `pool_map(pool, f).for_each(…)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolIterator;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// let total = AtomicU64::new(0);
    /// (1..=100).pool_for_each(4, |x| {
    ///     total.fetch_add(x, Ordering::Relaxed);
    /// });
    /// assert_eq!(total.into_inner(), 5050);
    /// ```
    ///
    /// # Panics
    ///
    /// As [`pool_map`](Self::pool_map).
    #[track_caller]
    fn pool_for_each<F>(self, pool: impl IntoPool, f: F)
    where
        Self::Item: Send,
        F: Fn(Self::Item) + Sync,
    {
        PoolMap::new(self, pool.to_workers(), Map(f), "pool_for_each").for_each(drop);
    }

    /// Like [`pool_map`](Self::pool_map), running ahead in the background while the body of the loop runs.
    ///
    /// The price is that everything is owned and [`Send`], the source too: it is pulled by a thread of its own, the
    /// *feeder* (`PoolFeeder-1`; `ResizeFeeder-1` for a pool named `Resize`). For borrowed data there is
    /// [`scope`](crate::adaptors::scope()).
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolIterator;
    ///
    /// let mut log = Vec::new();
    /// for square in (0..5).pool_imap(2, |x| x * x) {
    ///     log.push(square); // meanwhile the workers are at the next ones
    /// }
    /// assert_eq!(log, [0, 1, 4, 9, 16]);
    /// ```
    ///
    /// Results come as soon as they can, so what is sent may depend on what came out:
    ///
    /// ```
    /// use pool_map::PoolIterator;
    /// use std::sync::mpsc;
    ///
    /// let (sender, receiver) = mpsc::channel();
    /// sender.send(1)?;
    /// let doubled = receiver.into_iter().pool_imap(4, |x| x * 2).find(|&x| {
    ///     sender.send(x).expect("the stream listens");
    ///     x > 100
    /// });
    /// assert_eq!(doubled, Some(128));
    /// # Ok::<(), mpsc::SendError<i32>>(())
    /// ```
    ///
    /// # Order and laziness
    ///
    /// Results come in the order of the items. Nothing is pulled and no thread starts before the first result is asked
    /// for; from then on the stream runs by itself, as far ahead as [its limit](PoolImap::max_in_flight) lets it. An item
    /// that was pulled is worked on and delivered without waiting for the source to give the next one.
    ///
    /// Where results are asked for on a worker (of any pool), that worker runs the items for which no other one has come
    /// yet, and waits only for what runs elsewhere.
    ///
    /// # Panics
    ///
    /// When `pool` is 0, or more threads than a pool can have. The iterator panics when `f` or the source does, as that of
    /// [`pool_map`](Self::pool_map). The panic hook sees a panic of the source on the feeder.
    ///
    /// # Performance
    ///
    /// The feeder hands over each item by itself, at the price of one lock that is seldom contended; cheap items are
    /// still worked on in chunks.
    #[track_caller]
    fn pool_imap<R, F>(self, pool: impl IntoPool, f: F) -> PoolImap<Self, Map<F>>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
        R: Send + 'static,
        F: Fn(Self::Item) -> R + Send + Sync + 'static,
    {
        let workers = pool.to_workers();
        PoolImap::new(self, &workers, Map(f), "pool_imap", true, Background::new(workers.clone()))
    }

    /// Like [`pool_imap`](Self::pool_imap), with each result as soon as it is there, in whatever order that is.
    ///
    /// A panic of `f` takes its place when it happens: what was done before is delivered, then it is raised, and the
    /// iterator is over.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolIterator;
    ///
    /// let mut lengths: Vec<usize> = ["to", "be", "or", "not"].into_iter().pool_imap_unordered(2, str::len).collect();
    /// lengths.sort();
    /// assert_eq!(lengths, [2, 2, 2, 3]);
    /// ```
    ///
    /// # Panics
    ///
    /// As [`pool_imap`](Self::pool_imap).
    #[track_caller]
    fn pool_imap_unordered<R, F>(self, pool: impl IntoPool, f: F) -> PoolImap<Self, Map<F>>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
        R: Send + 'static,
        F: Fn(Self::Item) -> R + Send + Sync + 'static,
    {
        let workers = pool.to_workers();
        PoolImap::new(self, &workers, Map(f), "pool_imap_unordered", false, Background::new(workers.clone()))
    }
}

impl<I: Iterator> PoolIterator for I {}

/// The short forms: everything in, a `Vec` out.
impl Pool {
    /// Maps `items` with `f` on this pool's workers: `items.pool_map(&pool, f).collect()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::Pool;
    ///
    /// let pool = Pool::new(4)?;
    /// assert_eq!(pool.map(0..8, |x| x * x), [0, 1, 4, 9, 16, 25, 36, 49]);
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// As [`PoolIterator::pool_map`].
    #[track_caller]
    pub fn map<T, R, F>(&self, items: T, f: F) -> Vec<R>
    where
        T: IntoIterator,
        T::Item: Send,
        R: Send,
        F: Fn(T::Item) -> R + Sync,
    {
        PoolMap::new(items.into_iter(), self.to_workers(), Map(f), "Pool::map").collect()
    }

    /// Maps tuples with a function of several arguments: `tuples.pool_starmap(&pool, f).collect()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::Pool;
    ///
    /// let pool = Pool::new(4)?;
    /// assert_eq!(pool.starmap([(2, 5), (3, 2)], u32::pow), [32, 9]);
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// As [`PoolIterator::pool_starmap`].
    #[track_caller]
    pub fn starmap<T, F>(&self, tuples: T, f: F) -> Vec<F::Output>
    where
        T: IntoIterator,
        T::Item: Send,
        F: StarFn<T::Item> + Sync,
        F::Output: Send,
    {
        PoolMap::new(tuples.into_iter(), self.to_workers(), StarMap(f), "Pool::starmap").collect()
    }

    /// Maps `items` with `f` ahead of the loop that takes the results: `items.pool_imap(&pool, f)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::Pool;
    ///
    /// let pool = Pool::new(4)?;
    /// let mut squares = Vec::new();
    /// for square in pool.imap(0..8, |x| x * x) {
    ///     squares.push(square);
    /// }
    /// assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36, 49]);
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// As [`PoolIterator::pool_imap`].
    #[track_caller]
    pub fn imap<T, R, F>(&self, items: T, f: F) -> PoolImap<T::IntoIter, Map<F>>
    where
        T: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static>,
        R: Send + 'static,
        F: Fn(T::Item) -> R + Send + Sync + 'static,
    {
        let workers = self.to_workers();
        PoolImap::new(items.into_iter(), &workers, Map(f), "Pool::imap", true, Background::new(workers.clone()))
    }

    /// The same, with each result as soon as it is there: `items.pool_imap_unordered(&pool, f)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::Pool;
    ///
    /// let pool = Pool::new(4)?;
    /// assert_eq!(pool.imap_unordered(0..8, |x| x * x).sum::<u64>(), 140);
    /// # Ok::<(), pool_map::PoolError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// As [`PoolIterator::pool_imap_unordered`].
    #[track_caller]
    pub fn imap_unordered<T, R, F>(&self, items: T, f: F) -> PoolImap<T::IntoIter, Map<F>>
    where
        T: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static>,
        R: Send + 'static,
        F: Fn(T::Item) -> R + Send + Sync + 'static,
    {
        let workers = self.to_workers();
        let host = Background::new(workers.clone());
        PoolImap::new(items.into_iter(), &workers, Map(f), "Pool::imap_unordered", false, host)
    }
}
