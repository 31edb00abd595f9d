//! The binary's static tokens.

use std::process::Output;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::events::Reader;
use crate::process::{Process, binary};
use crate::support::{PEER, TODO, batch, eventually};

/// The binary on a folder of its own, with other arguments.
pub(crate) struct Host {
    process: Process,
    _data: TempDir,
}

impl Host {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let folder = ["--data", data.path().to_str().unwrap(), "--listen", "127.0.0.1:0"];
        let process = Process::start(&[&folder, arguments].concat());
        Self { process, _data: data }
    }

    pub(crate) fn request(&self, method: Method, path: &str, token: &str) -> reqwest::RequestBuilder {
        self.process.client.request(method, format!("{}{path}", self.process.url)).bearer_auth(token)
    }

    /// Creates a database.
    pub(crate) async fn create(&self, dbid: &str, token: &str) -> StatusCode {
        let request = self.request(Method::PUT, &format!("/{dbid}"), token).json(&json!({ "schema": TODO }));
        request.send().await.unwrap().status()
    }

    /// The status of asking for a database's status.
    pub(crate) async fn status(&self, dbid: &str, token: &str) -> u16 {
        self.request(Method::GET, &format!("/{dbid}/status"), token).send().await.unwrap().status().as_u16()
    }

    pub(crate) async fn sql(&self, dbid: &str, token: &str, sql: &str) -> Result<Value, String> {
        let request = self.request(Method::POST, &format!("/{dbid}/sql"), token).json(&json!({ "sql": sql }));
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        match answer["code"].as_str() {
            Some(code) => Err(code.into()),
            None => Ok(answer["results"][0]["rows"].clone()),
        }
    }

    pub(crate) async fn apply(&self, dbid: &str, token: &str, batch: &Value) -> u16 {
        let request = self.request(Method::POST, &format!("/{dbid}/changes"), token).json(batch);
        request.send().await.unwrap().status().as_u16()
    }
}

/// Text in a file that lives as long as what is returned.
pub(crate) fn file(text: impl AsRef<[u8]>) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

