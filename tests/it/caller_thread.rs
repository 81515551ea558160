//! Promise 2: only `f` leaves your thread. Source and consumer stay on the caller's, and everything may borrow.

use crate::child;
use pool_map::{Pool, PoolIterator};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::{self, BufRead};
use std::rc::Rc;
use std::sync::{Barrier, Mutex};
use std::thread::{self, ThreadId};

/// The number in `PoolWorker-7`, if that is what this thread is called.
fn worker_number() -> Option<usize> {
    thread::current().name()?.strip_prefix("PoolWorker-")?.parse().ok()
}

#[test]
fn a_source_with_an_rc_is_as_good_as_any() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let source = || {
        let log = Rc::clone(&log);
        (0..100_u32).inspect(move |x| log.borrow_mut().push(*x))
    };
    assert_eq!(source().pool_map(3, |x| x * 2).sum::<u32>(), 9900);
    assert_eq!(log.take(), (0..100).collect::<Vec<_>>());
    let mut next = 0;
    for x in source().pool_map(3, |x| x * 2) {
        assert_eq!(x, next);
        next += 2;
    }
    assert_eq!(log.take(), (0..100).collect::<Vec<_>>());
    assert_eq!(Rc::strong_count(&log), 1, "the source is dropped with the iterator");
}

#[test]
fn closures_items_and_results_borrow_from_the_stack() {
    let words: Vec<String> = ["so", "much", "depends", "upon"].map(str::to_owned).into();
    let tails = vec![1, 2, 3, 2];
    let mut calls = Mutex::new(0);
    {
        let cut = |(word, tail): (&'_ String, &usize)| {
            *calls.lock().expect("not poisoned") += 1;
            (word.split_at(*tail).1.len(), tails.len())
        };
        assert!(words.iter().zip(&tails).pool_map(2, cut).eq([(1, 4), (2, 4), (4, 4), (2, 4)]));
    }
    assert_eq!(*calls.get_mut().expect("not poisoned"), 4);
    // Results that borrow from what the items borrow from, and outlive the iterator.
    let ends: Vec<&str> = words.iter().pool_map(2, |word| &word[1..]).collect();
    assert_eq!(ends, ["o", "uch", "epends", "pon"]);
    // Results that borrow from the closure's own borrow.
    let found: Vec<&usize> = (0..4).pool_map(2, |i: usize| &tails[i]).collect();
    assert!(found.iter().zip(&tails).all(|(a, b)| std::ptr::eq(*a, b)));
}

#[test]
fn items_may_be_exclusive_borrows() {
    let mut numbers: Vec<u64> = (0..1000).collect();
    numbers.iter_mut().pool_for_each(3, |x| *x *= 2);
    for x in numbers.iter_mut().pool_map(3, |x| {
        *x += 1;
        x
    }) {
        *x += 1;
    }
    numbers.chunks_mut(7).pool_for_each(2, <[u64]>::reverse);
    numbers.chunks_mut(7).for_each(<[u64]>::reverse);
    assert!(numbers.iter().zip(0..).all(|(x, i)| *x == 2 * i + 2));
}

#[test]
fn the_borrow_ends_with_the_iterator() {
    let mut data = vec![1, 2, 3];
    let mut it = data.iter().pool_map(2, |x| x * 2);
    assert_eq!(it.next(), Some(2));
    drop(it);
    data.push(4);
    assert_eq!(data.iter().pool_map(2, |x| x * 2).sum::<i32>(), 20);
    data.clear();
    assert!(data.is_empty());
}

#[test]
fn source_and_consumer_run_on_the_callers_thread_and_in_sequence() {
    #[derive(Debug, PartialEq)]
    enum Event {
        Pulled(u32),
        Delivered(u32),
    }

    let here = thread::current().id();
    let events = RefCell::new(Vec::new());
    let source = || {
        (0..200).inspect(|x| {
            assert_eq!(thread::current().id(), here);
            events.borrow_mut().push(Event::Pulled(*x));
        })
    };
    let deliver = |x: u32| {
        assert_eq!(thread::current().id(), here);
        events.borrow_mut().push(Event::Delivered(x));
    };
    let check = || {
        let events = events.take();
        let pulled = events.iter().filter_map(|event| if let Event::Pulled(x) = event { Some(*x) } else { None });
        let delivered = events.iter().filter_map(|event| if let Event::Delivered(x) = event { Some(*x) } else { None });
        assert!(pulled.eq(0..200));
        assert!(delivered.eq(0..200));
    };
    for workers in [1, 2, 4] {
        source().pool_map(workers, |x| x).for_each(deliver);
        check();
        for x in source().pool_map(workers, |x| x) {
            deliver(x);
        }
        check();
        source().pool_map(workers, |x| x).map(deliver).for_each(drop);
        check();
        source().pool_map(workers, |x| x).filter(|x| *x < 1000).fold((), |(), x| deliver(x));
        check();
        source().pool_map(workers, |x| x).inspect(|x| deliver(*x)).max();
        check();
    }
}

