//! `Pool::spawn` and `Task`.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use pool_map::{CancelToken, PanicKind, Pool, PoolIterator, Task, TraceLevel, Worker, as_completed};

use crate::gate::{Gate, text};
use crate::nesting::tempted;
#[cfg(unix)]
use crate::seen;

fn pool(workers: usize) -> Pool {
    Pool::new(workers).expect("a few threads start")
}

/// A task that keeps its worker until the gate opens, and runs by the time this returns.
fn holds(pool: &Pool, gate: &Arc<Gate>) -> Task<()> {
    let (closed, (started, starts)) = (Arc::clone(gate), mpsc::channel());
    let task = pool.spawn(move || {
        started.send(()).expect("the test listens");
        closed.wait();
    });
    starts.recv().expect("it starts");
    task
}

/// A number that goes down by one.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Counted {
        count.fetch_add(1, Ordering::SeqCst);
        Counted(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn it_runs_on_a_worker_and_gives_its_result() {
    let pool = Pool::builder().threads(2).name("Tasks").build().expect("two threads");
    let tasks: Vec<_> =
        (0..100).map(|x| pool.spawn(move || (x, Worker::current().map(|w| w.pool().to_owned())))).collect();
    for (x, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join(), (x, Some("Tasks".to_owned())));
    }
}

#[test]
fn tasks_begin_in_the_order_in_which_they_were_spawned() {
    let pool = pool(1);
    let order = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..200)
        .map(|x| {
            let order = Arc::clone(&order);
            pool.spawn(move || order.lock().expect("no panic").push(x))
        })
        .collect();
    tasks.into_iter().for_each(Task::join);
    assert!(order.lock().expect("no panic").iter().copied().eq(0..200));
}

#[test]
fn join_raises_the_panic_and_try_join_returns_it() {
    let pool = pool(2);
    let payload = catch_unwind(AssertUnwindSafe(|| pool.spawn(|| panic_any(7_u8)).join())).expect_err("7");
    assert_eq!(payload.downcast_ref(), Some(&7_u8));
    let panic = pool.spawn(|| panic!("on purpose")).try_join().expect_err("it panics");
    assert_eq!((panic.message(), panic.index()), ("on purpose", None));
    assert!(
        panic.worker().starts_with("PoolWorker-") && panic.location().is_some_and(|place| place.contains("task.rs"))
    );
    assert!(panic.to_string().contains("task panicked at tests/it/task.rs:"), "{panic}");
    assert!(panic.to_string().contains("in Pool::spawn called at tests/it/task.rs:"), "{panic}");
    assert!(
        catch_unwind(AssertUnwindSafe(|| pool.spawn(|| panic!("in time")).join_timeout(Duration::MAX).is_ok()))
            .is_err()
    );
    assert_eq!(pool.spawn(|| 1).try_join().ok(), Some(1));
}

#[test]
fn a_timeout_ends_the_wait_and_not_the_work() {
    let pool = pool(1);
    let gate = Arc::new(Gate::default());
    let held = holds(&pool, &gate);
    let queued = pool.spawn(|| 5);
    let Err(held) = held.join_timeout(Duration::ZERO) else { panic!("it cannot be done") };
    let Err(held) = held.join_timeout(Duration::from_millis(1)) else { panic!("it cannot be done") };
    let Err(queued) = queued.join_timeout(Duration::from_nanos(1)) else { panic!("it cannot be done") };
    assert!(!held.is_finished() && !queued.is_finished());
    gate.open();
    assert!(held.join_timeout(Duration::MAX).is_ok());
    assert_eq!(queued.join_timeout(Duration::from_secs(1 << 40)).ok(), Some(5));
    let done = pool.spawn(|| 6);
    while !done.is_finished() {
        thread::yield_now();
    }
    assert_eq!(done.join_timeout(Duration::ZERO).ok(), Some(6));
}

#[test]
fn a_worker_that_waits_runs_what_has_not_started() {
    fn sum(pool: &Pool, depth: u32) -> u32 {
        if depth == 0 {
            return 1;
        }
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let inside = pool.clone();
                pool.spawn(move || sum(&inside, depth - 1))
            })
            .collect();
        tasks.into_iter().map(Task::join).sum()
    }
    for workers in [1, 2, 4] {
        let pool = pool(workers);
        let inside = pool.clone();
        assert_eq!(pool.spawn(move || sum(&inside, 5)).join(), 243);
        assert_eq!(sum(&pool, 4), 81);
    }
}

