//! Promise 6: a failure is the one of the sequential loop: all results before the lowest failing item, then its payload.

use crate::child;
use pool_map::{Pool, PoolIterator};
use std::any::Any;
use std::cell::RefCell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread::{self, ThreadId};

type Payload = Box<dyn Any + Send>;

fn caught<R>(run: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(run))
}

/// The payload of an item that fails.
#[derive(Debug, PartialEq)]
struct BadItem(usize);

/// The payload of a source that fails when asked for this item.
#[derive(Debug, PartialEq)]
struct BadSource(usize);

/// The payload of a consumer that fails at this result.
#[derive(Debug, PartialEq)]
struct BadConsumer(usize);

fn bad_at(bad: usize) -> impl Fn(usize) -> usize + Sync {
    move |x| if x == bad { panic_any(BadItem(x)) } else { x }
}

fn source_bad_at(bad: usize) -> impl Iterator<Item = usize> {
    (0..).inspect(move |x| {
        if *x == bad {
            panic_any(BadSource(bad));
        }
    })
}

#[track_caller]
fn the<P: 'static>(payload: Payload) -> P {
    match payload.downcast() {
        Ok(payload) => *payload,
        Err(other) => panic!(
            "another payload than expected: {:?} {:?} {:?} {:?}",
            other.downcast_ref::<BadItem>(),
            other.downcast_ref::<BadSource>(),
            other.downcast_ref::<&str>(),
            other.downcast_ref::<String>()
        ),
    }
}

thread_local! {
    /// What a `Recorder` was given, also where it was never finished.
    static RECORDED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// A collection that remembers how far it came.
struct Recorder;

impl FromIterator<usize> for Recorder {
    fn from_iter<I: IntoIterator<Item = usize>>(results: I) -> Recorder {
        for x in results {
            RECORDED.with_borrow_mut(|recorded| recorded.push(x));
        }
        Recorder
    }
}

/// The ways to consume that are to deliver the same.
#[derive(Clone, Copy, Debug)]
enum Drive {
    ForEach,
    Fold,
    Collect,
    Loop,
    Mixed,
    Adaptors,
}

impl Drive {
    const ALL: [Drive; 6] = [Drive::ForEach, Drive::Fold, Drive::Collect, Drive::Loop, Drive::Mixed, Drive::Adaptors];

    /// What was delivered, and how it ended.
    fn run(self, mut it: impl Iterator<Item = usize>) -> (Vec<usize>, Result<(), Payload>) {
        RECORDED.take();
        let mut seen = Vec::new();
        let end = caught(|| match self {
            Drive::ForEach => it.for_each(|x| seen.push(x)),
            Drive::Fold => it.fold((), |(), x| seen.push(x)),
            Drive::Collect => drop(it.collect::<Recorder>()),
            Drive::Loop => {
                for x in it {
                    seen.push(x);
                }
            }
            Drive::Mixed => {
                seen.extend(it.next());
                it.by_ref().take(2).for_each(|x| seen.push(x));
                it.for_each(|x| seen.push(x));
            }
            Drive::Adaptors => it.enumerate().inspect(|x| seen.push(x.1)).filter(|x| x.0 > 3).map(drop).for_each(drop),
        });
        seen.extend(RECORDED.take());
        (seen, end)
    }
}

const CHUNKS: [Option<usize>; 3] = [None, Some(1), Some(4)];

macro_rules! call {
    ($source:expr, $pool:expr, $chunk:expr, $f:expr) => {{
        let it = $source.pool_map($pool, $f);
        if let Some(items) = $chunk { it.chunk_size(items) } else { it }
    }};
}

/// A door that opens once.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().expect("not poisoned") = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        let open = self.0.lock().expect("not poisoned");
        drop(self.1.wait_while(open, |open| !*open).expect("not poisoned"));
    }
}

/// Opens the gate when dropped.
struct OpensGate<'a>(&'a Gate);

impl Drop for OpensGate<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

