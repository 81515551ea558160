//! What the user sees of a panic: the levels, the choice of frames, the text. Pure formatting, which knows nothing of
//! threads, of hooks or of how a stack is walked.
//!
//! A block of text is first put together without its tag; [`tag`] then puts `[TRACE:worker]` before every line of it,
//! so that no message, however many lines it has, can bring a line into the output that does not say where it is from.

use std::borrow::Cow;
use std::env;
use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _};
use std::path::Path;

use once_cell::race::OnceRef;

/// How much is printed of a panic on a worker.
///
/// The default follows `RUST_BACKTRACE`, read once per process: [`Header`](TraceLevel::Header) for `0`,
/// [`Full`](TraceLevel::Full) for `full`, and otherwise [`Short`](TraceLevel::Short).
///
/// Without the feature `backtrace` there are no frames, so `Short` and `Full` print what `Header` does.
///
/// # Examples
///
/// ```
/// use pool_map::{PoolIterator, TraceLevel};
///
/// let lengths = ["a", "bc"].iter().pool_map(2, |s| s.len()).trace(TraceLevel::Header);
/// assert_eq!(lengths.sum::<usize>(), 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TraceLevel {
    /// Nothing is captured or printed by this crate. The previous panic hook sees every panic.
    Off,
    /// What panicked, where, and in which call: two lines, or more if the message has more.
    Header,
    /// The header and the frames of your own code.
    Short,
    /// The header and every frame.
    Full,
}

impl TraceLevel {
    /// Whether a panic's stack has to be walked for this level.
    pub(crate) fn wants_frames(self) -> bool {
        matches!(self, TraceLevel::Short | TraceLevel::Full)
    }

    fn from_variable(value: Option<&OsStr>) -> &'static TraceLevel {
        match value.and_then(OsStr::to_str) {
            Some("0") => &TraceLevel::Header,
            Some("full") => &TraceLevel::Full,
            _ => &TraceLevel::Short,
        }
    }
}

impl Default for TraceLevel {
    fn default() -> Self {
        // Of those that never wait: after a fork, the thread that was about to set it may not be in this process.
        static CHOSEN: OnceRef<'static, TraceLevel> = OnceRef::new();
        *CHOSEN.get_or_init(|| TraceLevel::from_variable(env::var_os("RUST_BACKTRACE").as_deref()))
    }
}

/// One function on the stack of a panic.
///
/// Its `Display` is one line, with the place if that is known: `trace::divide at examples/trace.rs:23:5`.
///
/// # Examples
///
/// ```
/// use pool_map::PoolIterator;
///
/// let mut results = [0].into_iter().pool_map(1, |x| 1 / x).catch_panics();
/// let panic = results.next().unwrap().unwrap_err();
/// for frame in panic.frames() {
///     println!("{frame}"); // app::main::{{closure}} at src/main.rs:3:51
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The path of the function, without the hash that the compiler appends.
    function: String,
    /// The source file, relative to the current directory where it lies below it.
    file: Option<String>,
    /// Both count from 1; a place without a file has neither.
    line: Option<u32>,
    column: Option<u32>,
    /// Whether it belongs to the libraries under the user's code rather than to that code.
    is_runtime: bool,
}

impl Frame {
    pub(crate) fn new(function: &str, file: Option<&Path>, line: Option<u32>, column: Option<u32>) -> Frame {
        let file = file.map(Path::to_string_lossy);
        let is_runtime = match &file {
            Some(file) if is_library_file(file) => true,
            // An inlined function may have no path to its name; then its file alone decides.
            Some(_) => owner(function) == CodeOwner::Runtime,
            // A bare symbol without a file is some `_start` or `clone3`.
            None => owner(function) != CodeOwner::User,
        };
        let file = file.map(|file| relative(&file));
        Frame { function: plain_name(function), file, line, column, is_runtime }
    }

    /// Returns the path of the function, such as `trace::main::{{closure}}`.
    ///
    /// Only its name if it was inlined in a program with `debug = "line-tables-only"`.
    #[must_use]
    pub fn function(&self) -> &str {
        &self.function
    }

    /// Returns the source file, relative to the current directory if it lies below it.
    ///
    /// `None` in a program built without debug information.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// Returns the line in that file, counted from 1.
    #[must_use]
    pub fn line(&self) -> Option<u32> {
        self.line
    }

    /// The `src/x.rs:23:5` of the frame, as far as it is known.
    fn place(&self) -> Option<String> {
        let mut place = self.file.clone()?;
        for number in [self.line, self.column].into_iter().flatten() {
            let _ = write!(place, ":{number}");
        }
        Some(place)
    }

    fn is(&self, function: &str) -> bool {
        self.function.contains(function)
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place() {
            Some(place) => write!(f, "{} at {place}", self.function),
            None => f.write_str(&self.function),
        }
    }
}

/// Whose frames are a panic's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Those above our job.
    Job,
    /// Those above a job of rayon's, which lies on top of a job that has nothing to do with it.
    RayonJob,
}

/// Part of the name of the function below every job of ours. Std's short backtraces know it as well.
pub(super) const JOB_MARKER: &str = "__rust_begin_short_backtrace";

