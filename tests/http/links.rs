use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Html;
use crsql_sync::http::{Access, Builder, Operation, Verdict};
use crsql_sync::server::Reqwest;
use crsql_sync::upstream::{Config, Upstream};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::{Server, TODO, eventually, send};

pub(crate) fn link_to(address: SocketAddr) -> Upstream {
    let config = Config::new(&format!("http://{address}/sync")).unwrap();
    let spawn = Arc::new(|task| drop(tokio::spawn(task)));
    Upstream::new(config, Reqwest::new().unwrap(), spawn)
}

pub(crate) fn linked(upstream: Upstream) -> impl FnOnce(Builder) -> Builder {
    move |builder| builder.sql(true).links(Arc::new(upstream)).pause(true)
}

/// A server that keeps in step with `hub`, with one list.
pub(crate) async fn node(hub: &Server) -> Server {
    let node = Server::with(linked(link_to(hub.address))).await;
    node.create("a").await;
    node
}

pub(crate) async fn has(server: &Server, ids: &[&str]) {
    eventually(&format!("{ids:?}"), || async { server.ids("a").await == ids }).await;
}

pub(crate) async fn upstream_is(server: &Server, state: &str) -> Value {
    let found = std::sync::Mutex::new(Value::Null);
    eventually(state, || async {
        let upstream = server.status("a").await["upstream"].clone();
        let is_it = upstream["state"] == state;
        *found.lock().unwrap() = upstream;
        is_it
    })
    .await;
    found.into_inner().unwrap()
}

pub(crate) async fn pause(server: &Server, paused: bool) -> Value {
    server.put("/a/upstream", json!({ "paused": paused })).await.ok()
}

#[tokio::test]
async fn two_nodes_meet_at_a_hub() {
    let hub = Server::start().await;
    let (a, b) = (node(&hub).await, node(&hub).await);
    a.add("a", "1").await;
    has(&b, &["1"]).await;
    b.add("a", "2").await;
    has(&a, &["1", "2"]).await;
    a.sql("a", "DELETE FROM todo WHERE id = '1'").await;
    for server in [&b, &hub] {
        has(server, &["2"]).await;
    }
    upstream_is(&a, "online").await;
    eventually("nothing unsent", || async { a.status("a").await["unsent"]["changes"] == 0 }).await;
}

#[tokio::test]
async fn a_write_reaches_another_node_fast() {
    let hub = Server::start().await;
    let (a, b) = (node(&hub).await, node(&hub).await);
    a.add("a", "0").await;
    has(&b, &["0"]).await;
    let started = std::time::Instant::now();
    a.add("a", "1").await;
    while b.ids("a").await.len() < 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
}

#[tokio::test]
async fn nodes_work_without_their_hub_and_catch_up_when_it_is_back() {
    let hub = Server::start().await;
    let (a, b) = (node(&hub).await, node(&hub).await);
    a.add("a", "1").await;
    has(&b, &["1"]).await;
    let (folder, address) = hub.stop().await;
    a.add("a", "2").await;
    b.add("a", "3").await;
    let offline = upstream_is(&a, "offline").await;
    assert!(offline["error"]["detail"].is_string() && offline["retry_in_ms"].is_u64(), "{offline}");
    let unsent = a.status("a").await["unsent"].clone();
    assert_eq!(unsent["changes"], 2);
    assert!(unsent["since"].as_i64().unwrap() > 1_600_000_000_000);
    let hub = Server::on(folder, address, |builder| builder.sql(true)).await;
    for server in [&a, &b, &hub] {
        has(server, &["1", "2", "3"]).await;
    }
}

#[tokio::test]
async fn a_hub_that_lost_its_disk_gets_everything_again() {
    let hub = Server::start().await;
    let (a, b) = (node(&hub).await, node(&hub).await);
    a.add("a", "1").await;
    has(&b, &["1"]).await;
    let (folder, address) = hub.stop().await;
    drop(folder);
    b.add("a", "2").await;
    let hub = Server::on(tempfile::tempdir().unwrap(), address, |builder| builder.sql(true)).await;
    for server in [&a, &b, &hub] {
        has(server, &["1", "2"]).await;
    }
}

