//! The engine as a loadable extension of any SQLite: `.load libcrsql_sync sqlite3_crsqlite_init`.
//!
//! The extension contains no SQLite. It calls its host's, through the table of functions that the host hands over.
//! Newer versions of SQLite append to that table, and rusqlite's bindings refuse a host that is older than they are,
//! since they would read past its end. The engine needs none of the newer functions, so the bindings are given a copy:
//! what the host's version really has, and nothing behind it.
//!
//! The entry point promises: a host that is too old, or a database that the engine does not know, is refused with a
//! message and left as it was; no panic leaves it; the library stays loaded until the process ends, since the engine
//! is called until the last connection is closed.

use std::ffi::{CStr, c_char, c_int};
use std::mem::offset_of;
use std::panic::catch_unwind;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};

use rusqlite::ffi::{self, sqlite3_api_routines as Routines};
use rusqlite::{Connection, Error};

use crate::crr::Engine;

/// The oldest host: 3.38 has STRICT tables, `RETURNING`, and all functions that rusqlite and the engine call.
const OLDEST: c_int = 3_038_000;

/// The host's version, once its functions are in use.
static HOST_VERSION: AtomicI32 = AtomicI32::new(0);

/// The address of the host's table, once it is in use. There is one a process: the bindings hold one set of functions.
static HOST: Mutex<Option<usize>> = Mutex::new(None);

/// The entry point, under the name that cr-sqlite gives it.
///
/// # Safety
/// To be called by SQLite: `db` is an open connection of the SQLite that `api` belongs to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_crsqlite_init(
    db: *mut ffi::sqlite3,
    message: *mut *mut c_char,
    api: *mut Routines,
) -> c_int {
    // SAFETY: the caller's promise.
    catch_unwind(|| unsafe { load(db, message, api) }).unwrap_or(ffi::SQLITE_INTERNAL)
}

/// The same entry point under the name that SQLite tries first, so that it need not be named.
///
/// # Safety
/// As of [`sqlite3_crsqlite_init`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_extension_init(
    db: *mut ffi::sqlite3,
    message: *mut *mut c_char,
    api: *mut Routines,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { sqlite3_crsqlite_init(db, message, api) }
}

/// # Safety
/// As of [`sqlite3_crsqlite_init`].
unsafe fn load(db: *mut ffi::sqlite3, message: *mut *mut c_char, api: *mut Routines) -> c_int {
    // SAFETY: the caller's promise.
    if let Err(reason) = unsafe { connect(api) } {
        // SAFETY: as above; SQLite takes the text over.
        unsafe { refuse(message, api, reason) };
        return ffi::SQLITE_ERROR;
    }
    // SAFETY: the functions of `db` are connected, and SQLite keeps it open for as long as it calls the engine.
    let installed = unsafe { Connection::from_handle(db) }.and_then(|conn| {
        Engine::install(&conn).map_err(|error| match error {
            crate::crr::Error::Sqlite(error) => error,
            other => Error::UserFunctionError(Box::new(other)),
        })
    });
    match installed {
        Ok(_) => ffi::SQLITE_OK_LOAD_PERMANENTLY,
        // SAFETY: SQLite frees the text.
        Err(error) => unsafe { rusqlite::to_sqlite_error(&error, message) },
    }
}

/// Connects rusqlite with the host's functions.
///
/// # Safety
/// `api` is null or the table of a SQLite that stays loaded.
unsafe fn connect(api: *mut Routines) -> Result<(), &'static CStr> {
    // SAFETY: the caller's promise; the first functions of the table are there since SQLite 3.
    let version = unsafe { api.as_ref() }.and_then(|api| api.libversion_number).map(|version| unsafe { version() });
    let end = version.and_then(end_of_table).ok_or(c"crsql-sync needs SQLite 3.38 or newer")?;
    let mut host = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    match *host {
        None => {}
        Some(known) if known == api as usize => return Ok(()),
        Some(_) => return Err(c"crsql-sync is in use by another copy of SQLite in this process"),
    }
    // SAFETY: all fields are functions or none, and none is zero.
    let mut known: Routines = unsafe { std::mem::zeroed() };
    // SAFETY: a host of this version has the fields before `end`, and so has `known`.
    unsafe { ptr::copy_nonoverlapping(api.cast::<u8>(), (&raw mut known).cast::<u8>(), end) };
    known.libversion_number = Some(version_of_bindings_or_host);
    // SAFETY: the table is read during the call only.
    unsafe { ffi::rusqlite_extension_init2(&raw mut known) }.map_err(|_| c"crsql-sync cannot use this SQLite")?;
    HOST_VERSION.store(version.unwrap_or_default(), Ordering::Release);
    *host = Some(api as usize);
    Ok(())
}

/// Satisfies the bindings' check of the version, and tells the truth afterwards.
unsafe extern "C" fn version_of_bindings_or_host() -> c_int {
    match HOST_VERSION.load(Ordering::Acquire) {
        0 => ffi::SQLITE_VERSION_NUMBER,
        host => host,
    }
}

/// How many bytes of the table a SQLite of `version` has, by the comments in its header `sqlite3ext.h`; `None` for one
/// that is too old.
fn end_of_table(version: c_int) -> Option<usize> {
    // The first field that came with a version.
    let added = [
        (3_039_000, offset_of!(Routines, deserialize)),
        (3_040_000, offset_of!(Routines, value_encoding)),
        (3_041_000, offset_of!(Routines, is_interrupted)),
        (3_043_000, offset_of!(Routines, stmt_explain)),
        (3_044_000, offset_of!(Routines, get_clientdata)),
        (3_050_000, offset_of!(Routines, setlk_timeout)),
        (3_051_000, offset_of!(Routines, set_errmsg)),
        (3_052_000, offset_of!(Routines, str_truncate)),
        (3_054_000, offset_of!(Routines, incomplete)),
    ];
    let missing = added.into_iter().find(|(since, _)| version < *since);
    (version >= OLDEST).then(|| missing.map_or(size_of::<Routines>(), |(_, field)| field))
}

/// Leaves a message for SQLite while rusqlite cannot: in memory of the host.
///
/// # Safety
/// `message` and `api` are what SQLite passed.
unsafe fn refuse(message: *mut *mut c_char, api: *const Routines, reason: &CStr) {
    let bytes = reason.to_bytes_with_nul();
    // SAFETY: the caller's promise.
    let Some(malloc) = unsafe { api.as_ref() }.and_then(|api| api.malloc) else {
        return;
    };
    if message.is_null() {
        return;
    }
    // SAFETY: the memory is as long as the text, unless there was none.
    unsafe {
        let text = malloc(bytes.len() as c_int).cast::<c_char>();
        if !text.is_null() {
            ptr::copy_nonoverlapping(bytes.as_ptr().cast(), text, bytes.len());
            *message = text;
        }
    }
}
