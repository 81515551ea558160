//! 11. No deadlock by nesting: at any depth, on pools of any size, with rayon's own parallelism in between.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;

use pool_map::{IntoPool, Pool, PoolIterator, PoolParallelIterator};
use rayon::prelude::*;

use crate::gate::{Gate, text};

fn pool(workers: usize) -> Pool {
    Pool::new(workers).expect("a few threads start")
}

thread_local! {
    /// How many items of the call under test are on this thread's stack.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Runs `body` as part of an item, which must not stand on top of another one.
fn alone<R>(body: impl FnOnce() -> R) -> R {
    struct Leaves;
    impl Drop for Leaves {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
        }
    }
    DEPTH.set(DEPTH.get() + 1);
    let _leaves = Leaves;
    assert_eq!(DEPTH.get(), 1, "an item runs on top of another one of the same call");
    body()
}

/// A sum by rayon's parallelism, split into many parts, so that others are called in and waited for.
fn rayon_sum(up_to: u64) -> u64 {
    let wait_a_little = |x| {
        thread::yield_now();
        x
    };
    (0..up_to).into_par_iter().map(wait_a_little).sum()
}

/// To be called inside `f` on a pool of two workers that has nothing else to do: has something posted to the pool in the middle
/// of a `rayon::join`, and lets first one worker and then the other take up what it finds there, as a wait inside rayon does.
/// Neither may find it.
pub(crate) fn tempted<R: Send>(begun: &AtomicBool, post: impl FnOnce() -> R + Send) -> R {
    let take_it_up = move || {
        for _ in 0..1000 {
            assert_ne!(rayon::yield_now(), Some(rayon::Yield::Executed), "it is none of rayon's jobs");
        }
        assert!(!begun.load(Ordering::SeqCst), "it has begun on top of what is half-run");
    };
    // Each half keeps its worker while the other one is at it; where one panics, the other ends as well.
    let ((tell, told), (over, ends)) = (mpsc::channel(), mpsc::channel::<()>());
    let here = move || {
        let _over = over;
        told.recv().is_ok().then(take_it_up)
    };
    let elsewhere = move || {
        let posted = post();
        take_it_up();
        tell.send(()).expect("the other half waits");
        ends.recv().expect_err("it sends nothing");
        posted
    };
    rayon::join(here, elsewhere).1
}

// ---- Calls inside of calls ------------------------------------------------------------------------------------------

fn three_deep<P: IntoPool>(pool: impl Fn() -> P + Sync) {
    let innermost = |a: u64, b: u64| (0..4).pool_map(pool(), move |c| a * 100 + b * 10 + c).sum::<u64>();
    let middle = |a: u64| {
        let mut sum = 0;
        // A loop here, so that both ways to run are nested.
        for part in (0..5).pool_map(pool(), |b| innermost(a, b)) {
            sum += part;
        }
        sum
    };
    let sums: Vec<u64> = (0..6).pool_map(pool(), middle).collect();
    let expected = (0..6).map(|a| (0..5).flat_map(|b| (0..4).map(move |c| a * 100 + b * 10 + c)).sum::<u64>());
    assert!(sums.into_iter().eq(expected));
}

#[test]
fn three_deep_on_one_pool() {
    for workers in [1, 2, 4] {
        let pool = pool(workers);
        three_deep(|| &pool);
    }
    three_deep(Pool::global);
}

#[test]
fn three_deep_by_count() {
    for workers in [1, 2, 4] {
        three_deep(|| workers);
    }
}

#[test]
fn six_deep() {
    fn leaves(pool: &Pool, depth: usize) -> usize {
        if depth == 0 { 1 } else { (0..3).pool_map(pool, |_| leaves(pool, depth - 1)).sum() }
    }
    fn leaves_by_count(depth: usize) -> usize {
        if depth == 0 { 1 } else { (0..3).pool_map(depth, |_| leaves_by_count(depth - 1)).sum() }
    }
    for workers in [1, 2, 4] {
        assert_eq!(leaves(&pool(workers), 6), 729);
    }
    assert_eq!(leaves_by_count(6), 729);
}

