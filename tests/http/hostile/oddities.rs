//! Requests that HTTP knows and nobody sends, and some that it does not know.

use serde_json::{Value, json};

use super::{Victim, code, status};

/// The head of a request, closing the connection.
fn request(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n")
}

#[tokio::test]
async fn odd_requests_are_answered_as_http_says() {
    let victim = Victim::start(&[]).await;
    let long = "x".repeat(50_000);
    let longer = "x".repeat(1 << 20);
    let many: String = (0..500).map(|n| format!("x-{n}: y\r\n")).collect();
    for (what, line, headers, statuses) in [
        ("an absolute target", "GET http://localhost/sync/a/status", "", &[200][..]),
        ("an absolute target elsewhere", "GET http://evil.example/sync/a/status", "", &[403]),
        ("a target of another scheme", "GET ftp://evil.example/sync/a/status", "", &[403]),
        ("an authority for a target", "CONNECT localhost:80", "", &[400, 403, 404, 405]),
        ("no target", "OPTIONS *", "", &[200, 204, 400, 403, 404, 405]),
        ("an unknown method", "BREW /sync/a/status", "", &[405]),
        ("a method in lower case", "get /sync/a/status", "", &[405]),
        ("a long method", &format!("{} /sync/a/status", "M".repeat(1000)), "", &[400, 405]),
        ("TRACE", "TRACE /sync/a/status", "", &[405]),
        ("an upgrade", "GET /sync/a/status", "upgrade: websocket\r\nsec-websocket-key: x\r\n", &[200]),
        ("an upgrade to HTTP/2", "GET /sync/a/status", "upgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n", &[200]),
        ("an expectation", "GET /sync/a/status", "expect: 200-maybe\r\n", &[200, 417]),
        (
            "conflicting wishes",
            "GET /sync/a/status",
            "accept: text/html;q=0\r\naccept: */*;q=2\r\naccept: ,;,/\r\n",
            &[200],
        ),
        ("a range", "GET /sync/a/changes", "range: bytes=5-1\r\n", &[200]),
        ("a condition", "GET /sync/a/changes", "if-none-match: \"\r\nif-modified-since: x\r\n", &[200]),
        ("another host beside", "GET /sync/a/status", "host: evil.example\r\n", &[400, 403]),
        (
            "a forwarded host",
            "GET /sync/a/status",
            "x-forwarded-host: evil.example\r\nforwarded: host=evil\r\n",
            &[200],
        ),
        ("another method in a header", "GET /sync/a/status", "x-http-method-override: DELETE\r\n", &[200]),
        ("a fragment", "GET /sync/a/status#x", "", &[200, 400]),
        ("slashes", "GET //sync//a//status", "", &[404]),
        ("points", "GET /sync/x/../a/status", "", &[404]),
        ("an invalid escape", "GET /sync/%zz/status", "", &[400]),
        ("half an escape", "GET /sync/a%/status", "", &[400]),
        ("a query that is no UTF-8", "GET /sync/a/changes?since=%ff%fe", "", &[400]),
        ("a query of many parts", &format!("GET /sync/a/changes?{}", "a&".repeat(20_000)), "", &[200]),
        ("a long query", &format!("GET /sync/a/changes?since={long}"), "", &[400]),
        ("a longer query", &format!("GET /sync/a/changes?since={longer}"), "", &[414, 431]),
        ("a long header", "GET /sync/a/status", &format!("x: {longer}\r\n"), &[431]),
        ("many headers", "GET /sync/a/status", &many, &[431]),
        ("a name with a space", "GET /sync/a/status", "x : y\r\n", &[400]),
        ("no name", "GET /sync/a/status", ": y\r\n", &[400]),
        ("a NUL", "GET /sync/a/status", "x: a\0b\r\n", &[400]),
        ("a folded header", "GET /sync/a/status", "x: a\r\n b\r\n", &[200, 400]),
        ("a wrong site", "GET /sync/a/status", "crsql-site: \u{e4}\u{f6}\r\n", &[400]),
        ("two sites", "GET /sync/a/status?site=aa000000000000000000000000000001&site=x", "", &[400]),
        ("a wrong event id", "GET /sync/a/events", "last-event-id: \u{e4}\r\n", &[400]),
        ("a wrong request id", "GET /sync/a/status", "x-request-id: \u{e4} x\r\n", &[200]),
    ] {
        let answer = victim.talk(request(line, headers).as_bytes()).await;
        let status = status(&answer).unwrap_or_else(|| panic!("{what}: {answer:.300}"));
        assert!(statuses.contains(&status), "{what}: {answer:.300}");
        assert!(!answer.contains("evil.example"), "{what}: {answer}");
        victim.serves_others().await;
    }
    victim.end().await;
}

#[tokio::test]
async fn what_is_not_http_is_answered_by_an_end() {
    let victim = Victim::start(&["--limit-head-time", "1s"]).await;
    for bytes in [
        &b"\r\n\r\n"[..],
        b"\0\0\0\0\0\0\0\0",
        b"\xff\xff\xff\n\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /\r\n\r\n",
        b"GET /sync/a/status HTTP/9.9\r\nhost: localhost\r\n\r\n",
        b"GET /sync/\xff/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        b"GET /sync/a/status?\xc3\x28 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\x00\x00\x00\x00\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x0a\x01\x04\x00\x00\x00\x01\xff\xff",
    ] {
        let answer = victim.talk(bytes).await;
        assert!(status(&answer).is_none_or(|status| (400..=505).contains(&status)), "{bytes:?}: {answer}");
        victim.serves_others().await;
    }
    victim.end().await;
}

