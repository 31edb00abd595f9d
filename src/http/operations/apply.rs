use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use crate::http::app::Settings;
use crate::http::auth::Operation;
use crate::http::call::{Call, answer};
use crate::http::problem::{Code, Problem};
use crate::sync::{Applied, Batch, Cursor, Since, json};

/// What applying a batch answers.
#[derive(Serialize)]
struct Answer {
    applied: u64,
    #[serde(with = "json::text")]
    received: Since,
    #[serde(with = "json::text")]
    at: Cursor,
    /// Present where the batch was put aside until the database is migrated.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    waits: bool,
}

/// `applyChanges`
pub(in crate::http) async fn handle(State(settings): State<Settings>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let call = Call::new(settings, parts).await?;
    let bounds = call.enter(Operation::ApplyChanges, Vec::new()).await?;
    bounds.check_write()?;
    let batch: Batch = call.json(body, Code::InvalidBatch).await?;
    if call.site.is_some_and(|site| site != batch.from) {
        return Err(Problem::new(Code::InvalidBatch, "`from` is not the site that the caller says it is"));
    }
    bounds.check_speaker(std::iter::once(batch.from).chain(batch.changes.iter().map(|change| change.site)))?;
    let changes = batch.changes.len();
    let applied = apply(&call, batch).await;
    call.observer.received(changes, applied.as_ref().ok().map(|applied| applied.applied));
    let applied = applied?;
    let Applied { applied, received, at, waits } = applied;
    answer(StatusCode::OK, &Answer { applied, received, at, waits })
}

async fn apply(call: &Call, batch: Batch) -> Result<Applied, Problem> {
    let database = call.open().await?;
    Ok(database.call(move |replica| replica.apply_changes(&batch)).await??)
}
