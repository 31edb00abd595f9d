use crsql_sync::http::Limits;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{PEER, Server, TODO, batch, send};

/// A batch whose first change has another value at `index`.
fn spoilt(index: usize, value: Value) -> Value {
    let mut batch = batch(1, "milk");
    batch["changes"][1][index] = value;
    batch
}

fn with(name: &str, value: Value) -> Value {
    let mut batch = batch(1, "milk");
    batch[name] = value;
    batch
}

#[tokio::test]
async fn a_bad_batch_is_refused_and_changes_nothing() {
    let server = Server::start().await;
    server.create("a").await;
    server.add("a", "there").await;
    let before = server.status("a").await;
    let bad = [
        ("an unknown table", spoilt(0, json!("nothing"))),
        ("an internal table", spoilt(0, json!("crsql_master"))),
        ("an empty pk", spoilt(1, json!(""))),
        ("a pk of no values", spoilt(1, json!("00"))),
        ("a pk of two values", spoilt(1, json!("020b016d0b016d"))),
        ("a pk with something after it", spoilt(1, json!("010b046d696c6b00"))),
        ("a pk that breaks off", spoilt(1, json!("010b046d69"))),
        ("a pk that is not in hex", spoilt(1, json!("xyz"))),
        ("an unknown column", spoilt(2, json!("nothing"))),
        ("a column of the key", spoilt(2, json!("id"))),
        ("an untagged big integer", spoilt(3, json!(9007199254740992_i64))),
        ("a boolean", spoilt(3, json!(true))),
        ("a nested value", spoilt(3, json!([[[]]]))),
        ("a negative col_version", spoilt(4, json!(-1))),
        ("a col_version near the end", spoilt(4, json!(i64::MAX))),
        ("version zero", spoilt(5, json!(0))),
        ("a version near the end", spoilt(5, json!(i64::MAX))),
        ("a version just too large", spoilt(5, json!(9007199254740992_i64))),
        ("a short site", spoilt(6, json!("aa"))),
        ("no site", spoilt(6, json!(null))),
        ("a cl near the end", spoilt(7, json!(i64::MAX))),
        ("a cell of a deleted row", spoilt(7, json!(2))),
        ("a negative seq", spoilt(8, json!(-1))),
        ("a text for a number", spoilt(8, json!("1"))),
        ("another protocol", with("protocol", json!(2))),
        ("no sender", with("from", json!(null))),
        ("a start after its end", with("start", json!(9))),
        ("a negative start", with("start", json!(-1))),
        ("an end near the end", with("end", json!(i64::MAX))),
        ("a start without an end", with("end", json!(null))),
        ("an inverted range", with("covers", json!({ PEER: [[2, 1]] }))),
        ("a range of nobody", with("covers", json!({ "x": [[1, 1]] }))),
        ("changes that are none", with("changes", json!([[]]))),
        ("a list", json!([])),
        ("a text", json!("batch")),
        ("nothing", json!({})),
    ];
    for (what, batch) in bad {
        let answer = server.post("/a/changes", batch).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_batch"), "{what}: {answer:?}");
    }
    assert_eq!(server.status("a").await, before);
    assert_eq!(server.ids("a").await, ["there"]);
    server.post("/a/changes", batch(1, "milk")).await.ok();
}

#[tokio::test]
async fn a_body_that_is_not_what_it_should_be_is_refused() {
    let server = Server::with(|builder| {
        let mut limits = Limits::default();
        limits.body = 10_000;
        builder.limits(limits)
    })
    .await;
    server.create("a").await;
    let post = |body: &str, media_type: &str| {
        let request = server.request(Method::POST, "/a/changes").body(body.to_owned());
        send(if media_type.is_empty() { request } else { request.header("content-type", media_type) })
    };
    let batch = batch(1, "milk").to_string();
    for (body, media_type, status, code) in [
        ("{", "application/json", 400, "invalid_request"),
        ("", "application/json", 400, "invalid_request"),
        ("\u{feff}{}", "application/json", 400, "invalid_request"),
        (&"[".repeat(5000), "application/json", 400, "invalid_batch"),
        (&format!("{batch}{batch}"), "application/json", 400, "invalid_request"),
        (&batch, "text/plain", 415, "unsupported_media_type"),
        (&batch, "", 415, "unsupported_media_type"),
        (&"x".repeat(20_000), "application/json", 413, "payload_too_large"),
    ] {
        let answer = post(body, media_type).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{:.20} {media_type}", body);
    }
    let not_utf8 = server.request(Method::POST, "/a/changes").header("content-type", "application/json");
    let answer = send(not_utf8.body(b"{\"protocol\":1,\"from\":\"\xff\"}".to_vec())).await;
    assert_eq!(answer.status, 400);
    assert!(post(&batch, "application/json; charset=utf-8").await.status == 200);
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_not_made() {
    let server = Server::start().await;
    for path in ["/a/changes", "/a/events", "/a/status"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.code()), (404, "not_found"), "{path}");
    }
    assert_eq!(server.post("/a/changes", batch(1, "milk")).await.code(), "not_found");
    assert_eq!(server.post("/a/sql", json!({ "sql": "SELECT 1" })).await.code(), "not_found");
    for path in ["", "/", "/a/", "/a/nothing", "/a/changes/x", "/a/b/c/d"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.code(), "not_found", "{path}");
    }
    let files: Vec<_> =
        std::fs::read_dir(server.folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, [".lock"]);
}

