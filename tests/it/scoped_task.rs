//! `Scope::spawn`: closures that borrow, in the background, until the end of the scope.

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pool_map::{PanicKind, Pool, ScopedTask, TraceLevel, Worker, as_completed, scope};

use crate::gate::{Gate, text};
use crate::seen;

fn pool(workers: usize) -> Pool {
    Pool::new(workers).expect("a few threads start")
}

#[test]
fn closures_and_results_may_borrow() {
    let words: Vec<String> = (0..100).map(|x| format!("{x}")).collect();
    for pool in [pool(1), pool(2), pool(4), Pool::inline()] {
        let firsts: Vec<&str> = scope(&pool, |s| {
            let tasks: Vec<_> = words.iter().map(|word| s.spawn(move || &word[..1])).collect();
            tasks.into_iter().map(ScopedTask::join).collect()
        });
        assert!(firsts.into_iter().eq(words.iter().map(|word| &word[..1])));
    }
}

#[test]
fn they_run_on_the_workers_in_the_order_in_which_they_were_spawned() {
    let pool = pool(1);
    let order = Mutex::new(Vec::new());
    scope(&pool, |s| {
        for x in 0..50 {
            let order = &order;
            s.spawn(move || {
                assert_eq!(Worker::current().expect("a worker").index(), 0);
                order.lock().expect("no panic").push(x);
            });
        }
    });
    assert!(order.into_inner().expect("no panic").into_iter().eq(0..50));
}

#[test]
fn the_scope_waits_for_those_that_nobody_has() {
    for panics in [true, false] {
        let [started, gate] = [Gate::default(), Gate::default()];
        let done = AtomicUsize::new(0);
        let end = thread::scope(|threads| {
            threads.spawn(|| {
                started.wait();
                gate.open();
            });
            catch_unwind(AssertUnwindSafe(|| {
                scope(2, |s| {
                    for _ in 0..20 {
                        s.spawn(|| {
                            gate.wait();
                            done.fetch_add(1, Ordering::SeqCst);
                        });
                    }
                    started.open();
                    assert!(!panics, "the body");
                });
            }))
        });
        assert_eq!(done.into_inner(), 20);
        assert_eq!(end.err().map(|payload| text(&*payload).to_owned()), panics.then(|| "the body".to_owned()));
    }
}

#[test]
fn a_panic_is_raised_by_join_and_a_value_of_try_join() {
    let pool = Pool::builder().threads(1).trace(TraceLevel::Off).build().expect("a thread");
    scope(&pool, |s| {
        let task = s.spawn(|| panic_any("raised"));
        let raised = catch_unwind(AssertUnwindSafe(|| task.join()));
        assert_eq!(raised.expect_err("it panics").downcast_ref(), Some(&"raised"));
        let caught = s.spawn(|| panic!("caught")).try_join().expect_err("it panics");
        assert_eq!(caught.message(), "caught");
        assert_eq!(s.spawn(|| 7).join(), 7, "the scope goes on");
    });
}

#[cfg(unix)] // It needs a shell.
#[test]
fn a_panic_that_nobody_asks_for_is_printed_and_the_scope_goes_on() {
    let seen = seen::child(|| {
        let pool = Pool::builder().threads(1).trace(TraceLevel::Header).build().expect("a thread");
        let result = scope(&pool, |s| {
            drop(s.spawn(|| panic!("unheard")));
            s.spawn(|| 7).join()
        });
        assert_eq!(result, 7);
    });
    seen.succeeded();
    assert_eq!(seen.count("unheard"), 1, "{}", seen.stderr);
    assert!(seen.stderr.contains("in Scope::spawn called at"), "{}", seen.stderr);
}

#[test]
fn one_that_has_not_started_can_be_cancelled() {
    let [started, gate] = [Gate::default(), Gate::default()];
    scope(1, |s| {
        let first = s.spawn(|| {
            started.open();
            gate.wait();
        });
        let second = s.spawn(|| unreachable!("it was cancelled"));
        started.wait();
        assert!(first.is_running() && !first.is_finished() && !second.is_running());
        assert!(second.cancel() && !first.cancel());
        assert!(second.is_finished());
        assert_eq!(second.try_join().map_err(|panic| panic.kind()), Err::<(), _>(PanicKind::Cancelled));
        gate.open();
        first.join();
    });
}

#[test]
fn a_task_may_spawn_and_join_others() {
    fn sum<'scope>(s: &pool_map::Scope<'scope, '_>, numbers: &'scope [u64]) -> u64 {
        if numbers.len() <= 4 {
            return numbers.iter().sum();
        }
        let (left, right) = numbers.split_at(numbers.len() / 2);
        let inside = s.clone();
        let left = s.spawn(move || sum(&inside, left));
        sum(s, right) + left.join()
    }

    let numbers: Vec<u64> = (0..1000).collect();
    for pool in [pool(1), pool(4), Pool::inline()] {
        assert_eq!(scope(&pool, |s| sum(s, &numbers)), 499_500);
    }
}

#[test]
fn as_completed_takes_them_too() {
    let gate = Gate::default();
    scope(2, |s| {
        let slow = s.spawn(|| {
            gate.wait();
            "slow"
        });
        let quick = s.spawn(|| "quick");
        let mut names = Vec::new();
        for task in as_completed([slow, quick]) {
            names.push(task.join());
            gate.open();
        }
        assert_eq!(names, ["quick", "slow"]);
    });
}

#[test]
fn on_a_worker_of_the_pool_a_task_runs_at_once() {
    let pool = pool(1);
    let here = pool.install(|| {
        let here = thread::current().id();
        scope(&pool, |s| {
            let task = s.spawn(move || thread::current().id() == here);
            assert!(task.is_finished());
            task.join()
        })
    });
    assert!(here);
}

#[test]
fn tasks_and_streams_take_turns() {
    let step = 1;
    scope(1, |s| {
        for (expected, x) in s.imap(0..200, |x| x + step).enumerate() {
            assert_eq!(s.spawn(move || x - step).join(), expected);
        }
    });
}

#[test]
fn an_item_that_still_runs_after_the_body_may_spawn() {
    let done = AtomicUsize::new(0);
    for _ in 0..20 {
        let [started, stopped] = [Gate::default(), Gate::default()];
        scope(2, |s| {
            assert_eq!(s.spawn(|| 7).join(), 7);
            let inside = s.clone();
            let (started, stopped, done) = (&started, &stopped, &done);
            let mut stream = s.imap(0..1, move |_| {
                started.open();
                stopped.wait();
                drop(inside.spawn(move || done.fetch_add(1, Ordering::SeqCst)));
            });
            assert!(stream.try_next().is_err());
            started.wait();
            stopped.open();
        });
    }
    assert_eq!(done.into_inner(), 20);
}
