//! `crsql_changes` as a table: filters, orders and rowids.
//!
//! The same bodies run natively and, in a service worker, in wasm.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::Peer;
use rusqlite::ffi;
use rusqlite::types::Value;
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

#[test]
fn conditions_that_narrow_what_is_read_leave_out_nothing_else() {
    let db = peer();
    db.run(
        "CREATE TABLE gone (a TEXT PRIMARY KEY NOT NULL COLLATE NOCASE, b, c) WITHOUT ROWID; SELECT crsql_as_crr('gone');
         INSERT INTO gone VALUES ('a', 1, 2), ('B', 3, 4), (CAST(x'ff' AS TEXT), 5, 6); DELETE FROM gone WHERE a = 'b';
         REPLACE INTO gone VALUES ('A', 9, 9); INSERT INTO bar VALUES ('k', 5); UPDATE bar SET a = 'new' WHERE a = 'l';
         CREATE TEMP TABLE copy AS SELECT *, site_version, rowid AS r FROM crsql_changes",
    );
    let keys = db.rows("SELECT DISTINCT quote(\"table\") || ' AND pk = ' || quote(pk) FROM copy");
    let mut filters: Vec<String> = keys.iter().map(|key| format!("\"table\" = {key}")).collect();
    assert!(filters.len() > 10);
    for other in
        ["pk = x'010901'", "pk = x''", "pk = x'0105'", "pk = 1", "pk IS NULL", "pk = x'010b0161'", "pk = x'010b0141'"]
    {
        for table in ["foo", "bar", "gone", "none"] {
            filters.push(format!("\"table\" = '{table}' AND {other}"));
        }
    }
    for column in ["col_version", "cl", "seq", "site_version", "db_version"] {
        for op in ["=", "<>", "<", "<=", ">", ">=", "IS", "IS NOT"] {
            for value in ["0", "1", "2", "'1'", "1.5", "NULL", "-1", "9223372036854775807", "-9223372036854775808"] {
                filters.push(format!("{column} {op} {value}"));
            }
        }
    }
    filters.extend(
        ["cid = 'b'", "cid = '-1'", "cid = 'B' COLLATE NOCASE", "cid = 'none'", "cid IS 'c'", "cid = x'62'"]
            .map(str::to_owned),
    );
    let several: Vec<String> =
        filters.iter().step_by(7).zip(filters.iter().step_by(11)).map(|(a, b)| format!("{a} AND {b}")).collect();
    for filter in filters.iter().chain(&several) {
        for columns in [
            "\"table\", pk, cid, val, col_version, db_version, site_id, cl, seq",
            "\"table\", pk, cid, db_version, seq",
        ] {
            for (order, bound) in [("", ""), ("DESC", ""), ("", "LIMIT 3"), ("DESC", "LIMIT 2 OFFSET 1")] {
                let from = |table| {
                    format!(
                        "SELECT {columns} FROM {table} WHERE {filter} ORDER BY db_version {order}, seq {order}, \"table\", pk, cid {bound}"
                    )
                };
                assert_eq!(db.rows(&from("crsql_changes")), db.rows(&from("copy")), "{filter} {order} {bound}");
            }
        }
        // In the order of the table itself.
        let versions =
            |table, order| db.rows(&format!("SELECT db_version, seq FROM {table} WHERE {filter} ORDER BY {order}"));
        for order in ["db_version, seq", "db_version DESC, seq DESC"] {
            assert_eq!(versions("crsql_changes", order), versions("copy", order), "{filter}");
        }
    }
    db.run("BEGIN; INSERT INTO foo VALUES (77, 1, 2)");
    assert_eq!(
        db.rows("SELECT cid, val FROM crsql_changes WHERE \"table\" = 'foo' AND pk = x'01094d'"),
        ["b 1", "c 2"]
    );
}

