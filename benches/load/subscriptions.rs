//! A thousand subscriptions to the rows of an owner each, on one table: what they add to a write, and what each is sent.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crsql_sync::http::{BATCH_MEDIA_TYPE, SITE_HEADER};
use crsql_sync::sync::{Page, Replica, Request, Schema, Since};
use reqwest::Client;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::Options;
use crate::figures::{Goals, Times, megabytes};
use crate::reader::{Buffer, Reader, marked};
use crate::server::{Server, client};

const SCHEMA: &str = "
    CREATE TABLE todo (id INTEGER PRIMARY KEY NOT NULL, title TEXT, owner INTEGER);
    CREATE INDEX todo_owner ON todo (owner);
    SELECT crsql_as_crr('todo');";
const DBID: &str = "subscribed";

const ROWS: usize = 100_000;
const WRITES: usize = 300;
/// The most that subscriptions may add to the median write.
const ADDED: Duration = Duration::from_millis(5);
/// By when a change shall be with whom it concerns, 99 of 100 times.
const LATENCY: Duration = Duration::from_millis(250);

/// Who writes: a copy in memory.
struct Author {
    replica: Replica,
    sent: Since,
}

impl Author {
    /// With as many rows of each owner.
    fn new(owners: usize) -> Self {
        let mut replica = Replica::open(Connection::open_in_memory().unwrap()).unwrap();
        replica.create_database_if_not_exists(&Schema::parse(SCHEMA).unwrap()).unwrap();
        let fill = format!(
            "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
             INSERT INTO todo SELECT i, 'water the plants ' || i, i % {owners} FROM n"
        );
        replica.connection().execute_batch(&fill).unwrap();
        Self { replica, sent: Since::Beginning }
    }

    /// Sends all that was not sent.
    async fn send(&mut self, server: &Server, client: &Client) -> Duration {
        let mut time = Duration::ZERO;
        loop {
            let request = Request { page: Page::default(), ..Request::after(self.sent) };
            let batch = self.replica.request_changes(&request).unwrap();
            let body = batch.to_binary();
            let begun = Instant::now();
            server.apply(client, DBID, BATCH_MEDIA_TYPE, body).await;
            time += begun.elapsed();
            self.sent = batch.next.unwrap();
            if !batch.more {
                return time;
            }
        }
    }

    /// Write `n`, to a row of that owner.
    async fn write(&mut self, server: &Server, client: &Client, n: usize, owner: usize, owners: usize) -> Duration {
        let id = owner + owners * (1 + n % (ROWS / owners - 1));
        let update = "UPDATE todo SET title = ?1 WHERE id = ?2";
        self.replica.connection().execute(update, (marked(n), id as i64)).unwrap();
        self.send(server, client).await
    }
}

pub fn measure(options: &Options, goals: &mut Goals) {
    let folder = tempfile::tempdir_in(&options.dir).unwrap();
    let server = Server::start(options, folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, compare(options, &server, goals));
}

async fn compare(options: &Options, server: &Server, goals: &mut Goals) {
    let (owners, client) = (options.streams, client());
    println!("{owners} subscriptions to {} of {ROWS} rows each", ROWS / owners);
    let create = client.put(server.url(DBID, "")).json(&json!({ "schema": SCHEMA }));
    create.send().await.unwrap().error_for_status().unwrap();
    let mut author = Author::new(owners);
    author.send(server, &client).await;
    // Owners in an order that has nothing to do with that of rows.
    let owner = |n: usize| (n * 7919) % owners;

    let mut alone = Times::default();
    for n in 0..WRITES {
        alone.record(author.write(server, &client, n, owner(n), owners).await);
    }
    alone.print("write to answer, alone");

    let begun = Instant::now();
    let seen: Rc<RefCell<Vec<(usize, usize, Instant)>>> = Rc::default();
    let bytes: Rc<RefCell<u64>> = Rc::default();
    let buffer = Buffer::default();
    for reader in 0..owners {
        let path = subscribe(server, &client, reader).await;
        let mut stream = Reader::open(server.address(), &path, &buffer).await.unwrap();
        let (seen, bytes) = (seen.clone(), bytes.clone());
        spawn_local(async move {
            let mut before = stream.bytes;
            while stream.next(|n| seen.borrow_mut().push((n, reader, Instant::now()))).await.is_ok() {
                *bytes.borrow_mut() += stream.bytes - before;
                before = stream.bytes;
            }
        });
    }
    println!(
        "  all subscribed after {:.1} s; memory of the server {:.1} MB",
        begun.elapsed().as_secs_f64(),
        megabytes(server.peak())
    );

    let (mut with, mut arrival) = (Times::default(), Times::default());
    for n in WRITES..2 * WRITES {
        let begun = Instant::now();
        with.record(author.write(server, &client, n, owner(n), owners).await);
        let arrived = timeout(Duration::from_secs(10), async {
            loop {
                let found = seen.borrow().iter().find(|(number, ..)| *number == n).map(|(_, _, at)| *at);
                match found {
                    Some(at) => return at,
                    None => sleep(Duration::from_micros(200)).await,
                }
            }
        });
        arrival.record(arrived.await.unwrap().saturating_duration_since(begun));
    }
    with.print("write to answer, subscribed");
    arrival.print("write to stream");
    let astray = seen.borrow().iter().filter(|(n, reader, _)| owner(*n) != *reader).count();
    println!("  {} changes and {} bytes were sent for {WRITES} writes", seen.borrow().len(), bytes.borrow());

    let added = with.quantile(0.5).saturating_sub(alone.quantile(0.5));
    let shape = format!("{owners} subscriptions");
    goals.check(
        format!("{shape}: {:.1} ms added to a write <= {} ms", added.as_secs_f64() * 1e3, ADDED.as_millis()),
        added <= ADDED,
    );
    let p99 = arrival.quantile(0.99);
    goals.check(
        format!("{shape}: p99 {} ms until the change is there <= {} ms", p99.as_millis(), LATENCY.as_millis()),
        p99 <= LATENCY,
    );
    goals.check(
        format!("{shape}: a subscriber receives its rows only ({astray} others)"),
        astray == 0 && seen.borrow().len() >= WRITES,
    );
}

/// Subscribes to the rows of an owner, and returns where to read on.
async fn subscribe(server: &Server, client: &Client, owner: usize) -> String {
    let site = format!("{:032x}", owner + 1);
    let mut body = json!({ "subscription": "mine", "queries": [{ "sql": "SELECT * FROM todo WHERE owner = ?", "params": [owner] }] });
    loop {
        let ask = client.post(server.url(DBID, "/changes/query")).header(SITE_HEADER, &site).json(&body);
        let answer: Value = ask.send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
        let (seen, next) = (answer["seen"].clone(), answer["next"].clone());
        if answer["more"] == false {
            let path = server.url(
                DBID,
                &format!("/events?subscription=mine&site={site}&seen={seen}&since={}", next.as_str().unwrap()),
            );
            return path[path.find("/sync").unwrap()..].to_owned();
        }
        body["seen"] = seen;
        body["since"] = next;
    }
}
