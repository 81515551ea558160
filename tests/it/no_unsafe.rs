//! 14. No unsafe, and the house in order.

use std::fs;
use std::path::Path;

use crate::source::{File, Token, files, has_word, names_crate};

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect(name)
}

#[test]
fn unsafe_code_is_forbidden() {
    const EXCEPTION: &str = "base/scoped_job.rs";
    assert!(file("src/lib.rs").lines().any(|line| line == "#![deny(unsafe_code)]"));
    for file in files(true) {
        let is_exception = file.name == EXCEPTION;
        assert_eq!(allows_unsafe(&file.tokens), is_exception, "{}", file.name);
        assert_eq!(has_word(&file.tokens, "unsafe"), is_exception, "{}", file.name);
    }
    let text = file(&format!("src/{EXCEPTION}"));
    let (before, tests) = text.split_once("\n#[cfg(test)]\nmod tests {\n").expect("it has tests");
    assert_eq!(tests.find("\n}\n"), Some(tests.len() - 3), "the tests are its end");
    assert!(before.lines().filter(|line| !line.trim().is_empty()).count() < 100);
}

/// Whether a lint attribute lets unsafe code through.
fn allows_unsafe(tokens: &[Token]) -> bool {
    let is_lint = |pair: &[Token]| match pair {
        [Token::Word(level), Token::Group('(', lints)] => {
            ["allow", "expect", "warn"].contains(&&**level) && has_word(lints, "unsafe_code")
        }
        _ => false,
    };
    tokens.windows(2).any(is_lint)
        || tokens.iter().any(|token| matches!(token, Token::Group(_, inner) if allows_unsafe(inner)))
}

#[test]
fn each_dependency_has_one_room() {
    let rooms = [
        ("rayon", &["adaptors/par/", "threads/"][..]),
        ("chrono", &["log.rs"]),
        ("backtrace", &["panics/"]),
        ("tracing", &["panics/span.rs"]),
        ("log", &["panics/logger.rs"]),
    ];
    let files = files(false);
    for (name, rooms) in rooms {
        let users: Vec<_> =
            files.iter().filter(|file| names_crate(&file.tokens, name)).map(|file| &file.name).collect();
        for user in &users {
            assert!(rooms.iter().any(|room| user.starts_with(room)), "{name} in {user}");
        }
        for room in rooms {
            assert!(users.iter().any(|user| user.starts_with(room)), "no {name} in {room}");
        }
    }
}

#[test]
fn panics_are_caught_in_one_place() {
    let catches = |file: &&File| has_word(&file.tokens, "catch_unwind");
    let files = files(false);
    let users: Vec<_> = files.iter().filter(catches).map(|file| &file.name).collect();
    assert_eq!(users, ["base/unwind.rs"]);
}

#[test]
fn every_test_has_a_time_limit() {
    let folder = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let names = fs::read_dir(path).expect(name).map(|entry| entry.expect("an entry").file_name());
        names.filter_map(|file| Some(format!("{name}/{}", file.into_string().ok()?))).collect::<Vec<_>>()
    };
    let is_rust = |name: &String| Path::new(name).extension().is_some_and(|extension| extension == "rs");
    let programs = folder("tests").into_iter().filter(is_rust);
    for program in programs.chain(["src/lib.rs", "tests/it/main.rs", "tests/it/features.rs"].map(str::to_owned)) {
        assert!(file(&program).contains("\n#[macro_use]\nextern crate watched;\n"), "{program}");
    }
    // By its whole path, the attribute of the standard library has none.
    let without = concat!("prelude::v1", "::test]");
    let found: Vec<_> = folder("tests/it").into_iter().filter(|name| file(name).contains(without)).collect();
    assert_eq!(found, ["tests/it/soak.rs"]);
}

#[test]
fn the_changelog_has_this_version_once() {
    let heading = format!("## {} ", env!("CARGO_PKG_VERSION"));
    let changelog = file("CHANGELOG.md");
    assert_eq!(changelog.lines().filter(|line| line.starts_with(&heading)).count(), 1, "{heading}");
}

#[test]
fn the_readme_stays_short() {
    assert!(file("README.md").lines().count() < 150);
}
