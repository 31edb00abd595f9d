//! `INSERT INTO crsql_changes`: what it takes, what it refuses, and that a refusal leaves no trace.
//!
//! The same bodies run natively and, in a service worker, in wasm.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::Peer;
use rusqlite::{ErrorCode, ffi};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

const FOO: &str = "CREATE TABLE foo (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('foo');";

/// Tables with each kind of key, rules of their own, and some rows.
const RULES: &str = "
  CREATE TABLE foo (a PRIMARY KEY NOT NULL, b NOT NULL DEFAULT 0 CHECK (b <> 13), c);
  CREATE TABLE num (a INTEGER PRIMARY KEY NOT NULL, b NOT NULL DEFAULT 0 CHECK (b <> 13), c);
  CREATE TABLE keyed (a ANY PRIMARY KEY, b INT NOT NULL DEFAULT 0 CHECK (b <> 13), c INT) STRICT, WITHOUT ROWID;
  SELECT crsql_as_crr('foo'); SELECT crsql_as_crr('num'); SELECT crsql_as_crr('keyed')";

fn insert(db: &Peer, values: &str) -> rusqlite::Result<()> {
    db.conn.execute_batch(&format!("INSERT INTO crsql_changes VALUES ({values})"))
}

/// All that the engine and the application keep.
fn everything(db: &Peer) -> Vec<String> {
    let tables =
        db.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name");
    let mut all = db.rows("SELECT crsql_db_version(), crsql_rows_impacted(), crsql_get_seq()");
    for table in tables {
        all.extend(db.rows(&format!("SELECT '{table}', * FROM \"{table}\" ORDER BY 2, 3")));
    }
    all
}

fn code(error: &rusqlite::Error) -> i32 {
    error.sqlite_error().unwrap().extended_code
}

#[test]
fn numbers_may_come_as_text_or_reals_that_are_integers() {
    let db = Peer::new(FOO);
    for (pk, numbers, stored) in [
        ("010901", ["'5'", "'7'", "'1'", "'3'"], "010901 b 0 5 7 1 3"),
        ("010902", ["5.0", "8.0", "1.0", "3.0"], "010902 b 0 5 8 1 3"),
        ("010903", ["1", "1", "1", "NULL"], "010903 b 0 1 9 1 0"),
        ("010904", ["1", "NULL", "1", "1"], "010904 b 0 1 10 1 1"),
        ("010905", ["0", "-1", "1", "1"], "010905 b 0 0 11 1 1"),
    ] {
        let [cv, version, cl, seq] = numbers;
        insert(&db, &format!("'foo', x'{pk}', 'b', 0, {cv}, {version}, x'aa', {cl}, {seq}")).unwrap();
        assert_eq!(db.changes().last().unwrap(), stored);
    }
    let before = everything(&db);
    for bad in ["'abc'", "5.5", "x'05'", "''", "1e300", "-1", "9223372036854775807", "9007199254740992"] {
        for place in 0..3 {
            let mut numbers = ["1"; 3];
            numbers[place] = bad;
            let [cv, cl, seq] = numbers;
            let error = insert(&db, &format!("'foo', x'010909', 'b', 0, {cv}, 1, x'aa', {cl}, {seq}")).unwrap_err();
            assert!(error.to_string().contains("integers") || error.to_string().contains("out of range"), "{error}");
            assert_eq!(code(&error), ffi::SQLITE_ERROR);
        }
    }
    for bad in ["'abc'", "5.5", "x'05'", "9223372036854775807", "9007199254740992", "9007199254740991"] {
        assert!(insert(&db, &format!("'foo', x'010909', 'b', 0, 1, {bad}, x'aa', 1, 0")).is_err(), "version {bad}");
    }
    assert_eq!(everything(&db), before);
}

