//! 13. A good neighbour: the hook is chained and acts inside our jobs only, and nothing of ours waits for a lock that
//!     a user may hold. Log lines are in `log`.

#![cfg(unix)]

use std::io::{self, Write as _};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, thread};

use pool_map::{Pool, PoolIterator, TraceLevel, traced};

use crate::gate::Gate;
use crate::seen::{child, child_with};
use crate::told::{BLOCK, boom, catch_each, each, raised};

#[test]
fn off_leaves_everything_to_the_hook_before() {
    let seen = child(|| {
        panic::set_hook(Box::new(|info| eprintln!("[TRACE:hook] {}", info.payload_as_text())));
        assert_eq!(raised(|| each(7..9, TraceLevel::Off, boom)), "boom 7");
        let panic = catch_each(7..8, TraceLevel::Off, boom).expect("a panic");
        assert_eq!(panic.location(), None);
    });
    seen.is("[TRACE:hook] boom 7\n[TRACE:hook] boom 7\n");
}

#[test]
fn a_custom_hook_before_is_called_once_for_each_panic() {
    let seen = child(|| {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        panic::set_hook(Box::new(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        }));
        raised(|| each(7..9, TraceLevel::Header, boom));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        raised(|| boom(0));
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    });
    seen.is(BLOCK);
}

#[test]
fn a_hook_that_chains_ours_changes_nothing() {
    let seen = child(|| {
        each(0..1, TraceLevel::Header, drop);
        let ours = panic::take_hook();
        panic::set_hook(Box::new(move |info| ours(info)));
        raised(|| each(7..9, TraceLevel::Header, boom));
    });
    seen.is(BLOCK);
}

#[test]
fn a_panic_in_a_thread_that_f_spawned_is_left_to_the_hook_before() {
    let seen = child(|| {
        panic::set_hook(Box::new(|info| eprintln!("[TRACE:hook] {}", info.payload_as_text())));
        each(7..8, TraceLevel::Header, |x| {
            assert!(thread::spawn(move || boom(x)).join().is_err());
        });
        // Joined with its payload, it is the item's, whose place nobody has seen.
        let joined = |x| panic::resume_unwind(thread::spawn(move || boom(x)).join().expect_err("a panic"));
        assert_eq!(raised(|| each(7..8, TraceLevel::Header, joined)), "boom 7");
    });
    seen.is(&format!(
        "[TRACE:hook] boom 7\n[TRACE:hook] boom 7\n{}",
        BLOCK.replace(
            "at tests/it/told.rs:N:N: boom",
            "(location not recorded: raised again without this pool's panic hook): boom"
        )
    ));
}

#[test]
fn a_hook_that_replaces_ours_is_named_as_the_reason() {
    let seen = child(|| {
        each(0..1, TraceLevel::Short, drop);
        panic::set_hook(Box::new(|_| {}));
        raised(|| each(7..9, TraceLevel::Short, boom));
    });
    seen.is(&BLOCK.replace(
        "at tests/it/told.rs:N:N: boom",
        "(location not recorded: another panic hook was installed after this pool's): boom",
    ));
}

#[test]
fn the_first_call_may_come_during_unwinding() {
    struct CallsInDrop;
    impl Drop for CallsInDrop {
        fn drop(&mut self) {
            assert_eq!(raised(|| each(7..9, TraceLevel::Header, boom)), "boom 7");
        }
    }
    let seen = child(|| {
        raised(|| {
            let _calls = CallsInDrop;
            boom(1);
        });
        // By now the hook can be installed.
        raised(|| each(7..9, TraceLevel::Header, boom));
    });
    seen.succeeded();
    assert_eq!(seen.count("(location not recorded: the call began while its thread was panicking): boom 7"), 1);
    assert_eq!(seen.count(BLOCK), 1, "{}", seen.stderr);
}

/// Calls that are made in one another, so that some are made on workers.
fn nested_sum() -> u64 {
    (0..4_u64).pool_map(2, |x| (0..x).pool_map(2, |y| y).sum::<u64>()).sum()
}