#[tokio::test]
async fn a_failed_creation_leaves_no_database() {
    let server = Server::start().await;
    for schema in ["", "CREATE TABLE", "DROP TABLE x", "SELECT 1", "CREATE TABLE t (a); SELECT crsql_as_crr('t')"] {
        let answer = server.put("/a", json!({ "schema": schema })).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_schema"), "{schema}");
    }
    let large = format!("{TODO} -- {}", "x".repeat(300 << 10));
    assert_eq!(server.put("/a", json!({ "schema": large })).await.code(), "invalid_schema");
    for body in [json!({}), json!({ "schema": 1 }), json!([])] {
        assert_eq!(server.put("/a", body).await.code(), "invalid_request");
    }
    assert_eq!(server.get("/a/status").await.code(), "not_found");
    assert_eq!(std::fs::read_dir(server.folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn an_id_that_names_no_database_is_refused() {
    let server = Server::start().await;
    for dbid in ["..%2f..", "..%2fx", ".hidden", "a%20b", "a%00", "%ff", "ä", &"x".repeat(129)] {
        let answer = server.get(&format!("/{dbid}/status")).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_dbid"), "{dbid}");
        let answer = server.put(&format!("/{dbid}"), json!({ "schema": TODO })).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_dbid"), "{dbid}");
    }
}

#[tokio::test]
async fn a_parameter_that_cannot_be_read_is_refused() {
    let server = Server::start().await;
    server.create("a").await;
    for query in [
        "since=1",
        "since=",
        "since=x.1",
        "since=0&since=0",
        "since=aa000000000000000000000000000001.9007199254740992",
        "until=0",
        "limit=0",
        "limit=-1",
        "limit=x",
        "exclude=aa",
        "site=aa",
    ] {
        let answer = server.get(&format!("/a/changes?{query}")).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_request"), "{query}");
    }
    let answer = send(server.request(Method::GET, "/a/changes").header("crsql-site", "x")).await;
    assert_eq!(answer.code(), "invalid_request");
    let two = server.request(Method::GET, &format!("/a/changes?site={PEER}"));
    let answer = send(two.header("crsql-site", "bb000000000000000000000000000001")).await;
    assert_eq!(answer.code(), "invalid_request");
    server.get("/a/changes?limit=18446744073709551615&unknown=1").await.ok();
}

#[tokio::test]
async fn a_cursor_that_is_not_of_this_copy_is_told_where_the_copy_is() {
    let server = Server::start().await;
    let site = server.create("a").await["site"].as_str().unwrap().to_owned();
    for path in ["changes", "events"] {
        let answer = server.get(&format!("/a/{path}?since={PEER}.1")).await;
        assert_eq!((answer.status, answer.code()), (409, "cursor_unknown"));
        assert_eq!(answer.body["at"], server.at("a").await);
        let answer = server.get(&format!("/a/{path}?since={site}.999")).await;
        assert_eq!((answer.status, answer.code()), (409, "cursor_ahead"));
        assert_eq!(answer.body["at"], server.at("a").await);
    }
}

#[tokio::test]
async fn a_method_that_a_route_does_not_take_is_answered_with_those_that_it_takes() {
    let server = Server::start().await;
    for (method, path, allowed) in [
        (Method::DELETE, "/a", "PUT"),
        (Method::PUT, "/a/changes", "POST"),
        (Method::POST, "/a/events", "GET"),
        (Method::POST, "/a/status", "GET"),
        (Method::GET, "/a/sql", "POST"),
    ] {
        let answer = send(server.request(method, path)).await;
        assert_eq!((answer.status, answer.code()), (405, "method_not_allowed"), "{path}");
        assert!(answer.headers["allow"].to_str().unwrap().contains(allowed));
    }
}

#[tokio::test]
async fn sql_that_is_refused_says_why() {
    let server = Server::start().await;
    server.create("a").await;
    for sql in
        ["DROP TABLE todo", "ATTACH 'x' AS x", "SELEC", "SELECT 1; SELECT 2", "INSERT INTO todo (id) VALUES (NULL)"]
    {
        let answer = server.post("/a/sql", json!({ "sql": sql })).await;
        assert_eq!((answer.status, answer.code()), (400, "query_refused"), "{sql}");
    }
    for body in [
        json!({}),
        json!({ "sql": 1 }),
        json!([1]),
        json!([["SELECT 1"]]),
        json!({ "sql": "SELECT ?1", "params": [true] }),
    ] {
        assert_eq!(server.post("/a/sql", body).await.code(), "invalid_request");
    }
    let off = Server::with(|builder| builder).await;
    off.create("a").await;
    assert_eq!(off.post("/a/sql", json!({ "sql": "SELECT 1" })).await.code(), "not_found");
}
