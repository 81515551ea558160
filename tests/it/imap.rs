//! `pool_imap`: the promises of `pool_map`, but for those that its column in the contract changes.

use std::collections::HashSet;
use std::convert::identity;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;
use std::{iter, mem};

use pool_map::{CancelToken, NotReady, Pool, PoolIterator, TraceLevel, Worker};

use crate::gate::{Gate, text};
use crate::nesting::tempted;
use crate::{child, seen};

fn pool(workers: usize) -> Pool {
    Pool::new(workers).expect("a few threads start")
}

// ---- The same as map ------------------------------------------------------------------------------------------------

#[test]
fn the_results_of_map_in_its_order() {
    for workers in [1, 2, 4] {
        for items in [0, 1, 2, 7, 100, 3000] {
            let pool = pool(workers);
            assert!(pool.imap(0..items, |x| x * 2).eq((0..items).map(|x| x * 2)));
            assert!(
                (0..items).pool_imap(workers, |x| x * 2).collect::<Vec<_>>().into_iter().eq((0..items).map(|x| x * 2))
            );
            let mut unordered: Vec<usize> = pool.imap_unordered(0..items, |x| x * 2).collect();
            unordered.sort_unstable();
            assert!(unordered.into_iter().eq((0..items).map(|x| x * 2)));
        }
    }
}

#[test]
fn chunks_and_limits_do_not_show() {
    let pool = pool(3);
    for chunk in [1, 2, 5, 100] {
        for limit in [1, 2, 5, 100] {
            let ordered = (0..150).pool_imap(&pool, |x| x).chunk_size(chunk).max_in_flight(limit);
            assert!(ordered.eq(0..150), "chunk {chunk}, limit {limit}");
            let unordered = (0..150).pool_imap_unordered(&pool, |x| x).chunk_size(chunk).max_in_flight(limit);
            assert_eq!(unordered.collect::<HashSet<_>>().len(), 150, "chunk {chunk}, limit {limit}");
        }
    }
}

#[test]
fn the_size_hint_is_right_without_threads() {
    let mut stream = (0..5).pool_imap(Pool::inline(), |x| x);
    for left in (0..5).rev() {
        assert!(stream.next().is_some());
        assert_eq!(stream.size_hint(), (left, Some(left)));
    }
}

#[test]
fn the_size_hint_is_right_at_every_step() {
    let pool = pool(2);
    for chunk in [1, 3, 64] {
        let mut stream = (0..100).pool_imap(&pool, |x| x).chunk_size(chunk);
        for left in (1..=100).rev() {
            assert_eq!((stream.len(), stream.size_hint()), (left, (left, Some(left))));
            assert_eq!(stream.next(), Some(100 - left));
        }
        assert_eq!(stream.size_hint(), (0, Some(0)));
        assert_eq!((stream.next(), stream.next()), (None, None));
        assert_eq!(stream.size_hint(), (0, Some(0)));
    }
    let mut filtered = (0..100).filter(|x| x % 2 == 0).pool_imap(&pool, |x| x).chunk_size(4);
    for taken in 0..50 {
        assert_eq!(filtered.size_hint(), (0, Some(100 - taken)));
        assert_eq!(filtered.next(), Some(2 * taken));
    }
}

#[test]
fn the_methods_of_iterators_in_any_mix() {
    let mut stream = (0..1000).pool_imap(2, |x| x);
    assert_eq!(stream.next(), Some(0));
    assert!(stream.by_ref().take(9).eq(1..10));
    assert_eq!(stream.find(|&x| x == 50), Some(50));
    assert_eq!(stream.nth(49), Some(100));
    assert_eq!(stream.by_ref().step_by(10).take(10).sum::<usize>(), (101..).step_by(10).take(10).sum());
    assert_eq!(stream.fold(0, |count, _| count + 1), 1000 - 192);
}

#[test]
fn an_error_ends_a_collect() {
    let parsed: Result<Vec<i32>, _> = ["1", "x", "3"].into_iter().pool_imap(2, str::parse::<i32>).collect();
    assert_eq!(parsed.expect_err("x is no number").to_string(), "invalid digit found in string");
}

// ---- Threads ---------------------------------------------------------------------------------------------------------

#[test]
fn the_source_is_on_the_feeder_and_f_on_the_workers() {
    let pool = Pool::builder().threads(2).name("Resize").build().expect("two threads");
    let feeders = Arc::new(Mutex::new(HashSet::new()));
    let noted = Arc::clone(&feeders);
    let source = (0..100).inspect(move |_| {
        assert!(Worker::current().is_none());
        noted.lock().expect("no panic").insert(thread::current().name().map(str::to_owned));
    });
    let names: HashSet<String> =
        source.pool_imap(&pool, |_| Worker::current().expect("a worker").name().to_owned()).collect();
    assert!(names.iter().all(|name| name == "Resize-1" || name == "Resize-2"), "{names:?}");
    let feeders = mem::take(&mut *feeders.lock().expect("no panic"));
    assert_eq!(feeders, HashSet::from([Some("ResizeFeeder-1".to_owned())]));
}