#[test]
fn across_two_pools_and_back() {
    for workers in [1, 2] {
        let (a, b) = (pool(workers), pool(workers));
        let back = |x: u64| (0..4).pool_map(&a, |y| x + y).sum::<u64>();
        let over = |x: u64| (0..4).pool_map(&b, back).sum::<u64>() + x;
        let sums: Vec<u64> = (0..20).pool_map(&a, over).collect();
        assert!(sums.into_iter().eq((0..20).map(|x| 48 + x)));
    }
}

#[test]
fn across_two_pools_and_back_on_their_workers() {
    for workers in [1, 2, 4] {
        let (a, b) = (pool(workers), pool(workers));
        let locked = Mutex::new(());
        // `install` does wait for the other pool, and the waiting worker takes up whatever it finds.
        let over = |x: u64| {
            alone(|| {
                let _locked = locked.lock().expect("nobody panics under it");
                b.install(|| (0..4).pool_map(&a, |y| a.install(|| x + y)).sum::<u64>())
            })
        };
        let sums: Vec<u64> = (0..48).pool_map(&a, over).chunk_size(1).collect();
        assert!(sums.into_iter().eq((0..48).map(|x| 4 * x + 6)));
    }
}

#[test]
fn a_panic_at_the_bottom_comes_out_at_the_top() {
    for workers in [1, 2] {
        let pool = pool(workers);
        let bottom = |x: u64| assert!(x != 3, "at the bottom");
        let middle = |_| (0..5).pool_map(&pool, bottom).count();
        let end = catch_unwind(AssertUnwindSafe(|| (0..5).pool_map(&pool, middle).count()));
        assert_eq!(text(&*end.expect_err("it panics")), "at the bottom");
        three_deep(|| &pool);
    }
}

// ---- Rayon inside of `f` --------------------------------------------------------------------------------------------

#[test]
fn a_lock_held_across_a_par_iter() {
    for workers in [1, 2, 4] {
        for chunk in [Some(1), Some(3), None] {
            let locked = Mutex::new(0);
            let sum = |x: u64| {
                alone(|| {
                    let mut count = locked.lock().expect("nobody panics under it");
                    *count += 1;
                    x + rayon_sum(20)
                })
            };
            let mapped = (0..48).pool_map(workers, sum);
            let sums: Vec<u64> = match chunk {
                Some(items) => mapped.chunk_size(items).collect(),
                None => mapped.collect(),
            };
            assert!(sums.into_iter().eq((0..48).map(|x| x + 190)));
            assert_eq!(locked.into_inner().expect("nobody panics under it"), 48);
        }
    }
}

#[test]
fn a_lock_held_across_a_par_iter_in_a_loop() {
    for workers in [1, 2, 4] {
        let locked = Mutex::new(());
        let sum = |x: u64| {
            alone(|| {
                let _locked = locked.lock().expect("nobody panics under it");
                x + rayon_sum(20)
            })
        };
        let mut expected = 0..48;
        for sum in (0..48).pool_map(workers, sum).chunk_size(1) {
            assert_eq!(Some(sum), expected.next().map(|x| x + 190));
        }
        assert_eq!(expected.next(), None);
    }
}

#[test]
fn one_lock_held_across_a_par_iter_in_two_calls_on_one_pool() {
    for workers in [1, 2, 4] {
        let pool = pool(workers);
        let locked = Mutex::new(());
        let sums = || {
            let sum = |x: u64| {
                let _locked = locked.lock().expect("nobody panics under it");
                x + rayon_sum(20)
            };
            (0..48).pool_map(&pool, sum).chunk_size(1).collect::<Vec<_>>()
        };
        let expected = (0..48).map(|x| x + 190).collect::<Vec<_>>();
        thread::scope(|scope| {
            let other = scope.spawn(sums);
            assert_eq!(sums(), expected);
            assert_eq!(other.join().expect("it does not panic"), expected);
        });
    }
}

