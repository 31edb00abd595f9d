//! The upstream's operations as calls.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventsource_stream::Eventsource;
use futures_timer::Delay;
use futures_util::future::{Either, select};
use futures_util::stream::{BoxStream, StreamExt};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::failure::{Failure, error};
use super::watchdog::Watchdog;
use super::{ByteStream, Config, Transport};
use crate::crr::SiteId;
use crate::http::{SITE_HEADER, problem};
use crate::store::Dbid;
use crate::sync::{Batch, Since, json};

/// How long an answer may take to begin, and each further piece of it to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an event stream may be silent; the upstream shows a sign of life three times as often.
const SILENCE: Duration = Duration::from_secs(45);
/// The largest answer that is taken.
const MAX_ANSWER: usize = 64 << 20;

/// Calls on one database of the upstream, in the name of our site.
pub(super) struct Client {
    transport: Arc<dyn Transport>,
    url: String,
    headers: HeaderMap,
}

/// An event of the stream.
pub(super) enum Event {
    /// `batch`
    Batch(Box<Batch>),
    /// `drain`: come back.
    Drain,
}

/// What `createDatabaseIfNotExists` is sent.
#[derive(Serialize)]
struct Creation<'a> {
    schema: &'a str,
}

/// What `createDatabaseIfNotExists` answers; the rest of it is not needed here.
#[derive(Deserialize)]
struct Created {
    #[serde(with = "json::text")]
    site: SiteId,
}

/// What `applyChanges` answers; read only to see that it is one.
#[derive(Deserialize)]
struct Applied {
    #[serde(rename = "applied")]
    _applied: u64,
}

/// A problem document, as far as it is needed here.
#[derive(Deserialize)]
struct Document {
    code: String,
    #[serde(default)]
    detail: String,
    #[serde(default, with = "json::optional_text")]
    expected: Option<Since>,
}

impl Client {
    pub(super) fn new(transport: Arc<dyn Transport>, config: &Config, dbid: &Dbid, site: SiteId) -> Self {
        let mut headers = config.common_headers().clone();
        // Hexadecimal digits are a valid header value.
        if let Ok(value) = site.to_string().parse() {
            headers.insert(SITE_HEADER, value);
        }
        Self { transport, url: config.url(dbid), headers }
    }

    /// Makes sure that the upstream has the database. Returns the upstream's site.
    pub(super) async fn create(&self, schema: &str) -> Result<SiteId, Failure> {
        let body = serde_json::to_vec(&Creation { schema }).map_err(Failure::unreachable)?;
        let created: Created = self.json(Method::PUT, "", Some(body.into())).await?;
        Ok(created.site)
    }

    /// Sends a batch.
    pub(super) async fn push(&self, batch: &Batch) -> Result<(), Failure> {
        let body = serde_json::to_vec(batch).map_err(Failure::unreachable)?;
        let _: Applied = self.json(Method::POST, "/changes", Some(body.into())).await?;
        Ok(())
    }

    /// Asks for the batch after `since`.
    pub(super) async fn changes(&self, since: Since) -> Result<Batch, Failure> {
        self.json(Method::GET, &format!("/changes?since={since}"), None).await
    }

