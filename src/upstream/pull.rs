//! The upstream's changes to us.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt;

use super::client::{Client, Event};
use super::failure::Failure;
use super::link::Link;
use super::state::Direction;
use crate::crr::SiteId;
use crate::sync::{Batch, Replica};

/// How long merging a batch may take: triggers of the application run with it.
const MERGE: Duration = Duration::from_secs(60);

impl Link {
    /// Catches up by pages, which get through wherever HTTP does, and stays current by the event stream.
    pub(super) async fn pull(&self, client: &Client, upstream: SiteId) -> Result<Infallible, Failure> {
        loop {
            match self.follow(client, upstream).await {
                Ok(never) => match never {},
                Err(Failure::Refused(error)) => self.sit_out(Direction::Pull, error, upstream).await,
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn follow(&self, client: &Client, upstream: SiteId) -> Result<Infallible, Failure> {
        loop {
            let since = self.database.call(move |replica| replica.received(upstream)).await??;
            let batch = client.changes(since).await?;
            let more = batch.more;
            self.merge(upstream, batch).await?;
            if !more {
                break;
            }
        }
        let since = self.database.call(move |replica| replica.received(upstream)).await??;
        let mut events = client.events(since).await?;
        while let Some(event) = events.next().await {
            match event? {
                Event::Batch(batch) => self.merge(upstream, *batch).await?,
                Event::Drain => return Err(Failure::again("the upstream is about to restart")),
            }
        }
        Err(Failure::unreachable("the event stream ended"))
    }

    /// Merges a batch and moves the cursor, in one transaction.
    async fn merge(&self, upstream: SiteId, batch: Batch) -> Result<(), Failure> {
        if batch.from != upstream {
            return Err(Failure::again("the upstream is another one than when the link began"));
        }
        let merge = move |replica: &mut Replica| replica.within(MERGE, |replica| replica.apply_changes(&batch));
        self.database.call(merge).await??;
        Ok(())
    }
}
