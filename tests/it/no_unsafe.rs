//! 14. No unsafe, and the house in order.

use std::fs;
use std::path::Path;

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect(name)
}

fn sources() -> Vec<(String, String)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the sources are there") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                sources.push((path.display().to_string(), fs::read_to_string(&path).expect("text")));
            }
        }
    }
    sources
}

#[test]
fn unsafe_code_is_forbidden() {
    assert!(file("src/lib.rs").lines().any(|line| line == "#![forbid(unsafe_code)]"));
}

#[test]
fn each_dependency_has_one_room() {
    let rooms = [
        ("rayon::", &["current_worker.rs", "pool.rs", "par/mod.rs", "par/split.rs", "par/whole.rs"][..]),
        ("chrono::", &["log.rs"]),
        ("backtrace::", &["panics/record.rs"]),
        ("catch_unwind(", &["base/unwind.rs"]),
    ];
    for (path, text) in sources() {
        let product = text.split("#[cfg(test)]").next().expect("there is a first part");
        let code: String = product.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for (door, files) in rooms {
            let allowed = files.iter().any(|file| path.ends_with(file));
            assert!(allowed || !code.replace("std::backtrace::", "").contains(door), "{door} in {path}");
        }
    }
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
