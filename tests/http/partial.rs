//! Copies that hold the rows of their queries only: subscribed to at a real host, and told of by their own routes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crsql_sync::http::{Access, Bounds, Operation, Verdict};
use crsql_sync::sync::Filter;
use reqwest::Method;
use serde_json::{Value, json};

use crate::node::{link_is, link_to, linked};
use crate::support::{Answer, Server, eventually, send};

const SCHEMA: &str = "CREATE TABLE task (id TEXT PRIMARY KEY NOT NULL, title, project TEXT);
    CREATE TABLE member (project TEXT NOT NULL, person TEXT NOT NULL, PRIMARY KEY (project, person));
    SELECT crsql_as_crr('task'); SELECT crsql_as_crr('member');";

/// The tasks of a person's projects.
const TASKS_OF: &str = "SELECT * FROM task WHERE project IN (SELECT project FROM member WHERE person = ?)";

async fn hub() -> Server {
    let hub = Server::start().await;
    hub.put("/a", json!({ "schema": SCHEMA })).await.ok();
    hub
}

/// A copy of the hub's database that has no rows yet.
async fn copy_of(hub: &Server) -> Server {
    let copy = Server::with(linked(link_to(hub.address))).await;
    copy.put("/a", json!({ "schema": SCHEMA, "partial": true })).await.ok();
    copy
}

async fn subscribe(copy: &Server, id: &str, queries: Value) -> Value {
    copy.put(&format!("/a/upstream/subscriptions/{id}"), json!({ "queries": queries })).await.ok()
}

async fn subscription(copy: &Server, id: &str) -> Answer {
    copy.get(&format!("/a/upstream/subscriptions/{id}")).await
}

async fn end(copy: &Server, id: &str) -> Answer {
    send(copy.request(Method::DELETE, &format!("/a/upstream/subscriptions/{id}"))).await
}

fn tasks_of(person: &str) -> Value {
    json!([{ "sql": TASKS_OF, "params": [person] }])
}

async fn tasks(server: &Server) -> Vec<String> {
    let rows = server.sql("a", "SELECT id FROM task ORDER BY id").await["rows"].clone();
    rows.as_array().unwrap().iter().map(|row| row[0].as_str().unwrap().to_owned()).collect()
}

async fn has(server: &Server, ids: &[&str]) {
    eventually(&format!("{ids:?}"), || async { tasks(server).await == ids }).await;
}

async fn is_complete(copy: &Server, id: &str) -> Value {
    eventually("complete", || async { subscription(copy, id).await.ok()["complete"] == true }).await;
    subscription(copy, id).await.ok()
}

async fn title(server: &Server, id: &str) -> Value {
    server.sql("a", &format!("SELECT title FROM task WHERE id = '{id}'")).await["rows"][0][0].clone()
}

async fn add(server: &Server, id: &str, project: &str) {
    server.sql("a", &format!("INSERT INTO task VALUES ('{id}', 'title of {id}', '{project}')")).await;
}

async fn join(server: &Server, project: &str, person: &str) {
    server.sql("a", &format!("INSERT INTO member VALUES ('{project}', '{person}')")).await;
}

#[tokio::test]
async fn a_partial_copy_gets_the_rows_of_its_queries_and_no_others() {
    let hub = hub().await;
    for (id, project) in [("1", "boat"), ("2", "house"), ("3", "boat")] {
        add(&hub, id, project).await;
    }
    join(&hub, "boat", "ann").await;
    let copy = copy_of(&hub).await;
    link_is(&copy, "online").await;
    assert!(tasks(&copy).await.is_empty());
    let begun = subscribe(&copy, "mine", tasks_of("ann")).await;
    assert_eq!((&begun["id"], &begun["forget"], &begun["error"]), (&json!("mine"), &json!(true), &json!(null)));
    let complete = is_complete(&copy, "mine").await;
    assert_eq!(complete["rows"], 3, "two tasks and who is a member: {complete}");
    assert_eq!(tasks(&copy).await, ["1", "3"]);
    add(&hub, "4", "house").await;
    add(&hub, "5", "boat").await;
    has(&copy, &["1", "3", "5"]).await;
    let status = copy.status("a").await;
    assert_eq!(status["subscriptions"][0]["id"], "mine");
    assert_eq!(copy.get("/a/status?clock=true").await.ok()["clock"], json!({}), "it claims nothing");
    assert_eq!(hub.status("a").await["subscriptions"], json!(null));
}

