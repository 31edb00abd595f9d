//! Batches by HTTP, beside the same ones by a call of the store in this process: each to a database of its own on the same
//! disk, one after the other, in turns.

use std::time::{Duration, Instant};

use crsql_sync::http::BATCH_MEDIA_TYPE;
use crsql_sync::store::{Database, Dbid, Store};
use crsql_sync::sync::{Batch, Schema};
use tokio::runtime;

use crate::Options;
use crate::figures::{Goals, Times};
use crate::server::{Server, client};
use crate::workload::{Author, SCHEMA, title};

/// The speed by HTTP as a part of that by call.
const GOAL: f64 = 0.6;
/// Batches of one kind before it is another's turn.
const TURN: usize = 5;

pub fn measure(options: &Options, goals: &mut Goals) {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for (rows, batches) in [(10, 500), (1_000, 50)] {
        runtime.block_on(compare(options, rows, batches, goals));
    }
}

/// One way for a batch.
struct Way {
    name: &'static str,
    times: Times,
    total: Duration,
}

impl Way {
    fn new(name: &'static str) -> Self {
        Self { name, times: Times::default(), total: Duration::ZERO }
    }

    fn record(&mut self, time: Duration) {
        self.times.record(time);
        self.total += time;
    }
}

async fn compare(options: &Options, rows: usize, count: usize, goals: &mut Goals) {
    let mut author = Author::new();
    let batches: Vec<Batch> = (0..count).map(|_| author.insert((0..rows).map(title))).collect();
    let (data, own) = (tempfile::tempdir_in(&options.dir).unwrap(), tempfile::tempdir_in(&options.dir).unwrap());
    let server = Server::start(options, data.path());
    let client = client();
    for dbid in ["json", "binary"] {
        server.create(&client, dbid).await;
    }
    let store = Store::at(own.path()).unwrap();
    let database = create(&store).await;

    let (mut call, mut json, mut binary) = (Way::new("by call"), Way::new("JSON"), Way::new("binary"));
    for batches in batches.chunks(TURN) {
        for batch in batches {
            let batch = batch.clone();
            let begun = Instant::now();
            database.call(move |replica| replica.apply_changes(&batch)).await.unwrap().unwrap();
            call.record(begun.elapsed());
        }
        for batch in batches {
            let body = serde_json::to_vec(batch).unwrap();
            let begun = Instant::now();
            server.apply(&client, "json", "application/json", body).await;
            json.record(begun.elapsed());
        }
        for batch in batches {
            let body = batch.to_binary();
            let begun = Instant::now();
            server.apply(&client, "binary", BATCH_MEDIA_TYPE, body).await;
            binary.record(begun.elapsed());
        }
    }
    println!("apply, {count} batches of {rows} rows");
    let reference = call.total;
    for way in [call, json, binary] {
        way.times.print(way.name);
        let (speed, part) = ((rows * count) as f64 / way.total.as_secs_f64(), reference.div_duration_f64(way.total));
        println!("  {:<28}{speed:.0} rows/s, {:.0} % of that by call", "", part * 100.0);
        if way.name != "by call" {
            let goal = format!("apply of {rows} rows, {}: {:.0} % >= {:.0} %", way.name, part * 100.0, GOAL * 100.0);
            goals.check(goal, part >= GOAL);
        }
    }
}

async fn create(store: &Store) -> Database {
    let database = store.open_or_create(&Dbid::new("call").unwrap()).await.unwrap();
    let schema = Schema::parse(SCHEMA).unwrap();
    database.call(move |replica| replica.create_database_if_not_exists(&schema)).await.unwrap().unwrap();
    database
}