    /// Opens the event stream after `since`.
    pub(super) async fn events(&self, since: Since) -> Result<BoxStream<'static, Result<Event, Failure>>, Failure> {
        let path = format!("/events?since={since}");
        let response = self.send(Method::GET, &path, "text/event-stream", None).await?;
        if !response.status().is_success() {
            return Err(read_failure(response).await);
        }
        if media_type(&response) != "text/event-stream" {
            return Err(not_ours(&response));
        }
        let events = Watchdog::new(response.into_body(), SILENCE).eventsource();
        Ok(events
            .map(|event| event.map_err(Failure::unreachable))
            .filter_map(|event| async { read_event(event) })
            .boxed())
    }

    async fn json<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<T, Failure> {
        let response = self.send(method, path, "application/json", body).await?;
        if !response.status().is_success() {
            return Err(read_failure(response).await);
        }
        if media_type(&response) != "application/json" {
            return Err(not_ours(&response));
        }
        let status = response.status().as_u16();
        let bytes = read(response.into_body()).await?;
        serde_json::from_slice(&bytes).map_err(|error| Failure::not_a_sync_server(status, error))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
        body: Option<Bytes>,
    ) -> Result<Response<ByteStream>, Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers.clone());
            headers.insert(header::ACCEPT, header::HeaderValue::from_static(accept));
            if body.is_some() {
                headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
            }
        }
        let request = request.body(body.unwrap_or_default()).map_err(Failure::unreachable)?;
        match select(self.transport.send(request), Delay::new(PATIENCE)).await {
            Either::Left((response, _)) => response.map_err(Failure::unreachable),
            Either::Right(_) => Err(Failure::unreachable("no answer in time")),
        }
    }
}

/// The media type, without its parameters.
fn media_type(response: &Response<ByteStream>) -> String {
    let value = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase()
}

async fn read(body: ByteStream) -> Result<Vec<u8>, Failure> {
    let mut body = Watchdog::new(body, PATIENCE);
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(Failure::unreachable)?;
        if bytes.len() + piece.len() > MAX_ANSWER {
            return Err(Failure::unreachable("the answer is too large"));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn not_ours(response: &Response<ByteStream>) -> Failure {
    let detail = format!("the answer is of type {:?}; something else than a sync server gave it", media_type(response));
    Failure::not_a_sync_server(response.status().as_u16(), detail)
}

/// What an answer other than success means.
async fn read_failure(response: Response<ByteStream>) -> Failure {
    let status = response.status();
    let after = retry_after(response.headers());
    let comes_back = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    if media_type(&response) != problem::MEDIA_TYPE {
        if comes_back {
            let detail = format!("the answer was {status}");
            return Failure::Retry { error: error("unavailable", Some(status.as_u16()), detail), after };
        }
        return not_ours(&response);
    }
    let bytes = match read(response.into_body()).await {
        Ok(bytes) => bytes,
        Err(failure) => return failure,
    };
    match serde_json::from_slice(&bytes) {
        Ok(document) => classify(status, document, after),
        Err(error) => Failure::not_a_sync_server(status.as_u16(), error),
    }
}

fn classify(status: StatusCode, document: Document, after: Option<Duration>) -> Failure {
    let Document { code, detail, expected } = document;
    let error = error(&code, Some(status.as_u16()), detail);
    match (code.as_str(), expected) {
        ("out_of_order", Some(expected)) => Failure::OutOfOrder(expected),
        ("cursor_unknown" | "cursor_ahead", _) => Failure::CursorLost,
        // A line that is too slow for a large batch may carry a smaller one.
        ("payload_too_large" | "request_timeout", _) => Failure::TooLarge(error),
        // The database went away under the link: the next attempt creates it.
        ("not_found", _) => Failure::Retry { error, after },
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => Failure::Retry { error, after },
        _ => Failure::Refused(error),
    }
}

/// Seconds only: a date would need a clock that is right.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn read_event(event: Result<eventsource_stream::Event, Failure>) -> Option<Result<Event, Failure>> {
    let event = match event {
        Ok(event) => event,
        Err(failure) => return Some(Err(failure)),
    };
    match event.event.as_str() {
        "batch" => Some(match serde_json::from_slice(event.data.as_bytes()) {
            Ok(batch) => Ok(Event::Batch(Box::new(batch))),
            Err(error) => Err(Failure::not_a_sync_server(200, error)),
        }),
        "drain" => Some(Ok(Event::Drain)),
        "problem" => Some(Err(match serde_json::from_slice::<Document>(event.data.as_bytes()) {
            Ok(document) => classify(StatusCode::INTERNAL_SERVER_ERROR, document, None),
            Err(error) => Failure::not_a_sync_server(200, error),
        })),
        // Events of a later protocol.
        _ => None,
    }
}
