//! Sessions: replicas that stay in step over links which are not HTTP, such as data channels and message brokers.
//!
//! A [`Session`] is the state machine of one replica and all of its links. It takes an event and a time, and gives back
//! messages to send and a time at which it wants to be woken: there is no socket, no clock and no thread inside. A link
//! may lose, repeat and reorder messages.
//!
//! Over each link two streams run, one in each direction, and the reader drives its own:
//!
//! ```text
//!   hello {site, schema, at}          each says who it is
//!   want {since, credit}              "send me what comes after this, at most so many batches ahead of what I confirm"
//!   batch …                           by cursors, as over HTTP
//!   have {received, credit}           "this is on my disk"
//!   need {versions, pieces, since}    "I lack these; do you hold them?"
//!   batch …                           by versions
//!   error {code, detail}, bye
//! ```
//!
//! - What the peer wrote, what came from it, and what it says that it holds is not sent to it. Everything else is passed on
//!   as it becomes known, whoever wrote it.
//! - A batch that comes early is kept for a moment, until the one before it is there. One that got lost is asked for
//!   again after a while, by the reader; one that is never confirmed is sent again, by the writer.
//! - What is known to be missing, and does not come by itself, is asked of one peer that holds it, the newest first; after a
//!   while of another one.

mod incoming;
mod link;
pub mod message;
mod needs;
mod outgoing;

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::Error;
use super::replica::Replica;
use super::request::Page;
use link::Link;
pub use message::{Failure, Hello, Message};
use needs::Needs;

/// A link, by a number that its host gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// How a session behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How many batches may be under way in one direction of a link.
    pub credit: u32,
    /// How large a batch is.
    pub page: Page,
    /// How long to wait for an answer.
    pub patience: Duration,
    /// How long what is missing may still come by itself before it is asked for.
    pub grace: Duration,
    /// How many transactions are asked for at once.
    pub needs: usize,
}

impl Default for Config {
    fn default() -> Self {
        let (patience, grace) = (Duration::from_secs(10), Duration::from_secs(1));
        Self { credit: 8, page: Page::default(), patience, grace, needs: 100 }
    }
}

/// What the host shall do now.
#[derive(Debug, Default, PartialEq)]
pub struct Output {
    /// Messages to send, in this order.
    pub messages: Vec<(LinkId, Message)>,
    /// Links to close once those are sent.
    pub closed: Vec<LinkId>,
    /// When to call [`Session::wake`], unless something else happens before.
    pub wake_at: Option<Duration>,
}

/// The links of one replica. Times count from any moment, the same for all calls.
///
/// An error of a call means that the replica's database failed. The session can be used on: what was not done is done later.
#[derive(Debug, Default)]
pub struct Session {
    config: Config,
    links: BTreeMap<LinkId, Link>,
    needs: Needs,
}

impl Session {
    /// A session without links.
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    /// A link is open.
    pub fn connect(&mut self, replica: &mut Replica, now: Duration, id: LinkId) -> Result<Output, Error> {
        let mut output = Output::default();
        output.messages.push((id, link::hello(replica, false)?));
        self.links.insert(id, Link::new(now));
        self.step(replica, now, output)
    }

    /// A link is gone.
    pub fn disconnect(&mut self, replica: &mut Replica, now: Duration, id: LinkId) -> Result<Output, Error> {
        let output = Output::default();
        self.drop_link(replica, id)?;
        self.step(replica, now, output)
    }

    /// A message came. Of a link that is not known it is passed over.
    pub fn receive(
        &mut self,
        replica: &mut Replica,
        now: Duration,
        id: LinkId,
        message: Message,
    ) -> Result<Output, Error> {
        let mut output = Output::default();
        let Some(link) = self.links.get_mut(&id) else { return self.step(replica, now, output) };
        let mut answers = Vec::new();
        let keeps = match message {
            Message::Hello(hello) => link.greet(replica, now, hello, &self.config, &mut answers)?,
            Message::Want { since, credit } => link.stream_from(replica, now, since, credit, &mut answers)?,
            Message::Batch(batch) if batch.start.is_some() => {
                link.take(replica, now, *batch, &self.config, &mut answers)?
            }
            Message::Batch(batch) => {
                self.needs.answered(id, &batch);
                link.take_versions(replica, &batch, &mut answers)?
            }
            Message::Have { received, credit } => {
                link.confirm(received, credit, now);
                true
            }
            Message::Need { versions, pieces, since } => {
                link.answer(replica, versions, pieces, since, self.config.page, &mut answers)?;
                true
            }
            Message::Error(failure) => link.fail(replica, now, &failure, &self.config, &mut answers)?,
            Message::Bye => false,
        };
        output.messages.extend(answers.into_iter().map(|message| (id, message)));
        if !keeps {
            self.drop_link(replica, id)?;
            output.closed.push(id);
        }
        self.step(replica, now, output)
    }

    /// Something was written to the database by another one than this session.
    pub fn written(&mut self, replica: &mut Replica, now: Duration) -> Result<Output, Error> {
        self.step(replica, now, Output::default())
    }

    /// The time has come that was asked for.
    pub fn wake(&mut self, replica: &mut Replica, now: Duration) -> Result<Output, Error> {
        self.step(replica, now, Output::default())
    }

    /// Whether nothing is under way, and nothing known to lack.
    pub fn is_idle(&self, replica: &Replica) -> Result<bool, Error> {
        let at = replica.at()?;
        let are_idle = self.links.values().map(|link| link.is_idle(replica, at)).collect::<Result<Vec<_>, _>>()?;
        Ok(are_idle.into_iter().all(|is_idle| is_idle) && replica.missing()?.is_empty())
    }

    fn drop_link(&mut self, replica: &mut Replica, id: LinkId) -> Result<(), Error> {
        self.needs.forget(id);
        match self.links.remove(&id) {
            Some(link) => link.note_confirmed(replica),
            None => Ok(()),
        }
    }

    /// Sends what can be sent, and asks for what is missing.
    fn step(&mut self, replica: &mut Replica, now: Duration, mut output: Output) -> Result<Output, Error> {
        for (id, link) in &mut self.links {
            let mut messages = Vec::new();
            link.ask_again(replica, now, &self.config, &mut messages)?;
            link.send(replica, now, &self.config, &mut messages)?;
            output.messages.extend(messages.into_iter().map(|message| (*id, message)));
        }
        let needs = self.needs.ask(replica, now, &self.links, &self.config)?;
        output.messages.extend(needs);
        let deadlines = self.links.values().filter_map(|link| link.deadline(&self.config));
        output.wake_at = deadlines.chain(self.needs.deadline(&self.config)).min();
        Ok(output)
    }
}
