use crsql_sync::http::Routes;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{PEER, Server, TODO, batch, send};

#[tokio::test]
async fn a_database_is_created_once() {
    let server = Server::start().await;
    let first = server.put("/a", json!({ "schema": TODO })).await;
    assert_eq!((first.status, &first.body["status"]), (201, &json!("created")));
    let again = server.put("/a", json!({ "schema": format!("-- the list\n{TODO}") })).await;
    assert_eq!((again.status, &again.body["status"]), (200, &json!("exists")));
    for member in ["site", "schema", "at"] {
        assert_eq!(first.body[member], again.body[member]);
    }
    let other = server.put("/a", json!({ "schema": TODO.replace("title", "name") })).await;
    assert_eq!((other.status, other.code()), (409, "schema_mismatch"));
    assert_eq!(other.body["schema"], first.body["schema"]);
}

#[tokio::test]
async fn a_batch_that_was_applied_is_answered_and_read_back() {
    let server = Server::start().await;
    server.create("a").await;
    let applied = server.post("/a/changes", batch(1, "milk")).await.ok();
    assert!(applied["applied"].as_u64().unwrap() > 0);
    assert_eq!(applied["received"], format!("{PEER}.1"));
    assert_eq!(applied["at"], server.at("a").await);
    let read = server.get("/a/changes").await.ok();
    assert_eq!(read["changes"], batch(1, "milk")["changes"]);
    assert_eq!((&read["protocol"], &read["more"], &read["start"]), (&json!(1), &json!(false), &json!(0)));
    assert_eq!(read["next"], applied["at"]);
    assert_eq!(read["covers"], json!({ PEER: [[1, 1]] }));
    let status = server.get("/a/status?clock=true").await.ok();
    assert_eq!((&status["clock"], &status["gaps"]), (&json!({ PEER: [[1, 1]] }), &json!({})));
    assert_eq!(server.ids("a").await, ["milk"]);
}

#[tokio::test]
async fn a_caller_is_not_sent_what_came_from_it() {
    let server = Server::start().await;
    server.create("a").await;
    server.post("/a/changes", batch(1, "milk")).await.ok();
    server.add("a", "bread").await;
    let ways = [
        server.get(&format!("/a/changes?exclude={PEER}")).await.ok(),
        server.get(&format!("/a/changes?site={PEER}")).await.ok(),
        send(server.request(Method::GET, "/a/changes").header("crsql-site", PEER)).await.ok(),
    ];
    for read in ways {
        let changes = read["changes"].as_array().unwrap();
        assert_eq!(changes.len(), 2);
        assert!(changes.iter().all(|change| change[6] == read["from"]));
        assert_eq!(read["next"], server.at("a").await);
    }
}

#[tokio::test]
async fn pages_lead_from_one_to_the_next() {
    let server = Server::start().await;
    server.create("a").await;
    for n in 0..5 {
        server.add("a", &n.to_string()).await;
    }
    let middle = server.at("a").await;
    let values: Vec<_> = (10..30).map(|n| format!("('{n}', 'x', 1)")).collect();
    server.sql("a", &format!("INSERT INTO todo VALUES {}", values.join(","))).await;
    let (mut since, mut pages, mut changes) = ("0".to_owned(), 0, Vec::new());
    loop {
        let page = server.get(&format!("/a/changes?since={since}&limit=6")).await.ok();
        assert!(page["changes"].as_array().unwrap().len() <= 6);
        changes.extend(page["changes"].as_array().unwrap().clone());
        since = page["next"].as_str().unwrap().to_owned();
        pages += 1;
        if page["more"] == json!(false) {
            break;
        }
    }
    assert!(pages >= 9, "{pages}");
    assert_eq!(since, server.at("a").await);
    assert_eq!(json!(changes), server.get("/a/changes").await.ok()["changes"]);
    let bounded = server.get(&format!("/a/changes?until={middle}")).await.ok();
    assert_eq!((&bounded["next"], bounded["changes"].as_array().unwrap().len()), (&json!(middle), 10));
}

#[tokio::test]
async fn an_answer_to_sql_names_the_tables_that_were_read_to_those_who_ask() {
    let server = Server::start().await;
    server.create("a").await;
    let run = |path, sql: &str| server.post(path, json!({ "sql": sql }));
    assert_eq!(run("/a/sql?tables=true", "SELECT title FROM todo").await.ok()["tables"], json!(["todo"]));
    let unknown = run("/a/sql?tables=true", "SELECT count(*) FROM crsql_changes").await.ok();
    assert!(unknown["tables"].is_null() && unknown.as_object().unwrap().contains_key("tables"));
    assert!(!run("/a/sql", "SELECT title FROM todo").await.ok().as_object().unwrap().contains_key("tables"));
    assert_eq!(run("/a/sql?tables=all", "SELECT title FROM todo").await.code(), "invalid_request");
}

