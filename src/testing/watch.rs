//! A time limit for each test, set by the `#[test]` of `tests/watched`.

use std::io::Write;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;
use std::{io, process, thread};

/// While it lives, its test is watched.
pub(crate) struct Watch {
    /// Dropped to tell the watchdog that the test is over.
    _over: Sender<()>,
}

/// Aborts the process with the name of the test, unless what this returns is dropped within so many minutes.
pub(crate) fn watch(test: &'static str, minutes: u64) -> Watch {
    // Wine takes its time over panics and locks.
    let minutes = if cfg!(windows) { 10 * minutes } else { minutes };
    let (sender, over) = mpsc::channel();
    let watchdog = move || {
        if over.recv_timeout(Duration::from_secs(60 * minutes)) == Err(RecvTimeoutError::Timeout) {
            // Past the harness, which would keep it to itself and die with it.
            let _ = writeln!(io::stderr(), "{test} hangs");
            process::abort();
        }
    };
    // A stack of a stated size, since some tests make the default too large on purpose.
    thread::Builder::new().stack_size(1 << 16).spawn(watchdog).expect("one small thread");
    Watch { _over: sender }
}
