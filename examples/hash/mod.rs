//! The job that two examples share.

use sha2::{Digest, Sha256};
use std::io::{self, Read};

/// Reads in blocks, so a large file takes no more memory than a small one.
pub(crate) fn sha256(mut file: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut file, &mut hasher)?;
    Ok(format!("{:x}", hasher.finalize()))
}
