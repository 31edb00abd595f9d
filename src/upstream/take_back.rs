//! What was discarded, once the upstream has all the rest.

use super::failure::Failure;
use super::link::Session;
use super::pull::MERGE;
use crate::sync::{ApplyError, Replica};

impl Session<'_> {
    /// Takes back what was discarded, as the upstream says what it has in its place. Where it does not say, that stays as it is, and is
    /// held back.
    pub(super) async fn take_back(&self) -> Result<(), Failure> {
        let (database, site) = (&self.link.database, self.upstream.site);
        while let Some(asked) = database.call(move |replica| replica.ask_for_discarded(site)).await?? {
            let answer = match self.client.verify(&asked).await {
                Ok(answer) if answer.from == site => answer,
                Ok(_) => return Err(Failure::again("the upstream is another one than when the link began")),
                Err(Failure::Refused(error) | Failure::Rejected(error)) => return self.leave(&error.detail),
                // One that knows no such operation.
                Err(Failure::Retry { error, .. }) if error.status == Some(404) => return self.leave(&error.detail),
                Err(failure) => return Err(failure),
            };
            let take_back =
                move |replica: &mut Replica| replica.within(MERGE, |replica| replica.take_back(&asked, &answer));
            match database.call(take_back).await? {
                Ok(0) => return Err(Failure::again("the upstream was asked for rows, and spoke of none")),
                Ok(_) => self.link.state.forgot(),
                Err(ApplyError::Replica(error)) => return Err(error.into()),
                Err(error) => return self.leave(&error),
            }
        }
        Ok(())
    }

    fn leave(&self, reason: &dyn std::fmt::Display) -> Result<(), Failure> {
        let dbid = self.link.database.dbid();
        tracing::warn!(%dbid, "what was discarded stays in this copy, and is held back: {reason}");
        Ok(())
    }
}
