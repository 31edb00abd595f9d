//! Subscriptions to queries, as their holders read them: by asking again, or from an event stream.

use std::time::Duration;

use web_time::{SystemTime, UNIX_EPOCH};

use super::auth::{Bounds, Operation};
use super::call::Call;
use super::problem::{Code, Problem};
use crate::crr::{SiteId, Version};
use crate::store::Database;
use crate::sync::{
    Batch, Page, Position, QueriesRequest, Replica, SchemaHash, Since, Sql, SubscriptionId, SubscriptionRequest,
};

/// How often an answer is made anew because another request to the same subscription came between.
const ATTEMPTS: usize = 5;

/// One reader of a subscription.
pub(super) struct Subscription {
    pub(super) database: Database,
    request: QueriesRequest,
    id: SubscriptionId,
    position: Option<Position>,
    /// Whether the reader itself said where it is.
    is_told: bool,
    limits: Limits,
}

/// How much subscriptions may take.
#[derive(Clone, Copy)]
struct Limits {
    each: usize,
    unused: Duration,
}

impl Subscription {
    /// The subscription `id`, read from `position` on.
    pub(super) fn new(
        call: &Call,
        database: Database,
        request: QueriesRequest,
        id: SubscriptionId,
        position: Option<Position>,
    ) -> Self {
        let limits = &call.settings.limits;
        let limits = Limits { each: limits.subscriptions, unused: limits.subscription };
        Self { database, request, id, position, is_told: true, limits }
    }

    /// The next answer, after which the reader is taken to have it. It is written down before.
    pub(super) async fn next(&mut self) -> Result<Batch, Problem> {
        for _ in 0..ATTEMPTS {
            if let Some(batch) = self.ask().await? {
                self.position = position(&batch);
                self.is_told = false;
                return Ok(batch);
            }
        }
        Err(Problem::new(
            Code::Unavailable,
            "other requests to this subscription came between; ask one after the other",
        ))
    }

    /// Where the reader is once it has what was sent.
    pub(super) fn position(&self) -> Option<Position> {
        self.position
    }

    pub(super) fn id(&self) -> &SubscriptionId {
        &self.id
    }

    /// Goes on at a version up to which nothing matters to the reader.
    pub(super) fn pass(&mut self, version: Version) {
        if let Some(position) = &mut self.position {
            position.since.version = position.since.version.max(version);
        }
    }

    async fn ask(&self) -> Result<Option<Batch>, Problem> {
        let (now, limits) = (now(), self.limits);
        let (id, position, is_told) = (self.id.clone(), self.position, self.is_told);
        let subscription = Some(SubscriptionRequest { id, position, is_told, now });
        let request = QueriesRequest { subscription, ..self.request.clone() };
        let read = move |replica: &mut Replica| replica.changes_for_queries(&request);
        let (batch, remember) = self.database.follow(read).await??;
        let Some(remember) = remember else { return Ok(Some(batch)) };
        let holder = batch.begins.then(|| self.id.holder.clone());
        let write = move |replica: &mut Replica| {
            let written = replica.remember(&remember, now)?;
            if let Some(holder) = holder {
                let unused_since = now.saturating_sub_unsigned(limits.unused.as_secs());
                replica.expire_subscriptions(&holder, unused_since, limits.each)?;
            }
            Ok::<_, Problem>(written)
        };
        Ok(self.database.call(write).await??.then_some(batch))
    }
}

/// The subscription that a caller means by `name`: nobody else can mean it, and each site has its own. So has each view of this
/// copy, since what left one is named to its holder, who may have seen more than this caller may.
pub(super) fn id(site: Option<SiteId>, bounds: &Bounds, name: &str) -> Result<SubscriptionId, Problem> {
    let Some(site) = site else {
        let detail = "a subscription is of one site: say which by the header crsql-site, or by `site` in the URL";
        return Err(Problem::new(Code::InvalidRequest, detail));
    };
    if name.is_empty() || name.len() > 200 {
        return Err(Problem::new(Code::InvalidRequest, "subscription: has 1 to 200 bytes"));
    }
    let holder = match &bounds.principal {
        Some(principal) => format!("principal {principal}"),
        None => format!("site {site}"),
    };
    let nobody = SiteId::new([0; 16]);
    let view = Some(bounds.seen(nobody)).filter(|view| *view != nobody);
    let view = view.map(|view| format!("{view} ")).unwrap_or_default();
    Ok(SubscriptionId { holder: holder.into(), name: format!("{site} {view}{name}").into() })
}

/// The queries of a subscription that is known, and what the hook allows one who would run them. Who came with a ticket is not
/// asked for again.
pub(super) async fn known(
    call: &Call,
    bounds: Bounds,
    database: &Database,
    id: SubscriptionId,
) -> Result<(Bounds, Vec<Sql>), Problem> {
    let queries = database.read(move |replica| replica.subscription_queries(&id)).await??;
    let queries = queries.ok_or_else(|| {
        Problem::new(Code::NotFound, "there is no such subscription, or none any more; send its queries")
    })?;
    if call.query.ticket()?.is_some() {
        return Ok((bounds, queries));
    }
    let texts = queries.iter().map(|query| query.sql.clone()).collect();
    let bounds = call.enter(Operation::ChangesForQueries, texts).await?;
    let queries = bounds.queries.clone().unwrap_or(queries);
    Ok((bounds, queries))
}

/// What queries ask for.
pub(super) fn request(
    call: &Call,
    bounds: &Bounds,
    queries: Vec<Sql>,
    schema: Option<SchemaHash>,
    page: Page,
) -> QueriesRequest {
    let limits = &call.settings.limits;
    QueriesRequest {
        queries,
        subscription: None,
        exclude: call.site,
        schema,
        tables: bounds.tables.clone(),
        filters: bounds.rows.clone(),
        page,
        most: Page { changes: limits.query_changes, bytes: limits.query_bytes },
        rows: limits.query_changes,
        time: limits.sql_time,
    }
}

fn position(batch: &Batch) -> Option<Position> {
    match (batch.seen, batch.next) {
        (Some(seen), Some(Since::After(since))) => Some(Position { seen, since }),
        _ => None,
    }
}

fn now() -> i64 {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
