mod claims;
mod expiry;
mod jwt;
mod queries;
mod rows;
mod tables;
mod tickets;
mod tokens;
mod webhook;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crsql_sync::http::{Access, Limits, Operation, Verdict};
use reqwest::Method;
use serde_json::json;

use crate::support::{PEER, Server, TODO, batch, send};

/// A server whose hook answers by `verdict`, and what the hook was asked.
async fn server(
    verdict: impl Fn(&Access) -> Result<Verdict, String> + Send + Sync + 'static,
) -> (Server, Arc<Mutex<Vec<Access>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let hook = move |access: Access| {
        let verdict = verdict(&access);
        log.lock().unwrap().push(access);
        std::future::ready(verdict)
    };
    (Server::with(|builder| builder.sql(true).authorize(hook)).await, asked)
}

#[tokio::test]
async fn the_hook_is_asked_before_every_operation_and_told_what_it_is() {
    let (server, asked) = server(|_| Ok(Verdict::Forbidden("not today".into()))).await;
    let with_site = |method, path| server.request(method, path).header("crsql-site", PEER).header("x-who", "me");
    let answers = [
        send(with_site(Method::PUT, "/a").json(&json!({ "schema": TODO }))).await,
        send(with_site(Method::POST, "/a/migrate").json(&json!({ "schema": TODO }))).await,
        send(with_site(Method::POST, "/a/changes").json(&batch(1, "milk"))).await,
        send(with_site(Method::GET, "/a/changes")).await,
        send(with_site(Method::POST, "/a/changes/request").json(&json!({}))).await,
        send(with_site(Method::POST, "/a/verify").json(&json!({}))).await,
        send(with_site(Method::GET, "/a/events")).await,
        send(with_site(Method::POST, "/a/ticket")).await,
        send(with_site(Method::GET, "/a/status")).await,
        send(with_site(Method::POST, "/a/sql").json(&json!([{ "sql": "SELECT 1" }, { "sql": "SELECT 2" }]))).await,
    ];
    for answer in &answers {
        assert_eq!((answer.status, answer.code(), &answer.body["detail"]), (403, "forbidden", &json!("not today")));
    }
    let asked = asked.lock().unwrap();
    let operations: Vec<_> = asked.iter().map(|access| access.operation).collect();
    use Operation::*;
    let expected = [Create, Migrate, ApplyChanges, GetChanges, RequestChanges, Verify, Events, Ticket, Status, Sql];
    assert_eq!(operations, expected);
    for access in asked.iter() {
        assert_eq!((access.dbid.as_str(), access.site), ("a", PEER.parse().ok()));
        assert_eq!(access.headers["x-who"], "me");
    }
    assert_eq!(asked[0].method, Method::PUT);
    assert_eq!(asked[9].sql, ["SELECT 1", "SELECT 2"]);
    assert_eq!(std::fs::read_dir(server.folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_caller_who_is_nobody_is_asked_who_it_is() {
    let (server, _) = server(|_| Ok(Verdict::Unauthorized("who are you?".into()))).await;
    let answer = server.get("/a/status").await;
    assert_eq!((answer.status, answer.code()), (401, "unauthorized"));
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
}

#[tokio::test]
async fn a_hook_that_fails_denies() {
    let (failing, _) = server(|_| Err("the secret reason".into())).await;
    let answer = failing.get("/a/status").await;
    assert_eq!((answer.status, answer.code()), (403, "forbidden"));
    assert!(!answer.body.to_string().contains("secret"));
    let (panicking, _) = server(|_| panic!("on purpose")).await;
    assert_eq!(panicking.get("/a/status").await.code(), "forbidden");
    let mut limits = Limits::default();
    limits.authorize = Duration::from_millis(50);
    let never = |_: Access| std::future::pending::<Result<Verdict, String>>();
    let slow = Server::with(|builder| builder.limits(limits).authorize(never)).await;
    assert_eq!(slow.get("/a/status").await.code(), "forbidden");
}

#[tokio::test]
async fn a_reader_may_read_and_not_write() {
    let writer = |access: &Access| access.headers.contains_key("x-writer");
    let (server, _) = server(move |access| Ok(if writer(access) { Verdict::ALLOW } else { Verdict::READ_ONLY })).await;
    assert_eq!(server.put("/a", json!({ "schema": TODO })).await.code(), "forbidden");
    let create = server.request(Method::PUT, "/a").header("x-writer", "1").json(&json!({ "schema": TODO }));
    send(create).await.ok();
    assert_eq!(server.create("a").await["status"], "exists");
    assert_eq!(server.post("/a/changes", batch(1, "milk")).await.code(), "forbidden");
    assert_eq!(server.post("/a/sql", json!({ "sql": "DELETE FROM todo" })).await.code(), "forbidden");
    assert_eq!(server.ids("a").await, Vec::<String>::new());
    server.get("/a/changes").await.ok();
    assert_eq!(server.get("/b/changes").await.code(), "not_found");
}
