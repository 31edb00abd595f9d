use std::io::{Read, Write};
use std::time::Duration;

use crsql_sync::http::{Limits, compression};
use crsql_sync::sync::Batch;
use futures_util::StreamExt;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{PEER, Server, TODO, batch, send};

const BINARY: &str = "application/vnd.crsql-sync.batch";

fn binary(batch: &Value) -> Vec<u8> {
    serde_json::from_value::<Batch>(batch.clone()).unwrap().to_binary()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

fn apply(server: &Server, content_type: &str, body: Vec<u8>) -> RequestBuilder {
    server.request(Method::POST, "/a/changes").header("content-type", content_type).body(body)
}

fn changes(server: &Server, query: &str) -> RequestBuilder {
    server.request(Method::GET, &format!("/a/changes?{query}"))
}

#[tokio::test]
async fn a_batch_goes_both_ways_in_the_binary_form() {
    let server = Server::start().await;
    server.create("a").await;
    let applied = send(apply(&server, BINARY, binary(&batch(1, "milk")))).await.ok();
    assert_eq!(applied["received"], format!("{PEER}.1"));
    let json = server.get("/a/changes").await.ok();
    for request in [
        changes(&server, ""),
        server.request(Method::POST, "/a/changes/request").json(&json!({ "since": "0" })),
        server.request(Method::POST, "/a/changes/request").json(&json!({ "since": "0", "known": {} })),
    ] {
        let response = request.header("accept", BINARY).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], BINARY);
        assert_eq!(response.headers()["vary"], "accept, accept-encoding, authorization, cookie, crsql-site");
        let batch = Batch::from_binary(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(json!(batch), json);
    }
    let versions = server.request(Method::POST, "/a/changes/request").json(&json!({ "all_but": {} }));
    let versions = versions.header("accept", BINARY).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(json!(Batch::from_binary(&versions).unwrap().changes.len()), 2);
}

