//! What the documents say of the binary, held against it.

use std::collections::BTreeMap;
use std::fs;

use crate::process::{Process, binary};
use crate::support::batch;

const SERVER: &str = include_str!("../../docs/server.md");
const EXAMPLE: &str = include_str!("../../packaging/crsql-sync.toml");

/// The options, each with its value where it has one, as a server with this file would have them.
fn options(file: Option<&str>) -> BTreeMap<String, Option<String>> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = binary();
    command.env_remove("CRSQL_SYNC_LOG_LEVEL").args(["serve", "--print-config"]);
    if let Some(text) = file {
        let path = folder.path().join("c.toml");
        fs::write(&path, text).unwrap();
        command.arg("--config").arg(path);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let option = |line: &str| match line.strip_prefix("# ") {
        Some(unset) => (unset.split(' ').next().unwrap().to_owned(), None),
        None => {
            let (key, value) = line.split_once(" = ").unwrap();
            (key.to_owned(), Some(value.split("  #").next().unwrap().to_owned()))
        }
    };
    text.lines().map(option).collect()
}

#[test]
fn every_option_of_the_server_is_described_with_its_default() {
    for (key, default) in options(None) {
        let row = SERVER
            .lines()
            .find(|line| line.starts_with(&format!("| `--{key} ")) || line.starts_with(&format!("| `--{key}`")));
        let row = row.unwrap_or_else(|| panic!("--{key} is not in docs/server.md"));
        let shown = row.split('|').nth(2).unwrap().trim();
        let expected = match default.as_deref() {
            None => String::new(),
            Some("false") => "off".into(),
            Some(value) => format!("`{}`", value.trim_matches('"')),
        };
        assert_eq!(shown, expected, "the default of --{key}");
    }
}

#[test]
fn the_example_has_every_option_and_changes_none() {
    let defaults = options(None);
    assert_eq!(options(Some(EXAMPLE)), defaults);
    for (key, default) in &defaults {
        let line = if default.is_some() { format!("{key} = ") } else { format!("# {key} = ") };
        assert!(EXAMPLE.lines().any(|other| other.starts_with(&line)), "{key} is not in the example as {line}");
    }
    // What is only shown is right too, one of those that exclude each other.
    let uncommented =
        EXAMPLE.lines().map(|line| line.strip_prefix("# ").filter(|_| line.contains(" = ")).unwrap_or(line));
    let excluded = |line: &&str| ["upstream-token = ", "jwt-key = ", "jwks = "].iter().any(|key| line.starts_with(key));
    let without = uncommented.filter(|line| !excluded(line)).collect::<Vec<_>>().join("\n");
    let taken = options(Some(&without));
    assert_eq!(taken.keys().collect::<Vec<_>>(), defaults.keys().collect::<Vec<_>>());
    assert_eq!(taken["metrics-listen"].as_deref(), Some("\"127.0.0.1:9090\""));
}

#[tokio::test]
async fn every_metric_is_described() {
    let folder = tempfile::tempdir().unwrap();
    // The links have an upstream, though none that answers: what never happened is not told of.
    let arguments = ["--listen", "127.0.0.1:0", "--upstream", "http://127.0.0.1:9/sync", "--data"];
    let process = Process::start(&[&arguments, &[folder.path().to_str().unwrap()][..]].concat());
    process.create().await;
    let apply = process.client.post(format!("{}/a/changes", process.url)).json(&batch(1, "1"));
    assert_eq!(apply.send().await.unwrap().status(), 200);
    let answer = process.client.get(process.url.replace("/sync", "/metrics")).send().await.unwrap();
    let text = answer.text().await.unwrap();
    let types: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert_eq!(types.len(), 15, "{text}");
    for line in types {
        let (name, kind) = line.split_once(' ').unwrap();
        let name = match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
        assert!(SERVER.contains(&format!("`{name}`")), "{name} is not in docs/server.md");
    }
}
