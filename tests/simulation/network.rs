//! Messages in flight.

use std::rc::Rc;
use std::sync::Arc;

use crsql_sync::crr::SiteId;
use crsql_sync::sync::session::{self, LinkId};
use crsql_sync::sync::{Batch, Clock, Cursor, Since, Transaction, VersionsRequest};

use super::random::Random;

/// What one copy says to another.
#[derive(Clone)]
pub enum Message {
    Pull {
        since: Since,
        until: Option<Cursor>,
        excludes: bool,
        known: Option<Arc<Clock>>,
    },
    AskVersions(Rc<VersionsRequest>),
    /// The answer to either. `pulled` when to the first.
    Answer {
        batch: Rc<Batch>,
        pulled: bool,
    },
    /// The cursor is of another copy, or ahead.
    CursorLost,
    Push(Rc<Batch>),
    /// The push that ended at `next` was applied.
    Pushed {
        next: Since,
    },
    OutOfOrder {
        expected: Since,
    },
    /// The peer would not have this one of a push.
    Refused {
        of: Transaction,
    },
    /// One that was refused, once more.
    Retry {
        of: Transaction,
        batch: Rc<Batch>,
    },
    /// It was taken.
    Taken {
        of: Transaction,
    },
    /// Transactions that nobody asked for.
    Told(Rc<Batch>),
    /// What a session says over a link.
    Session(LinkId, Rc<session::Message>),
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pull { since, until, excludes, known } => {
                let known = known.as_deref().map(describe);
                write!(f, "pull since {since} until {until:?} excludes {excludes} known {known:?}")
            }
            Self::AskVersions(request) => write!(f, "ask {request:?}"),
            Self::Answer { batch, .. } => write!(f, "answer {}", text(batch)),
            Self::CursorLost => f.write_str("cursor lost"),
            Self::Push(batch) => write!(f, "push {}", text(batch)),
            Self::Pushed { next } => write!(f, "pushed {next}"),
            Self::OutOfOrder { expected } => write!(f, "out of order, expected {expected}"),
            Self::Refused { of: (site, version) } => write!(f, "refused {site}.{version}"),
            Self::Retry { batch, .. } => write!(f, "retry {}", text(batch)),
            Self::Taken { of: (site, version) } => write!(f, "taken {site}.{version}"),
            Self::Told(batch) => write!(f, "told {}", text(batch)),
            Self::Session(id, said) => write!(f, "{id:?} {}", super::sessions::describe(said)),
        }
    }
}

fn text(batch: &Batch) -> String {
    serde_json::to_string(batch).unwrap()
}

/// A clock for people.
pub fn describe(clock: &Clock) -> String {
    serde_json::to_string(clock).unwrap()
}

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub from: usize,
    /// Who `from` was when it sent this.
    pub sender: SiteId,
    pub to: usize,
    /// Who `to` was then.
    pub receiver: SiteId,
    pub due: u64,
    pub message: Message,
}

/// What is in flight, and which links are cut.
#[derive(Default)]
pub struct Network {
    pub now: u64,
    flying: Vec<Envelope>,
    cut: Vec<(usize, usize)>,
}

impl Network {
    pub fn send(&mut self, envelope: Envelope) {
        self.flying.push(envelope);
    }

    /// The next message: the one that is due first, which takes time to arrive.
    pub fn next(&mut self) -> Option<Envelope> {
        let first = (0..self.flying.len()).min_by_key(|at| self.flying[*at].due)?;
        let envelope = self.flying.remove(first);
        self.now = self.now.max(envelope.due);
        Some(envelope)
    }

    pub fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&(a.min(b), a.max(b)))
    }

    /// Cuts a link, or mends all.
    pub fn partition(&mut self, links: &[(usize, usize)], random: &mut Random) {
        if random.chance(40) {
            self.cut.clear();
        } else {
            let (a, b) = *random.pick(links);
            self.cut.push((a.min(b), a.max(b)));
        }
    }

    /// Whether nothing is in flight.
    pub fn is_silent(&self) -> bool {
        self.flying.is_empty()
    }

    /// Forgets everything in flight, and mends all links.
    pub fn heal(&mut self) {
        self.flying.clear();
        self.cut.clear();
    }
}
