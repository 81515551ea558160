//! What does it cost to take the results in another way than `collect` into a `Vec`?
//!
//! The `for` loop, `for_each`, `sum`, `collect` into a `Result` and into a map, and a consumer as slow as `f`, which ought
//! to overlap with the workers.

mod common;

use common::{
    Bench, Case, Contestant, Goal, INDEXED, Lab, OURS, Random, SEQUENTIAL, Work, peak_memory, time_name, workers,
};
use pool_map::{Pool, PoolIterator};
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;
use std::{fs, thread};

const FOR: &str = "for loop";
const COLLECT: &str = "collect";
const CONSUMER: &str = "consumer alone";

fn main() {
    common::main("loops", |bench| {
        let lab = Lab::new(workers());
        for ns in [12, 1_000, 10_000] {
            for_loop(bench, &lab, Duration::from_nanos(ns));
        }
        for_loop_of_sleeps(bench);
        for_each_and_sum(bench, &lab);
        collect_results(bench, &lab);
        collect_map(bench, &lab);
        slow_consumer(bench, &lab);
        memory(bench, &lab);
    });
}

/// A tenth of a second for one worker, a million items at most.
fn items_of(bench: &Bench, time: Duration) -> usize {
    bench.items(usize::try_from(100_000_000 / time.as_nanos().max(100)).expect("a million at most"))
}

fn worker(time: Duration) -> impl Fn(usize) -> u64 + Sync + Copy {
    let work = Work::of(time);
    move |item: usize| work.on(item as u64)
}

/// Items are taken one by one, so the workers and the body of the loop take turns.
fn push_in_for_loop(items: Range<usize>, pool: &Pool, f: impl Fn(usize) -> u64 + Sync) -> Vec<u64> {
    let mut results = Vec::with_capacity(items.len());
    for result in items.pool_map(pool, f) {
        results.push(result);
    }
    results
}

fn for_loop(bench: &mut Bench, lab: &Lab, time: Duration) {
    let (items, f) = (items_of(bench, time), worker(time));
    let cheap = time < Duration::from_micros(1);
    let case = Case::new(
        format!("for loop over items of {}", time_name(time)),
        items,
        lab.workers,
        || 0..items,
        vec![
            Contestant::new(SEQUENTIAL, |items: Range<usize>| {
                let mut results = Vec::with_capacity(items.len());
                for result in items.map(f) {
                    results.push(result);
                }
                results
            }),
            Contestant::new(FOR, |items: Range<usize>| push_in_for_loop(items, &lab.pool, f)),
            Contestant::new(COLLECT, |items: Range<usize>| items.pool_map(&lab.pool, f).collect()),
        ],
    );
    let case = case.race(FOR, COLLECT, Goal::AtLeast(0.95).only_if(!cheap)).race(
        FOR,
        SEQUENTIAL,
        Goal::AtLeast(1.0).only_if(cheap),
    );
    bench.ask(&case);
}

/// Slow, uneven items, more workers than cores: fetching pages.
fn for_loop_of_sleeps(bench: &mut Bench) {
    const WORKERS: usize = 16;
    let mut random = Random(1);
    let times: Vec<_> = (0..bench.items(WORKERS * 20)).map(|_| random.exponential(Duration::from_millis(20))).collect();
    let f = |item: usize| {
        thread::sleep(times[item]);
        item as u64
    };
    let (pool, items) = (Pool::new(WORKERS).expect("threads can start"), times.len());
    let case = Case::new(
        "for loop over exponential sleeps around 20 ms",
        items,
        WORKERS,
        || 0..items,
        vec![
            Contestant::new(COLLECT, |items: Range<usize>| items.pool_map(&pool, f).collect()),
            Contestant::new(FOR, |items: Range<usize>| push_in_for_loop(items, &pool, f)),
        ],
    );
    bench.ask(&case.race(FOR, COLLECT, Goal::AtLeast(0.75)));
}

fn for_each_and_sum(bench: &mut Bench, lab: &Lab) {
    let time = Duration::from_micros(1);
    let (items, f) = (items_of(bench, time), worker(time));
    let case = Case::new(
        "for_each of 1 µs",
        items,
        lab.workers,
        || 0..items,
        vec![
            Contestant::new(SEQUENTIAL, |items: Range<usize>| xor(items.map(f))),
            Contestant::new(OURS, |items: Range<usize>| xor(items.pool_map(&lab.pool, f))),
        ],
    );
    bench.ask(&case.against_ideal(Goal::None));

    let sum = |a: u64, b: u64| a.wrapping_add(b);
    let case = Case::new(
        "fold to a sum of 1 µs",
        items,
        lab.workers,
        || 0..items,
        vec![
            Contestant::new(SEQUENTIAL, |items: Range<usize>| items.map(|item| f(item) >> 32).sum()),
            Contestant::new(OURS, |items: Range<usize>| items.pool_map(&lab.pool, |item| f(item) >> 32).sum()),
            Contestant::new(INDEXED, |items: Range<usize>| {
                lab.rayon.install(|| items.into_par_iter().map(|item| f(item) >> 32).reduce(|| 0, sum))
            }),
        ],
    );
    bench.ask(&case.against_ideal(Goal::None).against(INDEXED, Goal::None));
}

