//! Batches on the wire: what they take in JSON and in the binary form, and how fast they are written and read.
//!
//! `cargo bench --bench wire [-- DIR]`; with a folder, the batches are left there in both forms, for `bench.mjs` to set
//! beside what others make of the same changes (`scripts/bench-wire` runs both). A speed is that of the best of ten runs,
//! the ratio the median of theirs.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod workloads;

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use crsql_sync::sync::{Batch, Replica, Schema};
use rusqlite::Connection;

const RUNS: usize = 10;

/// Reading and merging what came by the wire shall be so much of the speed of merging what is in memory already.
const GOAL: f64 = 0.8;

fn main() {
    let dir = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    println!(
        "{:<28}{:>10}{:>12}{:>12}{:>20}{:>20}{:>20}{:>12}{:>22}",
        "best of ten runs", "changes", "JSON", "binary", "write", "read", "read JSON", "merge", "merge / read + merge"
    );
    for (name, batch) in workloads::all() {
        let (json, binary) = (serde_json::to_string(&batch).unwrap(), batch.to_binary());
        if let Some(dir) = &dir {
            let path = Path::new(dir).join(name.replace(' ', "-"));
            std::fs::create_dir_all(dir).unwrap();
            std::fs::write(path.with_extension("json"), &json).unwrap();
            std::fs::write(path.with_extension("bin"), &binary).unwrap();
        }
        measure(name, &batch, &json, &binary);
    }
}

fn measure(name: &str, batch: &Batch, json: &str, binary: &[u8]) {
    let (mut write, mut read, mut read_json, mut merge) = (f64::MAX, f64::MAX, f64::MAX, f64::MAX);
    let mut ratios = Vec::new();
    for _ in 0..RUNS {
        write = write.min(time(|| batch.to_binary()));
        read = read.min(time(|| Batch::from_binary(binary).unwrap()));
        read_json = read_json.min(time(|| serde_json::from_str::<Batch>(json).unwrap()));
        // In turn, since the machine is not always as fast.
        let mut replica = empty();
        let from_memory = time(|| replica.apply_changes(batch).unwrap());
        let mut replica = empty();
        let from_wire = time(|| {
            let batch = Batch::from_binary(binary).unwrap();
            let applied = replica.apply_changes(&batch).unwrap();
            (batch, applied)
        });
        merge = merge.min(from_memory);
        ratios.push(from_memory / from_wire);
    }
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[RUNS / 2];
    let changes = batch.changes.len() as f64;
    let per_change = |bytes: usize| format!("{:.1} B", bytes as f64 / changes);
    let speed = |seconds: f64, bytes: usize| {
        format!("{:.1} M/s {:>4.0} MB/s", changes / seconds / 1e6, bytes as f64 / seconds / 1e6)
    };
    println!(
        "{name:<28}{changes:>10}{:>12}{:>12}{:>20}{:>20}{:>20}{:>12}{:>22}",
        per_change(json.len()),
        per_change(binary.len()),
        speed(write, binary.len()),
        speed(read, binary.len()),
        speed(read_json, json.len()),
        format!("{:.2} M/s", changes / merge / 1e6),
        format!("{:.0} % {}", ratio * 100.0, if ratio >= GOAL { "ok" } else { "missed" }),
    );
}

/// Seconds, without those that it takes to let go of the result.
fn time<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    let result = black_box(work());
    let taken = start.elapsed().as_secs_f64();
    drop(result);
    taken
}

/// A replica with the tables of the workloads.
fn empty() -> Replica {
    let mut replica = Replica::open(Connection::open_in_memory().unwrap()).unwrap();
    replica.create_database_if_not_exists(&Schema::parse(workloads::SCHEMA).unwrap()).unwrap();
    replica
}
