use crsql_sync::http::{Access, Operation, Verdict};
use serde_json::{Value, json};

use crate::support::{Server, TODO};

const WITH_NOTE: &str = "CREATE TABLE todo (id TEXT PRIMARY KEY NOT NULL, title, done INTEGER DEFAULT 0, note);
                         SELECT crsql_as_crr('todo');";
const WITHOUT_TITLE: &str = "CREATE TABLE todo (id TEXT PRIMARY KEY NOT NULL, done INTEGER DEFAULT 0);
                             SELECT crsql_as_crr('todo');";

#[tokio::test]
async fn a_database_is_created_or_takes_another_shape_or_stays() {
    let server = Server::start().await;
    let created = server.post("/a/migrate", json!({ "schema": TODO })).await;
    assert_eq!((created.status, &created.body["status"]), (201, &json!("created")));
    server.add("a", "milk").await;
    let unchanged = server.post("/a/migrate", json!({ "schema": format!("{TODO} -- as it was") })).await;
    assert_eq!((unchanged.status, &unchanged.body["status"]), (200, &json!("unchanged")));
    assert_eq!(unchanged.body["plan"], json!([]));
    let migrated = server.post("/a/migrate", json!({ "schema": WITH_NOTE })).await;
    assert_eq!((migrated.status, &migrated.body["status"]), (200, &json!("migrated")));
    let step = &migrated.body["plan"][0];
    assert!(step["step"].as_str().unwrap().contains("note"), "{step}");
    assert_eq!(step["loses"], json!([]));
    assert_eq!(migrated.body["site"], created.body["site"]);
    assert_ne!(migrated.body["schema"], created.body["schema"]);
    assert_eq!(migrated.body["schema"], server.status("a").await["schema"]);
    assert_eq!(server.sql("a", "SELECT id, note FROM todo").await["rows"], json!([["milk", null]]));
}

#[tokio::test]
async fn what_would_be_lost_must_be_named() {
    let server = Server::start().await;
    server.create("a").await;
    server.add("a", "milk").await;
    let before = server.status("a").await;
    let refused = server.post("/a/migrate", json!({ "schema": WITHOUT_TITLE })).await;
    assert_eq!((refused.status, refused.code()), (409, "migration_refused"));
    let loses: Vec<&Value> = refused.body["plan"].as_array().unwrap().iter().map(|step| &step["loses"]).collect();
    assert_eq!(loses, [&json!(["todo.title"])]);
    assert_eq!(server.status("a").await, before);
    let other = json!({ "schema": WITHOUT_TITLE, "allow_destructive": ["todo.done"] });
    assert_eq!(server.post("/a/migrate", other).await.code(), "migration_refused");
    let named = json!({ "schema": WITHOUT_TITLE, "allow_destructive": loses[0] });
    assert_eq!(server.post("/a/migrate", named).await.ok()["status"], "migrated");
    assert_eq!(server.sql("a", "SELECT * FROM todo").await["columns"], json!(["id", "done"]));
}

#[tokio::test]
async fn a_text_that_is_no_schema_leaves_no_database() {
    let server = Server::start().await;
    for schema in ["", "DROP TABLE todo", "PRAGMA user_version = 1", "ATTACH 'x' AS x"] {
        assert_eq!(server.post("/a/migrate", json!({ "schema": schema })).await.code(), "invalid_schema", "{schema}");
    }
    assert_eq!(server.get("/a/status").await.code(), "not_found");
}

#[tokio::test]
async fn a_batch_that_waited_is_merged_by_the_migration() {
    let server = Server::start().await;
    server.create("new").await;
    server.create("old").await;
    server.post("/new/migrate", json!({ "schema": WITH_NOTE })).await.ok();
    server.sql("new", "INSERT INTO todo (id, note) VALUES ('milk', 'fresh')").await;
    let theirs = server.status("old").await["schema"].as_str().unwrap().to_owned();
    let batch = server.get(&format!("/new/changes?schema={theirs}")).await.ok();
    assert!(batch["schema_text"].as_str().unwrap().contains("note"));
    assert_eq!(server.post("/old/changes", batch).await.ok()["waits"], json!(true));
    assert_eq!(server.ids("old").await, Vec::<String>::new());
    server.post("/old/migrate", json!({ "schema": WITH_NOTE })).await.ok();
    assert_eq!(server.sql("old", "SELECT note FROM todo").await["rows"], json!([["fresh"]]));
}

#[tokio::test]
async fn who_may_only_read_may_ask_for_the_schema_that_is_there() {
    let hook = |access: Access| async move {
        let writes = access.operation == Operation::Create;
        Ok(if writes { Verdict::ALLOW } else { Verdict::READ_ONLY })
    };
    let server = Server::with(|builder| builder.authorize(hook)).await;
    assert_eq!(server.post("/a/migrate", json!({ "schema": TODO })).await.code(), "forbidden");
    assert_eq!(server.get("/a/status").await.code(), "not_found");
    server.create("a").await;
    assert_eq!(server.post("/a/migrate", json!({ "schema": WITH_NOTE })).await.code(), "forbidden");
    assert_eq!(server.post("/a/migrate", json!({ "schema": TODO })).await.ok()["status"], "unchanged");
}
