//! Something between a node and its hub, as proxies, captive portals and failing networks are.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use crsql_sync::http::{Builder, compression};
use crsql_sync::sync::Batch;
use http::{HeaderMap, Method};

use crate::support::Server;

type Rule = Box<dyn Fn(&Asked) -> Option<Response> + Send>;

/// Sees what a hub is asked, and may answer in its place.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    rule: Arc<Mutex<Option<Rule>>>,
    seen: Arc<Mutex<Vec<Asked>>>,
}

/// A request, its body as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Asked {
    pub(crate) fn is_push(&self) -> bool {
        self.method == Method::POST && self.path == "/sync/a/changes"
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The batch that was pushed, in whatever form.
    pub(crate) fn batch(&self) -> Batch {
        let plain = match self.header("content-encoding") {
            "gzip" => {
                let mut plain = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&self.body[..]), &mut plain).unwrap();
                plain
            }
            _ => self.body.to_vec(),
        };
        match self.header("content-type") {
            "application/json" => serde_json::from_slice(&plain).unwrap(),
            _ => Batch::from_binary(&plain).unwrap(),
        }
    }
}

impl Gate {
    /// A hub behind the gate, which compresses.
    pub(crate) async fn hub(&self) -> Server {
        self.hub_with(|builder| builder).await
    }

    pub(crate) async fn hub_with(&self, configure: impl FnOnce(Builder) -> Builder) -> Server {
        let build = |builder: Builder| compression::compressed(configure(builder.sql(true)).build());
        Server::wrapped(build, self.layer()).await
    }

    /// The gate before a router.
    pub(crate) fn layer(&self) -> impl FnOnce(Router) -> Router + use<> {
        let gate = self.clone();
        let pass = move |request, next| {
            let gate = gate.clone();
            async move { gate.pass(request, next).await }
        };
        move |router| router.layer(from_fn(pass))
    }

    async fn pass(&self, request: Request, next: Next) -> Response {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let asked = Asked {
            method: parts.method.clone(),
            path: parts.uri.path_and_query().unwrap().to_string(),
            headers: parts.headers.clone(),
            body: body.clone(),
        };
        // Of those that are the test's own nothing is kept.
        let answer = if asked.headers.contains_key("crsql-site") {
            self.seen.lock().unwrap().push(asked.clone());
            self.rule.lock().unwrap().as_ref().and_then(|rule| rule(&asked))
        } else {
            None
        };
        match answer {
            Some(answer) => answer,
            None => next.run(Request::from_parts(parts, Body::from(body))).await,
        }
    }

    /// Answers in the hub's place wherever `rule` has an answer.
    pub(crate) fn answer(&self, rule: impl Fn(&Asked) -> Option<Response> + Send + 'static) {
        *self.rule.lock().unwrap() = Some(Box::new(rule));
    }

    pub(crate) fn open(&self) {
        *self.rule.lock().unwrap() = None;
    }

    /// What nodes asked since the last time.
    pub(crate) fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    pub(crate) fn pushes(&self) -> Vec<Asked> {
        self.take().into_iter().filter(Asked::is_push).collect()
    }
}

/// A response of a status, with some headers and a text.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], text: &str) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Body::from(text.to_owned())).unwrap()
}

/// A problem document.
pub(crate) fn problem(status: u16, code: &str, headers: &[(&str, &str)]) -> Response {
    let headers = [&[("content-type", "application/problem+json")], headers].concat();
    let text = format!(r#"{{"title": "x", "status": {status}, "code": "{code}", "detail": "says the gate"}}"#);
    answer(status, &headers, &text)
}
