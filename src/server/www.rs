use std::path::Path;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use http::{HeaderValue, header};
use tower_http::services::ServeDir;

/// The files of a folder, for everything that is no operation.
pub(super) fn files(dir: &Path) -> Router {
    let files = ServeDir::new(dir).precompressed_br().precompressed_gzip();
    Router::new().fallback_service(files).layer(from_fn(headers))
}

/// Files are asked for anew each time, or a page and its worker could be of different builds; what did not change is
/// answered by 304. A worker may take care of the whole origin, wherever its file lies.
async fn headers(request: Request, next: Next) -> Response {
    let is_worker = request.uri().path().ends_with("sw.js");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if is_worker {
        headers.insert("service-worker-allowed", HeaderValue::from_static("/"));
    }
    response
}
