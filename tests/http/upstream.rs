//! What links make of the answers that they get: named after what went wrong for others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crsql_sync::http::{Access, Bounds, Operation, Verdict};
use crsql_sync::server::Reqwest;
use crsql_sync::upstream::{Asked, Config, Credentials, Upstream};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::gate::{Gate, answer, problem};
use crate::links::{has, link_to, linked, node, pause, upstream_is};
use crate::support::{Server, TODO, eventually};

async fn set(server: &Server, settings: Value) -> Value {
    server.put("/a/upstream", settings).await.ok()
}

async fn unsent(server: &Server) -> u64 {
    server.status("a").await["unsent"]["changes"].as_u64().unwrap()
}

async fn all_sent(server: &Server) {
    eventually("nothing unsent", || async { unsent(server).await == 0 }).await;
}

async fn quarantined(server: &Server, count: u64) -> Value {
    eventually(&format!("{count} held back"), || async { server.status("a").await["quarantined"]["count"] == count })
        .await;
    server.status("a").await["quarantined"]["transactions"].clone()
}

// Forms and encodings.

#[tokio::test]
async fn batches_are_binary_and_compressed_both_ways() {
    let gate = Gate::default();
    let hub = gate.hub().await;
    hub.create("a").await;
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
                INSERT INTO todo SELECT 'h' || i, 'title ' || i, 0 FROM n";
    hub.sql("a", fill).await;
    let a = node(&hub).await;
    eventually("pulled", || async { a.ids("a").await.len() == 500 }).await;
    a.sql("a", &fill.replace("'h'", "'k'")).await;
    eventually("pushed", || async { hub.ids("a").await.len() == 1000 }).await;
    let asked = gate.take();
    let push = asked.iter().find(|asked| asked.is_push() && !asked.batch().changes.is_empty()).unwrap();
    assert_eq!(push.header("content-type"), "application/vnd.crsql-sync.batch");
    assert_eq!(push.header("content-encoding"), "gzip");
    assert_eq!(push.batch().changes.len(), 1000);
    let pull = asked.iter().find(|asked| asked.path.starts_with("/sync/a/changes?")).unwrap();
    assert!(pull.header("accept").starts_with("application/vnd.crsql-sync.batch,"));
    assert!(pull.header("accept-encoding").contains("gzip"));
}

#[tokio::test]
async fn an_upstream_that_knows_neither_is_sent_json() {
    let gate = Gate::default();
    gate.answer(|asked| {
        let is_json = asked.header("content-type") == "application/json";
        (asked.is_push() && !is_json).then(|| problem(415, "unsupported_media_type", &[("accept", "application/json")]))
    });
    let hub = Server::wrapped(|builder| builder.sql(true).build(), gate.layer()).await;
    let a = node(&hub).await;
    let long = "x".repeat(5000);
    a.sql("a", &format!("INSERT INTO todo VALUES ('1', '{long}', 0)")).await;
    has(&hub, &["1"]).await;
    a.add("a", "2").await;
    has(&hub, &["1", "2"]).await;
    let pushes = gate.pushes();
    assert!(pushes.iter().all(|push| push.header("content-encoding").is_empty()));
    let forms: Vec<_> = pushes.iter().map(|push| push.header("content-type").to_owned()).collect();
    assert_eq!(forms, ["application/vnd.crsql-sync.batch", "application/json", "application/json"]);
}

// Whoever asks.

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
    let config = Config::new(&format!("http://{}/sync", hub.address)).unwrap().identity(move |question: Asked| {
        asked.lock().unwrap().push(question);
        let (token, principal) = now.lock().unwrap().clone();
        let authorization = [(http::header::AUTHORIZATION, HeaderValue::from_str(&token).unwrap())];
        let headers = HeaderMap::from_iter(authorization);
        let credentials =
            if token.is_empty() { Err("nobody is signed in".into()) } else { Ok(Credentials { headers, principal }) };
        async move { credentials }
    });
    Upstream::new(config, Reqwest::new().unwrap(), Arc::new(|task| drop(tokio::spawn(task))))
}

