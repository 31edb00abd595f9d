//! Web requests and responses as those of the `http` crate, and back.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use js_sys::{Array, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Headers, Request, Response, ResponseInit};

use super::streams;

/// A page's request. Its body is read as it is asked for, so a limit on it holds while it arrives.
pub(super) async fn request(request: &Request) -> Result<http::Request<Body>, JsValue> {
    let body = match request.body() {
        Some(stream) => Body::from_stream(streams::incoming(&stream)?),
        // Some browsers show no stream; there the body, if any, is in memory already.
        None if request.method() == "GET" || request.method() == "HEAD" => Body::empty(),
        None => Body::from(Uint8Array::new(&JsFuture::from(request.array_buffer()?).await?).to_vec()),
    };
    let mut converted = http::Request::builder()
        .method(request.method().as_str())
        .uri(request.url())
        .body(body)
        .map_err(|error| JsError::new(&error.to_string()))?;
    *converted.headers_mut() = headers(&request.headers());
    Ok(converted)
}

/// The router's answer. A body whose length is known is given whole, an event stream piece by piece.
pub(super) async fn response(response: http::Response<Body>, stall: Duration) -> Result<Response, JsValue> {
    let (head, body) = response.into_parts();
    let headers = Headers::new()?;
    for (name, value) in &head.headers {
        if let Ok(value) = value.to_str() {
            headers.append(name.as_str(), value)?;
        }
    }
    let init = ResponseInit::new();
    init.set_status(head.status.as_u16());
    init.set_headers(&headers);
    match body.size_hint().exact() {
        // No body at all, which some statuses demand.
        Some(0) => Response::new_with_opt_str_and_init(None, &init),
        Some(_) => {
            let bytes = body.collect().await.map_err(|error| JsError::new(&error.to_string()))?.to_bytes();
            Response::new_with_opt_js_u8_array_and_init(Some(&Uint8Array::from(&*bytes)), &init)
        }
        None => {
            let stream = streams::outgoing(body.into_data_stream(), stall)?;
            Response::new_with_opt_readable_stream_and_init(Some(&stream), &init)
        }
    }
}

/// Headers that the `http` crate can express; what it cannot, no route reads.
pub(super) fn headers(headers: &Headers) -> HeaderMap {
    let mut converted = HeaderMap::new();
    for pair in Array::from(headers) {
        let pair = Array::from(&pair);
        if let (Some(name), Some(value)) = (pair.get(0).as_string(), pair.get(1).as_string())
            && let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
        {
            converted.append(name, value);
        }
    }
    converted
}
