//! [`PoolIterator`]: the methods that take the place of `map`.

use crate::adaptors::imap::{Background, PoolImap};
use crate::adaptors::map::PoolMap;
use crate::engine::star::StarFn;
use crate::engine::work::{Map, MapInit, MapTryInit, MapWith, StarMap};
use crate::threads::lease::{IntoPool, ToWorkers};
use crate::threads::pool::Pool;

/// Parallel, ordered methods on every [`Iterator`].
///
/// | you want | use |
/// |---|---|
/// | the results in a `Vec`, a sum, `for_each` | [`pool_map`](Self::pool_map) |
/// | only side effects | [`pool_for_each`](Self::pool_for_each); if it can fail, [`pool_try_for_each`](Self::pool_try_for_each) |
/// | `filter`, `flatten`, `find`, a progress bar or `?` between the workers and you | [`pool_map`](Self::pool_map), then [`consume`](PoolMap::consume) |
/// | a `for` loop with a heavy body, a source that pauses | [`pool_imap`](Self::pool_imap); with borrowed data, [`scope`](crate::scope()) |
/// | results in any order, or any first hit | [`pool_imap_unordered`](Self::pool_imap_unordered) |
/// | a buffer or a connection for each worker | [`pool_map_init`](Self::pool_map_init) |
/// | data in memory, items under 100 ns | [`par_iter().pool_map`](crate::PoolParallelIterator) |
/// | one closure in the background, or from async code | [`Pool::spawn`]; with borrowed data, [`Scope::spawn`](crate::Scope::spawn) |
/// | to see what is slow, to stop early, to log | [`Timeline`](crate::Timeline), [`CancelToken`](crate::CancelToken), [`pool_println!`](crate::pool_println) |
///
/// # Which methods stream
///
/// A [`PoolMap`] is an ordinary lazy iterator. Methods that stream keep the workers busy while the results are consumed. The
/// others work in batches: the workers run a batch, its results are delivered, then the next batch starts. Between two calls of
/// `next` no worker may be using what you borrow, so batches are the price of borrowing. They grow until the workers are
/// busy for nine tenths of a batch.
///
/// | how | methods |
/// |---|---|
/// | streams | `collect`, `for_each`, `fold`, `count`, `last`, `sum`, `product`, `max`, `min` and their `_by` variants, `reduce`, `unzip`, `partition`; and the same except `collect` after `filter`, `map`, `enumerate`, `inspect`, `chain`… |
/// | batches | `next`, and so `for` loops; `zip`, `take`, `skip`, `peekable`, `step_by`, `nth`, `find`, `any`, `all`, `position`, `try_for_each`, `try_fold`, `eq`, `cmp`; `sum` and `product` into a `Result` or an `Option`; `Vec::extend`; `collect` after another adaptor (`.progress()`, `.flatten()`), which takes turns with the workers |
/// | streams, through [`consume`](PoolMap::consume) | all of the above, and `collect` after another adaptor: `consume(\|results\| results.flatten().collect())` |
/// | batches, always | anything through a `Box<dyn Iterator>` or `&mut dyn Iterator`, which only has `next` |
///
/// If the body of your loop is heavy, use `for_each` instead of `for`, or a stream that works ahead; both overlap with the
/// workers. For 200 items of 4 ms on 4 workers and a body of 1 ms, these took as a multiple of the body alone (bench `streams`):
///
/// | loop | time |
/// |---|---|
/// | `pool_map`, `for` | 1.97 |
/// | `pool_map`, `for_each` | 1.02 |
/// | `pool_imap`, `for` | 1.03 |
/// | [`scope`](crate::scope()), `for` | 1.02 |
///
/// # A number of threads, or a pool
///
/// The first argument of each method is a number of threads or a [`Pool`]. A number takes that many threads from a process-wide
/// cache of idle threads, and the call has them alone while it runs. What that means for the threads:
///
/// - All of them start, unless the source knows that it has fewer items: `pool_map(64, f)` over 2 items starts 2 threads.
/// - Their stack has 8 MiB, as that of `main` usually has (on 32-bit systems 2 MiB). For a deeper recursion set the environment
///   variable `RUST_MIN_STACK`, or use a pool with a larger [`stack_size`](crate::PoolBuilder::stack_size).
/// - On most systems a thread inherits its priority, CPU affinity and signal mask from the thread that starts it. Leased threads
///   are started by the call that first needs them, so a later call on another thread may use threads with those settings.
///   Where that matters, make a pool on a thread with the right settings.
/// - Their thread-locals are dropped when the threads end, which is after ten seconds without work, or never if `main`
///   returns first. To have them dropped at a known time, use a pool and [`join`](Pool::join) it.
///
/// A pool of your own may be shared: its calls, streams and tasks take turns. So items that wait for one another belong on
/// threads that the call has alone ([why](crate::guide::guarantees#nesting)).
///
/// # Differences from `map`
///
/// `f` runs when its result is requested with `map`; with `pool_map`, items are read ahead, up to
/// [a limit](PoolMap::max_in_flight). Some programs do not compile:
///
/// | what | the compiler says | instead |
/// |---|---|---|
/// | `rev`, `rfold`, `next_back` | `` DoubleEndedIterator` is not satisfied `` | reverse the source: `it.rev().pool_map(n, f)` |
/// | `cycle` | `` the trait `Clone` is not implemented for `PoolMap `` | `collect` first, or put `cycle` before `pool_map` |
/// | `f` changes a variable | `` as it is a captured variable in a `Fn` closure `` | [`pool_map_init`](Self::pool_map_init), an atomic or a `Mutex`; or change it afterwards, in `for_each`, on your thread |
/// | `f` is an `FnMut` | `` expected a closure that implements the `Fn` trait, but this closure only implements `FnMut` `` | the same |
/// | `f` uses up a variable | `` cannot move out of `name`, a captured variable in an `Fn` closure `` | clone or borrow it |
/// | `f` uses a `Cell` or `RefCell` | `cannot be shared between threads safely` | an atomic, a `Mutex`, or [`pool_map_init`](Self::pool_map_init) |
/// | `f` takes several arguments | `it takes 2 distinct arguments` | [`pool_starmap`](Self::pool_starmap) |
/// | items or results are an `Rc` | `cannot be sent between threads safely` | `Arc` |
/// | results with a `Box<dyn Error>` | `` `dyn std::error::Error` cannot be sent between threads safely `` | [`Box<dyn Error + Send + Sync>`](crate::guide::recipes#errors-of-any-type) |
/// | `?` on such a result | `` `?` couldn't convert the error `` | [the same type of error in the caller](crate::guide::recipes#errors-of-any-type) |
/// | results that borrow from the state of a worker | `lifetime may not live long enough` | return something owned |
/// | `?` in `pool_for_each` | `` the `?` operator can only be used in a closure that returns `Result` or `Option` `` | [`pool_try_for_each`](Self::pool_try_for_each) |
/// | a `Vec` or an array | `` the method `pool_map` exists for struct `Vec `` | `.iter()`, `.iter_mut()` or `.into_iter()` before it |
/// | an `i32` as the number of threads | `` `i32` is neither a number of threads (`usize`) nor a `Pool` `` | `n as usize` |
/// | `pool_imap` with borrowed items | `does not live long enough` | `into_iter`, or [`scope`](crate::scope()) |
/// | `pool_imap` with a borrowed variable | `closure may outlive the current function` | `move`, an `Arc`, or [`scope`](crate::scope()) |
/// | `pool_imap` with `stdin().lock()` | `StdinLock` | [`BufReader::new(stdin())`](crate::guide::recipes#standard-input-line-by-line) |
pub trait PoolIterator: Iterator + Sized {
    /// Maps the items with `f` on the workers of `pool`, and yields the results in the order of the items.
    ///
    /// `pool` is [a number of threads or a `Pool`](#a-number-of-threads-or-a-pool). On a worker of the same pool, and by number
    /// on any worker of this crate, the call [runs in place](crate::guide::guarantees#which-thread-runs-it), one item after the other; an attached
    /// [observer](PoolMap::observe) shows that.
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
    /// let error = total("1\ntwo\n".as_bytes()).unwrap_err();
    /// assert_eq!(error.to_string(), "invalid digit found in string");
    /// ```
    ///
    /// # Order and laziness
    ///
    /// Results come in the order of the items, whichever finishes first. Nothing is pulled before the first result is requested;
    /// from then on items are read ahead, up to [a limit](PoolMap::max_in_flight). The source is pulled when no
    /// result is ready, and between results if that costs less than an eighth of `f`.
    ///
    /// Each item is handed over before the source is asked for the next, so none waits while the source blocks. There are two
    /// exceptions, which are handed over in blocks: the items of a source that knows its length (its `size_hint` is exact, as that
    /// of a range, of a vector, and of a `map` over those), and items that take less than 3 ns in the source and 500 ns in `f`
    /// (no channel, file, or socket gives them as fast). Should such a source block in the middle of a block, the items of that
    /// block wait. These are at most those it gave within 20 µs to 5 ms (the longer the call has run, the more), and no more than
    /// had been pulled before.
    ///
    /// Results that are ready wait while the source blocks, because your own thread pulls it. If your source pauses (a channel, a
    /// socket, a terminal) and each result is wanted at once, use [`pool_imap`](Self::pool_imap). A source that waits for the
    /// consumer's answer needs `max_in_flight(1)`.
    ///
    /// # Panics
    ///
    /// If `pool` is 0, or more threads than a pool can have.
    ///
    /// The iterator panics when `f` or the source does: with the same payload, at the same place in the sequence, after all
    /// results before it. See [the guarantees](crate::guide::guarantees).
    ///
    /// # Performance
    ///
    /// `collect`, `for_each`, `sum` (except into a `Result` or an `Option`) and other methods that take the whole iterator
    /// overlap with the workers. A `for` loop takes turns with them. See [which methods stream](#which-methods-stream).
    #[track_caller]
    fn pool_map<R, F>(self, pool: impl IntoPool, f: F) -> PoolMap<Self, Map<F, R>>
    where
        Self::Item: Send,
        R: Send,
        F: Fn(Self::Item) -> R + Sync, // With `FnMut`: `pool_map_init` has a state for each worker.
    {
        PoolMap::new(self, pool.to_workers(), Map::new(f), "pool_map")
    }

