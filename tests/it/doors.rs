//! The contract behind both doors: one list of cases, each gone through with a plain iterator, with data that rayon can
//! split, and, where all results are wanted, with `collect_vec`.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};
use std::thread;

use pool_map::{
    CancelToken, Observer, Pool, PoolIterator, PoolParallelIterator, TaskInfo, TaskOutcome, TaskPanic, TraceLevel,
    Worker,
};
use rayon::prelude::*;

use crate::gate::{Gate, text};
use crate::seen;

/// A value that is counted while it lives.
struct Live<'a> {
    value: usize,
    count: &'a AtomicIsize,
}

impl<'a> Live<'a> {
    fn new(value: usize, count: &'a AtomicIsize) -> Live<'a> {
        count.fetch_add(1, Ordering::SeqCst);
        Live { value, count }
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What every door is given.
#[derive(Clone, Copy)]
struct Call<'a> {
    pool: &'a Pool,
    items: usize,
    count: &'a AtomicIsize,
    chunk: Option<usize>,
    limit: Option<usize>,
    token: Option<&'a CancelToken>,
    f: &'a (dyn Fn(usize) -> usize + Sync),
}

/// A way through the crate, from items to results.
trait Door: Sync {
    fn name(&self) -> &'static str;
    fn collect<'a>(&self, call: Call<'a>) -> Vec<Live<'a>>;
    fn for_each(&self, call: Call<'_>, consume: &mut dyn FnMut(usize));
    fn try_collect(&self, call: Call<'_>, bad: &(dyn Fn(usize) -> bool + Sync)) -> Result<Vec<usize>, usize>;
    fn take(&self, call: Call<'_>, count: usize) -> Vec<usize>;
    fn caught(&self, call: Call<'_>) -> Vec<Result<usize, usize>>;
    fn with_state(&self, call: Call<'_>, init: &(dyn Fn() -> usize + Sync)) -> Vec<usize>;
    fn observed(&self, call: Call<'_>, observer: &dyn Observer);
}

macro_rules! options {
    ($adaptor:expr, $call:expr) => {{
        let mut adaptor = $adaptor.trace(TraceLevel::Off);
        if let Some(items) = $call.chunk {
            adaptor = adaptor.chunk_size(items);
        }
        if let Some(items) = $call.limit {
            adaptor = adaptor.max_in_flight(items);
        }
        if let Some(token) = $call.token {
            adaptor = adaptor.cancel_on(token);
        }
        adaptor
    }};
}

/// The calls that adaptors have in common, by way of three expressions: the call itself, all results, and an iterator over
/// them for a closure.
macro_rules! door {
    (
        $door:ident, $name:literal, |$items:ident| $source:expr, |$it:ident, $pool:ident, $f:ident| $mapped:expr,
        |$all:ident| $vec:expr, |$some:ident, $then:ident| $consumed:expr
    ) => {
        struct $door;

        impl Door for $door {
            fn name(&self) -> &'static str {
                $name
            }

            fn collect<'a>(&self, call: Call<'a>) -> Vec<Live<'a>> {
                let $items = items(call);
                let ($it, $pool) = ($source, call.pool);
                let $f = |item: Live<'a>| Live::new((call.f)(item.value), item.count);
                let $all = options!($mapped, call);
                $vec
            }

            fn for_each(&self, call: Call<'_>, consume: &mut dyn FnMut(usize)) {
                let $items = items(call);
                let ($it, $pool) = ($source, call.pool);
                let $f = |item: Live<'_>| (call.f)(item.value);
                let results = options!($mapped, call);
                results.for_each(consume);
            }

            fn try_collect(&self, call: Call<'_>, bad: &(dyn Fn(usize) -> bool + Sync)) -> Result<Vec<usize>, usize> {
                let $items = items(call);
                let ($it, $pool) = ($source, call.pool);
                let $f = |item: Live<'_>| {
                    let result = (call.f)(item.value);
                    if bad(item.value) { Err(item.value) } else { Ok(result) }
                };
                options!($mapped, call).collect()
            }

            fn take(&self, call: Call<'_>, count: usize) -> Vec<usize> {
                let $items = items(call);
                let ($it, $pool) = ($source, call.pool);
                let $f = |item: Live<'_>| (call.f)(item.value);
                let $some = options!($mapped, call);
                let $then = |results: &mut dyn Iterator<Item = usize>| results.take(count).collect::<Vec<_>>();
                $consumed
            }

            fn caught(&self, call: Call<'_>) -> Vec<Result<usize, usize>> {
                let $items = items(call);
                let ($it, $pool) = ($source, call.pool);
                let $f = |item: Live<'_>| (call.f)(item.value);
                let results = options!($mapped, call);
                let $all = results.catch_panics();
                let results: Vec<_> = $vec;
                results.into_iter().map(|result| result.map_err(|panic| panic.index().expect("an item"))).collect()
            }

            fn with_state(&self, call: Call<'_>, init: &(dyn Fn() -> usize + Sync)) -> Vec<usize> {
                let $items = items(call);
                let f = |state: &mut usize, item: Live<'_>| *state + (call.f)(item.value);
                let $all = options!($source.pool_map_init(call.pool, init, f), call);
                $vec
            }

            fn observed(&self, call: Call<'_>, observer: &dyn Observer) {
                let $items = items(call);
                let ($it, $pool) = ($source, call.pool);
                let $f = |item: Live<'_>| (call.f)(item.value);
                let results = options!($mapped, call);
                results.observe(observer).for_each(drop);
            }
        }
    };
}

fn items(call: Call<'_>) -> Vec<Live<'_>> {
    (0..call.items).map(|value| Live::new(value, call.count)).collect()
}

door!(
    Plain,
    "a plain iterator",
    |items| items.into_iter(),
    |it, pool, f| it.pool_map(pool, f),
    |all| all.collect(),
    |some, then| then(&mut { some })
);
door!(
    Consumed,
    "a plain iterator, consumed",
    |items| items.into_iter(),
    |it, pool, f| it.pool_map(pool, f),
    |all| all.consume(|results| results.collect()),
    |some, then| some.consume(|mut results| then(&mut results))
);
door!(
    With,
    "a clone for each worker",
    |items| items.into_iter(),
    |it, pool, f| it.pool_map_with(pool, std::cell::Cell::new(0), move |state: &mut std::cell::Cell<u64>, item| {
        state.set(state.get() + 1);
        f(item)
    }),
    |all| all.collect(),
    |some, then| then(&mut { some })
);
door!(
    Slow,
    "with a report of slow items",
    |items| items.into_iter(),
    |it, pool, f| it.pool_map(pool, f).report_slow(std::time::Duration::from_secs(3600)),
    |all| all.collect(),
    |some, then| then(&mut { some })
);
door!(
    Split,
    "data that can be split",
    |items| items.into_par_iter(),
    |it, pool, f| it.pool_map(pool, f),
    |all| all.collect(),
    |some, then| some.consume(|mut results| then(&mut results))
);
door!(
    Whole,
    "collect_vec",
    |items| items.into_par_iter(),
    |it, pool, f| it.pool_map(pool, f),
    |all| all.collect_vec(),
    |some, then| some.consume(|mut results| then(&mut results))
);

/// A state for each worker that may fail to be made.
struct TryInit;

/// The results, which nothing has failed for.
fn made<R>(result: Result<R, usize>) -> R {
    result.expect("the state is there")
}

impl Door for TryInit {
    fn name(&self) -> &'static str {
        "a state that may fail"
    }

    fn collect<'a>(&self, call: Call<'a>) -> Vec<Live<'a>> {
        let f = |(): &mut (), item: Live<'a>| Ok(Live::new((call.f)(item.value), item.count));
        let results: Result<Vec<_>, usize> =
            options!(items(call).into_iter().pool_map_try_init(call.pool, || Ok(()), f), call).collect();
        made(results)
    }

    fn for_each(&self, call: Call<'_>, consume: &mut dyn FnMut(usize)) {
        let f = |(): &mut (), item: Live<'_>| Ok((call.f)(item.value));
        let results = options!(items(call).into_iter().pool_map_try_init(call.pool, || Ok(()), f), call);
        results.for_each(|result| consume(made(result)));
    }

    fn try_collect(&self, call: Call<'_>, bad: &(dyn Fn(usize) -> bool + Sync)) -> Result<Vec<usize>, usize> {
        let f = |(): &mut (), item: Live<'_>| {
            let result = (call.f)(item.value);
            if bad(item.value) { Err(item.value) } else { Ok(result) }
        };
        options!(items(call).into_iter().pool_map_try_init(call.pool, || Ok(()), f), call).collect()
    }

