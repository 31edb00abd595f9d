//! Replicated tables that take another shape, are dropped, renamed, or become ordinary ones again.
//!
//! The same bodies run natively and, in a service worker, in wasm.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::Peer;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

const FOO: &str = "CREATE TABLE foo (a PRIMARY KEY NOT NULL, b, c); SELECT crsql_as_crr('foo');";
const BEGIN: &str = "SELECT crsql_begin_alter('foo')";
const COMMIT: &str = "SELECT crsql_commit_alter('foo')";

fn alter(db: &Peer, sql: &str) {
    db.run(BEGIN);
    db.run(sql);
    db.run(COMMIT);
    assert!(db.conn.is_autocommit(), "the alteration's own transaction has ended");
}

#[test]
fn a_value_set_in_a_new_column_is_recorded_under_the_newest_version() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 1, 1)");
    alter(&db, "ALTER TABLE foo ADD COLUMN d DEFAULT 5; UPDATE foo SET d = 6");
    assert_eq!(
        db.rows("SELECT cid, val, col_version, db_version, seq FROM crsql_changes WHERE cid = 'd'"),
        ["d 6 1 1 0"]
    );
    assert_eq!(db.rows("SELECT crsql_db_version()"), ["1"]);
    assert_eq!(db.rows("SELECT value FROM crsql_master WHERE key = 'pre_compact_dbversion'"), ["1"]);
    db.run("INSERT INTO foo VALUES (2, 1, 1, 1)");
    assert_eq!(db.rows("SELECT cid, db_version FROM crsql_changes WHERE db_version > 1"), ["b 2", "c 2", "d 2"]);
}

#[test]
fn a_new_column_with_its_default_has_no_clocks() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 1, 1)");
    let before = db.changes();
    alter(&db, "ALTER TABLE foo ADD COLUMN d NOT NULL DEFAULT 'x'; ALTER TABLE foo ADD COLUMN e");
    assert_eq!(db.changes(), before);
}

#[test]
fn a_renamed_column_loses_its_cells_and_is_recorded_anew() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 2, 3); UPDATE foo SET b = 4");
    alter(&db, "ALTER TABLE foo RENAME COLUMN b TO z");
    assert_eq!(db.changes(), ["010901 c 3 1 1 1 1", "010901 z 4 1 2 1 0"]);
}

#[test]
fn a_column_that_takes_a_dropped_ones_place_inherits_nothing() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 2, 3)");
    alter(&db, "ALTER TABLE foo DROP COLUMN c");
    assert_eq!(db.changes(), ["010901 b 2 1 1 1 0"]);
    alter(&db, "ALTER TABLE foo ADD COLUMN d");
    assert_eq!(db.changes(), ["010901 b 2 1 1 1 0"]);
}

#[test]
fn a_rebuilt_table_keeps_its_clocks_whatever_rowids_its_rows_got() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (3, 1, 1), (1, 1, 1), (2, 1, 1)");
    db.run("UPDATE foo SET b = 9 WHERE a = 3; DELETE FROM foo WHERE a = 1");
    let before = db.changes();
    alter(
        &db,
        "CREATE TABLE new_foo (a PRIMARY KEY NOT NULL, b, c); INSERT INTO new_foo SELECT * FROM foo ORDER BY a DESC;
         DROP TABLE foo; ALTER TABLE new_foo RENAME TO foo; INSERT INTO foo VALUES (7, 7, 7)",
    );
    let after = db.changes();
    assert!(before.iter().all(|change| after.contains(change)), "{after:?}");
    assert_eq!(after.len(), before.len() + 2);
    assert!(after.contains(&"010907 b 7 1 3 1 0".to_owned()), "{after:?}");
    db.run("UPDATE foo SET b = 10 WHERE a = 2");
    assert_eq!(db.rows("SELECT val, col_version FROM crsql_changes WHERE db_version = 4"), ["10 2"]);
}

#[test]
fn rows_added_to_a_fresh_database_show_version_0_and_reach_whoever_reads_from_the_beginning() {
    let (db, peer) = (Peer::new(FOO), Peer::new(FOO));
    alter(&db, "INSERT INTO foo VALUES (1, 2, 3)");
    assert_eq!(db.changes(), ["010901 b 2 1 0 1 0", "010901 c 3 1 0 1 1"]);
    assert_eq!(db.rows("SELECT * FROM crsql_changes WHERE db_version > 0"), [""; 0]);
    assert_eq!(db.rows("SELECT crsql_db_version()"), ["0"]);
    assert_eq!(db.changes_since(0).len(), 2);
    db.run("INSERT INTO foo VALUES (2, 2, 3)");
    assert!(db.changes_since(0).iter().all(|change| change.version.get() == 1), "their author's version is a real one");
    peer.merge(&db.changes_since(0));
    assert_eq!(peer.rows("SELECT * FROM foo ORDER BY a"), ["1 2 3", "2 2 3"]);
}