    /// Like [`pool_map`](Self::pool_map), for items that are tuples and a function of several arguments: `f(a, b)` for `(a, b)`.
    ///
    /// Tuples may have 1 to 12 values. With a closure, `pool_map` and a pattern do the same, and types are inferred:
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
    fn pool_starmap<F>(self, pool: impl IntoPool, f: F) -> PoolMap<Self, StarMap<F, F::Output>>
    where
        Self::Item: Send,
        F: StarFn<Self::Item> + Sync,
        F::Output: Send,
    {
        PoolMap::new(self, pool.to_workers(), StarMap::new(f), "pool_starmap")
    }

    /// Like [`pool_map`](Self::pool_map), with a state for each worker: a buffer, a connection, a random number generator. (The
    /// state is [`Send`]: of `rand`, that is `StdRng` or `SmallRng`, and not `ThreadRng`.)
    ///
    /// `init` runs on the worker before its first item: at most once for each worker in each call, and never on a worker that
    /// gets no item. The states are dropped on your thread together with the iterator. Which items share a state is not
    /// defined.
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
    /// What the workers have gathered comes together when the states are dropped:
    ///
    /// ```
    /// use pool_map::PoolIterator;
    /// use std::collections::BTreeMap;
    /// use std::sync::Mutex;
    ///
    /// struct Lengths<'a> {
    ///     own: BTreeMap<usize, u32>,
    ///     all: &'a Mutex<BTreeMap<usize, u32>>,
    /// }
    ///
    /// impl Drop for Lengths<'_> {
    ///     fn drop(&mut self) {
    ///         let mut all = self.all.lock().expect("no panic");
    ///         for (length, count) in &self.own {
    ///             *all.entry(*length).or_default() += count;
    ///         }
    ///     }
    /// }
    ///
    /// let all = Mutex::default();
    /// let init = || Lengths { own: BTreeMap::new(), all: &all };
    /// let count = |state: &mut Lengths<'_>, word: &str| {
    ///     *state.own.entry(word.len()).or_default() += 1;
    /// };
    /// ["to", "be", "or", "not"].into_iter().pool_map_init(2, init, count).for_each(drop);
    /// assert_eq!(all.into_inner().unwrap(), BTreeMap::from([(2, 3), (3, 1)]));
    /// ```
    ///
    /// An `init` that can fail is [`pool_map_try_init`](Self::pool_map_try_init), and a value that is to be cloned
    /// [`pool_map_with`](Self::pool_map_with).
    ///
    /// # Panics
    ///
    /// As [`pool_map`](Self::pool_map). A panic of `init` counts as a panic of the item for which it ran.
    #[track_caller]
    fn pool_map_init<S, R, N, F>(self, pool: impl IntoPool, init: N, f: F) -> PoolMap<Self, MapInit<N, F, S, R>>
    where
        Self::Item: Send,
        S: Send,
        R: Send,
        N: Fn() -> S + Sync,
        F: Fn(&mut S, Self::Item) -> R + Sync,
    {
        PoolMap::new(self, pool.to_workers(), MapInit::new(init, f), "pool_map_init")
    }

