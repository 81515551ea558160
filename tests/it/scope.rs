//! `scope`: streams that run ahead over borrowed data, and end with the scope.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::{mem, thread};

use pool_map::{CancelToken, NotReady, Pool, Worker, scope};

use crate::child;
use crate::gate::{Gate, text};

fn pool(workers: usize) -> Pool {
    Pool::new(workers).expect("a few threads start")
}

#[test]
fn items_results_and_f_may_borrow() {
    let words: Vec<String> = (0..500).map(|x| format!("{x}")).collect();
    let seen = Mutex::new(HashSet::new());
    for workers in [1, 2, 4] {
        let firsts: Vec<&str> = scope(workers, |s| {
            let f = |word: &String| {
                seen.lock().expect("no panic").insert(word.len());
                word.len()
            };
            let lengths = s.imap(&words, f);
            assert!(lengths.eq(words.iter().map(String::len)));
            s.imap(&words, |word| &word[..1]).collect()
        });
        assert!(firsts.into_iter().eq(words.iter().map(|word| &word[..1])));
    }
    assert_eq!(seen.into_inner().expect("no panic"), HashSet::from([1, 2, 3]));
}

#[test]
fn it_returns_what_the_body_returns() {
    let pool = pool(2);
    assert_eq!(scope(&pool, |_| 7), 7);
    let total = scope(&pool, |s| s.imap_unordered(0..100, |x| x * 2).chunk_size(3).max_in_flight(7).sum::<i32>());
    assert_eq!(total, 9900);
}

#[test]
fn several_streams_at_once_and_one_after_the_other() {
    let factor = 3;
    scope(2, |s| {
        let both = s.imap(0..300, |x| x * factor).zip(s.imap(0..300, |x| x + factor));
        assert!(both.eq((0..300).map(|x| (x * 3, x + 3))));
        for _ in 0..50 {
            assert_eq!(s.imap(0..10, |x| x * factor).take(3).sum::<i32>(), 9);
        }
    });
}

#[test]
fn the_streams_of_a_scope_share_its_workers() {
    let name = |x: usize| (x, Worker::current().expect("a worker").name().to_owned());
    scope(1, |s| {
        let mut names = HashSet::new();
        for (x, (a, b)) in s.imap(0.., name).zip(s.imap(0.., name)).take(1000).enumerate() {
            assert_eq!((a.0, b.0), (x, x));
            names.extend([a.1, b.1]);
        }
        assert_eq!(names.len(), 1);
    });
}

#[test]
fn a_stream_may_feed_another() {
    let offset = 1;
    let pool = pool(2);
    let total: usize = scope(&pool, |outer| {
        let first = outer.imap(0..1000_usize, |x| x + offset);
        first.map(|x| x * 2).sum()
    });
    assert_eq!(total, 1_001_000);
}

#[test]
fn a_stream_may_be_the_source_of_another_in_the_same_scope() {
    let offset = 1;
    for workers in [1, 2, 4] {
        let total: usize = scope(workers, |s| {
            let first = s.imap(0..1000_usize, |x| x + offset);
            let second = s.imap_unordered(first.filter(|x| x % 2 == 0), |x| x * 2);
            s.imap(second, |x| x - offset).sum()
        });
        assert_eq!(total, 500 * 1002 - 500);
    }
    let total: usize = scope(Pool::inline(), |s| s.imap(s.imap(0..10, |x| x + offset), |x| x * 2).sum());
    assert_eq!(total, 110);
}

#[test]
fn an_item_goes_through_both_stages_before_the_next_is_sent() {
    let step = 1;
    let (sender, receiver) = mpsc::channel();
    scope(1, |s| {
        sender.send(0).expect("the stream listens");
        let first = s.imap(receiver, |x| x + step);
        for (expected, got) in s.imap(first, |x| x + step).take(500).enumerate() {
            assert_eq!(got, 2 * expected + 2);
            sender.send(got).expect("the stream listens");
        }
        drop(sender);
    });
}

/// Opens a gate when it is dropped.
struct Opens<'a>(&'a Gate);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

