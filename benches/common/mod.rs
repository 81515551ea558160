//! What the benches share: a bench asks [`Case`]s, each with its contestants, and is run in one of two ways.
//!
//! - `cargo bench -p pool-map-benches --bench NAME` hands every contestant to criterion: absolute times, with reports.
//! - `cargo bench -p pool-map-benches --bench NAME -- ratios [WORDS]` runs the contestants in turns, A B C A B C, and prints
//!   ratios; of those cases only that have WORDS in their names, if given.
//!
//! With `--test` both ways are gone through once, on few items.
#![allow(dead_code, unused_imports, reason = "each bench uses its part of this")]

mod case;
mod cpu_time;
mod peak_memory;
mod rivals;
mod table;
mod work;

pub(crate) use case::{Case, Contestant};
pub(crate) use cpu_time::cpu_time;
pub(crate) use peak_memory::peak_memory;
pub(crate) use rivals::{BRIDGE, INDEXED, Input, Lab, ORX, OURS, PARITER, SEQUENTIAL, SLICES, rivals};
pub(crate) use table::{Goal, Spread, digits};
pub(crate) use work::{Random, Work, time_name};

use criterion::Criterion;
use std::time::Duration;
use std::{env, thread};
use table::Table;

/// How a bench is run.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    Criterion,
    Ratios,
    Test,
}

impl Mode {
    pub(crate) fn of_arguments() -> Mode {
        // `cargo test -p pool-map-benches --benches` gives no argument at all.
        match (has_argument("--test") || !has_argument("--bench"), has_argument("ratios")) {
            (true, _) => Mode::Test,
            (false, true) => Mode::Ratios,
            (false, false) => Mode::Criterion,
        }
    }
}

fn has_argument(word: &str) -> bool {
    env::args().any(|argument| argument == word)
}

/// The words after `ratios`: only cases that have them in their names are wanted.
pub(crate) fn wanted_words() -> Option<String> {
    env::args().skip_while(|argument| argument != "ratios").nth(1).filter(|words| !words.starts_with("--"))
}

/// One run of one bench.
pub(crate) struct Bench {
    mode: Mode,
    /// None where only ratios are asked for.
    criterion: Option<Criterion>,
    /// Only cases with these words in their names are asked; the ratios only.
    words: Option<String>,
    table: Table,
}

/// The `main` of a bench: asks its questions in the way the arguments say.
pub(crate) fn main(name: &'static str, questions: impl FnOnce(&mut Bench)) {
    let mode = Mode::of_arguments();
    // Criterion reads the arguments by itself, and would take the word `ratios` for a filter.
    let criterion = (!has_argument("ratios")).then(|| Criterion::default().configure_from_args());
    let mut bench = Bench { mode, criterion, words: wanted_words(), table: Table::new(name) };
    questions(&mut bench);
    match mode {
        Mode::Criterion => bench.criterion.iter().for_each(Criterion::final_summary),
        Mode::Ratios if bench.words.is_some() => bench.table.print(),
        Mode::Ratios => bench.table.publish(),
        Mode::Test => println!("Success: the contestants of {name} agree"),
    }
}

impl Bench {
    /// How many items a case of `full` items has in this run. Criterion runs every contestant ten times and more, so it
    /// gets a quarter; a test gets enough for every code path.
    pub(crate) fn items(&self, full: usize) -> usize {
        match self.mode {
            Mode::Ratios => full,
            Mode::Criterion => (full / 4).max(full.min(1000)),
            Mode::Test => (full / 500).max(full.min(40)),
        }
    }

    /// Checks that the contestants agree, then measures them.
    pub(crate) fn ask<I, O: PartialEq>(&mut self, case: &Case<'_, I, O>) {
        if !self.is_wanted(case.work()) {
            return;
        }
        let first = case.check();
        if self.mode != Mode::Criterion {
            let (budget, rounds) = if self.mode == Mode::Test { (Duration::ZERO, 1) } else { (seconds(), 9) };
            case.measure(&first, budget, rounds, &mut self.table);
        }
        if let Some(criterion) = &mut self.criterion {
            case.criterion(criterion);
        }
    }

    fn is_wanted(&self, work: &str) -> bool {
        self.words.as_ref().is_none_or(|words| work.contains(words))
    }

    /// Notes a single figure, for what is not a race.
    pub(crate) fn figure(&mut self, work: &str, unit: &str, goal: Goal, measure: impl FnOnce() -> Option<f64>) {
        if self.mode == Mode::Criterion || !self.is_wanted(work) {
            return;
        }
        if let Some(figure) = measure() {
            self.table.figure(work, unit, goal, figure);
        }
    }
}

/// As many workers as there are cores, unless `BENCH_WORKERS` says otherwise.
pub(crate) fn workers() -> usize {
    setting("BENCH_WORKERS").unwrap_or_else(cores)
}

pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// How long the rounds of one case go on; there are nine at least.
fn seconds() -> Duration {
    Duration::from_secs_f64(setting("BENCH_SECONDS").unwrap_or(4.0))
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    let value = text.parse().unwrap_or_else(|_| panic!("{name} should be a number, not {text:?}"));
    Some(value)
}
