//! Compression both ways, for hosts whose clients do not share the machine.

use axum::Router;
use axum::body::Body;
use http::{HeaderValue, Response, header};
use tower::ServiceBuilder;
use tower::util::MapResponseLayer;
use tower_http::compression::{CompressionBody, CompressionLayer};
use tower_http::decompression::RequestDecompressionLayer;

type Compressed = CompressionBody<Body>;

/// Takes request bodies in gzip and zstd, and sends answers in what `accept-encoding` prefers of these.
///
/// The [limits](super::Limits) count what a body is when it is decompressed. Event streams are not compressed: their
/// readers share what is sent, and none of them would share a compressor.
pub fn compressed(router: Router) -> Router {
    // What is in another encoding goes on as it is: the operation refuses it as it does everything else.
    let requests = RequestDecompressionLayer::new().pass_through_unaccepted(true);
    let answers = ServiceBuilder::new()
        .layer(MapResponseLayer::new(weaken))
        .layer(CompressionLayer::new())
        .layer(MapResponseLayer::new(name_encodings));
    router.layer(requests).layer(answers)
}

/// Who sends bodies is told of the encodings that are taken here: by answers to requests that may have one (they are JSON),
/// and by the refusal of an encoding.
fn name_encodings(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|media_type| media_type == "application/json");
    if is_json || headers.contains_key(header::ACCEPT_ENCODING) {
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"));
    }
    response
}

/// A strong validator names one sequence of bytes, so it cannot be that of the answer before compression.
fn weaken(mut response: Response<Compressed>) -> Response<Compressed> {
    let headers = response.headers_mut();
    if headers.contains_key(header::CONTENT_ENCODING)
        && let Some(tag) = headers.get(header::ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"))
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        headers.insert(header::ETAG, weak);
    }
    response
}
