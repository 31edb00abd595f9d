//! Several connections on one file.
#![cfg(not(target_family = "wasm"))]
#![allow(missing_docs, clippy::unwrap_used)]

use crsql_sync::crr::Engine;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags};
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

/// A database with one replicated table.
fn fresh() -> (Connection, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (conn, _) = open(&dir.path().join("a.db"));
    conn.execute_batch("CREATE TABLE foo (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('foo')").unwrap();
    (conn, dir)
}

/// The rows of a query, values separated by spaces.
fn rows(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(sql).unwrap();
    let columns = statement.column_count();
    let show = |value: Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(i) => i.to_string(),
        Value::Real(r) => r.to_string(),
        Value::Text(text) => text,
        Value::Blob(blob) => hex::encode(blob),
    };
    let rows = statement.query_map([], |row| {
        let values: rusqlite::Result<Vec<String>> = (0..columns).map(|i| row.get(i).map(show)).collect();
        Ok(values?.join(" "))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
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

/// A temporary table or view hides the one of the same name from unqualified SQL.
#[test]
fn temporary_tables_that_hide_a_replicated_one_are_left_alone() {
    let (conn, _dir) = fresh();
    conn.execute_batch(
        "INSERT INTO main.foo VALUES (1, 1), (2, 2);
         CREATE TEMP TABLE foo (x UNIQUE, y NOT NULL); INSERT INTO temp.foo VALUES ('temp', 'temp');
         CREATE TEMP VIEW foo__crsql_rows AS SELECT 1 AS key, x'00' AS clock, NULL AS number;
         CREATE TEMP TABLE foo__crsql_tombstones (a, b); CREATE TEMP TABLE foo__crsql_keys (a, b);
         UPDATE main.foo SET b = 3 WHERE a = 1; DELETE FROM main.foo WHERE a = 2;
         INSERT INTO crsql_changes VALUES ('foo', x'010903', 'b', 7, 1, 9, x'aa', 1, 0);",
    )
    .unwrap();
    assert_eq!(rows(&conn, "SELECT a, b FROM main.foo ORDER BY a"), ["1 3", "3 7"]);
    assert_eq!(rows(&conn, "SELECT cid, val FROM crsql_changes ORDER BY pk, cid"), ["b 3", "-1 NULL", "b 7"]);
    conn.execute_batch(
        "SELECT crsql_begin_alter('foo'); ALTER TABLE main.foo ADD COLUMN c; UPDATE main.foo SET c = 1;
         SELECT crsql_commit_alter('foo')",
    )
    .unwrap();
    assert_eq!(rows(&conn, "SELECT count(*) FROM crsql_changes"), ["5"]);
    conn.execute_batch(
        "SELECT crsql_fract_as_ordered('foo', 'c'); SELECT crsql_as_table('foo'); SELECT crsql_as_crr('foo')",
    )
    .unwrap();
    assert_eq!(rows(&conn, "SELECT x, y FROM temp.foo"), ["temp temp"]);
    assert_eq!(rows(&conn, "SELECT count(*) FROM temp.sqlite_master WHERE type <> 'index'"), ["4"]);
    assert_eq!(rows(&conn, "SELECT count(*) FROM crsql_changes"), ["4"]);
}

#[test]
fn temporary_tables_that_hide_the_engines_own_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let conn = Connection::open(dir.path().join("a.db")).unwrap();
    let names =
        ["master", "site_id", "tracked_peers", "tables", "columns", "log", "journal", "changes", "table_clocks"];
    for name in names {
        conn.execute_batch(&format!("CREATE TEMP TABLE crsql_{name} (x)")).unwrap();
    }
    let engine = Engine::install(&conn).unwrap();
    conn.execute_batch(
        "CREATE TABLE foo (a PRIMARY KEY NOT NULL, b) WITHOUT ROWID; SELECT crsql_as_crr('foo');
         INSERT INTO foo VALUES (1, 1), (2, 2); DELETE FROM foo WHERE a = 1; SELECT crsql_config_set('merge-equal-values', 1);
         UPDATE foo SET b = 3",
    )
    .unwrap();
    assert_eq!(engine.db_version(&conn).unwrap().get(), 3);
    assert_eq!(rows(&conn, "SELECT cid, val FROM main.crsql_changes"), ["-1 NULL", "b 3"]);
    assert_eq!(rows(&conn, "SELECT col_name FROM foo__crsql_clock ORDER BY 1"), ["-1", "b"]);
    for name in names {
        assert_eq!(rows(&conn, &format!("SELECT count(*) FROM temp.crsql_{name}")), ["0"]);
    }
}

#[test]
fn an_attached_copy_is_left_alone() {
    let (conn, dir) = fresh();
    conn.execute_batch("INSERT INTO foo VALUES (1, 1)").unwrap();
    let copy = dir.path().join("copy.db");
    conn.execute("VACUUM INTO ?", [copy.to_str()]).unwrap();
    conn.execute("ATTACH ? AS copy", [copy.to_str()]).unwrap();
    let all = "SELECT (SELECT group_concat(quote(touched)) FROM copy.crsql_log), (SELECT group_concat(quote(clock)) FROM copy.foo__crsql_rows),
      (SELECT value FROM copy.crsql_master WHERE key = 'db_version'), (SELECT group_concat(b) FROM copy.foo)";
    let before = rows(&conn, all);
    conn.execute_batch(
        "UPDATE foo SET b = 2; INSERT INTO foo SELECT a + 1, b FROM copy.foo; DELETE FROM foo WHERE a = 1;
         INSERT INTO crsql_changes VALUES ('foo', x'010903', 'b', 7, 1, 9, x'aa', 1, 0);
         SELECT crsql_begin_alter('foo'); ALTER TABLE foo ADD COLUMN c; SELECT crsql_commit_alter('foo');
         SELECT crsql_as_table('foo'); SELECT crsql_as_crr('foo')",
    )
    .unwrap();
    assert_eq!(rows(&conn, all), before);
    let error = conn.execute("UPDATE copy.foo SET b = 5", []).unwrap_err().to_string();
    assert!(error.contains("attached"), "{error}");
    assert_eq!(rows(&conn, all), before);
    // Also where both are written to.
    for sql in
        ["INSERT INTO copy.foo VALUES (7, 7)", "REPLACE INTO copy.foo VALUES (1, 9)", "UPDATE copy.foo SET a = 9"]
    {
        conn.execute_batch("BEGIN IMMEDIATE; INSERT INTO foo VALUES (50, 1, 1); DELETE FROM foo WHERE a = 50; SAVEPOINT s; INSERT INTO foo VALUES (51, 1, 1); ROLLBACK TO s").unwrap();
        assert!(conn.execute_batch(sql).unwrap_err().to_string().contains("attached"), "{sql}");
        conn.execute_batch("INSERT INTO foo VALUES (60, 2, 2); REPLACE INTO foo VALUES (60, 3, 3); COMMIT").unwrap();
        assert_eq!(rows(&conn, all), before);
        let changes = "SELECT cid, val, col_version FROM crsql_changes WHERE pk IN (crsql_pack_columns(60), crsql_pack_columns(7), crsql_pack_columns(9))";
        assert_eq!(rows(&conn, changes), ["b 3 2", "c 3 2"], "{sql}");
        conn.execute_batch("DELETE FROM foo WHERE a = 60; SELECT crsql_as_table('foo'); SELECT crsql_as_crr('foo')")
            .unwrap();
    }
    // Where SQLite keeps nothing to go back to, the transaction has to go.
    for sql in ["UPDATE copy.foo SET b = 5", "DELETE FROM copy.foo"] {
        conn.execute_batch("BEGIN; INSERT INTO foo VALUES (50, 1, 1)").unwrap();
        assert!(conn.execute_batch(sql).unwrap_err().to_string().contains("attached"), "{sql}");
        let error = conn.execute_batch("COMMIT").unwrap_err().to_string();
        assert!(error.contains("rolled back"), "{error}");
        assert_eq!(rows(&conn, all), before, "{sql}");
        assert_eq!(rows(&conn, "SELECT count(*) FROM foo WHERE a = 50"), ["0"]);
        conn.execute_batch("INSERT INTO foo VALUES (50, 1, 1); DELETE FROM foo WHERE a = 50; SELECT crsql_as_table('foo'); SELECT crsql_as_crr('foo')").unwrap();
    }
    // With the sync bit on, nobody asks for clocks.
    conn.execute_batch(
        "SELECT crsql_internal_sync_bit(1); UPDATE copy.foo SET b = 6; REPLACE INTO copy.foo VALUES (1, 6); SELECT crsql_internal_sync_bit(0)",
    )
    .unwrap();
    assert_eq!(rows(&conn, "SELECT b FROM copy.foo"), ["6"]);
    conn.execute_batch("DETACH copy").unwrap();
    assert_eq!(rows(&conn, "SELECT count(*) FROM crsql_changes"), ["4"]);
}

#[test]
fn a_table_of_an_attached_database_is_not_taken_for_one_of_main() {
    let (conn, dir) = fresh();
    conn.execute("ATTACH ? AS other", [dir.path().join("b.db").to_str()]).unwrap();
    conn.execute_batch(
        "CREATE TABLE other.foo (x UNIQUE); INSERT INTO other.foo VALUES (9); CREATE TABLE other.bar (a PRIMARY KEY NOT NULL);
         CREATE TABLE other.crsql_master (x); INSERT INTO foo VALUES (1, 1); SELECT crsql_as_crr('foo')",
    )
    .unwrap();
    let error = conn.query_row("SELECT crsql_as_crr('bar')", [], |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("no primary key"), "{error}");
    conn.execute_batch(
        "SELECT crsql_as_table('bar'); BEGIN; INSERT INTO other.bar VALUES (1); UPDATE foo SET b = 2; COMMIT",
    )
    .unwrap();
    assert_eq!(rows(&conn, "SELECT \"table\", val FROM crsql_changes"), ["foo 2"]);
    assert_eq!(rows(&conn, "SELECT x FROM other.foo"), ["9"]);
}

/// Two connections on a new file, in each journal mode.
fn pairs(test: impl Fn(&str, &Connection, &Connection)) {
    for mode in ["WAL", "DELETE", "TRUNCATE", "PERSIST"] {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = [(); 2].map(|()| {
            let conn = Connection::open(dir.path().join("a.db")).unwrap();
            conn.busy_timeout(std::time::Duration::ZERO).unwrap();
            conn.execute_batch(&format!("PRAGMA journal_mode = {mode}")).unwrap();
            Engine::install(&conn).unwrap();
            conn
        });
        a.execute_batch("CREATE TABLE foo (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('foo')").unwrap();
        test(mode, &a, &b);
        assert_eq!(rows(&a, "PRAGMA integrity_check"), ["ok"]);
    }
}

fn is_busy(result: rusqlite::Result<()>) -> bool {
    result.is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy))
}