    /// Like [`pool_map_init`](Self::pool_map_init), with a state that may fail to be made: a connection, a file.
    ///
    /// Where `init` fails, its error is the result of the item for which it ran, and the worker tries again for its next
    /// item. So `collect::<Result<Vec<_>, _>>()` ends with the first error in order, and who goes on past errors lets a server
    /// come back. `f` gives a `Result` too, with the same type of error: it has the state, and `?` works. If the errors of `init` and
    /// `f` differ, let `init` convert its own: `|| Ok(open()?)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolIterator;
    /// use std::fs::File;
    /// use std::io::{self, Read, Seek, SeekFrom};
    ///
    /// fn bytes_at(path: &str, places: &[u64]) -> io::Result<Vec<u8>> {
    ///     let open = || File::open(path); // once for each worker
    ///     let read = |file: &mut File, place: &u64| {
    ///         let mut byte = [0];
    ///         file.seek(SeekFrom::Start(*place))?;
    ///         file.read_exact(&mut byte)?;
    ///         Ok(byte[0])
    ///     };
    ///     places.iter().pool_map_try_init(2, open, read).collect()
    /// }
    ///
    /// assert_eq!(bytes_at("Cargo.toml", &[0, 1, 8]).unwrap(), b"[p]");
    /// assert_eq!(bytes_at("no such file", &[0]).unwrap_err().kind(), io::ErrorKind::NotFound);
    /// ```
    ///
    /// # Panics
    ///
    /// As [`pool_map_init`](Self::pool_map_init).
    #[track_caller]
    fn pool_map_try_init<S, R, E, N, F>(
        self,
        pool: impl IntoPool,
        init: N,
        f: F,
    ) -> PoolMap<Self, MapTryInit<N, F, S, Result<R, E>>>
    where
        Self::Item: Send,
        S: Send,
        R: Send,
        E: Send,
        N: Fn() -> Result<S, E> + Sync,
        F: Fn(&mut S, Self::Item) -> Result<R, E> + Sync,
    {
        PoolMap::new(self, pool.to_workers(), MapTryInit::new(init, f), "pool_map_try_init")
    }

