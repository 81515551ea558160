//! [`TraceSink`]: where traces go.

use crate::base::unwind::quietly;

use super::logger;

/// Where traces go besides the program's logger, which gets them all where the feature `log` is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TraceSink {
    #[default]
    Stderr,
    /// Nowhere, unless there is no logger that takes them.
    #[cfg_attr(not(feature = "log"), expect(dead_code, reason = "chosen by a method that comes with the feature"))]
    OnlyLogger,
}

impl TraceSink {
    /// Gives text to the logger and, unless that is to be enough, to standard error by `print`.
    pub(super) fn write(self, text: &str, print: impl FnOnce(&str)) {
        // A logger is the user's, and `eprint!` panics where standard error is closed.
        let logged = quietly(|| logger::error(text)).unwrap_or(false);
        if self == TraceSink::Stderr || !logged {
            quietly(|| print(text));
        }
    }
}
