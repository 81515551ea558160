//! Promise 5: `f` runs at most once for each item, and every item and every result is dropped exactly once, on every path.

use crate::child;
use crate::gate::Gate;
use pool_map::{Pool, PoolIterator, TraceLevel};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};

const CHUNKS: [Option<usize>; 3] = [None, Some(1), Some(3)];

fn caught<R>(run: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(run))
}

/// How often each item and each result was made and dropped, and how often `f` ran.
struct Tally {
    items: Vec<Life>,
    results: Vec<Life>,
    runs: Vec<AtomicUsize>,
}

#[derive(Default)]
struct Life {
    made: AtomicUsize,
    dropped: AtomicUsize,
}

struct Item<'a>(&'a Tally, usize);
struct Outcome<'a>(&'a Tally, usize);

impl Drop for Item<'_> {
    fn drop(&mut self) {
        self.0.items[self.1].dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        self.0.results[self.1].dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl Tally {
    const LENGTH: usize = 60;

    fn new() -> Tally {
        fn filled<T: Default>() -> Vec<T> {
            std::iter::repeat_with(T::default).take(Tally::LENGTH).collect()
        }
        Tally { items: filled(), results: filled(), runs: filled() }
    }

    fn source(&self) -> impl Iterator<Item = Item<'_>> {
        (0..Tally::LENGTH).map(|index| {
            self.items[index].made.fetch_add(1, Ordering::SeqCst);
            Item(self, index)
        })
    }

    /// Checks the lives of all, and that the first `delivered` results were made by one run each.
    fn check(&self, delivered: usize, setting: &str) {
        for (index, item) in self.items.iter().enumerate() {
            let [made, dropped] = [&item.made, &item.dropped].map(|count| count.load(Ordering::SeqCst));
            assert!(made <= 1 && dropped == made, "item {index} made {made}, dropped {dropped} times, {setting}");
            let runs = self.runs[index].load(Ordering::SeqCst);
            assert!(runs <= made, "f ran {runs} times for item {index}, pulled {made} times, {setting}");
            let result = &self.results[index];
            let [made, dropped] = [&result.made, &result.dropped].map(|count| count.load(Ordering::SeqCst));
            assert!(made <= runs && dropped == made, "result {index} made {made}, dropped {dropped} times, {setting}");
            if index < delivered {
                assert_eq!((runs, made), (1, 1), "result {index} was delivered, {setting}");
            }
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // It stands where `f` does, and `f` gets its item.
fn run(item: Item<'_>) -> Outcome<'_> {
    item.0.runs[item.1].fetch_add(1, Ordering::SeqCst);
    item.0.results[item.1].made.fetch_add(1, Ordering::SeqCst);
    Outcome(item.0, item.1)
}

/// Checks `path`, which gets the tally and the settings to make the call with, and gives the number delivered at least.
fn every_setting(path: impl Fn(&Tally, usize, Option<usize>) -> usize) {
    for workers in [1, 2, 4] {
        for chunk in CHUNKS {
            for _ in 0..5 {
                let tally = Tally::new();
                let delivered = path(&tally, workers, chunk);
                tally.check(delivered, &format!("{workers} workers, chunks of {chunk:?}"));
            }
        }
    }
}

/// `source.pool_map(workers, f)` in chunks of `chunk`.
macro_rules! call {
    ($source:expr, $workers:expr, $chunk:expr, $f:expr) => {{
        let it = $source.pool_map($workers, $f);
        if let Some(items) = $chunk { it.chunk_size(items) } else { it }
    }};
}

#[test]
fn on_full_runs_all_run_once() {
    const ALL: usize = Tally::LENGTH;

    every_setting(|tally, workers, chunk| {
        let kept: Vec<_> = call!(tally.source(), workers, chunk, run).collect();
        assert!(kept.iter().map(|kept| kept.1).eq(0..ALL));
        kept.len()
    });
    every_setting(|tally, workers, chunk| call!(tally.source(), workers, chunk, run).count());
    every_setting(|tally, workers, chunk| {
        let last = call!(tally.source(), workers, chunk, run).last();
        last.map_or(0, |last| last.1 + 1)
    });
    every_setting(|tally, workers, chunk| {
        let mut looped = 0;
        for outcome in call!(tally.source(), workers, chunk, run) {
            looped = outcome.1 + 1;
        }
        assert_eq!(looped, ALL);
        looped
    });
    every_setting(|tally, workers, chunk| {
        let mut it = call!(tally.source(), workers, chunk, run);
        let some: Vec<_> = it.by_ref().take(7).collect();
        let tenth = it.nth(10);
        some.len() + usize::from(tenth.is_some()) + 10 + it.count()
    });
    every_setting(|tally, workers, chunk| {
        let it = call!(tally.source(), workers, chunk, run).catch_panics();
        it.flatten().count()
    });
}

#[test]
fn what_is_left_when_the_consumer_stops_is_dropped_once() {
    every_setting(|tally, workers, chunk| {
        drop(call!(tally.source(), workers, chunk, run));
        0
    });
    for stop in [0, 1, 4, 5, 30, 59] {
        every_setting(|tally, workers, chunk| {
            for outcome in call!(tally.source(), workers, chunk, run) {
                if outcome.1 == stop {
                    break;
                }
            }
            stop + 1
        });
        every_setting(|tally, workers, chunk| call!(tally.source(), workers, chunk, run).take(stop).count());
        every_setting(|tally, workers, chunk| {
            let found = call!(tally.source(), workers, chunk, run).find(|outcome| outcome.1 == stop);
            assert_eq!(found.map(|outcome| outcome.1), Some(stop));
            stop + 1
        });
        every_setting(|tally, workers, chunk| {
            let until_stop = |item| {
                let outcome = run(item);
                if outcome.1 == stop { Err(outcome) } else { Ok(outcome) }
            };
            let outcome = call!(tally.source(), workers, chunk, until_stop).collect::<Result<Vec<_>, _>>();
            assert_eq!(outcome.err().map(|outcome| outcome.1), Some(stop));
            stop + 1
        });
        every_setting(|tally, workers, chunk| {
            let mut it = call!(tally.source(), workers, chunk, run).peekable();
            assert!((0..stop).all(|_| it.next().is_some()));
            it.peek().map_or(0, |peeked| peeked.1 + 1)
        });
    }
}

#[test]
fn after_a_panic_of_f_all_is_dropped_once() {
    for bad in [0, 1, 4, 5, 30, 59] {
        let f = |item: Item<'_>| -> usize {
            assert!(item.1 != bad, "item {bad} is bad");
            run(item).1
        };
        every_setting(|tally, workers, chunk| {
            assert!(caught(|| call!(tally.source(), workers, chunk, f).collect::<Vec<_>>()).is_err());
            bad
        });
        every_setting(|tally, workers, chunk| {
            let keep = |item| {
                let outcome = run(item);
                assert!(outcome.1 != bad, "item {bad} is bad");
                outcome
            };
            let mut kept = Vec::new();
            let result = caught(|| {
                for outcome in call!(tally.source(), workers, chunk, keep) {
                    kept.push(outcome);
                }
            });
            assert!(result.is_err());
            assert!(kept.iter().map(|kept| kept.1).eq(0..bad));
            bad
        });
        every_setting(|tally, workers, chunk| {
            let results: Vec<_> = call!(tally.source(), workers, chunk, f).catch_panics().collect();
            assert_eq!(results.len(), Tally::LENGTH);
            assert!(results.iter().enumerate().all(|(index, result)| result.is_err() == (index == bad)));
            bad
        });
    }
}

#[test]
fn after_a_panic_of_the_source_or_the_consumer_all_is_dropped_once() {
    for bad in [0, 1, 4, 5, 30, 59] {
        every_setting(|tally, workers, chunk| {
            let source = tally.source().inspect(|item| assert!(item.1 != bad, "the source is bad at {bad}"));
            assert!(caught(|| call!(source, workers, chunk, run).collect::<Vec<_>>()).is_err());
            bad
        });
        every_setting(|tally, workers, chunk| {
            let source = tally.source().inspect(|item| assert!(item.1 != bad, "the source is bad at {bad}"));
            let mut it = call!(source, workers, chunk, run);
            assert!((0..bad).all(|_| it.next().is_some()));
            assert!(caught(|| it.next()).is_err());
            bad
        });
        every_setting(|tally, workers, chunk| {
            let it = call!(tally.source(), workers, chunk, run);
            assert!(caught(|| it.for_each(|outcome| assert!(outcome.1 != bad, "the consumer is bad"))).is_err());
            bad
        });
        every_setting(|tally, workers, chunk| {
            let mut kept = Vec::new();
            let result = caught(|| {
                for outcome in call!(tally.source(), workers, chunk, run) {
                    assert!(outcome.1 != bad, "the body is bad at {bad}");
                    kept.push(outcome);
                }
            });
            assert!(result.is_err());
            bad
        });
    }
}

#[test]
fn items_and_results_without_size_are_dropped_once() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Nothing;
    impl Nothing {
        fn new() -> Nothing {
            MADE.fetch_add(1, Ordering::SeqCst);
            Nothing
        }
    }
    impl Drop for Nothing {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::SeqCst);
        }
    }
    fn check() {
        assert_eq!(MADE.load(Ordering::SeqCst), DROPPED.load(Ordering::SeqCst));
    }

    let source = |length| std::iter::repeat_with(Nothing::new).take(length);
    for workers in [1, 3] {
        for chunk in CHUNKS {
            assert_eq!(call!(source(5000), workers, chunk, |_: Nothing| Nothing::new()).count(), 5000);
            check();
            assert_eq!(call!(source(500), workers, chunk, |nothing| nothing).collect::<Vec<Nothing>>().len(), 500);
            check();
            assert_eq!(call!(source(500), workers, chunk, |nothing| nothing).take(100).count(), 100);
            check();
            let calls = AtomicUsize::new(0);
            let f = |nothing: Nothing| {
                assert!(calls.fetch_add(1, Ordering::SeqCst) != 200, "one of them is bad");
                nothing
            };
            assert!(caught(|| call!(source(500), workers, chunk, f).collect::<Vec<_>>()).is_err());
            check();
        }
    }
}

