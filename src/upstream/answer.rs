//! What the upstream's answers mean.

use std::time::Duration;

use futures_util::stream::StreamExt;
use http::{Response, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::ByteStream;
use super::exchange::PATIENCE;
use super::failure::{Failure, error};
use super::retry_after::retry_after;
use super::watchdog::Watchdog;
use crate::http::{BATCH_MEDIA_TYPE, problem};
use crate::sync::{Batch, Since, json};

/// The largest answer that is taken.
const MAX_ANSWER: usize = 64 << 20;

/// An event of the stream.
pub(super) enum Event {
    /// `batch`
    Batch(Box<Batch>),
    /// `drain`: come back.
    Drain,
}

/// A problem document, as far as it is needed here.
#[derive(Default, Deserialize)]
struct Document {
    code: String,
    #[serde(default)]
    detail: String,
    #[serde(default, with = "json::optional_text")]
    expected: Option<Since>,
    /// What a refusal is for, where it is not the caller as such.
    #[serde(default)]
    scope: Option<String>,
}

/// The media type, without its parameters.
pub(super) fn media_type(response: &Response<ByteStream>) -> String {
    let value = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase()
}

/// An answer of JSON, as it came.
pub(super) struct Json {
    status: u16,
    text: Vec<u8>,
}

impl Json {
    pub(super) async fn read(response: Response<ByteStream>) -> Result<Self, Failure> {
        let response = success(response).await?;
        if media_type(&response) != "application/json" {
            return Err(not_ours(&response));
        }
        let status = response.status().as_u16();
        Ok(Self { status, text: read(response.into_body()).await? })
    }

    /// What it says.
    pub(super) fn parse<T: DeserializeOwned>(self) -> Result<T, Failure> {
        json::read(&self.text).map_err(|error| Failure::not_a_sync_server(self.status, error))
    }
}

/// A batch in either form, and the bytes that it took.
pub(super) async fn read_batch(response: Response<ByteStream>) -> Result<(Batch, usize), Failure> {
    let response = success(response).await?;
    let status = response.status().as_u16();
    let is_binary = match media_type(&response).as_str() {
        BATCH_MEDIA_TYPE => true,
        "application/json" => false,
        _ => return Err(not_ours(&response)),
    };
    let bytes = read(response.into_body()).await?;
    let batch = if is_binary {
        Batch::from_binary(&bytes).map_err(|error| Failure::not_a_sync_server(status, error))
    } else {
        json::read(&bytes).map_err(|error| Failure::not_a_sync_server(status, error))
    };
    Ok((batch?, bytes.len()))
}

/// The answer, unless it is an error.
pub(super) async fn success(response: Response<ByteStream>) -> Result<Response<ByteStream>, Failure> {
    if response.status().is_success() { Ok(response) } else { Err(read_failure(response).await) }
}

pub(super) fn not_ours(response: &Response<ByteStream>) -> Failure {
    let detail = format!("the answer is of type {:?}; something else than a sync server gave it", media_type(response));
    Failure::not_a_sync_server(response.status().as_u16(), detail)
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

/// What an answer other than success means.
async fn read_failure(response: Response<ByteStream>) -> Failure {
    let status = response.status();
    let after = retry_after(response.headers());
    if media_type(&response) == problem::MEDIA_TYPE {
        let bytes = match read(response.into_body()).await {
            Ok(bytes) => bytes,
            Err(failure) => return failure,
        };
        return match json::read(&bytes) {
            Ok(document) => classify(status, document, after),
            Err(error) => Failure::not_a_sync_server(status.as_u16(), error),
        };
    }
    // A proxy in front of the upstream speaks for it in these cases.
    let code = match status {
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::PAYLOAD_TOO_LARGE => "payload_too_large",
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => "unavailable",
        _ if status.is_server_error() => "unavailable",
        _ => return not_ours(&response),
    };
    let detail = format!("the answer was {status}");
    classify(status, Document { code: code.into(), detail, ..Document::default() }, after)
}

fn classify(status: StatusCode, document: Document, after: Option<Duration>) -> Failure {
    let Document { code, detail, expected, scope } = document;
    let error = error(&code, Some(status.as_u16()), detail);
    match (code.as_str(), expected) {
        ("out_of_order", Some(expected)) => return Failure::OutOfOrder(expected),
        ("cursor_unknown" | "cursor_ahead", _) => return Failure::CursorLost,
        // A line that is too slow for a large batch may carry a smaller one.
        ("request_timeout", _) => return Failure::TooLarge(error),
        // The database went away under the link: the next attempt creates it.
        ("not_found", _) => return Failure::Retry { error, after },
        _ => {}
    }
    match status {
        StatusCode::UNAUTHORIZED => Failure::Unauthorized(error),
        StatusCode::PAYLOAD_TOO_LARGE => Failure::TooLarge(error),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Failure::Unsupported(error),
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Failure::Rejected(error),
        StatusCode::FORBIDDEN if scope.as_deref() == Some(problem::CHANGE) => Failure::Rejected(error),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Failure::Retry { error, after },
        _ if status.is_server_error() => Failure::Retry { error, after },
        _ => Failure::Refused(error),
    }
}

pub(super) fn read_event(event: Result<eventsource_stream::Event, Failure>) -> Option<Result<Event, Failure>> {
    let event = match event {
        Ok(event) => event,
        Err(failure) => return Some(Err(failure)),
    };
    match event.event.as_str() {
        "batch" => Some(match json::read(event.data.as_bytes()) {
            Ok(batch) => Ok(Event::Batch(Box::new(batch))),
            Err(error) => Err(Failure::not_a_sync_server(200, error)),
        }),
        "drain" => Some(Ok(Event::Drain)),
        "problem" => Some(Err(match json::read::<Document>(event.data.as_bytes()) {
            Ok(document) => {
                // Its status went out before it was known. An allowance that ends is renewed by another attempt.
                classify(StatusCode::INTERNAL_SERVER_ERROR, document, None)
            }
            Err(error) => Failure::not_a_sync_server(200, error),
        })),
        // Events of a later protocol.
        _ => None,
    }
}
