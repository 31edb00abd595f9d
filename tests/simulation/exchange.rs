//! The link that asks, answers and pushes, as over HTTP: what replicas say to each other, and what they do when they hear it.
//!
//! Another kind of link is another file like this one: steps that send, and an arm of [`World::deliver`] that hears.

use std::rc::Rc;
use std::sync::Arc;

use crsql_sync::crr::{SiteId, Version};
use crsql_sync::sync::{
    ApplyError, Batch, Clock, Cursor, Outgoing, Page, Piece, Refusal, Replica, Request, RequestError, Since,
    Transaction, VersionsRequest, Wanted,
};

use super::network::{Envelope, Message};
use super::node::{Node, Push};
use super::random::Random;
use super::world::{Checked, World};

impl World {
    pub fn send(&mut self, from: usize, to: usize, message: Message, random: &mut Random) {
        if self.network.is_cut(from, to) {
            return;
        }
        let delay = if self.plan.reorders { random.within(1..100) } else { 10 };
        let (sender, receiver) = (self.nodes[from].site, self.nodes[to].site);
        let due = self.network.now + delay as u64;
        let envelope = Envelope { from, sender, to, receiver, due, message };
        self.tell(|_| format!("{from} to {to}: {:?}", envelope.message));
        if random.chance(self.plan.repeats) {
            let later = Envelope { due: due + random.within(1..200) as u64, ..envelope.clone() };
            self.network.send(later);
        }
        self.network.send(envelope);
    }

    pub fn pull(&mut self, from: usize, to: usize, random: &mut Random) -> Checked {
        let request = self.pull_request(from, to, random);
        let Request { since, until, exclude, known, .. } = request;
        self.send(from, to, Message::Pull { since, until, excludes: exclude.is_some(), known }, random);
        Ok(())
    }

    /// What `node` would ask `peer`.
    pub fn pull_request(&self, node: usize, peer: usize, random: &mut Random) -> Request {
        let (asker, asked) = (&self.nodes[node], &self.nodes[peer]);
        let since = asker.replica.received(asked.site).unwrap();
        let until = random.chance(10).then(|| {
            let newest = asked.replica.version().unwrap().get() as usize;
            Cursor { site: asked.site, version: Version::or_zero(random.within(0..newest + 2) as i64).unwrap() }
        });
        let known = (self.plan.known && random.chance(50)).then(|| Arc::new(asker.replica.clock().unwrap()));
        let exclude = self.plan.excludes.then_some(asker.site);
        let schema = asker.replica.schema().map(|schema| schema.hash().clone());
        Request { since, until, exclude, known, schema, tables: None, page: self.plan.page(random) }
    }

    /// Sends the next batch of a stream, which begins where the peer was when it asked.
    pub fn stream(&mut self, random: &mut Random) -> Checked {
        let (node, peer) = self.pair(random);
        let request = self.pull_request(peer, node, random);
        let reader = self.nodes[peer].site;
        let it = &mut self.nodes[node];
        let since = it.streams.get(&reader).copied().filter(|_| random.chance(95)).unwrap_or(request.since);
        // Streams know nothing of what the reader holds otherwise.
        let request = Request { since, until: None, known: None, ..request };
        match it.call(None, |replica| replica.request_changes(&request))? {
            Ok(batch) => {
                it.streams.insert(reader, batch.next.unwrap_or(since));
                self.send(node, peer, Message::Answer { batch: Rc::new(batch), pulled: false }, random);
            }
            Err(_) => {
                it.streams.remove(&reader);
            }
        }
        Ok(())
    }

    pub fn push(&mut self, random: &mut Random) -> Checked {
        let (node, peer) = self.pair(random);
        let Some(batch) = self.next_push(node, peer, random)? else { return Ok(()) };
        self.send(node, peer, Message::Push(Rc::new(batch)), random);
        Ok(())
    }

