//! Bodies that are too large, too slow, too deep, or swell.

use std::io::Write;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::{Victim, code, heard, status};
use crate::support::{TODO, batch, send};

const BINARY: &str = "application/vnd.crsql-sync.batch";

fn head(path: &str, headers: &str) -> String {
    format!(
        "POST /sync/{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}\r\n"
    )
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_has_come() {
    let victim = Victim::start(&["--limit-body", "64KiB"]).await;
    // It says how long it will be.
    let mut stream = victim.connect().await;
    stream.write_all(head("a/changes", "content-length: 100000000000\r\n").as_bytes()).await.unwrap();
    let begun = Instant::now();
    let chunk = vec![b' '; 64 << 10];
    while begun.elapsed() < Duration::from_secs(5) && stream.write_all(&chunk).await.is_ok() {}
    assert!(begun.elapsed() < Duration::from_secs(4), "it goes on reading");
    victim.serves_others().await;
    // It says nothing, and never ends.
    let mut stream = victim.connect().await;
    let head = head("a/changes", "transfer-encoding: chunked\r\n").replace("connection: close\r\n", "");
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..2 {
        stream.write_all(format!("8000\r\n{}\r\n", " ".repeat(0x8000)).as_bytes()).await.unwrap();
    }
    stream.write_all(b"1\r\n \r\n").await.unwrap();
    let answer = heard(&mut stream).await;
    assert_eq!((status(&answer), code(&answer).as_str()), (Some(413), "payload_too_large"));
    // No other request may follow what was not read to its end, and the caller is told so.
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    victim.end().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_to_an_end_is_not_waited_for() {
    let victim = Victim::start(&["--limit-body-time", "500ms"]).await;
    let body = batch(1, "milk").to_string();
    let half = &body[..body.len() / 2];
    let length = format!("content-length: {}\r\n", body.len());
    // It stops half way.
    let stopped = async {
        let mut stream = victim.connect().await;
        stream.write_all(format!("{}{half}", head("a/changes", &length)).as_bytes()).await.unwrap();
        heard(&mut stream).await
    };
    // It comes drop by drop.
    let dribbled = async {
        let (mut reads, mut writes) = victim.connect().await.into_split();
        writes.write_all(head("a/changes", &length).as_bytes()).await.unwrap();
        let dribble = async {
            for byte in half.bytes() {
                if writes.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            std::future::pending::<()>().await
        };
        let mut answer = Vec::new();
        tokio::select! {
            () = dribble => {}
            read = tokio::io::AsyncReadExt::read_to_end(&mut reads, &mut answer) => drop(read),
        }
        String::from_utf8(answer).unwrap()
    };
    // It is compressed, and stops.
    let packed = async {
        let mut stream = victim.connect().await;
        let head = head("a/sql", "content-encoding: gzip\r\ntransfer-encoding: chunked\r\n");
        stream.write_all(format!("{head}3\r\n\x1f").as_bytes()).await.unwrap();
        heard(&mut stream).await
    };
    let begun = Instant::now();
    let (stopped, dribbled, packed, ()) = tokio::join!(stopped, dribbled, packed, victim.serves_others());
    for answer in [stopped, dribbled, packed] {
        assert_eq!((status(&answer), code(&answer).as_str()), (Some(408), "request_timeout"), "{answer}");
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // One that went away half way has done nothing.
    let mut stream = victim.connect().await;
    stream.write_all(format!("{}{half}", head("a/changes", &length)).as_bytes()).await.unwrap();
    drop(stream);
    victim.end().await;
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// A hundred MiB of spaces.
fn swell(mut encoder: impl Write) {
    let spaces = vec![b' '; 1 << 20];
    for _ in 0..100 {
        encoder.write_all(&spaces).unwrap();
    }
}

#[tokio::test]
async fn a_bomb_goes_off_up_to_the_limit_and_takes_no_memory() {
    let victim = Victim::start(&["--limit-body", "1MiB"]).await;
    let before = victim.memory("VmHWM");
    let mut by_gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    swell(&mut by_gzip);
    let mut by_zstd = zstd::Encoder::new(Vec::new(), 1).unwrap();
    swell(&mut by_zstd);
    for (encoding, bomb) in [("gzip", by_gzip.finish().unwrap()), ("zstd", by_zstd.finish().unwrap())] {
        for (content_type, path) in
            [("application/json", "a/changes"), (BINARY, "a/changes"), ("application/json", "a/sql")]
        {
            let request = victim.request(Method::POST, path).header("content-type", content_type);
            let begun = Instant::now();
            let answer = request.header("content-encoding", encoding).body(bomb.clone()).send().await;
            assert_eq!(answer.unwrap().status(), 413, "{encoding} {content_type}");
            assert!(begun.elapsed() < Duration::from_secs(4), "{encoding}");
            victim.serves_others().await;
        }
    }
    let grown = victim.memory("VmHWM") - before;
    assert!(grown < 32 << 20, "{grown}");
    victim.end().await;
}

#[tokio::test]
async fn a_body_that_is_not_what_its_encoding_says_is_refused() {
    let victim = Victim::start(&[]).await;
    let plain = batch(1, "milk").to_string();
    let cut = |mut bytes: Vec<u8>| {
        bytes.truncate(bytes.len() / 2);
        bytes
    };
    let spoilt = |mut bytes: Vec<u8>| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        bytes
    };
    for (encoding, pack) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("zstd", zstd)] {
        let packed = pack(plain.as_bytes());
        for (what, body) in [
            ("cut", cut(packed.clone())),
            ("spoilt", spoilt(packed.clone())),
            ("packed twice", pack(&packed)),
            ("not packed", plain.clone().into_bytes()),
            ("empty", Vec::new()),
            ("in the other encoding", if encoding == "gzip" { zstd(plain.as_bytes()) } else { gzip(plain.as_bytes()) }),
        ] {
            let request = victim.request(Method::POST, "a/changes").header("content-type", "application/json");
            let answer = send(request.header("content-encoding", encoding).body(body)).await;
            assert_eq!((answer.status, answer.code()), (400, "invalid_request"), "{encoding} {what}");
        }
        // What follows is refused, or is no part of the body.
        victim.put("b", TODO).await.ok();
        for rest in [b"something else".to_vec(), packed.clone()] {
            let request = victim.request(Method::POST, "b/changes").header("content-type", "application/json");
            let body = [packed.clone(), rest].concat();
            let answer = send(request.header("content-encoding", encoding).body(body)).await;
            assert!(answer.status == 200 || answer.code() == "invalid_request", "{encoding} {answer:?}");
        }
    }
    victim.end().await;
}

#[tokio::test]
async fn json_that_is_deep_or_long_is_refused_and_overflows_nothing() {
    let victim = Victim::start(&[]).await;
    let deep = |open: &str, inner: &str, close: &str, n: usize| format!("{}{inner}{}", open.repeat(n), close.repeat(n));
    let list = deep("[", "", "]", 1 << 18);
    let object = deep("{\"a\":", "1", "}", 1 << 18);
    for path in ["a/sql", "a/changes", "a/changes/request", "a/verify", "a/migrate"] {
        for body in [
            list.clone(),
            object.clone(),
            "[".repeat(4 << 20),
            "{\"a\":".repeat(1 << 20),
            format!("{{\"unknown\":{list}}}"),
            format!("{{\"schema\":{object}}}"),
            format!("{{\"sql\":\"SELECT 1\",\"params\":{list}}}"),
            format!("{{\"protocol\":1,\"changes\":{list}}}"),
            format!("{{\"protocol\":{}}}", "1".repeat(1 << 20)),
            format!("{{\"protocol\":1e{}}}", "9".repeat(1 << 20)),
            format!("{{\"sql\":\"{}\"}}", "\\ud800".repeat(1 << 18)),
        ] {
            let request = victim.request(Method::POST, path).header("content-type", "application/json");
            let answer = request.body(body.clone()).send().await.unwrap();
            let status = answer.status().as_u16();
            let problem: Value = answer.json().await.unwrap();
            let code = problem["code"].as_str().unwrap_or_default();
            // A member that nobody asked for is passed over, however deep it is.
            let passed_over = status == 200 && path == "a/changes/request" && body.starts_with('{');
            assert!(
                passed_over || status == 400 && code.starts_with("invalid_"),
                "{path} {body:.40}: {status} {problem}"
            );
        }
        victim.serves_others().await;
    }
    victim.end().await;
}

#[tokio::test]
async fn a_count_of_what_does_not_come_reserves_nothing() {
    let victim = Victim::start(&[]).await;
    let before = victim.memory("VmHWM");
    let whole = serde_json::from_value::<crsql_sync::sync::Batch>(batch(1, "milk")).unwrap().to_binary();
    // Every place where a count could stand, with one of two to the 31st in it.
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes.splice(at..=at, [0xff, 0xff, 0xff, 0xff, 0x07]);
        let request = victim.request(Method::POST, "other/changes").header("content-type", BINARY);
        let answer = send(request.body(bytes)).await;
        // It may be a value, or part of a name; the batch is for another database then, or of another site.
        assert!(
            answer.status == 200 || answer.code() == "invalid_batch" || answer.code() == "out_of_order",
            "{at}: {answer:?}"
        );
    }
    let grown = victim.memory("VmHWM") - before;
    assert!(grown < 64 << 20, "{grown}");
    victim.sql("other", "DELETE FROM todo WHERE id <> 'kept'").await.ok();
    victim.end().await;
}

#[tokio::test]
async fn wrong_types_of_bodies_are_told_apart() {
    let victim = Victim::start(&[]).await;
    for (content_type, code) in [
        ("text/plain", "unsupported_media_type"),
        ("application/x-www-form-urlencoded", "unsupported_media_type"),
        ("multipart/form-data; boundary=x", "unsupported_media_type"),
        ("application/json-seq", "unsupported_media_type"),
        ("application/json, text/plain", "unsupported_media_type"),
        ("", "unsupported_media_type"),
        ("\u{e4}", "unsupported_media_type"),
        (BINARY, "invalid_batch"),
        ("application/json; charset=utf-16", "invalid_request"),
    ] {
        let request = victim.request(Method::POST, "a/changes").header("content-type", content_type);
        let answer = send(request.body("x")).await;
        assert_eq!(answer.code(), code, "{content_type}");
    }
    let two = victim.request(Method::POST, "a/sql").header("content-type", "text/plain");
    let answer =
        send(two.header("content-type", "application/json").body(json!({ "sql": "SELECT 1" }).to_string())).await;
    assert_eq!(answer.code(), "unsupported_media_type");
    victim.end().await;
}
