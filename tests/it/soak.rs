//! Everything at once for as long as one likes: `.ci/soak SECONDS`. With random panics, drops, cancels and nested calls,
//! under a watchdog that names the threads if one hangs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use std::{env, io::Write as _, mem, panic, process, thread};

use pool_map::{CancelToken, IntoPool, Pool, PoolIterator, PoolParallelIterator, Task, Timeline, TraceLevel, scope};
use rayon::prelude::*;

use crate::gate::text;
use crate::stress::{self, Random};

/// How many seconds a thread may be at one step.
const PATIENCE: usize = 120;

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn pool(workers: usize, name: &str) -> Pool {
    Pool::builder().threads(workers).name(name).trace(TraceLevel::Off).build().expect("a few threads start")
}

/// What the mix runs on.
pub(crate) fn pools() -> [Pool; 4] {
    [pool(1, "One"), pool(2, "Two"), pool(4, "Four"), Pool::inline()]
}

fn f(x: usize) -> usize {
    if x % 7 == 0 {
        thread::yield_now();
    }
    x * 3
}

/// A stream of `items` on some pool, with some options.
macro_rules! some_stream {
    ($random:expr, $pool:expr, $items:expr, $method:ident, $f:expr) => {{
        let (chunk, limit) = (1 + $random.below(30), 1 + $random.below(90));
        let stream = $items.$method($pool, $f).trace(TraceLevel::Off);
        let stream = if $random.below(2) == 0 { stream.chunk_size(chunk) } else { stream };
        if $random.below(2) == 0 { stream.max_in_flight(limit) } else { stream }
    }};
}

fn whole_streams(random: &mut Random, pool: impl IntoPool) {
    let items = random.below(3000);
    assert!(some_stream!(random, pool, (0..items), pool_imap, f).eq((0..items).map(|x| x * 3)));
}

fn unordered_streams(random: &mut Random, pool: impl IntoPool) {
    let items = random.below(1000);
    let sum = some_stream!(random, pool, (0..items), pool_imap_unordered, f).sum::<usize>();
    assert_eq!(sum, (0..items).map(|x| x * 3).sum::<usize>());
}

fn streams_that_are_dropped(random: &mut Random, pool: &Pool) {
    let taken = random.below(100);
    let mut stream = some_stream!(random, pool, (0..), pool_imap, f);
    assert!(stream.by_ref().take(taken).eq((0..taken).map(|x| x * 3)));
}

fn streams_that_panic(random: &mut Random, pool: &Pool) {
    let (items, failing, by_source) = (random.below(300), random.below(300), random.below(2) == 0);
    let source = (0..items).inspect(move |&x| assert!(!by_source || x != failing, "item {x}"));
    let work = move |x: usize| {
        assert!(by_source || x != failing, "item {x}");
        x
    };
    let mut stream = some_stream!(random, pool, source, pool_imap, work);
    let mut seen = 0;
    let end = catch_unwind(AssertUnwindSafe(|| {
        for x in stream.by_ref() {
            assert_eq!(x, seen);
            seen += 1;
        }
    }));
    assert_eq!(seen, failing.min(items));
    assert_eq!(end.is_err(), failing < items);
    if let Err(payload) = end {
        assert_eq!(text(&*payload), format!("item {failing}"));
    }
    assert_eq!(stream.next(), None);
}

fn streams_that_are_cancelled(random: &mut Random, pool: &Pool) {
    let (at, from) = (random.below(500), random.below(3));
    let token = CancelToken::new();
    let within = token.clone();
    let work = move |x| {
        if from == 0 && x == at {
            within.cancel();
        }
        x
    };
    let stream = some_stream!(random, pool, (0..), pool_imap, work).cancel_on(&token);
    let other = token.clone();
    let canceller = (from == 1).then(|| thread::spawn(move || other.cancel()));
    for (expected, x) in stream.enumerate() {
        assert_eq!(x, expected);
        if from == 2 && x == at {
            token.cancel();
        }
    }
    if let Some(canceller) = canceller {
        canceller.join().expect("it only cancels");
    }
    let mapped = (0..).take_while(|_| true).pool_map(pool, |x: usize| x).cancel_on(&token);
    assert_eq!(mapped.count(), 0);
}

