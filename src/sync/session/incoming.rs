//! The peer's changes to us.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Config;
use super::link::{Peer, failure};
use super::message::Failure;
use crate::crr::{SiteId, Version};
use crate::sync::batch::Batch;
use crate::sync::cursor::{Cursor, Since};
use crate::sync::error::{ApplyError, Error};
use crate::sync::replica::Replica;

/// Where the stream is that we read.
#[derive(Debug)]
pub(super) struct Incoming {
    /// The newest of the peer's cursors that we heard of.
    at: Cursor,
    /// Whether more is to come: nothing came yet, or the last batch said so.
    more: bool,
    /// Whether something was lacking when it was last looked at.
    lacks: bool,
    /// When we asked last, or something came.
    asked: Duration,
    /// Batches that came before the one that they follow, by where they begin.
    early: BTreeMap<Version, Batch>,
}

impl Incoming {
    pub(super) fn new(at: Cursor, now: Duration) -> Self {
        Self { at, more: true, lacks: true, asked: now, early: BTreeMap::new() }
    }

    pub(super) fn is_of(&self, site: SiteId) -> bool {
        self.at.site == site
    }

    /// The peer is at `at`, or was when it said so.
    pub(super) fn heard(&mut self, at: Cursor) {
        self.at.version = self.at.version.max(at.version);
    }

    /// We asked, just now.
    pub(super) fn asked(&mut self, now: Duration) {
        self.asked = now;
        self.more = true;
    }

    /// Applies a batch, and those that waited for it. Returns what is held then, unless it came early.
    pub(super) fn take(
        &mut self,
        replica: &mut Replica,
        now: Duration,
        peer: &mut Peer,
        batch: Batch,
        config: &Config,
    ) -> Result<Result<Option<Since>, Failure>, Error> {
        if batch.from != peer.site {
            return Ok(Err(Failure::new("invalid_batch", "`from` is not the site at the other end of the link")));
        }
        let mut next = Some(batch);
        let mut received = None;
        while let Some(batch) = next.take() {
            match replica.apply_changes(&batch) {
                Ok(applied) => {
                    self.asked = now;
                    self.more = batch.more;
                    self.at.version = self.at.version.max(batch.end.unwrap_or(Version::ZERO));
                    peer.sent(&batch);
                    received = Some(applied.received);
                    next = self.follower(applied.received);
                }
                Err(ApplyError::OutOfOrder { .. }) => {
                    if let Some(start) = batch.start
                        && self.early.len() < config.credit as usize
                    {
                        self.early.insert(start, batch);
                    }
                }
                Err(ApplyError::Replica(error)) => return Err(error),
                Err(error) => return Ok(Err(failure(&error))),
            }
        }
        Ok(Ok(received))
    }

    /// A batch that came early and is early no more.
    fn follower(&mut self, received: Since) -> Option<Batch> {
        let held = match received {
            Since::Beginning => Version::ZERO,
            Since::After(cursor) => cursor.version,
            Since::Within(place) => Version::or_zero(place.cursor.version.get() - 1).ok()?,
        };
        let start = *self.early.keys().next()?;
        if start <= held { self.early.remove(&start) } else { None }
    }

    fn lacks(&self, received: Since) -> bool {
        self.more || !self.early.is_empty() || Since::After(self.at).is_later_than(&received)
    }

    /// Whether something should have come by now.
    pub(super) fn is_late(&mut self, received: Since, now: Duration, config: &Config) -> bool {
        self.lacks = self.lacks(received);
        self.lacks && now >= self.asked + config.patience
    }

    pub(super) fn is_idle(&self, received: Since) -> bool {
        !self.lacks(received)
    }

    pub(super) fn deadline(&self, config: &Config) -> Option<Duration> {
        self.lacks.then(|| self.asked + config.patience)
    }
}
