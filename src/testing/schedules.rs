//! Calls, streams and tasks in many orders of their threads' steps. `.ci/schedules` runs these; see [`sync`](crate::base::sync).
//!
//! Each test is run again and again, with other numbers of workers, items, panics… and another order. A wait that never ends is
//! a failure: shuttle sees that no thread can take a step.
//!
//! `SCHEDULES` is how many orders each test comes in, a thousand by default. With `PCT=3`, shuttle chooses them so that a fault
//! that takes three preemptions is found with a known probability; otherwise each step is any thread's that can take one.

use crate::base::sync::thread;
use crate::panics::text::TraceLevel;
use crate::{CancelToken, NotReady, PanicKind, Pool, PoolIterator, Task, as_completed};
use shuttle::rand::{Rng, thread_rng};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn in_many_orders(test: fn()) {
    let number = |name| std::env::var(name).ok().map(|value| value.parse::<usize>().expect("a number"));
    let schedules = number("SCHEDULES").unwrap_or(1000);
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 18;
    config.max_steps = shuttle::MaxSteps::FailAfter(200_000);
    config.failure_persistence = shuttle::FailurePersistence::None;
    match number("PCT") {
        Some(depth) => {
            shuttle::Runner::new(shuttle::scheduler::PctScheduler::new(depth, schedules), config).run(test);
        }
        None => {
            shuttle::Runner::new(shuttle::scheduler::RandomScheduler::new(schedules), config).run(test);
        }
    }
}

#[test(minutes = 60)]
fn calls() {
    in_many_orders(|| Setting::random().call(&pool()));
}

#[test(minutes = 60)]
fn streams() {
    in_many_orders(|| {
        let pool = pool();
        // It keeps the workers it needs.
        let kept = chance(2).then(|| pool.clone());
        Setting::random().stream(pool);
        drop(kept);
    });
}

#[test(minutes = 60)]
fn tasks() {
    in_many_orders(|| some_tasks(&pool()));
}

#[test(minutes = 60)]
fn several_callers_of_one_pool() {
    in_many_orders(|| {
        let pool = pool();
        let others = (0..thread_rng().gen_range(1..3)).map(|_| {
            let pool = pool.clone();
            thread::spawn(move || anything(&pool))
        });
        let others: Vec<_> = others.collect();
        anything(&pool);
        if chance(3) {
            pool.wait_idle();
        }
        if chance(3) {
            pool.join();
        } else {
            drop(pool);
        }
        others.into_iter().for_each(|other| other.join().expect("it does not panic"));
    });
}

#[test(minutes = 60)]
fn calls_inside_of_calls() {
    in_many_orders(|| {
        let (pool, other) = (pool(), pool());
        let inner = |x: usize| match x % 4 {
            0 => (x..x + 2).pool_map(&pool, |x| x).sum::<usize>(),
            1 => (x..x + 2).pool_map(&other, |x| x).sum(),
            2 => (x..x + 2).pool_imap(&pool, |x| x).sum(),
            _ => [x, x + 1].map(|x| pool.spawn(move || x)).map(Task::join).into_iter().sum(),
        };
        let sums = (0..4).pool_map(&pool, inner).chunk_size(1).collect::<Vec<_>>();
        assert_eq!(sums, [1, 3, 5, 7]);
    });
}

fn anything(pool: &Pool) {
    match thread_rng().gen_range(0..4) {
        0 => Setting::random().call(pool),
        1 => Setting::random().stream(pool.clone()),
        2 => some_tasks(pool),
        _ => assert_eq!(pool.install(|| 7), 7),
    }
}

/// True once in so many times.
fn chance(of: usize) -> bool {
    thread_rng().gen_range(0..of) == 0
}

fn maybe(end: usize) -> Option<usize> {
    chance(3).then(|| thread_rng().gen_range(0..end))
}

fn pool() -> Pool {
    let threads = thread_rng().gen_range(1..4);
    Pool::builder().threads(threads).trace(TraceLevel::Off).build().expect("threads are shuttle's")
}

/// What `f` does besides: it takes a few steps.
fn work() {
    for _ in 0..thread_rng().gen_range(0..3) {
        thread::yield_now();
    }
}