    /// Like [`pool_map_init`](Self::pool_map_init), with a clone of `state` for each worker, as rayon's `map_with`: a
    /// channel's sender, a template that is filled in.
    ///
    /// `state` need not be [`Sync`]. It is cloned on a worker before its first item, on one worker at a time, so a `clone` that
    /// waits for another worker of the same call waits for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolIterator;
    /// use std::sync::mpsc;
    ///
    /// let (sender, receiver) = mpsc::channel();
    /// let send = |sender: &mut mpsc::Sender<u32>, x: u32| sender.send(x * x);
    /// (0..4).pool_map_with(2, sender, send).for_each(|sent| sent.expect("the receiver is there"));
    /// let mut squares: Vec<u32> = receiver.into_iter().collect(); // all senders are gone
    /// squares.sort();
    /// assert_eq!(squares, [0, 1, 4, 9]);
    /// ```
    ///
    /// # Panics
    ///
    /// As [`pool_map_init`](Self::pool_map_init), with `clone` for `init`.
    #[track_caller]
    fn pool_map_with<S, R, F>(self, pool: impl IntoPool, state: S, f: F) -> PoolMap<Self, MapWith<S, F, R>>
    where
        Self::Item: Send,
        S: Clone + Send,
        R: Send,
        F: Fn(&mut S, Self::Item) -> R + Sync,
    {
        PoolMap::new(self, pool.to_workers(), MapWith::new(state, f), "pool_map_with")
    }