/// Parts of the names of the functions by which rayon runs a job.
pub(super) const RAYON_JOB: [&str; 2] = ["rayon_core::job::", "::execute"];

/// The frames of one panic, innermost first.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// Every frame that has a name.
    all: Vec<Frame>,
    /// The part of `all` that is the user's code; where there is none, what lies between the panic and the job.
    user: Vec<Frame>,
}

impl Frames {
    pub(super) fn new(all: Vec<Frame>, part: Part) -> Frames {
        // A stripped program still names what it imports from the C library, and that is all noise.
        if !all.iter().any(|frame| frame.is("::")) {
            return Frames::default();
        }
        let between = between(&all, part);
        let mut user: Vec<Frame> = between.iter().filter(|frame| !frame.is_runtime).cloned().collect();
        if user.is_empty() {
            user = between.to_vec();
        }
        Frames { all, user }
    }

    pub(crate) fn user(&self) -> &[Frame] {
        &self.user
    }
}

/// The frames between the machinery that raised the panic and the marker below the job.
fn between(all: &[Frame], part: Part) -> &[Frame] {
    // The first one, since a panic in a destructor has the machinery of an earlier panic further down.
    let entry = all.iter().position(|frame| frame.is("__rust_end_short_backtrace") || frame.is("rust_begin_unwind"));
    let raised = &all[entry.map_or(0, |entry| entry + 1)..];
    let machinery = |frame: &&Frame| {
        let failed = frame.function.ends_with("_failed") || frame.function.ends_with("_fail");
        frame.is("rust_begin_unwind") || frame.is("core::panicking::") || (failed && frame.is_runtime)
    };
    let below = &raised[raised.iter().take_while(machinery).count()..];
    let is_rayon_job = |frame: &Frame| RAYON_JOB.iter().all(|part| frame.is(part));
    let is_below = |frame: &Frame| frame.is(JOB_MARKER) || (part == Part::RayonJob && is_rayon_job(frame));
    let marker = below.iter().position(is_below);
    &below[..marker.unwrap_or(below.len())]
}

/// Whose code a function is, by its name alone.
#[derive(Debug, PartialEq, Eq)]
enum CodeOwner {
    User,
    Runtime,
    /// The name has no path: a symbol of C, or a type parameter.
    Unknown,
}

fn owner(function: &str) -> CodeOwner {
    let Some((self_type, implemented)) = as_impl(function) else { return root_owner(function) };
    // The shims that call a closure carry the closure's own path as their type.
    if ["core::ops::function::", "pool_map::", "rayon"].iter().any(|path| implemented.starts_with(path)) {
        return CodeOwner::Runtime;
    }
    // A trait of the user's on a type of std is the user's code, and so is the other way round.
    match (root_owner(self_type), root_owner(implemented)) {
        (CodeOwner::User, _) | (_, CodeOwner::User) => CodeOwner::User,
        (CodeOwner::Unknown, CodeOwner::Unknown) => CodeOwner::Unknown,
        _ => CodeOwner::Runtime,
    }
}

/// Splits `<Type as Trait>::method` into `Type` and what begins with `Trait`.
fn as_impl(function: &str) -> Option<(&str, &str)> {
    let inside = function.strip_prefix('<')?;
    let mut depth = 0_usize;
    for (at, character) in inside.char_indices() {
        match character {
            '<' => depth += 1,
            // The `>` of an arrow closes nothing.
            '>' if inside[..at].ends_with('-') => {}
            '>' => depth = depth.checked_sub(1)?,
            ' ' if depth == 0 && inside[at..].starts_with(" as ") => return Some((&inside[..at], &inside[at + 4..])),
            _ => {}
        }
    }
    None
}

/// Judges a path by the crate that it begins with.
fn root_owner(path: &str) -> CodeOwner {
    const RUNTIME: [&str; 7] = ["std", "core", "alloc", "backtrace", "pool_map", "__rustc", "test"];

    let mut path = path.trim_start_matches(|character: char| !is_identifier(character));
    for word in ["mut ", "const ", "dyn "] {
        path = path.strip_prefix(word).unwrap_or(path);
    }
    let (root, rest) = path.split_at(path.find(|character| !is_identifier(character)).unwrap_or(path.len()));
    if RUNTIME.contains(&root) || root.starts_with("rayon") || root.starts_with("crossbeam") {
        CodeOwner::Runtime
    } else if rest.starts_with("::") {
        CodeOwner::User
    } else {
        CodeOwner::Unknown
    }
}