#[tokio::test]
async fn a_hub_that_was_set_back_gets_again_what_it_lost_also_of_its_own() {
    let hub = Server::start().await;
    let a = node(&hub).await;
    a.add("a", "1").await;
    has(&hub, &["1"]).await;
    let (folder, address) = hub.stop().await;
    let old = copy(&folder);
    let hub = Server::on(folder, address, |builder| builder.sql(true)).await;
    hub.add("a", "2").await;
    has(&a, &["1", "2"]).await;
    a.add("a", "3").await;
    has(&hub, &["1", "2", "3"]).await;
    let (_, address) = hub.stop().await;
    a.add("a", "4").await;
    let hub = Server::on(old, address, |builder| builder.sql(true)).await;
    for server in [&a, &hub] {
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
    let mut a = node(&hub).await;
    for round in 0..4 {
        for n in 0..5 {
            a.add("a", &format!("{round}{n}")).await;
        }
        hub.add("a", &format!("h{round}")).await;
        let (folder, address) = a.stop().await;
        a = Server::on(folder, address, linked(link_to(hub.address))).await;
        a.status("a").await;
    }
    eventually("the same rows", || async { a.ids("a").await.len() == 24 && hub.ids("a").await.len() == 24 }).await;
    assert_eq!(a.ids("a").await, hub.ids("a").await);
    eventually("nothing unsent", || async { a.status("a").await["unsent"]["changes"] == 0 }).await;
}

#[tokio::test]
async fn a_link_can_be_paused_and_the_database_remembers_it() {
    let hub = Server::start().await;
    let a = node(&hub).await;
    upstream_is(&a, "online").await;
    pause(&a, true).await;
    upstream_is(&a, "paused").await;
    a.add("a", "1").await;
    hub.add("a", "2").await;
    let (folder, address) = a.stop().await;
    let a = Server::on(folder, address, linked(link_to(hub.address))).await;
    upstream_is(&a, "paused").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(a.ids("a").await, ["1"]);
    pause(&a, false).await;
    has(&a, &["1", "2"]).await;
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
    let upstream = link_to(hub.address);
    let a = Server::with(linked(upstream.clone())).await;
    a.create("a").await;
    a.add("a", "1").await;
    let refused = upstream_is(&a, "refused").await;
    assert_eq!((&refused["error"]["code"], &refused["error"]["detail"]), (&json!("forbidden"), &json!("pay first")));
    // What is allowed goes on.
    hub.add("a", "2").await;
    has(&a, &["1", "2"]).await;
    assert_eq!(a.status("a").await["unsent"]["changes"], 2);
    allow.store(true, std::sync::atomic::Ordering::SeqCst);
    upstream.wake();
    has(&hub, &["1", "2"]).await;
    upstream_is(&a, "online").await;
}

#[tokio::test]
async fn another_schema_upstream_is_a_refusal() {
    let hub = Server::start().await;
    hub.put("/a", json!({ "schema": TODO.replace("title", "name") })).await.ok();
    let a = node(&hub).await;
    assert_eq!(upstream_is(&a, "refused").await["error"]["code"], "schema_mismatch");
}

#[tokio::test]
async fn the_page_of_a_hotel_is_not_taken_for_the_upstream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let portal = Router::new().fallback(|| async { Html("<h1>Welcome! Log in to go on.</h1>") });
    let task = tokio::spawn(async { axum::serve(listener, portal).await.unwrap() });
    let a = Server::with(linked(link_to(address))).await;
    a.create("a").await;
    a.add("a", "1").await;
    assert_eq!(upstream_is(&a, "offline").await["error"]["code"], "not_a_sync_server");
    assert_eq!(a.status("a").await["unsent"]["changes"], 0, "nothing is known of the upstream yet");
    task.abort();
    let _ = task.await;
    let hub = Server::on(tempfile::tempdir().unwrap(), address, |builder| builder.sql(true)).await;
    has(&hub, &["1"]).await;
}

#[tokio::test]
async fn a_large_history_goes_over_in_pages() {
    let hub = Server::start().await;
    let a = node(&hub).await;
    pause(&a, true).await;
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
                INSERT INTO todo SELECT 'k' || i, 'title ' || i, 0 FROM n";
    a.sql("a", fill).await;
    hub.create("a").await;
    hub.sql("a", &fill.replace("'k'", "'h'")).await;
    pause(&a, false).await;
    let count = |server: &Server| {
        let request = server.request(Method::POST, "/a/sql").json(&json!({ "sql": "SELECT count(*) FROM todo" }));
        async { send(request).await.ok()["results"][0]["rows"][0][0].clone() }
    };
    eventually("all rows on both", || async { count(&a).await == 24000 && count(&hub).await == 24000 }).await;
}
