//! Where cr-sqlite 0.16 is known to go wrong, and what happens here instead. docs/cr-sqlite.md lists all such tests.
//!
//! The same bodies run natively and, in a service worker, in wasm.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::Peer;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

const FOO: &str = "CREATE TABLE foo (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('foo');";

/// What of a table can be its key.
const KEYS: [&str; 3] =
    ["a PRIMARY KEY NOT NULL, b)", "a PRIMARY KEY NOT NULL, b) WITHOUT ROWID", "a INTEGER PRIMARY KEY NOT NULL, b)"];

fn foo(definition: &str) -> Peer {
    Peer::new(&format!("CREATE TABLE foo ({definition}; SELECT crsql_as_crr('foo');"))
}

#[test]
fn filters_joined_by_or_lose_no_cell() {
    let db = Peer::new("CREATE TABLE foo (a PRIMARY KEY NOT NULL, b, c, d); SELECT crsql_as_crr('foo');");
    db.run("INSERT INTO foo VALUES (1, 2, 3, 4); UPDATE foo SET b = 5");
    let mine = "site_id = crsql_site_id()";
    let either = format!("(db_version = 1 AND {mine}) OR (db_version = 2 AND {mine})");
    assert_eq!(db.rows(&format!("SELECT cid FROM crsql_changes WHERE {either} ORDER BY 1")), ["b", "c", "d"]);
}

#[test]
fn a_key_that_takes_another_type_and_stays_equal_is_no_change_of_key() {
    for options in ["", "WITHOUT ROWID"] {
        let db =
            Peer::new(&format!("CREATE TABLE foo (a PRIMARY KEY NOT NULL, b) {options}; SELECT crsql_as_crr('foo');"));
        db.run("INSERT INTO foo VALUES (1, 'x'); UPDATE foo SET a = 1.0; UPDATE foo SET a = 1.0, b = 'y'");
        assert_eq!(db.rows("SELECT cid, val, col_version, cl FROM crsql_changes"), ["b y 2 1"], "{options}");
        // Both spellings of the key find the row.
        db.insert_change("foo", "010901", "'b', 'z', 5, 3, 1, 0", 'a');
        assert_eq!(db.rows("SELECT b, count(*) FROM foo"), ["z 1"], "{options}");
    }
}

#[test]
fn a_sentinel_keeps_its_causal_length_whatever_version_it_claims() {
    for (claimed, cl, alive) in [(3, 2, "0"), (2, 3, "1"), (9, 4, "0")] {
        let db = Peer::new(FOO);
        db.run("INSERT INTO foo VALUES (1, 1)");
        db.insert_change("foo", "010901", &format!("'-1', NULL, {claimed}, 2, {cl}, 0"), 'a');
        assert_eq!(db.rows("SELECT count(*) FROM foo"), [alive]);
        assert_eq!(db.rows("SELECT col_version, cl FROM crsql_changes WHERE cid = '-1'"), [format!("{cl} {cl}")]);
        let copy = Peer::new(FOO);
        copy.merge(&db.changes_since(0));
        assert_eq!(copy.rows("SELECT * FROM foo"), db.rows("SELECT * FROM foo"));
    }
}

#[test]
fn an_update_that_changes_nothing_takes_no_version() {
    for definition in KEYS {
        let db = foo(definition);
        db.run("INSERT INTO foo VALUES (1, 1); UPDATE foo SET b = 1; UPDATE foo SET a = 1, b = b");
        assert_eq!(db.rows("SELECT crsql_db_version()"), ["1"]);
        db.run("BEGIN; UPDATE foo SET b = 1; COMMIT; UPDATE foo SET b = 2");
        assert_eq!(db.rows("SELECT crsql_db_version(), db_version FROM crsql_changes"), ["2 2"]);
    }
}

