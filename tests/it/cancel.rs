//! `CancelToken` on every adaptor.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::{iter, thread};

use pool_map::{CancelToken, Pool, PoolIterator, TraceLevel};

use crate::gate::{Gate, text};

fn pool(workers: usize) -> Pool {
    Pool::new(workers).expect("a few threads start")
}

/// All numbers, without a promise of how many there are: `collect` would make room for them.
fn endless() -> impl Iterator<Item = usize> + Send {
    (0..).take_while(|_| true)
}

#[test]
fn a_token_is_itself_by_all_its_clones() {
    let token = CancelToken::default();
    let clone = token.clone();
    assert!(!token.is_cancelled() && !clone.is_cancelled());
    clone.cancel();
    clone.cancel();
    assert!(token.is_cancelled());
    assert_eq!(format!("{token:?}"), "CancelToken { is_cancelled: true, .. }");
    assert!(!CancelToken::new().is_cancelled());
}

#[test]
fn a_token_cancelled_before_the_start_lets_nothing_begin() {
    let token = CancelToken::new();
    token.cancel();
    let source = || iter::from_fn(|| -> Option<u32> { unreachable!("nothing is pulled") });
    let f = |x: u32| -> u32 { unreachable!("nothing is run, not even {x}") };
    let pool = pool(2);
    assert_eq!(source().pool_map(&pool, f).cancel_on(&token).next(), None);
    assert_eq!(source().pool_map(&pool, f).cancel_on(&token).collect::<Vec<_>>(), []);
    assert_eq!(source().pool_map(Pool::inline(), f).cancel_on(&token).count(), 0);
    assert_eq!(source().pool_map(&pool, f).cancel_on(&token).catch_panics().count(), 0);
    assert_eq!(source().pool_imap(&pool, f).cancel_on(&token).next(), None);
    assert_eq!(source().pool_imap_unordered(&pool, f).cancel_on(&token).count(), 0);
    assert_eq!(source().pool_imap(Pool::inline(), f).cancel_on(&token).next(), None);
    assert_eq!(source().pool_imap(&pool, f).cancel_on(&token).catch_panics().count(), 0);
}

/// What came before the cancelling is delivered without a gap, then the iterator is over.
fn ends<I: Iterator<Item = usize>>(start: impl Fn(&CancelToken) -> I) {
    for at in [0, 1, 10, 1000] {
        let token = CancelToken::new();
        let mut results = start(&token);
        let mut seen = 0;
        for (expected, x) in results.by_ref().enumerate() {
            assert_eq!(x, expected);
            seen += 1;
            if x == at {
                token.cancel();
            }
        }
        assert!(seen > at);
        assert_eq!((results.next(), results.next()), (None, None));
    }
}

#[test]
fn what_is_done_is_delivered_without_a_gap() {
    let pool = pool(3);
    ends(|token| (0..).pool_map(&pool, |x| x).cancel_on(token));
    ends(|token| (0..).pool_map(&pool, |x| x).chunk_size(7).cancel_on(token));
    ends(|token| (0..).pool_map(Pool::inline(), |x| x).cancel_on(token));
    ends(|token| (0..).pool_imap(&pool, |x| x).cancel_on(token));
    ends(|token| (0..).pool_imap(&pool, |x| x).chunk_size(7).cancel_on(token));
    ends(|token| (0..).pool_imap(Pool::inline(), |x| x).cancel_on(token));
    ends(|token| (0..).pool_imap(&pool, |x| x).cancel_on(&CancelToken::new()).cancel_on(token));
    ends(|token| (0..).pool_imap(&pool, |x| x).catch_panics().cancel_on(token).map(|x| x.expect("no panic")));
    ends(|token| (0..).pool_map(&pool, |x| x).cancel_on(token).catch_panics().map(|x| x.expect("no panic")));
}

