//! Triggers of the application. Those that are created after `crsql_as_crr` fire before the engine's own, so that what they
//! write is noted before the write that fired them.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::Peer;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

/// The tables of which triggers speak here, one for each kind of key.
const KINDS: [&str; 3] = ["INTEGER PRIMARY KEY NOT NULL", "INT PRIMARY KEY NOT NULL", "INT PRIMARY KEY NOT NULL"];

/// A table of each kind with a trigger on it.
fn each_kind(trigger: &str) -> impl Iterator<Item = Peer> {
    KINDS.into_iter().zip(["", "", "WITHOUT ROWID"]).map(move |(key, option)| {
        let db = Peer::new(&format!("CREATE TABLE t (id {key}, b, ts) {option}; SELECT crsql_as_crr('t')"));
        db.run(&format!("CREATE TRIGGER u {trigger}"));
        db
    })
}

/// A copy that hears everything has the same rows.
fn is_told(db: &Peer) {
    let copy = Peer::new("CREATE TABLE t (id INTEGER PRIMARY KEY NOT NULL, b, ts); SELECT crsql_as_crr('t')");
    copy.merge(&db.changes_since(0));
    let all = "SELECT * FROM t ORDER BY id";
    assert_eq!(copy.rows(all), db.rows(all));
    // And one that has rows of an earlier time.
    let copy = Peer::new("CREATE TABLE t (id INTEGER PRIMARY KEY NOT NULL, b, ts); SELECT crsql_as_crr('t')");
    copy.run("INSERT INTO t VALUES (1, 5, NULL)");
    copy.merge(&db.changes_since(0));
    assert_eq!(copy.rows("SELECT id FROM t"), db.rows("SELECT id FROM t"));
}

const TOUCH: &str = "AFTER INSERT ON t BEGIN UPDATE t SET ts = 'now' WHERE id = NEW.id; END";

#[test]
fn a_row_that_its_own_trigger_touches_comes_back_over_its_tombstone() {
    for db in each_kind(TOUCH) {
        db.run("INSERT INTO t VALUES (1, 5, 0); DELETE FROM t; INSERT INTO t VALUES (1, 6, 0)");
        assert_eq!(
            db.rows("SELECT cid, val, col_version, cl FROM crsql_changes"),
            ["-1 ∅ 3 3", "b 6 1 3", "ts now 2 3"],
        );
        is_told(&db);
    }
}

#[test]
fn a_row_that_its_own_trigger_touches_has_the_versions_of_cr_sqlite() {
    for db in each_kind(TOUCH) {
        db.run("INSERT INTO t VALUES (1, 5, 0)");
        assert_eq!(db.changes(), ["010901 b 5 1 1 1 2", "010901 ts now 2 1 1 3"]);
        db.run("REPLACE INTO t VALUES (1, 1, 0)");
        assert_eq!(db.changes(), ["010901 b 1 2 2 1 2", "010901 ts now 4 2 1 3"]);
    }
}

#[test]
fn a_row_that_a_delete_leads_to_is_tracked() {
    for db in each_kind("AFTER DELETE ON t BEGIN INSERT OR IGNORE INTO t VALUES (OLD.id + 10, 1, 1); END") {
        db.run("INSERT INTO t VALUES (1, 5, 0); DELETE FROM t WHERE id = 1");
        let changes = "SELECT lower(hex(pk)), cid, cl FROM crsql_changes ORDER BY pk, cid";
        assert_eq!(db.rows(changes), ["010901 -1 2", "01090b b 1", "01090b ts 1"]);
        is_told(&db);
    }
}

#[test]
fn a_row_that_is_put_back_when_it_is_deleted_is_alive() {
    for db in each_kind("AFTER DELETE ON t BEGIN INSERT INTO t (id) VALUES (OLD.id); END") {
        db.run("INSERT INTO t VALUES (1, 5, 0); DELETE FROM t WHERE id = 1; UPDATE t SET b = 'q'");
        assert_eq!(db.rows("SELECT DISTINCT cl % 2 FROM crsql_changes"), ["1"]);
        is_told(&db);
    }
}

