//! `crsql_journal`: the virtual table through which SQLite tells the journal of the end of transactions and of savepoints,
//! after it was written to in the transaction.

use std::borrow::Cow;
use std::ffi::{CStr, c_int};

use rusqlite::types::ValueRef;
use rusqlite::vtab::{
    Context, CreateVTab, Filters, IndexInfo, Inserts, Module, TransactionVTab, UpdateVTab, Updates, VTab,
    VTabConnection, VTabCursor, VTabKind, sqlite3_vtab, sqlite3_vtab_cursor,
};
use rusqlite::{Connection, Error, ffi};

use super::error::to_sql_error;
use super::flush::flush;
use super::module::{self, StaticModule};
use super::state::Shared;

const SCHEMA: &CStr = c"CREATE TABLE x (joined)";

/// Registers the module.
pub(super) fn register(conn: &Connection, shared: Shared) -> rusqlite::Result<()> {
    module::register(conn, c"crsql_journal", &MODULE, shared)
}

/// rusqlite's transactional module, with the savepoint methods that it does not offer.
static MODULE: StaticModule = StaticModule({
    // SAFETY: `Module` is `repr(transparent)` over `sqlite3_module`.
    let base: ffi::sqlite3_module = unsafe { std::mem::transmute(Module::<JournalTable>::update_module_with_tx()) };
    ffi::sqlite3_module {
        iVersion: 2,
        xSavepoint: Some(savepoint),
        xRelease: Some(release),
        xRollbackTo: Some(rollback_to),
        ..base
    }
});

/// What SQLite hands to a savepoint method.
///
/// # Safety
/// `vtab` must be one that this module connected.
unsafe fn shared<'a>(vtab: *mut sqlite3_vtab) -> &'a Shared {
    // SAFETY: `JournalTable` is `repr(C)` and begins with the `sqlite3_vtab`.
    unsafe { &(*vtab.cast::<JournalTable>()).shared }
}

unsafe extern "C" fn savepoint(vtab: *mut sqlite3_vtab, n: c_int) -> c_int {
    // SAFETY: SQLite passes a table of this module.
    unsafe { shared(vtab) }.savepoint(n);
    ffi::SQLITE_OK
}

unsafe extern "C" fn release(vtab: *mut sqlite3_vtab, n: c_int) -> c_int {
    // SAFETY: SQLite passes a table of this module.
    unsafe { shared(vtab) }.journal().release(n);
    ffi::SQLITE_OK
}

unsafe extern "C" fn rollback_to(vtab: *mut sqlite3_vtab, n: c_int) -> c_int {
    // SAFETY: SQLite passes a table of this module.
    unsafe { shared(vtab) }.rolled_back_to(n);
    ffi::SQLITE_OK
}

#[repr(C)]
struct JournalTable {
    base: sqlite3_vtab,
    shared: Shared,
}

// SAFETY: `repr(C)`, and the base comes first.
unsafe impl<'vtab> VTab<'vtab> for JournalTable {
    type Aux = Shared;
    type Cursor = NoRows;

    fn connect(
        db: &mut VTabConnection,
        aux: Option<&Shared>,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: &[&[u8]],
    ) -> rusqlite::Result<(Cow<'static, CStr>, Self)> {
        // Triggers reach it, through the functions that they call, in databases that do not trust their schema.
        let shared = module::connect(db, aux)?;
        Ok((Cow::Borrowed(SCHEMA), Self { base: sqlite3_vtab::default(), shared }))
    }

    fn best_index(&self, _: &mut IndexInfo) -> rusqlite::Result<bool> {
        Ok(true)
    }

    fn open(&'vtab mut self) -> rusqlite::Result<NoRows> {
        Ok(NoRows { base: sqlite3_vtab_cursor::default() })
    }
}

impl CreateVTab<'_> for JournalTable {
    const KIND: VTabKind = VTabKind::EponymousOnly;
}

impl UpdateVTab<'_> for JournalTable {
    fn insert(&mut self, _: &Inserts<'_>) -> rusqlite::Result<i64> {
        Ok(0)
    }

    fn delete(&mut self, _: ValueRef<'_>) -> rusqlite::Result<()> {
        Err(Error::ModuleError("crsql_journal takes inserts only".into()))
    }

    fn update(&mut self, _: &Updates<'_>) -> rusqlite::Result<()> {
        Err(Error::ModuleError("crsql_journal takes inserts only".into()))
    }
}

impl TransactionVTab<'_> for JournalTable {
    fn begin(&mut self) -> rusqlite::Result<()> {
        self.shared.transaction_began();
        Ok(())
    }

    /// The last moment at which the transaction can be written to.
    fn sync(&mut self) -> rusqlite::Result<()> {
        flush(self.shared.conn(), self.shared.state()).map_err(to_sql_error)
    }

    fn commit(&mut self) -> rusqlite::Result<()> {
        self.shared.transaction_ended();
        Ok(())
    }

    fn rollback(&mut self) -> rusqlite::Result<()> {
        self.shared.transaction_rolled_back();
        Ok(())
    }
}

/// A cursor that finds nothing.
#[repr(C)]
pub(super) struct NoRows {
    base: sqlite3_vtab_cursor,
}

// SAFETY: `repr(C)`, and the base comes first.
unsafe impl VTabCursor for NoRows {
    fn filter(&mut self, _: c_int, _: Option<&str>, _: &Filters<'_>) -> rusqlite::Result<()> {
        Ok(())
    }

    fn next(&mut self) -> rusqlite::Result<()> {
        Ok(())
    }

    fn eof(&self) -> bool {
        true
    }

    fn column(&self, _: &mut Context, _: c_int) -> rusqlite::Result<()> {
        Ok(())
    }

    fn rowid(&self) -> rusqlite::Result<i64> {
        Ok(0)
    }
}
