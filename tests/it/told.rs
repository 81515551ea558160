//! A panic is told before it is raised again, once, whole, and by nobody else.

#![cfg(unix)]

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::panic::{self, AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::{env, fs, iter, mem, thread};

use std::ops::Range;

use pool_map::{PanicKind, Pool, PoolIterator, PoolParallelIterator, TaskPanic, TraceLevel, traced};
use rayon::prelude::*;

use crate::child::test_of;
use crate::gate::Gate;
use crate::seen::{Seen, child, child_of, run};

/// Runs the items from `items.start` on through `f`, in order, as one job of one worker.
pub(crate) fn each(items: Range<u64>, level: TraceLevel, f: impl Fn(u64) + Sync) {
    let Range { start, end } = items;
    let from_start = |x| {
        if x >= start {
            f(x);
        }
    };
    (0..end).pool_map(1, from_start).chunk_size(2000).trace(level).for_each(drop);
}

/// The panic of the first item that has one.
pub(crate) fn catch_each(items: Range<u64>, level: TraceLevel, f: impl Fn(u64) + Sync) -> Option<TaskPanic> {
    let Range { start, end } = items;
    let from_start = |x| {
        if x >= start {
            f(x);
        }
    };
    (0..end).pool_map(1, from_start).trace(level).catch_panics().find_map(Result::err)
}

/// Catches what `f` raises and returns its text.
pub(crate) fn raised(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("a panic");
    payload.downcast::<String>().map_or_else(|_| "no string".to_owned(), |text| *text)
}

pub(crate) fn boom(x: u64) {
    panic!("boom {x}");
}

const SIGABRT: i32 = 6;

pub(crate) const BLOCK: &str = "\
[TRACE:PoolWorker-1] item 7 panicked at tests/it/told.rs:N:N: boom 7
[TRACE:PoolWorker-1]   in pool_map called at tests/it/told.rs:N:N, on thread 'main'
";

#[test]
fn the_default_hook_gives_way() {
    // The canary for the comparison with std's hook: it would add a line of its own.
    let seen = child(|| {
        assert_eq!(raised(|| each(7..9, TraceLevel::Header, boom)), "boom 7");
    });
    seen.is(BLOCK);
}

#[test]
fn the_debugging_output_of_a_panic_holds_its_location() {
    // The canary for what the hook looks at to see whether an abort follows.
    let seen = child(|| {
        panic::set_hook(Box::new(|info| {
            let (all, location) = (format!("{info:?}"), format!("{:?}", info.location().expect("std has one")));
            let fields = all.replacen(&location, "", 1);
            eprintln!("[TRACE:hook] {} {}", !fields.contains("told.rs"), fields.contains("can_unwind: true"));
        }));
        assert_eq!(raised(|| boom(7)), "boom 7");
    });
    seen.is("[TRACE:hook] true true\n");
}

#[cfg(not(feature = "backtrace"))]
#[test]
fn without_backtrace_a_trace_is_its_header() {
    let seen = child(|| {
        for level in [TraceLevel::Header, TraceLevel::Short, TraceLevel::Full] {
            assert_eq!(raised(|| each(7..9, level, boom)), "boom 7");
            assert!(catch_each(7..9, level, boom).expect("a panic").frames().is_empty());
        }
    });
    seen.is(&BLOCK.repeat(3));
}

#[cfg_attr(not(feature = "backtrace"), ignore = "it needs the names of functions")]
#[test]
fn frames_are_those_of_the_user() {
    #[inline(never)]
    fn divide(x: u64) -> u64 {
        std::hint::black_box(10) / x
    }
    let mut results = (0..1).pool_map(1, |x| assert_eq!(divide(x), 0)).trace(TraceLevel::Short).catch_panics();
    let panic = results.next().expect("a result").expect_err("a panic");
    let frames = panic.frames();
    assert_eq!(frames.len(), 2, "{panic}");
    // Where it was inlined the function has its name only, without the path.
    assert!(frames[0].function().ends_with("divide"), "{panic}");
    assert!(frames.iter().all(|frame| frame.file() == Some("tests/it/told.rs")), "{panic}");
    assert!(frames[0].to_string().ends_with(panic.location().expect("a place")), "{panic}");
}

#[test]
fn a_panic_is_a_value() {
    let panic = catch_each(5..9, TraceLevel::Header, boom).expect("a panic");
    assert_eq!((panic.index(), panic.message()), (Some(5), "boom 5"));
    assert_eq!(panic.kind(), PanicKind::Panicked);
    assert!(panic.worker().starts_with("PoolWorker-"));
    assert_eq!(panic.call_site().file(), "tests/it/told.rs");
    assert!(panic.frames().is_empty());
    assert!(format!("{panic:?}").contains("message: \"boom 5\""));
    assert_eq!(panic.to_string().lines().count(), 2);
    assert_eq!(panic.into_payload().downcast_ref::<String>().expect("a string"), "boom 5");
}

#[test]
fn a_panic_is_an_error_for_any_thread() {
    fn check<T: std::error::Error + Send + Sync + 'static>() {}
    check::<TaskPanic>();
}

#[test]
fn payloads_of_any_type() {
    let message = |f: fn(u64)| catch_each(0..1, TraceLevel::Header, f).expect("a panic").message().to_owned();
    assert_eq!(message(|_| panic!("text")), "text");
    assert_eq!(message(|_| panic_any(std::borrow::Cow::Borrowed("cow"))), "cow");
    assert_eq!(message(|_| panic_any(Box::<str>::from("boxed"))), "boxed");
    assert_eq!(message(|_| panic_any(42_u8)), "non-string panic payload");
    let payload = catch_each(0..1, TraceLevel::Header, |_| panic_any(42_u8)).expect("a panic").into_payload();
    assert_eq!(payload.downcast_ref(), Some(&42_u8));
}

#[test]
fn messages_of_any_size_and_shape() {
    let seen = child(|| {
        let shapes = ["", "\n", "\n\n\n", "\0", "a\rb", "\u{1b}[31m", "\u{202e}right to left", "\u{fffd}\u{10ffff}"];
        let huge = ["x".repeat(10 << 20), "é\n".repeat(1 << 20)];
        for message in shapes.into_iter().map(str::to_owned).chain(huge) {
            assert_eq!(raised(|| each(0..1, TraceLevel::Header, |_| panic!("{message}"))), message);
            let panic = catch_each(0..1, TraceLevel::Header, |_| panic_any(message.clone())).expect("a panic");
            assert_eq!(panic.message(), message);
        }
    });
    seen.succeeded();
    let lines = || seen.stderr.split('\n').filter(|line| !line.is_empty());
    assert!(lines().all(|line| line.starts_with("[TRACE:PoolWorker-1]")), "{}", seen.stderr);
    assert_eq!(seen.count("in pool_map called at"), 10, "{}", seen.stderr);
    assert!(!seen.stderr.contains(|c: char| c != '\n' && (c.is_control() || c == '\u{202e}')), "{}", seen.stderr);
    // Each of the two large ones is cut.
    assert!(seen.stderr.len() < 200 << 10, "{} bytes", seen.stderr.len());
}

#[test]
fn every_line_of_an_assertion_is_tagged() {
    let seen = child(|| {
        raised(|| each(0..1, TraceLevel::Header, |x| assert_eq!(x, 1, "a\nb")));
    });
    seen.is("\
[TRACE:PoolWorker-1] item 0 panicked at tests/it/told.rs:N:N: assertion `left == right` failed: a
[TRACE:PoolWorker-1]     b
[TRACE:PoolWorker-1]       left: 0
[TRACE:PoolWorker-1]      right: 1
[TRACE:PoolWorker-1]   in pool_map called at tests/it/told.rs:N:N, on thread 'main'
");
}

#[cfg_attr(not(feature = "backtrace"), ignore = "it needs the names of functions")]
#[test]
fn a_panic_caught_inside_is_one_line() {
    let seen = child(|| {
        each(7..9, TraceLevel::Short, |x| drop(catch_unwind(|| boom(x))));
    });
    seen.is("\
[TRACE:PoolWorker-1] item 7: panic caught inside the closure at tests/it/told.rs:N:N: boom 7
[TRACE:PoolWorker-1] item 8: panic caught inside the closure at tests/it/told.rs:N:N: boom 8
");
}

#[cfg_attr(not(feature = "backtrace"), ignore = "it needs the names of functions")]
#[test]
fn many_panics_caught_inside_are_counted() {
    let seen = child(|| {
        each(0..1000, TraceLevel::Short, |x| drop(catch_unwind(|| boom(x))));
        raised(|| {
            each(7..8, TraceLevel::Header, |x| {
                (10..30).for_each(|y| drop(catch_unwind(|| boom(y))));
                boom(x);
            });
        });
    });
    seen.succeeded();
    assert_eq!(seen.count("panic caught inside the closure at"), 16, "{}", seen.stderr);
    assert_eq!(
        seen.count("[TRACE:PoolWorker-1]   + 992 more panics caught inside the closure\n"),
        1,
        "{}",
        seen.stderr
    );
    assert_eq!(seen.count("[TRACE:PoolWorker-1]   + 12 more panics caught inside the closure\n"), 1, "{}", seen.stderr);
    assert!(seen.stderr.ends_with(BLOCK), "{}", seen.stderr);
}

#[cfg_attr(not(feature = "backtrace"), ignore = "it needs the names of functions")]
#[test]
fn a_payload_raised_again_keeps_its_own_place() {
    let seen = child(|| {
        raised(|| {
            each(7..8, TraceLevel::Header, |x| {
                let payload = catch_unwind(|| boom(x)).expect_err("a panic");
                drop(catch_unwind(|| boom(1)));
                resume_unwind(payload);
            });
        });
    });
    let caught = "[TRACE:PoolWorker-1] item 7: panic caught inside the closure at tests/it/told.rs:N:N: boom 1\n";
    seen.is(&format!("{caught}{BLOCK}"));
}

#[cfg_attr(not(feature = "backtrace"), ignore = "it needs the names of functions")]
#[test]
fn a_payload_without_a_hook_has_no_stale_place() {
    let seen = child(|| {
        raised(|| {
            each(7..8, TraceLevel::Short, |_| {
                drop(catch_unwind(|| boom(1)));
                resume_unwind(Box::new("again"));
            });
        });
    });
    seen.is("\
[TRACE:PoolWorker-1] item 7: panic caught inside the closure at tests/it/told.rs:N:N: boom 1
[TRACE:PoolWorker-1] item 7 panicked (location not recorded: raised again without this pool's panic hook): again
[TRACE:PoolWorker-1]   in pool_map called at tests/it/told.rs:N:N, on thread 'main'
");
}

/// Panics when it is dropped, with another one as payload if there are more to come.
struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        match self.0 {
            0 => panic!("the last bomb"),
            more => panic_any(Bomb(more - 1)),
        }
    }
}

#[test]
fn destructors_that_panic_go_no_further() {
    let seen = child(|| {
        static INDEX: AtomicUsize = AtomicUsize::new(0);
        // Item 1 panics, so item 2 is dropped unused, on the worker.
        let items = (0..3).map(|_| Bomb(0));
        let f = |bomb| {
            std::mem::forget(bomb);
            if INDEX.fetch_add(1, Ordering::SeqCst) == 1 {
                boom(1);
            }
        };
        assert_eq!(raised(|| items.pool_map(1, f).chunk_size(3).trace(TraceLevel::Header).for_each(drop)), "boom 1");
        let panic = catch_each(7..8, TraceLevel::Header, |_| panic_any(Bomb(5))).expect("a panic");
        // It is the test's own now, and so is what its payload does.
        std::mem::forget(panic);
    });
    let lines = seen.stderr.lines().collect::<Vec<_>>();
    assert_eq!(lines[0], "[TRACE:PoolWorker-1] item 2: panic in a destructor at tests/it/told.rs:N:N: the last bomb");
    assert_eq!(lines[1..3].join("\n") + "\n", BLOCK.replace('7', "1"));
    seen.succeeded();
}

#[cfg_attr(not(feature = "backtrace"), ignore = "it needs the names of functions")]
#[test]
fn a_destructor_that_catches_its_own_panic_does_not_hide_the_first() {
    struct Cleans;
    impl Drop for Cleans {
        fn drop(&mut self) {
            drop(catch_unwind(|| boom(1)));
        }
    }
    let seen = child(|| {
        raised(|| {
            each(7..8, TraceLevel::Header, |x| {
                let _cleans = Cleans;
                boom(x);
            });
        });
    });
    let caught = "[TRACE:PoolWorker-1] item 7: panic caught inside the closure at tests/it/told.rs:N:N: boom 1\n";
    seen.is(&format!("{caught}{BLOCK}"));
}

#[cfg_attr(not(feature = "backtrace"), ignore = "it needs the names of functions")]
#[test]
fn what_was_caught_over_split_data_is_told_and_nothing_else() {
    let seen = child(|| {
        let f = |x: &i32| catch_unwind(|| assert!(*x != 2, "two")).is_err();
        let map = [1, 2, 3, 4].par_iter().pool_map(1, f).trace(TraceLevel::Header);
        assert_eq!(map.collect_vec(), [false, true, false, false]);
        assert_eq!([1, 2, 3, 4].par_iter().pool_map(1, |x| 2 * x).collect_vec(), [2, 4, 6, 8]);
    });
    seen.is("[TRACE:PoolWorker-1] panic caught inside the closure at tests/it/told.rs:N:N: two\n");
}

#[test]
fn an_inner_call_is_told_first() {
    let seen = child(|| {
        // Whoever holds this lock waits for the worker, which therefore must not print.
        let _lock = io::stderr().lock();
        let outer = catch_unwind(|| each(3..4, TraceLevel::Header, |_| each(7..8, TraceLevel::Header, boom)));
        assert_eq!(outer.expect_err("a panic").downcast_ref::<String>().expect("a string"), "boom 7");
    });
    let inner = BLOCK.replace("'main'", "'PoolWorker-1'");
    seen.is(&format!(
        "{inner}\
[TRACE:PoolWorker-1] item 3 re-raised the panic above (inner pool_map at tests/it/told.rs:N:N, item 7): boom 7
[TRACE:PoolWorker-1]   in pool_map called at tests/it/told.rs:N:N, on thread 'main'
"
    ));
}

#[cfg_attr(not(feature = "backtrace"), ignore = "it needs the names of functions")]
#[test]
fn a_panic_of_an_inner_call_stands_by_itself_as_a_value() {
    let seen = child(|| {
        let inner = |_| each(7..8, TraceLevel::Off, boom);
        let panic = catch_each(3..4, TraceLevel::Header, inner).expect("a panic");
        eprintln!("{panic}");
        let innermost = |_| each(7..8, TraceLevel::Short, boom);
        let inner = |_| each(5..6, TraceLevel::Header, innermost);
        let panic = catch_each(3..4, TraceLevel::Short, inner).expect("a panic");
        assert!(panic.frames()[0].function().ends_with("boom"), "{panic}");
        assert!(panic.to_string().contains("runtime frames"), "{panic}");
        // What was printed when it was raised again.
        eprintln!("[TRACE:end]");
        eprintln!("{}", panic.to_string().lines().take(2).collect::<Vec<_>>().join("\n"));
    });
    let (_, by_itself) = seen.stderr.split_once("[TRACE:end]\n").expect("the end");
    assert_eq!(
        by_itself,
        "\
[TRACE:PoolWorker-1] item 3 re-raised the panic of an inner call at tests/it/told.rs:N:N \
(pool_map at tests/it/told.rs:N:N, item 5; pool_map at tests/it/told.rs:N:N, item 7): boom 7
[TRACE:PoolWorker-1]   in pool_map called at tests/it/told.rs:N:N, on thread 'main'
"
    );
    // Nobody has printed the first one.
    let first = "\
[TRACE:PoolWorker-1] item 3 re-raised the panic of an inner call (pool_map at tests/it/told.rs:N:N, item 7): boom 7
[TRACE:PoolWorker-1]   in pool_map called at tests/it/told.rs:N:N, on thread 'main'
";
    assert!(seen.stderr.contains(first), "{}", seen.stderr);
    assert_eq!(seen.count("panic above"), 1, "{}", seen.stderr);
}

#[test]
fn a_job_without_end_tells_what_its_inner_calls_do() {
    let seen = child(|| {
        let pool = Pool::builder().threads(1).trace(TraceLevel::Header).build().expect("a worker");
        let inside = pool.clone();
        let (told, tells) = mpsc::channel();
        let task = pool.spawn(move || {
            let calls = (0..2000)
                .map(|_| catch_unwind(AssertUnwindSafe(|| inside.map([7], boom))).is_err())
                .filter(|&raised| raised);
            told.send(calls.count()).expect("the test listens");
            loop {
                thread::park();
            }
        });
        assert_eq!(tells.recv(), Ok(2000));
        mem::forget(task);
    });
    seen.succeeded();
    // All but the last 64 KiB.
    assert!(seen.count("item 0 panicked at") > 1000, "{}", seen.stderr);
}

#[test]
fn an_inner_panic_that_was_caught_is_not_mistaken() {
    let seen = child(|| {
        raised(|| {
            each(7..8, TraceLevel::Header, |x| {
                drop(catch_unwind(|| each(3..4, TraceLevel::Header, boom)));
                boom(x);
            });
        });
    });
    let inner = BLOCK.replace("'main'", "'PoolWorker-1'").replace("item 7", "item 3").replace("boom 7", "boom 3");
    seen.is(&format!("{inner}{BLOCK}"));
}

#[cfg_attr(not(feature = "backtrace"), ignore = "it needs the names of functions")]
#[test]
fn a_double_panic_prints_both_before_the_abort() {
    let seen = child(|| {
        each(7..8, TraceLevel::Short, |x| {
            let _bomb = Bomb(0);
            boom(x);
        });
    });
    assert_eq!(seen.status.signal(), Some(SIGABRT));
    assert_eq!(
        seen.count("[TRACE:PoolWorker-1] item 7 panicked at tests/it/told.rs:N:N: boom 7\n"),
        1,
        "{}",
        seen.stderr
    );
    assert_eq!(seen.count("[TRACE:PoolWorker-1] item 7 panicked at tests/it/told.rs:N:N: the last bomb\n"), 1);
    assert_eq!(seen.count("runtime frames"), 2, "{}", seen.stderr);
    let untagged = seen.stderr.lines().filter(|line| !line.starts_with("[TRACE:")).collect::<Vec<_>>();
    assert_eq!(untagged, ["thread caused non-unwinding panic. aborting."]);
}

#[test]
fn a_panic_that_cannot_unwind_prints_before_the_abort() {
    extern "C" fn foreign(x: u64) {
        boom(x);
    }
    let seen = child(|| {
        each(7..8, TraceLevel::Header, |x| foreign(x));
    });
    assert_eq!(seen.status.signal(), Some(SIGABRT));
    assert_eq!(seen.count(BLOCK), 1, "{}", seen.stderr);
}

#[test]
fn panics_besides_the_first_are_lines() {
    let seen = child(|| {
        let both = Barrier::new(2);
        let f = |x| {
            both.wait();
            boom(x);
        };
        raised(|| (0..2_u64).pool_map(2, f).chunk_size(1).trace(TraceLevel::Header).for_each(drop));
    });
    seen.succeeded();
    let lines = seen.stderr.lines().map(|line| &line["[TRACE:PoolWorker-1]".len()..]).collect::<Vec<_>>();
    assert_eq!(
        lines,
        [
            " item 0 panicked at tests/it/told.rs:N:N: boom 0",
            "   in pool_map called at tests/it/told.rs:N:N, on thread 'main'",
            "   also panicked while stopping: item 1 at tests/it/told.rs:N:N: boom 1",
        ]
    );
}

#[test]
fn a_panic_that_nobody_reaches_leaves_a_line() {
    let seen = child(|| {
        // The first batch of a loop has an item for each worker.
        let mut results = (0..2_u64).pool_map(2, |x| {
            if x == 1 {
                boom(x);
            }
        });
        assert_eq!(results.next(), Some(()));
    });
    let line = "item 1 panicked at tests/it/told.rs:N:N: boom 1 (not reached: the iterator was dropped before it)\n";
    seen.succeeded();
    assert!(seen.stderr.starts_with("[TRACE:PoolWorker-") && seen.stderr.ends_with(line), "{}", seen.stderr);
}

#[test]
fn a_failing_test_shows_the_trace_as_its_own_output() {
    let fails = || {
        // Somebody else used the workers first, and has been given up by the harness since.
        let pool = pool_map::Pool::new(1).expect("one thread");
        thread::spawn({
            let pool = pool.clone();
            move || pool.map(0..1, |x| x)
        })
        .join()
        .expect("it does not panic");
        (7..8_u64).pool_map(&pool, boom).for_each(drop);
    };
    let test = test_of(&fails);
    let child = crate::child::captured().run(fails);
    assert!(!child.status.success());
    let out = String::from_utf8_lossy(&child.stdout);
    let (_, section) = out.split_once(&format!("---- {test} stdout ----")).expect("a section of its own");
    assert!(section.contains("[TRACE:PoolWorker-1] item 0 panicked at tests/it/told.rs:"), "{out}");
}

#[test]
fn a_label_stands_in_the_trace() {
    let seen = child(|| {
        raised(|| (7..8).pool_map(1, boom).named("parse").trace(TraceLevel::Header).for_each(drop));
    });
    let block = BLOCK.replace("item 7", "item 0").replace("in pool_map called", "in pool_map \"parse\" called");
    seen.is(&block);
}

#[cfg_attr(not(feature = "backtrace"), ignore = "it needs the names of functions")]
#[test]
fn traced_tags_any_thread() {
    let seen = child(|| {
        assert_eq!(traced(|| 7), 7);
        let parser = thread::Builder::new().name("parser".into());
        let payload = parser.spawn(|| traced(|| boom(7))).expect("a thread").join().expect_err("a panic");
        assert_eq!(payload.downcast_ref::<String>().expect("a string"), "boom 7");
        raised(|| each(3..4, TraceLevel::Header, |_| traced(|| boom(8))));
    });
    seen.succeeded();
    let lines = seen.stderr.lines().filter(|line| !line.contains("   0: ") && !line.contains("   1: "));
    let lines = lines.filter(|line| !line.contains("   2: ")).collect::<Vec<_>>();
    assert_eq!(
        lines,
        [
            "[TRACE:parser] panicked at tests/it/told.rs:N:N: boom 7",
            "[TRACE:parser]   in traced called at tests/it/told.rs:N:N",
            "[TRACE:parser]   + N runtime frames (RUST_BACKTRACE=full shows them)",
            "[TRACE:PoolWorker-1] panicked at tests/it/told.rs:N:N: boom 8",
            "[TRACE:PoolWorker-1]   in traced called at tests/it/told.rs:N:N",
            "[TRACE:PoolWorker-1]   + N runtime frames (RUST_BACKTRACE=full shows them)",
            "[TRACE:PoolWorker-1] item 3 re-raised the panic above (inner traced at tests/it/told.rs:N:N): boom 8",
            "[TRACE:PoolWorker-1]   in pool_map called at tests/it/told.rs:N:N, on thread 'main'",
        ]
    );
}

/// The program of the test below: what stops without a panic stops here as well, and then there is one.
const ABORTING: &str = "\
fn main() {
    use pool_map::PoolIterator; stops();
    (0..9).pool_map(1, |x| if x == 7 { panic!(\"boom {x}\") }).for_each(drop);
}

fn stops() {
    use pool_map::{CancelToken, PoolIterator};
    let token = CancelToken::new();
    let cancels = |x: u32| if x == 5 { token.cancel() };
    assert_eq!((0..100).pool_map(1, cancels).chunk_size(50).cancel_on(&token).count(), 6);
    let (token, within) = (CancelToken::new(), CancelToken::new());
    let cancels = |x: u32| if x == 5 { within.cancel() };
    assert_eq!(pool_map::scope(1, |s| s.imap(0..100, cancels).chunk_size(50).cancel_on(&within).count()), 6);
    let inside = token.clone();
    let cancels = move |x: u32| if x == 5 { inside.cancel() };
    assert_eq!((0..100).pool_imap(1, cancels).chunk_size(50).cancel_on(&token).count(), 6);
    let fails = |x: u32| if x % 10 == 5 { Err(x) } else { Ok(x) };
    assert_eq!((0..100_000).pool_map(2, fails).chunk_size(20).collect::<Result<Vec<_>, _>>(), Err(5));
    for _ in 0..300 {
        assert_eq!((0..).pool_map(2, |x| x).take_while(|x| *x < 500).count(), 500);
    }
    assert_eq!((0..).pool_imap(2, |x| x).take(500).count(), 500);
}
";

/// Two closures on two workers: one waits inside rayon, and runs a part of the other one there, which panics.
#[derive(Default)]
struct Stolen {
    /// Opened when the part is about to panic.
    begun: Gate,
    /// What the closure that waits does, and what the owner of the part does, after that.
    waiting_may_end: Gate,
    owner_may_end: Gate,
}

impl Stolen {
    fn wait(&self) {
        while rayon::yield_now() != Some(rayon::Yield::Executed) {}
        self.waiting_may_end.wait();
    }

    fn own(&self, part: impl FnOnce() + Send) {
        let begun = || {
            self.begun.open();
            part();
        };
        rayon::join(
            || {
                self.begun.wait();
                self.owner_may_end.wait();
            },
            begun,
        );
    }
}

/// A stream whose item 0 waits while it runs a part of item 1. Gives back what item 1 was raised with.
fn run_stolen(owner: impl Fn(&Stolen) + Send + Sync + 'static) -> Option<String> {
    let pool = Pool::builder().threads(2).trace(TraceLevel::Header).build().expect("two threads");
    let stolen = Arc::new(Stolen::default());
    let inside = Arc::clone(&stolen);
    let stream = pool.imap(0..2, move |x| if x == 0 { inside.wait() } else { owner(&inside) });
    let mut stream = stream.chunk_size(1);
    stolen.waiting_may_end.open();
    assert_eq!(stream.next(), Some(()));
    // The job in which the panic was seen is over, and that of its owner is not.
    stolen.owner_may_end.open();
    let end = catch_unwind(AssertUnwindSafe(|| assert_eq!(stream.next(), Some(())))).err()?;
    Some(crate::gate::text(&*end).to_owned())
}

/// Which of the two workers has which item is left to chance.
fn without_numbers(seen: &Seen) -> String {
    seen.stderr.replace("PoolWorker-1", "PoolWorker-N").replace("PoolWorker-2", "PoolWorker-N")
}

#[test]
fn a_part_that_another_item_has_run_in_rayon_is_told_as_its_owners() {
    let seen = child(|| {
        assert_eq!(run_stolen(|stolen| stolen.own(|| boom(7))).as_deref(), Some("boom 7"));
        let without_text_of_its_own = || -> () { panic!("static") };
        assert_eq!(run_stolen(move |stolen| stolen.own(without_text_of_its_own)).as_deref(), Some("static"));
        let inner = || each(7..8, TraceLevel::Header, boom);
        assert_eq!(run_stolen(move |stolen| stolen.own(inner)).as_deref(), Some("boom 7"));
    });
    seen.succeeded();
    let told = |message: &str| {
        format!(
            "[TRACE:PoolWorker-N] item 1 panicked at tests/it/told.rs:N:N, in a job of rayon's on PoolWorker-N: {message}\n\
             [TRACE:PoolWorker-N]   in Pool::imap called at tests/it/told.rs:N:N, on thread 'main'\n"
        )
    };
    let inner = BLOCK.replace("PoolWorker-1", "PoolWorker-N").replace("'main'", "'PoolWorker-N'");
    assert_eq!(without_numbers(&seen), told("boom 7") + &told("static") + &inner + &told("boom 7"));
}

#[test]
fn a_part_that_another_item_has_run_and_whose_panic_was_caught_is_one_line() {
    let seen = child(|| {
        let catches = |stolen: &Stolen| drop(catch_unwind(AssertUnwindSafe(|| stolen.own(|| boom(7)))));
        assert_eq!(run_stolen(catches), None);
    });
    seen.succeeded();
    let line =
        "[TRACE:PoolWorker-N] item 0: panic that did not come out of the closure at tests/it/told.rs:N:N: boom 7\n";
    assert_eq!(without_numbers(&seen), line);
}

#[test]
fn a_part_that_another_task_has_run_in_rayon_is_told_as_its_owners() {
    let seen = child(|| {
        for waiting_ends_first in [false, true] {
            let pool = Pool::builder().threads(2).trace(TraceLevel::Header).build().expect("two threads");
            let stolen = Arc::new(Stolen::default());
            let [waits, owns] = [(); 2].map(|()| Arc::clone(&stolen));
            let waiting = pool.spawn(move || waits.wait());
            let owner = pool.spawn(move || owns.own(|| boom(7)));
            if waiting_ends_first {
                stolen.waiting_may_end.open();
                waiting.join();
                stolen.owner_may_end.open();
                assert_eq!(raised(|| owner.join()), "boom 7");
            } else {
                stolen.owner_may_end.open();
                assert_eq!(raised(|| owner.join()), "boom 7");
                stolen.waiting_may_end.open();
                waiting.join();
            }
        }
    });
    seen.succeeded();
    let block = "\
[TRACE:PoolWorker-N] task panicked at tests/it/told.rs:N:N, in a job of rayon's on PoolWorker-N: boom 7
[TRACE:PoolWorker-N]   in Pool::spawn called at tests/it/told.rs:N:N, on thread 'main'
";
    // A task is a call of its own, and nobody knows at its end that another one is going to raise the panic.
    let line = "[TRACE:PoolWorker-N] panic that did not come out of the closure at tests/it/told.rs:N:N: boom 7\n";
    assert_eq!(without_numbers(&seen), format!("{block}{line}{block}"));
}

#[cfg_attr(not(feature = "backtrace"), ignore = "it needs the names of functions")]
#[test]
fn a_part_that_an_idle_worker_has_run_in_rayon_has_its_place() {
    let seen = child(|| {
        panic::set_hook(Box::new(|info| {
            eprintln!("[TRACE:hook] {}", info.payload().downcast_ref::<String>().expect("text"));
        }));
        let pool = Pool::builder().threads(2).trace(TraceLevel::Short).build().expect("two threads");
        let stolen = Stolen::default();
        stolen.owner_may_end.open();
        let panic = [7].into_iter().pool_map(&pool, |x| stolen.own(|| boom(x))).catch_panics().next();
        let panic = panic.expect("a result").expect_err("a panic");
        assert!(panic.location().is_some_and(|place| place.starts_with("tests/it/told.rs:")), "{panic}");
        assert!(panic.frames()[0].function().ends_with("boom"), "{panic}");
    });
    seen.is("[TRACE:hook] boom 7\n");
}

/// Panics of which nobody hears but by standard error, and no lock of it is free.
fn panic_unheard() {
    let pool = Pool::builder().name("Unheard").threads(1).trace(TraceLevel::Header).build().expect("a thread");
    let all_taken = crate::take_all_descriptors();
    let lock = io::stderr().lock();
    let traced = thread::Builder::new().name("plain".to_owned()).spawn(|| traced(|| boom(7))).expect("a thread");
    assert!(traced.join().is_err());

    let [gate, given, inside] = [(); 3].map(|()| Arc::new(Barrier::new(2)));
    let dropped = Arc::clone(&gate);
    drop(pool.spawn(move || {
        dropped.wait();
        boom(8);
    }));
    gate.wait();
    let (all_given, dropped) = (Arc::clone(&given), Arc::clone(&inside));
    // The worker goes on with the second item, since it is there before the first has ended.
    let items = (0..2).chain(iter::from_fn(move || (given.wait(), None).1));
    let stream = pool.imap(items, move |x| {
        if x == 0 {
            all_given.wait();
        } else {
            dropped.wait();
            boom(9);
        }
    });
    let mut stream = stream.chunk_size(1);
    assert_eq!(stream.next(), Some(()));
    drop(stream);
    inside.wait();
    pool.join();
    drop((lock, all_taken));
}

#[test]
fn without_a_free_descriptor_nothing_is_lost() {
    let seen = child(|| {
        each(0..1, TraceLevel::Header, drop);
        panic_unheard();
    });
    seen.succeeded();
    let lines = [
        "[TRACE:plain] panicked at tests/it/told.rs:N:N: boom 7\n",
        "[TRACE:Unheard-1] task panicked at tests/it/told.rs:N:N: boom 8\n",
        "[TRACE:Unheard-1] item 1 panicked at tests/it/told.rs:N:N: boom 9 (not reached: the iterator was dropped before \
         it)\n",
    ];
    for line in lines {
        assert_eq!(seen.count(line), 1, "{line}{}", seen.stderr);
    }
}

#[test]
fn nor_where_there_never_was_one() {
    let seen = child(|| {
        let all_taken = crate::take_all_descriptors();
        let traced = thread::Builder::new().name("plain".to_owned()).spawn(|| traced(|| boom(7))).expect("a thread");
        assert!(traced.join().is_err());
        // The lines come when the lock is free, and the thread does not wait for that.
        let lock = io::stderr().lock();
        let traced = thread::Builder::new().name("late".to_owned()).spawn(|| pool_map::traced(|| boom(8)));
        assert!(traced.expect("a thread").join().is_err());
        drop(lock);
        // Whoever writes now waits for those before.
        let traced = thread::Builder::new().name("last".to_owned()).spawn(|| pool_map::traced(|| boom(9)));
        assert!(traced.expect("a thread").join().is_err());
        drop(all_taken);
    });
    seen.succeeded();
    for (name, number) in [("plain", 7), ("late", 8), ("last", 9)] {
        let line = format!("[TRACE:{name}] panicked at tests/it/told.rs:N:N: boom {number}\n");
        assert_eq!(seen.count(&line), 1, "{}", seen.stderr);
    }
}

#[test]
fn last_words_need_no_free_descriptor() {
    let seen = child(|| {
        each(0..1, TraceLevel::Header, drop);
        let _all_taken = crate::take_all_descriptors();
        each(7..8, TraceLevel::Header, |x| {
            let _bomb = Bomb(0);
            boom(x);
        });
    });
    assert_eq!(seen.status.signal(), Some(SIGABRT));
    for message in ["boom 7", "the last bomb"] {
        let line = format!("[TRACE:PoolWorker-1] item 7 panicked at tests/it/told.rs:N:N: {message}\n");
        assert_eq!(seen.count(&line), 1, "{}", seen.stderr);
    }
}

// Cargo builds a program in it.
#[test(minutes = 5)]
fn an_aborting_program_prints_from_the_hook() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("aborting");
    fs::create_dir_all(folder.join("src")).expect("a folder");
    let manifest = format!(
        "[package]\nname = \"aborting\"\nedition = \"2024\"\n[workspace]\n[profile.dev]\npanic = \"abort\"\n\
         [dependencies]\npool-map = {{ path = {:?} }}\n",
        env!("CARGO_MANIFEST_DIR")
    );
    fs::write(folder.join("Cargo.toml"), manifest).expect("a manifest");
    fs::write(folder.join("src/main.rs"), ABORTING).expect("a program");
    // The versions that this test was itself built with are at hand without a network.
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock"), folder.join("Cargo.lock")).expect("a lock file");
    let build = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--target-dir", "target"])
        .current_dir(&folder)
        .output()
        .expect("cargo");
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));

    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c 0; exec target/debug/aborting"]).current_dir(&folder);
    let seen = run(command);
    assert_eq!(seen.status.signal(), Some(SIGABRT));
    let header = "\
[TRACE:PoolWorker-1] item 7 panicked at src/main.rs:3:40: boom 7
[TRACE:PoolWorker-1]   in pool_map called at src/main.rs:3:12, on thread 'main'
";
    let frames = "\
[TRACE:PoolWorker-1]   0: aborting::main::{{closure}}      at src/main.rs:3:40
[TRACE:PoolWorker-1]   + N runtime frames (RUST_BACKTRACE=full shows them)
";
    let below = seen.stderr.strip_prefix(header).unwrap_or_else(|| panic!("{}", seen.stderr));
    // Before Rust 1.92, a program with `panic = "abort"` has no unwind tables, so its frames cannot be found.
    assert!(minor_version() < 92 || below.starts_with(frames), "{}", seen.stderr);
}

/// The 85 of Rust 1.85, as Cargo says it, which has the version of its compiler.
fn minor_version() -> u32 {
    let version = Command::new(env!("CARGO")).arg("--version").output().expect("cargo").stdout;
    let version = String::from_utf8(version).expect("text");
    version.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or_else(|| panic!("{version}"))
}

#[cfg_attr(not(feature = "backtrace"), ignore = "it needs the names of functions")]
#[test]
fn a_program_without_debug_information_shows_names_and_a_stripped_one_none() {
    let body = || drop(raised(|| each(7..9, TraceLevel::Short, |x| std::hint::black_box(boom)(x))));
    let whole = child(body);
    whole.succeeded();
    assert!(whole.stderr.contains("::boom "), "{}", whole.stderr);
    for (option, shows_names) in [("--strip-debug", true), ("--strip-all", false)] {
        let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("it{option}"));
        let exe = env::current_exe().expect("a path");
        let stripped = Command::new("strip").arg(option).arg("-o").arg(&copy).arg(exe).status();
        if !stripped.is_ok_and(|status| status.success()) {
            // There is no such tool here.
            continue;
        }
        let seen = child_of(copy, body);
        seen.succeeded();
        assert!(seen.stderr.starts_with(BLOCK), "{}", seen.stderr);
        assert_eq!(seen.stderr.lines().any(|line| line.ends_with("::boom")), shows_names, "{}", seen.stderr);
        assert_eq!(seen.stderr == BLOCK, !shows_names, "{}", seen.stderr);
    }
}
