//! All changes of a file in one text, each chosen by a number at run time.
//!
//! `a < b` becomes `(match crate::mutation(&[17]) { 17 => (a) <= (b), _ => a < b })`, a function gets `if
//! crate::mutation(&[18]) == 18 { return false; }` as its first line, and an arm of a `match` gets a guard. What is constant cannot ask for a number,
//! a function that returns an `impl Trait` cannot return a second type, and what is not compiled cannot be run: changes
//! there are left out.

use proc_macro2::{LineColumn, Span};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::Range;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Added to the crate: which change is on. A process asks its environment once. One that is told a file instead writes down
/// there which changes it came to the places of.
pub const SWITCH: &str = r#"
#[allow(missing_docs)]
pub(crate) fn mutation(here: &[usize]) -> usize {
    use std::io::Write;
    use std::sync::{LazyLock, Mutex};
    static NUMBER: LazyLock<usize> = LazyLock::new(|| {
        std::env::var("POOL_MAP_MUTATION").ok().and_then(|number| number.parse().ok()).unwrap_or(usize::MAX)
    });
    static PLACES: LazyLock<Option<std::fs::File>> = LazyLock::new(|| {
        let name = std::env::var_os("POOL_MAP_PLACES")?;
        std::fs::OpenOptions::new().append(true).open(name).ok()
    });
    static SEEN: Mutex<std::collections::BTreeSet<usize>> = Mutex::new(std::collections::BTreeSet::new());
    if let Some(mut places) = PLACES.as_ref() {
        for number in here {
            if SEEN.lock().is_ok_and(|mut seen| seen.insert(*number)) {
                let _ = writeln!(places, "{number}");
            }
        }
    }
    *NUMBER
}
"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    FnValue,
    Binary,
    Unary,
    Guard,
    Arm,
    Field,
}

/// One change, as cargo-mutants describes it.
#[derive(Debug)]
pub struct Mutant {
    pub name: String,
    pub file: String,
    kind: Kind,
    start: LineColumn,
    returns: String,
    replacement: String,
}

impl Mutant {
    pub fn read(value: &Value) -> Option<Mutant> {
        let kind = match value["genre"].as_str()? {
            "FnValue" => Kind::FnValue,
            "BinaryOperator" => Kind::Binary,
            "UnaryOperator" => Kind::Unary,
            "MatchArmGuard" => Kind::Guard,
            "MatchArm" => Kind::Arm,
            "StructField" => Kind::Field,
            _ => return None,
        };
        let start = &value["span"]["start"];
        let number = |key: &str| start[key].as_u64().and_then(|number| usize::try_from(number).ok());
        Some(Mutant {
            name: value["name"].as_str()?.to_owned(),
            file: value["file"].as_str()?.to_owned(),
            kind,
            start: LineColumn { line: number("line")?, column: number("column")? - 1 },
            returns: value["function"]["return_type"].as_str().unwrap_or_default().to_owned(),
            replacement: value["replacement"].as_str()?.to_owned(),
        })
    }
}

/// The number of the change that a line of a woven text belongs to.
pub fn number_in(line: &str) -> Option<usize> {
    let (_, rest) = line.split_once("/*#")?;
    rest.split_once("*/")?.0.parse().ok()
}

/// The text with these changes, and the numbers of those that have no place in it.
pub fn weave(source: &str, mutants: &[(usize, &Mutant)]) -> syn::Result<(String, BTreeSet<usize>)> {
    let file = syn::parse_file(source)?;
    let lines = source.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some(start)
    });
    let mut finder = Finder { source, lines: lines.collect(), mutants, edits: BTreeMap::new(), found: BTreeSet::new() };
    finder.visit_file(&file);
    let text = finder.render(0..source.len(), None);
    let lost = mutants.iter().map(|(number, _)| *number).filter(|number| !finder.found.contains(number)).collect();
    Ok((text, lost))
}

/// What stands in place of a piece of the text, or before it where the piece is empty.
#[derive(Default)]
struct Edit {
    /// Put in as it is.
    insert: String,
    /// What the expression is under a number; it is itself under any other.
    instead: Vec<(usize, String)>,
}

struct Finder<'a> {
    source: &'a str,
    /// Where each line begins.
    lines: Vec<usize>,
    mutants: &'a [(usize, &'a Mutant)],
    /// By the start, and then the largest first: the order in which they nest.
    edits: BTreeMap<(usize, std::cmp::Reverse<usize>), Edit>,
    found: BTreeSet<usize>,
}