#[tokio::test]
async fn a_token_that_ran_out_is_asked_for_again_and_nothing_is_sent_without_one() {
    let (tokens, pushed) = (Arc::new(Mutex::new(vec!["one".into()])), Arc::default());
    let hub = guarded(tokens.clone(), Arc::clone(&pushed)).await;
    let (now, asked) = (Arc::new(Mutex::new(("one".to_owned(), None))), Arc::new(Mutex::new(Vec::<Asked>::new())));
    let upstream = identified(&hub, now.clone(), asked.clone());
    let a = Server::with(linked(upstream.clone())).await;
    a.create("a").await;
    a.add("a", "1").await;
    has(&hub, &["1"]).await;
    assert!(asked.lock().unwrap().iter().all(|question| !question.refresh && question.dbid.as_str() == "a"));

    // The old one is not taken any more; the new one is, at once.
    *tokens.lock().unwrap() = vec!["two".into()];
    now.lock().unwrap().0 = "two".into();
    a.add("a", "2").await;
    has(&hub, &["1", "2"]).await;

    // There is none.
    tokens.lock().unwrap().clear();
    a.add("a", "3").await;
    let status = upstream_is(&a, "unauthorized").await;
    assert_eq!(status["error"]["detail"], "bring another token");
    assert!(status["retry_in_ms"].as_u64().unwrap() > 10_000);
    assert!(asked.lock().unwrap().iter().any(|question| question.refresh));
    now.lock().unwrap().0 = String::new();
    upstream.wake();
    eventually("asked", || async { a.status("a").await["upstream"]["error"]["detail"] == "nobody is signed in" }).await;
    assert_eq!(unsent(&a).await, 2);

    *tokens.lock().unwrap() = vec!["three".into()];
    now.lock().unwrap().0 = "three".into();
    upstream.wake();
    has(&hub, &["1", "2", "3"]).await;
    upstream_is(&a, "online").await;
}

#[tokio::test]
async fn scenario_10_what_one_user_wrote_offline_never_goes_out_under_another_ones_name() {
    let pushed = Arc::new(Mutex::new(Vec::new()));
    let hub = guarded(Arc::new(Mutex::new(vec!["of ann".into(), "of ben".into()])), pushed.clone()).await;
    let now = Arc::new(Mutex::new(("of ann".to_owned(), Some("ann".to_owned()))));
    let identified = || identified(&hub, now.clone(), Arc::default());
    let a = Server::with(linked(identified())).await;
    a.create("a").await;
    a.add("a", "1").await;
    has(&hub, &["1"]).await;
    assert_eq!(upstream_is(&a, "online").await["principal"], "ann");

    pause(&a, true).await;
    a.add("a", "2").await;
    *now.lock().unwrap() = ("of ben".into(), Some("ben".into()));
    pause(&a, false).await;
    let stopped = upstream_is(&a, "principal_changed").await;
    assert_eq!((&stopped["principal"], &stopped["error"]["code"]), (&json!("ann"), &json!("principal_changed")));
    let waits = a.status("a").await["unsent"].clone();
    assert!(waits["changes"] == 2 && waits["since"].as_i64().unwrap() > 1_600_000_000_000, "{waits}");
    assert_eq!(hub.ids("a").await, ["1"]);

    // Also when it is said, and after a restart.
    assert_eq!(set(&a, json!({ "principal": "ben" })).await["upstream"]["state"], "principal_changed");
    let (folder, address) = a.stop().await;
    let a = Server::on(folder, address, linked(identified())).await;
    upstream_is(&a, "principal_changed").await;

    // Ann is back.
    *now.lock().unwrap() = ("of ann".into(), Some("ann".into()));
    set(&a, json!({ "principal": "ann" })).await;
    has(&hub, &["1", "2"]).await;
    all_sent(&a).await;
    // Now nothing of hers waits, and it goes over to Ben.
    *now.lock().unwrap() = ("of ben".into(), Some("ben".into()));
    set(&a, json!({ "principal": "ben" })).await;
    assert_eq!(upstream_is(&a, "online").await["principal"], "ben");
    assert!(pushed.lock().unwrap().iter().all(|token| token == "of ann"));
    a.add("a", "3").await;
    has(&hub, &["1", "2", "3"]).await;
    assert_eq!(pushed.lock().unwrap().last().unwrap(), "of ben");
}

