use std::time::Duration;

use futures_timer::Delay;
use web_time::SystemTime;

/// The longest that a timer is set for: those of some hosts count in 31 bits of milliseconds.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The end of an allowance, if it has one.
pub(super) struct Expiry(Option<SystemTime>);

impl Expiry {
    pub(super) fn at(end: Option<SystemTime>) -> Self {
        Self(end)
    }

    /// Whether it has come.
    pub(super) fn has_come(&self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// Resolves when it comes.
    pub(super) async fn comes(&self) {
        while let Some(left) = self.left().filter(|left| !left.is_zero()) {
            Delay::new(left.min(LONGEST)).await;
        }
        if self.0.is_none() {
            std::future::pending().await
        }
    }

    fn left(&self) -> Option<Duration> {
        self.0.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default())
    }
}
