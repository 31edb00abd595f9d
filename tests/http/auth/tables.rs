//! Callers that may use some tables only.

use std::collections::BTreeSet;

use crsql_sync::http::{Access, Bounds, Operation, Verdict};
use reqwest::Method;
use serde_json::{Value, json};

use super::server;
use crate::events::Reader;
use crate::support::{PEER, Server, batch, send};

const TWO: &str = "CREATE TABLE todo (id TEXT PRIMARY KEY NOT NULL, title, done INTEGER DEFAULT 0);
    CREATE TABLE secret (id TEXT PRIMARY KEY NOT NULL, text);
    CREATE VIEW both AS SELECT todo.id, text FROM todo JOIN secret USING (id);
    CREATE VIEW shared AS SELECT id FROM todo JOIN secret USING (id);
    SELECT crsql_as_crr('todo'); SELECT crsql_as_crr('secret');";

/// A server whose callers may use the table `todo` only, but for those with the header `x-all`.
async fn limited() -> Server {
    let verdict = |access: &Access| match access.headers.contains_key("x-all") {
        true => Verdict::ALLOW,
        false => Bounds::default().tables(["Todo"]).into(),
    };
    let (server, _) = server(move |access| Ok(verdict(access))).await;
    send(server.request(Method::PUT, "/a").header("x-all", "1").json(&json!({ "schema": TWO }))).await.ok();
    server
}

/// Runs a statement as a caller without bounds.
async fn all(server: &Server, sql: &str) -> Value {
    let request = server.request(Method::POST, "/a/sql").header("x-all", "1").json(&json!({ "sql": sql }));
    send(request).await.ok()["results"][0]["rows"].clone()
}

async fn write_both(server: &Server) {
    all(server, "INSERT INTO secret VALUES ('s', 'treasure')").await;
    all(server, "INSERT INTO todo (id, title) VALUES ('1', 'milk')").await;
}

#[tokio::test]
async fn only_changes_of_the_tables_are_sent_and_nothing_is_claimed() {
    let server = limited().await;
    write_both(&server).await;
    let batch = server.get("/a/changes").await.ok();
    assert!(batch["changes"].as_array().unwrap().iter().all(|change| change[0] == "todo"));
    assert_eq!(batch["changes"].as_array().unwrap().len(), 2);
    assert_eq!((&batch["covers"], &batch["next"]), (&json!({}), &json!(server.at("a").await)));
    let mut stream = Reader::open(&server, "/a/events?since=0").await;
    assert_eq!(stream.batch().await["changes"], batch["changes"]);
    write_both_again(&server).await;
    let next = stream.batch().await;
    assert!(next["changes"].as_array().unwrap().iter().all(|change| change[0] == "todo"));
    assert_eq!(next["covers"], json!({}));
}

async fn write_both_again(server: &Server) {
    all(server, "UPDATE secret SET text = 'moved'").await;
    all(server, "UPDATE todo SET title = 'oat milk'").await;
}

#[tokio::test]
async fn readers_at_one_place_are_each_sent_their_own_tables() {
    let server = limited().await;
    let open = |header: &'static str| server.request(Method::GET, "/a/events?since=0").header(header, "1");
    write_both(&server).await;
    for headers in [["x-all", "x-few"], ["x-few", "x-all"]] {
        for header in headers {
            let batch = Reader::with(open(header)).await.batch().await;
            let tables: BTreeSet<_> =
                batch["changes"].as_array().unwrap().iter().map(|change| change[0].as_str().unwrap()).collect();
            let expected: &[&str] = if header == "x-all" { &["secret", "todo"] } else { &["todo"] };
            assert_eq!(tables.into_iter().collect::<Vec<_>>(), expected);
        }
    }
}

#[tokio::test]
async fn what_is_about_all_tables_is_not_for_them() {
    let server = limited().await;
    write_both(&server).await;
    let by_cursor = server.post("/a/changes/request", json!({ "since": "0" })).await.ok();
    assert_eq!(by_cursor["changes"], server.get("/a/changes").await.ok()["changes"]);
    assert_eq!(server.post("/a/changes/request", json!({ "all_but": {} })).await.code(), "forbidden");
    assert_eq!(
        server.post("/a/migrate", json!({ "schema": format!("{TWO} CREATE TABLE t (a);") })).await.code(),
        "forbidden"
    );
    assert_eq!(server.post("/b/migrate", json!({ "schema": TWO })).await.code(), "forbidden");
    let verify = server.request(Method::POST, "/a/verify").json(&json!({}));
    assert_eq!(send(verify).await.code(), "forbidden");
}