#[test]
fn a_connection_that_only_read_sees_tables_and_columns_made_by_another_at_once() {
    pairs(|mode, a, b| {
        assert_eq!(count(b), 0);
        a.execute_batch(
            "CREATE TABLE bar (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('bar'); INSERT INTO bar VALUES (1, 1)",
        )
        .unwrap();
        assert_eq!(rows(b, "SELECT \"table\", cid FROM crsql_changes"), ["bar b"], "{mode}");
        b.execute_batch("INSERT INTO bar VALUES (2, 2)").unwrap();
        a.execute_batch(
            "SELECT crsql_begin_alter('bar'); ALTER TABLE bar ADD COLUMN c; SELECT crsql_commit_alter('bar')",
        )
        .unwrap();
        a.execute_batch("UPDATE bar SET c = 3 WHERE a = 2").unwrap();
        assert_eq!(rows(b, "SELECT cid, val FROM crsql_changes"), ["b 1", "b 2", "c 3"], "{mode}");
        b.execute_batch("UPDATE bar SET c = 4 WHERE a = 1; INSERT INTO bar VALUES (3, 3, 3)").unwrap();
        assert_eq!(
            rows(a, "SELECT cid, db_version FROM crsql_changes WHERE db_version > 3"),
            ["c 4", "b 5", "c 5"],
            "{mode}"
        );
        b.execute_batch("INSERT INTO crsql_changes VALUES ('bar', x'010904', 'c', 7, 1, 6, x'aa', 1, 0)").unwrap();
        a.execute_batch("SELECT crsql_as_table('bar')").unwrap();
        assert_eq!(count(b), 0, "{mode}");
    });
}