#[test]
fn the_lowest_index_wins_though_a_later_one_fails_first() {
    let two = Pool::new(2).expect("two threads");
    for round in 0..1000 {
        // A loop runs a batch of as many chunks as workers first, in which items 2 and 5 have to be together.
        let drives = [(Drive::ForEach, 1), (Drive::Fold, 1), (Drive::Collect, 1), (Drive::Loop, 3)];
        let (drive, chunk) = drives[round % 4];
        let five_fails = Gate::default();
        let f = |x| match x {
            2 => {
                five_fails.pass();
                panic_any(BadItem(2))
            }
            5 => {
                let _opens = OpensGate(&five_fails); // While the panic unwinds.
                panic_any(BadItem(5))
            }
            x => x,
        };
        let (seen, end) = drive.run((0..1000).pool_map(&two, f).chunk_size(chunk));
        assert_eq!(the::<BadItem>(end.expect_err("items 2 and 5 panic")), BadItem(2), "{drive:?}, round {round}");
        assert_eq!(seen, [0, 1], "{drive:?}, round {round}");
    }
}

#[test]
fn a_lower_item_that_ends_well_is_delivered_before_the_failure() {
    let two = Pool::new(2).expect("two threads");
    for drive in [Drive::ForEach, Drive::Fold, Drive::Collect] {
        for _ in 0..20 {
            let five_fails = Gate::default();
            let f = |x| match x {
                2 => {
                    five_fails.pass();
                    2
                }
                5 => {
                    let _opens = OpensGate(&five_fails);
                    panic_any(BadItem(5))
                }
                x => x,
            };
            let (seen, end) = drive.run((0..1000).pool_map(&two, f).chunk_size(1));
            assert_eq!(the::<BadItem>(end.expect_err("item 5 panics")), BadItem(5));
            assert_eq!(seen, [0, 1, 2, 3, 4], "{drive:?}");
        }
    }
}

#[test]
fn a_failure_comes_after_all_results_before_it_and_nothing_after() {
    for workers in [1, 2, 3, 8] {
        let pool = Pool::new(workers).expect("a few threads");
        for (drive, chunk) in Drive::ALL.into_iter().flat_map(|drive| CHUNKS.map(|chunk| (drive, chunk))) {
            for bad in (0..20).chain([49]) {
                let setting = format!("{drive:?}, {workers} workers, chunks of {chunk:?}, item {bad}");
                let (seen, end) = drive.run(call!(0..50, &pool, chunk, bad_at(bad)));
                assert_eq!(the::<BadItem>(end.expect_err("an item panics")), BadItem(bad), "{setting}");
                assert_eq!(seen, (0..bad).collect::<Vec<_>>(), "{setting}");
            }
        }
    }
}

#[test]
fn a_failure_of_the_source_takes_its_place_in_the_order() {
    let pools = [1, 2, 4].map(|workers| Pool::new(workers).expect("a few threads"));
    for pool in pools.into_iter().chain([Pool::inline()]) {
        for (drive, chunk) in Drive::ALL.into_iter().flat_map(|drive| CHUNKS.map(|chunk| (drive, chunk))) {
            for bad in 0..=20 {
                let setting = format!("{drive:?}, {pool:?}, chunks of {chunk:?}, the source at {bad}");
                let (seen, end) = drive.run(call!(source_bad_at(bad), &pool, chunk, |x| x));
                assert_eq!(the::<BadSource>(end.expect_err("the source panics")), BadSource(bad), "{setting}");
                assert_eq!(seen, (0..bad).collect::<Vec<_>>(), "{setting}");
            }
        }
    }
}

#[test]
fn a_size_hint_that_panics_is_raised_where_it_is_asked_for() {
    struct Hintless(std::ops::Range<usize>);
    impl Iterator for Hintless {
        type Item = usize;
        fn next(&mut self) -> Option<usize> {
            self.0.next()
        }
        fn size_hint(&self) -> (usize, Option<usize>) {
            panic_any(BadSource(self.0.start))
        }
    }

    let pools = [1, 2, 4].map(|workers| Pool::new(workers).expect("a few threads"));
    for pool in pools.into_iter().chain([Pool::inline()]) {
        // Nobody asks.
        assert_eq!(Hintless(0..50).pool_map(&pool, |x| x).sum::<usize>(), 1225);
        // A vector asks first, and a loop when it has some items already.
        let end = caught(|| Hintless(0..50).pool_map(&pool, |x| x).collect::<Vec<_>>());
        assert_eq!(the::<BadSource>(end.expect_err("the hint panics")), BadSource(0));
        let mut it = Hintless(0..50).pool_map(&pool, |x| x).max_in_flight(4);
        assert_eq!(it.next(), Some(0));
        let end = caught(|| it.size_hint());
        assert!((1..5).contains(&the::<BadSource>(end.expect_err("the hint panics")).0));
        assert!(it.eq(1..50));
        // A stream asks before the source goes to its feeder.
        let mut it = Hintless(0..50).pool_imap(&pool, |x| x);
        assert_eq!(the::<BadSource>(caught(|| it.next()).expect_err("the hint panics")), BadSource(0));
        assert_eq!(it.next(), None);
        assert!((0..50).pool_map(&pool, |x| x).eq(0..50));
    }
}

