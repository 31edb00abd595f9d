//! Callers that may use some rows only.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crsql_sync::http::{Access, Bounds, Limits, Operation, Routes, Verdict};
use crsql_sync::sync::{Filter, Sql};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::tokens::{Host, file};
use crate::events::Reader;
use crate::support::{Answer, PEER, Server, send};

const TASKS: &str = "CREATE TABLE task (id TEXT PRIMARY KEY NOT NULL, owner TEXT, title TEXT);
    CREATE TABLE member (team TEXT NOT NULL, user TEXT NOT NULL, PRIMARY KEY (team, user));
    CREATE VIEW titles AS SELECT title FROM task;
    SELECT crsql_as_crr('task'); SELECT crsql_as_crr('member');";

/// How many rows are not for the caller: a number that stands in no other place.
const FOREIGN: i64 = 7919;

fn ann() -> Bounds {
    let own = Filter::new("owner = :user").named([("user", "ann".to_owned())]);
    Bounds::default().rows([("task", own), ("member", Filter::new("user = 'ann'").read_only())])
}

/// A server whose callers may use the rows of ann only, but for those with the header `x-all`. There are many rows of bob.
async fn limited() -> Server {
    limited_to(ann()).await
}

async fn limited_to(bounds: Bounds) -> Server {
    let hook = move |access: Access| {
        let all = access.headers.contains_key("x-all");
        std::future::ready(Ok(if all { Verdict::ALLOW } else { bounds.clone().into() }))
    };
    let server = Server::with(|builder| {
        let links = crate::node::link_to("127.0.0.1:1".parse().unwrap());
        builder.sql(true).files(true).links(Arc::new(links)).pause(true).authorize(hook)
    })
    .await;
    send(server.request(Method::PUT, "/a").header("x-all", "1").json(&json!({ "schema": TASKS }))).await.ok();
    let foreign = format!(
        "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {FOREIGN})
         INSERT INTO task SELECT 'bob-' || i, 'bob', 'treasure of bob' FROM n"
    );
    all(&server, &foreign).await;
    all(&server, "INSERT INTO task VALUES ('1', 'ann', 'milk')").await;
    all(&server, "INSERT INTO member VALUES ('red', 'ann'), ('blue', 'bob')").await;
    server
}

/// Runs a statement as a caller without bounds.
async fn all(server: &Server, sql: &str) -> Value {
    let request = server.request(Method::POST, "/a/sql").header("x-all", "1").json(&json!({ "sql": sql }));
    send(request).await.ok()["results"][0]["rows"].clone()
}

async fn everything(server: &Server) -> Value {
    all(server, "SELECT count(*), count(DISTINCT id), min(owner), max(title), (SELECT count(*) FROM member) FROM task")
        .await
}

fn pk(id: &str) -> String {
    format!("010b{:02x}{}", id.len(), hex::encode(id))
}

/// A batch of the peer's transaction `version`, which gives a task an owner and a title.
fn task(version: i64, id: &str, owner: &str, title: &str) -> Value {
    json!({
        "protocol": 1, "from": PEER, "start": version - 1, "end": version, "covers": { PEER: [[version, version]] },
        "changes": [
            ["task", pk(id), "owner", owner, 1, version, PEER, 1, 0],
            ["task", pk(id), "title", title, 1, version, PEER, 1, 1],
        ]
    })
}

/// One that deletes it.
fn delete(version: i64, id: &str) -> Value {
    let mut batch = task(version, id, "", "");
    batch["changes"] = json!([["task", pk(id), "-1", null, 2, version, PEER, 2, 0]]);
    batch
}

fn forbidden_change(answer: &Answer) {
    assert_eq!((answer.code(), &answer.body["scope"]), ("forbidden", &json!("change")), "{answer:?}");
}