#[test]
fn what_triggers_of_the_application_write_during_a_merge_reaches_every_copy() {
    let schema = "
      CREATE TABLE foo (a PRIMARY KEY NOT NULL, b); CREATE TABLE total (id INTEGER PRIMARY KEY NOT NULL, n);
      CREATE TABLE gone (a PRIMARY KEY NOT NULL, at) WITHOUT ROWID; CREATE TABLE mark (a PRIMARY KEY NOT NULL);
      SELECT crsql_as_crr('foo'); SELECT crsql_as_crr('total'); SELECT crsql_as_crr('gone'); SELECT crsql_as_crr('mark');";
    let triggers = "
      CREATE TRIGGER i AFTER INSERT ON foo BEGIN
        INSERT INTO total VALUES (1, 1) ON CONFLICT DO UPDATE SET n = n + 1; REPLACE INTO mark VALUES (NEW.a); END;
      CREATE TRIGGER u AFTER UPDATE ON foo BEGIN UPDATE foo SET b = b || '!' WHERE a = NEW.a AND b NOT LIKE '%!'; END;
      CREATE TRIGGER d AFTER DELETE ON foo BEGIN INSERT INTO gone VALUES (OLD.a, 'x'); DELETE FROM mark WHERE a = OLD.a; END;";
    // By SQL and by the library.
    for by_sql in [true, false] {
        let [writer, db, copy] = [(); 3].map(|()| Peer::new(schema));
        db.run(triggers);
        db.run("INSERT INTO mark VALUES (1), (2)");
        writer.run("INSERT INTO foo VALUES (1, 'a'), (2, 'b'), (3, 'c'); DELETE FROM foo WHERE a = 2");
        let changes = writer.changes_since(0);
        if by_sql {
            db.insert_change("foo", "010902", "'b', 'b', 1, 1, 1, 0", 'a');
            db.insert_change("foo", "010901", "'b', 'a', 1, 1, 1, 0", 'a');
            db.insert_change("foo", "010902", "'-1', NULL, 2, 2, 2, 0", 'a');
            db.insert_change("foo", "010903", "'b', 'c', 1, 1, 1, 0", 'a');
        } else {
            let first = |change: &&crsql_sync::crr::Change| change.version.get() == 1;
            db.merge(&changes.iter().filter(first).cloned().collect::<Vec<_>>());
            db.merge(&changes);
            db.insert_change("foo", "010902", "'b', 'b', 1, 1, 3, 0", 'a');
            db.insert_change("foo", "010902", "'-1', NULL, 4, 2, 4, 0", 'a');
        }
        copy.merge(&db.changes_since(0));
        for table in ["total", "gone", "mark"] {
            let all = format!("SELECT * FROM {table} ORDER BY 1");
            assert!(!db.rows(&all).is_empty(), "{table}");
            assert_eq!(copy.rows(&all), db.rows(&all), "{table}");
        }
        assert_eq!(
            db.rows("SELECT DISTINCT site_id = crsql_site_id() FROM crsql_changes WHERE \"table\" <> 'foo'"),
            ["1"]
        );
        // What is written to the table of the merge itself belongs to the merge: two copies with such a trigger would answer each
        // other for ever.
        assert_eq!(
            db.rows("SELECT count(*) FROM crsql_changes WHERE \"table\" = 'foo' AND site_id = crsql_site_id()"),
            ["0"]
        );
    }
}

#[test]
fn spellings_of_one_key_are_one_row_for_writes_merges_and_deletes() {
    for (declared, spellings) in [
        ("a TEXT COLLATE NOCASE NOT NULL PRIMARY KEY, b)", ["'Ab'", "'aB'"]),
        ("a TEXT COLLATE NOCASE NOT NULL PRIMARY KEY, b) WITHOUT ROWID", ["'Ab'", "'aB'"]),
        ("a TEXT COLLATE RTRIM NOT NULL PRIMARY KEY, b)", ["'x'", "'x  '"]),
        ("a NUMERIC NOT NULL PRIMARY KEY, b)", ["1", "'1.0'"]),
    ] {
        let [here, there] = spellings;
        let (db, peer) = (foo(declared), foo(declared));
        db.run(&format!("INSERT INTO foo VALUES ({here}, 1)"));
        peer.run(&format!("INSERT INTO foo VALUES ({there}, 2)"));
        db.merge(&peer.changes_since(0));
        assert_eq!(db.rows("SELECT count(*), max(b) FROM foo"), ["1 2"], "{declared}");
        db.run(&format!(
            "REPLACE INTO foo VALUES ({there}, 3); UPDATE foo SET a = {here}; UPDATE foo SET a = {there}, b = 4"
        ));
        assert_eq!(db.rows("SELECT count(*), max(cl) FROM crsql_changes"), ["1 1"], "{declared}");
        peer.merge(&db.changes_since(0));
        assert_eq!(peer.rows("SELECT b FROM foo"), ["4"], "{declared}");
        db.run(&format!("DELETE FROM foo WHERE a = {here}"));
        peer.merge(&db.changes_since(0));
        assert_eq!(peer.rows("SELECT count(*) FROM foo"), ["0"], "{declared}");
        peer.run(&format!("INSERT INTO foo VALUES ({here}, 5)"));
        db.merge(&peer.changes_since(0));
        assert_eq!(db.rows("SELECT b FROM foo"), ["5"], "{declared}");
        assert_eq!(db.rows("SELECT cid, cl FROM crsql_changes"), ["-1 3", "b 3"], "{declared}");
    }
}

