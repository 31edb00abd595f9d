//! Upstreams that fail, ask for time, are no upstreams, or lost their data.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crsql_sync::store::Store;
use rusqlite::Connection;
use serde_json::json;

use crate::gate::{Gate, answer, problem};
use crate::node::{Node, has};
use crate::support::{Server, eventually};

#[tokio::test]
async fn scenario_6_two_clients_that_come_back_at_the_same_instant_both_drain() {
    let hub = Server::start().await;
    let (a, b) = (Node::of(&hub).await, Node::of(&hub).await);
    for node in [&a, &b] {
        node.link_is("online").await;
        node.pause().await;
    }
    for n in 0..20 {
        a.add(&format!("a{n:02}")).await;
        b.add(&format!("b{n:02}")).await;
    }
    tokio::join!(a.resume(), b.resume());
    for server in [&a.server, &b.server, &hub] {
        eventually("all forty", || async { server.ids("a").await.len() == 40 }).await;
    }
    a.all_sent().await;
    b.all_sent().await;
}

#[tokio::test]
async fn scenario_7_a_burst_of_a_thousand_writes_reaches_the_other_side_whole() {
    let hub = Server::start().await;
    let (a, b) = (Node::of(&hub).await, Node::of(&hub).await);
    b.link_is("online").await;
    for _ in 0..20 {
        let many = (0..50).map(|_| json!({ "sql": "INSERT INTO todo (id) VALUES (hex(randomblob(16)))" }));
        let one_each = many.map(|statement| a.server.post("/a/sql", statement));
        futures_util::future::join_all(one_each).await.into_iter().for_each(|answer| drop(answer.ok()));
    }
    eventually("a thousand", || async { b.ids().await.len() == 1000 }).await;
    assert_eq!(a.ids().await, b.ids().await);
    a.all_sent().await;
}

#[tokio::test]
async fn scenario_8_an_upload_that_failed_once_is_tried_again_without_another_write() {
    let gate = Gate::default();
    let hub = gate.hub().await;
    let a = Node::of(&hub).await;
    a.link_is("online").await;
    let failures = AtomicUsize::new(0);
    gate.answer(move |asked| {
        (asked.is_push() && failures.fetch_add(1, Ordering::SeqCst) == 0).then(|| problem(500, "internal", &[]))
    });
    a.add("1").await;
    has(&hub, &["1"]).await;
    assert_eq!(gate.pushes().len(), 2);
}

