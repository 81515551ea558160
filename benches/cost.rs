//! How cheap may an item be? Ordered `collect` of a range, for items of nothing to 100 µs.
//!
//! `cargo bench -p pool-map-benches --bench cost -- one NS ITEMS [CONTESTANT]` does the work once and ends, for counting instructions.

mod common;

use common::{
    BRIDGE, Bench, Case, Contestant, Goal, INDEXED, Lab, ORX, OURS, PARITER, SEQUENTIAL, SLICES, Work, rivals,
    time_name, workers,
};
use pool_map::PoolIterator;
use std::env;
use std::hint::black_box;
use std::iter::Map;
use std::ops::Range;
use std::time::Duration;

const FLOOR: &str = "floor";

fn main() {
    let words: Vec<String> = env::args().skip_while(|word| word != "one").collect();
    match words.get(1..3) {
        Some([ns, items]) => one(ns, items, words.get(3).map(String::as_str)),
        _ => common::main("cost", questions),
    }
}

fn questions(bench: &mut Bench) {
    let lab = Lab::new(workers());
    for ns in [0, 5, 25, 100, 1_000, 10_000, 100_000] {
        let time = Duration::from_nanos(ns);
        let work = Work::of(time);
        let f = move |item: usize| work.on(item as u64);
        // A fifth of a second for one worker, or a million items where they cost less.
        let items = bench.items(usize::try_from(200_000_000 / ns.max(200)).expect("a million at most"));
        let mut contestants = rivals(&lab, &f);
        if ns == 0 {
            contestants.push(Contestant::new(FLOOR, |items: Range<usize>| floor(items)));
        }
        let name = format!("collect of {}", time_name(time));
        let case = Case::new(name, items, lab.workers, || 0..items, contestants);
        bench.ask(&asked(case, ns, lab.workers));
    }
    opaque_source(bench, &lab);
}

/// The optimiser turns the loops over a plain range into copies of whole vectors of numbers, the floor's most of all. A source
/// that it does not see through gives one item after the other, as lines of a file or rows of a table come.
fn opaque_source(bench: &mut Bench, lab: &Lab) {
    let items = bench.items(1_000_000);
    let f = |item: usize| black_box(item as u64);
    let case = Case::new(
        "collect of 0 ns from an opaque source",
        items,
        lab.workers,
        || (0..items).map(black_box as fn(usize) -> usize),
        vec![
            Contestant::new(SEQUENTIAL, |items: Opaque| items.map(f).collect::<Vec<_>>()),
            Contestant::new(OURS, |items: Opaque| items.pool_map(&lab.pool, f).collect()),
            Contestant::new(FLOOR, |items: Opaque| floor(items)),
        ],
    );
    bench.ask(&case.against(FLOOR, Goal::AtLeast(0.8)).against(SEQUENTIAL, Goal::None));
}

type Opaque = Map<Range<usize>, fn(usize) -> usize>;

/// What the issue of this bench wants to know at each cost.
fn asked(case: Case<'_, Range<usize>, Vec<u64>>, ns: u64, workers: usize) -> Case<'_, Range<usize>, Vec<u64>> {
    let iterators = if ns <= 25 { Goal::on(workers, 0.97, 2.0) } else { Goal::on(workers, 0.97, 0.97) };
    let case = case
        .against_ideal(Goal::on(workers, 0.97, 0.93).only_if(ns >= 1_000))
        .against(INDEXED, Goal::on(workers, 0.97, 0.9).only_if(ns >= 100))
        .against(BRIDGE, iterators)
        .against(PARITER, iterators)
        .against(ORX, iterators)
        .against(SLICES, Goal::None);
    if ns == 0 { case.against(FLOOR, Goal::AtLeast(0.8)) } else { case }
}

/// What is left when the workers cost nothing: one thread that pulls chunks, and appends them to the result.
fn floor(mut items: impl ExactSizeIterator<Item = usize>) -> Vec<u64> {
    const CHUNK: usize = 8192;
    let mut results = Vec::with_capacity(items.len());
    loop {
        // Opaque, as the items of a chunk are to someone who gets them from another thread.
        let chunk: Vec<u64> = black_box(items.by_ref().take(CHUNK).map(|item| item as u64).collect());
        if chunk.is_empty() {
            return results;
        }
        results.extend(chunk);
    }
}

/// One contestant, once. Ours has chunks of a fixed size here, so that no clock decides how many instructions it takes.
fn one(ns: &str, items: &str, contestant: Option<&str>) {
    const USAGE: &str = "one NS ITEMS [CONTESTANT], both of them numbers";
    const CHUNK: usize = 1024;
    let work = Work::uncalibrated(Duration::from_nanos(ns.parse().expect(USAGE)));
    let items = 0..items.parse().expect(USAGE);
    let f = move |item: usize| work.on(item as u64);
    let lab = Lab::new(workers());
    let count = match contestant.filter(|name| !name.starts_with("--")).unwrap_or(OURS) {
        OURS => items.pool_map(&lab.pool, f).chunk_size(CHUNK).collect::<Vec<_>>().len(),
        FLOOR => floor(items).len(),
        name => {
            let rivals = rivals(&lab, &f);
            let rival = rivals.iter().find(|rival| rival.name() == name);
            rival.unwrap_or_else(|| panic!("no contestant is called {name}, but {SEQUENTIAL} is one")).run(items).len()
        }
    };
    println!("{count} results");
}
