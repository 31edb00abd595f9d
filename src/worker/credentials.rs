//! Who asks the upstream, as a JavaScript function says it.

use std::collections::BTreeMap;

use futures_util::future::{BoxFuture, FutureExt};
use http::{HeaderMap, HeaderName, HeaderValue};
use js_sys::{Function, JSON, Promise};
use send_wrapper::SendWrapper;
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::streams::Broken;
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
            let answer = ask(&self.0, &asked).await.map_err(|error| Broken::from_js(&error).0)?;
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

async fn ask(function: &Function, asked: &Asked) -> Result<JsValue, JsValue> {
    let Asked { dbid, principal, refresh } = asked;
    let question = Question { dbid: dbid.as_str(), principal: principal.as_deref(), refresh: *refresh };
    let question = question.serialize(&serde_wasm_bindgen::Serializer::json_compatible())?;
    let answer = function.call1(&JsValue::UNDEFINED, &question)?;
    JsFuture::from(Promise::resolve(&answer)).await
}

fn read(answer: &JsValue) -> Option<Credentials> {
    let json = JSON::stringify(answer).ok()?.as_string()?;
    let (headers, principal) = match serde_json::from_slice(json.as_bytes()) {
        Ok(Whose { headers, principal }) => (headers, Some(principal)),
        Err(_) => (serde_json::from_slice::<Headers>(json.as_bytes()).ok()?, None),
    };
    let header = |(name, value)| Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?));
    let headers: Option<HeaderMap> = headers.into_iter().map(header).collect();
    Some(Credentials { headers: headers?, principal })
}
