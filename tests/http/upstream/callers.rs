//! Whoever asks: tokens, and to whom a database belongs.

use std::sync::{Arc, Mutex};

use crsql_sync::http::{Access, Operation, Verdict};
use crsql_sync::upstream::{Asked, Config, Credentials, Upstream};
use http::{HeaderMap, HeaderValue};
use serde_json::json;

use crate::gate::{Gate, problem};
use crate::node::{Node, has, link};
use crate::support::{Server, eventually};

/// A hub that knows callers by a token, and the tokens that pushed.
async fn guarded(tokens: Arc<Mutex<Vec<String>>>, pushed: Arc<Mutex<Vec<String>>>) -> Server {
    let hook = move |access: Access| {
        let token = access.headers.get("authorization").map_or("", |value| value.to_str().unwrap()).to_owned();
        let known = tokens.lock().unwrap().contains(&token) || !access.headers.contains_key("crsql-site");
        if known && access.operation == Operation::ApplyChanges {
            pushed.lock().unwrap().push(token);
        }
        let verdict = if known { Verdict::ALLOW } else { Verdict::Unauthorized("bring another token".into()) };
        std::future::ready(Ok(verdict))
    };
    Server::with(|builder| builder.sql(true).authorize(hook)).await
}

/// Gives the token and the principal that stand in `now`.
fn identified(hub: &Server, now: Arc<Mutex<(String, Option<String>)>>, asked: Arc<Mutex<Vec<Asked>>>) -> Upstream {
    let config = Config::new(&format!("http://{}/sync", hub.address)).unwrap();
    link(config.identity(move |question: Asked| {
        asked.lock().unwrap().push(question);
        let (token, principal) = now.lock().unwrap().clone();
        let authorization = [(http::header::AUTHORIZATION, HeaderValue::from_str(&token).unwrap())];
        let headers = HeaderMap::from_iter(authorization);
        let credentials =
            if token.is_empty() { Err("nobody is signed in".into()) } else { Ok(Credentials { headers, principal }) };
        async move { credentials }
    }))
}

#[tokio::test]
async fn a_token_that_ran_out_is_asked_for_again_and_nothing_is_sent_without_one() {
    let (tokens, pushed) = (Arc::new(Mutex::new(vec!["one".into()])), Arc::default());
    let hub = guarded(tokens.clone(), Arc::clone(&pushed)).await;
    let (now, asked) = (Arc::new(Mutex::new(("one".to_owned(), None))), Arc::new(Mutex::new(Vec::<Asked>::new())));
    let a = Node::by(identified(&hub, now.clone(), asked.clone())).await;
    a.add("1").await;
    has(&hub, &["1"]).await;
    assert!(asked.lock().unwrap().iter().all(|question| !question.refresh && question.dbid.as_str() == "a"));

    // The old one is not taken any more; the new one is, at once.
    *tokens.lock().unwrap() = vec!["two".into()];
    now.lock().unwrap().0 = "two".into();
    a.add("2").await;
    has(&hub, &["1", "2"]).await;

    // There is none.
    tokens.lock().unwrap().clear();
    a.add("3").await;
    let status = a.link_is("unauthorized").await;
    assert_eq!(status["error"]["detail"], "bring another token");
    assert!(status["retry_in_ms"].as_u64().unwrap() > 10_000);
    assert!(asked.lock().unwrap().iter().any(|question| question.refresh));
    now.lock().unwrap().0 = String::new();
    a.wake();
    eventually("asked", || async { a.status().await["upstream"]["error"]["detail"] == "nobody is signed in" }).await;
    assert_eq!(a.unsent().await, 2);

    *tokens.lock().unwrap() = vec!["three".into()];
    now.lock().unwrap().0 = "three".into();
    a.wake();
    has(&hub, &["1", "2", "3"]).await;
    a.link_is("online").await;
}

