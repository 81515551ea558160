//! `sha256sum [--workers N] FILE…`, like that of coreutils. Without FILE the names come from standard input, one a line.
mod hash;

use hash::sha256;
use pool_map::PoolIterator;
use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::{env, fs::File, io, process, slice, thread};

/// One line; a name that would break it is escaped, and a backslash in front says so.
fn print(hash: &str, name: &[u8]) -> io::Result<()> {
    let escaped = name.iter().flat_map(|byte| match byte {
        b'\\' => br"\\",
        b'\n' => br"\n",
        b'\r' => br"\r",
        byte => slice::from_ref(byte),
    });
    let escaped: Vec<u8> = escaped.copied().collect();
    let mark: &[u8] = if escaped.len() > name.len() { br"\" } else { b"" };
    io::stdout().write_all(&[mark, hash.as_bytes(), b"  ", &escaped, b"\n"].concat())
}

/// Says `name: why`, the name in quotes where a shell would need them; gives the status to end with.
fn complain(name: &str, why: &io::Error) -> i32 {
    let odd = name.starts_with(['#', '~']) || name.contains(|c| " !\"$&'()*:;<=>?[\\^`|".contains(c));
    let quoted = if odd || name.is_empty() { format!("'{}'", name.replace('\'', r"'\''")) } else { name.to_owned() };
    eprintln!("sha256sum: {quoted}: {}", why.to_string().split(" (os error").next().unwrap_or_default());
    1
}

fn main() {
    let mut names: Vec<OsString> = env::args_os().skip(1).collect();
    let mut workers = thread::available_parallelism().map_or(1, usize::from);
    if names.first().is_some_and(|name| name == "--workers") {
        workers = names.drain(..2).nth(1).and_then(|number| number.to_str()?.parse().ok()).expect("a number");
    }
    let listed = names.is_empty(); // Standard input holds the names then, and the file `-` is empty.
    let lines = listed.then(|| io::stdin().lock().split(b'\n')).into_iter().flatten();
    let names = names.into_iter().chain(lines.map(|line| OsString::from_vec(line.expect("readable input"))));
    let hash = |name: OsString| match name.as_bytes() {
        b"-" => (if listed { sha256(io::empty()) } else { sha256(io::stdin().lock()) }, name),
        _ => (File::open(&name).and_then(sha256), name),
    };
    let mut status = 0;
    // `for_each` rather than `for`: it prints while the workers go on.
    names.pool_map(workers, hash).for_each(|(hash, name)| match hash.map(|hash| print(&hash, name.as_bytes())) {
        Ok(Ok(())) => {}
        Ok(Err(closed)) if closed.kind() == io::ErrorKind::BrokenPipe => process::exit(141),
        Ok(Err(why)) => panic!("write error: {why}"),
        Err(why) => status = complain(&name.to_string_lossy(), &why),
    });
    process::exit(status);
}