#[test]
fn a_schema_change_that_was_rolled_back_is_not_taken_for_anothers_of_the_same_number() {
    pairs(|mode, a, b| {
        a.execute_batch("BEGIN; CREATE TABLE bar (a PRIMARY KEY NOT NULL, x); SELECT crsql_as_crr('bar'); INSERT INTO bar VALUES (1, 1)")
            .unwrap();
        assert_eq!(count(a), 1);
        a.execute_batch("ROLLBACK").unwrap();
        b.execute_batch("BEGIN; CREATE TABLE bar (a PRIMARY KEY NOT NULL, y); SELECT crsql_as_crr('bar'); COMMIT; INSERT INTO bar VALUES (1, 2)")
            .unwrap();
        assert_eq!(rows(a, "SELECT cid, val, db_version FROM crsql_changes"), ["y 2 1"], "{mode}");
        a.execute_batch("UPDATE bar SET y = 3").unwrap();
        assert_eq!(rows(b, "SELECT cid, val, db_version FROM crsql_changes"), ["y 3 2"], "{mode}");
    });
}

#[test]
fn a_schema_change_between_two_writes_of_another_connection_is_seen_by_the_second() {
    pairs(|mode, a, b| {
        let mut insert = b.prepare("INSERT INTO foo (a, b) VALUES (?1, ?1)").unwrap();
        insert.execute([1]).unwrap();
        a.execute_batch("SELECT crsql_begin_alter('foo'); ALTER TABLE foo ADD COLUMN c DEFAULT 'd'; SELECT crsql_commit_alter('foo')")
            .unwrap();
        insert.execute([2]).unwrap();
        assert_eq!(rows(a, "SELECT cid, val, db_version FROM crsql_changes"), ["b 1 1", "b 2 2", "c d 2"], "{mode}");
        a.execute_batch(
            "ALTER TABLE foo RENAME TO bar; CREATE TABLE foo (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('foo')",
        )
        .unwrap();
        insert.execute([3]).unwrap();
        let shown = rows(a, "SELECT \"table\", val FROM crsql_changes");
        assert_eq!(shown, ["bar 1", "bar 2", "bar d", "foo 3"], "{mode}");
    });
}