#[test]
fn a_lower_item_wins_over_the_source() {
    let pools = [1, 2, 4].map(|workers| Pool::new(workers).expect("a few threads"));
    for pool in pools.into_iter().chain([Pool::inline()]) {
        for (drive, chunk) in Drive::ALL.into_iter().flat_map(|drive| CHUNKS.map(|chunk| (drive, chunk))) {
            for bad in 0..10 {
                let (seen, end) = drive.run(call!(source_bad_at(10), &pool, chunk, bad_at(bad)));
                assert_eq!(the::<BadItem>(end.expect_err("an item panics")), BadItem(bad), "{drive:?}, {pool:?}");
                assert_eq!(seen, (0..bad).collect::<Vec<_>>(), "{drive:?}, {pool:?}");
            }
        }
    }
}

#[test]
fn without_threads_the_failure_is_the_same() {
    for drive in Drive::ALL {
        for bad in 0..10 {
            let (seen, end) = drive.run((0..50).pool_map(Pool::inline(), bad_at(bad)));
            assert_eq!(the::<BadItem>(end.expect_err("an item panics")), BadItem(bad));
            assert_eq!(seen, (0..bad).collect::<Vec<_>>(), "{drive:?}");
        }
    }
}

#[test]
fn after_a_failure_the_iterator_is_over() {
    let is_over = |it: &mut dyn Iterator<Item = usize>| {
        for _ in 0..3 {
            assert_eq!(it.size_hint(), (0, Some(0)));
            assert_eq!(it.next(), None);
        }
    };
    let pools = [1, 2, 4].map(|workers| Pool::new(workers).expect("a few threads"));
    for pool in pools.iter().chain([&Pool::inline()]) {
        for chunk in CHUNKS {
            for bad in 0..=10 {
                let fails = |it: &mut dyn Iterator<Item = usize>| {
                    assert!((0..bad).all(|x| it.next() == Some(x)));
                    let payload = caught(|| it.next()).expect_err("the next one fails");
                    is_over(it);
                    payload
                };
                // The item.
                let mut it = call!(0..40, pool, chunk, bad_at(bad));
                assert_eq!(the::<BadItem>(fails(&mut it)), BadItem(bad));
                assert_eq!(it.len(), 0);
                assert_eq!(it.count(), 0);
                // The source.
                let mut it = call!(source_bad_at(bad), pool, chunk, |x| x);
                assert_eq!(the::<BadSource>(fails(&mut it)), BadSource(bad));
                assert_eq!(it.count(), 0);
                // The item, and the source right after it: one failure is all there is.
                let mut it = call!(source_bad_at(bad + 1), pool, chunk, bad_at(bad));
                assert_eq!(the::<BadItem>(fails(&mut it)), BadItem(bad));
                assert_eq!(it.count(), 0);
                // All items: only the first shows.
                let mut it = call!(0..40, pool, chunk, |x| if x >= bad { panic_any(BadItem(x)) } else { x });
                assert_eq!(the::<BadItem>(fails(&mut it)), BadItem(bad));
                assert_eq!(it.last(), None);
            }
        }
    }
}

