//! The time on a core, as Linux counts it.

use std::{fs, process};

/// How long the threads of this process but this one have been on a core, in milliseconds. Linux only.
pub(crate) fn cpu_time() -> Option<f64> {
    let main = process::id().to_string();
    let mut total = 0.0;
    for thread in fs::read_dir("/proc/self/task").ok()? {
        let thread = thread.ok()?;
        if thread.file_name() == *main {
            continue;
        }
        let times = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanoseconds: f64 = times.split(' ').next()?.parse().ok()?;
        total += nanoseconds / 1e6;
    }
    Some(total)
}
