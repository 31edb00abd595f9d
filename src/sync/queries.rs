//! The changes that queries need, once or from now on.
//!
//! A query's rows are those that it [reads](crate::crr::Tracer). Who asks once is sent them whole. Who subscribes is sent
//! them whole at first; later the changes of those that it has, whole those that its queries read by now, and the names of
//! those that they read no more. A row can come in or leave without having changed: because another one did.
//!
//! Such batches claim nothing: a copy of some rows has no transaction of which it could be sure that it is whole.

mod answer;
mod held;
mod memory;

use rusqlite::types::Value;
use rusqlite::{Connection, TransactionBehavior};
use sha2::{Digest, Sha256};

use super::batch::{Batch, RowName, SchemaHash};
use super::cursor::{Cursor, Since};
use super::error::{Error, SqlError};
use super::replica::Replica;
use super::request::Page;
use super::sql::Sql;
use super::tables::Tables;
use crate::crr::{Engine, RowId, SiteId, TraceError, Version};
use answer::Answer;
pub use held::Subscribed;
use memory::Subscription;
pub use memory::SubscriptionId;

/// Which queries' rows are asked for.
#[derive(Clone, Debug)]
pub struct QueriesRequest {
    /// The queries, each with its parameters.
    pub queries: Vec<Sql>,
    /// The subscription that they are of, and the answer to it that the asker merged last. Without one the rows come whole.
    pub subscription: Option<(SubscriptionId, Option<i64>)>,
    /// The asker: of rows that it has, leave out what this site wrote.
    pub exclude: Option<SiteId>,
    /// The schema of the asker. One that has another is sent the text of ours.
    pub schema: Option<SchemaHash>,
    /// The only tables that may be read; `None` for all.
    pub tables: Option<Tables>,
    /// The size of one answer to a subscription, whose rest comes with the next.
    pub page: Page,
    /// What fits in one answer otherwise.
    pub most: Page,
}

/// What has to be written down before an answer is sent.
#[derive(Debug)]
pub struct Remember {
    subscription: Subscription,
    at: Version,
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
    /// [`SqlError::Refused`] for what is no query, reads tables that are not replicated or not allowed, or needs more rows than
    /// fit into one answer.
    pub fn changes_for_queries(&mut self, request: &QueriesRequest) -> Result<(Batch, Option<Remember>), SqlError> {
        // One snapshot: what was read and its changes belong together.
        let snapshot = self.conn.savepoint().map_err(Error::from)?;
        let rows = trace(&self.engine, &snapshot, request)?;
        let version = self.engine.db_version(&snapshot).map_err(Error::from)?;
        let (answer, more, remember) = match &request.subscription {
            None => (once(&self.engine, &snapshot, request, &rows)?, false, None),
            Some((id, seen)) => {
                let known = Subscription::find(&snapshot, id.clone(), hash(&request.queries), *seen)?;
                let (answer, remember, more) = news(&self.engine, &snapshot, request, &rows, known, version)?;
                (answer, more, Some(remember))
            }
        };
        let Answer { changes, left, .. } = answer;
        let site = self.engine.site_id();
        let site = request.tables.as_ref().map_or(site, |tables| tables.view_of(site));
        let next = Some(Since::After(Cursor { site, version }));
        let subscription = remember.as_ref().map(|remember| &remember.subscription);
        let (seen, begins) = (subscription.map(Subscription::next), subscription.is_some_and(Subscription::is_new));
        let mut batch = Batch { more, next, seen, begins, left, changes, ..Batch::empty(site) };
        drop(snapshot);
        self.name_schema(&mut batch, request.schema.as_ref().filter(|_| request.tables.is_none()));
        Ok((batch, remember))
    }

    /// Writes down what an answer brings, at a time in seconds. False where another answer was given to the subscription
    /// meanwhile: then this one must not be sent.
    pub fn remember(&mut self, remember: &Remember, now: i64) -> Result<bool, Error> {
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Remember { subscription, at, entered, left } = remember;
        let given = subscription.give(&transaction, *at, entered, left, now)?;
        transaction.commit()?;
        Ok(given)
    }

    /// Forgets a subscription; false where there was none.
    pub fn end_subscription(&mut self, id: &SubscriptionId) -> Result<bool, Error> {
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let ended = memory::end(&transaction, id)?;
        transaction.commit()?;
        Ok(ended)
    }

    /// Forgets the subscriptions that were not used since a time in seconds, and of one holder those that were used longest ago
    /// where it has more than `most`.
    pub fn expire_subscriptions(&mut self, holder: &str, unused_since: i64, most: usize) -> Result<(), Error> {
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        memory::expire(&transaction, holder, unused_since, most)?;
        transaction.commit()?;
        Ok(())
    }
}

/// The rows that the queries read, in their order.
fn trace(engine: &Engine, conn: &Connection, request: &QueriesRequest) -> Result<Vec<RowId>, SqlError> {
    let may_read = |name: &str| request.tables.as_ref().is_none_or(|tables| tables.contains(name));
    let tracer = engine.tracer(conn, &may_read).map_err(Error::from)?;
    for (index, query) in request.queries.iter().enumerate() {
        let params: Vec<Value> = query.params.iter().map(|param| param.0.clone()).collect();
        tracer.trace(&query.sql, &params).map_err(|error| match error {
            TraceError::Refused(reason) => SqlError::Refused { statement: index + 1, reason },
            TraceError::Engine(error) => Error::from(error).into(),
        })?;
    }
    let mut rows = Vec::new();
    for (table, keys) in tracer.take_reads().into_tables() {
        rows.extend(engine.row_ids(conn, &table, &keys).map_err(Error::from)?);
    }
    rows.sort_unstable();
    Ok(rows)
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
        let reason = "the queries need more rows than fit into one answer; subscribe to them".into();
        return Err(SqlError::Refused { statement: request.queries.len(), reason });
    }
    Ok(answer)
}

/// What is new to the holder of a subscription, and whether there is more.
fn news<'a>(
    engine: &'a Engine,
    conn: &'a Connection,
    request: &QueriesRequest,
    rows: &[RowId],
    known: Subscription,
    at: Version,
) -> Result<(Answer<'a>, Remember, bool), SqlError> {
    let mut answer = Answer::new(engine, conn);
    let held = known.held(conn)?;
    let is_in = |rows: &[RowId], row: &RowId| rows.binary_search(row).is_ok();
    let left: Vec<RowId> = held.iter().copied().filter(|row| !is_in(rows, row)).collect();
    answer.dismiss(&left)?;
    let mut changed: Vec<RowId> = Vec::new();
    if !held.is_empty() {
        let touched = engine.touched(conn, known.seen_at).map_err(Error::from)?;
        changed.extend(touched.into_iter().filter(|row| is_in(&held, row) && is_in(rows, row)));
    }
    if !answer.update(&changed, known.seen_at, request.exclude, request.most)? {
        // Page by page from the beginning.
        return news(engine, conn, request, rows, known.anew(), at);
    }
    let entering: Vec<RowId> = rows.iter().copied().filter(|row| !is_in(&held, row)).collect();
    let entered = answer.bring(&entering, request.page)?;
    let more = entered.len() < entering.len();
    let remember = Remember { at, entered, left, subscription: known };
    Ok((answer, remember, more))
}

/// What tells queries from others.
fn hash(queries: &[Sql]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for Sql { sql, params } in queries {
        for part in std::iter::once(sql.clone()).chain(params.iter().map(|param| format!("{param:?}"))) {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.update(u64::MAX.to_le_bytes());
    }
    hasher.finalize().into()
}