#[tokio::test]
async fn what_is_given_up_at_a_change_of_users_stays_here_and_is_shown() {
    let hub = Server::start().await;
    let a = node(&hub).await;
    set(&a, json!({ "principal": "ann" })).await;
    a.add("a", "1").await;
    has(&hub, &["1"]).await;
    all_sent(&a).await;
    pause(&a, true).await;
    a.add("a", "2").await;
    let refused = a.put("/a/upstream", json!({ "unsent": "discard" })).await;
    assert_eq!((refused.status, refused.code()), (400, "invalid_request"));
    for name in [String::new(), "x".repeat(257)] {
        assert_eq!(a.put("/a/upstream", json!({ "principal": name })).await.code(), "invalid_request");
    }
    set(&a, json!({ "principal": "ben", "unsent": "discard", "paused": false })).await;
    a.add("a", "3").await;
    has(&hub, &["1", "3"]).await;
    let given_up = quarantined(&a, 1).await;
    assert_eq!((&given_up[0]["code"], &given_up[0]["principal"]), (&json!("discarded"), &json!("ann")));
    set(&a, json!({ "retry": true })).await;
    a.add("a", "4").await;
    has(&hub, &["1", "3", "4"]).await;
    assert_eq!(a.ids("a").await, ["1", "2", "3", "4"]);
}

// What goes wrong.

#[tokio::test]
async fn scenario_6_two_clients_that_come_back_at_the_same_instant_both_drain() {
    let hub = Server::start().await;
    let (a, b) = (node(&hub).await, node(&hub).await);
    for server in [&a, &b] {
        upstream_is(server, "online").await;
        pause(server, true).await;
    }
    for n in 0..20 {
        a.add("a", &format!("a{n:02}")).await;
        b.add("a", &format!("b{n:02}")).await;
    }
    tokio::join!(pause(&a, false), pause(&b, false));
    for server in [&a, &b, &hub] {
        eventually("all forty", || async { server.ids("a").await.len() == 40 }).await;
    }
    all_sent(&a).await;
    all_sent(&b).await;
}

#[tokio::test]
async fn scenario_7_a_burst_of_a_thousand_writes_reaches_the_other_side_whole() {
    let hub = Server::start().await;
    let (a, b) = (node(&hub).await, node(&hub).await);
    upstream_is(&b, "online").await;
    for _ in 0..20 {
        let many = (0..50).map(|_| json!({ "sql": "INSERT INTO todo (id) VALUES (hex(randomblob(16)))" }));
        let one_each = many.map(|statement| a.post("/a/sql", statement));
        futures_util::future::join_all(one_each).await.into_iter().for_each(|answer| drop(answer.ok()));
    }
    eventually("a thousand", || async { b.ids("a").await.len() == 1000 }).await;
    assert_eq!(a.ids("a").await, b.ids("a").await);
    all_sent(&a).await;
}

#[tokio::test]
async fn scenario_8_an_upload_that_failed_once_is_tried_again_without_another_write() {
    let gate = Gate::default();
    let hub = gate.hub().await;
    let a = node(&hub).await;
    upstream_is(&a, "online").await;
    let failures = AtomicUsize::new(0);
    gate.answer(move |asked| {
        (asked.is_push() && failures.fetch_add(1, Ordering::SeqCst) == 0).then(|| problem(500, "internal", &[]))
    });
    a.add("a", "1").await;
    has(&hub, &["1"]).await;
    assert_eq!(gate.pushes().len(), 2);
}

