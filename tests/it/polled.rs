//! Streams in async code: woken and not polled, on an executor of our own and on tokio.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::pin;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use pool_map::{CancelToken, NotReady, Pool, PoolIterator, TraceLevel, scope};

use crate::gate::Gate;
use crate::seen;

fn pool(workers: usize) -> Pool {
    Pool::new(workers).expect("a few threads start")
}

/// An executor of one task: it polls when it was woken, and at no other time.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let (woken, waker) = signal();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => woken.recv().expect("the waker lives"),
        }
    }
}

/// A waker, and where its calls arrive.
fn signal() -> (Receiver<()>, Waker) {
    struct Signal(Mutex<Sender<()>>);

    impl Wake for Signal {
        fn wake(self: Arc<Self>) {
            let _ = self.0.lock().expect("no panic").send(());
        }
    }

    let (sender, receiver) = mpsc::channel();
    (receiver, Arc::new(Signal(Mutex::new(sender))).into())
}

/// All that a stream gives.
macro_rules! all {
    ($stream:expr) => {{
        let mut stream = $stream;
        block_on(async {
            let mut results = Vec::new();
            while let Some(result) = poll_fn(|context| stream.poll_next(context)).await {
                results.push(result);
            }
            results
        })
    }};
}

#[test]
fn all_results_come_in_order() {
    for workers in [1, 2, 4] {
        for chunk in [1, 3] {
            let stream = (0..1000).pool_imap(workers, |x| x * 2).chunk_size(chunk);
            assert!(all!(stream).into_iter().eq((0..1000).map(|x| x * 2)));
            let mut results = all!((0..1000).pool_imap_unordered(workers, |x| x).chunk_size(chunk).max_in_flight(7));
            results.sort_unstable();
            assert!(results.into_iter().eq(0..1000));
        }
    }
    let words = ["so".to_owned(), "much".to_owned()];
    assert_eq!(scope(2, |s| all!(s.imap(&words, String::len))), [2, 4]);
    assert_eq!(all!((0..3).pool_imap(Pool::inline(), |x| x + 1)), [1, 2, 3]);
}

#[test]
fn a_poll_is_pending_until_its_waker_is_woken_once() {
    let (sender, receiver) = mpsc::channel();
    let mut stream = receiver.into_iter().pool_imap(2, |x: u32| x * x).chunk_size(1);
    let (woken, waker) = signal();
    let mut context = Context::from_waker(&waker);
    for x in 0..100 {
        assert_eq!(stream.poll_next(&mut context), Poll::Pending, "nothing was sent");
        sender.send(x).expect("the stream listens");
        woken.recv().expect("it is woken");
        assert_eq!(stream.poll_next(&mut context), Poll::Ready(Some(x * x)));
    }
    assert!(woken.try_recv().is_err(), "nobody waits");
    assert_eq!(stream.poll_next(&mut context), Poll::Pending);
    drop(sender);
    while stream.poll_next(&mut context).is_pending() {
        woken.recv().expect("it is woken for the end");
    }
    for _ in 0..3 {
        assert_eq!(stream.poll_next(&mut context), Poll::Ready(None), "polled after its end");
    }
    assert_eq!(stream.next(), None);
}

#[test]
fn the_waker_of_the_last_poll_is_woken() {
    let (sender, receiver) = mpsc::channel();
    let mut stream = receiver.into_iter().pool_imap(1, |x: u32| x);
    let [(first_woken, first), (woken, last)] = [signal(), signal()];
    assert!(stream.poll_next(&mut Context::from_waker(&first)).is_pending());
    drop(first);
    assert!(stream.poll_next(&mut Context::from_waker(&last)).is_pending());
    assert!(first_woken.recv().is_err(), "the first is gone, and was not woken");
    sender.send(7).expect("the stream listens");
    woken.recv().expect("the last is woken");
    assert_eq!(stream.poll_next(&mut Context::from_waker(&last)), Poll::Ready(Some(7)));
}

