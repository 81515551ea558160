//! Tests many small changes of a crate with one build: see `.ci/mutants`, which runs this in the copy to work on.
//!
//! `mutants [unit] FILES…` asks cargo-mutants what to change in these files, builds all changes into the crate, each behind a
//! number ([`weave`]), and then runs, for each number, the tests that come to its place ([`trial`]).

mod trial;
mod weave;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};
use trial::Outcome;
use weave::Mutant;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<ExitCode> {
    let mut files: Vec<String> = env::args().skip(1).collect();
    let only_unit_tests = files.first().is_some_and(|first| first == "unit");
    files.drain(..usize::from(only_unit_tests));
    let mutants = list(&files)?;
    let sources = read_sources(&mutants)?;
    let mut unviable = BTreeSet::new();
    let unreachable: BTreeSet<usize> = loop {
        let left_out = write_woven(&sources, &mutants, &unviable)?;
        let wrong = check()?;
        if wrong.is_empty() {
            break left_out;
        }
        unviable.extend(wrong);
    };
    let binaries = build(only_unit_tests)?;
    let tests = trial::survey(&binaries)?;
    eprintln!("{} tests pass unchanged", tests.len());

    let words: Mutex<BTreeMap<usize, &str>> = Mutex::new(BTreeMap::new());
    let next = AtomicUsize::new(0);
    let judge_all = || -> std::result::Result<(), String> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(mutant) = mutants.get(number) else { return Ok(()) };
            let (word, detail) = if unviable.contains(&number) {
                ("unviable", String::new())
            } else if unreachable.contains(&number) {
                ("not tried", String::new())
            } else {
                match trial::judge(&tests, number, &mutant.file).map_err(|error| error.to_string())? {
                    Outcome::Passed => ("MISSED", String::new()),
                    Outcome::Unreached => ("MISSED", "no test comes there".to_owned()),
                    Outcome::Failed(test) => ("caught", test),
                    Outcome::Hung(tests) => ("hung", tests),
                }
            };
            println!("{word}\t{}\t{detail}", mutant.name);
            words.lock().expect("nobody panics").insert(number, word);
        }
    };
    // One more than cores, since a test that hangs needs none.
    let threads = thread::available_parallelism()?.get() + 1;
    thread::scope(|scope| {
        let judges: Vec<_> = (0..threads).map(|_| scope.spawn(judge_all)).collect();
        judges.into_iter().try_for_each(|judge| judge.join().expect("nobody panics"))
    })?;

    let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (number, word) in words.into_inner()? {
        *counts.entry(&mutants[number].file).or_default().entry(word).or_default() += 1;
    }
    println!("\n| file | caught | hung | missed | unviable | not tried |\n|---|---|---|---|---|---|");
    let mut missed = false;
    for (file, counts) in counts {
        let [caught, hung, lost, unviable, not_tried] =
            ["caught", "hung", "MISSED", "unviable", "not tried"].map(|word| counts.get(word).copied().unwrap_or(0));
        println!("| {file} | {caught} | {hung} | {lost} | {unviable} | {not_tried} |");
        missed |= lost > 0;
    }
    Ok(if missed { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

/// What cargo-mutants would change.
fn list(files: &[String]) -> Result<Vec<Mutant>> {
    let mut command = Command::new("cargo");
    command.args(["mutants", "--list", "--json"]);
    for file in files {
        command.args(["--file", file]);
    }
    let place = |mutant: &Mutant| files.iter().position(|file| *file == mutant.file);
    let output = command.stderr(Stdio::inherit()).output()?;
    let Value::Array(list) = serde_json::from_slice(&output.stdout)? else { return Err("no list".into()) };
    let list = list
        .iter()
        .map(|value| Mutant::read(value).ok_or_else(|| format!("an unknown kind of change: {value}").into()));
    let mut mutants = list.collect::<Result<Vec<Mutant>>>()?;
    mutants.sort_by_key(place);
    Ok(mutants)
}

fn read_sources(mutants: &[Mutant]) -> Result<BTreeMap<String, String>> {
    let names: BTreeSet<&String> = mutants.iter().map(|mutant| &mutant.file).collect();
    names.into_iter().map(|name| Ok((name.clone(), fs::read_to_string(name)?))).collect()
}

/// Writes the sources with all changes in them but for the unviable ones, and returns those that could not be built in.
fn write_woven(
    sources: &BTreeMap<String, String>,
    mutants: &[Mutant],
    unviable: &BTreeSet<usize>,
) -> Result<BTreeSet<usize>> {
    let mut left_out = BTreeSet::new();
    for (name, source) in sources {
        let here: Vec<(usize, &Mutant)> = mutants
            .iter()
            .enumerate()
            .filter(|(number, mutant)| mutant.file == *name && !unviable.contains(number))
            .collect();
        let (text, lost) = weave::weave(source, &here)?;
        left_out.extend(lost);
        fs::write(name, text)?;
    }
    let lib = fs::read_to_string("src/lib.rs")?;
    if !lib.contains(weave::SWITCH) {
        fs::write("src/lib.rs", lib + weave::SWITCH)?;
    }
    Ok(left_out)
}

/// The changes that do not compile.
fn check() -> Result<BTreeSet<usize>> {
    let output = Command::new("cargo")
        .args(["check", "--lib", "--all-features", "--message-format=json", "--quiet"])
        .stderr(Stdio::null())
        .output()?;
    let mut wrong = BTreeSet::new();
    let mut errors = Vec::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let message: Value = serde_json::from_str(line)?;
        let message = &message["message"];
        if message["level"] != "error" || message["spans"].as_array().is_none_or(Vec::is_empty) {
            continue;
        }
        let blamed = blame(message)?;
        if blamed.is_empty() {
            errors.push(message["rendered"].as_str().unwrap_or_default().to_owned());
        }
        wrong.extend(blamed);
    }
    if wrong.is_empty() && !output.status.success() {
        return Err(format!("it does not compile, and no change is to blame:\n{}", errors.concat()).into());
    }
    Ok(wrong)
}

/// The changes on the lines that an error points at: those of its first cause, or else of all its places.
fn blame(message: &Value) -> Result<BTreeSet<usize>> {
    let spans = message["spans"].as_array().expect("an error has places");
    let (primary, others): (Vec<&Value>, Vec<&Value>) = spans.iter().partition(|span| span["is_primary"] == true);
    for spans in [primary, others] {
        let mut found = BTreeSet::new();
        for span in spans {
            let mut span = span;
            // What a macro made is the fault of who called it.
            while !span["expansion"].is_null() {
                span = &span["expansion"]["span"];
            }
            let name = span["file_name"].as_str().unwrap_or_default();
            if !name.starts_with("src/") {
                continue;
            }
            let line = |key: &str| span[key].as_u64().map(|line| usize::try_from(line).expect("a line number"));
            let (first, last) = (line("line_start").unwrap_or(1), line("line_end").unwrap_or(0));
            let text = fs::read_to_string(name)?;
            found.extend(text.lines().take(last).skip(first - 1).filter_map(weave::number_in));
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(BTreeSet::new())
}

/// The binaries of the unit tests and of those in tests/.
fn build(only_unit_tests: bool) -> Result<Vec<String>> {
    let in_tests = ["--test", "it", "--test", "timeline", "--test", "shards"];
    let output = Command::new("cargo")
        .args(["test", "--no-run", "--all-features", "--message-format=json", "--quiet", "--lib"])
        .args(if only_unit_tests { &[][..] } else { &in_tests })
        .stderr(Stdio::null())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let messages = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    if !output.status.success() {
        let errors = messages.iter().filter(|message| message["message"]["level"] == "error");
        return Err(errors.filter_map(|message| message["message"]["rendered"].as_str()).collect::<String>().into());
    }
    let of_tests = messages.iter().filter(|message| message["profile"]["test"] == true);
    Ok(of_tests.filter_map(|message| message["executable"].as_str()).map(str::to_owned).collect())
}
