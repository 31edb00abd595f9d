//! `crsql-sync import` as a process: killed, out of space, repeated.
#![cfg(not(target_family = "wasm"))]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crsql_sync::crr::Engine;
use rusqlite::Connection;

/// What cr-sqlite has in a file with one table of `rows` rows and one deleted row, all of version 1.
fn source(folder: &Path, rows: u32) -> PathBuf {
    let path = folder.join("source.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(&format!(
        "CREATE TABLE crsql_master (key TEXT PRIMARY KEY, value ANY);
         INSERT INTO crsql_master VALUES ('crsqlite_version', 160300);
         CREATE TABLE crsql_site_id (site_id BLOB NOT NULL, ordinal INTEGER PRIMARY KEY);
         CREATE UNIQUE INDEX crsql_site_id_site_id ON crsql_site_id (site_id);
         INSERT INTO crsql_site_id VALUES (x'000102030405060708090a0b0c0d0e0f', 0);
         CREATE TABLE todo (id TEXT PRIMARY KEY NOT NULL, a, b);
         CREATE TABLE todo__crsql_pks (__crsql_key INTEGER PRIMARY KEY, id);
         CREATE UNIQUE INDEX todo__crsql_pks_pks ON todo__crsql_pks (id);
         CREATE TABLE todo__crsql_clock (
           key INTEGER NOT NULL, col_name TEXT NOT NULL, col_version INTEGER NOT NULL, db_version INTEGER NOT NULL,
           site_id INTEGER NOT NULL DEFAULT 0, seq INTEGER NOT NULL, PRIMARY KEY (key, col_name)
         ) WITHOUT ROWID, STRICT;
         CREATE INDEX todo__crsql_clock_dbv_idx ON todo__crsql_clock (db_version);
         CREATE TRIGGER todo__crsql_dtrig AFTER DELETE ON todo BEGIN SELECT crsql_after_delete('todo', OLD.id); END;
         WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO todo SELECT printf('%016x', i), i, 'text ' || i FROM n;
         INSERT INTO todo__crsql_pks SELECT rowid, id FROM todo;
         INSERT INTO todo__crsql_clock SELECT key, name, 1, 1 + key / 100, 0, key % 100 * 2 + at
           FROM (SELECT rowid AS key FROM todo), (SELECT 'a' AS name, 0 AS at UNION SELECT 'b', 1);
         INSERT INTO todo__crsql_pks VALUES ({rows} + 1, 'deleted');
         INSERT INTO todo__crsql_clock VALUES ({rows} + 1, '-1', 2, 7, 0, 250);"
    ))
    .unwrap();
    path
}

fn command(source: &Path, destination: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crsql-sync"));
    command.arg("import").args([source, destination]).arg("--json").stderr(Stdio::null()).stdout(Stdio::null());
    command
}

fn import(source: &Path, destination: &Path) -> Output {
    command(source, destination).stderr(Stdio::piped()).stdout(Stdio::piped()).output().unwrap()
}

fn complaint(source: &Path, destination: &Path) -> String {
    let output = import(source, destination);
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

/// Whether the file is whole: every cell of every row, and the tombstone.
fn assert_whole(path: &Path, rows: i64) {
    let conn = Connection::open(path).unwrap();
    let engine = Engine::install(&conn).unwrap();
    let count = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM todo"), rows);
    assert_eq!(count("SELECT count(*) FROM crsql_changes"), rows * 2 + 1);
    assert_eq!(
        count(
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND (name LIKE '%crsql_pks%' OR name LIKE '%crsql_clock%')"
        ),
        0
    );
    assert_eq!(engine.site_id().to_string(), "000102030405060708090a0b0c0d0e0f");
    conn.execute_batch("DELETE FROM todo WHERE a = 1; INSERT INTO todo VALUES ('deleted', 1, 2)").unwrap();
    assert_eq!(count("SELECT cl FROM crsql_changes WHERE pk = crsql_pack_columns('deleted') LIMIT 1"), 3);
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn a_killed_import_leaves_no_destination_and_the_next_one_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path(), 30_000);
    let before = fs::read(&source).unwrap();
    let destination = folder.path().join("destination.db");
    let mut whole = 0;
    for delay in (0..400).step_by(25) {
        let mut child = command(&source, &destination).spawn().unwrap();
        sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        if destination.exists() {
            whole += 1;
            assert_whole(&destination, 30_000);
            fs::remove_file(&destination).unwrap();
        }
    }
    assert!(whole < 16, "every import was faster than its kill");
    assert!(import(&source, &destination).status.success());
    assert_whole(&destination, 30_000);
    assert_eq!(names(folder.path()), ["destination.db", "source.db"]);
    assert_eq!(fs::read(&source).unwrap(), before);
}