    /// The next batch that `node` has for `peer`, if there is any.
    pub fn next_push(&mut self, node: usize, peer: usize, random: &mut Random) -> Checked<Option<Batch>> {
        let known = self.nodes[peer].replica.clock().unwrap();
        let peer = self.nodes[peer].site;
        let page = self.plan.page(random);
        let text = self.plan.migrates;
        let node = &mut self.nodes[node];
        let schema_text = |node: &Node| node.replica.schema().filter(|_| text).map(|schema| schema.text().to_owned());
        if node.replica.holds_back(peer).unwrap() {
            node.pushes.remove(&peer);
            let batch = node.call(None, |replica| replica.outgoing_by_name(peer, &known, None, page))?;
            let (mut batch, _) = batch.map_err(|error| error.to_string())?;
            batch.schema_text = schema_text(node);
            return Ok((!batch.is_empty()).then_some(batch));
        }
        loop {
            let start = || node.replica.acknowledged(peer).map(|since| Push { acknowledged: since, read: since });
            let push = match node.pushes.get(&peer) {
                Some(push) => *push,
                None => start().unwrap(),
            };
            let known = random.chance(20).then(|| Arc::new(known.clone()));
            let outgoing = Outgoing { known, ..Outgoing::new(peer, push.acknowledged, push.read, page) };
            let batch = node.call(None, |replica| replica.outgoing(&outgoing))?;
            let mut batch = batch.map_err(|error| error.to_string())?;
            if !batch.is_empty() {
                batch.schema_text = schema_text(node);
                node.pushes.insert(peer, push);
                return Ok(Some(batch));
            }
            let read = batch.next.unwrap_or(push.read);
            node.pushes.insert(peer, Push { read, ..push });
            if !batch.more {
                return Ok(None);
            }
        }
    }

    /// Sends again what a peer refused.
    pub fn retry(&mut self, random: &mut Random) -> Checked {
        let (node, peer) = self.pair(random);
        for (of, batch) in self.refused(node, peer)? {
            self.send(node, peer, Message::Retry { of, batch: Rc::new(batch) }, random);
        }
        Ok(())
    }

    /// The transactions that `peer` refused, as `node` would send them again.
    pub fn refused(&mut self, node: usize, peer: usize) -> Checked<Vec<(Transaction, Batch)>> {
        let (peer, text) = (self.nodes[peer].site, self.plan.migrates);
        let it = &mut self.nodes[node];
        it.call(None, Replica::retry_quarantined)?.map_err(|error| error.to_string())?;
        let due = it.replica.quarantine_due(peer, None).unwrap();
        let mut batches = Vec::new();
        for of in due {
            let read = |replica: &mut Replica| replica.outgoing_transaction(of, None, None, Page::default());
            let (mut batch, _) = it.call(None, read)?.map_err(|error| error.to_string())?;
            if text {
                batch.schema_text = it.replica.schema().map(|schema| schema.text().to_owned());
            }
            batches.push((of, batch));
        }
        Ok(batches)
    }

    pub fn ask_versions(&mut self, from: usize, to: usize, random: &mut Random) -> Checked {
        let request = self.versions_request(from, to, random);
        self.send(from, to, Message::AskVersions(Rc::new(request)), random);
        Ok(())
    }

    /// What `node` would ask `peer` for by versions.
    pub fn versions_request(&self, node: usize, peer: usize, random: &mut Random) -> VersionsRequest {
        let (asker, asked) = (&self.nodes[node].replica, self.nodes[peer].site);
        let wanted = if random.chance(50) {
            Wanted::Versions(asker.missing().unwrap())
        } else {
            Wanted::AllBut(asker.clock().unwrap())
        };
        let pieces = if random.chance(70) { asker.pieces().unwrap() } else { Vec::<Piece>::new() };
        let since = match asker.received(asked).unwrap() {
            Since::After(cursor) if random.chance(50) => Some(cursor),
            _ => None,
        };
        let exclude = (self.plan.excludes && random.chance(50)).then_some(self.nodes[node].site);
        let schema = asker.schema().map(|schema| schema.hash().clone());
        VersionsRequest { wanted, pieces, since, exclude, schema, page: self.plan.page(random) }
    }

    /// Whoever hears it is told of the newest transaction of a copy, and of nothing before.
    pub fn broadcast(&mut self, random: &mut Random) -> Checked {
        let node = self.any(random);
        let Node { site, replica, .. } = &self.nodes[node];
        let clock = replica.clock().unwrap();
        let Some(newest) = clock.get(*site).and_then(|versions| versions.last()) else { return Ok(()) };
        let only = Clock::after(*site, Version::or_zero(newest.get() - 1).unwrap(), newest);
        self.tell_all(node, only, random)
    }

    /// Sends one of the transactions that a copy holds to whoever hears it.
    pub fn relay(&mut self, random: &mut Random) -> Checked {
        let node = self.any(random);
        let clock = &self.nodes[node].view.clock;
        let held =
            self.model.transactions().map(|(by, _)| by).filter(|(site, version)| clock.contains(*site, *version));
        let held: Vec<_> = held.collect();
        if held.is_empty() {
            return Ok(());
        }
        let (site, version) = *random.pick(&held);
        let only = Clock::after(site, Version::or_zero(version.get() - 1).unwrap(), version);
        self.tell_all(node, only, random)
    }

