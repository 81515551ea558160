//! [`PoolError`]: why a pool could not be built.

use std::error::Error;
use std::sync::Arc;
use std::{fmt, io};

/// Why a pool could not be built.
///
/// Its `Display` says what failed. If the system gave a reason, that is the [`source`](Error::source), which `Display` does
/// not repeat.
///
/// # Examples
///
/// ```
/// let error = pool_map::Pool::new(0).unwrap_err();
/// assert_eq!(error.to_string(), "a pool needs at least one worker, got 0");
/// ```
#[derive(Debug)]
pub struct PoolError {
    reason: Reason,
}

#[derive(Debug)]
pub(super) enum Reason {
    NoThreads,
    TooMany {
        threads: usize,
        most: usize,
    },
    NulInName {
        name: Arc<str>,
    },
    /// `number` counts from 1.
    Refused {
        number: usize,
        width: usize,
        error: io::Error,
    },
    OnStart {
        worker: Arc<str>,
        message: String,
    },
    Forked,
}

impl From<Reason> for PoolError {
    fn from(reason: Reason) -> Self {
        PoolError { reason }
    }
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::NoThreads => f.write_str("a pool needs at least one worker, got 0"),
            Reason::TooMany { threads, most } => {
                write!(f, "a pool has at most {most} workers, got {threads}")
            }
            Reason::NulInName { name } => write!(f, "the name of a pool cannot hold a NUL character, got {name:?}"),
            Reason::Refused { number, width, .. } => {
                write!(f, "thread {number} of {width} could not start")
            }
            Reason::OnStart { worker, message } => {
                write!(f, "on_start panicked on {worker}: {message}")
            }
            Reason::Forked => f.write_str("this process was forked from one that had used pools, so it can start none"),
        }
    }
}

impl Error for PoolError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.reason {
            Reason::Refused { error, .. } => Some(error),
            _ => None,
        }
    }
}
