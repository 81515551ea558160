//! Pools: their names, their threads, their errors.

use std::collections::BTreeSet;
use std::error::Error;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

use pool_map::{Pool, PoolError, PoolIterator, TraceLevel, Worker};

use crate::child;

fn named(name: &str, threads: usize) -> Pool {
    let pool = Pool::builder().name(name).threads(threads).build();
    pool.expect("a few threads start")
}

fn numbered(name: &str, numbers: std::ops::RangeInclusive<usize>) -> Vec<String> {
    numbers.map(|number| format!("{name}-{number}")).collect()
}

#[test]
fn a_handle_goes_anywhere() {
    fn check<T: Clone + Send + Sync + UnwindSafe + RefUnwindSafe + 'static>() {}
    fn check_error<E: Error + Send + Sync + 'static>() {}
    check::<Pool>();
    check_error::<PoolError>();
    let pool = named("Handle", 2);
    assert_eq!(format!("{:?}", pool.clone()), r#"Pool { name: "Handle", threads: 2 }"#);
}

#[test]
fn names_are_unique_among_the_living_and_the_lowest_free() {
    let first = named("Name", 4);
    assert_eq!(first.worker_names(), numbered("Name", 1..=4));
    let second = named("Name", 4);
    assert_eq!(second.worker_names(), numbered("Name", 5..=8));
    assert_eq!(named("Other", 1).worker_names(), ["Other-1"]);
    first.join();
    assert_eq!(named("Name", 5).worker_names(), numbered("Name", 9..=13));
    assert_eq!(named("Name", 4).worker_names(), numbered("Name", 1..=4));
    assert_eq!(named("Name", 4).worker_names(), numbered("Name", 1..=4));
}

#[test]
fn threads_wear_the_names() {
    let pool = named("Worn", 3);
    let all = Barrier::new(3);
    let (tell, told) = mpsc::channel();
    pool.install(|| {
        rayon::scope(|scope| {
            scope.spawn_broadcast(|_, context| {
                all.wait();
                let worker = Worker::current().expect("a broadcast runs on workers");
                let name = thread::current().name().map(str::to_owned);
                assert_eq!(name.as_deref(), Some(worker.name()));
                assert_eq!(worker.index(), context.index());
                assert_eq!(worker.pool(), "Worn");
                tell.send((worker.index(), worker.name().to_owned())).expect("the test listens");
            });
        });
    });
    drop(tell);
    let told: BTreeSet<_> = told.into_iter().collect();
    let expected = pool.worker_names().into_iter().enumerate().collect();
    assert_eq!(told, expected);
}

#[test]
fn the_global_pool_is_one() {
    assert_eq!(Pool::global().worker_names(), Pool::global().worker_names());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    assert_eq!(Pool::global().threads(), cores);
}

#[test]
fn hooks_run_once_a_worker() {
    let started = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(AtomicUsize::new(0));
    let pool = Pool::builder()
        .threads(3)
        .trace(TraceLevel::Off)
        .on_start({
            let started = Arc::clone(&started);
            move |worker| {
                assert_eq!(Worker::current().expect("a worker").name(), worker.name());
                started.fetch_add(1, Ordering::Relaxed);
            }
        })
        .on_exit({
            let ended = Arc::clone(&ended);
            move |worker| {
                assert_eq!(Worker::current().expect("a worker").name(), worker.name());
                ended.fetch_add(1, Ordering::Relaxed);
            }
        })
        .build()
        .expect("three threads start");
    assert_eq!(started.load(Ordering::Relaxed), 3, "build waits for the greetings");
    assert_eq!(ended.load(Ordering::Relaxed), 0);
    let other = pool.clone();
    pool.join();
    assert_eq!(ended.load(Ordering::Relaxed), 0, "another handle lives");
    other.join();
    assert_eq!(ended.load(Ordering::Relaxed), 3);
    assert_eq!(Arc::strong_count(&ended), 1, "the hooks are dropped with the threads");
}

#[test]
fn a_panic_of_on_start_is_an_error_of_build() {
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    let build = Pool::builder()
        .name("Starts")
        .threads(4)
        .on_start(|worker| assert!(worker.index() % 2 == 0, "odd one out"))
        .on_exit(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        })
        .build();
    let error = build.expect_err("two of four panic");
    assert_eq!(error.to_string(), "on_start panicked on Starts-2: odd one out");
    assert_eq!(ended.load(Ordering::Relaxed), 2, "those that had started have ended");
    assert_eq!(named("Starts", 1).worker_names(), ["Starts-1"]);
}

