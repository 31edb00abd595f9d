//! Our changes to the upstream.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_timer::Delay;
use tokio::sync::watch;

use super::failure::Failure;
use super::link::Session;
use super::state::Direction;
use crate::crr::{SiteId, Version};
use crate::http::links::LinkError;
use crate::sync::{Batch, Clock, Outgoing, Page, Range, Replica, Since, Transaction};

/// Commits that follow each other this closely are sent together.
const JOIN: Duration = Duration::from_millis(5);
/// A batch of so many bytes should not be too large for anybody.
const SMALL: usize = 64 << 10;
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
}

impl Session<'_> {
    /// Sends what the upstream has not acknowledged and did not send us, a batch at a time, and then what is committed.
    ///
    /// By cursor, as long as nothing is held back; from then on by name, since the upstream's cursor must not move over that.
    pub(super) async fn push(&self) -> Result<Infallible, Failure> {
        self.send_held_back().await?;
        loop {
            if !self.holds_back().await? {
                self.push_by_cursor().await?;
            }
            self.push_by_name().await?;
        }
    }

    async fn holds_back(&self) -> Result<bool, Failure> {
        let site = self.upstream.site;
        Ok(self.link.database.read(move |replica| replica.holds_back(site)).await??)
    }

    /// Comes to an end when a transaction was refused, and is held back.
    async fn push_by_cursor(&self) -> Result<(), Failure> {
        let (link, site) = (self.link, self.upstream.site);
        let mut versions = link.database.watch();
        let acknowledged = link.database.call(move |replica| replica.acknowledged(site)).await??;
        let known = self.known_there().await?;
        let mut push = Push { acknowledged, read: acknowledged, page: Page::default(), known };
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
            if batch.is_empty() && !(push.known.is_some() && self.passed_over(&batch).await?) {
                push.read = next;
                if !batch.more {
                    push.known = None;
                    link.database.call(|replica| replica.all_sent()).await??;
                    self.rest(&mut versions).await?;
                }
                continue;
            }
            self.check_schema(&batch)?;
            match self.client.push(&batch).await {
                Ok(received) if next.is_later_than(&received) => {
                    let detail = format!("the upstream took a batch up to {next}, and says that it holds {received}");
                    return Err(Failure::again(detail));
                }
                Ok(_) => {
                    link.database.call(move |replica| replica.acknowledge(site, next)).await??;
                    self.subscriptions.told.notify_one();
                    (push.acknowledged, push.read) = (next, next);
                    widen(&mut push.page);
                }
                Err(Failure::OutOfOrder(expected)) => return Err(out_of_order(push.acknowledged, expected)),
                Err(failure) => {
                    if let Some(refused) = self.narrow(&mut push.page, &batch, failure).await? {
                        return self.hold_back(refused).await;
                    }
                }
            }
        }
    }

    /// Whether a batch that brings nothing is to be sent all the same: it comes to the end over changes that the upstream holds
    /// and has not acknowledged.
    async fn passed_over(&self, batch: &Batch) -> Result<bool, Failure> {
        let site = self.upstream.site;
        Ok(!batch.more && self.link.database.read(move |replica| replica.unsent(site)).await??.changes > 0)
    }

    /// Sends what the upstream is not known to hold, and then takes back what was discarded: so the upstream says what it has with
    /// all the rest. Comes to an end when nothing is held back any more.
    async fn push_by_name(&self) -> Result<(), Failure> {
        let (link, site) = (self.link, self.upstream.site);
        let mut versions = link.database.watch();
        // One that does not say is sent all of it.
        *self.known() = self.ask_clock().await?.unwrap_or_default();
        let (mut page, mut in_a_row, mut takes_back) = (Page::default(), 0_u32, true);
        loop {
            versions.mark_unchanged();
            let (known, theirs) = (self.known().clone(), self.upstream.schema.clone());
            let read = move |replica: &mut Replica| replica.outgoing_by_name(site, &known, theirs, page);
            let (batch, version) = link.database.read(read).await??;
            if batch.is_empty() {
                link.database.call(move |replica| replica.set_taken(site, version)).await??;
                // Once: who discards more has the link begin anew.
                if std::mem::take(&mut takes_back) {
                    self.take_back().await?;
                    if !self.holds_back().await? {
                        return Ok(());
                    }
                }
                self.rest(&mut versions).await?;
                continue;
            }
            self.check_schema(&batch)?;
            let pushed = match batch.partial.first() {
                // Larger than a page: it goes in pieces, and is whole with the last of them.
                Some(piece) => self.send_whole((piece.site, piece.version), page).await,
                None => self.client.push(&batch).await.map(drop),
            };
            match pushed {
                Ok(()) => {
                    let pieces = batch.partial.iter().map(|piece| (piece.site, Range::one(piece.version).into()));
                    let taken = batch.covers.union(&pieces.collect());
                    let mut known = self.known();
                    *known = known.union(&taken);
                    in_a_row = 0;
                    widen(&mut page);
                }
                Err(failure) => {
                    if let Some(refused) = self.narrow(&mut page, &batch, failure).await? {
                        let refusal = refused.refusal.clone();
                        self.hold_back(refused).await?;
                        in_a_row += 1;
                        if in_a_row.is_multiple_of(MANY) {
                            link.sit_out(Direction::Push, refusal, site).await;
                        }
                    }
                }
            }
        }
    }

    /// Waits until something was committed.
    async fn rest(&self, versions: &mut watch::Receiver<Version>) -> Result<(), Failure> {
        self.link.set_at_rest(Direction::Push, true).await?;
        // The sender lives in the database that we hold.
        let _ = versions.changed().await;
        self.link.set_at_rest(Direction::Push, false).await?;
        Delay::new(JOIN).await;
        Ok(())
    }

    fn check_schema(&self, batch: &Batch) -> Result<(), Failure> {
        if batch.schema.as_ref() == Some(self.schema.hash()) {
            return Ok(());
        }
        Err(Failure::again("this database has another schema than when the link began"))
    }

    /// What to do about a batch that was not taken: send less of it, or wait, or, where it has one transaction only, hold that back.
    async fn narrow(&self, page: &mut Page, batch: &Batch, failure: Failure) -> Result<Option<Refused>, Failure> {
        let refusal = match failure {
            Failure::TooLarge(_) if batch.changes.len() > 1 && page.bytes > 0 => {
                page.bytes /= 2;
                return Ok(None);
            }
            Failure::Rejected(refusal) | Failure::TooLarge(refusal) => refusal,
            Failure::Refused(refusal) | Failure::Unsupported(refusal) => {
                self.link.sit_out(Direction::Push, refusal, self.upstream.site).await;
                return Ok(None);
            }
            failure => return Err(failure),
        };
        let transactions = Transactions::of(batch);
        if let Some(changes) = transactions.first_half() {
            page.changes = changes;
            return Ok(None);
        }
        if let Some(transaction) = transactions.first {
            return Ok(Some(Refused { transaction, refusal }));
        }
        // It is not for a change that it was refused.
        self.link.sit_out(Direction::Push, refusal, self.upstream.site).await;
        Ok(None)
    }

    async fn hold_back(&self, Refused { transaction, refusal }: Refused) -> Result<(), Failure> {
        let (author, version) = transaction;
        tracing::warn!(
            dbid = %self.link.database.dbid(), %author, %version, code = refusal.code, detail = refusal.detail,
            "the upstream refuses a transaction; the others go on"
        );
        let (site, theirs, refusal) = (self.upstream.site, self.upstream.schema.clone(), refusal.into());
        let hold_back = move |replica: &mut Replica| replica.quarantine(site, transaction, &refusal, theirs.as_ref());
        Ok(self.link.database.call(hold_back).await??)
    }

    /// Sends again what was refused before, where that may be taken now.
    async fn send_held_back(&self) -> Result<(), Failure> {
        let (database, site) = (&self.link.database, self.upstream.site);
        let theirs = self.upstream.schema.clone();
        let due = database.read(move |replica| replica.quarantine_due(site, theirs.as_ref())).await??;
        for transaction in due {
            match self.send_whole(transaction, Page::default()).await {
                Ok(()) => database.call(move |replica| replica.release(site, transaction)).await??,
                Err(Failure::Rejected(refusal) | Failure::TooLarge(refusal)) => {
                    self.hold_back(Refused { transaction, refusal }).await?;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Sends a transaction by name, in pieces where it is larger than a page.
    async fn send_whole(&self, transaction: Transaction, page: Page) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let theirs = self.upstream.schema.clone();
            let read = move |replica: &mut Replica| replica.outgoing_transaction(transaction, after, theirs, page);
            let (batch, rest) = self.link.database.read(read).await??;
            self.client.push(&batch).await?;
            match rest {
                Some(_) => after = rest,
                None => return Ok(()),
            }
        }
    }

    /// What the upstream holds, where it may be more than what it has acknowledged.
    async fn known_there(&self) -> Result<Option<Arc<Clock>>, Failure> {
        let site = self.upstream.site;
        let more = self.link.database.read(move |replica| replica.may_hold_more(site)).await??;
        if !more || self.upstream.at.version == Version::ZERO {
            return Ok(None);
        }
        Ok(self.ask_clock().await?.map(Arc::new))
    }

    /// What the upstream holds, if it says so.
    async fn ask_clock(&self) -> Result<Option<Clock>, Failure> {
        match self.client.clock().await {
            Ok(clock) => Ok(Some(clock)),
            Err(Failure::Refused(_) | Failure::Rejected(_)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

/// What it means that the upstream expects another beginning. If it lost what it had acknowledged, it may also have given the numbers
/// of what it lost to other versions: then what was received from it holds no longer than what was sent.
fn out_of_order(acknowledged: Since, expected: Since) -> Failure {
    if acknowledged.is_later_than(&expected) {
        return Failure::CursorLost;
    }
    // It refused what begins at the very place that it expects. Asking again from the start may find out why.
    Failure::again("the upstream refused a batch that begins where it expects one")
}

/// After a success, more is tried again. Of bytes only what any upstream should take.
fn widen(page: &mut Page) {
    page.changes = page.changes.saturating_mul(2).min(Page::default().changes);
    if page.bytes < SMALL {
        page.bytes = (page.bytes * 2).clamp(1, SMALL);
    }
}

/// What the upstream will not have.
struct Refused {
    transaction: Transaction,
    refusal: LinkError,
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
