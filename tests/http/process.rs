//! The binary, as a process that can be killed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::TODO;

pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crsql-sync"));
    command.env_remove("CRSQL_SYNC_TOKEN").env("CRSQL_SYNC_LOG_LEVEL", "error");
    command
}

pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
}

impl Process {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(binary().args(["serve", "--sql"]).args(arguments))
    }

    /// Starts a server by a command that says all about it.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary");
        let mut line = String::new();
        // A byte at a time: what follows is for whoever reads on.
        BufReader::with_capacity(1, child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
        Self { child, url, client: reqwest::Client::builder().no_proxy().no_gzip().no_zstd().build().unwrap() }
    }

    pub(crate) async fn create(&self) {
        let request = self.client.put(format!("{}/a", self.url)).json(&json!({ "schema": TODO }));
        assert!(request.send().await.unwrap().status().is_success());
    }

    pub(crate) async fn sql(&self, sql: String) -> Result<Value, reqwest::Error> {
        let request = self.client.post(format!("{}/a/sql", self.url)).json(&json!({ "sql": sql }));
        let answer: Value = request.send().await?.error_for_status()?.json().await?;
        Ok(answer["results"][0]["rows"].clone())
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_signal_to_stop_ends_the_streams_and_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(&["--data", folder.path().to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    process.create().await;
    let stream = process.client.get(format!("{}/a/events", process.url)).send().await.unwrap();
    assert!(Command::new("kill").arg(process.child.id().to_string()).status().unwrap().success());
    assert!(stream.text().await.unwrap().ends_with("event: drain\ndata: {}\n\n"));
    assert!(process.child.wait().unwrap().success());
}

#[tokio::test]
async fn one_folder_is_served_by_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let _first = Process::start(&["--data", data, "--listen", "127.0.0.1:0"]);
    let second = binary().args(["serve", "--data", data, "--listen", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8(second.stderr).unwrap().contains("another server"));
}

#[tokio::test]
async fn a_server_that_everybody_can_reach_needs_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let open = binary().args(["serve", "--data", data, "--listen", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(open.status.code(), Some(1));
    assert!(String::from_utf8(open.stderr).unwrap().contains("--token"));
    let process = Process::start(&["--data", data, "--listen", "0.0.0.0:0", "--token", "secret"]);
    let status = |token: Option<&str>| {
        let url = process.url.replace("0.0.0.0", "127.0.0.1");
        let request = process.client.get(format!("{url}/a/status"));
        let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
        async { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(status(None).await, 401);
    assert_eq!(status(Some("wrong")).await, 401);
    assert_eq!(status(Some("secret")).await, 404);
}

#[tokio::test]
async fn the_server_answers_to_names_of_this_machine_only() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(&["--data", folder.path().to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let request = process.client.get(format!("{}/a/status", process.url));
    assert_eq!(request.header("host", "evil.example").send().await.unwrap().status(), 403);
    let root = process.url.trim_end_matches("/sync");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(process.client.get(format!("{root}{path}")).send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn files_are_served_beside_the_operations() {
    let (data, www) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (name, text) in [("index.html", "<p>hello"), ("sw.js", "//"), ("a.wasm", "\0asm")] {
        std::fs::write(www.path().join(name), text).unwrap();
    }
    let www = www.path().to_str().unwrap();
    let process = Process::start(&["--data", data.path().to_str().unwrap(), "--listen", "127.0.0.1:0", "--www", www]);
    let root = process.url.trim_end_matches("/sync").to_owned();
    for (path, media_type) in [("/", "text/html"), ("/sw.js", "text/javascript"), ("/a.wasm", "application/wasm")] {
        let answer = process.client.get(format!("{root}{path}")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let headers = answer.headers();
        assert_eq!(headers["content-type"], media_type);
        assert_eq!(headers["cache-control"], "no-cache");
        assert_eq!(headers.contains_key("service-worker-allowed"), path == "/sw.js");
    }
    let problem = process.client.get(format!("{root}/sync/a/nothing")).send().await.unwrap();
    assert_eq!(problem.headers()["content-type"], "application/problem+json");
    assert_eq!(process.client.get(format!("{root}/nothing")).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn servers_can_be_linked_by_the_command_line() {
    let (hub_data, node_data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let hub = Process::start(&["--data", hub_data.path().to_str().unwrap(), "--listen", "127.0.0.1:0", "--token", "s"]);
    let node_data = node_data.path().to_str().unwrap();
    let arguments = ["--data", node_data, "--listen", "127.0.0.1:0", "--upstream", &hub.url, "--upstream-token", "s"];
    let node = Process::start(&arguments);
    node.create().await;
    node.sql("INSERT INTO todo (id) VALUES ('1')".into()).await.unwrap();
    node.kill();
    // A server that starts links what it finds.
    let _node = Process::start(&arguments);
    for _ in 0..200 {
        let url = format!("{}/a/sql", hub.url);
        let request = hub.client.post(url).bearer_auth("s").json(&json!({ "sql": "SELECT id FROM todo" }));
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        if answer["results"][0]["rows"] == json!([["1"]]) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the row did not arrive");
}

#[cfg(unix)]
#[tokio::test]
async fn many_databases_are_served_with_few_open_files() {
    let folder = tempfile::tempdir().unwrap();
    let (limit, serve) = ("ulimit -n 64; exec \"$0\" \"$@\"", binary());
    let mut command = Command::new("sh");
    command.args(["-c", limit]).arg(serve.get_program()).args(["serve", "--sql", "--listen", "127.0.0.1:0", "--data"]);
    let process =
        Process::spawn(command.arg(folder.path()).env_remove("CRSQL_SYNC_TOKEN").env("CRSQL_SYNC_LOG_LEVEL", "error"));
    let url = |dbid: usize, path: &str| format!("{}/db{dbid}{path}", process.url);
    for round in 0..2 {
        for first in (0..60).step_by(6) {
            let uses = (first..first + 6).map(|dbid| {
                let create = process.client.put(url(dbid, "")).json(&json!({ "schema": TODO }));
                let sql = json!({ "sql": "INSERT INTO todo (id) VALUES (?1)", "params": [round.to_string()] });
                let write = process.client.post(url(dbid, "/sql")).json(&sql);
                let read = process.client.get(url(dbid, "/changes"));
                async move {
                    for request in [create, write, read] {
                        let answer = request.send().await.unwrap();
                        assert!(answer.status().is_success(), "{:?}", answer.text().await);
                    }
                }
            });
            futures_util::future::join_all(uses).await;
        }
    }
    let (files, databases) = (std::fs::read_dir(format!("/proc/{}/fd", process.child.id())), 60);
    assert!(files.is_err() || files.unwrap().count() < databases);
}

fn sql(arguments: &[&str], input: &str) -> Output {
    let mut command = binary();
    command.arg("sql").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_command_sql_runs_statements_on_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.db");
    let file = file.to_str().unwrap();
    let made = sql(&[file], &format!("{TODO} INSERT INTO todo VALUES ('1', 'milk', 0);"));
    assert_eq!((made.status.code(), text(&made.stdout)), (Some(0), "OK\n"));
    let rows = sql(&[file, "SELECT *, NULL FROM todo"], "");
    assert_eq!(text(&rows.stdout), "1|milk|0|\n");
    let statement = "SELECT 1, 1.0, 1e300, 9223372036854775807, x'00ff', 'a', NULL, 9e999, -9e999; SELECT 2";
    let rows = sql(&[file, statement, "--json"], "");
    let expected = concat!(
        r#"[1,1.0,1e300,9223372036854775807,{"$blob":"00ff"},"a",null,{"$real":"inf"},{"$real":"-inf"}]"#,
        "\n[2]\n"
    );
    assert_eq!(text(&rows.stdout), expected);
    let changes = sql(&[file, "SELECT cid, val FROM crsql_changes", "--json"], "");
    assert_eq!(text(&changes.stdout), "[\"title\",\"milk\"]\n[\"done\",0]\n");
}

#[test]
fn statements_are_answered_as_they_arrive() {
    let mut command = binary();
    command.args(["sql", ":memory:"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut answer = || answers.next().unwrap().unwrap();
    input
        .write_all(b"CREATE TEMP TRIGGER t AFTER INSERT ON crsql_master BEGIN\n SELECT 1;\nEND;SELECT 'a;\nb';\n")
        .unwrap();
    assert_eq!((answer(), answer()), ("a;".into(), "b".into()));
    input.write_all(b"SELECT 1;\n").unwrap();
    assert_eq!(answer(), "1");
    // The last statement needs no semicolon.
    input.write_all(b"SELECT 2").unwrap();
    drop(input);
    assert_eq!(answer(), "2");
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_error_ends_the_run_after_what_was_printed() {
    let output = sql(&[":memory:", "SELECT 1; SELECT nothing; SELECT 2"], "");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), "1\n"));
    assert!(text(&output.stderr).contains("nothing"));
    assert_eq!(sql(&["--nothing"], "").status.code(), Some(2));
}

#[tokio::test]
async fn the_server_compresses_what_it_sends_and_takes_what_is_compressed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(&["--data", folder.path().to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    server.create().await;
    let statement = serde_json::to_vec(&json!({ "sql": "SELECT printf('%1000d', 1)" })).unwrap();
    let request = server.client.post(format!("{}/a/sql", server.url)).header("content-type", "application/json");
    let request = request.header("content-encoding", "zstd").header("accept-encoding", "gzip");
    let answer = request.body(zstd::encode_all(&*statement, 3).unwrap()).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["content-encoding"]), (200, &"gzip".parse().unwrap()));
    assert!(answer.bytes().await.unwrap().len() < 500);
}
