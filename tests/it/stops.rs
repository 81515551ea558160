//! 8. Stops: after a panic, an `Err` or a consumer that leaves, at most what each worker has already begun is run.
//!
//! How it is made certain: the failing item waits until many items after it were pulled, and these wait for a gate which
//! is opened by the first of their own that is dropped without having been run. Such a drop means that the
//! call has stopped; whoever was held at the gate by then had been past the check.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use pool_map::{Pool, PoolIterator};

use crate::gate::{Gate, text};

/// What the items of one call have in common.
struct Probe {
    /// The index of the item that ends the call.
    failing: usize,
    /// Items from this index on wait at the gate.
    held_from: usize,
    /// When the item of this index is pulled, the failing one may fail.
    far: usize,
    far_pulled: Gate,
    stopped: Gate,
    started: Mutex<Vec<usize>>,
}

struct Item<'a> {
    index: usize,
    started: bool,
    probe: &'a Probe,
}

impl Drop for Item<'_> {
    fn drop(&mut self) {
        if !self.started {
            self.probe.stopped.open();
        }
    }
}

impl Item<'_> {
    /// Gives the index back, true for the failing item once it may fail.
    fn run(mut self) -> (usize, bool) {
        self.started = true;
        let Probe { failing, held_from, far_pulled, stopped, started, .. } = self.probe;
        started.lock().expect("nobody panics under it").push(self.index);
        if self.index == *failing {
            far_pulled.wait();
        } else if self.index >= *held_from {
            stopped.wait();
        }
        (self.index, self.index == *failing)
    }
}

impl Probe {
    fn new(failing: usize, held_from: usize, workers: usize, chunk: usize) -> Probe {
        Probe {
            failing,
            held_from,
            // More than all workers can hold, so something is queued when the call ends.
            far: held_from + (workers + 3) * chunk,
            far_pulled: Gate::default(),
            stopped: Gate::default(),
            started: Mutex::default(),
        }
    }

    fn items(&self) -> impl Iterator<Item = Item<'_>> {
        (0..).map(|index| {
            if index == self.far {
                self.far_pulled.open();
            }
            Item { index, started: false, probe: self }
        })
    }

    fn limit(&self) -> usize {
        self.far + 100
    }

    /// Which items were run, in ascending order.
    fn started(&self) -> Vec<usize> {
        let mut started = self.started.lock().expect("nobody panics under it").clone();
        started.sort_unstable();
        started
    }

    /// Each item before the failing one was run once, and of those held no more than `most`.
    #[track_caller]
    fn check(&self, most: usize) {
        let started = self.started();
        assert_eq!(started[..=self.failing], (0..=self.failing).collect::<Vec<_>>());
        let after = started.iter().filter(|index| **index >= self.held_from).count();
        assert!(after <= most, "{after} were started after the end, at most {most} could have been: {started:?}");
    }
}

fn each_shape(test: impl Fn(&Pool, usize, usize)) {
    for workers in [1, 2, 4] {
        let pool = Pool::new(workers).expect("a few threads start");
        for chunk in [1, 3, 100] {
            for failing in [0, 7] {
                test(&pool, chunk, failing);
            }
        }
    }
}

#[test]
fn after_a_panic() {
    each_shape(|pool, chunk, failing| {
        let probe = Probe::new(failing, failing + 1, pool.threads(), chunk);
        let mapped = probe.items().pool_map(pool, |item| {
            let (index, fails) = item.run();
            assert!(!fails, "the end");
            index
        });
        let mapped = mapped.chunk_size(chunk).max_in_flight(probe.limit());
        let mut seen = Vec::new();
        let end = catch_unwind(AssertUnwindSafe(|| mapped.for_each(|index| seen.push(index))));
        assert_eq!(text(&*end.expect_err("it panics")), "the end");
        assert_eq!(seen, (0..failing).collect::<Vec<_>>());
        probe.check(pool.threads() - 1);
    });
}

