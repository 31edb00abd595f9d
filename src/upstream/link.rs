//! The link of one database: attempt after attempt, for as long as the host lives.
//!
//! An attempt makes sure that the upstream has the database, then pushes and pulls until one of them fails. Nothing is
//! kept in memory that an attempt would miss: both cursors are in the database. The memory of where a direction was only
//! saves reading again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_timer::Delay;
use futures_util::future::{Either, select, try_join};
use tokio::sync::{Notify, watch};
use web_time::Instant;

use super::backoff::Backoff;
use super::client::Client;
use super::failure::{Failure, error};
use super::state::{Direction, State};
use super::{Config, Transport};
use crate::crr::SiteId;
use crate::http::links::{LinkError, LinkState};
use crate::store::Database;
use crate::sync::Replica;

/// An attempt that lasted this long was a success: the next delay is a short one.
const LASTING: Duration = Duration::from_secs(10);

/// A link that runs.
pub(super) struct Link {
    pub(super) database: Database,
    pub(super) state: Arc<State>,
    config: Config,
    transport: Arc<dyn Transport>,
    wake: Arc<Notify>,
    settings: watch::Receiver<()>,
    backoff: Mutex<Backoff>,
}

/// What the rest of the host has of a link. Without it the link ends.
pub(super) struct Handle {
    pub(super) state: Arc<State>,
    wake: Arc<Notify>,
    settings: watch::Sender<()>,
}

impl Handle {
    /// Ends a wait for the next attempt.
    pub(super) fn wake(&self) {
        self.wake.notify_waiters();
    }

    /// Has the link look up in the database whether it is paused. Whoever asks from now on is told so, although the link
    /// may not have come to it yet.
    pub(super) fn set_paused(&self, paused: bool) {
        if paused {
            self.state.paused();
        } else {
            self.state.connecting();
        }
        self.settings.send_replace(());
    }
}

impl Link {
    /// A link and its handle. It runs when [`run`](Self::run) does.
    pub(super) fn new(database: Database, config: Config, transport: Arc<dyn Transport>) -> (Self, Handle) {
        let state = Arc::new(State::new(config.url(database.dbid())));
        let wake = Arc::new(Notify::new());
        let (sender, settings) = watch::channel(());
        let handle = Handle { state: state.clone(), wake: wake.clone(), settings: sender };
        let backoff = Mutex::new(Backoff::new(0));
        (Self { database, state, config, transport, wake, settings, backoff }, handle)
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
            let paused = self.database.call(|replica| replica.is_paused()).await;
            let work = async {
                if matches!(paused, Ok(Ok(true))) {
                    self.state.paused();
                    std::future::pending().await
                } else {
                    // A database that cannot be read fails the attempt as well, which says so.
                    self.attempt_and_wait().await;
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
    async fn attempt_and_wait(&self) {
        self.state.connecting();
        let mut online = None;
        let failure = match self.attempt(&mut online).await {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        if online.is_some_and(|since: Instant| since.elapsed() > LASTING) {
            self.backoff().reset();
        }
        let (state, error, delay) = match failure {
            Failure::Retry { error, after } => (LinkState::Offline, error, self.backoff().next(after)),
            Failure::Refused(error) | Failure::TooLarge(error) => (LinkState::Refused, error, self.backoff().slow()),
            Failure::OutOfOrder(_) | Failure::CursorLost => {
                let error = error("begin_again", None, "the upstream lost data, and gets everything again");
                (LinkState::Offline, error, self.backoff().next(None))
            }
        };
        tracing::info!(dbid = %self.database.dbid(), code = error.code, detail = error.detail, ?delay, "link to the upstream");
        self.state.waiting(state, error, delay);
        self.sleep(delay).await;
    }

    /// Runs until something fails.
    async fn attempt(&self, online: &mut Option<Instant>) -> Result<std::convert::Infallible, Failure> {
        let ours = |replica: &mut Replica| (replica.site(), replica.schema().map(|schema| schema.text().to_owned()));
        let (site, schema) = self.database.call(ours).await?;
        let schema = schema.ok_or_else(|| Failure::again("the database has no schema yet"))?;
        let client = Client::new(self.transport.clone(), &self.config, self.database.dbid(), site);
        let upstream = client.create(&schema).await?;
        if upstream == site {
            let detail = "the upstream's database is a copy of this one's file; give one of them a new site id";
            return Err(Failure::Refused(error("same_site", None, detail)));
        }
        self.database.call(move |replica| replica.set_upstream(upstream)).await??;
        self.state.online();
        *online = Some(Instant::now());
        match try_join(self.push(&client, upstream), self.pull(&client, upstream)).await {
            Ok((never, _)) => Ok(never),
            Err(Failure::CursorLost) => {
                self.database.call(move |replica| replica.begin_again(upstream)).await??;
                Err(Failure::CursorLost)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Shows that a direction was refused, waits, and lets it try again.
    pub(super) async fn sit_out(&self, direction: Direction, refusal: LinkError, upstream: SiteId) {
        let delay = self.backoff().slow();
        tracing::warn!(dbid = %self.database.dbid(), %upstream, ?direction, code = refusal.code, detail = refusal.detail, "refused");
        self.state.set_refused(direction, Some((refusal, delay)));
        self.sleep(delay).await;
        self.state.set_refused(direction, None);
    }

    /// Waits, unless the host says that now is a good time.
    async fn sleep(&self, delay: Duration) {
        select(Box::pin(self.wake.notified()), Delay::new(delay)).await;
    }
}
