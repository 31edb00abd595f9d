//! The event stream: batches as they come to be.
//!
//! The stream is pulled. A batch is read from the database when the host takes it, and the next one not before that was
//! taken, so a slow reader has at most one batch in memory and gets larger ones. A reader's position is in each event's
//! `id`: a stream may break anywhere. What is read is all [changes] or those of a [subscription](queries).

mod changes;
mod frames;
mod queries;
mod shared;
mod tidings;

use std::convert::Infallible;
use std::fmt::Display;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_timer::Delay;
use futures_util::future::{Either, select};
use futures_util::stream;
use http::{HeaderValue, header};
use tokio::sync::{OwnedSemaphorePermit, watch};
use web_time::Instant;

use super::auth::ended;
use super::call::Call;
use super::expiry::Expiry;
use super::observe::Observer;
use super::problem::{Code, Problem};
use crate::crr::Version;
use crate::sync::Batch;
use changes::Changes;
pub(super) use frames::Frames;
use queries::Queries;
pub(super) use shared::Shared;
pub(super) use tidings::Tidings;

/// Writes that follow an event this closely are sent together, when this time is over.
const JOIN: Duration = Duration::from_millis(10);

/// Readers that an `EventSource` serves come back after a second.
const PRELUDE: &[u8] = b"retry: 1000\n\n";