/// The token is cancelled in `f`, so in the middle of a chunk, while others run.
#[test]
fn from_within_f_while_the_call_streams() {
    let pool = pool(3);
    for at in [0, 1, 100, 5000] {
        for chunk in [1, 10, 1000] {
            let token = CancelToken::new();
            let f = |x: usize| {
                if x == at {
                    token.cancel();
                }
                x
            };
            let all: Vec<usize> = endless().pool_map(&pool, f).chunk_size(chunk).cancel_on(&token).collect();
            assert!(all.iter().copied().eq(0..all.len()), "a gap");
            assert!((0..).pool_map(&pool, |x| x).take(100).eq(0..100));
        }
    }
}

#[test]
fn items_that_run_are_let_finish_and_nothing_more_starts() {
    let pool = pool(2);
    for streams in [true, false] {
        let token = CancelToken::new();
        let gate = Arc::new(Gate::default());
        let (started, starts) = mpsc::channel();
        let closed = Arc::clone(&gate);
        let f = move |x| {
            started.send(x).expect("the test listens");
            closed.wait();
            x
        };
        let same = token.clone();
        let canceller = thread::spawn(move || {
            let mut first = [starts.recv(), starts.recv()].map(|x| x.expect("two start"));
            first.sort_unstable();
            assert_eq!(first, [0, 1]);
            same.cancel();
            gate.open();
            assert_eq!(starts.recv(), Err(mpsc::RecvError), "nothing more starts");
        });
        let all: Vec<usize> = if streams {
            endless().pool_imap(&pool, f).chunk_size(1).cancel_on(&token).collect()
        } else {
            endless().pool_map(&pool, f).chunk_size(1).cancel_on(&token).collect()
        };
        assert_eq!(all, [0, 1]);
        // A stream may have a worker that still holds `f` for a moment.
        canceller.join().expect("as expected");
    }
}

/// A stream of items 0 to 3 in two chunks of two, each on a worker of its own: both are busy until the source has ended.
fn in_two_chunks(
    is_ordered: bool,
    token: &CancelToken,
    f: impl Fn(usize) -> usize + Send + Sync,
    consume: impl FnOnce(&mut dyn Iterator<Item = usize>),
) {
    let pool = pool(2);
    let ended = Arc::new(Gate::default());
    let wait = |ended: Arc<Gate>| move || ended.wait();
    let _busy = [(); 2].map(|()| pool.spawn(wait(Arc::clone(&ended))));
    let source = (0..4).chain(iter::from_fn(|| {
        ended.open();
        None
    }));
    pool_map::scope(&pool, |s| {
        if is_ordered {
            consume(&mut s.imap(source, f).chunk_size(2).cancel_on(token));
        } else {
            consume(&mut s.imap_unordered(source, f).chunk_size(2).cancel_on(token));
        }
    });
}

#[test]
fn behind_a_gap_nothing_comes_out_of_a_stream() {
    let (token, third) = (CancelToken::new(), Gate::default());
    let f = |x| {
        match x {
            0 => {
                third.wait();
                token.cancel();
            }
            3 => third.open(),
            _ => {}
        }
        x
    };
    in_two_chunks(true, &token, f, |results| assert_eq!(results.collect::<Vec<_>>(), [0]));
}

#[test]
fn without_order_what_is_done_comes_out_though_there_are_gaps() {
    let (token, second, first) = (CancelToken::new(), Gate::default(), Gate::default());
    let f = |x| {
        match x {
            0 => {
                second.wait();
                token.cancel();
            }
            2 => {
                second.open();
                first.wait();
            }
            _ => {}
        }
        x
    };
    in_two_chunks(false, &token, f, |results| {
        assert_eq!(results.next(), Some(0));
        first.open();
        assert_eq!(results.collect::<Vec<_>>(), [2]);
    });
}

#[test]
fn a_source_that_blocks_does_not_hold_up_the_end() {
    let (sender, receiver) = mpsc::channel();
    sender.send(1).expect("the stream listens");
    let token = CancelToken::new();
    let mut stream = receiver.into_iter().pool_imap(2, |x| x).cancel_on(&token);
    assert_eq!(stream.next(), Some(1));
    let same = token.clone();
    let canceller = thread::spawn(move || same.cancel());
    assert_eq!(stream.next(), None);
    canceller.join().expect("no panic");
    drop(sender);
}

