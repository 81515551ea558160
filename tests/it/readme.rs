//! `tests/README.md` names tests that exist and lines that stand where it says; the public pages are short and narrow.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The cells of the rows of the table under this heading, from its third line on.
fn table(heading: &str) -> Vec<Vec<String>> {
    let readme = read("tests/README.md");
    let (_, rest) = readme.split_once(&format!("\n## {heading}\n")).expect("the heading");
    let section = rest.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// Whether a test of that name is there: `module::name` in `tests/it`, `module::tests::name` in `src`, and
/// `compile_fail::Name` for the examples that must not compile.
fn is_there(test: &str) -> bool {
    let parts: Vec<_> = test.split("::").collect();
    match *parts {
        ["compile_fail", name] => read("src/testing/compile_fail.rs").contains(&format!("\nstruct {name};")),
        [module, name] => is_in(&read(&format!("tests/it/{module}.rs")), name),
        [.., "tests", name] => is_in(&read(&source_of(&parts[..parts.len() - 2])), name),
        _ => false,
    }
}

/// The file of a module of `src`.
fn source_of(module: &[&str]) -> String {
    let path = format!("src/{}", module.join("/"));
    let is_file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{path}.rs")).exists();
    if is_file { format!("{path}.rs") } else { format!("{path}/mod.rs") }
}

fn is_in(source: &str, name: &str) -> bool {
    let Some((before, _)) =
        source.split_once(&format!(" fn {name}(")).or_else(|| source.split_once(&format!("\nfn {name}(")))
    else {
        return false;
    };
    // What stands before it belongs to the function before, but for its attributes.
    before.rsplit("\n\n").next().is_some_and(|attributes| attributes.contains("#[test"))
}

#[test]
fn every_test_that_is_named_exists() {
    let readme = read("tests/README.md");
    let is_name = |text: &&str| text.contains("::") && text.chars().all(|c| c.is_alphanumeric() || "_:".contains(c));
    let names: Vec<_> = quoted(&readme).filter(is_name).collect();
    assert!(names.len() > 150, "{} names", names.len());
    for name in names.into_iter().filter(|name| !name.ends_with("::tests")) {
        assert!(is_there(name), "there is no test {name}");
    }
    assert!(!is_there("readme::is_there") && !is_there("readme::no_such_test"));
}

#[test]
fn every_fault_and_every_trap_has_a_test_or_a_reason() {
    let mut faults: Vec<_> = (1..=70).map(|number: u32| number.to_string()).collect();
    faults.insert(39, "39b".to_owned());
    let traps: Vec<_> = (1..=26).map(|number: u32| format!("T{number}")).collect();
    for (heading, numbers) in [("Faults", faults), ("Traps", traps)] {
        let rows = table(heading);
        assert!(rows.iter().map(|row| &row[0]).eq(&numbers), "{rows:?}");
        for row in rows {
            let has_test = quoted(&row[2]).any(|name| name.contains("::"));
            let has_reason = row[2].ends_with('.');
            assert!(row.len() == 3 && (has_test || has_reason), "{row:?}");
        }
    }
}

#[test]
fn each_behaviour_that_carries_the_rest_has_a_test() {
    let rows = table("Ten behaviours that carry the rest");
    assert_eq!(rows.len(), 10);
    for row in rows {
        let [what, instead, tests] = &*row else { panic!("{row:?}") };
        assert!(what.ends_with('.') && !instead.is_empty(), "{row:?}");
        assert!(quoted(tests).count() > 0 && quoted(tests).all(is_there), "{row:?}");
    }
}

/// What a line of documentation says.
fn comment(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("//!").or_else(|| line.strip_prefix("///"))
}

/// The lines of a page, each with whether it is code. In Rust files, those of its documentation.
fn page(path: &str) -> Vec<(bool, String)> {
    let text = read(path);
    let is_rust = Path::new(path).extension().is_some_and(|extension| extension == "rs");
    let lines = text.lines().filter_map(|line| if is_rust { comment(line) } else { Some(line) });
    let mut is_code = false;
    let mut page = Vec::new();
    for line in lines {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        page.push((is_code && !is_fence, line.strip_prefix(' ').filter(|_| is_rust).unwrap_or(line).to_owned()));
    }
    page
}

/// The Rust files below a folder.
fn rust_files(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name in UTF-8"));
    let paths = names.map(|name| format!("{folder}/{name}"));
    paths.flat_map(|path| if path.contains('.') { vec![path] } else { rust_files(&path) }).collect()
}

#[test]
fn no_code_of_a_page_is_wider_than_92_characters() {
    let files = rust_files("src");
    assert!(files.len() > 50 && files.iter().any(|path| path == "src/guide/recipes.rs"), "{files:?}");
    let others = ["README.md", "CONTRIBUTING.md", "benches/README.md", "benches/RESULTS.md"].map(String::from);
    for path in files.into_iter().chain(others) {
        for (is_code, line) in page(&path) {
            // What compilers say is as wide as it is.
            let is_shown = is_code && !line.starts_with("# ") && !line.starts_with("// error: ");
            assert!(!is_shown || line.chars().count() <= 92, "{path}: {line}");
        }
    }
}

#[test]
fn the_front_page_has_at_most_60_lines_of_text() {
    let front = page("src/lib.rs");
    assert!(front.len() <= 60, "{} lines", front.len());
}

#[test]
fn links_of_the_readme_work_outside_the_repository() {
    let readme = read("README.md");
    let targets: Vec<_> = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(targets.len() > 6, "{targets:?}");
    for target in targets {
        let is_packaged = target.starts_with("examples/") || target.starts_with("LICENSE-");
        let is_file = Path::new(env!("CARGO_MANIFEST_DIR")).join(target).is_file();
        assert!(target.starts_with("https://") || (is_packaged && is_file), "{target}");
    }
}

#[test]
fn the_front_page_shows_the_trace_of_the_readme() {
    let trace = |path: &str| -> Vec<String> {
        page(path).into_iter().filter(|(_, line)| line.starts_with("[TRACE:")).map(|(_, line)| line).collect()
    };
    assert_eq!(trace("README.md").len(), 5);
    assert_eq!(trace("src/lib.rs"), trace("README.md"));
}

/// A line of Markdown as it is read: without the targets of its links.
fn without_links(line: &str) -> String {
    let mut parts = line.split("](");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // A target may have brackets of its own, as that of a function has.
        let (target, rest) = part.split_once(')').expect("the end of a target");
        text += if target.ends_with('(') { rest.strip_prefix(')').expect("the end of a target") } else { rest };
    }
    text.replace(['[', ']'], "")
}

