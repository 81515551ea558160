//! Does it scale? 1 to 16 workers on as many cores, and far more workers than cores that sleep.

mod common;

use common::{
    BRIDGE, Bench, Case, Goal, INDEXED, Lab, ORX, PARITER, SEQUENTIAL, SLICES, Work, cores, cpu_time, rivals,
    time_name, workers,
};
use pool_map::PoolIterator;
use std::thread;
use std::time::Duration;

fn main() {
    common::main("threads", |bench| {
        for time in [Duration::from_nanos(100), Duration::from_micros(1), Duration::from_micros(10)] {
            for workers in [1, 2, 4, 8, 16].into_iter().filter(|&workers| workers <= cores()) {
                spinning(bench, workers, time);
            }
        }
        for workers in [64, 256] {
            sleeping(bench, workers);
        }
        idle(bench);
    });
}

fn spinning(bench: &mut Bench, workers: usize, time: Duration) {
    let lab = Lab::new(workers);
    let work = Work::of(time);
    let f = |item: usize| work.on(item as u64);
    let items = bench.items(usize::try_from(200_000_000 / time.as_nanos().max(200)).expect("a million at most"));
    let micros = time >= Duration::from_micros(1);
    let name = format!("{workers} workers on items of {}", time_name(time));
    let case = Case::new(name, items, workers, || 0..items, rivals(&lab, &f))
        .against_ideal(Goal::on(workers, 0.97, 0.93).only_if(micros))
        .against(INDEXED, Goal::on(workers, 0.97, 0.9))
        .against(BRIDGE, Goal::on(workers, 0.97, 0.97))
        .against(PARITER, Goal::on(workers, 0.97, 0.97))
        .against(ORX, Goal::on(workers, 0.97, 0.97))
        .against(SLICES, Goal::None);
    bench.ask(&case);
}

/// Work that waits for something else needs workers, not cores. One worker alone would take far too long, so the loop
/// that says what is right does not sleep; orx-parallel, which has no more threads than there are cores, is left out.
fn sleeping(bench: &mut Bench, workers: usize) {
    const SLEEP: Duration = Duration::from_millis(2);
    let lab = Lab::new(workers);
    let f = |item: usize| {
        thread::sleep(SLEEP);
        item as u64
    };
    let items = bench.items(workers * 20);
    let mut contestants = rivals(&lab, &f);
    contestants.retain(|contestant| ![SEQUENTIAL, BRIDGE, ORX].contains(&contestant.name()));
    contestants.rotate_right(1); // The slices are what the others are measured by.
    let case = Case::new(format!("{workers} workers that sleep for 2 ms"), items, workers, || 0..items, contestants)
        .against(SLICES, Goal::None)
        .against(INDEXED, Goal::None)
        .against(PARITER, Goal::None);
    bench.ask(&case);
}

/// What workers cost that wait for the next call.
fn idle(bench: &mut Bench) {
    bench.figure("CPU time of idle cached workers in a second", "ms", Goal::AtMost(0.0), || {
        assert_eq!((0..100).pool_map(workers(), |item: u64| item).sum::<u64>(), 4950);
        thread::sleep(Duration::from_millis(100));
        let before = cpu_time()?;
        thread::sleep(Duration::from_secs(1));
        Some(cpu_time()? - before)
    });
}