/// An item, a result, or what a closure has captured.
#[derive(Clone)]
struct Counted(usize, #[expect(dead_code, reason = "it is counted")] Arc<()>);

#[derive(Clone, Debug)]
struct Setting {
    items: usize,
    chunk: usize,
    limit: usize,
    bad: Option<usize>,
    bad_source: Option<usize>,
    stop_after: Option<usize>,
    cancels: bool,
    ordered: bool,
    way: usize,
}

/// What the consumer had, and the panic at its end.
type Seen = (Vec<usize>, Option<usize>);

/// The payload of a source; that of an item is its number.
const SOURCE: usize = 1000;

impl Setting {
    fn random() -> Setting {
        let mut rng = thread_rng();
        Setting {
            items: rng.gen_range(0..7),
            chunk: rng.gen_range(1..4),
            limit: rng.gen_range(1..7),
            bad: maybe(7),
            bad_source: if chance(2) { maybe(7) } else { None },
            stop_after: maybe(5),
            cancels: chance(4),
            ordered: !chance(3),
            way: rng.gen_range(0..4),
        }
    }

    fn source(&self, alive: &Arc<()>) -> impl Iterator<Item = Counted> + use<> {
        let (items, bad, alive) = (self.items, self.bad_source, Arc::clone(alive));
        (0..=items).map_while(move |number| {
            if bad == Some(number) {
                resume_unwind(Box::new(SOURCE));
            }
            (number < items).then(|| Counted(number, Arc::clone(&alive)))
        })
    }

    fn f(&self, alive: &Arc<()>) -> (impl Fn(Counted) -> Counted + use<>, Arc<[AtomicUsize]>) {
        let runs: Arc<[AtomicUsize]> = (0..self.items).map(|_| AtomicUsize::new(0)).collect();
        let (bad, alive, counts) = (self.bad, Arc::clone(alive), Arc::clone(&runs));
        let f = move |item: Counted| {
            work();
            counts[item.0].fetch_add(1, Ordering::Relaxed);
            if bad == Some(item.0) {
                resume_unwind(Box::new(item.0));
            }
            Counted(item.0, Arc::clone(&alive))
        };
        (f, runs)
    }

    /// Lets another thread cancel the call at some time, if it is to be cancelled.
    fn canceller(&self, token: &CancelToken) -> Option<thread::JoinHandle<()>> {
        let token = token.clone();
        self.cancels.then(|| thread::spawn(move || token.cancel()))
    }

    /// Takes the results one by one, as many as are wanted.
    fn take(&self, results: impl Iterator<Item = Counted>, seen: &mut Vec<usize>) {
        let wanted = self.stop_after.unwrap_or(usize::MAX);
        results.take(wanted).for_each(|result| seen.push(result.0));
    }

    fn call(&self, pool: &Pool) {
        let alive = Arc::new(());
        let token = CancelToken::new();
        let (f, runs) = self.f(&alive);
        let canceller = self.canceller(&token);
        let mut seen = Vec::new();
        let end = catch_unwind(AssertUnwindSafe(|| {
            let call = self.source(&alive).pool_map(pool, f).chunk_size(self.chunk).max_in_flight(self.limit);
            let mut call = call.cancel_on(&token);
            match self.way {
                0 => seen = call.collect::<Vec<_>>().into_iter().map(|result| result.0).collect(),
                1 => call.consume(|results| self.take(results, &mut seen)),
                // In batches.
                2 => self.take(std::iter::from_fn(|| call.next()), &mut seen),
                _ => call.for_each(|result| seen.push(result.0)),
            }
        }));
        assert_eq!(Arc::strong_count(&alive), 1, "something outlives the call: {self:?}");
        canceller.into_iter().for_each(|canceller| canceller.join().expect("it does not panic"));
        let takes_all = matches!(self.way, 0 | 3) || self.stop_after.is_none();
        let end = end.err().map(|payload| *payload.downcast::<usize>().expect("a payload of ours"));
        // What a `collect` that panics has had is lost.
        let seen = if self.way == 0 && end.is_some() { self.expected().0 } else { seen };
        self.check((seen, end), true, takes_all, &runs);
    }

    fn stream(&self, pool: Pool) {
        let alive = Arc::new(());
        let token = CancelToken::new();
        let (f, runs) = self.f(&alive);
        let canceller = self.canceller(&token);
        let mut seen = Vec::new();
        let end = catch_unwind(AssertUnwindSafe(|| {
            let stream = if self.ordered {
                self.source(&alive).pool_imap(&pool, f)
            } else {
                self.source(&alive).pool_imap_unordered(&pool, f)
            };
            let mut stream = stream.chunk_size(self.chunk).max_in_flight(self.limit).cancel_on(&token);
            if self.way == 0 {
                let ask = || loop {
                    match stream.try_next() {
                        Ok(next) => return next,
                        Err(NotReady) => thread::yield_now(),
                    }
                };
                self.take(std::iter::from_fn(ask), &mut seen);
            } else {
                self.take(stream, &mut seen);
            }
        }));
        drop(pool);
        // What runs, and the source's `next`, end on their own.
        while Arc::strong_count(&alive) > 1 {
            thread::yield_now();
        }
        canceller.into_iter().for_each(|canceller| canceller.join().expect("it does not panic"));
        let end = end.err().map(|payload| *payload.downcast::<usize>().expect("a payload of ours"));
        self.check((seen, end), self.ordered, self.stop_after.is_none(), &runs);
    }

    /// What a loop would have given.
    fn expected(&self) -> Seen {
        let all = self.bad_source.filter(|bad| *bad <= self.items).unwrap_or(self.items);
        let end = if all == self.items && self.bad_source != Some(all) { None } else { Some(SOURCE) };
        match self.bad {
            Some(bad) if bad < all => ((0..bad).collect(), Some(bad)),
            _ => ((0..all).collect(), end),
        }
    }

    fn check(&self, (mut seen, end): Seen, is_ordered: bool, takes_all: bool, runs: &[AtomicUsize]) {
        let (expected, expected_end) = self.expected();
        assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) <= 1), "an item ran twice: {self:?}");
        if !is_ordered {
            // Any results and, if there are several, any of the panics.
            seen.sort_unstable();
            assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}: {self:?}");
            assert!(end.is_none_or(|end| Some(end) == self.bad || end == SOURCE), "{end:?}: {self:?}");
            if expected_end.is_some() || end.is_some() {
                return;
            }
        }
        if is_ordered {
            assert!(expected.starts_with(&seen), "{seen:?}: {self:?}");
        }
        assert!(end.is_none() || end == expected_end, "{end:?}: {self:?}");
        if takes_all && !self.cancels {
            assert_eq!((seen, end), (expected, expected_end), "{self:?}");
        }
    }
}