#[test]
fn what_to_use_is_the_same_table_wherever_it_stands() {
    let rows = |path: &str| -> Vec<String> {
        let lines = page(path).into_iter().map(|(_, line)| line).skip_while(|line| line != "| you want | use |");
        lines.take_while(|line| line.starts_with('|')).map(|line| without_links(&line)).collect()
    };
    let of_readme = rows("README.md");
    assert!(of_readme.len() > 8, "{of_readme:?}");
    assert_eq!(rows("src/lib.rs"), of_readme);
    assert_eq!(rows("src/iter.rs"), of_readme);
}

/// `.ci/messages` checks that the compiler says what `compile_fail.rs` has.
#[test]
fn what_the_compiler_says_is_quoted_as_it_says_it() {
    let page = page("src/iter.rs");
    let rows = page.iter().map(|(_, line)| line).skip_while(|line| *line != "| what | the compiler says | instead |");
    let rows: Vec<_> = rows.skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 10, "{rows:?}");
    let examples = read("src/testing/compile_fail.rs");
    let messages: Vec<_> = examples.lines().filter_map(|line| line.strip_prefix("/// // error: ")).collect();
    for row in rows {
        let words = row.split(" | ").nth(1).expect("what the compiler says");
        let words = words.trim_matches('`').trim();
        // Backquotes at either end belong to the words, or to the table.
        assert!(messages.iter().any(|message| message.contains(words)), "{words}");
    }
}

#[test]
fn what_to_use_comes_right_after_the_first_example() {
    for (path, fences) in [("README.md", 6), ("src/lib.rs", 2)] {
        let text = read(path);
        let (before, _) = text.split_once("| you want | use |").expect("the table");
        assert_eq!(before.matches("```").count(), fences, "{path}");
        assert!(before.trim_end_matches(['\n', '/', '!', ' ']).ends_with("```"), "{path}");
    }
}