/// Requests of an operation, each with the status that it is answered.
fn requests(server: &Server, operation: Operation, method: &str, path: &str) -> Vec<(RequestBuilder, u16)> {
    let request = |query: &str| {
        server.request(method.parse().unwrap(), &format!("{}{query}", path.replace("{dbid}", "a").replace("{id}", "s")))
    };
    let json = |body: Value, status| (request("").json(&body), status);
    let sql = |sql: &str, status| json(json!({ "sql": sql }), status);
    let cursor = format!("{}.1", "0".repeat(32));
    match operation {
        Operation::Create => {
            vec![json(json!({ "schema": TASKS }), 200), json(json!({ "schema": "CREATE TABLE t (a)" }), 409)]
        }
        Operation::Migrate => {
            vec![json(json!({ "schema": TASKS }), 200), json(json!({ "schema": "CREATE TABLE t (a)" }), 403)]
        }
        Operation::ApplyChanges => vec![
            json(task(1, "bob-1", "ann", "mine"), 403),
            json(task(1, "bob-1", "bob", "treasure of bob"), 403),
            json(delete(1, "bob-1"), 403),
            json(json!({ "protocol": 1, "from": PEER, "changes": [] }), 200),
        ],
        Operation::GetChanges => ["", "?since=0", "?limit=1", &format!("?since={cursor}"), &format!("?until={cursor}")]
            .map(|query| (request(query), 403))
            .into(),
        Operation::RequestChanges => {
            [json!({}), json!({ "since": "0" }), json!({ "all_but": {} }), json!({ "versions": {} })]
                .map(|body| json(body, 403))
                .into()
        }
        Operation::ChangesForQueries => {
            let by_site = |body: Value, status| (request("").header("crsql-site", PEER).json(&body), status);
            let all = json!([{ "sql": "SELECT * FROM task" }, { "sql": "SELECT * FROM member" }]);
            vec![
                json(json!({ "queries": all }), 200),
                json(json!({ "queries": [{ "sql": "SELECT count(*) FROM titles" }] }), 200),
                json(json!({ "queries": [{ "sql": "SELECT * FROM task WHERE owner <> 'ann' OR id > 'b'" }] }), 200),
                json(json!({ "queries": [{ "sql": "SELECT val FROM crsql_changes" }] }), 400),
                by_site(json!({ "subscription": "s" }), 404),
                by_site(json!({ "subscription": "s", "queries": all }), 200),
                by_site(json!({ "subscription": "s" }), 200),
            ]
        }
        Operation::EndSubscription => vec![(request("?subscription=s").header("crsql-site", PEER), 204)],
        Operation::Verify => vec![json(json!({}), 403)],
        Operation::Events => ["", "?since=0", &format!("?since={cursor}")].map(|query| (request(query), 403)).into(),
        Operation::Ticket => vec![(request(""), 200)],
        Operation::Status => vec![(request(""), 200), (request("?clock=true"), 200)],
        Operation::Sql => vec![
            sql("SELECT * FROM task", 200),
            sql("SELECT count(*), max(id), group_concat(title) FROM task", 200),
            sql("SELECT * FROM titles", 200),
            sql("SELECT * FROM member", 200),
            sql("SELECT * FROM task WHERE owner = 'b' || 'ob' OR id LIKE 'b%'", 200),
            sql("SELECT (SELECT count(*) FROM task x WHERE x.id >= task.id) FROM task", 200),
            sql("SELECT abs(-9223372036854775808 - 0 * length(title)) FROM task WHERE title GLOB 't*'", 200),
            sql("SELECT val FROM crsql_changes", 400),
            sql("SELECT * FROM task__crsql_clock", 400),
            sql("SELECT * FROM crsql_sync_answers", 400),
            sql("SELECT * FROM dbstat", 400),
            sql("UPDATE task SET title = '' RETURNING title", 400),
            sql("DELETE FROM task", 400),
            sql("INSERT INTO task VALUES ('bob-1', 'ann', '')", 400),
            sql("INSERT OR IGNORE INTO member VALUES ('blue', 'ann')", 400),
            (request("?tables=true").json(&json!({ "sql": "SELECT id FROM task" })), 200),
            (request("").header("idempotency-key", "1").json(&json!({ "sql": "SELECT id FROM task" })), 200),
        ],
        Operation::Upstream => {
            vec![json(json!({ "paused": true, "queries": [{ "sql": "SELECT * FROM task" }] }), 403)]
        }
        Operation::ExportFile => vec![(request(""), 403)],
        Operation::ImportFile => vec![(request("").body("SQLite format 3"), 403)],
        other => panic!("what does {} tell of rows that are not for its caller?", other.as_str()),
    }
}

#[tokio::test]
async fn no_operation_tells_of_rows_that_are_not_for_its_caller_or_changes_them() {
    let server = limited().await;
    let before = everything(&server).await;
    let secrets = ["treasure", "bob", &hex::encode("treasure"), &hex::encode("bob"), "blue"].map(str::to_owned);
    let counts = [FOREIGN, FOREIGN + 1, 2 * FOREIGN, 2 * FOREIGN + 2].map(|count| count.to_string());
    for (operation, method, path) in Routes::default().iter() {
        for (request, status) in requests(&server, operation, method, &path) {
            let shown = format!("{request:?}");
            let answer = send(request).await;
            assert_eq!(answer.status, status, "{shown}\n{answer:?}");
            let told = answer.body.to_string().to_lowercase();
            assert!(!secrets.iter().any(|secret| told.contains(secret)), "{}: {told}", operation.as_str());
            let mut words = told.split(|c: char| !c.is_ascii_alphanumeric());
            assert!(!words.any(|word| counts.iter().any(|count| count == word)), "{}: {told}", operation.as_str());
        }
    }
    let ticket = server.post("/a/ticket", json!(null)).await.ok()["ticket"].as_str().unwrap().to_owned();
    assert_eq!(server.get(&format!("/a/events?ticket={ticket}")).await.code(), "forbidden");
    assert_eq!(server.put("/b", json!({ "schema": TASKS })).await.code(), "forbidden");
    assert_eq!(everything(&server).await, before);
}