#[test]
fn settings_that_the_engine_does_not_know_are_left_alone() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO crsql_master VALUES ('config.fig', 1), ('config.config.gino', 'x'), ('config.', NULL)");
    db.run("SELECT crsql_config_set('merge-equal-values', 1)");
    for name in ["fig", "config.gino", "", "merge-equal-value", "config.merge-equal-values", "erge-equal-values"] {
        for call in [format!("crsql_config_get('{name}')"), format!("crsql_config_set('{name}', 1)")] {
            let error = db.conn.query_row(&format!("SELECT {call}"), [], |_| Ok(())).unwrap_err();
            assert!(error.to_string().contains("Unknown setting name"), "{call}: {error}");
        }
    }
    assert_eq!(db.rows("SELECT count(*) FROM crsql_master WHERE key LIKE 'config.%'"), ["4"]);
}

#[test]
fn clocks_of_a_row_that_went_unseen_say_nothing_and_the_row_can_come_back() {
    for definition in KEYS {
        let (db, peer) = (foo(definition), foo(definition));
        db.run("INSERT INTO foo VALUES (1, 'x'), (2, 'y'), (3, 'z')");
        peer.merge(&db.changes_since(0));
        db.run("SELECT crsql_internal_sync_bit(1); DELETE FROM foo WHERE a = 2; DELETE FROM foo WHERE a = 3; SELECT crsql_internal_sync_bit(0)");
        assert_eq!(db.changes(), ["010901 b x 1 1 1 0"], "{definition}");
        assert_eq!(db.changes_since(0).len(), 1);
        // The peer's row comes back by a merge of what this copy once wrote, and of the equal version.
        db.insert_change("foo", "010902", "'b', 'y', 1, 1, 1, 1", 'a');
        assert_eq!(db.rows("SELECT a, b FROM foo ORDER BY a"), ["1 x", "2 y"], "{definition}");
        // A delete of a row that is gone already.
        db.insert_change("foo", "010903", "'-1', NULL, 2, 2, 2, 0", 'a');
        assert_eq!(db.rows("SELECT a FROM foo ORDER BY a"), ["1", "2"], "{definition}");
        // And other rows are not touched by what was left behind.
        db.run("INSERT INTO foo VALUES (4, 'new'), (5, 'new'); UPDATE foo SET b = 'newer' WHERE a = 4");
        let copy = foo(definition);
        copy.merge(&db.changes_since(0));
        assert_eq!(copy.rows("SELECT * FROM foo ORDER BY a"), db.rows("SELECT * FROM foo ORDER BY a"), "{definition}");
        peer.merge(&db.changes_since(0));
        assert_eq!(peer.rows("SELECT a FROM foo ORDER BY a"), ["1", "2", "4", "5"], "{definition}");
    }
}

#[test]
fn a_row_that_came_unseen_merges_like_one_that_is_new() {
    for definition in KEYS {
        let db = foo(definition);
        db.run("SELECT crsql_internal_sync_bit(1); INSERT INTO foo VALUES (1, 'unseen'), (2, 'unseen'), (3, 'unseen'); SELECT crsql_internal_sync_bit(0)");
        assert!(db.changes().is_empty());
        db.insert_change("foo", "010901", "'b', 'x', 1, 1, 1, 0", 'a');
        db.insert_change("foo", "010902", "'-1', NULL, 2, 1, 2, 0", 'a');
        db.run("UPDATE foo SET b = 'seen' WHERE a = 3");
        assert_eq!(db.rows("SELECT a, b FROM foo ORDER BY a"), ["1 x", "3 seen"], "{definition}");
        assert_eq!(
            db.changes(),
            ["010901 b x 1 1 1 0", "010902 -1 ∅ 2 2 2 0", "010903 b seen 1 3 1 0"],
            "{definition}"
        );
    }
}
