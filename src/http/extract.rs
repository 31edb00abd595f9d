//! Reading requests: each part that is wrong becomes the problem that says so.

use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::RawPathParams;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::media::JSON;
use super::patience::within;
use super::problem::{Code, Problem};
use crate::crr::SiteId;
use crate::store::Dbid;
use crate::sync::{Cursor, InvalidRequestKey, Position, RequestKey, SchemaHash, Since};

/// The header in which a caller says which site it is.
pub const SITE_HEADER: &str = "crsql-site";
/// The header in which a reader of an event stream says what it read last.
const LAST_EVENT_ID: &str = "last-event-id";
/// The longest name of a subscription.
const LONGEST_SUBSCRIPTION: usize = 64;
/// The header that names a request, so that it is carried out once (draft-ietf-httpapi-idempotency-key-header).
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The names in the path.
pub(super) struct Names(Option<RawPathParams>);

impl Names {
    pub(super) async fn of(parts: &mut Parts) -> Self {
        Self(RawPathParams::from_request_parts(parts, &()).await.ok())
    }

    fn get(&self, name: &str) -> &str {
        let mut names = self.0.iter().flatten();
        names.find(|(other, _)| *other == name).map_or("", |(_, value)| value)
    }

    pub(super) fn dbid(&self) -> Result<Dbid, Problem> {
        Dbid::new(self.get("dbid")).map_err(|error| Problem::new(Code::InvalidDbid, error.to_string()))
    }

    /// The name of a subscription.
    pub(super) fn subscription(&self) -> Result<&str, Problem> {
        let id = self.get("id");
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-');
        if id.is_empty() || id.len() > LONGEST_SUBSCRIPTION || !id.bytes().all(allowed) {
            return Err(invalid("id", "is 1 to 64 letters, digits, points, hyphens, underscores and tildes"));
        }
        Ok(id)
    }
}

/// The parameters of the URL. Unknown ones are ignored; one that stands twice is refused.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(parts: &Parts) -> Self {
        let query = parts.uri.query().unwrap_or_default();
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    fn get(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut found = self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str());
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(invalid(name, "stands twice in the URL")),
            (value, _) => Ok(value),
        }
    }

    /// A parameter that is a `T`.
    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<Option<T>, Problem> {
        self.get(name)?.map(|text| text.parse().map_err(|error: T::Err| invalid(name, error))).transpose()
    }

    pub(super) fn since(&self) -> Result<Since, Problem> {
        Ok(self.parsed("since")?.unwrap_or(Since::Beginning))
    }

    pub(super) fn until(&self) -> Result<Option<Cursor>, Problem> {
        self.parsed("until")
    }

    pub(super) fn exclude(&self) -> Result<Option<SiteId>, Problem> {
        self.parsed("exclude")
    }

    /// What lets in a reader of an event stream that cannot set a header.
    pub(super) fn ticket(&self) -> Result<Option<&str>, Problem> {
        self.get("ticket")
    }

    /// The subscription that is meant.
    pub(super) fn subscription(&self) -> Result<Option<&str>, Problem> {
        self.get("subscription")
    }

    /// The schema that the caller has.
    pub(super) fn schema(&self) -> Result<Option<SchemaHash>, Problem> {
        self.parsed("schema")
    }

    /// Whether a status shall have the whole clock.
    pub(super) fn wants_clock(&self) -> Result<bool, Problem> {
        Ok(self.parsed("clock")?.unwrap_or(false))
    }

    /// Whether an answer to SQL shall name the tables that were read.
    pub(super) fn wants_tables(&self) -> Result<bool, Problem> {
        Ok(self.parsed("tables")?.unwrap_or(false))
    }

    pub(super) fn limit(&self) -> Result<Option<usize>, Problem> {
        limit(self.parsed("limit")?)
    }
}

/// The most changes that the caller wants at once.
pub(super) fn limit(given: Option<usize>) -> Result<Option<usize>, Problem> {
    match given {
        Some(0) => Err(invalid("limit", "is 1 at least")),
        limit => Ok(limit),
    }
}

/// The site that the caller says it is.
pub(super) fn site(headers: &HeaderMap, query: &Query) -> Result<Option<SiteId>, Problem> {
    let of_query = query.parsed("site")?;
    let Some(header) = headers.get(SITE_HEADER) else {
        return Ok(of_query);
    };
    let site = header.to_str().ok().and_then(|text| text.parse().ok());
    let site: SiteId = site.ok_or_else(|| invalid(SITE_HEADER, "is a site id of 32 hexadecimal digits"))?;
    match of_query {
        Some(other) if other != site => Err(invalid("site", format_args!("differs from the header {SITE_HEADER}"))),
        _ => Ok(Some(site)),
    }
}

