//! Writing to standard output and standard error past the locks of std, which a caller may hold.

use crate::base::fork::is_forked;
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use std::io::{self, Write};

/// Writes whole lines to standard output, past its lock and its buffer where the system allows that.
pub(crate) fn write_stdout(lines: &str) {
    /// `None` where standard output was closed.
    static STDOUT: OnceCell<Option<Duplicate>> = OnceCell::new();
    write_whole(STDOUT.get_or_init(|| duplicate(io::stdout())).as_ref(), lines);
}

/// Writes whole lines to standard error, past its lock and past what collects the output of tests.
pub(crate) fn write_stderr(lines: &str) {
    write_whole(duplicate(io::stderr()).as_ref(), lines);
}

/// One write of all lines, or as many as the system makes of it, with no other line of ours in between. Errors have nowhere
/// to go.
fn write_whole<W>(out: Option<&W>, lines: &str)
where
    for<'a> &'a W: Write,
{
    /// Taken for nothing but the write below, so it is no lock that a user can hold.
    static WRITING: Mutex<()> = Mutex::new(());
    // In a forked child a thread that is not there may hold it.
    let _guard = if is_forked() { None } else { Some(WRITING.lock()) };
    if let Some(mut out) = out {
        let _ = out.write_all(lines.as_bytes());
    }
}

/// What is written to in place of the stream, past its lock where that can be had.
#[cfg(unix)]
type Duplicate = std::fs::File;
#[cfg(not(unix))]
type Duplicate = io::Stdout;

/// A file of its own on the same descriptor, free of the lock and the buffer of `stream`.
#[cfg(unix)]
fn duplicate(stream: impl std::os::fd::AsFd) -> Option<std::fs::File> {
    stream.as_fd().try_clone_to_owned().ok().map(Into::into)
}

/// Elsewhere the stream itself is all there is, with its lock.
#[cfg(not(unix))]
fn duplicate<S: Write>(stream: S) -> Option<S> {
    Some(stream)
}