#[test]
fn an_insert_in_a_trigger_that_is_ignored_confuses_nothing() {
    for db in each_kind("AFTER INSERT ON t BEGIN INSERT OR IGNORE INTO t (id) VALUES (NEW.id); END") {
        db.run("REPLACE INTO t VALUES (1, 5, 0); DELETE FROM t; INSERT INTO t VALUES (1, 6, 0)");
        assert_eq!(db.rows("SELECT cid, col_version, cl FROM crsql_changes"), ["-1 3 3", "b 1 3", "ts 1 3"]);
    }
}

#[test]
fn a_row_that_an_update_deletes_can_come_back() {
    for db in each_kind("AFTER UPDATE OF b ON t BEGIN DELETE FROM t WHERE id = NEW.id; END") {
        db.run("INSERT INTO t VALUES (1, 5, 0); UPDATE t SET b = 6");
        assert_eq!(db.rows("SELECT cid, cl FROM crsql_changes"), ["-1 2"]);
        db.run("INSERT INTO t VALUES (1, 7, 0)");
        assert_eq!(db.rows("SELECT cid, cl FROM crsql_changes"), ["-1 3", "b 3", "ts 3"]);
        is_told(&db);
    }
}

#[test]
fn a_replaced_row_wins_also_where_changes_are_read_in_the_middle_of_the_statement() {
    for trigger in ["AFTER INSERT ON t", "BEFORE INSERT ON t"] {
        for db in each_kind(&format!("{trigger} BEGIN INSERT INTO o SELECT count(*) FROM crsql_changes; END")) {
            db.run("CREATE TABLE o (n); INSERT INTO t VALUES (1, 5, 0); REPLACE INTO t VALUES (1, 1, 0)");
            assert_eq!(db.rows("SELECT val, col_version FROM crsql_changes"), ["1 2", "0 2"]);
        }
    }
    for db in each_kind("AFTER DELETE ON t BEGIN SELECT 1; END") {
        db.run("INSERT INTO t VALUES (1, 5, 0)");
        db.rows("REPLACE INTO t VALUES (1, 1, 0) RETURNING (SELECT max(db_version) FROM crsql_changes)");
        assert_eq!(db.rows("SELECT val, col_version FROM crsql_changes"), ["1 2", "0 2"]);
    }
}

#[test]
fn a_temporary_trigger_counts_as_soon_as_it_is_there() {
    let db = Peer::new("CREATE TABLE t (id INTEGER PRIMARY KEY NOT NULL, b, ts); SELECT crsql_as_crr('t')");
    db.run("INSERT INTO t VALUES (1, 5, 0)");
    db.run(&format!("CREATE TEMP TRIGGER u {}", TOUCH.replace("ON t", "ON main.t")));
    db.run("DELETE FROM t; INSERT INTO t VALUES (1, 6, 0)");
    assert_eq!(db.rows("SELECT cid, col_version, cl FROM crsql_changes"), ["-1 3 3", "b 1 3", "ts 2 3"]);
    // A merge whose trigger fails leaves nothing of the row.
    db.run("DROP TRIGGER temp.u; CREATE TABLE o (n CHECK (n < 1))");
    db.run("CREATE TEMP TRIGGER u AFTER INSERT ON main.t BEGIN INSERT INTO o VALUES (NEW.id); END; BEGIN");
    let change = "INSERT INTO crsql_changes VALUES ('t', x'010907', 'b', 1, 1, 1, x'aa', 1, 0)";
    assert!(db.conn.execute(change, []).is_err());
    db.run("COMMIT");
    assert_eq!(db.rows("SELECT id FROM t"), ["1"]);
}

#[test]
fn what_the_triggers_call_is_not_for_others_and_does_no_harm() {
    let db = Peer::new("CREATE TABLE t (id INTEGER PRIMARY KEY NOT NULL, b, ts); SELECT crsql_as_crr('t')");
    for name in ["note_insert", "note_update", "note_move", "note_delete", "note_replacing"] {
        for arguments in ["", "1", "1, 1", "'x', 'y', 'z'", "NULL", "1, NULL, NULL, NULL, NULL"] {
            let _ = db.conn.query_row(&format!("SELECT crsql_{name}({arguments})"), [], |_| Ok(()));
        }
    }
    db.run("INSERT INTO t VALUES (1, 5, 0)");
    assert_eq!(db.rows("SELECT cid, val FROM crsql_changes WHERE pk = x'010901'"), ["b 5", "ts 0"]);
}
