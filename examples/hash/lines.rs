//! Lines as the `sha256sum` of coreutils writes them.

use std::{ffi::OsString, io, slice};

/// The name in a line of input: on Unix any bytes; elsewhere text, in a line that may end in a carriage return as well.
#[allow(dead_code, reason = "tests/shards.rs uses the rest")]
pub(crate) fn name(line: Vec<u8>) -> OsString {
    #[cfg(unix)]
    {
        std::os::unix::ffi::OsStringExt::from_vec(line)
    }
    #[cfg(not(unix))]
    {
        String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(&line)).into_owned().into()
    }
}

/// `HASH  NAME`; a name that would break the line is escaped, and a backslash in front says so.
pub(crate) fn line(hash: &str, name: &[u8]) -> Vec<u8> {
    let escaped = name.iter().flat_map(|byte| match byte {
        b'\\' => br"\\",
        b'\n' => br"\n",
        b'\r' => br"\r",
        byte => slice::from_ref(byte),
    });
    let escaped: Vec<u8> = escaped.copied().collect();
    let mark: &[u8] = if escaped.len() > name.len() { br"\" } else { b"" };
    [mark, hash.as_bytes(), b"  ", &escaped, b"\n"].concat()
}

/// `sha256sum: NAME: WHY`, the name in quotes where a shell would need them. The newline is in it, so that it is one write, and
/// lines of several processes do not mix.
pub(crate) fn complaint(name: &[u8], why: &io::Error) -> String {
    let name = String::from_utf8_lossy(name);
    let odd = name.starts_with(['#', '~']) || name.contains(|c| " !\"$&'()*:;<=>?[\\^`|".contains(c));
    let quoted = if odd || name.is_empty() { format!("'{}'", name.replace('\'', r"'\''")) } else { name.into_owned() };
    format!("sha256sum: {quoted}: {}\n", why.to_string().split(" (os error").next().unwrap_or_default())
}