#[tokio::test]
async fn a_cursor_of_some_tables_is_none_of_all() {
    let server = limited().await;
    write_both(&server).await;
    let batch = server.get("/a/changes").await.ok();
    let created = server.put("/a", json!({ "schema": TWO })).await.ok();
    assert_eq!((&batch["from"], &batch["next"]), (&created["site"], &created["at"]));
    let with_all = |path: String| send(server.request(Method::GET, &path).header("x-all", "1"));
    let all = with_all("/a/changes".into()).await.ok();
    assert_ne!(all["from"], batch["from"]);
    for (cursor, readers) in [(&batch["next"], true), (&all["next"], false)] {
        let path = format!("/a/changes?since={}", cursor.as_str().unwrap());
        assert_eq!(server.get(&path).await.status, if readers { 200 } else { 409 });
        assert_eq!(with_all(path).await.status, if readers { 409 } else { 200 });
    }
}

#[tokio::test]
async fn pages_and_pieces_have_nothing_of_other_tables() {
    let server = limited().await;
    let rows = |columns| {
        let rows: Vec<_> = (0..10).map(|n| format!("('{n}', 'x')")).collect();
        json!({ "sql": format!("INSERT INTO {columns} VALUES {}", rows.join(",")) })
    };
    let one_transaction = json!([rows("secret"), rows("todo (id, title)"), { "sql": "UPDATE secret SET text = 'y'" }]);
    send(server.request(Method::POST, "/a/sql").header("x-all", "1").json(&one_transaction)).await.ok();
    let (mut since, mut changes) = ("0".to_owned(), 0);
    loop {
        let page = server.get(&format!("/a/changes?limit=3&since={since}")).await.ok();
        assert!(page["changes"].as_array().unwrap().iter().all(|change| change[0] == "todo"), "{page}");
        assert_eq!((&page["covers"], &page["partial"]), (&json!({}), &Value::Null));
        changes += page["changes"].as_array().unwrap().len();
        since = page["next"].as_str().unwrap().to_owned();
        if page["more"] == false {
            break;
        }
    }
    assert_eq!((changes, since), (20, server.at("a").await));
}

#[tokio::test]
async fn a_change_of_another_table_is_refused_with_all_that_came_with_it() {
    let server = limited().await;
    let mut of_both = batch(1, "milk");
    of_both["changes"][1] = json!(["secret", "010b0173", "text", "mine", 1, 1, PEER, 1, 1]);
    let answer = server.post("/a/changes", of_both).await;
    assert_eq!(answer.code(), "forbidden");
    assert!(answer.body["detail"].as_str().unwrap().contains("secret"));
    assert_eq!(
        all(&server, "SELECT (SELECT count(*) FROM todo), (SELECT count(*) FROM secret)").await,
        json!([[0, 0]])
    );
    let mut for_others = batch(1, "milk");
    for_others["covers"]["bb000000000000000000000000000001"] = json!([[1, 1]]);
    assert_eq!(server.post("/a/changes", for_others).await.code(), "forbidden");
    let mut with_schema = batch(1, "milk");
    with_schema["schema_text"] = json!(TWO);
    assert_eq!(server.post("/a/changes", with_schema).await.code(), "forbidden");
    server.post("/a/changes", batch(1, "milk")).await.ok();
    let clock = server.get("/a/status?clock=true").await.ok()["clock"].clone();
    assert_eq!(clock[PEER], json!([[1, 1]]));
}