fn scopes(random: &mut Random, pool: &Pool) {
    let data: Vec<usize> = (0..random.below(500)).collect();
    // What is forgotten stays in memory, so not often.
    let (taken, forgets, panics) = (random.below(600), random.below(50) == 0, random.below(3) == 0);
    let end = catch_unwind(AssertUnwindSafe(|| {
        scope(pool, |s| {
            let mut stream = s.imap(data.iter(), |x| x * 3).trace(TraceLevel::Off);
            let other = s.imap_unordered(&data, |x| *x);
            assert!(stream.by_ref().take(taken).eq(data.iter().take(taken).map(|x| x * 3)));
            if forgets {
                mem::forget(stream);
            }
            assert_eq!(other.sum::<usize>(), data.iter().sum::<usize>());
            assert!(!panics, "item: the body");
        });
    }));
    assert_eq!(end.is_err(), panics);
}

fn tasks(random: &mut Random, pool: &Pool) {
    fn sum(pool: &Pool, depth: usize) -> usize {
        if depth == 0 {
            return 1;
        }
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let inside = pool.clone();
                pool.spawn(move || sum(&inside, depth - 1))
            })
            .collect();
        tasks.into_iter().map(Task::join).sum()
    }
    let depth = random.below(5);
    assert_eq!(sum(pool, depth), 1 << depth);
    let token = CancelToken::new();
    for number in 0..random.below(20) {
        // An inline pool has no level of its own, and would print them all.
        let fails = random.below(4) == 0 && !pool.is_inline();
        let task = pool.spawn(move || {
            assert!(!fails, "item: a task");
            number
        });
        match random.below(5) {
            0 => drop(task),
            1 => assert_eq!(task.try_join().is_err(), fails),
            2 => {
                let outcome = catch_unwind(AssertUnwindSafe(|| task.join_timeout(Duration::from_micros(50)).is_ok()));
                assert!(!fails || outcome.is_err() || outcome.is_ok_and(|done| !done));
            }
            3 => {
                let task = task.cancel_on(&token);
                token.cancel();
                drop(task.try_join());
            }
            _ => assert_eq!(catch_unwind(AssertUnwindSafe(|| task.join())).ok(), (!fails).then_some(number)),
        }
    }
}

fn nested(random: &mut Random, pool: &Pool, other: &Pool) {
    let (a, b) = (pool.clone(), other.clone());
    let items = random.below(40);
    let work = move |x: usize| {
        let streamed: usize = a.imap(0..x % 5, f).sum();
        let mapped: usize = (0..x % 5).pool_map(&b, f).sum();
        let task = b.spawn(move || x);
        let rayon: usize = (0..x % 5).into_par_iter().map(f).sum();
        assert_eq!((streamed, mapped), (rayon, rayon));
        task.join()
    };
    assert!(some_stream!(random, pool, (0..items), pool_imap, work).eq(0..items));
}

fn pools_that_end(random: &mut Random) {
    let pool = pool(1 + random.below(3), "Short");
    let tasks: Vec<_> = (0..random.below(20)).map(|x| pool.spawn(move || f(x))).collect();
    let mut stream = pool.imap(0..1000, f);
    if random.below(2) == 0 {
        assert_eq!(stream.next(), Some(0));
    }
    let joins = random.below(2) == 0;
    match random.below(3) {
        0 => drop(stream),
        1 => mem::drop(stream.by_ref().take(50).count()),
        _ => {
            let last = pool.clone();
            drop(pool.spawn(move || if joins { last.join() } else { drop(last) }));
        }
    }
    if joins {
        pool.join();
    } else {
        drop(pool);
    }
    for task in tasks {
        drop(task.try_join());
    }
}

fn conversations(random: &mut Random, pool: &Pool) {
    let (sender, receiver) = mpsc::channel();
    let turns = random.below(300);
    sender.send(0).expect("the stream listens");
    for (expected, x) in some_stream!(random, pool, receiver.into_iter(), pool_imap, |x| x).take(turns).enumerate() {
        assert_eq!(x, expected);
        sender.send(x + 1).expect("the stream listens");
    }
}

fn split_data(random: &mut Random, pool: &Pool) {
    let (items, failing) = (random.below(2000), random.below(3000));
    let work = |x: usize| {
        assert!(x != failing || pool.is_inline(), "item {x}");
        f(x)
    };
    let call = || (0..items).into_par_iter().pool_map(pool, work).trace(TraceLevel::Off);
    let outcomes = [
        catch_unwind(AssertUnwindSafe(|| call().collect_vec())),
        catch_unwind(AssertUnwindSafe(|| call().collect())),
        catch_unwind(AssertUnwindSafe(|| call().chunk_size(7).observe(&Timeline::new()).collect())),
    ];
    for outcome in outcomes {
        assert_eq!(outcome.is_err(), failing < items && !pool.is_inline());
        assert!(outcome.is_ok_and(|results| results.into_iter().eq((0..items).map(|x| x * 3))) || failing < items);
    }
    let taken = random.below(100).min(items);
    let first = (0..items).into_par_iter().pool_map(pool, f).consume(|results| results.take(taken).count());
    assert_eq!(first, taken);
}