#[test]
fn feeders_have_names_of_their_own() {
    child::succeeds(|| {
        let name = |()| thread::current().name().map(str::to_owned);
        let mut first = iter::repeat(()).map(name).pool_imap(1, |name| name);
        let mut second = iter::repeat(()).map(name).pool_imap(1, |name| name);
        assert_eq!(first.next().flatten().as_deref(), Some("PoolFeeder-1"));
        assert_eq!(second.next().flatten().as_deref(), Some("PoolFeeder-2"));
    });
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_starts_before_the_first_result_is_asked_for() {
    child::succeeds(|| {
        let before = crate::threads();
        // The process's first call puts the panic hook in place, by a thread that has ended by then.
        drop((0..1).pool_map(1, |x| x));
        crate::wait_for_threads(before);
        let pulled = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&pulled);
        let source = (0..10).inspect(move |_| _ = counted.fetch_add(1, Ordering::Relaxed));
        let token = CancelToken::new();
        let stream = source.pool_imap(3, |x| x).chunk_size(2).max_in_flight(9).named("lazy").cancel_on(&token);
        let mut stream = stream.catch_panics();
        assert_eq!((stream.len(), crate::threads(), pulled.load(Ordering::Relaxed)), (10, before, 0));
        assert!(stream.next().is_some_and(|first| first.is_ok_and(|first| first == 0)));
        assert!(crate::threads() > before + 2);
    });
}

#[test]
fn it_is_send() {
    let mut stream = (0..100).pool_imap(2, |x| x);
    assert_eq!(stream.next(), Some(0));
    thread::spawn(move || assert!(stream.eq(1..100))).join().expect("it goes on elsewhere");
}

// ---- Live ------------------------------------------------------------------------------------------------------------

/// Item k + 1 is sent only after the result of item k was seen.
#[test]
fn what_is_sent_may_depend_on_what_came_out() {
    for chunk in [None, Some(1), Some(64)] {
        for ordered in [true, false] {
            let (sender, receiver) = mpsc::channel();
            let source = receiver.into_iter();
            let stream = if ordered { source.pool_imap(4, identity) } else { source.pool_imap_unordered(4, identity) };
            let stream = if let Some(chunk) = chunk { stream.chunk_size(chunk) } else { stream };
            sender.send(0).expect("the stream listens");
            for (expected, got) in stream.take(3000).enumerate() {
                assert_eq!(got, expected);
                sender.send(got + 1).expect("the stream listens");
            }
        }
    }
}

#[test]
fn the_last_of_a_burst_comes_while_the_source_is_silent() {
    for burst in [1, 2, 10, 1000, 20_000] {
        for chunk in [None, Some(1), Some(300)] {
            let (sender, receiver) = mpsc::channel();
            let stream = receiver.into_iter().pool_imap(4, |x| x);
            let mut stream = if let Some(chunk) = chunk { stream.chunk_size(chunk) } else { stream };
            for round in 0..5 {
                (0..burst).for_each(|x| sender.send(round + x).expect("the stream listens"));
                assert!(stream.by_ref().take(burst).eq((0..burst).map(|x| round + x)), "a burst of {burst}");
            }
        }
    }
}

/// However cheap the items were so far, one that takes long keeps none of those behind it from being worked on.
#[test]
fn a_slow_item_after_cheap_ones_holds_nobody_up() {
    let pool = pool(2);
    for round in 0..20 {
        let cheap = 1000 * round;
        let gate = Arc::new(Gate::default());
        let closed = Arc::clone(&gate);
        let (sender, receiver) = mpsc::channel();
        let (started, starts) = mpsc::channel();
        let mut stream = receiver.into_iter().pool_imap_unordered(&pool, move |x: usize| {
            if x == usize::MAX {
                started.send(()).expect("the test listens");
                closed.wait();
            }
            x
        });
        (0..=cheap).for_each(|x| sender.send(x).expect("the stream listens"));
        assert_eq!(stream.by_ref().take(cheap + 1).count(), cheap + 1);
        sender.send(usize::MAX).expect("the stream listens");
        starts.recv().expect("it starts");
        sender.send(1).expect("the stream listens");
        assert_eq!(stream.next(), Some(1));
        sender.send(2).expect("the stream listens");
        assert_eq!(stream.next(), Some(2));
        gate.open();
        assert_eq!(stream.next(), Some(usize::MAX));
    }
}

#[test]
fn it_runs_ahead_while_the_body_runs() {
    let (done, seen) = mpsc::channel();
    let mut stream = (0..8).pool_imap(2, move |x| done.send(x).expect("the test listens"));
    stream.next();
    // Nobody asks for more, and all of them run.
    let mut all: Vec<usize> = seen.iter().take(8).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..8));
}

#[test]
fn without_order_what_is_done_comes_out() {
    let gate = Arc::new(Gate::default());
    let closed = Arc::clone(&gate);
    let f = move |x| {
        if x == 0 {
            closed.wait();
        }
        x
    };
    let mut stream = (0..20).pool_imap_unordered(2, f).chunk_size(1);
    assert!(stream.by_ref().take(19).collect::<HashSet<_>>().into_iter().all(|x| x != 0));
    gate.open();
    assert_eq!((stream.next(), stream.next()), (Some(0), None));
}

// ---- Bounded ---------------------------------------------------------------------------------------------------------

