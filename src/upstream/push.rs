//! Our changes to the upstream.

use std::convert::Infallible;
use std::time::Duration;

use futures_timer::Delay;

use super::client::Client;
use super::failure::Failure;
use super::link::Link;
use super::state::Direction;
use crate::crr::SiteId;
use crate::sync::{Page, Since};

/// Commits that follow each other this closely are sent together.
const JOIN: Duration = Duration::from_millis(5);
/// A batch that is too large for the upstream is made smaller down to this.
const SMALLEST: usize = 64 << 10;

impl Link {
    /// Sends what the upstream has not acknowledged and did not send us, a batch at a time, and then what is committed.
    pub(super) async fn push(&self, client: &Client, upstream: SiteId) -> Result<Infallible, Failure> {
        let mut versions = self.database.watch();
        let mut page = Page::default();
        let mut acknowledged = self.database.call(move |replica| replica.acknowledged(upstream)).await??;
        // Between what is acknowledged and what was read there is nothing for the upstream.
        let mut read = acknowledged;
        loop {
            // Before the read: what is committed during it is seen by it, or wakes the wait.
            versions.mark_unchanged();
            let batch =
                self.database.read(move |replica| replica.outgoing(upstream, acknowledged, read, page)).await??;
            let next = batch.next.unwrap_or(read);
            if batch.is_empty() {
                read = next;
                if !batch.more {
                    self.database.call(|replica| replica.all_sent()).await??;
                    // The sender lives in the database that we hold.
                    let _ = versions.changed().await;
                    Delay::new(JOIN).await;
                }
                continue;
            }
            match client.push(&batch).await {
                Ok(()) => {
                    self.database.call(move |replica| replica.acknowledge(upstream, next)).await??;
                    (acknowledged, read) = (next, next);
                }
                Err(Failure::OutOfOrder(expected)) => {
                    acknowledged = self.go_back(upstream, acknowledged, expected).await?;
                    read = acknowledged;
                }
                Err(Failure::TooLarge(_)) if batch.changes.len() > 1 && page.bytes > SMALLEST => page.bytes /= 2,
                Err(Failure::Refused(error) | Failure::TooLarge(error)) => {
                    self.sit_out(Direction::Push, error, upstream).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Goes on from what the upstream says that it holds: it lost what it had acknowledged after that.
    async fn go_back(&self, upstream: SiteId, acknowledged: Since, expected: Since) -> Result<Since, Failure> {
        if !acknowledged.is_later_than(&expected) {
            // It refused what begins at the very place that it expects. Asking again from the start may find out why.
            return Err(Failure::again("the upstream refused a batch that begins where it expects one"));
        }
        let held = match expected {
            Since::After(cursor) => cursor,
            // Inside a version, or at nothing: the whole version again, or everything.
            _ => return Err(Failure::CursorLost),
        };
        tracing::warn!(dbid = %self.database.dbid(), %expected, "the upstream lost data; sending again");
        self.database.call(move |replica| replica.send_again(upstream, held)).await??;
        Ok(expected)
    }
}