#[tokio::test]
async fn a_body_whose_length_is_in_doubt_hides_no_second_request() {
    let victim = Victim::start(&[]).await;
    let sql = json!({ "sql": "INSERT INTO todo (id) VALUES ('smuggled')" }).to_string();
    let hidden = format!(
        "POST /sync/a/sql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{sql}",
        sql.len()
    );
    let head = "POST /sync/a/sql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let chunked = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    for (what, lengths, body) in [
        ("two lengths", format!("content-length: {}\r\ncontent-length: 0\r\n", hidden.len()), &hidden),
        ("two lengths, the other way", format!("content-length: 0\r\ncontent-length: {}\r\n", hidden.len()), &hidden),
        ("a list of lengths", format!("content-length: 0, {}\r\n", hidden.len()), &hidden),
        ("a length with a sign", format!("content-length: +{}\r\n", hidden.len()), &hidden),
        ("a length in base 16", format!("content-length: 0x{:x}\r\n", hidden.len()), &hidden),
        ("a length that is no number", "content-length: x\r\n".into(), &hidden),
        ("a negative length", "content-length: -1\r\n".into(), &hidden),
        ("a length and chunks", "content-length: 3\r\ntransfer-encoding: chunked\r\n".into(), &chunked),
        ("chunks and a length", "transfer-encoding: chunked\r\ncontent-length: 3\r\n".into(), &chunked),
        ("chunks twice", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n".into(), &chunked),
        ("chunks that are not the last", "transfer-encoding: chunked, identity\r\n".into(), &hidden),
        ("an unknown encoding", "transfer-encoding: xchunked\r\n".into(), &hidden),
        (
            "a space before the colon",
            format!("transfer-encoding : chunked\r\ncontent-length: {}\r\n", hidden.len()),
            &hidden,
        ),
        ("chunks of a wrong size", "transfer-encoding: chunked\r\n".into(), &format!("0x0\r\n\r\n{hidden}")),
        (
            "a chunk of more than there can be",
            "transfer-encoding: chunked\r\n".into(),
            &format!("fffffffffffffffff\r\n{hidden}"),
        ),
    ] {
        // The connection is closed after what looks like one request.
        let answer = victim.talk(format!("{head}connection: close\r\n{lengths}\r\n{body}").as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer}");
        assert!(matches!(status(&answer), Some(400..=499)), "{what}: {answer}");
        // 'smuggled' would be seen.
        victim.serves_others().await;
    }
    // Two requests at once are two.
    let get = "GET /sync/a/status HTTP/1.1\r\nhost: localhost\r\n";
    let answer = victim.talk(format!("{get}\r\n{get}connection: close\r\n\r\n").as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
    victim.end().await;
}

#[tokio::test]
async fn tokens_that_are_none_are_answered_like_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let process = crate::process::Process::start(&["--data", data, "--listen", "127.0.0.1:0", "--token", "right"]);
    let status = |value: Vec<u8>| {
        let value = reqwest::header::HeaderValue::from_bytes(&value);
        let request = process.client.get(format!("{}/a/status", process.url));
        async {
            let answer = request.header("authorization", value.unwrap()).send().await.unwrap();
            (
                answer.status().as_u16(),
                answer.json::<Value>().await.map(|body| body["code"].clone()).unwrap_or_default(),
            )
        }
    };
    for value in [
        b"Bearer".to_vec(),
        b"Bearer ".to_vec(),
        b"Bearer  right x".to_vec(),
        b"Basic right".to_vec(),
        b"right".to_vec(),
        b"Bearer right, Bearer right".to_vec(),
        b"Bearer Right".to_vec(),
        b"Bearer righ".to_vec(),
        b"Bearer right\xff".to_vec(),
        b"Bearer \xff\xfe".to_vec(),
        b"Bearer auth=x,room=y".to_vec(),
        b"Bearer %72ight".to_vec(),
        [b"Bearer ".to_vec(), vec![b'x'; 100_000]].concat(),
    ] {
        assert_eq!(
            status(value.clone()).await,
            (401, json!("unauthorized")),
            "{:.60}",
            String::from_utf8_lossy(&value)
        );
    }
    assert_eq!(status(b"Bearer right".to_vec()).await, (404, json!("not_found")));
    let two = process.client.get(format!("{}/a/status", process.url));
    let two = two.header("authorization", "Bearer wrong").header("authorization", "Bearer right").send().await.unwrap();
    assert_eq!(two.status(), 401);
}

#[tokio::test]
async fn an_answer_of_an_error_is_a_problem_document_whatever_was_accepted() {
    let victim = Victim::start(&[]).await;
    for accept in ["text/html", "application/vnd.crsql-sync.batch", "*/*;q=0", "application/problem+json;q=0", "\u{e4}"]
    {
        let answer =
            victim.talk(request("GET /sync/nothing/changes", &format!("accept: {accept}\r\n")).as_bytes()).await;
        assert_eq!((status(&answer), code(&answer).as_str()), (Some(404), "not_found"), "{accept}");
    }
    victim.end().await;
}
