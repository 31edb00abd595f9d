//! A server in this process, and a client that reads like a caller's.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use crsql_sync::http::{App, Builder, Drain};
use crsql_sync::store::Store;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::openapi;

pub(crate) const TODO: &str = "CREATE TABLE todo (id TEXT PRIMARY KEY NOT NULL, title, done INTEGER DEFAULT 0);
                        SELECT crsql_as_crr('todo');";

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) drain: Drain,
    pub(crate) folder: TempDir,
    task: JoinHandle<()>,
    client: reqwest::Client,
}

/// An answer, its body read as JSON.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The code of a problem document, which it must be.
    pub(crate) fn code(&self) -> &str {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], self.status, "{self:?}");
        assert!(!self.body["title"].as_str().unwrap().is_empty() && !self.body["detail"].as_str().unwrap().is_empty());
        self.body["code"].as_str().unwrap()
    }

    pub(crate) fn ok(self) -> Value {
        assert!(self.status < 300, "{self:?}");
        self.body
    }
}

impl Server {
    /// A server with `sql`, otherwise by default.
    pub(crate) async fn start() -> Self {
        Self::with(|builder| builder.sql(true)).await
    }

    pub(crate) async fn with(configure: impl FnOnce(Builder) -> Builder) -> Self {
        Self::on(tempfile::tempdir().unwrap(), "127.0.0.1:0".parse().unwrap(), configure).await
    }

    /// A server whose router is wrapped in something.
    pub(crate) async fn wrapped(build: impl FnOnce(Builder) -> Router, wrap: impl FnOnce(Router) -> Router) -> Self {
        let address = "127.0.0.1:0".parse().unwrap();
        Self::serve(tempfile::tempdir().unwrap(), address, |builder| wrap(build(builder))).await
    }

    pub(crate) async fn on(folder: TempDir, address: SocketAddr, configure: impl FnOnce(Builder) -> Builder) -> Self {
        Self::serve(folder, address, |builder| configure(builder).build()).await
    }

    async fn serve(folder: TempDir, address: SocketAddr, build: impl FnOnce(Builder) -> Router) -> Self {
        let drain = Drain::new();
        // The server before on this folder or port may be a moment from letting go.
        let (store, listener) = loop {
            let store = Store::at(folder.path());
            match (store, TcpListener::bind(address).await) {
                (Ok(store), Ok(listener)) => break (store, listener),
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let router = build(App::builder(store).drain(drain.clone()));
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        let client = reqwest::Client::builder().no_proxy().no_gzip().no_zstd().build().unwrap();
        Self { address, drain, folder, task, client }
    }

    /// Stops at once, and gives back the folder.
    pub(crate) async fn stop(self) -> (TempDir, SocketAddr) {
        self.drain.drain();
        self.task.abort();
        let _ = self.task.await;
        (self.folder, self.address)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/sync{path}", self.address)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path)).timeout(Duration::from_secs(30))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        send(self.request(Method::PUT, path).json(&body)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        send(self.request(Method::POST, path).json(&body)).await
    }

    /// Creates a to-do list.
    pub(crate) async fn create(&self, dbid: &str) -> Value {
        self.put(&format!("/{dbid}"), json!({ "schema": TODO })).await.ok()
    }

    /// Runs one statement and returns its result.
    pub(crate) async fn sql(&self, dbid: &str, sql: &str) -> Value {
        let answer = self.post(&format!("/{dbid}/sql"), json!({ "sql": sql })).await.ok();
        answer["results"][0].clone()
    }

    pub(crate) async fn add(&self, dbid: &str, id: &str) {
        self.sql(dbid, &format!("INSERT INTO todo (id, title) VALUES ('{id}', 'title of {id}')")).await;
    }

    /// The ids in the list; none where there is no list yet.
    pub(crate) async fn ids(&self, dbid: &str) -> Vec<String> {
        let query = json!({ "sql": "SELECT id FROM todo ORDER BY id" });
        let answer = self.post(&format!("/{dbid}/sql"), query).await;
        if answer.status == 404 {
            return Vec::new();
        }
        let rows = answer.ok()["results"][0]["rows"].clone();
        rows.as_array().unwrap().iter().map(|row| row[0].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) async fn status(&self, dbid: &str) -> Value {
        self.get(&format!("/{dbid}/status")).await.ok()
    }

    pub(crate) async fn at(&self, dbid: &str) -> String {
        self.status(dbid).await["at"].as_str().unwrap().to_owned()
    }
}

/// Sends a request; the answer is one that `docs/openapi.yaml` describes.
pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let response = client.execute(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.unwrap();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    let answer = Answer { status, headers, body };
    openapi::check(&method, &path, &answer);
    answer
}

/// Waits until something is so; a few seconds at most.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    for _ in 0..400 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("not within ten seconds: {what}");
}

pub(crate) const PEER: &str = "aa000000000000000000000000000001";

/// A batch of one new row, made by `PEER` as its transaction `version`.
pub(crate) fn batch(version: i64, id: &str) -> Value {
    let pk = format!("010b{:02x}{}", id.len(), id.bytes().map(|byte| format!("{byte:02x}")).collect::<String>());
    json!({
        "protocol": 1, "from": PEER, "start": version - 1, "end": version, "covers": { PEER: [[version, version]] },
        "changes": [
            ["todo", pk, "title", format!("title of {id}"), 1, version, PEER, 1, 0],
            ["todo", pk, "done", 0, 1, version, PEER, 1, 1],
        ]
    })
}
