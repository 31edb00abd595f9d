//! What the tests of the engine share.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

pub mod batches;
pub mod histories;
pub mod replicas;
pub mod star;

use crsql_sync::crr::{Change, Engine, Version, Window};
use rusqlite::Connection;
use rusqlite::types::Value;
use std::ops::ControlFlow;

/// A database in memory with the engine on it.
pub struct Peer {
    pub conn: Connection,
    pub engine: Engine,
}

impl Peer {
    /// A new database with `schema`.
    pub fn new(schema: &str) -> Self {
        let conn = Connection::open_in_memory().unwrap();
        let engine = Engine::install(&conn).unwrap();
        conn.execute_batch(schema).unwrap();
        Self { conn, engine }
    }

    pub fn run(&self, sql: &str) {
        self.conn.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The rows of a query, values separated by spaces.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        let mut statement = self.conn.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            let values: Result<Vec<String>, _> = (0..columns).map(|i| row.get(i).map(show)).collect();
            Ok(values?.join(" "))
        });
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    }

    pub fn value(&self, sql: &str) -> Value {
        self.conn.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// pk, cid, val, col_version, db_version, cl, seq of each change, in the default order.
    pub fn changes(&self) -> Vec<String> {
        self.rows("SELECT lower(hex(pk)), cid, val, col_version, db_version, cl, seq FROM crsql_changes")
    }

    /// Everything after a version, as peers get it.
    pub fn changes_since(&self, since: i64) -> Vec<Change> {
        let window = Window {
            since: Version::or_zero(since).unwrap(),
            until: self.engine.db_version(&self.conn).unwrap(),
            exclude: None,
            newest_first: false,
        };
        let mut changes = Vec::new();
        let mut keep = |_, change| {
            changes.push(change);
            ControlFlow::Continue(())
        };
        self.engine.changes(&self.conn, window, &mut keep).unwrap();
        changes
    }

    /// Merges in one transaction.
    pub fn merge(&self, changes: &[Change]) -> u64 {
        let transaction = self.conn.unchecked_transaction().unwrap();
        let merged = self.engine.merge(&self.conn, changes).unwrap();
        transaction.commit().unwrap();
        merged.applied
    }

    /// Merges through SQL: cid, val, col_version, db_version, cl, seq, and the site as 32 times a digit.
    pub fn insert_change(&self, table: &str, pk: &str, change: &str, site: char) -> i64 {
        let site = site.to_string().repeat(32);
        self.run("BEGIN");
        self.run(&format!(
            "INSERT INTO crsql_changes (\"table\", pk, cid, val, col_version, db_version, cl, seq, site_id)
             VALUES ('{table}', x'{pk}', {change}, x'{site}')"
        ));
        let Value::Integer(impacted) = self.value("SELECT crsql_rows_impacted()") else { panic!("no integer") };
        self.run("COMMIT");
        impacted
    }
}

fn show(value: Value) -> String {
    match value {
        Value::Null => "∅".into(),
        Value::Integer(i) => i.to_string(),
        Value::Real(r) => format!("{r:?}"),
        Value::Text(text) => text,
        Value::Blob(blob) => format!("x'{}'", hex::encode(blob)),
    }
}
