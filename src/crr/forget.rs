//! Rows that this copy no longer holds, though nobody deleted them.

use rusqlite::Connection;

use super::clock::SELF;
use super::merge::Merging;
use super::state::State;
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
