//! The same options by flags, by the environment and by a file.

use std::fs;

use serde_json::json;

use crate::process::{Process, binary};
use crate::support::TODO;

/// What `--print-config` says is in effect, with the environment and the arguments given.
fn in_effect(environment: &[(&str, &str)], arguments: &[&str]) -> String {
    let output = binary()
        .env_remove("CRSQL_SYNC_LOG_LEVEL")
        .envs(environment.iter().copied())
        .args(["serve", "--print-config"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_environment_stands_between_the_flags_and_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    fs::write(&file, "data = 'file'\nprefix = '/file'\nsql = true\ntoken = ['file']\n").unwrap();
    let environment = [
        ("CRSQL_SYNC_CONFIG", file.to_str().unwrap()),
        ("CRSQL_SYNC_PREFIX", "/environment"),
        ("CRSQL_SYNC_DATA", "environment"),
        ("CRSQL_SYNC_CORS", "https://a.example,https://b.example"),
        ("CRSQL_SYNC_INSECURE", "true"),
    ];
    let text = in_effect(&environment, &["--data", "flag"]);
    for line in [
        "data = \"flag\"  # flag",
        "prefix = \"/environment\"  # environment",
        "cors = [\"https://a.example\", \"https://b.example\"]  # environment",
        "insecure = true  # environment",
        "sql = true  # file, line 3",
        "listen = \"127.0.0.1:8080\"  # default",
        "# token is set, and not shown  # file, line 4",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_file_with_an_unknown_option_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    fs::write(&file, "sql = true\nspl = true\n").unwrap();
    let output = binary().args(["serve", "--config"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("c.toml, line 2: there is no option spl"), "{text}");
}

#[tokio::test]
async fn no_more_databases_are_open_than_the_option_says() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--data", folder.path().to_str().unwrap(), "--listen", "127.0.0.1:0", "--open-databases"];
    let process = Process::start(&[&arguments[..], &["2"]].concat());
    for dbid in ["a", "b", "c"] {
        let create = process.client.put(format!("{}/{dbid}", process.url)).json(&json!({ "schema": TODO }));
        assert_eq!(create.send().await.unwrap().status(), 201);
    }
    let metrics = process.client.get(process.url.replace("/sync", "/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("crsql_sync_databases_open 2\n"), "{metrics}");
    drop(process);
    let most = u32::MAX.to_string();
    let output = binary().arg("serve").args(arguments).arg(most).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.contains("raise the limit"), "{text}");
}

#[tokio::test]
async fn a_server_serves_as_its_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("c.toml"), folder.path().join("data"));
    let text = format!(
        "data = {data:?}\nlisten = '127.0.0.1:0'\nprefix = '/api'\nroute = ['status=state']\nsql = true\n\
         limit-body = '1KiB'\nlimit-sql-rows = 2\n"
    );
    fs::write(&file, text).unwrap();
    let process = Process::spawn(binary().args(["serve", "--config"]).arg(&file));
    assert!(process.url.ends_with("/api"));
    process.create().await;
    let get = |path: &str| process.client.get(format!("{}{path}", process.url)).send();
    assert_eq!(get("/a/state").await.unwrap().status(), 200);
    assert_eq!(get("/a/status").await.unwrap().status(), 404);
    assert!(process.sql("SELECT 1 UNION SELECT 2".into()).await.is_ok());
    assert!(process.sql("SELECT 1 UNION SELECT 2 UNION SELECT 3".into()).await.is_err());
    assert!(process.sql(format!("SELECT '{}'", "x".repeat(2000))).await.is_err());
    assert!(data.join("a.db").exists());
}
