//! `crsql_unpack_columns`: the values of a packed blob as rows.
//!
//! It reads what cr-sqlite reads: integers wider than they need be are taken, and bytes after the last value are passed
//! over. Keys of changes are read strictly; see [`pack`](super::pack).

use std::borrow::Cow;
use std::ffi::{CStr, c_int};
use std::marker::PhantomData;

use rusqlite::types::{Value, ValueRef};
use rusqlite::vtab::{
    Context, Filters, IndexConstraintOp, IndexInfo, Module, VTab, VTabConfig, VTabConnection, VTabCursor, sqlite3_vtab,
    sqlite3_vtab_cursor,
};
use rusqlite::{Connection, Error as SqlError};

use super::error::to_sql_error;
use super::pack;
use super::value::owned;

const SCHEMA: &CStr = c"CREATE TABLE x (cell ANY, package BLOB HIDDEN)";
const PACKAGE: c_int = 1;

/// Registers the module.
pub(super) fn register(conn: &Connection) -> rusqlite::Result<()> {
    let module: &'static Module<'static, Unpacked> = const { &Module::eponymous_only_module() };
    conn.create_module("crsql_unpack_columns", module, None)
}

#[repr(C)]
struct Unpacked {
    base: sqlite3_vtab,
}

// SAFETY: `repr(C)`, and the base comes first.
unsafe impl<'vtab> VTab<'vtab> for Unpacked {
    type Aux = ();
    type Cursor = Cursor<'vtab>;

    fn connect(
        db: &mut VTabConnection,
        _: Option<&()>,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: &[&[u8]],
    ) -> rusqlite::Result<(Cow<'static, CStr>, Self)> {
        db.config(VTabConfig::Innocuous)?;
        Ok((Cow::Borrowed(SCHEMA), Self { base: sqlite3_vtab::default() }))
    }

    fn best_index(&self, info: &mut IndexInfo) -> rusqlite::Result<bool> {
        let mut package = None;
        let mut waits = false;
        for (i, constraint) in info.constraints().enumerate() {
            if constraint.column() == PACKAGE && constraint.operator() == IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_EQ
            {
                if constraint.is_usable() { package = Some(i) } else { waits = true }
            }
        }
        info.set_estimated_cost(10.0);
        match package {
            Some(i) => {
                let mut usage = info.constraint_usage(i);
                usage.set_argv_index(1);
                usage.set_omit(true);
                Ok(true)
            }
            // A join that offers the blob only in another order; without any offer, `filter` says what is missing.
            None => Ok(!waits),
        }
    }

    fn open(&'vtab mut self) -> rusqlite::Result<Cursor<'vtab>> {
        Ok(Cursor {
            base: sqlite3_vtab_cursor::default(),
            package: Vec::new(),
            cells: Vec::new(),
            at: 0,
            vtab: PhantomData,
        })
    }
}

#[repr(C)]
struct Cursor<'vtab> {
    base: sqlite3_vtab_cursor,
    package: Vec<u8>,
    cells: Vec<Value>,
    at: usize,
    vtab: PhantomData<&'vtab Unpacked>,
}

// SAFETY: `repr(C)`, and the base comes first.
unsafe impl VTabCursor for Cursor<'_> {
    fn filter(&mut self, _: c_int, _: Option<&str>, args: &Filters<'_>) -> rusqlite::Result<()> {
        (self.package, self.cells, self.at) = (Vec::new(), Vec::new(), 0);
        match args.iter().next() {
            None => return Err(SqlError::ModuleError("crsql_unpack_columns needs a package".into())),
            // Nothing equals NULL.
            Some(ValueRef::Null) => {}
            Some(ValueRef::Blob(package)) => {
                self.cells = pack::unpack_leniently(package).map_err(to_sql_error)?.into_iter().map(owned).collect();
                self.package = package.to_vec();
            }
            Some(_) => return Err(SqlError::ModuleError("a package is a blob".into())),
        }
        Ok(())
    }

    fn next(&mut self) -> rusqlite::Result<()> {
        self.at += 1;
        Ok(())
    }

    fn eof(&self) -> bool {
        self.at >= self.cells.len()
    }

    fn column(&self, context: &mut Context, i: c_int) -> rusqlite::Result<()> {
        if i == PACKAGE { context.set_result(&self.package) } else { context.set_result(self.cells.get(self.at)) }
    }

    fn rowid(&self) -> rusqlite::Result<i64> {
        Ok(self.at as i64)
    }
}
