//! What a test wrote to standard error, run again in a process of its own.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::child::{Child, test_of};

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

/// Runs `body` in a child process: see [`child::run`](crate::child::run).
pub(crate) fn child(body: impl FnOnce()) -> Seen {
    child_with("", body)
}

/// The same with redirections of the shell.
pub(crate) fn child_with(redirections: &str, body: impl FnOnce()) -> Seen {
    seen(test_of(&body), Child::new().redirected(redirections), body)
}

/// The same with another copy of the test program.
pub(crate) fn child_of(program: PathBuf, body: impl FnOnce()) -> Seen {
    seen(test_of(&body), Child::new().redirected("").of_program(program), body)
}

/// The same for a `body` that is not written in the test itself.
pub(crate) fn child_as(test: &str, body: impl FnOnce()) -> Seen {
    seen(test, Child::new().redirected(""), body)
}

fn seen(test: &str, child: Child<'_>, body: impl FnOnce()) -> Seen {
    let Output { status, stderr, .. } = child.run_as(test, body);
    let stderr = normal(&String::from_utf8(stderr).expect("text"));
    // Some versions of libtest run a single test on the main thread, others on a thread with its name.
    Seen { status, stderr: stderr.replace(&format!("'{test}'"), "'main'") }
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