#[tokio::test]
async fn rows_enter_and_leave_because_another_one_changed_and_stay_where_they_are_from() {
    let hub = hub().await;
    add(&hub, "1", "boat").await;
    add(&hub, "2", "house").await;
    let copy = copy_of(&hub).await;
    subscribe(&copy, "mine", tasks_of("ann")).await;
    is_complete(&copy, "mine").await;
    assert!(tasks(&copy).await.is_empty());
    join(&hub, "boat", "ann").await;
    has(&copy, &["1"]).await;
    hub.sql("a", "UPDATE member SET project = 'house' WHERE person = 'ann'").await;
    has(&copy, &["2"]).await;
    hub.sql("a", "DELETE FROM member").await;
    has(&copy, &[]).await;
    assert_eq!(tasks(&hub).await, ["1", "2"], "forgotten is not deleted");
    // They come back whole.
    join(&hub, "boat", "ann").await;
    has(&copy, &["1"]).await;
    assert_eq!(copy.sql("a", "SELECT title FROM task").await["rows"], json!([["title of 1"]]));
}

#[tokio::test]
async fn writes_to_rows_that_are_held_go_upstream_and_rows_that_no_query_reads_are_forgotten_after_that() {
    let hub = hub().await;
    join(&hub, "boat", "ann").await;
    add(&hub, "1", "boat").await;
    let copy = copy_of(&hub).await;
    subscribe(&copy, "mine", tasks_of("ann")).await;
    has(&copy, &["1"]).await;
    copy.sql("a", "UPDATE task SET title = 'new' WHERE id = '1'").await;
    add(&copy, "2", "boat").await;
    add(&copy, "3", "house").await;
    assert_eq!(tasks(&copy).await, ["1", "2", "3"]);
    has(&hub, &["1", "2", "3"]).await;
    assert_eq!(hub.sql("a", "SELECT title FROM task WHERE id = '1'").await["rows"], json!([["new"]]));
    has(&copy, &["1", "2"]).await;
    assert_eq!(tasks(&hub).await, ["1", "2", "3"]);
    // A row that it gives away itself.
    copy.sql("a", "UPDATE task SET project = 'house' WHERE id = '1'").await;
    has(&copy, &["2"]).await;
    assert_eq!(tasks(&hub).await, ["1", "2", "3"]);
}

#[tokio::test]
async fn rows_that_left_stay_where_they_are_not_to_be_forgotten() {
    let hub = hub().await;
    join(&hub, "boat", "ann").await;
    add(&hub, "1", "boat").await;
    let copy = copy_of(&hub).await;
    let kept = json!({ "queries": tasks_of("ann"), "forget": false });
    copy.put("/a/upstream/subscriptions/mine", kept).await.ok();
    has(&copy, &["1"]).await;
    hub.sql("a", "DELETE FROM member").await;
    eventually("it left", || async { subscription(&copy, "mine").await.ok()["rows"] == 0 }).await;
    assert_eq!(tasks(&copy).await, ["1"]);
}

