//! What would more cores give? A model on paper, with times that are measured here, and checked against runs on these cores.
//!
//! Three things bound a call on `n` workers: the workers, the thread that pulls the source and takes the results, and the lock
//! under which chunks are handed over, one after the other. Each costs so much an item and so much a chunk. The model takes the
//! slowest of the three, or the sum of all where there are fewer cores than threads. Memory and caches are not in it.

mod common;

use common::{Mode, Work, cores, cpu_time, digits, time_name};
use pool_map::{Pool, PoolIterator};
use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// The sizes of chunks between which costs an item and costs a chunk are told apart.
const FEW: f64 = 8.0;
const MANY: f64 = 4096.0;

/// What was measured, in nanoseconds.
struct Costs {
    /// What the calling thread takes to pull an item and to take its result, and for a chunk.
    caller_item: f64,
    caller_chunk: f64,
    /// What a worker takes for an item besides `f`, and for a chunk.
    worker_item: f64,
    worker_chunk: f64,
    /// How long a chunk keeps all others from being handed over, at most: what one takes where there is nothing else.
    lock_chunk: f64,
}

/// The nanoseconds that the calling thread was on a core, and those of all others.
fn times_on_cores() -> Option<(f64, f64)> {
    let times = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some((times.split(' ').next()?.parse().ok()?, cpu_time()? * 1e6))
}

/// The times of a call with a trivial `f`, in nanoseconds an item: of the caller, of the workers, and in all.
fn trivial_call(pool: &Pool, items: u32, chunk: f64) -> Option<[f64; 3]> {
    let runs: Option<Vec<[f64; 3]>> = (0..9)
        .map(|_| {
            let (start, before) = (Instant::now(), times_on_cores()?);
            let mut numbers = 0..items;
            // A source that the optimiser does not see through, and that knows its length.
            let source = (0..items).map(|_| black_box(numbers.next()));
            let sum: u64 =
                source.pool_map(pool, |number| u64::from(number.unwrap_or(0))).chunk_size(chunk_size(chunk)).sum();
            black_box(sum);
            let (took, after) = (start.elapsed(), times_on_cores()?);
            Some([after.0 - before.0, after.1 - before.1, took.as_secs_f64() * 1e9].map(|ns| ns / f64::from(items)))
        })
        .collect();
    let runs = runs?;
    let least = |at: usize| runs.iter().map(|run| run[at]).fold(f64::INFINITY, f64::min);
    Some([least(0), least(1), least(2)])
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
fn chunk_size(chunk: f64) -> usize {
    chunk as usize
}

impl Costs {
    /// `None` where there is no `/proc`.
    fn measure(items: u32) -> Option<Costs> {
        let (one, two) = (Pool::new(1).expect("a thread"), Pool::new(2).expect("two threads"));
        let [few, many] = [FEW, MANY].map(|chunk| trivial_call(&one, items, chunk));
        let (few, many) = (few?, many?);
        let of_a_chunk = |at: usize| ((few[at] - many[at]) / (1.0 / FEW - 1.0 / MANY)).max(0.0);
        let of_an_item = |at: usize| (many[at] - of_a_chunk(at) / MANY).max(0.0);
        Some(Costs {
            caller_item: of_an_item(0),
            caller_chunk: of_a_chunk(0),
            worker_item: of_an_item(1),
            worker_chunk: of_a_chunk(1),
            lock_chunk: trivial_call(&two, items / 8, 1.0)?[2],
        })
    }

    /// How many times as fast as the sequential loop a long call is, for items of `ns`, and what limits it. Its chunks take 5 ms
    /// or hold 8192 items.
    fn speed_up(&self, workers: f64, ns: f64, cores: f64) -> (f64, &'static str) {
        let chunk = (5e6 / ns).clamp(1.0, 8192.0);
        let worker = ns + self.worker_item + self.worker_chunk / chunk;
        let caller = self.caller_item + self.caller_chunk / chunk;
        let limits = [
            (worker / workers, "workers"),
            (caller, "caller"),
            (self.lock_chunk / chunk, "hand-over"),
            ((worker + caller) / cores, "cores"),
        ];
        let (slowest, limit) = limits.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).expect("four");
        (ns / slowest, limit)
    }
}

/// How many times as fast as the sequential loop a call is here: the median of five rounds.
fn measured(workers: u32, time: Duration) -> (f64, f64) {
    let items = u32::try_from(400_000_000 / time.as_nanos()).expect("some millions");
    let (pool, work) = (Pool::new(workers as usize).expect("some threads"), Work::of(time));
    let mut rounds: Vec<(f64, f64)> = (0..5)
        .map(|_| {
            let start = Instant::now();
            black_box((0..items).map(|item| work.on(u64::from(item))).collect::<Vec<_>>());
            let alone = start.elapsed().as_secs_f64();
            let start = Instant::now();
            black_box((0..items).pool_map(&pool, |item| work.on(u64::from(item))).collect::<Vec<_>>());
            (alone / start.elapsed().as_secs_f64(), alone * 1e9 / f64::from(items))
        })
        .collect();
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    rounds[2]
}

fn main() {
    let is_test = Mode::of_arguments() == Mode::Test;
    let costs = Costs::measure(if is_test { 1000 } else { 2_000_000 });
    let Some(costs) = costs else { return println!("There is no /proc to read the times of threads from.") };
    if is_test {
        let (speed_up, limit) = costs.speed_up(4.0, 1e6, 1e9);
        assert!(speed_up > 3.9 && limit == "workers", "{speed_up}, {limit}");
        return println!("Success: the model knows that four workers are four times as fast");
    }
    println!("### model\n\n| ns | an item | a chunk |\n|---|---|---|");
    println!("| caller | {} | {} |", digits(costs.caller_item), digits(costs.caller_chunk));
    println!("| worker, besides `f` | {} | {} |", digits(costs.worker_item), digits(costs.worker_chunk));
    println!("| hand-over, at most | – | {} |\n", digits(costs.lock_chunk));
    let cores = u32::try_from(cores()).expect("fewer cores");
    println!("| on {cores} cores, items of | workers | model | measured |\n|---|---|---|---|");
    for time in [25, 100, 1_000, 10_000].map(Duration::from_nanos) {
        for workers in [1, 2].into_iter().filter(|&workers| workers <= cores) {
            let (speed_up, ns) = measured(workers, time);
            let (model, limit) = costs.speed_up(f64::from(workers), ns, f64::from(cores));
            println!("| {} | {workers} | {} ({limit}) | {} |", time_name(time), digits(model), digits(speed_up));
        }
    }
    let workers = [4, 8, 16, 32, 64, 128];
    println!(
        "\n| with a core for each thread, items of | {} |",
        workers.map(|workers| format!("{workers} workers")).join(" | ")
    );
    println!("|---|{}", "---|".repeat(workers.len()));
    for time in [10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000].map(Duration::from_nanos) {
        print!("| {} |", time_name(time));
        for workers in workers {
            let (speed_up, limit) = costs.speed_up(f64::from(workers), time.as_secs_f64() * 1e9, f64::INFINITY);
            print!(" {} ({limit}) |", digits(speed_up));
        }
        println!();
    }
}
