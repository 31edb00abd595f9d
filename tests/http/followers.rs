//! Servers that follow another one, as processes.

use std::fs;
use std::path::Path;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};

use crate::process::Process;
use crate::support::{TODO, eventually};

fn serve(folder: &Path, name: &str, more: &[&str]) -> Process {
    let data = folder.join(name);
    Process::start(&[&["--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"], more].concat())
}

async fn ids(process: &Process) -> Value {
    process.sql("SELECT id FROM todo ORDER BY id".into()).await.unwrap_or_default()
}

async fn has(process: &Process, ids_expected: &[&str]) {
    let rows: Vec<_> = ids_expected.iter().map(|id| json!([id])).collect();
    eventually(&format!("{ids_expected:?}"), || async { ids(process).await == json!(rows) }).await;
}

async fn add(process: &Process, id: &str) {
    process.sql(format!("INSERT INTO todo (id) VALUES ('{id}')")).await.unwrap();
}

#[tokio::test]
async fn two_followers_come_together_by_tls_and_with_a_token_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".into()]).unwrap();
    fs::write(path("cert.pem"), cert.pem()).unwrap();
    fs::write(path("key.pem"), signing_key.serialize_pem()).unwrap();
    fs::write(path("token"), "secret\n").unwrap();
    fs::write(path("wrong"), "wrong\n").unwrap();
    let (cert_file, key_file) = (path("cert.pem"), path("key.pem"));
    let hub = serve(folder.path(), "hub", &["--token", "secret", "--tls-cert", &cert_file, "--tls-key", &key_file]);
    let (token, wrong) = (path("token"), path("wrong"));
    let by = ["--upstream", &hub.url, "--upstream-ca", &cert_file, "--upstream-token-file"];
    let follow = |name: &str| serve(folder.path(), name, &[&by, &[token.as_str()][..]].concat());
    let (first, second) = (follow("first"), follow("second"));
    first.create().await;
    second.create().await;
    add(&first, "1").await;
    has(&second, &["1"]).await;

    // One is away, the other one writes; both go on where they were.
    second.kill();
    add(&first, "2").await;
    first.kill();
    let second = follow("second");
    add(&second, "3").await;
    let first = follow("first");
    for process in [&first, &second] {
        has(process, &["1", "2", "3"]).await;
    }

    let stranger = serve(folder.path(), "stranger", &[&by, &[wrong.as_str()][..]].concat());
    stranger.create().await;
    let state = || async {
        let status = stranger.client.get(format!("{}/a/status", stranger.url)).send().await.unwrap();
        status.json::<Value>().await.unwrap()["upstream"].clone()
    };
    eventually("unauthorized", || async { state().await["state"] == "unauthorized" }).await;
    assert_eq!(state().await["error"]["code"], "unauthorized");
    assert_eq!(ids(&stranger).await, json!([]));
}

#[tokio::test]
async fn a_follower_does_not_trust_a_certificate_that_nobody_vouches_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".into()]).unwrap();
    fs::write(path("cert.pem"), cert.pem()).unwrap();
    fs::write(path("key.pem"), signing_key.serialize_pem()).unwrap();
    let hub = serve(folder.path(), "hub", &["--tls-cert", &path("cert.pem"), "--tls-key", &path("key.pem")]);
    let node = serve(folder.path(), "node", &["--upstream", &hub.url]);
    let create = node.client.put(format!("{}/a", node.url)).json(&json!({ "schema": TODO })).send().await.unwrap();
    assert_eq!(create.status(), 201);
    eventually("offline", || async {
        let status = node.client.get(format!("{}/a/status", node.url)).send().await.unwrap();
        let upstream = status.json::<Value>().await.unwrap()["upstream"].clone();
        upstream["state"] == "offline" && upstream["error"]["detail"].as_str().unwrap().contains("certificate")
    })
    .await;
}

#[tokio::test]
async fn a_token_that_was_replaced_in_its_file_is_shown_at_once_after_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "old").unwrap();
    let hub = serve(folder.path(), "hub", &["--token", "new"]);
    let by = ["--upstream", &hub.url, "--upstream-token-file", token.to_str().unwrap()];
    let node = serve(folder.path(), "node", &by);
    node.create().await;
    add(&node, "1").await;
    let link = || async {
        let status = node.client.get(format!("{}/a/status", node.url)).send().await.unwrap();
        status.json::<Value>().await.unwrap()["upstream"].clone()
    };
    eventually("unauthorized", || async { link().await["state"] == "unauthorized" }).await;
    assert!(link().await["retry_in_ms"].as_u64().unwrap() > 10_000, "it would be long");
    fs::write(&token, "new").unwrap();
    node.signal("HUP");
    eventually("online", || async { link().await["state"] == "online" }).await;
    assert_eq!(link().await["error"], Value::Null);
}
