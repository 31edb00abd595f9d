//! `crsql_table_clocks('T')`: the clock entries of one table, one row each, as cr-sqlite stores them.
//!
//! The views `T__crsql_clock` and `T__crsql_pks` read it ([`layout`](super::layout)), for programs that look into cr-sqlite's
//! tables. `key` is the row's number, `site_id` an ordinal, `first` is true once for each key. Rows are read a page at a
//! time, in the order of their numbers as far as keys follow these.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ffi::{CStr, c_int};
use std::marker::PhantomData;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::vtab::{
    Context, Filters, IndexConstraintOp, IndexInfo, Module, VTab, VTabConnection, VTabCursor, sqlite3_vtab,
    sqlite3_vtab_cursor,
};
use rusqlite::{Connection, Error as SqlError, Row};

use super::clock::{ColumnId, RowClock, Stamp};
use super::error::to_sql_error;
use super::flush::flush;
use super::module;
use super::state::Shared;
use super::table::Table;
use super::tables::Names;
use super::{Result, SENTINEL};
use crate::crr::sort::sort_by;

const SCHEMA: &CStr = c"CREATE TABLE x (key INTEGER, pk BLOB, col_name TEXT, col_version INTEGER, db_version INTEGER, site_id INTEGER, seq INTEGER, first INTEGER, tbl TEXT HIDDEN)";
const TABLE: c_int = 8;

/// Registers the module.
pub(super) fn register(conn: &Connection, shared: Shared) -> rusqlite::Result<()> {
    let module: &'static Module<'static, Clocks> = const { &Module::eponymous_only_module() };
    conn.create_module("crsql_table_clocks", module, Some(shared))
}

#[repr(C)]
struct Clocks {
    base: sqlite3_vtab,
    shared: Shared,
}

// SAFETY: `repr(C)`, and the base comes first.
unsafe impl<'vtab> VTab<'vtab> for Clocks {
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
        let table = info.constraints().position(|constraint| {
            constraint.column() == TABLE
                && constraint.operator() == IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_EQ
                && constraint.is_usable()
        });
        let Some(table) = table else { return Ok(false) };
        let mut usage = info.constraint_usage(table);
        usage.set_argv_index(1);
        usage.set_omit(true);
        info.set_estimated_cost(1e6);
        Ok(true)
    }

    fn open(&'vtab mut self) -> rusqlite::Result<Cursor<'vtab>> {
        Ok(Cursor {
            base: sqlite3_vtab_cursor::default(),
            shared: self.shared.clone(),
            table: None,
            rows: Pages::default(),
            tombstones: Pages::default(),
            entries: VecDeque::new(),
            at: 0,
            vtab: PhantomData,
        })
    }
}

/// A row or a tombstone.
struct Clocked {
    number: i64,
    pk: Arc<[u8]>,
    clock: RowClock,
}

/// One row of the table.
struct Entry {
    number: i64,
    pk: Arc<[u8]>,
    name: Arc<str>,
    stamp: Stamp,
    first: bool,
}

/// What was read and not yet shown, and where to read on.
#[derive(Default)]
struct Pages {
    page: VecDeque<Clocked>,
    /// The first key that was not read; `None` at the end.
    next: Option<i64>,
}

impl Pages {
    fn fill(&mut self, conn: &Connection, table: &Table, sql: &str) -> Result<()> {
        let (true, Some(next)) = (self.page.is_empty(), self.next) else { return Ok(()) };
        let mut read = conn.prepare_cached(sql)?;
        let mut found = read.query([next])?;
        self.next = None;
        while let Some(row) = found.next()? {
            self.next = row.get::<_, i64>(0)?.checked_add(1);
            self.page.push_back(clocked(table, row)?);
        }
        Ok(())
    }

    fn number(&self) -> Option<i64> {
        self.page.front().map(|row| row.number)
    }
}

