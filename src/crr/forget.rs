//! Rows that this copy no longer holds, though nobody deleted them.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::clock::{ColumnId, SELF, Stamp};
use super::merge::Merging;
use super::quote::{identifier, list};
use super::rows::{Clocked, Rows, written};
use super::state::State;
use super::table::Key;
use super::value::owned;
use super::{Result, Version};

/// Removes a live row and its clock, so that this copy is as if it never had the row: no other copy hears of it, and whoever
/// sends the row brings it back. False, and nothing done, for a row that has writes of this copy's own after the local version
/// `sent`. Triggers of the application see a delete.
pub(super) fn forget(conn: &Connection, state: &State, table: &str, pk: &[u8], sent: Version) -> Result<bool> {
    let Some(table) = state.tables(conn)?.named(conn, table)? else { return Ok(true) };
    let mut rows = state.take_rows(&table);
    let found = rows.find(&table.unpack_pk(pk)?)?;
    let outcome = match found {
        None => true,
        Some((_, Some(row))) if row.clock.iter().any(|(_, at)| at.site == SELF && at.local > sent.get()) => false,
        Some((key, _)) => {
            let _merging = Merging::begin(state, table.id);
            rows.delete_row(key)?;
            true
        }
    };
    state.keep_rows(rows);
    Ok(outcome)
}

/// Takes back what transactions of this copy's own wrote to a row, alive or deleted, and nobody overwrote: without it the row is what
/// it would be had it never been written, as far as that is known here. The columns have their defaults, and no clock; a row of
/// which nothing else is known goes away. No other copy hears of it. Triggers of the application see a delete, and an insert of
/// what stays.
pub(super) fn take_back(
    conn: &Connection,
    state: &State,
    table: &str,
    pk: &[u8],
    is_of: &dyn Fn(Version) -> bool,
) -> Result<()> {
    let Some(table) = state.tables(conn)?.named(conn, table)? else { return Ok(()) };
    let stays = |stamp: &Stamp| stamp.site != SELF || !Version::new(stamp.version).is_ok_and(is_of);
    let mut rows = state.take_rows(&table);
    let pk = table.unpack_pk(pk)?;
    let _merging = Merging::begin(state, table.id);
    match rows.find(&pk)? {
        Some((key, Some(mut row))) => {
            let gone = row.clock.retain(stays);
            if row.clock.is_empty() {
                rows.delete_row(key)?;
            } else if !gone.is_empty() {
                reset(&mut rows, key, &row, &gone)?;
            }
        }
        Some((_, None)) => {}
        None => {
            if let Some(tombstone) = rows.find_tombstone(&pk)?.filter(|tombstone| !stays(&tombstone.stamp)) {
                rows.drop_tombstone(tombstone.number)?;
            }
        }
    }
    state.keep_rows(rows);
    Ok(())
}

/// Gives columns of the row with `key` their defaults, which only an insert can do for any of them.
fn reset(rows: &mut Rows<'_>, key: i64, row: &Clocked, columns: &[ColumnId]) -> Result<()> {
    let table = rows.table.clone();
    let kept = table.columns.iter().enumerate().filter(|(_, column)| !columns.contains(&column.id));
    let kept: Vec<_> = kept.map(|(at, column)| (table.pks.len() + at, identifier(&column.name))).collect();
    let pks = table.pks.iter().enumerate().map(|(at, pk)| (at, identifier(&pk.name)));
    let (places, mut names): (Vec<_>, Vec<_>) = pks.chain(kept).unzip();
    let mut read = rows.conn.prepare_cached(&table.sql.row)?;
    let mut values = read.query_row([key], |row| {
        places.iter().map(|&at| Ok(owned(row.get_ref(at)?))).collect::<rusqlite::Result<Vec<Value>>>()
    })?;
    if let Key::Rowid(name) = table.key {
        names.push(name.to_owned());
        values.push(Value::Integer(key));
    }
    rows.delete_row(key)?;
    let marks = list(names.iter().map(|_| "?"));
    let sql = format!("{} ({}) VALUES ({marks})", table.sql.insert_into, list(names));
    written(rows.conn.prepare_cached(&sql)?.execute(params_from_iter(values))?)?;
    rows.store(key, row)
}
