//! The stack of a panic. The only file that names the `backtrace` crate.
//!
//! It is walked while the panic is raised, and what stands on it is looked up only when somebody asks.

use std::collections::HashMap;

use backtrace::{Backtrace, BacktraceFrame};
use once_cell::sync::{Lazy, OnceCell};
use parking_lot::Mutex;

use crate::base::fork::is_forked;

use super::text::{Frame, Frames, JOB_MARKER, Part, RAYON_JOB};

pub(super) struct Stack {
    /// Unresolved.
    trace: Backtrace,
    frames: OnceCell<Frames>,
}

impl Stack {
    /// The stack of this thread.
    pub(super) fn here() -> Stack {
        Stack { trace: Backtrace::new_unresolved(), frames: OnceCell::new() }
    }

    /// The frames, looked up on first use. Only one part is ever asked for.
    pub(super) fn frames(&self, part: Part) -> &Frames {
        self.frames.get_or_init(|| Frames::new(resolve(&self.trace), part))
    }

    /// Whether the panic was raised in a job of rayon's, on top of the job of ours that the thread was running: while that one
    /// waits in rayon it may run parts of another's. `None` in a program without names.
    pub(super) fn is_in_a_rayon_job(&self) -> Option<bool> {
        let landmarks = self.trace.frames().iter().map(landmark);
        landmarks.into_iter().find_map(|landmark| match landmark {
            Landmark::RayonJob => Some(true),
            Landmark::OurJob => Some(false),
            Landmark::None => None,
        })
    }
}

/// What a frame says about where the panic belongs.
#[derive(Clone, Copy)]
enum Landmark {
    None,
    OurJob,
    RayonJob,
}

/// Remembers what it has looked up: it is asked about every panic that did not end its job, and those are often the same.
fn landmark(frame: &BacktraceFrame) -> Landmark {
    static KNOWN: Lazy<Mutex<HashMap<usize, Landmark>>> = Lazy::new(Mutex::default);

    let address = frame.ip() as usize;
    if is_forked() {
        return look_up(frame);
    }
    if let Some(known) = KNOWN.lock().get(&address) {
        return *known;
    }
    let landmark = look_up(frame);
    KNOWN.lock().insert(address, landmark);
    landmark
}

fn look_up(frame: &BacktraceFrame) -> Landmark {
    let mut landmark = Landmark::None;
    backtrace::resolve(frame.ip(), |symbol| {
        let name = symbol.name().map_or_else(String::new, |name| format!("{name:#}"));
        if name.contains(JOB_MARKER) {
            landmark = Landmark::OurJob;
        } else if RAYON_JOB.iter().all(|part| name.contains(part)) {
            landmark = Landmark::RayonJob;
        }
    });
    landmark
}

/// Looks up the names and lines of a stack.
fn resolve(stack: &Backtrace) -> Vec<Frame> {
    let mut stack = stack.clone();
    stack.resolve();
    // A frame without a name says nothing to anybody.
    let named = stack.frames().iter().flat_map(BacktraceFrame::symbols).filter_map(|symbol| {
        let name = format!("{:#}", symbol.name()?);
        Some(Frame::new(&name, symbol.filename(), symbol.lineno(), symbol.colno()))
    });
    named.collect()
}
