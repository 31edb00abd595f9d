//! A stream of the answers to a subscription.

use bytes::Bytes;

use super::tidings::Listener;
use super::{Next, batch_event};
use crate::crr::Version;
use crate::http::auth::Bounds;
use crate::http::call::Call;
use crate::http::extract;
use crate::http::problem::Problem;
use crate::http::subscription::{self, Subscription};
use crate::store::Database;

/// So many rows that left are remembered until the reader comes back and says that it knows.
const UNSETTLED: usize = 10_000;

pub(super) struct Queries {
    subscription: Subscription,
    listener: Listener,
    more: bool,
    /// How many rows left.
    left: usize,
    /// An answer that only says where the reader is.
    unsaid: Option<Bytes>,
}

impl Queries {
    /// Of a reader that begins where its request says.
    pub(super) async fn open(call: &Call, bounds: Bounds, database: Database, name: &str) -> Result<Self, Problem> {
        let position = extract::subscription_start(call.headers(), &call.query)?;
        let id = subscription::id(call.site, &bounds, name)?;
        let (bounds, queries) = subscription::known(call, bounds, &database, id.clone()).await?;
        let page = call.settings.limits.page(call.query.limit()?);
        let request = subscription::request(call, &bounds, queries, call.query.schema()?, page);
        let subscription = Subscription::new(call, database, request, id, position);
        let listener = Listener::new(call.settings.tidings.of(&call.dbid));
        Ok(Self { subscription, listener, more: false, left: 0, unsaid: None })
    }

    pub(super) fn has_more(&self) -> bool {
        self.more
    }

    pub(super) fn is_long(&self) -> bool {
        self.left >= UNSETTLED
    }

    /// The next answer. At version `at` there may be one.
    pub(super) async fn read(&mut self, at: Version) -> Result<Next, Problem> {
        if !self.more
            && let Some(version) = self.listener.unconcerned(&self.subscription.database, at).await?
        {
            self.subscription.pass(version);
            self.listen();
            return Ok(Next { event: None, changes: 0 });
        }
        let before = self.subscription.position();
        let batch = self.subscription.next().await?;
        let position = self.subscription.position();
        let ends = self.more && !batch.more;
        self.more = batch.more;
        self.left += batch.left.len();
        self.listen();
        let event = match &position {
            Some(position) => batch_event(position, &batch)?,
            None => return Err(Problem::internal(&"an answer to a subscription has no position")),
        };
        if batch.is_empty() && !batch.begins && !ends {
            if position != before {
                self.unsaid = Some(event);
            }
            return Ok(Next { event: None, changes: 0 });
        }
        self.unsaid = None;
        Ok(Next { event: Some(event), changes: batch.changes.len() })
    }

    fn listen(&self) {
        match self.subscription.position() {
            Some(position) if !self.more => self.listener.is_at(self.subscription.id(), position),
            _ => self.listener.is_behind(),
        }
    }

    pub(super) fn unsaid(&mut self) -> Option<Bytes> {
        self.unsaid.take()
    }
}
