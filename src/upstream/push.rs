//! Our changes to the upstream.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_timer::Delay;

use super::failure::Failure;
use super::link::Session;
use super::state::Direction;
use crate::crr::{SiteId, Version};
use crate::http::links::LinkError;
use crate::sync::{Batch, Clock, Outgoing, Page, Since, Transaction};

/// Commits that follow each other this closely are sent together.
const JOIN: Duration = Duration::from_millis(5);
/// When so many transactions in a row were refused, it may be the upstream that is at fault: it is given time.
const MANY: u32 = 16;

/// Where the push is.
struct Push {
    acknowledged: Since,
    /// Between what is acknowledged and what was read there is nothing for the upstream.
    read: Since,
    page: Page,
    /// What the upstream holds, where it may have much of what it did not acknowledge.
    known: Option<Arc<Clock>>,
    refused_in_a_row: u32,
}

impl Session<'_> {
    /// Sends what the upstream has not acknowledged and did not send us, a batch at a time, and then what is committed.
    pub(super) async fn push(&self) -> Result<Infallible, Failure> {
        let (link, site) = (self.link, self.upstream.site);
        let mut versions = link.database.watch();
        self.send_held_back().await?;
        let acknowledged = link.database.call(move |replica| replica.acknowledged(site)).await??;
        let known = self.known_there().await?;
        let page = Page::default();
        let mut push = Push { acknowledged, read: acknowledged, page, known, refused_in_a_row: 0 };
        loop {
            // Before the read: what is committed during it is seen by it, or wakes the wait.
            versions.mark_unchanged();
            let outgoing = Outgoing {
                known: push.known.clone(),
                schema: self.upstream.schema.clone(),
                ..Outgoing::new(site, push.acknowledged, push.read, push.page)
            };
            let batch = link.database.read(move |replica| replica.outgoing(&outgoing)).await??;
            let next = batch.next.unwrap_or(push.read);
            // What the upstream holds already was passed over: it is told how far.
            let closes = push.known.is_some() && !batch.more && next.is_later_than(&push.acknowledged);
            if batch.is_empty() && !closes {
                push.read = next;
                if !batch.more {
                    push.known = None;
                    link.database.call(|replica| replica.all_sent()).await??;
                    link.set_at_rest(Direction::Push, true).await?;
                    // The sender lives in the database that we hold.
                    let _ = versions.changed().await;
                    link.set_at_rest(Direction::Push, false).await?;
                    Delay::new(JOIN).await;
                }
                continue;
            }
            if batch.schema.as_ref() != Some(self.schema.hash()) {
                return Err(Failure::again("this database has another schema than when the link began"));
            }
            self.send(&mut push, batch, next).await?;
        }
    }

    /// Sends a batch, and goes on behind it, or elsewhere.
    async fn send(&self, push: &mut Push, batch: Batch, next: Since) -> Result<(), Failure> {
        let (link, site) = (self.link, self.upstream.site);
        match self.client.push(&batch).await {
            Ok(received) if next.is_later_than(&received) => Err(Failure::again(format!(
                "the upstream took a batch up to {next}, and says that it holds {received}"
            ))),
            Ok(_) => {
                link.database.call(move |replica| replica.acknowledge(site, next)).await??;
                (push.acknowledged, push.read, push.refused_in_a_row) = (next, next, 0);
                push.page.changes = push.page.changes.saturating_mul(2).min(Page::default().changes);
                Ok(())
            }
            Err(Failure::OutOfOrder(expected)) => {
                push.acknowledged = self.go_back(push.acknowledged, expected).await?;
                (push.read, push.known) = (push.acknowledged, self.known_there().await?);
                Ok(())
            }
            Err(Failure::TooLarge(_)) if batch.changes.len() > 1 && push.page.bytes > 0 => {
                push.page.bytes /= 2;
                Ok(())
            }
            Err(Failure::Rejected(refusal) | Failure::TooLarge(refusal)) => self.narrow(push, &batch, refusal).await,
            Err(Failure::Refused(refusal) | Failure::Unsupported(refusal)) => {
                link.sit_out(Direction::Push, refusal, site).await;
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }

    /// Looks for the transaction that a refused batch is refused for, and holds that back.
    async fn narrow(&self, push: &mut Push, batch: &Batch, refusal: LinkError) -> Result<(), Failure> {
        let site = self.upstream.site;
        let transactions = Transactions::of(batch);
        if let Some(changes) = transactions.first_half() {
            push.page.changes = changes;
            return Ok(());
        }
        let Some(transaction) = transactions.first else {
            // It is not for a change that it was refused.
            self.link.sit_out(Direction::Push, refusal, site).await;
            return Ok(());
        };
        self.hold_back(transaction, refusal.clone()).await?;
        push.refused_in_a_row += 1;
        if push.refused_in_a_row.is_multiple_of(MANY) {
            self.link.sit_out(Direction::Push, refusal, site).await;
        }
        Ok(())
    }

    async fn hold_back(&self, transaction: Transaction, refusal: LinkError) -> Result<(), Failure> {
        let (author, version) = transaction;
        tracing::warn!(
            dbid = %self.link.database.dbid(), %author, %version, code = refusal.code, detail = refusal.detail,
            "the upstream refuses a transaction; the others go on"
        );
        let (site, theirs, refusal) = (self.upstream.site, self.upstream.schema.clone(), refusal.into());
        let hold_back =
            move |replica: &mut crate::sync::Replica| replica.quarantine(site, transaction, &refusal, theirs.as_ref());
        Ok(self.link.database.call(hold_back).await??)
    }

    /// Sends again what was refused before, where that may be taken now.
    async fn send_held_back(&self) -> Result<(), Failure> {
        let (database, site) = (&self.link.database, self.upstream.site);
        let theirs = self.upstream.schema.clone();
        let due = database.read(move |replica| replica.quarantine_due(site, theirs.as_ref())).await??;
        for transaction in due {
            let mut after = None;
            loop {
                let theirs = self.upstream.schema.clone();
                let read = move |replica: &mut crate::sync::Replica| {
                    replica.outgoing_transaction(transaction, after, theirs, Page::default())
                };
                let (batch, rest) = database.read(read).await??;
                match self.client.push(&batch).await {
                    Ok(_) if rest.is_some() => after = rest,
                    Ok(_) => break database.call(move |replica| replica.release(site, transaction)).await??,
                    Err(Failure::Rejected(refusal) | Failure::TooLarge(refusal)) => {
                        break self.hold_back(transaction, refusal).await?;
                    }
                    Err(failure) => return Err(failure),
                }
            }
        }
        Ok(())
    }

    /// What the upstream holds, where it is to be sent everything again or for the first time. One that does not say is sent
    /// all of it.
    async fn known_there(&self) -> Result<Option<Arc<Clock>>, Failure> {
        let site = self.upstream.site;
        let begins = self.link.database.read(move |replica| replica.begins_with(site)).await??;
        if !begins || self.upstream.at.version == Version::ZERO {
            return Ok(None);
        }
        match self.client.clock().await {
            Ok(clock) => Ok(Some(Arc::new(clock))),
            Err(Failure::Refused(_) | Failure::Rejected(_)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Goes on from what the upstream says that it holds: it lost what it had acknowledged after that.
    async fn go_back(&self, acknowledged: Since, expected: Since) -> Result<Since, Failure> {
        if !acknowledged.is_later_than(&expected) {
            // It refused what begins at the very place that it expects. Asking again from the start may find out why.
            return Err(Failure::again("the upstream refused a batch that begins where it expects one"));
        }
        let held = match expected {
            Since::After(cursor) => cursor,
            // Inside a version, or at nothing: the whole version again, or everything.
            _ => return Err(Failure::CursorLost),
        };
        let (database, site) = (&self.link.database, self.upstream.site);
        tracing::warn!(dbid = %database.dbid(), %expected, "the upstream lost data; sending again");
        database.call(move |replica| replica.send_again(site, held)).await??;
        Ok(expected)
    }
}

/// The transactions of a batch, in its order.
struct Transactions {
    first: Option<Transaction>,
    /// Behind how many changes each ends.
    ends: Vec<usize>,
}

impl Transactions {
    fn of(batch: &Batch) -> Self {
        let name = |change: &crate::crr::Change| -> (SiteId, Version) { (change.site, change.version) };
        let mut ends = Vec::new();
        for of_one in batch.changes.chunk_by(|a, b| name(a) == name(b)) {
            ends.push(ends.last().copied().unwrap_or(0) + of_one.len());
        }
        Self { first: batch.changes.first().map(name), ends }
    }

    /// How many changes the first half of them has; `None` where there is nothing to halve.
    fn first_half(&self) -> Option<usize> {
        let half = (self.ends.len() / 2).checked_sub(1)?;
        self.ends.get(half).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(ends: &[usize]) -> Option<usize> {
        Transactions { first: None, ends: ends.to_vec() }.first_half()
    }

    #[test]
    fn a_batch_is_halved_between_transactions_down_to_one() {
        assert_eq!(ends(&[3, 4, 9, 11, 20]), Some(4));
        assert_eq!(ends(&[3, 4]), Some(3));
        assert_eq!(ends(&[4]), None);
        assert_eq!(ends(&[]), None);
    }
}
