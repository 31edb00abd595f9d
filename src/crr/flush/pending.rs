//! `crsql_pending`: clocks on their way into their table, as a virtual table, so that one statement stores them all.

use std::borrow::Cow;
use std::ffi::{CStr, c_int};
use std::marker::PhantomData;

use rusqlite::Connection;
use rusqlite::vtab::{
    Context, Filters, IndexInfo, Module, VTab, VTabConnection, VTabCursor, sqlite3_vtab, sqlite3_vtab_cursor,
};

use super::super::clock::RowClock;
use super::super::module;
use super::super::state::Shared;

const SCHEMA: &CStr = c"CREATE TABLE x (key INTEGER, clock BLOB, number INTEGER)";

/// Clocks that are not stored yet, one behind another.
#[derive(Debug, Default)]
pub(in crate::crr) struct Pending {
    rows: Vec<Entry>,
    records: Vec<u8>,
}

/// A row; its record ends at `end`, and begins where the one before ends.
#[derive(Debug)]
struct Entry {
    key: i64,
    number: Option<i64>,
    end: usize,
}

impl Pending {
    pub(in crate::crr) fn push(&mut self, key: i64, clock: &RowClock, number: Option<i64>) {
        clock.encode(&mut self.records);
        self.rows.push(Entry { key, number, end: self.records.len() });
    }

    pub(in crate::crr) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn record(&self, at: usize) -> Option<&[u8]> {
        let start = at.checked_sub(1).and_then(|before| self.rows.get(before)).map_or(0, |before| before.end);
        self.records.get(start..self.rows.get(at)?.end)
    }
}

/// Registers the module.
pub(super) fn register(conn: &Connection, shared: Shared) -> rusqlite::Result<()> {
    let module: &'static Module<'static, PendingTable> = const { &Module::eponymous_only_module() };
    conn.create_module("crsql_pending", module, Some(shared))
}

#[repr(C)]
struct PendingTable {
    base: sqlite3_vtab,
    shared: Shared,
}

// SAFETY: `repr(C)`, and the base comes first.
unsafe impl<'vtab> VTab<'vtab> for PendingTable {
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
        // A flush may come while a trigger runs, in a database that does not trust its schema.
        let shared = module::connect(db, aux)?;
        Ok((Cow::Borrowed(SCHEMA), Self { base: sqlite3_vtab::default(), shared }))
    }

    fn best_index(&self, _: &mut IndexInfo) -> rusqlite::Result<bool> {
        Ok(true)
    }

    fn open(&'vtab mut self) -> rusqlite::Result<Cursor<'vtab>> {
        Ok(Cursor { base: sqlite3_vtab_cursor::default(), shared: self.shared.clone(), at: 0, vtab: PhantomData })
    }
}

#[repr(C)]
struct Cursor<'vtab> {
    base: sqlite3_vtab_cursor,
    shared: Shared,
    at: usize,
    vtab: PhantomData<&'vtab PendingTable>,
}

// SAFETY: `repr(C)`, and the base comes first.
unsafe impl VTabCursor for Cursor<'_> {
    fn filter(&mut self, _: c_int, _: Option<&str>, _: &Filters<'_>) -> rusqlite::Result<()> {
        self.at = 0;
        Ok(())
    }

    fn next(&mut self) -> rusqlite::Result<()> {
        self.at += 1;
        Ok(())
    }

    fn eof(&self) -> bool {
        self.at >= self.shared.state().pending.borrow().rows.len()
    }

    fn column(&self, context: &mut Context, i: c_int) -> rusqlite::Result<()> {
        let pending = self.shared.state().pending.borrow();
        let Some(row) = pending.rows.get(self.at) else { return Ok(()) };
        match i {
            0 => context.set_result(row.key),
            1 => context.set_result(pending.record(self.at)),
            _ => context.set_result(row.number),
        }
    }

    fn rowid(&self) -> rusqlite::Result<i64> {
        Ok(self.at as i64)
    }
}