#[tokio::test]
async fn scenario_10_what_one_user_wrote_offline_never_goes_out_under_another_ones_name() {
    let pushed = Arc::new(Mutex::new(Vec::new()));
    let hub = guarded(Arc::new(Mutex::new(vec!["of ann".into(), "of ben".into()])), pushed.clone()).await;
    let now = Arc::new(Mutex::new(("of ann".to_owned(), Some("ann".to_owned()))));
    let identified = || identified(&hub, now.clone(), Arc::default());
    let a = Node::by(identified()).await;
    a.add("1").await;
    has(&hub, &["1"]).await;
    assert_eq!(a.link_is("online").await["principal"], "ann");

    a.pause().await;
    a.add("2").await;
    *now.lock().unwrap() = ("of ben".into(), Some("ben".into()));
    a.resume().await;
    let stopped = a.link_is("principal_changed").await;
    assert_eq!((&stopped["principal"], &stopped["error"]["code"]), (&json!("ann"), &json!("principal_changed")));
    let waits = a.status().await["unsent"].clone();
    assert!(waits["changes"] == 2 && waits["since"].as_i64().unwrap() > 1_600_000_000_000, "{waits}");
    assert_eq!(hub.ids("a").await, ["1"]);

    // Also when it is said, and after a restart.
    assert_eq!(a.set(json!({ "principal": "ben" })).await["upstream"]["state"], "principal_changed");
    let a = a.restart_by(identified()).await;
    a.link_is("principal_changed").await;

    // Ann is back.
    *now.lock().unwrap() = ("of ann".into(), Some("ann".into()));
    a.set(json!({ "principal": "ann" })).await;
    has(&hub, &["1", "2"]).await;
    a.all_sent().await;
    // Now nothing of hers waits, and it goes over to Ben.
    *now.lock().unwrap() = ("of ben".into(), Some("ben".into()));
    a.set(json!({ "principal": "ben" })).await;
    assert_eq!(a.link_is("online").await["principal"], "ben");
    assert!(pushed.lock().unwrap().iter().all(|token| token == "of ann"));
    a.add("3").await;
    has(&hub, &["1", "2", "3"]).await;
    assert_eq!(pushed.lock().unwrap().last().unwrap(), "of ben");
}

#[tokio::test]
async fn what_is_given_up_at_a_change_of_users_is_taken_back() {
    let hub = Server::start().await;
    let a = Node::of(&hub).await;
    a.set(json!({ "principal": "ann" })).await;
    a.add("1").await;
    has(&hub, &["1"]).await;
    a.all_sent().await;
    a.pause().await;
    a.add("2").await;
    let refused = a.server.put("/a/upstream", json!({ "unsent": "discard" })).await;
    assert_eq!((refused.status, refused.code()), (400, "invalid_request"));
    for name in [String::new(), "x".repeat(257)] {
        assert_eq!(a.server.put("/a/upstream", json!({ "principal": name })).await.code(), "invalid_request");
    }
    a.set(json!({ "principal": "ben", "unsent": "discard", "paused": false })).await;
    a.add("3").await;
    has(&hub, &["1", "3"]).await;
    a.has(&["1", "3"]).await;
    a.quarantined(0).await;
    a.add("4").await;
    has(&hub, &["1", "3", "4"]).await;
    assert_eq!(hub.status("a").await["gaps"], json!({}));
}

#[tokio::test]
async fn what_is_given_up_stays_here_and_is_shown_where_the_upstream_does_not_say_what_it_has() {
    let gate = Gate::default();
    let hub = gate.hub().await;
    gate.answer(|asked| (asked.path == "/sync/a/verify").then(|| problem(404, "not_found", &[])));
    let a = Node::of(&hub).await;
    a.set(json!({ "principal": "ann" })).await;
    a.link_is("online").await;
    a.pause().await;
    a.add("1").await;
    a.set(json!({ "principal": "ben", "unsent": "discard", "paused": false })).await;
    a.add("2").await;
    has(&hub, &["2"]).await;
    let given_up = a.quarantined(1).await;
    assert_eq!((&given_up[0]["code"], &given_up[0]["principal"]), (&json!("discarded"), &json!("ann")));
    a.retry().await;
    a.add("3").await;
    has(&hub, &["2", "3"]).await;
    assert_eq!(a.ids().await, ["1", "2", "3"]);
}
