//! The end of a pool: what is finished, what is dropped, and that nothing is left.

use std::sync::{Arc, mpsc};

use pool_map::{Pool, PoolIterator, Task};

use crate::child;
use crate::gate::{Gate, watch};

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

fn numbers(pool: &Pool) -> Vec<Task<usize>> {
    (0..100).map(|x| pool.spawn(move || x)).collect()
}

#[test]
fn join_finishes_what_was_submitted() {
    let _watch = watch();
    let (pool, gate) = busy();
    let tasks = numbers(&pool);
    gate.open();
    pool.join();
    assert!(tasks.iter().all(Task::is_finished));
    assert!(tasks.into_iter().map(Task::join).eq(0..100));
}

#[test]
fn a_drop_finishes_what_runs_and_drops_what_is_queued() {
    let _watch = watch();
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
        assert_eq!(
            task.try_join().expect_err("it did not run").message(),
            "the task's pool was dropped before it started"
        );
    }
}

#[test]
fn once_a_handle_was_joined_the_last_one_finishes_the_queue() {
    let _watch = watch();
    let (pool, gate) = busy();
    let tasks = numbers(&pool);
    pool.clone().join();
    gate.open();
    drop(pool);
    assert!(tasks.into_iter().map(Task::join).eq(0..100));
}

#[test]
fn a_pool_ended_by_one_of_its_own_tasks() {
    let _watch = watch();
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
    let Some(child) = child::of("shutdown::one_of_a_thousand_taken_then_all_dropped") else {
        let before = crate::threads();
        for _ in 0..20 {
            let pool = Pool::new(4).expect("four threads");
            let mut stream = pool.imap(0..1000, |x| x);
            assert_eq!(stream.next(), Some(0));
            drop(stream);
            drop(pool);
            let pool = Pool::new(4).expect("four threads");
            let mut stream = pool.imap_unordered(0..1000, |x| x);
            assert!(stream.next().is_some());
            // The stream has the last handle.
            drop(pool);
            assert!(stream.next().is_some());
            drop(stream);
        }
        crate::wait_for_threads(before);
        return;
    };
    assert!(child.status.success(), "{child:?}");
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
    let Some(child) = child::of("shutdown::ten_thousand_pools_leave_no_thread_and_no_memory") else {
        let before = crate::threads();
        let round = |number: usize| {
            let pool = Pool::new(1).expect("a thread");
            match number % 4 {
                0 => assert_eq!(pool.spawn(|| 1).join(), 1),
                1 => assert_eq!(pool.imap(0..3, |x| x).next(), Some(0)),
                2 => assert!((0..3).pool_map(&pool, |x| x).eq(0..3)),
                _ => drop(pool.spawn(|| 1)),
            }
        };
        (0..1000).for_each(round);
        crate::wait_for_threads(before);
        let after_some = memory();
        (0..9000).for_each(round);
        crate::wait_for_threads(before);
        let after_all = memory();
        // A pool that stayed would hold its stack's first pages and more, 9000 times.
        assert!(after_all < after_some + 9000, "{after_some} KiB, then {after_all} KiB");
        return;
    };
    assert!(child.status.success(), "{child:?}");
}

#[test]
fn a_stream_outlives_the_other_handles() {
    let _watch = watch();
    let pool = Pool::new(2).expect("two threads");
    let mut stream = (0..1000).pool_imap(&pool, |x| x);
    assert_eq!(stream.next(), Some(0));
    pool.join();
    assert!(stream.eq(1..1000));
}

#[test]
fn a_thread_that_panics_ends_its_pool_as_well() {
    let _watch = watch();
    let end = std::panic::catch_unwind(|| {
        let (pool, gate) = busy();
        let _stream = pool.imap(0..100, |x| x);
        let _task = pool.spawn(|| 1);
        gate.open();
        panic!("on purpose");
    });
    assert!(end.is_err());
}
