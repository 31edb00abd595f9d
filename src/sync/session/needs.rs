//! What is missing and does not come by itself: asked of one peer at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::link::Link;
use super::message::Message;
use super::{Config, LinkId};
use crate::crr::Version;
use crate::sync::batch::Batch;
use crate::sync::clock::Clock;
use crate::sync::cursor::{Cursor, Since};
use crate::sync::error::Error;
use crate::sync::partials::Piece;
use crate::sync::ranges::{Range, Ranges};
use crate::sync::replica::Replica;

/// The questions that are open.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// What was found missing, and when.
    missing: Clock,
    since: Option<Duration>,
    /// When it will have had its time to come by itself.
    next: Option<Duration>,
    open: Vec<Question>,
    /// Who did not answer in time, or did not have it. Asked last.
    slow: BTreeMap<LinkId, u32>,
}

/// What was asked of a peer.
#[derive(Debug)]
struct Question {
    link: LinkId,
    versions: Clock,
    asked: Duration,
}

impl Needs {
    /// A peer answered.
    pub(super) fn answered(&mut self, link: LinkId, batch: &Batch) {
        let Some(at) = self.open.iter().position(|question| question.link == link) else { return };
        let question = self.open.swap_remove(at);
        let brings_some = !batch.covers.intersection(&question.versions).is_empty() || !batch.partial.is_empty();
        if brings_some {
            self.slow.remove(&link);
        } else {
            *self.slow.entry(link).or_default() += 1;
        }
    }

    /// A link is gone, and with it the hope for an answer.
    pub(super) fn forget(&mut self, link: LinkId) {
        self.open.retain(|question| question.link != link);
        self.slow.remove(&link);
    }

    /// Asks for what is missing and not asked for yet.
    pub(super) fn ask(
        &mut self,
        replica: &Replica,
        now: Duration,
        links: &BTreeMap<LinkId, Link>,
        config: &Config,
    ) -> Result<Vec<(LinkId, Message)>, Error> {
        let late = |question: &Question| now >= question.asked + config.patience;
        for question in self.open.extract_if(.., |question| late(question)) {
            *self.slow.entry(question.link).or_default() += 1;
        }
        let missing = replica.missing()?;
        if missing != self.missing {
            self.since = (!missing.is_empty()).then_some(now);
            self.missing = missing;
        }
        // It may be on its way.
        self.next = self.since.map(|since| since + config.grace).filter(|next| *next > now);
        if self.since.is_none() || self.next.is_some() {
            return Ok(Vec::new());
        }
        let asked = self.open.iter().fold(Clock::default(), |asked, question| asked.union(&question.versions));
        let mut wanted = self.missing.difference(&asked);
        let pieces = if wanted.is_empty() { Vec::new() } else { replica.pieces()? };
        let mut by_patience: Vec<_> = links.iter().collect();
        by_patience.sort_by_key(|(id, _)| self.slow.get(id).copied().unwrap_or_default());
        let mut messages = Vec::new();
        for (id, link) in by_patience {
            // One question at a time.
            if self.open.iter().any(|question| question.link == *id) {
                continue;
            }
            let Some((site, holds)) = link.holds() else { continue };
            let versions = newest(&wanted.intersection(holds), config.needs);
            if versions.is_empty() {
                continue;
            }
            wanted = wanted.difference(&versions);
            let is_asked = |piece: &&Piece| versions.contains(piece.site, piece.version);
            let pieces: Vec<Piece> = pieces.iter().filter(is_asked).cloned().collect();
            let whole = pieces.iter().fold(versions.clone(), |whole, piece| {
                whole.difference(&Clock::from_iter([(piece.site, Ranges::from(Range::one(piece.version)))]))
            });
            let since = cursor(replica.received(site)?);
            self.open.push(Question { link: *id, versions, asked: now });
            messages.push((*id, Message::Need { versions: whole, pieces, since }));
        }
        Ok(messages)
    }

    pub(super) fn deadline(&self, config: &Config) -> Option<Duration> {
        let answers = self.open.iter().map(|question| question.asked + config.patience);
        answers.chain(self.next).min()
    }
}

/// The last `count` transactions, in equal parts of each site.
fn newest(versions: &Clock, count: usize) -> Clock {
    let each = (count / versions.len().max(1)).max(1) as i64;
    let of_site = |versions: &Ranges<Version>| {
        let mut left = each;
        let mut newest = Vec::new();
        for range in versions.iter().rev() {
            if left <= 0 {
                break;
            }
            let first = Version::new(range.last.get() - left + 1).unwrap_or(range.first).max(range.first);
            left -= range.last.get() - first.get() + 1;
            newest.push(Range { first, ..range });
        }
        newest.into_iter().collect()
    };
    versions.iter().take(count.max(1)).map(|(site, versions)| (site, of_site(versions))).collect()
}

fn cursor(received: Since) -> Option<Cursor> {
    match received {
        Since::Beginning => None,
        Since::After(cursor) => Some(cursor),
        Since::Within(place) => {
            let version = Version::or_zero(place.cursor.version.get() - 1).ok()?;
            Some(Cursor { version, ..place.cursor })
        }
    }
}