#[test]
fn names_keys_and_sites_may_come_as_blobs_or_text() {
    let db = Peer::new(FOO);
    insert(&db, "x'666f6f', CAST(x'010901' AS TEXT), x'62', 1, 1, 1, 'abc', 1, 0").unwrap();
    insert(&db, "'foo', x'010902', -1, NULL, 1, 1, NULL, 1, 0").unwrap();
    assert_eq!(db.changes(), ["010901 b 1 1 1 1 0", "010902 -1 ∅ 1 2 1 0"]);
    let before = everything(&db);
    for bad in [
        "NULL, x'010903', 'b', 1, 1, 1, NULL, 1, 0",
        "x'ff', x'010903', 'b', 1, 1, 1, NULL, 1, 0",
        "1.5, x'010903', 'b', 1, 1, 1, NULL, 1, 0",
        "'FOO', x'010903', 'b', 1, 1, 1, NULL, 1, 0",
        "'foo', 5, 'b', 1, 1, 1, NULL, 1, 0",
        "'foo', '010903', 'b', 1, 1, 1, NULL, 1, 0",
        "'foo', x'010903', x'ff', 1, 1, 1, NULL, 1, 0",
        "'foo', x'010903', NULL, 1, 1, 1, NULL, 1, 0",
        "'foo', x'010903', 'B', 1, 1, 1, NULL, 1, 0",
        "'foo', x'010903', 'a', 1, 1, 1, NULL, 1, 0",
        "'foo', x'010903', 'b', 1, 1, 1, 7, 1, 0",
        "'foo', x'010903', 'b', 1, 1, 1, zeroblob(17), 1, 0",
        "replace(hex(zeroblob(100000)), '0', 'long'), x'010903', 'b', 1, 1, 1, NULL, 1, 0",
        "'foo', x'010903', replace(hex(zeroblob(100000)), '0', 'long'), 1, 1, 1, NULL, 1, 0",
        "'foo', zeroblob(100000), 'b', 1, 1, 1, NULL, 1, 0",
    ] {
        assert_eq!(code(&insert(&db, bad).unwrap_err()), ffi::SQLITE_ERROR, "{bad}");
    }
    assert_eq!(everything(&db), before);
}

/// Also what a change would need is not kept: the key of its row, its author, its version.
#[test]
fn a_failed_merge_row_leaves_no_trace_in_the_open_transaction() {
    for mode in ["", "OR IGNORE", "OR REPLACE", "OR ROLLBACK", "OR FAIL", "OR ABORT"] {
        let db = Peer::new(RULES);
        db.run("INSERT INTO foo VALUES (1, 1, 1); INSERT INTO num VALUES (1, 1, 1); INSERT INTO keyed VALUES (1, 1, 1); DELETE FROM foo");
        db.run("BEGIN; INSERT INTO num VALUES (2, 1, 1)");
        assert_eq!(db.changes().len(), 7);
        let before = everything(&db);
        for table in ["foo", "num", "keyed"] {
            for (bad, code_of) in [
                ("x'010907', 'none', 1, 1, 99, x'aa', 1, 0", ffi::SQLITE_ERROR),
                ("x'010901', 'none', 1, 1, 99, x'aa', 3, 0", ffi::SQLITE_ERROR),
                ("x'010907', 'b', 13, 1, 99, x'aa', 1, 0", ffi::SQLITE_CONSTRAINT_CHECK),
                ("x'010901', 'b', 13, 9, 99, x'aa', 5, 0", ffi::SQLITE_CONSTRAINT_CHECK),
                ("x'010907', 'b', NULL, 1, 99, x'aa', 1, 0", ffi::SQLITE_CONSTRAINT_NOTNULL),
            ] {
                let change = format!("'{table}', {bad}");
                let good = format!("'{table}', x'010908', 'b', 1, 1, 1, x'bb', 1, 0");
                // Alone, and as the last of a statement of several.
                for values in [format!("({change})"), format!("({good}), ({change})")] {
                    let sql = format!("INSERT {mode} INTO crsql_changes VALUES {values}");
                    let error = db.conn.execute_batch(&sql).unwrap_err();
                    assert_eq!(code(&error), code_of, "{sql}: {error}");
                    assert!(!db.conn.is_autocommit(), "the transaction goes on");
                    assert_eq!(everything(&db), before, "{sql}");
                }
            }
        }
        db.run("INSERT INTO num VALUES (3, 1, 1); COMMIT");
        assert_eq!(db.rows("SELECT crsql_db_version()"), ["5"], "no version was lost to a change that failed");
        assert_eq!(db.rows("SELECT count(*) FROM crsql_site_id"), ["1"]);
    }
}

