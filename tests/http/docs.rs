//! The blocks of `docs/http.md`: each is run, and prints what stands below it.

use std::path::Path;

use crsql_sync::http::compression;
use serde_json::Value;
use tokio::process::Command;

use crate::support::Server;

/// The blocks of a text in their order: what follows the three backticks, and what is inside.
fn blocks(text: &str) -> Vec<(&str, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let inside: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((language, inside.join("\n")));
        }
    }
    blocks
}

/// Whether a text is another one in which `…` stands for anything.
fn is_like(text: &str, pattern: &str) -> bool {
    let Some((before, after)) = pattern.split_once('…') else { return text == pattern };
    let Some(rest) = text.strip_prefix(before) else { return false };
    let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    ends.any(|at| is_like(&rest[at..], after))
}

fn is_like_json(value: &Value, pattern: &Value) -> bool {
    match (value, pattern) {
        (_, Value::String(any)) if any == "…" => true,
        (Value::String(text), Value::String(pattern)) => is_like(text, pattern),
        (Value::Array(values), Value::Array(patterns)) => {
            values.len() == patterns.len() && values.iter().zip(patterns).all(|(value, like)| is_like_json(value, like))
        }
        (Value::Object(values), Value::Object(patterns)) => {
            let member = |(name, value): (&String, &Value)| {
                patterns.iter().any(|(pattern, like)| is_like(name, pattern) && is_like_json(value, like))
            };
            values.len() == patterns.len() && values.iter().all(member)
        }
        _ => value == pattern,
    }
}

async fn run(script: &str, folder: &Path) -> String {
    let output = Command::new("sh").args(["-euc", script]).current_dir(folder).output().await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{script}\n{error}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_walk_through_with_curl_prints_what_it_says() {
    let server = Server::wrapped(|builder| builder.sql(true).build(), compression::compressed).await;
    let folder = tempfile::tempdir().unwrap();
    let blocks = blocks(include_str!("../../docs/http.md"));
    let mut ran = 0;
    for pair in blocks.windows(2) {
        let [("sh", script), (language, expected)] = pair else { continue };
        let script = script.replace("localhost:8787", &server.address.to_string());
        let printed = run(&script, folder.path()).await;
        let is_so = match *language {
            "json" => is_like_json(
                &serde_json::from_str(&printed).expect(&printed),
                &serde_json::from_str(expected).expect(expected),
            ),
            _ => is_like(&printed.replace('\r', ""), &format!("{expected}\n")),
        };
        assert!(is_so, "{script}\nprinted\n{printed}\nand not\n{expected}");
        ran += 1;
    }
    assert_eq!(ran, blocks.iter().filter(|(language, _)| *language == "sh").count());
    assert!(ran > 10);
}

#[test]
fn what_is_not_so_would_be_noticed() {
    assert!(is_like("a.1", "….1") && is_like("a", "a") && is_like("", "…") && is_like("abcb", "a…b"));
    assert!(!is_like("a.2", "….1") && !is_like("ab", "a") && !is_like("abc", "a…b"));
    let like = |value: &str, pattern: &str| {
        is_like_json(&serde_json::from_str(value).unwrap(), &serde_json::from_str(pattern).unwrap())
    };
    assert!(like(r#"{"a":1,"b":[2,"x.1"]}"#, r#"{"b":["…","….1"],"a":1}"#));
    assert!(!like(r#"{"a":1}"#, r#"{"a":1,"b":2}"#) && !like(r#"{"a":1,"b":2}"#, r#"{"a":1}"#));
    assert!(!like("[1]", "[]") && !like("1", "2"));
}
