//! Reading and writing the clocks of rows and the tombstones of deleted ones.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, ToSql, params_from_iter};

use super::clock::{ColumnId, RowClock, Stamp};
use super::table::Table;
use super::{Error, Result};

/// A deleted row.
pub(super) struct Tombstone {
    pub(super) id: i64,
    /// The delete; its `col_version` is the causal length.
    pub(super) stamp: Stamp,
}

/// The clock of the live row with `key`.
pub(super) fn load_clock(conn: &Connection, table: &Table, key: i64) -> Result<Option<RowClock>> {
    let mut load = conn.prepare_cached(&table.sql.load_clock)?;
    let mut rows = load.query([key])?;
    rows.next()?.map(|row| RowClock::decode(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)).transpose()
}

pub(super) fn store_clock(conn: &Connection, table: &Table, key: i64, clock: &RowClock) -> Result<()> {
    let mut record = Vec::with_capacity(16);
    clock.encode(&mut record);
    conn.prepare_cached(&table.sql.store_clock)?.execute((key, record))?;
    Ok(())
}

pub(super) fn drop_clock(conn: &Connection, table: &Table, key: i64) -> Result<()> {
    conn.prepare_cached(&table.sql.drop_clock)?.execute([key])?;
    Ok(())
}

/// The tombstone of the row with this primary key.
pub(super) fn find_tombstone(conn: &Connection, table: &Table, pk: &[Value]) -> Result<Option<Tombstone>> {
    let mut find = conn.prepare_cached(&table.sql.find_tombstone)?;
    let found: Option<(i64, Vec<u8>)> =
        find.query_row(params_from_iter(pk), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    found.map(|(id, record)| Ok(Tombstone { id, stamp: tombstone_stamp(&record)? })).transpose()
}

/// Whether any row of the table is known to be deleted.
pub(super) fn has_tombstones(conn: &Connection, table: &Table) -> Result<bool> {
    Ok(conn.prepare_cached(&table.sql.any_tombstone)?.query_row([], |row| row.get(0))?)
}

/// Reads the record of a tombstone.
pub(super) fn tombstone_stamp(record: &[u8]) -> Result<Stamp> {
    RowClock::decode(record)?.sentinel().copied().ok_or(Error::Corrupt("a tombstone has no causal length"))
}

/// Writes a tombstone, over the one with this `id` if there is one, and returns its id.
pub(super) fn store_tombstone(
    conn: &Connection,
    table: &Table,
    id: Option<i64>,
    pk: &[Value],
    stamp: Stamp,
) -> Result<i64> {
    let mut clock = RowClock::default();
    clock.set(ColumnId::SENTINEL, stamp);
    let mut record = Vec::new();
    clock.encode(&mut record);
    let head: [&dyn ToSql; 2] = [&id, &record];
    let values = head.into_iter().chain(pk.iter().map(|value| value as &dyn ToSql));
    conn.prepare_cached(&table.sql.store_tombstone)?.execute(params_from_iter(values))?;
    Ok(id.unwrap_or_else(|| conn.last_insert_rowid()))
}

pub(super) fn drop_tombstone(conn: &Connection, table: &Table, id: i64) -> Result<()> {
    conn.prepare_cached(&table.sql.drop_tombstone)?.execute([id])?;
    Ok(())
}
