use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use crate::http::auth::{Bounds, Operation};
use crate::http::call::{Call, answer};
use crate::http::problem::{Code, Problem};
use crate::sync::{Applied, Batch, Cursor, Replica, Since, json};

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
pub(in crate::http) async fn handle(call: Call, body: Body) -> Result<Response, Problem> {
    let bounds = call.enter(Operation::ApplyChanges, Vec::new()).await?;
    bounds.check_write()?;
    let batch = call.batch(body).await?;
    if call.site.is_some_and(|site| site != batch.from) {
        return Err(Problem::new(Code::InvalidBatch, "`from` is not the site that the caller says it is"));
    }
    bounds.check_batch(&batch)?;
    let changes = batch.changes.len();
    let applied = apply(&call, &bounds, batch).await;
    call.observer.received(changes, applied.as_ref().ok().map(|applied| applied.applied));
    let Applied { applied, received, at, waits } = applied?;
    let at = bounds.seen_at(at);
    answer(StatusCode::OK, &Answer { applied, received, at, waits })
}

async fn apply(call: &Call, bounds: &Bounds, mut batch: Batch) -> Result<Applied, Problem> {
    let database = call.open().await?;
    let (seen, time) = (bounds.clone(), call.settings.limits.apply_time);
    let apply = move |replica: &mut Replica| {
        // What the sender holds of a view of this copy it holds of this copy, as far as it may.
        let own = replica.site();
        batch.have =
            batch.have.map(|have| if have.site == seen.seen(own) { Cursor { site: own, ..have } } else { have });
        replica.within(time, |replica| match &seen.rows {
            Some(filters) => replica.apply_changes_within(&batch, filters),
            None => replica.apply_changes(&batch),
        })
    };
    Ok(database.call(apply).await??)
}
