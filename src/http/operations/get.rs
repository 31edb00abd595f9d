use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;

use crate::http::app::Settings;
use crate::http::auth::Operation;
use crate::http::call::{Call, answer};
use crate::http::problem::Problem;
use crate::sync;

/// `getChanges`
pub(in crate::http) async fn handle(State(settings): State<Settings>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let call = Call::new(settings, parts).await?;
    call.enter(Operation::GetChanges, Vec::new()).await?;
    let request = sync::Request {
        until: call.query.until()?,
        exclude: call.query.exclude()?.or(call.site),
        page: call.settings.limits.page(call.query.limit()?),
        ..sync::Request::after(call.query.since()?)
    };
    let database = call.open().await?;
    let batch = database.call(move |replica| replica.request_changes(&request)).await??;
    call.observer.sent(batch.changes.len(), None);
    answer(StatusCode::OK, &batch)
}
