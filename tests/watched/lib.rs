//! `#[test]` with a time limit: a test that takes longer than a minute ends the process, with its name on standard error.
//! `#[test(minutes = 5)]` gives it longer.
//!
//! A test program takes it by `#[macro_use] extern crate watched;` at its root, and has `src/testing/watch.rs` there as
//! `crate::watch`. What `macro_use` brings is in scope in the whole program and comes before the standard library's names, so every
//! `#[test]` is this one. No test names the watchdog, and none can forget it.
//!
//! Why an attribute: the standard harness only prints the names of slow tests, and calls nothing before or after one. nextest can
//! end a slow test, but `cargo test` cannot. The attribute works the same under both, on any number of threads.

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// The standard library's `#[test]`, for a function that starts with a watchdog.
///
/// # Panics
///
/// Panics, which is an error of compilation, on what is no function with a body, or no limit.
#[proc_macro_attribute]
pub fn test(limit: TokenStream, function: TokenStream) -> TokenStream {
    let limit = limit.to_string();
    let minutes: u64 = match limit.split_once('=') {
        None if limit.is_empty() => 1,
        Some((name, value)) if name.trim() == "minutes" => value.trim().parse().expect("a number of minutes"),
        _ => panic!("`#[test]` or `#[test(minutes = 5)]`, not `{limit}`"),
    };
    let mut function: Vec<_> = function.into_iter().collect();
    let after_fn = function.iter().skip_while(|token| token.to_string() != "fn").nth(1);
    let name = after_fn.expect("a test is a function").to_string();
    let body = function.pop().expect("a test has a body");
    let start = format!("let _watch = crate::watch::watch(concat!(module_path!(), \"::{name}\"), {minutes});");
    let mut watched: TokenStream = start.parse().expect("a statement");
    watched.extend([body]);
    function.push(TokenTree::Group(Group::new(Delimiter::Brace, watched)));
    let mut test: TokenStream = "#[::core::prelude::v1::test]".parse().expect("an attribute");
    test.extend(function);
    test
}
