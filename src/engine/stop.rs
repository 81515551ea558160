//! [`CancelToken`]: a way to say, from anywhere, that nothing more is to start.
//!
//! A token knows what hangs on it by weak references, so that nothing which has ended is kept for its sake. What hangs on
//! it is a [`StopFlag`], which every call has, or a task that waits for a worker.

use crate::base::event::Event;
use crate::base::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::base::sync::{Condvar, Mutex};
use crate::threads::job_queue::Interrupt;
use crate::threads::workers_scope::Holders;
use std::fmt;
use std::mem;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Weak};

/// Stops calls ([`PoolMap::cancel_on`](crate::PoolMap::cancel_on)), streams
/// ([`PoolImap::cancel_on`](crate::PoolImap::cancel_on)) and tasks ([`Task::cancel_on`](crate::Task::cancel_on)).
///
/// Once it is cancelled, no item starts, and the source is not pulled again. Running items finish. The results up to the first
/// item that did not run are delivered; then the iterator ends. A task that has not started never will.
///
/// Clones are the same token. A token cannot be reset. Any thread may cancel it at any time, also inside `f` or before the
/// call that it is given to.
///
/// # Examples
///
/// ```
/// use pool_map::{CancelToken, PoolIterator};
///
/// let token = CancelToken::new();
/// let mut done = Vec::new();
/// for x in (0..).pool_imap(2, |x| x * x).cancel_on(&token) {
///     done.push(x);
///     if x == 100 {
///         token.cancel();
///     }
/// }
/// // What had been read ahead by then has come as well, without a gap.
/// assert!(done.iter().copied().eq((0..done.len()).map(|x| x * x)));
/// assert!(done.len() > 10);
/// ```
#[derive(Clone, Default)]
pub struct CancelToken {
    shared: Arc<TokenState>,
}

#[derive(Default)]
struct TokenState {
    /// Set under the lock of `listeners`, never unset. Relaxed: it says nothing about other memory.
    cancelled: AtomicBool,
    /// What is to be stopped. Empty once the token is cancelled.
    listeners: Mutex<WeakList<dyn OnCancel>>,
}

/// What can be stopped by a token.
pub(crate) trait OnCancel: Send + Sync {
    /// May come at any time, from any thread, more than once.
    fn cancel(&self);
}

impl CancelToken {
    /// Creates a token that is not cancelled.
    #[must_use]
    pub fn new() -> CancelToken {
        CancelToken::default()
    }

    /// Stops what was given this token from starting more work. Does not wait for what is running.
    pub fn cancel(&self) {
        let mut listeners = self.shared.listeners.lock();
        self.shared.cancelled.store(true, Ordering::Relaxed);
        let list = listeners.take();
        drop(listeners);
        for listener in list {
            listener.cancel();
        }
    }

    /// Returns whether the token was cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// let token = pool_map::CancelToken::new();
    /// let same = token.clone();
    /// token.cancel();
    /// assert!(same.is_cancelled());
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::Relaxed)
    }

    /// Has `listener` stopped with this token: now, if it was cancelled already.
    pub(crate) fn stops(&self, listener: &Arc<impl OnCancel + 'static>) {
        let mut listeners = self.shared.listeners.lock();
        if self.is_cancelled() {
            drop(listeners);
            return listener.cancel();
        }
        let weak = Arc::downgrade(listener);
        listeners.add(weak);
    }
}

/// What was added and still lives.
pub(crate) struct WeakList<T: ?Sized> {
    list: Vec<Weak<T>>,
    /// The list is rid of what has ended whenever it has grown to this length.
    sweep_at: usize,
}

impl<T: ?Sized> WeakList<T> {
    pub(crate) fn new() -> Self {
        WeakList { list: Vec::new(), sweep_at: 16 }
    }

    /// Who keeps it may live as long as the program and see many come and go, so it does not grow with those.
    pub(crate) fn add(&mut self, one: Weak<T>) {
        if self.list.len() >= self.sweep_at {
            self.list.retain(|one| one.strong_count() > 0);
            self.sweep_at = (2 * self.list.len()).max(16);
        }
        self.list.push(one);
    }

    /// Takes all of them out.
    pub(crate) fn take(&mut self) -> Vec<Arc<T>> {
        mem::take(&mut self.list).iter().filter_map(Weak::upgrade).collect()
    }
}

