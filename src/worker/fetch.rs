//! The upstream by `fetch`.

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{StreamExt, empty};
use http::{Request, Response, header};
use js_sys::{Promise, Uint8Array};
use send_wrapper::SendWrapper;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, Headers, ReadableWritablePair, RequestCache, RequestInit, RequestRedirect, ResponseType,
};

use super::convert;
use super::streams::{self, Broken};
use crate::upstream::{ByteStream, Transport, TransportError};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = fetch)]
    fn web_fetch(request: &web_sys::Request) -> Promise;

    /// Of web-sys it is one of the interfaces that may still change.
    type CompressionStream;
    #[wasm_bindgen(constructor, catch)]
    fn new(format: &str) -> Result<CompressionStream, JsValue>;
}

/// The browser's HTTP client. A service worker's own requests do not come back to it.
pub(super) struct Fetch;

impl Transport for Fetch {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<ByteStream>, TransportError>> {
        SendWrapper::new(
            send(request).map(|outcome| outcome.map_err(|error| TransportError(Broken::from_js(&error).0))),
        )
        .boxed()
    }

    fn gzip(&self, body: Bytes) -> BoxFuture<'static, Option<Bytes>> {
        SendWrapper::new(gzip(body).map(Result::ok)).boxed()
    }
}

/// By the browser's own compressor, which has to come with no module.
async fn gzip(body: Bytes) -> Result<Bytes, JsValue> {
    let plain = web_sys::Response::new_with_opt_js_u8_array(Some(&Uint8Array::from(&*body)))?;
    let plain = plain.body().ok_or("a body has no stream")?;
    let zipped = plain.pipe_through(CompressionStream::new("gzip")?.unchecked_ref::<ReadableWritablePair>());
    let zipped = web_sys::Response::new_with_opt_readable_stream(Some(&zipped))?;
    let bytes = JsFuture::from(zipped.array_buffer()?).await?;
    Ok(Uint8Array::new(&bytes).to_vec().into())
}

/// Aborts the request when dropped before its end; afterwards aborting has no effect.
struct Aborting(AbortController);

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn send(request: Request<Bytes>) -> Result<Response<ByteStream>, JsValue> {
    let aborting = Aborting(AbortController::new()?);
    let (head, body) = request.into_parts();
    let headers = Headers::new()?;
    for (name, value) in &head.headers {
        let value = value.to_str().map_err(|error| JsError::new(&error.to_string()))?;
        headers.append(name.as_str(), value)?;
    }
    let init = RequestInit::new();
    init.set_method(head.method.as_str());
    init.set_headers(&headers);
    init.set_cache(RequestCache::NoStore);
    init.set_redirect(RequestRedirect::Manual);
    init.set_signal(Some(&aborting.0.signal()));
    if !body.is_empty() {
        init.set_body(&Uint8Array::from(&*body));
    }
    let request = web_sys::Request::new_with_str_and_init(&head.uri.to_string(), &init)?;
    let response: web_sys::Response = JsFuture::from(web_fetch(&request)).await?.dyn_into()?;

    if response.type_() == ResponseType::Opaqueredirect {
        // Where to is not told.
        return Ok(redirect());
    }
    let mut headers = convert::headers(&response.headers());
    // They speak of the body as it was sent; the browser has decoded it.
    headers.remove(header::CONTENT_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
    let body = match response.body() {
        Some(stream) => {
            let aborting = SendWrapper::new(aborting);
            let pieces = streams::incoming(&stream)?;
            let pieces = pieces.map(move |piece| {
                // The request lives as long as its body is read.
                let _ = &aborting;
                piece.map_err(|Broken(text)| TransportError(text))
            });
            pieces.boxed()
        }
        None => empty().boxed(),
    };
    let mut converted = Response::new(body);
    *converted.status_mut() =
        http::StatusCode::from_u16(response.status()).map_err(|error| JsError::new(&error.to_string()))?;
    *converted.headers_mut() = headers;
    Ok(converted)
}

fn redirect() -> Response<ByteStream> {
    let mut response = Response::new(empty().boxed());
    *response.status_mut() = http::StatusCode::FOUND;
    response
}