#[test]
fn the_payload_is_the_very_one() {
    #[derive(Debug)]
    struct Own(Arc<()>);

    let pool = Pool::new(2).expect("two threads");
    let fails = |f: &(dyn Fn() + Sync)| {
        let at_4 = |x| {
            if x == 4 {
                f();
            }
        };
        let in_each = caught(|| (0..9).pool_map(&pool, at_4).for_each(drop));
        let mut it = (0..9).pool_map(&pool, at_4);
        let in_loop = caught(|| while it.next().is_some() {});
        [in_each, in_loop].map(|end| end.expect_err("item 4 panics"))
    };
    let token = Arc::new(());
    for payload in fails(&|| panic_any(Own(Arc::clone(&token)))) {
        assert!(Arc::ptr_eq(&the::<Own>(payload).0, &token));
    }
    assert_eq!(Arc::strong_count(&token), 1);
    assert_eq!(fails(&|| panic_any(42_u8)).map(the::<u8>), [42; 2]);
    assert_eq!(fails(&|| panic!("as it is")).map(the::<&str>), ["as it is"; 2]);
    let number = pool.threads();
    assert_eq!(fails(&|| panic!("made of {number}")).map(the::<String>), ["made of 2"; 2]);
    assert_eq!(fails(&|| std::panic::resume_unwind(Box::new('c'))).map(the::<char>), ['c'; 2]);
    assert_eq!(fails(&|| assert_eq!(number, 3, "no")).map(|payload| the::<String>(payload).lines().count()), [3; 2]);
}

#[test]
fn the_pool_is_as_good_as_before() {
    for workers in [1, 2, 4] {
        let pool = Pool::new(workers).expect("a few threads");
        let threads = || -> HashSet<(ThreadId, Option<String>)> {
            let barrier = Barrier::new(workers);
            let f = |_| {
                barrier.wait();
                (thread::current().id(), thread::current().name().map(str::to_owned))
            };
            (0..workers).pool_map(&pool, f).chunk_size(1).collect()
        };
        let before = threads();
        assert_eq!(before.len(), workers);
        for drive in Drive::ALL {
            for bad in 0..8 {
                assert!(drive.run((0..20).pool_map(&pool, bad_at(bad))).1.is_err());
                assert!(drive.run(source_bad_at(bad).pool_map(&pool, |x| x)).1.is_err());
                let all = |x: usize| -> usize { panic_any(BadItem(x)) };
                assert!(drive.run((0..20).pool_map(&pool, all)).1.is_err());
                assert_eq!((0..100).pool_map(&pool, |x| x).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
            }
        }
        assert_eq!(threads(), before);
    }
}

#[test]
fn a_failure_of_the_consumer_surfaces_unchanged_and_leaves_nothing_running() {
    struct Leaves<'a>(&'a AtomicUsize);
    impl Drop for Leaves<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    for workers in [1, 2, 4] {
        for chunk in CHUNKS {
            for bad in 0..12 {
                // Item 12 fails as well, but is not reached.
                for bad_item in [12, usize::MAX] {
                    let running = AtomicUsize::new(0);
                    let f = |x: usize| {
                        running.fetch_add(1, Ordering::SeqCst);
                        let _leaves = Leaves(&running);
                        bad_at(bad_item)(x)
                    };
                    let mut seen = Vec::new();
                    let payload = caught(|| {
                        call!(0..200, workers, chunk, f).for_each(|x| {
                            bad_consumer(x, bad);
                            seen.push(x);
                        });
                    });
                    assert_eq!(running.load(Ordering::SeqCst), 0);
                    assert_eq!(the::<BadConsumer>(payload.expect_err("the consumer panics")), BadConsumer(bad));
                    assert_eq!(seen, (0..bad).collect::<Vec<_>>());
                    let payload = caught(|| {
                        for x in call!(0..200, workers, chunk, f) {
                            bad_consumer(x, bad);
                        }
                    });
                    assert_eq!(running.load(Ordering::SeqCst), 0);
                    assert_eq!(the::<BadConsumer>(payload.expect_err("the consumer panics")), BadConsumer(bad));
                    let payload = caught(|| call!(0..200, workers, chunk, f).filter(|x| bad_consumer(*x, bad)).count());
                    assert_eq!(running.load(Ordering::SeqCst), 0);
                    assert_eq!(the::<BadConsumer>(payload.expect_err("the consumer panics")), BadConsumer(bad));
                }
            }
        }
    }
}

fn bad_consumer(x: usize, bad: usize) -> bool {
    if x == bad {
        panic_any(BadConsumer(x));
    }
    true
}