#[test]
fn polls_and_blocking_calls_mix() {
    let (sender, receiver) = mpsc::channel();
    let mut stream = receiver.into_iter().pool_imap(2, |x: u32| x).chunk_size(1);
    let (_woken, waker) = signal();
    let mut context = Context::from_waker(&waker);
    for x in (0..300).step_by(3) {
        assert!(stream.poll_next(&mut context).is_pending());
        assert_eq!(stream.try_next(), Err(NotReady));
        (x..x + 3).for_each(|x| sender.send(x).expect("the stream listens"));
        assert_eq!((stream.next(), stream.next(), stream.next()), (Some(x), Some(x + 1), Some(x + 2)));
    }
}

#[test]
fn a_token_wakes_it() {
    let token = CancelToken::new();
    let (sender, receiver) = mpsc::channel::<u32>();
    let mut stream = receiver.into_iter().pool_imap(2, |x| x).cancel_on(&token);
    let (woken, waker) = signal();
    let mut context = Context::from_waker(&waker);
    assert!(stream.poll_next(&mut context).is_pending());
    token.cancel();
    woken.recv().expect("it is woken");
    assert_eq!(stream.poll_next(&mut context), Poll::Ready(None));
    assert!(stream.was_cut_short());
    drop(sender);
}

#[test]
fn a_panic_comes_out_of_the_poll_after_the_results_before_it() {
    let f = |x| if x == 5 { panic_any("five") } else { x };
    for fails in ["f", "the source"] {
        let source = (0..9).inspect(move |x| {
            if fails == "the source" && *x == 5 {
                panic_any("five");
            }
        });
        let mut stream = source.pool_imap(2, f).trace(TraceLevel::Off);
        let mut results = Vec::new();
        let raised = catch_unwind(AssertUnwindSafe(|| {
            block_on(async {
                while let Some(result) = poll_fn(|context| stream.poll_next(context)).await {
                    results.push(result);
                }
            });
        }));
        assert_eq!(raised.expect_err("it panics").downcast_ref(), Some(&"five"));
        assert_eq!(results, [0, 1, 2, 3, 4]);
        assert_eq!(block_on(poll_fn(|context| stream.poll_next(context))), None);
    }
}

