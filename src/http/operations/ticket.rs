use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use web_time::{SystemTime, UNIX_EPOCH};

use crate::http::auth::Operation;
use crate::http::call::{Call, answer};
use crate::http::problem::Problem;

#[derive(Serialize)]
struct Answer {
    ticket: String,
    /// The time after which it is worth nothing, in seconds since 1970.
    expires: u64,
}

/// A ticket for one event stream, within the bounds of this request.
pub(in crate::http) async fn handle(call: Call) -> Result<Response, Problem> {
    let bounds = call.enter(Operation::Ticket, Vec::new()).await?;
    let lifetime = call.settings.limits.ticket;
    let expires = (SystemTime::now() + lifetime).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let ticket = call.settings.tickets.issue(call.dbid, bounds, lifetime)?;
    answer(StatusCode::OK, &Answer { ticket, expires })
}