#[test]
fn rows_added_by_an_alteration_reach_whoever_reads_from_the_beginning() {
    let (db, peer, late) = (Peer::new(FOO), Peer::new(FOO), Peer::new(FOO));
    db.run("INSERT INTO foo VALUES (1, 1, 1)");
    late.merge(&db.changes_since(0));
    alter(&db, "INSERT INTO foo VALUES (2, 2, 2)");
    peer.merge(&db.changes_since(0));
    assert_eq!(peer.rows("SELECT * FROM foo ORDER BY a"), ["1 1 1", "2 2 2"]);
    // One that stands at the cursor is expected to run the same migration.
    assert!(db.changes_since(1).is_empty());
    alter(&late, "INSERT INTO foo VALUES (2, 2, 2)");
    assert_eq!(late.rows("SELECT * FROM foo ORDER BY a"), ["1 1 1", "2 2 2"]);
}

#[test]
fn a_row_inserted_during_an_alter_over_a_tombstone_is_alive() {
    let (db, peer) = (Peer::new(FOO), Peer::new(FOO));
    db.run("INSERT INTO foo VALUES (1, 1, 1); DELETE FROM foo");
    peer.merge(&db.changes_since(0));
    alter(&db, "INSERT INTO foo VALUES (1, 2, 3)");
    assert_eq!(db.changes(), ["010901 -1 ∅ 3 2 3 0", "010901 b 2 1 2 3 1", "010901 c 3 1 2 3 2"]);
    peer.merge(&db.changes_since(0));
    assert_eq!(peer.rows("SELECT * FROM foo"), ["1 2 3"]);
}

#[test]
fn rows_deleted_during_an_alter_leave_no_trace_and_tombstones_stay() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 1, 1), (2, 2, 2); DELETE FROM foo WHERE a = 1");
    alter(&db, "DELETE FROM foo");
    assert_eq!(db.changes(), ["010901 -1 ∅ 2 2 2 0"]);
}

#[test]
fn another_primary_key_records_all_rows_anew() {
    let db = Peer::new("CREATE TABLE foo (a NOT NULL, b NOT NULL, c, PRIMARY KEY (a, b)); SELECT crsql_as_crr('foo')");
    db.run("INSERT INTO foo VALUES (1, 2, 3); UPDATE foo SET c = 4; INSERT INTO foo VALUES (9, 9, 9); DELETE FROM foo WHERE a = 9");
    alter(
        &db,
        "CREATE TABLE n (a PRIMARY KEY NOT NULL, c); INSERT INTO n SELECT a, c FROM foo; DROP TABLE foo; ALTER TABLE n RENAME TO foo",
    );
    assert_eq!(db.changes(), ["010901 c 4 1 4 1 0"]);
    assert_eq!(db.rows("SELECT crsql_db_version()"), ["4"]);
    db.run("DELETE FROM foo");
    assert_eq!(db.changes(), ["010901 -1 ∅ 2 5 2 0"]);
}

#[test]
fn a_failed_alteration_leaves_the_callers_transaction() {
    let db = Peer::new(FOO);
    db.run("BEGIN; INSERT INTO foo VALUES (1, 1, 1)");
    db.run(BEGIN);
    db.run("ALTER TABLE foo ADD COLUMN d; CREATE UNIQUE INDEX foo_b ON foo (b)");
    assert!(db.conn.execute_batch(COMMIT).is_err());
    assert!(!db.conn.is_autocommit());
    db.run("INSERT INTO foo VALUES (2, 2, 2); COMMIT");
    assert_eq!(db.changes().len(), 4);
}

#[test]
fn a_commit_without_a_begin_is_an_error() {
    let db = Peer::new(FOO);
    assert!(
        db.conn.execute_batch(COMMIT).unwrap_err().to_string().contains("failed compacting tables post alteration")
    );
    db.run("INSERT INTO foo VALUES (1, 1, 1)");
}

