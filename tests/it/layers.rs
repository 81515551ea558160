//! The folders of `src` are layers: each one imports only from those below it. `src/lib.rs` has their order. Nor do files
//! import each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::source::{File, files, imports, tokens, without_tests};

/// The layers, the top first: the modules that `lib.rs` declares between two comments.
fn layers(lib: &str) -> Vec<&str> {
    let (_, rest) = lib.split_once("\n// The layers, the top first").expect("where the layers begin");
    let (lines, _) = rest.split_once("\n// End of the layers").expect("where they end");
    let lines = lines.lines().skip(1).filter(|line| !line.trim_start().starts_with("//"));
    let names = lines.map(|line| match line.strip_prefix("mod ").and_then(|rest| rest.split_once(';')) {
        Some((name, _)) => name,
        None => panic!("not a layer: {line}"),
    });
    names.collect()
}

/// What is wrong with the imports of a file. `lib.rs` is above all layers; the root of the crate is its own.
fn upward(file: &File, layers: &[&str]) -> Vec<String> {
    let place = |module: &[String]| layers.iter().position(|layer| module.first().is_some_and(|first| first == layer));
    let name = &file.name;
    let wrong = imports(&file.tokens, &file.module).into_iter().filter_map(|path| {
        let import = path.join("::");
        match (place(&file.module), place(&path)) {
            (_, None) => Some(format!("{name} imports crate::{import}, which is in no layer")),
            (None, Some(_)) if file.module.is_empty() => None,
            (None, Some(_)) => Some(format!("{name} imports crate::{import}, and is in no layer")),
            (Some(own), Some(other)) => {
                (other < own).then(|| format!("{name} imports crate::{import}, from a layer above"))
            }
        }
    });
    wrong.collect()
}

/// Files that import each other in a circle, the first one once more at the end; empty if there are none. A folder's `mod.rs` is
/// a file like others: where it re-exports what is in a file of the folder, that file does not import from it.
fn circle(files: &[File]) -> Vec<&str> {
    let of_module: BTreeMap<_, _> = files.iter().map(|file| (&*file.module, &*file.name)).collect();
    let file_of = |path: &[String]| (1..=path.len()).rev().find_map(|end| of_module.get(&path[..end]).copied());
    let below = files.iter().filter(|file| !file.module.is_empty());
    let mut imported: BTreeMap<&str, BTreeSet<&str>> = below
        .map(|file| {
            let others = imports(&file.tokens, &file.module).into_iter().filter_map(|path| file_of(&path));
            (&*file.name, others.filter(|other| *other != file.name).collect())
        })
        .collect();
    // Files that import none of the others are in no circle.
    while let Some(last) = imported.iter().find(|(_, others)| others.is_empty()).map(|(name, _)| *name) {
        imported.remove(last);
        for others in imported.values_mut() {
            others.remove(last);
        }
    }
    // Of the others, each imports one.
    let mut walk: Vec<_> = imported.keys().take(1).copied().collect();
    while let Some(last) = walk.last() {
        let next = *imported[last].first().expect("the others were removed");
        let seen = walk.iter().position(|name| *name == next);
        walk.push(next);
        if let Some(start) = seen {
            return walk.split_off(start);
        }
    }
    walk
}

const LIB: &str = "
#![deny(x)]

// The layers, the top first: and so on.
mod top;
// A comment.
mod middle; // Another one.
mod bottom;
// End of the layers. And so on.
pub mod guide;
";

/// The file of that name that has this code.
fn file(name: &str, code: &str) -> File {
    let module = name.trim_end_matches(".rs").split('/').filter(|part| !["lib", "mod"].contains(part));
    let module = module.map(str::to_owned).collect();
    File { name: name.to_owned(), module, tokens: without_tests(&tokens(code)) }
}

/// What is wrong with the file of that name that has this code.
fn wrong(name: &str, code: &str) -> Vec<String> {
    upward(&file(name, code), &layers(LIB))
}

#[test]
fn the_layers_are_read_in_their_order() {
    assert_eq!(layers(LIB), ["top", "middle", "bottom"]);
}

