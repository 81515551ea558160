//! The program's own logger: the only file that names `log`.

/// Hands a trace to the logger as an error; false if there is none that would take it, or no feature `log`.
#[cfg(feature = "log")]
pub(crate) fn error(text: &str) -> bool {
    let takes = log::log_enabled!(target: "pool_map", log::Level::Error);
    if takes {
        log::error!(target: "pool_map", "{}", plain(text).trim_end());
    }
    takes
}

#[cfg(not(feature = "log"))]
pub(crate) fn error(_: &str) -> bool {
    false
}

/// The text without the colours of a terminal, which a log file has no use for.
#[cfg(feature = "log")]
fn plain(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |plain, piece| plain + piece.split_once('m').map_or(piece, |(_, rest)| rest))
}

#[cfg(all(test, feature = "log"))]
mod tests {
    #[test]
    fn colours_are_left_out() {
        assert_eq!(super::plain("\x1b[31m[TRACE:m]\x1b[0m boom"), "[TRACE:m] boom");
    }
}
