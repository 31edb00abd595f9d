//! What a peer has not acknowledged yet. The database itself is the queue: there is no other to get stuck or lost.

use std::ops::ControlFlow;
use std::sync::Arc;

use rusqlite::{Connection, TransactionBehavior};

use super::batch::{Batch, SchemaHash};
use super::clock::Clock;
use super::cursor::{Cursor, Since};
use super::error::{Error, RequestError};
use super::peers::{self, Event};
use super::ranges::{Range, Ranges};
use super::replica::{Replica, setting, unset};
use super::request::{Page, Request};
use super::{by_name, quarantine, upstream};
use crate::crr::{Change, SiteId, Version, Window};

/// When the oldest of what the upstream lacks was committed, in milliseconds since 1970.
pub(super) const UNSENT_SINCE: &str = "sync.unsent_since";

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
    /// What `peer` has acknowledged of our versions.
    pub fn acknowledged(&self, peer: SiteId) -> Result<Since, Error> {
        let version = peers::cursor(&self.conn, Event::Acknowledged, peer)?;
        Ok(Since::After(Cursor { site: self.site(), version }))
    }

    /// What we have received of `peer`'s versions.
    pub fn received(&self, peer: SiteId) -> Result<Since, Error> {
        peers::held(&self.conn, peer)
    }

    /// The next batch by cursor for a peer, from which nothing may be held back.
    pub fn outgoing(&mut self, outgoing: &Outgoing) -> Result<Batch, RequestError> {
        let Outgoing { peer, acknowledged, read, page, .. } = *outgoing;
        let resend = Cursor { site: self.site(), version: peers::resend(&self.conn, peer)? };
        let known = outgoing.known.as_deref().map(|known| {
            let mut known = known.clone();
            known.remove(peer);
            Arc::new(known)
        });
        let schema = outgoing.schema.clone();
        let mut request = Request { exclude: Some(peer), known, schema, page, ..Request::after(read) };
        let resends = Since::After(resend).is_later_than(&read) && resend.version > Version::ZERO;
        if resends {
            // Its own as well, up to where it was found to have lost data.
            (request.exclude, request.until) = (None, Some(resend));
        }
        let mut batch = self.request_changes(&request)?;
        batch.more |= resends && self.version()? > resend.version;
        self.begin_batch_at(&mut batch, acknowledged, peer)?;
        Ok(batch)
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
        by_name::forget(&transaction)?;
        transaction.commit()?;
        Ok(())
    }

    /// What `peer` has not acknowledged, but for what is held back from it.
    pub fn unsent(&self, peer: SiteId) -> Result<Unsent, Error> {
        let at = self.version()?;
        let acknowledged = peers::cursor(&self.conn, Event::Acknowledged, peer)?.max(self.taken(peer)?);
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
        let acknowledged = peers::cursor(&self.conn, Event::Acknowledged, peer)?.max(self.taken(peer)?);
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

/// Notes the time of a write that the upstream lacks, unless an older one is noted. `peer` is where the write came from.
pub(super) fn mark_unsent(conn: &Connection, peer: Option<SiteId>) -> Result<(), Error> {
    let upstream = upstream::site(conn)?;
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
    if have.site != at.site || upstream::site(conn)? == Some(peer) {
        return Ok(());
    }
    let version = have.version.min(at.version);
    if version > peers::cursor(conn, Event::Acknowledged, peer)? {
        peers::advance(conn, Event::Acknowledged, peer, version)?;
    }
    Ok(())
}