#[test]
fn a_write_and_a_read_after_an_alter_in_one_transaction_know_the_new_columns() {
    let db = Peer::new(FOO);
    db.run("BEGIN; INSERT INTO foo VALUES (1, 1, 1)");
    assert_eq!(db.changes().len(), 2);
    db.run(BEGIN);
    db.run("ALTER TABLE foo ADD COLUMN d");
    db.run(COMMIT);
    db.run("UPDATE foo SET d = 1; INSERT INTO foo VALUES (2, 2, 2, 2); COMMIT");
    assert_eq!(db.changes().len(), 6);
}

#[test]
fn an_ordinary_table_again_leaves_nothing_behind_and_versions_go_on() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 1, 1); UPDATE foo SET b = 2; SELECT crsql_as_table('foo')");
    assert_eq!(db.rows("SELECT name FROM sqlite_master WHERE name LIKE 'foo__crsql%'"), [""; 0]);
    assert!(db.changes().is_empty());
    db.run("UPDATE foo SET b = 3; SELECT crsql_as_table('foo'); SELECT crsql_as_table('nothing')");
    assert_eq!(db.rows("SELECT crsql_db_version()"), ["2"]);
    db.run("SELECT crsql_as_crr('foo')");
    assert_eq!(db.changes(), ["010901 b 3 1 3 1 0", "010901 c 1 1 3 1 1"]);
}

#[test]
fn a_dropped_table_blocks_neither_reads_nor_writes_and_its_successor_inherits_no_clocks() {
    let db = Peer::new(&format!("{FOO} CREATE TABLE bar (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('bar');"));
    db.run("INSERT INTO foo VALUES (1, 1, 1), (2, 2, 2); DELETE FROM foo WHERE a = 2; INSERT INTO bar VALUES (1, 1)");
    db.run("DROP TABLE foo");
    assert_eq!(db.changes(), ["010901 b 1 1 3 1 0"]);
    db.run("INSERT INTO bar VALUES (2, 2)");
    db.run(FOO);
    db.run("INSERT INTO foo VALUES (5, 5, 5), (2, 3, 3)");
    assert_eq!(
        db.rows("SELECT lower(hex(pk)), cid, cl FROM crsql_changes WHERE \"table\" = 'foo' ORDER BY db_version, seq"),
        ["010905 b 1", "010905 c 1", "010902 -1 3", "010902 b 3", "010902 c 3"]
    );
}

#[test]
fn a_renamed_table_stays_replicated() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 1, 1); ALTER TABLE foo RENAME TO bar; UPDATE bar SET b = 2");
    let tables = "SELECT DISTINCT \"table\" FROM crsql_changes";
    assert_eq!(db.rows(tables), ["bar"]);
    assert_eq!(db.changes(), ["010901 c 1 1 1 1 1", "010901 b 2 2 2 1 0"]);
    db.run(FOO);
    db.run("INSERT INTO foo VALUES (7, 7, 7); UPDATE bar SET b = 3");
    assert_eq!(
        db.rows("SELECT \"table\", cid, val FROM crsql_changes ORDER BY db_version, seq"),
        ["bar c 1", "foo b 7", "foo c 7", "bar b 3"]
    );
    db.run("SELECT crsql_as_table('bar')");
    assert_eq!(db.rows(tables), ["foo"]);
}

#[test]
fn a_column_added_without_an_alter_leaves_reads_and_writes_alone() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 1, 1); ALTER TABLE foo ADD COLUMN d; UPDATE foo SET d = 1, b = 2");
    assert_eq!(db.changes(), ["010901 c 1 1 1 1 1", "010901 b 2 2 2 1 0"]);
}

#[test]
fn schema_changes_that_were_rolled_back_are_forgotten_also_when_their_number_comes_again() {
    let db = Peer::new(FOO);
    for rollback in ["ROLLBACK", "ROLLBACK TO s; COMMIT"] {
        db.run("BEGIN; SAVEPOINT s; CREATE TABLE bar (x PRIMARY KEY NOT NULL, y); SELECT crsql_as_crr('bar'); INSERT INTO bar VALUES (1, 1)");
        assert_eq!(db.rows("SELECT DISTINCT \"table\" FROM crsql_changes"), ["bar"]);
        db.run(rollback);
        assert!(db.changes().is_empty());
    }
    db.run("BEGIN; CREATE TABLE t1 (x)");
    assert!(db.changes().is_empty());
    db.run("ROLLBACK; CREATE TABLE bar (x PRIMARY KEY NOT NULL, z); SELECT crsql_as_crr('bar'); INSERT INTO bar VALUES (1, 1)");
    assert_eq!(db.rows("SELECT cid, val FROM crsql_changes"), ["z 1"]);
}