/// Spawns tasks; waits for some, cancels or drops others.
fn some_tasks(pool: &Pool) {
    let alive = Arc::new(());
    let token = CancelToken::new();
    let bad = maybe(5);
    let tasks = (0..thread_rng().gen_range(0..5)).map(|number| {
        let item = Counted(number, Arc::clone(&alive));
        let task = pool.spawn(move || {
            work();
            if bad == Some(number) {
                resume_unwind(Box::new(number));
            }
            item
        });
        (number, if chance(3) { task.cancel_on(&token) } else { task })
    });
    let tasks: Vec<_> = tasks.collect();
    let canceller = chance(3).then(|| {
        let token = token.clone();
        thread::spawn(move || token.cancel())
    });
    let check = |number, end: Result<Counted, crate::TaskPanic>| match end {
        Ok(result) => assert_eq!(result.0, number),
        Err(panic) if panic.kind() == PanicKind::Cancelled => {}
        Err(panic) => {
            let payload = panic.into_payload().downcast::<usize>();
            assert_eq!((payload.ok().as_deref(), bad), (Some(&number), Some(number)));
        }
    };
    let mut left = Vec::new();
    for (number, task) in tasks {
        match thread_rng().gen_range(0..5) {
            0 => check(number, task.try_join()),
            1 => {
                let was_cancelled = task.cancel();
                let end = task.try_join();
                assert!(!was_cancelled || end.as_ref().is_err_and(|panic| panic.kind() == PanicKind::Cancelled));
                check(number, end);
            }
            2 => drop(task),
            _ => left.push(task),
        }
    }
    let count = left.len();
    assert_eq!(as_completed(left).map(|task| drop(task.try_join())).count(), count);
    canceller.into_iter().for_each(|canceller| canceller.join().expect("it does not panic"));
    // Dropped ones run as well.
    while Arc::strong_count(&alive) > 1 {
        thread::yield_now();
    }
}
