//! `catch_panics().with_items()`: the item beside its panic.

use std::panic::panic_any;
use std::sync::atomic::{AtomicUsize, Ordering};

use pool_map::{Pool, PoolIterator, PoolParallelIterator, TaskPanic, scope};
use rayon::prelude::*;

/// What came back, by its item.
fn by_item(
    results: impl IntoIterator<Item = Result<usize, (String, TaskPanic)>>,
) -> Vec<Result<usize, (usize, String)>> {
    let open = |(item, panic): (String, TaskPanic)| (panic.index().expect("an item"), item);
    results.into_iter().map(|result| result.map_err(open)).collect()
}

fn f(item: String) -> usize {
    match item.parse() {
        Ok(x) if x % 10 != 3 => x,
        _ => panic_any(item),
    }
}

#[test]
fn an_item_that_panicked_comes_back_in_its_place() {
    let items = || (0..100).map(|x| x.to_string());
    let right: Vec<_> = (0..100).map(|x| if x % 10 == 3 { Err((x, x.to_string())) } else { Ok(x) }).collect();
    for pool in [Pool::new(1).expect("a thread"), Pool::new(3).expect("threads"), Pool::inline()] {
        for chunk in [1, 7] {
            let call = items().pool_map(&pool, f).chunk_size(chunk).catch_panics().with_items();
            assert_eq!(by_item(call), right);
            let call = items().pool_map(&pool, f).chunk_size(chunk).catch_panics().with_items();
            assert_eq!(call.consume(|results| by_item(results)), right);
            assert_eq!(by_item(items().pool_imap(&pool, f).chunk_size(chunk).catch_panics().with_items()), right);
            scope(&pool, |s| assert_eq!(by_item(s.imap(items(), f).catch_panics().with_items()), right));
            let split: Vec<String> = items().collect();
            let call = PoolParallelIterator::pool_map(split.into_par_iter(), &pool, f).catch_panics().with_items();
            assert_eq!(by_item(call.collect::<Vec<_>>()), right);
        }
    }
}

/// Panics when it is cloned for the first time.
struct Fragile<'a>(usize, &'a AtomicUsize);

impl Clone for Fragile<'_> {
    fn clone(&self) -> Self {
        assert!(self.1.fetch_add(1, Ordering::SeqCst) > 0, "no clone");
        Fragile(self.0, self.1)
    }
}

#[test]
fn an_item_that_cannot_be_cloned_comes_back_itself() {
    let clones = AtomicUsize::new(0);
    let items = (5..8).map(|x| Fragile(x, &clones));
    let results: Vec<_> = items.pool_map(1, |item: Fragile<'_>| item.0).catch_panics().with_items().collect();
    let seen = results.into_iter().map(|result| result.map_err(|(item, panic)| (item.0, panic.message().to_owned())));
    assert!(seen.eq([Err((5, "no clone".to_owned())), Ok(6), Ok(7)]));
}

#[test]
fn a_worker_gets_a_new_state_after_a_panic() {
    let inits = AtomicUsize::new(0);
    let init = || inits.fetch_add(1, Ordering::SeqCst);
    let f = |state: &mut usize, x: usize| if x == 1 { panic_any(x) } else { *state };
    let results: Vec<_> = (0..4).pool_map_init(1, init, f).catch_panics().with_items().collect();
    let seen = results.into_iter().map(|result| result.map_err(|(item, _)| item));
    assert!(seen.eq([Ok(0), Err(1), Ok(1), Ok(1)]));
}