#[tokio::test]
async fn sql_reads_and_writes_those_tables_and_sees_no_others() {
    let server = limited().await;
    write_both(&server).await;
    let run = |sql: &str| server.post("/a/sql", json!({ "sql": sql }));
    for sql in [
        "SELECT title FROM todo",
        "SELECT count(*) FROM todo",
        "WITH t AS (SELECT id FROM todo) SELECT id FROM t",
        "SELECT a.title FROM todo a NATURAL JOIN todo b",
        "SELECT id FROM todo JOIN todo AS other USING (id)",
        "INSERT INTO todo (id) VALUES ('2') ON CONFLICT DO UPDATE SET title = 'twice'",
        "INSERT OR REPLACE INTO todo (id, title) VALUES ('2', 'again') RETURNING id",
        "UPDATE todo SET id = '3' WHERE id = '2'",
        "DELETE FROM todo WHERE id = '3'",
        "SELECT hex(crsql_site_id()), crsql_db_version()",
    ] {
        run(sql).await.ok();
    }
    for sql in [
        "SELECT text FROM secret",
        "SELECT count(*) FROM secret",
        "SELECT count(*) FROM SECRET",
        "SELECT text FROM both",
        "SELECT count(*) FROM both",
        "SELECT (SELECT text FROM secret) FROM todo",
        "SELECT 1 FROM secret",
        "SELECT rowid FROM secret",
        "SELECT 's' IN secret",
        "SELECT EXISTS (SELECT * FROM secret)",
        "SELECT text FROM main.secret",
        "SELECT id FROM todo JOIN secret USING (id)",
        "SELECT count(*) FROM todo NATURAL JOIN secret",
        "SELECT count(*) FROM todo NATURAL JOIN shared",
        "SELECT count(*) FROM (SELECT 's' AS id) JOIN secret USING (id)",
        "SELECT count(*) FROM (SELECT 'secret' AS \"table\") JOIN crsql_changes USING (\"table\")",
        "SELECT count(*) FROM (SELECT 'secret' AS name) JOIN sqlite_schema USING (name)",
        "DELETE FROM todo WHERE id IN (SELECT id FROM todo JOIN secret USING (id))",
        "EXPLAIN SELECT title FROM todo",
        "SELECT title FROM todo UNION SELECT text FROM secret",
        "SELECT title FROM todo ORDER BY (SELECT text FROM secret)",
        "WITH todo AS (SELECT text AS title FROM secret) SELECT title FROM todo",
        "VALUES ((SELECT json_group_array(text) FROM secret))",
        "EXPLAIN SELECT text FROM secret",
        "INSERT INTO todo (id) VALUES ('x') RETURNING (SELECT text FROM secret)",
        "INSERT INTO todo (id) SELECT text FROM secret",
        "UPDATE todo SET title = (SELECT max(text) FROM secret)",
        "DELETE FROM todo WHERE id IN (SELECT id FROM secret)",
        "INSERT INTO secret VALUES ('x', 'y')",
        "UPDATE secret SET text = ''",
        "DELETE FROM secret",
        "SELECT val FROM crsql_changes",
        "INSERT INTO crsql_changes VALUES ('secret', x'010b0173', 'text', 'mine', 9, 9, NULL, 1, 0)",
        "SELECT * FROM secret__crsql_clock",
        "SELECT * FROM todo__crsql_clock",
        "SELECT count(*) FROM secret__crsql_pks",
        "SELECT * FROM crsql_table_clocks('secret')",
        "SELECT value FROM crsql_master",
        "SELECT answer FROM crsql_sync_answers",
        "SELECT name FROM sqlite_schema",
        "SELECT sql FROM sqlite_master",
        "SELECT name FROM pragma_table_info('secret')",
        "PRAGMA table_info(secret)",
        "PRAGMA table_list",
        "SELECT * FROM dbstat",
        "CREATE TABLE mine (a)",
        "CREATE TEMP VIEW v AS SELECT * FROM secret",
        "DROP TABLE secret",
    ] {
        let answer = run(sql).await;
        assert_eq!(answer.code(), "query_refused", "{sql}");
        assert!(!answer.body.to_string().contains("treasure"), "{sql}");
    }
    assert_eq!(all(&server, "SELECT text FROM secret").await, json!([["treasure"]]));
    assert_eq!(all(&server, "SELECT id, title FROM todo").await, json!([["1", "milk"]]));
}

#[tokio::test]
async fn a_trigger_does_not_reach_further_than_who_fires_it() {
    let server = limited().await;
    let trigger = "CREATE TRIGGER copy AFTER INSERT ON todo BEGIN INSERT INTO secret VALUES (new.id, new.title); END;";
    let create = server.request(Method::PUT, "/b").header("x-all", "1");
    send(create.json(&json!({ "schema": format!("{TWO} {trigger}") }))).await.ok();
    let insert = json!({ "sql": "INSERT INTO todo (id) VALUES ('1')" });
    assert_eq!(server.post("/b/sql", insert.clone()).await.code(), "query_refused");
    send(server.request(Method::POST, "/b/sql").header("x-all", "1").json(&insert)).await.ok();
    server.post("/b/sql", json!({ "sql": "UPDATE todo SET title = 'milk'" })).await.ok();
}

#[tokio::test]
async fn whoever_may_use_some_tables_creates_none() {
    let server = limited().await;
    assert_eq!(server.put("/b", json!({ "schema": TWO })).await.code(), "forbidden");
    assert_eq!(server.get("/b/status").await.code(), "not_found");
    assert_eq!(server.put("/a", json!({ "schema": TWO })).await.ok()["status"], "exists");
}

#[tokio::test]
async fn a_stream_that_a_ticket_opened_has_the_bounds_of_who_asked_for_it() {
    let verdict = |access: &Access| match access.operation {
        Operation::Ticket => Bounds::default().tables(["todo"]).into(),
        _ => Verdict::ALLOW,
    };
    let (server, _) = server(move |access| Ok(verdict(access))).await;
    send(server.request(Method::PUT, "/a").json(&json!({ "schema": TWO }))).await.ok();
    write_both(&server).await;
    let ticket = server.post("/a/ticket", json!(null)).await.ok()["ticket"].as_str().unwrap().to_owned();
    let mut stream = Reader::open(&server, &format!("/a/events?ticket={ticket}")).await;
    assert!(stream.batch().await["changes"].as_array().unwrap().iter().all(|change| change[0] == "todo"));
}
