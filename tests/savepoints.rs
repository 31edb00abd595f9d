//! What a savepoint takes back, and what it leaves, when changes were read in the meantime.
#![allow(missing_docs)]

mod common;

use common::Peer;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

const FOO: &str = "CREATE TABLE foo (a PRIMARY KEY NOT NULL, b, c); SELECT crsql_as_crr('foo');";

/// A read of the changes writes the clocks of what the transaction did so far.
const READ: &str = "SELECT count(*) FROM crsql_changes;";

#[test]
fn writes_that_were_read_and_taken_back_take_no_version() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 1, 1)");
    db.run(&format!("SAVEPOINT s; UPDATE foo SET b = 2; {READ} ROLLBACK TO s; RELEASE s"));
    assert_eq!(db.rows("SELECT crsql_db_version()"), ["1"]);
    db.run("UPDATE foo SET b = 3");
    assert_eq!(db.changes(), ["010901 c 1 1 1 1 1", "010901 b 3 2 2 1 0"]);
}

#[test]
fn writes_before_a_savepoint_outlive_it_though_they_were_read_within_it() {
    let db = Peer::new(FOO);
    db.run(&format!(
        "BEGIN; INSERT INTO foo VALUES (1, 1, 1); SAVEPOINT s; INSERT INTO foo VALUES (2, 2, 2); {READ} ROLLBACK TO s; COMMIT"
    ));
    assert_eq!(db.changes(), ["010901 b 1 1 1 1 0", "010901 c 1 1 1 1 1"]);
    assert_eq!(db.rows("SELECT crsql_db_version()"), ["1"]);
}

#[test]
fn writes_that_were_read_within_a_released_savepoint_are_written_down_once() {
    let db = Peer::new(FOO);
    db.run(&format!(
        "BEGIN; INSERT INTO foo VALUES (1, 1, 1); SAVEPOINT s; {READ} RELEASE s; UPDATE foo SET b = 2; COMMIT"
    ));
    assert_eq!(db.changes(), ["010901 c 1 1 1 1 1", "010901 b 2 2 1 1 2"]);
}
