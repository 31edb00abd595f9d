//! The fractional index, `clset` and `crsql_unpack_columns`, as cr-sqlite 0.16 has them.
//!
//! The same bodies run natively and, in a service worker, in wasm.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::Peer;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

const FOO: &str = "CREATE TABLE foo (a INTEGER PRIMARY KEY NOT NULL, spot TEXT, list);";
const CRR: &str = "SELECT crsql_as_crr('foo'); SELECT crsql_fract_as_ordered('foo', 'spot', 'list');";

fn ordered() -> Peer {
    Peer::new(&format!("PRAGMA trusted_schema = OFF; {FOO} {CRR}"))
}

fn fails(db: &Peer, sql: &str) -> String {
    db.conn.execute_batch(sql).map_or_else(|error| error.to_string(), |()| panic!("{sql} was taken"))
}

fn spots(db: &Peer) -> Vec<String> {
    db.rows("SELECT a, spot FROM foo ORDER BY spot, a")
}

#[test]
fn writes_to_an_ordered_table_leave_the_clocks_of_cr_sqlite() {
    let db = ordered();
    db.run("INSERT INTO foo VALUES (1, -1, 'l')");
    assert_eq!(db.changes(), ["010901 spot a  2 1 1 2", "010901 list l 1 1 1 3"]);
    db.run("INSERT INTO foo VALUES (3, 1, 'l')");
    db.run("INSERT INTO foo_fractindex (a, list, after_a) VALUES (2, 'l', 1)");
    db.run("UPDATE foo_fractindex SET after_a = 1 WHERE a = 3");
    assert_eq!(
        db.changes(),
        [
            "010901 spot a  2 1 1 2",
            "010901 list l 1 1 1 3",
            "010903 list l 1 2 1 3",
            "010902 spot a P 1 3 1 0",
            "010902 list l 1 3 1 1",
            "010903 spot a 8 3 4 1 0",
        ]
    );
    db.run("INSERT INTO foo VALUES (6, 'a P', 'l')");
    db.run("INSERT INTO foo_fractindex (a, list, after_a) VALUES (7, 'l', 2)");
    assert_eq!(
        db.changes()[5..],
        [
            "010906 spot a P 1 5 1 0",
            "010906 list l 1 5 1 1",
            "010902 spot a D 2 6 1 0",
            "010907 spot a J 1 6 1 1",
            "010907 list l 1 6 1 2"
        ]
    );
}

#[test]
fn rows_go_to_the_front_to_the_end_and_behind_others() {
    let db = ordered();
    db.run("INSERT INTO foo VALUES (1, 1, 'l'), (2, 1, 'l'), (3, 1, 'l'), (9, 1, 'other')");
    assert_eq!(spots(&db), ["1 a ", "9 a ", "2 a!", "3 a\""]);
    db.run("DELETE FROM foo WHERE a = 9; UPDATE foo_fractindex SET after_a = 1 WHERE a = 3");
    assert_eq!(spots(&db), ["1 a ", "3 a P", "2 a!"]);
    db.run("UPDATE foo SET spot = 1 WHERE a = 1; UPDATE foo_fractindex SET after_a = NULL WHERE a = 2");
    assert_eq!(spots(&db), ["2 a ", "3 a P", "1 a\""]);
    db.run("INSERT INTO foo_fractindex (a, list, after_a) VALUES (4, 'l', 77)");
    assert_eq!(spots(&db)[0], "4 Z~", "a row behind an unknown one goes to the front");
}

#[test]
fn a_list_of_random_inserts_and_moves_is_in_the_order_that_was_asked_for() {
    let db = ordered();
    let mut random = fastrand::Rng::with_seed(7);
    let mut model: Vec<i64> = Vec::new();
    for id in 0..300 {
        let moved = (id % 3 == 2).then(|| model.remove(random.usize(..model.len())));
        let at = random.usize(..=model.len());
        let after = at.checked_sub(1).map_or("NULL".to_owned(), |i| model[i].to_string());
        match moved {
            Some(moved) => db.run(&format!("UPDATE foo_fractindex SET after_a = {after} WHERE a = {moved}")),
            None => db.run(&format!("INSERT INTO foo_fractindex (a, list, after_a) VALUES ({id}, 'l', {after})")),
        }
        model.insert(at, moved.unwrap_or(id));
    }
    let expected: Vec<String> = model.iter().map(i64::to_string).collect();
    assert_eq!(db.rows("SELECT a FROM foo ORDER BY spot"), expected);
    assert_eq!(db.rows("SELECT spot FROM foo WHERE spot GLOB '*[^ -~]*' OR substr(spot, 3) GLOB '* '"), [""; 0]);
}

#[test]
fn rows_of_a_null_list_are_one_list() {
    let db = ordered();
    db.run("INSERT INTO foo VALUES (1, 1, NULL), (2, 1, NULL)");
    db.run("INSERT INTO foo_fractindex (a, after_a) VALUES (3, 1)");
    assert_eq!(spots(&db), ["1 a ", "3 a P", "2 a!"]);
}

