//! Names of databases that would lead elsewhere.

use std::fs;

use super::{Victim, code, status};
use crate::support::TODO;

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
}

/// As [`get`], to create one.
fn put(path: &str) -> String {
    let body = serde_json::json!({ "schema": TODO }).to_string();
    format!(
        "PUT {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn no_name_leads_out_of_the_folder() {
    let victim = Victim::start(&[]).await;
    let secret = victim.folder.path().parent().unwrap().join(format!("secret-{}", std::process::id()));
    let long = "x".repeat(10_000);
    let names = [
        "..",
        ".",
        "%2e%2e",
        "%2E%2e%2f%2e%2e%2fetc%2fpasswd",
        "..%2f..",
        "..%5c..",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "//etc",
        "C:%5cwindows",
        "a%2fb",
        "a%00",
        "a%00.db",
        "%00",
        "a%0d%0aset-cookie:x",
        "a%20",
        "%20a",
        "a%09",
        "..;",
        ".hidden",
        ".lock",
        "%252e%252e",
        "%c0%ae%c0%ae",
        "%e0%80%ae",
        "%ff%fe",
        "%ed%a0%80",
        "%ef%bc%8e%ef%bc%8e", // full-width points
        "%d0%b0",             // a Cyrillic a
        "%e2%80%aea",         // right-to-left override
        "a%e2%80%8b",         // a space of no width
        "%c4%b1",             // i without its dot
        "%c4%b0",             // I with one
        "%e2%84%aa",          // the sign of Kelvin, which is a k in lower case
        "a%cc%8a",            // a and a ring: an å once it is normalised
        "%f0%9f%92%a9",
        "a:b",
        "a*",
        "a%7cb",
        "~",
        "$HOME",
        "a'b",
        "a%22b",
        "file:a",
        "a%3fmode=memory",
        &long,
    ];
    for name in names {
        for request in [get(&format!("/sync/{name}/status")), put(&format!("/sync/{name}"))] {
            let answer = victim.talk(request.as_bytes()).await;
            let status = status(&answer);
            match status {
                Some(400) => assert_eq!(code(&answer), "invalid_dbid", "{name:.60}"),
                // It was not one name.
                Some(404 | 405) => {
                    assert!(["not_found", "method_not_allowed"].contains(&code(&answer).as_str()), "{name:.60}")
                }
                _ => panic!("{name:.60}: {answer}"),
            }
            assert!(!answer.to_ascii_lowercase().contains("\r\nset-cookie"), "{name:.60}");
        }
        victim.serves_others().await;
    }
    let entries = fs::read_dir(victim.folder.path()).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.retain(|name| !name.ends_with("-wal") && !name.ends_with("-shm"));
    files.sort();
    assert_eq!(files, [".lock", "a.db", "other.db"]);
    assert!(!secret.exists());
    victim.end().await;
}

#[tokio::test]
async fn names_that_mean_something_elsewhere_are_ordinary_ones_each_with_a_file_of_its_own() {
    let victim = Victim::start(&[]).await;
    let names =
        ["CON", "nul", "aux.txt", "COM1", "a.", "a..", "a.db", "a.db-wal", "a.db-shm", "A", "-", "--help", "a-wal"];
    for (n, name) in names.iter().enumerate() {
        victim.put(name, TODO).await.ok();
        victim.sql(name, &format!("INSERT INTO todo (id) VALUES ('{n}')")).await.ok();
        victim.serves_others().await;
    }
    for (n, name) in names.iter().enumerate() {
        let rows = victim.sql(name, "SELECT id FROM todo").await.ok()["results"][0]["rows"].clone();
        assert_eq!(rows, serde_json::json!([[n.to_string()]]), "{name}");
        assert!(victim.folder.path().join(format!("{name}.db")).is_file(), "{name}");
    }
    victim.end().await;
}

#[tokio::test]
async fn a_file_beside_the_operations_is_found_below_its_folder_only() {
    let www = tempfile::tempdir().unwrap();
    fs::write(www.path().join("index.html"), "<p>hello").unwrap();
    let victim = Victim::start(&["--www", www.path().to_str().unwrap()]).await;
    let data = victim.folder.path().file_name().unwrap().to_str().unwrap().to_owned();
    for path in [
        "/../../../../../../etc/passwd".into(),
        "/..%2f..%2f..%2f..%2fetc/passwd".into(),
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd".into(),
        "//etc/passwd".into(),
        "/%2fetc%2fpasswd".into(),
        "/..%5c..%5cetc%5cpasswd".into(),
        "/index.html%00.js".into(),
        format!("/../{data}/a.db"),
        format!("/sync/../../{data}/a.db"),
    ] {
        let answer = victim.talk(get(&path).as_bytes()).await;
        assert!(!answer.contains("root:") && !answer.contains("SQLite format"), "{path}: {answer}");
        assert!(matches!(status(&answer), Some(400..=405)), "{path}: {answer}");
    }
    assert_eq!(status(&victim.talk(get("/index.html").as_bytes()).await), Some(200));
    victim.end().await;
}
