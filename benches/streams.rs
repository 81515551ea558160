//! What does it cost to run ahead of a loop, and what does it gain?
//!
//! A `for` loop with a body that takes time, over items that take time; ten million items that take none; and what workers
//! and feeders cost that have nothing to do.

mod common;

use common::{Bench, Case, Contestant, Goal, cpu_time};
use par_map::ParMap;
use pariter::IteratorExt;
use plmap::PipelineMap;
use pool_map::{Pool, PoolIterator};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::mpsc::{self, Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{iter, thread};

const WORKERS: usize = 4;
const IMAP: &str = "pool_imap";
const UNORDERED: &str = "pool_imap_unordered";
const SCOPE: &str = "scope";
const FOR_EACH: &str = "pool_map, for_each";
const BODY: &str = "body alone";
const ITEMS: &str = "items alone";
const PARITER: &str = "pariter";
const BY_HAND: &str = "mpsc by hand";

fn main() {
    common::main("streams", |bench| {
        let pool = Pool::new(WORKERS).expect("threads can start");
        body_and_items(bench, &pool);
        ordered(bench, &pool);
        unordered(bench, &pool);
        idle(bench, &pool);
    });
}

// ---- A body that takes time ------------------------------------------------------------------------------------------

fn item(x: usize) -> usize {
    thread::sleep(Duration::from_millis(4));
    x
}

fn body(x: usize) -> usize {
    thread::sleep(Duration::from_millis(1));
    x
}

/// The loop with its body.
fn consume(results: impl Iterator<Item = usize>) -> usize {
    let mut sum = 0;
    for x in results {
        sum += body(x);
    }
    sum
}

fn body_and_items(bench: &mut Bench, pool: &Pool) {
    type Items = Range<usize>;
    let items = bench.items(200);
    let rayon = rayon::ThreadPoolBuilder::new().num_threads(WORKERS).build().expect("threads can start");
    let rayon_collect = |items: Items| rayon.install(|| items.into_par_iter().map(item).collect::<Vec<_>>());
    let case = Case::new(
        "a body of 1 ms over items of 4 ms",
        items,
        WORKERS,
        || 0..items,
        vec![
            Contestant::new(BODY, |items: Items| consume(items)),
            Contestant::part(ITEMS, |items: Items| items.pool_map(pool, item).chunk_size(1).sum()),
            Contestant::new(IMAP, |items: Items| consume(items.pool_imap(pool, item))),
            Contestant::new(SCOPE, |items: Items| pool_map::scope(pool, |s| consume(s.imap(items, item)))),
            Contestant::new(FOR_EACH, |items: Items| {
                let mut sum = 0;
                items.pool_map(pool, item).for_each(|x| sum += body(x));
                sum
            }),
            Contestant::new("pool_map, for", |items: Items| consume(items.pool_map(pool, item))),
            Contestant::new(PARITER, |items: Items| {
                consume(items.parallel_map_custom(|map| map.threads(WORKERS), item))
            }),
            Contestant::new("par-map", |items: Items| consume(items.with_nb_threads(WORKERS).par_map(item))),
            Contestant::new("plmap", |items: Items| consume(items.plmap(WORKERS, item))),
            Contestant::new("rayon collect, then for", |items: Items| consume(rayon_collect(items).into_iter())),
        ],
    );
    let case = [IMAP, SCOPE, FOR_EACH].into_iter().fold(case, |case, ours| {
        case.question(ours, "the longer of body and items", Goal::AtMost(1.05), move |round| {
            round.of(ours) / round.of(BODY).max(round.of(ITEMS))
        })
    });
    bench.ask(&case);
}

// ---- Items that take none --------------------------------------------------------------------------------------------

fn small(x: u64) -> u64 {
    x.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Depends on the order.
fn digest(results: impl Iterator<Item = u64>) -> u64 {
    results.fold(0, |digest: u64, x| digest.rotate_left(5) ^ x)
}

/// Does not.
fn sum(results: impl Iterator<Item = u64>) -> u64 {
    results.fold(0, u64::wrapping_add)
}

/// What one writes with the standard library: a channel to the workers, who share its end, and one back.
fn by_hand(items: Range<u64>) -> Receiver<(u64, u64)> {
    let (to_workers, queue) = sync_channel(1024);
    let (to_consumer, results) = sync_channel(1024);
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..WORKERS {
        let (queue, to_consumer) = (Arc::clone(&queue), to_consumer.clone());
        thread::spawn(move || {
            loop {
                let item: Result<u64, mpsc::RecvError> = queue.lock().expect("nobody panics").recv();
                let Ok(x) = item else { return };
                if to_consumer.send((x, small(x))).is_err() {
                    return;
                }
            }
        });
    }
    thread::spawn(move || items.into_iter().all(|x| to_workers.send(x).is_ok()));
    results
}

/// The same, put into order again.
fn by_hand_in_order(items: Range<u64>) -> impl Iterator<Item = u64> {
    let results = by_hand(items.clone());
    let mut early = BTreeMap::new();
    items.map(move |index| {
        loop {
            if let Some(result) = early.remove(&index) {
                return result;
            }
            let (index, result) = results.recv().expect("there are as many results as items");
            early.insert(index, result);
        }
    })
}

fn count(bench: &Bench) -> u64 {
    bench.items(10_000_000) as u64
}

fn ordered(bench: &mut Bench, pool: &Pool) {
    let count = count(bench);
    let case = Case::new(
        "small items through a stream, in order",
        usize::try_from(count).expect("some millions"),
        WORKERS,
        || 0..count,
        vec![
            Contestant::new(BY_HAND, |items| digest(by_hand_in_order(items))),
            Contestant::new(IMAP, |items: Range<u64>| digest(items.pool_imap(pool, small))),
            Contestant::new(SCOPE, |items: Range<u64>| pool_map::scope(pool, |s| digest(s.imap(items, small)))),
            Contestant::new(PARITER, |items: Range<u64>| {
                digest(items.parallel_map_custom(|map| map.threads(WORKERS), small))
            }),
        ],
    );
    bench.ask(&case.race(IMAP, BY_HAND, Goal::AtLeast(1.0)).race(IMAP, PARITER, Goal::AtLeast(5.0)));
}

fn unordered(bench: &mut Bench, pool: &Pool) {
    let count = count(bench);
    let case = Case::new(
        "small items through a stream, as completed",
        usize::try_from(count).expect("some millions"),
        WORKERS,
        || 0..count,
        vec![
            Contestant::new(BY_HAND, |items| sum(by_hand(items).into_iter().map(|(_, result)| result))),
            Contestant::new(UNORDERED, |items: Range<u64>| sum(items.pool_imap_unordered(pool, small))),
            Contestant::new(PARITER, |items: Range<u64>| {
                sum(items.parallel_map_custom(|map| map.threads(WORKERS), small))
            }),
            Contestant::new("fed by a channel", |items: Range<u64>| {
                let (sender, receiver) = sync_channel(1024);
                thread::spawn(move || items.into_iter().all(|x| sender.send(x).is_ok()));
                sum(receiver.into_iter().pool_imap_unordered(pool, small))
            }),
            Contestant::part("that channel alone", |items: Range<u64>| {
                let (sender, receiver) = sync_channel(1024);
                thread::spawn(move || items.into_iter().all(|x| sender.send(x).is_ok()));
                sum(receiver.into_iter())
            }),
        ],
    );
    bench.ask(&case.race(UNORDERED, BY_HAND, Goal::AtLeast(1.0)).race(UNORDERED, PARITER, Goal::AtLeast(5.0)));
}

// ---- Nothing to do ---------------------------------------------------------------------------------------------------

/// What all threads but this one use of the processors in a second in which all they do is wait.
fn idle(bench: &mut Bench, pool: &Pool) {
    bench.figure("CPU time in a second in which every item sleeps", "ms", Goal::AtMost(1.0), || {
        let mut stream = iter::repeat(()).pool_imap(pool, |()| thread::sleep(Duration::from_millis(1500)));
        stream.next();
        meanwhile()
    });
    bench.figure("CPU time in a second in which the source sleeps", "ms", Goal::AtMost(1.0), || {
        let (sender, receiver) = mpsc::channel();
        let mut stream = receiver.into_iter().pool_imap(pool, |x| x);
        (0..1000).for_each(|x| sender.send(x).expect("the stream listens"));
        stream.by_ref().take(1000).for_each(drop);
        meanwhile()
    });
    bench.figure("CPU time in a second in which the consumer sleeps", "ms", Goal::AtMost(1.0), || {
        let mut stream = (0..).pool_imap(pool, |x: u64| x);
        stream.next();
        meanwhile()
    });
}

fn meanwhile() -> Option<f64> {
    thread::sleep(Duration::from_millis(100));
    let before = cpu_time()?;
    thread::sleep(Duration::from_secs(1));
    Some(cpu_time()? - before)
}
