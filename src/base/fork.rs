//! Whether this process is the child of a `fork`.
//!
//! In such a child no thread of the parent runs, and a lock that one of them held at the fork is never released. So this
//! is asked before any lock is taken.

/// The process that asked first. Forked children of it are recognised from then on.
#[derive(Debug)]
pub(crate) struct Home(#[cfg(unix)] std::sync::atomic::AtomicU32);

impl Home {
    pub(crate) const fn unknown() -> Home {
        Home(
            #[cfg(unix)]
            std::sync::atomic::AtomicU32::new(0),
        )
    }

    /// Whether this process is the home. The first question makes it so.
    #[cfg(unix)]
    pub(crate) fn is_here(&self) -> bool {
        use std::sync::atomic::Ordering;

        let here = std::process::id();
        match self.0.compare_exchange(0, here, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => true,
            Err(home) => home == here,
        }
    }

    /// Other systems have no `fork`.
    #[cfg(not(unix))]
    #[expect(clippy::unused_self, reason = "as on Unix")]
    pub(crate) fn is_here(&self) -> bool {
        true
    }
}

/// The process that used pools first.
static HOME: Home = Home::unknown();

/// Whether this process was forked from one that had used pools. The first question makes this process the home of them.
pub(crate) fn is_forked() -> bool {
    !HOME.is_here()
}
