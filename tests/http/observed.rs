//! What the binary tells of itself: its log and its metrics.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::process::{Process, binary};
use crate::support::{TODO, batch, eventually};

fn start(data: &str, arguments: &[&str]) -> Process {
    let mut command = binary();
    command.args(["serve", "--sql", "--listen", "127.0.0.1:0", "--data", data]).args(arguments);
    Process::spawn(command.stderr(Stdio::piped()))
}

fn root(process: &Process) -> &str {
    process.url.trim_end_matches("/sync")
}

/// Stops the server, and returns what it logged.
fn logged(mut process: Process) -> String {
    let stopped = std::process::Command::new("kill").arg(process.child.id().to_string()).status();
    assert!(stopped.unwrap().success());
    let mut text = String::new();
    process.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(process.child.wait().unwrap().success());
    text
}

/// The lines of answers, as JSON.
fn answers(log: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    lines.filter(|line| line["message"] == "answered").collect()
}

#[tokio::test]
async fn each_request_is_a_line_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let process = start(folder.path().to_str().unwrap(), &["--log-format", "json", "--log-level", "info"]);
    process.create().await;
    let request = process.client.get(format!("{}/a/changes?since=nonsense", process.url));
    let answer = request.header("x-request-id", "mine").send().await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], "mine");
    let missing = process.client.get(format!("{}/b/status", process.url));
    let missing = missing.header("x-request-id", "two words").send().await.unwrap();
    let made = missing.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(made.len(), 32);
    process.client.get(format!("{}/healthz", root(&process))).send().await.unwrap();

    let answers = answers(&logged(process));
    assert_eq!(answers.len(), 3, "{answers:?}");
    let [created, refused, missing] = &answers[..] else { unreachable!() };
    assert_eq!(created["method"], "PUT");
    assert_eq!(created["route"], "/sync/{dbid}");
    assert_eq!(created["operation"], "createDatabaseIfNotExists");
    assert_eq!((&created["dbid"], &created["status"]), (&json!("a"), &json!(201)));
    assert!(created["bytes"].as_u64().unwrap() > 0 && created["ms"].as_f64().unwrap() > 0.0);
    assert_eq!((&refused["request_id"], &refused["code"]), (&json!("mine"), &json!("invalid_request")));
    assert_eq!((&missing["request_id"], &missing["dbid"]), (&json!(made), &json!("b")));
    assert_eq!((&missing["status"], &missing["code"]), (&json!(404), &json!("not_found")));
}

#[tokio::test]
async fn the_log_holds_no_secret_and_nothing_of_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let process = start(data, &["--token", "hush-token", "--log-format", "json", "--log-level", "trace"]);
    let url = |path: &str| format!("{}{path}", process.url);
    let create = process.client.put(url("/a")).bearer_auth("hush-token").json(&json!({ "schema": TODO }));
    assert!(create.send().await.unwrap().status().is_success());
    let write = json!({ "sql": "INSERT INTO todo (id, title) VALUES (?, 'hush-sql')", "params": ["hush-value"] });
    let wrong = json!({ "sql": "SELECT hush-wrong FROM nowhere" });
    for (body, status) in [(write, 200), (wrong, 400)] {
        let request = process.client.post(url("/a/sql")).bearer_auth("hush-token").json(&body);
        assert_eq!(request.send().await.unwrap().status(), status);
    }
    let apply = process.client.post(url("/a/changes")).bearer_auth("hush-token").json(&batch(1, "hush-pk"));
    assert!(apply.send().await.unwrap().status().is_success());
    for (path, token) in [("/a/events?ticket=hush-ticket", "hush-other"), ("/hush*dbid/status", "hush-token")] {
        let request = process.client.get(url(path)).bearer_auth(token);
        let request = request.header("x-request-id", "hush with spaces").header("cookie", "hush=1");
        assert!(request.send().await.unwrap().status().is_client_error());
    }
    let log = logged(process);
    assert_eq!(answers(&log).len(), 6, "{log}");
    assert!(!log.contains("hush"), "{log}");
}

