use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;

use super::status;
use crate::http::app::Settings;
use crate::http::auth::Operation;
use crate::http::call::Call;
use crate::http::problem::{Code, Problem};

#[derive(Deserialize)]
struct Body {
    paused: bool,
}

/// Stops the link to the upstream, or lets it go on.
pub(in crate::http) async fn handle(State(settings): State<Settings>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let call = Call::new(settings, parts).await?;
    let bounds = call.enter(Operation::Upstream, Vec::new()).await?;
    bounds.check_write()?;
    let Body { paused } = call.json(body, Code::InvalidRequest).await?;
    let database = call.open().await?;
    if let Some(links) = &call.settings.links {
        links.pause(&database, paused).await?;
    }
    status::respond(&call, &bounds, &database).await
}
