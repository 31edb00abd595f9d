//! The examples, run as their readers would.
#![cfg(all(feature = "server", not(target_family = "wasm")))]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

const SCHEMA: &str = "CREATE TABLE todo (id PRIMARY KEY NOT NULL, title); SELECT crsql_as_crr('todo')";

struct Example {
    child: Child,
    url: String,
    client: Client,
    _data: TempDir,
}

impl Example {
    fn start(name: &str) -> Self {
        let built = Command::new(env!("CARGO")).args(["build", "--locked", "--quiet", "--example", name]).status();
        assert!(built.unwrap().success());
        // Beside the folder of this very test.
        let mut program = PathBuf::from(std::env::current_exe().unwrap().parent().unwrap().parent().unwrap());
        program.extend(["examples", name]);
        let data = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        let mut child = command.arg(data.path()).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, url, client: Client::builder().no_proxy().build().unwrap(), _data: data }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn status(request: RequestBuilder) -> StatusCode {
    request.send().await.unwrap().status()
}

async fn json(request: RequestBuilder) -> Value {
    request.send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn an_axum_application_lets_its_users_in_by_its_own_sessions() {
    let app = Example::start("axum_app");
    let login = |body: &'static str| {
        let form = ("content-type", "application/x-www-form-urlencoded");
        app.request(Method::POST, "/login").header(form.0, form.1).body(body)
    };
    let create = |dbid: &str, cookie: &str| {
        let request = app.request(Method::PUT, &format!("/sync/{dbid}")).header("cookie", cookie);
        request.json(&json!({ "schema": SCHEMA }))
    };
    assert_eq!(status(login("name=ann&password=guess")).await, 403);
    let answer = login("name=ann&password=correct+horse").send().await.unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let me = app.request(Method::GET, "/me").header("cookie", format!("theme=dark; {cookie}"));
    assert_eq!(me.send().await.unwrap().text().await.unwrap(), "ann");
    assert_eq!(status(create("ann-todo", "session=made-up")).await, 401);
    assert_eq!(status(create("bob-todo", &cookie)).await, 403);
    assert_eq!(status(create("ann-todo", &cookie)).await, 201);
    let batch = json(app.request(Method::GET, "/sync/ann-todo/changes").header("cookie", &cookie)).await;
    assert_eq!(batch["changes"], json!([]));
    assert_eq!(status(app.request(Method::GET, "/elsewhere")).await, 404);
}

#[tokio::test]
async fn a_hyper_server_has_the_operations_as_a_tower_service() {
    let server = Example::start("tower_hyper");
    let create = server.request(Method::PUT, "/sync/todo").json(&json!({ "schema": SCHEMA }));
    assert_eq!(status(create).await, 201);
    let answer = json(server.request(Method::GET, "/sync/todo/status")).await;
    assert_eq!(answer["gaps"], json!({}));
    assert_eq!(json(server.request(Method::GET, "/sync/todo/elsewhere")).await["code"], "not_found");
}