/// `startSSE`
pub(super) async fn handle(call: Call) -> Result<Response, Problem> {
    let bounds = call.enter_stream().await?;
    let expiry = Expiry::at(bounds.expires);
    let place = call.settings.streams.clone().try_acquire_owned().map_err(|_| {
        let detail = format!("{} event streams are open here, and no more may be", call.settings.limits.streams);
        Problem::new(Code::Unavailable, detail)
    })?;
    let database = call.open().await?;
    let versions = database.watch();
    let source = match call.query.subscription()? {
        Some(name) => Source::Queries(Queries::open(&call, bounds, database, name).await?),
        None => {
            bounds.check_unfiltered()?;
            Source::Changes(Changes::open(&call, bounds, database)?)
        }
    };
    let mut feed = Feed {
        _place: place,
        source,
        versions,
        forgotten: call.settings.links.as_ref().and_then(|links| links.forgotten(&call.dbid)),
        draining: call.settings.drain.subscribe(),
        expiry,
        heartbeat: Delay::new(call.settings.limits.heartbeat),
        interval: call.settings.limits.heartbeat,
        heard: None,
        sent: None,
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

/// What a stream brings.
enum Source {
    Changes(Changes),
    Queries(Queries),
}

/// What was read from a source.
struct Next {
    /// Nothing where there is nothing that the reader lacks.
    event: Option<Bytes>,
    /// How many changes it brings.
    changes: usize,
}

impl Source {
    /// The next batch, with everything up to version `at` in it as far as it goes. The reader is taken to have it.
    async fn read(&mut self, at: Version) -> Result<Next, Problem> {
        match self {
            Self::Changes(changes) => changes.read(at).await,
            Self::Queries(queries) => queries.read(at).await,
        }
    }

    /// Whether the last batch stopped at a limit.
    fn has_more(&self) -> bool {
        match self {
            Self::Changes(changes) => changes.has_more(),
            Self::Queries(queries) => queries.has_more(),
        }
    }

    /// Whether its reader shall come back and say what it has.
    fn is_long(&self) -> bool {
        match self {
            Self::Changes(_) => false,
            Self::Queries(queries) => queries.is_long(),
        }
    }

    /// What a reader that has heard nothing for long is told of its position.
    fn unsaid(&mut self) -> Option<Bytes> {
        match self {
            Self::Changes(changes) => changes.unsaid(),
            Self::Queries(queries) => queries.unsaid(),
        }
    }
}

struct Feed {
    _place: OwnedSemaphorePermit,
    source: Source,
    versions: watch::Receiver<Version>,
    /// Of rows that leave a partial copy no change tells.
    forgotten: Option<watch::Receiver<()>>,
    draining: watch::Receiver<bool>,
    /// When the reader must come back with a new token.
    expiry: Expiry,
    heartbeat: Delay,
    interval: Duration,
    /// When the stream heard of what it reads next.
    heard: Option<Instant>,
    /// When the last batch with changes was read.
    sent: Option<Instant>,
    observer: Arc<dyn Observer>,
    phase: Phase,
}

enum Phase {
    /// The first batch was read, and nothing was sent.
    First(Option<Bytes>),
    /// The first batch is to be sent.
    Second(Option<Bytes>),
    Running,
    Ended,
}

/// What there is to do.
enum Woken {
    More,
    Written,
    Forgotten,
    Silent,
    Draining,
    Expired,
}

impl Feed {
    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        match std::mem::replace(&mut self.phase, Phase::Running) {
            Phase::First(event) => {
                self.phase = Phase::Second(event);
                return Some(Bytes::from_static(PRELUDE));
            }
            Phase::Second(event) => {
                if event.is_some() {
                    return event;
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
            let woken = if draining || self.source.is_long() {
                Woken::Draining
            } else if self.expiry.has_come() {
                Woken::Expired
            } else if self.source.has_more() {
                Woken::More
            } else {
                self.wait().await
            };
            match woken {
                Woken::More => {}
                Woken::Written => {
                    self.heard = Some(Instant::now());
                    let rest = self.sent.map_or(Duration::ZERO, |sent| JOIN.saturating_sub(sent.elapsed()));
                    if !rest.is_zero() {
                        Delay::new(rest).await;
                    }
                }
                Woken::Forgotten => return Some(Bytes::from_static(b"event: forgotten\ndata: {}\n\n")),
                Woken::Silent => return Some(self.sign_of_life()),
                Woken::Draining => {
                    self.phase = Phase::Ended;
                    return Some(Bytes::from_static(b"event: drain\ndata: {}\n\n"));
                }
                Woken::Expired => return Some(self.end_with(&ended())),
            }
            match self.read().await {
                Ok(None) => {}
                Ok(event) => return event,
                Err(problem) => return Some(self.end_with(&problem)),
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let written = Box::pin(self.versions.changed());
        let forgotten = Box::pin(async {
            let told = match &mut self.forgotten {
                Some(forgotten) => forgotten.changed().await.is_ok(),
                None => false,
            };
            if !told {
                pending::<()>().await;
            }
        });
        let draining = Box::pin(self.draining.wait_for(|draining| *draining));
        let ending = select(draining, Box::pin(self.expiry.comes()));
        match select(ending, select(select(written, forgotten), &mut self.heartbeat)).await {
            Either::Left((Either::Left(_), _)) => Woken::Draining,
            Either::Left((Either::Right(_), _)) => Woken::Expired,
            Either::Right((Either::Left((Either::Left((Ok(()), _)), _)), _)) => Woken::Written,
            // The database is gone from under the stream: what reads it next finds another.
            Either::Right((Either::Left((Either::Left((Err(_), _)), _)), _)) => Woken::Draining,
            Either::Right((Either::Left((Either::Right(_), _)), _)) => Woken::Forgotten,
            Either::Right((Either::Right(_), _)) => Woken::Silent,
        }
    }

    fn end_with(&mut self, problem: &Problem) -> Bytes {
        self.phase = Phase::Ended;
        problem_event(problem)
    }

    /// The next event, unless there is nothing that the reader lacks.
    async fn read(&mut self) -> Result<Option<Bytes>, Problem> {
        // Before the read: what is committed during it is seen by it, or wakes the next wait.
        let at = *self.versions.borrow_and_update();
        let Next { event, changes } = self.source.read(at).await?;
        let heard = self.heard.take();
        if event.is_some() {
            self.heartbeat.reset(self.interval);
            self.sent = Some(Instant::now());
            self.observer.sent(changes, heard.map(|heard| heard.elapsed()));
        }
        Ok(event)
    }

    fn sign_of_life(&mut self) -> Bytes {
        self.heartbeat.reset(self.interval);
        self.source.unsaid().unwrap_or(Bytes::from_static(b":\n\n"))
    }
}

/// The event that brings a batch, after which its reader is at `id`.
fn batch_event(id: &dyn Display, batch: &Batch) -> Result<Bytes, Problem> {
    // The JSON has no line break in it, so it is one line of data.
    let json = serde_json::to_string(batch).map_err(|error| Problem::internal(&error))?;
    Ok(format!("event: batch\nid: {id}\ndata: {json}\n\n").into())
}

fn problem_event(problem: &Problem) -> Bytes {
    format!("event: problem\ndata: {}\n\n", problem.to_json()).into()
}
