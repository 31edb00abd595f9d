use bytes::Bytes;
use futures_util::future::BoxFuture;
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
/// A response of any status is an `Ok`. Redirects may be followed; nothing may be taken from a cache.
pub trait Transport: Send + Sync + 'static {
    /// Sends `request`, whose URI is absolute.
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<ByteStream>, TransportError>>;
}