#[test]
fn a_wait_with_an_end_runs_nothing_itself() {
    let pool = pool(1);
    let inside = pool.clone();
    pool.install(|| {
        let Err(task) = inside.spawn(|| 1).join_timeout(Duration::ZERO) else { panic!("its worker is here") };
        let Err(task) = task.join_timeout(Duration::from_nanos(1)) else { panic!("its worker is here") };
        assert_eq!(task.join(), 1);
        assert_eq!(inside.spawn(|| 2).join_timeout(Duration::MAX).ok(), Some(2));
        assert_eq!(inside.spawn(|| 3).try_join().ok(), Some(3));
    });
}

#[test]
fn a_task_may_use_everything_else() {
    let pool = pool(1);
    let inside = pool.clone();
    let task = pool.spawn(move || {
        let mapped: u32 = (0..100).pool_map(&inside, |x| x).sum();
        let streamed: u32 = inside.imap(0..100, |x| x).sum();
        let borrowed: u32 = pool_map::scope(&inside, |s| s.imap(0..100, |x| x).sum());
        mapped + streamed + borrowed
    });
    assert_eq!(task.join(), 3 * 4950);
}

#[test]
fn a_stream_lets_tasks_through() {
    let pool = pool(1);
    let mut stream = pool.imap(0.., |x: usize| x);
    for _ in 0..100 {
        let task = pool.spawn(|| 1);
        // The stream never runs dry meanwhile, for it is taken from as fast as can be.
        while !task.is_finished() {
            assert!(stream.next().is_some());
        }
        assert_eq!(task.join(), 1);
    }
}

#[test]
fn a_worker_that_waits_inside_rayon_begins_no_task() {
    let pool = pool(2);
    let (inside, begun) = (pool.clone(), Arc::new(AtomicBool::new(false)));
    let begins = Arc::clone(&begun);
    let first = pool.spawn(move || tempted(&begun, || inside.spawn(move || begins.store(true, Ordering::SeqCst))));
    first.join().join();
}

/// All workers wait inside rayon, for what only a task can give them that has no worker of its own.
#[test]
fn a_task_that_finds_no_seat_runs_later() {
    let pool = pool(2);
    for _ in 0..20 {
        let (sender, receiver) = mpsc::channel();
        let tasks = Mutex::new(Vec::new());
        pool.install(|| {
            rayon::join(
                || {
                    let sender = sender.clone();
                    tasks.lock().expect("no panic").push(pool.spawn(move || sender.send(1).expect("the test listens")));
                },
                thread::yield_now,
            );
        });
        assert_eq!(receiver.recv(), Ok(1));
        tasks.into_inner().expect("no panic").into_iter().for_each(Task::join);
    }
}

// ---- Unheard ---------------------------------------------------------------------------------------------------------

#[test]
fn a_dropped_task_runs_all_the_same() {
    let pool = pool(1);
    let (sender, receiver) = mpsc::channel();
    for x in 0..10 {
        let sender = sender.clone();
        drop(pool.spawn(move || sender.send(x).expect("the test listens")));
    }
    assert!(receiver.iter().take(10).eq(0..10));
}

#[cfg(unix)]
#[test]
fn a_panic_that_nobody_hears_is_printed_and_ends_nothing() {
    let seen = seen::child(|| {
        let pool = Pool::builder().threads(1).name("Unheard").build().expect("a thread");
        // Dropped before it panics, under the lock of standard error…
        let lock = std::io::stderr().lock();
        let gate = Arc::new(Gate::default());
        let held = holds(&pool, &gate);
        drop(pool.spawn(|| panic!("dropped before")));
        gate.open();
        held.join();
        pool.spawn(|| ()).join();
        drop(lock);
        // …and after.
        let task = pool.spawn(|| panic!("dropped after"));
        while !task.is_finished() {
            thread::yield_now();
        }
        drop(task);
        // One that was asked for its panic prints none, and one that never ran has none.
        assert!(pool.spawn(|| panic!("handed over")).try_join().is_err());
        let (token, gate) = (CancelToken::new(), Arc::new(Gate::default()));
        let held = holds(&pool, &gate);
        let [before, after] = [(); 2].map(|()| pool.spawn(|| ()).cancel_on(&token));
        drop(before);
        token.cancel();
        drop(after);
        gate.open();
        held.join();
        assert_eq!(pool.spawn(|| 1).join(), 1);
    });
    seen.succeeded();
    for message in ["dropped before", "dropped after"] {
        let lines: Vec<_> = seen.stderr.lines().filter(|line| line.contains(message)).collect();
        assert_eq!(lines.len(), 1, "{}", seen.stderr);
        assert!(lines[0].starts_with("[TRACE:Unheard-1] task panicked at tests/it/task.rs:"), "{}", lines[0]);
    }
    assert!(!seen.stderr.contains("handed over"), "{}", seen.stderr);
    assert!(seen.stderr.lines().all(|line| line.starts_with("[TRACE:Unheard-1] ")), "{}", seen.stderr);
}

