//! The stack of a panic. The only file that names the `backtrace` crate.
//!
//! It is walked while the panic is raised, and what stands on it is looked up only when somebody asks. Without the feature
//! `backtrace` a stack has no frames, as in a program that was stripped of its names.

use std::collections::HashMap;

use once_cell::sync::{Lazy, OnceCell};
use parking_lot::Mutex;

use crate::base::fork::is_forked;

use super::text::{Frame, Frames, JOB_MARKER, Part, RAYON_JOB};
use walk::Walk;

pub(super) struct Stack {
    /// Unresolved.
    walk: Walk,
    frames: OnceCell<Frames>,
}

impl Stack {
    /// The stack of this thread.
    pub(super) fn here() -> Stack {
        Stack { walk: Walk::here(), frames: OnceCell::new() }
    }

    /// The frames, looked up on first use. Only one part is ever asked for.
    pub(super) fn frames(&self, part: Part) -> &Frames {
        self.frames.get_or_init(|| {
            let mut frames = Vec::new();
            self.walk.each_symbol(|name, file, line, column| frames.push(Frame::new(name, file, line, column)));
            Frames::new(frames, part)
        })
    }

    /// Whether the panic was raised in a job of rayon's, on top of the job of ours that the thread was running: while that one
    /// waits in rayon it may run parts of another's. `None` in a program without names.
    pub(super) fn is_in_a_rayon_job(&self) -> Option<bool> {
        self.walk.addresses().map(landmark).find_map(|landmark| match landmark {
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
fn landmark(address: usize) -> Landmark {
    static KNOWN: Lazy<Mutex<HashMap<usize, Landmark>>> = Lazy::new(Mutex::default);

    if is_forked() {
        return look_up(address);
    }
    if let Some(known) = KNOWN.lock().get(&address) {
        return *known;
    }
    let landmark = look_up(address);
    KNOWN.lock().insert(address, landmark);
    landmark
}

fn look_up(address: usize) -> Landmark {
    let mut landmark = Landmark::None;
    walk::each_name(address, |name| {
        if name.contains(JOB_MARKER) {
            landmark = Landmark::OurJob;
        } else if RAYON_JOB.iter().all(|part| name.contains(part)) {
            landmark = Landmark::RayonJob;
        }
    });
    landmark
}

/// The way down a stack, by the `backtrace` crate.
#[cfg(feature = "backtrace")]
mod walk {
    use std::path::Path;

    use backtrace::{Backtrace, BacktraceFrame};

    pub(super) struct Walk(Backtrace);

    impl Walk {
        pub(super) fn here() -> Walk {
            Walk(Backtrace::new_unresolved())
        }

        /// Where each frame has stopped, innermost first.
        pub(super) fn addresses(&self) -> impl Iterator<Item = usize> {
            self.0.frames().iter().map(|frame| frame.ip() as usize)
        }

        /// Looks up the name, the file, the line and the column of each function. One without a name says nothing to anybody.
        pub(super) fn each_symbol(&self, mut f: impl FnMut(&str, Option<&Path>, Option<u32>, Option<u32>)) {
            let mut stack = self.0.clone();
            stack.resolve();
            for symbol in stack.frames().iter().flat_map(BacktraceFrame::symbols) {
                if let Some(name) = symbol.name() {
                    f(&format!("{name:#}"), symbol.filename(), symbol.lineno(), symbol.colno());
                }
            }
        }
    }

    /// Looks up the names of the functions at an address: those that were inlined there, too.
    pub(super) fn each_name(address: usize, mut f: impl FnMut(&str)) {
        backtrace::resolve(address as *mut _, |symbol| {
            f(&symbol.name().map_or_else(String::new, |name| format!("{name:#}")));
        });
    }
}

/// A stack without frames.
#[cfg(not(feature = "backtrace"))]
mod walk {
    use std::path::Path;

    pub(super) struct Walk;

    impl Walk {
        pub(super) fn here() -> Walk {
            Walk
        }

        #[allow(clippy::unused_self, reason = "as with the feature")]
        pub(super) fn addresses(&self) -> impl Iterator<Item = usize> {
            std::iter::empty()
        }

        #[allow(clippy::unused_self, reason = "as with the feature")]
        pub(super) fn each_symbol(&self, _: impl FnMut(&str, Option<&Path>, Option<u32>, Option<u32>)) {}
    }

    pub(super) fn each_name(_: usize, _: impl FnMut(&str)) {}
}
