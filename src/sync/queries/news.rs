use super::super::error::Error;
use super::super::replica::Replica;
use super::SubscriptionId;
use super::evaluations::Evaluations;
use crate::crr::Version;

/// Which subscriptions the last commits may matter to.
#[derive(Debug)]
pub struct News<'a> {
    at: Version,
    evaluations: &'a Evaluations,
}

impl Replica {
    /// Looks, once for all subscriptions, at what was committed since this was done last. The first answer that this replica
    /// gives to a subscription makes it known; what was never asked of it may always have news.
    pub fn news(&mut self) -> Result<News<'_>, Error> {
        let snapshot = self.conn.savepoint()?;
        let at = self.evaluations.catch_up(&self.engine, &snapshot)?;
        drop(snapshot);
        Ok(News { at, evaluations: &self.evaluations })
    }

    /// How many times a query of a subscription was run.
    pub fn query_runs(&self) -> u64 {
        self.evaluations.runs
    }
}

impl News<'_> {
    /// The newest local version that was looked at.
    pub fn at(&self) -> Version {
        self.at
    }

    /// Whether a subscription may have something new for a holder who was given all that there was up to a local version, with
    /// no `more`. It takes no SQL, and no time that grows with anything.
    pub fn is_for(&self, id: &SubscriptionId, since: Version) -> bool {
        self.evaluations.has_news(id, since)
    }
}
