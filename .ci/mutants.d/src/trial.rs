//! Runs of tests under the number of a change: the quickest that come to its place first, until one fails or hangs.

use crate::Result;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// Tests that take longer than this by themselves are left out, but for the unit tests of the changed file.
const LONGEST: Duration = Duration::from_secs(5);

/// What the tests for one change may take together, one after the other and without it.
const TOGETHER: Duration = Duration::from_secs(60);

/// A test hangs that takes longer than this, and than three times what it takes without a change.
const PATIENCE: Duration = Duration::from_secs(10);

pub enum Outcome {
    Passed,
    /// No test comes to its place.
    Unreached,
    /// The first test that failed, or how the process ended.
    Failed(String),
    /// The tests among which one does not end.
    Hung(String),
}

pub struct Test {
    binary: String,
    name: String,
    takes: Duration,
    /// The changes whose places it comes to.
    reached: BTreeSet<usize>,
}

/// Runs every test by itself and without a change, notes how long it takes and where it comes to, and leaves out those that
/// do not pass. The quickest is first.
pub fn survey(binaries: &[String]) -> Result<Vec<Test>> {
    let mut tests = Vec::new();
    let places = format!("{}/places", std::env::current_dir()?.display());
    for binary in binaries {
        let list = Command::new(binary).args(["--list", "--format", "terse"]).stderr(Stdio::null()).output()?;
        for name in String::from_utf8(list.stdout)?.lines().filter_map(|line| line.strip_suffix(": test")) {
            let mut test =
                Test { binary: binary.clone(), name: name.into(), takes: Duration::ZERO, reached: BTreeSet::new() };
            fs::write(&places, "")?;
            let started = Instant::now();
            let outcome = run(&[&test], "POOL_MAP_PLACES", &places)?;
            test.takes = started.elapsed();
            let text = String::from_utf8_lossy(&fs::read(&places)?).into_owned();
            test.reached = text.lines().filter_map(|line| line.parse().ok()).collect();
            match outcome {
                Outcome::Passed => tests.push(test),
                _ => eprintln!("left out, does not pass without a change: {name}"),
            }
        }
    }
    tests.sort_by_key(|test| test.takes);
    Ok(tests)
}

/// What becomes of the tests under this number. One that fails has to fail again by itself, and to pass without the change:
/// a busy machine makes some fail that are not to blame.
pub fn judge(tests: &[Test], number: usize, file: &str) -> Result<Outcome> {
    let module = file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
    let own = format!("{module}::tests::");
    let reaches = |test: &&Test| test.reached.contains(&number);
    let (mut left, others): (Vec<&Test>, Vec<&Test>) =
        tests.iter().filter(reaches).partition(|test| test.name.starts_with(&own));
    let mut sum: Duration = left.iter().map(|test| test.takes).sum();
    left.extend(others.into_iter().filter(|test| test.takes <= LONGEST).take_while(|test| {
        sum += test.takes;
        sum <= TOGETHER
    }));
    left.sort_by_key(|test| test.takes);
    if left.is_empty() {
        return Ok(Outcome::Unreached);
    }
    let number = number.to_string();
    let mut enough = Duration::from_millis(200);
    while let Some(first) = left.first() {
        // Most changes are caught by the first few tests, so each batch is larger than the one before.
        let (binary, mut sum) = (&first.binary, Duration::ZERO);
        let (batch, rest): (Vec<&Test>, Vec<&Test>) = left.iter().partition(|test| {
            let is_in = test.binary == *binary && sum < enough;
            sum += if is_in { test.takes } else { Duration::ZERO };
            is_in
        });
        match run(&batch, "POOL_MAP_MUTATION", &number)? {
            Outcome::Passed => (left, enough) = (rest, enough * 3),
            Outcome::Failed(name) => {
                let Some(failed) = batch.iter().copied().find(|test| test.name == name) else {
                    return Ok(Outcome::Failed(name)); // All tests of the process have ended with it.
                };
                let again = !matches!(run(&[failed], "POOL_MAP_MUTATION", &number)?, Outcome::Passed);
                if again && matches!(run(&[failed], "POOL_MAP_MUTATION", "none")?, Outcome::Passed) {
                    return Ok(Outcome::Failed(name));
                }
                left.retain(|test| test.name != name);
            }
            hung => return Ok(hung),
        }
    }
    Ok(Outcome::Passed)
}

/// Runs tests of one binary in one process, with a variable in its environment.
fn run(tests: &[&Test], variable: &str, value: &str) -> Result<Outcome> {
    let patience = tests.iter().map(|test| 3 * test.takes).max().unwrap_or_default().max(PATIENCE);
    let mut command = Command::new("sh");
    // A change may well ask for all memory there is.
    command.args(["-c", "ulimit -v 12000000; exec \"$0\" \"$@\"", &tests[0].binary, "--exact"]);
    command.args(tests.iter().map(|test| &test.name)).env(variable, value);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn()?;
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || output.split(b'\n').map_while(Result::ok).try_for_each(|line| sender.send(line)));

    loop {
        // Second by second, so that a machine that sleeps meanwhile is not taken for a test that hangs.
        let tick = || lines.recv_timeout(Duration::from_secs(1));
        let ticks = (0..patience.as_secs()).map(|_| tick()).find(|line| *line != Err(RecvTimeoutError::Timeout));
        let line = match ticks {
            Some(Ok(line)) => String::from_utf8_lossy(&line).into_owned(),
            None => {
                kill(&mut child)?;
                let names: Vec<&str> = tests.iter().take(3).map(|test| &*test.name).collect();
                return Ok(Outcome::Hung(format!("{} of {}", tests.len(), names.join(" "))));
            }
            Some(Err(_)) => break,
        };
        let Some((name, end)) = line.strip_prefix("test ").and_then(|line| line.rsplit_once(" ... ")) else { continue };
        if end == "FAILED" {
            kill(&mut child)?;
            return Ok(Outcome::Failed(name.trim_end_matches(" - should panic").to_owned()));
        }
    }
    let status = child.wait()?;
    kill(&mut child)?;
    Ok(if status.success() { Outcome::Passed } else { Outcome::Failed(format!("{status}")) })
}

/// Ends the process and all that it has started.
fn kill(child: &mut Child) -> Result<()> {
    let group = format!("-{}", child.id());
    Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status()?;
    child.wait()?;
    Ok(())
}
