//! The link that stays: sessions, which send what is new by themselves and want to be woken.

use std::rc::Rc;
use std::time::Duration;

use crsql_sync::sync::Error;
use crsql_sync::sync::session::{LinkId, Message as Said, Output, Session};
use crsql_sync::sync::{Batch, Replica};

use super::network::Message;
use super::random::Random;
use super::world::{Checked, World};

/// A link between two copies that is open.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    id: LinkId,
    ends: (usize, usize),
}

impl Connection {
    fn other(&self, end: usize) -> Option<usize> {
        match self.ends {
            (a, b) if a == end => Some(b),
            (a, b) if b == end => Some(a),
            _ => None,
        }
    }
}

/// A call of a session.
type Call<'a> = Box<dyn FnOnce(&mut Session, &mut Replica, Duration) -> Result<Output, Error> + 'a>;

impl World {
    /// Opens a link, or closes it.
    pub fn connect_or_hang_up(&mut self, random: &mut Random) -> Checked {
        let (a, b) = self.pair(random);
        match self.connections.iter().position(|connection| connection.other(a) == Some(b)) {
            None => self.connect(a, b, random),
            Some(at) if random.chance(30) => {
                let Connection { id, ends } = self.connections.remove(at);
                self.tell(|_| format!("{a} and {b} hang up"));
                self.call_session(
                    ends.0,
                    random,
                    Box::new(|session, replica, now| session.disconnect(replica, now, id)),
                )?;
                self.call_session(
                    ends.1,
                    random,
                    Box::new(|session, replica, now| session.disconnect(replica, now, id)),
                )
            }
            Some(_) => Ok(()),
        }
    }

    fn connect(&mut self, a: usize, b: usize, random: &mut Random) -> Checked {
        self.last_link += 1;
        let id = LinkId(self.last_link);
        self.tell(|_| format!("{a} and {b} connect: {id:?}"));
        self.connections.push(Connection { id, ends: (a, b) });
        self.call_session(a, random, Box::new(|session, replica, now| session.connect(replica, now, id)))?;
        self.call_session(b, random, Box::new(|session, replica, now| session.connect(replica, now, id)))
    }

    /// A copy lost what it had in memory: its links are gone, and its peers notice.
    pub fn lose_session(&mut self, node: usize, random: &mut Random) -> Checked {
        self.nodes[node].session = Session::new(self.plan.session);
        self.nodes[node].wake_at = None;
        let (gone, rest) = self.connections.iter().partition(|connection| connection.other(node).is_some());
        self.connections = rest;
        let gone: Vec<Connection> = gone;
        for Connection { id, ends } in gone {
            let peer = if ends.0 == node { ends.1 } else { ends.0 };
            self.call_session(peer, random, Box::new(|session, replica, now| session.disconnect(replica, now, id)))?;
        }
        Ok(())
    }

    /// Time passes until a session wants to be woken.
    pub fn wake(&mut self, random: &mut Random) -> Checked {
        let first = (0..self.nodes.len()).filter_map(|node| Some((self.nodes[node].wake_at?, node))).min();
        let Some((at, node)) = first else { return Ok(()) };
        self.network.now = self.network.now.max(at.as_millis() as u64 + 1);
        self.call_session(node, random, Box::new(|session, replica, now| session.wake(replica, now)))
    }

    /// Sessions hear of what was written without them.
    pub fn tell_sessions(&mut self, random: &mut Random) -> Checked {
        for node in 0..self.nodes.len() {
            let it = &self.nodes[node];
            if !self.connections.is_empty() && it.told.as_ref().is_none_or(|told| !Rc::ptr_eq(told, &it.image)) {
                self.call_session(node, random, Box::new(|session, replica, now| session.written(replica, now)))?;
            }
        }
        Ok(())
    }

    /// A session hears a message.
    pub fn hear(&mut self, node: usize, id: LinkId, said: &Said, random: &mut Random) -> Checked {
        if matches!(said, Said::Hello(_) | Said::Want { .. } | Said::Error(_)) {
            // It may tell that a peer lost what it had.
            let it = &mut self.nodes[node];
            it.forgiven.extend(it.view.cursors.keys().copied());
        }
        let mut said = said.clone();
        if self.plan.json {
            let text = serde_json::to_string(&said).unwrap();
            let read = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
            if said != read {
                return Err(format!("a message does not read as it was written: {text}"));
            }
            said = read;
        }
        self.call_session(node, random, Box::new(move |session, replica, now| session.receive(replica, now, id, said)))
    }

    fn call_session(&mut self, node: usize, random: &mut Random, call: Call<'_>) -> Checked {
        let now = Duration::from_millis(self.network.now);
        let it = &mut self.nodes[node];
        let mut session = std::mem::take(&mut it.session);
        let output = it.call(None, |replica| call(&mut session, replica, now));
        it.session = session;
        let output = output?.map_err(|error| format!("a session failed: {error}"))?;
        it.wake_at = output.wake_at;
        it.told = Some(it.image.clone());
        self.check(node)?;
        for (id, said) in output.messages {
            let peer = self.connections.iter().find(|connection| connection.id == id);
            if let Some(peer) = peer.and_then(|connection| connection.other(node)) {
                self.send(node, peer, Message::Session(id, Rc::new(said)), random);
            }
        }
        for id in output.closed {
            let Some(at) = self.connections.iter().position(|connection| connection.id == id) else { continue };
            let peer = self.connections.remove(at).other(node);
            self.tell(|_| format!("{node} closes {id:?}"));
            if let Some(peer) = peer {
                self.call_session(
                    peer,
                    random,
                    Box::new(|session, replica, now| session.disconnect(replica, now, id)),
                )?;
            }
        }
        Ok(())
    }

    /// All links are open, and sessions talk until they are idle.
    pub fn settle_sessions(&mut self, random: &mut Random) -> Checked {
        for (a, b) in self.links.clone() {
            if !self.connections.iter().any(|connection| connection.other(a) == Some(b)) {
                self.connect(a, b, random)?;
            }
        }
        // What nobody holds is asked for again and again.
        let (mut still, patience) = (0, 40 * self.nodes.len());
        for _ in 0..20_000 {
            if self.network.is_silent() {
                let idle = |world: &Self| world.nodes.iter().all(|node| node.session.is_idle(&node.replica).unwrap());
                if still > patience || idle(self) {
                    return Ok(());
                }
                let before: Vec<_> = self.nodes.iter().map(|node| node.image.clone()).collect();
                self.wake(random)?;
                let moved = self.nodes.iter().zip(before).any(|(node, before)| node.image != before);
                still = if moved { 0 } else { still + 1 };
            } else {
                let before: Vec<_> = self.nodes.iter().map(|node| node.image.clone()).collect();
                self.deliver(random)?;
                if self.nodes.iter().zip(before).any(|(node, before)| node.image != before) {
                    still = 0;
                }
            }
        }
        Err("sessions do not come to rest".into())
    }
}

/// A batch in a message for people.
pub fn describe(said: &Said) -> String {
    let text = |batch: &Batch| serde_json::to_string(batch).unwrap();
    match said {
        Said::Batch(batch) => format!("batch {}", text(batch)),
        other => format!("{other:?}"),
    }
}
