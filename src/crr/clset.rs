//! `CREATE VIRTUAL TABLE foo_schema USING clset(...)`: a replicated table `foo`, made and dropped together with the
//! virtual table that stands for its schema.

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int};

use rusqlite::vtab::{CreateVTab, IndexInfo, Module, VTab, VTabConnection, VTabKind, sqlite3_vtab};
use rusqlite::{Connection, Error as SqlError, ffi};

use super::error::to_sql_error;
use super::flush::flush;
use super::journal_vtab::NoRows;
use super::module::{self, StaticModule};
use super::quote::{identifier, list};
use super::state::Shared;
use super::{Error, Result, catalog, fract, replicate};

const SCHEMA: &CStr = c"CREATE TABLE x (alteration TEXT HIDDEN, schema TEXT HIDDEN)";
const SUFFIX: &str = "_schema";

/// Registers the module.
pub(super) fn register(conn: &Connection, shared: Shared) -> rusqlite::Result<()> {
    module::register(conn, c"clset", &MODULE, shared)
}

/// rusqlite's module, with the method for renames that it does not offer. SQLite lets a table without that method take any
/// name, and from then on it would stand for another table.
static MODULE: StaticModule = StaticModule({
    // SAFETY: `Module` is `repr(transparent)` over `sqlite3_module`.
    let base: ffi::sqlite3_module = unsafe { std::mem::transmute(Module::<ClSet>::read_only_module()) };
    ffi::sqlite3_module { xRename: Some(refuse_rename), ..base }
});

unsafe extern "C" fn refuse_rename(vtab: *mut sqlite3_vtab, _: *const c_char) -> c_int {
    // SAFETY: SQLite passes a table of this module, whose `ClSet` is `repr(C)` and begins with it.
    let clset = unsafe { &mut *vtab.cast::<ClSet>() };
    let error = SqlError::ModuleError(format!("{}{SUFFIX} keeps its name for as long as its table", clset.table));
    // SAFETY: SQLite frees the text.
    unsafe { rusqlite::to_sqlite_error(&error, &raw mut clset.base.zErrMsg) }
}

#[repr(C)]
struct ClSet {
    base: sqlite3_vtab,
    shared: Shared,
    /// The replicated table.
    table: String,
}

// SAFETY: `repr(C)`, and the base comes first.
unsafe impl<'vtab> VTab<'vtab> for ClSet {
    type Aux = Shared;
    type Cursor = NoRows;

    fn connect(
        _: &mut VTabConnection,
        shared: Option<&Shared>,
        _: &[u8],
        _: &[u8],
        name: &[u8],
        _: &[&[u8]],
    ) -> rusqlite::Result<(Cow<'static, CStr>, Self)> {
        let shared = shared.ok_or_else(|| SqlError::ModuleError("no engine".into()))?.clone();
        let table = base_name(name).map_err(to_sql_error)?;
        Ok((Cow::Borrowed(SCHEMA), Self { base: sqlite3_vtab::default(), shared, table }))
    }

    fn best_index(&self, _: &mut IndexInfo) -> rusqlite::Result<bool> {
        Ok(true)
    }

    fn open(&'vtab mut self) -> rusqlite::Result<NoRows> {
        Err(SqlError::ModuleError(format!("{0}{SUFFIX} cannot be read; the rows are in {0}", self.table)))
    }
}

impl CreateVTab<'_> for ClSet {
    const KIND: VTabKind = VTabKind::Default;

    fn create(
        db: &mut VTabConnection,
        shared: Option<&Shared>,
        module: &[u8],
        database: &[u8],
        name: &[u8],
        columns: &[&[u8]],
    ) -> rusqlite::Result<(Cow<'static, CStr>, Self)> {
        let (declaration, clset) = Self::connect(db, shared, module, database, name, columns)?;
        if database != b"main" {
            return Err(SqlError::ModuleError("replicated tables are in the main database".into()));
        }
        create(&clset.shared, &clset.table, columns).map_err(to_sql_error)?;
        Ok((declaration, clset))
    }

    fn destroy(&self) -> rusqlite::Result<()> {
        drop_table(&self.shared, &self.table).map_err(to_sql_error)
    }
}

fn base_name(name: &[u8]) -> Result<String> {
    let name = String::from_utf8_lossy(name);
    match name.strip_suffix(SUFFIX) {
        Some(table) if !table.is_empty() => Ok(table.to_owned()),
        _ => Err(Error::NotReplicable(format!(
            "{name} MUST end with {SUFFIX}. E.g., {name}{SUFFIX}. Two tables will be created: {name}{SUFFIX} for managing the CRDT schemas and {name} for storing the data."
        ))),
    }
}

/// Creates the table. This happens inside a statement, which can neither begin a savepoint nor drop a table; when it
/// fails, SQLite takes back all that was done in it.
fn create(shared: &Shared, table: &str, columns: &[&[u8]]) -> Result<()> {
    let columns = list(columns.iter().map(|column| String::from_utf8_lossy(column)));
    shared.conn().execute_batch(&format!("CREATE TABLE main.{} ({columns})", identifier(table)))?;
    replicate::as_crr_within_statement(shared.conn(), shared.state(), table)
}

/// Drops the table with all that the engine keeps of it. One that was renamed goes its own way.
fn drop_table(shared: &Shared, table: &str) -> Result<()> {
    let conn = shared.conn();
    flush(conn, shared.state())?;
    if shared.state().tables(conn)?.names().any(|other| *other.stored_as == *table && *other.name != *table) {
        return Ok(());
    }
    fract::drop_all(conn, table)?;
    conn.execute_batch(&format!("DROP TABLE IF EXISTS main.{}", identifier(table)))?;
    let removed = catalog::remove_table(conn, table);
    shared.state().forget_tables();
    removed
}
