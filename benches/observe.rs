//! What does it cost to be watched? Items of 100 ns, 1 µs and 10 µs: with nobody attached, with an observer that does nothing,
//! and with a timeline.

mod common;

use common::{Bench, Case, Contestant, Goal, Lab, OURS, SEQUENTIAL, Work, time_name, workers};
use pool_map::{Observer, Pool, PoolIterator, Timeline};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

const CLOCKS: &str = "an observer that does nothing";
const TIMELINE: &str = "a timeline";
const OF_THE_POOL: &str = "a timeline of the pool";

/// Has the clock read, and nothing else done.
struct Nothing;

impl Observer for Nothing {}

fn main() {
    common::main("observe", |bench| {
        let lab = Lab::new(workers());
        for ns in [100, 1_000, 10_000] {
            ask(bench, &lab, Duration::from_nanos(ns));
        }
    });
}

fn ask(bench: &mut Bench, lab: &Lab, time: Duration) {
    let work = Work::of(time);
    let f = |item: usize| work.on(item as u64);
    // A tenth of a second for one worker, or 200 000 items where they cost less.
    let nanos = usize::try_from(time.as_nanos()).expect("microseconds");
    let items = bench.items(100_000_000 / nanos.max(500));
    let timeline = Arc::new(Timeline::new());
    let watched = Pool::builder().threads(lab.workers).observer(Arc::clone(&timeline)).build();
    let watched = watched.expect("threads can start");
    let contestants = vec![
        Contestant::new(SEQUENTIAL, |items: Range<usize>| items.map(f).collect::<Vec<_>>()),
        Contestant::new(OURS, |items: Range<usize>| items.pool_map(&lab.pool, f).collect()),
        Contestant::new(CLOCKS, |items: Range<usize>| items.pool_map(&lab.pool, f).observe(&Nothing).collect()),
        Contestant::new(TIMELINE, |items: Range<usize>| {
            let timeline = Timeline::new();
            items.pool_map(&lab.pool, f).observe(&timeline).collect()
        }),
        Contestant::new(OF_THE_POOL, |items: Range<usize>| items.pool_map(&watched, f).collect()),
    ];
    let name = format!("watched items of {}", time_name(time));
    let goal = Goal::AtLeast(0.9).only_if(nanos >= 1_000);
    let case = Case::new(name, items, lab.workers, || 0..items, contestants);
    bench.ask(&case.race(CLOCKS, OURS, goal).race(TIMELINE, OURS, goal).race(OF_THE_POOL, OURS, goal));
}
