//! The event stream: batches as they come to be.
//!
//! The stream is pulled. A batch is read from the database when the host takes it, and the next one not before that was
//! taken, so a slow reader has at most one batch in memory and gets larger ones. Its position is the cursor in each
//! event's `id`: a stream may break anywhere.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_timer::Delay;
use futures_util::future::{Either, select};
use futures_util::stream;
use http::{HeaderValue, header};
use tokio::sync::watch;
use web_time::Instant;

use super::app::Settings;
use super::auth::Operation;
use super::call::Call;
use super::extract;
use super::observe::Observer;
use super::problem::Problem;
use crate::crr::Version;
use crate::store::Database;
use crate::sync::{self, Batch, Since};

/// Writes that follow each other this closely are sent together.
const JOIN: Duration = Duration::from_millis(10);

/// Readers that an `EventSource` serves come back after a second.
const PRELUDE: &str = "retry: 1000\n\n";

/// `startSSE`
pub(super) async fn handle(State(settings): State<Settings>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let call = Call::new(settings, parts).await?;
    call.enter(Operation::Events, Vec::new()).await?;
    let request = sync::Request {
        exclude: call.query.exclude()?.or(call.site),
        page: call.settings.limits.page(call.query.limit()?),
        ..sync::Request::after(extract::stream_start(call.headers(), &call.query)?)
    };
    let database = call.open().await?;
    let mut feed = Feed {
        versions: database.watch(),
        draining: call.settings.drain.subscribe(),
        heartbeat: Delay::new(call.settings.limits.heartbeat),
        interval: call.settings.limits.heartbeat,
        database,
        request,
        more: false,
        unsaid: None,
        heard: None,
        observer: call.observer,
        phase: Phase::Prelude,
    };
    // A cursor that cannot be served is answered by a status, not by a stream that ends at once.
    let first = feed.read().await?;
    feed.phase = Phase::First(Box::new(first));
    let events = stream::unfold(feed, |mut feed| async {
        let frame = feed.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(frame)), feed))
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Some proxies hold back a response until it ends, unless they are told.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

struct Feed {
    database: Database,
    versions: watch::Receiver<Version>,
    draining: watch::Receiver<bool>,
    heartbeat: Delay,
    interval: Duration,
    /// Where the reader is.
    request: sync::Request,
    /// Whether the last batch stopped at a limit.
    more: bool,
    /// A batch without changes, whose cursor the reader was not told yet.
    unsaid: Option<Batch>,
    /// When the stream heard of what it reads next.
    heard: Option<Instant>,
    observer: Arc<dyn Observer>,
    phase: Phase,
}

enum Phase {
    /// Nothing was read yet.
    Prelude,
    /// The first batch was read.
    First(Box<Batch>),
    Running,
    Ended,
}

/// What there is to do.
enum Woken {
    More,
    Written,
    Silent,
    Draining,
}

impl Feed {
    /// The next event, as text; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        match std::mem::replace(&mut self.phase, Phase::Running) {
            Phase::Prelude | Phase::Ended => {
                self.phase = Phase::Ended;
                return None;
            }
            Phase::First(batch) => {
                let events = self.take(*batch).unwrap_or_default();
                return Some(format!("{PRELUDE}{events}"));
            }
            Phase::Running => {}
        }
        loop {
            let draining = *self.draining.borrow();
            let woken = if draining {
                Woken::Draining
            } else if self.more {
                Woken::More
            } else {
                self.wait().await
            };
            match woken {
                Woken::More => {}
                Woken::Written => {
                    self.heard = Some(Instant::now());
                    Delay::new(JOIN).await;
                }
                Woken::Silent => return Some(self.sign_of_life()),
                Woken::Draining => {
                    self.phase = Phase::Ended;
                    return Some("event: drain\ndata: {}\n\n".into());
                }
            }
            match self.read().await {
                Ok(batch) => {
                    if let Some(event) = self.take(batch) {
                        return Some(event);
                    }
                }
                Err(problem) => {
                    self.phase = Phase::Ended;
                    return Some(format!("event: problem\ndata: {}\n\n", problem.to_json()));
                }
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let written = Box::pin(self.versions.changed());
        let draining = Box::pin(self.draining.wait_for(|draining| *draining));
        match select(draining, select(written, &mut self.heartbeat)).await {
            Either::Left(_) => Woken::Draining,
            Either::Right((Either::Left((Ok(()), _)), _)) => Woken::Written,
            // The database is gone from under the stream: what reads it next finds another.
            Either::Right((Either::Left((Err(_), _)), _)) => Woken::Draining,
            Either::Right((Either::Right(_), _)) => Woken::Silent,
        }
    }

    async fn read(&mut self) -> Result<Batch, Problem> {
        // Before the read: what is committed during it is seen by it, or wakes the next wait.
        self.versions.mark_unchanged();
        let request = self.request.clone();
        Ok(self.database.call(move |replica| replica.request_changes(&request)).await??)
    }

    /// Moves on over `batch`, and makes it an event unless it brings nothing.
    fn take(&mut self, batch: Batch) -> Option<String> {
        let heard = self.heard.take();
        let moved = batch.next.is_some_and(|next| next != self.request.since);
        self.more = batch.more;
        self.request.since = batch.next.unwrap_or(self.request.since);
        if batch.is_empty() {
            if moved {
                // The reader's cursor can wait for the next sign of life: there is nothing that it lacks.
                self.unsaid = Some(match self.unsaid.take() {
                    Some(unsaid) => joined(&unsaid, batch),
                    None => batch,
                });
            }
            return None;
        }
        let batch = match self.unsaid.take() {
            Some(unsaid) => joined(&unsaid, batch),
            None => batch,
        };
        self.heartbeat.reset(self.interval);
        self.observer.sent(batch.changes.len(), heard.map(|heard| heard.elapsed()));
        Some(event(&batch))
    }

    fn sign_of_life(&mut self) -> String {
        self.heartbeat.reset(self.interval);
        match self.unsaid.take() {
            Some(batch) => event(&batch),
            None => ":\n\n".into(),
        }
    }
}

/// `batch` with the beginning of the one before it, which brings nothing.
fn joined(empty: &Batch, mut batch: Batch) -> Batch {
    batch.since = empty.since;
    batch.start = empty.start;
    batch
}

fn event(batch: &Batch) -> String {
    let id = batch.next.unwrap_or(Since::Beginning);
    match serde_json::to_string(batch) {
        // The JSON has no line break in it, so it is one line of data.
        Ok(json) => format!("event: batch\nid: {id}\ndata: {json}\n\n"),
        Err(error) => format!("event: problem\ndata: {}\n\n", Problem::internal(&error).to_json()),
    }
}
