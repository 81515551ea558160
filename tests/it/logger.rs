//! Traces go to the program's logger, too, or to it alone; with no logger they are not lost.

#![cfg(all(feature = "log", unix))]

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier};

use log::{LevelFilter, Log, Metadata, Record};
use pool_map::{Pool, PoolBuilder, PoolIterator, TraceLevel, traced};

use crate::seen::child;

/// Writes every record to standard error, in one line.
struct Printer;

impl Log for Printer {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let text = record.args().to_string().replace('\n', "|");
        let _ = writeln!(std::io::stderr(), "{} {} {text}", record.level(), record.target());
    }

    fn flush(&self) {}
}

/// A panic of item 1 on a pool with one worker, raised and caught.
fn panic_on(pool: PoolBuilder) {
    let pool = pool.threads(1).build().expect("a thread");
    let results = (0..2).pool_map(&pool, |x: u32| assert_ne!(x, 1, "boom")).trace(TraceLevel::Header);
    catch_unwind(AssertUnwindSafe(|| results.for_each(drop))).expect_err("item 1 panics");
}

fn set_logger(level: LevelFilter) {
    log::set_logger(&Printer).expect("the first one");
    log::set_max_level(level);
}

const RECORD: &str = "ERROR pool_map [TRACE:PoolWorker-1] item 1 panicked at tests/it/logger.rs:";

#[test]
fn a_trace_is_an_error_record_as_well() {
    let seen = child(|| {
        set_logger(LevelFilter::Error);
        panic_on(Pool::builder());
    });
    seen.succeeded();
    assert_eq!((seen.count(RECORD), seen.count("\n[TRACE:PoolWorker-1] item 1")), (1, 1), "{}", seen.stderr);
    assert!(seen.stderr.contains("|[TRACE:PoolWorker-1]   in pool_map called at"), "one record for all of it");
}

#[test]
fn a_pools_traces_may_go_to_the_logger_alone() {
    let seen = child(|| {
        set_logger(LevelFilter::Error);
        panic_on(Pool::builder().traces_to_logger_only());
        let pool = Pool::builder().threads(1).traces_to_logger_only().build().expect("a thread");
        // Caught inside, and never reached.
        let inside = |x: u32| {
            assert_ne!(x, 1, "beyond");
            catch_unwind(|| panic!("inside")).is_err()
        };
        let mut results = (0..2).pool_map(&pool, inside).chunk_size(2);
        assert_eq!(results.next(), Some(true));
    });
    seen.succeeded();
    assert_eq!(seen.count("ERROR pool_map [TRACE:PoolWorker-1] item"), 3, "{}", seen.stderr);
    assert!(seen.stderr.lines().all(|line| line.starts_with("ERROR pool_map ")), "{}", seen.stderr);
}

#[test]
fn so_may_those_that_nobody_waits_for() {
    let seen = child(|| {
        set_logger(LevelFilter::Error);
        let pool = Pool::builder().threads(1).traces_to_logger_only().build().expect("a thread");
        let gate = Arc::new(Barrier::new(2));
        let inside = Arc::clone(&gate);
        drop(pool.spawn(move || {
            inside.wait();
            panic!("a task");
        }));
        gate.wait();
        let inside = Arc::clone(&gate);
        let late = move |x: u32| {
            if x == 1 {
                inside.wait();
                panic!("an item");
            }
        };
        let mut results = (0..2).pool_imap(&pool, late).chunk_size(1);
        assert_eq!(results.next(), Some(()));
        drop(results);
        gate.wait();
        pool.join();
    });
    seen.succeeded();
    assert_eq!((seen.count("a task"), seen.count("an item")), (1, 1), "{}", seen.stderr);
    assert!(seen.stderr.lines().all(|line| line.starts_with("ERROR pool_map ")), "{}", seen.stderr);
}

#[test]
fn without_a_logger_that_takes_them_traces_are_not_lost() {
    let seen = child(|| {
        panic_on(Pool::builder().traces_to_logger_only());
        set_logger(LevelFilter::Off);
        panic_on(Pool::builder().traces_to_logger_only());
    });
    seen.succeeded();
    assert_eq!((seen.count("[TRACE:PoolWorker-1] item 1"), seen.count("ERROR")), (2, 0), "{}", seen.stderr);
}

#[test]
fn a_trace_of_traced_is_a_record_as_well() {
    let seen = child(|| {
        set_logger(LevelFilter::Error);
        catch_unwind(|| traced(|| panic!("boom"))).expect_err("it panics");
    });
    seen.succeeded();
    assert_eq!((seen.count("ERROR pool_map [TRACE:"), seen.count("] panicked at tests")), (1, 2), "{}", seen.stderr);
}

#[test]
fn a_logger_that_panics_changes_nothing() {
    struct Clumsy;
    impl Log for Clumsy {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, _: &Record<'_>) {
            panic!("clumsy");
        }

        fn flush(&self) {}
    }

    let seen = child(|| {
        log::set_logger(&Clumsy).expect("the first one");
        log::set_max_level(LevelFilter::Error);
        panic_on(Pool::builder().traces_to_logger_only());
    });
    seen.succeeded();
    assert_eq!(seen.count("[TRACE:PoolWorker-1] item 1"), 1, "it did not take the trace: {}", seen.stderr);
}