fn is_identifier(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Writes the name of an inlined function, such as `{closure#0}<app::main::{closure_env#0}>`, as the others are.
///
/// With line tables only, the compiler leaves the path out and lists the type arguments in full.
fn plain_name(function: &str) -> String {
    match function.split_once('<') {
        Some((bare, _)) if !bare.is_empty() && !bare.contains("::") => plain_name(bare),
        _ if function.starts_with("{closure#") => "{{closure}}".to_owned(),
        _ => function.to_owned(),
    }
}

/// Whether a file comes with the toolchain, comes from a registry, or is one of this crate.
fn is_library_file(file: &str) -> bool {
    const OURS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");

    let file = file.replace('\\', "/");
    // Where this crate is itself part of a workspace no folder in the path tells it from the user's.
    if file.starts_with(&OURS.replace('\\', "/")) {
        return true;
    }
    // `/rust/deps/` has what the standard library itself depends on, and `/usr/share/cargo/registry/` Debian's crates.
    ["/rustc/", "/rustlib/src/", "/rust/deps/", "/.cargo/registry/", "/registry/src/", "/usr/share/cargo/registry/"]
        .iter()
        .any(|folder| file.contains(folder))
        || is_built_by_a_distribution(&file)
}

/// Whether a file is of a standard library that was not built by the Rust project.
///
/// Those have the paths of the machine that built them, below a folder with the version: Debian's is `/usr/src/rustc-1.85.1/library`,
/// and the others build in the folder of the archive, such as `/build/rustc-1.85.1-src/library`.
fn is_built_by_a_distribution(file: &str) -> bool {
    let mut folders = file.split('/').peekable();
    while let Some(folder) = folders.next() {
        let Some(version) = folder.strip_prefix("rustc-") else { continue };
        let is_version =
            version.starts_with(|first: char| first.is_ascii_digit()) || ["beta-src", "nightly-src"].contains(&version);
        if is_version && matches!(folders.peek(), Some(&("library" | "vendor"))) {
            return true;
        }
    }
    false
}

/// Whether text may carry the codes of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Colour,
}

impl Style {
    /// The style for standard error, by the usual variables and by what it is connected to.
    pub(crate) fn of_stderr() -> Style {
        // libtest collects what a test prints to standard error and shows it on standard output.
        let terminal = || io::stderr().is_terminal() && io::stdout().is_terminal();
        Style::choose(|name| env::var(name).ok(), terminal)
    }

    fn choose(variable: impl Fn(&str) -> Option<String>, terminal: impl FnOnce() -> bool) -> Style {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let forced = |name| set(name).is_some_and(|value| value != "0");
        let colour = if set("NO_COLOR").is_some() {
            false
        } else if forced("CLICOLOR_FORCE") || forced("FORCE_COLOR") {
            true
        } else {
            set("TERM").is_none_or(|term| term != "dumb") && terminal()
        };
        if colour { Style::Colour } else { Style::Plain }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Style::Plain => text.to_owned(),
            Style::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// One panic as plain data, ready to be put into words.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    /// The name of the thread that the job ran on.
    pub(crate) worker: &'a str,
    /// The index of the item; `None` where the call has no items.
    pub(crate) item: Option<u64>,
    /// `panicked`, or what else the item did.
    pub(crate) verb: &'a str,
    /// `at src/x.rs:88:14`, or in brackets why that is not known; may be empty.
    pub(crate) place: &'a str,
    pub(crate) message: &'a str,
    /// `pool_map`, or whichever method was called.
    pub(crate) method: &'a str,
    /// The label that the user gave to the call.
    pub(crate) label: Option<&'a str>,
    /// Where the call stands in the user's source.
    pub(crate) site: &'a str,
    /// The thread that called, where it is not self-evident.
    pub(crate) caller: Option<&'a str>,
}

impl Report<'_> {
    /// The whole block: header, call, and as many of `frames` as `level` allows. Ends with a line feed.
    pub(crate) fn block(&self, frames: &Frames, level: TraceLevel, style: Style) -> String {
        let mut body = join([&self.item(""), self.verb, &escape(self.place)]);
        let _ = writeln!(body, ": {}", cut(self.message).replace('\n', "\n    "));
        let _ = write!(body, "  in {}", self.method);
        if let Some(label) = self.label {
            let _ = write!(body, " {label:?}");
        }
        let _ = write!(body, " called at {}", escape(self.site));
        if let Some(caller) = self.caller {
            let _ = write!(body, ", on thread '{}'", escape(caller));
        }
        body.push('\n');
        match level {
            TraceLevel::Off | TraceLevel::Header => {}
            TraceLevel::Short => push_user(&mut body, frames),
            TraceLevel::Full => push_frames(&mut body, &frames.all, style),
        }
        tag(self.worker, &body, style)
    }

    /// One line, for a panic that is not raised again. A message of several lines is cut to its first.
    pub(crate) fn line(&self, aside: LineKind, style: Style) -> String {
        let place = &*escape(self.place);
        let body = match aside {
            LineKind::Caught => join([&self.item(":"), "panic caught inside the closure", place]),
            LineKind::Lost => join([&self.item(":"), "panic that did not come out of the closure", place]),
            LineKind::Contained => join([&self.item(":"), "panic in a destructor", place]),
            LineKind::Observer => join([&self.item(":"), "panic in the observer", place]),
            LineKind::Stopping => join(["  also panicked while stopping:", &self.item(""), place]),
            LineKind::Unreached => join([&self.item(""), self.verb, place]),
        };
        let closing = match aside {
            LineKind::Unreached => " (not reached: the iterator was dropped before it)",
            LineKind::Caught | LineKind::Lost | LineKind::Contained | LineKind::Observer | LineKind::Stopping => "",
        };
        let message = cut(self.message.lines().next().unwrap_or_default());
        tag(self.worker, &format!("{body}: {message}{closing}"), style)
    }

