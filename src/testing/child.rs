//! Tests that need a process of their own: they run this test program again, for themselves alone.

use std::any::type_name;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::{env, process};

/// Set in the child to the name of its test.
const IN_CHILD: &str = "POOL_MAP_TEST_CHILD";

/// Runs `body` in a child process, and returns how that ended: with 0, unless `body` panics or ends it.
#[allow(dead_code, reason = "the unit tests share this file with the integration tests, and use some of it")]
pub(crate) fn run(body: impl FnOnce()) -> Output {
    Child::new().run(body)
}

/// The same for a child that must end with 0.
#[track_caller]
pub(crate) fn succeeds(body: impl FnOnce()) -> Output {
    Child::new().succeeds(body)
}

/// A child process with an environment variable.
pub(crate) fn with_env<'a>(name: &'a str, value: &'a str) -> Child<'a> {
    Child::new().with_env(name, value)
}

/// A child process with its output captured by the test harness.
#[allow(dead_code, reason = "as above")]
pub(crate) fn captured<'a>() -> Child<'a> {
    Child { is_captured: true, ..Child::new() }
}

/// The full name of the test that a closure is written in, as the harness knows it.
pub(crate) fn test_of<F>(_: &F) -> &'static str {
    // The program, then the test, then a part for each closure around this one.
    let (_, path) = type_name::<F>().split_once("::").expect("the path of a closure");
    path.split("::{{closure}}").next().expect("the first of the parts")
}

/// How a child process is started. `RUST_BACKTRACE` is not set there, unless asked for.
#[must_use]
pub(crate) struct Child<'a> {
    variables: Vec<(&'a str, &'a str)>,
    is_captured: bool,
    shell: Option<String>,
    program: Option<PathBuf>,
}

#[allow(dead_code, reason = "as above")]
impl<'a> Child<'a> {
    pub(crate) fn new() -> Child<'a> {
        Child { variables: Vec::new(), is_captured: false, shell: None, program: None }
    }

    pub(crate) fn with_env(mut self, name: &'a str, value: &'a str) -> Child<'a> {
        self.variables.push((name, value));
        self
    }

    /// Started by `sh`, with these redirections and without core files.
    pub(crate) fn redirected(mut self, redirections: &str) -> Child<'a> {
        self.shell = Some(format!("ulimit -c 0; exec \"$@\" {redirections}"));
        self
    }

    /// With another copy of the test program.
    pub(crate) fn of_program(mut self, program: PathBuf) -> Child<'a> {
        self.program = Some(program);
        self
    }

    /// See [`run`].
    pub(crate) fn run<F: FnOnce()>(self, body: F) -> Output {
        self.run_as(test_of(&body), body)
    }

    /// See [`succeeds`].
    #[track_caller]
    pub(crate) fn succeeds(self, body: impl FnOnce()) -> Output {
        let output = self.run(body);
        assert!(output.status.success(), "{output:?}");
        output
    }

    /// Like [`run`](Child::run), for a `body` that is not written in the test itself.
    pub(crate) fn run_as(self, test: &str, body: impl FnOnce()) -> Output {
        if let Some(name) = env::var_os(IN_CHILD) {
            assert!(name == *test, "{test} was run as the child of {name:?}");
            // Ends the line in which the harness names the test.
            println!();
            body();
            process::exit(0);
        }
        let program = self.program.unwrap_or_else(|| env::current_exe().expect("a test knows its program"));
        let mut command = match self.shell {
            None => Command::new(program),
            Some(shell) => {
                let mut command = Command::new("sh");
                command.args(["-c", &shell, "sh"]).arg(program);
                command
            }
        };
        command.args(["--exact", test, "--test-threads=1"]);
        if !self.is_captured {
            command.arg("--nocapture");
        }
        for name in ["RUST_BACKTRACE", "CLICOLOR_FORCE", "FORCE_COLOR"] {
            command.env_remove(name);
        }
        let output = command.env(IN_CHILD, test).envs(self.variables).stdin(Stdio::null()).output().expect("it starts");
        // The harness says so before the test begins. A name that no test has would be a success.
        assert!(output.stdout.starts_with(b"\nrunning 1 test\n"), "there is no test {test}: {output:?}");
        output
    }
}
