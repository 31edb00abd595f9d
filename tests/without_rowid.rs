//! Tables WITHOUT ROWID: the conflict clause of a statement does not reach the keys that the engine keeps for them.
#![allow(missing_docs)]

mod common;

use common::Peer;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

const FOO: &str = "CREATE TABLE foo (a PRIMARY KEY NOT NULL, b) WITHOUT ROWID; SELECT crsql_as_crr('foo');";

#[test]
fn an_upsert_of_a_row_that_is_there_updates_it() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 1)");
    db.run("INSERT INTO foo VALUES (1, 1) ON CONFLICT DO UPDATE SET b = 2");
    assert_eq!(db.changes(), ["010901 b 2 2 2 1 0"]);
}

#[test]
fn a_replaced_row_keeps_its_clock() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 1)");
    db.run("REPLACE INTO foo VALUES (1, 2)");
    assert_eq!(db.changes(), ["010901 b 2 2 2 1 1"]);
}