#[tokio::test]
async fn scenario_11_an_upstream_that_asks_for_time_is_given_it() {
    for (status, in_seconds) in [(429, true), (503, true), (503, false)] {
        let gate = Gate::default();
        let hub = gate.hub().await;
        let a = Node::of(&hub).await;
        a.link_is("online").await;
        gate.answer(move |asked| {
            let date = |after| httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(after));
            let after = if in_seconds { "2".to_owned() } else { date(2) };
            let text = [("retry-after", &*after), ("date", &*date(0)), ("content-type", "text/plain")];
            asked.is_push().then(|| answer(status, &text, "later"))
        });
        a.add("1").await;
        let began = Instant::now();
        let offline = a.link_is("offline").await;
        assert_eq!(offline["error"]["status"], status);
        assert!(offline["retry_in_ms"].as_u64().unwrap() > 500, "{offline}");
        gate.open();
        gate.take();
        // Nobody hurries it.
        a.wake();
        tokio::time::sleep(Duration::from_millis(500)).await;
        a.wake();
        assert!(gate.take().is_empty());
        has(&hub, &["1"]).await;
        assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_host_that_is_started_anew_still_gives_the_upstream_its_time() {
    let gate = Gate::default();
    let hub = gate.hub().await;
    let a = Node::of(&hub).await;
    a.link_is("online").await;
    gate.answer(|asked| asked.is_push().then(|| problem(503, "unavailable", &[("retry-after", "60")])));
    a.add("1").await;
    a.link_is("offline").await;
    gate.open();
    gate.take();
    let a = a.restart(hub.address).await;
    let waits = a.link_is("offline").await;
    assert!(waits["retry_in_ms"].as_u64().unwrap() > 30_000, "{waits}");
    assert!(gate.take().is_empty());
    // But for somebody who says so.
    a.resume().await;
    has(&hub, &["1"]).await;
}

#[tokio::test]
async fn scenario_11_the_pages_of_captive_portals_are_not_taken_for_success() {
    type Portal = fn() -> axum::response::Response;
    let portals: [(&str, Portal); 5] = [
        ("a page", || answer(200, &[("content-type", "text/html")], "<h1>Welcome!</h1>")),
        ("json of something else", || answer(200, &[("content-type", "application/json")], r#"{"ok": true}"#)),
        ("a redirect", || answer(302, &[("location", "http://portal.test/login")], "")),
        ("a redirect that keeps the method", || answer(307, &[("location", "http://portal.test/login")], "")),
        ("an error page", || answer(404, &[("content-type", "text/html")], "<h1>Not here</h1>")),
    ];
    for (what, portal) in portals {
        let gate = Gate::default();
        let hub = gate.hub().await;
        let a = Node::of(&hub).await;
        a.link_is("online").await;
        gate.answer(move |_| Some(portal()));
        a.add("1").await;
        let offline = a.link_is("offline").await;
        assert_eq!(offline["error"]["code"], "not_a_sync_server", "{what}: {offline}");
        assert_eq!((a.unsent().await, a.quarantined(0).await), (2, json!([])), "{what}");
        gate.open();
        a.wake();
        has(&hub, &["1"]).await;
    }
}

#[tokio::test]
async fn an_answer_that_does_not_say_that_it_holds_a_batch_acknowledges_nothing() {
    let gate = Gate::default();
    let hub = gate.hub().await;
    let a = Node::of(&hub).await;
    a.link_is("online").await;
    let site = a.site().await;
    gate.answer(move |asked| {
        let taken = json!({ "applied": 2, "received": format!("{site}.0"), "at": format!("{site}.0") }).to_string();
        asked.is_push().then(|| answer(200, &[("content-type", "application/json")], &taken))
    });
    a.add("1").await;
    a.link_is("offline").await;
    assert_eq!(a.unsent().await, 2);
    gate.open();
    has(&hub, &["1"]).await;
}

#[tokio::test]
async fn scenario_12_an_answer_of_another_upstream_that_some_cache_kept_is_found_out_and_passed_by() {
    let gate = Gate::default();
    let (old, hub) = (Server::start().await, gate.hub().await);
    for server in [&old, &hub] {
        server.create("a").await;
    }
    old.add("a", "old").await;
    hub.add("a", "new").await;
    let stale = old.get("/a/changes?since=0").await.ok().to_string();
    gate.answer(move |asked| {
        let is_page = asked.path.starts_with("/sync/a/changes?");
        is_page.then(|| answer(200, &[("content-type", "application/json")], &stale))
    });
    let a = Node::of(&hub).await;
    a.has(&["new"]).await;
    a.link_is("online").await;
    // One that no cache would give, once, and then the stream.
    assert!(gate.take().len() < 8);
}

#[tokio::test]
async fn scenario_13_an_upstream_that_lost_its_data_is_sent_what_it_lacks_and_no_more() {
    let gate = Gate::default();
    let hub = gate.hub().await;
    let (a, b) = (Node::of(&hub).await, Node::of(&hub).await);
    for n in 0..10 {
        a.add(&format!("a{n}")).await;
        b.add(&format!("b{n}")).await;
    }
    for node in [&a, &b] {
        eventually("twenty", || async { node.ids().await.len() == 20 }).await;
        node.pause().await;
    }
    // Another one, which has what one of them brings.
    let other = Gate::default();
    let new = other.hub().await;
    let follow = |node: Node| async {
        let node = node.restart(new.address).await;
        node.resume().await;
        node
    };
    let b = follow(b).await;
    eventually("all of it", || async { new.ids("a").await.len() == 20 }).await;
    b.all_sent().await;
    assert_eq!(other.pushes().iter().map(|push| push.batch().changes.len()).sum::<usize>(), 40);
    b.pause().await;
    let a = follow(a).await;
    a.add("later").await;
    eventually("the later one", || async { new.ids("a").await.len() == 21 }).await;
    a.all_sent().await;
    let asked = other.take();
    let pushed = asked.iter().filter(|asked| asked.is_push()).map(|push| push.batch().changes.len()).sum::<usize>();
    assert_eq!(pushed, 2, "the rest is there");
    assert!(asked.iter().any(|asked| asked.path == "/sync/a/changes/request"), "nor is it asked for");
    assert_eq!(new.status("a").await["gaps"], json!({}));
}

#[tokio::test]
async fn scenario_13_an_upstream_that_came_back_as_it_was_and_passed_our_cursor_since_is_heard_whole() {
    let hub = Server::start().await;
    let a = Node::of(&hub).await;
    a.add("a kept").await;
    has(&hub, &["a kept"]).await;
    let backup = hub.folder.path().join("backup");
    Connection::open(hub.folder.path().join("a.db")).unwrap().execute("VACUUM INTO ?", [backup.to_str()]).unwrap();
    a.add("a lost").await;
    has(&hub, &["a kept", "a lost"]).await;
    for n in 0..3 {
        hub.add("a", &format!("hub lost {n}")).await;
    }
    eventually("five", || async { a.ids().await.len() == 5 }).await;
    a.pause().await;

    let (folder, address) = hub.stop().await;
    while Store::at(folder.path()).is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let _ = fs::remove_file(folder.path().join("a.db-wal"));
    fs::copy(&backup, folder.path().join("a.db")).unwrap();
    let hub = Server::on(folder, address, |builder| builder.sql(true)).await;
    assert_eq!(hub.ids("a").await, ["a kept"]);
    for n in 0..9 {
        hub.add("a", &format!("hub new {n}")).await;
    }
    a.add("a later").await;
    a.resume().await;
    eventually("all fifteen", || async { a.ids().await.len() == 15 && hub.ids("a").await.len() == 15 }).await;
    a.all_sent().await;
}