#[test]
fn a_panic_of_on_exit_is_one_line() {
    let child = child::succeeds(|| {
        let pool = Pool::builder().threads(2).on_exit(|_| panic!("goodbye")).build();
        pool.expect("two threads start").join();
    });
    let err = String::from_utf8_lossy(&child.stderr);
    // The standard hook writes in pieces, so its own report may stand around the line.
    for worker in ["PoolWorker-1", "PoolWorker-2"] {
        let line = format!("[TRACE:{worker}] on_exit panicked: goodbye\n");
        assert_eq!(err.matches(&line).count(), 1, "{err}");
    }
}

#[test]
fn errors_say_what_and_why() {
    let error = Pool::new(0).expect_err("no workers");
    assert_eq!(error.to_string(), "a pool needs at least one worker, got 0");
    assert!(error.source().is_none());

    let error = Pool::new(usize::MAX).expect_err("too many workers");
    let text = error.to_string();
    assert!(text.starts_with("a pool has at most "), "{text}");
    assert!(text.ends_with(&format!(" workers, got {}", usize::MAX)), "{text}");

    let error = Pool::builder().name("a\0b").threads(1).build();
    let error = error.expect_err("no thread can have that name");
    assert_eq!(error.to_string(), r#"the name of a pool cannot hold a NUL character, got "a\0b""#);
}

#[test]
fn a_thread_that_cannot_start_is_an_error() {
    for stack_size in [isize::MAX.unsigned_abs(), usize::MAX] {
        let build = Pool::builder().threads(3).name("Huge").stack_size(stack_size).build();
        let error = build.expect_err("no machine has a stack of that size");
        assert_eq!(error.to_string(), "thread 1 of 3 could not start");
        let source = error.source().expect("the system's reason");
        assert!(source.is::<std::io::Error>());
        assert!(!error.to_string().contains(&source.to_string()));
    }
    assert_eq!(named("Huge", 1).worker_names(), ["Huge-1"]);
}

/// Calls itself until the stack has grown by so many bytes, and says by how many it has.
#[cfg(target_pointer_width = "64")]
fn recurse(bytes: usize) -> usize {
    fn below(top: usize, bytes: usize) -> usize {
        let here = [0_u8; 64];
        let grown = top - std::hint::black_box(&here).as_ptr().addr();
        if grown < bytes { std::hint::black_box(below(top, bytes)) } else { grown }
    }
    let here = 0_u8;
    below((&raw const here).addr(), bytes)
}

#[cfg(target_pointer_width = "64")]
#[test]
fn a_recursion_that_the_main_thread_has_room_for_has_room_on_a_worker() {
    child::succeeds(|| {
        let pool = Pool::new(1).expect("a thread");
        assert!((0..2).pool_map(2, |_| recurse(6 << 20)).all(|grown| grown >= 6 << 20));
        assert!((0..2).pool_imap(&pool, |_| recurse(6 << 20)).all(|grown| grown >= 6 << 20));
    });
    child::with_env("RUST_MIN_STACK", "33554432").succeeds(|| {
        assert!((0..2).pool_map(2, |_| recurse(24 << 20)).all(|grown| grown >= 24 << 20));
    });
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
#[test]
fn threads_that_started_before_a_failure_have_ended() {
    child::succeeds(|| {
        let before = crate::threads();
        let ended = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&ended);
        // Room for a few stacks of 128 MiB, not for sixteen, and no more than a 32-bit process may have.
        let limit = libc::rlimit { rlim_cur: 1 << 30, rlim_max: 1 << 30 };
        // SAFETY: `limit` is valid for the time of the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
        let build = Pool::builder()
            .threads(16)
            .stack_size(1 << 27)
            .on_exit(move |_| {
                count.fetch_add(1, Ordering::Relaxed);
            })
            .build();
        let text = build.expect_err("there is no room").to_string();
        let number = text.strip_prefix("thread ").and_then(|text| text.split(' ').next());
        let number: usize = number.and_then(|text| text.parse().ok()).expect("it says which");
        assert!(number > 1, "some have started: {text}");
        assert_eq!(ended.load(Ordering::Relaxed), number - 1);
        crate::wait_for_threads(before);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn no_pool_leaves_a_thread() {
    child::succeeds(|| {
        let before = crate::threads();
        let ended = Arc::new(AtomicUsize::new(0));
        for round in 1..=2000 {
            let count = Arc::clone(&ended);
            let pool = Pool::builder().threads(4).on_exit(move |_| _ = count.fetch_add(1, Ordering::Relaxed));
            let pool = pool.build().expect("four threads start");
            assert_eq!(pool.worker_names(), numbered("PoolWorker", 1..=4));
            drop(pool);
            assert_eq!(ended.load(Ordering::Relaxed), 4 * round, "the drop waits for them");
        }
        // The kernel forgets a thread a little after it was joined.
        crate::wait_for_threads(before);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_worker_that_drops_the_last_handle_waits_for_nobody() {
    child::succeeds(|| {
        let before = crate::threads();
        let pool = Pool::new(2).expect("two threads start");
        let other = Pool::new(2).expect("two threads start");
        let (open, gate) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let (own, others) = (pool.clone(), other.clone());
        pool.install(move || {
            rayon::spawn(move || {
                gate.recv().expect("the test opens the gate");
                drop(own);
                drop(others);
                tell.send(thread::current().name().map(str::to_owned)).expect("the test listens");
            });
        });
        drop((pool, other));
        open.send(()).expect("the worker waits at the gate");
        let name = told.recv().expect("the drops return");
        assert!(name.is_some_and(|name| name.starts_with("PoolWorker-")));
        crate::wait_for_threads(before);
    });
}

#[test]
fn a_panic_leaves_the_workers_as_they_were() {
    let pool = named("Survives", 2);
    let ids = || pool.install(|| rayon::broadcast(|_| thread::current().id()));
    let before = ids();
    let panic = catch_unwind(|| pool.install(|| panic!("in a job"))).expect_err("it goes on here");
    assert_eq!(panic.downcast_ref(), Some(&"in a job"));
    assert_eq!(ids(), before);
}

#[test]
fn an_inline_pool_works_here() {
    let pool = Pool::inline();
    assert!(pool.is_inline());
    assert_eq!(pool.threads(), 1);
    assert!(pool.worker_names().is_empty());
    let here = thread::current().id();
    assert_eq!(pool.install(|| thread::current().id()), here);
    pool.join();
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
#[test]
fn after_a_fork_pools_work_inline() {
    child::succeeds(|| {
        let pool = Pool::new(2).expect("two threads start");
        let global = Pool::global();
        // SAFETY: what runs in the child below is what this test is about; allocation is safe there with glibc.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: alarm only sets a timer, which ends a child that hangs.
            unsafe { libc::alarm(20) };
            let here = thread::current().id();
            let works = pool.install(|| thread::current().id()) == here
                && global.install(|| thread::current().id()) == here
                && Pool::global().install(|| thread::current().id()) == here;
            let reason = Pool::new(1).map_err(|error| error.to_string());
            let says_why = reason.is_err_and(|text| text.contains("forked"));
            pool.join();
            // SAFETY: it ends this process, at once.
            unsafe { libc::_exit(if works && says_why { 7 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: `status` is valid for the time of the call.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert!(libc::WIFEXITED(status), "the child was killed: {status}");
        assert_eq!(libc::WEXITSTATUS(status), 7);
        pool.install(|| assert!(Worker::current().is_some(), "the parent is as before"));
    });
}

#[test]
#[cfg(unix)]
fn calls_on_a_pool_trace_as_it_says() {
    let seen = crate::seen::child(|| {
        let pool = Pool::builder().threads(2).trace(TraceLevel::Off).build().expect("two threads");
        let boom = |x: u32| assert_ne!(x, 1, "boom");
        assert!(catch_unwind(AssertUnwindSafe(|| (0..2).pool_map(&pool, boom).for_each(drop))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| (0..2).pool_imap(&pool, boom).for_each(drop))).is_err());
    });
    seen.succeeded();
    assert_eq!(seen.count("[TRACE"), 0, "{}", seen.stderr);
}

#[test]
fn starmap_spreads_tuples() {
    let pool = Pool::new(2).expect("two threads");
    assert_eq!(pool.starmap([(2, 3), (4, 5)], |a: u32, b: u32| a * b), [6, 20]);
}
