//! Lines as the `sha256sum` of coreutils writes them.

use std::{io, slice};

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