#[test]
fn a_panic_before_the_cancelling_is_raised_all_the_same() {
    let pool = pool(2);
    let token = CancelToken::new();
    let (begun, all_begun) = (AtomicUsize::new(0), Gate::default());
    let f = |x: usize| {
        // The other worker may be behind. What had not begun by then would be a gap, and the end.
        if begun.fetch_add(1, Ordering::SeqCst) == 5 {
            all_begun.open();
        }
        if x == 5 {
            all_begun.wait();
            token.cancel();
            panic!("item 5");
        }
        x
    };
    let mut seen = 0;
    let call = (0..).pool_map(&pool, f).chunk_size(1).cancel_on(&token);
    let end = catch_unwind(AssertUnwindSafe(|| call.for_each(|_| seen += 1)));
    assert_eq!((text(&*end.expect_err("item 5")), seen), ("item 5", 5));
}

#[test]
fn one_token_for_many_calls() {
    let token = CancelToken::new();
    let pool = pool(2);
    let running = AtomicUsize::new(0);
    thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                let mut stream = (0..).pool_imap(&pool, |x: usize| x).cancel_on(&token);
                stream.next();
                running.fetch_add(1, Ordering::SeqCst);
                stream.for_each(drop);
            });
            threads.spawn(|| {
                let mut started = false;
                (0..).pool_map(2, |x: usize| x).cancel_on(&token).for_each(|_| {
                    if !std::mem::replace(&mut started, true) {
                        running.fetch_add(1, Ordering::SeqCst);
                    }
                });
            });
        }
        while running.load(Ordering::SeqCst) < 8 {
            thread::yield_now();
        }
        token.cancel();
    });
}

#[test]
fn a_cancelled_stream_still_has_a_length() {
    let token = CancelToken::new();
    token.cancel();
    let stream = (0..8).pool_imap(2, |x| x).cancel_on(&token);
    assert_eq!((stream.len(), stream.count()), (8, 0));
}

/// Gives how many results there are. Sends when the first item is pulled.
type Way = fn(&Pool, &CancelToken, mpsc::Sender<()>) -> usize;

/// The only worker is busy with something else, and stays so: what waits for it ends nevertheless.
#[test]
fn at_once_though_the_pool_is_busy() {
    let pool = pool(1);
    let ways: [Way; 5] = [
        |pool, token, last| some(last).pool_map(pool, |x| x).cancel_on(token).count(),
        |pool, token, last| some(last).pool_map(pool, |x| x).cancel_on(token).collect::<Vec<_>>().len(),
        |pool, token, last| {
            let mut count = 0;
            for _ in some(last).pool_map(pool, |x| x).cancel_on(token) {
                count += 1;
            }
            count
        },
        |pool, token, last| some(last).pool_imap(pool, |x| x).cancel_on(token).count(),
        |pool, token, last| some(last).pool_imap_unordered(pool, |x| x).cancel_on(token).count(),
    ];
    for way in ways {
        let (gate, token, (last, pulled)) = (Arc::new(Gate::default()), CancelToken::new(), mpsc::channel());
        let (begins, begun) = mpsc::channel();
        let opens = Arc::clone(&gate);
        let held = pool.spawn(move || {
            begins.send(()).expect("the test listens");
            opens.wait();
        });
        begun.recv().expect("it begins");
        thread::scope(|threads| {
            let waits = threads.spawn(|| way(&pool, &token, last));
            pulled.recv().expect("it is pulled");
            token.cancel();
            assert_eq!(waits.join().expect("it does not panic"), 0);
        });
        gate.open();
        held.join();
    }
}

/// Ten items of an unknown number. Says so when the first one is pulled.
fn some(first: mpsc::Sender<()>) -> impl Iterator<Item = usize> + Send {
    (0..10).filter(move |&x| x > 0 || first.send(()).is_ok())
}

