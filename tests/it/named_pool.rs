//! 16. The pool that was named runs it, from wherever it is asked.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pool_map::{Pool, PoolIterator, PoolParallelIterator, Worker, scope};
use rayon::prelude::*;

use crate::task::block_on;

thread_local! {
    static ATTACHED: Cell<bool> = const { Cell::new(false) };
}

/// A pool whose workers are attached to something.
fn attached(name: &str, workers: usize) -> Pool {
    let builder = Pool::builder().name(name).threads(workers).on_start(|_| ATTACHED.set(true));
    builder.build().expect("a few threads start")
}

/// The name of the pool that this thread works for.
fn here() -> Option<String> {
    Worker::current().map(|worker| worker.pool().to_owned())
}

/// Makes sure that this is a worker of the pool of that name.
fn is_on(name: &str) {
    assert_eq!(here().as_deref(), Some(name));
    assert!(ATTACHED.get(), "on_start has not run here");
}

/// Uses the pool in every way, and makes sure that it works there.
fn all_ways(pool: &Pool) {
    let name = pool.name().to_owned();
    let check = || is_on(&name);
    (0..3).pool_for_each(pool, |_| check());
    assert_eq!((0..3).pool_map(pool, |_| check()).collect::<Vec<_>>().len(), 3);
    for () in (0..3).pool_map(pool, |_| check()) {}
    assert_eq!(pool.map(0..3, |_| check()).len(), 3);
    assert_eq!((0..3).map(|x| (x, x)).pool_starmap(pool, |_, _| check()).count(), 3);
    assert_eq!((0..3).pool_map_init(pool, check, |(), _| check()).count(), 3);
    assert_eq!((0..3).into_par_iter().pool_map(pool, |_| check()).collect::<Vec<_>>().len(), 3);
    assert_eq!((0..3).into_par_iter().pool_map(pool, |_| check()).collect_vec().len(), 3);
    assert_eq!(scope(pool, |s| s.imap(0..3, |_| check()).count()), 3);
    assert_eq!(scope(pool, |s| s.imap_unordered(0..3, |_| check()).count()), 3);
    pool.install(check);
    // Those that outlive this call.
    let owned = || {
        let name = name.clone();
        move || is_on(&name)
    };
    let ordered = owned();
    assert_eq!((0..3).pool_imap(pool, move |_| ordered()).count(), 3);
    let unordered = owned();
    assert_eq!((0..3).pool_imap_unordered(pool, move |_| unordered()).count(), 3);
    pool.spawn(owned()).join();
    block_on(pool.spawn(owned()));
}

#[test]
fn from_a_worker_of_another_pool() {
    for workers in [1, 2] {
        let (named, other) = (attached("Named", workers), Pool::new(2).expect("two threads start"));
        all_ways(&named);
        (0..4).pool_for_each(2, |_| all_ways(&named));
        (0..4).pool_for_each(&other, |_| all_ways(&named));
        (0..4).into_par_iter().pool_map(&other, |_| all_ways(&named)).for_each(drop);
        other.install(|| all_ways(&named));
        other.install(|| rayon::join(|| all_ways(&named), || all_ways(&named)));
        scope(&other, |s| s.imap(0..4, |_| all_ways(&named)).for_each(drop));
        let inside = named.clone();
        other.spawn(move || all_ways(&inside)).join();
    }
}

#[test]
fn from_a_worker_of_plain_rayon() {
    let named = attached("Named", 2);
    for threads in [1, 2] {
        let theirs = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a few threads start");
        theirs.install(|| all_ways(&named));
        theirs.install(|| (0..4).into_par_iter().for_each(|_| all_ways(&named)));
        // By a number, workers are leased as anywhere.
        let leased = |_| assert!(thread::current().name().is_some_and(|name| name.starts_with("PoolWorker-")));
        theirs.install(|| {
            (0..10).pool_for_each(2, leased);
            assert_eq!((0..10).pool_map(2, leased).collect::<Vec<_>>().len(), 10);
            assert_eq!((0..10).into_par_iter().pool_map(2, leased).collect_vec().len(), 10);
            assert_eq!((0..10).pool_imap(2, leased).count(), 10);
            assert_eq!(scope(2, |s| s.imap(0..10, leased).count()), 10);
        });
    }
}

#[test]
fn its_width_is_a_limit() {
    let limited = attached("Limited", 2);
    let now = AtomicUsize::new(0);
    let item = |_| {
        assert!(now.fetch_add(1, Ordering::SeqCst) < 2, "three at once on a pool of two");
        for _ in 0..20 {
            thread::yield_now();
        }
        now.fetch_sub(1, Ordering::SeqCst);
    };
    (0..24).pool_for_each(6, |_| {
        limited.map(0..5, item);
        limited.install(|| item(0));
    });
}

/// Without an exception each of these would wait for a worker that waits for it.
#[test]
fn in_place_where_pools_would_wait_in_a_circle() {
    let [a, b, c] = ["A", "B", "C"].map(|name| attached(name, 1));
    let own = (0..1).pool_map(&a, |_| a.map(0..1, |_| here())).next().expect("one item");
    assert_eq!(own, [Some("A".to_owned())]);
    let two = |_| (0..1).pool_map(&b, |_| (a.map(0..1, |_| here()), a.install(here))).next();
    let (mapped, installed) = (0..1).pool_map(&a, two).next().flatten().expect("one item");
    assert_eq!((&*mapped, &installed), (&[installed.clone()][..], &Some("B".to_owned())));
    let three = |_| b.map(0..1, |_| c.map(0..1, |_| (a.map(0..1, |_| here()).remove(0), b.install(here))).remove(0));
    let in_place = (0..1).pool_map(&a, three).next().expect("one item");
    assert_eq!(in_place, [(Some("C".to_owned()), Some("C".to_owned()))]);
    // Tasks as well.
    let (a2, b2) = (a.clone(), b.clone());
    let at_the_end = a.spawn(move || b2.spawn(move || a2.spawn(here).join()).join()).join();
    assert_eq!(at_the_end.as_deref(), Some("B"));
}

#[test]
fn by_a_number_in_place_on_our_workers() {
    let pool = Pool::new(2).expect("two threads start");
    let in_place = || {
        let thread = thread::current().id();
        let check = move |_| assert_eq!(thread::current().id(), thread);
        (0..10).pool_for_each(4, check);
        assert_eq!(scope(4, |s| s.imap(0..10, check).count()), 10);
        assert_eq!((0..10).into_par_iter().pool_map(4, check).collect_vec().len(), 10);
    };
    (0..4).pool_for_each(&pool, |_| in_place());
    pool.install(in_place);
    pool.spawn(in_place).join();
}
