//! `shard K/N [--workers W]`: machine K of N of a `sha256sum` whose names come from standard input, one a line.
//!
//! It takes every N-th name from the K-th on, counted from 0, and prints one line for each: that of `sha256sum`, or an empty one
//! for a file that cannot be read. The outputs of all N, line by line in turn and without the empty lines, are those of one
//! machine; the page "More than one machine" of the documentation has the commands.
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

/// The two numbers of `K/N`, if they are two and K is below N.
fn shard(text: &str) -> Option<(usize, usize)> {
    let (k, n) = text.split_once('/')?;
    let (k, n) = (k.parse().ok()?, n.parse().ok()?);
    (k < n).then_some((k, n))
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let parsed = match &arguments[..] {
        [part] => shard(part).zip(Some(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))),
        [part, option, workers] if option == "--workers" => shard(part).zip(workers.parse().ok()),
        _ => None,
    };
    let Some(((k, n), workers)) = parsed else {
        eprintln!("usage: shard K/N [--workers W] < NAMES, with K from 0 to N - 1");
        process::exit(2);
    };

    let names = io::stdin().lock().split(b'\n').map(|name| lines::name(name.expect("readable input")));
    let hash = |name: OsString| match File::open(&name).and_then(sha256) {
        Ok(hash) => Ok(line(&hash, name.as_encoded_bytes())),
        Err(why) => Err(complaint(name.as_encoded_bytes(), &why)),
    };
    let mut status = 0;
    names.skip(k).step_by(n).pool_map(workers, hash).for_each(|result| {
        let line = result.unwrap_or_else(|complaint| {
            eprint!("{complaint}");
            status = 1;
            b"\n".to_vec() // Every item has a line, or those after it would move up.
        });
        match io::stdout().write_all(&line) {
            Ok(()) => {}
            Err(closed) if closed.kind() == io::ErrorKind::BrokenPipe => process::exit(141),
            Err(why) => panic!("write error: {why}"),
        }
    });
    process::exit(status);
}
