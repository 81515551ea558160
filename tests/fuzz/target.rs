//! The libFuzzer target: each input is a program of calls.
#![no_main]

mod program;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| program::run(bytes));
