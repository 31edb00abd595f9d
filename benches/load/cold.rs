//! A reader that has nothing yet is sent everything: page by page, in either form, and by an event stream.

use std::time::{Duration, Instant};

use crsql_sync::http::BATCH_MEDIA_TYPE;
use crsql_sync::store::{Dbid, Store};
use crsql_sync::sync::{Batch, Schema};
use reqwest::header::ACCEPT;
use tokio::runtime;

use crate::Options;
use crate::figures::{Goals, megabytes};
use crate::reader::{Buffer, Reader, marked};
use crate::server::{Server, client};
use crate::workload::{SCHEMA, insert};

const FEW: usize = 10_000;
const MANY: usize = 200_000;
/// Rows of one transaction.
const TRANSACTION: usize = 1_000;
/// How much more memory, in bytes, many rows may take than few.
const CONSTANT: u64 = 8_000_000;
const DBID: &str = "cold";

#[derive(Clone, Copy, Debug)]
enum Way {
    Json,
    Binary,
    Stream,
}

/// What a reader was sent.
struct Sent {
    requests: usize,
    bytes: u64,
    time: Duration,
}

pub fn measure(options: &Options, goals: &mut Goals) {
    println!("cold sync");
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folders = [FEW, MANY].map(|rows| {
        let folder = tempfile::tempdir_in(&options.dir).unwrap();
        runtime.block_on(fill(folder.path(), rows));
        (rows, folder)
    });
    for way in [Way::Json, Way::Binary, Way::Stream] {
        let peaks = [0, 1].map(|n| {
            let (rows, folder) = &folders[n];
            // One that has served nobody, so that its peak is of this reader.
            let server = Server::start(options, folder.path());
            let before = server.peak();
            let sent = runtime.block_on(async {
                match way {
                    Way::Json => pages(&server, *rows, "application/json", |body| serde_json::from_slice(body).unwrap()).await,
                    Way::Binary => pages(&server, *rows, BATCH_MEDIA_TYPE, |body| Batch::from_binary(body).unwrap()).await,
                    Way::Stream => stream(&server, *rows).await,
                }
            });
            let peak = server.peak();
            println!(
                "  {:<8}{rows:>8} rows, {:>6.1} MB by {:>3} requests  {:>8.0} rows/s  memory {:>5.1} MB before, {:>5.1} MB at most",
                format!("{way:?}"),
                megabytes(sent.bytes),
                sent.requests,
                *rows as f64 / sent.time.as_secs_f64(),
                megabytes(before),
                megabytes(peak),
            );
            peak
        });
        let more = peaks[1].saturating_sub(peaks[0]);
        let goal = format!(
            "cold sync, {way:?}: {:.1} MB more for {MANY} rows than for {FEW} <= {:.0} MB",
            megabytes(more),
            megabytes(CONSTANT)
        );
        goals.check(goal, peaks[0] > 0 && more <= CONSTANT);
    }
}

/// A database of so many rows, each with its number.
async fn fill(folder: &std::path::Path, rows: usize) {
    let store = Store::at(folder).unwrap();
    let database = store.open_or_create(&Dbid::new(DBID).unwrap()).await.unwrap();
    let schema = Schema::parse(SCHEMA).unwrap();
    database.call(move |replica| replica.create_database_if_not_exists(&schema)).await.unwrap().unwrap();
    for first in (0..rows).step_by(TRANSACTION) {
        let titles = (first..rows.min(first + TRANSACTION)).map(marked);
        database.call(|replica| insert(replica, titles)).await.unwrap();
    }
    store.close().await.unwrap();
}

/// Asks for page after page. What it takes to read them is not counted.
async fn pages(server: &Server, rows: usize, media_type: &str, parse: impl Fn(&[u8]) -> Batch) -> Sent {
    let client = client();
    let mut sent = Sent { requests: 0, bytes: 0, time: Duration::ZERO };
    let (mut since, mut changes) = ("0".to_owned(), 0);
    loop {
        let ask = client.get(server.url(DBID, &format!("/changes?since={since}"))).header(ACCEPT, media_type);
        let begun = Instant::now();
        let body = ask.send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
        sent.time += begun.elapsed();
        sent.requests += 1;
        sent.bytes += body.len() as u64;
        let batch = parse(&body);
        changes += batch.changes.len();
        since = batch.next.unwrap().to_string();
        if !batch.more {
            assert_eq!(changes, 3 * rows);
            return sent;
        }
    }
}

/// Reads an event stream until it has brought each row once.
async fn stream(server: &Server, rows: usize) -> Sent {
    let mut missing = rows;
    let mut seen = vec![false; rows];
    let begun = Instant::now();
    let mut reader = Reader::open(server.address(), &format!("/sync/{DBID}/events"), &Buffer::default()).await.unwrap();
    while missing > 0 {
        reader
            .next(|row| {
                assert!(!seen[row]);
                seen[row] = true;
                missing -= 1;
            })
            .await
            .unwrap();
    }
    Sent { requests: 1, bytes: reader.bytes, time: begun.elapsed() }
}