#[test]
fn a_strict_table_refuses_a_value_of_another_type() {
    let db = Peer::new(RULES);
    let before = everything(&db);
    let error = insert(&db, "'keyed', x'010901', 'c', 'text', 1, 1, x'aa', 1, 0").unwrap_err();
    assert_eq!(code(&error), ffi::SQLITE_CONSTRAINT_DATATYPE);
    assert_eq!(everything(&db), before);
}

#[test]
fn a_table_that_says_what_to_do_about_conflicts_is_obeyed() {
    let open = |clause: &str| {
        let db = Peer::new(&format!(
            "CREATE TABLE foo (a TEXT PRIMARY KEY ON CONFLICT {clause} NOT NULL ON CONFLICT {clause},
               b NOT NULL ON CONFLICT {clause} DEFAULT 7, c); SELECT crsql_as_crr('foo');"
        ));
        db.run("INSERT INTO foo VALUES ('x', 1, 1); BEGIN; INSERT INTO foo VALUES ('y', 1, 1)");
        db
    };
    let changes = ["x'010b017a', 'b', NULL, 9, 1, x'aa', 1, 0", "x'010b0178', 'b', NULL, 9, 1, x'aa', 1, 0"];
    for (clause, why) in [("IGNORE", "ignores"), ("FAIL", "NOT NULL"), ("ABORT", "NOT NULL")] {
        let db = open(clause);
        let before = (db.changes(), everything(&db));
        for change in changes {
            let error = insert(&db, &format!("'foo', {change}")).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert_eq!((db.changes(), everything(&db)), before, "{clause}");
        }
        db.run("COMMIT");
    }
    let db = open("REPLACE");
    for change in changes {
        insert(&db, &format!("'foo', {change}")).unwrap();
    }
    assert_eq!(db.rows("SELECT a, b FROM foo ORDER BY a"), ["x 7", "y 1", "z 7"]);
    let db = open("ROLLBACK");
    assert!(insert(&db, &format!("'foo', {}", changes[0])).is_err());
    assert!(db.conn.is_autocommit());
    db.run("UPDATE foo SET b = 2");
    assert_eq!(db.rows("SELECT val, db_version FROM crsql_changes WHERE cid = 'b'"), ["2 2"]);
}

#[test]
fn a_write_that_a_trigger_ignores_is_refused() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 1), (2, 2)");
    db.run(
        "CREATE TRIGGER i BEFORE INSERT ON foo WHEN crsql_internal_sync_bit() BEGIN SELECT RAISE(IGNORE); END;
         CREATE TRIGGER u BEFORE UPDATE ON foo WHEN crsql_internal_sync_bit() BEGIN SELECT RAISE(IGNORE); END;
         CREATE TRIGGER d BEFORE DELETE ON foo WHEN crsql_internal_sync_bit() BEGIN SELECT RAISE(IGNORE); END; BEGIN",
    );
    let before = everything(&db);
    for change in ["x'010903', 'b', 3, 1", "x'010901', 'b', 3, 9"] {
        let error = insert(&db, &format!("'foo', {change}, 1, x'aa', 1, 0")).unwrap_err();
        assert!(error.to_string().contains("ignores"), "{error}");
    }
    insert(&db, "'foo', x'010902', '-1', NULL, 2, 1, x'aa', 2, 0").unwrap_err();
    assert_eq!(everything(&db), before);
}

