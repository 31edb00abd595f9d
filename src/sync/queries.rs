//! The changes that queries need, once or from now on.
//!
//! A query's rows are those that it [reads](crate::crr::Tracer). Who asks once is sent them whole. Who subscribes is sent
//! them whole at first; later the changes of those that it has, whole those that its queries read by now, and the names of
//! those that they read no more. A row can come in or leave without having changed: because another one did.
//!
//! What queries read is kept in memory (`evaluations.rs`), and kept right by looking at what was written since. So a query is run
//! again only after a write to rows that it reads, or would read by now.
//!
//! Such batches claim nothing: a copy of some rows has no transaction of which it could be sure that it is whole.

mod answer;
pub(super) mod evaluations;
pub(super) mod held;
mod memory;
mod news;
mod position;
mod traced;
mod wanted;

use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::batch::{Batch, RowName, SchemaHash};
use super::cursor::{Cursor, Since};
use super::deadline::Deadline;
use super::error::{Error, SqlError};
use super::filters::{self, RowFilters};
use super::replica::Replica;
use super::request::Page;
use super::sql::Sql;
use super::tables::Tables;
use crate::crr::{Engine, RowId, SiteId};
use answer::Answer;
pub use held::Subscribed;
pub use memory::SubscriptionId;
use memory::{Given, Subscription};
pub use news::News;
pub use position::{InvalidPosition, Position};
use traced::Tracing;
pub use wanted::{Subscribing, WantedQueries};

/// Which queries' rows are asked for.
#[derive(Clone, Debug)]
pub struct QueriesRequest {
    /// The queries, each with its parameters.
    pub queries: Vec<Sql>,
    /// The subscription that they are of. Without one the rows come whole.
    pub subscription: Option<SubscriptionRequest>,
    /// The asker: of rows that it has, leave out what this site wrote.
    pub exclude: Option<SiteId>,
    /// The schema of the asker. One that has another is sent the text of ours.
    pub schema: Option<SchemaHash>,
    /// The only tables that may be read; `None` for all.
    pub tables: Option<Tables>,
    /// The only rows of tables that may be read; `None` for all. One that is let in comes whole, also if it did not change, and
    /// one that is let in no more has left.
    pub filters: Option<RowFilters>,
    /// The size of one answer to a subscription, whose rest comes with the next.
    pub page: Page,
    /// What fits in one answer otherwise.
    pub most: Page,
    /// How many rows the queries may read.
    pub rows: usize,
    /// How long they may take.
    pub time: Duration,
}

/// What a subscription's next answer follows on.
#[derive(Clone, Debug)]
pub struct SubscriptionRequest {
    /// Which subscription.
    pub id: SubscriptionId,
    /// How far its holder is; `None` where it has nothing of it.
    pub position: Option<Position>,
    /// Whether the holder said so itself. Else it is where it will be once what was sent has arrived.
    pub is_told: bool,
    /// The time, in seconds.
    pub now: i64,
}

/// What has to be written down before an answer is sent.
#[derive(Debug)]
pub struct Remember {
    subscription: Subscription,
    queries: String,
    is_told: bool,
    entered: Vec<RowId>,
    left: Vec<RowId>,
}

impl Replica {
    /// The rows that queries need, and what has to be [remembered](Self::remember) before they are sent. It only reads.
    ///
    /// Whoever merges all of the answer, and held no rows before but those of the subscription, comes by the same queries
    /// to the same results. Rows that the queries only looked at may be among them.
    ///
    /// # Errors
    /// [`SqlError::Refused`] for what is no query, reads tables that are not replicated or not allowed, comes to another result
    /// as time goes on, takes too long, reads too many rows, or needs more of them than fit into one answer.
    pub fn changes_for_queries(&mut self, request: &QueriesRequest) -> Result<(Batch, Option<Remember>), SqlError> {
        let deadline = Deadline::begin(&mut self.conn, request.time).map_err(Error::from)?;
        let result = self.answer(request);
        let passed = deadline.end(&mut self.conn).map_err(Error::from)?;
        result.map_err(|error| match (error, passed) {
            (SqlError::Replica(_), Some(time)) => SqlError::too_long(request.queries.len(), time),
            (error, _) => error,
        })
    }