    fn item(&self, after: &str) -> String {
        self.item.map_or_else(String::new, |item| format!("item {item}{after}"))
    }
}

/// How many panics of one kind get a line of their own before the rest are only counted.
pub(super) const LINES: usize = 8;

/// Why a panic gets a line only.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LineKind {
    /// The closure caught it.
    Caught,
    /// It came from a job of rayon's that the thread ran while the closure waited, and nobody has raised it.
    Lost,
    /// It came from the destructor of a value that we dropped, and went no further.
    Contained,
    /// It came from somebody who watches the call, and went no further.
    Observer,
    /// It came after the one that is raised again.
    Stopping,
    /// The iterator was dropped before its turn.
    Unreached,
}

/// The line that stands for panics which are counted only.
pub(crate) fn more(worker: &str, count: usize, what: &str, style: Style) -> String {
    tag(worker, &format!("  + {count} more {what}"), style)
}

/// Puts the tag before each line of `body`.
fn tag(worker: &str, body: &str, style: Style) -> String {
    tag_as("TRACE", "1;31", worker, body, style)
}

/// A line about an item that is slow, or was.
pub(crate) fn slow_line(worker: &str, body: &str, style: Style) -> String {
    tag_as("SLOW", "1;33", worker, &escape(&body.replace(['\n', '\r'], " ")), style)
}

fn tag_as(kind: &str, colour: &str, worker: &str, body: &str, style: Style) -> String {
    let tag = style.paint(colour, &format!("[{kind}:{}]", escape(&worker.replace(['\n', '\r'], " "))));
    body.lines().fold(String::new(), |mut tagged, line| {
        let _ = writeln!(tagged, "{}", format!("{tag} {line}").trim_end());
        tagged
    })
}

