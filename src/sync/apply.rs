//! Merging batches.

use rusqlite::{Connection, TransactionBehavior};

use super::batch::Batch;
use super::cursor::{Cursor, Since};
use super::error::{ApplyError, CreateError, Error};
use super::filters::{Filters, RowFilters};
use super::peers::{self, Event};
use super::replica::Replica;
use super::schema::Schema;
use super::{incoming, outbox, schemas, waiting};
use crate::crr::{Engine, SiteId, Version};

/// What applying a batch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Changes that won.
    pub applied: u64,
    /// What is now held of the sender's versions.
    pub received: Since,
    /// This copy's own cursor.
    pub at: Cursor,
    /// Whether the batch was put aside until this database is migrated to its schema. It is durable, and counts as received.
    pub waits: bool,
}

/// How the rows of a batch fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Now,
    AfterMigration,
}

impl Replica {
    /// Merges a batch, writes down what this copy now holds, and moves the sender's cursor: all of it or nothing.
    ///
    /// A batch that begins after what is held is refused. One that was applied before changes nothing, and no batch moves
    /// the cursor back; one without `start` moves it nowhere. A transaction that comes in pieces is merged with the last of
    /// them. A batch of a schema that only adds to this database's, and that brings its text, waits for the migration.
    pub fn apply_changes(&mut self, batch: &Batch) -> Result<Applied, ApplyError> {
        self.apply_within(batch, None)
    }

    /// The same for a sender who may use the rows within `filters` only, and write those and make such. A batch that does
    /// otherwise is refused as a whole, and so is one that would have to wait for a migration.
    pub fn apply_changes_within(&mut self, batch: &Batch, filters: &RowFilters) -> Result<Applied, ApplyError> {
        self.apply_within(batch, Some(filters))
    }

    fn apply_within(&mut self, batch: &Batch, filters: Option<&RowFilters>) -> Result<Applied, ApplyError> {
        self.validate(batch)?;
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::from)?;
        let compile = |filters| Filters::compile(&transaction, &self.engine, &self.authorizer, filters);
        let filters = filters.map(compile).transpose()?;
        let applied = apply(&transaction, &self.engine, self.schema.as_ref(), batch, filters.as_ref())?;
        transaction.commit().map_err(Error::from)?;
        Ok(applied)
    }

    /// What the batch alone shows to be wrong with it; its rows are the engine's to check.
    pub(super) fn validate(&self, batch: &Batch) -> Result<(), ApplyError> {
        let invalid = |reason: &str| Err(ApplyError::InvalidBatch(reason.into()));
        if batch.from == self.site() {
            return invalid("`from` is this copy's own site");
        }
        let Ok(pieces) = batch.pieces() else {
            return invalid("a transaction stands twice in `partial`");
        };
        for (partial, changes) in pieces.0 {
            if partial.seqs.last().is_none_or(|last| last > partial.last_seq) {
                return invalid("a piece of a transaction is empty, or reaches behind its last change");
            }
            if changes.iter().any(|change| !partial.seqs.contains(change.seq)) {
                return invalid("a change of a transaction in `partial` is outside of its `seqs`");
            }
        }
        let (Some(start), Some(end)) = (batch.start, batch.end) else {
            if batch.start.is_some() || batch.end.is_some() {
                return invalid("`start` and `end` come together");
            }
            if batch.since.is_some() {
                return invalid("`since` without `start`");
            }
            return Ok(());
        };
        if start > end {
            return invalid("`end` is before `start`");
        }
        match batch.since {
            None => {}
            Some(Since::Within(place)) if follows(place.cursor, batch.from, start) => {}
            Some(_) => return invalid("`since` is not a place inside the version after `start`"),
        }
        if let Some(place) = batch.stops_within()
            && !follows(place.cursor, batch.from, end)
        {
            return invalid("`next` is not a place inside the version after `end`");
        }
        Ok(())
    }
}