    fn take(&self, call: Call<'_>, count: usize) -> Vec<usize> {
        let f = |(): &mut (), item: Live<'_>| Ok((call.f)(item.value));
        let results = options!(items(call).into_iter().pool_map_try_init(call.pool, || Ok(()), f), call);
        results.take(count).map(made).collect()
    }

    fn caught(&self, call: Call<'_>) -> Vec<Result<usize, usize>> {
        let f = |(): &mut (), item: Live<'_>| Ok((call.f)(item.value));
        let results = options!(items(call).into_iter().pool_map_try_init(call.pool, || Ok(()), f), call);
        let open = |result: Result<_, TaskPanic>| result.map(made).map_err(|panic| panic.index().expect("an item"));
        results.catch_panics().map(open).collect()
    }

    fn with_state(&self, call: Call<'_>, init: &(dyn Fn() -> usize + Sync)) -> Vec<usize> {
        let f = |state: &mut usize, item: Live<'_>| Ok(*state + (call.f)(item.value));
        let results: Result<Vec<_>, usize> =
            options!(items(call).into_iter().pool_map_try_init(call.pool, || Ok(init()), f), call).collect();
        made(results)
    }

    fn observed(&self, call: Call<'_>, observer: &dyn Observer) {
        let f = |(): &mut (), item: Live<'_>| Ok((call.f)(item.value));
        let results = options!(items(call).into_iter().pool_map_try_init(call.pool, || Ok(()), f), call);
        results.observe(observer).for_each(|result: Result<_, usize>| assert!(result.is_ok()));
    }
}

