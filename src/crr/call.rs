//! Values and outcomes of functions and virtual tables as SQLite hands them over, where rusqlite has no way or only a long
//! one.

use std::ffi::c_int;

use rusqlite::types::ValueRef;
use rusqlite::{Error as SqlError, ffi};

use super::error::to_sql_error;
use super::{Error, Result};

/// The arguments of a call.
pub(super) struct Arguments<'a>(&'a [*mut ffi::sqlite3_value]);

impl<'a> Arguments<'a> {
    /// # Safety
    /// `argc` and `argv` must be what SQLite passed to the call that is under way, for `'a`.
    pub(super) unsafe fn new(argc: c_int, argv: *mut *mut ffi::sqlite3_value) -> Self {
        match usize::try_from(argc) {
            // SAFETY: the caller answers for it.
            Ok(count) if count > 0 => Self(unsafe { std::slice::from_raw_parts(argv, count) }),
            _ => Self(&[]),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The argument at a place; NULL where there is none.
    pub(super) fn get(&self, at: usize) -> ValueRef<'a> {
        // SAFETY: it is one of SQLite's, and lives as long as the call.
        self.0.get(at).map_or(ValueRef::Null, |value| unsafe { value_ref(*value) })
    }

    pub(super) fn integer(&self, at: usize) -> Result<i64> {
        match self.get(at) {
            ValueRef::Integer(value) => Ok(value),
            _ => Err(Error::Corrupt("a trigger calls with other arguments than it was made with")),
        }
    }
}

/// # Safety
/// `value` must be one of SQLite's that lives, and is not converted, for `'a`.
pub(super) unsafe fn value_ref<'a>(value: *mut ffi::sqlite3_value) -> ValueRef<'a> {
    // SAFETY: the caller answers for the value; the lengths are those that SQLite tells, after it was asked for the bytes.
    unsafe {
        let bytes = |start: *const u8| match usize::try_from(ffi::sqlite3_value_bytes(value)) {
            Ok(length) if length > 0 && !start.is_null() => std::slice::from_raw_parts(start, length),
            _ => &[][..],
        };
        match ffi::sqlite3_value_type(value) {
            ffi::SQLITE_INTEGER => ValueRef::Integer(ffi::sqlite3_value_int64(value)),
            ffi::SQLITE_FLOAT => ValueRef::Real(ffi::sqlite3_value_double(value)),
            ffi::SQLITE_TEXT => ValueRef::Text(bytes(ffi::sqlite3_value_text(value))),
            ffi::SQLITE_BLOB => ValueRef::Blob(bytes(ffi::sqlite3_value_blob(value).cast())),
            _ => ValueRef::Null,
        }
    }
}

/// Answers a call.
///
/// # Safety
/// `context` must be one that SQLite passed and that awaits a result.
pub(super) unsafe fn answer(context: *mut ffi::sqlite3_context, value: ValueRef<'_>) {
    let copied = ffi::SQLITE_TRANSIENT();
    // SAFETY: the caller answers for the context; the lengths are those of the slices, which SQLite copies.
    unsafe {
        match value {
            ValueRef::Null => ffi::sqlite3_result_null(context),
            ValueRef::Integer(value) => ffi::sqlite3_result_int64(context, value),
            ValueRef::Real(value) => ffi::sqlite3_result_double(context, value),
            ValueRef::Text(text) => {
                let (start, length) = (text.as_ptr().cast(), text.len() as u64);
                ffi::sqlite3_result_text64(context, start, length, copied, ffi::SQLITE_UTF8 as u8);
            }
            ValueRef::Blob(blob) => {
                ffi::sqlite3_result_blob64(context, blob.as_ptr().cast(), blob.len() as u64, copied);
            }
        }
    }
}

/// Answers a call with an error: its text where there is one, else its code.
///
/// # Safety
/// `context` must be one that SQLite passed and that awaits a result.
pub(super) unsafe fn fail(context: *mut ffi::sqlite3_context, error: Error) {
    let error = to_sql_error(error);
    // SAFETY: the caller answers for the context; SQLite copies the text.
    unsafe {
        if let SqlError::SqliteFailure(failure, None) = error {
            ffi::sqlite3_result_error_code(context, failure.extended_code);
        } else {
            let text = error.to_string();
            ffi::sqlite3_result_error(context, text.as_ptr().cast(), c_int::try_from(text.len()).unwrap_or(0));
        }
    }
}
