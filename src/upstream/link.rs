//! The link of one database: attempt after attempt, for as long as the host lives.
//!
//! An attempt makes sure that the upstream has the database, then pushes and pulls until one of them fails. Nothing is
//! kept in memory that an attempt would miss: both cursors are in the database, and so is what was refused, whose it is, and how
//! long the upstream asked to be left alone. The memory of where a direction was only saves reading again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_timer::Delay;
use futures_util::future::{Either, select, try_join};
use tokio::sync::{Notify, watch};
use web_time::Instant;

use super::backoff::{ASKED, Backoff};
use super::client::{Client, Remote};
use super::exchange::Exchange;
use super::failure::{Failure, error};
use super::state::{self, Direction, State};
use super::subscriptions::Subscriptions;
use super::{Config, Transport};
use crate::crr::SiteId;
use crate::http::links::{LinkError, LinkSettings, LinkState};
use crate::store::{self, Database};
use crate::sync::{self, Clock, Replica, Schema};

/// An attempt that lasted this long was a success: the next delay is a short one.
const LASTING: Duration = Duration::from_secs(10);
/// An upstream that asks to be left alone for longer is left alone by later hosts of the database as well.
const WORTH_REMEMBERING: Duration = Duration::from_secs(5);

/// A link that runs.
pub(super) struct Link {
    pub(super) database: Database,
    pub(super) state: Arc<State>,
    config: Config,
    transport: Arc<dyn Transport>,
    wake: Arc<Notify>,
    settings: watch::Receiver<()>,
    pub(super) subscriptions: watch::Receiver<()>,
    backoff: Mutex<Backoff>,
}

/// What the rest of the host has of a link. Without it the link ends.
pub(super) struct Handle {
    pub(super) state: Arc<State>,
    wake: Arc<Notify>,
    settings: watch::Sender<()>,
    subscriptions: watch::Sender<()>,
}

impl Handle {
    /// Ends a wait for the next attempt.
    pub(super) fn wake(&self) {
        self.wake.notify_waiters();
    }

    /// Has the link look up in the database what it is to do. Whoever asks from now on is told so, although the link
    /// may not have come to it yet.
    pub(super) fn restart(&self, orders: Orders) {
        orders.show(&self.state);
        self.settings.send_replace(());
    }

    /// Has the link look up what it is to subscribe to.
    pub(super) fn resubscribe(&self) {
        self.subscriptions.send_replace(());
        // The rows of one that ended may have gone with it.
        self.state.forgot();
    }
}

/// What the database says that its link shall do.
pub(super) struct Orders {
    paused: bool,
    principal: Option<String>,
    other_principal: Option<String>,
    synced_at: Option<i64>,
    not_before: Option<i64>,
}

impl Orders {
    fn read(replica: &mut Replica) -> Result<Self, sync::Error> {
        Ok(Self {
            paused: replica.is_paused()?,
            principal: replica.principal()?,
            other_principal: replica.other_principal()?,
            synced_at: replica.synced_at()?,
            not_before: replica.not_before()?,
        })
    }

    /// Writes down new settings, and reads what comes of them. Whoever changes them wants the upstream to be asked.
    pub(super) fn change(replica: &mut Replica, settings: LinkSettings) -> Result<Self, sync::Error> {
        if let Some((principal, unsent)) = settings.principal {
            replica.sign_in(&principal, unsent)?;
        }
        if let Some(paused) = settings.paused {
            replica.set_paused(paused)?;
        }
        if settings.retry {
            replica.retry_quarantined()?;
        }
        replica.set_not_before(None)?;
        Self::read(replica)
    }

    /// Shows a link that is to stand still. Returns whether it is.
    fn show(&self, state: &State) -> bool {
        state.remembered(self.principal.clone(), self.synced_at);
        match &self.other_principal {
            _ if self.paused => state.stopped(LinkState::Paused, None),
            Some(other) => state.stopped(LinkState::PrincipalChanged, Some(principal_changed(other))),
            None => {
                state.connecting();
                return false;
            }
        }
        true
    }

    /// How long the upstream is still to be left alone.
    fn wait(&self) -> Option<Duration> {
        let left = self.not_before?.saturating_sub(state::now());
        let left = u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_millis);
        // The clock may have been set back since.
        left.map(|left| left.min(ASKED))
    }
}

