//! 12. Works without threads: where none can start, a call runs on the caller's.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;

use pool_map::{IntoPool, PanicKind, Pool, PoolIterator};

use crate::child;
use crate::gate::text;

/// Every kind of call on `pool` runs here, in order, each item only when it is asked for.
fn runs_here<P: IntoPool>(pool: impl Fn() -> P) {
    let here = thread::current().id();
    let order = Mutex::new(Vec::new());
    let note = |x: u32| {
        assert_eq!(thread::current().id(), here);
        order.lock().expect("nobody panics under it").push(x);
        x * x
    };
    let take_order = || std::mem::take(&mut *order.lock().expect("nobody panics under it"));

    let squares: Vec<u32> = (0..20).pool_map(pool(), note).collect();
    assert!(squares.into_iter().eq((0..20).map(|x| x * x)));
    assert!(take_order().into_iter().eq(0..20));

    for (x, square) in (0..20).zip((0..).pool_map(pool(), note)) {
        assert_eq!(square, x * x);
    }
    assert!(take_order().into_iter().eq(0..20));

    (0..20).pool_for_each(pool(), |x| {
        note(x);
    });
    assert!(take_order().into_iter().eq(0..20));

    let mut mapped = (0..20).pool_map_init(
        pool(),
        || 0,
        |seen, x| {
            *seen += 1;
            (note(x), *seen)
        },
    );
    assert_eq!(mapped.nth(9), Some((81, 10)));
    assert_eq!((mapped.len(), take_order().len()), (10, 10));
    assert_eq!(mapped.last(), Some((361, 20)));
    assert!(take_order().into_iter().eq(10..20));

    let fails = |x| {
        assert!(x != 5, "the end");
        note(x)
    };
    let end = catch_unwind(AssertUnwindSafe(|| (0..20).pool_map(pool(), fails).count()));
    assert_eq!(text(&*end.expect_err("item 5 panics")), "the end");
    assert!(take_order().into_iter().eq(0..5));
    let caught: Vec<_> = (0..20).pool_map(pool(), fails).catch_panics().map(|result| result.is_ok()).collect();
    assert!(caught.into_iter().eq((0..20).map(|x| x != 5)));
}

#[test]
fn on_an_inline_pool() {
    let pool = Pool::inline();
    runs_here(|| &pool);
    assert!(pool.is_inline() && pool.worker_names().is_empty());
}

#[test]
fn where_the_environment_says_so() {
    let body = || {
        #[cfg(target_os = "linux")]
        let before = crate::threads();
        runs_here(|| 1);
        runs_here(|| 4);
        #[cfg(target_os = "linux")]
        assert_eq!(crate::threads(), before, "no thread started, not even one that looks after idle pools");
        let here = thread::current().id();
        assert!((0..20).pool_imap(4, |_| thread::current().id()).all(|thread| thread == here));
        assert!(pool_map::scope(4, |s| s.imap(0..20, |_| thread::current().id()).all(|thread| thread == here)));
        let panic = [0].into_iter().pool_map(4, |x| 1 / x).catch_panics().next().expect("one").expect_err("it panics");
        assert_eq!(Some(panic.worker()), thread::current().name());
        // A pool of one's own is what one made it.
        let pool = Pool::new(2).expect("two threads start");
        assert!((0..20).pool_map(&pool, |_| thread::current().id()).all(|thread| thread != here));
    };
    child::with_env("POOL_MAP_INLINE", "1").succeeds(body);
    let child = child::with_env("POOL_MAP_INLINE", "0").run(body);
    assert!(!child.status.success(), "any other value is none");
}

#[cfg(not(windows))] // The harness needs a thread there.
#[test]
fn where_threads_cannot_start() {
    // No system has room for such a stack.
    child::with_env("RUST_MIN_STACK", &(usize::MAX / 4 * 3).to_string()).succeeds(|| {
        Pool::new(1).expect_err("no thread can start");
        runs_here(|| 1);
        runs_here(|| 4);
        runs_here(Pool::global);
    });
}

