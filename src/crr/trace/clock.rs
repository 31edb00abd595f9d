//! Where traced queries would learn the time: nowhere. What a query makes of it changes without a write, so no copy could be
//! kept in step with it.

use std::cell::Cell;
use std::ffi::{CStr, c_int};
use std::ptr;
use std::sync::OnceLock;

use rusqlite::{Error, ffi};

/// A file system like the usual one, but that its clock only notes that it was asked.
pub(super) const VFS: &CStr = c"crsql_traced";

thread_local! {
    static WAS_ASKED: Cell<bool> = const { Cell::new(false) };
}

/// Registers [`VFS`].
pub(super) fn register() -> rusqlite::Result<()> {
    static CODE: OnceLock<c_int> = OnceLock::new();
    match *CODE.get_or_init(register_once) {
        ffi::SQLITE_OK => Ok(()),
        code => Err(Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

fn register_once() -> c_int {
    // SAFETY: the default is registered for ever, and its methods find in the copy what they find in it; the copy is never
    // freed.
    unsafe {
        let usual = ffi::sqlite3_vfs_find(ptr::null());
        if usual.is_null() {
            return ffi::SQLITE_ERROR;
        }
        let copy = ffi::sqlite3_vfs {
            pNext: ptr::null_mut(),
            zName: VFS.as_ptr(),
            xCurrentTime: Some(time),
            xCurrentTimeInt64: Some(time_of_two),
            ..*usual
        };
        ffi::sqlite3_vfs_register(Box::into_raw(Box::new(copy)), 0)
    }
}

/// Whether this thread asked for the time since this was asked last.
pub(super) fn was_asked() -> bool {
    WAS_ASKED.replace(false)
}

unsafe extern "C" fn time(_: *mut ffi::sqlite3_vfs, _: *mut f64) -> c_int {
    WAS_ASKED.set(true);
    ffi::SQLITE_ERROR
}

/// The same for VFS of the second version.
unsafe extern "C" fn time_of_two(_: *mut ffi::sqlite3_vfs, _: *mut ffi::sqlite3_int64) -> c_int {
    WAS_ASKED.set(true);
    ffi::SQLITE_ERROR
}
