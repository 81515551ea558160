//! 9. Nothing outlives the call: whenever a method has returned or unwound, no job of it is running.

use std::cell::RefCell;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pool_map::{Pool, PoolIterator};

use crate::gate::text;

/// How many items are in `f` at this moment.
#[derive(Default)]
struct Running(AtomicUsize);

impl Running {
    /// One item's time in `f`, long enough to be seen.
    fn item(&self, index: usize) -> usize {
        struct Leaves<'a>(&'a AtomicUsize);
        impl Drop for Leaves<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.0.fetch_add(1, Ordering::SeqCst);
        let _leaves = Leaves(&self.0);
        for _ in 0..50 {
            thread::yield_now();
        }
        assert_ne!(index, 60, "item 60");
        index
    }

    #[track_caller]
    fn none(&self) {
        assert_eq!(self.0.load(Ordering::SeqCst), 0, "something is still running");
    }
}

fn each_pool(test: impl Fn(&Pool)) {
    for workers in [1, 2, 4] {
        let pool = Pool::new(workers).expect("a few threads start");
        test(&pool);
        let left: Vec<usize> = (0..100).pool_map(&pool, |x| x + 1).collect();
        assert!(left.into_iter().eq(1..101), "the pool is not as before");
    }
}

#[test]
fn between_the_items_of_a_loop() {
    each_pool(|pool| {
        let running = Running::default();
        for index in (0..50).pool_map(pool, |index| running.item(index)) {
            running.none();
            assert!(index < 50);
        }
        running.none();
    });
}

#[test]
fn after_a_break_or_a_drop() {
    each_pool(|pool| {
        let running = Running::default();
        for index in (0..).pool_map(pool, |index| running.item(index)) {
            if index == 30 {
                break;
            }
        }
        running.none();
        let mut mapped = (0..).pool_map(pool, |index| running.item(index));
        assert_eq!(mapped.nth(20), Some(20));
        drop(mapped);
        running.none();
        assert_eq!((0..).pool_map(pool, |index| running.item(index)).take(10).count(), 10);
        running.none();
    });
}

#[test]
fn after_collecting() {
    each_pool(|pool| {
        let running = Running::default();
        let all: Vec<usize> = (0..50).pool_map(pool, |index| running.item(index)).collect();
        running.none();
        assert_eq!(all.len(), 50);
        assert_eq!((0..50).pool_map(pool, |index| running.item(index)).sum::<usize>(), 1225);
        running.none();
        (0..50).pool_for_each(pool, |index| {
            running.item(index);
        });
        running.none();
    });
}

#[test]
fn after_an_err() {
    each_pool(|pool| {
        let running = Running::default();
        let fails = |index| if index == 20 { Err(index) } else { Ok(running.item(index)) };
        assert_eq!((0..).pool_map(pool, fails).collect::<Result<Vec<_>, _>>(), Err(20));
        running.none();
        assert_eq!((0..).pool_map(pool, fails).try_for_each(|result| result.map(drop)), Err(20));
        running.none();
    });
}

#[test]
fn after_a_panic() {
    each_pool(|pool| {
        let running = Running::default();
        let call = || (0..).pool_map(pool, |index| running.item(index));
        catch_unwind(AssertUnwindSafe(|| call().collect::<Vec<_>>())).expect_err("item 60 panics");
        running.none();
        catch_unwind(AssertUnwindSafe(|| call().by_ref().for_each(drop))).expect_err("item 60 panics");
        running.none();
    });
}

#[test]
fn after_a_panic_of_the_consumer_or_the_source() {
    each_pool(|pool| {
        let running = Running::default();
        let call = || (0..).pool_map(pool, |index| running.item(index));
        let consume = |index| assert!(index < 20, "enough");
        catch_unwind(AssertUnwindSafe(|| call().for_each(consume))).expect_err("the consumer panics");
        running.none();
        catch_unwind(AssertUnwindSafe(|| call().by_ref().for_each(consume))).expect_err("the consumer panics");
        running.none();
        let source = || (0..).inspect(|index| assert!(*index < 20, "no more"));
        let call = || source().pool_map(pool, |index| running.item(index));
        catch_unwind(AssertUnwindSafe(|| call().count())).expect_err("the source panics");
        running.none();
        catch_unwind(AssertUnwindSafe(|| call().by_ref().for_each(drop))).expect_err("the source panics");
        running.none();
    });
}

#[test]
fn after_two_panics_at_once() {
    // One that unwinds through the scope while another comes from a job (rust-lang/rust#157969).
    each_pool(|pool| {
        for _ in 0..100 {
            let running = Running::default();
            let call = (0..).pool_map(pool, |index| {
                running.item(index);
                assert!(index < 8, "an item");
            });
            let mut seen = 0;
            let consume = |()| {
                seen += 1;
                assert!(seen < 5, "the consumer");
            };
            let payload = catch_unwind(AssertUnwindSafe(|| call.for_each(consume))).expect_err("both panic");
            running.none();
            assert_eq!(text(&*payload), "the consumer", "its turn was before that of any item");
        }
    });
}

#[test]
fn when_forgotten() {
    each_pool(|pool| {
        let running = Running::default();
        for taken in 0..5 {
            let mut mapped = (0..).pool_map(pool, |index| running.item(index));
            assert_eq!(mapped.by_ref().take(taken).count(), taken);
            mem::forget(mapped);
            running.none();
        }
        let mut mapped = (0..).pool_map(pool.threads(), |index| running.item(index));
        assert_eq!(mapped.nth(3), Some(3));
        mem::forget(mapped);
        running.none();
        assert_eq!((0..50).pool_map(pool.threads(), |index| running.item(index)).count(), 50);
    });
}

#[test]
fn when_leaked_in_a_cycle() {
    struct Node {
        itself: RefCell<Option<Rc<Node>>>,
        mapped: RefCell<Box<dyn Iterator<Item = usize>>>,
    }
    static RUNNING: Running = Running(AtomicUsize::new(0));
    each_pool(|pool| {
        let mapped = RefCell::new(Box::new((0..).pool_map(pool, |index| RUNNING.item(index))) as Box<_>);
        let node = Rc::new(Node { itself: RefCell::default(), mapped });
        *node.itself.borrow_mut() = Some(Rc::clone(&node));
        assert_eq!(node.mapped.borrow_mut().nth(5), Some(5));
        drop(node);
        RUNNING.none();
    });
}

#[test]
fn so_what_was_borrowed_can_be_changed_at_once() {
    each_pool(|pool| {
        let mut words: Vec<String> = (0..200).map(|number| number.to_string()).collect();
        for round in 0..50 {
            let offset = words[0].len();
            let mut mapped = words.iter().pool_map(pool, |word| word.len() + offset);
            assert!(mapped.nth(round).is_some());
            match round % 3 {
                0 => mem::forget(mapped),
                1 => drop(mapped),
                _ => assert_eq!(mapped.count(), 199 - round),
            }
            for word in &mut words {
                word.push('x');
                word.shrink_to_fit();
            }
        }
        words.clear();
    });
}