#[test]
fn connections_that_take_turns_never_take_a_version_twice() {
    pairs(|mode, a, b| {
        let mut expected = 0;
        for i in 0..12 {
            let (conn, other) = if i % 2 == 0 { (a, b) } else { (b, a) };
            let (x, y) = (2 * i, 2 * i + 1);
            let (sql, versions) = match i % 6 {
                0 | 1 => (format!("INSERT INTO foo VALUES ({x}, 0)"), 1),
                2 => (format!("SAVEPOINT s; INSERT INTO foo VALUES ({x}, 0); ROLLBACK TO s; RELEASE s"), 0),
                3 => (
                    format!(
                        "BEGIN; INSERT INTO foo VALUES ({x}, 0); SAVEPOINT s; INSERT INTO foo VALUES ({y}, 0); SELECT count(*) FROM crsql_changes; ROLLBACK TO s; COMMIT"
                    ),
                    1,
                ),
                4 => {
                    (format!("BEGIN; INSERT INTO foo VALUES ({x}, 0); SELECT count(*) FROM crsql_changes; ROLLBACK"), 0)
                }
                _ => (
                    format!(
                        "INSERT INTO crsql_changes VALUES ('foo', crsql_pack_columns({x}), 'b', 7, 1, 1, x'aa', 1, 0)"
                    ),
                    1,
                ),
            };
            conn.execute_batch(&sql).unwrap();
            expected += versions;
            let version = "SELECT crsql_db_version(), (SELECT coalesce(max(db_version), 0) FROM crsql_changes)";
            assert_eq!(rows(other, version), [format!("{expected} {expected}")], "{mode}: {sql}");
            assert_eq!(rows(conn, version), [format!("{expected} {expected}")], "{mode}: {sql}");
        }
        assert_eq!(rows(a, "SELECT db_version FROM crsql_changes").len(), expected, "{mode}");
    });
}

