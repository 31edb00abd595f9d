//! Callers who come in numbers, say nothing, or do not listen.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{Victim, code, heard, status};
use crate::events::Reader;
use crate::support::eventually;

const EVENTS: &[u8] = b"GET /sync/a/events HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// How many event streams the server says there are.
async fn streams(victim: &Victim) -> usize {
    let url = victim.process.url.replace("/sync", "/metrics");
    let text = victim.client.get(url).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("crsql_sync_streams_open "));
    line.unwrap().parse().unwrap()
}

/// Raises the limit on open files as far as it goes, and returns it.
fn raise_limit() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    limit.current.map_or(usize::MAX, |files| files.try_into().unwrap())
}

/// A connection from an address of this machine that is not the usual one.
async fn connect_from(last: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0).into())?;
    socket.connect(to).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_that_never_end_what_they_begin_leave_room_for_others() {
    let limit = raise_limit();
    // The server keeps some files for databases, and a quarter of the rest for itself.
    let wanted = 10_000.min(limit * 6 / 10);
    if wanted < 10_000 {
        println!("only {wanted}: the system allows {limit} open files");
    }
    let each = wanted / 4;
    let (all, each_text) = ((wanted + 200).to_string(), each.to_string());
    let limits = ["--limit-connections", &all, "--limit-connections-each", &each_text, "--limit-head-time", "2m"];
    let victim = Victim::start(&limits).await;
    let address: SocketAddr = victim.address().parse().unwrap();
    let (memory, files) = (victim.memory("VmRSS"), victim.open_files());

    let mut held: Vec<TcpStream> = Vec::new();
    let mut slowest = Duration::ZERO;
    while held.len() < 4 * each {
        // No more than may wait to be let in: the system would make each of the others wait for a second, and us with them.
        for n in 0..1000.min(4 * each - held.len()) {
            let mut stream = connect_from(2 + (n % 4) as u8, address).await.unwrap();
            let said = match n / 4 % 4 {
                0 => EVENTS,
                1 | 2 => b"POST /sync/a/changes HTTP/1.1\r\nhost: localhost\r\ncontent-le",
                _ => b"",
            };
            stream.write_all(said).await.unwrap();
            held.push(stream);
        }
        let begun = Instant::now();
        victim.serves_others().await;
        slowest = slowest.max(begun.elapsed());
        eventually("all are let in", || async { victim.open_files() + 10 >= files + held.len() }).await;
    }
    eventually("all streams are open", || async { streams(&victim).await >= wanted / 4 }).await;
    // Each address has all that it may have.
    for last in 2..6 {
        let answer = heard(&mut connect_from(last, address).await.unwrap()).await;
        assert_eq!((status(&answer), code(&answer).as_str()), (Some(429), "too_many_requests"), "{answer}");
    }
    // What is written goes to everyone who reads, and to those who do not.
    let mut reader = Reader::with(victim.request(Method::GET, "a/events?since=0")).await;
    reader.batch().await;
    let begun = Instant::now();
    victim.serves_others().await;
    slowest = slowest.max(begun.elapsed());
    reader.batch().await;
    let (memory, files) = (victim.memory("VmRSS").saturating_sub(memory), victim.open_files() - files);
    println!(
        "{} held: {} KiB each, {files} files; the slowest round of others took {slowest:?}",
        held.len(),
        memory / held.len() / 1024
    );
    assert!(files + 10 >= held.len() && files < held.len() + 200, "{files}");
    assert!(memory < held.len() * (64 << 10), "{memory}");
    drop(held);
    drop(reader);
    eventually("the files are closed", || async { victim.open_files() < 200 }).await;
    eventually("no stream is left", || async { streams(&victim).await == 0 }).await;
    victim.end().await;
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_finds_room_later() {
    let victim = Victim::start(&["--limit-connections", "20"]).await;
    let mut held = Vec::new();
    let refused = loop {
        let mut stream = victim.connect().await;
        // Whoever was let in hears nothing yet.
        let mut first = [0; 1];
        match tokio::time::timeout(Duration::from_millis(100), stream.read(&mut first)).await {
            Err(_) => held.push(stream),
            Ok(read) => {
                read.unwrap();
                break format!("H{}", heard(&mut stream).await);
            }
        }
        assert!(held.len() <= 20);
    };
    assert!(held.len() >= 15, "{}", held.len());
    assert_eq!((status(&refused), code(&refused).as_str()), (Some(503), "unavailable"));
    assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
    held.truncate(5);
    eventually("there is room", || async {
        let answer = victim.request(Method::GET, "a/status").send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    drop(held);
    victim.end().await;
}

#[tokio::test]
async fn one_event_stream_too_many_is_told_so_and_finds_room_later() {
    let victim = Victim::start(&["--limit-streams", "3"]).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(Reader::with(victim.request(Method::GET, "a/events")).await);
    }
    let answer = crate::support::send(victim.request(Method::GET, "other/events")).await;
    assert_eq!((answer.status, answer.code()), (503, "unavailable"));
    victim.serves_others().await;
    held.pop();
    eventually("there is room", || async {
        let stream = victim.request(Method::GET, "other/events").send().await.unwrap();
        stream.status() == 200
    })
    .await;
    victim.end().await;
}

#[tokio::test]
async fn who_dribbles_the_head_of_a_request_or_is_idle_is_let_go() {
    let victim = Victim::start(&["--limit-head-time", "500ms"]).await;
    let whole = b"GET /sync/a/status HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let dribble = |mut stream: TcpStream| async move {
        let begun = Instant::now();
        for byte in b"GET /sync/a/status HTTP/1.1\r\nx: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy" {
            if stream.write_all(&[*byte]).await.is_err() {
                return begun.elapsed();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it is still listened to after {:?}", begun.elapsed());
    };
    // From the start, and where a first request went well.
    let first = dribble(victim.connect().await);
    let second = async {
        let mut stream = victim.connect().await;
        stream.write_all(whole).await.unwrap();
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 200");
        dribble(stream).await
    };
    // One that says nothing, before and after a request.
    let silent = async {
        let begun = Instant::now();
        let mut stream = victim.connect().await;
        heard(&mut stream).await;
        begun.elapsed()
    };
    let idle = async {
        let mut stream = victim.connect().await;
        stream.write_all(whole).await.unwrap();
        let begun = Instant::now();
        heard(&mut stream).await;
        begun.elapsed()
    };
    let (first, second, silent, idle, ()) = tokio::join!(first, second, silent, idle, victim.serves_others());
    for taken in [first, second, silent, idle] {
        assert!(taken < Duration::from_secs(4), "{taken:?}");
    }
    // An event stream is not idle.
    let mut reader = Reader::with(victim.request(Method::GET, "a/events")).await;
    reader.batch().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    victim.sql("a", "UPDATE todo SET done = 7").await.ok();
    reader.batch().await;
    victim.end().await;
}

/// Writes, as `reader` reads, until the other of two event streams is given up. Returns the write.
async fn write_until_one_is_dropped(victim: &Victim, reader: &mut Reader) -> serde_json::Value {
    let text = "x".repeat(1 << 20);
    let write = json!({ "sql": "UPDATE todo SET title = ?1 || done, done = done + 1", "params": [text] });
    let begun = Instant::now();
    while streams(victim).await == 2 {
        victim.post("a/sql", &write).await.ok();
        reader.batch().await;
        assert!(begun.elapsed() < Duration::from_secs(20), "it is still waited for");
    }
    write
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_dropped_and_the_others_go_on() {
    let victim = Victim::start(&["--limit-stall-time", "1s"]).await;
    let mut reader = Reader::with(victim.request(Method::GET, "a/events")).await;
    reader.batch().await;
    // Little is on its way before it is noticed that nobody takes it.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stuck = socket.connect(victim.address().parse().unwrap()).await.unwrap();
    stuck.write_all(EVENTS).await.unwrap();
    eventually("both read", || async { streams(&victim).await == 2 }).await;
    let write = write_until_one_is_dropped(&victim, &mut reader).await;
    assert_eq!(streams(&victim).await, 1);
    victim.post("a/sql", &write).await.ok();
    reader.batch().await;
    drop(stuck);
    victim.end().await;
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_given_up() {
    let victim = Victim::start(&["--limit-stall-time", "500ms"]).await;
    let files = victim.open_files();
    let body = json!({ "sql": "SELECT hex(zeroblob(4000000))" }).to_string();
    let mut stuck = Vec::new();
    for _ in 0..4 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(victim.address().parse().unwrap()).await.unwrap();
        let head = format!(
            "POST /sync/a/sql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        stuck.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    victim.serves_others().await;
    eventually("they are let go", || async { victim.open_files() < files + 4 }).await;
    drop(stuck);
    victim.end().await;
}

#[tokio::test]
async fn what_is_not_taken_over_http_2_is_given_up_though_its_connection_lives() {
    let victim = Victim::start(&["--limit-stall-time", "1s"]).await;
    let mut reader = Reader::with(victim.request(Method::GET, "a/events")).await;
    reader.batch().await;
    let client = || reqwest::Client::builder().no_proxy().no_gzip().no_zstd().http2_prior_knowledge().build().unwrap();
    let (one, other) = (client(), client());
    let stuck = one.get(format!("{}/a/events", victim.process.url)).send().await.unwrap();
    assert_eq!(stuck.version(), reqwest::Version::HTTP_2);
    eventually("both read", || async { streams(&victim).await == 2 }).await;
    write_until_one_is_dropped(&victim, &mut reader).await;
    // An answer, beside which others are taken on the same connection.
    let large =
        other.post(format!("{}/a/sql", victim.process.url)).json(&json!({ "sql": "SELECT hex(zeroblob(7000000))" }));
    let stuck_too = large.send().await.unwrap();
    let small = other.get(format!("{}/other/status", victim.process.url));
    assert_eq!(small.try_clone().unwrap().send().await.unwrap().status(), 200);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(stuck_too.bytes().await.is_err(), "it was kept");
    // Who reads gets everything, in pieces or not.
    let all =
        other.post(format!("{}/a/sql", victim.process.url)).json(&json!({ "sql": "SELECT hex(zeroblob(1000000))" }));
    assert_eq!(
        all.send().await.unwrap().json::<serde_json::Value>().await.unwrap()["results"][0]["rows"][0][0]
            .as_str()
            .unwrap()
            .len(),
        2_000_000
    );
    assert_eq!(small.send().await.unwrap().status(), 200);
    drop(stuck);
    victim.end().await;
}
