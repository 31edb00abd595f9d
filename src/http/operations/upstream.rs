use axum::response::Response;
use serde::Deserialize;

use super::status;
use crate::http::auth::Operation;
use crate::http::call::Call;
use crate::http::links::LinkSettings;
use crate::http::problem::{Code, Problem};
use crate::sync::{Clock, WhenUnsent};

/// The longest name of a principal, in characters.
const LONGEST: usize = 256;

#[derive(Deserialize)]
struct Body {
    paused: Option<bool>,
    principal: Option<String>,
    unsent: Option<Unsent>,
    retry: Option<bool>,
    discard: Option<Clock>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Unsent {
    Discard,
}

/// Changes what the link to the upstream does.
pub(in crate::http) async fn handle(call: Call, body: axum::body::Body) -> Result<Response, Problem> {
    let bounds = call.enter(Operation::Upstream, Vec::new()).await?;
    bounds.check_write()?;
    bounds.check_unfiltered()?;
    let mut body: Body = call.json(body, Code::InvalidRequest).await?;
    let discard = body.discard.take();
    let settings = body.settings()?;
    let database = call.open().await?;
    if let Some(links) = &call.settings.links {
        if let Some(discard) = discard {
            database.call(move |replica| replica.discard(&discard)).await??;
        }
        links.set(&database, settings).await?;
    }
    status::respond(&call, &bounds, &database).await
}

impl Body {
    fn settings(self) -> Result<LinkSettings, Problem> {
        let invalid = |detail: &str| Err(Problem::new(Code::InvalidRequest, detail));
        let Self { paused, principal, unsent, retry, .. } = self;
        if principal.as_ref().is_some_and(|name| name.is_empty() || name.chars().count() > LONGEST) {
            return invalid("`principal` is a text of 1 to 256 characters");
        }
        if unsent.is_some() && principal.is_none() {
            return invalid("`unsent` says what becomes of changes when another `principal` comes: name it");
        }
        let when = if unsent.is_some() { WhenUnsent::Discard } else { WhenUnsent::Keep };
        let principal = principal.map(|name| (name, when));
        Ok(LinkSettings { paused, principal, retry: retry.unwrap_or(false) })
    }
}
