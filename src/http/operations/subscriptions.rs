//! What a partial copy subscribes to at its upstream.

use axum::body::Body;
use axum::response::Response;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use crate::http::auth::{Bounds, Operation};
use crate::http::call::{Call, answer};
use crate::http::links::{LinkError, LinkStatus};
use crate::http::problem::{Code, Problem};
use crate::store::Database;
use crate::sync::{Sql, Subscribing, WantedQueries};

/// The most queries of a subscription.
const MOST: usize = 100;

#[derive(Deserialize)]
struct Wanted {
    queries: Vec<Sql>,
    #[serde(default = "forget")]
    forget: bool,
}

/// Rows that left would not be kept up to date.
fn forget() -> bool {
    true
}

/// A subscription, as it is told of.
#[derive(Serialize)]
pub(super) struct Subscription {
    id: String,
    forget: bool,
    /// Whether all rows of its queries have been here.
    complete: bool,
    /// Those that are here now.
    rows: u64,
    /// Why the upstream refuses it.
    error: Option<LinkError>,
}

#[derive(Serialize)]
struct Subscriptions {
    subscriptions: Vec<Subscription>,
}

impl Subscription {
    pub(super) fn list(all: Vec<Subscribing>, link: Option<&LinkStatus>) -> Vec<Self> {
        let told = |subscribing: Subscribing| {
            let Subscribing { wanted: WantedQueries { name, forgets, .. }, complete, rows } = subscribing;
            let mut refused = link.iter().flat_map(|link| &link.refused);
            let error = refused.find(|(refused, _)| *refused == name).map(|(_, error)| error.clone());
            Self { id: name, forget: forgets, complete, rows, error }
        };
        all.into_iter().map(told).collect()
    }
}

/// All of them.
pub(in crate::http) async fn list(call: Call) -> Result<Response, Problem> {
    call.enter(Operation::Upstream, Vec::new()).await?.check_unfiltered()?;
    let database = call.open().await?;
    answer(StatusCode::OK, &Subscriptions { subscriptions: told(&call, &database).await? })
}

/// One of them: what it is, that it is wanted, or that it is not.
pub(in crate::http) async fn handle(call: Call, body: Body) -> Result<Response, Problem> {
    let id = call.names.subscription()?.to_owned();
    let database = match *call.method() {
        Method::PUT => put(&call, &id, body).await?,
        Method::DELETE => return delete(&call, id).await,
        _ => {
            call.enter(Operation::Upstream, Vec::new()).await?.check_unfiltered()?;
            call.open().await?
        }
    };
    match told(&call, &database).await?.into_iter().find(|one| one.id == id) {
        Some(one) => answer(StatusCode::OK, &one),
        None => Err(Problem::new(Code::NotFound, "this copy has no such subscription")),
    }
}

async fn put(call: &Call, id: &str, body: Body) -> Result<Database, Problem> {
    // The hook judges the SQL, so the body is read first.
    let Wanted { queries, forget } = call.json(body, Code::InvalidRequest).await?;
    if queries.is_empty() || queries.len() > MOST {
        return Err(Problem::new(Code::InvalidRequest, format!("a subscription has 1 to {MOST} queries")));
    }
    let texts = queries.iter().map(|query| query.sql.clone()).collect();
    enter_to_write(call, texts).await?;
    let database = call.open().await?;
    if !database.read(|replica| replica.is_partial()).await?? {
        let reason = "this copy has everything that its upstream has; one that is created with `partial` subscribes";
        return Err(Problem::new(Code::InvalidRequest, reason));
    }
    let name = id.to_owned();
    if database.call(move |replica| replica.subscribe(&name, &queries, forget)).await?? {
        resubscribe(call, &database);
    }
    Ok(database)
}

async fn delete(call: &Call, id: String) -> Result<Response, Problem> {
    enter_to_write(call, Vec::new()).await?;
    let database = call.open().await?;
    if database.call(move |replica| replica.unsubscribe(&id)).await?? {
        resubscribe(call, &database);
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

async fn enter_to_write(call: &Call, sql: Vec<String>) -> Result<Bounds, Problem> {
    let bounds = call.enter(Operation::Upstream, sql).await?;
    bounds.check_write()?;
    bounds.check_unfiltered()?;
    Ok(bounds)
}

fn resubscribe(call: &Call, database: &Database) {
    if let Some(links) = &call.settings.links {
        links.resubscribe(database);
    }
}

async fn told(call: &Call, database: &Database) -> Result<Vec<Subscription>, Problem> {
    let all = database.read(|replica| replica.subscribing()).await??;
    let link = call.settings.links.as_ref().and_then(|links| links.status(database.dbid()));
    Ok(Subscription::list(all, link.as_ref()))
}
