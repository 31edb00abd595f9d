//! Local writes become clocks.
//!
//! The events of a transaction are replayed in order against the clocks of the rows that they name. The rules are
//! cr-sqlite's, statement by statement:
//!
//! | write | clock |
//! | --- | --- |
//! | insert of a new row | every cell at version 1, no sentinel; a table without other columns gets a sentinel at 1 |
//! | insert over a row (REPLACE) | every cell + 1; a sentinel, where there is one, + 2 |
//! | insert of a deleted row | sentinel + 1, every cell at version 1 |
//! | update | each changed cell + 1 |
//! | update of the primary key | the old row is deleted, the new one gets a sentinel, the cells move and are restamped |
//! | delete | a tombstone at the sentinel + 1, or 2; the cells are forgotten |
//!
//! Restamping differs from cr-sqlite, which leaves moved cells under their old version: a peer that reads from a cursor
//! never sees them, and the row arrives there without its values.

mod cells;
mod pending;
mod table;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::{Connection, ffi};

use super::journal::{Event, Kind};
use super::log;
use super::state::{Shared, State};
use super::table::TableId;
use super::{Error, Result, Version, catalog, compact};
use crate::crr::sort::sort;
pub(super) use cells::CellWrites;
pub(super) use pending::Pending;
use table::Writes;

/// Registers what the statements of a flush call and read.
pub(super) fn register(conn: &Connection, shared: &Shared) -> Result<()> {
    cells::register(conn, shared)?;
    pending::register(conn, shared.clone())?;
    Ok(())
}

/// Writes the clocks of the local writes so far, and the log of the open transaction: what readers of changes need.
pub(super) fn flush(conn: &Connection, state: &State) -> Result<()> {
    flush_clocks(conn, state)?;
    if !state.transaction.log_is_stale.get() {
        return Ok(());
    }
    keeping_rowid(conn, || write_log(conn, state))
}

/// Writes the clocks of the local writes so far: what a merge needs.
pub(super) fn flush_clocks(conn: &Connection, state: &State) -> Result<()> {
    let events = state.journal.borrow_mut().take();
    let is_broken = &state.transaction.is_broken;
    if is_broken.get() {
        return Err(Error::Unrecorded);
    }
    if events.is_empty() {
        return Ok(());
    }
    let written = keeping_rowid(conn, || write_clocks(conn, state, events));
    is_broken.set(written.is_err());
    written
}

/// What the application inserted last is none of the engine's records.
fn keeping_rowid<T>(conn: &Connection, work: impl FnOnce() -> T) -> T {
    let rowid = conn.last_insert_rowid();
    let outcome = work();
    // SAFETY: the handle is open.
    unsafe { ffi::sqlite3_set_last_insert_rowid(conn.handle(), rowid) };
    outcome
}

fn write_clocks(conn: &Connection, state: &State, events: Vec<Event>) -> Result<()> {
    let version = state.next_version(conn, Version::ZERO)?;
    let known = state.tables(conn)?;
    let mut tables: HashMap<TableId, Writes<'_>> = HashMap::new();
    for event in events {
        if let Kind::Burnt { seqs } = event.kind {
            state.take_seqs(seqs);
            continue;
        }
        let writes = match tables.entry(event.table) {
            Entry::Occupied(writes) => writes.into_mut(),
            Entry::Vacant(place) => match known.get(conn, event.table)? {
                Some(table) => place.insert(Writes::new(state, version, table)),
                // A table that is no longer replicated leaves its last writes untracked.
                None => continue,
            },
        };
        writes.event(event.kind)?;
    }
    let mut touched = Vec::new();
    for writes in tables.into_values() {
        writes.finish(&mut touched)?;
    }
    touched.into_iter().for_each(|row| state.touch(version, row));
    Ok(())
}

/// Writes the log of the open transaction so far, and with it the version that a reader finds after the commit.
fn write_log(conn: &Connection, state: &State) -> Result<()> {
    let transaction = &state.transaction;
    if !transaction.log_is_stale.get() {
        return Ok(());
    }
    if transaction.base.get().is_none() {
        transaction.base.set(Some(catalog::version(conn)?));
    }
    let mut touched = transaction.touched.borrow().clone();
    sort(&mut touched);
    touched.dedup();
    for rows in touched.chunk_by(|a, b| a.0 == b.0) {
        let Some((version, _)) = rows.first() else { continue };
        log::write(conn, *version, &rows.iter().map(|(_, row)| *row).collect::<Vec<_>>())?;
    }
    transaction.log_is_stale.set(false);
    let Some((version, _)) = touched.last() else { return Ok(()) };
    catalog::set_version(conn, *version)?;
    compact::if_due(conn, state.tables(conn)?.as_ref(), *version)
}
