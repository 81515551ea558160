//! What a test wrote to standard error, run again in a process of its own.

use std::env;
use std::io::Read;
use std::path::Path;
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const NAME: &str = "POOL_MAP_SEEN";

/// What became of a child.
pub(crate) struct Seen {
    pub(crate) status: ExitStatus,
    /// Standard error, with `N` for what changes from build to build.
    pub(crate) stderr: String,
}

impl Seen {
    #[track_caller]
    pub(crate) fn succeeded(&self) {
        assert!(self.status.success(), "{}\n{}", self.status, self.stderr);
    }

    #[track_caller]
    pub(crate) fn is(&self, stderr: &str) {
        self.succeeded();
        assert_eq!(self.stderr, stderr);
        assert!(stderr.lines().all(|line| line.starts_with("[TRACE:")));
    }

    /// How often `text` stands in the output.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.stderr.matches(text).count()
    }
}

/// Runs `body` in a child, which is this test once more. `test` is the full name of the test that calls.
#[track_caller]
pub(crate) fn child(test: &str, body: impl FnOnce()) -> Seen {
    child_with(test, "", body)
}

/// The same with a redirection of the shell.
#[track_caller]
pub(crate) fn child_with(test: &str, redirection: &str, body: impl FnOnce()) -> Seen {
    if env::var_os(NAME).is_some_and(|name| name == test) {
        body();
        process::exit(0);
    }
    // A child that runs no test at all succeeds, too. (Some harnesses run a test on the main thread.)
    let here = thread::current();
    assert!(here.name().is_none_or(|name| name == test || name == "main"), "{test} is not the name of this test");
    again(&env::current_exe().expect("a path"), test, redirection)
}

/// Runs `test` of the test program `exe`, as a child.
pub(crate) fn again(exe: &Path, test: &str, redirection: &str) -> Seen {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -c 0; exec \"$@\" {redirection}"), "sh"]);
    command.arg(exe).args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(NAME, test);
    let seen = run(command);
    // Some versions of libtest run a single test on the main thread, others on a thread with its name.
    Seen { stderr: seen.stderr.replace(&format!("'{test}'"), "'main'"), ..seen }
}

/// Runs a command to its end, and not for ever.
pub(crate) fn run(mut command: Command) -> Seen {
    for name in ["RUST_BACKTRACE", "CLICOLOR_FORCE", "FORCE_COLOR"] {
        command.env_remove(name);
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a child");
    let mut pipe = child.stderr.take().expect("a pipe");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.read_to_end(&mut bytes).map(|_| bytes);
        let _ = sender.send(read);
    });
    let Ok(read) = receiver.recv_timeout(Duration::from_secs(60)) else {
        let _ = child.kill();
        panic!("the child hangs");
    };
    let stderr = String::from_utf8(read.expect("standard error")).expect("text");
    Seen { status: child.wait().expect("a status"), stderr: normal(&stderr) }
}

/// Writes `N` for the numbers that change with every edit and every build.
fn normal(text: &str) -> String {
    let text = hide(text, "told.rs:", ":");
    let text = hide(&text, "told.rs:N:", "");
    hide(&text, "  + ", " runtime frame")
}

/// Replaces each number between `before` and `after`.
fn hide(text: &str, before: &str, after: &str) -> String {
    let mut parts = text.split(before);
    let mut hidden = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|character: char| character.is_ascii_digit());
        hidden += before;
        if rest.starts_with(after) {
            hidden += "N";
            hidden += rest;
        } else {
            hidden += part;
        }
    }
    hidden
}