#[test]
fn pulled_and_not_delivered_never_exceed_the_limit() {
    let pool = pool(3);
    for limit in [1, 2, 3, 7, 50] {
        for chunk in [None, Some(1), Some(3), Some(1000)] {
            for ordered in [true, false] {
                let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
                let counted = Arc::clone(&counts);
                let source = (0..).inspect(move |_| {
                    let delivered = counted.1.load(Ordering::SeqCst);
                    let pulled = counted.0.fetch_add(1, Ordering::SeqCst) + 1;
                    assert!(pulled - delivered <= limit, "{pulled} pulled, {delivered} delivered");
                });
                let stream = if ordered {
                    source.pool_imap(&pool, identity)
                } else {
                    source.pool_imap_unordered(&pool, identity)
                };
                let stream = stream.max_in_flight(limit);
                let stream = if let Some(chunk) = chunk { stream.chunk_size(chunk) } else { stream };
                for (step, _) in stream.take(300).enumerate() {
                    counts.1.fetch_add(1, Ordering::SeqCst);
                    if step % 100 == 50 {
                        // A stalled consumer: the stream comes to rest at its limit, or before.
                        thread::yield_now();
                    }
                }
            }
        }
    }
}

#[test]
fn an_endless_source_stops_at_the_limit_while_the_consumer_stalls() {
    let (tell, told) = mpsc::channel();
    let source = (0..).inspect(move |&x: &usize| _ = tell.send(x));
    let mut stream = source.pool_imap(2, |x| x).max_in_flight(10).chunk_size(1);
    assert_eq!(stream.next(), Some(0));
    // The first one is not counted as delivered before the second is asked for.
    assert!(told.iter().take(10).eq(0..10));
    assert_eq!(stream.next(), Some(1));
    assert_eq!(told.recv(), Ok(10));
    drop(stream);
    assert_eq!(told.recv(), Err(mpsc::RecvError), "the feeder is gone, and has pulled no more");
}

// ---- Once ------------------------------------------------------------------------------------------------------------

/// Counts how many of it there are.
struct Counted(usize, Arc<AtomicUsize>);

impl Counted {
    fn new(x: usize, living: &Arc<AtomicUsize>) -> Counted {
        living.fetch_add(1, Ordering::SeqCst);
        Counted(x, Arc::clone(living))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn everything_is_dropped_once_on_every_path() {
    for how in 0..6 {
        for ordered in [true, false] {
            for taken in [1, 20, 100] {
                let living = Arc::new(AtomicUsize::new(0));
                let pool = pool(2);
                let made = Arc::clone(&living);
                let source = (0..500).map(move |x| {
                    assert!(how != 1 || x < 60, "the source");
                    Counted::new(x, &made)
                });
                let f = move |item: Counted| {
                    assert!(how != 2 || item.0 != 60, "item 60");
                    Counted::new(item.0, &item.1)
                };
                let token = CancelToken::new();
                let stream = if ordered { source.pool_imap(&pool, f) } else { source.pool_imap_unordered(&pool, f) };
                let mut stream = stream.max_in_flight(70).cancel_on(&token);
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    assert!(stream.by_ref().take(taken).count() <= taken);
                    match how {
                        3 => token.cancel(),
                        4 => return,
                        _ => {}
                    }
                    stream.by_ref().for_each(drop);
                }));
                assert_eq!(outcome.is_err(), matches!(how, 1 | 2));
                assert!(how != 4 || stream.next().is_some());
                drop(stream);
                // The workers have ended with the last handle; the feeder goes by itself.
                drop(pool);
                while Arc::strong_count(&living) > 1 {
                    thread::yield_now();
                }
                assert_eq!(living.load(Ordering::SeqCst), 0, "case {how}, {taken} taken");
            }
        }
    }
}

// ---- Panics ----------------------------------------------------------------------------------------------------------

/// What a stream gives, and the text of the panic that ends it.
fn all_of<T>(stream: impl Iterator<Item = T>) -> (Vec<T>, Option<String>) {
    let mut all = Vec::new();
    let end = catch_unwind(AssertUnwindSafe(|| stream.for_each(|result| all.push(result))));
    (all, end.err().map(|payload| text(&*payload).to_owned()))
}

#[test]
fn the_lowest_failing_item_is_raised_after_all_results_before_it() {
    let pool = pool(4);
    for chunk in [1, 7, 1000] {
        for failing in [0, 1, 50, 99] {
            let f = move |x| {
                assert!(x < failing, "item {x}");
                x
            };
            let mut stream = (0..100).pool_imap(&pool, f).chunk_size(chunk);
            let (all, end) = all_of(stream.by_ref());
            assert!(all.into_iter().eq(0..failing));
            assert_eq!(end, Some(format!("item {failing}")));
            assert_eq!((stream.next(), stream.size_hint()), (None, (0, Some(0))));
        }
    }
}

#[test]
fn the_payload_is_the_original_one() {
    #[derive(Debug, PartialEq)]
    struct Custom(u8);
    let mut stream = [7].into_iter().pool_imap(1, |x| panic_any(Custom(x)));
    let payload = catch_unwind(AssertUnwindSafe(|| -> Option<()> { stream.next() })).expect_err("it panics");
    assert_eq!(payload.downcast_ref(), Some(&Custom(7)));
}