#[tokio::test]
async fn scenario_11_a_poisoned_change_does_not_hold_up_the_rest() {
    let gate = Gate::default();
    let hub = gate.hub().await;
    let a = node(&hub).await;
    for n in 0..10 {
        a.add("a", &n.to_string()).await;
    }
    eventually("ten", || async { hub.ids("a").await.len() == 10 }).await;
    pause(&a, true).await;
    // The hub goes on without a column, and this copy does not know.
    let narrower = TODO.replace("title, ", "");
    let dropped = json!({ "schema": narrower, "allow_destructive": ["todo.title"] });
    hub.post("/a/migrate", dropped).await.ok();
    for n in 0..5 {
        a.sql("a", &format!("UPDATE todo SET done = {n} + 1 WHERE id = '{n}'")).await;
    }
    a.sql("a", "UPDATE todo SET title = 'poison', done = 70 WHERE id = '7'").await;
    for n in 5..10 {
        a.sql("a", &format!("UPDATE todo SET done = {n} + 1 WHERE id = '{n}'")).await;
    }
    gate.take();
    pause(&a, false).await;
    let held_back = quarantined(&a, 1).await;
    assert_eq!((&held_back[0]["code"], &held_back[0]["status"]), (&json!("invalid_batch"), &json!(400)));
    assert!(held_back[0]["detail"].as_str().unwrap().contains("title"), "{held_back}");
    assert_eq!(held_back[0]["versions"], json!([16, 16]));
    all_sent(&a).await;
    upstream_is(&a, "online").await;
    let done = hub.sql("a", "SELECT group_concat(done, ' ' ORDER BY id) FROM todo").await;
    assert_eq!(done["rows"][0][0], "1 2 3 4 5 6 7 8 9 10");
    let site = a.status("a").await["site"].as_str().unwrap().to_owned();
    assert_eq!(hub.status("a").await["gaps"], json!({ site: [[16, 16]] }));
    assert!(gate.pushes().len() < 12, "it is found by halves");

    // The column comes back, and what was refused with it.
    hub.post("/a/migrate", json!({ "schema": TODO })).await.ok();
    hub.add("a", "new").await;
    quarantined(&a, 0).await;
    assert_eq!(hub.status("a").await["gaps"], json!({}));
    let title = hub.sql("a", "SELECT title FROM todo WHERE id = '7'").await;
    assert_eq!(title["rows"][0][0], "poison");
}

#[tokio::test]
async fn what_is_refused_is_sent_again_when_somebody_asks() {
    let gate = Gate::default();
    let hub = gate.hub().await;
    let a = node(&hub).await;
    let is_poisoned = |asked: &crate::gate::Asked| {
        asked.is_push() && asked.batch().changes.iter().any(|change| change.version.get() == 2)
    };
    gate.answer(move |asked| is_poisoned(asked).then(|| problem(422, "not_our_taste", &[])));
    for id in ["1", "2", "3"] {
        a.add("a", id).await;
    }
    has(&hub, &["1", "3"]).await;
    assert_eq!(quarantined(&a, 1).await[0]["code"], "not_our_taste");
    let (folder, address) = a.stop().await;
    let a = Server::on(folder, address, linked(link_to(hub.address))).await;
    a.add("a", "4").await;
    has(&hub, &["1", "3", "4"]).await;
    set(&a, json!({ "retry": true })).await;
    a.add("a", "5").await;
    has(&hub, &["1", "3", "4", "5"]).await;
    quarantined(&a, 1).await;
    gate.open();
    set(&a, json!({ "retry": true })).await;
    has(&hub, &["1", "2", "3", "4", "5"]).await;
    quarantined(&a, 0).await;
}

#[tokio::test]
async fn a_row_that_is_too_large_for_the_upstream_does_not_hold_up_the_rest() {
    let hub = Server::with(|builder| {
        let mut limits = crsql_sync::http::Limits::default();
        limits.binary_body = 20_000;
        builder.sql(true).limits(limits)
    })
    .await;
    let a = node(&hub).await;
    pause(&a, true).await;
    let fill = "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 59)
                INSERT INTO todo SELECT i, hex(randomblob(500)), 0 FROM n";
    a.sql("a", fill).await;
    a.sql("a", "INSERT INTO todo VALUES ('99', hex(randomblob(20000)), 0)").await;
    a.add("a", "100").await;
    pause(&a, false).await;
    eventually("the others", || async { hub.ids("a").await.len() == 51 }).await;
    assert_eq!(quarantined(&a, 1).await[0]["code"], "payload_too_large");
    all_sent(&a).await;
}