#[test]
fn where_every_item_fails_the_first_one_shows_and_each_worker_runs_one_at_most() {
    for workers in [1, 2, 4, 8] {
        for chunk in CHUNKS {
            for drive in Drive::ALL {
                let runs = AtomicUsize::new(0);
                let f = |x: usize| -> usize {
                    runs.fetch_add(1, Ordering::SeqCst);
                    panic_any(BadItem(x))
                };
                let (seen, end) = drive.run(call!(0..10_000, workers, chunk, f));
                assert_eq!(the::<BadItem>(end.expect_err("all items panic")), BadItem(0));
                assert!(seen.is_empty(), "{seen:?}");
                let runs = runs.into_inner();
                assert!((1..=workers).contains(&runs), "{runs} runs on {workers} workers");
            }
        }
    }
}

#[test]
fn a_drop_that_panics_in_f_is_the_failure_of_its_item() {
    struct Bomb(usize);
    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0 == 7 {
                panic_any(BadItem(7));
            }
        }
    }

    for workers in [1, 3] {
        for drive in Drive::ALL {
            let (seen, end) = drive.run((0..50).map(Bomb).pool_map(workers, |bomb| bomb.0));
            assert_eq!(the::<BadItem>(end.expect_err("a destructor panics")), BadItem(7));
            assert_eq!(seen, (0..7).collect::<Vec<_>>());
        }
    }
}

#[test]
fn collecting_results_gives_the_first_err_in_order_and_stops() {
    let two = Pool::new(2).expect("two threads");
    for _ in 0..100 {
        // Item 5 errs before item 2 does.
        let five_errs = Gate::default();
        let pulled = AtomicUsize::new(0);
        let source = (0..).inspect(|_| {
            pulled.fetch_add(1, Ordering::SeqCst);
        });
        let f = |x: usize| match x {
            2 => {
                five_errs.pass();
                Err(2)
            }
            5 => {
                five_errs.open();
                Err(5)
            }
            x => Ok(x),
        };
        let it = source.pool_map(&two, f).chunk_size(1).max_in_flight(10);
        assert_eq!(it.collect::<Result<Vec<_>, _>>(), Err(2));
        assert!(pulled.into_inner() <= 3 + 10);
    }
    for chunk in CHUNKS {
        // Whichever comes first, an Err or a panic, is the end.
        let err_then_panic = |x: usize| if x == 5 { panic_any(BadItem(5)) } else { Ok(x).and_then(odd_one_out(3)) };
        assert_eq!(call!(0..100, 2, chunk, err_then_panic).collect::<Result<Vec<_>, _>>(), Err(3));
        let panic_then_err = |x: usize| if x == 3 { panic_any(BadItem(3)) } else { Ok(x).and_then(odd_one_out(5)) };
        let end = caught(|| call!(0..100, 2, chunk, panic_then_err).collect::<Result<Vec<_>, _>>());
        assert_eq!(the::<BadItem>(end.expect_err("item 3 panics")), BadItem(3));
    }
}

fn odd_one_out(odd: usize) -> impl Fn(usize) -> Result<usize, usize> {
    move |x| if x == odd { Err(x) } else { Ok(x) }
}

// ---- catch_panics ----------------------------------------------------------------------------------------------------

#[test]
fn caught_panics_stand_in_their_places_and_every_item_runs() {
    let pools = [1, 2, 4].map(|workers| Pool::new(workers).expect("a few threads"));
    for pool in pools.iter().chain([&Pool::inline()]) {
        for chunk in CHUNKS {
            let runs = AtomicUsize::new(0);
            let f = |x: usize| {
                runs.fetch_add(1, Ordering::SeqCst);
                if x % 3 == 1 { panic_any(BadItem(x)) } else { x }
            };
            let check = |results: Vec<Result<usize, pool_map::TaskPanic>>| {
                assert_eq!(runs.swap(0, Ordering::SeqCst), 100);
                assert_eq!(results.len(), 100);
                for (x, result) in results.into_iter().enumerate() {
                    match result {
                        Ok(result) => assert_eq!((result, x % 3 != 1), (x, true)),
                        Err(panic) => {
                            assert_eq!((panic.index(), x % 3), (Some(x), 1));
                            assert_eq!(the::<BadItem>(panic.into_payload()), BadItem(x));
                        }
                    }
                }
            };
            check(call!(0..100, pool, chunk, f).catch_panics().collect());
            let mut looped = Vec::new();
            for result in call!(0..100, pool, chunk, f).catch_panics() {
                looped.push(result);
            }
            check(looped);
            let mut it = call!(0..100, pool, chunk, f).catch_panics();
            let mut mixed: Vec<_> = it.by_ref().take(10).collect();
            assert_eq!(it.len(), 90);
            it.for_each(|result| mixed.push(result));
            check(mixed);
        }
    }
}