#[test]
fn without_order_a_panic_is_raised_when_it_happens() {
    let gate = Arc::new(Gate::default());
    let closed = Arc::clone(&gate);
    let stream = (0..50).pool_imap_unordered(2, move |x| {
        if x == 0 {
            closed.wait();
        }
        assert!(x != 9, "item 9");
        x
    });
    let (all, end) = all_of(stream.chunk_size(1));
    gate.open();
    assert_eq!(end.as_deref(), Some("item 9"));
    assert!(!all.contains(&0), "an item that still runs is not waited for");
}

#[test]
fn a_panic_of_the_source_takes_its_place() {
    let pool = pool(2);
    for failing in [0, 1, 50] {
        for ordered in [true, false] {
            let source = (0..100).inspect(move |&x| assert!(x < failing, "the source at {x}"));
            let stream =
                if ordered { source.pool_imap(&pool, identity) } else { source.pool_imap_unordered(&pool, identity) };
            let (mut all, end) = all_of(stream);
            all.sort_unstable();
            assert!(all.into_iter().eq(0..failing));
            assert_eq!(end, Some(format!("the source at {failing}")));
        }
    }
}

#[test]
fn a_lower_panic_of_f_wins_over_the_source() {
    let source = (0..100).inspect(|&x| assert!(x < 50, "the source"));
    let (all, end) = all_of(source.pool_imap(2, |x| {
        assert!(x < 40, "item 40");
        x
    }));
    assert_eq!((all.len(), end.as_deref()), (40, Some("item 40")));
}

#[test]
fn caught_panics_are_results() {
    let fails = |x: usize| {
        assert!(x % 10 != 3, "a three");
        x
    };
    for chunk in [1, 8] {
        let results: Vec<_> = (0..100).pool_imap(2, fails).chunk_size(chunk).catch_panics().collect();
        assert_eq!(results.len(), 100);
        for (x, result) in results.iter().enumerate() {
            match result {
                Ok(result) => assert_eq!(*result, x),
                Err(panic) => assert_eq!((x % 10, panic.index(), panic.message()), (3, Some(x), "a three")),
            }
        }
    }
    let caught = (0..100).pool_imap_unordered(2, fails).catch_panics().filter(Result::is_err).count();
    assert_eq!(caught, 10);
}

#[cfg(unix)]
#[test]
fn a_panic_is_told_before_it_is_raised() {
    let seen = seen::child(|| {
        let pool = Pool::builder().threads(1).name("Told").build().expect("a thread");
        let mut stream = (0..10).pool_imap(&pool, |x| 10 / (5 - x)).named("quotients");
        assert_eq!(stream.by_ref().take(5).count(), 5);
        catch_unwind(AssertUnwindSafe(|| stream.next())).expect_err("item 5 divides by zero");
        drop(stream);
    });
    seen.succeeded();
    assert_eq!(seen.count("[TRACE:Told-1] item 5 panicked at tests/it/imap.rs:"), 1, "{}", seen.stderr);
    assert_eq!(seen.count("in pool_imap \"quotients\" called at tests/it/imap.rs:"), 1, "{}", seen.stderr);
    assert!(seen.stderr.lines().all(|line| line.starts_with("[TRACE:Told-1] ")), "{}", seen.stderr);
}

#[cfg(unix)]
#[test]
fn a_panic_that_nobody_got_to_leaves_a_line() {
    let seen = seen::child(|| {
        // One that waits for its turn when the stream is dropped…
        let pool = Pool::new(1).expect("a thread");
        let (started, starts) = mpsc::channel();
        let f = move |x| {
            if x == 1 {
                started.send(()).expect("the test listens");
                panic!("too late");
            }
        };
        let mut stream = (0..2).pool_imap(&pool, f).chunk_size(2);
        assert_eq!(stream.next(), Some(()));
        // The chunk may have been taken before the feeder came to its second item.
        starts.recv().expect("item 1 starts");
        drop(stream);
        // …and one that comes after it was dropped, while somebody holds the lock of standard error.
        let gate = Arc::new(Gate::default());
        let closed = Arc::clone(&gate);
        let (started, starts) = mpsc::channel();
        let mut stream = (0..2).pool_imap(&pool, move |x| {
            if x == 1 {
                started.send(()).expect("the test listens");
                closed.wait();
                panic!("later still");
            }
        });
        stream.next();
        starts.recv().expect("item 1 starts");
        drop(stream);
        let lock = std::io::stderr().lock();
        gate.open();
        drop(pool);
        drop(lock);
    });
    seen.succeeded();
    for message in ["too late", "later still"] {
        let line = seen.stderr.lines().find(|line| line.contains(message)).expect(message);
        assert!(line.starts_with("[TRACE:PoolWorker-") && line.contains("not reached"), "{line}");
    }
    assert_eq!(seen.stderr.lines().count(), 2, "{}", seen.stderr);
}

