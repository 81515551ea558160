//! `report_slow`: a line while an item is at work for long, and one when it ends.
//!
//! In a process whose standard error is a file, so that an item can wait for its own line.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{fs, io, thread};

use pool_map::{Pool, PoolIterator, PoolParallelIterator, TraceLevel};
use rayon::prelude::*;

use crate::child::{Child, test_of};
use crate::{threads, wait_for_threads};

const SOON: Duration = Duration::from_millis(1);

fn stderr() -> String {
    fs::read_to_string("/proc/self/fd/2").expect("a file")
}

/// Returns once this was printed.
fn wait_for(text: &str) {
    while !stderr().contains(text) {
        thread::yield_now();
    }
}

/// Runs `body` in a child, and gives the lines that it has printed.
fn lines_of(body: impl FnOnce()) -> Vec<String> {
    let test = test_of(&body);
    let output = Child::new().redirected("2>\"$(mktemp)\"").run_as(test, || {
        body();
        print!("{}", stderr());
    });
    let out = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{}\n{out}", output.status);
    out.lines().filter(|line| line.starts_with('[')).map(str::to_owned).collect()
}

/// Whether there is a line of this worker that says this of the item, with some time and place.
fn has(lines: &[String], worker: &str, what: &str, place: &str) -> bool {
    lines.iter().any(|line| {
        let rest = line.strip_prefix(&format!("[SLOW:{worker}] {what} "));
        let rest = rest.and_then(|rest| rest.split_once(&format!(", in {place} at tests/it/slow.rs:")));
        rest.is_some_and(|(time, _)| time.split_once(' ').is_some_and(|(value, _)| value.parse::<f64>().is_ok()))
    })
}

#[test]
fn an_item_has_a_line_while_it_runs_and_one_when_it_ends() {
    let says = |what: &str, label: &str| {
        let label = format!(" \"{label}\" at ");
        stderr().lines().any(|line| line.contains(what) && line.contains(&label))
    };
    let f = |label: &'static str| {
        move |x: usize| {
            while x == 3 && !says("item 3 for ", label) {
                thread::yield_now();
            }
            x
        }
    };
    let lines = lines_of(|| {
        let pool = Pool::builder().threads(1).name("Slow").build().expect("a thread");
        assert_eq!((0..9).pool_map(&pool, f("a")).named("a").report_slow(SOON).sum::<usize>(), 36);
        assert_eq!((0..9).pool_map(&pool, f("b")).named("b").report_slow(Duration::ZERO).count(), 9);
        assert_eq!((0..9).pool_imap(&pool, f("c")).named("c").report_slow(SOON).count(), 9);
        pool_map::scope(&pool, |s| assert_eq!(s.imap(0..9, f("d")).named("d").report_slow(SOON).count(), 9));
        (0..9_usize).into_par_iter().pool_map(&pool, f("e")).named("e").report_slow(SOON).for_each(drop);
        (0..9_usize).into_par_iter().pool_map(1, f("f")).named("f").report_slow(SOON).collect_vec();
        thread::scope(|threads| {
            let here = || (0..9).pool_map(Pool::inline(), f("g")).named("g").report_slow(SOON).for_each(drop);
            thread::Builder::new().name("here".to_owned()).spawn_scoped(threads, here).expect("a thread");
        });
        while !["a", "b", "c", "d", "e", "f", "g"].iter().all(|label| says("item 3 ended after ", label)) {
            thread::yield_now();
        }
    });
    for (worker, place) in [
        ("Slow-1", "pool_map \"a\""),
        ("Slow-1", "pool_map \"b\""),
        ("Slow-1", "pool_imap \"c\""),
        ("Slow-1", "Scope::imap \"d\""),
        ("Slow-1", "pool_map \"e\""),
        ("PoolWorker-1", "pool_map \"f\""),
        ("here", "pool_map \"g\""),
    ] {
        assert!(has(&lines, worker, "item 3 for", place), "{place}: {lines:#?}");
        assert!(has(&lines, worker, "item 3 ended after", place), "{place}: {lines:#?}");
    }
}

#[test]
fn each_item_has_its_two_lines_once() {
    let lines = lines_of(|| {
        let f = |x: usize| wait_for(&format!("item {x} for "));
        (0..4).pool_map(2, f).report_slow(Duration::ZERO).for_each(drop);
        while stderr().matches("ended after").count() < 4 {
            thread::yield_now();
        }
    });
    assert_eq!(lines.len(), 8, "{lines:#?}");
    for item in 0..4 {
        let of_item = |what: &str| lines.iter().position(|line| line.contains(&format!("item {item} {what} ")));
        assert!(of_item("for") < of_item("ended after"), "{lines:#?}");
    }
}

#[test]
fn a_panic_ends_an_item_too_and_what_is_never_slow_has_no_line() {
    let lines = lines_of(|| {
        let f = |x: usize| {
            if x == 1 {
                wait_for("item 1 for ");
                panic!("one");
            }
        };
        let call = || (0..3).pool_map(1, f).trace(TraceLevel::Off).report_slow(SOON).for_each(drop);
        assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
        wait_for("item 1 panicked after");
        (0..100).pool_map(2, |x| x).named("never").report_slow(Duration::MAX).for_each(drop);
    });
    assert!(lines.iter().any(|line| line.contains("] item 1 panicked after ")), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("never")), "{lines:#?}");
}

#[test]
fn the_lines_come_though_the_caller_holds_the_lock_of_standard_error() {
    let lines = lines_of(|| {
        let lock = io::stderr().lock();
        (0..2).pool_map(2, |x: usize| wait_for(&format!("item {x} for "))).report_slow(SOON).for_each(drop);
        drop(lock);
    });
    assert!(lines.len() >= 2, "{lines:#?}");
}

#[test]
fn calls_share_one_thread_which_ends_when_nobody_reports() {
    lines_of(|| {
        let pool = Pool::new(2).expect("two threads");
        let before = threads();
        let most = AtomicUsize::new(0);
        for _ in 0..20 {
            let f = |_| {
                (0..2)
                    .pool_map(&pool, |_| most.fetch_max(threads(), Ordering::SeqCst))
                    .report_slow(SOON)
                    .for_each(drop);
            };
            (0..4).pool_map(&pool, f).report_slow(SOON).for_each(drop);
        }
        assert_eq!(most.into_inner(), before + 1);
        wait_for_threads(before);
        (0..2).pool_map(&pool, |x: usize| wait_for(&format!("item {x} for "))).report_slow(SOON).for_each(drop);
    });
}