#[cfg(unix)]
#[test]
fn a_joined_panic_is_told_once() {
    let seen = seen::child(|| {
        let pool = Pool::builder().threads(1).name("Heard").build().expect("a thread");
        catch_unwind(AssertUnwindSafe(|| pool.spawn(|| panic!("on purpose")).join())).expect_err("it panics");
    });
    seen.succeeded();
    assert_eq!(seen.count("on purpose"), 1, "{}", seen.stderr);
    assert_eq!(seen.count("[TRACE:Heard-1] task panicked at"), 1, "{}", seen.stderr);
}

#[test]
fn what_a_task_holds_is_dropped_once_on_every_path() {
    let count = Arc::new(AtomicUsize::new(0));
    let pool = pool(1);
    let spawn = |panics: bool| {
        let (captured, made) = (Counted::new(&count), Arc::clone(&count));
        pool.spawn(move || {
            let _captured = captured;
            assert!(!panics, "on purpose");
            Counted::new(&made)
        })
    };
    drop(spawn(false).join());
    drop(spawn(false));
    assert!(spawn(true).try_join().is_err());
    let gate = Arc::new(Gate::default());
    let held = holds(&pool, &gate);
    let token = CancelToken::new();
    let cancelled = spawn(false).cancel_on(&token);
    token.cancel();
    assert!(cancelled.try_join().is_err());
    let queued = spawn(false);
    drop(spawn(false));
    thread::scope(|threads| {
        threads.spawn(|| {
            while !queued.is_finished() {
                thread::yield_now();
            }
            gate.open();
        });
        drop(pool);
    });
    held.join();
    assert!(queued.try_join().is_err());
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[test]
fn destructors_that_panic_end_nothing() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(thread::panicking(), "a bomb");
        }
    }
    let pool = pool(1);
    let bomb = Bomb;
    let captured = pool.spawn(move || _ = &bomb);
    assert_eq!(captured.try_join().expect_err("what is captured is dropped within").message(), "a bomb");
    drop(pool.spawn(|| Bomb));
    let done = pool.spawn(|| Bomb);
    while !done.is_finished() {
        thread::yield_now();
    }
    drop(done);
    let bomb = Bomb;
    let token = CancelToken::new();
    let gate = Arc::new(Gate::default());
    let held = holds(&pool, &gate);
    let cancelled = pool.spawn(move || _ = &bomb).cancel_on(&token);
    token.cancel();
    assert!(cancelled.is_finished());
    gate.open();
    held.join();
    assert_eq!(pool.spawn(|| 1).join(), 1);
}

// ---- Awaited ---------------------------------------------------------------------------------------------------------

/// The smallest executor there is: it parks until woken.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn it_can_be_awaited() {
    let pool = pool(2);
    let total = block_on(async {
        let tasks: Vec<_> = (0..50).map(|x| pool.spawn(move || x)).collect();
        let mut total = 0;
        for task in tasks {
            total += task.await;
        }
        total
    });
    assert_eq!(total, 1225);
    let end = catch_unwind(AssertUnwindSafe(|| block_on(pool.spawn(|| panic!("awaited")))));
    assert_eq!(text(&*end.expect_err("it panics")), "awaited");
}

