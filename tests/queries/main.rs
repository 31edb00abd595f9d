//! A copy that holds what queries read answers them as the full one does. Native and wasm from one body.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;
mod generate;

use std::ops::ControlFlow;

use common::Peer;
use crsql_sync::crr::{TraceError, Version};
use generate::{Generator, SCHEMA};

#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

/// Sends what `queries` read to `copy`, and says how many rows that were of each table.
fn send(full: &Peer, queries: &[&str], copy: &Peer) -> Result<Vec<(String, usize)>, TraceError> {
    let tracer = full.engine.tracer(&full.conn, &|_| true)?;
    for query in queries {
        tracer.trace(query, &[])?;
    }
    let (mut changes, mut counts) = (Vec::new(), Vec::new());
    for (table, keys) in tracer.take_reads().into_tables() {
        counts.push((table.to_string(), keys.len()));
        full.engine.changes_of(&full.conn, &table, &keys, Version::ZERO, &mut |_, of_row| {
            changes.extend(of_row);
            ControlFlow::Continue(())
        })?;
    }
    copy.merge(&changes);
    Ok(counts)
}

/// A query's rows in any order. What SQLite takes for equal, it may show as either: 1 and 1.0, 'a' and 'A'.
fn answer(peer: &Peer, query: &str) -> Vec<String> {
    let mut rows: Vec<String> =
        peer.rows(query).iter().map(|row| format!("{row} ").replace(".0 ", " ").to_lowercase()).collect();
    rows.sort();
    rows
}

/// How the partial copy's answer differs from the full one's; `None` if not.
fn difference(rows: &[String], query: &str) -> Option<String> {
    let full = Peer::new(SCHEMA);
    rows.iter().for_each(|row| full.run(row));
    let copy = Peer::new(SCHEMA);
    let counts = match send(&full, &[query], &copy) {
        Ok(counts) => counts,
        Err(error) => return Some(format!("{error}")),
    };
    let (wanted, got) = (answer(&full, query), answer(&copy, query));
    (wanted != got).then(|| format!("full:    {wanted:?}\npartial: {got:?}\nsent: {counts:?}"))
}

#[test]
fn random_queries_are_answered_alike_by_a_copy_that_holds_what_they_read() {
    let seeds = std::env::var("CRSQL_QUERIES").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(3_000);
    for seed in 0..seeds {
        let mut generator = Generator::new(seed);
        let mut rows = generator.rows();
        let query = generator.query();
        if let Some(mut found) = difference(&rows, &query) {
            // Leave out what is not needed for it.
            let mut at = 0;
            while at < rows.len() {
                let row = rows.remove(at);
                match difference(&rows, &query) {
                    Some(still) => found = still,
                    None => {
                        rows.insert(at, row);
                        at += 1;
                    }
                }
            }
            panic!("seed {seed}\n{query}\n{}\n{found}", rows.join(";\n"));
        }
    }
}