#[tokio::test]
async fn an_answer_to_sql_names_the_rows_where_they_were_looked_for_by_their_keys() {
    let server = Server::start().await;
    server.create("a").await;
    let run = |sql: &str| server.post("/a/sql?tables=true", json!({ "sql": sql }));
    let by_key = run("SELECT title FROM todo WHERE id = 'x'").await.ok();
    assert_eq!((&by_key["tables"], &by_key["rows"]), (&json!(["todo"]), &json!({ "todo": ["010b0178"] })));
    assert!(run("SELECT title FROM todo").await.ok().get("rows").is_none());
    run("INSERT INTO todo (id) VALUES ('x')").await.ok();
    let changes = server.get("/a/changes").await.ok();
    assert_eq!(changes["changes"][0][1], "010b0178", "changes name the row in another way");
}

#[tokio::test]
async fn every_value_survives_sql_and_batches() {
    let server = Server::start().await;
    server.create("a").await;
    let values = [
        json!(null),
        json!("text \u{0} \"ü\""),
        json!(42),
        json!(1_700_000_000_000_i64),
        json!({ "$int": "-9223372036854775808" }),
        json!({ "$real": 1 }),
        json!(0.5),
        json!({ "$real": "inf" }),
        json!({ "$blob": "00ff" }),
    ];
    let statements: Vec<Value> = values
        .iter()
        .enumerate()
        .map(|(n, value)| json!({ "sql": "INSERT INTO todo VALUES (?1, ?2, 0)", "params": [n.to_string(), value] }))
        .collect();
    let done = server.post("/a/sql", json!(statements)).await.ok();
    assert_eq!(done["results"][0], json!({ "columns": [], "rows": [], "changes": 1 }));
    assert_eq!(done["at"], server.at("a").await);
    let rows = server.sql("a", "SELECT title FROM todo ORDER BY id").await;
    let expected: Vec<_> = values.iter().map(|value| json!([value])).collect();
    assert_eq!(rows, json!({ "columns": ["title"], "rows": expected, "changes": 0 }));

    let batch = server.get("/a/changes").await.ok();
    server.create("b").await;
    server.post("/b/changes", batch.clone()).await.ok();
    assert_eq!(server.sql("b", "SELECT title FROM todo ORDER BY id").await["rows"], rows["rows"]);
    assert_eq!(server.get("/b/changes").await.ok()["changes"], batch["changes"]);
}

#[tokio::test]
async fn a_replay_or_a_reordering_changes_nothing() {
    let server = Server::start().await;
    server.create("a").await;
    let early = server.post("/a/changes", batch(2, "late")).await;
    assert_eq!((early.status, early.code()), (409, "out_of_order"));
    assert_eq!(early.body["expected"], format!("{PEER}.0"));
    assert_eq!(server.ids("a").await, Vec::<String>::new());
    server.post("/a/changes", batch(1, "first")).await.ok();
    server.post("/a/changes", batch(2, "late")).await.ok();
    let at = server.at("a").await;
    let replayed = server.post("/a/changes", batch(1, "first")).await.ok();
    assert_eq!((&replayed["applied"], &replayed["received"]), (&json!(0), &json!(format!("{PEER}.2"))));
    assert_eq!(server.at("a").await, at);
}

#[tokio::test]
async fn the_status_tells_of_the_database_and_its_peers() {
    let server = Server::start().await;
    let created = server.create("a").await;
    server.post("/a/changes", batch(1, "milk")).await.ok();
    let status = server.status("a").await;
    assert_eq!((&status["site"], &status["schema"]), (&created["site"], &created["schema"]));
    assert_eq!(status["unsent"], json!({ "changes": 0, "since": null }));
    let site = created["site"].as_str().unwrap();
    let peer = json!({ "site": PEER, "received": format!("{PEER}.1"), "acknowledged": format!("{site}.0") });
    assert_eq!(status["peers"], json!([peer]));
    assert!(status["size"]["bytes"].as_i64().unwrap() > 0);
    assert_eq!(status.get("upstream"), None);
}

#[tokio::test]
async fn routes_can_be_moved() {
    let routes = Routes::default().prefix("/sync/v1").unwrap().rename("changes", "delta").unwrap();
    let server = Server::with(|builder| builder.routes(routes)).await;
    server.create("v1/a").await;
    server.get("/v1/a/delta").await.ok();
    assert_eq!(server.get("/v1/a/changes").await.code(), "not_found");
}

#[tokio::test]
async fn head_and_options_are_answered() {
    let server = Server::start().await;
    server.create("a").await;
    for path in ["/a/changes", "/a/status", "/a/events"] {
        let head = send(server.request(Method::HEAD, path)).await;
        assert_eq!((head.status, &head.body), (200, &Value::Null));
        let options = send(server.request(Method::OPTIONS, path)).await;
        assert_eq!((options.status, &options.body), (204, &Value::Null));
        assert!(options.headers["allow"].to_str().unwrap().contains("GET"));
    }
}

#[tokio::test]
async fn a_write_that_is_sent_twice_with_one_key_is_done_once() {
    let server = Server::start().await;
    server.create("a").await;
    let write = |key: &str| {
        let body = json!({ "sql": "INSERT INTO todo (id) VALUES (?1) RETURNING id", "params": ["x"] });
        send(server.request(Method::POST, "/a/sql").header("idempotency-key", key).json(&body))
    };
    let first = write("5ac3").await.ok();
    assert_eq!(write("5ac3").await.ok()["results"], first["results"]);
    assert_eq!(write("5ac4").await.code(), "query_refused", "another key is another write");
    assert_eq!(write("two words").await.code(), "invalid_request");
}