#[test]
fn the_pool_survives() {
    let pool = pool(2);
    let ids = || (0..200).pool_imap(&pool, |_| thread::current().id()).collect::<HashSet<ThreadId>>();
    let mut before = ids();
    for _ in 0..20 {
        let (_, end) = all_of((0..100).pool_imap(&pool, |x| assert!(x != 50, "item 50")));
        assert_eq!(end.as_deref(), Some("item 50"));
    }
    before.extend(ids());
    assert!(before.len() <= 2, "the same threads");
}

#[test]
fn destructors_that_panic_stay_where_they_are() {
    struct Bomb(bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!self.0 || thread::panicking(), "a bomb");
        }
    }
    let pool = pool(2);
    for taken in [0, 1, 5] {
        let held = Bomb(true);
        let mut stream = (0..100).map(|_| Bomb(true)).pool_imap(&pool, move |item| {
            let _held = &held;
            mem::forget(item);
            Bomb(true)
        });
        for _ in 0..taken {
            mem::forget(stream.next());
        }
        if taken > 0 {
            drop(stream);
        } else {
            mem::forget(stream);
        }
    }
    assert!(pool.imap(0..100, |x| x).eq(0..100));
}

// ---- Dropping --------------------------------------------------------------------------------------------------------

#[cfg(target_os = "linux")]
#[test]
fn a_drop_does_not_wait_for_a_source_that_blocks() {
    child::succeeds(|| {
        let before = crate::threads();
        let pool = pool(2);
        let [blocks, gate] = [(); 2].map(|()| Arc::new(Gate::default()));
        let (blocked, closed) = (Arc::clone(&blocks), Arc::clone(&gate));
        let source = (0..).inspect(move |&x| {
            if x == 3 {
                blocked.open();
                closed.wait();
            }
        });
        let mut stream = source.pool_imap(&pool, |x| x);
        assert!(stream.by_ref().take(3).eq(0..3));
        blocks.wait();
        drop(stream);
        drop(pool);
        crate::wait_for_threads(before + 1);
        gate.open();
        crate::wait_for_threads(before);
    });
}

#[test]
fn after_a_drop_nothing_starts() {
    let pool = pool(1);
    let (started, starts) = mpsc::channel();
    let gate = Arc::new(Gate::default());
    let closed = Arc::clone(&gate);
    let mut stream = (0..100).pool_imap(&pool, move |x| {
        started.send(x).expect("the test listens");
        if x == 1 {
            closed.wait();
        }
    });
    stream.next();
    assert_eq!((starts.recv(), starts.recv()), (Ok(0), Ok(1)));
    drop(stream);
    gate.open();
    drop(pool);
    assert_eq!(starts.recv(), Err(mpsc::RecvError));
}

fn this_thread() -> ThreadId {
    thread::current().id()
}

/// A stream on a leased worker. As long as it lives, the next one takes another.
fn holds_a_worker() -> impl Iterator<Item = ThreadId> {
    iter::repeat(()).pool_imap(1, |()| this_thread())
}

/// Leases workers until that one is among them.
fn meet_again(worker: ThreadId) {
    let mut held = vec![holds_a_worker()];
    while held.last_mut().expect("one and more").next() != Some(worker) {
        assert!(held.len() < 300);
        held.push(holds_a_worker());
    }
}

#[test]
fn a_leased_pool_goes_back_when_the_last_item_is_done() {
    child::succeeds(|| {
        let gate = Arc::new(Gate::default());
        let closed = Arc::clone(&gate);
        let (tell, told) = mpsc::channel();
        let mut stream = (0..2).pool_imap(1, move |x| {
            if x == 1 {
                tell.send(()).expect("the test listens");
                closed.wait();
            }
            this_thread()
        });
        let worker = stream.next().expect("a result");
        told.recv().expect("item 1 runs");
        drop(stream);
        let mut held: Vec<_> = (0..3).map(|_| holds_a_worker()).collect();
        assert!(held.iter_mut().all(|stream| stream.next() != Some(worker)), "it is busy");
        gate.open();
        meet_again(worker);
    });
}

#[test]
fn a_leased_pool_goes_back_though_the_source_blocks() {
    child::succeeds(|| {
        let (sender, receiver) = mpsc::channel();
        sender.send(()).expect("the stream listens");
        let mut stream = receiver.into_iter().pool_imap(1, |()| this_thread());
        let worker = stream.next().expect("a result");
        drop(stream);
        meet_again(worker);
        drop(sender);
    });
}

#[test]
fn a_leased_pool_goes_back_at_the_end_of_its_stream() {
    child::succeeds(|| {
        for ordered in [true, false] {
            let place = |_| this_thread();
            let mut stream = if ordered { (0..2).pool_imap(1, place) } else { (0..2).pool_imap_unordered(1, place) };
            let worker = stream.by_ref().last().expect("two results");
            meet_again(worker);
            drop(stream);
        }
    });
}

#[test]
fn the_end_of_a_stream_may_be_that_of_its_pool() {
    for ordered in [true, false] {
        let exits = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&exits);
        let on_exit = move |_: &Worker| {
            seen.fetch_add(1, Ordering::Relaxed);
        };
        let pool = Pool::builder().threads(2).on_exit(on_exit).build().expect("two threads");
        let mut stream = if ordered { pool.imap(0..4, identity) } else { pool.imap_unordered(0..4, identity) };
        assert!(stream.next().is_some());
        drop(pool);
        assert_eq!(exits.load(Ordering::Relaxed), 0, "the stream has a handle");
        assert_eq!(stream.by_ref().count(), 3);
        assert_eq!(exits.load(Ordering::Relaxed), 2, "it let go of it");
        assert_eq!(stream.next(), None);
    }
}