    /// Runs `f` on every item, on the workers of `pool`: the loop body itself in parallel.
    ///
    /// Workers take items in order, a chunk at a time. Items of different chunks start and finish in any order. To consume
    /// results in order while the workers continue, write `pool_map(pool, f).for_each(…)`.
    ///
    /// Your thread pulls the source. While it blocks, the workers go on with what was pulled; for two exceptions see
    /// [`pool_map`](Self::pool_map).
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
        PoolMap::new(self, pool.to_workers(), Map::new(f), "pool_for_each").for_each(drop);
    }

    /// Runs `f` on every item, on the workers of `pool`, until one returns an `Err`.
    ///
    /// It is [`pool_for_each`](Self::pool_for_each) for an `f` that may fail, and as `try_for_each` it returns the first `Err`
    /// in the order of the items. From then on no item starts; each worker may finish its current one. Items behind the one
    /// that failed may have run already.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolIterator;
    ///
    /// let check = |line: &str| line.parse::<u32>().map(drop);
    /// assert_eq!(["1", "2"].into_iter().pool_try_for_each(2, check), Ok(()));
    /// let error = ["1", "two", "-3"].into_iter().pool_try_for_each(2, check).unwrap_err();
    /// assert_eq!(error.to_string(), "invalid digit found in string");
    /// ```
    ///
    /// # Errors
    ///
    /// The first `Err` in the order of the items.
    ///
    /// # Panics
    ///
    /// As [`pool_map`](Self::pool_map). Of a panic and an `Err`, the one that comes first in the order of the items counts.
    #[track_caller]
    fn pool_try_for_each<E, F>(self, pool: impl IntoPool, f: F) -> Result<(), E>
    where
        Self::Item: Send,
        E: Send,
        F: Fn(Self::Item) -> Result<(), E> + Sync,
    {
        PoolMap::new(self, pool.to_workers(), Map::new(f), "pool_try_for_each").collect()
    }

    /// Like [`pool_map`](Self::pool_map), but works ahead in the background while the body of your loop runs.
    ///
    /// In return, it owns everything, and everything is [`Send`], the source too. A separate thread pulls the source: the *feeder*
    /// (`PoolFeeder-1`, or `ResizeFeeder-1` for a pool named `Resize`). For borrowed data, use
    /// [`scope`](crate::scope()).
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolIterator;
    ///
    /// let mut log = Vec::new();
    /// for square in (0..5).pool_imap(2, |x| x * x) {
    ///     log.push(square); // meanwhile the workers run the next items
    /// }
    /// assert_eq!(log, [0, 1, 4, 9, 16]);
    /// ```
    ///
    /// Each result arrives as soon as it and those before it are done, so the source may depend on the results:
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
    /// Two stages that both work ahead:
    ///
    /// ```
    /// use pool_map::PoolIterator;
    ///
    /// let lines = ["1", "2", "3"].into_iter();
    /// let parsed = lines.pool_imap(2, |line| line.parse::<u32>().expect("a number"));
    /// let squares: Vec<u32> = parsed.pool_imap(2, |x| x * x).collect();
    /// assert_eq!(squares, [1, 4, 9]);
    /// ```
    ///
    /// With borrowed data, [`Scope::imap`](crate::Scope::imap) does the same in one scope.
    ///
    /// # Order and laziness
    ///
    /// Results come in the order of the items. Nothing is pulled and no thread starts before the first result is requested.
    /// From then on the stream runs by itself, up to [its limit](PoolImap::max_in_flight). An item that was pulled is
    /// processed and delivered without waiting for the source to give the next one.
    ///
    /// If you request results on a worker of the same pool, that worker itself runs the items that no other worker has taken, and
    /// waits only for those that run elsewhere.
    ///
    /// # Panics
    ///
    /// If `pool` is 0, or more threads than a pool can have. The iterator panics when `f` or the source does, as that of
    /// [`pool_map`](Self::pool_map). The panic hook sees a panic of the source on the feeder.
    ///
    /// # Performance
    ///
    /// The feeder hands over each item separately, which takes a lock that is rarely contended. Cheap items still run in
    /// chunks.
    #[track_caller]
    fn pool_imap<R, F>(self, pool: impl IntoPool, f: F) -> PoolImap<Self, Map<F, R>>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
        R: Send + 'static,
        F: Fn(Self::Item) -> R + Send + Sync + 'static,
    {
        let workers = pool.to_workers();
        PoolImap::new(self, &workers, Map::new(f), "pool_imap", true, Background::new(workers.clone()))
    }

    /// Like [`pool_imap`](Self::pool_imap), but yields each result as soon as it is ready, in any order.
    ///
    /// A panic of `f` takes its place in that order: results that were ready before it are delivered, then it is raised, and
    /// the iterator is finished.
    ///
    /// # Examples
    ///
    /// ```
    /// use pool_map::PoolIterator;
    ///
    /// let words = ["to", "be", "or", "not"].into_iter();
    /// let mut lengths: Vec<usize> = words.pool_imap_unordered(2, str::len).collect();
    /// lengths.sort();
    /// assert_eq!(lengths, [2, 2, 2, 3]);
    /// ```
    ///
    /// # Panics
    ///
    /// As [`pool_imap`](Self::pool_imap).
    #[track_caller]
    fn pool_imap_unordered<R, F>(self, pool: impl IntoPool, f: F) -> PoolImap<Self, Map<F, R>>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
        R: Send + 'static,
        F: Fn(Self::Item) -> R + Send + Sync + 'static,
    {
        let workers = pool.to_workers();
        PoolImap::new(self, &workers, Map::new(f), "pool_imap_unordered", false, Background::new(workers.clone()))
    }
}

