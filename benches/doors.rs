//! Which door? The same work through a plain iterator and through data that rayon can split, beside rayon itself.

mod common;

use common::{Bench, Case, Contestant, Goal, INDEXED, Lab, SEQUENTIAL, Work, time_name, workers};
use pool_map::{PoolIterator, PoolParallelIterator};
use rayon::prelude::*;
use std::hint::black_box;
use std::ops::Range;
use std::time::Duration;

const PLAIN: &str = "plain iterator";
const COLLECT: &str = "collect";
const COLLECT_VEC: &str = "collect_vec";
const FOR_EACH: &str = "for_each";
const UNORDERED: &str = "rayon for_each";

fn main() {
    common::main("doors", |bench| {
        let lab = Lab::new(workers());
        for ns in [0, 5, 25, 100, 1_000, 10_000] {
            let items = bench.items(usize::try_from(200_000_000 / ns.max(200)).expect("a million at most"));
            let work = Work::of(Duration::from_nanos(ns));
            let f = move |item: usize| work.on(item as u64);
            collects(bench, &lab, ns, items, &f);
            streams(bench, &lab, ns, items, &f);
        }
    });
}

/// From 1 µs an item, and from 100 ns.
fn goal(ns: u64) -> Goal {
    Goal::AtLeast(if ns >= 1_000 { 0.9 } else { 0.75 }).only_if(ns >= 100)
}

fn collects(bench: &mut Bench, lab: &Lab, ns: u64, items: usize, f: &(impl Fn(usize) -> u64 + Sync)) {
    let Lab { workers, pool, rayon } = lab;
    let contestants = vec![
        Contestant::new(SEQUENTIAL, |items: Range<usize>| items.map(f).collect::<Vec<_>>()),
        Contestant::new(INDEXED, |items: Range<usize>| rayon.install(|| items.into_par_iter().map(f).collect())),
        Contestant::new(PLAIN, |items: Range<usize>| PoolIterator::pool_map(items, pool, f).collect()),
        Contestant::new(COLLECT, |items: Range<usize>| items.into_par_iter().pool_map(pool, f).collect()),
        Contestant::new(COLLECT_VEC, |items: Range<usize>| items.into_par_iter().pool_map(pool, f).collect_vec()),
    ];
    let work = format!("collect of {}", time_name(Duration::from_nanos(ns)));
    let case = Case::new(work, items, *workers, || 0..items, contestants)
        .race(COLLECT, INDEXED, goal(ns))
        .race(COLLECT_VEC, INDEXED, Goal::AtLeast(0.97))
        .race(COLLECT, PLAIN, Goal::None);
    bench.ask(&case);
}

fn streams(bench: &mut Bench, lab: &Lab, ns: u64, items: usize, f: &(impl Fn(usize) -> u64 + Sync)) {
    let Lab { workers, pool, rayon } = lab;
    let consume = |result: u64| {
        black_box(result);
    };
    let contestants = vec![
        Contestant::new(SEQUENTIAL, |items: Range<usize>| items.map(f).for_each(consume)),
        Contestant::new(UNORDERED, |items: Range<usize>| {
            rayon.install(|| items.into_par_iter().map(f).for_each(consume));
        }),
        Contestant::new(PLAIN, |items: Range<usize>| PoolIterator::pool_map(items, pool, f).for_each(consume)),
        Contestant::new(FOR_EACH, |items: Range<usize>| items.into_par_iter().pool_map(pool, f).for_each(consume)),
    ];
    let work = format!("for_each of {}", time_name(Duration::from_nanos(ns)));
    let case = Case::new(work, items, *workers, || 0..items, contestants).race(FOR_EACH, UNORDERED, goal(ns)).race(
        FOR_EACH,
        PLAIN,
        Goal::None,
    );
    bench.ask(&case);
}
