//! The binary's webhook.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::tokens::Host;
use crate::support::{PEER, batch};

/// A server that asks a program which answers by `answer`, and what that was asked.
async fn asking(
    answer: impl Fn(&Value) -> (u16, Value) + Clone + Send + Sync + 'static,
) -> (Host, Arc<Mutex<Vec<Value>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let handle = move |body: String| {
        let question: Value = serde_json::from_str(&body).unwrap();
        let (status, answer) = answer(&question);
        log.lock().unwrap().push(question);
        // An answer that is a text is sent as it is.
        let text = answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
        async move { (StatusCode::from_u16(status).unwrap(), text) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/may", listener.local_addr().unwrap());
    let router = Router::new().route("/may", post(handle));
    tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    (Host::start(&["--auth-webhook", &url, "--auth-webhook-timeout", "1s"]), asked)
}

#[tokio::test]
async fn the_program_is_told_what_is_asked_for() {
    let (host, asked) = asking(|_| (200, json!({ "allow": true }))).await;
    assert_eq!(host.create("a", "me").await, 201);
    let sql = host.request(Method::POST, "/a/sql", "me").header("crsql-site", PEER).header("x-two", "1");
    let sql = sql.header("x-two", "2").json(&json!([{ "sql": "SELECT 1" }, { "sql": "SELECT 2" }]));
    assert!(sql.send().await.unwrap().status().is_success());
    let asked = asked.lock().unwrap();
    let (create, sql) = (&asked[0], &asked[1]);
    assert_eq!(create["operation"], "createDatabaseIfNotExists");
    assert_eq!((&create["dbid"], &create["method"], &create["site"]), (&json!("a"), &json!("PUT"), &Value::Null));
    assert_eq!(create["headers"]["authorization"], "Bearer me");
    assert!(create["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!((&sql["sql"], &sql["site"]), (&json!(["SELECT 1", "SELECT 2"]), &json!(PEER)));
    assert_eq!(sql["headers"]["x-two"], "1, 2");
}

#[tokio::test]
async fn its_answer_has_bounds() {
    let answer = |question: &Value| {
        let bounds = match question["headers"]["authorization"].as_str().unwrap() {
            "Bearer reader" => json!({ "allow": true, "principal": "ann", "read_only": true, "sites": null }),
            "Bearer device" => json!({ "allow": true, "sites": [PEER], "tables": ["todo"] }),
            "Bearer late" => json!({ "allow": true, "expires": 1 }),
            "Bearer asked" => {
                json!({ "allow": true, "queries": [{ "sql": "SELECT ?1", "params": [{ "$int": "7" }] }] })
            }
            _ => json!({ "allow": true, "databases": ["a"] }),
        };
        (200, bounds)
    };
    let (host, _) = asking(answer).await;
    assert_eq!(host.create("b", "root").await, 403);
    assert_eq!(host.create("a", "root").await, 201);
    assert_eq!(host.sql("a", "reader", "DELETE FROM todo").await, Err("forbidden".into()));
    assert_eq!(host.sql("a", "device", "SELECT * FROM crsql_master").await, Err("query_refused".into()));
    assert_eq!(host.sql("a", "asked", "anything").await, Ok(json!([[7]])));
    assert_eq!(host.status("a", "late").await, 401);
    let mut of_other = batch(1, "milk");
    of_other["changes"][0][6] = json!("bb000000000000000000000000000001");
    assert_eq!(host.apply("a", "device", &of_other).await, 403);
    assert_eq!(host.apply("a", "device", &batch(1, "milk")).await, 200);
}

#[tokio::test]
async fn whatever_is_no_clear_yes_denies() {
    let answer = |question: &Value| match question["dbid"].as_str().unwrap() {
        "no" => (200, json!({ "allow": false, "message": "not you" })),
        "nobody" => (401, json!({ "message": "who?" })),
        "never" => (403, json!("<html>")),
        "empty" => (200, json!("")),
        "truthy" => (200, json!({ "allow": "true" })),
        "list" => (200, json!([true])),
        "true" => (200, json!(true)),
        "silent" => (204, json!("")),
        "broken" => (500, json!({ "allow": true })),
        "created" => (201, json!({ "allow": true })),
        "misspelt" => (200, json!({ "allow": true, "table": ["todo"] })),
        "wrong" => (200, json!({ "allow": true, "expires": "tomorrow" })),
        "large" => (200, json!({ "allow": true, "message": "x".repeat(2 << 20) })),
        _ => (200, json!({ "allow": true })),
    };
    let (host, _) = asking(answer).await;
    assert_eq!(host.status("yes", "").await, 404);
    for dbid in
        ["no", "never", "empty", "truthy", "list", "true", "silent", "broken", "created", "misspelt", "wrong", "large"]
    {
        assert_eq!(host.status(dbid, "").await, 403, "{dbid}");
    }
    assert_eq!(host.status("nobody", "").await, 401);
    let told = host.request(Method::GET, "/no/status", "").send().await.unwrap().text().await.unwrap();
    assert!(told.contains("not you"));
    let hidden = host.request(Method::GET, "/broken/status", "").send().await.unwrap().text().await.unwrap();
    assert!(!hidden.contains("500"));
}

#[tokio::test]
async fn a_program_that_is_slow_or_gone_denies() {
    let (host, _) = asking(|question| {
        if question["dbid"] == "slow" {
            std::thread::sleep(Duration::from_secs(3));
        }
        assert_ne!(question["dbid"], "panics");
        (200, json!({ "allow": true }))
    })
    .await;
    assert_eq!(host.status("panics", "").await, 403);
    assert_eq!(host.status("slow", "").await, 403);
    assert_eq!(Host::start(&["--auth-webhook", "http://127.0.0.1:1/"]).status("a", "").await, 403);
}
