//! `RUST_BACKTRACE`, as a process finds it: how much is printed of a panic.

use std::env;
use std::panic::catch_unwind;
use std::process::Output;

use pool_map::PoolIterator;

use crate::child;

/// Two panics, between which the variable changes.
fn panics() {
    for _ in 0..2 {
        let fails = || (0..1).pool_map(1, |x| assert!(x > 0, "on purpose")).for_each(drop);
        catch_unwind(fails).expect_err("it panics");
        let other = if env::var("RUST_BACKTRACE").is_ok_and(|value| value == "full") { "0" } else { "full" };
        // SAFETY: no other thread of this process asks for a variable but by the standard library.
        #[allow(unsafe_code, reason = "other processes have such threads")]
        unsafe {
            env::set_var("RUST_BACKTRACE", other);
        }
    }
}

/// How many frames each of the two traces has.
fn frames(stderr: &str) -> [usize; 2] {
    let is_frame = |line: &&str| {
        let number = line.split_once("]   ").and_then(|(_, text)| text.split_once(": "));
        number.is_some_and(|(number, _)| number.trim_start().parse::<usize>().is_ok())
    };
    let traces = stderr.split("] item 0 panicked at ").skip(1).map(|trace| trace.lines().filter(is_frame).count());
    traces.collect::<Vec<_>>().try_into().expect("two traces")
}

#[cfg_attr(not(feature = "backtrace"), ignore = "it needs the names of functions")]
#[test]
fn it_is_read_once_and_says_how_much_is_printed() {
    let printed = |child: Output| {
        let stderr = String::from_utf8(child.stderr).expect("text");
        assert!(stderr.lines().all(|line| line.starts_with("[TRACE:PoolWorker-1] ")), "{stderr}");
        stderr
    };
    let body = || panics();
    let unset = printed(child::succeeds(body));
    let with = |value| printed(child::with_env("RUST_BACKTRACE", value).succeeds(body));

    let none = with("0");
    let lines: Vec<_> = none.lines().map(|line| line.trim_start_matches("[TRACE:PoolWorker-1] ")).collect();
    assert_eq!(lines.len(), 4, "{none}");
    for header in lines.chunks(2) {
        assert!(header[0].starts_with("item 0 panicked at tests/it/backtrace_variable.rs:"), "{none}");
        assert!(
            header[0].contains("on purpose") && header[1].starts_with("  in pool_map called at tests/it/"),
            "{none}"
        );
    }

    let short = frames(&unset);
    assert!(short[0] > 0 && short[0] == short[1], "{unset}");
    assert_eq!(unset.matches(" runtime frames (RUST_BACKTRACE=full shows them)\n").count(), 2, "{unset}");
    assert_eq!([frames(&with("1")), frames(&with(""))], [short; 2], "{unset}");

    let all = with("full");
    assert!(frames(&all).into_iter().all(|frames| frames > short[0] + 3), "{all}");
    assert!(!all.contains("RUST_BACKTRACE"), "{all}");
}
