//! Gives back to the system what was freed.

/// glibc keeps what many threads freed, in pieces here and there: without this, a server that closed five hundred databases
/// still has all that they took.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn trim() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // SAFETY: glibc has this function, which may be called by any thread at any time.
    unsafe { malloc_trim(0) };
}

/// Other allocators give it back by themselves, or not at all.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn trim() {}
