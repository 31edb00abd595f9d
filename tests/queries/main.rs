//! A copy that holds what queries read answers them as the full one does. Native and wasm from one body.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod bounded;
#[path = "../common/mod.rs"]
mod common;
mod filtered;
mod generate;
mod incremental;
mod limits;
mod once;
mod subscribed;
mod subscriber;
mod watched;

use common::replicas::with_schema as replica;
use crsql_sync::sync::{Page, QueriesRequest, Replica, Sql, SqlLimits};
use rusqlite::types::Value;
use std::time::Duration;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

/// How many seeds to play: as many as `CRSQL_QUERIES` says, or else the fewest in a browser and the most natively.
fn seeds(fewest: u64, most: u64) -> u64 {
    let asked = std::env::var("CRSQL_QUERIES").ok().and_then(|seeds| seeds.parse().ok());
    asked.unwrap_or(if cfg!(target_family = "wasm") { fewest } else { most })
}

fn query(sql: &str) -> Sql {
    Sql { sql: sql.to_owned(), params: Vec::new() }
}

fn write(replica: &mut Replica, sql: &str) {
    let limits = SqlLimits { rows: 0, bytes: 0, time: Duration::from_secs(60), read_only: false, tables: None };
    replica.sql(&[query(sql)], limits).unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// What queries ask for that fits into one answer.
fn asking(queries: &[Sql]) -> QueriesRequest {
    QueriesRequest {
        queries: queries.to_vec(),
        subscription: None,
        exclude: None,
        schema: None,
        tables: None,
        filters: None,
        page: Page::default(),
        most: Page { changes: usize::MAX, bytes: usize::MAX },
        rows: usize::MAX,
        time: Duration::from_secs(60),
    }
}

/// A query's rows in any order. What SQLite takes for equal, it may show as either: 1 and 1.0, 'a' and 'A'.
fn answer(replica: &Replica, sql: &str) -> Vec<String> {
    let mut statement = replica.connection().prepare(sql).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|i| row.get(i).map(show)).collect::<Result<String, _>>());
    let mut rows = rows.unwrap().collect::<Result<Vec<String>, _>>().unwrap();
    rows.sort();
    rows
}

fn show(value: Value) -> String {
    match value {
        Value::Null => "NULL ".to_owned(),
        Value::Integer(integer) => format!("{} ", integer as f64),
        Value::Real(real) => format!("{real} "),
        Value::Text(text) => format!("'{}' ", text.to_lowercase()),
        Value::Blob(blob) => format!("{blob:?} "),
    }
}