#[tokio::test]
async fn scenario_11_an_upstream_that_asks_for_time_is_given_it() {
    for (status, in_seconds) in [(429, true), (503, true), (503, false)] {
        let gate = Gate::default();
        let hub = gate.hub().await;
        let upstream = link_to(hub.address);
        let a = Server::with(linked(upstream.clone())).await;
        a.create("a").await;
        upstream_is(&a, "online").await;
        gate.answer(move |asked| {
            let date = |after| httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(after));
            let after = if in_seconds { "2".to_owned() } else { date(2) };
            let text = [("retry-after", &*after), ("date", &*date(0)), ("content-type", "text/plain")];
            asked.is_push().then(|| answer(status, &text, "later"))
        });
        a.add("a", "1").await;
        let began = Instant::now();
        let offline = upstream_is(&a, "offline").await;
        assert_eq!(offline["error"]["status"], status);
        assert!(offline["retry_in_ms"].as_u64().unwrap() > 500, "{offline}");
        gate.open();
        gate.take();
        // Nobody hurries it.
        upstream.wake();
        tokio::time::sleep(Duration::from_millis(500)).await;
        upstream.wake();
        assert!(gate.take().is_empty());
        has(&hub, &["1"]).await;
        assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_host_that_is_started_anew_still_gives_the_upstream_its_time() {
    let gate = Gate::default();
    let hub = gate.hub().await;
    let a = node(&hub).await;
    upstream_is(&a, "online").await;
    gate.answer(|asked| asked.is_push().then(|| problem(503, "unavailable", &[("retry-after", "60")])));
    a.add("a", "1").await;
    upstream_is(&a, "offline").await;
    gate.open();
    let (folder, address) = a.stop().await;
    gate.take();
    let a = Server::on(folder, address, linked(link_to(hub.address))).await;
    let waits = upstream_is(&a, "offline").await;
    assert!(waits["retry_in_ms"].as_u64().unwrap() > 30_000, "{waits}");
    assert!(gate.take().is_empty());
    // But for somebody who says so.
    pause(&a, false).await;
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
        let upstream = link_to(hub.address);
        let a = Server::with(linked(upstream.clone())).await;
        a.create("a").await;
        upstream_is(&a, "online").await;
        gate.answer(move |_| Some(portal()));
        a.add("a", "1").await;
        let offline = upstream_is(&a, "offline").await;
        assert_eq!(offline["error"]["code"], "not_a_sync_server", "{what}: {offline}");
        assert_eq!((unsent(&a).await, quarantined(&a, 0).await), (2, json!([])), "{what}");
        gate.open();
        upstream.wake();
        has(&hub, &["1"]).await;
    }
}

#[tokio::test]
async fn an_answer_that_does_not_say_that_it_holds_a_batch_acknowledges_nothing() {
    let gate = Gate::default();
    let hub = gate.hub().await;
    let a = node(&hub).await;
    upstream_is(&a, "online").await;
    let site = a.status("a").await["site"].as_str().unwrap().to_owned();
    gate.answer(move |asked| {
        let taken = json!({ "applied": 2, "received": format!("{site}.0"), "at": format!("{site}.0") }).to_string();
        asked.is_push().then(|| answer(200, &[("content-type", "application/json")], &taken))
    });
    a.add("a", "1").await;
    upstream_is(&a, "offline").await;
    assert_eq!(unsent(&a).await, 2);
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
    let a = node(&hub).await;
    has(&a, &["new"]).await;
    upstream_is(&a, "online").await;
    // One that no cache would give, once, and then the stream.
    assert!(gate.take().len() < 8);
}

