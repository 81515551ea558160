//! One module for each promise of the contract, in its order; then the parts.

// What only tests for one kind of system use is imported everywhere.
#![cfg_attr(not(target_os = "linux"), allow(unused_imports))]

// Every `#[test]` has a time limit.
#[macro_use]
extern crate watched;

mod same_as_map;
mod caller_thread;
mod lazy;
mod bounded;
mod once;
mod sequential_failure;
mod told;
mod stops;
mod nothing_outlives;
mod pool_survives;
mod nesting;
mod nesting_matrix;
mod without_threads;
mod good_neighbour;
mod no_unsafe;
mod fair;
mod named_pool;

mod doors;
mod sweep;
mod documented;
mod process;
mod readme;
mod layers;
mod properties;
mod stress;
mod soak;
mod idle;

mod imap;
mod polled;
mod scope;
mod scoped_task;
mod states;
mod with_items;
mod task;
mod cancel;
mod shutdown;

mod pool;
mod lease;
mod log;
mod observe;
mod backtrace_variable;
mod spans;
#[cfg(target_os = "linux")]
mod slow;
mod logger;

#[path = "../../src/testing/child.rs"]
mod child;
#[cfg(unix)]
mod descriptors;
mod gate;
mod seen;
mod source;
#[path = "../../src/testing/watch.rs"]
mod watch;

#[cfg(unix)]
use crate::descriptors::take_all_descriptors;

/// How many threads this process has.
#[cfg(target_os = "linux")]
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux lists the threads");
    tasks.count()
}

/// Returns once this process has `count` threads: the kernel forgets a thread a little after it was joined.
#[cfg(target_os = "linux")]
fn wait_for_threads(count: usize) {
    while threads() != count {
        std::thread::yield_now();
    }
}
