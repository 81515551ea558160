//! The rivals: what a user could write in place of `items.pool_map(n, f).collect()`, one row each.

use super::case::Contestant;
use orx_parallel::{IterIntoParIter, Par};
use pariter::IteratorExt;
use pool_map::{Pool, PoolIterator};
use rayon::prelude::*;
use std::iter::repeat_with;
use std::ops::Range;
use std::thread;

pub(crate) const SEQUENTIAL: &str = "sequential";
pub(crate) const OURS: &str = "pool_map";
pub(crate) const INDEXED: &str = "rayon indexed";
pub(crate) const BRIDGE: &str = "rayon par_bridge";
pub(crate) const PARITER: &str = "pariter";
pub(crate) const ORX: &str = "orx-parallel";
pub(crate) const SLICES: &str = "thread::scope";

/// The pools that exist before the clock starts, of the same number of workers each.
pub(crate) struct Lab {
    pub(crate) workers: usize,
    pub(crate) pool: Pool,
    pub(crate) rayon: rayon::ThreadPool,
}

impl Lab {
    pub(crate) fn new(workers: usize) -> Lab {
        let rayon = rayon::ThreadPoolBuilder::new().num_threads(workers).build();
        Lab { workers, pool: Pool::new(workers).expect("threads can start"), rayon: rayon.expect("threads can start") }
    }
}

/// Items that an iterator gives one by one, that rayon can index, and that can be cut into parts.
pub(crate) trait Input:
    IntoIterator<Item: Send + Sync, IntoIter: Send>
    + IntoParallelIterator<Item = <Self as IntoIterator>::Item, Iter: IndexedParallelIterator>
    + Send
{
    /// The first `at` items stay, the others are returned.
    fn split_off(&mut self, at: usize) -> Self;
    fn len(&self) -> usize;
}

impl Input for Range<usize> {
    fn split_off(&mut self, at: usize) -> Self {
        let rest = self.start + at..self.end;
        self.end = rest.start;
        rest
    }

    fn len(&self) -> usize {
        ExactSizeIterator::len(self)
    }
}

impl<T: Send + Sync> Input for Vec<T> {
    fn split_off(&mut self, at: usize) -> Self {
        Vec::split_off(self, at)
    }

    fn len(&self) -> usize {
        Vec::len(self)
    }
}

impl<T: Send + Sync> Input for &[T] {
    fn split_off(&mut self, at: usize) -> Self {
        let (first, rest) = self.split_at(at);
        *self = first;
        rest
    }

    fn len(&self) -> usize {
        <[T]>::len(self)
    }
}

/// Everyone who maps `items` with `f` into a `Vec`, the sequential loop first: the others have to agree with it.
pub(crate) fn rivals<'a, I, R, F>(lab: &'a Lab, f: &'a F) -> Vec<Contestant<'a, I, Vec<R>>>
where
    I: Input + 'a,
    R: Ord + Send + 'a,
    F: Fn(<I as IntoIterator>::Item) -> R + Sync,
{
    let workers = lab.workers;
    vec![
        Contestant::new(SEQUENTIAL, move |items: I| items.into_iter().map(f).collect()),
        Contestant::new(OURS, move |items: I| items.into_iter().pool_map(&lab.pool, f).collect()),
        // The ceiling: it may split the items, an iterator only gives one after the other.
        Contestant::new(INDEXED, move |items: I| lab.rayon.install(|| items.into_par_iter().map(f).collect())),
        Contestant::unordered(BRIDGE, move |items: I| {
            lab.rayon.install(|| items.into_iter().par_bridge().map(f).collect())
        }),
        Contestant::new(PARITER, move |items: I| {
            let with_workers = |map: pariter::ParallelMapBuilder<_>| map.threads(workers);
            thread::scope(|scope| items.into_iter().parallel_map_scoped_custom(scope, with_workers, f).collect())
        }),
        // On its own pool, which lasts as long as the process and has no more threads than there are cores.
        Contestant::new(ORX, move |items: I| items.into_iter().iter_into_par().num_threads(workers).map(f).collect()),
        Contestant::new(SLICES, move |items: I| in_slices(items, workers, f)),
    ]
}

/// By hand: one thread for each contiguous part.
fn in_slices<I, R, F>(mut items: I, workers: usize, f: &F) -> Vec<R>
where
    I: Input,
    R: Send,
    F: Fn(<I as IntoIterator>::Item) -> R + Sync,
{
    let most = items.len().div_ceil(workers);
    let parts = repeat_with(|| {
        let rest = items.split_off(most.min(items.len()));
        std::mem::replace(&mut items, rest)
    });
    let parts: Vec<I> = parts.take(workers).collect();
    let mut results = Vec::with_capacity(parts.iter().map(Input::len).sum());
    thread::scope(|scope| {
        let run = |part: I| scope.spawn(|| part.into_iter().map(f).collect::<Vec<R>>());
        let threads: Vec<_> = parts.into_iter().map(run).collect();
        for thread in threads {
            results.extend(thread.join().expect("f does not panic"));
        }
    });
    results
}
