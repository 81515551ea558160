//! What does a panic cost, and what does being ready for one? Time until the caller has it.
//!
//! Nothing is printed: the previous hook is silent, and traces are off, so that no terminal is measured.

mod common;

use common::{Bench, Case, Contestant, Goal, INDEXED, Lab, OURS, SEQUENTIAL, Work, workers};
use pool_map::{PoolIterator, TraceLevel};
use rayon::prelude::*;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

const CATCHING: &str = "catch_panics";
const CATCHING_BARE: &str = "catch_panics without traces";

fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    common::main("panics", |bench| {
        let lab = Lab::new(workers());
        for time in [Duration::from_nanos(100), Duration::from_micros(1)] {
            being_ready(bench, &lab, time);
        }
        let items = bench.items(20_000);
        for (name, place) in [("the first", 0), ("the middle", items / 2), ("the last", items - 1)] {
            raised(bench, &lab, name, items, place);
        }
        caught(bench, &lab, "one panic caught", items, |item| item == items / 2);
        caught(bench, &lab, "every item panics", bench.items(2_000), |_| true);
        thousand(bench, &lab);
    });
}

/// No panic at all: with a catch for each item, with one for each chunk, and without.
fn being_ready(bench: &mut Bench, lab: &Lab, time: Duration) {
    let work = Work::of(time);
    let f = |item: usize| work.on(item as u64);
    let items = bench.items(200_000);
    let case = Case::new(
        format!("no panic in items of {}", common::time_name(time)),
        items,
        lab.workers,
        || 0..items,
        vec![
            Contestant::new(SEQUENTIAL, |items: Range<usize>| items.map(f).map(Some).collect::<Vec<_>>()),
            Contestant::new(OURS, |items: Range<usize>| items.pool_map(&lab.pool, |item| Some(f(item))).collect()),
            Contestant::new(CATCHING, |items: Range<usize>| {
                items.pool_map(&lab.pool, f).catch_panics().map(Result::ok).fold(Vec::new(), push)
            }),
            Contestant::new(INDEXED, |items: Range<usize>| {
                lab.rayon.install(|| items.into_par_iter().map(|item| Some(f(item))).collect())
            }),
        ],
    );
    bench.ask(&case.against_ideal(Goal::None).against(INDEXED, Goal::None).race(CATCHING, OURS, Goal::None));
}

fn push<T>(mut all: Vec<T>, one: T) -> Vec<T> {
    all.push(one);
    all
}

/// One item panics: how long until the caller has its panic, with all results before it? The message is compared.
fn raised(bench: &mut Bench, lab: &Lab, name: &str, items: usize, place: usize) {
    let work = Work::of(Duration::from_micros(1));
    let f = |item: usize| {
        assert!(item != place, "item {item}");
        work.on(item as u64)
    };
    let case = Case::new(
        format!("one panic in {name} of items of 1 µs"),
        items,
        lab.workers,
        || 0..items,
        vec![
            Contestant::new(SEQUENTIAL, |items: Range<usize>| message(|| items.map(f).collect())),
            Contestant::new(OURS, |items: Range<usize>| {
                message(|| items.pool_map(&lab.pool, f).trace(TraceLevel::Off).collect())
            }),
            Contestant::new(INDEXED, |items: Range<usize>| {
                message(|| lab.rayon.install(|| items.into_par_iter().map(f).collect()))
            }),
        ],
    );
    bench.ask(&case.against(SEQUENTIAL, Goal::None).against(INDEXED, Goal::None));
}

/// What the panic that ends `loop_over` says.
fn message(loop_over: impl FnOnce() -> Vec<u64>) -> Option<String> {
    let payload = catch_unwind(AssertUnwindSafe(loop_over)).err()?;
    payload.downcast().ok().map(|message| *message)
}

/// Panics that become values, and every item is run.
fn caught(bench: &mut Bench, lab: &Lab, name: &str, items: usize, panics: impl Fn(usize) -> bool + Sync) {
    let work = Work::of(Duration::from_micros(1));
    let f = |item: usize| {
        assert!(!panics(item), "item {item}");
        work.on(item as u64)
    };
    let f = &f;
    let catch = |item: usize| catch_unwind(AssertUnwindSafe(|| f(item))).ok();
    let case = Case::new(
        format!("{name} in items of 1 µs"),
        items,
        lab.workers,
        || 0..items,
        vec![
            Contestant::new(SEQUENTIAL, |items: Range<usize>| items.map(catch).collect::<Vec<_>>()),
            Contestant::new(CATCHING, |items: Range<usize>| {
                items.pool_map(&lab.pool, f).catch_panics().map(Result::ok).fold(Vec::new(), push)
            }),
            Contestant::new(CATCHING_BARE, |items: Range<usize>| {
                let bare = items.pool_map(&lab.pool, f).trace(TraceLevel::Off).catch_panics();
                bare.map(Result::ok).fold(Vec::new(), push)
            }),
            Contestant::new(INDEXED, |items: Range<usize>| {
                lab.rayon.install(|| items.into_par_iter().map(catch).collect())
            }),
        ],
    );
    let case = case.race(CATCHING, SEQUENTIAL, Goal::None).race(CATCHING, INDEXED, Goal::None).race(
        CATCHING_BARE,
        INDEXED,
        Goal::None,
    );
    bench.ask(&case);
}

/// The goal is for a debug build, where a test holds it; here it is an optimised one.
fn thousand(bench: &mut Bench, lab: &Lab) {
    bench.figure("1000 panicking items with their traces in an optimised build", "s", Goal::AtMost(1.0), || {
        let start = Instant::now();
        let results = (0..1_000).pool_map(&lab.pool, |item: u64| -> u64 { panic!("item {item}") }).catch_panics();
        let panics: Vec<_> = results.filter_map(Result::err).collect();
        let shown: usize = panics.iter().map(|panic| panic.to_string().len()).sum();
        assert!(panics.len() == 1_000 && shown > 0);
        Some(start.elapsed().as_secs_f64())
    });
}