#[test]
fn where_every_panic_is_caught_all_are_there() {
    let results: Vec<_> = (0..200).pool_map(3, |x: usize| -> usize { panic_any(BadItem(x)) }).catch_panics().collect();
    assert!(results.into_iter().map(|result| result.expect_err("all panic").index()).eq((0..200).map(Some)));
}

#[test]
fn the_first_caught_panic_can_be_collected() {
    let f = |x: usize| if x >= 7 { panic_any(BadItem(x)) } else { x };
    for workers in [1, 4] {
        let end = (0..100).pool_map(workers, f).catch_panics().collect::<Result<Vec<_>, _>>();
        assert_eq!(the::<BadItem>(end.expect_err("item 7 panics").into_payload()), BadItem(7));
    }
}

#[test]
fn a_panic_of_the_source_is_not_caught() {
    for drive in Drive::ALL {
        let it = source_bad_at(9).pool_map(2, bad_at(4)).catch_panics();
        let (seen, end) = drive.run(it.map(|result| result.unwrap_or(100)));
        assert_eq!(the::<BadSource>(end.expect_err("the source panics")), BadSource(9));
        assert_eq!(seen, [0, 1, 2, 3, 100, 5, 6, 7, 8]);
    }
}

#[test]
fn the_state_is_made_anew_after_a_caught_panic() {
    struct State<'a>(usize, &'a AtomicUsize);
    impl Drop for State<'_> {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    let inits = AtomicUsize::new(0);
    let drops = AtomicUsize::new(0);
    let init = || {
        inits.fetch_add(1, Ordering::SeqCst);
        State(0, &drops)
    };
    let f = |state: &mut State<'_>, x: usize| {
        state.0 += 1;
        if x == 3 || x == 8 { panic_any(BadItem(x)) } else { state.0 }
    };
    for pool in [Pool::new(1).expect("one thread"), Pool::inline()] {
        let counts: Vec<_> =
            (0..11).pool_map_init(&pool, init, f).catch_panics().map(|result| result.unwrap_or(0)).collect();
        assert_eq!(counts, [1, 2, 3, 0, 1, 2, 3, 4, 0, 1, 2]);
        let mut counts = Vec::new();
        (0..11).pool_map_init(&pool, init, f).catch_panics().for_each(|result| counts.push(result.unwrap_or(0)));
        assert_eq!(counts, [1, 2, 3, 0, 1, 2, 3, 4, 0, 1, 2]);
        assert_eq!((inits.swap(0, Ordering::SeqCst), drops.swap(0, Ordering::SeqCst)), (6, 6));
    }
}

#[test]
fn a_panic_of_init_is_that_of_its_item() {
    let init = || -> usize { panic_any("no state") };
    for drive in Drive::ALL {
        let (seen, end) = drive.run((0..50).pool_map_init(3, init, |_, x| x));
        assert_eq!(the::<&str>(end.expect_err("init panics")), "no state");
        assert!(seen.is_empty(), "{seen:?}");
    }
    // Caught, it is tried again for the next item.
    let tries = AtomicUsize::new(0);
    let at_third = || {
        if tries.fetch_add(1, Ordering::SeqCst) < 2 {
            panic_any("no state yet")
        }
    };
    let it = (0..6).pool_map_init(1, at_third, |(), x: usize| x).catch_panics();
    let results: Vec<_> = it.map(|result| result.map_err(|panic| panic.index().expect("an item"))).collect();
    assert_eq!(results, [Err(0), Err(1), Ok(2), Ok(3), Ok(4), Ok(5)]);
    assert_eq!(tries.into_inner(), 3);
}

// ---- Payloads that panic when dropped: in a process of their own, which they would end ---------------------------------

struct BombPayload(usize);

impl Drop for BombPayload {
    fn drop(&mut self) {
        panic_any("a payload that panics when dropped");
    }
}