#[cfg(unix)] // It needs a shell.
#[test]
fn a_waker_may_panic_and_the_stream_goes_on() {
    struct Bad(Sender<()>);

    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            self.0.send(()).expect("the test listens");
            panic_any("the executor is broken");
        }
    }

    impl Drop for Bad {
        fn drop(&mut self) {
            panic_any("and so is its waker");
        }
    }

    let seen = seen::child(|| {
        let pool = pool(1);
        let (sender, receiver) = mpsc::channel();
        let mut stream = receiver.into_iter().pool_imap(&pool, |x: u32| x).chunk_size(1);
        for x in 0..10 {
            let (signal, woken) = mpsc::channel();
            let waker = Waker::from(Arc::new(Bad(signal)));
            assert!(stream.poll_next(&mut Context::from_waker(&waker)).is_pending());
            // Its destructor does not run while it panics, which would abort the process.
            std::mem::forget(waker);
            sender.send(x).expect("the stream listens");
            woken.recv().expect("it is woken");
            assert_eq!(stream.next(), Some(x));
        }
        // One that is dropped unwoken, by the stream.
        let (signal, _woken) = mpsc::channel();
        let waker = Waker::from(Arc::new(Bad(signal)));
        assert!(stream.poll_next(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        drop(stream);
        assert_eq!(pool.map(0..3, |x| x), [0, 1, 2]);
    });
    seen.succeeded();
}

#[test]
fn a_drop_waits_for_nothing_and_lets_go_of_the_waker() {
    let pool = pool(1);
    let [started, gate] = [Arc::new(Gate::default()), Arc::new(Gate::default())];
    let (sender, receiver) = mpsc::channel();
    let (in_f, held) = (Arc::clone(&started), Arc::clone(&gate));
    let mut stream = receiver.into_iter().pool_imap(&pool, move |()| {
        in_f.open();
        held.wait();
    });
    let (woken, waker) = signal();
    assert!(stream.poll_next(&mut Context::from_waker(&waker)).is_pending());
    sender.send(()).expect("the stream listens");
    started.wait();
    // The item runs and the source blocks.
    drop(stream);
    drop(waker);
    assert!(woken.recv().is_err(), "the waker is gone, and was not woken");
    gate.open();
    drop(sender);
}

#[test]
fn on_the_only_worker_of_its_pool_a_poll_runs_the_items() {
    let pool = pool(1);
    let inside = pool.clone();
    let task = pool.spawn(move || {
        let here = thread::current().id();
        let stream = (0..50).pool_imap(&inside, move |x| {
            assert_eq!(thread::current().id(), here);
            x
        });
        all!(stream)
    });
    assert!(task.join().into_iter().eq(0..50));
}

#[test]
fn pools_whose_workers_await_each_others_streams_come_to_an_end() {
    let [a, b] = [pool(1), pool(1)];
    let (from_a, from_b) = (a.clone(), b.clone());
    let task = a.spawn(move || {
        let f = move |x: u32| all!((0..x).pool_imap(&from_a, |y| y)).into_iter().sum::<u32>();
        all!((0..5).pool_imap(&from_b, f))
    });
    assert_eq!(task.join(), [0, 0, 1, 3, 6]);
    assert_eq!(b.map(0..3, |x| x), [0, 1, 2]);
}

#[test]
fn when_the_stream_has_ended_nothing_of_it_is_left() {
    for _ in 0..200 {
        let captured = Arc::new(());
        let (in_source, in_f) = (Arc::clone(&captured), Arc::clone(&captured));
        let source = (0..4).inspect(move |_| drop(Arc::clone(&in_source)));
        let mut stream = source.pool_imap(2, move |x| (x, Arc::strong_count(&in_f)).0);
        block_on(async { while poll_fn(|context| stream.poll_next(context)).await.is_some() {} });
        assert_eq!(Arc::strong_count(&captured), 1);
    }
}

#[cfg(feature = "futures")]
mod futures {
    use super::*;
    use futures_util::stream::FusedStream;
    use futures_util::{Stream, StreamExt};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn it_is_a_stream_whose_methods_are_there() {
        let mut stream = (0..100).pool_imap(2, |x| x * 2).into_stream();
        assert_eq!(Stream::size_hint(&stream), (100, Some(100)));
        let by_3 = stream.by_ref().filter(|x| std::future::ready(x % 3 == 0));
        assert_eq!(block_on(by_3.take(5).collect::<Vec<u32>>()), [0, 6, 12, 18, 24]);
        assert!(!stream.is_terminated());
        assert_eq!(block_on(stream.by_ref().count()), 87);
        assert!(stream.is_terminated() && !stream.get_ref().was_cut_short());
        assert_eq!(block_on(stream.next()), None);
    }

    #[test]
    fn a_runtime_of_one_thread_goes_on_while_it_waits() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let turns = AtomicUsize::new(0);
        let (go, gate) = tokio::sync::oneshot::channel();
        let (sender, receiver) = mpsc::channel();
        let results = runtime.block_on(async {
            let rows = tokio::spawn(async move {
                // Sent by the runtime's only thread, on which the results are awaited.
                gate.await.expect("it is sent");
                for row in 0..100 {
                    sender.send(row).expect("the stream listens");
                    tokio::task::yield_now().await;
                }
            });
            let mut stream = receiver.into_iter().pool_imap(2, |x: u32| x + 1).into_stream();
            let mut go = Some(go);
            let mut results = Vec::new();
            loop {
                let next = poll_fn(|context| {
                    let next = stream.poll_next_unpin(context);
                    if next.is_pending() {
                        turns.fetch_add(1, Ordering::Relaxed);
                        go.take().into_iter().for_each(|go| go.send(()).expect("the task listens"));
                    }
                    next
                });
                match next.await {
                    Some(row) => results.push(row),
                    None => break,
                }
            }
            rows.await.expect("no panic");
            results
        });
        assert!(results.into_iter().eq(1..=100));
        assert!(turns.into_inner() > 0);
    }
}