impl<T: ?Sized> Default for WeakList<T> {
    fn default() -> Self {
        WeakList::new()
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("is_cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

// Its state is one flag and a list that no user code runs under.
impl UnwindSafe for CancelToken {}
impl RefUnwindSafe for CancelToken {}

/// What stops one call. It owns nothing of the user's, so a token may hold on to it however short-lived the data of the
/// call is.
#[derive(Debug)]
pub(crate) struct StopFlag {
    /// From this index on an item looks closer before it starts: at most `stop`, and lower while the workers are
    /// [asked](StopFlag::ask_for_items) to hand items back. Relaxed where items look at it: it is a hint, the hand-over goes through the
    /// lock of the call.
    look: AtomicU64,
    /// No item of this index or a later one starts any more. Lowered by a panic to the index of its item, and to 0 when
    /// nothing more is wanted.
    stop: AtomicU64,
    /// Whether a worker of this call has nothing to do.
    wants_items: AtomicBool,
    /// Whether a token did it. Set before `stop` is lowered.
    cancelled: AtomicBool,
    /// What the consumer of a stream waits for.
    pub(crate) consumer: Event,
    /// What the feeder of a stream waits for.
    pub(crate) feeder: Event,
    /// Where jobs nap that find less than a chunk, under the lock of the call.
    pub(crate) nap: Condvar,
    /// How many threads hold a stream besides its consumer: the feeder, and the jobs of workers.
    holders: AtomicUsize,
}

impl StopFlag {
    pub(crate) fn new() -> StopFlag {
        StopFlag {
            look: AtomicU64::new(u64::MAX),
            stop: AtomicU64::new(u64::MAX),
            wants_items: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            consumer: Event::new(),
            feeder: Event::new(),
            nap: Condvar::new(),
            holders: AtomicUsize::new(0),
        }
    }

    /// The index from which on an item has to look closer before it starts.
    #[inline]
    pub(crate) fn look(&self) -> u64 {
        self.look.load(Ordering::Relaxed)
    }

    /// The index from which on no item starts.
    pub(crate) fn stop(&self) -> u64 {
        self.stop.load(Ordering::SeqCst)
    }

    /// Lets no item of this index or a later one start.
    pub(crate) fn stop_at(&self, index: u64) {
        self.stop.fetch_min(index, Ordering::SeqCst);
        self.look.fetch_min(index, Ordering::SeqCst);
    }

    /// True if neither a panic nor the consumer nor a token has stopped the call.
    pub(crate) fn goes_on(&self) -> bool {
        self.stop() == u64::MAX
    }

    /// Asks the workers of the call to hand back what is left of their chunks: one of them has nothing to do.
    pub(crate) fn ask_for_items(&self) {
        self.wants_items.store(true, Ordering::Relaxed);
        self.look.store(0, Ordering::SeqCst);
    }

    /// Whether a worker has asked for items.
    pub(crate) fn wants_items(&self) -> bool {
        self.wants_items.load(Ordering::Relaxed)
    }

    /// There are items for whoever wants some.
    pub(crate) fn wants_no_items(&self) {
        if self.wants_items() {
            self.wants_items.store(false, Ordering::Relaxed);
        }
    }

    /// Lets items start without a closer look again, where nobody wants items and no other job waits.
    pub(crate) fn settle_unless(&self, others_wait: impl FnOnce() -> bool) {
        let stop = self.stop();
        if self.look() < stop && !self.wants_items() && !others_wait() {
            self.look.store(stop, Ordering::SeqCst);
            // It may have been lowered in between.
            self.look.fetch_min(self.stop(), Ordering::SeqCst);
        }
    }

    /// Whether anybody besides the consumer holds the stream.
    pub(crate) fn is_held_by_others(&self) -> bool {
        self.holders.load(Ordering::Acquire) > 0
    }

    /// The first step of a token's: nothing is stopped by it yet.
    pub(crate) fn note_cancelled(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// Whether a token has stopped the call.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

impl Interrupt for StopFlag {
    fn interrupt(&self) {
        self.look.store(0, Ordering::SeqCst);
        // It may come just before somebody naps, who then naps all the same; not for long.
        self.nap.notify_all();
    }
}

impl Holders for StopFlag {
    fn add(&self) {
        self.holders.fetch_add(1, Ordering::Relaxed);
    }

    fn remove(&self) {
        if self.holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.consumer.set();
        }
    }
}

impl OnCancel for StopFlag {
    fn cancel(&self) {
        self.note_cancelled();
        self.stop_at(0);
        self.feeder.set();
        self.consumer.set();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_grows_to_twice_of_what_lives_at_most() {
        let mut list = WeakList::new();
        let alive: Vec<Arc<u32>> = (0..40).map(Arc::new).collect();
        for one in &alive {
            list.add(Arc::downgrade(one));
        }
        let lengths = (0..1000).map(|_| {
            list.add(Weak::new());
            list.list.len()
        });
        assert_eq!(lengths.max(), Some(80));
        assert!(list.take().iter().map(|one| **one).eq(0..40));
    }

    #[test]
    fn a_token_does_not_collect_what_has_ended() {
        let token = CancelToken::new();
        let kept = Arc::new(StopFlag::new());
        token.stops(&kept);
        for _ in 0..10_000 {
            token.stops(&Arc::new(StopFlag::new()));
        }
        assert!(token.shared.listeners.lock().list.len() <= 16);
        token.cancel();
        assert!(kept.is_cancelled());
    }
}