#[tokio::test]
async fn a_subscription_goes_on_where_it_was_when_the_copy_or_the_host_was_stopped_or_the_streams_were_cut() {
    let mut hub = hub().await;
    join(&hub, "boat", "ann").await;
    let mut copy = copy_of(&hub).await;
    subscribe(&copy, "mine", tasks_of("ann")).await;
    let mut ids = Vec::new();
    for round in 0..3 {
        ids.push(format!("{round}a"));
        add(&hub, &format!("{round}a"), "boat").await;
        add(&hub, &format!("{round}x"), "house").await;
        let (folder, address) = copy.stop().await;
        ids.push(format!("{round}b"));
        add(&hub, &format!("{round}b"), "boat").await;
        copy = Server::on(folder, address, linked(link_to(hub.address))).await;
        copy.status("a").await;
        has(&copy, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let (folder, address) = hub.stop().await;
        ids.push(format!("{round}c"));
        add(&copy, &format!("{round}c"), "boat").await;
        hub = Server::on(folder, address, |builder| builder.sql(true)).await;
        has(&copy, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
        eventually("it is there", || async { tasks(&hub).await.contains(&format!("{round}c")) }).await;
        hub.drain.drain();
        ids.push(format!("{round}d"));
        add(&hub, &format!("{round}d"), "boat").await;
        has(&copy, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
}

#[tokio::test]
async fn a_host_that_forgot_a_subscription_or_was_replaced_begins_it_anew() {
    let hub = hub().await;
    join(&hub, "boat", "ann").await;
    for id in ["1", "2"] {
        add(&hub, id, "boat").await;
    }
    let copy = copy_of(&hub).await;
    subscribe(&copy, "mine", tasks_of("ann")).await;
    has(&copy, &["1", "2"]).await;
    let site = copy.status("a").await["site"].as_str().unwrap().to_owned();
    let (folder, address) = copy.stop().await;
    let forget = "/a/changes/query?subscription=mine";
    assert_eq!(send(hub.request(Method::DELETE, forget).header("crsql-site", &site)).await.status, 204);
    hub.sql("a", "UPDATE task SET project = 'house' WHERE id = '1'").await;
    let copy = Server::on(folder, address, linked(link_to(hub.address))).await;
    has(&copy, &["2"]).await;

    let (folder, address) = hub.stop().await;
    drop(folder);
    let hub = Server::on(tempfile::tempdir().unwrap(), address, |builder| builder.sql(true)).await;
    hub.put("/a", json!({ "schema": SCHEMA })).await.ok();
    join(&hub, "boat", "ann").await;
    add(&hub, "3", "boat").await;
    // What the copy has it gives back.
    has(&copy, &["2", "3"]).await;
    has(&hub, &["2", "3"]).await;
}

#[tokio::test]
async fn what_is_refused_of_one_subscription_is_shown_and_holds_up_nothing_else() {
    let hub = hub().await;
    join(&hub, "boat", "ann").await;
    add(&hub, "1", "boat").await;
    let copy = copy_of(&hub).await;
    subscribe(&copy, "wrong", json!([{ "sql": "SELECT * FROM nowhere" }])).await;
    subscribe(&copy, "mine", tasks_of("ann")).await;
    has(&copy, &["1"]).await;
    eventually("refused", || async { subscription(&copy, "wrong").await.ok()["error"] != json!(null) }).await;
    let wrong = subscription(&copy, "wrong").await.ok();
    assert_eq!((&wrong["error"]["code"], &wrong["complete"]), (&json!("query_refused"), &json!(false)));
    assert_eq!(link_is(&copy, "online").await["error"], json!(null));
    add(&copy, "2", "boat").await;
    has(&hub, &["1", "2"]).await;
    // With other queries it is asked for at once.
    subscribe(&copy, "wrong", json!([{ "sql": "SELECT * FROM task" }])).await;
    let right = is_complete(&copy, "wrong").await;
    assert_eq!(right["error"], json!(null));
}

#[tokio::test]
async fn what_is_forbidden_is_asked_for_again_when_it_may_be_allowed() {
    let allow = Arc::new(AtomicBool::new(false));
    let allowed = allow.clone();
    let hook = move |access: Access| {
        let queries = access.method == Method::POST && access.sql.iter().any(|sql| sql.contains("member"));
        let open = !queries || access.operation == Operation::Sql || allowed.load(SeqCst);
        std::future::ready(Ok(if open { Verdict::ALLOW } else { Verdict::Forbidden("ask ben".into()) }))
    };
    let hub = Server::with(|builder| builder.sql(true).authorize(hook)).await;
    hub.put("/a", json!({ "schema": SCHEMA })).await.ok();
    join(&hub, "boat", "ann").await;
    add(&hub, "1", "boat").await;
    let upstream = link_to(hub.address);
    let copy = Server::with(linked(upstream.clone())).await;
    copy.put("/a", json!({ "schema": SCHEMA, "partial": true })).await.ok();
    subscribe(&copy, "mine", tasks_of("ann")).await;
    eventually("forbidden", || async { subscription(&copy, "mine").await.ok()["error"]["detail"] == "ask ben" }).await;
    allow.store(true, SeqCst);
    upstream.wake();
    has(&copy, &["1"]).await;
    assert_eq!(subscription(&copy, "mine").await.ok()["error"], json!(null));
}

#[tokio::test]
async fn a_subscription_that_ends_takes_along_the_rows_that_no_other_one_reads() {
    let hub = hub().await;
    join(&hub, "boat", "ann").await;
    join(&hub, "house", "ben").await;
    add(&hub, "1", "boat").await;
    add(&hub, "2", "house").await;
    let copy = copy_of(&hub).await;
    subscribe(&copy, "anns", tasks_of("ann")).await;
    subscribe(&copy, "all", json!([{ "sql": "SELECT * FROM task" }])).await;
    is_complete(&copy, "anns").await;
    is_complete(&copy, "all").await;
    assert_eq!(tasks(&copy).await, ["1", "2"]);
    let list = copy.get("/a/upstream/subscriptions").await.ok()["subscriptions"].clone();
    assert_eq!(list.as_array().unwrap().iter().map(|one| &one["id"]).collect::<Vec<_>>(), ["all", "anns"]);
    assert_eq!(end(&copy, "all").await.status, 204);
    assert_eq!(tasks(&copy).await, ["1"]);
    assert_eq!(end(&copy, "all").await.status, 204);
    assert_eq!(subscription(&copy, "all").await.code(), "not_found");
    add(&hub, "3", "boat").await;
    has(&copy, &["1", "3"]).await;
    // Asked for again, they come back.
    subscribe(&copy, "all", json!([{ "sql": "SELECT * FROM task" }])).await;
    has(&copy, &["1", "2", "3"]).await;
}

#[tokio::test]
async fn a_subscription_that_ends_and_is_asked_for_again_at_once_is_complete_again() {
    let hub = hub().await;
    join(&hub, "boat", "ann").await;
    add(&hub, "1", "boat").await;
    let copy = copy_of(&hub).await;
    subscribe(&copy, "mine", tasks_of("ann")).await;
    for _ in 0..20 {
        is_complete(&copy, "mine").await;
        assert_eq!(tasks(&copy).await, ["1"]);
        end(&copy, "mine").await;
        subscribe(&copy, "mine", tasks_of("ann")).await;
    }
}

#[tokio::test]
async fn rows_of_the_first_write_are_forgotten_too_once_there_is_a_subscription() {
    let hub = hub().await;
    let copy = copy_of(&hub).await;
    copy.sql("a", "INSERT INTO task VALUES ('1', 'mine', 'boat'), ('2', 'not mine', 'house')").await;
    eventually("sent", || async { tasks(&hub).await == ["1", "2"] }).await;
    subscribe(&copy, "mine", json!([{ "sql": "SELECT * FROM task WHERE project = 'boat'" }])).await;
    has(&copy, &["1"]).await;
    assert_eq!(tasks(&hub).await, ["1", "2"]);
}

#[tokio::test]
async fn readers_of_events_are_told_of_rows_that_are_forgotten() {
    let hub = hub().await;
    add(&hub, "1", "boat").await;
    let copy = copy_of(&hub).await;
    subscribe(&copy, "mine", json!([{ "sql": "SELECT * FROM task WHERE project = 'boat'" }])).await;
    has(&copy, &["1"]).await;
    let since = copy.at("a").await;
    let mut events = copy.request(Method::GET, &format!("/a/events?since={since}")).send().await.unwrap();
    let mut heard = String::new();
    hub.sql("a", "UPDATE task SET project = 'house'").await;
    while !heard.contains("event: forgotten\ndata: {}\n\n") {
        heard += &String::from_utf8_lossy(&events.chunk().await.unwrap().unwrap());
    }
    assert!(tasks(&copy).await.is_empty());
}

#[tokio::test]
async fn many_rows_come_in_pages_and_many_subscriptions_are_all_followed() {
    let hub = hub().await;
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
                INSERT INTO task SELECT 'k' || i, 'title ' || i, 'p' || (i % 8) FROM n";
    hub.sql("a", fill).await;
    let copy = copy_of(&hub).await;
    subscribe(&copy, "all", json!([{ "sql": "SELECT * FROM task" }])).await;
    assert_eq!(is_complete(&copy, "all").await["rows"], 12000);
    assert_eq!(end(&copy, "all").await.status, 204);
    assert_eq!(copy.sql("a", "SELECT count(*) FROM task").await["rows"], json!([[0]]));
    for n in 0..8 {
        let queries = json!([{ "sql": "SELECT * FROM task WHERE project = ?", "params": [format!("p{n}")] }]);
        subscribe(&copy, &format!("s{n}"), queries).await;
    }
    for n in 0..8 {
        assert_eq!(is_complete(&copy, &format!("s{n}")).await["rows"], 1500);
    }
    hub.sql("a", "DELETE FROM task WHERE id NOT IN ('k1', 'k2', 'k3', 'k4', 'k5', 'k6', 'k7', 'k8')").await;
    eventually("eight", || async { copy.sql("a", "SELECT count(*) FROM task").await["rows"] == json!([[8]]) }).await;
    eventually("in step", || async { copy.status("a").await["upstream"]["synced_at"].is_i64() }).await;
}

#[tokio::test]
async fn only_a_new_copy_with_an_upstream_can_be_partial() {
    let hub = hub().await;
    let refused = hub.put("/b", json!({ "schema": SCHEMA, "partial": true })).await;
    assert_eq!(refused.code(), "invalid_request");
    assert_eq!(hub.get("/b/status").await.code(), "not_found");
    let node = Server::with(linked(link_to(hub.address))).await;
    node.put("/a", json!({ "schema": SCHEMA })).await.ok();
    assert_eq!(node.put("/a", json!({ "schema": SCHEMA, "partial": true })).await.code(), "database_exists");
    let wanted = json!({ "queries": tasks_of("ann") });
    assert_eq!(node.put("/a/upstream/subscriptions/x", wanted.clone()).await.code(), "invalid_request");
    assert_eq!(node.get("/a/upstream/subscriptions").await.ok(), json!({ "subscriptions": [] }));
    node.put("/c", json!({ "schema": SCHEMA, "partial": true })).await.ok();
    node.put("/c", json!({ "schema": SCHEMA })).await.ok();
    for (id, body) in [
        ("a%20b", wanted.clone()),
        (&*"x".repeat(65), wanted.clone()),
        ("x", json!({ "queries": [] })),
        ("x", json!({ "queries": "SELECT 1" })),
        ("x", json!({})),
    ] {
        assert_eq!(node.put(&format!("/c/upstream/subscriptions/{id}"), body).await.code(), "invalid_request", "{id}");
    }
}

#[tokio::test]
async fn a_copy_of_who_may_use_some_rows_only_gets_those_and_holds_back_what_it_writes_outside() {
    let hook = |access: Access| {
        let of_projects = "project IN (SELECT project FROM member WHERE person = :person)";
        let task = Filter::new(of_projects).named([("person", "ann".to_owned())]);
        let bounds = Bounds::default().rows([("task", task), ("member", Filter::new("person = 'ann'").read_only())]);
        // Links say which site they are of.
        let is_link = access.headers.contains_key("crsql-site");
        std::future::ready(Ok(if is_link { bounds.into() } else { Verdict::ALLOW }))
    };
    let hub = Server::with(|builder| builder.sql(true).authorize(hook)).await;
    hub.put("/a", json!({ "schema": SCHEMA })).await.ok();
    join(&hub, "boat", "ann").await;
    add(&hub, "1", "boat").await;
    add(&hub, "2", "house").await;
    let copy = copy_of(&hub).await;
    subscribe(&copy, "all", json!([{ "sql": "SELECT * FROM task" }])).await;
    assert_eq!(is_complete(&copy, "all").await["rows"], 1);
    assert_eq!(tasks(&copy).await, ["1"]);
    // The task itself does not change.
    join(&hub, "house", "ann").await;
    has(&copy, &["1", "2"]).await;
    hub.sql("a", "DELETE FROM member WHERE project = 'house'").await;
    has(&copy, &["1"]).await;
    add(&copy, "3", "boat").await;
    has(&hub, &["1", "2", "3"]).await;
    add(&copy, "4", "house").await;
    add(&copy, "5", "boat").await;
    has(&hub, &["1", "2", "3", "5"]).await;
    eventually("held back", || async { copy.status("a").await["quarantined"]["count"] == 1 }).await;
    let held_back = copy.status("a").await["quarantined"]["transactions"][0].clone();
    assert_eq!((&held_back["code"], &held_back["status"]), (&json!("forbidden"), &json!(403)), "{held_back}");
    assert!(!held_back["detail"].as_str().unwrap().contains("house"), "{held_back}");
    // It goes on meanwhile, in both directions.
    hub.sql("a", "UPDATE task SET title = 'theirs' WHERE id = '1'").await;
    copy.sql("a", "UPDATE task SET title = 'ours' WHERE id = '3'").await;
    eventually("theirs", || async { title(&copy, "1").await == "theirs" }).await;
    eventually("ours", || async { title(&hub, "3").await == "ours" }).await;
    join(&hub, "house", "ann").await;
    copy.put("/a/upstream", json!({ "retry": true })).await.ok();
    has(&hub, &["1", "2", "3", "4", "5"]).await;
    has(&copy, &["1", "2", "3", "4", "5"]).await;
    eventually("nothing is", || async { copy.status("a").await["quarantined"]["count"] == 0 }).await;
}
