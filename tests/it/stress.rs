//! All of it at once: calls of every kind on shared pools, some of which panic, stop early or hold other calls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{mem, thread};

use pool_map::{Pool, PoolIterator, TraceLevel};
use rayon::prelude::*;

use crate::gate::text;
use crate::soak;

/// A small generator of Marsaglia's (xorshift): the same numbers each time.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("less than a usize")
    }
}

/// Some work: now and then a wait, so that schedules differ.
fn work(x: usize) -> usize {
    if x % 5 == 0 {
        thread::yield_now();
    }
    x * 3
}

/// Counts how many of it there are.
struct Counted<'a>(usize, &'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(x: usize, living: &'a AtomicUsize) -> Self {
        living.fetch_add(1, Ordering::Relaxed);
        Counted(x, living)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One call of a random kind, checked.
pub(crate) fn step(random: &mut Random, pools: &[Pool]) {
    let pool = &pools[random.below(pools.len())];
    let other = &pools[random.below(pools.len())];
    let items = random.below(120);
    let (chunk, limit) = (1 + random.below(20), 1 + random.below(60));
    let expected = || (0..items).map(|x| x * 3);
    let plain = || (0..items).pool_map(pool, work).chunk_size(chunk).max_in_flight(limit);
    match random.below(10) {
        0 => assert!(plain().collect::<Vec<_>>().into_iter().eq(expected())),
        1 => assert!(plain().eq(expected())),
        2 => assert_eq!((0..items).pool_map(pool, work).sum::<usize>(), expected().sum::<usize>()),
        3 => {
            let taken = random.below(items + 1);
            let mut mapped = plain();
            assert!(mapped.by_ref().take(taken).eq(expected().take(taken)));
            match random.below(3) {
                0 => mem::forget(mapped),
                1 => drop(mapped),
                _ => assert!(mapped.collect::<Vec<_>>().into_iter().eq(expected().skip(taken))),
            }
        }
        4 => {
            let failing = [random.below(items + 1), random.below(items + 1)];
            let living = AtomicUsize::new(0);
            let mapped = (0..items).map(|x| Counted::new(x, &living)).pool_map(pool, |item| {
                assert!(!failing.contains(&item.0), "item {}", item.0);
                item
            });
            let mapped = mapped.chunk_size(chunk).trace(TraceLevel::Off);
            let by_batches = random.below(2) == 0;
            let mut seen = 0;
            let consume = |item: Counted<'_>| {
                assert_eq!(item.0, seen);
                seen += 1;
            };
            let call =
                || if by_batches { mapped.into_iter().by_ref().for_each(consume) } else { mapped.for_each(consume) };
            let lowest = failing.into_iter().min().expect("there are two");
            match catch_unwind(AssertUnwindSafe(call)) {
                Ok(()) => assert_eq!((lowest, seen), (items, items)),
                Err(payload) => assert_eq!((text(&*payload), seen), (&*format!("item {lowest}"), lowest)),
            }
            assert_eq!(living.into_inner(), 0, "what was pulled is dropped");
        }
        5 => {
            let failing = random.below(items + 1);
            let fails = |x| if x == failing { Err(x) } else { Ok(x) };
            let end = (0..items).pool_map(pool, fails).chunk_size(chunk).collect::<Result<Vec<_>, _>>();
            assert_eq!(end.map(|all| all.len()), if failing < items { Err(failing) } else { Ok(items) });
        }
        6 => {
            let inner = |x: usize| (0..x % 7).pool_map(other, |y| x + y).sum::<usize>();
            assert!((0..items).pool_map(pool, inner).eq((0..items).map(|x| (0..x % 7).map(|y| x + y).sum::<usize>())));
        }
        7 => {
            let inner = |x: usize| (0..x % 7).into_par_iter().map(|y| x + y).sum::<usize>();
            let mapped: Vec<usize> = (0..items).pool_map(pool, inner).chunk_size(chunk).collect();
            assert!(mapped.into_iter().eq((0..items).map(|x| (0..x % 7).map(|y| x + y).sum::<usize>())));
        }
        8 => {
            let made = AtomicUsize::new(0);
            let new_state = || made.fetch_add(1, Ordering::Relaxed);
            let mapped = (0..items).pool_map_init(pool, new_state, |_, x| work(x)).chunk_size(chunk);
            assert!(mapped.collect::<Vec<_>>().into_iter().eq(expected()));
            assert!(made.into_inner() <= pool.threads());
        }
        _ => {
            let mut seen = Vec::new();
            plain().for_each(|x| seen.push(x + (0..3).pool_map(other, |y| y).sum::<usize>()));
            assert!(seen.into_iter().eq(expected().map(|x| x + 3)));
        }
    }
}

/// Four threads that take steps on the same pools, which are as good as new after that.
fn mix<const N: usize>(pools: [Pool; N], steps: usize, step: fn(&mut Random, &[Pool])) {
    thread::scope(|scope| {
        for seed in 1..=4 {
            let pools = &pools;
            scope.spawn(move || {
                let mut random = Random(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15));
                for _ in 0..steps {
                    step(&mut random, pools);
                }
            });
        }
    });
    for pool in pools {
        assert!((0..100).pool_map(&pool, |x| x).eq(0..100));
        pool.join();
    }
}

#[test]
fn a_mix_of_everything_on_shared_pools() {
    mix([1, 2, 3].map(|threads| Pool::new(threads).expect("a few threads start")), 250, step);
}

/// The beginning of what `.ci/soak` does for as long as one likes.
#[test]
fn a_mix_of_streams_and_tasks_on_shared_pools() {
    mix(soak::pools(), 60, soak::step);
}