#[test]
fn items_of_a_call_never_stack_on_a_worker() {
    for workers in [1, 2, 4] {
        for chunk in [1, 7] {
            let sums = (0..60).pool_map(workers, |x| alone(|| x + rayon_sum(30))).chunk_size(chunk);
            assert_eq!(sums.sum::<u64>(), (0..60).sum::<u64>() + 60 * 435);
            let joins = |x: u64| alone(|| rayon::join(|| rayon_sum(x), || alone_is_not_asked(x)));
            let joined: Vec<_> = (0..60).pool_map(workers, joins).chunk_size(chunk).collect();
            assert!(joined.into_iter().eq((0..60_u64).map(|x| (x * x.saturating_sub(1) / 2, x))));
        }
    }
}

#[test]
fn no_item_of_another_call_runs_on_top_of_one() {
    let (pool, begun) = (pool(2), AtomicBool::new(false));
    let another = || (0..1).pool_for_each(&pool, |_: u8| begun.store(true, Ordering::SeqCst));
    thread::scope(|threads| (0..1).pool_for_each(&pool, |_: u8| tempted(&begun, || drop(threads.spawn(another)))));
    assert!(begun.into_inner());
}

/// The other side of a `join`: any worker may run it, within an item or not.
fn alone_is_not_asked(x: u64) -> u64 {
    thread::yield_now();
    x
}

#[test]
fn a_state_is_made_once_a_worker_and_in_one_pair_of_hands() {
    struct State<'a> {
        in_use: AtomicBool,
        items: usize,
        total: &'a AtomicUsize,
    }
    impl Drop for State<'_> {
        fn drop(&mut self) {
            self.total.fetch_add(self.items, Ordering::Relaxed);
        }
    }
    for workers in [1, 2, 4] {
        for chunk in [1, 5] {
            let (made, total) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let new_state = || {
                made.fetch_add(1, Ordering::Relaxed);
                // Here too others are waited for.
                rayon_sum(10);
                State { in_use: AtomicBool::new(false), items: 0, total: &total }
            };
            let sum = |state: &mut State<'_>, x: u64| {
                assert!(!state.in_use.swap(true, Ordering::Relaxed), "the state is in use");
                state.items += 1;
                let sum = alone(|| x + rayon_sum(20));
                state.in_use.store(false, Ordering::Relaxed);
                sum
            };
            let sums: Vec<u64> = (0..100).pool_map_init(workers, new_state, sum).chunk_size(chunk).collect();
            assert!(sums.into_iter().eq((0..100).map(|x| x + 190)));
            assert!((1..=workers).contains(&made.load(Ordering::Relaxed)), "made {made:?} states on {workers} workers");
            assert_eq!(total.into_inner(), 100, "all states were dropped, and had all items");
        }
    }
}

#[test]
fn rayon_jobs_left_behind_by_an_item() {
    let pool = pool(2);
    let jobs = Mutex::new(Vec::new());
    let leaves = |x: u32| {
        rayon::scope(|scope| {
            for y in 0..5 {
                let jobs = &jobs;
                scope.spawn(move |_| jobs.lock().expect("nobody panics under it").push(x * 5 + y));
            }
        });
        x
    };
    assert!((0..40).pool_map(&pool, leaves).chunk_size(1).eq(0..40));
    let mut jobs = jobs.into_inner().expect("nobody panics under it");
    jobs.sort_unstable();
    assert!(jobs.into_iter().eq(0..200));
}

// ---- Inside of rayon, and of threads --------------------------------------------------------------------------------

