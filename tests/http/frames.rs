//! Event streams without a network between, so that it can be seen which of them are sent the same bytes in memory.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use crsql_sync::http::App;
use crsql_sync::store::Store;
use futures_util::future::join_all;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::support::{PEER, TODO, batch};

struct Host {
    router: Router,
    _folder: TempDir,
}

impl Host {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let router = App::builder(Store::at(folder.path()).unwrap()).sql(true).build();
        let host = Self { router, _folder: folder };
        host.send("PUT", "/a", json!({ "schema": TODO })).await;
        host
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> Value {
        let request = Request::builder().method(method).uri(format!("/sync{path}"));
        let request = request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert!(response.status().is_success());
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    async fn add(&self, id: &str) {
        self.send("POST", "/a/sql", json!({ "sql": "INSERT INTO todo (id) VALUES (?1)", "params": [id] })).await;
    }

    /// A reader that was sent the beginning of its stream.
    async fn read(&self, query: String) -> Reader {
        let request = Request::get(format!("/sync/a/events?{query}")).body(Body::empty()).unwrap();
        let mut reader = Reader(self.router.clone().oneshot(request).await.unwrap().into_body());
        assert_eq!(reader.event().await, "retry: 1000\n\n");
        reader
    }
}

struct Reader(Body);

impl Reader {
    async fn event(&mut self) -> Bytes {
        let frame = tokio::time::timeout(Duration::from_secs(60), self.0.frame()).await.expect("an event in time");
        frame.unwrap().unwrap().into_data().unwrap()
    }
}

fn batch_of(event: &Bytes) -> Value {
    let text = std::str::from_utf8(event).unwrap();
    serde_json::from_str(text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap()).unwrap()
}

/// How many times the events were written.
fn copies(events: &[Bytes]) -> usize {
    events.iter().map(|event| event.as_ptr()).collect::<BTreeSet<_>>().len()
}

fn site(n: usize) -> String {
    format!("{n:032x}")
}

#[tokio::test]
async fn a_write_is_encoded_once_for_a_thousand_readers() {
    let host = Host::start().await;
    host.add("1").await;
    let mut readers = join_all((1..=1000).map(|n| host.read(format!("site={}", site(n))))).await;
    let first = join_all(readers.iter_mut().map(Reader::event)).await;
    assert_eq!(copies(&first), 1, "those that begin together share what was there");
    for n in 2..5 {
        host.add(&n.to_string()).await;
        let events = join_all(readers.iter_mut().map(Reader::event)).await;
        assert_eq!(copies(&events), 1);
        assert_eq!(batch_of(&events[999])["changes"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn whom_a_batch_concerns_is_sent_another() {
    let host = Host::start().await;
    let mut writer = host.read(format!("site={PEER}")).await;
    let mut others = join_all((1..=20).map(|n| host.read(format!("site={}", site(n))))).await;
    host.send("POST", "/a/changes", batch(1, "milk")).await;
    let events = join_all(others.iter_mut().map(Reader::event)).await;
    assert_eq!(copies(&events), 1);
    assert_eq!(batch_of(&events[0])["covers"][PEER], json!([[1, 1]]));
    host.add("bread").await;
    let own = batch_of(&writer.event().await);
    let rest: Vec<Bytes> = join_all(others.iter_mut().map(Reader::event)).await;
    assert_eq!(copies(&rest), 1);
    assert_eq!(own["changes"], batch_of(&rest[0])["changes"], "what it wrote itself is left out");
    assert_eq!((&own["start"], own["covers"].get(PEER)), (&json!(0), None), "its cursor moves over that");
    assert_eq!(own["next"], batch_of(&rest[0])["next"]);
}

#[tokio::test]
async fn what_a_relay_brought_concerns_the_relay_too() {
    let host = Host::start().await;
    let (relay, author) = (site(7), site(8));
    let mut by_relay = batch(1, "milk");
    by_relay["from"] = json!(relay);
    by_relay["changes"].as_array_mut().unwrap().iter_mut().for_each(|change| change[6] = json!(author));
    by_relay["covers"] = json!({ &author: [[1, 1]] });
    host.send("POST", "/a/changes", by_relay).await;
    host.add("bread").await;
    for (who, changes) in [(&relay, 2), (&author, 2), (&site(9), 4)] {
        let event = batch_of(&host.read(format!("site={who}")).await.event().await);
        assert_eq!(event["changes"].as_array().unwrap().len(), changes, "{who}");
        let alone = host.send("GET", &format!("/a/changes?site={who}"), Value::Null).await;
        assert_eq!(event, alone, "the stream sends {who} what a request is answered");
    }
}

#[tokio::test]
async fn readers_with_other_limits_are_sent_other_pages() {
    let host = Host::start().await;
    for n in 0..3 {
        host.add(&n.to_string()).await;
    }
    let mut all = host.read("since=0".into()).await;
    let mut paged = host.read("since=0&limit=2".into()).await;
    assert_eq!(batch_of(&all.event().await)["changes"].as_array().unwrap().len(), 6);
    for _ in 0..3 {
        assert_eq!(batch_of(&paged.event().await)["changes"].as_array().unwrap().len(), 2);
    }
}
