//! [`ObserverRef`]: one observer of one call.

use super::enclosing::{self, thread_name};
use super::into_observer::{Identity, IntoObserver, ObserverHandle, SharedObserver};
use super::observer::{CallInfo, CallStart, CallTotals, CallerRole, Observer};
use super::recorder::Recorder;
use super::spans::nanos;
use crate::panics::{self, Call, LineKind};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// One observer of one call, from the first result asked for to the end.
#[expect(unnameable_types, reason = "what a sealed trait deals in")]
pub struct ObserverRef<'a> {
    observer: ObserverHandle<'a>,
    /// Set when the call starts; only then is it told to have finished.
    pub(super) started: OnceLock<(CallStart, Arc<Call>)>,
    /// No more is told: the call has finished, or the observer has panicked.
    over: AtomicBool,
    // Written by whichever thread pulls the source, and by the caller's.
    items: AtomicU64,
    source_ns: AtomicU64,
    waiting_ns: AtomicU64,
}

impl<'a> ObserverRef<'a> {
    pub(crate) fn new(observer: impl IntoObserver<'a>) -> Self {
        ObserverRef::attached(ObserverHandle::new(observer))
    }

    /// The observer of a pool, for one call on it.
    pub(crate) fn shared(observer: SharedObserver) -> Self {
        ObserverRef::attached(observer)
    }

    fn attached(observer: ObserverHandle<'a>) -> Self {
        let none = || AtomicU64::new(0);
        let (items, source_ns, waiting_ns) = (none(), none(), none());
        ObserverRef { observer, started: OnceLock::new(), over: AtomicBool::new(false), items, source_ns, waiting_ns }
    }

    /// `None` for an observer that cannot be told from others.
    pub(super) fn identity(&self) -> Option<Identity> {
        self.observer.identity()
    }

    /// Whether `other` is the same observer.
    pub(crate) fn is_twin_of(&self, other: &ObserverRef<'_>) -> bool {
        self.identity().is_some_and(|identity| other.identity() == Some(identity))
    }

    /// Tells of the start, once.
    pub(crate) fn start(&self, call: &Arc<Call>, workers: usize, size_hint: (usize, Option<usize>), role: CallerRole) {
        static CALLS: AtomicU64 = AtomicU64::new(1);

        if self.started.get().is_some() {
            return;
        }
        let (id, started) = (CALLS.fetch_add(1, Ordering::Relaxed), Instant::now());
        let start = CallStart {
            id,
            started,
            size_hint,
            workers,
            role,
            depth: enclosing::depth(self.identity()),
            caller: thread_name(),
        };
        if self.started.set((start, Arc::clone(call))).is_ok() {
            self.tell(|observer| observer.call_started(&self.info(Duration::ZERO).expect("BUG: it has just started")));
        }
    }

    /// Tells of the end, once, and only of what has started.
    pub(crate) fn finish(&self) {
        if let Some((start, _)) = self.started.get() {
            let elapsed = start.started.elapsed();
            let tell = || self.observer.get().call_finished(&self.info(elapsed).expect("BUG: it has started"));
            if !self.over.swap(true, Ordering::Relaxed) {
                panics::keep_in(LineKind::Observer, tell);
            }
        }
    }

    /// What records items of this call that the current thread runs, if the observer is a timeline.
    pub(super) fn recorder(&self, worker: &Arc<str>, is_worker: bool, depth: usize) -> Option<Recorder<'_>> {
        let (start, _) = self.started.get()?;
        let mut timeline = None;
        self.tell(|_| timeline = self.observer.get().timeline());
        Some(Recorder::new(timeline?, worker, is_worker, start.id, depth))
    }

    fn info(&self, elapsed: Duration) -> Option<CallInfo<'_>> {
        let (start, call) = self.started.get()?;
        let nanos = |counter: &AtomicU64| Duration::from_nanos(counter.load(Ordering::Relaxed));
        let items = self.items.load(Ordering::Relaxed);
        let totals = CallTotals { items, elapsed, source: nanos(&self.source_ns), waiting: nanos(&self.waiting_ns) };
        Some(CallInfo { start, method: call.method(), site: call.site(), label: call.label(), totals })
    }

    /// The source gave `items` items, in so much time.
    pub(crate) fn pulled(&self, items: usize, took: Duration) {
        self.items.fetch_add(items as u64, Ordering::Relaxed);
        self.source_ns.fetch_add(nanos(took), Ordering::Relaxed);
    }

    /// The caller's thread waited for results.
    pub(crate) fn waited(&self, took: Duration) {
        self.waiting_ns.fetch_add(nanos(took), Ordering::Relaxed);
    }

    /// Whoever watches a loop must not change it: a panic of the observer stays in here, and was its last word.
    pub(super) fn tell(&self, news: impl FnOnce(&dyn Observer)) {
        if !self.over.load(Ordering::Relaxed) && !panics::keep_in(LineKind::Observer, || news(self.observer.get())) {
            self.over.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for ObserverRef<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}

impl fmt::Debug for ObserverRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserverRef").field("started", &self.started).finish_non_exhaustive()
    }
}

/// Asks a source for one item, and lets those who watch know how long it took.
pub(crate) fn pull<T>(watches: &[&ObserverRef<'_>], next: impl FnOnce() -> Option<T>) -> Option<T> {
    if watches.is_empty() {
        return next();
    }
    let start = Instant::now();
    let item = next();
    let took = start.elapsed();
    for watch in watches {
        watch.pulled(usize::from(item.is_some()), took);
    }
    item
}

/// Lets those who watch know how long the caller waits for results in `wait`.
pub(crate) fn wait<R>(watches: &[&ObserverRef<'_>], wait: impl FnOnce() -> R) -> R {
    if watches.is_empty() {
        return wait();
    }
    let start = Instant::now();
    let result = wait();
    let took = start.elapsed();
    for watch in watches {
        watch.waited(took);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_shared_by_the_workers() {
        fn check<T: Send + Sync>() {}
        check::<ObserverRef<'_>>();
    }
}
