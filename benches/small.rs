//! What does a call as such cost? A few items, in one call on a pool that slept, and in a thousand calls in a row.
//!
//! `pool_map(n, f)`, by count, leases its workers for each call; `pool_map(&pool, f)` has them.

mod common;

use common::{
    BRIDGE, Bench, Case, Contestant, Goal, INDEXED, Lab, ORX, OURS, PARITER, SEQUENTIAL, SLICES, Work, rivals, workers,
};
use pool_map::PoolIterator;
use std::ops::Range;
use std::time::Duration;

const BY_COUNT: &str = "pool_map by count";

fn main() {
    common::main("small", |bench| {
        let lab = Lab::new(workers());
        ask(bench, &lab, "8 trivial items", 8, Duration::ZERO);
        ask(bench, &lab, "64 items of 1 µs", 64, Duration::from_micros(1));
    });
}

fn ask(bench: &mut Bench, lab: &Lab, name: &str, items: usize, cost: Duration) {
    let work = Work::of(cost);
    let f = |item: usize| work.on(item as u64);
    let contestants = || -> Vec<Contestant<'_, Range<usize>, Vec<u64>>> {
        let mut contestants = rivals(lab, &f);
        let by_count = |items: Range<usize>| items.pool_map(lab.workers, f).collect();
        contestants.insert(2, Contestant::new(BY_COUNT, by_count));
        contestants
    };
    let once = Case::new(name, items, lab.workers, || 0..items, contestants());
    bench.ask(&asked(once));
    let calls = bench.items(1_000);
    let in_a_row = contestants().into_iter().map(|contestant| contestant.repeated(calls)).collect();
    let name = format!("{name}: {calls} calls in a row");
    bench.ask(&asked(Case::new(name, items * calls, lab.workers, || 0..items, in_a_row)));
}

fn asked<I, O: PartialEq>(case: Case<'_, I, O>) -> Case<'_, I, O> {
    case.against(INDEXED, Goal::AtLeast(1.0))
        .race(BY_COUNT, INDEXED, Goal::AtLeast(1.0))
        .race(BY_COUNT, OURS, Goal::None)
        .against(SEQUENTIAL, Goal::None)
        .against(BRIDGE, Goal::None)
        .against(PARITER, Goal::None)
        .against(ORX, Goal::None)
        .against(SLICES, Goal::None)
}