#[test]
fn a_thousand_replicated_tables_are_read_and_written() {
    // Creating many tables takes SQLite itself time that grows with the square. Over 500 are too many for cr-sqlite.
    let last = if cfg!(target_family = "wasm") { 600 } else { 1000 };
    let db = Peer::new("");
    db.run("BEGIN");
    for i in 0..=last {
        db.run(&format!("CREATE TABLE t{i} (a INTEGER PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('t{i}')"));
    }
    db.run(&format!("COMMIT; INSERT INTO t0 VALUES (1, 1); INSERT INTO t{last} VALUES (1, 1)"));
    assert_eq!(db.rows("SELECT \"table\", db_version FROM crsql_changes"), ["t0 1".into(), format!("t{last} 2")]);
}

const BAR: &str = "CREATE TABLE bar (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('bar');";

#[test]
fn two_tables_are_altered_at_once_and_committed_in_any_order() {
    for (first, second) in [("foo", "bar"), ("bar", "foo")] {
        let db = Peer::new(&format!("{FOO} {BAR}"));
        db.run("INSERT INTO foo VALUES (1, 1, 1); INSERT INTO bar VALUES (1, 1)");
        db.run("SELECT crsql_begin_alter('foo'); SELECT crsql_begin_alter('bar')");
        db.run(
            "ALTER TABLE foo ADD COLUMN x; ALTER TABLE bar ADD COLUMN x; UPDATE foo SET x = 1; UPDATE bar SET x = 1",
        );
        db.run(&format!("SELECT crsql_commit_alter('{first}')"));
        assert!(!db.conn.is_autocommit());
        db.run(&format!("SELECT crsql_commit_alter('{second}')"));
        assert!(db.conn.is_autocommit());
        assert_eq!(db.rows("SELECT count(*) FROM crsql_changes WHERE cid = 'x'"), ["2"]);
        db.run("UPDATE foo SET x = 2; UPDATE bar SET x = 2");
        assert_eq!(db.rows("SELECT col_version FROM crsql_changes WHERE cid = 'x'"), ["2", "2"]);
    }
}

#[test]
fn an_alteration_that_fails_takes_back_all_that_are_under_way() {
    for (fails, other) in [("foo", "bar"), ("bar", "foo")] {
        let db = Peer::new(&format!("{FOO} {BAR}"));
        db.run("BEGIN; INSERT INTO foo VALUES (1, 1, 1); INSERT INTO bar VALUES (1, 1)");
        let schema = db.rows("SELECT name, sql FROM sqlite_master ORDER BY 1");
        let before = db.changes();
        db.run("SELECT crsql_begin_alter('foo'); SELECT crsql_begin_alter('bar')");
        db.run(&format!(
            "ALTER TABLE foo ADD COLUMN x; ALTER TABLE bar ADD COLUMN x; CREATE UNIQUE INDEX i ON {fails} (x)"
        ));
        let commit =
            |table| db.conn.execute_batch(&format!("SELECT crsql_commit_alter('{table}')")).unwrap_err().to_string();
        assert!(commit(fails).contains("unique"));
        assert_eq!(db.rows("SELECT name, sql FROM sqlite_master ORDER BY 1"), schema);
        assert!(commit(other).contains("not being altered"));
        db.run("UPDATE foo SET b = 2; UPDATE bar SET b = 2; COMMIT");
        assert_eq!(db.changes().len(), before.len());
        assert_eq!(db.rows("SELECT col_version FROM crsql_changes WHERE cid = 'b'"), ["2", "2"]);
    }
}

#[test]
fn an_alteration_whose_transaction_was_committed_can_still_be_ended() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 1, 1); BEGIN; SELECT crsql_begin_alter('foo'); ALTER TABLE foo ADD COLUMN x; COMMIT");
    db.run("UPDATE foo SET x = 5");
    db.run(COMMIT);
    assert!(db.conn.is_autocommit());
    db.run("UPDATE foo SET b = 2");
    assert_eq!(db.rows("SELECT cid, val FROM crsql_changes"), ["x 5", "c 1", "b 2"]);
    db.run("BEGIN; SELECT crsql_begin_alter('foo'); COMMIT; CREATE UNIQUE INDEX i ON foo (x)");
    assert!(db.conn.execute_batch(COMMIT).is_err());
    db.run("DROP INDEX i");
    db.run(COMMIT);
    db.run("UPDATE foo SET b = 3");
    assert_eq!(db.rows("SELECT val FROM crsql_changes WHERE cid = 'b'"), ["3"]);
}