#[test]
fn consumers_may_hold_what_cannot_be_sent() {
    let total = Rc::new(Cell::new(0));
    (0..100).pool_map(2, |x| x).for_each(|x| total.set(total.get() + x));
    for x in (0..100).pool_map(2, |x| x) {
        total.set(total.get() + x);
    }
    assert_eq!(total.get(), 9900);
    let rcs: Vec<Rc<i32>> = (0..10).pool_map(2, |x| x).map(Rc::new).collect();
    assert_eq!(rcs.len(), 10);
}

#[test]
fn f_runs_on_all_the_workers_and_nowhere_else() {
    let here = thread::current().id();
    for workers in 1..=6 {
        // All the first items are run at once, or the barrier keeps them for ever.
        let barrier = Barrier::new(workers);
        let f = |x: usize| {
            if x < workers {
                barrier.wait();
            }
            (thread::current().id(), worker_number())
        };
        let check = |seen: Vec<(ThreadId, Option<usize>)>| {
            assert_eq!(seen.len(), 20);
            let threads: HashSet<_> = seen.iter().collect();
            assert_eq!(threads.len(), workers, "one thread for each worker: {threads:?}");
            assert!(seen.iter().all(|(id, name)| *id != here && name.is_some()), "{threads:?}");
        };
        check((0..20).pool_map(workers, f).collect());
        check((0..20).pool_map(workers, f).chunk_size(1).collect());
        check((0..20).pool_map(workers, f).max_in_flight(workers).collect());
        let pool = Pool::new(workers).expect("a few threads");
        let names = pool.worker_names();
        let name_of = |_| thread::current().name().map(str::to_owned);
        assert!((0..100).pool_map(&pool, name_of).all(|name| name.is_some_and(|name| names.contains(&name))));
        check((0..20).pool_map(&pool, f).collect());
        let mut looped = Vec::new();
        for id in (0..20).pool_map(&pool, f).chunk_size(1) {
            looped.push(id);
        }
        check(looped);
    }
}

#[test]
fn init_runs_on_the_workers_too() {
    let here = thread::current().id();
    let init = || {
        assert!(worker_number().is_some());
        thread::current().id()
    };
    let f = |made_on: &mut ThreadId, _| (*made_on, thread::current().id());
    let pool = Pool::new(3).expect("three threads");
    for (made_on, used_on) in (0..100).pool_map_init(&pool, init, f) {
        assert_eq!(made_on, used_on);
        assert_ne!(made_on, here);
    }
}

#[test]
fn the_closure_and_the_source_are_dropped_on_the_callers_thread() {
    struct DroppedHere(ThreadId, Rc<Cell<u32>>);
    impl Drop for DroppedHere {
        fn drop(&mut self) {
            assert_eq!(thread::current().id(), self.0);
            self.1.set(self.1.get() + 1);
        }
    }
    struct Sharable(ThreadId);
    impl Drop for Sharable {
        fn drop(&mut self) {
            assert_eq!(thread::current().id(), self.0);
        }
    }

    let here = thread::current().id();
    let drops = Rc::new(Cell::new(0));
    let make = || {
        let source = DroppedHere(here, Rc::clone(&drops));
        let captured = Sharable(here);
        let f = move |x: i32| {
            let _used = &captured;
            x
        };
        (0..50).inspect(move |_| drop(Rc::clone(&source.1))).pool_map(2, f)
    };
    drop(make());
    assert_eq!(make().count(), 50);
    assert_eq!(make().collect::<Vec<_>>().len(), 50);
    assert!(make().any(|x| x == 20));
    assert_eq!(drops.get(), 4);
}

#[test]
fn locked_lines_of_standard_input_are_a_source() {
    child::succeeds(|| {
        // Standard input is empty in the child; what counts is that this compiles: the lock cannot be sent.
        assert_eq!(io::stdin().lock().lines().pool_map(2, |line| line.map(|line| line.len())).count(), 0);
        assert!(io::stdin().lock().lines().pool_map(2, |line| line).next().is_none());
    });
}
