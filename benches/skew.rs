//! What if items cost very different amounts? Exponentially distributed costs, and one giant among small ones.

mod common;

use common::{BRIDGE, Bench, Case, Goal, INDEXED, Lab, ORX, PARITER, Random, SLICES, Work, rivals, time_name, workers};
use std::time::Duration;

fn main() {
    common::main("skew", |bench| {
        let lab = Lab::new(workers());
        for (mean, items) in [(Duration::from_micros(10), 20_000), (Duration::from_micros(100), 2_000)] {
            let mut random = Random(1);
            let costs = (0..bench.items(items)).map(|_| random.exponential(mean)).collect();
            // The goal is for a mean of 100 µs; below it the figure is shown without one.
            let goal = Goal::on(lab.workers, 0.95, 0.95).only_if(mean >= Duration::from_micros(100));
            ask(bench, &lab, format!("exponential costs around {}", time_name(mean)), costs, goal);
        }
        for place in ["first", "in the middle", "last"] {
            let name = format!("a giant of 20 ms {place} among items of 10 µs");
            let costs = with_giant(bench.items(4_000), place);
            ask(bench, &lab, name, costs, Goal::None);
        }
    });
}

/// Small items of 40 ms in all, and one that takes half as long as they.
fn with_giant(items: usize, place: &str) -> Vec<Duration> {
    let mut costs = vec![Duration::from_micros(10); items];
    let place = match place {
        "first" => 0,
        "last" => items - 1,
        _ => items / 2,
    };
    costs[place] = Duration::from_millis(20);
    costs
}

fn ask(bench: &mut Bench, lab: &Lab, name: String, costs: Vec<Duration>, goal: Goal) {
    let works: Vec<Work> = costs.into_iter().map(Work::alone).collect();
    let f = |item: usize| works[item].on(item as u64);
    let items = works.len();
    let case = Case::new(name, items, lab.workers, || 0..items, rivals(lab, &f))
        .against_ideal(goal)
        .against(INDEXED, Goal::None)
        .against(BRIDGE, Goal::None)
        .against(PARITER, Goal::None)
        .against(ORX, Goal::None)
        .against(SLICES, Goal::None);
    bench.ask(&case);
}
