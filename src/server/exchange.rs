//! One request from its head to the last byte of its answer: a line of the log, and what the metrics count.
//!
//! The line holds no text of the caller's but the database's id, once it has the form of one: no URL, since a parameter may be
//! a ticket, no header but the request's id, nothing of a body.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use http_body::{Frame, SizeHint};
use tracing::Instrument;

use super::metrics::Metrics;
use crate::http::problem::Code;
use crate::http::{Observed, Observer, Operation};
use crate::store::Dbid;

/// The header that names a request, for whoever looks for it in a log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest name that is taken from a caller.
const MAX_REQUEST_ID: usize = 128;

/// Follows a request to its end.
pub(super) async fn follow(State(metrics): State<Arc<Metrics>>, mut request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let exchange = Arc::new(Exchange::begin(metrics, &id, &request));
    request.extensions_mut().insert(Observed(exchange.clone()));
    let span = tracing::info_span!("request", id = exchange.id);
    let mut response = next.run(request).instrument(span).await;
    exchange.answered(response.status(), response.extensions().get().copied());
    response.headers_mut().insert(REQUEST_ID, id);
    response.map(|body| Body::new(Followed { body, exchange }))
}

/// The caller's name for the request, if it is a harmless one; otherwise a new one.
fn request_id(request: &Request) -> HeaderValue {
    let harmless =
        |id: &&HeaderValue| (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    match request.headers().get(REQUEST_ID).filter(harmless) {
        Some(id) => id.clone(),
        // Hexadecimal digits are a valid value.
        None => HeaderValue::from_str(&format!("{:032x}", fastrand::u128(..)))
            .unwrap_or_else(|_| HeaderValue::from_static("none")),
    }
}

/// A request, as far as it has come. It ends when nobody has it any more.
struct Exchange {
    metrics: Arc<Metrics>,
    id: String,
    method: Method,
    route: Option<MatchedPath>,
    begun: Instant,
    bytes: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    operation: Option<Operation>,
    dbid: Option<Dbid>,
    principal: Option<String>,
    status: Option<StatusCode>,
    code: Option<Code>,
}

impl Seen {
    /// Whether the answer is an event stream.
    fn streams(&self) -> bool {
        self.operation == Some(Operation::Events) && self.status == Some(StatusCode::OK)
    }
}

impl Exchange {
    fn begin(metrics: Arc<Metrics>, id: &HeaderValue, request: &Request) -> Self {
        Self {
            metrics,
            id: id.to_str().unwrap_or_default().to_owned(),
            method: request.method().clone(),
            route: request.extensions().get().cloned(),
            begun: Instant::now(),
            bytes: AtomicU64::new(0),
            seen: Mutex::default(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self, status: StatusCode, code: Option<Code>) {
        let mut seen = self.seen();
        seen.status = Some(status);
        seen.code = code;
        self.metrics.answered(seen.operation, status, code, self.begun.elapsed());
        if seen.streams() {
            self.metrics.stream_began();
        }
    }
}

impl Observer for Exchange {
    fn asked(&self, operation: Operation, dbid: &Dbid) {
        let mut seen = self.seen();
        seen.operation = Some(operation);
        seen.dbid = Some(dbid.clone());
    }

    fn known(&self, principal: &str) {
        self.seen().principal = Some(principal.to_owned());
    }

    fn received(&self, changes: usize, won: Option<u64>) {
        self.metrics.received(changes, won);
    }

    fn sent(&self, changes: usize, lag: Option<Duration>) {
        self.metrics.sent(changes, lag);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let seen = self.seen();
        if seen.streams() {
            self.metrics.stream_ended();
        }
        tracing::info!(
            request_id = self.id,
            method = self.method.as_str(),
            route = self.route.as_ref().map(MatchedPath::as_str),
            operation = seen.operation.map(Operation::as_str),
            dbid = seen.dbid.as_ref().map(tracing::field::display),
            principal = seen.principal,
            // None where the caller went away before there was an answer.
            status = seen.status.map(|status| status.as_u16()),
            code = seen.code.map(Code::as_str),
            bytes = self.bytes.load(Ordering::Relaxed),
            ms = self.begun.elapsed().as_secs_f64() * 1000.0,
            "answered"
        );
    }
}

/// A body that counts its bytes, and holds on to the exchange until it ends.
struct Followed {
    body: Body,
    exchange: Arc<Exchange>,
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.exchange.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.body)
    }
}
