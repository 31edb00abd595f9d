//! What a batch does to the database, once it is known to be in order: rows, pieces and claims.

use std::borrow::Cow;

use rusqlite::Connection;

use super::admission::{self, Admission};
use super::batch::Batch;
use super::clock::Clock;
use super::error::{ApplyError, Error};
use super::filters::Filters;
use super::ledger::Ledger;
use super::partials::{self, Transaction};
use super::ranges::{Range, Ranges};
use super::schema::is_fault_of_sql;
use crate::crr::{self, Change, Engine, Ordinal, Version};

/// What merging a batch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Merged {
    /// Changes that won.
    pub(super) applied: u64,
    /// The local version that tells of them, and of claims; `None` when there is nothing to tell.
    pub(super) version: Option<Version>,
}

/// Merges a batch and writes down what it makes this copy hold, within the caller's transaction. It is refused where it names
/// rows that are outside of `filters`, or ends there.
pub(super) fn merge(
    conn: &Connection,
    engine: &Engine,
    batch: &Batch,
    filters: Option<&Filters>,
) -> Result<Merged, ApplyError> {
    let ledger = Ledger::new(conn, engine);
    let own = ledger.own()?;
    let mut incoming = Incoming {
        conn,
        engine,
        ledger,
        via: engine.ordinal_or_new(conn, batch.from).map_err(Error::from)?,
        version: None,
    };
    let own = incoming.check_own(batch, own)?;
    let Sorted { ready: mut changes, completed, waiting } = incoming.sort_out(batch)?;
    if filters.is_some() {
        changes = admission::unclaimed(conn, engine, changes)?;
    }
    let admission = filters.map(|filters| Admission::of(conn, engine, filters, &changes));
    admission.as_ref().map_or(Ok(()), Admission::check)?;
    let mut applied = 0;
    if !changes.is_empty() {
        let merged = engine.merge(conn, &changes).map_err(change_error)?;
        (applied, incoming.version) = (merged.applied, merged.version.or(incoming.version));
    }
    admission.as_ref().map_or(Ok(()), Admission::check)?;
    incoming.claim(batch, completed, &waiting)?;
    if let Some(version) = incoming.version {
        incoming.ledger.account_merge(own, version)?;
    }
    Ok(Merged { applied, version: incoming.version })
}

/// The changes of a batch.
struct Sorted<'b> {
    /// Those that are merged now, with those that waited until now.
    ready: Cow<'b, [Change]>,
    /// Transactions whose last piece it brought.
    completed: Clock,
    /// Transactions of which pieces lack.
    waiting: Clock,
}

struct Incoming<'a> {
    conn: &'a Connection,
    engine: &'a Engine,
    ledger: Ledger<'a>,
    /// Who sent it.
    via: Ordinal,
    version: Option<Version>,
}

impl Incoming<'_> {
    /// Claims about ourselves that are beyond what we remember to have written, up to `own`: this copy was restored from an
    /// older one. The numbers are not given again, and what they named is missing, but for what the batch brings. Returns the
    /// last one.
    fn check_own(&mut self, batch: &Batch, own: Version) -> Result<Version, ApplyError> {
        let site = self.engine.site_id();
        let pieces = batch.partial.iter().filter(|partial| partial.site == site).map(|partial| partial.version);
        let last = pieces.chain(batch.covers.get(site).and_then(Ranges::last)).max();
        let Some(last) = last.filter(|last| *last > own) else { return Ok(own) };
        let at = self.engine.db_version(self.conn).map_err(Error::from)?;
        if last.get() - at.get() > MAX_JUMP {
            return Err(ApplyError::InvalidBatch(
                "the batch has transactions of this copy that are far ahead of what it wrote".into(),
            ));
        }
        if let Some(lost) = own.next().ok().and_then(|first| Range::new(first, last).ok()) {
            self.ledger.add_gap(Ordinal::SELF, own, lost)?;
        }
        self.version = Some(self.engine.take_version(self.conn, last).map_err(Error::from)?);
        Ok(last)
    }

    /// Puts pieces of transactions aside.
    fn sort_out<'b>(&self, batch: &'b Batch) -> Result<Sorted<'b>, ApplyError> {
        if batch.partial.is_empty() {
            let (completed, waiting) = (Clock::default(), Clock::default());
            return Ok(Sorted { ready: Cow::Borrowed(&batch.changes), completed, waiting });
        }
        let mut pieces = batch.pieces().map_err(|_| Error::Corrupt("a batch was not checked"))?;
        let (mut ready, mut completed, mut waiting) = (Vec::new(), Clock::default(), Clock::default());
        for (partial, changes) in &mut pieces.0 {
            let (author, version) = (partial.site, partial.version);
            let site = self.engine.ordinal_or_new(self.conn, author).map_err(Error::from)?;
            let of = Transaction { site, version };
            if self.ledger.held(site)?.contains(version) {
                // Held whole already: merged once more, it changes nothing.
                ready.extend(std::mem::take(changes).into_iter().cloned());
            } else if let Some(all) = partials::add(self.conn, of, partial, changes.iter().copied())? {
                ready.extend(all);
                completed.insert(author, Range::one(version));
            } else {
                self.ledger.hear(site, version)?;
                waiting.insert(author, Range::one(version));
            }
        }
        let is_whole = |change: &&Change| !pieces.contains(change);
        ready.extend(batch.changes.iter().filter(is_whole).cloned());
        Ok(Sorted { ready: Cow::Owned(ready), completed, waiting })
    }

    /// Claims what the batch covers and completes, but for what waits.
    fn claim(&mut self, batch: &Batch, completed: Clock, waiting: &Clock) -> Result<(), ApplyError> {
        let covers = if completed.is_empty() && waiting.is_empty() {
            Cow::Borrowed(&batch.covers)
        } else {
            Cow::Owned(batch.covers.union(&completed).difference(waiting))
        };
        let has_partials = partials::is_any(self.conn)?;
        for (site, versions) in covers.iter() {
            let site = self.engine.ordinal_or_new(self.conn, site).map_err(Error::from)?;
            let (engine, conn) = (self.engine, self.conn);
            let version = &mut self.version;
            let mut local = || match *version {
                Some(local) => Ok(local),
                None => Ok(*version.insert(engine.take_version(conn, Version::ZERO)?)),
            };
            if self.ledger.claim(site, versions, self.via, &mut local)? && has_partials {
                versions.iter().try_for_each(|range| partials::forget(self.conn, site, range))?;
            }
        }
        Ok(())
    }
}

/// How far the claims of one batch may push this copy's own version.
const MAX_JUMP: i64 = 1 << 32;

/// A row that does not fit this database is the batch's fault.
pub(super) fn change_error(error: crr::Error) -> ApplyError {
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
