//! What a peer has not acknowledged yet. The database itself is the queue: there is no other to get stuck or lost.

use rusqlite::{Connection, TransactionBehavior};

use super::batch::Batch;
use super::cursor::{Cursor, Since};
use super::error::{Error, RequestError};
use super::peers::{self, Event};
use super::replica::{Replica, set_setting, setting, unset};
use super::request::{Page, Request};
use crate::crr::{SiteId, Version, Window};

/// The site of the upstream.
const UPSTREAM: &str = "sync.upstream";
/// Present while the link to the upstream is stopped by hand.
const PAUSED: &str = "sync.paused";
/// When the oldest of what the upstream lacks was committed, in milliseconds since 1970.
const UNSENT_SINCE: &str = "sync.unsent_since";

/// What the upstream has not acknowledged.
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
        if self.upstream()? == Some(site) {
            return Ok(());
        }
        set_setting(&self.conn, UPSTREAM, &site.as_bytes())
    }

    /// Whether the link to the upstream is stopped by hand.
    pub fn is_paused(&self) -> Result<bool, Error> {
        Ok(setting::<bool>(&self.conn, PAUSED)?.unwrap_or(false))
    }

    /// Records whether it is.
    pub fn set_paused(&mut self, paused: bool) -> Result<(), Error> {
        if paused { set_setting(&self.conn, PAUSED, &true) } else { unset(&self.conn, PAUSED) }
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

    /// The next batch for `peer`: begins at `acknowledged`, and brings what is found after `read`, which lies at or
    /// after it with nothing for `peer` in between.
    pub fn outgoing(
        &mut self,
        peer: SiteId,
        acknowledged: Since,
        read: Since,
        page: Page,
    ) -> Result<Batch, RequestError> {
        let resend = Cursor { site: self.site(), version: peers::resend(&self.conn, peer)? };
        let mut request = Request { exclude: Some(peer), page, ..Request::after(read) };
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

    /// What `peer` has not acknowledged.
    pub fn unsent(&self, peer: SiteId) -> Result<Unsent, Error> {
        let at = self.version()?;
        let acknowledged = peers::cursor(&self.conn, Event::Acknowledged, peer)?;
        if acknowledged >= at {
            return Ok(Unsent::default());
        }
        let span = (peer, acknowledged, at);
        let changes = match self.unsent.get() {
            Some((counted, changes)) if counted == span => changes,
            _ => self.count_unsent(peer, acknowledged, at)?,
        };
        self.unsent.set(Some((span, changes)));
        let since = if changes > 0 { setting(&self.conn, UNSENT_SINCE)? } else { None };
        Ok(Unsent { changes, since })
    }

    fn count_unsent(&self, peer: SiteId, acknowledged: Version, at: Version) -> Result<u64, Error> {
        let (windows, exclude) = if acknowledged < peers::resend(&self.conn, peer)? {
            (vec![(acknowledged, at)], None)
        } else {
            (peers::windows_without(&self.conn, peer, acknowledged, at)?, Some(peer))
        };
        let mut changes = 0;
        for (since, until) in windows {
            let window = Window { since, until, exclude, newest_first: false };
            self.engine.changes(&self.conn, window, &mut |_, _| {
                changes += 1;
                std::ops::ControlFlow::Continue(())
            })?;
        }
        Ok(changes)
    }
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
