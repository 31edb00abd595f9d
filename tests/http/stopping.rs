//! Whether the binary is ready, and how it ends.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::process::Process;
use crate::support::eventually;

fn ready(process: &Process) -> impl Future<Output = u16> {
    let request = process.client.get(process.url.replace("/sync", "/readyz"));
    async { request.send().await.unwrap().status().as_u16() }
}

/// Runs for as long as a statement may.
fn endless(process: &Process) -> reqwest::RequestBuilder {
    let sql = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
    process.client.post(format!("{}/a/sql", process.url)).json(&json!({ "sql": sql }))
}

#[tokio::test]
async fn a_server_is_ready_while_its_folder_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let (data, away) = (folder.path().join("data"), folder.path().join("away"));
    let process = Process::start(&["--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    eventually("ready", || async { ready(&process).await == 200 }).await;
    let many = futures_util::future::join_all((0..50).map(|_| ready(&process))).await;
    assert!(many.iter().all(|status| *status == 200), "{many:?}");
    fs::rename(&data, &away).unwrap();
    assert_eq!(ready(&process).await, 503);
    fs::rename(&away, &data).unwrap();
    assert_eq!(ready(&process).await, 200);
    assert_eq!(process.client.get(process.url.replace("/sync", "/healthz")).send().await.unwrap().status(), 200);
    assert!(!data.join(".ready").exists());
}

#[tokio::test]
async fn what_is_under_way_is_finished_and_the_databases_are_closed() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--data", folder.path().to_str().unwrap(), "--listen", "127.0.0.1:0", "--limit-sql-time", "1s"];
    let mut process = Process::start(&arguments);
    process.create().await;
    process.sql("INSERT INTO todo (id) VALUES ('1')".into()).await.unwrap();
    assert!(folder.path().join("a.db-wal").exists());
    let request = tokio::spawn(endless(&process).send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    process.signal("TERM");
    // It is answered, though by a refusal: it ran for longer than it may.
    assert_eq!(request.await.unwrap().unwrap().status(), 400);
    assert_eq!(process.child.wait().unwrap().code(), Some(0));
    assert!(!folder.path().join("a.db-wal").exists(), "the database was not closed");
}

#[tokio::test]
async fn what_takes_longer_than_the_grace_is_broken_off() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let limits = ["--limit-sql-time", "1m", "--grace", "500ms"];
    let mut process = Process::start(&[&["--data", data, "--listen", "127.0.0.1:0"], &limits[..]].concat());
    process.create().await;
    let request = tokio::spawn(endless(&process).send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    process.signal("TERM");
    assert!(request.await.unwrap().is_err());
    assert_eq!(process.child.wait().unwrap().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_second_signal_ends_the_server_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let limits = ["--limit-sql-time", "5m", "--grace", "5m"];
    let mut process = Process::start(&[&["--data", data, "--listen", "127.0.0.1:0"], &limits[..]].concat());
    process.create().await;
    let request = tokio::spawn(endless(&process).send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    process.signal("TERM");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(process.child.try_wait().unwrap().is_none(), "the request was not waited for");
    process.signal("INT");
    assert_eq!(process.child.wait().unwrap().code(), Some(130));
    assert!(request.await.unwrap().is_err());
}

#[tokio::test]
async fn a_hang_up_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(&["--data", folder.path().to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    process.create().await;
    let mut stream = process.client.get(format!("{}/a/events", process.url)).send().await.unwrap();
    process.signal("HUP");
    process.sql("INSERT INTO todo (id) VALUES ('1')".into()).await.unwrap();
    let mut text = String::new();
    while !text.contains("todo") {
        let piece = stream.chunk().await.unwrap().expect("the stream goes on");
        text.push_str(std::str::from_utf8(&piece).unwrap());
    }
}
