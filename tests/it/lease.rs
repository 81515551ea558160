//! What may stand for a pool, and how many workers start for it.

use std::num::NonZeroUsize;
use std::sync::{Arc, Barrier};

use pool_map::{Cores, IntoPool, Pool, PoolIterator, PoolParallelIterator, Worker};
use rayon::prelude::*;

use crate::child;

fn is_pool(_: impl IntoPool) {}

#[test]
fn numbers_and_pools_stand_for_a_pool() {
    let pool = Pool::inline();
    is_pool(4);
    is_pool(NonZeroUsize::MIN);
    is_pool(&pool);
    let shared = Arc::new(pool.clone());
    is_pool(&*shared);
    is_pool(pool);
    is_pool(Pool::global());
    is_pool(Cores);
}

#[test]
fn the_environment_says_how_many_workers_there_are_by_default() {
    let body = || {
        // Nobody leaves before all three are there.
        let three = Barrier::new(3);
        assert_eq!(Pool::global().threads(), 3);
        assert_eq!((0..3).pool_map(Cores, |_| three.wait()).chunk_size(1).count(), 3);
        let worker = |_| Worker::current().map(|worker| worker.name().to_owned()).expect("a worker");
        let own = Pool::global().worker_names();
        assert!((0..9).pool_map(Cores, worker).all(|name| !own.contains(&name)), "they are leased");
        assert_eq!(Pool::builder().threads(2).build().expect("two threads").threads(), 2);
    };
    child::with_env("POOL_MAP_THREADS", "3").succeeds(body);
}

#[test]
fn what_is_no_number_of_threads_is_passed_over() {
    for value in ["0", "many", "-1"] {
        child::with_env("POOL_MAP_THREADS", value).succeeds(|| {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            assert_eq!(Pool::global().threads(), cores);
        });
    }
}

/// How many workers this process has.
#[cfg(target_os = "linux")]
fn workers_alive() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux has it");
    let names = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("PoolWorker-")).count()
}

#[cfg(target_os = "linux")]
#[test]
fn no_more_workers_start_than_there_are_items() {
    let ways: [(fn(), usize); 6] = [
        (|| assert!((0..2).pool_map(64, |x| x).eq(0..2)), 2),
        (|| (0..3).filter(|x| *x < 2).pool_for_each(64, drop), 3),
        (|| assert!((0..2).pool_imap(64, |x| x).eq(0..2)), 2),
        (|| (0..2).into_par_iter().pool_map(64, |_: i32| ()).for_each(drop), 2),
        (|| assert_eq!((0..0).pool_map(5, |x: u32| x).count(), 0), 1),
        // Whoever does not say how many there are gets all.
        (|| assert_eq!(std::iter::from_fn(|| None::<u32>).pool_map(5, |x| x).count(), 0), 5),
    ];
    for case in 0..ways.len() {
        // A process of its own, so that no worker of another call is there.
        child::with_env("CASE", &case.to_string()).succeeds(|| {
            let case: usize = std::env::var("CASE").expect("it was set").parse().expect("a number");
            let (way, workers) = ways[case];
            way();
            assert_eq!(workers_alive(), workers, "case {case}");
        });
    }
}