#[test]
fn leaving_ends_a_stage_that_waits_for_the_one_before_it() {
    for forget in [true, false] {
        let [blocked, stopped] = [Gate::default(), Gate::default()];
        let source = std::iter::from_fn(|| {
            blocked.open();
            stopped.wait();
            Some(0)
        });
        let f = |_: usize| -> usize { unreachable!("nothing starts") };
        scope(2, |s| {
            let mut second = s.imap(s.imap(source, f), f);
            assert_eq!(second.try_next(), Err(NotReady));
            blocked.wait();
            if forget {
                mem::forget(second);
            }
            // Stopped after the others, which have started before it.
            let mut last = s.imap([Opens(&stopped), Opens(&stopped)], |x| x).chunk_size(1);
            mem::forget(last.next());
            mem::forget(last);
        });
    }
}

#[test]
fn leaving_ends_a_stage_that_waits_for_an_item_of_the_one_before_it() {
    for ordered in [true, false] {
        let [blocked, stopped] = [Gate::default(), Gate::default()];
        let f = |x: usize| {
            blocked.open();
            stopped.wait();
            x
        };
        scope(2, |s| {
            let first = s.imap(0..9, f).chunk_size(1).max_in_flight(1);
            let mut second = s.imap(if ordered { first } else { first.unordered() }, |x| x);
            assert_eq!(second.try_next(), Err(NotReady));
            blocked.wait();
            let mut last = s.imap([Opens(&stopped), Opens(&stopped)], |x| x).chunk_size(1);
            mem::forget(last.next());
            mem::forget((second, last));
        });
    }
}

#[test]
fn a_stream_that_is_to_start_after_the_body_has_nothing() {
    let [blocked, stopped] = [Gate::default(), Gate::default()];
    let pulled = AtomicUsize::new(0);
    let source = (0..10).inspect(|_| _ = pulled.fetch_add(1, Ordering::SeqCst));
    scope(1, |s| {
        let mut first = s.imap(source, |x| x);
        let (at_the_source, go) = (&blocked, &stopped);
        let late = std::iter::from_fn(move || {
            at_the_source.open();
            go.wait();
            first.next()
        });
        let mut second = s.imap(late, |x| x);
        assert_eq!(second.try_next(), Err(NotReady));
        blocked.wait();
        let mut last = s.imap([Opens(&stopped), Opens(&stopped)], |x| x).chunk_size(1);
        mem::forget(last.next());
        mem::forget(last);
    });
    assert_eq!(pulled.into_inner(), 0);
}

