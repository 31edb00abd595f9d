use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use web_time::{Instant, SystemTime, UNIX_EPOCH};

use crate::http::links::{LinkError, LinkState, LinkStatus, Progress};
use crate::sync::WantedQueries;

/// What a link is doing, for whoever asks.
pub(super) struct State {
    url: String,
    now: Mutex<Now>,
    forgotten: watch::Sender<()>,
}

#[derive(Default)]
struct Now {
    phase: LinkState,
    /// The last failure of an attempt.
    error: Option<LinkError>,
    retry_at: Option<Instant>,
    /// Refusals of single directions, while the other may go on.
    refused: [Option<LinkError>; 2],
    /// Subscriptions that were refused, while others go on.
    subscriptions: Vec<(String, LinkError)>,
    /// The directions that have nothing to do but to wait for something new.
    at_rest: [bool; 2],
    progress: Option<Progress>,
    principal: Option<String>,
    synced_at: Option<i64>,
}

/// A direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Push = 0,
    Pull = 1,
}

impl Now {
    /// Both sides have the same.
    fn is_in_step(&self) -> bool {
        self.phase == LinkState::Online && self.at_rest == [true, true] && self.refused == [None, None]
    }

    /// Does something after which both sides may no longer be in step.
    fn change(&mut self, step: impl FnOnce(&mut Self)) {
        if self.is_in_step() {
            self.synced_at = Some(now());
        }
        step(self);
    }
}

impl State {
    pub(super) fn new(url: String) -> Self {
        Self { url, now: Mutex::default(), forgotten: watch::Sender::new(()) }
    }

    /// Rows have left the database, or were taken back, without a change that tells of it.
    pub(super) fn forgot(&self) {
        self.forgotten.send_replace(());
    }

    /// Tells of rows that leave the database.
    pub(super) fn forgotten(&self) -> watch::Receiver<()> {
        self.forgotten.subscribe()
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the database remembers of its link.
    pub(super) fn remembered(&self, principal: Option<String>, synced_at: Option<i64>) {
        let mut now = self.now();
        now.principal = principal;
        now.synced_at = now.synced_at.max(synced_at);
    }

    /// An attempt begins. The last failure stays to be seen until it succeeds.
    pub(super) fn connecting(&self) {
        self.now().change(|now| {
            now.phase = LinkState::Connecting;
            (now.retry_at, now.refused, now.at_rest) = (None, [None, None], [false, false]);
        });
    }

    pub(super) fn online(&self) {
        let mut now = self.now();
        now.phase = LinkState::Online;
        now.error = None;
    }

    /// Stopped until somebody says otherwise.
    pub(super) fn stopped(&self, phase: LinkState, error: Option<LinkError>) {
        self.now().change(|now| {
            (now.phase, now.error) = (phase, error);
            (now.retry_at, now.refused, now.at_rest) = (None, [None, None], [false, false]);
        });
    }

    /// An attempt failed; the next one comes after `delay`.
    pub(super) fn waiting(&self, phase: LinkState, error: LinkError, delay: Duration) {
        self.now().change(|now| {
            (now.phase, now.error) = (phase, Some(error));
            now.retry_at = Some(Instant::now() + delay);
        });
    }

    /// One direction was refused, or goes on again.
    pub(super) fn set_refused(&self, direction: Direction, refused: Option<(LinkError, Duration)>) {
        self.now().change(|now| {
            now.retry_at = refused.as_ref().map(|(_, delay)| Instant::now() + *delay);
            let error = refused.map(|(error, _)| error);
            match (direction, &mut now.refused) {
                (Direction::Push, [push, _]) => *push = error,
                (Direction::Pull, [_, pull]) => *pull = error,
            }
        });
    }

    /// One direction has nothing more to do for now, or has something. Returns the time where both sides have just come to have
    /// the same.
    pub(super) fn set_at_rest(&self, direction: Direction, at_rest: bool) -> Option<i64> {
        let mut now = self.now();
        let before = now.is_in_step();
        now.change(|now| match (direction, &mut now.at_rest) {
            (Direction::Push, [push, _]) => *push = at_rest,
            (Direction::Pull, [_, pull]) => *pull = at_rest,
        });
        (!before && now.is_in_step()).then(self::now)
    }

    /// A subscription was refused, or is followed.
    pub(super) fn set_subscription(&self, name: &str, refused: Option<LinkError>) {
        let mut now = self.now();
        now.subscriptions.retain(|(other, _)| other != name);
        now.subscriptions.extend(refused.map(|error| (name.to_owned(), error)));
    }

    /// Only these subscriptions are wanted.
    pub(super) fn keep_subscriptions(&self, wanted: &[WantedQueries]) {
        self.now().subscriptions.retain(|(name, _)| wanted.iter().any(|wanted| wanted.name == *name));
    }

    /// What a batch of the upstream brought.
    pub(super) fn progress(&self, step: impl FnOnce(&mut Progress)) {
        let mut now = self.now();
        step(now.progress.get_or_insert_default());
    }

    /// When both sides last had the same.
    pub(super) fn synced_at(&self) -> Option<i64> {
        let now = self.now();
        if now.is_in_step() { Some(self::now()) } else { now.synced_at }
    }

    pub(super) fn status(&self) -> LinkStatus {
        let synced_at = self.synced_at();
        let now = self.now();
        let refusal = now.refused.iter().flatten().next();
        let state = match (now.phase, refusal) {
            (LinkState::Online, Some(_)) => LinkState::Refused,
            (phase, _) => phase,
        };
        let left = now.retry_at.map(|at| at.saturating_duration_since(Instant::now()));
        LinkStatus {
            url: self.url.clone(),
            state,
            error: refusal.or(now.error.as_ref()).cloned(),
            retry_in_ms: left.map(|left| left.as_millis() as u64),
            principal: now.principal.clone(),
            synced_at,
            progress: now.progress,
            refused: now.subscriptions.clone(),
        }
    }
}

/// In milliseconds since 1970.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
