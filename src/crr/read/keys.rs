//! Rows by their keys, and by their numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::super::log::{self, Run};
use super::super::sort::sort;
use super::super::state::State;
use super::super::table::{Table, TableId};
use super::super::value::bound;
use super::super::{Change, Result, Version};
use super::whole::RowId;
use super::{Cells, Reader};

/// The names of the rows of a table that have these keys.
pub(in crate::crr) fn row_ids(conn: &Connection, state: &State, table: &str, keys: &[i64]) -> Result<Vec<RowId>> {
    let Some(table) = state.tables(conn)?.named(conn, table)? else { return Ok(Vec::new()) };
    let mut ids = Vec::with_capacity(keys.len());
    name(conn, &table, keys.iter().copied(), &mut |id, _| ids.push(id))?;
    sort(&mut ids);
    Ok(ids)
}

/// Says of each key what the row is called that has it.
fn name(
    conn: &Connection,
    table: &Table,
    keys: impl Iterator<Item = i64>,
    say: &mut dyn FnMut(RowId, i64),
) -> Result<()> {
    let id = |number| RowId { table: table.id.0, number };
    if !has_numbers(conn, table)? {
        keys.for_each(|key| say(id(key), key));
        return Ok(());
    }
    let sql = format!("SELECT coalesce(number, key) FROM main.{} WHERE key = ?", Table::clocks(&table.stored_as));
    let mut find = conn.prepare_cached(&sql)?;
    for key in keys {
        // A row without a clock is not known to others.
        if let Some(number) = find.query_row([key], |row| row.get(0)).optional()? {
            say(id(number), key);
        }
    }
    Ok(())
}

/// Visits rows and tombstones, which are in order, each with its changes after the local version `since`; those that have none
/// are passed over. The visitor is told whether the row is alive.
pub(in crate::crr) fn changes_of(
    conn: &Connection,
    state: &State,
    rows: &[RowId],
    since: Version,
    visit: &mut dyn FnMut(RowId, bool, Vec<Change>) -> ControlFlow<()>,
) -> Result<()> {
    let mut reader = Reader::of_all(conn, state)?;
    if since > Version::ZERO {
        reader.reading = since.get().saturating_add(1)..=i64::MAX;
    }
    for rows in rows.chunk_by(|a, b| a.table == b.table) {
        let Some(table) = rows.first().map(|row| TableId(row.table)) else { continue };
        // One that is gone has no rows.
        let Some(table) = reader.tables.get(conn, table)? else { continue };
        let numbers: Vec<i64> = rows.iter().map(|row| row.number).collect();
        let keys = keys_of(conn, &table, &numbers)?;
        let mut alive = BTreeSet::new();
        let mut read = |tombstone: bool, keys: &[i64], alive: &mut BTreeSet<i64>| -> Result<ControlFlow<()>> {
            let mut cells = Cells::default();
            // Keys that follow each other are read by one statement.
            for run in keys.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
                let (Some(&first), Some(&last)) = (run.first(), run.last()) else { continue };
                let run = Run { table: table.id, tombstone, first, last };
                let read = reader.read_each(conn, run, &mut cells, &mut |number, cells| {
                    if !tombstone {
                        alive.insert(number);
                    }
                    let changes = cells.drain().map(|change| Ok(change?.1)).collect::<Result<Vec<_>>>()?;
                    cells.clear();
                    if changes.is_empty() {
                        return Ok(ControlFlow::Continue(()));
                    }
                    Ok(visit(RowId { table: table.id.0, number }, !tombstone, changes))
                })?;
                if read.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        if read(false, &keys, &mut alive)?.is_break() {
            break;
        }
        let dead: Vec<i64> = numbers.into_iter().filter(|number| !alive.contains(number)).collect();
        if read(true, &dead, &mut alive)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Which of the rows with these packed primary keys are alive, by their places, and their integer keys. One that came in behind
/// the engine's back may have none yet.
pub(in crate::crr) fn live_keys<'k>(
    conn: &Connection,
    table: &Table,
    pks: impl Iterator<Item = &'k [u8]>,
) -> Result<Vec<(usize, Option<i64>)>> {
    let mut find = conn.prepare_cached(&table.sql.find_row)?;
    let mut alive = Vec::new();
    for (at, pk) in pks.enumerate() {
        let pk = table.unpack_pk(pk)?;
        let found: Option<Option<i64>> = find.query_row(params_from_iter(bound(&pk)), |row| row.get(0)).optional()?;
        alive.extend(found.map(|key| (at, key)));
    }
    Ok(alive)
}

/// The keys of the live rows that have these numbers.
fn keys_of(conn: &Connection, table: &Arc<Table>, numbers: &[i64]) -> Result<Vec<i64>> {
    if !has_numbers(conn, table)? {
        return Ok(numbers.to_vec());
    }
    let clocks = Table::clocks(&table.stored_as);
    let sql = format!(
        "SELECT key FROM main.{clocks} WHERE number = ?1
         UNION ALL SELECT key FROM main.{clocks} WHERE key = ?1 AND number IS NULL"
    );
    let mut find = conn.prepare_cached(&sql)?;
    let mut keys = Vec::with_capacity(numbers.len());
    for number in numbers {
        keys.extend(find.query_row([number], |row| row.get::<_, i64>(0)).optional()?);
    }
    keys.sort_unstable();
    Ok(keys)
}

/// Whether a row of the table has another number than its key.
fn has_numbers(conn: &Connection, table: &Table) -> Result<bool> {
    Ok(conn.prepare_cached(&table.sql.any_number)?.query_row([], |row| row.get(0))?)
}

/// The rows and tombstones that the log names after `since`, each with the key by which the log speaks of a live row.
pub(in crate::crr) fn touched(
    conn: &Connection,
    state: &State,
    since: Version,
) -> Result<BTreeMap<RowId, Option<i64>>> {
    let mut touched = BTreeMap::new();
    let tables = state.tables(conn)?;
    let mut log = conn.prepare_cached("SELECT touched FROM main.crsql_log WHERE version > ?")?;
    let mut records = log.query([since.get()])?;
    while let Some(record) = records.next()? {
        for run in log::runs(record.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)? {
            let Some(table) = tables.get(conn, run.table)? else { continue };
            let keys = run.first..=run.last;
            if run.tombstone {
                for number in keys {
                    // A tombstone's key is its number.
                    touched.entry(RowId { table: run.table.0, number }).or_insert(None);
                }
            } else {
                name(conn, &table, keys, &mut |id, key| _ = touched.insert(id, Some(key)))?;
            }
        }
    }
    Ok(touched)
}