type WayToCall = (&'static str, fn() -> u64);

fn ways_to_call() -> [WayToCall; 5] {
    fn on_a_plain_thread() -> u64 {
        thread::spawn(nested_sum).join().expect("it does not panic")
    }
    fn stream() -> u64 {
        (0..4_u64).pool_imap(2, |x| (0..x).pool_map(2, |y| y).sum::<u64>()).sum()
    }
    fn tasks() -> u64 {
        let pool = Pool::new(2).expect("two threads");
        let inner = pool.clone();
        pool.spawn(move || inner.spawn(|| 4).join()).join()
    }
    fn panics() -> u64 {
        let inner = |x| (0..1_u64).pool_map(2, |_| boom(x)).catch_panics().next().expect("a result");
        let panic = (0..1).pool_map(2, inner).next().expect("a result").expect_err("a panic");
        let reason = "(location not recorded: the call began while its thread was panicking): boom 0";
        assert!(panic.to_string().contains(reason), "{panic}");
        4
    }
    [
        ("nested", nested_sum),
        ("a plain thread", on_a_plain_thread),
        ("stream", stream),
        ("tasks", tasks),
        ("panics", panics),
    ]
}

#[test]
fn the_first_call_may_be_made_by_a_panic_hook() {
    for (way, _) in ways_to_call() {
        let child = crate::child::with_env("WAY_TO_CALL", way).succeeds(|| {
            let way = env::var("WAY_TO_CALL").expect("the parent sets it");
            let (_, call) = ways_to_call().into_iter().find(|(name, _)| *name == way).expect("a way");
            panic::set_hook(Box::new(move |info| {
                if info.payload_as_text() == "boom 7" {
                    println!("sum: {}", call());
                }
            }));
            assert!(thread::spawn(|| boom(7)).join().is_err());
            // By now it can be installed.
            while catch_each(0..1, TraceLevel::Header, boom).expect("a panic").location().is_none() {
                thread::yield_now();
            }
        });
        assert!(String::from_utf8_lossy(&child.stdout).contains("sum: 4"), "{way}: {child:?}");
    }
}

#[test]
fn the_first_call_does_not_wait_for_the_hook_of_another_thread() {
    crate::child::succeeds(|| {
        let [runs, gate] = [(); 2].map(|()| Arc::new(Gate::default()));
        let (in_hook, opened) = (Arc::clone(&runs), Arc::clone(&gate));
        panic::set_hook(Box::new(move |_| {
            in_hook.open();
            opened.wait();
        }));
        let panics = thread::spawn(|| boom(7));
        runs.wait();
        assert_eq!(nested_sum(), 4);
        gate.open();
        assert!(panics.join().is_err());
        while catch_each(0..1, TraceLevel::Header, boom).expect("a panic").location().is_none() {
            thread::yield_now();
        }
    });
}

#[test]
fn a_broken_standard_error_is_nobodys_business() {
    for redirection in ["2>/dev/full", "2>&-"] {
        let seen = child_with(redirection, || {
            assert_eq!(raised(|| each(7..9, TraceLevel::Short, boom)), "boom 7");
            let panicked = thread::spawn(|| traced(|| boom(1))).join();
            assert!(panicked.is_err());
        });
        seen.succeeded();
    }
}

#[test]
fn the_caller_may_hold_standard_error() {
    let seen = child(|| {
        let mut lock = io::stderr().lock();
        assert_eq!(raised(|| each(7..9, TraceLevel::Header, boom)), "boom 7");
        assert!(
            thread::Builder::new().name("T".into()).spawn(|| traced(|| boom(1))).expect("a thread").join().is_err()
        );
        lock.write_all(b"[TRACE:test] still mine\n").expect("open");
    });
    assert!(seen.stderr.starts_with(BLOCK) && seen.stderr.ends_with("still mine\n"), "{}", seen.stderr);
}

trait PayloadText {
    fn payload_as_text(&self) -> &str;
}

impl PayloadText for panic::PanicHookInfo<'_> {
    fn payload_as_text(&self) -> &str {
        self.payload().downcast_ref::<String>().map_or("no string", String::as_str)
    }
}

#[test]
fn the_source_of_a_stream_may_print_while_the_consumer_holds_standard_output() {
    let child = crate::child::succeeds(|| {
        let _lock = io::stdout().lock();
        let source = (0..5).inspect(|x| pool_map::pool_println!("read {x}"));
        assert_eq!(source.pool_imap(2, |x| x).sum::<i32>(), 10);
    });
    let out = String::from_utf8_lossy(&child.stdout);
    assert_eq!(out.matches("(PoolFeeder-1) [").count(), 5, "{out}");
}
