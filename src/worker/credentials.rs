//! Who asks the upstream, as a JavaScript function says it.

use std::collections::BTreeMap;

use futures_util::future::{BoxFuture, FutureExt};
use http::{HeaderMap, HeaderName, HeaderValue};
use js_sys::Function;
use send_wrapper::SendWrapper;
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsValue;

use super::hook::{ask, stringify};
use crate::sync::json;
use crate::upstream::{Asked, Credentials, Identity};

/// Asks the setting `upstreamHeaders`. Its types are in `types.d.ts`.
#[derive(Clone)]
pub(super) struct Hook(SendWrapper<Function>);

impl Hook {
    pub(super) fn new(function: Function) -> Self {
        Self(SendWrapper::new(function))
    }
}

impl Identity for Hook {
    fn credentials(&self, asked: Asked) -> BoxFuture<'_, Result<Credentials, String>> {
        let asking = async move {
            let Asked { dbid, principal, refresh } = asked;
            let question = Question { dbid: dbid.as_str(), principal: principal.as_deref(), refresh };
            let answer = ask(&self.0, &question).await?;
            read(&answer).ok_or_else(|| "`upstreamHeaders` gave neither headers nor { headers, principal }".into())
        };
        SendWrapper::new(asking).boxed()
    }
}

/// What the function is told.
#[derive(Serialize)]
struct Question<'a> {
    dbid: &'a str,
    principal: Option<&'a str>,
    refresh: bool,
}

/// What it answers, where it says whose the headers are; or else headers alone.
#[derive(Deserialize)]
struct Whose {
    headers: Headers,
    principal: String,
}

type Headers = BTreeMap<String, String>;

fn read(answer: &JsValue) -> Option<Credentials> {
    let text = stringify(answer)?;
    let (headers, principal) = match json::read(text.as_bytes()) {
        Ok(Whose { headers, principal }) => (headers, Some(principal)),
        Err(_) => (json::read::<Headers>(text.as_bytes()).ok()?, None),
    };
    let mut valid = HeaderMap::new();
    for (name, value) in headers {
        valid.append(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
    }
    Some(Credentials { headers: valid, principal })
}