#[test]
fn an_import_from_above_is_found() {
    let upward = ["middle/x.rs imports crate::top::X, from a layer above"];
    assert_eq!(wrong("middle/x.rs", "use crate::top::X;"), upward);
    assert_eq!(wrong("middle/x.rs", "use crate::{bottom::Y, top::X};"), upward);
    assert_eq!(wrong("middle/x.rs", "use super::super::top::X;"), upward);
    assert_eq!(wrong("middle/x.rs", "fn f() { crate::top::X }"), upward);
    assert_eq!(wrong("middle/x.rs", "mod inner { use super::super::super::top::X; }"), upward);
    assert_eq!(wrong("middle/x.rs", "#[cfg(test)] use crate::bottom; use crate::top::X;"), upward);
    assert_eq!(wrong("middle/x.rs", "#[cfg(test)] fn f() {} use crate::top::X; #[cfg(test)] mod tests {}"), upward);
    assert_eq!(
        wrong("middle/mod.rs", "use super::top::X;"),
        ["middle/mod.rs imports crate::top::X, from a layer above"]
    );
    assert_eq!(
        wrong("bottom.rs", "pub(crate) use crate::middle;"),
        ["bottom.rs imports crate::middle, from a layer above"]
    );
}

#[test]
fn an_import_from_the_front_page_is_found() {
    let upward = ["middle/x.rs imports crate::X, which is in no layer"];
    assert_eq!(wrong("middle/x.rs", "use crate::X;"), upward);
    assert_eq!(wrong("middle/x.rs", "use super::super::X;"), upward);
    assert_eq!(wrong("middle/x.rs", "use crate::*;").len(), 1);
}

#[test]
fn an_import_from_below_or_beside_is_none() {
    assert!(wrong("middle/x.rs", "use crate::bottom::X; use super::y::Y; use super::super::bottom::Z;").is_empty());
    assert!(wrong("middle/x.rs", "use crate::middle::y; use std::sync::Arc;").is_empty());
    assert!(wrong("middle/mod.rs", "pub(crate) use self::x::X; use super::bottom;").is_empty());
    assert!(wrong("middle/x.rs", "#[cfg(test)] mod tests { use crate::top::X; }").is_empty());
    assert!(wrong("lib.rs", "pub use crate::top::X; pub use bottom::Y;").is_empty());
}

#[test]
fn the_guide_and_the_tools_of_tests_stand_apart() {
    assert_eq!(
        wrong("guide/x.rs", "use crate::bottom::X;"),
        ["guide/x.rs imports crate::bottom::X, and is in no layer"]
    );
    assert_eq!(wrong("top.rs", "use crate::guide;"), ["top.rs imports crate::guide, which is in no layer"]);
    assert_eq!(wrong("lib.rs", "use crate::testing::X;"), ["lib.rs imports crate::testing::X, which is in no layer"]);
    assert!(wrong("lib.rs", "#[cfg(test)] use crate::testing::X;").is_empty());
}

#[test]
fn each_folder_imports_only_from_those_below_it() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("the front page");
    let layers = layers(&lib);
    assert_eq!(layers.first(), Some(&"iter"));
    let files = files(false);
    for layer in &layers {
        assert!(files.iter().any(|file| file.module == [*layer]), "no layer: {layer}");
    }
    let wrong: Vec<_> = files.iter().flat_map(|file| upward(file, &layers)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_in_a_circle_are_found() {
    let [lib, top] = [file("lib.rs", "use top::X;"), file("top/mod.rs", "pub use self::x::X;")];
    let x = |code| file("top/x.rs", code);
    let y = |code| file("top/y.rs", code);
    let z = |code| file("top/z.rs", code);
    let found = |files: [File; 3]| circle(&files).join(" ");
    let [one, two, three] = ["use super::y::Y;", "use crate::top::z::{Z, f};", "fn f() { super::x::f() }"];
    assert_eq!(found([x(one), y(two), z(three)]), "top/x.rs top/y.rs top/z.rs top/x.rs");
    assert_eq!(found([x(one), y("use super::x;"), z(three)]), "top/x.rs top/y.rs top/x.rs");
    assert_eq!(found([x(""), y(two), z("use super::*; use super::y::Y;")]), "top/y.rs top/z.rs top/y.rs");
    assert_eq!(found([x(one), y(two), z("#[cfg(test)] use super::x; mod inner { use super::f; }")]), "");
    assert_eq!(found([x("use crate::top::X;"), y(""), top]), "top/mod.rs top/x.rs top/mod.rs");
    assert_eq!(found([x("use super::f;"), y("use super::x;"), file("top/mod.rs", "mod x; fn f() {}")]), "");
    assert_eq!(found([x("use crate::X;"), y(""), lib]), "", "layers are for another test");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let files = files(false);
    let circle = circle(&files);
    assert!(circle.is_empty(), "each imports the next one: {}", circle.join(", "));
}