#[test]
fn a_merge_returns_what_was_inserted() {
    let db = Peer::new(FOO);
    let sql = "INSERT INTO crsql_changes VALUES ('foo', x'010901', 'b', 7, '1', 1, x'aa', 1, 0) RETURNING *, rowid";
    assert_eq!(db.rows(sql), ["foo x'010901' b 7 1 1 x'aa' 1 0 -1"]);
    assert_eq!(db.rows("SELECT b FROM foo"), ["7"]);
    db.run("INSERT INTO foo VALUES ('last', 1); INSERT INTO crsql_changes VALUES ('foo', x'010902', 'b', 7, 1, 1, x'aa', 1, 0)");
    db.run("CREATE TABLE log (x INTEGER PRIMARY KEY); INSERT INTO log VALUES (41)");
    insert(&db, "'foo', x'010903', 'b', 7, 1, 1, x'aa', 1, 0").unwrap();
    assert_eq!(db.rows("SELECT count(*) FROM foo"), ["4"]);
}

#[test]
fn changes_cannot_be_updated_deleted_or_upserted() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 1)");
    let before = everything(&db);
    for sql in
        ["UPDATE crsql_changes SET val = 1", "DELETE FROM crsql_changes", "DELETE FROM crsql_changes WHERE cid = 'b'"]
    {
        let error = db.conn.execute_batch(sql).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::ApiMisuse), "{sql}");
        assert!(error.to_string().contains("Only INSERT and SELECT statements are allowed"), "{error}");
    }
    let upsert = "INSERT INTO crsql_changes VALUES ('foo', x'010902', 'b', 1, 1, 1, NULL, 1, 0) ON CONFLICT DO NOTHING";
    assert!(db.conn.execute_batch(upsert).unwrap_err().to_string().contains("UPSERT"));
    assert_eq!(everything(&db), before);
}

#[test]
fn changes_are_merged_from_any_query_also_of_an_attached_database() {
    let (a, b) = (Peer::new(FOO), Peer::new(FOO));
    a.run("INSERT INTO foo VALUES (1, 'x'), (2, x'00'), (3, 1.5); DELETE FROM foo WHERE a = 2; UPDATE foo SET a = 4 WHERE a = 3");
    b.run("ATTACH ':memory:' AS other; CREATE TABLE other.crsql_changes (tbl, pk, cid, val, cv, dbv, site, cl, seq)");
    for row in a.rows("SELECT quote(\"table\") || ',' || quote(pk) || ',' || quote(cid) || ',' || quote(val) || ',' || col_version || ',' || db_version || ',' || quote(site_id) || ',' || cl || ',' || seq FROM crsql_changes") {
        b.run(&format!("INSERT INTO other.crsql_changes VALUES ({row})"));
    }
    b.run("INSERT INTO main.crsql_changes SELECT * FROM other.crsql_changes ORDER BY random()");
    assert_eq!(b.rows("SELECT * FROM foo ORDER BY a"), a.rows("SELECT * FROM foo ORDER BY a"));
    b.run("INSERT INTO main.crsql_changes SELECT * FROM main.crsql_changes; INSERT INTO main.crsql_changes SELECT * FROM other.crsql_changes WHERE 0");
    assert_eq!(b.rows("SELECT count(*) FROM other.crsql_changes"), [a.changes().len().to_string()]);
}

#[test]
fn rows_impacted_adds_up_and_is_taken_back_with_what_it_counts() {
    let db = Peer::new(FOO);
    let impacted = || db.rows("SELECT crsql_rows_impacted()").concat();
    db.run("BEGIN; INSERT INTO crsql_changes VALUES ('foo', x'010902', 'b', 1, 1, 9, x'aa', 1, 0)");
    assert_eq!(impacted(), "1");
    db.run("INSERT INTO crsql_changes VALUES ('foo', x'010903', '-1', NULL, 2, 9, x'aa', 2, 0), ('foo', x'010904', 'b', 2, 2, 9, x'aa', 3, 0)");
    assert_eq!(impacted(), "4", "a cell that also brings its row back counts twice");
    db.run("SAVEPOINT s; INSERT INTO crsql_changes VALUES ('foo', x'010905', 'b', 1, 1, 9, x'aa', 1, 0)");
    assert_eq!(impacted(), "5");
    db.run("ROLLBACK TO s");
    assert_eq!(impacted(), "4");
    assert!(insert(&db, "'foo', x'010906', 'none', 1, 1, 9, x'aa', 1, 0").is_err());
    assert_eq!(impacted(), "4");
    db.run("ROLLBACK");
    assert_eq!(impacted(), "0");
    db.run(
        "SAVEPOINT t; INSERT INTO crsql_changes VALUES ('foo', x'010905', 'b', 1, 1, 9, x'aa', 1, 0); ROLLBACK TO t",
    );
    assert_eq!(impacted(), "0");
    db.run("RELEASE t");
}