/// Joins what is not empty by single spaces.
pub(super) fn join<const N: usize>(parts: [&str; N]) -> String {
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

fn push_user(body: &mut String, frames: &Frames) {
    push_frames(body, &frames.user, Style::Plain);
    match frames.all.len() - frames.user.len() {
        0 => {}
        1 => body.push_str("  + 1 runtime frame (RUST_BACKTRACE=full shows it)\n"),
        hidden => {
            let _ = writeln!(body, "  + {hidden} runtime frames (RUST_BACKTRACE=full shows them)");
        }
    }
}

/// Adds a numbered line for each frame, with the places in one column.
fn push_frames(body: &mut String, frames: &[Frame], style: Style) {
    /// A name longer than this (some generic ones are) does not push the other places to the right.
    const WIDEST: usize = 60;
    const GAP: usize = 6;

    let digits = frames.len().saturating_sub(1).to_string().len();
    let widths = frames.iter().map(|frame| frame.function.chars().count());
    let names = GAP + widths.filter(|width| *width <= WIDEST).max().unwrap_or(0);
    for (number, frame) in frames.iter().enumerate() {
        let line = match frame.place() {
            Some(place) => {
                format!("  {number:>digits$}: {:<names$}at {}", format!("{} ", frame.function), escape(&place))
            }
            None => format!("  {number:>digits$}: {}", frame.function),
        };
        let line = if frame.is_runtime { style.paint("2", &line) } else { line };
        body.push_str(&line);
        body.push('\n');
    }
}

/// Shows what would steer a terminal or turn the text around it. Tabs and the ends of lines stay.
fn escape(text: &str) -> Cow<'_, str> {
    let steers = |character: char| match character {
        '\n' | '\t' => false,
        // Marks, embeddings, overrides and isolates of bidirectional text, and the separators of lines.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        other => other.is_control(),
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.replace("\r\n", "\n").chars() {
        match character {
            '\r' => escaped.push_str("\\r"),
            steering if steers(steering) => escaped.extend(steering.escape_unicode()),
            plain => escaped.push(plain),
        }
    }
    Cow::Owned(escaped)
}

/// Cuts a message that would fill screens, and makes it fit to be shown.
fn cut(message: &str) -> String {
    const MOST: usize = 4096;

    if message.len() <= MOST {
        return escape(message).into_owned();
    }
    let end = (0..=MOST).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
    format!("{} ... ({} more bytes)", escape(&message[..end]), message.len() - end)
}

/// The place of a panic or of a call as `file:line:column`.
pub(crate) fn place(file: &str, line: u32, column: u32) -> String {
    format!("{}:{line}:{column}", relative(file))
}

/// Shows a path below the current directory from there, as the user writes it.
fn relative(path: &str) -> String {
    let relative_path = || {
        let below = Path::new(path).is_absolute().then(env::current_dir)?.ok()?;
        Some(Path::new(path).strip_prefix(below).ok()?.to_string_lossy().into_owned())
    };
    relative_path().unwrap_or_else(|| path.strip_prefix("./").unwrap_or(path).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, file: &str) -> Frame {
        let file = Some(file).filter(|file| !file.is_empty());
        Frame::new(function, file.map(Path::new), file.map(|_| 23), file.map(|_| 5))
    }

    fn frames_of(all: Vec<Frame>) -> Frames {
        Frames::new(all, Part::Job)
    }

    fn names(frames: &[Frame]) -> Vec<&str> {
        frames.iter().map(Frame::function).collect()
    }

    const REPORT: Report<'static> = Report {
        worker: "PoolWorker-1",
        item: Some(0),
        verb: "panicked",
        place: "at examples/trace.rs:23:5",
        message: "attempt to divide by zero",
        method: "pool_map",
        label: None,
        site: "examples/trace.rs:31:10",
        caller: Some("main"),
    };

    fn frames() -> Frames {
        frames_of(vec![
            frame("pool_map::panic::on_panic", "src/panic.rs"),
            frame("std::sys::backtrace::__rust_end_short_backtrace::<!>", "/rustc/0/library/std/src/panicking.rs"),
            frame("__rustc::rust_begin_unwind", "/rustc/0/library/std/src/panicking.rs"),
            frame("core::panicking::panic_fmt", "/rustc/0/library/core/src/panicking.rs"),
            frame("trace::divide", "examples/trace.rs"),
            frame("trace::main::{{closure}}", "examples/trace.rs"),
            frame("pool_map::panic::__rust_begin_short_backtrace", "src/panic.rs"),
            frame("trace::main", "examples/trace.rs"),
            frame("_start", ""),
        ])
    }

    #[test]
    fn a_function_belongs_to_whoever_wrote_the_type_or_the_trait() {
        use CodeOwner::{Runtime, Unknown, User};
        assert_eq!(owner("<T as U>::method"), Unknown);
        assert_eq!(owner("<alloc::vec::Vec<T> as core::ops::drop::Drop>::drop"), Runtime);
        assert_eq!(owner("<alloc::vec::Vec<T> as mine::Sum>::sum"), User);
        assert_eq!(owner("<mine::Item as core::ops::drop::Drop>::drop"), User);
    }

    #[test]
    fn the_type_of_an_impl_may_hold_arrows_and_brackets() {
        assert_eq!(as_impl("<fn(u8) -> Vec<u8> as mine::Go>::go"), Some(("fn(u8) -> Vec<u8>", "mine::Go>::go")));
        assert_eq!(as_impl("<Vec<u8> as mine::Go>::go"), Some(("Vec<u8>", "mine::Go>::go")));
        assert_eq!(as_impl("<mine::Item>::go"), None);
        assert_eq!(as_impl("mine::go"), None);
    }

    #[test]
    fn what_raised_the_panic_is_left_out_and_no_function_of_the_users() {
        let all = [
            frame("__rustc::rust_begin_unwind", "/rustc/0/library/std/src/panicking.rs"),
            frame("core::panicking::panic_fmt", "/rustc/0/library/core/src/panicking.rs"),
            frame("core::result::unwrap_failed", "/rustc/0/library/core/src/result.rs"),
            frame("core::option::expect_fail", "/rustc/0/library/core/src/option.rs"),
            frame("mine::it_failed", "src/main.rs"),
            frame("core::result::unwrap_failed", "/rustc/0/library/core/src/result.rs"),
        ];
        assert_eq!(names(between(&all, Part::Job)), ["mine::it_failed", "core::result::unwrap_failed"]);
        let hooked = [
            frame("pool_map::panic::on_panic", "src/panic.rs"),
            frame("std::sys::backtrace::__rust_end_short_backtrace::<!>", "/rustc/0/library/std/src/panicking.rs"),
            frame("mine::boom", "src/main.rs"),
        ];
        assert_eq!(names(between(&hooked, Part::Job)), ["mine::boom"]);
        let no_failure = [all[0].clone(), frame("core::slice::sort", "/rustc/0/library/core/src/slice/mod.rs")];
        assert_eq!(
            names(between(&no_failure, Part::Job)),
            ["core::slice::sort"],
            "a runtime's function that did not fail"
        );
    }

    #[test]
    fn header() {
        let text = "\
[TRACE:PoolWorker-1] item 0 panicked at examples/trace.rs:23:5: attempt to divide by zero
[TRACE:PoolWorker-1]   in pool_map called at examples/trace.rs:31:10, on thread 'main'
";
        assert_eq!(REPORT.block(&frames(), TraceLevel::Header, Style::Plain), text);
        assert_eq!(REPORT.block(&frames(), TraceLevel::Off, Style::Plain), text);
        assert_eq!(REPORT.block(&Frames::default(), TraceLevel::Short, Style::Plain), text);
        assert_eq!(REPORT.block(&Frames::default(), TraceLevel::Full, Style::Plain), text);
    }

    #[test]
    fn short() {
        let text = "\
[TRACE:PoolWorker-1] item 0 panicked at examples/trace.rs:23:5: attempt to divide by zero
[TRACE:PoolWorker-1]   in pool_map called at examples/trace.rs:31:10, on thread 'main'
[TRACE:PoolWorker-1]   0: trace::divide                 at examples/trace.rs:23:5
[TRACE:PoolWorker-1]   1: trace::main::{{closure}}      at examples/trace.rs:23:5
[TRACE:PoolWorker-1]   + 7 runtime frames (RUST_BACKTRACE=full shows them)
";
        assert_eq!(REPORT.block(&frames(), TraceLevel::Short, Style::Plain), text);
    }

    #[test]
    fn full() {
        let all = vec![frame("std::panicking::begin_panic", ""), frame("app::run", "src/app.rs")];
        let text = "\
[TRACE:PoolWorker-1] item 0 panicked at examples/trace.rs:23:5: attempt to divide by zero
[TRACE:PoolWorker-1]   in pool_map called at examples/trace.rs:31:10, on thread 'main'
[TRACE:PoolWorker-1]   0: std::panicking::begin_panic
[TRACE:PoolWorker-1]   1: app::run      at src/app.rs:23:5
";
        let text = text.replace("app::run      at", &format!("{:<27}      at", "app::run"));
        assert_eq!(REPORT.block(&Frames::new(all, Part::Job), TraceLevel::Full, Style::Plain), text);
    }

    #[test]
    fn colour_changes_nothing_but_the_colour() {
        let frames = frames();
        let coloured = REPORT.block(&frames, TraceLevel::Full, Style::Colour);
        assert!(coloured.lines().all(|line| line.starts_with("\x1b[1;31m[TRACE:PoolWorker-1]\x1b[0m ")));
        assert!(coloured.contains("\x1b[2m  8: _start\x1b[0m\n"), "{coloured}");
        let plain = ["\x1b[1;31m", "\x1b[2m", "\x1b[0m"].iter().fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(plain, REPORT.block(&frames, TraceLevel::Full, Style::Plain));
    }

    #[test]
    fn label_and_no_item() {
        let labelled =
            Report { label: Some("parse"), ..REPORT }.block(&Frames::default(), TraceLevel::Header, Style::Plain);
        assert!(labelled.contains("  in pool_map \"parse\" called at examples/trace.rs:31:10, on"), "{labelled}");

        let traced = Report { item: None, method: "traced", caller: None, ..REPORT };
        let text = "\
[TRACE:PoolWorker-1] panicked at examples/trace.rs:23:5: attempt to divide by zero
[TRACE:PoolWorker-1]   in traced called at examples/trace.rs:31:10
";
        assert_eq!(traced.block(&Frames::default(), TraceLevel::Header, Style::Plain), text);
    }

    #[test]
    fn every_line_of_a_message_is_tagged() {
        let report = Report { message: "numbers\n\n  left: 1\r\n right: 2", ..REPORT };
        let text = "\
[TRACE:PoolWorker-1] item 0 panicked at examples/trace.rs:23:5: numbers
[TRACE:PoolWorker-1]
[TRACE:PoolWorker-1]       left: 1
[TRACE:PoolWorker-1]      right: 2
[TRACE:PoolWorker-1]   in pool_map called at examples/trace.rs:31:10, on thread 'main'
";
        assert_eq!(report.block(&Frames::default(), TraceLevel::Header, Style::Plain), text);
        let line = report.line(LineKind::Caught, Style::Plain);
        assert!(line.ends_with("examples/trace.rs:23:5: numbers\n"), "{line}");
    }

    #[test]
    fn what_would_steer_a_terminal_is_shown_as_what_it_is() {
        let report = Report {
            worker: "w\u{7}\r\n",
            place: "at a\u{1b}[2J.rs:1:1",
            message: "a\rb \u{1b}[31mred\u{9b}0m\u{0}\u{7f}\ttab \u{202e}evil\u{2069}\r\nnext é",
            site: "b\u{8}.rs:2:2",
            caller: Some("c\u{85}"),
            ..REPORT
        };
        let text = "\
[TRACE:w\\u{7}  ] item 0 panicked at a\\u{1b}[2J.rs:1:1: a\\rb \\u{1b}[31mred\\u{9b}0m\\u{0}\\u{7f}\ttab \\u{202e}evil\\u{2069}
[TRACE:w\\u{7}  ]     next é
[TRACE:w\\u{7}  ]   in pool_map called at b\\u{8}.rs:2:2, on thread 'c\\u{85}'
";
        assert_eq!(report.block(&Frames::default(), TraceLevel::Header, Style::Plain), text);
        let line = report.line(LineKind::Caught, Style::Plain);
        assert!(line.chars().all(|c| !c.is_control() || c == '\t' || c == '\n') && line.contains("a\\rb"), "{line}");
        assert!(!escape("\u{2028}\u{61c}\u{200f}").contains(['\u{2028}', '\u{61c}', '\u{200f}']));
        assert_eq!(
            cut(&("x".repeat(4095) + "\u{1b}\u{1b}")),
            format!("{}\\u{{1b}} ... (1 more bytes)", "x".repeat(4095))
        );
    }

    #[test]
    fn lines() {
        let line = |aside| REPORT.line(aside, Style::Plain).replace(": attempt to divide by zero", ": m");
        let tag = "[TRACE:PoolWorker-1]";
        let at = "at examples/trace.rs:23:5: m";
        assert_eq!(line(LineKind::Caught), format!("{tag} item 0: panic caught inside the closure {at}\n"));
        assert_eq!(line(LineKind::Lost), format!("{tag} item 0: panic that did not come out of the closure {at}\n"));
        assert_eq!(line(LineKind::Contained), format!("{tag} item 0: panic in a destructor {at}\n"));
        assert_eq!(line(LineKind::Stopping), format!("{tag}   also panicked while stopping: item 0 {at}\n"));
        let not_reached = "(not reached: the iterator was dropped before it)";
        assert_eq!(line(LineKind::Unreached), format!("{tag} item 0 panicked {at} {not_reached}\n"));
        assert_eq!(more("w", 3, "panics", Style::Plain), "[TRACE:w]   + 3 more panics\n");
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        assert_eq!(cut(&"x".repeat(4096)).len(), 4096);
        assert_eq!(cut(&"x".repeat(5000)), format!("{} ... (904 more bytes)", "x".repeat(4096)));
        assert_eq!(cut(&"€".repeat(2000)), format!("{} ... (1905 more bytes)", "€".repeat(1365)));
    }

    #[test]
    fn whose_frame_it_is() {
        let table = [
            ("app::main::{{closure}}", "src/main.rs", false),
            ("app::main::{{closure}}", "", false),
            ("standard::run", "", false),
            ("<app::Sum as core::ops::arith::Add>::add", "", false),
            ("<alloc::vec::Vec<T> as app::Parse>::parse", "", false),
            ("<F as app::Visit>::visit", "", false),
            ("<&mut app::Deep<std::io::Empty>>::read", "", false),
            ("compute", "src/ffi.rs", false),
            ("{closure#0}<app::main::{closure_env#0}>", "src/main.rs", false),
            ("compute", "", true),
            ("clone3", "", true),
            ("main", "", true),
            ("core::ops::function::FnOnce::call_once", "src/main.rs", true),
            ("<app::main::{closure#0} as core::ops::function::FnOnce<()>>::call_once", "", true),
            ("<F as pool_map::star::StarFn<(A, B), R>>::call", "", true),
            ("<app::main::{closure#0} as pool_map::star::StarFn<(A,), R>>::call", "", true),
            ("<core::iter::adapters::map::Map<app::It, fn() -> app::R> as core::iter::Iterator>::fold", "", true),
            ("<[app::Item]>::sort", "", false),
            ("rayon_core::join::join_context", "", true),
            ("crossbeam_deque::deque::Stealer<T>::steal", "", true),
            ("call_once<fn() -> app::R, ()>", "/rustc/0/library/core/src/ops/function.rs", true),
            ("serde_json::from_str", "/home/me/.cargo/registry/src/index-1/serde_json-1.0.0/src/de.rs", true),
            ("fold<u8>", "C:\\rust\\lib\\rustlib\\src\\rust\\library\\core\\src\\iter.rs", true),
            ("{closure#0}", concat!(env!("CARGO_MANIFEST_DIR"), "/src/map.rs"), true),
            ("find_inner", "/rust/deps/hashbrown-0.16.1/src/raw.rs", true),
            ("from_str", "/usr/share/cargo/registry/serde_json-1.0.140/src/de.rs", true),
        ];
        for (function, file, is_runtime) in table {
            assert_eq!(frame(function, file).is_runtime, is_runtime, "{function} in {file:?}");
        }
    }

    #[test]
    fn the_standard_library_of_a_distribution_is_not_the_users() {
        let library = [
            "/usr/src/rustc-1.85.1/library/core/src/ops/function.rs",
            "/usr/src/rustc-1.85.1/vendor/hashbrown-0.15.2/src/map.rs",
            "/builddir/build/BUILD/rustc-1.85.1-src/library/core/src/ops/function.rs",
            "/usr/src/debug/rust-1.85.1-1.fc42.x86_64/rustc-1.85.1-src/library/core/src/ops/function.rs",
            "/usr/src/debug/rust/rustc-1.85.1-src/library/core/src/ops/function.rs",
            "/home/buildozer/aports/main/rust/src/rustc-1.85.1-src/library/core/src/ops/function.rs",
            "/var/tmp/portage/dev-lang/rust-1.85.1/work/rustc-1.85.1-src/library/core/src/ops/function.rs",
            "/wrkdirs/usr/ports/lang/rust/work/rustc-1.85.1-src/library/core/src/ops/function.rs",
            "/private/tmp/rust-20250402-1/rustc-1.85.1-src/library/core/src/ops/function.rs",
            "C:\\M\\mingw-w64-rust\\src\\rustc-1.85.1-src\\library\\core\\src\\ops\\function.rs",
            "/build/rustc-beta-src/library/core/src/ops/function.rs",
            "/usr/lib/rustlib/src/rust/library/core/src/ops/function.rs",
        ];
        for file in library {
            assert!(frame("call_once<fn() -> app::R, ()>", file).is_runtime, "{file}");
        }
        let users = [
            "/home/me/rustc-tools/library/src/lib.rs",
            "/home/me/rustc-1.85.1-demo/src/library/main.rs",
            "/home/me/library/src/rustc-1.rs",
            "/usr/src/app/library/src/lib.rs",
        ];
        for file in users {
            assert!(!frame("compute<u8>", file).is_runtime, "{file}");
        }
    }

    #[test]
    fn a_panic_during_a_panic_is_cut_at_its_own_machinery() {
        let stack = frames_of(vec![
            frame("std::sys::backtrace::__rust_end_short_backtrace::<!>", ""),
            frame("std::panicking::begin_panic", ""),
            frame("app::Bomb::drop", "src/app.rs"),
            frame("std::sys::backtrace::__rust_end_short_backtrace::<!>", ""),
            frame("__rustc::rust_begin_unwind", ""),
            frame("app::run", "src/app.rs"),
            frame("pool_map::panic::__rust_begin_short_backtrace", ""),
            frame("app::main", "src/app.rs"),
        ]);
        assert_eq!(names(stack.user()), ["app::Bomb::drop", "app::run"]);
    }

    #[test]
    fn a_part_that_rayon_has_run_ends_at_rayons_job() {
        let all = || {
            vec![
                frame("__rustc::rust_begin_unwind", ""),
                frame("app::part", "src/app.rs"),
                frame("<rayon_core::job::StackJob<L,F,R> as rayon_core::job::Job>::execute", ""),
                frame("app::waits", "src/app.rs"),
                frame("pool_map::panics::catch::__rust_begin_short_backtrace", ""),
                frame("app::main", "src/app.rs"),
            ]
        };
        assert_eq!(names(Frames::new(all(), Part::RayonJob).user()), ["app::part"]);
        assert_eq!(names(Frames::new(all(), Part::Job).user()), ["app::part", "app::waits"]);
    }

    #[test]
    fn without_frames_of_the_user_what_is_between_is_shown() {
        let stack = frames_of(vec![
            frame("__rustc::rust_begin_unwind", ""),
            frame("core::panicking::panic_fmt", ""),
            frame("core::option::unwrap_failed", ""),
            frame("core::slice::sort::stable::drift::sort", ""),
            frame("pool_map::panic::__rust_begin_short_backtrace", ""),
            frame("pool_map::panic::run_job", ""),
        ]);
        assert_eq!(names(stack.user()), ["core::slice::sort::stable::drift::sort"]);
    }

    #[test]
    fn a_stripped_program_shows_no_frames() {
        let stack = frames_of(vec![frame("_Unwind_Backtrace", ""), frame("start_thread", "")]);
        assert_eq!(stack.all, []);
        assert_eq!(stack.user(), []);
    }

    #[test]
    fn inlined_names_are_written_like_the_others() {
        assert_eq!(plain_name("{closure#0}<app::main::{closure_env#0}>"), "{{closure}}");
        assert_eq!(plain_name("{closure#12}"), "{{closure}}");
        assert_eq!(plain_name("call_once<fn() -> app::R, ()>"), "call_once");
        assert_eq!(plain_name("<app::Sum as core::ops::Add>::add"), "<app::Sum as core::ops::Add>::add");
        assert_eq!(plain_name("app::parse::<u8>"), "app::parse::<u8>");
    }

    #[test]
    fn frames_print_as_one_line() {
        let absolute = env::current_dir().expect("a current directory").join("src").join("app.rs");
        let frame = frame("app::run", &absolute.to_string_lossy());
        assert_eq!(frame.to_string(), format!("app::run at {}:23:5", Path::new("src").join("app.rs").display()));
        assert_eq!((frame.function(), frame.line()), ("app::run", Some(23)));
        assert_eq!(Frame::new("app::run", None, None, None).to_string(), "app::run");
        assert_eq!(place("./src/app.rs", 1, 2), "src/app.rs:1:2");
    }

    #[test]
    fn the_level_follows_the_variable() {
        let level = |value: &str| TraceLevel::from_variable(Some(OsStr::new(value)));
        assert_eq!(TraceLevel::from_variable(None), &TraceLevel::Short);
        assert_eq!([level("0"), level("full")], [&TraceLevel::Header, &TraceLevel::Full]);
        assert_eq!([level("1"), level("")], [&TraceLevel::Short; 2]);
    }

    #[test]
    fn colour_follows_the_variables() {
        type Case<'a> = (&'a [(&'a str, &'a str)], bool, Style);
        let table: [Case<'_>; 9] = [
            (&[], true, Style::Colour),
            (&[], false, Style::Plain),
            (&[("NO_COLOR", "1")], true, Style::Plain),
            (&[("NO_COLOR", "")], true, Style::Colour),
            (&[("TERM", "dumb")], true, Style::Plain),
            (&[("CLICOLOR_FORCE", "1")], false, Style::Colour),
            (&[("FORCE_COLOR", "0")], false, Style::Plain),
            (&[("FORCE_COLOR", "3"), ("TERM", "dumb")], false, Style::Colour),
            (&[("FORCE_COLOR", "1"), ("NO_COLOR", "1")], true, Style::Plain),
        ];
        for (variables, terminal, style) in table {
            let variable =
                |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(Style::choose(variable, || terminal), style, "{variables:?}");
        }
    }
}