/// Key, number, clock, primary key.
fn clocked(table: &Table, row: &Row<'_>) -> Result<Clocked> {
    let clock = RowClock::decode(row.get_ref(2)?.as_blob().map_err(SqlError::from)?)?;
    Ok(Clocked { number: row.get(1)?, pk: table.pack_pk(row, 3)?.into(), clock })
}

#[repr(C)]
struct Cursor<'vtab> {
    base: sqlite3_vtab_cursor,
    shared: Shared,
    table: Option<Arc<Table>>,
    rows: Pages,
    tombstones: Pages,
    /// Of the current row.
    entries: VecDeque<Entry>,
    at: i64,
    vtab: PhantomData<&'vtab Clocks>,
}

impl Cursor<'_> {
    fn advance(&mut self) -> Result<()> {
        self.at += 1;
        self.entries.pop_front();
        let Some(table) = &self.table else { return Ok(()) };
        while self.entries.is_empty() {
            self.rows.fill(self.shared.conn(), table, &table.sql.clock_page)?;
            self.tombstones.fill(self.shared.conn(), table, &table.sql.tombstone_page)?;
            let next = match (self.rows.number(), self.tombstones.number()) {
                (Some(row), Some(tombstone)) if row < tombstone => self.rows.page.pop_front(),
                (_, Some(_)) => self.tombstones.page.pop_front(),
                _ => self.rows.page.pop_front(),
            };
            let Some(next) = next else { return Ok(()) };
            let named = |(id, stamp): (ColumnId, &Stamp)| {
                let name = match table.column(id) {
                    _ if id == ColumnId::SENTINEL => SENTINEL.into(),
                    Some((_, column)) => column.name.clone(),
                    None => return None,
                };
                Some(Entry { number: next.number, pk: next.pk.clone(), name, stamp: *stamp, first: false })
            };
            self.entries = next.clock.iter().filter_map(named).collect();
            sort_by(self.entries.make_contiguous(), |a, b| a.name.cmp(&b.name));
            if let Some(first) = self.entries.front_mut() {
                first.first = true;
            }
        }
        Ok(())
    }
}

// SAFETY: `repr(C)`, and the base comes first.
unsafe impl VTabCursor for Cursor<'_> {
    fn filter(&mut self, _: c_int, _: Option<&str>, args: &Filters<'_>) -> rusqlite::Result<()> {
        let (conn, state) = (self.shared.conn(), self.shared.state());
        flush(conn, state).map_err(to_sql_error)?;
        let tables = state.tables(conn).map_err(to_sql_error)?;
        let name = match args.iter().next() {
            Some(ValueRef::Text(name)) => name,
            _ => &[],
        };
        // A view keeps the name that its table had when it was made.
        let named = |names: &&Names| names.stored_as.as_bytes() == name || names.name.as_bytes() == name;
        self.table = match tables.names().find(named) {
            Some(names) => tables.named(conn, &names.name).map_err(to_sql_error)?,
            None => None,
        };
        self.rows = Pages { page: VecDeque::new(), next: Some(i64::MIN) };
        self.tombstones = Pages { page: VecDeque::new(), next: Some(i64::MIN) };
        self.entries.clear();
        self.at = 0;
        self.advance().map_err(to_sql_error)
    }

    fn next(&mut self) -> rusqlite::Result<()> {
        self.advance().map_err(to_sql_error)
    }

    fn eof(&self) -> bool {
        self.entries.is_empty()
    }

    fn column(&self, context: &mut Context, i: c_int) -> rusqlite::Result<()> {
        let Some(entry) = self.entries.front() else { return Ok(()) };
        match i {
            0 => context.set_result(entry.number),
            1 => context.set_result(&*entry.pk),
            2 => context.set_result(&*entry.name),
            3 => context.set_result(entry.stamp.col_version),
            4 => context.set_result(entry.stamp.local),
            5 => context.set_result(entry.stamp.site),
            6 => context.set_result(entry.stamp.seq),
            7 => context.set_result(entry.first),
            _ => Ok(()),
        }
    }

    fn rowid(&self) -> rusqlite::Result<i64> {
        Ok(self.at)
    }
}