#[test]
fn payloads_whose_drop_panics_do_no_harm() {
    child::succeeds(|| {
        let two = Pool::new(2).expect("two threads");
        for drive in [Drive::ForEach, Drive::Fold, Drive::Collect] {
            for bombs in [[false, true], [true, false], [true, true]] {
                // Items 2 and 5 both fail, 5 first; item 2 wins.
                let five_fails = Gate::default();
                let fail = |x, bomb: bool| if bomb { panic_any(BombPayload(x)) } else { panic_any(BadItem(x)) };
                let f = |x| match x {
                    2 => {
                        five_fails.pass();
                        fail(2, bombs[0])
                    }
                    5 => {
                        let _opens = OpensGate(&five_fails);
                        fail(5, bombs[1])
                    }
                    x => x,
                };
                let (seen, end) = drive.run((0..1000).pool_map(&two, f).chunk_size(1));
                let payload = end.expect_err("items 2 and 5 panic");
                if bombs[0] {
                    let payload = payload.downcast::<BombPayload>().expect("the payload of item 2");
                    assert_eq!(payload.0, 2);
                    std::mem::forget(payload);
                } else {
                    assert_eq!(the::<BadItem>(payload), BadItem(2));
                }
                assert_eq!(seen, [0, 1]);
            }
        }
        // Never reached: by a break, by a consumer that panics, by a lower item than the source.
        let bomb_at_5 = |x: usize| if x == 5 { panic_any(BombPayload(x)) } else { x };
        for workers in [1, 2, 8] {
            assert_eq!((0..50).pool_map(workers, bomb_at_5).take(5).count(), 5);
            assert_eq!((0..50).pool_map(workers, bomb_at_5).find(|x| *x == 4), Some(4));
            let end = caught(|| (0..50).pool_map(workers, bomb_at_5).for_each(|x| assert!(bad_consumer(x, 3))));
            assert_eq!(the::<BadConsumer>(end.expect_err("the consumer panics")), BadConsumer(3));
            let bomb_source = || {
                (0..).inspect(|x| {
                    if *x == 5 {
                        panic_any(BombPayload(5))
                    }
                })
            };
            let end = caught(|| bomb_source().pool_map(workers, bad_at(4)).count());
            assert_eq!(the::<BadItem>(end.expect_err("item 4 panics")), BadItem(4));
            assert_eq!(bomb_source().pool_map(workers, |x| x).take(5).count(), 5);
            let caught_bombs = (0..50).pool_map(workers, bomb_at_5).catch_panics();
            let mut results: Vec<_> = caught_bombs.collect();
            std::mem::forget(results.remove(5));
            assert_eq!(results.into_iter().flatten().count(), 49);
            assert_eq!((0..50).pool_map(workers, bomb_at_5).catch_panics().take(5).count(), 5);
        }
    });
}

/// Panics when dropped, with a payload that does so in turn, so many times.
struct Nested(u32);

impl Drop for Nested {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic_any(Nested(self.0 - 1));
        }
    }
}

#[test]
fn payloads_within_payloads_that_panic_when_dropped_do_no_harm() {
    child::with_env("RUST_BACKTRACE", "0").succeeds(|| {
        for workers in [1, 2, 4] {
            let pool = Pool::new(workers).expect("a few threads");
            // Not reached: of an item, of the source; results that are left over.
            let fails = |x: usize| if x > 3 { panic_any(Nested(5)) } else { x };
            assert_eq!((0..50).pool_map(&pool, fails).take(3).count(), 3);
            let source = (0..).inspect(|x| {
                if *x == 5 {
                    panic_any(Nested(5))
                }
            });
            assert_eq!(source.pool_map(&pool, |x| x).take(4).count(), 4);
            let mut left_over = (0..50).pool_map(&pool, |_| Nested(5)).chunk_size(3);
            std::mem::forget(left_over.next());
            drop(left_over);
            // Items that are left over, where one fails in its own way.
            let f = |(x, nested): (usize, Nested)| {
                std::mem::forget(nested);
                bad_at(3)(x)
            };
            let end = caught(|| (0..50).map(|x| (x, Nested(5))).pool_map(&pool, f).chunk_size(10).count());
            assert_eq!(the::<BadItem>(end.expect_err("item 3 panics")), BadItem(3));
            // A stream and a task that nobody asks any more.
            let mut stream = (0..50).pool_imap(&pool, fails);
            assert_eq!(stream.next(), Some(0));
            drop(stream);
            drop(pool.spawn(|| panic_any(Nested(5))));
            drop(pool.spawn(|| Nested(5)));
            pool.join();
        }
    });
}