#[test]
fn inside_of_a_pool_of_rayon() {
    let ours = pool(2);
    for threads in [1, 2] {
        let theirs = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a few threads start");
        let double = |x: u64| (0..x).pool_map(&ours, |_| 2_u64).sum::<u64>();
        assert_eq!(theirs.install(|| double(50)), 100);
        assert_eq!(theirs.install(|| (0..50).pool_map(2, double).sum::<u64>()), 2450);
        let all: Vec<u64> = theirs.install(|| (0..50).into_par_iter().map(double).collect());
        assert!(all.into_iter().eq((0..50).map(|x| 2 * x)));
        let total = AtomicUsize::new(0);
        theirs.scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|_| {
                    for x in (0..20).pool_map(4, |x| x) {
                        total.fetch_add(x, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 1900);
    }
    // In rayon's own global pool.
    assert_eq!(
        (0..50).into_par_iter().map(|x| (0..x).pool_map(&ours, |_| 1_usize).sum::<usize>()).sum::<usize>(),
        1225
    );
}

#[test]
fn inside_of_install() {
    for workers in [1, 2] {
        let pool = pool(workers);
        let sum = pool.install(|| (0..50).pool_map(&pool, |x| x).sum::<u64>());
        assert_eq!(sum, 1225);
        let installs = |x: u64| pool.install(|| x + rayon_sum(10));
        assert!((0..50).pool_map(&pool, installs).eq((0..50).map(|x| x + 45)));
    }
}

#[test]
fn threads_that_an_item_waits_for() {
    // By count, each call has workers of its own, whatever waits for whom.
    let scoped = |x: u64| thread::scope(|scope| scope.spawn(move || (0..x).pool_map(1, |y| y).sum::<u64>()).join());
    let sums: Vec<u64> = (0..20).pool_map(1, |x| scoped(x).expect("nothing panics")).collect();
    assert!(sums.into_iter().eq((0..20_u64).map(|x| x * x.saturating_sub(1) / 2)));
}

#[test]
fn a_pool_made_and_dropped_by_an_item() {
    let sum = |x: u64| {
        let inner = pool(2);
        let installed = inner.install(|| rayon_sum(x));
        installed + (0..x).pool_map(inner, |_| 0).sum::<u64>()
    };
    assert!((0..20).pool_map(2, sum).eq((0..20_u64).map(|x| x * x.saturating_sub(1) / 2)));
}

// ---- Calls beside each other ----------------------------------------------------------------------------------------

#[test]
fn a_static_that_is_made_with_a_call() {
    // A worker that waited for others inside of the call would be given an item that asks for the static again.
    static SUM: OnceLock<u64> = OnceLock::new();
    for workers in [1, 2, 4] {
        let pool = pool(workers);
        let sum = || {
            *SUM.get_or_init(|| (0..100).pool_map(&pool, |x| x).sum::<u64>() + (0..100).pool_map(2, |x| x).sum::<u64>())
        };
        assert!((0..50).pool_map(&pool, |_| sum()).all(|sum| sum == 9900));
        // And with streams and tasks, each pool being the first to need its static.
        let (pool, other) = (Arc::new(pool), Arc::new(OnceLock::new()));
        let sum =
            move || *other.get_or_init(|| pool.clone().imap(0..100, |x| x).sum::<u64>() + pool.spawn(|| 5).join());
        assert!((0..50).pool_imap(workers, move |_| sum()).all(|sum| sum == 4955));
    }
}

#[test]
fn a_slow_consumer_holds_up_nobody_else() {
    for workers in [1, 2] {
        let pool = pool(workers);
        let (begun, other_done) = (Gate::default(), Gate::default());
        thread::scope(|scope| {
            scope.spawn(|| {
                (0..1000).pool_map(&pool, |x| x).for_each(|x| {
                    if x == 0 {
                        begun.open();
                        other_done.wait();
                    }
                });
            });
            begun.wait();
            // While that one waits for us, with all that it may have in flight.
            assert!((0..1000).pool_map(&pool, |x| x).eq(0..1000));
            assert_eq!((0..1000).pool_map(&pool, |x| x).sum::<u64>(), 499_500);
            other_done.open();
        });
    }
}

#[test]
fn a_call_in_the_consumer() {
    for workers in [1, 2] {
        let pool = pool(workers);
        let mut sum = 0;
        (0..50).pool_map(&pool, |x| x).for_each(|x| sum += (0..x).pool_map(&pool, |_| 1).sum::<u64>());
        assert_eq!(sum, 1225);
        for x in (0..50).pool_map(&pool, |x| x) {
            sum += (0..x).pool_map(&pool, |_| 1).sum::<u64>();
        }
        assert_eq!(sum, 2450);
        // By count, too, with a lease taken while another is held.
        (0..50).pool_map(workers, |x| x).for_each(|x| sum += (0..x).pool_map(workers, |_| 1).sum::<u64>());
        assert_eq!(sum, 3675);
    }
}

#[test]
fn a_call_in_the_source() {
    for workers in [1, 2] {
        let pool = pool(workers);
        let source = || (0..50).map(|x| (0..x).pool_map(&pool, |_| 1).sum::<u64>());
        assert_eq!(source().pool_map(&pool, |x| x).sum::<u64>(), 1225);
        let mut expected = 0..;
        for x in source().pool_map(&pool, |x| x) {
            assert_eq!(Some(x), expected.next());
        }
        // One call is the source of the next.
        let chained = (0..200).pool_map(&pool, |x| x + 1).pool_map(&pool, |x| x * 2).pool_map(workers, |x| x - 2);
        assert!(chained.collect::<Vec<u64>>().into_iter().eq((0..200).map(|x| 2 * x)));
    }
}

#[test]
fn eight_threads_on_one_pool() {
    for workers in [1, 2, 4] {
        let pool = pool(workers);
        thread::scope(|scope| {
            for thread in 0..8_u64 {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..10 {
                        let mapped = (0..100).pool_map(pool, |x| x * thread + round);
                        let expected = (0..100).map(|x| x * thread + round);
                        if round % 2 == 0 {
                            assert!(mapped.eq(expected));
                        } else {
                            assert_eq!(mapped.sum::<u64>(), expected.sum::<u64>());
                        }
                    }
                });
            }
        });
    }
}

