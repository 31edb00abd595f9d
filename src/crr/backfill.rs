//! Clocks for what was written while nobody listened: before a table was replicated, or during an alteration.

use std::sync::Arc;

use rusqlite::Connection;

use super::clock::{ColumnId, RowClock, SELF, Stamp};
use super::log::Touched;
use super::quote::{identifier, list};
use super::rows::{Clocked, Rows, tombstone_stamp};
use super::state::State;
use super::table::{Column, Key, Table};
use super::{CausalLength, Result};

/// Gives every row of `table` that has no clock one of `version`, in the order of primary keys. A row over a tombstone
/// continues its causal length, so that it is alive everywhere.
pub(super) fn missing_rows(conn: &Connection, state: &State, table: &Arc<Table>, version: i64) -> Result<Vec<Touched>> {
    if table.key == Key::Mapped {
        conn.execute_batch(&table.sql.add_missing_keys)?;
    }
    let mut missing = conn.prepare(&table.sql.rows_without_clock)?;
    // Read before the first write: a clock that is stored would move the scan.
    let missing: Vec<(i64, Option<i64>, Option<Vec<u8>>)> =
        missing.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect::<Result<_, _>>()?;
    let stamp = |col_version| stamp(state, version, col_version);
    let mut rows = Rows::new(conn, table.clone());
    let mut touched = Vec::with_capacity(missing.len());
    for (key, tombstone, record) in missing {
        let mut clock = RowClock::default();
        let number = if let (Some(number), Some(record)) = (tombstone, record) {
            let cl = CausalLength::new(tombstone_stamp(&record)?.col_version + 1)?;
            clock.set(ColumnId::SENTINEL, stamp(cl.get()));
            rows.exhume(number)?;
            number
        } else {
            if table.columns.is_empty() {
                clock.set(ColumnId::SENTINEL, stamp(1));
            }
            rows.new_number(key, 0)?
        };
        for column in &table.columns {
            clock.set(column.id, stamp(1));
        }
        rows.store(key, &Clocked { clock, number })?;
        touched.push(Touched { table: table.id, tombstone: false, key });
    }
    Ok(touched)
}

/// Gives the cells that have no entry in their row's clock theirs, column by column, where the value is not the default.
pub(super) fn missing_cells(conn: &Connection, state: &State, table: &Arc<Table>, version: i64) -> Result<()> {
    if table.columns.is_empty() {
        return Ok(());
    }
    let set = table.columns.iter().map(|column| is_set(conn, table, column)).collect::<Result<Vec<_>>>()?;
    let mut scan = conn.prepare(&format!(
        "SELECT c.key, c.clock, {} FROM main.{} c JOIN main.{} t ON {} = c.key ORDER BY c.key",
        list(&set),
        Table::clocks(&table.stored_as),
        identifier(&table.name),
        table.sql.key,
    ))?;
    let mut lacking = Vec::new();
    let mut found = scan.query([])?;
    while let Some(row) = found.next()? {
        let clock = RowClock::decode(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
        let mut lacks = Vec::new();
        for (i, column) in table.columns.iter().enumerate() {
            if clock.get(column.id).is_none() && row.get(2 + i)? {
                lacks.push(column.id);
            }
        }
        if !lacks.is_empty() {
            lacking.push((row.get::<_, i64>(0)?, clock, lacks));
        }
    }
    drop(found);
    for column in &table.columns {
        for (_, clock, _) in lacking.iter_mut().filter(|(_, _, lacks)| lacks.contains(&column.id)) {
            clock.set(column.id, stamp(state, version, 1));
        }
    }
    let mut rows = Rows::new(conn, table.clone());
    for (key, clock, _) in lacking {
        rows.replace_clock(key, &clock)?;
    }
    Ok(())
}

/// The condition by which a cell holds something else than its column's default.
fn is_set(conn: &Connection, table: &Table, column: &Column) -> Result<String> {
    let default: Option<String> = conn
        .prepare_cached("SELECT dflt_value FROM pragma_table_info(?, 'main') WHERE name = ?")?
        .query_row((&*table.name, &*column.name), |row| row.get(0))?;
    Ok(format!("(t.{} IS NOT ({}))", identifier(&column.name), default.as_deref().unwrap_or("NULL")))
}

fn stamp(state: &State, version: i64, col_version: i64) -> Stamp {
    Stamp { col_version, local: version, site: SELF, version, seq: state.take_seqs(1) }
}