fn watched(random: &mut Random, pool: &Pool) {
    let (timeline, items) = (Timeline::new(), random.below(500));
    scope(pool, |s| assert_eq!(s.imap(0..items, f).observe(&timeline).count(), items));
    assert_eq!((0..items).pool_map(pool, f).observe(&timeline).count(), items);
    assert_eq!(timeline.items(), 2 * items as u64);
}

/// One call of a random kind, checked: those of [`stress`], streams, scopes, tasks, whole pools.
pub(crate) fn step(random: &mut Random, pools: &[Pool]) {
    let pool = &pools[random.below(pools.len())];
    let other = &pools[random.below(pools.len())];
    match random.below(15) {
        0 => whole_streams(random, pool),
        1 => whole_streams(random, 1 + pool.threads() % 3),
        2 => unordered_streams(random, pool),
        3 => streams_that_are_dropped(random, pool),
        4 => streams_that_panic(random, pool),
        5 => streams_that_are_cancelled(random, pool),
        6 => scopes(random, pool),
        7 => tasks(random, pool),
        8 => nested(random, pool, other),
        9 => pools_that_end(random),
        10 => conversations(random, pool),
        12 => split_data(random, pool),
        13 => watched(random, pool),
        11 => {
            // The same on a worker.
            let (mut seed, inside, others) = (Random(random.0), pool.clone(), pools.to_vec());
            random.below(2);
            pool.spawn(move || match seed.below(5) {
                0 => whole_streams(&mut seed, &inside),
                1 => scopes(&mut seed, &inside),
                2 => tasks(&mut seed, &inside),
                3 => streams_that_panic(&mut seed, &inside),
                _ => stress::step(&mut seed, &others),
            })
            .join();
        }
        _ => stress::step(random, pools),
    }
}

/// Ends the process if one of the threads does not come forward, and says which threads there are.
fn watch(steps: &[AtomicUsize], over: &AtomicBool) {
    let mut seen: Vec<(usize, usize)> = vec![(0, 0); steps.len()];
    while !over.load(Ordering::Relaxed) {
        // A watchdog: it looks at real time, and nobody waits for it.
        thread::sleep(Duration::from_secs(1));
        for (number, (at, since)) in seen.iter_mut().enumerate() {
            let now = steps[number].load(Ordering::Relaxed);
            *since = if now == *at { *since + 1 } else { 0 };
            *at = now;
            if *since == PATIENCE && now != usize::MAX {
                let mut err = std::io::stderr();
                let _ = writeln!(err, "thread {number} hangs at its step {now}");
                for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
                    let read = |file| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
                    let _ = writeln!(err, "  {} ({})", read("comm").trim(), read("wchan").trim());
                }
                process::abort();
            }
        }
    }
}

// Without a time limit.
#[::core::prelude::v1::test]
#[ignore = "goes on for as long as it is told to: .ci/soak SECONDS"]
fn everything_at_once() {
    let seconds = Duration::from_secs(setting("SOAK_SECONDS", 10));
    let seed = setting("SOAK_SEED", u64::from(process::id()));
    let threads = usize::try_from(setting("SOAK_THREADS", 4)).expect("a few");
    println!("seed {seed}");
    // What panics on purpose says nothing, or a log of an hour would be of gigabytes.
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !text(info.payload()).starts_with("item") {
            usual(info);
        }
    }));
    let pools = pools();
    let steps: Arc<[AtomicUsize]> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
    let over = AtomicBool::new(false);
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| watch(&steps, &over));
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                let (pools, steps) = (&pools, Arc::clone(&steps));
                scope.spawn(move || {
                    let mut random = Random((seed + number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
                    while start.elapsed() < seconds {
                        step(&mut random, pools);
                        steps[number].fetch_add(1, Ordering::Relaxed);
                    }
                    steps[number].swap(usize::MAX, Ordering::Relaxed)
                })
            })
            .collect();
        let steps: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        println!("steps: {steps:?}");
        assert!(steps.iter().all(Result::is_ok));
    });
    for pool in pools {
        assert!((0..100).pool_map(&pool, |x| x).eq(0..100));
        pool.join();
    }
}
