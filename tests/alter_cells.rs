//! Which cells an alteration records: all that have no entry, whenever their column came, and rows of which none is left.
#![allow(missing_docs)]

mod common;

use common::Peer;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

fn alter(db: &Peer, sql: &str) {
    db.run(&format!("SELECT crsql_begin_alter('foo'); {sql}; SELECT crsql_commit_alter('foo');"));
}

const FOO: &str = "CREATE TABLE foo (a PRIMARY KEY NOT NULL, b DEFAULT 1); SELECT crsql_as_crr('foo');";

#[test]
fn a_value_set_during_a_later_alteration_is_recorded() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 1)");
    alter(&db, "ALTER TABLE foo ADD COLUMN c");
    alter(&db, "UPDATE foo SET c = 2");
    assert_eq!(db.changes(), ["010901 b 1 1 1 1 0", "010901 c 2 1 1 1 0"]);
}

#[test]
fn a_renamed_column_is_a_new_one() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 2); UPDATE foo SET b = 3");
    alter(&db, "ALTER TABLE foo RENAME COLUMN b TO c");
    assert_eq!(db.changes(), ["010901 c 3 1 2 1 0"]);
}

#[test]
fn a_row_of_which_no_cell_is_left_is_recorded_anew() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 1)");
    alter(&db, "ALTER TABLE foo RENAME COLUMN b TO c");
    assert_eq!(db.changes(), ["010901 c 1 1 1 1 0"]);
}