#[tokio::test]
async fn bytes_that_are_no_batch_are_refused() {
    let server = Server::start().await;
    server.create("a").await;
    let mut cut = binary(&batch(1, "milk"));
    cut.pop();
    for bytes in [cut, Vec::new(), b"{}".to_vec(), batch(1, "milk").to_string().into()] {
        let answer = send(apply(&server, BINARY, bytes)).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_batch"));
    }
    let answer = send(apply(&server, "application/json", binary(&batch(1, "milk")))).await;
    assert_eq!((answer.status, answer.code()), (400, "invalid_request"));
    let answer = send(apply(&server, "text/csv", binary(&batch(1, "milk")))).await;
    assert_eq!((answer.status, answer.code()), (415, "unsupported_media_type"));
    assert_eq!(answer.headers["accept"], format!("application/json, {BINARY}"));
    // Only batches have two forms.
    let create = server.request(Method::PUT, "/b").header("content-type", BINARY).body(Vec::new());
    assert_eq!(send(create).await.headers["accept"], "application/json");
    assert_eq!(server.ids("a").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_body_in_the_binary_form_has_a_limit_of_its_own() {
    let server = Server::with(|builder| {
        let mut limits = Limits::default();
        (limits.body, limits.binary_body) = (100_000, 1000);
        builder.sql(true).limits(limits)
    })
    .await;
    server.create("a").await;
    let mut large = batch(1, "milk");
    large["changes"][0][3] = json!("x".repeat(2000));
    let answer = send(apply(&server, BINARY, binary(&large))).await;
    assert_eq!((answer.status, answer.code()), (413, "payload_too_large"));
    send(apply(&server, "application/json", large.to_string().into())).await.ok();
    send(apply(&server, BINARY, binary(&batch(2, "bread")))).await.ok();
}

/// A server that compresses.
async fn compressing(limits: Limits) -> Server {
    let server = Server::wrapped(|builder| builder.sql(true).limits(limits).build(), compression::compressed).await;
    server.create("a").await;
    server
}

#[tokio::test]
async fn bodies_are_taken_in_gzip_and_zstd() {
    let server = compressing(Limits::default()).await;
    let json = gzip(batch(1, "milk").to_string().as_bytes());
    send(apply(&server, "application/json", json).header("content-encoding", "gzip")).await.ok();
    let bytes = zstd::encode_all(&*binary(&batch(2, "bread")), 3).unwrap();
    send(apply(&server, BINARY, bytes).header("content-encoding", "zstd")).await.ok();
    assert_eq!(server.ids("a").await, ["bread", "milk"]);
    let plain = apply(&server, BINARY, binary(&batch(3, "salt"))).header("content-encoding", "identity");
    send(plain).await.ok();
}

#[tokio::test]
async fn answers_are_sent_in_what_the_caller_accepts() {
    let server = compressing(Limits::default()).await;
    for n in 0..20 {
        server.add("a", &n.to_string()).await;
    }
    let plain = changes(&server, "").send().await.unwrap();
    assert!(!plain.headers().contains_key("content-encoding"));
    let plain = plain.bytes().await.unwrap();
    let packed = changes(&server, "").header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let packed = packed.bytes().await.unwrap();
    assert!(packed.len() * 2 < plain.len());
    assert_eq!(gunzip(&packed), plain);
    let packed = changes(&server, "").header("accept-encoding", "gzip;q=0.5, zstd").send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "zstd");
    assert_eq!(zstd::decode_all(&*packed.bytes().await.unwrap()).unwrap(), plain);
}

#[tokio::test]
async fn an_event_stream_is_not_held_back_to_be_compressed() {
    let server = compressing(Limits::default()).await;
    let request = server.request(Method::GET, "/a/events").header("accept-encoding", "gzip, zstd");
    let response = request.send().await.unwrap();
    assert!(!response.headers().contains_key("content-encoding"));
    let mut bytes = response.bytes_stream();
    server.add("a", "milk").await;
    let mut text = String::new();
    while !text.ends_with("\n\n") || !text.contains("event: batch") {
        let piece = tokio::time::timeout(Duration::from_secs(5), bytes.next()).await.expect("an event at once");
        text.push_str(std::str::from_utf8(&piece.unwrap().unwrap()).unwrap());
    }
}

#[tokio::test]
async fn an_encoding_that_is_not_known_is_refused_and_those_that_are_are_named() {
    let compressing = compressing(Limits::default()).await;
    let plain = Server::start().await;
    plain.create("a").await;
    let body = || batch(1, "milk").to_string().into_bytes();
    for (server, encoding, taken) in
        [(&compressing, "br", "gzip, zstd"), (&compressing, "gzip, gzip", "gzip, zstd"), (&plain, "gzip", "identity")]
    {
        let answer = send(apply(server, "application/json", body()).header("content-encoding", encoding)).await;
        assert_eq!((answer.status, answer.code()), (415, "unsupported_media_type"), "{encoding}");
        assert_eq!(answer.headers["accept-encoding"], taken);
    }
    let broken = apply(&compressing, "application/json", body()).header("content-encoding", "gzip");
    let answer = send(broken).await;
    assert_eq!((answer.status, answer.code()), (400, "invalid_request"));
}

#[tokio::test]
async fn a_body_that_swells_is_broken_off_at_the_limit() {
    let mut limits = Limits::default();
    (limits.body, limits.binary_body) = (256 << 10, 256 << 10);
    let server = compressing(limits).await;
    let spaces = vec![b' '; 32 << 20];
    let bombs = [("gzip", gzip(&spaces)), ("zstd", zstd::encode_all(&*spaces, 1).unwrap())];
    for (encoding, bomb) in bombs {
        assert!(bomb.len() < 256 << 10);
        for content_type in ["application/json", BINARY] {
            let answer = send(apply(&server, content_type, bomb.clone()).header("content-encoding", encoding)).await;
            assert_eq!((answer.status, answer.code()), (413, "payload_too_large"), "{encoding} {content_type}");
        }
    }
    assert_eq!(server.put("/b", json!({ "schema": TODO })).await.status, 201);
}

#[tokio::test]
async fn a_cache_is_told_by_which_headers_the_auth_hook_goes() {
    let server = Server::with(|builder| builder.authorize_by([http::HeaderName::from_static("x-api-key")])).await;
    server.create("a").await;
    let answer = server.get("/a/changes").await;
    assert_eq!(answer.headers["vary"], "accept, accept-encoding, authorization, cookie, crsql-site, x-api-key");
}

#[tokio::test]
async fn a_closed_range_may_be_kept_and_is_sent_once() {
    let server = compressing(Limits::default()).await;
    server.add("a", "1").await;
    let until = server.at("a").await;
    server.add("a", "2").await;
    let closed = format!("until={until}");
    let first = send(changes(&server, &closed)).await;
    assert_eq!(first.headers["cache-control"], "private, max-age=86400, immutable");
    assert_eq!(first.headers["vary"], "accept, accept-encoding, authorization, cookie, crsql-site");
    let tag = first.headers["etag"].to_str().unwrap().to_owned();
    assert!(tag.starts_with('"'), "{tag} is strong");
    for held in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".into()] {
        let answer = send(changes(&server, &closed).header("if-none-match", held)).await;
        assert_eq!((answer.status, &answer.body), (304, &Value::Null));
        for name in ["etag", "cache-control", "vary"] {
            assert_eq!(answer.headers[name], first.headers[name]);
        }
    }
    let other = send(changes(&server, &closed).header("if-none-match", "\"other\"")).await;
    assert_eq!(other.ok(), first.body);
    // Bytes that are not the same have another tag.
    let binary = changes(&server, &closed).header("accept", BINARY).header("if-none-match", &tag).send().await.unwrap();
    assert_eq!(binary.status(), 200);
    let packed = changes(&server, &closed).header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(packed.headers()["etag"], format!("W/{tag}"));
}

