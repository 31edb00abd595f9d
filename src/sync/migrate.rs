//! Giving a database another schema.

use rusqlite::{Connection, TransactionBehavior};

use super::batch::SchemaHash;
use super::cursor::Cursor;
use super::error::{ApplyError, Error, MigrateError};
use super::replica::{Replica, record_schema};
use super::schema::Schema;
use super::{incoming, outbox, schemas, waiting};
use crate::crr::migrate::{Plan, Step};
use crate::crr::{self, Engine};

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// What became of the database.
    pub status: MigrationStatus,
    /// The steps that were done; none for a database that was created.
    pub plan: Plan,
    /// The schema's identity.
    pub schema: SchemaHash,
    /// This copy's own cursor.
    pub at: Cursor,
}

/// What became of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationStatus {
    /// It is new.
    Created,
    /// It had another schema.
    Migrated,
    /// It had that schema.
    Unchanged,
}

impl Replica {
    /// Creates the database, or brings it from the schema that it has to this one. Clocks are kept, and batches that waited
    /// for the schema are merged, all in one transaction.
    ///
    /// A step that loses values is refused unless `allow_destructive` names it: `table` to drop one, `table.column` for a
    /// column.
    pub fn create_or_migrate_database(
        &mut self,
        schema: &Schema,
        allow_destructive: &[String],
    ) -> Result<Migrated, MigrateError> {
        let (hash, unchanged) = (schema.hash().clone(), Plan::default());
        match &self.schema {
            None => {
                let created = self.create_database_if_not_exists(schema)?;
                return Ok(Migrated {
                    status: MigrationStatus::Created,
                    plan: unchanged,
                    schema: hash,
                    at: created.at,
                });
            }
            Some(ours) if ours.hash() == schema.hash() => {
                let at = self.at()?;
                return Ok(Migrated { status: MigrationStatus::Unchanged, plan: unchanged, schema: hash, at });
            }
            Some(_) => {}
        }
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::from)?;
        let plan = self.engine.plan_migration(&transaction, schema.text()).map_err(refused)?;
        if plan.steps.iter().any(|step| !is_allowed(step, allow_destructive)) {
            return Err(MigrateError::Refused { plan });
        }
        let plan = self.engine.migrate(&transaction, schema.text()).map_err(refused)?;
        record_schema(&transaction, schema)?;
        let applied = merge_waiting(&transaction, &self.engine, schema)?;
        if applied > 0 {
            outbox::mark_unsent(&transaction, None)?;
        }
        transaction.commit().map_err(Error::from)?;
        self.schema = Some(schema.clone());
        self.cut = None;
        Ok(Migrated { status: MigrationStatus::Migrated, plan, schema: hash, at: self.at()? })
    }
}

/// Merges the batches whose schema fits now, in the order in which they came. Returns how many changes won.
fn merge_waiting(conn: &Connection, engine: &Engine, schema: &Schema) -> Result<u64, MigrateError> {
    let (mut last, mut applied) = (0, 0);
    while let Some(waiting) = waiting::after(conn, last)? {
        last = waiting.id;
        let theirs = waiting.batch.schema.as_ref();
        if theirs.is_some_and(|theirs| theirs != schema.hash()) && !fits(conn, &waiting, schema)? {
            continue;
        }
        conn.execute_batch("SAVEPOINT crsql_sync_waiting").map_err(Error::from)?;
        let merged = incoming::merge(conn, engine, &waiting.batch, None);
        let ended = match &merged {
            Ok(_) => "RELEASE crsql_sync_waiting",
            Err(_) => "ROLLBACK TO crsql_sync_waiting; RELEASE crsql_sync_waiting",
        };
        conn.execute_batch(ended).map_err(Error::from)?;
        match merged {
            Ok(merged) => {
                applied += merged.applied;
                waiting::forget(conn, waiting.id)?;
            }
            // One that does not fit after all must not hold up the migration.
            Err(ApplyError::Replica(error)) => return Err(error.into()),
            Err(error) => waiting::set_failure(conn, waiting.id, &error.to_string())?,
        }
    }
    Ok(applied)
}

/// Whether rows of the schema that a batch waits for fit `schema` as well.
fn fits(conn: &Connection, waiting: &waiting::Waiting, schema: &Schema) -> Result<bool, MigrateError> {
    let Some(hash) = &waiting.batch.schema else { return Ok(true) };
    if schemas::fits(conn, hash)? {
        return Ok(true);
    }
    let Some(text) = &waiting.batch.schema_text else { return Ok(false) };
    let theirs = Schema::parse(text)?;
    let fits = schemas::only_adds(&theirs, schema)?;
    if fits {
        schemas::record(conn, &theirs)?;
    }
    Ok(fits)
}

/// Whether a step loses nothing, or nothing that may not be lost.
fn is_allowed(step: &Step, allowed: &[String]) -> bool {
    step.loses().iter().all(|name| allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)))
}

/// A migration that the engine did not do.
fn refused(error: crr::Error) -> MigrateError {
    match &error {
        crr::Error::Sqlite(sqlite) if !super::schema::is_fault_of_sql(sqlite) => Error::from(error).into(),
        _ => MigrateError::InvalidSchema(error.to_string()),
    }
}