#[test]
fn left_over_items_and_results_whose_drop_panics_are_all_dropped() {
    struct Bomb<'a>(&'a AtomicUsize, usize);
    impl Drop for Bomb<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
            panic_any("a bomb");
        }
    }
    child::succeeds(|| {
        for workers in [1, 2, 4] {
            for chunk in CHUNKS {
                // Items: f defuses those it gets, so only what is left over goes off.
                let (made, dropped) = (AtomicUsize::new(0), AtomicUsize::new(0));
                let source = (0..60).map(|index| {
                    made.fetch_add(1, Ordering::SeqCst);
                    Bomb(&dropped, index)
                });
                let f = |bomb: Bomb<'_>| {
                    let index = bomb.1;
                    std::mem::forget(bomb);
                    dropped.fetch_add(1, Ordering::SeqCst);
                    if index == 5 {
                        panic_any("item 5");
                    }
                    index
                };
                let payload = caught(|| call!(source, workers, chunk, f).count()).expect_err("item 5 panics");
                assert_eq!(payload.downcast_ref(), Some(&"item 5"));
                assert_eq!(made.into_inner(), dropped.into_inner());

                // Results: the consumer defuses those it gets.
                let (made, dropped) = (AtomicUsize::new(0), AtomicUsize::new(0));
                let f = |index| {
                    made.fetch_add(1, Ordering::SeqCst);
                    Bomb(&dropped, index)
                };
                let defuse = |bomb: Bomb<'_>| {
                    let index = bomb.1;
                    std::mem::forget(bomb);
                    dropped.fetch_add(1, Ordering::SeqCst);
                    if index == 5 {
                        panic_any("result 5");
                    }
                };
                let payload = caught(|| call!(0..60, workers, chunk, f).for_each(defuse)).expect_err("result 5 panics");
                assert_eq!(payload.downcast_ref(), Some(&"result 5"));
                let payload = caught(|| {
                    for bomb in call!(0..60, workers, chunk, f) {
                        defuse(bomb);
                    }
                });
                assert_eq!(payload.expect_err("result 5 panics").downcast_ref(), Some(&"result 5"));
                // A break leaves some behind, too.
                call!(0..60, workers, chunk, f).take(4).for_each(defuse);
                assert_eq!(made.into_inner(), dropped.into_inner());
            }
        }
    });
}

