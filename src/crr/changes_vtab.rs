//! `crsql_changes`: all changes as a table, to read and to insert into.
//!
//! Hidden behind the nine columns of cr-sqlite stands `site_version`, the version under which the author made the
//! change. `db_version` is the one under which this copy stored it; for local changes they are the same.

mod plan;

use std::borrow::Cow;
use std::ffi::{CStr, c_int};
use std::marker::PhantomData;

use rusqlite::types::ValueRef;
use rusqlite::vtab::{
    Context, CreateVTab, Filters, IndexInfo, Inserts, Module, UpdateVTab, Updates, VTab, VTabConnection, VTabCursor,
    VTabKind, sqlite3_vtab, sqlite3_vtab_cursor,
};
use rusqlite::{Connection, Error as SqlError, ffi};

use super::error::to_sql_error;
use super::flush::flush;
use super::module::{self, StaticModule};
use super::read::{Cells, Reader};
use super::state::Shared;
use super::{Result, SENTINEL, call, incoming, log, merge};

const SCHEMA: &CStr = c"CREATE TABLE x (\"table\" TEXT NOT NULL, pk BLOB NOT NULL, cid TEXT NOT NULL, val ANY, col_version INTEGER NOT NULL, db_version INTEGER NOT NULL, site_id BLOB NOT NULL, cl INTEGER NOT NULL, seq INTEGER NOT NULL, site_version INTEGER HIDDEN)";

/// Registers the module, and connects it once so that closing the connection finalizes the engine's statements.
pub(super) fn register(conn: &Connection, shared: Shared) -> rusqlite::Result<()> {
    module::register(conn, c"crsql_changes", &MODULE, shared)?;
    conn.prepare("SELECT 1 FROM main.crsql_changes")?;
    Ok(())
}

/// rusqlite's module for tables that can be written, with a shorter way from a change to SQLite: nine columns are asked
/// for in each row.
static MODULE: StaticModule = StaticModule({
    // SAFETY: `Module` is `repr(transparent)` over `sqlite3_module`.
    let base: ffi::sqlite3_module = unsafe { std::mem::transmute(Module::<Changes>::update_module()) };
    ffi::sqlite3_module { xNext: Some(next), xEof: Some(eof), xColumn: Some(column), ..base }
});

#[repr(C)]
struct Changes {
    base: sqlite3_vtab,
    shared: Shared,
}

// SAFETY: `repr(C)`, and the base comes first.
unsafe impl<'vtab> VTab<'vtab> for Changes {
    type Aux = Shared;
    type Cursor = Cursor<'vtab>;

    fn connect(
        db: &mut VTabConnection,
        aux: Option<&Shared>,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: &[&[u8]],
    ) -> rusqlite::Result<(Cow<'static, CStr>, Self)> {
        let shared = module::connect(db, aux)?;
        Ok((Cow::Borrowed(SCHEMA), Self { base: sqlite3_vtab::default(), shared }))
    }

    fn best_index(&self, info: &mut IndexInfo) -> rusqlite::Result<bool> {
        plan::choose(info)?;
        Ok(true)
    }

    fn open(&'vtab mut self) -> rusqlite::Result<Cursor<'vtab>> {
        let shared = self.shared.clone();
        Ok(Cursor {
            base: sqlite3_vtab_cursor::default(),
            shared,
            reader: None,
            descending: false,
            cells: Cells::default(),
            current: 0,
            vtab: PhantomData,
        })
    }
}

impl Drop for Changes {
    /// The connection is closing: what is still prepared would keep it from doing so. No statement of the engine's own reads
    /// this table, so none keeps it from being told.
    fn drop(&mut self) {
        self.shared.finalize();
    }
}

impl CreateVTab<'_> for Changes {
    const KIND: VTabKind = VTabKind::EponymousOnly;
}

impl UpdateVTab<'_> for Changes {
    fn insert(&mut self, args: &Inserts<'_>) -> rusqlite::Result<i64> {
        let (conn, state) = (self.shared.conn(), self.shared.state());
        let change = incoming::change(args, state.site).map_err(to_sql_error)?;
        merge::merge_one(conn, state, &change).map_err(to_sql_error)?;
        Ok(-1)
    }

    fn delete(&mut self, _: ValueRef<'_>) -> rusqlite::Result<()> {
        read_only()
    }

    fn update(&mut self, _: &Updates<'_>) -> rusqlite::Result<()> {
        read_only()
    }
}

fn read_only() -> rusqlite::Result<()> {
    Err(SqlError::SqliteFailure(
        ffi::Error::new(ffi::SQLITE_MISUSE),
        Some("Only INSERT and SELECT statements are allowed against the crsql changes table".into()),
    ))
}

