//! The right to run items on a worker: only where nothing half-run lies below on its stack.
//!
//! A worker that waits inside rayon takes up other jobs meanwhile, on top of the one that waits. If such a job began
//! another item, the two would be entangled: the lower one may hold a lock that the upper one wants, or be a piece of a
//! `par_iter` in an `f` that does. So a puller takes a seat first, and there is none but at the bottom of the stack,
//! where rayon's main loop took the puller up.
//!
//! Rayon does not tell which it was, but the depth of the stack does. All our jobs begin in [`begin`], or all in
//! [`begin_hand`], by the same frames above the main loop, so at the bottom the depth is always the same for each of the
//! two; above a wait it is greater by the frames of whatever waits and of the wait itself, which are hundreds of bytes at
//! least.

use crate::threads::lobby::Lobby;
use crate::threads::pool::{self, Crew, Job};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How far, in bytes, a job may begin above the least depth and still be at the bottom.
const SLACK: usize = 64;

/// The least depth at which a job of a scope has begun in this process. The first pool runs one at the bottom to set it.
static LEAST: AtomicUsize = AtomicUsize::new(usize::MAX);
/// The same for the hands of a pool's lobby, which rayon begins by other frames.
static LEAST_OF_HANDS: AtomicUsize = AtomicUsize::new(usize::MAX);

thread_local! {
    /// Where this worker's stack stood before it entered rayon's main loop; 0 off our workers.
    static BASE: Cell<usize> = const { Cell::new(0) };
    /// Whether the job that began last did so at the bottom.
    static AT_THE_BOTTOM: Cell<bool> = const { Cell::new(false) };
    static TAKEN: Cell<bool> = const { Cell::new(false) };
}

/// The right to run items on this thread, until it is dropped.
pub(crate) struct Seat(());

impl Seat {
    /// To be asked for at the beginning of a job.
    pub(crate) fn take() -> Option<Seat> {
        // Miri's addresses say nothing about depth.
        let free = (cfg!(miri) || AT_THE_BOTTOM.get()) && !TAKEN.replace(true);
        free.then_some(Seat(()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        TAKEN.set(false);
    }
}

/// Notes where the stack of this worker stands. What follows is rayon's main loop.
pub(crate) fn enter_main_loop() {
    BASE.set(stack_address());
}

/// Whether the least depths are known.
pub(crate) fn is_calibrated() -> bool {
    [&LEAST, &LEAST_OF_HANDS].into_iter().all(|least| least.load(Ordering::Relaxed) != usize::MAX)
}

/// Begins a job of a scope. It is neither inlined nor generic, for its depth is the measure.
#[inline(never)]
pub(crate) fn begin<'s>(crew: Crew<'_, 's>, job: Job<'s>) {
    note_depth(stack_address(), &LEAST);
    job(crew);
}

/// Begins a hand of a pool's lobby, under the same conditions.
#[inline(never)]
pub(crate) fn begin_hand(lobby: &Arc<Lobby<'static>>) {
    note_depth(stack_address(), &LEAST_OF_HANDS);
    lobby.work(&|| pool::call_hand_here(lobby));
}

fn note_depth(began: usize, least: &AtomicUsize) {
    let depth = BASE.get().abs_diff(began);
    let least = least.fetch_min(depth, Ordering::Relaxed).min(depth);
    AT_THE_BOTTOM.set(depth <= least.saturating_add(SLACK));
}

#[inline(never)]
fn stack_address() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(black_box(&here)).addr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pool;

    #[test]
    fn the_first_pool_takes_the_measure() {
        let pool = Pool::new(1).expect("a thread");
        let known = || [&LEAST, &LEAST_OF_HANDS].map(|least| least.load(Ordering::Relaxed) != usize::MAX);
        assert_eq!((known(), is_calibrated()), ([true; 2], true), "before it ran anything");
        drop(pool);
    }
}
