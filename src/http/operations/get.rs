use axum::response::Response;

use crate::http::auth::Operation;
use crate::http::batches::Freshness;
use crate::http::call::Call;
use crate::http::problem::Problem;
use crate::sync::{self, Batch, Cursor};

/// `getChanges`
pub(in crate::http) async fn handle(call: Call) -> Result<Response, Problem> {
    let bounds = call.enter(Operation::GetChanges, Vec::new()).await?;
    bounds.check_unfiltered()?;
    let request = sync::Request {
        until: call.query.until()?,
        exclude: call.query.exclude()?.or(call.site),
        tables: bounds.tables,
        schema: call.query.schema()?,
        page: call.settings.limits.page(call.query.limit()?),
        ..sync::Request::after(call.query.since()?)
    };
    let until = request.until;
    let database = call.open().await?;
    let batch = database.read(move |replica| replica.request_changes(&request)).await??;
    call.answer_batch(&batch, freshness(&batch, until))
}

/// A range is closed once the copy has come to its end. A page of it that is not the last has all up to its own end.
fn freshness(batch: &Batch, until: Option<Cursor>) -> Freshness {
    match until {
        Some(until) if batch.more || batch.end >= Some(until.version) => Freshness::Closed,
        _ => Freshness::Open,
    }
}
