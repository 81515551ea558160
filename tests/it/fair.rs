//! 15. Fair: whoever uses a pool gets a turn, though others have no end of work for it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use pool_map::{Pool, PoolIterator, PoolParallelIterator, scope};
use rayon::prelude::*;

/// Work that goes on until it is told to stop.
#[derive(Default)]
struct Work {
    over: AtomicBool,
    /// How many items the source has given.
    pulled: AtomicUsize,
    begun: AtomicBool,
}

impl Work {
    /// All numbers, until it is over; one at least.
    fn items(&self) -> impl Iterator<Item = usize> + Send + '_ {
        (0..).take_while(|&x| x == 0 || !self.is_over()).inspect(|x| self.pulled.store(x + 1, Ordering::SeqCst))
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
    }

    /// Ends when more items wait behind this one: in chunks of one, its worker never finds nothing to do.
    fn one_of_many(&self, item: usize) {
        self.begin();
        while self.pulled.load(Ordering::SeqCst) < item + 4 && !self.is_over() {
            thread::yield_now();
        }
    }

    fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

/// How it is done.
type Way = fn(&Pool, &Work);

const WAYS: [(&str, Way); 5] = [
    ("a call", |pool, work| {
        let results = work.items().pool_map(pool, |x| work.one_of_many(x));
        results.chunk_size(1).max_in_flight(64).for_each(drop);
    }),
    ("a collect", |pool, work| {
        let results = work.items().pool_map(pool, |x| work.one_of_many(x));
        assert!(!results.chunk_size(1).max_in_flight(64).collect::<Vec<_>>().is_empty());
    }),
    ("a stream", |pool, work| {
        let ahead = |x| work.one_of_many(x);
        scope(pool, |s| s.imap(work.items(), ahead).chunk_size(1).max_in_flight(64).for_each(drop));
    }),
    ("a loop", |pool, work| for () in work.items().pool_map(pool, |_| work.begin()) {}),
    // The source has an end, but it does not come.
    ("data that rayon splits", |pool, work| {
        let item = |_| {
            work.begin();
            if work.is_over() { Err(()) } else { Ok(()) }
        };
        assert_eq!((0..usize::MAX / 4).into_par_iter().pool_map(pool, item).try_for_each(|end| end), Err(()));
    }),
];

/// The work ends only when `other` has had its turn, on pools of 1 and 2.
fn beside(other: impl Fn(&Pool) + Sync) {
    for workers in [1, 2] {
        let pool = Pool::new(workers).expect("a few threads start");
        for (name, way) in WAYS {
            let work = Work::default();
            let waits = || {
                while !work.begun.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                other(&pool);
                work.end();
            };
            thread::scope(|threads| {
                // The watchdog says the name of the thread.
                let builder = thread::Builder::new().name(format!("beside {name}"));
                builder.spawn_scoped(threads, waits).expect("a thread starts");
                way(&pool, &work);
            });
        }
    }
}

#[test]
fn a_task_gets_its_turn() {
    beside(|pool| assert_eq!(pool.spawn(|| 1).join(), 1));
}

#[test]
fn a_stream_gets_its_turn() {
    beside(|pool| assert!(pool.imap(0..100, |x| x).eq(0..100)));
}

#[test]
fn an_install_gets_its_turn() {
    beside(|pool| assert_eq!(pool.install(|| (0..100).into_par_iter().sum::<usize>()), 4950));
}

#[test]
fn another_call_gets_its_turn() {
    beside(|pool| {
        assert!((0..100).pool_map(pool, |x| x).eq(0..100));
        assert_eq!((0..100).pool_map(pool, |x| x).collect::<Vec<_>>().len(), 100);
        assert_eq!((0..100).into_par_iter().pool_map(pool, |x| x).collect_vec().len(), 100);
    });
}

#[test]
fn two_calls_go_on_side_by_side() {
    for workers in [1, 2, 4] {
        let pool = Pool::new(workers).expect("a few threads start");
        // Each ends when the other has delivered something.
        let works = [Work::default(), Work::default()];
        let call = |own: usize| {
            let results = works[own].items().pool_map(&pool, |x| works[own].one_of_many(x));
            results.chunk_size(1).max_in_flight(64).for_each(|()| works[1 - own].end());
        };
        thread::scope(|threads| {
            threads.spawn(|| call(0));
            call(1);
        });
    }
}
