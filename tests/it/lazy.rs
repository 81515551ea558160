//! Promise 3: nothing is pulled and no thread starts before the first result is asked for.

use pool_map::{CancelToken, Pool, PoolIterator, Timeline, TraceLevel};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A source that must not be pulled before it is allowed.
struct Guarded<'a> {
    open: &'a Cell<bool>,
    left: usize,
}

impl Iterator for Guarded<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        assert!(self.open.get(), "pulled too early");
        self.left = self.left.checked_sub(1)?;
        Some((self.left, 1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Guarded<'_> {}

impl std::fmt::Debug for Guarded<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} left", self.left)
    }
}

#[test]
fn nothing_is_pulled_before_a_result_is_asked_for() {
    let open = Cell::new(false);
    let calls = AtomicUsize::new(0);
    let f = |(a, b): (usize, usize)| {
        calls.fetch_add(1, Ordering::Relaxed);
        a + b
    };
    let source = || Guarded { open: &open, left: 10 };
    let pool = Pool::new(2).expect("two threads");

    let mapped = source().pool_map(2, f);
    let on_a_pool = source().pool_map(&pool, f).max_in_flight(5).chunk_size(2);
    let spread = source().pool_starmap(2, usize::min).named("spread").trace(TraceLevel::Full);
    let init = || calls.fetch_add(1, Ordering::Relaxed);
    let with_state = source().pool_map_init(2, init, |_, x| f(x)).max_in_flight(1);
    let caught = source().pool_map(2, f).chunk_size(1).catch_panics();
    let stacked = source().pool_map(2, f).enumerate().filter(|x| x.0 > 3).pool_map(3, |x| x.1);
    assert_eq!(mapped.size_hint(), (10, Some(10)));
    assert_eq!([mapped.len(), on_a_pool.len(), spread.len(), with_state.len(), caught.len()], [10; 5]);
    assert!(format!("{mapped:?}").contains("10 left"));
    assert!(format!("{spread:?}{with_state:?}{caught:?}").contains("10 left"));
    drop(source().pool_map(2, f));
    assert_eq!(calls.load(Ordering::Relaxed), 0, "f or init ran");

    // That the source can be pulled, and f can run, shows that neither was.
    open.set(true);
    assert_eq!(mapped.count(), 10);
    assert_eq!(calls.swap(0, Ordering::Relaxed), 10);
    assert_eq!(on_a_pool.sum::<usize>(), 55);
    assert_eq!(spread.sum::<usize>(), 9);
    assert_eq!(with_state.sum::<usize>(), 55);
    assert_eq!(caught.count(), 10);
    assert_eq!(stacked.count(), 6);
}

#[test]
fn an_unused_iterator_drops_its_source() {
    let item = Arc::new(());
    let it = vec![Arc::clone(&item)].into_iter().pool_map(2, |x| x);
    assert_eq!(Arc::strong_count(&item), 2);
    drop(it);
    assert_eq!(Arc::strong_count(&item), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn no_thread_starts_before_a_result_is_asked_for() {
    fn threads() -> usize {
        std::fs::read_dir("/proc/self/task").expect("Linux shows the threads of a process").count()
    }
    crate::child::succeeds(|| {
        let before = threads();
        // The process's first call puts the panic hook in place, by a thread that has ended by then.
        drop((0..1).pool_map(1, |x| x));
        crate::wait_for_threads(before);
        let mut it = (0..100).pool_map(7, |x| x).chunk_size(2).max_in_flight(9).named("lazy");
        let caught = (0..100).pool_map_init(5, || 0, |_, x| x).catch_panics();
        assert_eq!((it.len(), caught.size_hint()), (100, (100, Some(100))));
        assert!(format!("{it:?}").starts_with("PoolMap"));
        drop(caught);
        assert_eq!(threads(), before);
        assert_eq!(it.next(), Some(0));
        assert!(threads() >= before + 7);
    });
}

/// Checks that each option is refused once a result was asked for, at the caller's line.
macro_rules! too_late {
    ($results:expr => $($option:ident($($value:expr)?)),+ $(,)?) => {$({
        let set = |()| {
            let mut results = $results;
            results.next();
            drop(results.$option($($value)?));
        };
        let outcome = [()].into_iter().pool_map(1, set).catch_panics().next().expect("one item");
        let panic = outcome.expect_err(stringify!($option));
        let message = concat!(stringify!($option), " has to come before the first result is asked for");
        assert_eq!(panic.message(), message);
        let here = concat!(file!(), ":", line!(), ":");
        let place = panic.location().expect("a place");
        assert!(place.starts_with(here), "{message}: {place} is not {here}");
    })+};
    ($results:expr) => {
        too_late!($results => chunk_size(1), max_in_flight(1), named("late"), trace(TraceLevel::Off));
        too_late!($results => cancel_on(&CancelToken::new()), catch_panics(), observe(Arc::new(Timeline::new())));
    };
}

#[test]
fn every_option_after_the_first_result_is_refused_at_the_callers_line() {
    too_late!((0..8).pool_map(2, |x| x));
    too_late!((0..8).pool_imap(2, |x| x));
    // That there was none does not matter.
    too_late!((0..0).pool_map(2, |x: u32| x));
    too_late!((0..0).pool_imap(2, |x: u32| x));
}