#[test]
fn the_first_pool_of_the_process_is_made_inside_of_rayon() {
    crate::child::succeeds(|| {
        let lock = Mutex::new(());
        (0..50_u64).into_par_iter().for_each(|x| {
            assert_eq!((0..x).pool_map(Pool::global(), |y| y).sum::<u64>(), x * x.saturating_sub(1) / 2);
            let _locked = lock.lock().expect("nobody panics under it");
            drop(Pool::new(1).expect("one thread"));
        });
    });
}

#[test]
fn a_lock_held_across_a_par_iter_beside_a_collect_vec() {
    let (pool, locked) = (pool(2), Mutex::new(()));
    let lock = || locked.lock().expect("nobody panics under it");
    thread::scope(|threads| {
        threads.spawn(|| {
            for _ in 0..10 {
                let sum = |x| {
                    let _locked = lock();
                    x + rayon_sum(50)
                };
                assert_eq!((0..50).pool_map(&pool, sum).chunk_size(1).count(), 50);
            }
        });
        for _ in 0..100 {
            assert_eq!((0..200).into_par_iter().pool_map(&pool, |_: usize| drop(lock())).collect_vec().len(), 200);
        }
    });
}

/// The wait that closes the circle begins when the other one is there already.
#[test]
fn a_task_of_another_pool_that_waits_for_this_one_before_it_is_joined() {
    let (a, b) = (pool(1), pool(1));
    let (inside_a, inside_b) = (a.clone(), b.clone());
    let outer = a.spawn(move || {
        let (pulled, pulls) = mpsc::channel();
        let source = std::iter::once_with(move || pulled.send(()).expect("the task listens"));
        let inner = inside_b.spawn(move || source.pool_map(&inside_a, |()| 1).sum::<i32>());
        pulls.recv().expect("it is pulled");
        inner.join()
    });
    assert_eq!(outer.join(), 1);
}

#[test]
fn a_stream_of_another_pool_whose_items_wait_for_this_one_before_it_is_asked_again() {
    let (a, b) = (pool(1), pool(1));
    let (inside_a, inside_b) = (a.clone(), b.clone());
    let outer = a.spawn(move || {
        let (pulled, pulls) = mpsc::channel();
        let mut stream = inside_b.imap(0..2, move |x| {
            let source = (0..1).inspect(|_| pulled.send(()).expect("the task listens"));
            source.pool_map(&inside_a, |_| x).sum::<i32>()
        });
        let first = stream.next();
        (0..2).for_each(|_| pulls.recv().expect("it is pulled"));
        first.into_iter().chain(stream).sum::<i32>()
    });
    assert_eq!(outer.join(), 1);
}
