//! What lets a test wait for an event in place of a time, and ends it if the event never comes.

use std::io::Write;
use std::panic::Location;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;
use std::{process, thread};

/// Closed at first; once open, it stays open.
#[derive(Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    /// Returns once the gate is open.
    pub(crate) fn wait(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_while(open, |open| !*open).unwrap_or_else(PoisonError::into_inner));
    }
}

/// While it lives, its test has one minute.
pub(crate) struct Watch {
    /// Dropped to tell the watchdog that the test is over.
    _over: Sender<()>,
}

/// Aborts the process, saying which test it was, unless what this returns is dropped within a minute.
#[track_caller]
pub(crate) fn watch() -> Watch {
    let place = Location::caller();
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let (sender, over) = mpsc::channel();
    thread::spawn(move || {
        if over.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
            // Past the harness, which would keep it to itself and die with it.
            let _ = writeln!(std::io::stderr(), "{test} ({place}) hangs");
            process::abort();
        }
    });
    Watch { _over: sender }
}

/// What a panic was raised with, if it was text.
pub(crate) fn text(payload: &(dyn std::any::Any + Send)) -> &str {
    let string = payload.downcast_ref::<String>().map(String::as_str);
    string.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("not text")
}