    fn answer(&mut self, request: &QueriesRequest) -> Result<(Batch, Option<Remember>), SqlError> {
        // One snapshot: what was read and its changes belong together.
        let snapshot = self.conn.savepoint().map_err(Error::from)?;
        let mut tracing = Tracing::new(&self.engine, &snapshot, &self.authorizer, request);
        let rows = match &request.subscription {
            None => tracing.once()?,
            Some(asked) => {
                self.evaluations.catch_up(&self.engine, &snapshot)?;
                tracing.subscribed(&mut self.evaluations, &asked.id)?
            }
        };
        drop(tracing);
        let version = self.engine.db_version(&snapshot).map_err(Error::from)?;
        let site = filters::view_of(self.engine.site_id(), request.tables.as_ref(), request.filters.as_ref());
        let mut batch = Batch { next: Some(Since::After(Cursor { site, version })), ..Batch::empty(site) };
        let mut remember = None;
        let answer = match &request.subscription {
            None => once(&self.engine, &snapshot, request, &rows)?,
            Some(asked) => {
                // A cursor of another copy says nothing here, nor does one that this copy has lost.
                let is_ours = |position: &Position| position.since.site == site && position.since.version <= version;
                let position = asked.position.filter(is_ours).map(|position| (position.seen, position.since.version));
                let known = Subscription::find(&snapshot, asked.id.clone(), position)?;
                let next = next(&self.engine, &snapshot, request, &rows, known)?;
                let queries = serde_json::to_string(&request.queries).map_err(|error| refused(request, &error))?;
                let Next { answer, subscription, entered, left, more } = next;
                let changes_held = !entered.is_empty() || !left.is_empty();
                batch.more = more;
                batch.begins = subscription.is_new();
                batch.seen = Some(subscription.seen());
                if changes_held || subscription.is_news(&queries, asked.now) {
                    batch.seen = Some(subscription.next());
                    remember = Some(Remember { subscription, queries, is_told: asked.is_told, entered, left });
                }
                answer
            }
        };
        (batch.changes, batch.left) = (answer.changes, answer.left);
        drop(snapshot);
        self.name_schema(&mut batch, request.schema.as_ref().filter(|_| request.tables.is_none()));
        Ok((batch, remember))
    }

    /// Writes down what an answer brings, at a time in seconds. False where another answer was given to the subscription
    /// meanwhile: then this one must not be sent.
    pub fn remember(&mut self, remember: &Remember, now: i64) -> Result<bool, Error> {
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Remember { subscription, queries, is_told, entered, left } = remember;
        let given = subscription.give(&transaction, &Given { queries, is_told: *is_told, entered, left }, now)?;
        transaction.commit()?;
        Ok(given)
    }

    /// The queries of a subscription; `None` where it is not known.
    pub fn subscription_queries(&self, id: &SubscriptionId) -> Result<Option<Vec<Sql>>, Error> {
        memory::queries(&self.conn, id)
    }

    /// Forgets a subscription; false where there was none.
    pub fn end_subscription(&mut self, id: &SubscriptionId) -> Result<bool, Error> {
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let ended = memory::end(&transaction, id)?;
        transaction.commit()?;
        self.evaluations.end(id);
        Ok(ended)
    }

    /// Forgets the subscriptions that were not used since a time in seconds, and of one holder those that were used longest ago
    /// where it has more than `most`.
    pub fn expire_subscriptions(&mut self, holder: &str, unused_since: i64, most: usize) -> Result<(), Error> {
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let expired = memory::expire(&transaction, holder, unused_since, most)?;
        transaction.commit()?;
        expired.iter().for_each(|id| self.evaluations.end(id));
        Ok(())
    }
}

/// All rows.
fn once<'a>(
    engine: &'a Engine,
    conn: &'a Connection,
    request: &QueriesRequest,
    rows: &[RowId],
) -> Result<Answer<'a>, SqlError> {
    let mut answer = Answer::new(engine, conn);
    if answer.bring(rows, request.most)?.len() < rows.len() {
        return Err(refused(request, &"the queries need more rows than fit into one answer; subscribe to them"));
    }
    Ok(answer)
}

/// What is new to the holder of a subscription.
struct Next<'a> {
    answer: Answer<'a>,
    subscription: Subscription,
    entered: Vec<RowId>,
    left: Vec<RowId>,
    /// Whether more rows enter.
    more: bool,
}

fn next<'a>(
    engine: &'a Engine,
    conn: &'a Connection,
    request: &QueriesRequest,
    rows: &[RowId],
    subscription: Subscription,
) -> Result<Next<'a>, SqlError> {
    let mut answer = Answer::new(engine, conn);
    let held = subscription.held(conn)?;
    let is_in = |rows: &[RowId], row: &RowId| rows.binary_search(row).is_ok();
    let left: Vec<RowId> = held.iter().copied().filter(|row| !is_in(rows, row)).collect();
    answer.dismiss(&left)?;
    let mut changed: Vec<RowId> = Vec::new();
    if !held.is_empty() {
        let touched = engine.touched(conn, subscription.since).map_err(Error::from)?;
        changed.extend(touched.into_keys().filter(|row| is_in(&held, row) && is_in(rows, row)));
    }
    if !answer.update(&changed, subscription.since, request.exclude, request.most)? {
        // Page by page from the beginning.
        return next(engine, conn, request, rows, subscription.anew());
    }
    let entering: Vec<RowId> = rows.iter().copied().filter(|row| !is_in(&held, row)).collect();
    let entered = answer.bring(&entering, request.page)?;
    let more = entered.len() < entering.len();
    Ok(Next { answer, subscription, entered, left, more })
}

fn refused(request: &QueriesRequest, reason: &dyn std::fmt::Display) -> SqlError {
    SqlError::Refused { statement: request.queries.len(), reason: reason.to_string() }
}