#[tokio::test]
async fn a_line_for_people_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let process = start(folder.path().to_str().unwrap(), &["--log-level", "info"]);
    process.create().await;
    let log = logged(process);
    let line = log.lines().find(|line| line.contains("answered")).unwrap();
    for field in ["method=\"PUT\"", "route=\"/sync/{dbid}\"", "dbid=a", "status=201"] {
        assert!(line.contains(field), "{field} is not in {line}");
    }
}

/// The value of a metric with these labels.
fn value(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with(' ')));
    line.map(|rest| rest.trim().parse().unwrap())
}

async fn metrics(process: &Process) -> String {
    let answer = process.client.get(format!("{}/metrics", root(process))).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    answer.text().await.unwrap()
}

#[tokio::test]
async fn the_metrics_count_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let process = start(folder.path().to_str().unwrap(), &[]);
    process.create().await;
    let mut stream = process.client.get(format!("{}/a/events", process.url)).send().await.unwrap().bytes_stream();
    stream.next().await.unwrap().unwrap();
    let apply = |body: Value| process.client.post(format!("{}/a/changes", process.url)).json(&body).send();
    assert_eq!(apply(batch(1, "1")).await.unwrap().status(), 200);
    assert_eq!(apply(batch(1, "1")).await.unwrap().status(), 200);
    assert_eq!(apply(batch(9, "9")).await.unwrap().status(), 409);
    let event = tokio::time::timeout(Duration::from_secs(10), stream.next()).await.unwrap().unwrap().unwrap();
    assert!(event.starts_with(b"event: batch"));

    let text = metrics(&process).await;
    for (name, expected) in [
        (r#"crsql_sync_requests_total{operation="applyChanges",status="2xx",code=""}"#, 2.0),
        (r#"crsql_sync_requests_total{operation="applyChanges",status="4xx",code="out_of_order"}"#, 1.0),
        (r#"crsql_sync_request_duration_seconds_count{operation="applyChanges"}"#, 3.0),
        (r#"crsql_sync_changes_total{result="applied"}"#, 2.0),
        (r#"crsql_sync_changes_total{result="beaten"}"#, 2.0),
        (r#"crsql_sync_changes_total{result="refused"}"#, 2.0),
        (r#"crsql_sync_changes_total{result="sent"}"#, 2.0),
        (r#"crsql_sync_batches_total{result="applied"}"#, 2.0),
        (r#"crsql_sync_batches_total{result="sent"}"#, 1.0),
        ("crsql_sync_stream_lag_seconds_count", 1.0),
        ("crsql_sync_streams_open", 1.0),
        ("crsql_sync_databases_open", 1.0),
        (r#"crsql_sync_build_info{version="0.1.0"}"#, 1.0),
    ] {
        assert_eq!(value(&text, name), Some(expected), "{name} in\n{text}");
    }
    assert!(value(&text, "crsql_sync_open_databases_bytes").unwrap() > 4096.0);
    assert!(!text.contains("\"a\""), "a database is named in\n{text}");
    if cfg!(target_os = "linux") {
        assert!(value(&text, "process_resident_memory_bytes").unwrap() > 1e6);
        assert!(value(&text, "process_open_fds").unwrap() > 3.0);
        assert!(value(&text, "process_cpu_seconds_total").is_some());
    }
    drop(stream);
    eventually("the stream is closed", || async {
        value(&metrics(&process).await, "crsql_sync_streams_open") == Some(0.0)
    })
    .await;
}

#[tokio::test]
async fn the_metrics_can_have_an_address_of_their_own() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let mut process = start(folder.path().to_str().unwrap(), &["--metrics-listen", "127.0.0.1:0"]);
    let mut line = String::new();
    BufReader::new(process.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("metrics at ").unwrap();
    assert_eq!(process.client.get(url).send().await.unwrap().status(), 200);
    let beside = process.client.get(format!("{}/metrics", root(&process))).send().await.unwrap();
    assert_eq!(beside.status(), 404);
}
