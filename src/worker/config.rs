use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use js_sys::{JSON, Reflect, TypeError};
use serde::Deserialize;
use wasm_bindgen::{JsCast, JsValue};

use super::credentials;
use crate::http::{Limits, Routes};
use crate::store::Dbid;
use crate::upstream;

/// The settings, checked.
pub(super) struct Config {
    routes: Routes,
    limits: Limits,
    upstream: Option<upstream::Config>,
    sql: bool,
    files: bool,
    storage: String,
}

/// What the names of stored databases begin with.
const STORAGE: &str = "crsql-sync";

/// The settings as JavaScript gives them; see `types.d.ts`. A misspelt one is an error, not ignored.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Given {
    prefix: Option<String>,
    upstream: Option<String>,
    headers: BTreeMap<String, String>,
    /// A function, which JSON leaves out; anything else is found out here.
    #[serde(rename = "upstreamHeaders")]
    _upstream_headers: Option<serde::de::IgnoredAny>,
    routes: BTreeMap<String, String>,
    limits: GivenLimits,
    sql: Option<bool>,
    files: bool,
    storage: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct GivenLimits {
    body: Option<usize>,
    binary_body: Option<usize>,
    body_time_ms: Option<u32>,
    streams: Option<usize>,
    file: Option<usize>,
    page_changes: Option<usize>,
    page_bytes: Option<usize>,
    query_changes: Option<usize>,
    query_bytes: Option<usize>,
    subscriptions: Option<usize>,
    subscription_ms: Option<u32>,
    sql_rows: Option<usize>,
    sql_bytes: Option<usize>,
    sql_time_ms: Option<u32>,
    apply_time_ms: Option<u32>,
    authorize_ms: Option<u32>,
    ticket_ms: Option<u32>,
    heartbeat_ms: Option<u32>,
}

impl Config {
    /// Reads the argument of the constructor.
    pub(super) fn from_js(value: &JsValue) -> Result<Self, JsValue> {
        // By way of JSON, which shows every member. Reading the known ones off the object would miss a misspelt one.
        let given = match JSON::stringify(value)?.as_string() {
            Some(json) if json != "null" => serde_json::from_slice(json.as_bytes()).map_err(invalid)?,
            _ => Given::default(),
        };
        Ok(Self {
            routes: given.routes()?,
            limits: given.limits.over_defaults(),
            upstream: match (given.upstream()?, credentials(value)?) {
                (Some(upstream), Some(hook)) => Some(upstream.identity(hook)),
                (upstream, _) => upstream,
            },
            sql: given.sql.unwrap_or(true),
            files: given.files,
            storage: given.storage()?,
        })
    }

    pub(super) fn routes(&self) -> Routes {
        self.routes.clone()
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits.clone()
    }

    pub(super) fn upstream(&self) -> Option<upstream::Config> {
        self.upstream.clone()
    }

    pub(super) fn sql(&self) -> bool {
        self.sql
    }

    pub(super) fn files(&self) -> bool {
        self.files
    }

    /// The name under which the databases are stored.
    pub(super) fn storage(&self) -> &str {
        &self.storage
    }
}

impl Given {
    fn routes(&self) -> Result<Routes, JsValue> {
        let mut routes = Routes::default();
        if let Some(prefix) = &self.prefix {
            routes = routes.prefix(prefix).map_err(invalid)?;
        }
        for (operation, name) in &self.routes {
            routes = routes.rename(operation, name).map_err(invalid)?;
        }
        Ok(routes)
    }

    fn storage(&self) -> Result<String, JsValue> {
        match &self.storage {
            None => Ok(STORAGE.into()),
            Some(name) => match Dbid::new(name) {
                Ok(name) => Ok(format!("{STORAGE}/{name}")),
                Err(_) => Err(invalid("storage is a name of letters, digits, points, underscores and hyphens")),
            },
        }
    }

    fn upstream(&self) -> Result<Option<upstream::Config>, JsValue> {
        let Some(url) = &self.upstream else {
            return Ok(None);
        };
        let config = upstream::Config::new(url).map_err(invalid)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::try_from(name).map_err(invalid)?;
            headers.insert(name, HeaderValue::try_from(value).map_err(invalid)?);
        }
        Ok(Some(config.headers(headers)))
    }
}

impl GivenLimits {
    fn over_defaults(&self) -> Limits {
        let millis = |given: Option<u32>, default| given.map_or(default, |ms| Duration::from_millis(ms.into()));
        let mut limits = Limits::default();
        limits.body = self.body.unwrap_or(limits.body);
        limits.binary_body = self.binary_body.unwrap_or(limits.binary_body);
        limits.body_time = millis(self.body_time_ms, limits.body_time);
        limits.streams = self.streams.unwrap_or(limits.streams);
        limits.file = self.file.unwrap_or(limits.file);
        limits.page_changes = self.page_changes.unwrap_or(limits.page_changes);
        limits.page_bytes = self.page_bytes.unwrap_or(limits.page_bytes);
        limits.query_changes = self.query_changes.unwrap_or(limits.query_changes);
        limits.query_bytes = self.query_bytes.unwrap_or(limits.query_bytes);
        limits.subscriptions = self.subscriptions.unwrap_or(limits.subscriptions);
        limits.subscription = millis(self.subscription_ms, limits.subscription);
        limits.sql_rows = self.sql_rows.unwrap_or(limits.sql_rows);
        limits.sql_bytes = self.sql_bytes.unwrap_or(limits.sql_bytes);
        limits.sql_time = millis(self.sql_time_ms, limits.sql_time);
        limits.apply_time = millis(self.apply_time_ms, limits.apply_time);
        limits.authorize = millis(self.authorize_ms, limits.authorize);
        limits.ticket = millis(self.ticket_ms, limits.ticket);
        limits.heartbeat = millis(self.heartbeat_ms, limits.heartbeat);
        limits
    }
}

/// The function that says who asks the upstream; JSON does not have it.
fn credentials(settings: &JsValue) -> Result<Option<credentials::Hook>, JsValue> {
    if !settings.is_object() {
        return Ok(None);
    }
    let hook = Reflect::get(settings, &"upstreamHeaders".into())?;
    if hook.is_undefined() || hook.is_null() {
        return Ok(None);
    }
    let hook = hook.dyn_into().map_err(|_| invalid("upstreamHeaders is a function"))?;
    Ok(Some(credentials::Hook::new(hook)))
}

fn invalid(error: impl std::fmt::Display) -> JsValue {
    TypeError::new(&format!("crsql-sync: the worker's settings cannot be used: {error}")).into()
}