/// Whoever was allowed more before, by the same name, holds rows that left for one who is allowed less.
#[tokio::test]
async fn a_subscription_tells_nothing_of_what_another_view_held() {
    let server = limited().await;
    let ask = async |header: &'static str, body: Value| {
        let request = server.request(Method::POST, "/a/changes/query").header("crsql-site", PEER).header(header, "1");
        send(request.json(&body)).await.ok()
    };
    let queries = json!([{ "sql": "SELECT * FROM task WHERE id IN ('bob-1', '1')" }]);
    let first = ask("x-all", json!({ "subscription": "s", "queries": queries })).await;
    assert!(first.to_string().contains("treasure"));
    let held = json!({ "subscription": "s", "queries": queries, "seen": first["seen"], "since": first["next"] });
    ask("x-all", held).await;
    for seen in 1..4 {
        let guess = json!({ "subscription": "s", "queries": queries, "seen": seen, "since": server.at("a").await });
        let told = ask("x-few", guess).await;
        assert!(told.get("left").is_none() && !told.to_string().contains(&pk("bob-1")), "{told}");
    }
}

#[tokio::test]
async fn a_stream_of_queries_brings_the_rows_that_come_within_the_filter() {
    let server = limited().await;
    let ask = server.request(Method::POST, "/a/changes/query").header("crsql-site", PEER);
    let asked = json!({ "subscription": "s", "queries": [{ "sql": "SELECT title FROM task" }] });
    let first = send(ask.json(&asked)).await.ok();
    let position = format!("seen={}&since={}", first["seen"], first["next"].as_str().unwrap());
    let mut stream = Reader::open(&server, &format!("/a/events?subscription=s&site={PEER}&{position}")).await;
    all(&server, "UPDATE task SET title = 'another treasure' WHERE id = 'bob-2'").await;
    all(&server, "UPDATE task SET owner = 'ann' WHERE id = 'bob-1'").await;
    let mut next = async || -> Value { serde_json::from_str(&stream.event().await.unwrap().data).unwrap() };
    let batch = next().await;
    let keys: BTreeSet<_> =
        batch["changes"].as_array().unwrap().iter().map(|change| change[1].as_str().unwrap()).collect();
    assert_eq!(keys.into_iter().collect::<Vec<_>>(), [pk("bob-1")]);
    all(&server, "UPDATE task SET owner = 'bob', title = 'new treasure' WHERE id = 'bob-1'").await;
    let batch = next().await;
    assert_eq!((&batch["changes"], &batch["left"]), (&json!([]), &json!([["task", pk("bob-1")]])));
}

#[tokio::test]
async fn sql_answers_by_the_callers_rows_alone() {
    let server = limited().await;
    let rows = async |sql: &str| server.sql("a", sql).await["rows"].clone();
    assert_eq!(rows("SELECT id, title FROM task").await, json!([["1", "milk"]]));
    assert_eq!(rows("SELECT count(*), (SELECT count(*) FROM member) FROM task").await, json!([[1, 1]]));
    assert_eq!(rows("SELECT title FROM titles").await, json!([["milk"]]));
}

#[tokio::test]
async fn a_batch_writes_the_callers_rows_and_no_others() {
    let server = limited().await;
    let write = async |batch: &Value| server.post("/a/changes", batch.clone()).await;
    let before = everything(&server).await;
    for batch in [task(1, "bob-1", "ann", "mine"), task(1, "2", "bob", "a gift"), delete(1, "bob-1")] {
        forbidden_change(&write(&batch).await);
    }
    let mut with_own = task(1, "2", "ann", "bread");
    let foreign = task(1, "bob-2", "ann", "mine")["changes"].as_array().unwrap().clone();
    with_own["changes"].as_array_mut().unwrap().extend(foreign);
    forbidden_change(&write(&with_own).await);
    let mut member = task(1, "2", "ann", "bread");
    member["changes"] = json!([["member", "020b04626c75650b03616e6e", "-1", null, 1, 1, PEER, 1, 0]]);
    forbidden_change(&write(&member).await);
    let mut piece = task(1, "2", "ann", "bread");
    piece["partial"] = json!([{ "site": PEER, "version": 1, "seqs": [[0, 1]], "last_seq": 3 }]);
    forbidden_change(&write(&piece).await);
    for (name, value) in
        [("covers", json!({ "bb000000000000000000000000000001": [[1, 1]] })), ("schema_text", json!(TASKS))]
    {
        let mut batch = task(1, "2", "ann", "bread");
        batch[name] = value;
        let answer = write(&batch).await;
        assert_eq!((answer.code(), &answer.body["scope"]), ("forbidden", &Value::Null), "{name}");
    }
    assert_eq!(everything(&server).await, before);
    write(&task(1, "2", "ann", "bread")).await.ok();
    assert_eq!(server.sql("a", "SELECT id FROM task ORDER BY id").await["rows"], json!([["1"], ["2"]]));
    write(&delete(2, "2")).await.ok();
    assert_eq!(everything(&server).await, before);
}