#[test]
fn equal_keys_are_told_apart_also_by_a_composite_primary_key() {
    let db = Peer::new(
        "CREATE TABLE todo (list NOT NULL, id NOT NULL, \"the \"\"order\" TEXT, PRIMARY KEY (list, id));
         SELECT crsql_as_crr('todo'); SELECT crsql_fract_as_ordered('todo', 'the \"order', 'list');
         INSERT INTO todo VALUES (1, 1, 'Zm'), (1, 2, 'ZmG'), (1, 3, 'ZmG'), (1, 5, 'Zn')",
    );
    db.run("UPDATE todo_fractindex SET after_list = 1, after_id = 2 WHERE id = 5");
    assert_eq!(db.rows("SELECT id FROM todo ORDER BY \"the \"\"order\""), ["1", "2", "5", "3"]);
    db.run("UPDATE todo SET \"the \"\"order\" = 'ZmG' WHERE id IN (2, 3)");
    let fix = "SELECT crsql_fract_fix_conflict_return_old_key('todo', 'the \"order', 'list', -1, 'list', 'id', 1, 2)";
    let key = db.rows(fix).remove(0);
    assert_eq!(db.rows(&format!("SELECT count(*) FROM todo WHERE id = 2 AND \"the \"\"order\" < '{key}'")), ["1"]);
    assert!(fails(&db, &fix.replace("1, 2)", "1, 99)")).contains("Failed fixing up"));
    assert!(fails(&db, "SELECT crsql_fract_fix_conflict_return_old_key('todo')").contains("Too few"));
}

#[test]
fn names_that_need_quotes_are_ordered() {
    let db = Peer::new(
        "CREATE TABLE \"my \"\"table\" (\"select\" TEXT PRIMARY KEY NOT NULL, \"a b\" TEXT);
         SELECT crsql_fract_as_ordered('my \"table', 'a b');
         INSERT INTO \"my \"\"table\" VALUES ('x', 1), ('z', 1);
         INSERT INTO \"my \"\"table_fractindex\" (\"select\", after_select) VALUES ('y', 'x')",
    );
    assert_eq!(db.rows("SELECT \"select\" FROM \"my \"\"table\" ORDER BY \"a b\""), ["x", "y", "z"]);
}

#[test]
fn a_failed_call_leaves_the_order_that_was_and_the_open_transaction() {
    let db = ordered();
    let objects = "SELECT name, sql FROM sqlite_master ORDER BY name";
    let before = db.rows(objects);
    db.run("BEGIN; INSERT INTO foo VALUES (1, 1, 'l')");
    for bad in ["'foo', 'nope'", "'foo', 'spot', 'nope'", "'nope', 'spot'", "'foo'", "", "NULL, 'spot'"] {
        fails(&db, &format!("SELECT crsql_fract_as_ordered({bad})"));
    }
    db.run("INSERT INTO foo VALUES (2, 1, 'l'); COMMIT");
    assert_eq!(db.rows(objects), before);
    assert_eq!(spots(&db), ["1 a ", "2 a!"]);
}

#[test]
fn another_call_orders_by_the_new_columns_everywhere() {
    let db = ordered();
    db.run("SELECT crsql_fract_as_ordered('foo', 'spot')");
    db.run("INSERT INTO foo VALUES (1, 1, 'x'), (2, 1, 'y'), (3, 1, 'z'); UPDATE foo SET spot = 1 WHERE a = 1");
    assert_eq!(spots(&db), ["2 a!", "3 a\"", "1 a#"]);
}

#[test]
fn bad_keys_are_errors() {
    let db = ordered();
    for bad in ["'a ', 'a '", "'', NULL", "NULL, ''", "'é', NULL", "'b  ', 'a '", "5, NULL", "x'ff', NULL"] {
        fails(&db, &format!("SELECT crsql_fract_key_between({bad})"));
    }
    assert_eq!(db.rows("SELECT crsql_fract_key_between('a ', 'a!')"), ["a P"]);
}

#[test]
fn a_package_unpacks_into_rows() {
    let db = Peer::new("PRAGMA trusted_schema = OFF; CREATE TABLE t (x); INSERT INTO t VALUES (1), ('b')");
    let package =
        "SELECT rowid, cell FROM crsql_unpack_columns WHERE package = crsql_pack_columns(12, 'str', x'01', NULL, 1.5)";
    assert_eq!(db.rows(package), ["0 12", "1 str", "2 x'01'", "3 ∅", "4 1.5"]);
    assert_eq!(db.rows("SELECT cell, package FROM crsql_unpack_columns(x'01110001ff')"), ["1 x'01110001ff'"]);
    assert_eq!(db.rows("SELECT cell FROM t, crsql_unpack_columns(crsql_pack_columns(t.x))"), ["1", "b"]);
    assert!(db.rows("SELECT cell FROM crsql_unpack_columns(NULL)").is_empty());
    for bad in ["x''", "x'01'", "x'0109'", "x'0149000000000000000001'", "x'0106'", "x'010bff'", "'a'"] {
        fails(&db, &format!("SELECT cell FROM crsql_unpack_columns({bad})"));
    }
    fails(&db, "SELECT cell FROM crsql_unpack_columns");
}