/// Whether a call said that it was cut short, by each of the doors that say so. `f` and the source may cancel the token.
fn says_cut(
    workers: usize,
    source: &(impl Iterator<Item = usize> + Send + Clone + 'static),
    f: impl Fn(usize, &CancelToken) -> usize + Send + Sync + Clone + 'static,
) -> Vec<bool> {
    let mut said = Vec::new();
    for pool in [&pool(workers), &Pool::inline()] {
        let call = || {
            let (token, f) = (CancelToken::new(), f.clone());
            let same = token.clone();
            (token, move |x| f(x, &same))
        };
        let (token, f) = call();
        let mut results = source.clone().pool_map(pool, f).chunk_size(1).cancel_on(&token);
        results.by_ref().for_each(drop);
        said.push(results.was_cut_short());
        let (token, f) = call();
        let results = source.clone().pool_map(pool, f).chunk_size(1).cancel_on(&token);
        said.push(results.consume(|mut results| (results.by_ref().for_each(drop), results.was_cut_short()).1));
        let (token, f) = call();
        let mut results = source.clone().pool_imap(pool, f).chunk_size(1).cancel_on(&token);
        results.by_ref().for_each(drop);
        said.push(results.was_cut_short());
        let (token, f) = call();
        let mut results = source.clone().pool_imap_unordered(pool, f).chunk_size(1).cancel_on(&token);
        results.by_ref().for_each(drop);
        said.push(results.was_cut_short());
    }
    said
}

#[test]
fn a_cut_result_says_so_and_a_complete_one_does_not() {
    let at = |last: usize| {
        move |x, token: &CancelToken| {
            if x == last {
                token.cancel();
            }
            x
        }
    };
    let some = |said: Vec<bool>, cut: bool| assert!(said.iter().all(|&said| said == cut), "{said:?} is not {cut}");
    some(says_cut(2, &(0..usize::MAX), at(5)), true);
    some(says_cut(2, &(0..usize::MAX).filter(|_| true), at(0)), true);
    some(says_cut(2, &(0..1000), |x, _| x), false);
    some(says_cut(2, &(0..1000).filter(|_| true), |x, _| x), false);
    // Too late to matter: the last item runs, behind all others, and the source has no more.
    some(says_cut(1, &(0..8), at(7)), false);
    some(says_cut(1, &(0..0), at(0)), false);
}

/// Opens a gate at the end of the thread whose thread-local it is.
struct OpensAtExit(Arc<Gate>);

impl Drop for OpensAtExit {
    fn drop(&mut self) {
        self.0.open();
    }
}

thread_local! {
    static AT_EXIT: RefCell<Option<OpensAtExit>> = const { RefCell::new(None) };
}

#[test]
fn a_source_that_has_ended_is_complete_whatever_its_length() {
    for is_ordered in [true, false] {
        let (token, ended) = (CancelToken::new(), Arc::new(Gate::default()));
        let (cancels, waits, ends) = (token.clone(), Arc::clone(&ended), Arc::clone(&ended));
        // The token is cancelled when the feeder has ended.
        let source = (0..2).chain(iter::from_fn(move || {
            AT_EXIT.set(Some(OpensAtExit(Arc::clone(&ends))));
            None
        }));
        let f = move |x: usize| {
            waits.wait();
            cancels.cancel();
            x
        };
        let mut results = if is_ordered { source.pool_imap(2, f) } else { source.pool_imap_unordered(2, f) };
        results = results.cancel_on(&token).chunk_size(1);
        let count = results.by_ref().count();
        assert_eq!(results.was_cut_short(), count < 2, "{count} of 2");
    }
}

#[test]
fn a_call_that_panics_or_is_not_over_was_not_cut_short() {
    let token = CancelToken::new();
    let mut results = (0..100).pool_map(2, |x| x).cancel_on(&token).chunk_size(1);
    assert_eq!(results.next(), Some(0));
    token.cancel();
    assert!(!results.was_cut_short(), "results may be at hand");
    results.by_ref().for_each(drop);
    assert!(results.was_cut_short());
    let mut results = (0..100).pool_map(2, |x| assert_ne!(x, 3)).trace(TraceLevel::Off);
    assert!(catch_unwind(AssertUnwindSafe(|| results.by_ref().for_each(drop))).is_err());
    assert!(!results.was_cut_short());
}
