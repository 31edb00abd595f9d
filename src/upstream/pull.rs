//! The upstream's changes to us.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt;

use super::answer::Event;
use super::failure::Failure;
use super::link::Session;
use super::state::Direction;
use crate::http::links::Progress;
use crate::sync::{Batch, Clock, Replica, Since};

/// How long merging a batch may take: triggers of the application run with it.
pub(super) const MERGE: Duration = Duration::from_secs(60);

impl Session<'_> {
    /// Catches up by pages, which get through wherever HTTP does, and stays current by the event stream.
    pub(super) async fn pull(&self) -> Result<Infallible, Failure> {
        loop {
            match self.follow().await {
                Ok(never) => match never {},
                Err(Failure::Refused(error) | Failure::Rejected(error)) => {
                    self.link.sit_out(Direction::Pull, error, self.upstream.site).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn follow(&self) -> Result<Infallible, Failure> {
        let (link, schema) = (self.link, self.schema.hash());
        let mut since = self.received().await?;
        let expected = self.upstream.at.version.get();
        link.state.progress(|progress| {
            *progress = Progress { received: version(since), expected, bytes: progress.bytes, done: false };
        });
        loop {
            let known = match since {
                // Who begins again has most of it already.
                Since::Beginning => self.known_here().await?,
                Since::After(cursor) if cursor.version.get() == 0 => self.known_here().await?,
                _ => None,
            };
            let (mut batch, mut bytes) = match known {
                Some(known) => self.client.changes_but(since, &known, schema).await?,
                None => self.client.changes(since, schema).await?,
            };
            if batch.from != self.upstream.site || batch.start.is_some_and(|start| start.get() != version(since)) {
                // A cache may have kept the answer of another upstream or to another cursor; no cache answers this.
                (batch, bytes) = self.client.changes_but(since, &Clock::default(), schema).await?;
            }
            let more = batch.more;
            self.merge(batch).await?;
            since = self.received().await?;
            link.state.progress(|progress| {
                progress.received = version(since);
                progress.expected = progress.expected.max(progress.received);
                progress.bytes += bytes as u64;
                progress.done = !more;
            });
            if !more {
                break;
            }
        }
        let mut events = self.client.events(since, schema).await?;
        link.set_at_rest(Direction::Pull, true).await?;
        while let Some(event) = events.next().await {
            match event? {
                Event::Batch(batch) => {
                    self.merge(*batch).await?;
                    let received = version(self.received().await?);
                    link.state.progress(|progress| {
                        (progress.received, progress.expected) = (received, received.max(progress.expected));
                    });
                }
                Event::Drain => return Err(Failure::again("the upstream is about to restart")),
            }
        }
        Err(Failure::unreachable("the event stream ended"))
    }

    async fn received(&self) -> Result<Since, Failure> {
        let site = self.upstream.site;
        Ok(self.link.database.call(move |replica| replica.received(site)).await??)
    }

    /// What we hold, where that may be much of what the upstream has: but for our own, which it does not send us, and for its
    /// own, since it may have used its numbers again after it was restored.
    async fn known_here(&self) -> Result<Option<Clock>, Failure> {
        let held = |replica: &mut Replica| replica.clock().map(|clock| (replica.site(), clock));
        let (own, mut clock) = self.link.database.read(held).await??;
        clock.remove(own);
        clock.remove(self.upstream.site);
        Ok((!clock.is_empty()).then_some(clock))
    }

    /// Merges a batch and moves the cursor, in one transaction.
    async fn merge(&self, batch: Batch) -> Result<(), Failure> {
        if batch.from != self.upstream.site {
            return Err(Failure::again("the upstream is another one than when the link began"));
        }
        let (schema, covers) = (batch.schema.clone(), batch.covers.clone());
        let merge = move |replica: &mut Replica| replica.within(MERGE, |replica| replica.apply_changes(&batch));
        self.link.database.call(merge).await??;
        let known = self.known().union(&covers);
        *self.known() = known;
        if schema.is_some() && schema != self.upstream.schema {
            return Err(Failure::again("the upstream has another schema than when the link began"));
        }
        Ok(())
    }
}

/// The local version of the upstream that is held whole.
fn version(since: Since) -> i64 {
    match since {
        Since::Beginning => 0,
        Since::After(cursor) => cursor.version.get(),
        Since::Within(place) => place.cursor.version.get() - 1,
    }
}
