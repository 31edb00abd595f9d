//! Rows by their keys.

use std::ops::ControlFlow;

use rusqlite::Connection;

use super::super::log::Run;
use super::super::state::State;
use super::super::{Change, Result, Version};
use super::whole::RowId;
use super::{Cells, Reader};

/// Visits the live rows of a table with these keys, which are in order, each with its changes after the local version
/// `since`; rows that have none are passed over.
pub(in crate::crr) fn changes_of(
    conn: &Connection,
    state: &State,
    table: &str,
    keys: &[i64],
    since: Version,
    visit: &mut dyn FnMut(RowId, Vec<Change>) -> ControlFlow<()>,
) -> Result<()> {
    let mut reader = Reader::of_all(conn, state)?;
    if since > Version::ZERO {
        reader.reading = since.get().saturating_add(1)..=i64::MAX;
    }
    let Some(table) = reader.tables.named(conn, table)?.map(|table| table.id) else { return Ok(()) };
    let mut cells = Cells::default();
    // Keys that follow each other are read by one statement.
    for run in keys.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
        let (Some(&first), Some(&last)) = (run.first(), run.last()) else { continue };
        let run = Run { table, tombstone: false, first, last };
        let read = reader.read_each(conn, run, &mut cells, &mut |number, cells| {
            let changes = cells.drain().map(|change| Ok(change?.1)).collect::<Result<Vec<_>>>()?;
            cells.clear();
            if changes.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            Ok(visit(RowId { table: table.0, number }, changes))
        })?;
        if read.is_break() {
            break;
        }
    }
    Ok(())
}
