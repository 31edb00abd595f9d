//! What the upstream will not have, and what becomes of the rest.

use crsql_sync::http::{Access, Bounds, Verdict};
use crsql_sync::sync::Batch;
use rusqlite::types::Value::Text;
use serde_json::json;

use crate::gate::{Asked, Gate, problem};
use crate::node::{Node, has};
use crate::support::{PEER, Server, TODO, batch, eventually};

#[tokio::test]
async fn scenario_11_a_poisoned_change_does_not_hold_up_the_rest() {
    let gate = Gate::default();
    let hub = gate.hub().await;
    let a = Node::of(&hub).await;
    for n in 0..10 {
        a.add(&n.to_string()).await;
    }
    eventually("ten", || async { hub.ids("a").await.len() == 10 }).await;
    a.pause().await;
    // The hub goes on without a column, and this copy does not know.
    let narrower = TODO.replace("title, ", "");
    let dropped = json!({ "schema": narrower, "allow_destructive": ["todo.title"] });
    hub.post("/a/migrate", dropped).await.ok();
    for n in 0..5 {
        a.sql(&format!("UPDATE todo SET done = {n} + 1 WHERE id = '{n}'")).await;
    }
    a.sql("UPDATE todo SET title = 'poison', done = 70 WHERE id = '7'").await;
    for n in 5..10 {
        a.sql(&format!("UPDATE todo SET done = {n} + 1 WHERE id = '{n}'")).await;
    }
    gate.take();
    a.resume().await;
    let held_back = a.quarantined(1).await;
    assert_eq!((&held_back[0]["code"], &held_back[0]["status"]), (&json!("invalid_batch"), &json!(400)));
    assert!(held_back[0]["detail"].as_str().unwrap().contains("title"), "{held_back}");
    assert_eq!(held_back[0]["versions"], json!([16, 16]));
    a.all_sent().await;
    a.link_is("online").await;
    let done = hub.sql("a", "SELECT group_concat(done, ' ' ORDER BY id) FROM todo").await;
    assert_eq!(done["rows"][0][0], "1 2 3 4 5 6 7 8 9 10");
    let site = a.site().await;
    assert_eq!(hub.status("a").await["gaps"], json!({ site: [[16, 16]] }));
    assert!(gate.pushes().len() < 12, "it is found by halves");

    // The column comes back, and what was refused with it.
    hub.post("/a/migrate", json!({ "schema": TODO })).await.ok();
    hub.add("a", "new").await;
    a.quarantined(0).await;
    assert_eq!(hub.status("a").await["gaps"], json!({}));
    let title = hub.sql("a", "SELECT title FROM todo WHERE id = '7'").await;
    assert_eq!(title["rows"][0][0], "poison");
}

#[tokio::test]
async fn what_is_refused_is_sent_again_when_somebody_asks() {
    let gate = Gate::default();
    let hub = gate.hub().await;
    let a = Node::of(&hub).await;
    let is_poisoned =
        |asked: &Asked| asked.is_push() && asked.batch().changes.iter().any(|change| change.version.get() == 2);
    gate.answer(move |asked| is_poisoned(asked).then(|| problem(422, "not_our_taste", &[])));
    for id in ["1", "2", "3"] {
        a.add(id).await;
    }
    has(&hub, &["1", "3"]).await;
    assert_eq!(a.quarantined(1).await[0]["code"], "not_our_taste");
    let a = a.restart(hub.address).await;
    a.add("4").await;
    has(&hub, &["1", "3", "4"]).await;
    a.retry().await;
    a.add("5").await;
    has(&hub, &["1", "3", "4", "5"]).await;
    a.quarantined(1).await;
    gate.open();
    a.retry().await;
    has(&hub, &["1", "2", "3", "4", "5"]).await;
    a.quarantined(0).await;
}

#[tokio::test]
async fn what_is_refused_can_be_given_up_and_then_both_sides_have_the_same() {
    let gate = Gate::default();
    let hub = gate.hub().await;
    let (a, b) = (Node::of(&hub).await, Node::of(&hub).await);
    b.add("1").await;
    a.has(&["1"]).await;
    gate.answer(|asked| {
        let is_poison = |batch: Batch| batch.changes.iter().any(|change| change.val == Text("poison".into()));
        (asked.is_push() && is_poison(asked.batch())).then(|| problem(422, "not_our_taste", &[]))
    });
    a.sql("UPDATE todo SET title = 'poison'").await;
    a.sql("INSERT INTO todo (id, title) VALUES ('2', 'poison')").await;
    a.add("3").await;
    has(&hub, &["1", "3"]).await;
    let held_back = a.quarantined(2).await;
    assert_eq!(a.ids().await, ["1", "2", "3"]);
    let unreadable = a.server.put("/a/upstream", json!({ "discard": { "x": [[1, 1]] } })).await;
    assert_eq!(unreadable.code(), "invalid_request");
    let versions = |at: usize| held_back[at]["versions"].clone();
    a.set(json!({ "discard": { a.site().await: [versions(0), versions(1)] } })).await;
    a.quarantined(0).await;
    let title = "SELECT group_concat(title, ' ' ORDER BY id) FROM todo";
    for server in [&a.server, &b.server, &hub] {
        eventually("what the others have", || async {
            server.sql("a", title).await["rows"][0][0] == "title of 1 title of 3"
        })
        .await;
    }
    a.add("4").await;
    has(&hub, &["1", "3", "4"]).await;
    assert_eq!(hub.status("a").await["gaps"], json!({}));
    // By cursor again.
    eventually("acknowledged", || async {
        let status = a.status().await;
        status["peers"].as_array().unwrap().iter().any(|peer| peer["acknowledged"] == status["at"])
    })
    .await;
    assert!(gate.take().iter().filter(|asked| asked.path == "/sync/a/verify").count() <= 2);
}

