//! `sha256sum [--workers N] FILE…`, like that of coreutils. Without FILE the names come from standard input, one a line.
mod hash;
#[path = "hash/lines.rs"]
mod lines;

use hash::sha256;
use lines::{complaint, line};
use pool_map::PoolIterator;
use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::num::NonZeroUsize;
use std::{env, fs::File, io, process, thread};

fn main() {
    let mut names: Vec<OsString> = env::args_os().skip(1).collect();
    let mut workers = thread::available_parallelism().map_or(1, usize::from);
    if names.first().is_some_and(|name| name == "--workers") {
        let Some(number) = names.get(1).and_then(|number| number.to_str()?.parse::<NonZeroUsize>().ok()) else {
            eprintln!("sha256sum: --workers needs a number, 1 or more");
            process::exit(2);
        };
        workers = number.get();
        names.drain(..2);
    }
    let listed = names.is_empty(); // Standard input holds the names then, and the file `-` is empty.
    let lines = listed.then(|| io::stdin().lock().split(b'\n')).into_iter().flatten();
    let names = names.into_iter().chain(lines.map(|line| lines::name(line.expect("readable input"))));
    let hash = |name: OsString| match name.as_encoded_bytes() {
        b"-" => (if listed { sha256(io::empty()) } else { sha256(io::stdin().lock()) }, name),
        _ => (File::open(&name).and_then(sha256), name),
    };
    let mut status = 0;
    // `for_each` rather than `for`: it prints while the workers go on.
    names.pool_map(workers, hash).for_each(|(hash, name)| {
        match hash.map(|hash| io::stdout().write_all(&line(&hash, name.as_encoded_bytes()))) {
            Ok(Ok(())) => {}
            Ok(Err(closed)) if closed.kind() == io::ErrorKind::BrokenPipe => process::exit(141),
            Ok(Err(why)) => panic!("write error: {why}"),
            Err(why) => {
                eprint!("{}", complaint(name.as_encoded_bytes(), &why));
                status = 1;
            }
        }
    });
    process::exit(status);
}
