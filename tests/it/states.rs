//! States of workers that may fail to be made, and states that are cloned.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pool_map::{Pool, PoolIterator, TraceLevel};

fn pool(workers: usize) -> Pool {
    Pool::new(workers).expect("a few threads start")
}

#[test]
fn an_init_that_fails_is_its_items_error_and_is_tried_again() {
    for pool in [&pool(1), &Pool::inline()] {
        let tries = AtomicUsize::new(0);
        let init = || match tries.fetch_add(1, Ordering::SeqCst) {
            2 => Ok(100),
            other => Err(other),
        };
        let f = |state: &mut usize, x: usize| if x == 4 { Err(1000) } else { Ok(*state + x) };
        let results: Vec<_> = (0..6).pool_map_try_init(pool, init, f).collect();
        assert_eq!(results, [Err(0), Err(1), Ok(102), Ok(103), Err(1000), Ok(105)]);
        assert_eq!(tries.into_inner(), 3, "the error of `f` keeps the state");
    }
}

#[test]
fn an_init_that_fails_on_every_worker_fails_every_item() {
    let tries = AtomicUsize::new(0);
    let init = || -> Result<(), usize> { Err(tries.fetch_add(1, Ordering::SeqCst)) };
    let f = |(): &mut (), x: usize| Ok(x);
    let mut errors: Vec<_> =
        (0..100).pool_map_try_init(pool(4), init, f).map(|result| result.expect_err("it fails")).collect();
    errors.sort_unstable();
    assert!(errors.into_iter().eq(0..100));
    let first: Result<Vec<usize>, usize> = (0..100).pool_map_try_init(pool(1), init, f).collect();
    assert_eq!(first, Err(100));
}

#[test]
fn a_panic_of_an_init_that_may_fail_is_its_items() {
    let init = || -> Result<(), ()> { panic_any("no state") };
    let f = |(): &mut (), x: usize| Ok(x);
    let call = (0..3).pool_map_try_init(pool(1), init, f).trace(TraceLevel::Off);
    let raised = catch_unwind(AssertUnwindSafe(|| call.count()));
    assert_eq!(raised.expect_err("it panics").downcast_ref(), Some(&"no state"));
    let caught: Vec<_> = (0..3).pool_map_try_init(pool(2), init, f).catch_panics().collect();
    assert!(caught.iter().map(|result| result.as_ref().expect_err("it panics").index()).eq((0..3).map(Some)));
}

/// Counts its clones and those that live. It is no `Sync`.
struct Template {
    _not_sync: Cell<u8>,
    clones: Arc<AtomicUsize>,
    living: Arc<AtomicUsize>,
}

impl Template {
    fn new() -> Template {
        Template { _not_sync: Cell::new(0), clones: Arc::default(), living: Arc::new(AtomicUsize::new(1)) }
    }
}

impl Clone for Template {
    fn clone(&self) -> Template {
        self.clones.fetch_add(1, Ordering::SeqCst);
        self.living.fetch_add(1, Ordering::SeqCst);
        Template { _not_sync: Cell::new(0), clones: Arc::clone(&self.clones), living: Arc::clone(&self.living) }
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        self.living.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn each_worker_has_a_clone_and_none_is_left() {
    for workers in [1, 3] {
        let template = Template::new();
        let (clones, living) = (Arc::clone(&template.clones), Arc::clone(&template.living));
        let results: Vec<usize> = (0..100).pool_map_with(pool(workers), template, |_, x| x * 2).collect();
        assert!(results.into_iter().eq((0..100).map(|x| x * 2)));
        assert!((1..=workers).contains(&clones.load(Ordering::SeqCst)));
        assert_eq!(living.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn after_a_panic_a_worker_gets_another_clone() {
    let template = Template::new();
    let (clones, living) = (Arc::clone(&template.clones), Arc::clone(&template.living));
    let f = |_: &mut Template, x: usize| assert_ne!(x, 1);
    let results: Vec<_> = (0..3).pool_map_with(pool(1), template, f).catch_panics().collect();
    assert!(results.iter().map(Result::is_ok).eq([true, false, true]));
    assert_eq!((clones.load(Ordering::SeqCst), living.load(Ordering::SeqCst)), (2, 0));
}

#[test]
#[ignore = "streams have no states yet"]
fn ahead_of_the_loop_a_worker_has_one_state_too() {
    let inits = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&inits);
    let init = move || counts.fetch_add(1, Ordering::SeqCst);
    let stream = (0..100).pool_map_init(pool(2), init, |_, x| x).chunk_size(1).run_ahead();
    assert!(stream.eq(0..100));
    assert!((1..=2).contains(&inits.load(Ordering::SeqCst)), "{inits:?}");
}