#[test]
fn an_import_that_may_not_write_so_much_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path(), 5000);
    let destination = folder.path().join("destination.db");
    let kilobytes = fs::metadata(&source).unwrap().len() / 1024;
    // The first limit stops the copy, the second the conversion.
    for limit in [kilobytes / 2, kilobytes + 4] {
        let shell = format!(
            "trap '' XFSZ; ulimit -f {limit}; exec '{}' import '{}' '{}'",
            env!("CARGO_BIN_EXE_crsql-sync"),
            source.display(),
            destination.display()
        );
        let output = Command::new("bash").args(["-c", &shell]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(names(folder.path()), ["source.db"]);
    }
}

#[test]
fn a_source_in_wal_mode_is_read_as_it_is_while_somebody_writes() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path(), 100);
    let writer = Connection::open(&source).unwrap();
    writer.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
    writer
        .execute_batch(
            "INSERT INTO todo VALUES ('late', 0, 0); INSERT INTO todo__crsql_pks VALUES (200, 'late');
             INSERT INTO todo__crsql_clock VALUES (200, 'a', 1, 9, 0, 300), (200, 'b', 1, 9, 0, 301);
             BEGIN IMMEDIATE; INSERT INTO todo VALUES ('unfinished', 0, 0)",
        )
        .unwrap();
    let destination = folder.path().join("destination.db");
    let output = import(&source, &destination);
    assert!(output.status.success(), "{output:?}");
    assert!(!names(folder.path()).iter().any(|name| name.contains("importing") || name == "destination.db-wal"));
    assert_whole(&destination, 101);
}

#[test]
fn what_cannot_be_imported_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path(), 10);
    let destination = folder.path().join("destination.db");
    assert!(complaint(&source, &source).contains("exists already"));
    assert!(complaint(&folder.path().join("none.db"), &destination).contains("cannot open"));

    let run = |sql: &str| Connection::open(&source).unwrap().execute_batch(sql).unwrap();
    run("UPDATE crsql_master SET value = 140000");
    assert!(complaint(&source, &destination).contains("made by cr-sqlite 0.14"));
    run("UPDATE crsql_master SET value = 150000; UPDATE crsql_site_id SET site_id = x'00'");
    assert!(complaint(&source, &destination).contains("site id"));
    run("DROP TABLE crsql_master");
    assert!(complaint(&source, &destination).contains("no database of cr-sqlite"));

    let ours = folder.path().join("ours.db");
    Engine::install(&Connection::open(&ours).unwrap()).unwrap();
    assert!(complaint(&ours, &destination).contains("already"));

    let text = folder.path().join("text.db");
    fs::write(&text, "no database at all, and longer than the header of one would be: ".repeat(20)).unwrap();
    assert!(complaint(&text, &destination).contains("not a database"));
    assert!(!names(folder.path()).iter().any(|name| name.starts_with("destination")));
}

#[test]
fn numbers_out_of_range_are_the_nearest_that_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path(), 3);
    let destination = folder.path().join("destination.db");
    let odd =
        "UPDATE todo__crsql_clock SET col_version = 9223372036854775807, seq = -4 WHERE key = 1 AND col_name = 'a'";
    Connection::open(&source).unwrap().execute_batch(odd).unwrap();
    let output = import(&source, &destination);
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["out_of_range"], 2);
    let conn = Connection::open(&destination).unwrap();
    Engine::install(&conn).unwrap();
    let highest = "SELECT max(col_version), min(seq) FROM crsql_changes";
    let highest: (i64, i64) = conn.query_row(highest, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(highest, ((1 << 53) - 1, 0));
}

#[test]
fn a_table_whose_clocks_are_missing_becomes_an_ordinary_one() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path(), 3);
    let destination = folder.path().join("destination.db");
    Connection::open(&source).unwrap().execute_batch("DROP TABLE todo__crsql_clock").unwrap();
    let output = import(&source, &destination);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["skipped_tables"], serde_json::json!(["todo"]));
    let conn = Connection::open(&destination).unwrap();
    Engine::install(&conn).unwrap();
    conn.execute_batch("DELETE FROM todo; SELECT crsql_as_crr('todo'); INSERT INTO todo VALUES ('x', 1, 2)").unwrap();
}

#[test]
fn a_name_that_is_taken_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("destination.db");
    for taken in ["crsql_log", "todo__crsql_rows"] {
        let source = source(folder.path(), 3);
        Connection::open(&source).unwrap().execute_batch(&format!("CREATE TABLE {taken} (x)")).unwrap();
        let complaint = complaint(&source, &destination);
        assert!(complaint.contains(taken) && complaint.contains("rename it first"), "{complaint}");
        fs::remove_file(source).unwrap();
    }
}
