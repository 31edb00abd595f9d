//! `getChangesForQueries`, once and subscribed to.

use crsql_sync::http::{Access, Bounds, Limits, Verdict};
use reqwest::Method;
use serde_json::{Value, json};

use crate::events::Reader;
use crate::support::{Answer, PEER, Server, send};

const SCHEMA: &str = "CREATE TABLE project (id TEXT PRIMARY KEY NOT NULL, owner TEXT);
    CREATE TABLE task (id TEXT PRIMARY KEY NOT NULL, project TEXT, title TEXT);
    CREATE INDEX task_project ON task (project);
    SELECT crsql_as_crr('project'); SELECT crsql_as_crr('task');";
const TASKS: &str = "SELECT task.* FROM project JOIN task ON task.project = project.id WHERE owner = ?";

async fn server() -> Server {
    prepare(Server::start().await).await
}

/// Two projects of ann and bob, with a task each.
async fn prepare(server: Server) -> Server {
    server.put("/a", json!({ "schema": SCHEMA })).await.ok();
    server.sql("a", "INSERT INTO project VALUES ('p1', 'ann'), ('p2', 'bob')").await;
    server.sql("a", "INSERT INTO task VALUES ('t1', 'p1', 'sow'), ('t2', 'p2', 'reap')").await;
    server
}

async fn ask(server: &Server, mut body: Value) -> Answer {
    if body["queries"].is_null() {
        body.as_object_mut().unwrap().remove("queries");
    }
    send(server.request(Method::POST, "/a/changes/query").header("crsql-site", PEER).json(&body)).await
}

fn tasks_of(owner: &str) -> Value {
    json!([{ "sql": TASKS, "params": [owner] }])
}

/// What asks for the next answer after `last`.
fn next(queries: Value, last: &Value) -> Value {
    json!({ "queries": queries, "subscription": "s", "seen": last["seen"], "since": last["next"] })
}

