use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;

use crate::http::auth::Operation;
use crate::http::batches::Freshness;
use crate::http::call::Call;
use crate::http::extract;
use crate::http::problem::{Code, Problem};
use crate::http::subscription::{self, Subscription};
use crate::store::Database;
use crate::sync::{Cursor, Position, QueriesRequest, Replica, SchemaHash, Sql, json};

/// The largest number of queries in one request.
const MAX_QUERIES: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    queries: Option<Vec<Sql>>,
    subscription: Option<String>,
    seen: Option<i64>,
    #[serde(default, with = "json::optional_text")]
    since: Option<Cursor>,
    schema: Option<SchemaHash>,
    limit: Option<usize>,
}

/// `getChangesForQueries`
pub(in crate::http) async fn handle(call: Call, body: axum::body::Body) -> Result<Response, Problem> {
    // The hook judges the SQL, so the body is read first.
    let body: Body = call.json(body, Code::InvalidRequest).await?;
    let position = body.position()?;
    let page = call.settings.limits.page(extract::limit(body.limit)?);
    let queries = body.queries.as_deref().unwrap_or_default();
    if queries.len() > MAX_QUERIES {
        return Err(invalid(&format!("a request has {MAX_QUERIES} queries at most")));
    }
    let texts = queries.iter().map(|query| query.sql.clone()).collect();
    let bounds = call.enter(Operation::ChangesForQueries, texts).await?;
    let Some(name) = body.subscription else {
        let queries = body.queries.ok_or_else(|| invalid("`queries` is missing"))?;
        let queries = bounds.queries.clone().unwrap_or(queries);
        let request = subscription::request(&call, &bounds, queries, body.schema, page);
        return once(&call, &call.open().await?, request).await;
    };
    let id = subscription::id(call.site, &bounds, &name)?;
    let database = call.open().await?;
    let (bounds, queries) = match body.queries {
        Some(queries) => (bounds, queries),
        None => subscription::known(&call, bounds, &database, id.clone()).await?,
    };
    let queries = bounds.queries.clone().unwrap_or(queries);
    let request = subscription::request(&call, &bounds, queries, body.schema, page);
    let batch = Subscription::new(&call, database, request, id, position).next().await?;
    call.answer_batch(&batch, Freshness::Open)
}

/// Ends a subscription. One that is not known has ended.
pub(in crate::http) async fn end(call: Call) -> Result<Response, Problem> {
    let bounds = call.enter(Operation::EndSubscription, Vec::new()).await?;
    let name = call.query.subscription()?.ok_or_else(|| invalid("`subscription` is missing in the URL"))?;
    let id = subscription::id(call.site, &bounds, name)?;
    call.open().await?.call(move |replica| replica.end_subscription(&id)).await??;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn once(call: &Call, database: &Database, request: QueriesRequest) -> Result<Response, Problem> {
    let read = move |replica: &mut Replica| replica.changes_for_queries(&request);
    let (batch, _) = database.read(read).await??;
    call.answer_batch(&batch, Freshness::Open)
}

impl Body {
    fn position(&self) -> Result<Option<Position>, Problem> {
        match (&self.subscription, self.seen, self.since) {
            (Some(_), Some(seen), Some(since)) => Ok(Some(Position { seen, since })),
            (_, None, None) => Ok(None),
            (None, ..) => Err(invalid("`seen` and `since` are of a subscription")),
            _ => Err(invalid("`seen` and `since` belong together: an answer's `seen` and `next`")),
        }
    }
}

fn invalid(reason: &str) -> Problem {
    Problem::new(Code::InvalidRequest, reason)
}