/// How many pages a query touches.
fn pages(db: &Peer, sql: &str) -> i32 {
    let touched = || {
        let (mut hits, mut misses, mut highest) = (0, 0, 0);
        for (what, count) in
            [(ffi::SQLITE_DBSTATUS_CACHE_HIT, &mut hits), (ffi::SQLITE_DBSTATUS_CACHE_MISS, &mut misses)]
        {
            // SAFETY: the connection is open, and the counters are integers.
            unsafe { ffi::sqlite3_db_status(db.conn.handle(), what, count, &mut highest, 0) };
        }
        hits + misses
    };
    db.rows(sql);
    let before = touched();
    db.rows(sql);
    touched() - before
}

#[test]
fn what_a_query_leaves_out_is_not_read() {
    let db = Peer::new("CREATE TABLE foo (a TEXT PRIMARY KEY NOT NULL, small, big); SELECT crsql_as_crr('foo');");
    db.run("BEGIN; WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) INSERT INTO foo SELECT 'k' || i, i, zeroblob(200000) FROM n");
    db.run("COMMIT; UPDATE foo SET small = 'x' WHERE a = 'k7'; DELETE FROM foo WHERE a = 'k9'");
    let all = pages(&db, "SELECT val FROM crsql_changes");
    // The browser's SQLite has larger pages.
    let Value::Integer(page_size) = db.value("PRAGMA page_size") else { panic!("no integer") };
    assert!(i64::from(all) > 45 * 200_000 / page_size, "{all} pages of {page_size} bytes");
    for (sql, rows) in [
        ("SELECT cid FROM crsql_changes", 99),
        ("SELECT val FROM crsql_changes WHERE cid = 'small'", 49),
        ("SELECT val FROM crsql_changes WHERE cl > 1", 1),
        ("SELECT val FROM crsql_changes WHERE col_version > 1", 2),
        ("SELECT val FROM crsql_changes WHERE seq = 7", 1),
        ("SELECT val FROM crsql_changes WHERE site_version = 2", 1),
        ("SELECT val FROM crsql_changes LIMIT 4", 4),
        ("SELECT val FROM crsql_changes WHERE db_version = 1 ORDER BY db_version, seq LIMIT 4", 4),
    ] {
        let count = pages(&db, sql);
        assert_eq!(db.rows(sql).len(), rows, "{sql}");
        assert!(count < all / 4, "{sql} touches {count} of {all} pages");
    }
    let row =
        "SELECT val FROM crsql_changes WHERE \"table\" = 'foo' AND pk = crsql_pack_columns('k7') AND cid = 'small'";
    assert_eq!(db.rows(row), ["x"]);
    let count = pages(&db, row);
    assert!(count < 60, "a look-up touches {count} pages");
}

#[test]
fn joins_begin_with_the_table_that_says_which_rows() {
    let db = peer();
    db.run("CREATE TABLE wanted (tbl, pk, version)");
    let plan = |sql: &str| {
        let mut explain = db.conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = explain.query_map([], |row| row.get::<_, String>(3)).unwrap();
        steps.collect::<Result<Vec<_>, _>>().unwrap()
    };
    for on in ["c.\"table\" = w.tbl AND c.pk = w.pk", "c.db_version = w.version"] {
        for from in ["crsql_changes c JOIN wanted w", "wanted w JOIN crsql_changes c"] {
            let plan = plan(&format!("SELECT c.val FROM {from} ON {on}"));
            assert!(plan[0].starts_with("SCAN w"), "{plan:?}");
            assert!(plan[1].starts_with("SCAN c VIRTUAL TABLE INDEX"), "{plan:?}");
        }
    }
    // A row is looked up even where a version is named, too.
    let plan = plan("SELECT val FROM crsql_changes WHERE \"table\" = 'foo' AND pk = x'010901' AND db_version > 1");
    assert!(plan[0].contains("0=1=5>"), "{plan:?}");
    db.run("INSERT INTO wanted SELECT DISTINCT \"table\", pk, 1 FROM crsql_changes");
    let joined = "SELECT count(*) FROM wanted w JOIN crsql_changes c ON c.\"table\" = w.tbl AND c.pk = w.pk";
    assert_eq!(db.rows(joined), db.rows("SELECT count(*) FROM crsql_changes"));
}
