//! What a partial copy subscribes to at the upstream.
//!
//! Each subscription is caught up by pages and then followed, by itself: what the upstream refuses of one holds up no other.
//! Nothing of that is kept in memory but errors: which answer was merged last is in the database, with the rows.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_timer::Delay;
use futures_util::future::{BoxFuture, Either, select, try_join};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Notify, Semaphore};

use super::answer::Event;
use super::failure::Failure;
use super::link::Session;
use super::pull::MERGE;
use super::state::Direction;
use crate::sync::{Batch, Position, Replica, WantedQueries};

/// How many subscriptions of a database have an event stream. Browsers open six connections to a host that speaks HTTP/1.1, and
/// writes need one.
const STREAMS: usize = 4;
/// How often the others are asked for.
const ASK: Duration = Duration::from_secs(2);
/// How long after a write was sent the upstream has told what becomes of it.
const TOLD: Duration = Duration::from_secs(2);

/// The subscriptions of a session.
pub(super) struct Subscriptions {
    /// Those that are not caught up.
    behind: Mutex<BTreeSet<String>>,
    streams: Semaphore,
    /// The upstream has acknowledged writes, or a subscription is caught up: there may be rows to forget.
    pub(super) told: Notify,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self { behind: Mutex::default(), streams: Semaphore::new(STREAMS), told: Notify::new() }
    }
}

impl Subscriptions {
    fn behind(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A subscription that is followed until something fails.
struct Followed<'a> {
    wanted: WantedQueries,
    work: BoxFuture<'a, Failure>,
}

impl Session<'_> {
    /// Follows what is wanted.
    pub(super) async fn subscribe(&self) -> Result<Infallible, Failure> {
        try_join(self.follow_all(), self.forget_sent()).await.map(|(never, _)| never)
    }

    async fn follow_all(&self) -> Result<Infallible, Failure> {
        let link = self.link;
        let mut changed = link.subscriptions.clone();
        let mut followed: Vec<Followed<'_>> = Vec::new();
        loop {
            // Before the read: what is wanted meanwhile ends the wait.
            changed.mark_unchanged();
            self.end_there().await?;
            let wanted = link.database.read(|replica| replica.wanted()).await??;
            link.state.keep_subscriptions(&wanted);
            self.subscriptions.behind().retain(|name| wanted.iter().any(|wanted| wanted.name == *name));
            followed.retain(|followed| wanted.contains(&followed.wanted));
            for wanted in wanted {
                if !followed.iter().any(|followed| followed.wanted == wanted) {
                    self.subscriptions.behind().insert(wanted.name.clone());
                    followed.push(Followed { work: self.follow_one(wanted.clone()).boxed(), wanted });
                }
            }
            self.set_at_rest().await?;
            let first = poll_fn(|cx| {
                let mut ready = followed.iter_mut().map(|followed| followed.work.poll_unpin(cx));
                ready.find(Poll::is_ready).unwrap_or(Poll::Pending)
            });
            let failure = match select(first, pin!(changed.changed())).await {
                Either::Left((failure, _)) => failure,
                Either::Right((Ok(()), _)) => continue,
                // The link is about to end.
                Either::Right((Err(_), _)) => std::future::pending().await,
            };
            return Err(failure);
        }
    }

    /// Tells the upstream what ended here.
    async fn end_there(&self) -> Result<(), Failure> {
        let database = &self.link.database;
        for name in database.read(|replica| replica.ended_subscriptions()).await?? {
            match self.client.unsubscribe(&name).await {
                // One that it does not know, or will not hear of, ends there by itself.
                Ok(()) | Err(Failure::Refused(_) | Failure::Rejected(_)) => {}
                Err(Failure::Retry { error, .. }) if error.code == "not_found" => {}
                Err(failure) => return Err(failure),
            }
            database.call(move |replica| replica.set_ended(&name)).await??;
        }
        Ok(())
    }

    async fn set_at_rest(&self) -> Result<(), Failure> {
        let at_rest = self.subscriptions.behind().is_empty();
        self.link.set_at_rest(Direction::Pull, at_rest).await
    }

