use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_timer::Delay;
use futures_util::{FutureExt, Stream, StreamExt};

use super::{ByteStream, TransportError};

/// A body that fails when nothing comes for too long: a connection can be dead for hours before TCP says so.
pub(super) struct Watchdog {
    body: ByteStream,
    patience: Duration,
    delay: Delay,
}

impl Watchdog {
    pub(super) fn new(body: ByteStream, patience: Duration) -> Self {
        Self { body, patience, delay: Delay::new(patience) }
    }
}

impl Stream for Watchdog {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(piece) = self.body.poll_next_unpin(cx) {
            let patience = self.patience;
            self.delay.reset(patience);
            return Poll::Ready(piece);
        }
        match self.delay.poll_unpin(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(TransportError("nothing came for too long".into())))),
            Poll::Pending => Poll::Pending,
        }
    }
}
