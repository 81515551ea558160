//! The end of a pool: what is finished, what is dropped, and that nothing is left.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use pool_map::{PanicKind, Pool, PoolIterator, Task, TraceLevel};

use crate::child;
use crate::gate::{Gate, text};

/// A pool whose only worker is busy until the gate opens.
fn busy() -> (Pool, Arc<Gate>) {
    let pool = Pool::new(1).expect("a thread");
    let gate = Arc::new(Gate::default());
    let (closed, (started, starts)) = (Arc::clone(&gate), mpsc::channel());
    drop(pool.spawn(move || {
        started.send(()).expect("the test listens");
        closed.wait();
    }));
    starts.recv().expect("it starts");
    (pool, gate)
}

/// A pool, and how many of its workers have ended.
fn counted(threads: usize) -> (Pool, Arc<AtomicUsize>) {
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    let pool = Pool::builder().threads(threads).on_exit(move |_| _ = count.fetch_add(1, Ordering::Relaxed));
    (pool.build().expect("a few threads"), ended)
}

fn numbers(pool: &Pool) -> Vec<Task<usize>> {
    (0..100).map(|x| pool.spawn(move || x)).collect()
}

#[test]
fn join_finishes_what_was_submitted() {
    let (pool, gate) = busy();
    let tasks = numbers(&pool);
    gate.open();
    pool.join();
    assert!(tasks.iter().all(Task::is_finished));
    assert!(tasks.into_iter().map(Task::join).eq(0..100));
}

#[test]
fn a_drop_finishes_what_runs_and_drops_what_is_queued() {
    let (pool, gate) = busy();
    let tasks = numbers(&pool);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            // The queue is dropped at once, the worker waited for.
            while !tasks.iter().all(Task::is_finished) {
                std::thread::yield_now();
            }
            gate.open();
        });
        drop(pool);
    });
    for task in tasks {
        let panic = task.try_join().expect_err("it did not run");
        assert_eq!(panic.kind(), PanicKind::PoolDropped);
        assert_eq!(panic.message(), "the task's pool was dropped before it started");
    }
}

#[test]
fn once_a_handle_was_joined_the_last_one_finishes_the_queue() {
    let (pool, gate) = busy();
    let tasks = numbers(&pool);
    let joined = pool.clone();
    let joins = thread::spawn(move || joined.join());
    gate.open();
    joins.join().expect("it waits for the tasks, though another handle lives");
    assert!(tasks.iter().all(Task::is_finished));
    drop(pool);
    assert!(tasks.into_iter().map(Task::join).eq(0..100));
}