fn principal_changed(other: &str) -> LinkError {
    let detail = format!(
        "this database belongs to another principal than {other:?}, who is signed in: nothing of it is sent until that one is \
         back, or it is decided what becomes of its unsent changes"
    );
    error("principal_changed", None, detail)
}

impl Link {
    /// A link and its handle. It runs when [`run`](Self::run) does.
    pub(super) fn new(database: Database, config: Config, transport: Arc<dyn Transport>) -> (Self, Handle) {
        let state = Arc::new(State::new(config.url(database.dbid())));
        let wake = Arc::new(Notify::new());
        let (to_settings, settings) = watch::channel(());
        let (to_subscriptions, subscriptions) = watch::channel(());
        let handle =
            Handle { state: state.clone(), wake: wake.clone(), settings: to_settings, subscriptions: to_subscriptions };
        let backoff = Mutex::new(Backoff::new(0));
        (Self { database, state, config, transport, wake, settings, subscriptions, backoff }, handle)
    }

    /// Keeps the database in step with the upstream until the host drops the handle.
    pub(super) async fn run(self) {
        // Spreads the attempts of many hosts, on those too whose only source of randomness is SQLite's.
        let random = |replica: &mut Replica| replica.connection().query_row("SELECT random()", [], |row| row.get(0));
        if let Ok(Ok::<i64, _>(seed)) = self.database.call(random).await {
            *self.backoff() = Backoff::new(seed as u64);
        }
        let mut settings = self.settings.clone();
        loop {
            settings.mark_unchanged();
            let orders = self.database.call(Orders::read).await;
            let work = async {
                // A database that cannot be read fails the attempt as well, which says so.
                let orders = orders.ok().and_then(Result::ok);
                if orders.as_ref().is_some_and(|orders| orders.show(&self.state)) {
                    std::future::pending().await
                } else {
                    if let Some(left) = orders.as_ref().and_then(Orders::wait) {
                        let error = error("unavailable", None, "the upstream asked to be left alone for a while");
                        self.state.waiting(LinkState::Offline, error, left);
                        Delay::new(left).await;
                    }
                    self.attempt_and_wait(orders.and_then(|orders| orders.principal)).await;
                }
            };
            match select(Box::pin(work), Box::pin(settings.changed())).await {
                Either::Left(_) | Either::Right((Ok(()), _)) => {}
                Either::Right((Err(_), _)) => return,
            }
        }
    }

