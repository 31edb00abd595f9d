use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use js_sys::{JSON, Reflect, TypeError};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use wasm_bindgen::{JsCast, JsValue};

use super::credentials;
use crate::http::{Limits, Routes};
use crate::store::Dbid;
use crate::sync::json;
use crate::upstream;

/// The settings, checked.
pub(super) struct Config {
    routes: Routes,
    limits: Limits,
    stall: Duration,
    upstream: Option<upstream::Config>,
    sql: bool,
    files: bool,
    storage: String,
}

/// What the names of stored databases begin with.
const STORAGE: &str = "crsql-sync";
/// How long a page may take nothing of what it is sent, unless the settings say otherwise.
const STALL: Duration = Duration::from_secs(30);

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

/// The limits, over the defaults.
struct GivenLimits {
    http: Limits,
    stall: Duration,
}

impl Default for GivenLimits {
    fn default() -> Self {
        Self { http: Limits::default(), stall: STALL }
    }
}

/// A limit's name, and how it is set: a number of something, or of milliseconds.
type Limit = (&'static str, fn(&mut GivenLimits, u32));

const LIMITS: [Limit; 19] = [
    ("body", |given, bytes| given.http.body = bytes as usize),
    ("binaryBody", |given, bytes| given.http.binary_body = bytes as usize),
    ("bodyTimeMs", |given, ms| given.http.body_time = millis(ms)),
    ("streams", |given, count| given.http.streams = count as usize),
    ("file", |given, bytes| given.http.file = bytes as usize),
    ("pageChanges", |given, count| given.http.page_changes = count as usize),
    ("pageBytes", |given, bytes| given.http.page_bytes = bytes as usize),
    ("queryChanges", |given, count| given.http.query_changes = count as usize),
    ("queryBytes", |given, bytes| given.http.query_bytes = bytes as usize),
    ("subscriptions", |given, count| given.http.subscriptions = count as usize),
    ("subscriptionMs", |given, ms| given.http.subscription = millis(ms)),
    ("sqlRows", |given, count| given.http.sql_rows = count as usize),
    ("sqlBytes", |given, bytes| given.http.sql_bytes = bytes as usize),
    ("sqlTimeMs", |given, ms| given.http.sql_time = millis(ms)),
    ("applyTimeMs", |given, ms| given.http.apply_time = millis(ms)),
    ("authorizeMs", |given, ms| given.http.authorize = millis(ms)),
    ("ticketMs", |given, ms| given.http.ticket = millis(ms)),
    ("heartbeatMs", |given, ms| given.http.heartbeat = millis(ms)),
    ("stallMs", |given, ms| given.stall = millis(ms)),
];

fn millis(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}

impl<'de> Deserialize<'de> for GivenLimits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LimitsVisitor)
    }
}

struct LimitsVisitor;

impl<'de> Visitor<'de> for LimitsVisitor {
    type Value = GivenLimits;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of limits")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut given: A) -> Result<GivenLimits, A::Error> {
        let mut limits = GivenLimits::default();
        while let Some(name) = given.next_key::<String>()? {
            let Some((_, set)) = LIMITS.iter().find(|(known, _)| *known == name) else {
                let known = LIMITS.map(|(known, _)| known).join(", ");
                return Err(A::Error::custom(format_args!("there is no limit {name:?} but {known}")));
            };
            if let Some(value) = given.next_value()? {
                set(&mut limits, value);
            }
        }
        Ok(limits)
    }
}

impl Config {
    /// Reads the argument of the constructor.
    pub(super) fn from_js(value: &JsValue) -> Result<Self, JsValue> {
        // By way of JSON, which shows every member. Reading the known ones off the object would miss a misspelt one.
        let given = match JSON::stringify(value)?.as_string() {
            Some(text) if text != "null" => json::read(text.as_bytes()).map_err(invalid)?,
            _ => Given::default(),
        };
        Ok(Self {
            routes: given.routes()?,
            limits: given.limits.http.clone(),
            stall: given.limits.stall,
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

    pub(super) fn stall(&self) -> Duration {
        self.stall
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