#[test]
fn a_forgotten_stream_keeps_no_worker() {
    let pool = pool(1);
    let mut stream = (0..).pool_imap(&pool, |x| x);
    stream.next();
    mem::forget(stream);
    assert!((0..100).pool_map(&pool, |x| x).eq(0..100));
}

// ---- On workers ------------------------------------------------------------------------------------------------------

#[test]
fn on_the_only_worker_of_its_pool() {
    let pool = pool(1);
    for ordered in [true, false] {
        let inside = pool.clone();
        let sum = pool.install(move || {
            let items = 0..1000_u64;
            if ordered {
                items.pool_imap(&inside, |x| x).sum::<u64>()
            } else {
                items.pool_imap_unordered(&inside, |x| x).sum::<u64>()
            }
        });
        assert_eq!(sum, 499_500);
    }
}

#[test]
fn on_the_only_worker_with_a_source_that_waits_for_it() {
    let pool = pool(1);
    let inside = pool.clone();
    pool.install(move || {
        let (sender, receiver) = mpsc::channel();
        sender.send(0).expect("the stream listens");
        for (expected, x) in receiver.into_iter().pool_imap(&inside, |x| x).take(1000).enumerate() {
            assert_eq!(x, expected);
            sender.send(x + 1).expect("the stream listens");
        }
    });
}

#[test]
fn inside_f_at_any_depth() {
    fn sum(pool: &Pool, depth: usize) -> usize {
        if depth == 0 {
            return 1;
        }
        let inside = pool.clone();
        pool.imap(0..3, move |_| sum(&inside, depth - 1)).sum()
    }
    for workers in [1, 2, 3] {
        assert_eq!(sum(&pool(workers), 4), 81);
    }
}

#[test]
fn begun_outside_and_consumed_on_the_worker() {
    let pool = pool(1);
    let mut stream = (0..500).pool_imap(&pool, |x| x);
    assert_eq!(stream.next(), Some(0));
    pool.install(move || assert!(stream.eq(1..500)));
}

#[test]
fn on_a_plain_rayon_worker() {
    let rayon = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    rayon.install(|| assert!((0..500).pool_imap(2, |x| x).eq(0..500)));
}

#[test]
fn two_endless_streams_share_one_worker() {
    let pool = pool(1);
    let evens = (0..).step_by(2).pool_imap(&pool, |x: usize| x);
    let odds = (1..).step_by(2).pool_imap(&pool, |x: usize| x);
    assert!(evens.zip(odds).take(5000).all(|(even, odd)| even + 1 == odd));
}

/// A worker that waits inside rayon must not begin an item on top of the one it is in, nor of a piece of another one.
#[test]
fn no_item_runs_on_top_of_another() {
    let begun = AtomicBool::new(false);
    let (sender, receiver) = mpsc::channel();
    sender.send(0).expect("the stream listens");
    let stream = pool(2).imap(receiver.into_iter().take(2), move |x| {
        match x {
            0 => tempted(&begun, || sender.send(1).expect("the stream listens")),
            _ => begun.store(true, Ordering::SeqCst),
        }
        x
    });
    assert!(stream.eq(0..2));
}

// ---- Without threads -------------------------------------------------------------------------------------------------

/// Items run here one by one, each when it is asked for.
fn runs_here(stream: impl Iterator<Item = (usize, ThreadId)>) {
    let here = thread::current().id();
    for (expected, (x, thread)) in (0..20).zip(stream) {
        assert_eq!((x, thread), (expected, here));
    }
}

#[test]
fn on_an_inline_pool() {
    let pool = Pool::inline();
    let f = |x| (x, thread::current().id());
    runs_here((0..20).pool_imap(&pool, f));
    runs_here((0..).pool_imap_unordered(&pool, f));
    let (all, end) = all_of((0..20).pool_imap(&pool, |x| assert!(x < 5, "item {x}")));
    assert_eq!((all.len(), end.as_deref()), (5, Some("item 5")));
    let token = CancelToken::new();
    let mut stream = (0..).pool_imap(&pool, |x| x).cancel_on(&token);
    assert_eq!((stream.next(), stream.next()), (Some(0), Some(1)));
    token.cancel();
    assert_eq!((stream.next(), stream.next()), (None, None));
}

/// The child has neither the feeder nor the workers; what they had is the parent's.
#[cfg(target_os = "linux")]
#[test]
fn after_a_fork() {
    child::succeeds(|| {
        let pool = pool(2);
        let mut half = (0..1000).pool_imap(&pool, |x| x).chunk_size(1);
        assert_eq!(half.next(), Some(0));
        let gate = Arc::new(Gate::default());
        let (closed, (started, starts)) = (Arc::clone(&gate), mpsc::channel());
        let running = pool.spawn(move || {
            started.send(()).expect("the test listens");
            closed.wait();
        });
        starts.recv().expect("it starts");
        assert!(crate::without_threads::forked(|| {
            assert_eq!((half.next(), half.next()), (None, None));
            drop(half);
            runs_here((0..20).pool_imap(&pool, |x| (x, thread::current().id())));
            runs_here((0..20).pool_imap(2, |x| (x, thread::current().id())));
            pool_map::scope(2, |s| runs_here(s.imap(0..20, |x| (x, thread::current().id()))));
            assert!(running.try_join().is_err());
            pool.spawn(|| 3).join() == 3
        }));
        gate.open();
    });
}