/// A consumer that does next to nothing, with `for_each`.
fn xor(results: impl Iterator<Item = u64>) -> u64 {
    let mut all = 0;
    results.for_each(|result| all ^= result);
    all
}

fn collect_results(bench: &mut Bench, lab: &Lab) {
    let time = Duration::from_micros(1);
    let (items, work) = (items_of(bench, time), worker(time));
    for (name, wrong) in [("all Ok", usize::MAX), ("an Err in the middle", items / 2)] {
        let f = |item: usize| if item == wrong { Err(item) } else { Ok(work(item)) };
        let case: Case<'_, _, Result<Vec<u64>, usize>> = Case::new(
            format!("collect into a Result of 1 µs: {name}"),
            items,
            lab.workers,
            || 0..items,
            vec![
                Contestant::new(SEQUENTIAL, |items: Range<usize>| items.map(f).collect()),
                Contestant::new(OURS, |items: Range<usize>| items.pool_map(&lab.pool, f).collect()),
                Contestant::new(INDEXED, |items: Range<usize>| {
                    lab.rayon.install(|| items.into_par_iter().map(f).collect())
                }),
            ],
        );
        bench.ask(&case.against_ideal(Goal::None).against(INDEXED, Goal::None));
    }
}

fn collect_map(bench: &mut Bench, lab: &Lab) {
    let time = Duration::from_micros(1);
    let (items, work) = (items_of(bench, time), worker(time));
    let f = |item: usize| (item, work(item));
    let case: Case<'_, _, HashMap<usize, u64>> = Case::new(
        "collect into a HashMap of 1 µs",
        items,
        lab.workers,
        || 0..items,
        vec![
            Contestant::new(SEQUENTIAL, |items: Range<usize>| items.map(f).collect()),
            Contestant::new(OURS, |items: Range<usize>| items.pool_map(&lab.pool, f).collect()),
            Contestant::new(INDEXED, |items: Range<usize>| {
                lab.rayon.install(|| items.into_par_iter().map(f).collect())
            }),
        ],
    );
    bench.ask(&case.against_ideal(Goal::None).against(INDEXED, Goal::None));
}

/// The consumer takes as long for a result as `f` for an item: at best one of the two is never waited for.
#[expect(clippy::cast_precision_loss, reason = "there are not so many workers")]
fn slow_consumer(bench: &mut Bench, lab: &Lab) {
    for time in [Duration::from_micros(1), Duration::from_micros(10)] {
        let (items, f) = (items_of(bench, time), worker(time));
        let consume = Work::of(time);
        let case = Case::new(
            format!("for_each with a consumer as slow as f: {}", time_name(time)),
            items,
            lab.workers,
            || 0..items,
            vec![
                Contestant::new("both in turns", |items: Range<usize>| consume_all(items.map(f), consume)),
                Contestant::new(OURS, |items: Range<usize>| consume_all(items.pool_map(&lab.pool, f), consume)),
                Contestant::part(SEQUENTIAL, |items: Range<usize>| xor(items.map(f))),
                Contestant::part(CONSUMER, |items: Range<usize>| consume_all(items.map(|item| item as u64), consume)),
            ],
        );
        let workers = lab.workers as f64;
        let case =
            case.question(OURS, "time of the slower side", Goal::AtMost(1.05).only_if(workers >= 2.0), move |round| {
                round.of(OURS) / round.of(CONSUMER).max(round.of(SEQUENTIAL) / workers)
            });
        bench.ask(&case);
    }
}

fn consume_all(results: impl Iterator<Item = u64>, consume: Work) -> u64 {
    let mut all = 0;
    results.for_each(|result| all ^= consume.on(result));
    all
}

/// How much more memory a long stream takes than a short one.
fn memory(bench: &mut Bench, lab: &Lab) {
    let (short, long) = (bench.items(1_000_000), bench.items(100_000_000));
    let peak_of = |items: usize| {
        // Linux forgets the highest use so far.
        fs::write("/proc/self/clear_refs", "5").ok()?;
        (0..items).pool_map(&lab.pool, |item| item as u64).for_each(drop);
        peak_memory()
    };
    bench.figure("memory of 100 M items in for_each over that of 1 M", "MB", Goal::AtMost(1.0), || {
        // Twice: the first call of a process has its own costs.
        peak_of(short)?;
        Some((peak_of(long)? - peak_of(short)?).max(0.0))
    });
}
