//! The views that show the clocks as cr-sqlite stores them. Native and wasm from one body.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::Peer;

#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

const FOO: &str = "CREATE TABLE foo (a NOT NULL, b NOT NULL, c, PRIMARY KEY (a, b)); SELECT crsql_as_crr('foo')";

#[test]
fn the_clock_view_has_a_row_for_each_cell_also_before_the_commit() {
    let db = Peer::new(FOO);
    db.run("BEGIN; INSERT INTO foo VALUES (1, 2, 3)");
    assert_eq!(db.rows("SELECT * FROM foo__crsql_clock"), ["1 c 1 1 0 0"]);
    db.run("COMMIT; DELETE FROM foo");
    assert_eq!(db.rows("SELECT * FROM foo__crsql_clock"), ["1 -1 2 2 0 0"]);
}

#[test]
fn every_primary_key_keeps_its_number_for_ever() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 2, 0)");
    for b in 3..6 {
        db.run(&format!("UPDATE foo SET b = {b}"));
    }
    let pks = "SELECT * FROM foo__crsql_pks";
    assert_eq!(db.rows(pks), ["1 1 2", "2 1 3", "3 1 4", "4 1 5"]);
    db.run("INSERT INTO foo VALUES (1, 3, 0), (9, 9, 0); DELETE FROM foo WHERE b = 5");
    assert_eq!(db.rows(pks), ["1 1 2", "2 1 3", "3 1 4", "4 1 5", "5 9 9"]);
}

#[test]
fn a_table_without_rowid_shows_its_keys() {
    let db = Peer::new("CREATE TABLE foo (a PRIMARY KEY, b) WITHOUT ROWID; SELECT crsql_as_crr('foo')");
    db.run("INSERT INTO foo VALUES ('z', 1), ('a', 2); DELETE FROM foo WHERE a = 'z'");
    assert_eq!(db.rows("SELECT * FROM foo__crsql_pks"), ["1 z", "2 a"]);
}

#[test]
fn the_views_are_in_nobodys_way_when_tables_change() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 2, 3)");
    db.run("SELECT crsql_begin_alter('foo'); CREATE TABLE new (a NOT NULL, b NOT NULL, d, PRIMARY KEY (a, b))");
    db.run("INSERT INTO new SELECT a, b, c FROM foo; DROP TABLE foo; ALTER TABLE new RENAME TO foo");
    db.run("SELECT crsql_commit_alter('foo')");
    assert_eq!(db.rows("SELECT key, col_name FROM foo__crsql_clock"), ["1 d"]);
    db.run("ALTER TABLE foo RENAME TO bar; CREATE TABLE other (a); ALTER TABLE other RENAME TO another");
    assert_eq!(db.rows("SELECT key, col_name FROM foo__crsql_clock"), ["1 d"]);
    db.run("DROP TABLE bar; ALTER TABLE another RENAME TO other");
    assert_eq!(db.rows("SELECT count(*) FROM crsql_changes"), ["0"]);
}

#[test]
fn a_table_of_several_pages_is_shown_whole() {
    let db = Peer::new(FOO);
    db.run(
        "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO foo SELECT i, i, i FROM n",
    );
    db.run("DELETE FROM foo WHERE a % 3 = 0");
    assert_eq!(db.rows("SELECT count(*), count(DISTINCT key) FROM foo__crsql_clock"), ["1000 1000"]);
    assert_eq!(db.rows("SELECT count(*) FROM foo__crsql_pks WHERE __crsql_key = a"), ["1000"]);
}

#[test]
fn the_views_go_with_the_clocks() {
    let db = Peer::new(FOO);
    db.run("SELECT crsql_as_table('foo')");
    assert_eq!(db.rows("SELECT name FROM sqlite_master WHERE name LIKE 'foo\\_\\_%' ESCAPE '\\'"), [""; 0]);
}
