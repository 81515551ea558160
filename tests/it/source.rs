//! Reads the source of the crate, as far as the tests of its order need it: which modules a file declares, and what it imports.

use std::fs;
use std::path::{Path, PathBuf};

/// A piece of code. Comments, and what text and characters hold, are left out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// A name, a keyword, or a number.
    Word(String),
    Sign(char),
    /// What stands in brackets, which begin with this one.
    Group(char, Vec<Token>),
}

use Token::{Group, Sign, Word};

/// The code of a file, with its tests.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut rest: &[char] = &text.chars().collect::<Vec<_>>();
    let tokens = group(&mut rest);
    assert!(rest.is_empty(), "a bracket is closed that was not open");
    tokens
}

/// Reads to the bracket that closes, and past it.
fn group(rest: &mut &[char]) -> Vec<Token> {
    let mut tokens = Vec::new();
    while let Some((&first, after)) = rest.split_first() {
        match (first, after.first()) {
            ('/', Some('/')) => skip_to(rest, &['\n']),
            ('/', Some('*')) => skip_comment(rest),
            ('"', _) => {
                *rest = after;
                skip_text(rest, '"');
            }
            ('\'', Some('\\')) => {
                *rest = after;
                skip_text(rest, '\'');
            }
            ('\'', Some(_)) if after.get(1) == Some(&'\'') => *rest = &after[2..],
            ('(' | '[' | '{', _) => {
                *rest = after;
                tokens.push(Group(first, group(rest)));
            }
            (')' | ']' | '}', _) => {
                *rest = after;
                break;
            }
            _ if is_of_word(first) => {
                let end = rest.iter().position(|character| !is_of_word(*character)).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                *rest = after;
                let word: String = word.iter().collect();
                let hashes = after.iter().take_while(|character| **character == '#').count();
                if ["r", "br", "cr"].contains(&&*word) && after.get(hashes) == Some(&'"') {
                    *rest = &after[hashes + 1..];
                    skip_to(rest, &[&['"'][..], &['#'].repeat(hashes)].concat());
                } else {
                    tokens.push(Word(word));
                }
            }
            _ => {
                *rest = after;
                if !first.is_whitespace() {
                    tokens.push(Sign(first));
                }
            }
        }
    }
    tokens
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Skips to behind `end`.
fn skip_to(rest: &mut &[char], end: &[char]) {
    let found = rest.windows(end.len()).position(|window| window == end);
    *rest = &rest[found.map_or(rest.len(), |found| found + end.len())..];
}

fn skip_comment(rest: &mut &[char]) {
    let mut depth = 0;
    while !rest.is_empty() {
        let step = match rest {
            ['/', '*', ..] => {
                depth += 1;
                2
            }
            ['*', '/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        *rest = &rest[step..];
        if depth == 0 {
            return;
        }
    }
}

fn skip_text(rest: &mut &[char], end: char) {
    while let Some((first, after)) = rest.split_first() {
        *rest = if *first == '\\' { after.get(1..).unwrap_or_default() } else { after };
        if *first == end {
            return;
        }
    }
}

/// Leaves out what is compiled for tests alone.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let Some((first, after)) = rest.split_first() {
        rest = match (first, after) {
            (Sign('#'), [Group('[', attribute), item @ ..]) if is_for_tests(attribute) => after_item(item),
            (Group(bracket, inner), _) => {
                kept.push(Group(*bracket, without_tests(inner)));
                after
            }
            _ => {
                kept.push(first.clone());
                after
            }
        };
    }
    kept
}

/// Whether it is `cfg` with a condition that only tests meet.
fn is_for_tests(attribute: &[Token]) -> bool {
    let [Word(name), Group('(', condition)] = attribute else { return false };
    name == "cfg" && is_met_by_tests_alone(condition)
}

fn is_met_by_tests_alone(condition: &[Token]) -> bool {
    match condition {
        [Word(name)] => name == "test" || name == "doctest",
        [Word(name), Group('(', inner)] => {
            let mut parts = inner.split(|token| *token == Sign(',')).filter(|part| !part.is_empty());
            match &**name {
                "all" => parts.any(is_met_by_tests_alone),
                "any" => parts.all(is_met_by_tests_alone),
                _ => false,
            }
        }
        _ => false,
    }
}

/// What comes after an item, a field, or a statement.
fn after_item(mut rest: &[Token]) -> &[Token] {
    while let [Sign('#'), Group('[', _), after @ ..] = rest {
        rest = after;
    }
    let words: Vec<_> =
        rest.iter().map_while(|token| if let Word(word) = token { Some(&**word) } else { None }).collect();
    let is_item = words.iter().any(|word| {
        ["use", "mod", "fn", "impl", "struct", "enum", "trait", "type", "static", "const", "extern", "let"]
            .contains(word)
    });
    let ends_with_semicolon = !words.contains(&"fn")
        && words.iter().any(|word| ["use", "type", "static", "const", "extern", "let"].contains(word));
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let is_end = match first {
            Sign(';') => true,
            Sign(',') => !is_item,
            Group('{', _) => !ends_with_semicolon,
            _ => false,
        };
        if is_end {
            break;
        }
    }
    rest
}

