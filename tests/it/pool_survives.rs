//! 10. The pool survives any panic, with the same threads and names; the last handle joins them.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ThreadId};
use std::{iter, mem};

use pool_map::{Pool, PoolIterator};

use crate::child;

/// The threads and names of the workers, in their order.
fn crew(pool: &Pool) -> Vec<(ThreadId, Option<String>)> {
    let me = || (thread::current().id(), thread::current().name().map(str::to_owned));
    pool.install(|| rayon::broadcast(|_| me()))
}

/// Runs `fails`, which panics, and checks that the pool is as before.
fn survives(pool: &Pool, fails: impl FnOnce()) {
    let before = crew(pool);
    let end = catch_unwind(AssertUnwindSafe(fails));
    // A payload may panic when dropped.
    mem::forget(end.expect_err("it panics"));
    assert_eq!(crew(pool), before);
    let names: Vec<_> = before.into_iter().filter_map(|(_, name)| name).collect();
    assert_eq!(names, pool.worker_names());
    let mapped: Vec<i32> = (0..100).pool_map(pool, |x| x * x).collect();
    assert!(mapped.into_iter().eq((0..100).map(|x| x * x)));
}

/// Panics when dropped, except by a panic.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(thread::panicking(), "a drop");
    }
}

#[test]
fn panics_of_all_sorts() {
    for workers in [1, 2, 4] {
        let pool = &Pool::builder().name("Sorts").threads(workers).build().expect("a few threads start");
        survives(pool, || (0..100).pool_for_each(pool, |x| assert!(x < 50, "text")));
        survives(pool, || (0..100).pool_for_each(pool, |x| assert!(x < 50, "text with a number {x}")));
        survives(pool, || (0..100).pool_for_each(pool, |_| panic_any(7_u8)));
        survives(pool, || (0..100).pool_for_each(pool, |_| panic_any(Bomb)));
        survives(pool, || (0..100).pool_for_each(pool, |_| resume_unwind(Box::new("no hook"))));
        survives(pool, || (0..100).pool_for_each(pool, |x: usize| drop(vec![String::new(); 50][x].clone())));
        // In the source, in the consumer, and in the state of a worker.
        survives(pool, || iter::from_fn(|| -> Option<u8> { panic!("source") }).pool_for_each(pool, drop));
        survives(pool, || (0..100).pool_map(pool, |x| x).for_each(|x| assert!(x < 50, "consumer")));
        survives(pool, || (0..100).pool_map_init(pool, || -> u8 { panic!("init") }, |_, x| x).for_each(drop));
        survives(pool, || (0..100).pool_map_init(pool, || (), |(), x| assert!(x < 50, "f")).for_each(drop));
        // In loops, by batches.
        survives(pool, || {
            for x in (0..100).pool_map(pool, |x| x) {
                assert!(x < 50, "body");
            }
        });
        survives(pool, || for () in (0..100).pool_map(pool, |x| assert!(x < 50, "f")) {});
    }
}

#[test]
fn panics_of_drops() {
    for workers in [1, 2, 4] {
        let pool = &Pool::builder().name("Drops").threads(workers).build().expect("a few threads start");
        // Of an item, inside `f`.
        survives(pool, || (0..100).map(|_| Bomb).pool_for_each(pool, drop));
        // Of results, in the consumer.
        survives(pool, || (0..100).pool_map(pool, |_| Bomb).for_each(drop));
        // Of items and results that are left over when something else has ended the call: told or not, they end nothing.
        survives(pool, || {
            let fails = |(x, bomb): (i32, Bomb)| {
                mem::forget(bomb);
                assert!(x < 20, "f");
            };
            (0..100).map(|x| (x, Bomb)).pool_for_each(pool, fails);
        });
        survives(pool, || {
            let results = (0..100).pool_map(pool, |x| (x, Bomb)).chunk_size(3);
            results.for_each(|(x, bomb)| {
                mem::forget(bomb);
                assert!(x < 20, "consumer");
            });
        });
        // Of the state of a worker, which is dropped here.
        survives(pool, || (0..100).pool_map_init(pool, || Bomb, |_, x| x).for_each(|x| assert!(x < 99, "consumer")));
        // Of what `f` has captured.
        let bomb = Bomb;
        survives(pool, || (0..100).pool_map(pool, move |_| mem::size_of_val(&bomb)).for_each(drop));
    }
}

#[test]
fn a_hundred_panics_in_a_row() {
    let pool = &Pool::builder().name("Hundred").threads(2).build().expect("two threads start");
    let before = crew(pool);
    for round in 0..100 {
        let call = || (0..10).pool_map(pool, |x| assert_ne!(x, round % 10, "now")).count();
        catch_unwind(AssertUnwindSafe(call)).expect_err("one of ten panics");
    }
    assert_eq!(crew(pool), before);
}

#[test]
fn items_run_under_the_names_of_the_workers() {
    let pool = Pool::builder().name("Named").threads(3).build().expect("three threads start");
    let names = Mutex::new(BTreeSet::new());
    // Each waits for the two others, so each of the three workers has one.
    let all = std::sync::Barrier::new(3);
    let note = |_| {
        all.wait();
        let name = thread::current().name().expect("workers have names").to_owned();
        names.lock().expect("nobody panics under it").insert(name);
    };
    (0..3).pool_map(&pool, note).chunk_size(1).for_each(drop);
    let names = names.into_inner().expect("nobody panics under it");
    assert!(names.into_iter().eq(["Named-1", "Named-2", "Named-3"].map(str::to_owned)));
}

#[test]
fn a_leased_pool_survives_too() {
    child::succeeds(|| {
        let names = || -> BTreeSet<_> {
            let name = |_| thread::current().name().map(str::to_owned);
            (0..100).pool_map(2, name).chunk_size(1).collect()
        };
        let before = names();
        let expected = ["PoolWorker-1", "PoolWorker-2"].map(|name| Some(name.to_owned()));
        assert!(before.is_subset(&BTreeSet::from(expected)), "{before:?}");
        for _ in 0..20 {
            let call = || (0..100).pool_for_each(2, |x| assert!(x < 50, "now"));
            catch_unwind(call).expect_err("item 50 panics");
            assert!(names().iter().flatten().all(|name| name == "PoolWorker-1" || name == "PoolWorker-2"));
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn the_last_handle_joins_the_threads() {
    fn threads() -> usize {
        std::fs::read_dir("/proc/self/task").expect("Linux lists the threads").count()
    }
    child::succeeds(|| {
        let before = threads();
        for _ in 0..100 {
            let ended = std::sync::Arc::new(AtomicUsize::new(0));
            let count = std::sync::Arc::clone(&ended);
            let pool = Pool::builder().threads(4).on_exit(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
            });
            let pool = pool.build().expect("four threads start");
            let mut half = (0..100).pool_map(pool.clone(), |x| x);
            assert_eq!(half.next(), Some(0));
            let call = || (0..100).pool_for_each(&pool, |x| assert!(x < 50, "now"));
            catch_unwind(call).expect_err("item 50 panics");
            drop(pool);
            assert_eq!(ended.load(Ordering::SeqCst), 0, "the iterator is a handle too");
            assert!(half.eq(1..100));
            assert_eq!(ended.load(Ordering::SeqCst), 4, "the last handle is gone, its threads are not");
        }
        // The kernel forgets a thread a little after it was joined.
        while threads() != before {
            thread::yield_now();
        }
    });
}
