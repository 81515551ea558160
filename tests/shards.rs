//! The shares of several machines, put together, are the output of one: by plain processes, and by the commands of the page
//! "More than one machine" as they stand there. Those are of Unix.

#![cfg(unix)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, process};

// Every `#[test]` has a time limit.
#[macro_use]
extern crate watched;
#[path = "../src/testing/watch.rs"]
mod watch;

#[path = "../examples/hash/mod.rs"]
mod hash;
#[path = "../examples/hash/lines.rs"]
mod lines;

/// The text of the page.
const PAGE: &str = include_str!("../src/guide/more_machines.rs");

/// A directory with the program and a list of files, some of them missing; removed at the end.
struct Desk(PathBuf);

impl Desk {
    /// `count` names in `names`.
    fn new(name: &str, count: usize) -> Desk {
        let desk = Desk(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("shards-{name}-{}", process::id())));
        fs::create_dir_all(&desk.0).expect("a directory for the test");
        let mut names = Vec::new();
        for index in 0..count {
            let name: &[u8] = [&b"file"[..], b"with space", b"back\\slash", b"return\r", b"\xff"][index % 5];
            let name = [name, format!("-{index}").as_bytes()].concat();
            if index % 13 != 4 {
                fs::write(desk.0.join(OsStr::from_bytes(&name)), vec![b'x'; index * index]).expect("a file");
            }
            names.extend_from_slice(&name);
            names.push(b'\n');
        }
        fs::write(desk.0.join("names"), names).expect("a list");
        // Built with the tests, unless only one of them was asked for.
        let example = env::current_exe().expect("a test knows its binary").with_file_name("../examples/shard");
        assert!(example.exists(), "not there, `cargo build --example shard` makes it: {}", example.display());
        desk.install(&example, "shard");
        desk
    }

    /// Puts a program there, by a process of its own: a file that this one has open for writing cannot be executed for as long as
    /// a process that another test starts in that moment holds a copy of the descriptor.
    fn install(&self, program: &Path, name: &str) {
        let to = self.0.join(name);
        fs::create_dir_all(to.parent().expect("a directory")).expect("a directory for the test");
        let status = Command::new("install").arg(program).arg(to).status().expect("install");
        assert!(status.success(), "{status}");
    }

    /// Puts a script there.
    fn script(&self, text: &str, name: &str) {
        fs::write(self.0.join("script"), text).expect("a file");
        self.install(&self.0.join("script"), name);
    }

    /// What a loop over the list prints.
    fn expected(&self) -> Vec<u8> {
        let names = fs::read(self.0.join("names")).expect("the list");
        let names = names.split_inclusive(|byte| *byte == b'\n').map(|name| &name[..name.len() - 1]);
        let line = |name: &[u8]| match File::open(self.0.join(OsStr::from_bytes(name))).and_then(hash::sha256) {
            Ok(hash) => lines::line(&hash, name),
            Err(why) => {
                assert!(lines::complaint(name, &why).ends_with("No such file or directory\n"));
                Vec::new()
            }
        };
        names.flat_map(line).collect()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts machine `k` of `n`.
    fn start(&self, share: &str) -> process::Child {
        let names = File::open(self.0.join("names")).expect("the list");
        self.command("./shard").args([share, "--workers", "2"]).stdin(names).spawn().expect("a process")
    }

    /// Runs commands of the page, which leave everything in `sums`.
    fn follow(&self, commands: &str) -> (Output, Vec<u8>) {
        // In front of the others: an `ssh` that stays here.
        self.script("#!/bin/sh\nshift\nexec sh -c \"$*\"\n", "bin/ssh");
        let path = format!("{}:{}", self.0.join("bin").display(), env::var("PATH").expect("a path"));
        let output = self.command("bash").env("PATH", path).args(["-c", commands]).output().expect("bash");
        let mut sums = Vec::new();
        let file = File::open(self.0.join("sums")).and_then(|mut file| file.read_to_end(&mut sums));
        file.unwrap_or_else(|why| panic!("no sums: {why}: {output:?}"));
        (output, sums)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// The commands under that heading which make the sums.
fn commands(heading: &str) -> Vec<String> {
    let page = PAGE.lines().map(|line| line.strip_prefix("//!").expect("one comment").trim_start_matches(' '));
    let page: Vec<&str> = page.collect();
    let start = page.iter().position(|line| *line == heading).expect("the heading is there") + 1;
    let section: Vec<&str> = page[start..].iter().take_while(|line| !line.starts_with("# ")).copied().collect();
    let blocks = section.split(|line| line.starts_with("```")).skip(1).step_by(2).map(|block| block.join("\n"));
    blocks.filter(|block| block.contains("> sums")).collect()
}

fn same(ours: &[u8], expected: &[u8]) {
    assert!(ours == expected, "{}\n\n{}", String::from_utf8_lossy(ours), String::from_utf8_lossy(expected));
}

#[test]
fn processes_together_print_what_one_loop_does() {
    let desk = Desk::new("processes", 40);
    for n in [1, 2, 3, 7, 41] {
        let children: Vec<_> = (0..n).map(|k| desk.start(&format!("{k}/{n}"))).collect();
        let outputs: Vec<_> = children.into_iter().map(|child| child.wait_with_output().expect("it ends")).collect();
        let mut parts: Vec<_> =
            outputs.iter().map(|output| output.stdout.split_inclusive(|byte| *byte == b'\n')).collect();
        let joined = (0..n).cycle().map_while(|k| parts[k].next());
        same(&joined.filter(|line| *line != b"\n").collect::<Vec<_>>().concat(), &desk.expected());
        let statuses = outputs.iter().map(|output| output.status.code());
        assert_eq!(statuses.filter(|status| *status == Some(1)).count(), 3.min(n), "4, 17 and 30 are missing");
        assert!(outputs.iter().all(|output| output.status.success() == output.stderr.is_empty()));
    }
}

#[test]
fn no_names_make_no_lines() {
    let desk = Desk::new("nothing", 0);
    for share in ["0/1", "0/3", "2/3"] {
        let output = desk.start(share).wait_with_output().expect("it ends");
        assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn a_share_that_is_none_is_refused() {
    let desk = Desk::new("refused", 1);
    for share in ["3/3", "1", "/", "-1/2", "0/0", "a/b", ""] {
        let output = desk.start(share).wait_with_output().expect("it ends");
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(2), &b""[..]), "{share}");
        assert!(output.stderr.starts_with(b"usage: shard K/N "), "{share}: {output:?}");
    }
}

#[test]
fn the_page_has_commands_for_processes_and_ssh() {
    let desk = Desk::new("page", 40);
    let all = commands("# Processes, here and by ssh");
    assert_eq!(all.len(), 2);
    for commands in all {
        let (output, sums) = desk.follow(&commands);
        same(&sums, &desk.expected());
        assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.lines().all(|line| line.starts_with("sha256sum: ")), "{told}");
    }
}

#[test]
fn the_page_tells_of_a_part_that_is_not_whole() {
    let desk = Desk::new("killed", 10);
    desk.script("#!/bin/sh\n[ $1 != 1/3 ] || kill -9 $$\n", "shard");
    for commands in commands("# Processes, here and by ssh") {
        let (output, _) = desk.follow(&commands);
        assert!(String::from_utf8_lossy(&output.stderr).contains("part 1 is not whole"), "{output:?}");
    }
    if has_parallel() {
        desk.script("#!/bin/sh\n[ $1 != 1/7 ] || kill -9 $$\n", "shard");
        let (output, _) = desk.follow(&commands("# GNU parallel")[0]);
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(told.starts_with("not whole: 2\t") && told.lines().count() == 1, "{output:?}");
    }
}

/// Whether GNU parallel is there. Where `POOL_MAP_NEEDS_PARALLEL` is set, it has to be.
fn has_parallel() -> bool {
    let version = Command::new("parallel").arg("--version").stdin(Stdio::null()).output();
    let found = version.is_ok_and(|output| output.stdout.starts_with(b"GNU parallel"));
    assert!(found || env::var_os("POOL_MAP_NEEDS_PARALLEL").is_none(), "GNU parallel is not installed");
    if !found {
        eprintln!("skipped: GNU parallel is not installed");
    }
    found
}

#[test]
fn the_page_has_commands_for_gnu_parallel() {
    if !has_parallel() {
        return;
    }
    let desk = Desk::new("parallel", 600);
    let all = commands("# GNU parallel");
    assert_eq!(all.len(), 2);
    for commands in all {
        let (output, sums) = desk.follow(&commands);
        same(&sums, &desk.expected());
        assert!(output.stdout.is_empty(), "a part is not whole: {output:?}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.lines().all(|line| line.starts_with("sha256sum: ")), "{told}");
    }
}