#[test]
fn where_threads_cannot_start() {
    // No system has room for such a stack.
    child::with_env("RUST_MIN_STACK", "1152921504606846976").succeeds(|| {
        runs_here((0..20).pool_imap(2, |x| (x, thread::current().id())));
        // Workers that start leave the feeder as the one that cannot.
        let pool = Pool::builder().threads(2).stack_size(1 << 20).build().expect("small stacks");
        runs_here((0..20).pool_imap(&pool, |x| (x, thread::current().id())));
    });
}

// ---- Bad input -------------------------------------------------------------------------------------------------------

#[test]
#[should_panic(expected = "max_in_flight needs at least one item, got 0")]
fn a_limit_of_zero() {
    drop((0..8).pool_imap(2, |x| x).max_in_flight(0));
}

#[test]
#[should_panic(expected = "chunk_size needs at least one item, got 0")]
fn a_chunk_of_zero() {
    drop((0..8).pool_imap(2, |x| x).chunk_size(0));
}

#[test]
#[should_panic(expected = "a pool needs at least one worker, got 0")]
fn a_pool_of_zero() {
    drop((0..8).pool_imap(0, |x| x));
}

#[test]
#[should_panic(expected = "chunk_size has to come before the first result is asked for")]
fn an_option_after_the_start() {
    let mut stream = (0..8).pool_imap(2, |x| x);
    stream.next();
    drop(stream.chunk_size(2));
}

#[test]
fn bad_input_is_told_of_at_the_callers_line() {
    let child = child::run(|| {
        let _ = catch_unwind(|| drop((0..8).pool_imap(0, |x| x)));
        let _ = catch_unwind(|| drop((0..8).pool_imap(1, |x| x).max_in_flight(0)));
        let _ = catch_unwind(|| drop(Pool::inline().imap(0..8, |x| x).chunk_size(0)));
        println!("before line {}", line!());
    });
    let out = String::from_utf8_lossy(&child.stdout);
    let line = out.lines().find_map(|line| line.strip_prefix("before line ")).expect("it says the line");
    let line: u32 = line.parse().expect("a number");
    let err = String::from_utf8_lossy(&child.stderr);
    for above in 1..=3 {
        assert!(err.contains(&format!("imap.rs:{}:", line - above)), "{err}");
    }
}

#[test]
fn huge_limits_and_chunks() {
    let stream = (0..1000).pool_imap(2, |x| x).max_in_flight(usize::MAX).chunk_size(usize::MAX);
    assert!(stream.eq(0..1000));
    let nothing = (0..1_000_000).pool_imap(2, drop).max_in_flight(usize::MAX);
    assert_eq!(nothing.count(), 1_000_000);
}

#[test]
fn what_f_has_captured_is_dropped_before_the_end_is_told() {
    let pool = pool(3);
    for _ in 0..500 {
        let data = Arc::new(1);
        let captured = Arc::clone(&data);
        assert_eq!(pool.imap(0..100, move |x| x * *captured).sum::<u64>(), 4950);
        let captured = Arc::clone(&data);
        assert_eq!(pool.imap_unordered(0..100, move |x| x * *captured).sum::<u64>(), 4950);
        let captured = Arc::clone(&data);
        pool_map::scope(&pool, |s| {
            let captured = captured;
            assert_eq!(s.imap(0..100, move |x| x * *captured).sum::<u64>(), 4950);
            assert_eq!(Arc::strong_count(&data), 1);
        });
        assert_eq!(Arc::strong_count(&data), 1);
    }
}

#[test]
fn a_wait_with_an_end_tells_not_yet_from_the_end() {
    for is_ordered in [true, false] {
        let (sender, receiver) = mpsc::channel();
        let source = receiver.into_iter();
        let mut stream =
            if is_ordered { source.pool_imap(2, identity::<i32>) } else { source.pool_imap_unordered(2, identity) };
        for timeout in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(1)] {
            assert_eq!(stream.next_timeout(timeout), Err(NotReady));
        }
        assert_eq!((stream.try_next(), stream.size_hint()), (Err(NotReady), (0, None)));
        sender.send(1).expect("the stream listens");
        assert_eq!(stream.next_timeout(Duration::MAX), Ok(Some(1)));
        sender.send(2).expect("the stream listens");
        assert_eq!(stream.next_timeout(Duration::from_secs(100_000)), Ok(Some(2)));
        assert_eq!(stream.try_next(), Err(NotReady));
        drop(sender);
        assert_eq!(stream.next_timeout(Duration::MAX), Ok(None));
        assert_eq!((stream.try_next(), stream.next_timeout(Duration::MAX), stream.next()), (Ok(None), Ok(None), None));
    }
}

