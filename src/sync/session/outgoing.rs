//! Our changes to the peer.

use std::collections::VecDeque;
use std::time::Duration;

use super::Config;
use super::link::Peer;
use super::message::Message;
use crate::sync::cursor::{Cursor, Since};
use crate::sync::error::{Error, RequestError};
use crate::sync::replica::Replica;
use crate::sync::request::Request;

/// Where the stream is that we write.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Up to where the peer has it on its disk.
    confirmed: Since,
    /// Up to where it was sent.
    sent: Since,
    /// Up to where it was read; between there and `sent` there is nothing for the peer.
    read: Since,
    /// Where each batch ends that is under way.
    under_way: VecDeque<Since>,
    credit: u32,
    /// Whether the peer still has to be told that its question came.
    unanswered: bool,
    /// When a batch was sent or confirmed last.
    moved: Duration,
    /// The peer would not have what it was sent; it is not sent more until a while has passed.
    refused: bool,
}

impl Outgoing {
    pub(super) fn new(since: Since, credit: u32, now: Duration) -> Self {
        let under_way = VecDeque::new();
        Self {
            confirmed: since,
            sent: since,
            read: since,
            under_way,
            credit,
            unanswered: true,
            moved: now,
            refused: false,
        }
    }

    pub(super) fn confirmed(&self) -> Since {
        self.confirmed
    }

    /// The peer has what was sent, up to `received`.
    pub(super) fn confirm(&mut self, received: Since, credit: u32, now: Duration) {
        self.credit = credit;
        if received.is_later_than(&self.confirmed) {
            self.confirmed = received;
            self.moved = now;
        }
        // What they covered counts for nothing: it may have been another one that arrived, sent before with the same end.
        while self.under_way.front().is_some_and(|end| !end.is_later_than(&received)) {
            self.under_way.pop_front();
        }
    }

    /// The peer would not have something.
    pub(super) fn refuse(&mut self, now: Duration) {
        self.refused = true;
        self.moved = now;
    }

    /// Reads and sends as many batches as the peer takes.
    pub(super) fn send(
        &mut self,
        replica: &mut Replica,
        now: Duration,
        peer: &Peer,
        config: &Config,
        messages: &mut Vec<Message>,
    ) -> Result<(), Error> {
        if now >= self.moved + config.patience && (self.refused || !self.under_way.is_empty()) {
            // What was not confirmed may be lost.
            self.under_way.clear();
            (self.sent, self.read, self.refused) = (self.confirmed, self.confirmed, false);
        }
        let at = Since::After(replica.at()?);
        while !self.refused
            && self.under_way.len() < self.credit as usize
            && (self.unanswered || at.is_later_than(&self.read))
        {
            let request = Request {
                exclude: Some(peer.site),
                known: Some(peer.clock.clone()),
                schema: peer.schema.clone(),
                page: config.page,
                ..Request::after(self.read)
            };
            let mut batch = match replica.request_changes(&request) {
                Ok(batch) => batch,
                Err(RequestError::Replica(error)) => return Err(error),
                // The database was replaced under the session: the peer finds out when it asks again.
                Err(_) => return Ok(()),
            };
            let next = batch.next.unwrap_or(at);
            self.read = next;
            if batch.is_empty() && (batch.more || !self.unanswered) {
                continue;
            }
            self.unanswered = false;
            replica.begin_batch_at(&mut batch, self.sent, peer.site)?;
            self.under_way.push_back(next);
            (self.sent, self.moved) = (next, now);
            messages.push(batch.into());
        }
        Ok(())
    }

    pub(super) fn is_idle(&self, at: Cursor) -> bool {
        self.under_way.is_empty() && !self.refused && !self.unanswered && !Since::After(at).is_later_than(&self.read)
    }

    pub(super) fn deadline(&self, config: &Config) -> Option<Duration> {
        (self.refused || !self.under_way.is_empty()).then(|| self.moved + config.patience)
    }
}