/// What the binary says to options that it does not take.
pub(crate) fn refusal(arguments: &[&str]) -> String {
    let data = tempfile::tempdir().unwrap();
    let folder = ["serve", "--data", data.path().to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let Output { status, stderr, .. } = binary().args(folder).args(arguments).output().unwrap();
    assert!(!status.success());
    String::from_utf8(stderr).unwrap()
}

#[tokio::test]
async fn each_token_of_a_file_has_its_own_bounds() {
    let digest = hex::encode(Sha256::digest("hashed"));
    let (_folder, path) = file(format!(
        r#"
        [[token]]
        token = "root"

        [[token]]
        sha256 = "{digest}"
        principal = "ann"
        databases = ["ann-*", "shared"]

        [[token]]
        token = "reader"
        read_only = true

        [[token]]
        token = "device"
        sites = ["{PEER}"]
        tables = ["todo"]

        [[token]]
        token = "late"
        expires = 2001-01-01T00:00:00Z
        "#
    ));
    let host = Host::start(&["--tokens-file", &path, "--token", "other"]);
    assert_eq!(host.create("ann-1", "hashed").await, 201);
    assert_eq!(host.create("shared", "root").await, 201);
    assert_eq!(host.status("shared", "hashed").await, 200);
    assert_eq!(host.create("bob-1", "hashed").await, 403);
    assert_eq!(host.status("shared", "other").await, 200);
    assert_eq!(host.sql("shared", "reader", "SELECT count(*) FROM todo").await, Ok(json!([[0]])));
    assert_eq!(host.sql("shared", "reader", "DELETE FROM todo").await, Err("forbidden".into()));
    assert_eq!(host.sql("shared", "device", "SELECT * FROM crsql_changes").await, Err("query_refused".into()));
    let mut of_other = batch(1, "milk");
    of_other["changes"][0][6] = json!("bb000000000000000000000000000001");
    assert_eq!(host.apply("shared", "device", &of_other).await, 403);
    assert_eq!(host.apply("shared", "reader", &batch(1, "milk")).await, 403);
    assert_eq!(host.apply("shared", "device", &batch(1, "milk")).await, 200);
    for unknown in ["late", "hash", "hashed2", &digest, ""] {
        assert_eq!(host.status("shared", unknown).await, 401, "{unknown}");
    }
    let basic = host.request(Method::GET, "/shared/status", "").basic_auth("root", Some("root"));
    assert_eq!(basic.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_page_reads_events_by_a_ticket_instead_of_its_token() {
    let host = Host::start(&["--token", "secret"]);
    host.create("a", "secret").await;
    host.sql("a", "secret", "INSERT INTO todo (id) VALUES ('1')").await.unwrap();
    let answer = host.request(Method::POST, "/a/ticket", "secret").send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    let path = format!("/a/events?ticket={}", answer["ticket"].as_str().unwrap());
    let without_header = host.process.client.get(format!("{}{path}", host.process.url));
    let mut stream = Reader::with(without_header).await;
    assert_eq!(stream.batch().await["changes"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn neither_tokens_nor_tickets_are_logged() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut command = binary();
    command.env("CRSQL_SYNC_LOG_LEVEL", "debug").stderr(std::fs::File::create(&log).unwrap());
    command.args(["serve", "--sql", "--listen", "127.0.0.1:0", "--token", "the-token", "--data"]).arg(folder.path());
    let host = Host { process: Process::spawn(&mut command), _data: tempfile::tempdir().unwrap() };
    host.create("a", "the-token").await;
    host.create("a", "a-wrong-token").await;
    let answer = host.request(Method::POST, "/a/ticket", "the-token").send().await.unwrap();
    let ticket = answer.json::<Value>().await.unwrap()["ticket"].as_str().unwrap().to_owned();
    let events = host.process.client.get(format!("{}/a/events?ticket={ticket}", host.process.url));
    assert!(events.send().await.unwrap().status().is_success());
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("/ticket"), "{log}");
    for secret in ["the-token", "a-wrong-token", &ticket] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test]
async fn a_copy_of_some_tables_stays_in_step_with_those() {
    let schema = format!("{TODO} CREATE TABLE secret (id PRIMARY KEY NOT NULL, text); SELECT crsql_as_crr('secret');");
    let file = |tables: &str| file(format!("[[token]]\ntoken = \"root\"\n[[token]]\ntoken = \"node\"\n{tables}"));
    let (_folder, path) = file("tables = [\"todo\"]");
    let hub = Host::start(&["--tokens-file", &path]);
    let create = |host: &Host| host.request(Method::PUT, "/a", "root").json(&json!({ "schema": schema })).send();
    create(&hub).await.unwrap();
    hub.sql("a", "root", "INSERT INTO secret VALUES ('s', 'treasure')").await.unwrap();
    hub.sql("a", "root", "INSERT INTO todo (id) VALUES ('of the hub')").await.unwrap();
    let node = Host::start(&["--upstream", &hub.process.url, "--upstream-token", "node"]);
    create(&node).await.unwrap();
    node.sql("a", "", "INSERT INTO todo (id) VALUES ('of the node')").await.unwrap();
    let both = Ok(json!([["of the hub"], ["of the node"]]));
    let ids = "SELECT id FROM todo ORDER BY id";
    eventually("the rows of both are on both", || async {
        hub.sql("a", "root", ids).await == both && node.sql("a", "", ids).await == both
    })
    .await;
    assert_eq!(node.sql("a", "", "SELECT count(*) FROM secret").await, Ok(json!([[0]])));
    // The node pretends to hold nothing of the hub's; the hub has all of the node's.
    let clock = |host: &Host, token: &str| host.request(Method::GET, "/a/status?clock=true", token).send();
    let of_node: Value = clock(&node, "").await.unwrap().json().await.unwrap();
    let of_hub: Value = clock(&hub, "root").await.unwrap().json().await.unwrap();
    assert!(of_node["clock"].get(of_hub["site"].as_str().unwrap()).is_none(), "{of_node}");
    assert!(of_hub["clock"].get(of_node["site"].as_str().unwrap()).is_some(), "{of_hub}");
    assert_eq!(of_node["upstream"]["state"], "online", "{of_node}");
}

#[tokio::test]
async fn a_file_of_tokens_is_read_again_when_it_changes() {
    let of = |token: &str| format!("[[token]]\ntoken = \"{token}\"\n");
    let (_folder, path) = file(of("old"));
    let host = Host::start(&["--tokens-file", &path, "--token", "root"]);
    assert_eq!(host.create("a", "old").await, 201);
    std::fs::write(&path, of("new")).unwrap();
    assert_eq!(host.status("a", "new").await, 401, "it is not read yet");
    eventually("the new token", || async { host.status("a", "new").await == 200 }).await;
    assert_eq!((host.status("a", "old").await, host.status("a", "root").await), (401, 200));
    // A file that cannot be meant changes nothing.
    std::fs::write(&path, "[[token]]").unwrap();
    host.process.signal("HUP");
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!((host.status("a", "new").await, host.status("a", "root").await), (200, 200));
    std::fs::write(&path, of("newest")).unwrap();
    host.process.signal("HUP");
    eventually("the newest token", || async { host.status("a", "newest").await == 200 }).await;
}

#[test]
fn a_file_of_tokens_that_cannot_be_meant_is_refused() {
    for (text, told) in [
        ("[[token]]\ntoken = \"a\"\ntable = [\"todo\"]", "table"),
        ("[[token]]\ntoken = \"a\"\nsites = [\"9a\"]", "token 1"),
        ("[[token]]\nprincipal = \"a\"", "sha256"),
        ("[[token]]\ntoken = \"a\"\nsha256 = \"00\"", "sha256"),
        ("[[token]]\nsha256 = \"00\"", "64"),
        ("[[token]]\ntoken = \"a\"\nexpires = 5", "expires"),
        ("[[token]]\ntoken = \"a\"\n[[token]]\ntoken = \"a\"", "twice"),
        ("[[token]]\ntoken = \"\"", "empty"),
        ("[[tokens]]\ntoken = \"a\"", "token"),
    ] {
        let (_folder, path) = file(text);
        let said = refusal(&["--tokens-file", &path]);
        assert!(said.contains(told) && said.contains(&path), "{text}: {said}");
    }
    assert!(refusal(&["--tokens-file", "/nowhere/tokens"]).contains("/nowhere/tokens"));
    assert!(refusal(&["--token", "a", "--auth-webhook", "http://127.0.0.1:1/"]).contains("choose one"));
    assert!(refusal(&["--insecure", "--token", "a"]).contains("leave out --insecure"));
}
