//! Does it matter what the items are? Strings, large structs, boxes, results larger than items, borrowed slices, and
//! workers with a state.

mod common;

use common::{Bench, Case, Contestant, Goal, INDEXED, Input, Lab, OURS, SEQUENTIAL, Work, rivals, time_name, workers};
use pool_map::PoolIterator;
use rayon::prelude::*;
use std::fmt::Write;
use std::ops::Range;
use std::time::Duration;

fn main() {
    common::main("items", |bench| {
        let lab = Lab::new(workers());
        for time in [Duration::from_nanos(100), Duration::from_micros(1)] {
            let items = bench.items(20_000);
            questions(bench, &lab, time, items);
        }
    });
}

/// 1 KiB, moved and not pointed to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Large([u64; 128]);

fn questions(bench: &mut Bench, lab: &Lab, time: Duration, items: usize) {
    let work = Work::of(time);
    let on = |seed: usize| work.on(seed as u64);

    let strings: Vec<String> = (0..items).map(|item| format!("item number {item}")).collect();
    let lengthen = |mut text: String| {
        let _ = write!(text, " {}", on(text.len()));
        text
    };
    ask(bench, lab, "Strings to Strings", time, items, || strings.clone(), &lengthen);

    let structs: Vec<Large> = (0..items).map(|item| Large([item as u64; 128])).collect();
    let sum = |large: Large| large.0.iter().fold(work.on(large.0[0]), |sum, &x| sum.wrapping_add(x));
    ask(bench, lab, "1 KiB structs to numbers", time, items, || structs.clone(), &sum);

    let boxes: Vec<Box<u64>> = (0..items).map(|item| Box::new(item as u64)).collect();
    let rebox = |mut item: Box<u64>| {
        *item = work.on(*item);
        item
    };
    ask(bench, lab, "boxes to boxes", time, items, || boxes.clone(), &rebox);

    let enlarge = |item: usize| Large([on(item); 128]);
    ask(bench, lab, "numbers to 1 KiB structs", time, items, || 0..items, &enlarge);

    let text = vec![7_u8; items * 64];
    let slices: Vec<&[u8]> = text.chunks(64).collect();
    let count = |slice: &&[u8]| work.on(slice.iter().map(|&byte| u64::from(byte)).sum());
    ask(bench, lab, "borrowed slices to numbers", time, items, || &slices[..], &count);

    with_state(bench, lab, time, items);
}

fn ask<'a, I, R, F>(
    bench: &mut Bench,
    lab: &'a Lab,
    name: &str,
    time: Duration,
    items: usize,
    input: impl Fn() -> I + 'a,
    f: &'a F,
) where
    I: Input + 'a,
    R: Ord + Send + 'a,
    F: Fn(<I as IntoIterator>::Item) -> R + Sync,
{
    let name = format!("{name}: {}", time_name(time));
    let case = Case::new(name, items, lab.workers, input, rivals(lab, f));
    bench.ask(&case.against_ideal(Goal::None).against(INDEXED, goal(lab, time)));
}

/// Close to rayon from 1 µs on.
fn goal(lab: &Lab, time: Duration) -> Goal {
    Goal::on(lab.workers, 0.9, 0.9).only_if(time >= Duration::from_micros(1))
}

/// A buffer for each worker.
fn with_state(bench: &mut Bench, lab: &Lab, time: Duration, items: usize) {
    let work = Work::of(time);
    let f = |buffer: &mut String, item: usize| {
        buffer.clear();
        let _ = write!(buffer, "{}", work.on(item as u64));
        buffer.len()
    };
    let case: Case<'_, _, Vec<usize>> = Case::new(
        format!("pool_map_init with a buffer: {}", time_name(time)),
        items,
        lab.workers,
        || 0..items,
        vec![
            Contestant::new(SEQUENTIAL, |items: Range<usize>| {
                let mut buffer = String::new();
                items.map(|item| f(&mut buffer, item)).collect()
            }),
            Contestant::new(OURS, |items: Range<usize>| items.pool_map_init(&lab.pool, String::new, f).collect()),
            Contestant::new(INDEXED, |items: Range<usize>| {
                lab.rayon.install(|| items.into_par_iter().map_init(String::new, f).collect())
            }),
        ],
    );
    bench.ask(&case.against_ideal(Goal::None).against(INDEXED, goal(lab, time)));
}
