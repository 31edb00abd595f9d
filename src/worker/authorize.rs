//! The auth hook as a JavaScript function.

use futures_util::future::{BoxFuture, FutureExt};
use http::HeaderMap;
use js_sys::{Array, Function, Object, Promise, Reflect};
use send_wrapper::SendWrapper;
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

async fn ask(function: &Function, access: &Access) -> Result<JsValue, JsValue> {
    let operation = Object::new();
    let set = |name: &str, value: JsValue| Reflect::set(&operation, &name.into(), &value);
    set("operation", access.operation.as_str().into())?;
    set("dbid", access.dbid.as_str().into())?;
    set("site", access.site.map_or(JsValue::NULL, |site| site.to_string().into()))?;
    set("method", access.method.as_str().into())?;
    set("headers", headers(&access.headers)?.into())?;
    set("sql", access.sql.iter().map(|sql| JsValue::from_str(sql)).collect::<Array>().into())?;
    let verdict = function.call1(&JsValue::UNDEFINED, &operation)?;
    // Of a value that is no promise it makes one.
    JsFuture::from(Promise::resolve(&verdict)).await
}

fn headers(headers: &HeaderMap) -> Result<Object, JsValue> {
    let object = Object::new();
    for (name, value) in headers {
        if let Ok(value) = value.to_str() {
            Reflect::set(&object, &name.as_str().into(), &value.into())?;
        }
    }
    Ok(object)
}

/// Only a clear yes is one.
fn read(verdict: &JsValue) -> Option<Verdict> {
    if let Some(allow) = verdict.as_bool() {
        return Some(if allow { Verdict::ALLOW } else { forbidden(None) });
    }
    let get = |name: &str| Reflect::get(verdict, &name.into()).ok();
    let message = get("message").and_then(|message| message.as_string());
    match get("allow")?.as_bool()? {
        true if get("readOnly")?.is_truthy() => Some(Verdict::READ_ONLY),
        true => Some(Verdict::ALLOW),
        false if get("status")?.as_f64() == Some(401.0) => {
            Some(Verdict::Unauthorized(message.unwrap_or_else(|| "say who you are".into())))
        }
        false => Some(forbidden(message)),
    }
}

fn forbidden(message: Option<String>) -> Verdict {
    Verdict::Forbidden(message.unwrap_or_else(|| "this is not allowed".into()))
}