/// The modules that have a file of their own.
pub(crate) fn modules(tokens: &[Token]) -> Vec<&str> {
    let declarations = tokens.windows(3).filter_map(|three| match three {
        [Word(keyword), Word(name), Sign(';')] if keyword == "mod" => Some(&**name),
        _ => None,
    });
    declarations.collect()
}

/// Every path in `tokens` that begins with `crate`, `self` or `super`, written from the root of the crate on. `module` is where
/// they stand. A glob ends with `*`.
pub(crate) fn imports(tokens: &[Token], module: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Group(bracket, inner) => {
                let within = match &tokens[..at] {
                    [.., Word(keyword), Word(name)] if *bracket == '{' && keyword == "mod" => {
                        [module, std::slice::from_ref(name)].concat()
                    }
                    _ => module.to_vec(),
                };
                found.extend(imports(inner, &within));
            }
            Word(word)
                if ["crate", "self", "super"].contains(&&**word)
                    && begins_a_path(tokens, at)
                    && is_separator(&tokens[at + 1..]) =>
            {
                path(&tokens[at..], module.to_vec(), &mut found);
            }
            _ => {}
        }
    }
    found
}

/// Whether no path goes on at this place. `$crate` stands for the crate at the place where a macro is used.
fn begins_a_path(tokens: &[Token], at: usize) -> bool {
    !matches!(tokens[..at], [.., Sign('$')] | [.., Sign(':'), Sign(':')])
}

fn is_separator(rest: &[Token]) -> bool {
    matches!(rest, [Sign(':'), Sign(':'), ..])
}

/// Reads a path, or several of them in braces; `base` is what stands before.
fn path(tokens: &[Token], mut base: Vec<String>, found: &mut Vec<Vec<String>>) {
    let mut rest = tokens;
    loop {
        match rest {
            [Word(word), ..] => match &**word {
                "crate" => base.clear(),
                "self" => {}
                "super" => _ = base.pop(),
                name => base.push(name.to_owned()),
            },
            [Sign('*'), ..] => base.push("*".to_owned()),
            [Group('{', inner), ..] => {
                for part in inner.split(|token| *token == Sign(',')).filter(|part| !part.is_empty()) {
                    path(part, base.clone(), found);
                }
                return;
            }
            _ => break,
        }
        if !is_separator(&rest[1..]) {
            break;
        }
        rest = &rest[3..];
    }
    found.push(base);
}

/// Whether the code names an external crate: `name::…` or `use name;`, and no module of that name.
pub(crate) fn names_crate(tokens: &[Token], name: &str) -> bool {
    let is_named = |at: usize| {
        let is_used = matches!(&tokens[..at], [.., Word(word)] if word == "use");
        begins_a_path(tokens, at) && (is_used || is_separator(&tokens[at + 1..]))
    };
    tokens.iter().enumerate().any(|(at, token)| match token {
        Word(word) => word == name && is_named(at),
        Group(_, inner) => names_crate(inner, name),
        Sign(_) => false,
    })
}

/// Whether the code has that word.
pub(crate) fn has_word(tokens: &[Token], name: &str) -> bool {
    tokens.iter().any(|token| match token {
        Word(word) => word == name,
        Group(_, inner) => has_word(inner, name),
        Sign(_) => false,
    })
}

/// A file of `src`.
#[derive(Debug)]
pub(crate) struct File {
    /// Below `src`, with `/` on every system.
    pub(crate) name: String,
    /// The path of its module, from the root of the crate on.
    pub(crate) module: Vec<String>,
    pub(crate) tokens: Vec<Token>,
}

/// The files that make the crate without its tests; with them, for the tests too.
pub(crate) fn files(with_tests: bool) -> Vec<File> {
    let mut files = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    add_file(&root, &root.join("lib.rs"), Vec::new(), with_tests, &mut files);
    files
}

fn add_file(root: &Path, file: &Path, module: Vec<String>, with_tests: bool, files: &mut Vec<File>) {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut tokens = tokens(&text);
    if !with_tests {
        tokens = without_tests(&tokens);
    }
    let folder = match file.file_stem().and_then(|stem| stem.to_str()) {
        Some("lib" | "mod") => file.with_file_name(""),
        _ => file.with_extension(""),
    };
    for name in modules(&tokens) {
        let [beside, below]: [PathBuf; 2] =
            [format!("{name}.rs"), format!("{name}/mod.rs")].map(|path| folder.join(path));
        let inner = [&*module, &[name.to_owned()]].concat();
        add_file(root, if beside.exists() { &beside } else { &below }, inner, with_tests, files);
    }
    let name = file.strip_prefix(root).expect("a file of src").display().to_string().replace('\\', "/");
    files.push(File { name, module, tokens });
}

