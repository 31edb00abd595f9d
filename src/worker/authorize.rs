//! The auth hook as a JavaScript function.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use js_sys::Function;
use send_wrapper::SendWrapper;
use serde::{Deserialize, Deserializer};
use wasm_bindgen::JsValue;
use web_time::UNIX_EPOCH;

use super::hook::{ask, stringify};
use crate::crr::SiteId;
use crate::http::auth::{Access, Authorize, Bounds, Verdict};
use crate::sync::{RowFilters, Sql, json};

/// Asks the function that was given to the constructor. Its types are in `types.d.ts`.
pub(super) struct Hook(SendWrapper<Function>);

impl Hook {
    pub(super) fn new(function: Function) -> Self {
        Self(SendWrapper::new(function))
    }
}

impl Authorize for Hook {
    fn authorize(&self, access: Access) -> BoxFuture<'_, Result<Verdict, String>> {
        let asking = async move {
            let verdict = ask(&self.0, &access.question()).await?;
            read(&verdict).ok_or_else(|| format!("it answered {verdict:?}, which is no verdict"))
        };
        SendWrapper::new(asking).boxed()
    }
}

/// What it may answer beside a boolean. A misspelt bound would be none, so it is no verdict.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Answer {
    allow: bool,
    #[serde(default)]
    read_only: bool,
    sites: Option<Vec<String>>,
    tables: Option<Vec<String>>,
    rows: Option<RowFilters>,
    /// In milliseconds since 1970, as `Date.now()` counts.
    #[serde(default, deserialize_with = "number")]
    expires: Option<f64>,
    principal: Option<String>,
    queries: Option<Vec<Sql>>,
    status: Option<f64>,
    message: Option<String>,
}

/// A member that is there is a number. JSON has `null` for those that are none, which must not pass for a member left out.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    f64::deserialize(deserializer).map(Some)
}

/// Only a clear yes is one.
fn read(verdict: &JsValue) -> Option<Verdict> {
    if let Some(allow) = verdict.as_bool() {
        return Some(if allow { Verdict::ALLOW } else { forbidden(None) });
    }
    // JSON shows every member, and has values as SQL requests have them.
    let answer: Answer = json::read(stringify(verdict)?.as_bytes()).ok()?;
    Some(match answer {
        Answer { allow: true, .. } => Verdict::Allow(bounds(answer)?),
        Answer { status: Some(401.0), message, .. } => {
            Verdict::Unauthorized(message.unwrap_or_else(|| "say who you are".into()))
        }
        Answer { message, .. } => forbidden(message),
    })
}

/// What is no bound, is no verdict either.
fn bounds(answer: Answer) -> Option<Bounds> {
    let mut bounds = if answer.read_only { Bounds::default().read_only() } else { Bounds::default() };
    if let Some(sites) = answer.sites {
        let sites: Option<Vec<SiteId>> = sites.iter().map(|site| site.parse().ok()).collect();
        bounds = bounds.sites(sites?);
    }
    if let Some(tables) = answer.tables {
        bounds = bounds.tables(tables);
    }
    bounds.rows = answer.rows;
    if let Some(ms) = answer.expires {
        let since_1970 = Duration::try_from_secs_f64(ms / 1000.0).ok()?;
        bounds = bounds.expires(UNIX_EPOCH.checked_add(since_1970)?);
    }
    if let Some(principal) = answer.principal {
        bounds = bounds.principal(principal);
    }
    if let Some(queries) = answer.queries {
        bounds = bounds.queries(queries);
    }
    Some(bounds)
}

fn forbidden(message: Option<String>) -> Verdict {
    Verdict::Forbidden(message.unwrap_or_else(|| "this is not allowed".into()))
}
