//! Replicas in memory.

use std::time::Duration;

use crsql_sync::sync::{Replica, Schema, Sql, SqlLimits};
use rusqlite::Connection;

/// A table of things to do.
pub const TODO: &str = "CREATE TABLE todo (id TEXT PRIMARY KEY NOT NULL, title TEXT, done INTEGER DEFAULT 0);
                        SELECT crsql_as_crr('todo');";

/// One with that table.
pub fn replica() -> Replica {
    with_schema(TODO)
}

pub fn with_schema(schema: &str) -> Replica {
    let mut replica = Replica::open(Connection::open_in_memory().unwrap()).unwrap();
    replica.create_database_if_not_exists(&Schema::parse(schema).unwrap()).unwrap();
    replica
}

/// Runs one statement, and returns its rows as JSON.
pub fn sql(replica: &mut Replica, sql: &str) -> String {
    let limits =
        SqlLimits { rows: 1000, bytes: 1 << 20, time: Duration::from_secs(10), read_only: false, tables: None };
    let results = replica.sql(&[Sql { sql: sql.into(), params: vec![] }], limits).unwrap();
    serde_json::to_string(&results[0].rows).unwrap()
}

/// Adds a row to [`TODO`].
pub fn add(replica: &mut Replica, id: &str) {
    sql(replica, &format!("INSERT INTO todo (id, title) VALUES ('{id}', 'title of {id}')"));
}