/// Reads one local version at a time.
#[repr(C)]
struct Cursor<'vtab> {
    base: sqlite3_vtab_cursor,
    shared: Shared,
    reader: Option<Reader>,
    descending: bool,
    cells: Cells,
    /// The place of the current change among them.
    current: usize,
    vtab: PhantomData<&'vtab Changes>,
}

impl Cursor<'_> {
    fn open(&mut self, flags: c_int, plan: &str, args: &Filters<'_>) -> Result<()> {
        let (conn, state) = (self.shared.conn(), self.shared.state());
        flush(conn, state)?;
        let mut selection = plan::selection(conn, flags, plan, args)?;
        // What is written while the cursor is open is not read: it could go on for ever.
        selection.until = selection.until.min(log::newest(conn)?.get());
        self.descending = selection.descending;
        self.reader = Some(Reader::new(conn, state, selection)?);
        self.read()
    }

    fn read(&mut self) -> Result<()> {
        self.current = 0;
        if let Some(reader) = &mut self.reader
            && reader.next_version(self.shared.conn(), &mut self.cells)?
        {
            self.cells.sort();
            if self.descending {
                self.cells.reverse();
            }
        }
        Ok(())
    }
}

// SAFETY: `repr(C)`, and the base comes first.
unsafe impl VTabCursor for Cursor<'_> {
    fn filter(&mut self, flags: c_int, plan: Option<&str>, args: &Filters<'_>) -> rusqlite::Result<()> {
        self.open(flags, plan.unwrap_or_default(), args).map_err(to_sql_error)
    }

    /// SQLite calls [`next`], [`eof`] and [`column`] instead of the next three.
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
        Ok(self.cells.get(self.current).map_or(0, |(owner, cell)| cell.rowid(owner)))
    }
}

/// Goes to the next change.
unsafe extern "C" fn next(cursor: *mut sqlite3_vtab_cursor) -> c_int {
    // SAFETY: SQLite passes a cursor of this module, and `Cursor` is `repr(C)` and begins with the `sqlite3_vtab_cursor`.
    let cursor = unsafe { &mut *cursor.cast::<Cursor<'_>>() };
    cursor.current += 1;
    if cursor.current < cursor.cells.len() {
        return ffi::SQLITE_OK;
    }
    match cursor.read() {
        Ok(()) => ffi::SQLITE_OK,
        Err(error) => {
            // SAFETY: a cursor belongs to a table while it is open, and SQLite frees the text.
            unsafe { rusqlite::to_sqlite_error(&to_sql_error(error), &raw mut (*cursor.base.pVtab).zErrMsg) }
        }
    }
}

/// Whether there is no change left.
unsafe extern "C" fn eof(cursor: *mut sqlite3_vtab_cursor) -> c_int {
    // SAFETY: as in `next`.
    let cursor = unsafe { &*cursor.cast::<Cursor<'_>>() };
    (cursor.current >= cursor.cells.len()).into()
}

/// Hands one column of the current change to SQLite.
unsafe extern "C" fn column(cursor: *mut sqlite3_vtab_cursor, context: *mut ffi::sqlite3_context, i: c_int) -> c_int {
    // SAFETY: as in `next`.
    let cursor = unsafe { &*cursor.cast::<Cursor<'_>>() };
    let Some((owner, cell)) = cursor.cells.get(cursor.current) else {
        return ffi::SQLITE_OK;
    };
    let read;
    let value = match i {
        0 => ValueRef::Text(owner.table.name.as_bytes()),
        1 => ValueRef::Blob(&owner.pk),
        2 => ValueRef::Text(cell.column(owner).map_or(SENTINEL, |name| name).as_bytes()),
        3 if cursor.reader.as_ref().is_some_and(Reader::left_values) => match cell.read(owner, cursor.shared.conn()) {
            Ok(value) => {
                read = value;
                ValueRef::from(&read)
            }
            Err(error) => {
                // SAFETY: SQLite passes a context.
                unsafe { call::fail(context, error) };
                return ffi::SQLITE_ERROR;
            }
        },
        3 => ValueRef::from(&cell.val),
        4 => ValueRef::Integer(cell.stamp.col_version),
        5 => ValueRef::Integer(cell.stamp.local),
        6 => ValueRef::Blob(cell.site.as_bytes()),
        7 => ValueRef::Integer(owner.cl),
        8 => ValueRef::Integer(cell.stamp.seq),
        // What an alteration left under version 0 is of the author's first transaction.
        9 => ValueRef::Integer(cell.stamp.version.max(1)),
        _ => ValueRef::Null,
    };
    // SAFETY: SQLite passes a context.
    unsafe { call::answer(context, value) };
    ffi::SQLITE_OK
}