#[test]
fn a_write_that_finds_the_database_busy_can_be_tried_again() {
    pairs(|mode, a, b| {
        b.execute_batch("BEGIN IMMEDIATE; INSERT INTO foo VALUES (1, 'b')").unwrap();
        for sql in [
            "INSERT INTO foo VALUES (2, 'a')",
            "INSERT INTO crsql_changes VALUES ('foo', x'010903', 'b', 7, 1, 1, x'aa', 1, 0)",
        ] {
            assert!(is_busy(a.execute_batch(sql)), "{mode}");
            assert!(a.is_autocommit());
        }
        a.execute_batch("BEGIN").unwrap();
        assert!(is_busy(a.execute_batch("INSERT INTO foo VALUES (2, 'a')")), "{mode}");
        b.execute_batch("COMMIT").unwrap();
        a.execute_batch("INSERT INTO foo VALUES (2, 'a'); COMMIT").unwrap();
        a.execute_batch("INSERT INTO crsql_changes VALUES ('foo', x'010903', 'b', 7, 1, 1, x'aa', 1, 0)").unwrap();
        assert_eq!(rows(b, "SELECT val, db_version, seq FROM crsql_changes"), ["b 1 0", "a 2 0", "7 3 0"], "{mode}");
    });
}

#[test]
fn a_transaction_whose_snapshot_is_old_starts_again_after_a_rollback() {
    pairs(|mode, a, b| {
        if mode != "WAL" {
            return;
        }
        a.execute_batch("BEGIN; SELECT * FROM crsql_changes").unwrap();
        b.execute_batch("INSERT INTO foo VALUES (1, 'b')").unwrap();
        assert_eq!(count(a), 0, "the snapshot stays");
        assert!(is_busy(a.execute_batch("INSERT INTO foo VALUES (2, 'a')")));
        a.execute_batch("ROLLBACK; BEGIN; INSERT INTO foo VALUES (2, 'a'); COMMIT").unwrap();
        assert_eq!(rows(b, "SELECT val, db_version FROM crsql_changes"), ["b 1", "a 2"]);
    });
}

