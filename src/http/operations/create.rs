use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::crr::SiteId;
use crate::http::auth::{Bounds, Operation};
use crate::http::call::{Call, answer};
use crate::http::plan::Plan;
use crate::http::problem::{Code, Problem};
use crate::store::{self, Database};
use crate::sync::{Created, Cursor, Replica, Schema, SchemaHash, json};

#[derive(Deserialize)]
struct Body {
    schema: String,
    /// Whether it is to hold the rows of its subscriptions only.
    #[serde(default)]
    partial: bool,
}

/// What is answered once the database has its schema.
#[derive(Serialize)]
pub(super) struct Answer {
    /// What was done.
    pub(super) status: &'static str,
    /// What a migration did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) plan: Option<Plan>,
    #[serde(with = "json::text")]
    pub(super) site: SiteId,
    pub(super) schema: SchemaHash,
    #[serde(with = "json::text")]
    pub(super) at: Cursor,
}

/// `createDatabaseIfNotExists`
pub(in crate::http) async fn handle(call: Call, body: axum::body::Body) -> Result<Response, Problem> {
    let bounds = call.enter(Operation::Create, Vec::new()).await?;
    let Body { schema, partial } = call.json(body, Code::InvalidRequest).await?;
    if partial && call.settings.links.is_none() {
        let reason = "there is no upstream that a partial copy could subscribe to";
        return Err(Problem::new(Code::InvalidRequest, reason));
    }
    // Before there is a file: what is no schema leaves nothing behind.
    let schema = store::run(move || Schema::parse(&schema)).await??;
    let database = open(&call, &bounds).await?;
    let create = move |replica: &mut Replica| match partial {
        true => replica.create_partial_if_not_exists(&schema),
        false => replica.create_database_if_not_exists(&schema),
    };
    let created = database.call(create).await??;
    call.attend(&database);
    self::created(&bounds, created)
}

/// The answer to whoever made a database, or found it made.
pub(super) fn created(bounds: &Bounds, created: Created) -> Result<Response, Problem> {
    let (status, text) = if created.created { (StatusCode::CREATED, "created") } else { (StatusCode::OK, "exists") };
    let at = bounds.seen_at(created.at);
    answer(status, &Answer { status: text, plan: None, site: at.site, schema: created.schema, at })
}

/// Opens the database. Who may write all of it is given the storage of a new one where there is none.
pub(super) async fn open(call: &Call, bounds: &Bounds) -> Result<Database, Problem> {
    let store = &call.settings.store;
    let Err(refusal) = bounds.check_define() else {
        return Ok(store.open_or_create(&call.dbid).await?);
    };
    match store.open(&call.dbid).await {
        Err(store::Error::NotFound) => Err(refusal),
        opened => Ok(opened?),
    }
}