/// What `body` gives in a child made by `fork`; no answer in time counts as false.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "fork is unsafe")]
pub(crate) fn forked(body: impl FnOnce() -> bool) -> bool {
    // SAFETY: what may be done in the child is what is tested here; glibc lets it allocate.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: it only sets a timer, which ends a child that hangs.
        unsafe { libc::alarm(30) };
        let right = catch_unwind(AssertUnwindSafe(body)).unwrap_or(false);
        // SAFETY: it ends this process at once.
        unsafe { libc::_exit(if right { 7 } else { 1 }) };
    }
    assert!(pid > 0, "fork failed");
    let mut status = 0;
    // SAFETY: `status` is valid while it runs.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7
}

#[cfg(target_os = "linux")]
#[test]
fn after_a_fork() {
    child::succeeds(|| {
        let pool = Pool::new(2).expect("two threads start");
        // Pools of these sizes lie in the stock when the process is forked.
        assert!((0..100).pool_map(&pool, |x| x).eq(0..100));
        assert!((0..100).pool_map(2, |x| x).eq(0..100));
        assert!((0..100).pool_map(Pool::global(), |x| x).eq(0..100));
        let mut half = (0..100).pool_map(&pool, |x| x);
        assert_eq!(half.next(), Some(0));
        assert!(forked(|| {
            runs_here(|| &pool);
            runs_here(|| 2);
            runs_here(|| 3);
            runs_here(Pool::global);
            // One that was begun before the fork goes on after it.
            half.by_ref().eq(1..100)
        }));
        // Here all is as before.
        assert!(half.eq(1..100));
        let on_a_worker = |_| thread::current().name().is_some_and(|name| name.starts_with("PoolWorker-"));
        assert!((0..100).pool_map(&pool, on_a_worker).all(|is| is));
        assert!((0..100).pool_map(2, on_a_worker).all(|is| is));
    });
}

#[cfg(target_os = "linux")]
#[test]
fn tasks_after_a_fork() {
    child::succeeds(|| {
        let pool = Pool::new(2).expect("two threads start");
        let [started, gate] = [3, 3].map(|count| Arc::new(Barrier::new(count)));
        let done = pool.spawn(|| 0);
        while !done.is_finished() {
            thread::yield_now();
        }
        let running = [1, 2].map(|x| {
            let [started, gate] = [&started, &gate].map(Arc::clone);
            pool.spawn(move || {
                started.wait();
                gate.wait();
                x
            })
        });
        started.wait();
        let waiting = [3, 4].map(|x| pool.spawn(move || x));
        assert!(forked(move || {
            let mut context = Context::from_waker(Waker::noop());
            let [joined, mut polled] = waiting;
            let run_here = joined.join() == 3 && Pin::new(&mut polled).poll(&mut context) == Poll::Ready(4);
            let [joined, mut polled] = running;
            let panic = joined.try_join().expect_err("it runs elsewhere");
            let is_told = panic.kind() == PanicKind::Forked && panic.to_string().contains("forked");
            let elsewhere = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut polled).poll(&mut context)));
            done.join() == 0 && run_here && is_told && elsewhere.is_err()
        }));
        gate.wait();
        pool.join();
    });
}

#[cfg(target_os = "linux")]
#[test]
fn after_a_fork_while_other_threads_are_in_calls() {
    child::succeeds(|| {
        let pool = Pool::new(2).expect("two threads start");
        let over = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(std::sync::atomic::Ordering::Relaxed) {
                        assert!((0..50).pool_map(2, |x| x).eq(0..50));
                        assert!((0..50).pool_map(&pool, |x| x).collect::<Vec<_>>().into_iter().eq(0..50));
                    }
                });
            }
            // Whatever locks those threads hold at the fork, nobody will release in the child.
            let right = (0..50)
                .all(|_| forked(|| (0..50).pool_map(&pool, |x| x).eq(0..50) && (0..50).pool_map(2, |x| x).eq(0..50)));
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(right);
        });
    });
}