#[test]
fn what_is_sent_may_depend_on_what_came_out() {
    let step = 1;
    let (sender, receiver) = mpsc::channel();
    scope(4, |s| {
        sender.send(0).expect("the stream listens");
        for (expected, got) in s.imap(receiver, |x| x + step).take(3000).enumerate() {
            assert_eq!(got, expected + 1);
            sender.send(got).expect("the stream listens");
        }
        // Its source is asked for one more, and the scope waits for that.
        drop(sender);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_starts_before_the_first_result_is_asked_for() {
    child::succeeds(|| {
        let before = crate::threads();
        // The process's first call puts the panic hook in place, by a thread that has ended by then.
        drop(pool_map::PoolIterator::pool_map(0..1, 1, |x| x));
        crate::wait_for_threads(before);
        scope(3, |s| {
            let mut stream = s.imap(0..10, |x| x);
            assert_eq!((stream.len(), crate::threads()), (10, before));
            assert_eq!(stream.next(), Some(0));
            assert!(crate::threads() >= before + 3);
        });
    });
}

#[test]
fn a_leaked_stream_neither_dangles_nor_keeps_the_scope() {
    for _ in 0..20 {
        let data = vec![String::from("data"); 1000];
        scope(2, |s| {
            let mut stream = s.imap(data.iter().cycle(), String::len);
            assert_eq!(stream.next(), Some(4));
            mem::forget(stream);
            mem::forget(s.imap(data.iter(), String::len));
        });
        drop(data);
    }
    let pool = pool(1);
    scope(&pool, |s| {
        let mut stream = s.imap(0.., |x| x);
        stream.next();
        mem::forget(stream);
    });
    assert!((0..100).eq(pool.imap(0..100, |x| x)));
}

#[test]
fn leaving_waits_for_the_items_that_run() {
    let pool = pool(1);
    for forget in [true, false] {
        for panics in [true, false] {
            let [started, gate] = [Gate::default(), Gate::default()];
            let running = AtomicUsize::new(0);
            let f = |x| {
                running.fetch_add(1, Ordering::SeqCst);
                if x == 1 {
                    started.open();
                    gate.wait();
                }
                assert!(x < 2, "nothing more starts");
                running.fetch_sub(1, Ordering::SeqCst);
            };
            let end = thread::scope(|threads| {
                threads.spawn(|| {
                    started.wait();
                    gate.open();
                });
                catch_unwind(AssertUnwindSafe(|| {
                    scope(&pool, |s| {
                        let mut stream = s.imap(0.., f).chunk_size(1).max_in_flight(2);
                        stream.next();
                        started.wait();
                        if forget {
                            mem::forget(stream);
                        }
                        assert!(!panics, "the body");
                    });
                }))
            });
            assert_eq!(running.load(Ordering::SeqCst), 0, "no item runs any more");
            assert_eq!(end.err().map(|payload| text(&*payload).to_owned()), panics.then(|| "the body".to_owned()));
        }
    }
}

#[test]
fn leaving_waits_for_the_next_in_progress_and_no_longer() {
    let [blocked, dropped, gate] = [Gate::default(), Gate::default(), Gate::default()];
    let pulled = AtomicUsize::new(0);
    let source = (0..).inspect(|&x: &usize| {
        pulled.fetch_add(1, Ordering::SeqCst);
        if x == 5 {
            blocked.open();
            gate.wait();
        }
    });
    thread::scope(|threads| {
        threads.spawn(|| {
            blocked.wait();
            dropped.wait();
            gate.open();
        });
        scope(2, |s| {
            let mut stream = s.imap(source, |x| x);
            assert_eq!(stream.by_ref().take(5).sum::<usize>(), 10);
            // Else it may be dropped before the feeder asks for the next item, and then it never does.
            blocked.wait();
            drop(stream);
            dropped.open();
        });
    });
    assert_eq!(pulled.into_inner(), 6);
}

#[test]
fn a_panic_of_f_comes_out_of_the_loop_and_of_the_scope() {
    let pool = pool(2);
    let limit = 50;
    let seen = AtomicUsize::new(0);
    let end = catch_unwind(AssertUnwindSafe(|| {
        scope(&pool, |s| {
            for x in s.imap(0..100, |x| {
                assert!(x < limit, "item {x}");
                x
            }) {
                assert_eq!(seen.fetch_add(1, Ordering::SeqCst), x);
            }
        });
    }));
    assert_eq!((text(&*end.expect_err("item 50")), seen.into_inner()), ("item 50", 50));
    assert!((0..100).eq(pool.imap(0..100, |x| x)));
}

#[test]
fn a_panic_of_the_source_takes_its_place() {
    let end = catch_unwind(AssertUnwindSafe(|| {
        scope(2, |s| {
            let source = (0..10).inspect(|&x| assert!(x < 5, "the source"));
            assert_eq!(s.imap(source, |x| x).map(|x| assert!(x < 5)).count(), 5);
        });
    }));
    assert_eq!(text(&*end.expect_err("the source panics")), "the source");
}

#[test]
fn on_a_worker_it_runs_in_place() {
    let pool = pool(1);
    let results = pool.install(|| {
        let here = Worker::current().map(|worker| worker.name().to_owned());
        scope(&pool, |s| {
            s.imap(0..100, |x| (x, Worker::current().map(|worker| worker.name().to_owned()) == here)).collect()
        })
    });
    let results: Vec<(usize, bool)> = results;
    assert!(results.into_iter().eq((0..100).map(|x| (x, true))));
}

#[test]
fn on_an_inline_pool() {
    let here = thread::current().id();
    scope(Pool::inline(), |s| assert!(s.imap(0..20, |_| thread::current().id()).all(|id| id == here)));
}

#[test]
fn a_token_ends_a_stream_over_borrowed_data() {
    let token = CancelToken::new();
    let one = 1;
    let seen = scope(2, |s| {
        let mut count = 0;
        for x in s.imap(0.., |x| x + one).cancel_on(&token) {
            count += 1;
            assert_eq!(x, count);
            if x == 100 {
                token.cancel();
            }
        }
        count
    });
    assert!(seen >= 100);
}

#[test]
#[should_panic(expected = "a pool needs at least one worker, got 0")]
fn a_pool_of_zero() {
    scope(0, |_| ());
}
