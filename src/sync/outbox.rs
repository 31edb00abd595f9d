//! What a peer has not acknowledged yet. The database itself is the queue: there is no other to get stuck or lost.

use std::ops::ControlFlow;
use std::sync::Arc;

use rusqlite::{Connection, TransactionBehavior};

use super::batch::{Batch, SchemaHash};
use super::clock::Clock;
use super::cursor::{Cursor, Since};
use super::error::{Error, RequestError};
use super::partials::Piece;
use super::peers::{self, Event};
use super::quarantine::{self, Transaction};
use super::ranges::{Range, Ranges};
use super::replica::{Replica, set_setting, setting, unset};
use super::request::{Page, Request};
use super::versions::{VersionsRequest, Wanted};
use crate::crr::{Change, Ordinal, Seq, SiteId, Version, Window};

/// The site of the upstream.
const UPSTREAM: &str = "sync.upstream";
/// Present while the link to the upstream is stopped by hand.
const PAUSED: &str = "sync.paused";
/// When the oldest of what the upstream lacks was committed, in milliseconds since 1970.
const UNSENT_SINCE: &str = "sync.unsent_since";
/// When this copy and the upstream last had the same, in milliseconds since 1970.
const SYNCED_AT: &str = "sync.synced_at";
/// Until when the upstream asked to be left alone, in milliseconds since 1970.
const NOT_BEFORE: &str = "sync.not_before";

/// What is asked for to be sent to a peer.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The peer.
    pub peer: SiteId,
    /// Up to where it has acknowledged. The batch begins there.
    pub acknowledged: Since,
    /// Up to where it was read, at or after `acknowledged`; in between there is nothing for the peer.
    pub read: Since,
    /// What the peer holds, as far as it is known: those transactions are left out. What it wrote itself is sent all the same
    /// where it lost data: it may have used its numbers again since.
    pub known: Option<Arc<Clock>>,
    /// The schema of the peer. One that has another is sent the text of ours.
    pub schema: Option<SchemaHash>,
    /// How much to take at once.
    pub page: Page,
}

impl Outgoing {
    /// What `peer` has not acknowledged, and what comes after `read`.
    pub fn new(peer: SiteId, acknowledged: Since, read: Since, page: Page) -> Self {
        Self { peer, acknowledged, read, known: None, schema: None, page }
    }
}

/// What the upstream has not acknowledged, but for what is held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsent {
    /// Changes.
    pub changes: u64,
    /// When the first of them was committed, in milliseconds since 1970.
    pub since: Option<i64>,
}

impl Replica {
    /// The upstream's site, from the last time it answered.
    pub fn upstream(&self) -> Result<Option<SiteId>, Error> {
        upstream(&self.conn)
    }

    /// Records the upstream's site. What was exchanged with another one counts for nothing with this one.
    pub fn set_upstream(&mut self, site: SiteId) -> Result<(), Error> {
        let before = self.upstream()?;
        if before == Some(site) {
            return Ok(());
        }
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before = match before {
            Some(before) => self.engine.ordinal_or_new(&transaction, before)?,
            None => Ordinal::SELF,
        };
        let site_ordinal = self.engine.ordinal_or_new(&transaction, site)?;
        quarantine::carry_over(&transaction, before, site_ordinal)?;
        set_setting(&transaction, UPSTREAM, &site.as_bytes())?;
        transaction.commit()?;
        Ok(())
    }

    /// Whether the link to the upstream is stopped by hand.
    pub fn is_paused(&self) -> Result<bool, Error> {
        Ok(setting::<bool>(&self.conn, PAUSED)?.unwrap_or(false))
    }

    /// Records whether it is.
    pub fn set_paused(&mut self, paused: bool) -> Result<(), Error> {
        if paused { set_setting(&self.conn, PAUSED, &true) } else { unset(&self.conn, PAUSED) }
    }

    /// When this copy and the upstream last were known to have the same, in milliseconds since 1970.
    pub fn synced_at(&self) -> Result<Option<i64>, Error> {
        setting(&self.conn, SYNCED_AT)
    }

    /// Records it.
    pub fn set_synced_at(&mut self, at: i64) -> Result<(), Error> {
        set_setting(&self.conn, SYNCED_AT, &at)
    }

    /// Until when the upstream asked to be left alone, in milliseconds since 1970.
    pub fn not_before(&self) -> Result<Option<i64>, Error> {
        setting(&self.conn, NOT_BEFORE)
    }

