//! A prepared statement that outlives the borrow of its connection, and hands on values without looking at them.

use std::ffi::c_int;
use std::ptr;

use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, Error, ffi};

use super::super::call::value_ref;

/// A statement whose first column is an integer.
pub(super) struct Statement(*mut ffi::sqlite3_stmt);

impl Statement {
    /// Prepares it. The connection must be open for as long as the statement lives.
    pub(super) fn prepare(conn: &Connection, sql: &str) -> rusqlite::Result<Self> {
        let mut statement = ptr::null_mut();
        let length = c_int::try_from(sql.len()).map_err(|_| Error::ModuleError("the SQL is too long".into()))?;
        // SAFETY: the handle is open, and the text has that length.
        unsafe {
            let code = ffi::sqlite3_prepare_v2(
                conn.handle(),
                sql.as_ptr().cast(),
                length,
                &raw mut statement,
                ptr::null_mut(),
            );
            check(conn.handle(), code)?;
        }
        Ok(Self(statement))
    }

    /// Sets a parameter, from 1.
    pub(super) fn bind(&mut self, place: c_int, value: &Value) -> rusqlite::Result<()> {
        // SAFETY: the statement is prepared, and the value is copied.
        unsafe { check(ffi::sqlite3_db_handle(self.0), ffi::sqlite3_bind_value(self.0, place, value.0)) }
    }

    /// The same with a value of our own.
    pub(super) fn set(&mut self, place: c_int, value: ValueRef<'_>) -> rusqlite::Result<()> {
        let length = |bytes: &[u8]| c_int::try_from(bytes.len()).map_err(|_| Error::ModuleError("too long".into()));
        // SAFETY: the statement is prepared, texts and blobs have these lengths, and SQLite copies them.
        unsafe {
            let code = match value {
                ValueRef::Null => ffi::sqlite3_bind_null(self.0, place),
                ValueRef::Integer(integer) => ffi::sqlite3_bind_int64(self.0, place, integer),
                ValueRef::Real(real) => ffi::sqlite3_bind_double(self.0, place, real),
                ValueRef::Text(text) => {
                    let length = length(text)?;
                    ffi::sqlite3_bind_text(self.0, place, text.as_ptr().cast(), length, ffi::SQLITE_TRANSIENT())
                }
                ValueRef::Blob(blob) => {
                    let length = length(blob)?;
                    ffi::sqlite3_bind_blob(self.0, place, blob.as_ptr().cast(), length, ffi::SQLITE_TRANSIENT())
                }
            };
            check(ffi::sqlite3_db_handle(self.0), code)
        }
    }

    /// Goes to the next row and gives its first column; `None` behind the last one.
    pub(super) fn step(&mut self) -> rusqlite::Result<Option<i64>> {
        // SAFETY: the statement is prepared.
        unsafe {
            match ffi::sqlite3_step(self.0) {
                ffi::SQLITE_ROW => Ok(Some(ffi::sqlite3_column_int64(self.0, 0))),
                ffi::SQLITE_DONE => {
                    ffi::sqlite3_reset(self.0);
                    Ok(None)
                }
                code => check(ffi::sqlite3_db_handle(self.0), code).map(|()| None),
            }
        }
    }

    /// Makes a column the result of a call.
    ///
    /// # Safety
    /// `context` must be that of the call under way.
    pub(super) unsafe fn hand_over(&self, column: c_int, context: *mut ffi::sqlite3_context) {
        // SAFETY: the statement stands on a row; a column that it does not have is NULL.
        unsafe { ffi::sqlite3_result_value(context, ffi::sqlite3_column_value(self.0, column)) };
    }

    /// Lets go of the row that it stands on.
    pub(super) fn reset(&mut self) {
        // SAFETY: the statement is prepared. What comes back is the outcome of the last step, which was told.
        unsafe { ffi::sqlite3_reset(self.0) };
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: it is finalized once.
        unsafe { ffi::sqlite3_finalize(self.0) };
    }
}

/// A copy of one of SQLite's values.
pub(super) struct Value(*mut ffi::sqlite3_value);

impl Value {
    /// # Safety
    /// `value` must be one of SQLite's, and live.
    pub(super) unsafe fn copy(value: *const ffi::sqlite3_value) -> rusqlite::Result<Self> {
        // SAFETY: the caller answers for it.
        let copy = unsafe { ffi::sqlite3_value_dup(value) };
        if copy.is_null() {
            return Err(Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_NOMEM), None));
        }
        Ok(Self(copy))
    }

    /// Those of a set.
    ///
    /// # Safety
    /// `set` must be what SQLite passed to a plan that [takes](rusqlite::vtab::IndexInfo::set_in_constraint) a whole set.
    pub(super) unsafe fn all_of(set: *mut ffi::sqlite3_value) -> rusqlite::Result<Vec<Self>> {
        let (mut values, mut value) = (Vec::new(), ptr::null_mut());
        // SAFETY: the caller answers for it; each value lives until the next is asked for.
        unsafe {
            let mut code = ffi::sqlite3_vtab_in_first(set, &raw mut value);
            while code == ffi::SQLITE_OK && !value.is_null() {
                values.push(Self::copy(value)?);
                code = ffi::sqlite3_vtab_in_next(set, &raw mut value);
            }
            match code {
                ffi::SQLITE_OK | ffi::SQLITE_DONE => Ok(values),
                code => Err(Error::SqliteFailure(ffi::Error::new(code), None)),
            }
        }
    }

    pub(super) fn kind(&self) -> Type {
        // SAFETY: the copy lives.
        match unsafe { ffi::sqlite3_value_type(self.0) } {
            ffi::SQLITE_INTEGER => Type::Integer,
            ffi::SQLITE_FLOAT => Type::Real,
            ffi::SQLITE_TEXT => Type::Text,
            ffi::SQLITE_BLOB => Type::Blob,
            _ => Type::Null,
        }
    }

    /// Looks at it.
    pub(super) fn as_ref(&self) -> ValueRef<'_> {
        // SAFETY: the copy lives, and nothing else uses it meanwhile.
        unsafe { value_ref(self.0) }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: it is freed once.
        unsafe { ffi::sqlite3_value_free(self.0) };
    }
}

/// # Safety
/// `db` must be open.
unsafe fn check(db: *mut ffi::sqlite3, code: c_int) -> rusqlite::Result<()> {
    if code == ffi::SQLITE_OK {
        return Ok(());
    }
    // SAFETY: the caller answers for the handle; SQLite's text is copied at once.
    let text = unsafe { std::ffi::CStr::from_ptr(ffi::sqlite3_errmsg(db)) }.to_string_lossy().into_owned();
    Err(Error::SqliteFailure(ffi::Error::new(code), Some(text)))
}
