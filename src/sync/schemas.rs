//! Which rows fit: the schemas that a database had, and what a migration leads to.

use rusqlite::{Connection, OptionalExtension};

use super::authorizer::Authorizer;
use super::batch::SchemaHash;
use super::error::{CreateError, Error};
use super::schema::{self, Schema};
use crate::crr::Engine;

pub(super) const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS crsql_sync_schemas (hash TEXT PRIMARY KEY NOT NULL, text TEXT NOT NULL) STRICT, WITHOUT ROWID;";

/// Records that rows of `schema` fit the database.
pub(super) fn record(conn: &Connection, schema: &Schema) -> Result<(), Error> {
    conn.prepare_cached("INSERT OR IGNORE INTO crsql_sync_schemas (hash, text) VALUES (?1, ?2)")?
        .execute((schema.hash().as_str(), schema.text()))?;
    Ok(())
}

/// Whether rows of the schema `hash` are known to fit.
pub(super) fn fits(conn: &Connection, hash: &SchemaHash) -> Result<bool, Error> {
    let mut find = conn.prepare_cached("SELECT 1 FROM crsql_sync_schemas WHERE hash = ?1")?;
    Ok(find.query_row([hash.as_str()], |_| Ok(())).optional()?.is_some())
}

/// Whether a migration from one schema to another takes nothing away: rows of the first fit the second.
pub(super) fn only_adds(from: &Schema, to: &Schema) -> Result<bool, CreateError> {
    let mut conn = Connection::open_in_memory().map_err(Error::from)?;
    let engine = Engine::install(&conn).map_err(Error::from)?;
    let authorizer = Authorizer::install(&mut conn).map_err(Error::from)?;
    schema::execute(&conn, &authorizer, from.text())?;
    match engine.plan_migration(&conn, to.text()) {
        Ok(plan) => Ok(!plan.is_destructive()),
        // There is no way from the one to the other.
        Err(_) => Ok(false),
    }
}