    /// Records it, or that it does not count any more.
    pub fn set_not_before(&mut self, at: Option<i64>) -> Result<(), Error> {
        match at {
            Some(at) => set_setting(&self.conn, NOT_BEFORE, &at),
            None => unset(&self.conn, NOT_BEFORE),
        }
    }

    /// Whether `peer` is to be sent everything, for the first time or again.
    pub fn begins_with(&self, peer: SiteId) -> Result<bool, Error> {
        let acknowledged = peers::cursor(&self.conn, Event::Acknowledged, peer)?;
        let begins = acknowledged == Version::ZERO && self.version()? > Version::ZERO;
        Ok(begins || acknowledged < peers::resend(&self.conn, peer)?)
    }

    /// What `peer` has acknowledged of our versions.
    pub fn acknowledged(&self, peer: SiteId) -> Result<Since, Error> {
        let version = peers::cursor(&self.conn, Event::Acknowledged, peer)?;
        Ok(Since::After(Cursor { site: self.site(), version }))
    }

    /// What we have received of `peer`'s versions.
    pub fn received(&self, peer: SiteId) -> Result<Since, Error> {
        peers::held(&self.conn, peer)
    }

    /// The next batch for a peer, without what is held back from it.
    pub fn outgoing(&mut self, outgoing: &Outgoing) -> Result<Batch, RequestError> {
        let Outgoing { peer, acknowledged, read, page, .. } = *outgoing;
        let resend = Cursor { site: self.site(), version: peers::resend(&self.conn, peer)? };
        let held_back = quarantine::held_back(&self.conn, &self.engine, peer)?;
        let known = match &outgoing.known {
            None => None,
            Some(known) => {
                let mut known = Clock::clone(known);
                known.remove(peer);
                Some(Arc::new(known))
            }
        };
        let schema = outgoing.schema.clone();
        let mut request = Request { exclude: Some(peer), known, schema, page, ..Request::after(read) };
        let resends = Since::After(resend).is_later_than(&read) && resend.version > Version::ZERO;
        if resends {
            // Its own as well, up to where it was found to have lost data.
            (request.exclude, request.until) = (None, Some(resend));
        }
        let mut batch = self.changes_without(&request, &held_back)?;
        batch.more |= resends && self.version()? > resend.version;
        self.begin_batch_at(&mut batch, acknowledged, peer)?;
        Ok(batch)
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

    /// Has a batch for `peer` begin at `place`, which lies at or before its beginning with nothing for the peer in between,
    /// and adds what we have of the peer.
    pub(super) fn begin_batch_at(&self, batch: &mut Batch, place: Since, peer: SiteId) -> Result<(), Error> {
        let start = match place {
            Since::Beginning => Version::ZERO,
            Since::After(cursor) => cursor.version,
            Since::Within(place) => Version::or_zero(place.cursor.version.get() - 1)?,
        };
        batch.since = Some(place).filter(|place| matches!(place, Since::Within(_)));
        batch.start = Some(start);
        batch.have = Some(Cursor { site: peer, version: peers::cursor(&self.conn, Event::Received, peer)? });
        Ok(())
    }

    /// Records that `peer` has acknowledged everything up to `since`.
    pub fn acknowledge(&mut self, peer: SiteId, since: Since) -> Result<(), Error> {
        let Since::After(have) = since else {
            return Ok(());
        };
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        peers::advance(&transaction, Event::Acknowledged, peer, have.version)?;
        if have.version >= self.engine.db_version(&transaction)? {
            unset(&transaction, UNSENT_SINCE)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Records that `peer` lacks nothing.
    pub fn all_sent(&mut self) -> Result<(), Error> {
        if setting::<i64>(&self.conn, UNSENT_SINCE)?.is_some() {
            unset(&self.conn, UNSENT_SINCE)?;
        }
        Ok(())
    }

    /// Begins again with a peer that lost data: both cursors go to the beginning, and everything up to now is sent once
    /// more, also what the peer itself wrote or sent.
    pub fn begin_again(&mut self, peer: SiteId) -> Result<(), Error> {
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let at = self.engine.db_version(&transaction)?;
        peers::forget(&transaction, peer, at)?;
        transaction.commit()?;
        Ok(())
    }

    /// Takes back an acknowledgement: `peer` holds our versions up to `held` only, since it was restored from an older
    /// copy. It gets everything after that, also what it wrote or sent itself.
    pub fn send_again(&mut self, peer: SiteId, held: Cursor) -> Result<(), Error> {
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let at = self.engine.db_version(&transaction)?;
        peers::take_back(&transaction, peer, held.version, at)?;
        transaction.commit()?;
        Ok(())
    }

    /// What `peer` has not acknowledged, but for what is held back from it.
    pub fn unsent(&self, peer: SiteId) -> Result<Unsent, Error> {
        let at = self.version()?;
        let acknowledged = peers::cursor(&self.conn, Event::Acknowledged, peer)?;
        if acknowledged >= at {
            return Ok(Unsent::default());
        }
        let held_back = quarantine::held_back(&self.conn, &self.engine, peer)?;
        let span = Span { peer, acknowledged, at, held_back };
        let counted =
            self.unsent.borrow().as_ref().filter(|(counted, _)| *counted == span).map(|(_, changes)| *changes);
        let changes = match counted {
            Some(changes) => changes,
            None => {
                let mut changes = 0;
                self.visit_unsent(&span, &mut |_| changes += 1)?;
                changes
            }
        };
        self.unsent.replace(Some((span, changes)));
        let since = if changes > 0 { setting(&self.conn, UNSENT_SINCE)? } else { None };
        Ok(Unsent { changes, since })
    }

    /// Whether the upstream lacks anything that is not held back; also true of what was written before it first answered.
    pub fn has_unsent(&self) -> Result<bool, Error> {
        match self.upstream()? {
            Some(upstream) => Ok(self.unsent(upstream)?.changes > 0),
            None => Ok(self.version()? > Version::ZERO),
        }
    }

    /// The transactions whose changes wait to be sent.
    pub(super) fn unsent_transactions(&self) -> Result<Clock, Error> {
        let at = self.version()?;
        // Where no upstream has answered yet, it is one that has nothing, and sent nothing: so it is not this copy either.
        let peer = self.upstream()?.unwrap_or(SiteId::new([0; 16]));
        let acknowledged = peers::cursor(&self.conn, Event::Acknowledged, peer)?;
        let held_back = quarantine::held_back(&self.conn, &self.engine, peer)?;
        let mut transactions = Vec::new();
        self.visit_unsent(&Span { peer, acknowledged, at, held_back }, &mut |change| {
            transactions.push((change.site, Ranges::from(Range::one(change.version))));
        })?;
        Ok(transactions.into_iter().collect())
    }

    fn visit_unsent(&self, span: &Span, visit: &mut dyn FnMut(&Change)) -> Result<(), Error> {
        let Span { peer, acknowledged, at, held_back } = span;
        let (windows, exclude) = if *acknowledged < peers::resend(&self.conn, *peer)? {
            (vec![(*acknowledged, *at)], None)
        } else {
            (peers::windows_without(&self.conn, *peer, *acknowledged, *at)?, Some(*peer))
        };
        for (since, until) in windows {
            let window = Window { since, until, exclude, newest_first: false };
            self.engine.changes(&self.conn, window, &mut |_, change| {
                if !held_back.contains(change.site, change.version) {
                    visit(&change);
                }
                ControlFlow::Continue(())
            })?;
        }
        Ok(())
    }
}

/// What a peer lacks when it has acknowledged one version, the newest is another, and some is held back from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    peer: SiteId,
    acknowledged: Version,
    at: Version,
    held_back: Clock,
}

fn upstream(conn: &Connection) -> Result<Option<SiteId>, Error> {
    match setting::<Vec<u8>>(conn, UPSTREAM)? {
        Some(bytes) => Ok(Some(SiteId::from_slice(&bytes)?)),
        None => Ok(None),
    }
}

/// Notes the time of a write that the upstream lacks, unless an older one is noted. `peer` is where the write came from.
pub(super) fn mark_unsent(conn: &Connection, peer: Option<SiteId>) -> Result<(), Error> {
    let upstream = upstream(conn)?;
    if upstream.is_none() || upstream == peer {
        return Ok(());
    }
    conn.prepare_cached(
        "INSERT OR IGNORE INTO crsql_master (key, value)
         VALUES (?1, CAST(unixepoch('subsec') * 1000 AS INTEGER))",
    )?
    .execute([UNSENT_SINCE])?;
    Ok(())
}

/// Takes a peer's word for what it has of ours, up to `at`. The upstream's is not taken: its answers count.
pub(super) fn heard(conn: &Connection, peer: SiteId, have: Cursor, at: Cursor) -> Result<(), Error> {
    if have.site != at.site || upstream(conn)? == Some(peer) {
        return Ok(());
    }
    let version = have.version.min(at.version);
    if version > peers::cursor(conn, Event::Acknowledged, peer)? {
        peers::advance(conn, Event::Acknowledged, peer, version)?;
    }
    Ok(())
}