impl<I: Iterator> PoolIterator for I {}

/// Short forms without options.
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
        PoolMap::new(items.into_iter(), self.to_workers(), Map::new(f), "Pool::map").collect()
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
        PoolMap::new(tuples.into_iter(), self.to_workers(), StarMap::new(f), "Pool::starmap").collect()
    }

    /// Maps `items` with `f`, working ahead of the loop that takes the results: `items.pool_imap(&pool, f)`.
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
    pub fn imap<T, R, F>(&self, items: T, f: F) -> PoolImap<T::IntoIter, Map<F, R>>
    where
        T: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static>,
        R: Send + 'static,
        F: Fn(T::Item) -> R + Send + Sync + 'static,
    {
        let workers = self.to_workers();
        PoolImap::new(items.into_iter(), &workers, Map::new(f), "Pool::imap", true, Background::new(workers.clone()))
    }

    /// Like [`imap`](Pool::imap), but yields each result as soon as it is ready: `items.pool_imap_unordered(&pool, f)`.
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
    pub fn imap_unordered<T, R, F>(&self, items: T, f: F) -> PoolImap<T::IntoIter, Map<F, R>>
    where
        T: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static>,
        R: Send + 'static,
        F: Fn(T::Item) -> R + Send + Sync + 'static,
    {
        let workers = self.to_workers();
        let host = Background::new(workers.clone());
        PoolImap::new(items.into_iter(), &workers, Map::new(f), "Pool::imap_unordered", false, host)
    }
}
