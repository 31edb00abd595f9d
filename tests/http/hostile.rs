//! The binary among people who mean it no good: what each of them is answered, and that others notice nothing.
//!
//! [`docs/security.md`](../../docs/security.md) has the list.

mod bodies;
mod connections;
mod listed;
mod names;
mod oddities;
mod schemas;
mod statements;

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::{Process, binary};
use crate::support::{Answer, TODO, send};

/// How long others wait for an answer, at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server with two databases, `a` and `other`, and a row in each.
struct Victim {
    process: Process,
    /// Makes a new connection for each request: those that wait for the next are closed by some of the limits.
    client: reqwest::Client,
    folder: TempDir,
}

impl Victim {
    async fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let usual = ["--data", folder.path().to_str().unwrap(), "--listen", "127.0.0.1:0"];
        let process = Process::start(&[&usual, arguments].concat());
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        let victim = Self { process, client, folder };
        for dbid in ["a", "other"] {
            victim.put(dbid, TODO).await.ok();
            victim.sql(dbid, "INSERT INTO todo (id) VALUES ('kept')").await.ok();
        }
        victim
    }

    fn address(&self) -> &str {
        self.process.url.trim_start_matches("http://").trim_end_matches("/sync")
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}/{path}", self.process.url)).timeout(Duration::from_secs(30))
    }

    async fn put(&self, dbid: &str, schema: &str) -> Answer {
        send(self.request(Method::PUT, dbid).json(&json!({ "schema": schema }))).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::POST, path).json(body)).await
    }

    async fn sql(&self, dbid: &str, sql: &str) -> Answer {
        self.post(&format!("{dbid}/sql"), &json!({ "sql": sql })).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    /// Sends these bytes, and returns everything that comes until the server closes the connection.
    async fn talk(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The server may have heard enough before it has heard everything.
        let _ = stream.write_all(bytes).await;
        heard(&mut stream).await
    }

    /// Panics unless others are served as ever: they read what was there, and write.
    async fn serves_others(&self) {
        for dbid in ["a", "other"] {
            for sql in ["UPDATE todo SET done = done + 1 WHERE id = 'kept' RETURNING id", "SELECT id FROM todo"] {
                let answer = tokio::time::timeout(PATIENCE, self.sql(dbid, sql)).await.expect("an answer in time");
                assert_eq!(answer.ok()["results"][0]["rows"], json!([["kept"]]), "{dbid}: {sql}");
            }
        }
    }

    /// What the system says of the process, in bytes: `VmRSS` or `VmHWM`.
    fn memory(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
    }

    fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.child.id())).unwrap().count()
    }

    /// Ends the server. Every file that it leaves is whole.
    async fn end(self) {
        self.serves_others().await;
        let Self { process, folder, .. } = self;
        process.kill();
        for dbid in ["a", "other"] {
            check(&folder.path().join(format!("{dbid}.db")));
        }
    }
}

/// The file agrees with itself, for SQLite and for us.
fn check(file: &Path) {
    let inspected = binary().args(["inspect", "--check"]).arg(file).output().unwrap();
    assert!(inspected.status.success(), "{} {inspected:?}", file.display());
    let conn = rusqlite::Connection::open(file).unwrap();
    let answer: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(answer, "ok", "{}", file.display());
}

/// Everything that comes until the other end closes the connection, which it shall do soon.
async fn heard(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let all = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await;
    // A reset is an end, too.
    let _ = all.unwrap_or_else(|_| panic!("the connection stays open after {:?}", String::from_utf8_lossy(&bytes)));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The status of an answer in HTTP/1; none where the connection was closed without one.
fn status(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()
}

/// The code of an answer in HTTP/1 that is a problem document.
fn code(answer: &str) -> String {
    assert!(answer.contains("content-type: application/problem+json"), "{answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    serde_json::from_str::<Value>(body).expect(answer)["code"].as_str().unwrap().to_owned()
}