mod tests {
    use super::*;

    /// The imports of a file of the module `engine::stop`.
    fn of(text: &str) -> Vec<String> {
        let module = ["engine", "stop"].map(str::to_owned);
        imports(&without_tests(&tokens(text)), &module).into_iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn every_kind_of_import_is_found() {
        assert_eq!(of("use crate::base::event::Event;"), ["base::event::Event"]);
        assert_eq!(of("pub(crate) use crate::log as l;"), ["log"]);
        assert_eq!(
            of("use crate::{log, base::{self, unwind::{catch, resume}, fork::*}};"),
            ["log", "base", "base::unwind::catch", "base::unwind::resume", "base::fork::*"]
        );
        assert_eq!(of("fn f() -> crate::Trace { g::<crate::observe::Row>(|| crate::log::line(1)) }").len(), 3);
        assert_eq!(of("fn f(x: crate::log::L, y: &dyn crate::base::X) {}"), ["log::L", "base::X"]);
        assert_eq!(of("use super::window::Window;"), ["engine::window::Window"]);
        assert_eq!(of("use super::super::log;"), ["log"]);
        assert_eq!(
            of("mod inner { use super::super::window; mod deep { use super::super::super::super::log; } }"),
            ["engine::window", "log"]
        );
        assert_eq!(of("use self::inner::X; pub use super::*;"), ["engine::stop::inner::X", "engine::*"]);
    }

    #[test]
    fn what_is_no_import_is_not_taken_for_one() {
        assert!(
            of("pub(crate) fn f(&self) {} pub(super) struct X; use std::sync::Arc; macro!($crate::log::x);").is_empty()
        );
        assert!(of("// use crate::log;\n/* use /* */ crate::log; */ /// [`crate::log`]\n").is_empty());
        let literals = r##"f("crate::log \" crate::log", r#"" crate::log"#, b"\\", '"', '\'', '\\', 'a', c"x"); use crate::base;"##;
        assert_eq!(of(literals), ["base"]);
        assert_eq!(of("fn f<'a, 'b>(x: &'a str, y: &'b crate::base::X<'a>) {}"), ["base::X"]);
    }

    #[test]
    fn tests_are_left_out_and_nothing_else() {
        let after = "use crate::base;";
        for item in [
            "mod tests { use crate::log; }",
            "mod tests;",
            "use crate::log;",
            "use crate::{log, iter};",
            "#[allow(x)] fn f(a: u8, b: crate::log::X) -> [u8; 2] { crate::log::f() }",
            "pub(crate) const fn f() { crate::log::f() }",
            "const X: Y = Y { log: crate::log::X };",
            "impl X<Y, crate::log::Z> { fn f() { crate::log::f() } }",
            "struct X(u8, crate::log::Z);",
        ] {
            assert_eq!(of(&format!("#[cfg(test)] {item} {after}")), ["base"], "{item}");
        }
        assert_eq!(of(&format!("struct X {{ #[cfg(test)] x: crate::log::X, y: u8 }} {after}")), ["base"]);
        assert_eq!(of(&format!("fn f() {{ #[cfg(test)] crate::log::f(); g(1) }} {after}")), ["base"]);
        for condition in ["test", "doctest", "any(test, doctest)", "all(test, unix)", "all(unix, any(test, doctest),)"]
        {
            assert_eq!(of(&format!("#[cfg({condition})] use crate::log; {after}")), ["base"], "{condition}");
        }
        for condition in ["unix", "not(test)", "any(test, unix)", "all(unix, not(test))", "feature = \"test\""] {
            assert_eq!(of(&format!("#[cfg({condition})] use crate::log; {after}")), ["log", "base"], "{condition}");
        }
    }

    #[test]
    fn modules_with_a_file_are_told_from_those_without() {
        let code = tokens("mod a; pub(crate) mod b; mod c { mod d; } #[cfg(test)] mod e; // mod f;");
        assert_eq!(modules(&code), ["a", "b", "e"]);
        assert_eq!(modules(&without_tests(&code)), ["a", "b"]);
    }

    #[test]
    fn crates_are_told_from_modules_of_their_names() {
        for code in ["use log::Level;", "log::error!(x)", "f(|| log::max_level());", "use log;", "use {log::Level, x};"]
        {
            assert!(names_crate(&tokens(code), "log"), "{code}");
        }
        for code in ["use crate::log::X;", "self::log::x()", "let log = 1;", "// log::x", "x.log()", "catalog::x()"] {
            assert!(!names_crate(&tokens(code), "log"), "{code}");
        }
    }

    #[test]
    fn every_file_of_the_crate_is_read() {
        fn count(folder: &Path) -> usize {
            let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
            entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
        }
        assert_eq!(files(true).len(), count(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")));
        let product = files(false);
        let has = |name: &str| product.iter().any(|file| file.name == name);
        assert!(has("lib.rs") && has("engine/mod.rs") && has("adaptors/par/split.rs") && !has("testing/mod.rs"));
    }
}
