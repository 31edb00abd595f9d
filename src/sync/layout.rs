//! The tables of this module, in the database that they speak of.

use rusqlite::Connection;

use super::error::Error;
use super::{answers, ledger, partials, peers, quarantine, schemas, waiting};

const TABLES: [&str; 7] = [
    answers::TABLE,
    ledger::TABLES,
    partials::TABLES,
    peers::TABLES,
    quarantine::TABLE,
    schemas::TABLE,
    waiting::TABLE,
];

/// The tables that came first and last, to see what is there.
const OLDEST: &str = "crsql_sync_peers";
const NEWEST: &str = "crsql_sync_quarantine";

/// Creates the tables where they are missing.
pub(super) fn install(conn: &Connection) -> Result<(), Error> {
    if is_installed(conn)? {
        return Ok(());
    }
    // In one transaction, or another connection could see a half of them.
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let created = create(conn);
    conn.execute_batch(if created.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    created
}

/// Whether all are there.
fn is_installed(conn: &Connection) -> Result<bool, Error> {
    has_table(conn, NEWEST)
}

/// Whether some are there, if only those of an earlier release.
pub(super) fn is_any(conn: &Connection) -> Result<bool, Error> {
    has_table(conn, OLDEST)
}

/// Creates them within the caller's transaction.
pub(super) fn create(conn: &Connection) -> Result<(), Error> {
    // What was received before there was a ledger is not in it: it is asked for again.
    let was_synced = is_any(conn)? && !has_table(conn, "crsql_sync_clock")?;
    TABLES.iter().try_for_each(|tables| conn.execute_batch(tables))?;
    if was_synced {
        conn.execute_batch("DELETE FROM crsql_tracked_peers WHERE tag = 0 AND event = 0")?;
    }
    Ok(())
}

/// Whether there is a table of that name.
pub(super) fn has_table(conn: &Connection, name: &str) -> Result<bool, Error> {
    let mut find = conn.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1")?;
    Ok(find.exists([name])?)
}
