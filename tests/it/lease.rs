//! What may stand for a pool. What becomes of it is tested in place, since no public call leases yet.

use std::num::NonZeroUsize;
use std::sync::{Arc, Barrier};

use pool_map::{Cores, IntoPool, Pool, PoolIterator, Worker};

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
