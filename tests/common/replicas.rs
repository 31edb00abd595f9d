//! Replicas in memory.

use std::time::Duration;

use crsql_sync::sync::{Replica, ResultSet, Schema, Sql, SqlError, SqlLimits};
use rusqlite::Connection;

/// A table of things to do.
pub const TODO: &str = "CREATE TABLE todo (id TEXT PRIMARY KEY NOT NULL, title TEXT, done INTEGER DEFAULT 0);
                        SELECT crsql_as_crr('todo');";

/// One without any table.
pub fn empty() -> Replica {
    Replica::open(Connection::open_in_memory().unwrap()).unwrap()
}

/// One with that table.
pub fn replica() -> Replica {
    with_schema(TODO)
}

pub fn with_schema(schema: &str) -> Replica {
    let mut replica = empty();
    replica.create_database_if_not_exists(&Schema::parse(schema).unwrap()).unwrap();
    replica
}

pub fn limits() -> SqlLimits {
    SqlLimits { rows: 1000, bytes: 1 << 20, time: Duration::from_secs(10), read_only: false, tables: None }
}

pub fn try_sql(replica: &mut Replica, sql: &str) -> Result<Vec<ResultSet>, SqlError> {
    replica.sql(&[Sql { sql: sql.into(), params: vec![] }], limits())
}

/// Runs one statement.
pub fn run(replica: &mut Replica, sql: &str) -> ResultSet {
    try_sql(replica, sql).unwrap().remove(0)
}

/// Runs one statement, and returns its rows as JSON.
pub fn sql(replica: &mut Replica, sql: &str) -> String {
    serde_json::to_string(&run(replica, sql).rows).unwrap()
}

/// Adds a row to [`TODO`].
pub fn add(replica: &mut Replica, id: &str) {
    run(replica, &format!("INSERT INTO todo (id, title) VALUES ('{id}', 'title of {id}')"));
}
