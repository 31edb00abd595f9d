use std::time::Duration;

/// The longest first delay.
const FIRST: Duration = Duration::from_millis(250);
/// The longest delay of all.
const LAST: Duration = Duration::from_secs(15);
/// The longest delay after a refusal, which a person has to do something about.
const REFUSED: Duration = Duration::from_secs(60);
/// The longest delay that an upstream may ask for.
pub(super) const ASKED: Duration = Duration::from_secs(3600);

/// Delays that double, each drawn anew from the whole range below it ("full jitter"), so that the clients of an
/// upstream that comes back do not all come at once.
#[derive(Debug)]
pub(super) struct Backoff {
    random: fastrand::Rng,
    ceiling: Duration,
}

impl Backoff {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), ceiling: FIRST }
    }

    /// Begins anew, after a success.
    pub(super) fn reset(&mut self) {
        self.ceiling = FIRST;
    }

    /// The next delay, not shorter than what the upstream asked for.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let delay = self.draw(self.ceiling);
        self.ceiling = (self.ceiling * 2).min(LAST);
        delay + asked.unwrap_or_default().min(ASKED)
    }

    /// The delay after a refusal.
    pub(super) fn slow(&mut self) -> Duration {
        REFUSED / 2 + self.draw(REFUSED / 2)
    }

    fn draw(&mut self, ceiling: Duration) -> Duration {
        Duration::from_millis(self.random.u64(0..=ceiling.as_millis() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_up_to_a_bound_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(7);
        let longest = |backoff: &mut Backoff| (0..200).map(|_| backoff.next(None)).max().unwrap();
        assert!(backoff.next(None) <= FIRST);
        let longest = longest(&mut backoff);
        assert!(longest > LAST / 2 && longest <= LAST);
        backoff.reset();
        assert!(backoff.next(None) <= FIRST);
    }

    #[test]
    fn the_upstream_may_ask_for_more_time_but_not_for_ever() {
        let mut backoff = Backoff::new(7);
        assert!(backoff.next(Some(Duration::from_secs(20))) >= Duration::from_secs(20));
        assert!(backoff.next(Some(Duration::MAX)) <= ASKED + LAST);
    }
}
