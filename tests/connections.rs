//! Several connections on one file.
#![cfg(not(target_family = "wasm"))]
#![allow(missing_docs, clippy::unwrap_used)]

use crsql_sync::crr::Engine;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

fn open(path: &Path) -> (Connection, Engine) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    let engine = Engine::install(&conn).unwrap();
    (conn, engine)
}

fn count(conn: &Connection) -> i64 {
    conn.query_row("SELECT count(*) FROM crsql_changes", [], |row| row.get(0)).unwrap()
}

#[test]
fn connections_on_one_file_share_versions_and_tables() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let ((a, engine_a), (b, engine_b)) = (open(&path), open(&path));
    assert_eq!(engine_a.site_id(), engine_b.site_id());
    assert_eq!(count(&b), 0);
    a.execute_batch("CREATE TABLE foo (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('foo')").unwrap();
    b.execute_batch("INSERT INTO foo VALUES (1, 1)").unwrap();
    a.execute_batch("INSERT INTO foo VALUES (2, 2)").unwrap();
    b.execute_batch("UPDATE foo SET b = 3 WHERE a = 2").unwrap();
    assert_eq!(engine_a.db_version(&a).unwrap().get(), 3);
    assert_eq!(count(&a), 2);
    // A table that one connection replicates while the other has cached what there is.
    b.execute_batch("CREATE TABLE bar (a PRIMARY KEY NOT NULL); SELECT crsql_as_crr('bar')").unwrap();
    a.execute_batch("INSERT INTO bar VALUES (1)").unwrap();
    assert_eq!(count(&b), 3);
}

#[test]
fn a_connection_closes_with_statements_still_prepared() {
    let dir = tempfile::tempdir().unwrap();
    let (conn, engine) = open(&dir.path().join("a.db"));
    conn.execute_batch("CREATE TABLE foo (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('foo')").unwrap();
    conn.execute_batch("INSERT INTO foo VALUES (1, 1); DELETE FROM foo").unwrap();
    assert_eq!(count(&conn), 1);
    conn.close().map_err(|(_, error)| error).unwrap();
    drop(engine);
}

#[test]
fn a_database_can_be_read_where_it_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let (conn, _) = open(&path);
    conn.execute_batch(
        "CREATE TABLE foo (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('foo'); INSERT INTO foo VALUES (1, 1)",
    )
    .unwrap();
    let reader = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    Engine::install(&reader).unwrap();
    assert_eq!(count(&reader), 1);
}

#[test]
fn a_file_of_the_original_is_refused_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("CREATE TABLE crsql_master (key TEXT PRIMARY KEY, value ANY)").unwrap();
    let error = Engine::install(&conn).err().unwrap().to_string();
    assert!(error.contains("made by cr-sqlite"), "{error}");
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 2);
}

#[test]
fn an_engine_refuses_another_connection() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let ((_a, engine), (b, _)) = (open(&path), open(&path));
    assert!(engine.db_version(&b).is_err());
}
