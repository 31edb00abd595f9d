use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use http::{Request, Response};

use crate::upstream::{ByteStream, Transport, TransportError};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// The transport of native hosts.
#[derive(Clone, Debug)]
pub struct Reqwest(reqwest::Client);

impl Reqwest {
    /// A client with its own connections.
    pub fn new() -> Result<Self, TransportError> {
        Self::trusting(&[])
    }

    /// A client that also trusts the authorities whose certificates are in `pem`.
    pub fn trusting(pem: &[u8]) -> Result<Self, TransportError> {
        let user_agent = concat!("crsql-sync/", env!("CARGO_PKG_VERSION"));
        let client = reqwest::Client::builder().connect_timeout(CONNECT).tcp_nodelay(true).user_agent(user_agent);
        let client = client.redirect(reqwest::redirect::Policy::none());
        let authorities = reqwest::Certificate::from_pem_bundle(pem).map_err(broken)?;
        let client = authorities.into_iter().fold(client, reqwest::ClientBuilder::add_root_certificate);
        client.build().map(Self).map_err(broken)
    }
}

impl Transport for Reqwest {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<ByteStream>, TransportError>> {
        let client = self.0.clone();
        async move {
            let answer = client.execute(request.try_into().map_err(broken)?).await.map_err(broken)?;
            let mut response = Response::new(());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            Ok(response.map(|()| answer.bytes_stream().map_err(broken).boxed()))
        }
        .boxed()
    }

    fn gzip(&self, body: Bytes) -> BoxFuture<'static, Option<Bytes>> {
        let compress = move || {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&body).and_then(|()| encoder.finish()).ok().map(Bytes::from)
        };
        async { tokio::task::spawn_blocking(compress).await.ok().flatten() }.boxed()
    }
}

/// The whole chain of causes: the outermost one says only which URL it was.
fn broken(error: reqwest::Error) -> TransportError {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    TransportError(text)
}