#[tokio::test]
async fn an_answer_to_which_something_may_come_is_not_kept() {
    let server = Server::start().await;
    let site = server.create("a").await["site"].as_str().unwrap().to_owned();
    for n in 0..3 {
        server.add("a", &n.to_string()).await;
    }
    for open in ["".to_owned(), "since=0".into(), format!("until={site}.4"), "limit=2".into()] {
        let answer = send(changes(&server, &open)).await;
        assert_eq!(answer.headers["cache-control"], "no-store", "{open}");
        assert!(!answer.headers.contains_key("etag"));
    }
    let page = send(changes(&server, &format!("until={site}.3&limit=2"))).await;
    assert_eq!((&page.body["more"], page.body["end"].as_i64()), (&json!(true), Some(1)));
    assert!(page.headers.contains_key("etag"), "a page of a closed range");
    let at_the_end = send(changes(&server, &format!("until={site}.3"))).await;
    assert!(at_the_end.headers.contains_key("etag"));
}

#[tokio::test]
async fn an_old_answer_to_a_closed_range_does_no_harm() {
    let server = Server::start().await;
    server.create("a").await;
    server.add("a", "milk").await;
    let until = server.at("a").await;
    let kept = server.get(&format!("/a/changes?until={until}")).await.ok();
    server.sql("a", "UPDATE todo SET title = 'oat milk'").await;
    let rest = server.get(&format!("/a/changes?since={until}")).await.ok();
    server.create("b").await;
    server.post("/b/changes", kept).await.ok();
    server.post("/b/changes", rest).await.ok();
    let titles = "SELECT title FROM todo";
    assert_eq!(server.sql("b", titles).await, server.sql("a", titles).await);
    assert_eq!(server.status("b").await["gaps"], json!({}));
}
