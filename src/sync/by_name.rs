//! What a peer lacks, sent by name: where a cursor would have to move over what is held back from it.

use rusqlite::{Connection, TransactionBehavior};

use super::batch::{Batch, SchemaHash};
use super::clock::Clock;
use super::cursor::Cursor;
use super::error::Error;
use super::ledger::Ledger;
use super::outbox::UNSENT_SINCE;
use super::partials::Piece;
use super::peers::{self, Event};
use super::quarantine::{self, Transaction};
use super::ranges::{Range, Ranges};
use super::replica::{Replica, set_setting, setting, unset};
use super::request::Page;
use super::versions::{VersionsRequest, Wanted};
use crate::crr::{Seq, SiteId, Version};

/// Up to which version the upstream has taken everything by name, but for what is held back.
const TAKEN: &str = "sync.taken";

impl Replica {
    /// Whether `peer` may hold more than what it has acknowledged: it is to be sent everything, for the first time or again, or
    /// it was sent something by name.
    pub fn may_hold_more(&self, peer: SiteId) -> Result<bool, Error> {
        let acknowledged = peers::cursor(&self.conn, Event::Acknowledged, peer)?;
        let begins = acknowledged == Version::ZERO && self.version()? > Version::ZERO;
        Ok(begins || acknowledged < peers::resend(&self.conn, peer)? || acknowledged < self.taken(peer)?)
    }

    /// Whether anything is held back from `peer`, so that it is to be sent what it lacks by name.
    pub fn holds_back(&self, peer: SiteId) -> Result<bool, Error> {
        Ok(!quarantine::held_back(&self.conn, &self.engine, peer)?.is_empty())
    }

    /// Records that `peer` has taken everything up to `version` by name, but for what is held back from it.
    pub fn set_taken(&mut self, peer: SiteId, version: Version) -> Result<(), Error> {
        if self.upstream()? != Some(peer) || self.taken(peer)? >= version {
            return Ok(());
        }
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        set_setting(&transaction, TAKEN, &version.get())?;
        if version >= self.engine.db_version(&transaction)? {
            unset(&transaction, UNSENT_SINCE)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Up to where it has.
    pub(super) fn taken(&self, peer: SiteId) -> Result<Version, Error> {
        let version = if self.upstream()? == Some(peer) { setting(&self.conn, TAKEN)? } else { None };
        Ok(Version::or_zero(version.unwrap_or(0))?)
    }

    /// The next batch by name for a peer that holds `known`: of the transactions that it lacks and that are not held back from it.
    /// Such a batch moves no cursor. Where it [is empty](Batch::is_empty), the peer has taken everything up to the version that
    /// is returned, but for what is held back.
    pub fn outgoing_by_name(
        &mut self,
        peer: SiteId,
        known: &Clock,
        schema: Option<SchemaHash>,
        page: Page,
    ) -> Result<(Batch, Version), Error> {
        let snapshot = self.version()?;
        let ledger = Ledger::new(&self.conn, &self.engine);
        let mut wanted = ledger.clock()?.difference(&ledger.common(known)?);
        wanted = wanted.difference(&quarantine::held_back(&self.conn, &self.engine, peer)?);
        let acknowledged = peers::cursor(&self.conn, Event::Acknowledged, peer)?;
        // One that lost data gets its own back as well.
        let exclude = (acknowledged >= peers::resend(&self.conn, peer)?).then_some(peer);
        exclude.and_then(|peer| wanted.remove(peer));
        // All that is left of a transaction of our own stands under its own version. Of others', some may have come earlier.
        let taken = self.taken(peer)?;
        let of_own = wanted.get(self.site()).and_then(|own| own.iter().next());
        let is_after = wanted.len() == 1 && of_own.is_some_and(|first| first.first > taken);
        let version = if is_after { acknowledged.max(taken) } else { acknowledged };
        let since = Some(Cursor { site: self.site(), version });
        let request =
            VersionsRequest { since, exclude, schema, page, ..VersionsRequest::new(Wanted::Versions(wanted)) };
        Ok((self.request_versions(&request)?, snapshot))
    }

    /// A transaction that was held back, or the rest of it: what comes after position `after`. Says, where a page does not take
    /// all of it, up to which position it goes. As a batch by versions it moves no cursor.
    pub fn outgoing_transaction(
        &mut self,
        (site, version): Transaction,
        after: Option<Seq>,
        schema: Option<SchemaHash>,
        page: Page,
    ) -> Result<(Batch, Option<Seq>), Error> {
        let of = Ranges::from(Range::one(version));
        let mut request = VersionsRequest { schema, page, ..VersionsRequest::new(Wanted::Versions(Clock::default())) };
        match after.map(|after| after.next()).transpose()? {
            None => request.wanted = Wanted::Versions(Clock::from_iter([(site, of)])),
            Some(first) => {
                let rest = Range::new(first, Seq::MAX).map(Ranges::from).unwrap_or_default();
                request.pieces = vec![Piece { site, version, seqs: rest }];
            }
        }
        let batch = self.request_versions(&request)?;
        let cut = batch.partial.first().and_then(|piece| Some((piece.seqs.last()?, piece.last_seq)));
        let rest = cut.filter(|(last, last_seq)| last < last_seq).map(|(last, _)| last);
        Ok((batch, rest))
    }
}

/// Forgets what was taken by name.
pub(super) fn forget(conn: &Connection) -> Result<(), Error> {
    unset(conn, TAKEN)
}
