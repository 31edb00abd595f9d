//! The binary's own SQLite in a build with the feature `loadable-extension`.
//!
//! In such a build rusqlite calls SQLite through the table of functions that the host of an extension hands over, and
//! panics as long as it has none. The binary has no host; `build.rs` links it a SQLite, and this takes the table of it.

use std::ffi::{c_char, c_int};
use std::ptr;

use rusqlite::ffi;

type Init = unsafe extern "C" fn(*mut ffi::sqlite3, *mut *mut c_char, *const ffi::sqlite3_api_routines) -> c_int;

// Those of the linked library; the functions of the same names in `ffi` go through the table.
unsafe extern "C" {
    fn sqlite3_auto_extension(init: Option<Init>) -> c_int;
    fn sqlite3_cancel_auto_extension(init: Option<Init>) -> c_int;
    fn sqlite3_open(path: *const c_char, db: *mut *mut ffi::sqlite3) -> c_int;
    fn sqlite3_close(db: *mut ffi::sqlite3) -> c_int;
}

/// SQLite hands its table of functions to an *automatic extension* at the next open.
unsafe extern "C" fn take(_: *mut ffi::sqlite3, _: *mut *mut c_char, api: *const ffi::sqlite3_api_routines) -> c_int {
    // SAFETY: SQLite passes its table, of the version that rusqlite's bindings are of, and it is only read.
    match unsafe { ffi::rusqlite_extension_init2(api.cast_mut()) } {
        Ok(()) => ffi::SQLITE_OK,
        Err(_) => ffi::SQLITE_ERROR,
    }
}

/// Connects rusqlite with the linked SQLite. To be called before anything else; says whether it worked.
pub(crate) fn connect() -> bool {
    let mut db = ptr::null_mut();
    // SAFETY: `take` is an entry point of an extension, the path ends in NUL, and the handle is closed once, also after
    // a failed open, as SQLite asks for.
    unsafe {
        sqlite3_auto_extension(Some(take));
        let opened = sqlite3_open(c":memory:".as_ptr(), &raw mut db);
        sqlite3_close(db);
        sqlite3_cancel_auto_extension(Some(take));
        opened == ffi::SQLITE_OK
    }
}
