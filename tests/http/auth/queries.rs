//! What a hook does with SQL.

use crsql_sync::http::{Access, Bounds, Verdict};
use crsql_sync::sync::Sql;
use reqwest::Method;
use serde_json::{Value, json};

use super::server;
use crate::support::{Server, send};

#[tokio::test]
async fn the_hooks_own_statements_run_in_place_of_the_callers() {
    let own = |access: &Access| match access.sql.first().map(String::as_str) {
        Some("open") => {
            let sql = "SELECT id FROM todo WHERE NOT done ORDER BY id".into();
            Bounds::default().queries([Sql { sql, params: vec![] }]).read_only().into()
        }
        _ => Verdict::ALLOW,
    };
    let (server, _) = server(move |access| Ok(own(access))).await;
    server.create("a").await;
    server.sql("a", "INSERT INTO todo (id, done) VALUES ('1', 0), ('2', 1)").await;
    let answer = server.post("/a/sql", json!({ "sql": "open" })).await.ok();
    assert_eq!(answer["results"], json!([{ "columns": ["id"], "rows": [["1"]], "changes": 0 }]));
}

/// Inserts a row as one caller, by a key that others may use too.
async fn insert_as(server: &Server, who: &str, id: &str) -> Value {
    let request = server.request(Method::POST, "/a/sql").header("x-who", who).header("idempotency-key", "same");
    let sql = format!("INSERT INTO todo (id) VALUES ('{id}') RETURNING id");
    send(request.json(&json!({ "sql": sql }))).await.ok()["results"][0]["rows"].clone()
}

#[tokio::test]
async fn the_key_of_a_request_is_its_principals_own() {
    let (server, _) = server(|access| {
        let who = access.headers.get("x-who").and_then(|who| who.to_str().ok()).unwrap_or("nobody");
        Ok(Bounds::default().principal(who).into())
    })
    .await;
    server.create("a").await;
    assert_eq!(insert_as(&server, "ann", "1").await, json!([["1"]]));
    assert_eq!(insert_as(&server, "bob", "2").await, json!([["2"]]));
    assert_eq!(insert_as(&server, "ann", "3").await, json!([["1"]]));
    assert_eq!(server.ids("a").await, ["1", "2"]);
}

#[tokio::test]
async fn the_key_of_a_request_opens_no_other_tables() {
    let (server, _) = server(|access| match access.headers.contains_key("x-few") {
        true => Ok(Bounds::default().tables(["other"]).into()),
        false => Ok(Verdict::ALLOW),
    })
    .await;
    server.create("a").await;
    assert_eq!(insert_as(&server, "ann", "1").await, json!([["1"]]));
    let request = server.request(Method::POST, "/a/sql").header("x-few", "1").header("idempotency-key", "same");
    let answer = send(request.json(&json!({ "sql": "SELECT id FROM todo" }))).await;
    assert_eq!(answer.code(), "query_refused");
}
