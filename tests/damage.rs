//! Records that the engine did not write so: an error, never a panic, and never a commit without clocks.
//!
//! The same bodies run natively and, in a service worker, in wasm.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::Peer;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

const FOO: &str = "
  CREATE TABLE foo (a PRIMARY KEY NOT NULL, b, c); SELECT crsql_as_crr('foo');
  CREATE TABLE bar (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('bar');
  INSERT INTO foo VALUES (1, 1, 1), (2, 2, 2); INSERT INTO bar VALUES (1, 1); DELETE FROM foo WHERE a = 2;";

const READ: &str = "SELECT * FROM crsql_changes";

fn fails(db: &Peer, sql: &str) -> String {
    db.conn.execute_batch(sql).unwrap_err().to_string()
}

#[test]
fn a_transaction_whose_clocks_could_not_be_written_cannot_be_committed() {
    for (flush, end) in [
        (READ, "COMMIT"),
        (READ, "ROLLBACK"),
        ("INSERT INTO crsql_changes SELECT * FROM crsql_changes", "COMMIT"),
        ("", "COMMIT"),
    ] {
        let db = Peer::new(FOO);
        db.run("UPDATE foo__crsql_rows SET clock = x'ff'; BEGIN");
        db.run("INSERT INTO bar VALUES (9, 9); UPDATE foo SET b = 9; INSERT INTO foo VALUES (9, 9, 9)");
        if !flush.is_empty() {
            assert!(fails(&db, flush).contains("damaged"));
            assert_eq!(
                fails(&db, flush).contains("rolled back"),
                flush == READ,
                "a statement that writes takes its flush back"
            );
        }
        if end == "COMMIT" {
            let why = if flush == READ { "rolled back" } else { "damaged" };
            assert!(fails(&db, end).contains(why));
        } else {
            db.run(end);
        }
        assert!(db.conn.is_autocommit());
        assert_eq!(db.rows("SELECT a FROM bar"), ["1"]);
        db.run("UPDATE bar SET b = 2");
        assert_eq!(db.rows("SELECT crsql_db_version()"), ["4"]);
    }
}

#[test]
fn a_savepoint_takes_back_writes_whose_clocks_could_not_be_written() {
    let db = Peer::new(FOO);
    db.run("UPDATE foo__crsql_rows SET clock = x'ff'; SAVEPOINT s; UPDATE foo SET b = 9");
    assert!(fails(&db, READ).contains("damaged"));
    db.run("ROLLBACK TO s; UPDATE bar SET b = 2; RELEASE s");
    assert_eq!(db.rows("SELECT val FROM crsql_changes WHERE \"table\" = 'bar'"), ["2"]);
    // One that began too late does not.
    db.run("BEGIN; UPDATE foo SET b = 9");
    assert!(fails(&db, READ).contains("damaged"));
    db.run("SAVEPOINT s; UPDATE bar SET b = 3; ROLLBACK TO s");
    assert!(fails(&db, "COMMIT").contains("rolled back"));
    assert_eq!(db.rows("SELECT b FROM bar"), ["2"]);
}

#[test]
fn damaged_records_are_errors() {
    for record in [
        "x''",
        "x'00'",
        "x'ff'",
        "x'070100ffffffffffffffffff0100'",
        "x'0701ffffffffffffffff7f0100'",
        "'text'",
        "5",
        "NULL",
        "zeroblob(9)",
        "x'0001ffffffffffffff7fffffffffffffff7f00ffffffffffffff7f00'",
    ] {
        for damage in [
            format!("UPDATE foo__crsql_rows SET clock = {record}"),
            format!("UPDATE foo__crsql_tombstones SET __crsql_clock = {record}"),
            format!("UPDATE crsql_log SET touched = {record}"),
        ] {
            let db = Peer::new(FOO);
            // SQLite refuses some itself.
            if db.conn.execute_batch(&damage).is_err() {
                continue;
            }
            for sql in [
                READ,
                "SELECT * FROM crsql_changes ORDER BY db_version DESC",
                "SELECT * FROM crsql_changes WHERE \"table\" = 'foo' AND pk = x'010901'",
                "SELECT * FROM foo__crsql_clock",
                "UPDATE foo SET b = b + 1, a = a + 1",
                "INSERT INTO foo VALUES (2, 7, 7)",
                "REPLACE INTO foo VALUES (1, 7, 7)",
                "DELETE FROM foo",
                "INSERT INTO crsql_changes VALUES ('foo', x'010901', 'b', 1, 9, 1, x'aa', 1, 0)",
                "INSERT INTO crsql_changes VALUES ('foo', x'010902', 'b', 1, 9, 1, x'aa', 3, 0)",
                "SELECT crsql_begin_alter('foo'); ALTER TABLE foo DROP COLUMN c",
                "SELECT crsql_commit_alter('foo')",
            ] {
                let _ = db.conn.execute_batch(sql);
            }
            db.run("UPDATE bar SET b = 77");
            assert_eq!(db.rows("SELECT b FROM bar"), ["77"]);
        }
    }
}

#[test]
fn helper_functions_take_any_argument() {
    let db = Peer::new(FOO);
    let huge = "9223372036854775807";
    for call in [
        format!("crsql_note_insert(1, {huge}, {huge})"),
        format!("crsql_note_insert(1, -{huge}, -5, {huge})"),
        format!("crsql_note_update(1, 1, {huge}, 1, 2)"),
        format!("crsql_note_update(1, 1, -1, 1, 2{})", ", 1, 2".repeat(61)),
        format!("crsql_note_move(1, 1, {huge}, 1, NULL, x'')"),
        "crsql_note_move(1, 1, 1)".to_owned(),
        "crsql_note_delete(1, 1, NULL)".to_owned(),
        "crsql_note_delete(1, 1)".to_owned(),
        "crsql_note_replacing(9, 1, 1)".to_owned(),
        "crsql_add_writes(1, x'ff')".to_owned(),
        "crsql_note_insert()".to_owned(),
        "crsql_unpack_column(x'', 99999999999)".to_owned(),
        format!("crsql_next_db_version({huge})"),
    ] {
        // Outside of a trigger there is nothing to note.
        let _ = db.conn.query_row(&format!("SELECT {call}"), [], |_| Ok(()));
        // Inside a transaction that writes, it may be taken at its word.
        let _ = db.conn.execute_batch(&format!(
            "SAVEPOINT s; UPDATE bar SET b = b; SELECT {call}; SAVEPOINT t; SELECT {call}; ROLLBACK TO t"
        ));
        let _ = db.conn.execute_batch("COMMIT");
        if !db.conn.is_autocommit() {
            db.run("ROLLBACK");
        }
    }
    db.run("UPDATE bar SET b = 77");
    assert_eq!(
        db.rows("SELECT val FROM crsql_changes WHERE \"table\" = 'bar' AND cid = 'b' AND pk = x'010901'"),
        ["77"]
    );
}