/// A stream that runs ahead, in a scope, since everything is borrowed.
struct Scoped;

impl Door for Scoped {
    fn name(&self) -> &'static str {
        "a stream of a scope"
    }

    fn collect<'a>(&self, call: Call<'a>) -> Vec<Live<'a>> {
        let f = |item: Live<'a>| Live::new((call.f)(item.value), item.count);
        pool_map::scope(call.pool, |scope| options!(scope.imap(items(call), f), call).collect())
    }

    fn for_each(&self, call: Call<'_>, consume: &mut dyn FnMut(usize)) {
        let f = |item: Live<'_>| (call.f)(item.value);
        pool_map::scope(call.pool, |scope| options!(scope.imap(items(call), f), call).for_each(consume));
    }

    fn try_collect(&self, call: Call<'_>, bad: &(dyn Fn(usize) -> bool + Sync)) -> Result<Vec<usize>, usize> {
        let f = |item: Live<'_>| {
            let result = (call.f)(item.value);
            if bad(item.value) { Err(item.value) } else { Ok(result) }
        };
        pool_map::scope(call.pool, |scope| options!(scope.imap(items(call), f), call).collect())
    }

    fn take(&self, call: Call<'_>, count: usize) -> Vec<usize> {
        let f = |item: Live<'_>| (call.f)(item.value);
        pool_map::scope(call.pool, |scope| options!(scope.imap(items(call), f), call).take(count).collect())
    }

    fn caught(&self, call: Call<'_>) -> Vec<Result<usize, usize>> {
        let f = |item: Live<'_>| (call.f)(item.value);
        pool_map::scope(call.pool, |scope| {
            let results = options!(scope.imap(items(call), f), call).catch_panics();
            results.map(|result| result.map_err(|panic| panic.index().expect("an item"))).collect()
        })
    }

    fn with_state(&self, call: Call<'_>, init: &(dyn Fn() -> usize + Sync)) -> Vec<usize> {
        // A stream of a scope has no state for each worker, but the workers have.
        Plain.with_state(call, init)
    }

    fn observed(&self, call: Call<'_>, observer: &dyn Observer) {
        let f = |item: Live<'_>| (call.f)(item.value);
        pool_map::scope(call.pool, |scope| {
            options!(scope.imap(items(call), f), call).observe(observer).for_each(drop);
        });
    }
}

