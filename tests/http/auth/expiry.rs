//! Allowances that end.

use std::time::{Duration, Instant, SystemTime};

use crsql_sync::http::{Bounds, Verdict};
use serde_json::{Value, json};

use super::server;
use crate::events::Reader;

#[tokio::test]
async fn an_event_stream_ends_with_the_allowance() {
    let started = Instant::now();
    let end = SystemTime::now() + Duration::from_millis(1500);
    let (server, _) = server(move |_| Ok(Bounds::default().expires(end).into())).await;
    server.create("a").await;
    server.add("a", "1").await;
    let mut stream = Reader::open(&server, "/a/events").await;
    stream.batch().await;
    let last = stream.event().await.unwrap();
    let problem: Value = serde_json::from_str(&last.data).unwrap();
    assert_eq!(
        (last.event.as_str(), &problem["code"], &problem["status"]),
        ("problem", &json!("unauthorized"), &json!(401))
    );
    assert!(stream.event().await.is_none());
    assert!(started.elapsed() >= Duration::from_millis(1400));
    // What comes after the end is refused as a whole.
    for path in ["/a/events", "/a/changes", "/a/status"] {
        assert_eq!(server.get(path).await.code(), "unauthorized");
    }
}

#[tokio::test]
async fn a_busy_stream_ends_in_time_too() {
    let end = SystemTime::now() + Duration::from_millis(1500);
    let (server, _) = server(move |access| {
        let bounds =
            if access.operation.as_str() == "startSSE" { Bounds::default().expires(end) } else { Bounds::NONE };
        Ok(Verdict::from(bounds))
    })
    .await;
    server.create("a").await;
    let mut stream = Reader::open(&server, "/a/events").await;
    let reading = async {
        while let Some(event) = stream.event().await {
            if event.event == "problem" {
                return;
            }
        }
        panic!("the stream ended without a word");
    };
    let writing = async {
        for n in 0.. {
            server.add("a", &n.to_string()).await;
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
    assert!(SystemTime::now() >= end);
}
