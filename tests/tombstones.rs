//! Deleted rows that come back, and the numbers that they keep.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::Peer;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

const TEXT: &str = "CREATE TABLE t (id TEXT PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('t');";

/// Keys, causal lengths and cells of all changes, in the order of keys.
fn fates(db: &Peer) -> Vec<String> {
    db.rows("SELECT pk, cid, cl FROM crsql_changes ORDER BY pk, cid")
}

#[test]
fn every_row_that_is_deleted_again_keeps_a_tombstone_of_its_own() {
    let db = Peer::new(TEXT);
    db.run("INSERT INTO t (id) VALUES ('a'), ('b'); DELETE FROM t");
    db.run("INSERT INTO t (id) VALUES ('b'), ('c'); DELETE FROM t");
    assert_eq!(fates(&db), ["x'010b0161' -1 2", "x'010b0162' -1 4", "x'010b0163' -1 2"]);
}

#[test]
fn a_key_moved_onto_a_tombstone_does_not_share_its_number() {
    let db = Peer::new(TEXT);
    db.run("INSERT INTO t (id) VALUES ('a'), ('b'); DELETE FROM t; INSERT INTO t (id) VALUES ('k')");
    db.run("BEGIN; UPDATE t SET id = 'b' WHERE id = 'k'; INSERT INTO t (id) VALUES ('n'); COMMIT");
    db.run("DELETE FROM t WHERE id = 'b'; DELETE FROM t WHERE id = 'n'");
    assert_eq!(fates(&db), ["x'010b0161' -1 2", "x'010b0162' -1 4", "x'010b016b' -1 2", "x'010b016e' -1 2"]);
}

#[test]
fn a_row_that_a_merge_brings_back_does_not_share_its_number() {
    let db = Peer::new(TEXT);
    db.run("INSERT INTO t (id) VALUES ('a'), ('b'); DELETE FROM t; BEGIN");
    db.run("INSERT INTO crsql_changes VALUES ('t', x'010b0162', 'b', 1, 1, 5, x'aa', 3, 0)");
    db.run("INSERT INTO t (id) VALUES ('c'); COMMIT; DELETE FROM t");
    assert_eq!(fates(&db), ["x'010b0161' -1 2", "x'010b0162' -1 4", "x'010b0163' -1 2"]);
}

#[test]
fn a_row_that_takes_another_rowid_is_told_as_before() {
    let db = Peer::new(TEXT);
    db.run("INSERT INTO t VALUES ('a', 1); UPDATE t SET b = 2; INSERT INTO t VALUES ('b', 1)");
    let before = db.changes();
    db.run("UPDATE t SET rowid = rowid + 10");
    assert_eq!(db.changes(), before);
    assert_eq!(db.changes_since(1).len(), 2);
    db.run("UPDATE t SET b = 3 WHERE id = 'a'; DELETE FROM t WHERE id = 'b'");
    assert_eq!(db.rows("SELECT pk, cid, col_version FROM crsql_changes"), ["x'010b0161' b 3", "x'010b0162' -1 2"]);
}

#[test]
fn a_row_replaced_while_nothing_is_tracked_keeps_its_clock() {
    let db = Peer::new(TEXT);
    db.run("INSERT INTO t VALUES ('a', 1), ('b', 1); SELECT crsql_internal_sync_bit(1)");
    db.run("REPLACE INTO t VALUES ('a', 2); DELETE FROM t WHERE id = 'b'; INSERT INTO t VALUES ('c', 3)");
    db.run("SELECT crsql_internal_sync_bit(0)");
    assert_eq!(db.changes(), ["010b0161 b 2 1 1 1 0"], "of a row that came unseen, nothing is known");
    db.run("REPLACE INTO t VALUES ('a', 4)");
    assert_eq!(db.changes(), ["010b0161 b 4 2 2 1 1"]);
}

#[test]
fn a_key_of_any_bytes_is_written_deleted_and_merged() {
    let (a, b) = (Peer::new(TEXT), Peer::new(TEXT));
    a.run("INSERT INTO t VALUES (CAST(x'ff' AS TEXT), CAST(x'fe' AS TEXT)), ('fine', 1)");
    b.merge(&a.changes_since(0));
    assert_eq!(b.rows("SELECT hex(id), quote(b) FROM t ORDER BY id"), ["66696E65 1", "FF X'FE'"]);
    a.run("DELETE FROM t");
    b.merge(&a.changes_since(0));
    assert_eq!(b.rows("SELECT count(*) FROM t"), ["0"]);
}