/// The same within the caller's transaction, for a batch that is valid by itself.
pub(super) fn apply(
    conn: &Connection,
    engine: &Engine,
    schema: Option<&Schema>,
    batch: &Batch,
    filters: Option<&Filters>,
) -> Result<Applied, ApplyError> {
    let peer = batch.from;
    let held = peers::held(conn, peer)?;
    check_order(batch, held)?;
    let fit = fit(conn, schema, batch)?;
    let sender = engine.ordinal_or_new(conn, peer).map_err(Error::from)?;
    let waits = fit == Fit::AfterMigration || (batch.start.is_some() && waiting::is_any_of(conn, sender)?);
    if let (true, Some(_), Some(ours)) = (waits, filters, schema) {
        // What it may write then is not known now.
        return Err(ApplyError::SchemaMismatch { schema: ours.hash().clone() });
    }
    let (mut applied, mut version) = (0, engine.db_version(conn).map_err(Error::from)?);
    match &batch.schema {
        Some(schema) if waits => waiting::keep(conn, sender, schema, batch)?,
        _ => {
            let merged = incoming::merge(conn, engine, batch, filters)?;
            applied = merged.applied;
            version = merged.version.unwrap_or(version);
            if let Some(version) = merged.version {
                peers::arrived(conn, peer, version)?;
            }
            if merged.applied > 0 {
                outbox::mark_unsent(conn, Some(peer))?;
            }
        }
    }
    let received = advance(conn, batch, held)?;
    if let Some(have) = batch.have {
        let version = engine.db_version(conn).map_err(Error::from)?;
        outbox::heard(conn, peer, have, Cursor { site: engine.site_id(), version })?;
    }
    // What is told of the outcome is read before the commit: after it there must be no error.
    Ok(Applied { applied, received, at: Cursor { site: engine.site_id(), version }, waits })
}

/// Whether the rows of the batch fit the database, which has the schema `ours`.
fn fit(conn: &Connection, ours: Option<&Schema>, batch: &Batch) -> Result<Fit, ApplyError> {
    let (Some(hash), Some(ours)) = (&batch.schema, ours) else { return Ok(Fit::Now) };
    if hash == ours.hash() || schemas::fits(conn, hash)? {
        return Ok(Fit::Now);
    }
    if waiting::is_any_for(conn, hash)? {
        return Ok(Fit::AfterMigration);
    }
    let mismatch = || ApplyError::SchemaMismatch { schema: ours.hash().clone() };
    let theirs = Schema::parse(batch.schema_text.as_deref().ok_or_else(mismatch)?).map_err(schema_error)?;
    if theirs.hash() != hash {
        return Err(ApplyError::InvalidBatch("`schema` is not the hash of `schema_text`".into()));
    }
    if schemas::only_adds(&theirs, ours).map_err(schema_error)? {
        schemas::record(conn, &theirs)?;
        return Ok(Fit::Now);
    }
    if schemas::only_adds(ours, &theirs).map_err(schema_error)? {
        return Ok(Fit::AfterMigration);
    }
    Err(mismatch())
}

fn schema_error(error: CreateError) -> ApplyError {
    match error {
        CreateError::Replica(error) => error.into(),
        error => ApplyError::InvalidBatch(format!("`schema_text`: {error}")),
    }
}

/// Whether `cursor` is of `site`'s version after `version`.
fn follows(cursor: Cursor, site: SiteId, version: Version) -> bool {
    cursor.site == site && version.next().is_ok_and(|next| next == cursor.version)
}

/// Refuses a batch that begins after what is held.
fn check_order(batch: &Batch, held: Since) -> Result<(), ApplyError> {
    let Some(start) = batch.start else {
        return Ok(());
    };
    let begins = match batch.begins_within() {
        Some(place) => Since::Within(place),
        None => Since::After(Cursor { site: batch.from, version: start }),
    };
    if begins.is_later_than(&held) {
        return Err(ApplyError::OutOfOrder { expected: held });
    }
    Ok(())
}

/// Moves the sender's cursor over the batch, and returns where it is then.
fn advance(conn: &Connection, batch: &Batch, held: Since) -> Result<Since, Error> {
    let (peer, Some(end)) = (batch.from, batch.end) else { return Ok(held) };
    let reached = match batch.stops_within() {
        Some(place) => Since::Within(place),
        None => Since::After(Cursor { site: peer, version: end }),
    };
    if !reached.is_later_than(&held) {
        return Ok(held);
    }
    peers::advance(conn, Event::Received, peer, end)?;
    peers::set_place(conn, peer, batch.stops_within())?;
    Ok(reached)
}
