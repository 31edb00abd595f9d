//! Merging batches.

use rusqlite::TransactionBehavior;

use super::batch::Batch;
use super::cursor::{Cursor, Since};
use super::error::{ApplyError, Error};
use super::outbox;
use super::peers::{self, Event};
use super::replica::Replica;
use super::schema::is_fault_of_sql;
use crate::crr::{self, SiteId, Version};

/// What applying a batch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Changes that won.
    pub applied: u64,
    /// What is now held of the sender's versions.
    pub received: Since,
    /// This copy's own cursor.
    pub at: Cursor,
}

impl Replica {
    /// Merges a batch and moves the sender's cursor, both or neither.
    ///
    /// A batch that begins after what is held is refused. One that was applied before changes nothing, and no batch moves
    /// the cursor back; one without `start` moves it nowhere.
    pub fn apply_changes(&mut self, batch: &Batch) -> Result<Applied, ApplyError> {
        self.validate(batch)?;
        let peer = batch.from;
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::from)?;
        let held = peers::held(&transaction, peer)?;
        check_order(batch, held)?;
        let mut applied = 0;
        if !batch.changes.is_empty() {
            let merged = self.engine.merge(&transaction, &batch.changes).map_err(merge_error)?;
            applied = merged.applied;
            if let Some(version) = merged.version {
                peers::arrived(&transaction, peer, version)?;
                outbox::mark_unsent(&transaction, Some(peer))?;
            }
        }
        advance(&transaction, batch, held)?;
        if let Some(have) = batch.have {
            let version = self.engine.db_version(&transaction).map_err(Error::from)?;
            outbox::heard(&transaction, peer, have, Cursor { site: self.engine.site_id(), version })?;
        }
        let received = peers::held(&transaction, peer)?;
        transaction.commit().map_err(Error::from)?;
        Ok(Applied { applied, received, at: self.at()? })
    }

    /// What the batch alone shows to be wrong with it; its rows are the engine's to check.
    fn validate(&self, batch: &Batch) -> Result<(), ApplyError> {
        let invalid = |reason: &str| Err(ApplyError::InvalidBatch(reason.into()));
        if batch.from == self.site() {
            return invalid("`from` is this copy's own site");
        }
        if let (Some(theirs), Some(ours)) = (&batch.schema, self.schema())
            && theirs != ours.hash()
        {
            return Err(ApplyError::SchemaMismatch { schema: ours.hash().clone() });
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

/// Moves the sender's cursor over the batch.
fn advance(conn: &rusqlite::Connection, batch: &Batch, held: Since) -> Result<(), Error> {
    let peer = batch.from;
    if let Some(end) = batch.end {
        let reached = match batch.stops_within() {
            Some(place) => Since::Within(place),
            None => Since::After(Cursor { site: peer, version: end }),
        };
        if reached.is_later_than(&held) {
            peers::advance(conn, Event::Received, peer, end)?;
            peers::set_place(conn, peer, batch.stops_within())?;
        }
    }
    Ok(())
}

/// A row that does not fit this database is the batch's fault.
fn merge_error(error: crr::Error) -> ApplyError {
    match error {
        crr::Error::UnknownTable(_)
        | crr::Error::UnknownColumn { .. }
        | crr::Error::InvalidKey(_)
        | crr::Error::InvalidSiteId
        | crr::Error::OutOfRange { .. }
        | crr::Error::InvalidChange(_) => ApplyError::InvalidBatch(error.to_string()),
        crr::Error::Sqlite(ref sqlite) if is_fault_of_sql(sqlite) && sqlite.sqlite_error_code().is_some() => {
            ApplyError::InvalidBatch(error.to_string())
        }
        _ => Error::from(error).into(),
    }
}
