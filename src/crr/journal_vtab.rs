//! `crsql_local_writes`: the virtual table through which triggers reach the journal, and SQLite tells it of
//! transactions and savepoints.

use std::borrow::Cow;
use std::ffi::{CStr, c_int, c_void};

use rusqlite::types::ValueRef;
use rusqlite::vtab::{
    Context, CreateVTab, Filters, IndexInfo, Inserts, Module, TransactionVTab, UpdateVTab, Updates, VTab, VTabConfig,
    VTabConnection, VTabCursor, VTabKind, sqlite3_vtab, sqlite3_vtab_cursor,
};
use rusqlite::{Connection, Error, ffi};

use super::error::to_sql_error;
use super::flush::flush;
use super::journal::{Event, Kind, Op};
use super::state::Shared;
use super::table::TableId;

const SCHEMA: &CStr = c"CREATE TABLE x (op INTEGER, tbl INTEGER, key INTEGER, old_key INTEGER, mask INTEGER, word INTEGER, pk BLOB, old_pk BLOB)";

/// Registers the module, and connects it once so that closing the connection finalizes the engine's statements.
pub(super) fn register(conn: &Connection, shared: Shared) -> rusqlite::Result<()> {
    extern "C" fn drop_shared(shared: *mut c_void) {
        // SAFETY: the pointer is the box given to sqlite3_create_module_v2 below, and SQLite calls this once.
        drop(unsafe { Box::from_raw(shared.cast::<Shared>()) });
    }
    let aux = Box::into_raw(Box::new(shared));
    // SAFETY: the handle is open, the module is static, and SQLite takes the box over even when it fails.
    let code = unsafe {
        ffi::sqlite3_create_module_v2(
            conn.handle(),
            c"crsql_local_writes".as_ptr(),
            &raw const MODULE.0,
            aux.cast(),
            Some(drop_shared),
        )
    };
    if code != ffi::SQLITE_OK {
        return Err(Error::SqliteFailure(ffi::Error::new(code), None));
    }
    conn.prepare("SELECT 1 FROM crsql_local_writes")?;
    Ok(())
}

struct StaticModule(ffi::sqlite3_module);

// SAFETY: SQLite only reads a module, and nothing writes to this one.
unsafe impl Sync for StaticModule {}

/// rusqlite's transactional module, with the savepoint methods that it does not offer.
static MODULE: StaticModule = StaticModule({
    // SAFETY: `Module` is `repr(transparent)` over `sqlite3_module`.
    let base: ffi::sqlite3_module = unsafe { std::mem::transmute(Module::<LocalWrites>::update_module_with_tx()) };
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
    // SAFETY: `LocalWrites` is `repr(C)` and begins with the `sqlite3_vtab`.
    unsafe { &(*vtab.cast::<LocalWrites>()).shared }
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
struct LocalWrites {
    base: sqlite3_vtab,
    shared: Shared,
}

// SAFETY: `repr(C)`, and the base comes first.
unsafe impl<'vtab> VTab<'vtab> for LocalWrites {
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
        // Triggers must reach it in databases that do not trust their schema.
        db.config(VTabConfig::Innocuous)?;
        let shared = aux.ok_or_else(|| Error::ModuleError("no engine".into()))?.clone();
        Ok((Cow::Borrowed(SCHEMA), Self { base: sqlite3_vtab::default(), shared }))
    }

    fn best_index(&self, _: &mut IndexInfo) -> rusqlite::Result<bool> {
        Ok(true)
    }

    fn open(&'vtab mut self) -> rusqlite::Result<NoRows> {
        Ok(NoRows { base: sqlite3_vtab_cursor::default() })
    }
}

impl Drop for LocalWrites {
    /// The connection is closing: what is still prepared would keep it from doing so.
    fn drop(&mut self) {
        self.shared.finalize();
    }
}

impl CreateVTab<'_> for LocalWrites {
    const KIND: VTabKind = VTabKind::EponymousOnly;
}

impl UpdateVTab<'_> for LocalWrites {
    fn insert(&mut self, args: &Inserts<'_>) -> rusqlite::Result<i64> {
        let op: i64 = args.get(2)?;
        let table = TableId(args.get::<Option<i64>>(3)?.unwrap_or_default());
        if op == Op::Join as i64 || !self.shared.is_tracking(table) {
            return Ok(0);
        }
        let key = args.get(4)?;
        let blob = |i| args.get::<Option<Vec<u8>>>(i);
        let required = |i| blob(i)?.ok_or_else(|| Error::ModuleError("a local write lacks its key".into()));
        let kind = match op {
            op if op == Op::Insert as i64 => Kind::Insert { key, cells: args.get(6)?, pk: blob(8)? },
            op if op == Op::Delete as i64 => Kind::Delete { key, pk: required(8)? },
            op if op == Op::Replacing as i64 => Kind::Replacing { key, pk: required(8)? },
            op if op == Op::Update as i64 => {
                let (old_key, pk) = (args.get(5)?, blob(8)?);
                if key != old_key || pk.is_some() {
                    self.shared
                        .journal()
                        .push(Event { table, kind: Kind::Move { key, old_key, pk, old_pk: blob(9)? } });
                }
                let (mask, word): (i64, i64) = (args.get(6)?, args.get(7)?);
                if mask == 0 {
                    return Ok(0);
                }
                Kind::Update { key, word: usize::try_from(word).unwrap_or_default(), mask: mask.cast_unsigned() }
            }
            _ => return Err(Error::ModuleError("unknown kind of local write".into())),
        };
        self.shared.journal().push(Event { table, kind });
        Ok(0)
    }

    fn delete(&mut self, _: ValueRef<'_>) -> rusqlite::Result<()> {
        Err(Error::ModuleError("crsql_local_writes takes inserts only".into()))
    }

    fn update(&mut self, _: &Updates<'_>) -> rusqlite::Result<()> {
        Err(Error::ModuleError("crsql_local_writes takes inserts only".into()))
    }
}

impl TransactionVTab<'_> for LocalWrites {
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

/// The table has nothing to read.
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