#[test]
fn a_column_named_like_the_sentinel_is_refused() {
    let db = Peer::new(
        "CREATE TABLE foo (a PRIMARY KEY NOT NULL, \"-1\"); CREATE TABLE bar (\"-1\" PRIMARY KEY NOT NULL, b)",
    );
    let error = db.conn.query_row("SELECT crsql_as_crr('foo')", [], |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("column named -1"), "{error}");
    // A primary key is not named in changes.
    db.run("SELECT crsql_as_crr('bar'); INSERT INTO bar VALUES (1, 2); UPDATE bar SET \"-1\" = 3");
    assert_eq!(db.rows("SELECT cid FROM crsql_changes WHERE pk = x'010903'"), ["b", "-1"]);
    db.run("SELECT crsql_begin_alter('bar'); ALTER TABLE bar RENAME b TO \"-2\"");
    db.run("SELECT crsql_commit_alter('bar'); SELECT crsql_begin_alter('bar'); ALTER TABLE bar ADD COLUMN \"- 1\"");
    db.run("SELECT crsql_commit_alter('bar')");
}

#[test]
fn any_name_that_sqlite_takes_is_replicated() {
    let long = "long".repeat(1000);
    for name in [
        "",
        &long,
        "x__crsql_itrig",
        "foo__crsql_rows",
        "a'b",
        "a\"b",
        "a[b",
        "a]b",
        "a`b",
        "ä 漢字 🦀",
        " ",
        "%_",
        "a;--",
        "select",
        "a.b",
        "\\",
        "x\ny",
        "{}",
        "?1",
        "-1 ",
    ] {
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        let text = format!("'{}'", name.replace('\'', "''"));
        for options in ["", "WITHOUT ROWID"] {
            let (pk, column) =
                (format!("\"{}pk\"", name.replace('"', "\"\"")), format!("\"{}c\"", name.replace('"', "\"\"")));
            let schema = format!(
                "CREATE TABLE {quoted} ({pk} PRIMARY KEY NOT NULL, {column}, {quoted}) {options}; SELECT crsql_as_crr({text})"
            );
            let (a, b) = (Peer::new(&schema), Peer::new(&schema));
            a.run(&format!("INSERT INTO {quoted} VALUES (1, 2, 3), (4, 5, 6), (7, 8, 9); UPDATE {quoted} SET {column} = 1 WHERE {pk} = 1"));
            a.run(&format!("DELETE FROM {quoted} WHERE {pk} = 4; UPDATE {quoted} SET {pk} = 8 WHERE {pk} = 7; REPLACE INTO {quoted} VALUES (8, 0, 0)"));
            a.run(&format!("SELECT crsql_begin_alter({text}); ALTER TABLE {quoted} ADD COLUMN extra; SELECT crsql_commit_alter({text})"));
            b.run(&format!("SELECT crsql_begin_alter({text}); ALTER TABLE {quoted} ADD COLUMN extra; SELECT crsql_commit_alter({text})"));
            a.run(&format!("UPDATE {quoted} SET extra = 'e'"));
            for row in a.rows("SELECT quote(\"table\") || ',' || quote(pk) || ',' || quote(cid) || ',' || quote(val) || ',' || col_version || ',' || db_version || ',' || quote(site_id) || ',' || cl || ',' || seq FROM crsql_changes") {
                insert(&b, &row).unwrap();
            }
            let select = format!("SELECT * FROM {quoted} ORDER BY 1");
            assert_eq!(b.rows(&select), ["1 1 3 e", "8 0 0 e"], "{name} {options}");
            assert_eq!(b.rows("SELECT DISTINCT \"table\" FROM crsql_changes"), [name]);
            b.run(&format!("SELECT crsql_as_table({text})"));
            assert!(b.changes().is_empty());
        }
    }
}