    fn backoff(&self) -> MutexGuard<'_, Backoff> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One attempt, and the wait after it.
    async fn attempt_and_wait(&self, principal: Option<String>) {
        self.state.connecting();
        let mut online = None;
        let failure = match self.attempt(principal, &mut online).await {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        if online.is_some_and(|since: Instant| since.elapsed() > LASTING) {
            self.backoff().reset();
        }
        if let Some(synced_at) = self.state.synced_at().filter(|_| online.is_some()) {
            // Known too late, it is only less exact.
            let _ = self.database.call(move |replica| replica.set_synced_at(synced_at)).await;
        }
        let (state, error, delay, asked) = match failure {
            Failure::Retry { error, after } => (LinkState::Offline, error, self.backoff().next(after), after),
            Failure::Unauthorized(error) => (LinkState::Unauthorized, error, self.backoff().slow(), None),
            Failure::Refused(error)
            | Failure::Rejected(error)
            | Failure::TooLarge(error)
            | Failure::Unsupported(error) => (LinkState::Refused, error, self.backoff().slow(), None),
            Failure::OtherPrincipal(other) => match self.database.call(move |replica| replica.adopt(&other)).await {
                Ok(Ok(None)) => {
                    let delay = self.backoff().next(None);
                    return self.sleep(delay).await;
                }
                Ok(Ok(Some(other))) => {
                    (LinkState::PrincipalChanged, principal_changed(&other), self.backoff().slow(), None)
                }
                Ok(Err(failed)) => (LinkState::Offline, storage(failed.into()), self.backoff().next(None), None),
                Err(failed) => (LinkState::Offline, storage(failed), self.backoff().next(None), None),
            },
            Failure::OutOfOrder(_) | Failure::CursorLost => {
                let error = error("begin_again", None, "the upstream lost data, and gets again what it lacks");
                (LinkState::Offline, error, self.backoff().next(None), None)
            }
        };
        tracing::info!(dbid = %self.database.dbid(), code = error.code, detail = error.detail, ?delay, "link to the upstream");
        if asked.is_some() && delay > WORTH_REMEMBERING {
            let until = state::now().saturating_add(delay.as_millis() as i64);
            // Whoever forgets it is told again.
            let _ = self.database.call(move |replica| replica.set_not_before(Some(until))).await;
        }
        self.state.waiting(state, error, delay);
        match asked {
            // Nobody hurries it.
            Some(_) => Delay::new(delay).await,
            None => self.sleep(delay).await,
        }
    }

    /// Runs until something fails.
    async fn attempt(
        &self,
        principal: Option<String>,
        online: &mut Option<Instant>,
    ) -> Result<std::convert::Infallible, Failure> {
        let read = |replica: &mut Replica| (replica.site(), replica.schema().cloned(), replica.is_partial());
        let (site, schema, partial) = self.database.call(read).await?;
        let partial = partial?;
        let schema = schema.ok_or_else(|| Failure::again("the database has no schema yet"))?;
        let exchange = Exchange::new(self.transport.clone(), &self.config, self.database.dbid(), site, principal);
        let client = Client::new(exchange);
        let upstream = client.create(&schema).await?;
        if upstream.site == site {
            let detail = "the upstream's database is a copy of this one's file; give one of them a new site id";
            return Err(Failure::Refused(error("same_site", None, detail)));
        }
        let site = upstream.site;
        self.database.call(move |replica| replica.set_upstream(site)).await??;
        self.state.online();
        *online = Some(Instant::now());
        let (known, subscriptions) = (Mutex::default(), Subscriptions::default());
        let session = Session { link: self, client, upstream, schema, known, subscriptions };
        let pull = async { if partial { session.subscribe().await } else { session.pull().await } };
        match try_join(session.push(), pull).await {
            Ok((never, _)) => Ok(never),
            Err(Failure::CursorLost) => {
                self.database.call(move |replica| replica.begin_again(site)).await??;
                Err(Failure::CursorLost)
            }
            Err(failure) => Err(failure),
        }
    }

    /// A direction has come to rest, or goes on.
    pub(super) async fn set_at_rest(&self, direction: Direction, at_rest: bool) -> Result<(), Failure> {
        if let Some(synced_at) = self.state.set_at_rest(direction, at_rest) {
            self.database.call(move |replica| replica.set_synced_at(synced_at)).await??;
        }
        Ok(())
    }

    /// Shows that a direction was refused, waits, and lets it try again.
    pub(super) async fn sit_out(&self, direction: Direction, refusal: LinkError, upstream: SiteId) {
        let delay = self.backoff().slow();
        tracing::warn!(dbid = %self.database.dbid(), %upstream, ?direction, code = refusal.code, detail = refusal.detail, "refused");
        self.state.set_refused(direction, Some((refusal, delay)));
        self.sleep(delay).await;
        self.state.set_refused(direction, None);
    }

    /// How long a subscription that was refused waits.
    pub(super) async fn sit_out_subscription(&self) {
        let delay = self.backoff().slow();
        self.sleep(delay).await;
    }

    /// Waits, unless the host says that now is a good time.
    async fn sleep(&self, delay: Duration) {
        select(Box::pin(self.wake.notified()), Delay::new(delay)).await;
    }
}

/// An attempt that has found its upstream.
pub(super) struct Session<'a> {
    pub(super) link: &'a Link,
    pub(super) client: Client,
    pub(super) upstream: Remote,
    /// Our own schema. With another one, here or there, another session begins.
    pub(super) schema: Schema,
    /// What the upstream holds, as far as it was asked for and told since.
    known: Mutex<Clock>,
    pub(super) subscriptions: Subscriptions,
}

impl Session<'_> {
    pub(super) fn known(&self) -> MutexGuard<'_, Clock> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn storage(failed: store::Error) -> LinkError {
    match Failure::from(failed) {
        Failure::Retry { error, .. } => error,
        _ => error("storage", None, "this host's own database failed"),
    }
}
