//! The connections of the server: how many there may be, and how long one may keep what it is sent waiting.
//!
//! A connection costs an open file and some memory whatever is done with it, so each takes a place, and who comes when there
//! is none is told so and sent away. What a connection does with its place is bounded by time: the head of a request, a body,
//! and the taking of what it is sent.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum_server::accept::Accept;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep, timeout};

use crate::http::problem::{Code, MEDIA_TYPE, Problem, RETRY_AFTER};

/// How long sending somebody away may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// How many are being sent away at a time; others see their connection closed.
const GOODBYES: usize = 64;

/// How many connections there may be, and how long one may take nothing of what it is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) all: usize,
    /// Of one address.
    pub(super) each: Option<usize>,
    pub(super) stall: Duration,
}

/// Gives connections their places.
#[derive(Clone)]
pub(super) struct Doorkeeper {
    shared: Arc<Shared>,
    /// Whether what is sent before a request is an answer, which it is not where TLS comes first.
    explains: bool,
}

struct Shared {
    bounds: Bounds,
    places: Arc<Semaphore>,
    goodbyes: Semaphore,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Doorkeeper {
    /// `explains` says whether those who are sent away are told why, in HTTP.
    pub(super) fn new(bounds: Bounds, explains: bool) -> Self {
        let shared = Shared {
            bounds,
            places: Arc::new(Semaphore::new(bounds.all.min(Semaphore::MAX_PERMITS))),
            goodbyes: Semaphore::new(GOODBYES.min(1 + bounds.all / 8)),
            by_address: Mutex::default(),
        };
        Self { shared: Arc::new(shared), explains }
    }

    async fn send_away(self, mut stream: TcpStream, why: Problem) {
        let Ok(_permit) = self.shared.goodbyes.try_acquire() else { return };
        let (status, body) = (why.code().status(), why.to_json());
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
             retry-after: {RETRY_AFTER}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let goodbye = async {
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await?;
            // A connection that is closed with something unread is reset, and the answer is lost with it.
            let mut rest = [0; 1024];
            while stream.read(&mut rest).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        // They may have gone already.
        let _ = timeout(GOODBYE, goodbye).await;
    }
}

impl Shared {
    fn place(self: &Arc<Self>, address: IpAddr) -> Result<Place, Problem> {
        let all = self.places.clone().try_acquire_owned().map_err(|_| {
            let detail = format!("{} connections are open here, and no more may be", self.bounds.all);
            Problem::new(Code::Unavailable, detail)
        })?;
        let mut by_address = self.by_address();
        let count = by_address.entry(address).or_default();
        if let Some(each) = self.bounds.each.filter(|each| *count >= *each) {
            let detail = format!("{each} connections of one address may be open here; close one first");
            return Err(Problem::new(Code::TooManyRequests, detail));
        }
        *count += 1;
        Ok(Place { address, shared: self.clone(), _all: all })
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Send + 'static> Accept<TcpStream, S> for Doorkeeper {
    type Stream = Connection;
    type Service = S;
    type Future = BoxFuture<'static, io::Result<(Connection, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let doorkeeper = self.clone();
        async move {
            // A small answer must not wait for the acknowledgement of the one before.
            stream.set_nodelay(true)?;
            match doorkeeper.shared.place(stream.peer_addr()?.ip()) {
                Ok(place) => {
                    let stall = doorkeeper.shared.bounds.stall;
                    Ok((Connection { stream, stall, stalled: None, _place: place }, service))
                }
                Err(why) => {
                    let error = io::Error::other(why.code().as_str());
                    if doorkeeper.explains {
                        doorkeeper.send_away(stream, why).await;
                    }
                    Err(error)
                }
            }
        }
        .boxed()
    }
}

/// The right to one connection.
struct Place {
    address: IpAddr,
    shared: Arc<Shared>,
    _all: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_address = self.shared.by_address();
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

/// A connection that fails when the other end takes nothing of what it is sent for too long.
pub(super) struct Connection {
    stream: TcpStream,
    stall: Duration,
    /// Since something waits to be sent.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

impl Connection {
    fn watched<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stall = self.stall;
        ready!(self.stalled.get_or_insert_with(|| Box::pin(sleep(stall))).as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watched(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watched(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
