//! The event stream: batches as they come to be.
//!
//! The stream is pulled. A batch is read from the database when the host takes it, and the next one not before that was
//! taken, so a slow reader has at most one batch in memory and gets larger ones. Readers that stand at the same place
//! [share](frames) it. A reader's position is the cursor in each event's `id`: a stream may break anywhere.

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
use tokio::sync::{OwnedSemaphorePermit, watch};
use web_time::Instant;

use super::app::Settings;
use super::auth::ended;
use super::call::Call;
use super::expiry::Expiry;
use super::extract;
use super::frames::{self, Frame, Frames};
use super::observe::Observer;
use super::problem::{Code, Problem};
use crate::crr::Version;
use crate::store::Database;
use crate::sync::{self, Batch};

/// Writes that follow each other this closely are sent together.
const JOIN: Duration = Duration::from_millis(10);

/// Readers that an `EventSource` serves come back after a second.
const PRELUDE: &[u8] = b"retry: 1000\n\n";

/// `startSSE`
pub(super) async fn handle(State(settings): State<Settings>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let call = Call::new(settings, parts).await?;
    let bounds = call.enter_stream().await?;
    let request = sync::Request {
        exclude: call.query.exclude()?.or(call.site),
        tables: bounds.tables,
        schema: call.query.schema()?,
        page: call.settings.limits.page(call.query.limit()?),
        ..sync::Request::after(extract::stream_start(call.headers(), &call.query)?)
    };
    let place = call.settings.streams.clone().try_acquire_owned().map_err(|_| {
        let detail = format!("{} event streams are open here, and no more may be", call.settings.limits.streams);
        Problem::new(Code::Unavailable, detail)
    })?;
    let database = call.open().await?;
    let mut feed = Feed {
        _place: place,
        frames: call.settings.frames.of(&call.dbid),
        versions: database.watch(),
        draining: call.settings.drain.subscribe(),
        expiry: Expiry::at(bounds.expires),
        heartbeat: Delay::new(call.settings.limits.heartbeat),
        interval: call.settings.limits.heartbeat,
        database,
        request,
        more: false,
        unsaid: None,
        heard: None,
        observer: call.observer,
        phase: Phase::Running,
    };
    // A cursor that cannot be served is answered by a status, not by a stream that ends at once.
    feed.phase = Phase::First(feed.read().await?);
    let events = stream::unfold(feed, |mut feed| async {
        let event = feed.next().await?;
        Some((Ok::<_, Infallible>(event), feed))
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
    _place: OwnedSemaphorePermit,
    database: Database,
    frames: Arc<Frames>,
    versions: watch::Receiver<Version>,
    draining: watch::Receiver<bool>,
    /// When the reader must come back with a new token.
    expiry: Expiry,
    heartbeat: Delay,
    interval: Duration,
    /// Where the reader is.
    request: sync::Request,
    /// Whether the last batch stopped at a limit.
    more: bool,
    /// A batch without changes, whose cursor the reader was not told yet.
    unsaid: Option<Arc<Batch>>,
    /// When the stream heard of what it reads next.
    heard: Option<Instant>,
    observer: Arc<dyn Observer>,
    phase: Phase,
}

enum Phase {
    /// The first frame was read, and nothing was sent.
    First(Frame),
    /// The first frame is to be sent.
    Second(Frame),
    Running,
    Ended,
}

/// What there is to do.
enum Woken {
    More,
    Written,
    Silent,
    Draining,
    Expired,
}

impl Feed {
    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        match std::mem::replace(&mut self.phase, Phase::Running) {
            Phase::First(frame) => {
                self.phase = Phase::Second(frame);
                return Some(Bytes::from_static(PRELUDE));
            }
            Phase::Second(frame) => {
                if let Some(event) = self.take(frame) {
                    return Some(event);
                }
            }
            Phase::Running => {}
            Phase::Ended => {
                self.phase = Phase::Ended;
                return None;
            }
        }
        loop {
            let draining = *self.draining.borrow();
            let woken = if draining {
                Woken::Draining
            } else if self.expiry.has_come() {
                Woken::Expired
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
                    return Some(Bytes::from_static(b"event: drain\ndata: {}\n\n"));
                }
                Woken::Expired => return Some(self.end_with(&ended())),
            }
            match self.read().await {
                Ok(frame) => {
                    if let Some(event) = self.take(frame) {
                        return Some(event);
                    }
                }
                Err(problem) => return Some(self.end_with(&problem)),
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let written = Box::pin(self.versions.changed());
        let draining = Box::pin(self.draining.wait_for(|draining| *draining));
        let ending = select(draining, Box::pin(self.expiry.comes()));
        match select(ending, select(written, &mut self.heartbeat)).await {
            Either::Left((Either::Left(_), _)) => Woken::Draining,
            Either::Left((Either::Right(_), _)) => Woken::Expired,
            Either::Right((Either::Left((Ok(()), _)), _)) => Woken::Written,
            // The database is gone from under the stream: what reads it next finds another.
            Either::Right((Either::Left((Err(_), _)), _)) => Woken::Draining,
            Either::Right((Either::Right(_), _)) => Woken::Silent,
        }
    }

    fn end_with(&mut self, problem: &Problem) -> Bytes {
        self.phase = Phase::Ended;
        problem_event(problem)
    }

    async fn read(&mut self) -> Result<Frame, Problem> {
        // Before the read: what is committed during it is seen by it, or wakes the next wait.
        let at = *self.versions.borrow_and_update();
        self.frames.read(&self.database, &self.request, at).await
    }

    /// Moves on over a frame, and returns its event unless it brings nothing.
    fn take(&mut self, frame: Frame) -> Option<Bytes> {
        let heard = self.heard.take();
        let Frame { batch, event, .. } = frame;
        let moved = batch.next.is_some_and(|next| next != self.request.since);
        self.more = batch.more;
        self.request.since = batch.next.unwrap_or(self.request.since);
        let unsaid = self.unsaid.take();
        if batch.is_empty() {
            // The reader's cursor can wait for the next sign of life: there is nothing that it lacks.
            self.unsaid = match unsaid {
                Some(unsaid) => Some(Arc::new(joined(&unsaid, &batch))),
                None => moved.then_some(batch),
            };
            return None;
        }
        self.heartbeat.reset(self.interval);
        self.observer.sent(batch.changes.len(), heard.map(|heard| heard.elapsed()));
        Some(match unsaid {
            Some(unsaid) if (unsaid.since, unsaid.start) != (batch.since, batch.start) => {
                batch_event(&joined(&unsaid, &batch))
            }
            _ => event,
        })
    }

    fn sign_of_life(&mut self) -> Bytes {
        self.heartbeat.reset(self.interval);
        // Whoever shared them came by.
        self.frames.clear();
        match self.unsaid.take() {
            Some(batch) => batch_event(&batch),
            None => Bytes::from_static(b":\n\n"),
        }
    }
}

/// `batch` with the beginning of the one before it, which brings nothing.
fn joined(empty: &Batch, batch: &Batch) -> Batch {
    Batch { since: empty.since, start: empty.start, ..batch.clone() }
}

fn batch_event(batch: &Batch) -> Bytes {
    frames::event(batch).unwrap_or_else(|problem| problem_event(&problem))
}

fn problem_event(problem: &Problem) -> Bytes {
    format!("event: problem\ndata: {}\n\n", problem.to_json()).into()
}