    pub fn tell_all(&mut self, node: usize, only: Clock, random: &mut Random) -> Checked {
        let page = if random.chance(30) { self.plan.page(random) } else { Default::default() };
        let request = VersionsRequest { page, ..VersionsRequest::new(Wanted::Versions(only)) };
        let batch = self.nodes[node].call(None, |replica| replica.request_versions(&request))?;
        let mut batch = batch.map_err(|error| error.to_string())?;
        if self.plan.migrates {
            batch.schema_text = self.nodes[node].replica.schema().map(|schema| schema.text().to_owned());
        }
        let batch = Rc::new(batch);
        for to in (0..self.nodes.len()).filter(|to| *to != node) {
            if random.chance(50) {
                self.send(node, to, Message::Told(batch.clone()), random);
            }
        }
        Ok(())
    }

    /// The next message arrives.
    pub fn deliver(&mut self, random: &mut Random) -> Checked {
        let Some(envelope) = self.network.next() else { return Ok(()) };
        let Envelope { from, sender, to, receiver, message, .. } = envelope;
        if self.network.is_cut(from, to) || random.chance(self.plan.drops) {
            self.tell(|_| format!("{from} to {to} lost: {message:?}"));
            return Ok(());
        }
        self.tell(|_| format!("{to} hears from {from}: {message:?}"));
        let is_request = matches!(message, Message::Pull { .. } | Message::AskVersions(_) | Message::Told(_));
        if self.nodes[to].site != receiver && !is_request {
            // Whoever was spoken to is gone, and its connections with it.
            return Ok(());
        }
        match message {
            Message::Pull { since, until, excludes, known } => {
                let exclude = excludes.then_some(sender);
                let schema = self.nodes[from].replica.schema().map(|schema| schema.hash().clone());
                let request =
                    Request { since, until, exclude, known, schema, tables: None, page: self.plan.page(random) };
                let answer = match self.nodes[to].call(None, |replica| replica.request_changes(&request))? {
                    Ok(batch) => Message::Answer { batch: Rc::new(batch), pulled: true },
                    Err(RequestError::CursorUnknown { .. } | RequestError::CursorAhead { .. }) => Message::CursorLost,
                    Err(error) => return Err(error.to_string()),
                };
                self.answer(to, from, sender, answer, random)
            }
            Message::AskVersions(request) => {
                let batch = self.nodes[to].call(None, |replica| replica.request_versions(&request))?;
                let batch = Rc::new(batch.map_err(|error| error.to_string())?);
                self.answer(to, from, sender, Message::Answer { batch, pulled: false }, random)
            }
            Message::Answer { batch, pulled } => {
                let applied = self.apply(to, &batch, random)?;
                if applied.is_none() {
                    let reader = self.nodes[to].site;
                    self.nodes[from].streams.remove(&reader);
                }
                if pulled && applied.is_some() && batch.more && random.chance(80) {
                    return self.pull(to, from, random);
                }
                Ok(())
            }
            // Begins from whatever it has of the site that the peer is now.
            Message::CursorLost => self.forget(to, sender),
            Message::Push(batch) if !batch.changes.is_empty() && random.chance(self.plan.refuses) => {
                let refused = random.pick(&batch.changes);
                let answer = Message::Refused { of: (refused.site, refused.version) };
                self.answer(to, from, sender, answer, random)
            }
            Message::Refused { of } => {
                let refusal = Refusal { status: None, code: "refused".into(), detail: String::new() };
                let fault = self.fault(random);
                let it = &mut self.nodes[to];
                it.pushes.remove(&sender);
                let _ = it.call(fault, |replica| replica.quarantine(sender, of, &refusal, None))?;
                self.check(to)
            }
            Message::Retry { of, batch } => match self.apply(to, &batch, random)? {
                Some(()) => self.answer(to, from, sender, Message::Taken { of }, random),
                None => Ok(()),
            },
            Message::Taken { of } => {
                let fault = self.fault(random);
                let _ = self.nodes[to].call(fault, |replica| replica.release(sender, of))?;
                self.check(to)
            }
            Message::Push(batch) => {
                let answer = match self.try_apply(to, &batch, random)? {
                    // One by name moves no cursor.
                    Ok(_) if batch.start.is_none() => return Ok(()),
                    Ok(_) => Message::Pushed { next: batch.next.unwrap() },
                    Err(ApplyError::OutOfOrder { expected }) => Message::OutOfOrder { expected },
                    Err(_) => return Ok(()),
                };
                self.answer(to, from, sender, answer, random)
            }
            Message::Pushed { next } => self.acknowledge(to, sender, next, random),
            Message::OutOfOrder { expected } => self.go_back(to, sender, expected),
            Message::Told(batch) => self.apply(to, &batch, random).map(drop),
            Message::Session(id, said) => self.hear(to, id, &said, random),
        }
    }