#[tokio::test]
async fn what_another_copy_wrote_is_not_given_up_here() {
    let gate = Gate::default();
    let hub = gate.hub().await;
    gate.answer(|asked| asked.is_push().then(|| problem(422, "not_our_taste", &[])));
    let a = Node::of(&hub).await;
    a.link_is("online").await;
    a.server.post("/a/changes", batch(1, "theirs")).await.ok();
    let versions = a.quarantined(1).await[0]["versions"].clone();
    let refused = a.server.put("/a/upstream", json!({ "discard": { PEER: [versions] } })).await;
    assert_eq!((refused.status, refused.code()), (400, "invalid_request"));
    assert_eq!(a.quarantined(1).await[0]["code"], "not_our_taste");
    assert_eq!(a.ids().await, ["theirs"]);
}

#[tokio::test]
async fn a_row_that_is_too_large_for_the_upstream_does_not_hold_up_the_rest() {
    let hub = Server::with(|builder| {
        let mut limits = crsql_sync::http::Limits::default();
        limits.binary_body = 20_000;
        builder.sql(true).limits(limits)
    })
    .await;
    let a = Node::of(&hub).await;
    a.pause().await;
    let fill = "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 59)
                INSERT INTO todo SELECT i, hex(randomblob(500)), 0 FROM n";
    a.sql(fill).await;
    a.sql("INSERT INTO todo VALUES ('99', hex(randomblob(20000)), 0)").await;
    a.add("100").await;
    a.resume().await;
    eventually("the others", || async { hub.ids("a").await.len() == 51 }).await;
    assert_eq!(a.quarantined(1).await[0]["code"], "payload_too_large");
    a.all_sent().await;
}

/// A hub whose nodes are bound as `bound` says.
async fn bounded(bound: impl Fn(Bounds) -> Bounds + Send + Sync + 'static) -> Server {
    let hook = move |access: Access| {
        let is_node = access.headers.contains_key("crsql-site");
        let bounds = if is_node { bound(Bounds::default()) } else { Bounds::NONE };
        std::future::ready(Ok(Verdict::Allow(bounds)))
    };
    Server::with(|builder| builder.sql(true).authorize(hook)).await
}

#[tokio::test]
async fn a_change_that_the_caller_may_not_make_does_not_hold_up_the_rest() {
    let hub = bounded(|bounds| bounds.tables(["todo"])).await;
    let schema = format!("{TODO} CREATE TABLE secret (id PRIMARY KEY NOT NULL); SELECT crsql_as_crr('secret');");
    hub.put("/a", json!({ "schema": schema })).await.ok();
    let a = Node::of_schema(&hub, &schema).await;
    a.pause().await;
    a.add("1").await;
    a.sql("INSERT INTO secret VALUES (7)").await;
    a.add("2").await;
    a.resume().await;
    has(&hub, &["1", "2"]).await;
    let held_back = a.quarantined(1).await;
    assert_eq!((&held_back[0]["code"], &held_back[0]["status"]), (&json!("forbidden"), &json!(403)));
    assert_eq!(held_back[0]["versions"], json!([2, 2]));
    a.all_sent().await;
    a.link_is("online").await;
    a.add("3").await;
    has(&hub, &["1", "2", "3"]).await;
    assert_eq!(hub.sql("a", "SELECT count(*) FROM secret").await["rows"][0][0], 0);
}

#[tokio::test]
async fn what_another_site_wrote_is_held_back_where_the_caller_may_not_speak_for_it() {
    let other = Server::start().await;
    let b = Node::of(&other).await;
    b.add("theirs").await;
    has(&other, &["theirs"]).await;
    let a = Node::of(&other).await;
    a.has(&["theirs"]).await;
    a.add("ours").await;
    a.all_sent().await;
    let ours = a.site().await.parse().unwrap();
    let hub = bounded(move |bounds| bounds.sites([ours])).await;
    let a = a.restart(hub.address).await;
    has(&hub, &["ours"]).await;
    assert_eq!(a.quarantined(1).await[0]["site"], json!(b.site().await));
    a.add("later").await;
    has(&hub, &["later", "ours"]).await;
}

#[tokio::test]
async fn a_caller_that_is_refused_as_such_has_nothing_held_back() {
    let hub = bounded(Bounds::read_only).await;
    hub.create("a").await;
    let a = Node::of(&hub).await;
    a.link_is("online").await;
    a.pause().await;
    for id in ["1", "2", "3"] {
        a.add(id).await;
    }
    a.resume().await;
    let refused = a.link_is("refused").await;
    assert_eq!(refused["error"]["detail"], "the caller may only read");
    a.wake();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    a.link_is("refused").await;
    assert_eq!((a.unsent().await, a.quarantined(0).await), (6, json!([])));
}

#[tokio::test]
async fn a_caller_that_may_only_read_is_refused_when_it_has_something_to_send_and_pulls_all_the_same() {
    let hub = bounded(Bounds::read_only).await;
    hub.create("a").await;
    hub.add("a", "1").await;
    let a = Node::of(&hub).await;
    a.has(&["1"]).await;
    a.link_is("online").await;
    a.add("2").await;
    assert_eq!(a.link_is("refused").await["error"]["status"], 403);
    hub.add("a", "3").await;
    a.has(&["1", "2", "3"]).await;
    assert_eq!(a.unsent().await, 2);
}