/// The rows that a batch brings, and those that left, as `table key`.
fn rows(batch: &Value) -> (Vec<String>, Vec<String>) {
    let name = |row: &Value| {
        let key = hex::decode(row[1].as_str().unwrap()).unwrap();
        format!("{} {}", row[0].as_str().unwrap(), String::from_utf8_lossy(&key[3..]))
    };
    let names = |rows: &Value| {
        let mut names: Vec<String> = rows.as_array().into_iter().flatten().map(name).collect();
        names.sort();
        names.dedup();
        names
    };
    (names(&batch["changes"]), names(&batch["left"]))
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn the_rows_that_queries_read_come_whole_to_one_who_asks_once() {
    let server = server().await;
    let batch = ask(&server, json!({ "queries": tasks_of("ann") })).await.ok();
    assert_eq!(rows(&batch), (names(&["project p1", "task t1"]), vec![]));
    assert_eq!(batch["changes"].as_array().unwrap().len(), 3);
    assert!(batch["covers"].as_object().unwrap().is_empty() && batch["end"].is_null() && batch["seen"].is_null());
}

#[tokio::test]
async fn a_subscriber_is_sent_what_enters_what_changes_and_the_names_of_what_leaves() {
    let server = server().await;
    let first = ask(&server, json!({ "queries": tasks_of("ann"), "subscription": "s" })).await.ok();
    assert_eq!((rows(&first), &first["begins"]), ((names(&["project p1", "task t1"]), vec![]), &json!(true)));

    server.sql("a", "UPDATE task SET title = 'mow' WHERE id = 't1'").await;
    server.sql("a", "UPDATE task SET title = 'not for her' WHERE id = 't2'").await;
    let second = ask(&server, next(tasks_of("ann"), &first)).await.ok();
    assert_eq!(rows(&second), (names(&["task t1"]), vec![]));
    assert_eq!(second["changes"].as_array().unwrap().len(), 1, "only the cell that changed");

    server.sql("a", "UPDATE project SET owner = 'bob' WHERE id = 'p1'").await;
    let third = ask(&server, next(tasks_of("ann"), &second)).await.ok();
    assert_eq!(rows(&third), (vec![], names(&["project p1", "task t1"])));
}

/// Scenario 20 of the failures of others.
#[tokio::test]
async fn a_row_that_becomes_visible_because_another_one_changed_is_delivered() {
    let server = server().await;
    let first = ask(&server, json!({ "queries": tasks_of("ann"), "subscription": "s" })).await.ok();
    server.sql("a", "UPDATE project SET owner = 'ann' WHERE id = 'p2'").await;
    let second = ask(&server, next(tasks_of("ann"), &first)).await.ok();
    assert_eq!(rows(&second).0, names(&["project p2", "task t2"]));
}

#[tokio::test]
async fn an_answer_that_was_lost_is_given_again() {
    let server = server().await;
    let first = ask(&server, json!({ "queries": tasks_of("ann"), "subscription": "s" })).await.ok();
    server.sql("a", "INSERT INTO task VALUES ('t3', 'p1', 'weed')").await;
    let lost = ask(&server, next(tasks_of("ann"), &first)).await.ok();
    let again = ask(&server, next(tasks_of("ann"), &first)).await.ok();
    assert_eq!(rows(&lost), rows(&again));
    assert_ne!(lost["seen"], again["seen"]);
    let unknown = ask(&server, next(tasks_of("ann"), &lost)).await.ok();
    assert_eq!((rows(&unknown).0.len(), &unknown["begins"]), (3, &json!(true)), "what was given up is not known");
}

#[tokio::test]
async fn a_subscription_comes_by_pages_and_other_queries_take_its_place_without_a_new_beginning() {
    let server = server().await;
    let many: Vec<String> = (10..60).map(|n| format!("('t{n}', 'p1', 'many')")).collect();
    server.sql("a", &format!("INSERT INTO task VALUES {}", many.join(","))).await;
    let mut body = json!({ "queries": tasks_of("ann"), "subscription": "s", "limit": 20 });
    let (mut seen, mut pages) = (0, 0);
    let last = loop {
        let page = ask(&server, body).await.ok();
        seen += rows(&page).0.len();
        pages += 1;
        body = next(tasks_of("ann"), &page);
        body["limit"] = json!(20);
        if page["more"] == false {
            break page;
        }
    };
    assert_eq!(seen, 52);
    assert!(pages > 3, "{pages}");
    let bob = ask(&server, next(tasks_of("bob"), &last)).await.ok();
    let (entered, left) = rows(&bob);
    assert_eq!((entered, left.len(), &bob["begins"]), (names(&["project p2", "task t2"]), 52, &Value::Null));
}

#[tokio::test]
async fn a_stream_brings_what_comes_and_goes_on_where_it_broke() {
    let server = server().await;
    let first = ask(&server, json!({ "queries": tasks_of("ann"), "subscription": "s" })).await.ok();
    let at = |batch: &Value| format!("subscription=s&seen={}&since={}", batch["seen"], batch["next"].as_str().unwrap());
    let open = |path: String| {
        let request = server.request(Method::GET, &path).header("crsql-site", PEER);
        async { Reader::with(request).await }
    };
    let mut reader = open(format!("/a/events?{}", at(&first))).await;
    server.sql("a", "UPDATE task SET title = 'not for her' WHERE id = 't2'").await;
    server.sql("a", "INSERT INTO task VALUES ('t3', 'p1', 'weed')").await;
    let event = reader.event().await.unwrap();
    let batch: Value = serde_json::from_str(&event.data).unwrap();
    assert_eq!(rows(&batch), (names(&["task t3"]), vec![]));
    assert_eq!(event.id, format!("{}@{}", batch["seen"], batch["next"].as_str().unwrap()));
    for id in ["t4", "t5"] {
        server.sql("a", &format!("INSERT INTO task VALUES ('{id}', 'p1', 'weed')")).await;
        reader.event().await.unwrap();
    }
    drop(reader);
    // The last two never arrived.
    let mut again = Reader::with(
        server
            .request(Method::GET, "/a/events?subscription=s")
            .header("crsql-site", PEER)
            .header("last-event-id", event.id),
    )
    .await;
    let missed: Value = serde_json::from_str(&again.event().await.unwrap().data).unwrap();
    assert_eq!((rows(&missed).0, &missed["begins"]), (names(&["task t4", "task t5"]), &Value::Null));
}

#[tokio::test]
async fn a_subscription_survives_the_host_and_ends_when_it_is_told_to() {
    let server = server().await;
    let first = ask(&server, json!({ "queries": tasks_of("ann"), "subscription": "s" })).await.ok();
    let (folder, address) = server.stop().await;
    let server = Server::on(folder, address, |builder| builder.sql(true)).await;
    server.sql("a", "INSERT INTO task VALUES ('t3', 'p1', 'weed')").await;
    let second = ask(&server, next(Value::Null, &first)).await.ok();
    assert_eq!(rows(&second).0, names(&["task t3"]), "the host knows its queries");

    let end = || send(server.request(Method::DELETE, "/a/changes/query?subscription=s").header("crsql-site", PEER));
    assert_eq!((end().await.status, end().await.status), (204, 204));
    assert_eq!(ask(&server, next(Value::Null, &second)).await.code(), "not_found");
    let stream = server.request(Method::GET, "/a/events?subscription=s").header("crsql-site", PEER);
    assert_eq!(send(stream).await.code(), "not_found");
}

#[tokio::test]
async fn a_subscription_is_its_holders_alone_and_each_holder_has_only_so_many() {
    let who = async |access: Access| -> Result<Verdict, String> {
        let name = access.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("nobody");
        Ok(Bounds::default().principal(name).into())
    };
    let mut limits = Limits::default();
    limits.subscriptions = 2;
    let server = prepare(Server::with(|builder| builder.sql(true).authorize(who).limits(limits)).await).await;
    let ask = async |who: &str, body: Value| {
        let request = server.request(Method::POST, "/a/changes/query");
        send(request.header("crsql-site", PEER).header("authorization", who).json(&body)).await
    };
    let subscribe = |name: &str| json!({ "queries": tasks_of("ann"), "subscription": name });
    ask("ann", subscribe("s")).await.ok();
    assert_eq!(ask("bob", json!({ "subscription": "s" })).await.code(), "not_found");
    for name in ["t", "u"] {
        ask("ann", subscribe(name)).await.ok();
    }
    assert_eq!(ask("ann", json!({ "subscription": "s" })).await.code(), "not_found", "the oldest made room");
    ask("ann", json!({ "subscription": "u" })).await.ok();
}

#[tokio::test]
async fn the_hook_sees_the_queries_and_can_replace_them_also_when_the_host_remembers_them() {
    let hook = async |access: Access| -> Result<Verdict, String> {
        if access.sql.iter().any(|sql| sql.contains("forbidden")) {
            return Ok(Verdict::Forbidden("not that".into()));
        }
        let tasks = serde_json::from_value(tasks_of("bob")[0].clone()).unwrap();
        let replaces = access.operation.as_str() == "getChangesForQueries" && !access.sql.is_empty();
        Ok(if replaces { Bounds::default().queries([tasks]).into() } else { Verdict::ALLOW })
    };
    let server = prepare(Server::with(|builder| builder.sql(true).authorize(hook)).await).await;
    let refused = json!({ "queries": [{ "sql": "SELECT 'forbidden' FROM task" }] });
    assert_eq!(ask(&server, refused).await.code(), "forbidden");
    let once = ask(&server, json!({ "queries": tasks_of("ann") })).await.ok();
    assert_eq!(rows(&once).0, names(&["project p2", "task t2"]));
    let first = ask(&server, json!({ "queries": tasks_of("ann"), "subscription": "s" })).await.ok();
    assert_eq!(rows(&first).0, names(&["project p2", "task t2"]));
    server.sql("a", "INSERT INTO task VALUES ('t3', 'p1', 'hers'), ('t4', 'p2', 'his')").await;
    assert_eq!(rows(&ask(&server, next(Value::Null, &first)).await.ok()).0, names(&["task t4"]));
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_with_the_reason() {
    let server = server().await;
    let query = |sql: &str| json!({ "queries": [{ "sql": sql }] });
    for (body, code) in [
        (query("DELETE FROM task"), "query_refused"),
        (query("SELECT random() FROM task"), "query_refused"),
        (query("SELECT * FROM crsql_changes"), "query_refused"),
        (query("SELECT * FROM nothing"), "query_refused"),
        (query("SELECT"), "query_refused"),
        (json!({ "queries": [{ "sql": "SELECT ?" }] }), "query_refused"),
        (json!({}), "invalid_request"),
        (json!({ "queries": tasks_of("ann"), "seen": 1 }), "invalid_request"),
        (json!({ "queries": tasks_of("ann"), "subscription": "s", "seen": 1 }), "invalid_request"),
        (json!({ "queries": tasks_of("ann"), "subscription": "" }), "invalid_request"),
        (json!({ "queries": vec![json!({ "sql": "SELECT 1" }); 101] }), "invalid_request"),
        (json!({ "queries": tasks_of("ann"), "other": 1 }), "invalid_request"),
    ] {
        assert_eq!(ask(&server, body.clone()).await.code(), code, "{body}");
    }
    let anonymous = json!({ "queries": tasks_of("ann"), "subscription": "s" });
    assert_eq!(server.post("/a/changes/query", anonymous).await.code(), "invalid_request");
    assert_eq!(
        server.get("/a/events?subscription=s&seen=1&site=aa000000000000000000000000000001").await.code(),
        "invalid_request"
    );
}
