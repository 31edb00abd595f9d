//! What SQLite may take in this process, all databases together.

use rusqlite::ffi;

/// Has page caches use their own pages again once SQLite has so many bytes.
pub(super) fn limit_caches(bytes: usize) {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    // SAFETY: it sets a number under SQLite's own lock, at any time.
    unsafe { ffi::sqlite3_soft_heap_limit64(bytes) };
}

/// Bounds what SQLite may take in bytes. What would take more fails, and leaves its
/// database as it was; the next call finds what that one gave back.
pub fn limit_memory(bytes: usize) {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    // SAFETY: it sets a number under SQLite's own lock, at any time.
    unsafe { ffi::sqlite3_hard_heap_limit64(bytes) };
}
