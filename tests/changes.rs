//! `crsql_changes` as a table: filters, orders and rowids.
//!
//! The same bodies run natively and, in a service worker, in wasm.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::Peer;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

/// Two tables, two sites, live and deleted rows, keys of every size.
fn peer() -> Peer {
    let db = Peer::new(
        "CREATE TABLE foo (a INTEGER PRIMARY KEY NOT NULL, b, c); SELECT crsql_as_crr('foo');
         CREATE TABLE bar (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('bar');",
    );
    db.run("INSERT INTO foo VALUES (1, 2, 3), (-5, 'x', NULL), (10000000001, 1, 1), (9223372036854775807, 1, 2)");
    db.run("BEGIN; INSERT INTO bar VALUES ('k', 1), ('l', 2); INSERT INTO foo VALUES (2, 4, 5); COMMIT");
    db.run("DELETE FROM bar WHERE a = 'k'; UPDATE foo SET b = 9 WHERE a = 1");
    db.insert_change("bar", "010b016d", "'b', 7, 1, 3, 1, 0", 'a');
    db.insert_change("bar", "010b016e", "'b', 8, 2, 4, 1, 1", 'b');
    db
}

#[test]
fn filters_and_orders_say_the_same_as_on_an_ordinary_table() {
    let db = peer();
    db.run(
        "CREATE TEMP TABLE copy (\"table\" TEXT, pk BLOB, cid TEXT, val ANY, col_version INTEGER, db_version INTEGER,
           site_id BLOB, cl INTEGER, seq INTEGER, r INTEGER);
         INSERT INTO copy SELECT *, rowid FROM crsql_changes",
    );
    let columns = "\"table\", pk, cid, val, col_version, db_version, site_id, cl, seq";
    let mut wheres = vec!["1".to_owned(), "\"table\" = 'FOO' COLLATE NOCASE".to_owned()];
    for op in ["=", "<>", "<", "<=", ">", ">=", "IS", "IS NOT"] {
        let terms = [
            ("db_version", &["0", "2", "'2'", "2.5", "NULL", "-1", "9223372036854775807", "x'32'"][..]),
            (
                "site_id",
                &["crsql_site_id()", "x'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'", "zeroblob(16)", "x'aa'", "NULL", "'a'"],
            ),
            ("\"table\"", &["'foo'", "'bar'", "'none'", "NULL", "1", "x'666f6f'"]),
            ("cid", &["'b'", "'-1'", "-1", "NULL"]),
            ("cl", &["1", "2"]),
            ("seq", &["0", "1"]),
            ("val", &["1", "NULL", "'x'"]),
            ("pk", &["x'010901'", "NULL"]),
        ];
        for (column, values) in terms {
            wheres.extend(values.iter().map(|value| format!("{column} {op} {value}")));
        }
    }
    wheres.extend([
        "db_version > 1 AND site_id IS NOT crsql_site_id()".to_owned(),
        "\"table\" = 'foo' AND \"table\" = 'bar'".to_owned(),
        "site_id = crsql_site_id() AND site_id = x'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'".to_owned(),
        "db_version IN (1, 3)".to_owned(),
        "(db_version = 1 AND site_id = crsql_site_id()) OR (db_version = 2 AND site_id = crsql_site_id())".to_owned(),
    ]);
    for filter in &wheres {
        let from = |table| {
            format!("SELECT {columns} FROM {table} WHERE {filter} ORDER BY db_version, seq, \"table\", pk, cid")
        };
        assert_eq!(db.rows(&from("crsql_changes")), db.rows(&from("copy")), "{filter}");
        let keys = |table, key| format!("SELECT {key}, cid FROM {table} WHERE {filter} ORDER BY 1, 2");
        assert_eq!(db.rows(&keys("crsql_changes", "rowid")), db.rows(&keys("copy", "r")), "{filter}");
    }
}

#[test]
fn every_term_of_an_order_keeps_its_direction() {
    let db = peer();
    db.run("CREATE TEMP TABLE copy AS SELECT * FROM crsql_changes");
    for order in ["db_version DESC, seq", "db_version, seq DESC", "db_version DESC, seq DESC", "cl DESC, db_version"] {
        let from = |table| format!("SELECT db_version, seq, cl FROM {table} ORDER BY {order}");
        let by_hand = db.rows(&format!("{}, cl", from("copy")));
        assert_eq!(db.rows(&format!("{}, cl", from("crsql_changes"))), by_hand, "{order}");
        let columns = if order.starts_with("cl") { "cl, db_version" } else { "db_version, seq" };
        let from = |table| format!("SELECT {columns} FROM {table} ORDER BY {order}");
        assert_eq!(db.rows(&from("crsql_changes")), db.rows(&from("copy")), "{order}");
    }
}

#[test]
fn values_and_rowids_order_group_and_tell_changes_apart() {
    let db = peer();
    let count = db.rows("SELECT count(*) FROM crsql_changes");
    assert_eq!(db.rows("SELECT count(DISTINCT rowid) FROM crsql_changes"), count);
    for sql in ["ORDER BY val", "ORDER BY rowid", "GROUP BY val", "GROUP BY rowid"] {
        assert!(!db.rows(&format!("SELECT val FROM crsql_changes {sql}")).is_empty(), "{sql}");
    }
}

#[test]
fn a_rowid_is_the_table_and_the_key_of_a_row_with_one_column() {
    let db = Peer::new(
        "CREATE TABLE foo (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('foo');
         CREATE TABLE bar (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('bar');",
    );
    db.run("INSERT INTO foo VALUES (1, 2), (2, 3); INSERT INTO bar VALUES (1, 2), (2, 3)");
    assert_eq!(db.rows("SELECT rowid FROM crsql_changes"), ["1", "2", "10000000000001", "10000000000002"]);
}

#[test]
fn changes_can_be_read_while_they_are_merged_again_and_while_rows_change() {
    let db = peer();
    let count = db.rows("SELECT count(*) FROM crsql_changes");
    db.run("BEGIN; INSERT INTO crsql_changes SELECT * FROM crsql_changes; COMMIT");
    assert_eq!(db.rows("SELECT count(*) FROM crsql_changes"), count);
    let mut statement = db.conn.prepare("SELECT pk FROM crsql_changes WHERE \"table\" = 'foo'").unwrap();
    let mut rows = statement.query([]).unwrap();
    // Each step makes a version that this read does not go on to.
    let mut steps = 0;
    while rows.next().unwrap().is_some() {
        db.run("UPDATE foo SET b = random()");
        steps += 1;
        assert!(steps < 100, "the read follows its own writes");
    }
}
