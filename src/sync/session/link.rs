//! A link: who is at its other end, and where each of the two streams is.

use std::sync::Arc;
use std::time::Duration;

use super::Config;
use super::incoming::Incoming;
use super::message::{Failure, Hello, Message};
use super::outgoing::Outgoing;
use crate::crr::SiteId;
use crate::sync::batch::{Batch, SchemaHash};
use crate::sync::clock::Clock;
use crate::sync::cursor::{Cursor, Place, Since};
use crate::sync::error::{ApplyError, Error};
use crate::sync::partials::Piece;
use crate::sync::ranges::{Range, Ranges};
use crate::sync::replica::Replica;
use crate::sync::request::Page;
use crate::sync::versions::{VersionsRequest, Wanted};

/// A link of a session.
#[derive(Debug)]
pub(super) struct Link {
    peer: Option<Peer>,
    /// When we sent our hello last.
    greeted: Duration,
    /// Our changes to the peer, once it wants them.
    outgoing: Option<Outgoing>,
    /// The peer's changes to us, once we know who it is.
    incoming: Option<Incoming>,
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) site: SiteId,
    pub(super) schema: Option<SchemaHash>,
    /// What it says that it holds.
    pub(super) clock: Arc<Clock>,
}

impl Peer {
    /// It sent `batch`: what that covers it holds, and what there are pieces of.
    pub(super) fn sent(&mut self, batch: &Batch) {
        let pieces = batch.partial.iter().map(|partial| (partial.site, Ranges::from(Range::one(partial.version))));
        let held = batch.covers.union(&pieces.collect());
        if !self.clock.covers(&held) {
            self.clock = Arc::new(self.clock.union(&held));
        }
    }
}

impl Link {
    pub(super) fn new(now: Duration) -> Self {
        Self { peer: None, greeted: now, outgoing: None, incoming: None }
    }

    /// What the peer says that it holds.
    pub(super) fn holds(&self) -> Option<(SiteId, &Clock)> {
        self.peer.as_ref().map(|peer| (peer.site, &*peer.clock))
    }

    /// Learns who the peer is, and asks for what it has. False if the link is of no use.
    pub(super) fn greet(
        &mut self,
        replica: &mut Replica,
        now: Duration,
        Hello { site, schema, at, known: knows_us }: Hello,
        config: &Config,
        answers: &mut Vec<Message>,
    ) -> Result<bool, Error> {
        if site == replica.site() {
            let detail = "both ends of the link have one site id; one is a copy that needs its own";
            answers.push(Message::Error(Failure::new("same_site", detail)));
            return Ok(false);
        }
        let known = self.peer.take().filter(|peer| peer.site == site);
        let clock = known.map(|peer| peer.clock).unwrap_or_default();
        self.peer = Some(Peer { site, schema, clock });
        match &mut self.incoming {
            // A hello that came twice.
            Some(incoming) if incoming.is_of(site) => {
                incoming.heard(at);
                if !knows_us {
                    answers.push(hello(replica, true)?);
                }
            }
            _ => {
                self.incoming = Some(Incoming::new(at, now));
                answers.push(Message::Want { since: replica.received(site)?, credit: config.credit });
            }
        }
        Ok(true)
    }

    /// The peer wants what comes after `since`.
    pub(super) fn stream_from(
        &mut self,
        replica: &mut Replica,
        now: Duration,
        since: Since,
        credit: u32,
        answers: &mut Vec<Message>,
    ) -> Result<bool, Error> {
        let at = replica.at()?;
        let fault = match since {
            Since::Beginning => None,
            _ if since.site() != Some(at.site) => Some("cursor_unknown"),
            Since::After(cursor) | Since::Within(Place { cursor, .. }) => {
                (cursor.version > at.version).then_some("cursor_ahead")
            }
        };
        if let Some(code) = fault {
            let detail = "the cursor is none that this copy gave; begin again from 0";
            answers.push(Message::Error(Failure::new(code, detail)));
            return Ok(true);
        }
        self.outgoing = Some(Outgoing::new(since, credit, now));
        Ok(true)
    }

    /// A batch by cursors came.
    pub(super) fn take(
        &mut self,
        replica: &mut Replica,
        now: Duration,
        batch: Batch,
        config: &Config,
        answers: &mut Vec<Message>,
    ) -> Result<bool, Error> {
        let (Some(peer), Some(incoming)) = (&mut self.peer, &mut self.incoming) else {
            // Before its hello: the reader asks again.
            return Ok(true);
        };
        match incoming.take(replica, now, peer, batch, config)? {
            Ok(received) => {
                answers.extend(received.map(|received| Message::Have { received, credit: config.credit }));
                Ok(true)
            }
            Err(failure) => {
                answers.push(Message::Error(failure));
                Ok(true)
            }
        }
    }

