//! One run of the tests, under one number: over at the first test that fails, or when none ends for too long.

use crate::Result;
use std::env;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

pub enum Outcome {
    Passed,
    /// The first test that failed, or how the process ended.
    Failed(String),
    /// The test that ended last.
    Hung(String),
}

struct Trial {
    outcome: Outcome,
    /// The longest time in which no test ended.
    pause: Duration,
}

/// How long no test may end: from a run without a change, which has to pass.
pub fn baseline(binaries: &[String]) -> Result<Duration> {
    let started = Instant::now();
    let trial = run(binaries, None, Duration::from_secs(600))?;
    match trial.outcome {
        Outcome::Passed => {
            eprintln!("one run of the tests: {} s", started.elapsed().as_secs());
            Ok((3 * trial.pause).max(Duration::from_secs(20)))
        }
        Outcome::Failed(test) | Outcome::Hung(test) => Err(format!("without any change: {test}").into()),
    }
}

/// Runs the tests under a number. One that fails has to fail again, alone or in a second run of all: a busy machine makes some
/// fail that are not to blame.
pub fn judge(binaries: &[String], number: usize, patience: Duration) -> Result<Outcome> {
    let test = match run(binaries, Some(number), patience)?.outcome {
        Outcome::Failed(test) => test,
        outcome => return Ok(outcome),
    };
    for binary in binaries {
        let again = run_one(binary, &["--exact", &test], Some(number), patience)?;
        if !matches!(again.outcome, Outcome::Passed) {
            return Ok(Outcome::Failed(test));
        }
    }
    Ok(run(binaries, Some(number), patience)?.outcome)
}

/// The quick tests of all binaries first, then the slow ones in the opposite order. A test is slow if its name has one of the
/// words in `SLOW`.
fn run(binaries: &[String], number: Option<usize>, patience: Duration) -> Result<Trial> {
    let slow = env::var("SLOW").unwrap_or_default();
    let slow: Vec<&str> = slow.split_whitespace().collect();
    let but_slow: Vec<&str> = slow.iter().flat_map(|word| ["--skip", word]).collect();
    let quick = binaries.iter().map(|binary| (binary, &but_slow));
    let slow = binaries.iter().rev().map(|binary| (binary, &slow)).filter(|(_, words)| !words.is_empty());
    let mut longest = Duration::ZERO;
    for (binary, arguments) in quick.chain(slow) {
        let Trial { outcome, pause } = run_one(binary, arguments, number, patience)?;
        longest = longest.max(pause);
        if !matches!(outcome, Outcome::Passed) {
            return Ok(Trial { outcome, pause: longest });
        }
    }
    Ok(Trial { outcome: Outcome::Passed, pause: longest })
}

fn run_one(binary: &str, arguments: &[&str], number: Option<usize>, patience: Duration) -> Result<Trial> {
    let mut command = Command::new("sh");
    // A change may well ask for all memory there is.
    command.args(["-c", "ulimit -v 12000000; exec \"$0\" \"$@\"", binary]).args(arguments);
    if let Some(number) = number {
        command.env("POOL_MAP_MUTATION", number.to_string());
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn()?;
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || output.split(b'\n').map_while(Result::ok).try_for_each(|line| sender.send(line)));

    let (mut pause, mut last) = (Duration::ZERO, String::from("before the first test"));
    loop {
        let waited = Instant::now();
        // Second by second, so that a machine that sleeps meanwhile is not taken for a test that hangs.
        let tick = || lines.recv_timeout(Duration::from_secs(1));
        let ticks = (0..patience.as_secs()).map(|_| tick()).find(|line| *line != Err(RecvTimeoutError::Timeout));
        let line = match ticks {
            Some(Ok(line)) => String::from_utf8_lossy(&line).into_owned(),
            None => {
                kill(&mut child)?;
                return Ok(Trial { outcome: Outcome::Hung(format!("after {last}")), pause });
            }
            Some(Err(_)) => break,
        };
        pause = pause.max(waited.elapsed());
        let Some((name, end)) = line.strip_prefix("test ").and_then(|line| line.rsplit_once(" ... ")) else { continue };
        if end == "FAILED" {
            kill(&mut child)?;
            return Ok(Trial { outcome: Outcome::Failed(name.to_owned()), pause });
        }
        last = name.to_owned();
    }
    let status = child.wait()?;
    kill(&mut child)?;
    let outcome = if status.success() { Outcome::Passed } else { Outcome::Failed(format!("{status}, after {last}")) };
    Ok(Trial { outcome, pause })
}

/// Ends the process and all that it has started.
fn kill(child: &mut Child) -> Result<()> {
    let group = format!("-{}", child.id());
    Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status()?;
    child.wait()?;
    Ok(())
}
