//! Runs the programs of the corpus, which the fuzzer (`.ci/fuzz`) has found to reach different code.

// Every `#[test]` has a time limit.
#[macro_use]
extern crate watched;

mod program;
#[path = "../../src/testing/watch.rs"]
mod watch;

/// One line of hexadecimal digits.
fn bytes(line: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&line[at..at + 2], 16).expect("two hexadecimal digits");
    (0..line.len()).step_by(2).map(byte).collect()
}

#[test(minutes = 5)]
fn every_program_of_the_corpus_gives_what_map_gives() {
    include_str!("corpus.txt").lines().for_each(|line| program::run(&bytes(line)));
}
