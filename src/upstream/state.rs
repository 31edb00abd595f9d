use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use web_time::Instant;

use crate::http::links::{LinkError, LinkState, LinkStatus};

/// What a link is doing, for whoever asks.
pub(super) struct State {
    url: String,
    now: Mutex<Now>,
}

struct Now {
    phase: LinkState,
    /// The last failure of an attempt.
    error: Option<LinkError>,
    retry_at: Option<Instant>,
    /// Refusals of single directions, while the other may go on.
    refused: [Option<LinkError>; 2],
}

/// A direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Push = 0,
    Pull = 1,
}

impl State {
    pub(super) fn new(url: String) -> Self {
        let now = Now { phase: LinkState::Connecting, error: None, retry_at: None, refused: [None, None] };
        Self { url, now: Mutex::new(now) }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt begins. The last failure stays to be seen until it succeeds.
    pub(super) fn connecting(&self) {
        let mut now = self.now();
        now.phase = LinkState::Connecting;
        now.retry_at = None;
        now.refused = [None, None];
    }

    pub(super) fn online(&self) {
        let mut now = self.now();
        now.phase = LinkState::Online;
        now.error = None;
    }

    pub(super) fn paused(&self) {
        let mut now = self.now();
        *now = Now { phase: LinkState::Paused, error: None, retry_at: None, refused: [None, None] };
    }

    /// An attempt failed; the next one comes after `delay`.
    pub(super) fn waiting(&self, phase: LinkState, error: LinkError, delay: Duration) {
        let mut now = self.now();
        now.phase = phase;
        now.error = Some(error);
        now.retry_at = Some(Instant::now() + delay);
    }

    /// One direction was refused, or goes on again.
    pub(super) fn set_refused(&self, direction: Direction, refused: Option<(LinkError, Duration)>) {
        let mut now = self.now();
        now.retry_at = refused.as_ref().map(|(_, delay)| Instant::now() + *delay);
        let error = refused.map(|(error, _)| error);
        match (direction, &mut now.refused) {
            (Direction::Push, [push, _]) => *push = error,
            (Direction::Pull, [_, pull]) => *pull = error,
        }
    }

    pub(super) fn status(&self) -> LinkStatus {
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
        }
    }
}
