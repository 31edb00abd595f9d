//! Links to a hub as they are made, cut, paused and taken up again.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Html;
use crsql_sync::http::{Access, Operation, Verdict};
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::node::{Node, has, link_to};
use crate::support::{Server, TODO, eventually, send};

#[tokio::test]
async fn two_nodes_meet_at_a_hub() {
    let hub = Server::start().await;
    let (a, b) = (Node::of(&hub).await, Node::of(&hub).await);
    a.add("1").await;
    b.has(&["1"]).await;
    b.add("2").await;
    a.has(&["1", "2"]).await;
    a.sql("DELETE FROM todo WHERE id = '1'").await;
    for server in [&b.server, &hub] {
        has(server, &["2"]).await;
    }
    a.link_is("online").await;
    a.all_sent().await;
}

#[tokio::test]
async fn a_write_reaches_another_node_fast() {
    let hub = Server::start().await;
    let (a, b) = (Node::of(&hub).await, Node::of(&hub).await);
    a.add("0").await;
    b.has(&["0"]).await;
    let started = std::time::Instant::now();
    a.add("1").await;
    while b.ids().await.len() < 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
}

#[tokio::test]
async fn nodes_work_without_their_hub_and_catch_up_when_it_is_back() {
    let hub = Server::start().await;
    let (a, b) = (Node::of(&hub).await, Node::of(&hub).await);
    a.add("1").await;
    b.has(&["1"]).await;
    let (folder, address) = hub.stop().await;
    a.add("2").await;
    b.add("3").await;
    let offline = a.link_is("offline").await;
    assert!(offline["error"]["detail"].is_string() && offline["retry_in_ms"].is_u64(), "{offline}");
    let unsent = a.status().await["unsent"].clone();
    assert_eq!(unsent["changes"], 2);
    assert!(unsent["since"].as_i64().unwrap() > 1_600_000_000_000);
    let hub = Server::on(folder, address, |builder| builder.sql(true)).await;
    for server in [&a.server, &b.server, &hub] {
        has(server, &["1", "2", "3"]).await;
    }
}

#[tokio::test]
async fn a_hub_that_lost_its_disk_gets_everything_again() {
    let hub = Server::start().await;
    let (a, b) = (Node::of(&hub).await, Node::of(&hub).await);
    a.add("1").await;
    b.has(&["1"]).await;
    let (folder, address) = hub.stop().await;
    drop(folder);
    b.add("2").await;
    let hub = Server::on(tempfile::tempdir().unwrap(), address, |builder| builder.sql(true)).await;
    for server in [&a.server, &b.server, &hub] {
        has(server, &["1", "2"]).await;
    }
}

#[tokio::test]
async fn a_hub_that_was_set_back_gets_again_what_it_lost_also_of_its_own() {
    let hub = Server::start().await;
    let a = Node::of(&hub).await;
    a.add("1").await;
    has(&hub, &["1"]).await;
    let (folder, address) = hub.stop().await;
    let old = copy(&folder);
    let hub = Server::on(folder, address, |builder| builder.sql(true)).await;
    hub.add("a", "2").await;
    a.has(&["1", "2"]).await;
    a.add("3").await;
    has(&hub, &["1", "2", "3"]).await;
    let (_, address) = hub.stop().await;
    a.add("4").await;
    let hub = Server::on(old, address, |builder| builder.sql(true)).await;
    for server in [&a.server, &hub] {
        has(server, &["1", "2", "3", "4"]).await;
    }
}

fn copy(folder: &TempDir) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

#[tokio::test]
async fn a_node_that_was_stopped_in_between_loses_and_repeats_nothing() {
    let hub = Server::start().await;
    hub.create("a").await;
    let mut a = Node::of(&hub).await;
    for round in 0..4 {
        for n in 0..5 {
            a.add(&format!("{round}{n}")).await;
        }
        hub.add("a", &format!("h{round}")).await;
        a = a.restart(hub.address).await;
        a.status().await;
    }
    eventually("the same rows", || async { a.ids().await.len() == 24 && hub.ids("a").await.len() == 24 }).await;
    assert_eq!(a.ids().await, hub.ids("a").await);
    a.all_sent().await;
}

#[tokio::test]
async fn a_link_can_be_paused_and_the_database_remembers_it() {
    let hub = Server::start().await;
    let a = Node::of(&hub).await;
    a.link_is("online").await;
    a.pause().await;
    a.link_is("paused").await;
    a.add("1").await;
    hub.add("a", "2").await;
    let a = a.restart(hub.address).await;
    a.link_is("paused").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(a.ids().await, ["1"]);
    a.resume().await;
    a.has(&["1", "2"]).await;
    has(&hub, &["1", "2"]).await;
}

#[tokio::test]
async fn a_refusal_is_shown_and_nothing_is_dropped() {
    let allow = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let allowed = allow.clone();
    let hook = move |access: Access| {
        let push = access.operation == Operation::ApplyChanges;
        let open = !push || allowed.load(std::sync::atomic::Ordering::SeqCst);
        let verdict = if open { Verdict::ALLOW } else { Verdict::Forbidden("pay first".into()) };
        std::future::ready(Ok(verdict))
    };
    let hub = Server::with(|builder| builder.sql(true).authorize(hook)).await;
    let a = Node::of(&hub).await;
    a.add("1").await;
    let refused = a.link_is("refused").await;
    assert_eq!((&refused["error"]["code"], &refused["error"]["detail"]), (&json!("forbidden"), &json!("pay first")));
    // What is allowed goes on.
    hub.add("a", "2").await;
    a.has(&["1", "2"]).await;
    assert_eq!(a.unsent().await, 2);
    allow.store(true, std::sync::atomic::Ordering::SeqCst);
    a.wake();
    has(&hub, &["1", "2"]).await;
    a.link_is("online").await;
}

#[tokio::test]
async fn another_schema_upstream_is_a_refusal() {
    let hub = Server::start().await;
    hub.put("/a", json!({ "schema": TODO.replace("title", "name") })).await.ok();
    let a = Node::of(&hub).await;
    assert_eq!(a.link_is("refused").await["error"]["code"], "schema_mismatch");
}

#[tokio::test]
async fn the_page_of_a_hotel_is_not_taken_for_the_upstream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let portal = Router::new().fallback(|| async { Html("<h1>Welcome! Log in to go on.</h1>") });
    let task = tokio::spawn(async { axum::serve(listener, portal).await.unwrap() });
    let a = Node::by(link_to(address)).await;
    a.add("1").await;
    assert_eq!(a.link_is("offline").await["error"]["code"], "not_a_sync_server");
    assert_eq!(a.unsent().await, 0, "nothing is known of the upstream yet");
    task.abort();
    let _ = task.await;
    let hub = Server::on(tempfile::tempdir().unwrap(), address, |builder| builder.sql(true)).await;
    has(&hub, &["1"]).await;
}

#[tokio::test]
async fn a_large_history_goes_over_in_pages() {
    let hub = Server::start().await;
    let a = Node::of(&hub).await;
    a.pause().await;
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
                INSERT INTO todo SELECT 'k' || i, 'title ' || i, 0 FROM n";
    a.sql(fill).await;
    hub.create("a").await;
    hub.sql("a", &fill.replace("'k'", "'h'")).await;
    a.resume().await;
    let count = |server: &Server| {
        let request = server.request(Method::POST, "/a/sql").json(&json!({ "sql": "SELECT count(*) FROM todo" }));
        async { send(request).await.ok()["results"][0]["rows"][0][0].clone() }
    };
    eventually("all rows on both", || async { count(&a.server).await == 24000 && count(&hub).await == 24000 }).await;
}
