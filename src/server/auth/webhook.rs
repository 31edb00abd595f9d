use std::time::{Duration, UNIX_EPOCH};

use http::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::fetch;
use super::grant::Grant;
use crate::http::{Access, Verdict};
use crate::server::Failure;
use crate::sync::Sql;

/// The largest answer that is taken.
const MAX_ANSWER: usize = 1 << 20;

/// The auth hook that asks another program, as docs/auth.md describes it. Its answer is not kept: the next request is asked for
/// anew.
pub(in crate::server) struct Webhook {
    client: Client,
    url: Url,
}

impl Webhook {
    pub(super) fn new(url: Url, patience: Duration) -> Result<Self, Failure> {
        Ok(Self { client: fetch::client(patience)?, url })
    }

    pub(super) async fn judge(&self, access: &Access) -> Result<Verdict, String> {
        let body = serde_json::to_vec(&access.question()).map_err(|error| error.to_string())?;
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json").body(body);
        let (status, body) = fetch::send(request, MAX_ANSWER).await?;
        match status {
            StatusCode::OK => read(access, &body),
            StatusCode::UNAUTHORIZED => Ok(Verdict::Unauthorized(message(&body, "say who you are"))),
            StatusCode::FORBIDDEN => Ok(Verdict::Forbidden(message(&body, "this is not allowed"))),
            status => Err(format!("the webhook answered {status}")),
        }
    }
}

/// Only a clear yes is one.
fn read(access: &Access, body: &[u8]) -> Result<Verdict, String> {
    let no_verdict = |error: serde_json::Error| format!("the webhook's answer is no verdict: {error}");
    let mut answer: Map<String, Value> = serde_json::from_slice(body).map_err(no_verdict)?;
    if answer.remove("allow") != Some(Value::Bool(true)) {
        return Ok(Verdict::Forbidden(message(body, "this is not allowed")));
    }
    answer.remove("message");
    let expires = match answer.remove("expires") {
        None | Some(Value::Null) => None,
        Some(seconds) => {
            let seconds = Duration::from_secs(u64::deserialize(seconds).map_err(no_verdict)?);
            Some(UNIX_EPOCH.checked_add(seconds).ok_or("the webhook's `expires` is no time")?)
        }
    };
    let queries = answer.remove("queries").map(Vec::<Sql>::deserialize).transpose().map_err(no_verdict)?;
    let grant = Grant::deserialize(Value::Object(answer)).map_err(no_verdict)?;
    Ok(match (grant.judge(&access.dbid, expires), queries) {
        (Verdict::Allow(bounds), Some(queries)) => bounds.queries(queries).into(),
        (verdict, _) => verdict,
    })
}

fn message(body: &[u8], default: &str) -> String {
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    let message = answer.as_ref().and_then(|answer| answer.get("message")?.as_str());
    message.unwrap_or(default).to_owned()
}