#[test]
fn a_pool_ended_by_one_of_its_own_tasks() {
    for joins in [true, false] {
        let (pool, gate) = busy();
        let (go, goes) = mpsc::channel::<()>();
        let last = pool.clone();
        let ends = pool.spawn(move || {
            goes.recv().expect_err("it is closed");
            if joins { last.join() } else { drop(last) }
        });
        let after = pool.spawn(|| 7);
        drop(pool);
        gate.open();
        drop(go);
        ends.join();
        let after = after.try_join();
        assert_eq!(after.ok(), joins.then_some(7));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn one_of_a_thousand_taken_then_all_dropped() {
    child::succeeds(|| {
        let before = crate::threads();
        let source = || {
            let (pulled, pulls) = mpsc::channel();
            ((0..1000).inspect(move |_| pulled.send(()).expect("the test listens")), pulls)
        };
        for _ in 0..20 {
            let (pool, ended) = counted(4);
            let (items, pulls) = source();
            let mut stream = pool.imap(items, |x| x).max_in_flight(8).chunk_size(1);
            assert_eq!(stream.next(), Some(0));
            // The feeder waits for room, and is not left to that.
            assert_eq!(pulls.iter().take(8).count(), 8);
            drop(stream);
            drop(pool);
            assert_eq!(ended.load(Ordering::Relaxed), 4, "the drop waits for them");
            assert!(pulls.recv().is_err(), "the source is gone");
            let (pool, ended) = counted(4);
            let (items, pulls) = source();
            let mut stream = pool.imap_unordered(items, |x| x).max_in_flight(8).chunk_size(1);
            assert!(stream.next().is_some());
            // The stream has the last handle.
            drop(pool);
            assert!(stream.next().is_some());
            assert_eq!(pulls.iter().take(9).count(), 9);
            drop(stream);
            assert_eq!(ended.load(Ordering::Relaxed), 4, "the drop waits for them");
            assert!(pulls.recv().is_err(), "the source is gone");
        }
        crate::wait_for_threads(before);
    });
}

/// The memory of this process, in KiB.
#[cfg(target_os = "linux")]
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[cfg(target_os = "linux")]
#[test]
fn ten_thousand_pools_leave_no_thread_and_no_memory() {
    child::succeeds(|| {
        let before = crate::threads();
        let round = |number: usize| {
            let (pool, ended) = counted(1);
            match number % 4 {
                0 => assert_eq!(pool.spawn(|| 1).join(), 1),
                1 => assert_eq!(pool.imap(0..3, |x| x).next(), Some(0)),
                2 => assert!((0..3).pool_map(&pool, |x| x).eq(0..3)),
                _ => drop(pool.spawn(|| 1)),
            }
            drop(pool);
            assert_eq!(ended.load(Ordering::Relaxed), 1, "the drop waits for it");
        };
        (0..1000).for_each(round);
        crate::wait_for_threads(before);
        let after_some = memory();
        (0..9000).for_each(round);
        crate::wait_for_threads(before);
        let after_all = memory();
        // A pool that stayed would hold its stack's first pages and more, 9000 times.
        assert!(after_all < after_some + 9000, "{after_some} KiB, then {after_all} KiB");
    });
}

#[test]
fn a_stream_outlives_the_other_handles() {
    let pool = Pool::new(2).expect("two threads");
    let mut stream = (0..1000).pool_imap(&pool, |x| x);
    assert_eq!(stream.next(), Some(0));
    pool.join();
    assert!(stream.eq(1..1000));
}

#[test]
fn a_thread_that_panics_ends_its_pool_as_well() {
    let (pool, ended) = counted(2);
    let end = catch_unwind(AssertUnwindSafe(move || {
        // The frame that unwinds has both, and every item that is left fails too.
        let mut stream = pool.imap(0..100, |x| assert!(x < 5, "item {x}")).trace(TraceLevel::Header);
        let _not_begun = pool.imap(0..100, |x| x);
        let _task = pool.spawn(|| 1);
        while stream.next().is_some() {}
    }));
    assert_eq!(text(&*end.expect_err("item 5 panics")), "item 5");
    assert_eq!(ended.load(Ordering::Relaxed), 2, "the pool has ended");
}

/// Spawns two tasks that do the same, `depth` times.
fn walk(pool: &Pool, depth: usize, done: &Arc<AtomicUsize>) {
    for _ in 0..if depth > 0 { 2 } else { 0 } {
        let (inside, count) = (pool.clone(), Arc::clone(done));
        drop(pool.spawn(move || walk(&inside, depth - 1, &count)));
    }
    done.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn join_waits_for_tasks_that_tasks_have_spawned() {
    for workers in [1, 2, 4] {
        let (pool, done) = (Pool::new(workers).expect("a few threads"), Arc::new(AtomicUsize::new(0)));
        let (inside, count) = (pool.clone(), Arc::clone(&done));
        drop(pool.spawn(move || walk(&inside, 6, &count)));
        pool.join();
        assert_eq!(done.load(Ordering::SeqCst), 127);
    }
}

#[test]
fn wait_idle_waits_for_all_that_runs_and_waits() {
    for workers in [1, 2, 4] {
        let (pool, done) = (Pool::new(workers).expect("a few threads"), Arc::new(AtomicUsize::new(0)));
        pool.wait_idle();
        for round in 1..4 {
            walk(&pool, 6, &done);
            pool.wait_idle();
            assert_eq!(done.load(Ordering::SeqCst), 127 * round);
        }
        let (inside, _held) = (pool.clone(), done);
        let panic = pool.spawn(move || inside.wait_idle()).try_join().expect_err("it would wait for itself");
        assert_eq!(panic.message(), "a worker cannot wait for its own pool to be idle");
        pool.wait_idle();
    }
    Pool::inline().wait_idle();
}

#[test]
fn what_its_jobs_have_captured_is_dropped_before_a_pool_has_ended() {
    for round in 0..200 {
        let (pool, data) = (Pool::new(2).expect("two threads"), Arc::new(()));
        let [a, b, c] = [(); 3].map(|()| Arc::clone(&data));
        drop(pool.spawn(move || drop(a)));
        let task = pool.spawn(move || Arc::strong_count(&b));
        drop(pool.spawn(move || Arc::strong_count(&c)));
        if round % 2 == 0 {
            pool.join();
        } else {
            drop(pool);
        }
        drop(task);
        assert_eq!(Arc::strong_count(&data), 1);
    }
}
