//! The tests whose outcome depends on the features of the crate: `.ci/run` runs them with all, with the default ones and with
//! none. All of `tests/it` takes minutes to compile, and differs in nothing else.

#![cfg_attr(not(target_os = "linux"), allow(unused_imports))]
#![allow(dead_code, reason = "not every helper of tests/it is used here")]

// Every `#[test]` has a time limit.
#[macro_use]
extern crate watched;

mod told;

mod log;
mod backtrace_variable;
mod spans;
mod logger;
mod polled;

#[path = "../../src/testing/child.rs"]
mod child;
#[cfg(unix)]
mod descriptors;
mod gate;
mod seen;
#[path = "../../src/testing/watch.rs"]
mod watch;

#[cfg(unix)]
use crate::descriptors::take_all_descriptors;