impl Finder<'_> {
    fn offset(&self, place: LineColumn) -> usize {
        let start = self.lines[place.line - 1];
        let column = self.source[start..].char_indices().nth(place.column);
        column.map_or(self.source.len(), |(bytes, _)| start + bytes)
    }

    fn range(&self, span: Span) -> Range<usize> {
        self.offset(span.start())..self.offset(span.end())
    }

    fn text(&self, node: &impl Spanned) -> String {
        self.source[self.range(node.span())].to_owned()
    }

    /// The changes of a kind at a place, each only once.
    fn take(&mut self, kind: Kind, place: LineColumn) -> Vec<(usize, String)> {
        let mut taken = Vec::new();
        for (number, mutant) in self.mutants {
            if mutant.kind == kind && mutant.start == place && self.found.insert(*number) {
                taken.push((*number, mutant.replacement.clone()));
            }
        }
        taken
    }

    fn edit(&mut self, range: Range<usize>) -> &mut Edit {
        self.edits.entry((range.start, std::cmp::Reverse(range.end))).or_default()
    }

    fn visit_body(&mut self, body: &syn::Block) {
        let Some(first) = body.stmts.first() else { return };
        let mut place = first.span().start();
        // An attribute or a macro may begin before what the compiler takes for the statement.
        if !self.mutants.iter().any(|(_, mutant)| mutant.kind == Kind::FnValue && mutant.start == place) {
            let open = self.offset(body.brace_token.span.open().end());
            let blank = self.source[open..].len() - self.source[open..].trim_start().len();
            let before = &self.source[..open + blank];
            let line = before.matches('\n').count() + 1;
            place = LineColumn { line, column: before[before.rfind('\n').map_or(0, |at| at + 1)..].chars().count() };
        }
        let mut insert = String::new();
        for (number, replacement) in self.take(Kind::FnValue, place) {
            let returns_impl = self.mutants.iter().any(|(n, mutant)| *n == number && mutant.returns.contains("impl "));
            if returns_impl {
                self.found.remove(&number);
                continue;
            }
            let replacement = replacement.replace('\n', " ");
            write!(insert, "\nif crate::mutation(&[{number}]) == {number} {{ return {replacement}; }} /*#{number}*/\n")
                .expect("a string");
        }
        let at = self.offset(body.brace_token.span.open().end());
        self.edit(at..at).insert.push_str(&insert);
    }

    /// The text of a range, with the edits in it; `within` is the one whose range this is.
    fn render(&self, range: Range<usize>, within: Option<(usize, std::cmp::Reverse<usize>)>) -> String {
        let mut text = String::new();
        let mut at = range.start;
        for (key, edit) in &self.edits {
            let (start, std::cmp::Reverse(end)) = *key;
            let is_outside = within.is_some_and(|outer| *key <= outer);
            if start < at || end > range.end || is_outside {
                continue;
            }
            text.push_str(&self.source[at..start]);
            text.push_str(&edit.insert);
            if !edit.instead.is_empty() {
                let numbers: Vec<usize> = edit.instead.iter().map(|(number, _)| *number).collect();
                writeln!(text, "(match crate::mutation(&{numbers:?}) {{").expect("a string");
                for (number, instead) in &edit.instead {
                    let instead = one_line(instead);
                    writeln!(text, "{number} => {{ {instead} }} /*#{number}*/").expect("a string");
                }
                let rest = self.render(start..end, Some(*key));
                write!(text, "_ => {{ {rest} }}\n}})").expect("a string");
            } else {
                text.push_str(&self.render(start..end, Some(*key)));
            }
            at = end;
        }
        text.push_str(&self.source[at..range.end]);
        text
    }
}

/// The code without its line comments and its lines, so that the compiler's errors in it have one line.
fn one_line(code: &str) -> String {
    code.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code).trim()).collect::<Vec<_>>().join(" ")
}

/// Whether this is compiled only without a feature, or on other systems: all features are on, and this is Unix.
fn is_off(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string().starts_with("not"),
        _ => false,
    })
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !is_off(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if item.sig.constness.is_none() && !is_off(&item.attrs) {
            self.visit_body(&item.block);
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if item.sig.constness.is_none() {
            self.visit_body(&item.block);
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.visit_body(body);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}

    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}

    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}

    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}

    fn visit_expr_binary(&mut self, expr: &'ast syn::ExprBinary) {
        let (left, right) = (self.text(&expr.left), self.text(&expr.right));
        for (number, operator) in self.take(Kind::Binary, expr.op.span().start()) {
            let instead = format!("({left}) {operator} ({right})");
            let range = self.range(expr.span());
            self.edit(range).instead.push((number, instead));
        }
        visit::visit_expr_binary(self, expr);
    }

    fn visit_expr_unary(&mut self, expr: &'ast syn::ExprUnary) {
        for (number, operator) in self.take(Kind::Unary, expr.op.span().start()) {
            let instead = format!("{operator}({})", self.text(&expr.expr));
            let range = self.range(expr.span());
            self.edit(range).instead.push((number, instead));
        }
        visit::visit_expr_unary(self, expr);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        // Without its last arm a match does not compile, and the compiler's error names no arm.
        let is_for_all = match &arm.pat {
            syn::Pat::Ident(name) => name.ident.to_string().starts_with(char::is_lowercase),
            pattern => matches!(pattern, syn::Pat::Wild(_)),
        };
        let deleted = if is_for_all { Vec::new() } else { self.take(Kind::Arm, arm.span().start()) };
        if let Some((_, guard)) = &arm.guard {
            let mut instead = self.take(Kind::Guard, guard.span().start());
            instead.extend(deleted.into_iter().map(|(number, _)| (number, "false".to_owned())));
            let range = self.range(guard.span());
            if !instead.is_empty() {
                self.edit(range).instead.extend(instead);
            }
        } else {
            for (number, _) in deleted {
                let at = self.offset(arm.fat_arrow_token.span().start());
                self.edit(at..at).insert = format!("if crate::mutation(&[{number}]) != {number} /*#{number}*/\n");
            }
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, expr: &'ast syn::ExprStruct) {
        let whole = self.range(expr.span());
        for field in &expr.fields {
            for (number, _) in self.take(Kind::Field, field.span().start()) {
                let Range { start, end } = self.range(field.span());
                let rest = self.source[end..whole.end].trim_start();
                let rest = rest.strip_prefix(',').unwrap_or(rest);
                let instead = format!("{}{rest}", &self.source[whole.start..start]);
                self.edit(whole.clone()).instead.push((number, instead));
            }
        }
        visit::visit_expr_struct(self, expr);
    }
}
