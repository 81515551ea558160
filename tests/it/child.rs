//! Tests that need a process of their own: they run this test binary again, for themselves alone.

use std::process::{Command, Output, Stdio};
use std::time::Duration;
use std::{env, process, thread};

/// Set in the child to the name of its test.
const IN_THE_CHILD: &str = "POOL_MAP_TEST_CHILD";

/// In the parent what became of the child; `None` in the child, where the caller then does its work.
///
/// `test` is the full name of the calling test. A child that hangs is killed after a minute. `RUST_BACKTRACE` is not set there.
pub(crate) fn of(test: &str) -> Option<Output> {
    run(test, &["--nocapture"], &[])
}

/// The same with environment variables of its own.
#[allow(dead_code)] // Two crates share this file, and each leaves something of it.
pub(crate) fn with_env(test: &str, variables: &[(&str, &str)]) -> Option<Output> {
    run(test, &["--nocapture"], variables)
}

/// The same with the output captured by the test harness.
#[allow(dead_code)] // As above.
pub(crate) fn captured(test: &str) -> Option<Output> {
    run(test, &[], &[])
}

fn run(test: &str, flags: &[&str], variables: &[(&str, &str)]) -> Option<Output> {
    if env::var_os(IN_THE_CHILD).is_some_and(|name| name == *test) {
        watch();
        // Ends the line in which the harness names the test.
        println!();
        return None;
    }
    let binary = env::current_exe().expect("a test knows its binary");
    let mut command = Command::new(binary);
    command
        .args(["--exact", test, "--test-threads=1"])
        .args(flags)
        .env_remove("RUST_BACKTRACE")
        .env(IN_THE_CHILD, test)
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    let output = command.output().expect("the test binary runs again");
    // The harness says so before the test begins. A name that nobody has would be a success.
    assert!(output.stdout.starts_with(b"\nrunning 1 test\n"), "there is no test {test}: {output:?}");
    Some(output)
}

fn watch() {
    // Of a stated size, so that it starts where the default is made too large on purpose.
    let watchdog = thread::Builder::new().stack_size(1 << 16);
    let bites = || {
        thread::sleep(Duration::from_secs(60));
        process::abort();
    };
    watchdog.spawn(bites).expect("one small thread");
}
