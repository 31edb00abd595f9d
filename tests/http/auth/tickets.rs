//! Tickets: for readers of event streams that cannot set a header.

use std::time::Duration;

use crsql_sync::http::{Access, Bounds, Limits, Operation, Verdict};
use reqwest::Method;
use serde_json::json;

use crate::events::Reader;
use crate::support::{PEER, Server, send};

/// A server that lets in who shows a header, with a database.
async fn server(limits: Limits) -> Server {
    let hook = |access: Access| async move {
        match access.headers.get("authorization") {
            Some(_) => Ok(Bounds::default().sites([PEER.parse().unwrap()]).into()),
            None => Ok(Verdict::Unauthorized("who are you?".into())),
        }
    };
    let server = Server::with(|builder| builder.authorize(hook).limits(limits)).await;
    for dbid in ["a", "b"] {
        let create = server.request(Method::PUT, &format!("/{dbid}")).bearer_auth("me");
        send(create.json(&json!({ "schema": crate::support::TODO }))).await.ok();
    }
    server
}

async fn ticket(server: &Server) -> String {
    let answer = send(server.request(Method::POST, "/a/ticket").bearer_auth("me")).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    answer.ok()["ticket"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_ticket_opens_one_stream_once() {
    let server = server(Limits::default()).await;
    assert_eq!(server.get("/a/events").await.code(), "unauthorized");
    assert_eq!(server.post("/a/ticket", json!(null)).await.code(), "unauthorized");
    let ticket = ticket(&server).await;
    assert_eq!(ticket.len(), 32);
    let path = format!("/a/events?ticket={ticket}");
    let _stream = Reader::open(&server, &path).await;
    assert_eq!(server.get(&path).await.code(), "unauthorized");
}

#[tokio::test]
async fn a_ticket_is_good_for_events_of_its_database_only() {
    let server = server(Limits::default()).await;
    for path in ["/b/events", "/a/changes", "/a/status"] {
        let path = format!("{path}?ticket={}", ticket(&server).await);
        assert_eq!(server.get(&path).await.code(), "unauthorized", "{path}");
    }
    let shown_elsewhere = ticket(&server).await;
    server.get(&format!("/b/events?ticket={shown_elsewhere}")).await;
    assert_eq!(server.get(&format!("/a/events?ticket={shown_elsewhere}")).await.code(), "unauthorized");
    assert_eq!(server.get("/a/events?ticket=").await.code(), "unauthorized");
    assert_eq!(server.get(&format!("/a/events?ticket={}", "0".repeat(32))).await.code(), "unauthorized");
}

#[tokio::test]
async fn a_ticket_is_good_for_a_moment() {
    let mut limits = Limits::default();
    limits.ticket = Duration::from_millis(1);
    let server = server(limits).await;
    let ticket = ticket(&server).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(server.get(&format!("/a/events?ticket={ticket}")).await.code(), "unauthorized");
}

#[tokio::test]
async fn a_ticket_does_not_change_for_whom_its_holder_may_speak() {
    let server = server(Limits::default()).await;
    let other = "bb000000000000000000000000000001";
    let as_other = format!("/a/events?ticket={}&site={other}", ticket(&server).await);
    assert_eq!(server.get(&as_other).await.code(), "forbidden");
    Reader::open(&server, &format!("/a/events?ticket={}&site={PEER}", ticket(&server).await)).await;
}

#[tokio::test]
async fn the_hook_may_keep_tickets_to_itself() {
    let hook = |access: Access| async move {
        Ok(if access.operation == Operation::Ticket { Verdict::Forbidden("no tickets".into()) } else { Verdict::ALLOW })
    };
    let server = Server::with(|builder| builder.authorize(hook)).await;
    server.create("a").await;
    assert_eq!(server.post("/a/ticket", json!(null)).await.code(), "forbidden");
}
