//! Web requests and responses as those of the `http` crate, and back; and the same of messages.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use js_sys::{Array, Object, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Headers, Request, Response, ResponseInit};

use super::streams;

#[wasm_bindgen]
extern "C" {
    /// A request in a message. Its type is in `types.d.ts`.
    pub type Question;
    #[wasm_bindgen(method, getter)]
    fn method(this: &Question) -> String;
    #[wasm_bindgen(method, getter)]
    fn url(this: &Question) -> String;
    #[wasm_bindgen(method, getter)]
    fn headers(this: &Question) -> Array;
    #[wasm_bindgen(method, getter)]
    fn body(this: &Question) -> Option<String>;
}

/// The request that a message asks for.
pub(super) fn question(question: &Question) -> Result<http::Request<Body>, JsValue> {
    let body = question.body().map_or_else(Body::empty, Body::from);
    let pairs = question.headers().into_iter();
    to_request(&question.method(), &question.url(), pairs.filter_map(|pair| header(&pair)).collect(), body)
}

/// The router's answer for a message.
pub(super) async fn answer(response: http::Response<Body>) -> Result<JsValue, JsValue> {
    let (head, body) = response.into_parts();
    let headers = Array::new();
    for (name, value) in &head.headers {
        if let Ok(value) = value.to_str() {
            headers.push(&Array::of2(&name.as_str().into(), &value.into()));
        }
    }
    let body = body.collect().await.map_err(|error| JsError::new(&error.to_string()))?.to_bytes();
    let answer = Object::new();
    for (name, value) in [
        ("status", head.status.as_u16().into()),
        ("headers", headers.into()),
        ("body", (&*String::from_utf8_lossy(&body)).into()),
    ] {
        Reflect::set(&answer, &name.into(), &value)?;
    }
    Ok(answer.into())
}

/// A page's request. Its body is read as it is asked for, so a limit on it holds while it arrives.
pub(super) async fn request(request: &Request) -> Result<http::Request<Body>, JsValue> {
    let body = match request.body() {
        Some(stream) => Body::from_stream(streams::incoming(&stream)?),
        // Some browsers show no stream; there the body, if any, is in memory already.
        None if request.method() == "GET" || request.method() == "HEAD" => Body::empty(),
        None => Body::from(Uint8Array::new(&JsFuture::from(request.array_buffer()?).await?).to_vec()),
    };
    to_request(&request.method(), &request.url(), headers(&request.headers()), body)
}

fn to_request(method: &str, url: &str, headers: HeaderMap, body: Body) -> Result<http::Request<Body>, JsValue> {
    let request = http::Request::builder().method(method).uri(url).body(body);
    let mut request = request.map_err(|error| JsError::new(&error.to_string()))?;
    *request.headers_mut() = headers;
    Ok(request)
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
    Array::from(headers).iter().filter_map(|pair| header(&pair)).collect()
}

/// A header from a pair of strings.
fn header(pair: &JsValue) -> Option<(HeaderName, HeaderValue)> {
    let pair: &Array = pair.dyn_ref()?;
    let name = HeaderName::try_from(pair.get(0).as_string()?).ok()?;
    Some((name, HeaderValue::try_from(pair.get(1).as_string()?).ok()?))
}
