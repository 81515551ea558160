//! Writing to standard output and standard error past the locks of std, which a caller may hold.
//!
//! That takes a duplicate of the descriptor (on Unix) or of the handle (on Windows), and a process may have none left. So one
//! of each is made [early](prepare) and kept. If that failed too, std's own handles write, by a thread that can wait for their
//! locks.

use crate::base::fork::is_forked;
use parking_lot::Mutex;
use std::io::Write;

/// Makes the duplicates that are not there yet, while there are descriptors. A failure is not remembered.
pub(crate) fn prepare() {
    platform::prepare();
}

/// Writes whole lines to standard output, past its lock and its buffer where the system allows that.
///
/// On Unix and Windows it is what was standard output when the first pool or call was made.
pub(crate) fn write_stdout(lines: &str) {
    platform::write_stdout(lines.as_bytes());
}

/// Writes whole lines to standard error, past its lock and past what collects the output of tests.
pub(crate) fn write_stderr(lines: &str) {
    platform::write_stderr(lines.as_bytes());
}

/// One write of all lines, or as many as the system makes of it, with no other line of ours in between. Errors have nowhere
/// to go.
fn write_whole(mut out: impl Write, lines: &[u8]) {
    /// Taken for nothing but the write below, so it is no lock that a user can hold.
    static WRITING: Mutex<()> = Mutex::new(());
    // In a forked child a thread that is not there may hold it.
    let _guard = if is_forked() { None } else { Some(WRITING.lock()) };
    let _ = out.write_all(lines);
}

#[cfg(any(unix, windows))]
mod platform {
    use std::fs::File;
    use std::io::{self, IsTerminal};
    #[cfg(unix)]
    use std::os::fd::AsFd as Stream;
    #[cfg(windows)]
    use std::os::windows::io::AsHandle as Stream;

    use once_cell::race::OnceBox;

    use super::by_std::ByStd;
    use super::write_whole;

    // Of those that never wait: after a fork, the thread that was about to set it may not be in this process.
    static STDOUT: OnceBox<File> = OnceBox::new();
    static STDERR: OnceBox<File> = OnceBox::new();

    pub(super) fn prepare() {
        kept(&STDOUT, io::stdout());
        kept(&STDERR, io::stderr());
    }

    pub(super) fn write_stdout(lines: &[u8]) {
        static BY_STD: ByStd = ByStd::new(|lines| drop(io::Write::write_all(&mut io::stdout(), lines)));

        match kept(&STDOUT, io::stdout()) {
            Some(out) if !needs_std(out, lines) => write_whole(out, lines),
            _ => BY_STD.write(lines),
        }
    }

    pub(super) fn write_stderr(lines: &[u8]) {
        static BY_STD: ByStd = ByStd::new(|lines| drop(io::Write::write_all(&mut io::stderr(), lines)));

        // A new one each time, if possible: standard error may have become another file since.
        match (duplicate(io::stderr()), STDERR.get()) {
            (Some(out), _) if !needs_std(&out, lines) => write_whole(&out, lines),
            (None, Some(out)) if !needs_std(out, lines) => write_whole(out, lines),
            _ => BY_STD.write(lines),
        }
    }

    /// The duplicate that is kept. It is made here if it was not there.
    fn kept(slot: &'static OnceBox<File>, stream: impl Stream) -> Option<&'static File> {
        slot.get_or_try_init(|| duplicate(stream).map(Box::new).ok_or(())).ok()
    }

    /// A file of its own on the same descriptor, free of the lock and the buffer of `stream`.
    #[cfg(unix)]
    fn duplicate(stream: impl Stream) -> Option<File> {
        stream.as_fd().try_clone_to_owned().ok().map(Into::into)
    }

    #[cfg(windows)]
    fn duplicate(stream: impl Stream) -> Option<File> {
        stream.as_handle().try_clone_to_owned().ok().map(Into::into)
    }

    /// Whether a duplicate would not show these lines as they are: a console of Windows takes bytes by its code page, and only
    /// std knows how to give it the characters.
    fn needs_std(out: &File, lines: &[u8]) -> bool {
        cfg!(windows) && !lines.is_ascii() && out.is_terminal()
    }
}

/// Elsewhere the streams themselves are all there is, with their locks.
#[cfg(not(any(unix, windows)))]
mod platform {
    use std::io;

    use super::write_whole;

    pub(super) fn prepare() {}

    pub(super) fn write_stdout(lines: &[u8]) {
        write_whole(io::stdout(), lines);
    }

    pub(super) fn write_stderr(lines: &[u8]) {
        write_whole(io::stderr(), lines);
    }
}

/// The way out where there is no duplicate.
#[cfg(any(unix, windows))]
mod by_std {
    use std::thread;
    use std::time::Duration;

    use parking_lot::{Condvar, Mutex};

    use crate::base::fork::is_forked;

    /// How long a thread waits until its lines are written.
    const PATIENCE: Duration = Duration::from_millis(100);

    /// Writes to a handle of std, whose lock may be held by somebody who waits for the thread that has lines to write.
    ///
    /// So another thread writes. It usually ends within moments. If not, it goes on waiting for the lock, with the lines
    /// that have come since. They are lost where the process ends before, where no thread can be started, and in a forked
    /// child, for which nobody can say who holds the lock.
    pub(super) struct ByStd {
        write: fn(&[u8]),
        state: Mutex<WriterState>,
        /// Notified after each write.
        written: Condvar,
    }

    struct WriterState {
        lines: Vec<u8>,
        /// Whether there is a thread that takes `lines`.
        has_writer: bool,
        /// The bytes that have come and those that were written, ever.
        come: u64,
        written: u64,
    }

    impl ByStd {
        pub(super) const fn new(write: fn(&[u8])) -> ByStd {
            let state = WriterState { lines: Vec::new(), has_writer: false, come: 0, written: 0 };
            ByStd { write, state: Mutex::new(state), written: Condvar::new() }
        }

        pub(super) fn write(&'static self, lines: &[u8]) {
            if is_forked() {
                return;
            }
            let mut state = self.state.lock();
            state.lines.extend(lines);
            state.come += lines.len() as u64;
            let end = state.come;
            if !state.has_writer {
                state.has_writer = thread::Builder::new().stack_size(1 << 16).spawn(|| self.write_all()).is_ok();
            }
            if state.has_writer {
                let is_waiting = |state: &mut WriterState| state.written < end;
                let _ = self.written.wait_while_for(&mut state, is_waiting, PATIENCE);
            }
        }

        /// Writes until there is nothing left.
        fn write_all(&self) {
            let mut state = self.state.lock();
            while !state.lines.is_empty() {
                let lines = std::mem::take(&mut state.lines);
                parking_lot::MutexGuard::unlocked(&mut state, || (self.write)(&lines));
                state.written += lines.len() as u64;
                self.written.notify_all();
            }
            state.has_writer = false;
        }
    }
}