#[test]
fn the_waker_of_the_last_poll_is_woken() {
    struct Flag(AtomicUsize);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let pool = pool(1);
    let gate = Arc::new(Gate::default());
    let mut held = pin!(holds(&pool, &gate));
    let flags = [Arc::new(Flag(AtomicUsize::new(0))), Arc::new(Flag(AtomicUsize::new(0)))];
    for flag in &flags {
        let waker = Waker::from(Arc::clone(flag));
        assert!(held.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    gate.open();
    while flags[1].0.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    assert!(held.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    assert_eq!(flags[0].0.load(Ordering::SeqCst), 0);
    let again = catch_unwind(AssertUnwindSafe(|| held.as_mut().poll(&mut Context::from_waker(Waker::noop()))));
    assert_eq!(text(&*again.expect_err("it was ready")), "a task was polled after it was ready");
}

#[test]
fn awaited_on_the_only_worker() {
    let pool = pool(1);
    let inside = pool.clone();
    assert_eq!(pool.install(move || block_on(inside.spawn(|| 3))), 3);
}

// ---- Cancelled, and without threads ----------------------------------------------------------------------------------

#[test]
fn a_token_cancels_what_has_not_started() {
    let pool = pool(1);
    let gate = Arc::new(Gate::default());
    let token = CancelToken::new();
    let held = holds(&pool, &gate).cancel_on(&token);
    let queued = pool.spawn(|| unreachable!("it was cancelled")).cancel_on(&token);
    let joined = pool.spawn(|| unreachable!("it was cancelled")).cancel_on(&token);
    token.cancel();
    // Its worker is still busy, and nobody waits for it.
    assert!(queued.is_finished());
    let panic = queued.try_join().expect_err("it did not run");
    assert_eq!(panic.kind(), PanicKind::Cancelled);
    assert_eq!(panic.message(), "the task was cancelled before it started");
    assert!(panic.to_string().contains("task did not run: "), "{panic}");
    let raised = catch_unwind(AssertUnwindSafe(|| joined.join())).expect_err("it did not run");
    assert_eq!(text(&*raised), "the task was cancelled before it started");
    let before = pool.spawn(|| unreachable!("its token was cancelled before")).cancel_on(&token);
    assert!(before.try_join().is_err());
    gate.open();
    held.join();
    assert_eq!(pool.spawn(|| 1).join(), 1);
}

#[test]
fn without_threads_it_runs_where_it_is_spawned() {
    let pool = Pool::inline();
    let here = thread::current().id();
    let task = pool.spawn(|| thread::current().id());
    assert!(task.is_finished());
    assert_eq!(task.join(), here);
    let panic = pool.spawn(|| panic!("inline")).try_join().expect_err("it panics");
    assert_eq!((panic.kind(), panic.message()), (PanicKind::Panicked, "inline"));
}

#[test]
fn a_task_that_joins_itself_is_told_so() {
    let pool = pool(1);
    let (sender, receiver) = mpsc::channel::<Task<()>>();
    let own = receiver;
    let (done, outcome) = mpsc::channel();
    let task = pool.spawn(move || {
        let own = own.recv().expect("its own task");
        let payload = catch_unwind(AssertUnwindSafe(|| own.join())).expect_err("it cannot");
        done.send(text(&*payload).to_owned()).expect("the test listens");
    });
    sender.send(task).expect("it listens");
    assert!(outcome.recv().expect("it goes on").starts_with("a task cannot wait for itself"));
}

#[test]
fn a_job_that_joins_the_task_below_it_is_told_so() {
    let pool = pool(1);
    let (sender, receiver) = mpsc::channel::<Task<()>>();
    let (done, outcome) = mpsc::channel();
    let task = pool.spawn(move || {
        // The only worker runs both halves: the second one in the middle of this task.
        rayon::join(
            || (),
            move || {
                let below = receiver.recv().expect("the task below");
                let payload = catch_unwind(AssertUnwindSafe(|| below.try_join())).expect_err("it cannot");
                done.send(text(&*payload).to_owned()).expect("the test listens");
            },
        );
    });
    sender.send(task).expect("it listens");
    assert!(outcome.recv().expect("it goes on").starts_with("a task cannot wait for itself"));
}

// ---- On workers ------------------------------------------------------------------------------------------------------

#[test]
fn awaited_on_a_worker_it_runs_on_a_free_one() {
    let pool = pool(2);
    // The other worker counts as free once it has come to rest, which it may not on cores that are overloaded.
    let runs_elsewhere = || {
        let inside = pool.clone();
        let (own, other) = pool.spawn(move || (this_thread(), block_on(inside.spawn(this_thread)))).join();
        own != other
    };
    assert!((0..50).any(|_| runs_elsewhere()));
}

fn this_thread() -> thread::ThreadId {
    thread::current().id()
}

#[test]
fn a_timeout_on_a_worker_gives_the_task_back() {
    let (own, other) = (pool(1), pool(1));
    let gate = Arc::new(Gate::default());
    let held = holds(&other, &gate);
    let (own_inside, other_inside) = (own.clone(), other.clone());
    own.spawn(move || {
        for pool in [own_inside, other_inside] {
            let Err(task) = pool.spawn(|| ()).join_timeout(Duration::from_millis(1)) else {
                panic!("its worker is busy")
            };
            drop(task);
        }
    })
    .join();
    gate.open();
    held.join();
    // A pool that is idle runs it, though a worker of another one waits.
    let idle = other.clone();
    let long = Duration::from_secs(3600);
    let ran_on = own.spawn(move || idle.spawn(this_thread).join_timeout(long).ok()).join();
    assert_eq!(ran_on, Some(other.spawn(this_thread).join()));
}

/// What `f` has given to rayon is found by workers that have nothing to do.
#[test]
fn it_may_wait_for_every_worker_of_its_pool() {
    for workers in [1, 2, 4] {
        let pool = pool(workers);
        for _ in 0..50 {
            assert_eq!(pool.spawn(|| rayon::broadcast(|_| ()).len()).join(), workers);
            let (sender, receiver) = mpsc::channel();
            drop(pool.spawn(move || sender.send(rayon::broadcast(|_| ()).len())));
            assert_eq!(receiver.recv(), Ok(workers));
        }
    }
}

#[test]
fn cancel_says_whether_it_came_in_time() {
    let pool = Pool::new(1).expect("a thread");
    let (begun, gate) = (Arc::new(Gate::default()), Arc::new(Gate::default()));
    let (begins, waits) = (Arc::clone(&begun), Arc::clone(&gate));
    let first = pool.spawn(move || (begins.open(), waits.wait(), 1).2);
    begun.wait();
    let held = Arc::new(());
    let holds = Arc::clone(&held);
    let second = pool.spawn(move || drop(holds));
    assert_eq!((first.is_running(), second.is_running()), (true, false));
    assert_eq!((first.cancel(), second.cancel(), second.cancel()), (false, true, false));
    assert_eq!(Arc::strong_count(&held), 1, "the closure is dropped");
    assert!(second.is_finished() && !second.is_running());
    assert_eq!(second.try_join().expect_err("it was cancelled").kind(), PanicKind::Cancelled);
    gate.open();
    pool.wait_idle();
    assert!(!first.is_running() && !first.cancel());
    assert_eq!(first.join(), 1);
}

#[test]
fn tasks_come_as_they_complete() {
    let pool = Pool::new(3).expect("three threads");
    let gates: Vec<_> = (0..3).map(|_| Arc::new(Gate::default())).collect();
    let task = |i: usize| {
        let gate = Arc::clone(&gates[i]);
        pool.spawn(move || (gate.wait(), i).1)
    };
    let mut tasks = as_completed((0..3).map(task));
    for (left, i) in [2, 0, 1].into_iter().enumerate() {
        assert_eq!(tasks.len(), 3 - left);
        gates[i].open();
        assert_eq!(tasks.next().map(Task::join), Some(i));
    }
    assert!(tasks.next().is_none() && tasks.next().is_none());
    assert_eq!(as_completed(Vec::<Task<()>>::new()).count(), 0);
}

#[test]
fn the_first_failure_comes_before_what_is_slow() {
    let pool = Pool::builder().threads(2).trace(TraceLevel::Off).build().expect("two threads");
    let gate = Arc::new(Gate::default());
    let waits = Arc::clone(&gate);
    let slow = pool.spawn(move || (waits.wait(), 0).1);
    let tasks = [slow, pool.spawn(|| 1), pool.spawn(|| -> i32 { panic_any("two") }), pool.spawn(|| 3)];
    tasks[3].cancel();
    let mut completed = as_completed(tasks);
    let failures: Vec<_> = completed.by_ref().take(3).filter_map(|task| task.try_join().err()).collect();
    assert!(failures.iter().any(|panic| panic.kind() == PanicKind::Panicked));
    gate.open();
    assert_eq!(completed.next().map(Task::join), Some(0));
}

#[test]
fn on_the_only_worker_tasks_complete_one_after_the_other() {
    let pool = Pool::new(1).expect("a thread");
    let inside = pool.clone();
    let outer = pool.spawn(move || {
        let tasks = (0..3).map(|i| inside.spawn(move || i));
        as_completed(tasks).map(Task::join).collect::<Vec<_>>()
    });
    assert_eq!(outer.join(), [0, 1, 2]);
    let inline = Pool::inline();
    assert!(as_completed((0..3).map(|i| inline.spawn(move || i))).map(Task::join).eq(0..3));
}

#[test]
fn a_task_does_not_wait_for_itself_as_one_of_several() {
    let pool = Pool::builder().threads(1).trace(TraceLevel::Off).build().expect("a thread");
    let (sender, receiver) = mpsc::channel::<Task<()>>();
    let (says, said) = mpsc::channel();
    let task = pool.spawn(move || {
        let own = receiver.recv().expect("its own task");
        let raised = catch_unwind(AssertUnwindSafe(|| drop(as_completed([own]).next())));
        says.send(text(&*raised.expect_err("it panics")).to_owned()).expect("the test listens");
    });
    sender.send(task).expect("the task listens");
    assert!(said.recv().expect("the task says it").starts_with("a task cannot wait for itself"));
}
