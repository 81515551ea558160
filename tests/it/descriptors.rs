//! For tests of what happens where no file can be opened.

/// Takes all descriptors that this process may have. They are free again when what this returns is dropped.
#[allow(unsafe_code)]
pub(crate) fn take_all_descriptors() -> Vec<std::fs::File> {
    let few = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    // SAFETY: `few` is a limit as the function wants it.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const few) }, 0);
    std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect()
}