const DOORS: [&dyn Door; 8] = [&Plain, &Consumed, &With, &TryInit, &Slow, &Split, &Whole, &Scoped];

/// Goes through `case` with each door, on pools of 1, 2 and 4, in chunks of 1, of 3 and as measured. Whatever it does, no
/// value is left, and the pool has its workers.
#[track_caller]
fn each(case: impl Fn(&dyn Door, Call<'_>)) {
    for workers in [1, 2, 4] {
        let pool = Pool::new(workers).expect("a few threads start");
        let names = || pool.map(0..100, |_| Worker::current().map(|worker| worker.name().to_owned()));
        let own: HashSet<String> = pool.worker_names().into_iter().collect();
        for chunk in [Some(1), Some(3), None] {
            for door in DOORS {
                let count = AtomicIsize::new(0);
                let call =
                    Call { pool: &pool, items: 100, count: &count, chunk, limit: None, token: None, f: &|x| x * 2 };
                case(door, call);
                assert_eq!(count.into_inner(), 0, "{} leaves values", door.name());
                assert!(names().into_iter().all(|name| name.is_some_and(|name| own.contains(&name))));
            }
        }
    }
}

fn values(results: &[Live<'_>]) -> Vec<usize> {
    results.iter().map(|result| result.value).collect()
}

#[test]
fn results_come_in_order() {
    each(|door, call| {
        for items in [0, 1, 2, 7, 1000] {
            let right: Vec<usize> = (0..items).map(|x| x * 2).collect();
            let call = Call { items, ..call };
            assert_eq!(values(&door.collect(call)), right, "{}", door.name());
            let mut results = Vec::new();
            door.for_each(call, &mut |result| results.push(result));
            assert_eq!(results, right, "{}", door.name());
        }
    });
}

#[test]
fn no_more_than_the_limit_are_in_flight() {
    each(|door, call| {
        for limit in [1, 2, 5] {
            let started = AtomicUsize::new(0);
            let f = |x| {
                started.fetch_add(1, Ordering::SeqCst);
                x
            };
            let mut asked = 0;
            let call = Call { limit: Some(limit), f: &f, ..call };
            door.for_each(call, &mut |_| {
                // With the chunk that is being delivered, of which no part counts as delivered.
                assert!(started.load(Ordering::SeqCst) <= asked + limit, "{}", door.name());
                asked += 1;
            });
            assert_eq!(started.into_inner(), 100);
        }
    });
}

#[test]
fn the_lowest_panic_is_raised_after_the_results_before_it() {
    each(|door, call| {
        for lowest in [0, 1, 13, 99] {
            let f = |x| {
                if x == lowest || x == 99 || x == lowest + 7 {
                    panic_any(x);
                }
                x
            };
            let call = Call { f: &f, ..call };
            let mut results = Vec::new();
            let consumed = catch_unwind(AssertUnwindSafe(|| door.for_each(call, &mut |result| results.push(result))));
            assert_eq!(consumed.expect_err("it panics").downcast_ref(), Some(&lowest), "{}", door.name());
            assert!(results.into_iter().eq(0..lowest), "{}", door.name());
            let collected = catch_unwind(AssertUnwindSafe(|| door.collect(call).len()));
            assert_eq!(collected.expect_err("it panics").downcast_ref(), Some(&lowest), "{}", door.name());
        }
    });
}

#[test]
fn nothing_behind_a_panic_starts_but_for_one_on_each_worker() {
    each(|door, call| {
        let highest = AtomicUsize::new(0);
        let started = AtomicUsize::new(0);
        let f = |x| {
            highest.fetch_max(x, Ordering::SeqCst);
            started.fetch_add(1, Ordering::SeqCst);
            assert_ne!(x, 5);
            x
        };
        let panicked = catch_unwind(AssertUnwindSafe(|| door.collect(Call { f: &f, ..call }).len())).is_err();
        assert!(panicked);
        if call.pool.threads() == 1 {
            let door = door.name();
            assert_eq!((highest.into_inner(), started.into_inner()), (5, 6), "{door}");
        }
    });
}

#[test]
fn the_first_error_in_order_is_returned() {
    each(|door, call| {
        let collected = door.try_collect(call, &|x| x == 30 || x == 31 || x == 99);
        assert_eq!(collected, Err(30), "{}", door.name());
        let collected = door.try_collect(call, &|_| false);
        assert!(collected.expect("no error").into_iter().eq((0..100).map(|x| x * 2)), "{}", door.name());
    });
}

#[test]
fn nothing_runs_when_the_call_has_returned() {
    each(|door, call| {
        let running = AtomicIsize::new(0);
        let f = |x| {
            running.fetch_add(1, Ordering::SeqCst);
            thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
            if x == 90 {
                panic_any(x);
            }
            x
        };
        let call = Call { f: &f, ..call };
        assert_eq!(door.take(Call { limit: Some(8), ..call }, 3), [0, 1, 2], "{}", door.name());
        assert_eq!(running.load(Ordering::SeqCst), 0, "{}", door.name());
        assert!(catch_unwind(AssertUnwindSafe(|| door.collect(call).len())).is_err());
        assert_eq!(running.load(Ordering::SeqCst), 0, "{}", door.name());
    });
}

#[test]
fn a_panic_of_the_consumer_ends_the_call() {
    each(|door, call| {
        let consumed = catch_unwind(AssertUnwindSafe(|| {
            door.for_each(call, &mut |result| {
                if result == 40 {
                    panic_any("enough");
                }
            });
        }));
        assert_eq!(consumed.expect_err("it panics").downcast_ref(), Some(&"enough"), "{}", door.name());
    });
}

#[test]
fn calls_nest() {
    each(|door, call| {
        let inner = |x| door.collect(Call { items: 5, f: &|y| x + y, ..call }).iter().map(|result| result.value).sum();
        let sums = door.collect(Call { f: &inner, items: 20, ..call });
        assert!(values(&sums).into_iter().eq((0..20).map(|x| 5 * x + 10)), "{}", door.name());
    });
}

#[test]
fn without_threads_everything_is_here_and_in_order() {
    let (pool, here) = (Pool::inline(), thread::current().id());
    for door in DOORS {
        let count = AtomicIsize::new(0);
        let seen = Mutex::new(Vec::new());
        let f = |x| {
            assert_eq!(thread::current().id(), here);
            seen.lock().expect("no panic").push(x);
            x
        };
        let call = Call { pool: &pool, items: 20, count: &count, chunk: None, limit: None, token: None, f: &f };
        assert!(values(&door.collect(call)).into_iter().eq(0..20), "{}", door.name());
        assert!(seen.lock().expect("no panic").drain(..).eq(0..20));
        let raised = catch_unwind(AssertUnwindSafe(|| door.collect(Call { f: &|x| panic_any(x), ..call }).len()));
        assert_eq!(raised.expect_err("it panics").downcast_ref(), Some(&0_usize), "{}", door.name());
        assert_eq!(count.into_inner(), 0, "{} leaves values", door.name());
    }
}

#[test]
fn a_token_leaves_the_results_before_the_first_item_that_did_not_run() {
    each(|door, call| {
        let token = CancelToken::new();
        let f = |x| {
            if x == 50 {
                token.cancel();
            }
            x
        };
        let results = door.collect(Call { token: Some(&token), f: &f, ..call });
        assert!(values(&results).into_iter().eq(0..results.len()), "{}", door.name());
        if call.pool.threads() == 1 {
            assert_eq!(results.len(), 51, "{}", door.name());
        }
        drop(results);
        assert!(door.collect(Call { token: Some(&token), ..call }).is_empty(), "{}", door.name());
    });
}

#[test]
fn caught_panics_are_values_in_their_places() {
    each(|door, call| {
        let f = |x| {
            if x % 10 == 3 {
                panic_any(x);
            }
            x
        };
        let results = door.caught(Call { f: &f, ..call });
        assert!(results.into_iter().eq((0..100).map(|x| if x % 10 == 3 { Err(x) } else { Ok(x) })), "{}", door.name());
    });
}

#[test]
fn a_worker_has_one_state() {
    each(|door, call| {
        let states = AtomicUsize::new(0);
        let init = || {
            states.fetch_add(1, Ordering::SeqCst);
            1000
        };
        assert!(door.with_state(call, &init).into_iter().eq((0..100).map(|x| 1000 + 2 * x)), "{}", door.name());
        assert!((1..=call.pool.threads()).contains(&states.into_inner()), "{}", door.name());
    });
}

#[test]
fn an_observer_is_told_of_each_item_once() {
    struct Notes(Mutex<Vec<(usize, TaskOutcome)>>);

    impl Observer for Notes {
        fn task_finished(&self, task: &TaskInfo<'_>) {
            self.0.lock().expect("no panic").push((task.index(), task.outcome()));
        }
    }

    let notes = Notes(Mutex::new(Vec::new()));
    assert_eq!((0..100_usize).into_par_iter().pool_map(2, |x| x).observe(&notes).collect_vec().len(), 100);
    assert_eq!(notes.0.into_inner().expect("no panic").len(), 100);

    each(|door, call| {
        let notes = Notes(Mutex::new(Vec::new()));
        door.observed(call, &notes);
        let mut notes = notes.0.into_inner().expect("no panic");
        notes.sort_by_key(|(index, _)| *index);
        assert!(notes.into_iter().eq((0..100).map(|index| (index, TaskOutcome::Returned))), "{}", door.name());
    });
}

#[test]
#[cfg(unix)]
fn a_panic_is_told_with_its_item() {
    let seen = seen::child(|| {
        let pool = Pool::builder().threads(2).trace(TraceLevel::Header).build().expect("two threads");
        let f = |x: usize| assert_ne!(x, 7, "seven");
        for call in [
            &(|| (0..100).pool_map(&pool, f).for_each(drop)) as &dyn Fn(),
            &|| (0..100_usize).into_par_iter().pool_map(&pool, f).for_each(drop),
            &|| drop((0..100_usize).into_par_iter().pool_map(&pool, f).collect_vec()),
        ] {
            assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
        }
    });
    seen.succeeded();
    assert_eq!(seen.count("item 7 panicked at tests/it/doors.rs:"), 3, "{}", seen.stderr);
    assert_eq!(seen.count("in pool_map called at tests/it/doors.rs:"), 3, "{}", seen.stderr);
}

#[test]
fn for_each_sees_every_item_and_try_for_each_the_first_error() {
    let sum = AtomicUsize::new(0);
    (0..100_usize).into_par_iter().pool_for_each(2, |x| {
        sum.fetch_add(x, Ordering::Relaxed);
    });
    assert_eq!(sum.into_inner(), 4950);
    let tried = (0..100_usize).into_par_iter().pool_map(2, |x| x).try_for_each(|x| if x < 7 { Ok(()) } else { Err(x) });
    assert_eq!(tried, Err(7));
}

#[test]
fn the_workers_go_on_while_a_closure_consumes() {
    let [is_pulled, consumes, has_run] = [(); 3].map(|()| Gate::default());
    let source = (0..100).inspect(|x| {
        if *x == 10 {
            is_pulled.open();
        }
    });
    let f = |x| {
        match x {
            0 => is_pulled.wait(),
            10 => {
                consumes.wait();
                has_run.open();
            }
            _ => {}
        }
        x
    };
    let odd: Vec<i32> = source.pool_map(2, f).chunk_size(1).max_in_flight(16).consume(|results| {
        let wait = |x: &i32| {
            if *x == 0 {
                consumes.open();
                has_run.wait();
            }
        };
        results.inspect(wait).filter(|x| x % 2 == 1).collect()
    });
    assert!(odd.into_iter().eq((0..100).filter(|x| x % 2 == 1)));
}

#[test]
fn a_closure_gets_what_next_has_left_and_may_leave_the_rest() {
    let pool = Pool::new(2).expect("two threads");
    for pool in [&pool, &Pool::inline()] {
        let mut squares = (0..100).pool_map(pool, |x| x * x);
        assert_eq!(squares.next(), Some(0));
        let (length, second, left) =
            squares.consume(|mut results| (results.len(), results.next(), results.size_hint()));
        assert_eq!((length, second, left), (99, Some(1), (98, Some(98))));
    }
}

#[test]
fn an_item_that_panics_while_it_is_made_is_that_item() {
    let pool = Pool::new(2).expect("two threads");
    let made = |x: usize| if x == 40 { panic_any("made") } else { x };
    let caught = (0..100_usize).into_par_iter().map(made).pool_map(&pool, |x| x).trace(TraceLevel::Off);
    let mut results = Vec::new();
    let consumed = catch_unwind(AssertUnwindSafe(|| caught.for_each(|result| results.push(result))));
    assert_eq!(consumed.expect_err("it panics").downcast_ref(), Some(&"made"));
    assert!(results.into_iter().eq(0..40));
    let caught = (0..100_usize).into_par_iter().map(made).pool_map(&pool, |x| x).trace(TraceLevel::Off);
    assert!(catch_unwind(AssertUnwindSafe(|| caught.collect_vec())).is_err());
}

#[test]
fn all_that_rayon_can_index_is_taken() {
    let pool = Pool::new(2).expect("two threads");
    let numbers: Vec<u32> = (0..1000).collect();
    let sums: Vec<u32> = numbers.par_chunks(7).pool_map(&pool, |chunk| chunk.iter().sum()).collect();
    assert!(sums.into_iter().eq(numbers.chunks(7).map(|chunk| chunk.iter().sum::<u32>())));
    let backwards = numbers.par_iter().rev().pool_map(&pool, |x| *x).collect_vec();
    assert!(backwards.into_iter().eq((0..1000).rev()));
    let zipped = numbers.par_iter().zip(numbers.par_iter().skip(1)).pool_map(&pool, |(a, b)| a * b);
    assert_eq!(zipped.sum::<u32>(), (0..999).map(|a| a * (a + 1)).sum::<u32>());
    let chained =
        numbers.par_iter().chain(&numbers).enumerate().pool_map(&pool, |(i, x)| i - *x as usize).collect_vec();
    assert!(chained.into_iter().eq((0..2000).map(|i| if i < 1000 { 0 } else { 1000 })));
    let strings = vec!["a".to_owned(), "b".to_owned()].into_par_iter().pool_map(&pool, |text| text + "!");
    assert_eq!(strings.fold(String::new(), |all, text| all + &text), "a!b!");
    let hint = (0..10_usize).into_par_iter().pool_map(&pool, |x| x).consume(|mut results| {
        let mut lengths = Vec::new();
        while results.next().is_some() {
            lengths.push(results.len());
        }
        lengths
    });
    assert!(hint.into_iter().eq((0..10).rev()));
}

/// What is cloned when data is split. On a worker, once item 0 has run, that waits for the result of it.
struct Waits<'a> {
    has_run: &'a AtomicBool,
    came_out: &'a Gate,
}

impl Clone for Waits<'_> {
    fn clone(&self) -> Self {
        if rayon::current_thread_index().is_some() && self.has_run.load(Ordering::SeqCst) {
            self.came_out.wait();
        }
        Waits { ..*self }
    }
}

#[test]
fn code_that_splits_data_may_wait_for_a_result() {
    for workers in [1, 2] {
        let (has_run, came_out) = (AtomicBool::new(false), Gate::default());
        let waits = Waits { has_run: &has_run, came_out: &came_out };
        let items = (0..1000_usize).into_par_iter().map_with(waits, |waits, x| {
            waits.has_run.store(true, Ordering::SeqCst);
            x
        });
        let mut expected = 0;
        items.pool_map(workers, |x| x).for_each(|x| {
            assert_eq!(x, expected);
            expected += 1;
            came_out.open();
        });
        assert_eq!(expected, 1000);
    }
}

#[test]
fn a_chunk_longer_than_memory_is_a_panic() {
    let first = || {
        let items = (0..usize::MAX).into_par_iter().pool_map(2, |x| x).chunk_size(usize::MAX);
        items.trace(TraceLevel::Off).consume(|mut results| results.next())
    };
    assert_eq!(text(&*catch_unwind(first).expect_err("no room")), "capacity overflow");
}