/// One state for each worker, each of which panics when it is dropped: a second panic in one unwinding would abort.
#[test]
fn states_whose_drop_panics_do_not_meet() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic_any("state");
        }
    }

    let both = Barrier::new(2);
    let f = |_: &mut Bad, x: u32| {
        both.wait();
        x
    };
    let results: Vec<u32> = (0..2).pool_map_init(2, || Bad, f).trace(TraceLevel::Off).collect();
    assert_eq!(results, [0, 1]);
}

/// The worker that lets go last drops what the stream holds.
#[test]
fn what_a_stream_holds_may_panic_when_a_worker_drops_it() {
    struct Bad(mpsc::Sender<&'static str>);
    impl Drop for Bad {
        fn drop(&mut self) {
            self.0.send("dropped").expect("the test listens");
            panic_any("f");
        }
    }

    let pool = Pool::new(1).expect("a thread");
    let gate = Arc::new(Gate::default());
    let closed = Arc::clone(&gate);
    let (tell, told) = mpsc::channel();
    let bad = Bad(tell);
    let mut stream = (0..).pool_imap(&pool, move |x| {
        if x == 1 {
            bad.0.send("runs").expect("the test listens");
            closed.wait();
        }
        x
    });
    assert_eq!((stream.next(), told.recv()), (Some(0), Ok("runs")));
    drop(stream);
    gate.open();
    assert_eq!(told.recv(), Ok("dropped"));
    assert!((0..100).pool_map(&pool, |x| x).eq(0..100));
}