/// In a rollback journal a reader keeps a writer from committing: by then the clocks are written.
#[test]
fn a_commit_that_finds_the_database_busy_can_be_tried_again_or_taken_back() {
    pairs(|mode, a, b| {
        if mode == "WAL" {
            return;
        }
        let mut reading = b.prepare("SELECT * FROM crsql_site_id").unwrap();
        for (i, end) in ["COMMIT", "ROLLBACK"].into_iter().enumerate() {
            let mut reader = reading.query([]).unwrap();
            reader.next().unwrap();
            assert!(is_busy(a.execute_batch(&format!("INSERT INTO foo VALUES (10 + {i}, 'alone')"))), "{mode}");
            a.execute_batch(&format!(
                "BEGIN; INSERT INTO foo VALUES ({i}, 1); SAVEPOINT s; INSERT INTO foo VALUES ({i} + 100, 1)"
            ))
            .unwrap();
            assert!(is_busy(a.execute_batch("COMMIT")), "{mode}");
            assert!(!a.is_autocommit());
            a.execute_batch(&format!("UPDATE foo SET b = 2 WHERE a = {i}")).unwrap();
            assert!(is_busy(a.execute_batch("COMMIT")), "{mode}");
            drop(reader);
            a.execute_batch(end).unwrap();
        }
        let changes = rows(b, "SELECT pk, val, col_version, db_version FROM crsql_changes ORDER BY seq");
        assert_eq!(changes, ["010964 1 1 1", "0101 2 2 1"], "{mode}");
        b.execute_batch("INSERT INTO foo VALUES (5, 5)").unwrap();
        assert_eq!(rows(a, "SELECT crsql_db_version()"), ["2"], "{mode}");
    });
}

#[test]
fn a_file_is_read_where_it_is_read_only_and_where_it_never_changes() {
    for mode in ["WAL", "DELETE"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(&format!("PRAGMA journal_mode = {mode}")).unwrap();
        Engine::install(&conn).unwrap();
        conn.execute_batch(
            "CREATE TABLE foo (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('foo'); INSERT INTO foo VALUES (1, 1), (2, 2);
             DELETE FROM foo WHERE a = 1",
        )
        .unwrap();
        conn.close().map_err(|(_, error)| error).unwrap();
        for parameters in ["mode=ro", "mode=ro&immutable=1"] {
            let uri = format!("file:{}?{parameters}", path.to_str().unwrap());
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            let reader = Connection::open_with_flags(uri, flags).unwrap();
            let engine = Engine::install(&reader).unwrap();
            let shown = rows(&reader, "SELECT cid, val, db_version FROM crsql_changes");
            assert_eq!(shown, ["b 2 1", "-1 NULL 2"], "{mode} {parameters}");
            assert_eq!(engine.db_version(&reader).unwrap().get(), 2);
            for sql in [
                "INSERT INTO foo VALUES (3, 3)",
                "INSERT INTO crsql_changes VALUES ('foo', x'010903', 'b', 7, 1, 1, x'aa', 1, 0)",
                "SELECT crsql_config_set('merge-equal-values', 1)",
            ] {
                let error = reader.execute_batch(sql).unwrap_err();
                assert_eq!(error.sqlite_error_code(), Some(ErrorCode::ReadOnly), "{mode} {parameters}: {sql}: {error}");
            }
            assert_eq!(
                rows(&reader, "SELECT crsql_config_get('merge-equal-values'), (SELECT count(*) FROM crsql_changes)"),
                ["0 2"]
            );
        }
    }
}

#[test]
fn a_setting_that_another_connection_made_is_followed_at_once() {
    pairs(|mode, a, b| {
        let tie = |site| format!("INSERT INTO crsql_changes VALUES ('foo', x'010901', 'b', 1, 1, 1, x'{site}', 1, 0)");
        a.execute_batch(&format!("{}; {}", tie("aa"), tie("bb"))).unwrap();
        assert_eq!(rows(a, "SELECT site_id FROM crsql_changes"), ["aa"], "{mode}");
        b.execute_batch("SELECT crsql_config_set('merge-equal-values', 1)").unwrap();
        a.execute_batch(&tie("bb")).unwrap();
        assert_eq!(
            rows(a, "SELECT site_id, crsql_config_get('merge-equal-values') FROM crsql_changes"),
            ["bb 1"],
            "{mode}"
        );
    });
}