#[test]
fn after_an_err() {
    each_shape(|pool, chunk, failing| {
        // A result leaves with its chunk, so the items of that chunk must not be held.
        let probe = Probe::new(failing, failing + chunk, pool.threads(), chunk);
        let mapped = probe.items().pool_map(pool, |item| match item.run() {
            (index, true) => Err(index),
            (index, false) => Ok(index),
        });
        let mapped = mapped.chunk_size(chunk).max_in_flight(probe.limit());
        assert_eq!(mapped.collect::<Result<Vec<_>, _>>(), Err(failing));
        probe.check(pool.threads());
    });
}

#[test]
fn after_a_panic_of_the_consumer() {
    each_shape(|pool, chunk, failing| {
        let probe = Probe::new(failing, failing + chunk, pool.threads(), chunk);
        let mapped = probe.items().pool_map(pool, Item::run).chunk_size(chunk).max_in_flight(probe.limit());
        let consume = || mapped.for_each(|(_, fails)| assert!(!fails, "enough"));
        let end = catch_unwind(AssertUnwindSafe(consume));
        assert_eq!(text(&*end.expect_err("it panics")), "enough");
        probe.check(pool.threads());
    });
}

#[test]
fn of_two_panics_the_later_item_stops_nothing_before_the_earlier_one() {
    for workers in [2, 4] {
        let probe = Probe::new(5, 6, workers, 1);
        let mapped = probe.items().pool_map(workers, |item| match item.index {
            2 => {
                item.run();
                // 5 was caught, and what comes after it is being dropped.
                probe.stopped.wait();
                panic!("the earlier one");
            }
            _ => assert!(!item.run().1, "the later one"),
        });
        let mapped = mapped.chunk_size(1).max_in_flight(probe.limit());
        let end = catch_unwind(AssertUnwindSafe(|| mapped.count()));
        assert_eq!(text(&*end.expect_err("it panics")), "the earlier one");
        let started = probe.started();
        assert_eq!(started[..3], [0, 1, 2]);
        assert!(started.iter().filter(|index| **index > 5).count() < workers, "{started:?}");
    }
}

#[test]
fn of_two_panics_the_later_item_lets_nothing_start_again_that_the_earlier_one_has_stopped() {
    /// Opens its gate when it is dropped.
    struct Item<'a>(usize, Option<&'a Gate>);
    impl Drop for Item<'_> {
        fn drop(&mut self) {
            if let Some(gate) = self.1 {
                gate.open();
            }
        }
    }
    let [begun_20, begun_35, caught_12, caught_35] = [(); 4].map(|()| Gate::default());
    let started = Mutex::new(Vec::new());
    // The items right behind those that panic: never run, they are dropped when that panic has been caught.
    let source = (0..1000)
        .map(|index| Item(index, [(13, &caught_12), (36, &caught_35)].iter().find(|x| x.0 == index).map(|x| x.1)));
    let mapped = source.pool_map(3, |item: Item<'_>| {
        started.lock().expect("nobody panics under it").push(item.0);
        match item.0 {
            12 => {
                begun_20.wait();
                begun_35.wait();
                panic!("the earlier one");
            }
            35 => {
                begun_35.open();
                caught_12.wait();
                panic!("the later one");
            }
            20 => {
                begun_20.open();
                caught_35.wait();
            }
            _ => {}
        }
    });
    // Three workers have the chunks from 10, 20 and 30 on; the one that waits in 20 looks when both panics were caught.
    let mapped = mapped.chunk_size(10).max_in_flight(1000);
    let end = catch_unwind(AssertUnwindSafe(|| mapped.count()));
    assert_eq!(text(&*end.expect_err("it panics")), "the earlier one");
    let mut started = started.into_inner().expect("nobody panics under it");
    started.sort_unstable();
    assert_eq!(started, (0..=12).chain([20]).chain(30..=35).collect::<Vec<_>>());
}