#[tokio::test]
async fn scenario_13_an_upstream_that_lost_its_data_is_sent_what_it_lacks_and_no_more() {
    let gate = Gate::default();
    let hub = gate.hub().await;
    let (a, b) = (node(&hub).await, node(&hub).await);
    for n in 0..10 {
        a.add("a", &format!("a{n}")).await;
        b.add("a", &format!("b{n}")).await;
    }
    for server in [&a, &b] {
        eventually("twenty", || async { server.ids("a").await.len() == 20 }).await;
        pause(server, true).await;
    }
    // Another one, which has what one of them brings.
    let other = Gate::default();
    let new = other.hub().await;
    let follow = |server: Server| async {
        let (folder, address) = server.stop().await;
        let server = Server::on(folder, address, linked(link_to(new.address))).await;
        pause(&server, false).await;
        server
    };
    let b = follow(b).await;
    eventually("all of it", || async { new.ids("a").await.len() == 20 }).await;
    all_sent(&b).await;
    assert_eq!(other.pushes().iter().map(|push| push.batch().changes.len()).sum::<usize>(), 40);
    pause(&b, true).await;
    let a = follow(a).await;
    a.add("a", "later").await;
    eventually("the later one", || async { new.ids("a").await.len() == 21 }).await;
    all_sent(&a).await;
    let asked = other.take();
    let pushed = asked.iter().filter(|asked| asked.is_push()).map(|push| push.batch().changes.len()).sum::<usize>();
    assert_eq!(pushed, 2, "the rest is there");
    assert!(asked.iter().any(|asked| asked.path == "/sync/a/changes/request"), "nor is it asked for");
    assert_eq!(new.status("a").await["gaps"], json!({}));
}

// What a status tells.

#[tokio::test]
async fn a_status_tells_how_far_the_first_sync_has_come_and_when_the_last_one_was() {
    let gate = Gate::default();
    let hub = gate.hub_with(|builder| {
        let mut limits = crsql_sync::http::Limits::default();
        limits.page_changes = 20;
        builder.limits(limits)
    });
    let hub = hub.await;
    hub.create("a").await;
    for n in 0..30 {
        hub.add("a", &n.to_string()).await;
    }
    // The third page does not come.
    let pages = AtomicUsize::new(0);
    gate.answer(move |asked| {
        let is_page = asked.path.starts_with("/sync/a/changes?");
        (is_page && pages.fetch_add(1, Ordering::SeqCst) == 2)
            .then(|| problem(503, "unavailable", &[("retry-after", "1")]))
    });
    let a = node(&hub).await;
    let halfway = upstream_is(&a, "offline").await;
    assert_eq!(halfway["synced_at"], Value::Null);
    let progress = &halfway["progress"];
    assert_eq!(
        (&progress["received"], &progress["expected"], &progress["done"]),
        (&json!(20), &json!(30), &json!(false))
    );
    assert!(progress["bytes"].as_u64().unwrap() > 100);
    let online = upstream_is(&a, "online").await;
    eventually("done", || async { a.status("a").await["upstream"]["progress"]["done"] == true }).await;
    eventually("synced", || async { a.status("a").await["upstream"]["synced_at"].is_i64() }).await;
    assert_eq!(online["error"], Value::Null);

    // It is remembered.
    let (_folder, _) = hub.stop().await;
    upstream_is(&a, "offline").await;
    let synced_at = a.status("a").await["upstream"]["synced_at"].as_i64().unwrap();
    assert!(synced_at > 1_600_000_000_000);
    let (folder, address) = a.stop().await;
    let a = Server::on(folder, address, linked(link_to("127.0.0.1:9".parse().unwrap()))).await;
    let again = upstream_is(&a, "offline").await["synced_at"].as_i64().unwrap();
    assert!(again >= synced_at - 1000 && again <= synced_at + 1000, "{again} {synced_at}");
}

#[tokio::test]
async fn a_caller_that_may_only_read_is_refused_when_it_has_something_to_send_and_pulls_all_the_same() {
    let hook = |access: Access| {
        let is_node = access.headers.contains_key("crsql-site");
        let bounds = if is_node { Bounds::default().read_only() } else { Bounds::NONE };
        std::future::ready(Ok(Verdict::Allow(bounds)))
    };
    let hub = Server::with(|builder| builder.sql(true).authorize(hook)).await;
    hub.create("a").await;
    hub.add("a", "1").await;
    let a = node(&hub).await;
    has(&a, &["1"]).await;
    upstream_is(&a, "online").await;
    a.add("a", "2").await;
    assert_eq!(upstream_is(&a, "refused").await["error"]["status"], 403);
    hub.add("a", "3").await;
    has(&a, &["1", "2", "3"]).await;
    assert_eq!(unsent(&a).await, 2);
}
