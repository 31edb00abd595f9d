//! Batches of a schema that is still to come here. They are kept as they came, and merged after the migration.

use rusqlite::Connection;

use super::batch::{Batch, SchemaHash};
use super::error::Error;
use super::json;
use crate::crr::Ordinal;

pub(super) const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS crsql_sync_waiting (
        id INTEGER PRIMARY KEY, peer INTEGER NOT NULL, schema TEXT NOT NULL, batch TEXT NOT NULL, failure TEXT
    ) STRICT;";

/// A batch that waits.
pub(super) struct Waiting {
    pub(super) id: i64,
    pub(super) batch: Batch,
}

/// Keeps a batch.
pub(super) fn keep(conn: &Connection, peer: Ordinal, schema: &SchemaHash, batch: &Batch) -> Result<(), Error> {
    let text = serde_json::to_string(batch).map_err(|_| Error::Corrupt("a batch cannot be written down"))?;
    conn.prepare_cached("INSERT INTO crsql_sync_waiting (peer, schema, batch) VALUES (?1, ?2, ?3)")?.execute((
        peer.get(),
        schema.as_str(),
        text,
    ))?;
    Ok(())
}

/// Whether a batch of `peer` waits: what comes after it has to wait as well.
pub(super) fn is_any_of(conn: &Connection, peer: Ordinal) -> Result<bool, Error> {
    Ok(conn.prepare_cached("SELECT 1 FROM crsql_sync_waiting WHERE peer = ?1 LIMIT 1")?.exists([peer.get()])?)
}

/// Whether a batch of this schema waits, so that it is known to be one that can.
pub(super) fn is_any_for(conn: &Connection, schema: &SchemaHash) -> Result<bool, Error> {
    Ok(conn.prepare_cached("SELECT 1 FROM crsql_sync_waiting WHERE schema = ?1 LIMIT 1")?.exists([schema.as_str()])?)
}

/// How many batches wait.
pub(super) fn count(conn: &Connection) -> Result<u64, Error> {
    let count: i64 = conn.prepare_cached("SELECT count(*) FROM crsql_sync_waiting")?.query_row([], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// The batch after `id`, in the order in which they came.
pub(super) fn after(conn: &Connection, id: i64) -> Result<Option<Waiting>, Error> {
    let mut select =
        conn.prepare_cached("SELECT id, batch FROM crsql_sync_waiting WHERE id > ?1 ORDER BY id LIMIT 1")?;
    let mut rows = select.query([id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let text = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
    let batch = json::read(text.as_bytes()).map_err(|_| Error::Corrupt("a batch that waits is damaged"))?;
    Ok(Some(Waiting { id: row.get(0)?, batch }))
}

/// Forgets one that was merged.
pub(super) fn forget(conn: &Connection, id: i64) -> Result<(), Error> {
    conn.prepare_cached("DELETE FROM crsql_sync_waiting WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Notes why one could not be merged after all. It is tried again after the next migration.
pub(super) fn set_failure(conn: &Connection, id: i64, failure: &str) -> Result<(), Error> {
    conn.prepare_cached("UPDATE crsql_sync_waiting SET failure = ?2 WHERE id = ?1")?.execute((id, failure))?;
    Ok(())
}