#[test]
fn a_result_that_is_ready_needs_no_time() {
    let pool = Pool::new(1).expect("a thread");
    let ran = Arc::new(Gate::default());
    let opens = Arc::clone(&ran);
    let mut stream = (0..3)
        .pool_imap(&pool, move |x| {
            (
                x,
                if x == 2 {
                    opens.open();
                },
            )
                .0
        })
        .chunk_size(1);
    while let Err(NotReady) = stream.try_next() {
        thread::yield_now();
    }
    ran.wait();
    pool.wait_idle();
    assert_eq!((stream.try_next(), stream.next_timeout(Duration::ZERO)), (Ok(Some(1)), Ok(Some(2))));
}

#[test]
fn a_panic_and_a_token_come_out_of_a_wait_with_an_end() {
    let next = |stream: &mut dyn FnMut() -> Result<Option<i32>, NotReady>| loop {
        if let Ok(next) = stream() {
            return next;
        }
        thread::yield_now();
    };
    let mut stream = (0..3).pool_imap(2, |x| (x, assert_ne!(x, 1, "one")).0).trace(TraceLevel::Off);
    assert_eq!(next(&mut || stream.try_next()), Some(0));
    let raised = catch_unwind(AssertUnwindSafe(|| next(&mut || stream.try_next())));
    assert!(text(&*raised.expect_err("it panics")).contains("one"));
    assert_eq!(stream.try_next(), Ok(None));
    let token = CancelToken::new();
    let mut stream = mpsc::channel::<i32>().1.into_iter().chain(0..).pool_imap(2, |x| x).cancel_on(&token);
    assert_eq!(next(&mut || stream.try_next()), Some(0));
    token.cancel();
    while next(&mut || stream.next_timeout(Duration::from_millis(1))).is_some() {}
    assert!(stream.was_cut_short());
}

#[test]
fn on_the_only_worker_of_its_pool_a_wait_with_an_end_ends() {
    let pool = Pool::new(1).expect("a thread");
    let inside = pool.clone();
    let found = pool.spawn(move || {
        let mut stream = (0..3).pool_imap(&inside, |x| x);
        let soon = [stream.try_next(), stream.next_timeout(Duration::from_millis(1))];
        (soon, stream.next_timeout(Duration::MAX), stream.next())
    });
    assert_eq!(found.join(), ([Err(NotReady), Err(NotReady)], Ok(Some(0)), Some(1)));
}

#[test]
fn without_threads_a_wait_with_an_end_runs_the_item() {
    let mut stream = (0..2).pool_imap(Pool::inline(), |x| x);
    assert_eq!(
        (stream.try_next(), stream.next_timeout(Duration::ZERO), stream.try_next()),
        (Ok(Some(0)), Ok(Some(1)), Ok(None))
    );
}

#[test]
fn a_call_with_its_options_runs_ahead() {
    let pool = pool(2);
    let token = CancelToken::new();
    let call = (0..100).zip(1..).pool_starmap(&pool, |a: u64, b: u64| a * b);
    let stream = call.chunk_size(2).max_in_flight(4).named("products").cancel_on(&token).catch_panics().run_ahead();
    assert!(stream.map(|result| result.expect("no panic")).eq((0..100).map(|a| a * (a + 1))));
    // It runs ahead: item 5 runs though nobody takes the result of item 0.
    let ran = Arc::new(Gate::default());
    let opens = Arc::clone(&ran);
    let f = move |(): &mut (), x: usize| {
        (
            x,
            if x == 5 {
                opens.open();
            },
        )
            .0
    };
    let mut stream = (0..10).pool_map_init(&pool, || (), f).run_ahead().unordered();
    let first = stream.next().expect("ten results");
    ran.wait();
    let mut all: Vec<_> = iter::once(first).chain(stream).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..10));
    token.cancel();
    assert_eq!((0..100).pool_map(&pool, identity).cancel_on(&token).run_ahead().next(), None);
}

#[test]
fn without_order_a_result_does_not_wait_for_the_one_before() {
    let pool = pool(2);
    let came_out = Arc::new(Gate::default());
    let waits = Arc::clone(&came_out);
    let f = move |x| {
        (
            x,
            if x == 0 {
                waits.wait();
            },
        )
            .0
    };
    let mut stream = (0..2).pool_imap(&pool, f).chunk_size(1).unordered();
    assert_eq!(stream.next(), Some(1));
    came_out.open();
    assert_eq!((stream.next(), stream.next()), (Some(0), None));
}

#[test]
fn after_the_first_result_it_is_too_late_to_run_ahead_or_out_of_order() {
    let mut call = (0..10).pool_map(2, identity);
    assert_eq!(call.next(), Some(0));
    let raised = catch_unwind(AssertUnwindSafe(|| drop(call.run_ahead()))).expect_err("too late");
    assert_eq!(text(&*raised), "run_ahead has to come before the first result is asked for");
    let mut stream = (0..10).pool_imap(2, identity);
    assert_eq!(stream.next(), Some(0));
    let raised = catch_unwind(AssertUnwindSafe(|| drop(stream.unordered()))).expect_err("too late");
    assert_eq!(text(&*raised), "unordered has to come before the first result is asked for");
}
