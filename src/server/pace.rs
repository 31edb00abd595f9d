//! Answers over HTTP/2, in pieces, and an end to connections on which one of them is not taken.
//!
//! Such a connection carries many answers, and its caller lets each of them come when it likes. So a [connection] on which
//! everything moves may yet have answers on it that do not, with what they hold in memory.
//!
//! [connection]: super::connections

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum_server::ConnectionShutdown;
use bytes::Bytes;
use http::Version;
use http_body::{Frame, SizeHint};

/// How much of an answer is handed out at a time, in bytes: a piece that is handed out is held, and not seen any more.
const PIECE: usize = 64 << 10;

/// Looks after the answers that are under way.
#[derive(Clone)]
pub(super) struct Pace(Arc<Answers>);

struct Answers {
    stall: Duration,
    all: Mutex<Vec<Weak<Answer>>>,
}

struct Answer {
    connection: ConnectionShutdown,
    /// Since when it waits to be taken; not while there is nothing to take.
    waits: Mutex<Option<Instant>>,
}

impl Pace {
    /// Closes the connection of an answer of which nothing was taken for so long, or half as long again.
    pub(super) fn begin(stall: Duration) -> Self {
        let answers = Arc::new(Answers { stall, all: Mutex::default() });
        let seen = Arc::downgrade(&answers);
        tokio::spawn(async move {
            while let Some(answers) = seen.upgrade() {
                answers.close_stalled();
                drop(answers);
                tokio::time::sleep(stall / 2).await;
            }
        });
        Self(answers)
    }

    fn paced(&self, connection: ConnectionShutdown, body: Body) -> Paced {
        let answer = Arc::new(Answer { connection, waits: Mutex::new(Some(Instant::now())) });
        lock(&self.0.all).push(Arc::downgrade(&answer));
        Paced { body, rest: Bytes::new(), answer }
    }
}

impl Answers {
    fn close_stalled(&self) {
        lock(&self.all).retain(|answer| {
            let Some(answer) = answer.upgrade() else { return false };
            let stalled = lock(&answer.waits).is_some_and(|since| since.elapsed() > self.stall);
            if stalled {
                answer.connection.shutdown();
            }
            !stalled
        });
    }
}

/// Follows an answer, where others can be on its connection.
pub(super) async fn follow(State(pace): State<Pace>, request: Request, next: Next) -> Response {
    let connection = request.extensions().get().filter(|_| request.version() == Version::HTTP_2).cloned();
    let response = next.run(request).await;
    match connection {
        Some(connection) => response.map(|body| Body::new(pace.paced(connection, body))),
        None => response,
    }
}

/// A body that hands itself out in pieces.
struct Paced {
    body: Body,
    rest: Bytes,
    answer: Arc<Answer>,
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut is_large = !self.rest.is_empty();
        while self.rest.is_empty() {
            *lock(&self.answer.waits) = None;
            match ready!(Pin::new(&mut self.body).poll_frame(context)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
            is_large = self.rest.len() > PIECE;
        }
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        *lock(&self.answer.waits) = Some(Instant::now());
        // A copy, since a piece keeps all that it is a piece of.
        Poll::Ready(Some(Ok(Frame::data(if is_large { Bytes::copy_from_slice(&piece) } else { piece }))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (HttpBody::size_hint(&self.body), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
