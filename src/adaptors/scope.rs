//! [`scope`]: streams that run ahead over borrowed data.
//!
//! It is [`std::thread::scope`] for the feeders; each feeder opens a scope on its pool for the workers' part, so that a
//! feeder has ended only when the last item of its stream has. When the body is over, the streams are stopped by what they
//! share with their threads, whatever became of the iterators.

use crate::adaptors::imap::{self, Host, PoolImap};
use crate::engine::feeder_pulls::{Stop, StreamState};
use crate::engine::stop::WeakList;
use crate::engine::work::{Map, WorkOn};
use crate::panics;
use crate::threads::lease::{IntoPool, WaitingLease, Workers};
use crate::threads::names::NumberBlock;
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use std::sync::Arc;
use std::{fmt, thread};

/// Runs `body`, which may start streams over borrowed data that work ahead. Returns when all of them have ended.
///
/// A stream here is that of [`pool_imap`](crate::PoolIterator::pool_imap), for data that outlives the scope but need not be
/// `'static`. A feeder thread pulls the source, and the workers work ahead of the loop body. All streams of a scope share its
/// workers and take turns. A number of threads is leased when the first result is requested.
///
/// When `body` returns or panics, all streams that are left are stopped: no item starts, and results that are ready are
/// dropped. The scope then waits for running items and for a call of the source's `next` in progress, but not longer. A source
/// that blocks for ever therefore blocks the scope for ever. A leaked stream (by [`std::mem::forget`]) is stopped like the
/// others.
///
/// Where `pool_map` would [run in place](crate::guide::guarantees#which-thread-runs-it), so do the streams of a scope:
/// each item when it is requested.
///
/// # Examples
///
/// ```
/// let words = vec!["so".to_owned(), "much".to_owned(), "depends".to_owned()];
/// let mut longest = "";
/// pool_map::scope(2, |s| {
///     for (word, length) in words.iter().zip(s.imap(&words, |word| word.len())) {
///         if length > longest.len() {
///             longest = word;
///         }
///     }
/// });
/// assert_eq!(longest, "depends");
/// ```
///
/// # Panics
///
/// If `pool` is 0, or more threads than a pool can have. If `body` panics, with the same payload, after all streams have
/// ended.
#[track_caller]
pub fn scope<'env, R>(pool: impl IntoPool, body: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R) -> R {
    let workers = pool.to_workers();
    // Outlives the feeders, which the thread scope waits for.
    let lease = OnceCell::new();
    let outcome = thread::scope(|threads| {
        // A thread scope that unwinds waits as well, but not for our streams to be stopped first.
        let spawn =
            |name: String, job: FeederBody<'env>| thread::Builder::new().name(name).spawn_scoped(threads, job).is_ok();
        let streams = Mutex::new(WeakList::new());
        let scope = Scope { workers, lease: &lease, spawn: &spawn, streams };
        run_body(&scope, body)
    });
    outcome.unwrap_or_else(|payload| panics::resume(payload))
}

/// Runs the body and stops what is left of its streams.
fn run_body<'scope, 'env, R>(
    scope: &'scope Scope<'scope, 'env>,
    body: impl FnOnce(&'scope Scope<'scope, 'env>) -> R,
) -> Result<R, panics::Payload> {
    let outcome = panics::catch(|| body(scope));
    let streams = scope.streams.lock().take();
    for stream in streams {
        stream.stop();
    }
    outcome
}

type FeederBody<'env> = Box<dyn FnOnce() + Send + 'env>;

/// Starts streams over borrowed data; see [`scope`].
pub struct Scope<'scope, 'env> {
    workers: Workers,
    /// The workers of all streams of this scope, from the first one's start.
    lease: &'scope OnceCell<Option<WaitingLease>>,
    /// Starts a thread that the scope waits for; false if none can start.
    spawn: &'scope (dyn Fn(String, FeederBody<'env>) -> bool + Sync),
    /// Those that were started.
    streams: Mutex<WeakList<dyn Stop + 'env>>,
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Maps `items` with `f`, in order, working ahead of the loop that takes the results.
    ///
    /// [`pool_imap`](crate::PoolIterator::pool_imap) has the full description. `items` and `f` may borrow from outside the
    /// scope.
    ///
    /// # Examples
    ///
    /// ```
    /// let prices = vec![3, 5, 8];
    /// let rate = 2;
    /// let doubled: Vec<i32> =
    ///     pool_map::scope(4, |s| s.imap(&prices, |price| price * rate).collect());
    /// assert_eq!(doubled, [6, 10, 16]);
    /// ```
    ///
    /// # Panics
    ///
    /// The iterator panics when `f` or the source does, as that of [`pool_imap`](crate::PoolIterator::pool_imap).
    #[track_caller]
    pub fn imap<T, R, F>(&'scope self, items: T, f: F) -> PoolImap<T::IntoIter, Map<F, R>, &'scope Self>
    where
        T: IntoIterator<Item: Send + 'env, IntoIter: Send + 'env>,
        R: Send + 'env,
        F: Fn(T::Item) -> R + Send + Sync + 'env,
    {
        PoolImap::new(items.into_iter(), &self.workers, Map::new(f), "Scope::imap", true, self)
    }

    /// Like [`imap`](Self::imap), but yields each result as soon as it is ready.
    ///
    /// # Examples
    ///
    /// ```
    /// let prices = vec![3, 5, 8];
    /// let total: i32 = pool_map::scope(4, |s| s.imap_unordered(&prices, |price| price * 2).sum());
    /// assert_eq!(total, 32);
    /// ```
    ///
    /// # Panics
    ///
    /// The iterator panics when `f` or the source does, as that of
    /// [`pool_imap_unordered`](crate::PoolIterator::pool_imap_unordered).
    #[track_caller]
    pub fn imap_unordered<T, R, F>(&'scope self, items: T, f: F) -> PoolImap<T::IntoIter, Map<F, R>, &'scope Self>
    where
        T: IntoIterator<Item: Send + 'env, IntoIter: Send + 'env>,
        R: Send + 'env,
        F: Fn(T::Item) -> R + Send + Sync + 'env,
    {
        PoolImap::new(items.into_iter(), &self.workers, Map::new(f), "Scope::imap_unordered", false, self)
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("workers", &self.workers).finish_non_exhaustive()
    }
}

impl<'env, I, W> Host<I, W> for &Scope<'_, 'env>
where
    I: Iterator + Send + 'env,
    I::Item: Send + 'env,
    W: WorkOn<I::Item> + Send + 'env,
{
}

impl<'env, I, W> imap::sealed::StartFeeder<I, W> for &Scope<'_, 'env>
where
    I: Iterator + Send + 'env,
    I::Item: Send + 'env,
    W: WorkOn<I::Item> + Send + 'env,
{
    #[expect(private_interfaces, reason = "as in the trait")]
    fn start(&mut self, source: I, stream: &Arc<StreamState<I::Item, W>>) -> Result<(), I> {
        let Some(lease) = self.lease.get_or_init(|| self.workers.get_to_wait(None)) else { return Err(source) };
        let number = NumberBlock::take(&imap::feeder_name(lease.name()), 1);
        stream.set_pool(lease);
        imap::start_feeder(number, source, self.spawn, stream, |stream, source| stream.feed_borrowed(source))?;
        let stream: Arc<dyn Stop + 'env> = Arc::clone(stream) as _;
        self.streams.lock().add(Arc::downgrade(&stream));
        Ok(())
    }

    fn release(&mut self) {}
}
