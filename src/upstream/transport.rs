use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::BoxStream;
use http::{Request, Response};
use thiserror::Error;

/// A response's body as it arrives.
pub type ByteStream = BoxStream<'static, Result<Bytes, TransportError>>;

/// No answer, or a broken one: the text is for people.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub struct TransportError(pub String);

/// The host's HTTP client.
///
/// Dropping the future or the body aborts the request. No time-out is asked for: the link watches its streams itself.
/// A response of any status is an `Ok`. Redirects must not be followed: whoever is behind one is not to be sent changes or
/// credentials; nothing may be taken from a cache. A body that comes compressed is decompressed, and the headers that speak
/// of that are taken off.
pub trait Transport: Send + Sync + 'static {
    /// Sends `request`, whose URI is absolute.
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<ByteStream>, TransportError>>;

    /// A body in gzip, from hosts that have a compressor.
    fn gzip(&self, _body: Bytes) -> BoxFuture<'static, Option<Bytes>> {
        Box::pin(ready(None))
    }
}