    /// Answers a request, unless who asked is somebody else now.
    pub fn answer(&mut self, from: usize, to: usize, asker: SiteId, answer: Message, random: &mut Random) -> Checked {
        if self.nodes[to].site == asker {
            self.send(from, to, answer, random);
        }
        Ok(())
    }

    /// Applies a batch that nobody waits for the outcome of.
    pub fn apply(&mut self, node: usize, batch: &Batch, random: &mut Random) -> Checked<Option<()>> {
        match self.try_apply(node, batch, random)? {
            Ok(()) => Ok(Some(())),
            Err(_) => Ok(None),
        }
    }

    /// Applies a batch, maybe by way of its text, and maybe with a failure.
    pub fn try_apply(&mut self, node: usize, batch: &Batch, random: &mut Random) -> Checked<Result<(), ApplyError>> {
        let mut read = None;
        if self.plan.json {
            let text = serde_json::to_string(batch).unwrap();
            let cut = text.get(..random.within(0..text.len())).unwrap_or_default();
            if serde_json::from_str::<Batch>(cut).is_ok() {
                return Err(format!("half a batch was taken: {cut}"));
            }
            read = Some(serde_json::from_str::<Batch>(&text).map_err(|error| format!("{error}: {text}"))?);
            if read.as_ref() != Some(batch) {
                return Err(format!("a batch does not read as it was written: {text}"));
            }
        }
        let batch = read.as_ref().unwrap_or(batch);
        let fault = self.fault(random);
        let applied = self.nodes[node].call(fault, |replica| replica.apply_changes(batch))?;
        let is_expected = |error: &ApplyError| match error {
            ApplyError::OutOfOrder { .. } => true,
            ApplyError::SchemaMismatch { .. } => self.plan.migrates,
            ApplyError::InvalidBatch(reason) => {
                fault.is_some() || reason.contains("own site") || reason.contains("interrupted")
            }
            ApplyError::Replica(_) => fault.is_some(),
            _ => false,
        };
        if let Err(error) = &applied {
            let expected = is_expected(error);
            self.tell(|_| format!("{node} refuses: {error}"));
            if !expected {
                return Err(format!("a batch was refused: {error}"));
            }
            return Ok(applied.map(drop));
        }
        let received = self.nodes[node].replica.received(batch.from).unwrap();
        let is_behind = batch.start.is_some() && batch.next.is_some_and(|next| next.is_later_than(&received));
        if is_behind || applied.is_ok_and(|applied| applied.received != received) {
            return Err(format!("applied up to {:?}, and received {received}", batch.next));
        }
        self.check(node)?;
        Ok(Ok(()))
    }

    /// `node` hears that `peer` has taken a push.
    pub fn acknowledge(&mut self, node: usize, peer: SiteId, next: Since, random: &mut Random) -> Checked {
        let fault = self.fault(random);
        if self.nodes[node].call(fault, |replica| replica.acknowledge(peer, next))?.is_ok() {
            let pushes = &mut self.nodes[node].pushes;
            if pushes.get(&peer).is_some_and(|push| next.is_later_than(&push.acknowledged)) {
                pushes.insert(peer, Push { acknowledged: next, read: next });
            }
        }
        self.check(node)
    }

    /// `node` hears that `peer` has less than it took it to have.
    pub fn go_back(&mut self, node: usize, peer: SiteId, expected: Since) -> Checked {
        match self.nodes[node].pushes.remove(&peer) {
            Some(push) if push.acknowledged.is_later_than(&expected) => self.forget(node, peer),
            _ => Ok(()),
        }
    }

    /// Begins again with a site.
    pub fn forget(&mut self, node: usize, peer: SiteId) -> Checked {
        if peer == self.nodes[node].site {
            return Ok(());
        }
        self.tell(|_| format!("{node} begins again with {peer}"));
        let it = &mut self.nodes[node];
        it.pushes.remove(&peer);
        it.forgiven.push(peer);
        it.call(None, |replica| replica.begin_again(peer))?.map_err(|error| error.to_string())?;
        self.check(node)
    }
}