    /// Follows one, also over refusals.
    async fn follow_one(&self, wanted: WantedQueries) -> Failure {
        let link = self.link;
        loop {
            match self.catch_up_and_follow(&wanted).await {
                Ok(never) => match never {},
                Err(Failure::Refused(error) | Failure::Rejected(error)) => {
                    tracing::warn!(dbid = %link.database.dbid(), subscription = wanted.name, code = error.code, detail = error.detail, "refused");
                    link.state.set_subscription(&wanted.name, Some(error));
                    link.sit_out_subscription().await;
                }
                Err(failure) => return failure,
            }
        }
    }

    async fn catch_up_and_follow(&self, wanted: &WantedQueries) -> Result<Infallible, Failure> {
        loop {
            self.catch_up(wanted).await?;
            self.link.state.set_subscription(&wanted.name, None);
            let is_new = self.subscriptions.behind().remove(&wanted.name);
            if is_new {
                self.subscriptions.told.notify_one();
                self.set_at_rest().await?;
            }
            match self.subscriptions.streams.try_acquire() {
                Ok(_stream) => return self.follow_stream(wanted).await,
                Err(_) => Delay::new(ASK).await,
            }
        }
    }

    /// Asks until there is no more.
    async fn catch_up(&self, wanted: &WantedQueries) -> Result<(), Failure> {
        loop {
            let position = self.position(wanted).await?;
            let answer = self.client.subscribe(wanted, position, self.schema.hash()).await?;
            let more = answer.more;
            self.merge_answer(wanted, answer).await?;
            if !more {
                return Ok(());
            }
        }
    }

    /// How far it is.
    async fn position(&self, wanted: &WantedQueries) -> Result<Option<Position>, Failure> {
        let (site, name) = (self.upstream.site, wanted.name.clone());
        let subscribed = self.link.database.read(move |replica| replica.subscribed(site, &name)).await??;
        Ok(subscribed.map(|subscribed| subscribed.position).filter(|position| position.seen > 0))
    }

    async fn follow_stream(&self, wanted: &WantedQueries) -> Result<Infallible, Failure> {
        let unknown = || Failure::again("the upstream does not know the subscription any more");
        let position = self.position(wanted).await?.ok_or_else(unknown)?;
        let mut events = self.client.subscription_events(&wanted.name, position, self.schema.hash()).await?;
        while let Some(event) = events.next().await {
            match event? {
                Event::Batch(answer) => self.merge_answer(wanted, *answer).await?,
                Event::Drain => return Err(Failure::again("the upstream is about to restart")),
            }
        }
        Err(Failure::unreachable("the event stream ended"))
    }

    /// Merges an answer and writes down its number, in one transaction.
    async fn merge_answer(&self, wanted: &WantedQueries, answer: Batch) -> Result<(), Failure> {
        if answer.from != self.upstream.site {
            return Err(Failure::again("the upstream is another one than when the link began"));
        }
        let (wanted, schema) = (wanted.clone(), answer.schema.clone());
        let merge =
            move |replica: &mut Replica| replica.within(MERGE, |replica| replica.apply_wanted(&wanted, &answer));
        if self.link.database.call(merge).await?? {
            self.link.state.forgot();
        }
        if schema.is_some() && schema != self.upstream.schema {
            return Err(Failure::again("the upstream has another schema than when the link began"));
        }
        Ok(())
    }

    /// Forgets what was only kept until it was sent.
    async fn forget_sent(&self) -> Result<Infallible, Failure> {
        let site = self.upstream.site;
        loop {
            let sent = self.link.database.read(move |replica| replica.acknowledged(site)).await??;
            Delay::new(TOLD).await;
            let forget_sent = move |replica: &mut Replica| {
                let own = replica.wanted()?.iter().any(|wanted| wanted.forgets);
                replica.forget_sent(sent, own)
            };
            if self.link.database.call(forget_sent).await?? {
                self.link.state.forgot();
            }
            self.subscriptions.told.notified().await;
        }
    }
}