/// Runs `consume` over a call by batches, and checks that nothing is run from the moment it left.
#[track_caller]
fn by_batches(consume: impl Fn(&mut dyn Iterator<Item = usize>)) {
    for workers in [1, 2, 4] {
        for chunk in [1, 3, 100] {
            let pool = Pool::new(workers).expect("a few threads start");
            let (started, pulled) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let source = (0..).inspect(|_| {
                pulled.fetch_add(1, Ordering::Relaxed);
            });
            let mut mapped = source
                .pool_map(&pool, |index: usize| {
                    started.fetch_add(1, Ordering::Relaxed);
                    index
                })
                .chunk_size(chunk)
                .max_in_flight(50);
            consume(&mut mapped);
            let (then, read) = (started.load(Ordering::Relaxed), pulled.load(Ordering::Relaxed));
            assert!((10..=10 + 50).contains(&then), "{then} were started");
            drop(mapped);
            // Ends when all jobs have.
            pool.join();
            assert_eq!(started.into_inner(), then, "something was started after the consumer had left");
            assert_eq!(pulled.into_inner(), read);
        }
    }
}

#[test]
fn after_a_break() {
    by_batches(|mapped| {
        for index in mapped {
            if index == 9 {
                break;
            }
        }
    });
}

#[test]
fn after_take_and_find() {
    by_batches(|mapped| assert_eq!(mapped.take(10).last(), Some(9)));
    by_batches(|mut mapped| assert_eq!(Iterator::find(&mut mapped, |index| *index == 9), Some(9)));
    by_batches(|mapped| assert_eq!(mapped.nth(9), Some(9)));
}

#[test]
fn while_a_panic_waits_for_its_turn() {
    for workers in [1, 2, 4] {
        let started = AtomicUsize::new(0);
        let mut mapped = (0..1000).pool_map(workers, |index| {
            started.fetch_add(1, Ordering::Relaxed);
            assert!(index != 20, "the end");
            index
        });
        let mut then = None;
        let end = catch_unwind(AssertUnwindSafe(|| {
            for index in &mut mapped {
                // A batch with the panic in it has been run when its first result is here; without it, it goes on.
                if index == 19 {
                    then = Some(started.load(Ordering::Relaxed));
                }
            }
        }));
        assert_eq!(text(&*end.expect_err("it panics")), "the end");
        let after = started.load(Ordering::Relaxed);
        assert!(then.is_some_and(|then| then == after || then == 20), "{then:?}, then {after}");
        assert_eq!((mapped.next(), mapped.size_hint()), (None, (0, Some(0))));
        assert_eq!(started.load(Ordering::Relaxed), after);
    }
}

#[test]
fn in_place_nothing_starts_after_the_failing_item() {
    let pool = Pool::inline();
    let started = AtomicUsize::new(0);
    let run = |index| {
        started.fetch_add(1, Ordering::Relaxed);
        assert!(index != 5, "the end");
        index
    };
    let end = catch_unwind(AssertUnwindSafe(|| (0..100).pool_map(&pool, run).count()));
    assert_eq!(text(&*end.expect_err("it panics")), "the end");
    assert_eq!(started.into_inner(), 6);
}

#[test]
fn not_where_panics_are_caught_as_values() {
    for workers in [1, 2, 4] {
        for chunk in [1, 3, 100] {
            let fails = |index: usize| assert!(index % 7 != 3, "fails");
            let results: Vec<_> = (0..200).pool_map(workers, fails).catch_panics().chunk_size(chunk).collect();
            assert_eq!(results.len(), 200);
            assert!(results.iter().enumerate().all(|(index, result)| result.is_err() == (index % 7 == 3)));
        }
    }
}

#[test]
fn pool_try_for_each_gives_the_first_error_in_order_and_stops() {
    let pool = Pool::new(2).expect("two threads");
    let has_failed = Gate::default();
    // Endless, were it not stopped.
    let outcome = (0..usize::MAX).filter(|_| true).pool_try_for_each(&pool, |x| match x {
        0 => (has_failed.wait(), Err(x)).1,
        1 => (has_failed.open(), Err(x)).1,
        _ => Ok(()),
    });
    assert_eq!(outcome, Err(0));
    assert_eq!((0..100).pool_try_for_each(&pool, |_| Ok::<(), ()>(())), Ok(()));
    assert_eq!((0..100).pool_try_for_each(Pool::inline(), |x| if x < 7 { Ok(()) } else { Err(x) }), Err(7));
}
