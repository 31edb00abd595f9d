//! The auth hook as a JavaScript function.

use std::collections::BTreeMap;

use futures_util::future::{BoxFuture, FutureExt};
use js_sys::{Function, Promise};
use send_wrapper::SendWrapper;
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::streams::Broken;
use crate::http::auth::{Access, Authorize, Verdict};

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
            let verdict = ask(&self.0, &access).await.map_err(|error| Broken::from_js(&error).0)?;
            read(&verdict).ok_or_else(|| format!("it answered {verdict:?}, which is no verdict"))
        };
        SendWrapper::new(asking).boxed()
    }
}

/// What the function is told.
#[derive(Serialize)]
struct Question<'a> {
    operation: &'a str,
    dbid: &'a str,
    site: Option<String>,
    method: &'a str,
    headers: BTreeMap<&'a str, &'a str>,
    sql: &'a [String],
}

/// What it may answer beside a boolean.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    allow: bool,
    #[serde(default)]
    read_only: bool,
    status: Option<f64>,
    message: Option<String>,
}

async fn ask(function: &Function, access: &Access) -> Result<JsValue, JsValue> {
    let headers = access.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let question = Question {
        operation: access.operation.as_str(),
        dbid: access.dbid.as_str(),
        site: access.site.map(|site| site.to_string()),
        method: access.method.as_str(),
        headers: headers.collect(),
        sql: &access.sql,
    };
    let question = question.serialize(&serde_wasm_bindgen::Serializer::json_compatible())?;
    let verdict = function.call1(&JsValue::UNDEFINED, &question)?;
    // Of a value that is no promise it makes one.
    JsFuture::from(Promise::resolve(&verdict)).await
}

/// Only a clear yes is one.
fn read(verdict: &JsValue) -> Option<Verdict> {
    if let Some(allow) = verdict.as_bool() {
        return Some(if allow { Verdict::ALLOW } else { forbidden(None) });
    }
    let answer: Answer = serde_wasm_bindgen::from_value(verdict.clone()).ok()?;
    Some(match answer {
        Answer { allow: true, read_only: true, .. } => Verdict::READ_ONLY,
        Answer { allow: true, .. } => Verdict::ALLOW,
        Answer { status: Some(401.0), message, .. } => {
            Verdict::Unauthorized(message.unwrap_or_else(|| "say who you are".into()))
        }
        Answer { message, .. } => forbidden(message),
    })
}

fn forbidden(message: Option<String>) -> Verdict {
    Verdict::Forbidden(message.unwrap_or_else(|| "this is not allowed".into()))
}