    /// A batch by versions came.
    pub(super) fn take_versions(
        &mut self,
        replica: &mut Replica,
        batch: &Batch,
        answers: &mut Vec<Message>,
    ) -> Result<bool, Error> {
        match replica.apply_changes(batch) {
            Ok(_) => {
                if let Some(peer) = self.peer.as_mut().filter(|peer| peer.site == batch.from) {
                    peer.sent(batch);
                }
            }
            Err(ApplyError::Replica(error)) => return Err(error),
            Err(error) => answers.push(Message::Error(failure(&error))),
        }
        Ok(true)
    }

    /// The peer has our changes on its disk.
    pub(super) fn confirm(&mut self, received: Since, credit: u32, now: Duration) {
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.confirm(received, credit, now);
        }
    }

    /// The peer lacks some transactions.
    pub(super) fn answer(
        &self,
        replica: &mut Replica,
        versions: Clock,
        pieces: Vec<Piece>,
        since: Option<Cursor>,
        page: Page,
        answers: &mut Vec<Message>,
    ) -> Result<(), Error> {
        let peer = self.peer.as_ref();
        let batch = replica.request_versions(&VersionsRequest {
            pieces,
            since,
            exclude: peer.map(|peer| peer.site),
            schema: peer.and_then(|peer| peer.schema.clone()),
            page,
            ..VersionsRequest::new(Wanted::Versions(versions))
        })?;
        answers.push(batch.into());
        Ok(())
    }

    /// The peer could not do what it was asked, or was sent.
    pub(super) fn fail(
        &mut self,
        replica: &mut Replica,
        now: Duration,
        failure: &Failure,
        config: &Config,
        answers: &mut Vec<Message>,
    ) -> Result<bool, Error> {
        match (failure.code.as_str(), &self.peer, &mut self.incoming) {
            ("cursor_ahead" | "cursor_unknown", Some(peer), Some(incoming)) => {
                replica.begin_again(peer.site)?;
                incoming.asked(now);
                answers.push(Message::Want { since: Since::Beginning, credit: config.credit });
                Ok(true)
            }
            ("same_site", _, _) => Ok(false),
            _ => {
                if let Some(outgoing) = &mut self.outgoing {
                    outgoing.refuse(now);
                }
                Ok(true)
            }
        }
    }

    /// Asks again for what should have come.
    pub(super) fn ask_again(
        &mut self,
        replica: &mut Replica,
        now: Duration,
        config: &Config,
        messages: &mut Vec<Message>,
    ) -> Result<(), Error> {
        let Some(peer) = &self.peer else {
            if now >= self.greeted + config.patience {
                self.greeted = now;
                messages.push(hello(replica, false)?);
            }
            return Ok(());
        };
        if let Some(incoming) = &mut self.incoming {
            let received = replica.received(peer.site)?;
            if incoming.is_late(received, now, config) {
                incoming.asked(now);
                messages.push(Message::Want { since: received, credit: config.credit });
            }
        }
        Ok(())
    }

    /// Sends what the peer lacks, as far as it may.
    pub(super) fn send(
        &mut self,
        replica: &mut Replica,
        now: Duration,
        config: &Config,
        messages: &mut Vec<Message>,
    ) -> Result<(), Error> {
        match (&self.peer, &mut self.outgoing) {
            (Some(peer), Some(outgoing)) => outgoing.send(replica, now, peer, config, messages),
            _ => Ok(()),
        }
    }

    /// Writes down what the peer has confirmed.
    pub(super) fn note_confirmed(self, replica: &mut Replica) -> Result<(), Error> {
        match (self.peer, self.outgoing) {
            (Some(peer), Some(outgoing)) => replica.acknowledge(peer.site, outgoing.confirmed()),
            _ => Ok(()),
        }
    }

    /// Whether both streams have nothing under way.
    pub(super) fn is_idle(&self, replica: &Replica, at: Cursor) -> Result<bool, Error> {
        let (Some(peer), Some(outgoing), Some(incoming)) = (&self.peer, &self.outgoing, &self.incoming) else {
            return Ok(false);
        };
        Ok(outgoing.is_idle(at) && incoming.is_idle(replica.received(peer.site)?))
    }

    pub(super) fn deadline(&self, config: &Config) -> Option<Duration> {
        if self.peer.is_none() {
            return Some(self.greeted + config.patience);
        }
        let outgoing = self.outgoing.as_ref().and_then(|outgoing| outgoing.deadline(config));
        let incoming = self.incoming.as_ref().and_then(|incoming| incoming.deadline(config));
        outgoing.into_iter().chain(incoming).min()
    }
}

/// Who we are.
pub(super) fn hello(replica: &Replica, known: bool) -> Result<Message, Error> {
    let schema = replica.schema().map(|schema| schema.hash().clone());
    Ok(Message::Hello(Hello { site: replica.site(), schema, at: replica.at()?, known }))
}

/// What to tell the sender of a batch that was not applied.
pub(super) fn failure(error: &ApplyError) -> Failure {
    let code = match error {
        ApplyError::SchemaMismatch { .. } => "schema_mismatch",
        ApplyError::OutOfOrder { .. } => "out_of_order",
        _ => "invalid_batch",
    };
    Failure::new(code, error)
}
