use std::time::{Duration, Instant};

use crsql_sync::http::Limits;
use eventsource_stream::{Event, Eventsource};
use futures_util::stream::{BoxStream, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{PEER, Server, batch};

pub(crate) struct Reader(BoxStream<'static, Event>);

impl Reader {
    pub(crate) async fn open(server: &Server, path: &str) -> Self {
        Self::with(server.request(Method::GET, path)).await
    }

    pub(crate) async fn with(request: reqwest::RequestBuilder) -> Self {
        let response = request.timeout(Duration::from_secs(60)).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self(response.bytes_stream().eventsource().map(|event| event.unwrap()).boxed())
    }

    pub(crate) async fn event(&mut self) -> Option<Event> {
        tokio::time::timeout(Duration::from_secs(10), self.0.next()).await.expect("an event in time")
    }

    pub(crate) async fn batch(&mut self) -> Value {
        let event = self.event().await.expect("an event");
        assert_eq!(event.event, "batch");
        let batch: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(batch["next"], event.id);
        batch
    }
}

/// The keys of a batch's rows, without their type byte.
fn count(batch: &Value) -> usize {
    batch["changes"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_reader_is_sent_what_was_there_and_then_what_comes() {
    let server = Server::start().await;
    server.create("a").await;
    server.add("a", "1").await;
    let mut reader = Reader::open(&server, "/a/events?since=0").await;
    assert_eq!(count(&reader.batch().await), 2);
    let started = Instant::now();
    server.add("a", "2").await;
    let second = reader.batch().await;
    assert!(started.elapsed() < Duration::from_millis(500));
    assert_eq!((count(&second), &second["next"]), (2, &json!(server.at("a").await)));
}

#[tokio::test]
async fn writes_close_together_are_one_batch() {
    let server = Server::start().await;
    server.create("a").await;
    let mut reader = Reader::open(&server, "/a/events").await;
    let mut writes = Vec::new();
    for n in 0..20 {
        writes.push(server.add("a", Box::leak(n.to_string().into_boxed_str())));
    }
    futures_util::future::join_all(writes).await;
    let (mut batches, mut changes) = (0, 0);
    while changes < 40 {
        changes += count(&reader.batch().await);
        batches += 1;
    }
    assert!(batches < 15, "{batches}");
}

#[tokio::test]
async fn a_stream_that_broke_goes_on_where_it_was() {
    let server = Server::start().await;
    server.create("a").await;
    server.add("a", "1").await;
    let mut reader = Reader::open(&server, "/a/events").await;
    let id = reader.event().await.unwrap().id;
    drop(reader);
    server.add("a", "2").await;
    let mut reader = Reader::open(&server, &format!("/a/events?since={id}")).await;
    assert_eq!(count(&reader.batch().await), 2);
    // An `EventSource` asks with the URL that it was made with, and a header that says more.
    let old = server.request(Method::GET, "/a/events?since=0").header("last-event-id", &id);
    assert_eq!(count(&Reader::with(old).await.batch().await), 2);
    let newer = format!("/a/events?since={}", server.at("a").await);
    let old = server.request(Method::GET, &newer).header("last-event-id", &id);
    let mut reader = Reader::with(old).await;
    server.add("a", "3").await;
    assert_eq!(count(&reader.batch().await), 2);
}

#[tokio::test]
async fn a_stream_goes_on_inside_a_version_that_was_cut() {
    let server = Server::start().await;
    server.create("a").await;
    let values: Vec<_> = (0..30).map(|n| format!("('{n}', 'x', 1)")).collect();
    server.sql("a", &format!("INSERT INTO todo VALUES {}", values.join(","))).await;
    let (mut since, mut total) = ("0".to_owned(), 0);
    while total < 60 {
        let mut reader = Reader::open(&server, &format!("/a/events?since={since}&limit=7")).await;
        for _ in 0..2 {
            if total < 60 {
                let batch = reader.batch().await;
                assert!(count(&batch) <= 7);
                total += count(&batch);
                since = batch["next"].as_str().unwrap().to_owned();
            }
        }
    }
    assert_eq!((total, since), (60, server.at("a").await));
}

#[tokio::test]
async fn a_reader_is_not_sent_what_came_from_it_but_learns_that_time_went_on() {
    let server = Server::with(|builder| {
        let mut limits = Limits::default();
        limits.heartbeat = Duration::from_millis(300);
        builder.sql(true).limits(limits)
    })
    .await;
    server.create("a").await;
    let mut reader = Reader::open(&server, &format!("/a/events?site={PEER}")).await;
    server.post("/a/changes", batch(1, "milk")).await.ok();
    let silent = reader.batch().await;
    assert_eq!((count(&silent), &silent["next"]), (0, &json!(server.at("a").await)));
    server.post("/a/changes", batch(2, "bread")).await.ok();
    server.add("a", "1").await;
    let spoken = reader.batch().await;
    assert_eq!((count(&spoken), &spoken["start"]), (2, &silent["end"]));
}

#[tokio::test]
async fn a_silent_stream_shows_that_it_is_alive() {
    let server = Server::with(|builder| {
        let mut limits = Limits::default();
        limits.heartbeat = Duration::from_millis(50);
        builder.limits(limits)
    })
    .await;
    server.create("a").await;
    let response = server.request(Method::GET, "/a/events").send().await.unwrap();
    let mut bytes = response.bytes_stream();
    let mut text = String::new();
    while text.matches(":\n\n").count() < 3 {
        let piece = tokio::time::timeout(Duration::from_secs(5), bytes.next()).await.unwrap().unwrap().unwrap();
        text.push_str(std::str::from_utf8(&piece).unwrap());
    }
}

#[tokio::test]
async fn draining_asks_the_readers_to_come_back_and_ends() {
    let server = Server::start().await;
    server.create("a").await;
    let mut reader = Reader::open(&server, "/a/events").await;
    server.drain.drain();
    assert_eq!(reader.event().await.unwrap().event, "drain");
    assert!(reader.event().await.is_none());
    let mut late = Reader::open(&server, "/a/events").await;
    assert_eq!(late.event().await.unwrap().event, "drain");
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_nothing_up() {
    let server = Server::start().await;
    server.create("a").await;
    let mut stuck = Reader::open(&server, "/a/events?since=0").await;
    let text = "x".repeat(200_000);
    for n in 0..50 {
        server.sql("a", &format!("INSERT INTO todo (id, title) VALUES ('{n}', '{text}')")).await;
    }
    let mut changes = 0;
    let mut largest = 0;
    while changes < 100 {
        let batch = stuck.batch().await;
        changes += count(&batch);
        largest = largest.max(batch.to_string().len());
    }
    assert!(largest <= 5 << 20, "{largest}");
}

/// The most memory that this process ever had, in bytes.
#[cfg(target_os = "linux")]
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn readers_that_never_read_take_bounded_memory() {
    use tokio::io::AsyncWriteExt;
    let server = Server::start().await;
    server.create("a").await;
    let mut stuck = Vec::new();
    for _ in 0..50 {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /sync/a/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        stuck.push(stream);
    }
    let mut reader = Reader::open(&server, "/a/events").await;
    let before = peak();
    let text = "x".repeat(1 << 20);
    for n in 0..20 {
        server.sql("a", &format!("INSERT INTO todo (id, title) VALUES ('{n}', '{text}')")).await;
        assert_eq!(count(&reader.batch().await), 2);
    }
    // They were to be sent a gigabyte.
    let grown = peak() - before;
    assert!(grown < 256 << 20, "{grown}");
}