#[tokio::test]
async fn a_copy_shows_itself_to_each_filter_as_a_site_of_its_own() {
    let server = limited().await;
    let (seen, own) =
        (server.status("a").await, send(server.request(Method::GET, "/a/status").header("x-all", "1")).await.ok());
    assert_ne!(seen["site"], own["site"]);
    assert_eq!(seen["schema"], own["schema"]);
    let applied = server.post("/a/changes", task(1, "2", "ann", "bread")).await.ok();
    assert_eq!(applied["at"].as_str().unwrap().split('.').next(), seen["site"].as_str());
}

#[tokio::test]
async fn a_hook_whose_filter_cannot_be_used_denies() {
    for (table, sql) in [("tasks", "1"), ("task", "owner ="), ("task", "1) OR (1"), ("task", "owner = :user")] {
        let server = limited_to(Bounds::default().rows([(table, Filter::new(sql))])).await;
        for request in [
            server.request(Method::POST, "/a/sql").json(&json!({ "sql": "SELECT title FROM task" })),
            server.request(Method::POST, "/a/changes").json(&task(1, "2", "ann", "bread")),
        ] {
            let answer = send(request).await;
            assert_eq!(answer.code(), "forbidden", "{sql}");
            assert!(!answer.body["detail"].as_str().unwrap().contains(sql), "the filter is the host's to know");
        }
    }
}

#[tokio::test]
async fn the_hooks_own_statements_are_within_the_filter_too() {
    let own = Sql { sql: "SELECT count(*) FROM task".into(), params: Vec::new() };
    let server = limited_to(ann().queries([own])).await;
    assert_eq!(server.sql("a", "anything").await["rows"], json!([[1]]));
}

#[tokio::test]
async fn sql_without_end_is_broken_off_within_a_filter_too() {
    let mut limits = Limits::default();
    limits.sql_time = Duration::from_millis(200);
    let hook = |access: Access| {
        let create = access.operation == Operation::Create;
        let bounds = Bounds::default().rows([("todo", Filter::new("1"))]);
        std::future::ready(Ok(if create { Verdict::ALLOW } else { bounds.into() }))
    };
    let server = Server::with(|builder| builder.sql(true).limits(limits).authorize(hook)).await;
    server.create("a").await;
    for sql in [
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) FROM n",
        "SELECT length(zeroblob(1000000000))",
        "SELECT 'a' LIKE printf('%2000s', '%')",
    ] {
        assert_eq!(server.post("/a/sql", json!({ "sql": sql })).await.code(), "query_refused", "{sql}");
    }
}

#[tokio::test]
async fn a_token_of_a_file_may_be_kept_to_some_rows() {
    let (_folder, path) = file(
        r#"
        [[token]]
        token = "root"

        [[token]]
        token = "ann"
        rows.todo = { sql = "title = :title OR title = :other", params = { title = "of ann", other = "shared" } }

        [[token]]
        token = "list"
        rows.todo = { sql = "title = ?", params = ["of ann"] }

        [[token]]
        token = "wrong"
        rows.todos = { sql = "1" }
        "#,
    );
    let host = Host::start(&["--tokens-file", &path]);
    host.create("a", "root").await;
    host.sql("a", "root", "INSERT INTO todo (id, title) VALUES ('1', 'of ann'), ('2', 'of bob'), ('3', 'shared')")
        .await
        .unwrap();
    let ids = "SELECT id FROM todo ORDER BY id";
    assert_eq!(host.sql("a", "ann", ids).await, Ok(json!([["1"], ["3"]])));
    assert_eq!(host.sql("a", "list", ids).await, Ok(json!([["1"]])));
    assert_eq!(host.sql("a", "wrong", ids).await, Err("forbidden".into()));
    assert_eq!(host.apply("a", "ann", &crate::support::batch(1, "milk")).await, 403);
}