#[test]
fn a_clset_makes_a_replicated_table_and_drops_all_of_it() {
    let db = Peer::new("BEGIN; CREATE VIRTUAL TABLE IF NOT EXISTS foo_schema USING CLSet (a primary key not null, b)");
    db.run("INSERT INTO foo VALUES (1, 2); COMMIT");
    assert_eq!(db.changes(), ["010901 b 2 1 1 1 0"]);
    db.run("CREATE VIRTUAL TABLE IF NOT EXISTS foo_schema USING clset (a primary key not null, b)");
    fails(&db, "SELECT * FROM foo_schema");
    db.run("SELECT crsql_fract_as_ordered('foo', 'b'); DELETE FROM foo; BEGIN; INSERT INTO foo VALUES (3, 1)");
    db.run("DROP TABLE foo_schema; COMMIT");
    assert_eq!(db.rows("SELECT name FROM sqlite_master WHERE name LIKE '%foo%'"), [""; 0]);
    assert_eq!(db.rows("SELECT name FROM crsql_tables WHERE name LIKE 'foo%'"), [""; 0]);
    assert_eq!(db.changes(), [""; 0]);
    db.run("CREATE VIRTUAL TABLE foo_schema USING clset (a primary key not null, c); INSERT INTO foo VALUES (1, 2)");
    assert_eq!(db.rows("SELECT cid, val FROM crsql_changes"), ["c 2"]);
}

#[test]
fn a_clset_that_fails_leaves_nothing_behind() {
    let db = Peer::new("BEGIN; CREATE TABLE kept (a PRIMARY KEY NOT NULL); INSERT INTO kept VALUES (1)");
    let error = fails(&db, "CREATE VIRTUAL TABLE foo_schema USING clset (a, b)");
    assert_eq!(
        error,
        "Table foo has no primary key or primary key is nullable. CRRs must have a non nullable primary key"
    );
    let error = fails(&db, "CREATE VIRTUAL TABLE foo USING clset (a primary key not null)");
    assert!(error.starts_with("foo MUST end with _schema. E.g., foo_schema."), "{error}");
    fails(&db, "CREATE VIRTUAL TABLE kept_schema USING clset (a primary key not null)");
    fails(&db, "CREATE VIRTUAL TABLE temp.foo_schema USING clset (a primary key not null)");
    let left = "SELECT name FROM sqlite_master WHERE name LIKE '%foo%'";
    assert_eq!(db.rows(left), [""; 0]);
    db.run("CREATE TABLE other (x); COMMIT");
    assert_eq!(db.rows(left), [""; 0]);
    assert_eq!(db.rows("SELECT a FROM kept"), ["1"]);
    assert_eq!(db.rows("PRAGMA integrity_check"), ["ok"]);
    db.run("CREATE TABLE foo (x); DROP TABLE foo");
}

#[cfg(not(target_family = "wasm"))]
#[test]
fn a_database_with_a_clset_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let conn = rusqlite::Connection::open(folder.path().join("db")).unwrap();
        let engine = crsql_sync::crr::Engine::install(&conn).unwrap();
        Peer { conn, engine }
    };
    open()
        .run("CREATE VIRTUAL TABLE foo_schema USING clset (a primary key not null, b); INSERT INTO foo VALUES (1, 2)");
    let db = open();
    db.run("INSERT INTO foo VALUES (2, 3); DROP TABLE foo_schema");
    assert_eq!(db.rows("SELECT name FROM sqlite_master WHERE name LIKE '%foo%'"), [""; 0]);
}

#[test]
fn a_clset_cannot_be_renamed_so_it_never_stands_for_another_table() {
    let db =
        Peer::new("CREATE VIRTUAL TABLE foo_schema USING clset (a PRIMARY KEY NOT NULL, b); CREATE TABLE bar (mine)");
    db.run("INSERT INTO foo VALUES (1, 1)");
    for name in ["bar_schema", "bars", "new_schema"] {
        let error = fails(&db, &format!("ALTER TABLE foo_schema RENAME TO {name}"));
        assert!(error.contains("keeps its name"), "{error}");
        db.run("UPDATE foo SET b = b + 1");
    }
    db.run("ALTER TABLE foo RENAME TO new; UPDATE new SET b = 9");
    assert_eq!(db.rows("SELECT \"table\", val FROM crsql_changes"), ["new 9"]);
    db.run("DROP TABLE foo_schema; UPDATE new SET b = 10");
    assert_eq!(db.rows("SELECT \"table\", val FROM crsql_changes"), ["new 10"]);
    assert_eq!(
        db.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%crsql%' ORDER BY 1"),
        ["bar", "new"]
    );
}