/// The key by which a request is known when it comes again.
pub(super) fn request_key(headers: &HeaderMap) -> Result<Option<RequestKey>, Problem> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = key.to_str().ok().and_then(|key| key.parse().ok());
    key.map(Some).ok_or_else(|| invalid(IDEMPOTENCY_KEY, InvalidRequestKey))
}

/// Where a stream begins: after what was read last, or `since`, whichever is the later.
pub(super) fn stream_start(headers: &HeaderMap, query: &Query) -> Result<Since, Problem> {
    let since = query.since()?;
    let Some(last) = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) else {
        return Ok(since);
    };
    let last = last.to_str().ok().and_then(|text| text.parse::<Since>().ok());
    let last = last.ok_or_else(|| invalid(LAST_EVENT_ID, "is the id of an event of this stream"))?;
    Ok(if last.is_later_than(&since) { last } else { since })
}

/// Where a stream of a subscription begins: after what was read last, or else where the URL says.
pub(super) fn subscription_start(headers: &HeaderMap, query: &Query) -> Result<Option<Position>, Problem> {
    if let Some(last) = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) {
        let last = last.to_str().ok().and_then(|text| text.parse().ok());
        return last.map(Some).ok_or_else(|| invalid(LAST_EVENT_ID, "is the id of an event of this stream"));
    }
    match (query.parsed("seen")?, query.parsed("since")?) {
        (Some(seen), Some(since)) => Ok(Some(Position { seen, since })),
        (None, None) => Ok(None),
        _ => Err(invalid("seen", "belongs together with `since`: an answer's `seen` and `next`")),
    }
}

/// A body of JSON.
pub(super) async fn json(headers: &HeaderMap, body: Body, limit: BodyLimit) -> Result<Bytes, Problem> {
    check_media_type(headers, JSON)?;
    bytes(headers, body, limit).await
}

/// Why a body of JSON is not taken. `code` is for one that is JSON, and not what was expected.
pub(super) fn not_expected(error: &serde_json::Error, code: Code) -> Problem {
    match error.classify() {
        serde_json::error::Category::Data => Problem::new(code, error.to_string()),
        _ => Problem::new(Code::InvalidRequest, format!("the body is not JSON: {error}")),
    }
}

/// Refuses a body of another media type.
pub(super) fn check_media_type(headers: &HeaderMap, wanted: &'static str) -> Result<(), Problem> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    let problem = Problem::new(Code::UnsupportedMediaType, format!("send it with content-type: {wanted}"));
    Err(problem.accepting(header::ACCEPT, wanted))
}

/// Refuses a body in an encoding: the host took off those that it knows.
pub(super) fn check_not_encoded(headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        let detail = format!("the content-encoding {encoding:?} is not taken here; `accept-encoding` says which are");
        let problem = Problem::new(Code::UnsupportedMediaType, detail);
        return Err(problem.accepting(header::ACCEPT_ENCODING, "identity"));
    }
    Ok(())
}

/// What a body may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimit {
    /// Once it is decompressed.
    pub(super) bytes: usize,
    /// From its beginning to its end.
    pub(super) time: Duration,
}

/// A body.
pub(super) async fn bytes(headers: &HeaderMap, body: Body, limit: BodyLimit) -> Result<Bytes, Problem> {
    check_not_encoded(headers)?;
    let BodyLimit { bytes, time } = limit;
    match within(Limited::new(body, bytes).collect(), time).await {
        Some(Ok(collected)) => Ok(collected.to_bytes()),
        Some(Err(error)) => Err(broken_off(&*error, bytes, "send smaller batches")),
        None => {
            let detail = format!("a body may take {time:?}, and this one had not ended; send smaller batches");
            Err(Problem::new(Code::RequestTimeout, detail))
        }
    }
}

/// What it means that a body of `limit` bytes at most could not be read to its end.
pub(super) fn broken_off(error: &(dyn std::error::Error + 'static), limit: usize, advice: &str) -> Problem {
    if error.is::<LengthLimitError>() {
        Problem::new(Code::PayloadTooLarge, format!("a body has {limit} bytes at most; {advice}"))
    } else {
        Problem::new(Code::InvalidRequest, "the body broke off, or is not in its content-encoding")
    }
}

fn invalid(name: &str, reason: impl std::fmt::Display) -> Problem {
    Problem::new(Code::InvalidRequest, format!("{name}: {reason}"))
}
