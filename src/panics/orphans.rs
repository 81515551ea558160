//! Panics in rayon's jobs on top of jobs of ours, as long as nobody has raised them.
//!
//! They may belong to another job of the same call, which then claims them. When no job of the call runs any more, those that
//! nobody has claimed get a line of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::base::fork::is_forked;

use super::sighting::Sighting;
use super::text::LINES;

/// One for each call.
#[derive(Default)]
pub(super) struct Orphans {
    /// How many jobs of the call are running.
    jobs: AtomicUsize,
    /// Whether there are lines, to save the lock where there are none.
    has_lines: AtomicBool,
    /// The line that each sighting gets if nobody claims it.
    lines: Mutex<Vec<(Arc<Sighting>, String)>>,
}

impl Orphans {
    /// A job of the call begins.
    pub(super) fn enter(&self) {
        self.jobs.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps a line, or gives it back where there are many already.
    pub(super) fn keep(&self, sighting: &Arc<Sighting>, line: String) -> Option<String> {
        // In a forked child, a thread that is not there may hold the lock.
        if is_forked() {
            return Some(line);
        }
        let mut lines = self.lines.lock();
        if lines.len() == LINES {
            return Some(line);
        }
        lines.push((Arc::clone(sighting), line));
        self.has_lines.store(true, Ordering::Relaxed);
        None
    }

    /// A job of the call ends. If it was the last one that ran, returns the lines about what nobody has claimed.
    pub(super) fn leave(&self) -> Vec<String> {
        let is_last = self.jobs.fetch_sub(1, Ordering::AcqRel) == 1;
        if !is_last || !self.has_lines.load(Ordering::Relaxed) || is_forked() {
            return Vec::new();
        }
        let mut lines = self.lines.lock();
        self.has_lines.store(false, Ordering::Relaxed);
        lines.drain(..).filter(|(sighting, _)| !sighting.was_claimed()).map(|(_, line)| line).collect()
    }
}

impl std::fmt::Debug for Orphans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Orphans").finish_non_exhaustive()
    }
}
