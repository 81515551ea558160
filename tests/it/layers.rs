//! The folders of `src` are layers: each one imports only from those below it. `src/lib.rs` has their order.

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

/// What is wrong with a file of that name that has this code.
fn wrong(name: &str, code: &str) -> Vec<String> {
    let module = name.trim_end_matches(".rs").split('/').filter(|part| !["lib", "mod"].contains(part));
    let module = module.map(str::to_owned).collect();
    let tokens = without_tests(&tokens(code));
    upward(&File { name: name.to_owned(), module, tokens }, &layers(LIB))
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
