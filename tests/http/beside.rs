//! Reads beside a write that takes long.

use std::time::Duration;

use rusqlite::Connection;
use serde_json::json;

use crate::support::Server;

#[tokio::test]
async fn what_only_reads_waits_for_no_write() {
    let server = Server::start().await;
    server.create("a").await;
    server.add("a", "1").await;
    // Another program has the lock, so the next write waits, and has the connection that writes.
    let other = Connection::open(server.folder.path().join("a.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let write = server.add("a", "2");
    let reads = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(server.ids("a").await, ["1"]);
        server.status("a").await;
        assert_eq!(server.get("/a/changes").await.ok()["changes"].as_array().unwrap().len(), 2);
        let events = server.request(reqwest::Method::GET, "/a/events").send().await.unwrap();
        assert_eq!(events.status(), 200);
    };
    tokio::pin!(write);
    tokio::select! {
        () = &mut write => panic!("the write did not wait"),
        () = reads => {}
    }
    other.execute_batch("ROLLBACK").unwrap();
    write.await;
    assert_eq!(server.ids("a").await, ["1", "2"]);
    let both = json!([{ "sql": "SELECT 1" }, { "sql": "DELETE FROM todo WHERE id = '1'" }]);
    assert_eq!(server.post("/a/sql", both).await.ok()["results"][1]["changes"], 1);
}
