//! The engine against traces of cr-sqlite 0.16: what each statement leaves in `crsql_changes`.
//!
//! The same bodies run natively and, in a service worker, in wasm.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::Peer;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

const FOO: &str = "CREATE TABLE foo (a PRIMARY KEY NOT NULL, b, c); SELECT crsql_as_crr('foo');";
const TWO: &str = "CREATE TABLE foo (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('foo');";

#[test]
fn the_life_of_a_row() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 2, 3)");
    assert_eq!(db.changes(), ["010901 b 2 1 1 1 0", "010901 c 3 1 1 1 1"]);
    db.run("UPDATE foo SET b = 2");
    assert_eq!(db.rows("SELECT crsql_db_version()"), ["1"], "an update that changes nothing takes no version");
    db.run("UPDATE foo SET b = 3");
    assert_eq!(db.changes(), ["010901 c 3 1 1 1 1", "010901 b 3 2 2 1 0"]);
    db.run("INSERT OR REPLACE INTO foo VALUES (1, 3, 9)");
    assert_eq!(db.changes(), ["010901 b 3 3 3 1 1", "010901 c 9 2 3 1 2"]);
    db.run("DELETE FROM foo");
    assert_eq!(db.changes(), ["010901 -1 ∅ 2 4 2 0"]);
    db.run("INSERT INTO foo (a, b) VALUES (1, 5)");
    assert_eq!(db.changes(), ["010901 -1 ∅ 3 5 3 0", "010901 b 5 1 5 3 1", "010901 c ∅ 1 5 3 2"]);
    db.run("INSERT OR REPLACE INTO foo VALUES (1, 6, 7)");
    assert_eq!(db.changes(), ["010901 -1 ∅ 5 6 5 0", "010901 b 6 2 6 5 1", "010901 c 7 2 6 5 2"]);
    db.run("INSERT INTO foo VALUES (1, 6, 8) ON CONFLICT DO UPDATE SET c = excluded.c");
    assert_eq!(db.changes(), ["010901 -1 ∅ 5 6 5 0", "010901 b 6 2 6 5 1", "010901 c 8 3 7 5 0"]);
    db.run("UPDATE foo SET a = 2, b = 100");
    // The moved cells are restamped, ahead of the tombstone: b, moved and changed, has used seq 0 on the way.
    assert_eq!(
        db.changes(),
        ["010902 c 8 3 8 1 1", "010901 -1 ∅ 6 8 6 2", "010902 -1 ∅ 1 8 1 3", "010902 b 100 3 8 1 4"]
    );
    db.run("UPDATE foo SET a = 1");
    assert_eq!(
        db.changes(),
        ["010901 b 100 3 9 7 0", "010901 c 8 3 9 7 1", "010902 -1 ∅ 2 9 2 2", "010901 -1 ∅ 7 9 7 3"]
    );
}

#[test]
fn an_integer_primary_key_behaves_like_any_other() {
    let db = Peer::new("CREATE TABLE foo (a INTEGER PRIMARY KEY NOT NULL, b, c); SELECT crsql_as_crr('foo');");
    db.run("INSERT INTO foo VALUES (1, 2, 3)");
    db.run("INSERT OR REPLACE INTO foo VALUES (1, 3, 9)");
    assert_eq!(db.changes(), ["010901 b 3 2 2 1 1", "010901 c 9 2 2 1 2"]);
    db.run("UPDATE foo SET a = 7");
    assert_eq!(
        db.changes(),
        ["010907 b 3 2 3 1 0", "010907 c 9 2 3 1 1", "010901 -1 ∅ 2 3 2 2", "010907 -1 ∅ 1 3 1 3"]
    );
    db.run("DELETE FROM foo; INSERT INTO foo VALUES (7, 1, 1)");
    assert_eq!(
        db.changes(),
        ["010901 -1 ∅ 2 3 2 2", "010907 -1 ∅ 3 5 3 0", "010907 b 1 1 5 3 1", "010907 c 1 1 5 3 2"]
    );
}

#[test]
fn a_table_of_keys_alone_has_sentinels() {
    let db = Peer::new("CREATE TABLE link (a NOT NULL, b NOT NULL, PRIMARY KEY (a, b)); SELECT crsql_as_crr('link');");
    db.run("INSERT INTO link VALUES (4, 5)");
    assert_eq!(db.changes(), ["0209040905 -1 ∅ 1 1 1 0"]);
    db.run("DELETE FROM link");
    assert_eq!(db.changes(), ["0209040905 -1 ∅ 2 2 2 0"]);
    db.run("INSERT INTO link VALUES (4, 5)");
    assert_eq!(db.changes(), ["0209040905 -1 ∅ 3 3 3 0"]);
    db.run("UPDATE link SET b = 6");
    assert_eq!(db.changes(), ["0209040905 -1 ∅ 4 4 4 0", "0209040906 -1 ∅ 1 4 1 1"]);
}

#[test]
fn merges_follow_causal_length_then_version_then_value() {
    let db = Peer::new(TWO);
    let merge = |change, site| db.insert_change("foo", "010901", change, site);
    let me = |cl_rows: &[&str]| assert_eq!(db.changes(), cl_rows);
    assert_eq!(merge("'-1', NULL, 2, 5, 2, 0", 'a'), 1);
    me(&["010901 -1 ∅ 2 5 2 0"]);
    assert_eq!(merge("'b', 9, 50, 6, 1, 0", 'a'), 0);
    assert_eq!(merge("'-1', NULL, 2, 9, 2, 0", 'b'), 0);
    me(&["010901 -1 ∅ 2 5 2 0"]);
    assert_eq!(merge("'-1', NULL, 4, 9, 4, 0", 'b'), 1);
    me(&["010901 -1 ∅ 4 9 4 0"]);
    assert_eq!(merge("'b', 3, 7, 9, 5, 2", 'a'), 2);
    me(&["010901 -1 ∅ 5 10 5 2", "010901 b 3 7 10 5 2"]);
    assert_eq!(merge("'-1', NULL, 5, 9, 5, 1", 'a'), 0);
    assert_eq!(merge("'-1', NULL, 7, 10, 7, 1", 'c'), 1);
    me(&["010901 -1 ∅ 7 11 7 1", "010901 b 3 0 11 7 2"]);
    assert_eq!(merge("'b', 99, 0, 10, 7, 1", 'c'), 1);
    me(&["010901 -1 ∅ 7 11 7 1", "010901 b 99 0 12 7 1"]);
    assert_eq!(merge("'b', 2, 1, 10, 7, 1", 'c'), 1);
    me(&["010901 -1 ∅ 7 11 7 1", "010901 b 2 1 13 7 1"]);
}

#[test]
fn local_writes_and_merges_of_one_transaction_share_its_version() {
    let db = Peer::new(TWO);
    db.run("INSERT INTO foo VALUES (1, 1)");
    let site = "a".repeat(32);
    db.run(&format!(
        "BEGIN; INSERT INTO foo VALUES (2, 2);
         INSERT INTO crsql_changes VALUES ('foo', x'010903', 'b', 3, 1, 50, x'{site}', 1, 7);
         INSERT INTO foo VALUES (4, 4); COMMIT"
    ));
    assert_eq!(
        db.changes(),
        ["010901 b 1 1 1 1 0", "010902 b 2 1 2 1 0", "010904 b 4 1 50 1 1", "010903 b 3 1 50 1 7"]
    );
    assert_eq!(db.rows("SELECT crsql_db_version()"), ["50"]);
}

#[test]
fn writes_that_a_savepoint_took_back_leave_only_a_gap_in_the_seqs() {
    let db = Peer::new(FOO);
    db.run(
        "BEGIN; INSERT INTO foo VALUES (1, 1, 1); SAVEPOINT s; INSERT INTO foo VALUES (2, 2, 2); ROLLBACK TO s;
         INSERT INTO foo VALUES (3, 3, 3); COMMIT",
    );
    assert_eq!(db.changes(), ["010901 b 1 1 1 1 0", "010901 c 1 1 1 1 1", "010903 b 3 1 1 1 4", "010903 c 3 1 1 1 5"]);
}

#[test]
fn a_savepoint_taken_back_after_a_read_loses_nothing_older() {
    let db = Peer::new(TWO);
    db.run("BEGIN; INSERT INTO foo VALUES (1, 1); SAVEPOINT s; INSERT INTO foo VALUES (2, 2)");
    assert_eq!(db.changes().len(), 2, "a transaction sees its own changes");
    db.run("ROLLBACK TO s; COMMIT");
    assert_eq!(db.changes(), ["010901 b 1 1 1 1 0"]);
}

#[test]
fn a_rolled_back_transaction_takes_no_version() {
    let db = Peer::new(TWO);
    db.run("BEGIN; INSERT INTO foo VALUES (1, 1); ROLLBACK");
    assert_eq!(db.changes(), [""; 0]);
    db.run("INSERT INTO foo VALUES (2, 2)");
    assert_eq!(db.changes(), ["010902 b 2 1 1 1 0"]);
}

#[test]
fn existing_rows_are_recorded_in_the_order_of_their_keys() {
    let db = Peer::new("CREATE TABLE foo (a PRIMARY KEY NOT NULL, b, c)");
    db.run("INSERT INTO foo (a) VALUES ('z'), (3), (1.5), (x'00'), (1); SELECT crsql_as_crr('foo')");
    assert_eq!(
        db.rows("SELECT lower(hex(pk)), cid, db_version, seq FROM crsql_changes WHERE cid = 'b'"),
        ["010901 b 1 0", "01023ff8000000000000 b 1 2", "010903 b 1 4", "010b017a b 1 6", "010c0100 b 1 8"]
    );
    db.run("SELECT crsql_as_crr('foo')");
    assert_eq!(db.rows("SELECT count(*), crsql_db_version() FROM crsql_changes"), ["10 1"]);
}

#[test]
fn a_replaced_row_keeps_its_history_wherever_it_is_stored() {
    let db = Peer::new("CREATE TABLE foo (a TEXT PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('foo');");
    db.run("INSERT INTO foo VALUES ('x', 1), ('y', 1), ('z', 1)");
    db.run("INSERT OR REPLACE INTO foo VALUES ('x', 2)");
    assert_eq!(db.rows("SELECT cid, val, col_version, cl FROM crsql_changes WHERE db_version = 2"), ["b 2 2 1"]);
    db.run("INSERT OR IGNORE INTO foo VALUES ('y', 9)");
    db.run("UPDATE OR REPLACE foo SET a = 'z' WHERE a = 'y'");
    assert_eq!(
        db.rows("SELECT lower(hex(pk)), cid, val, col_version, cl FROM crsql_changes WHERE db_version = 3"),
        ["010b017a b 1 2 1", "010b0179 -1 ∅ 2 2", "010b017a -1 ∅ 1 1"],
        "the moved cell beats the one that it replaced"
    );
}

#[test]
fn a_moved_row_arrives_with_its_values() {
    let (a, b) = (Peer::new(TWO), Peer::new(TWO));
    a.run("INSERT INTO foo VALUES (1, 'x')");
    b.merge(&a.changes_since(0));
    a.run("UPDATE foo SET a = 2");
    b.merge(&a.changes_since(1));
    assert_eq!(b.rows("SELECT * FROM foo"), ["2 x"]);
}

#[test]
fn a_merge_leaves_the_rowid_that_the_application_sees_alone() {
    let db = Peer::new("CREATE TABLE foo (a INTEGER PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('foo');");
    db.run("INSERT INTO foo VALUES (41, 1)");
    assert_eq!(db.rows("SELECT last_insert_rowid(), changes()"), ["41 1"]);
}

#[test]
fn the_site_id_is_a_uuid_and_belongs_to_the_database() {
    let db = Peer::new(TWO);
    assert_eq!(db.rows("SELECT length(crsql_site_id()), substr(hex(crsql_site_id()), 13, 1)"), ["16 4"]);
    assert_eq!(db.rows("SELECT crsql_site_id() = site_id FROM crsql_site_id WHERE ordinal = 0"), ["1"]);
}

#[test]
fn a_table_that_cannot_be_replicated_is_refused_and_nothing_changes() {
    let db = Peer::new("");
    for (table, why) in [
        ("CREATE TABLE t (a)", "no primary key"),
        ("CREATE TABLE t (a PRIMARY KEY)", "nullable"),
        ("CREATE TABLE t (a NOT NULL, b, PRIMARY KEY (a, b))", "composite"),
        ("CREATE TABLE t (a PRIMARY KEY NOT NULL, b UNIQUE)", "unique indices"),
        ("CREATE TABLE t (a PRIMARY KEY NOT NULL, b NOT NULL)", "DEFAULT VALUE"),
        ("CREATE TABLE t (a INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL)", "auto-increment"),
        ("CREATE TABLE t (a PRIMARY KEY NOT NULL, b REFERENCES t (a))", "foreign key"),
    ] {
        db.run(table);
        let before = db.rows("SELECT name FROM sqlite_master ORDER BY name");
        let error = db.conn.query_row("SELECT crsql_as_crr('t')", [], |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains(why), "{table}: {error}");
        assert_eq!(db.rows("SELECT name FROM sqlite_master ORDER BY name"), before);
        db.run("DROP TABLE t");
    }
}

#[test]
fn a_failed_upgrade_leaves_the_open_transaction_alone() {
    let db = Peer::new("CREATE TABLE t (a)");
    db.run("BEGIN; INSERT INTO t VALUES (1)");
    assert!(db.conn.execute_batch("SELECT crsql_as_crr('t')").is_err());
    db.run("COMMIT");
    assert_eq!(db.rows("SELECT * FROM t"), ["1"]);
}

#[test]
fn malformed_changes_are_refused_and_leave_nothing() {
    let db = Peer::new(
        "CREATE TABLE foo (a INTEGER PRIMARY KEY NOT NULL, b NOT NULL DEFAULT 0 CHECK (b <> 13)); SELECT crsql_as_crr('foo');",
    );
    db.run("INSERT INTO foo VALUES (1, 1)");
    let before = db.changes();
    for (bad, why) in [
        ("'bar', x'010901', 'b', 1, 1, 1, NULL, 1, 0", "not a replicated table"),
        ("'foo', x'010901', 'x', 1, 1, 1, NULL, 1, 0", "no replicated column"),
        ("'foo', x'010901', 'a', 1, 1, 1, NULL, 1, 0", "no replicated column"),
        ("'foo', x'', 'b', 1, 1, 1, NULL, 1, 0", "invalid primary key"),
        ("'foo', NULL, 'b', 1, 1, 1, NULL, 1, 0", "invalid primary key"),
        ("'foo', x'0209010902', 'b', 1, 1, 1, NULL, 1, 0", "number of values"),
        ("'foo', x'010b0161', 'b', 1, 1, 1, NULL, 1, 0", "takes an integer"),
        ("'foo', x'0105', 'b', 1, 1, 1, NULL, 1, 0", "no NULL"),
        ("'foo', x'0149010101010101010101', 'b', 1, 1, 1, NULL, 1, 0", "more than 8 bytes"),
        ("'foo', x'010902', 'b', 1, 1, 9223372036854775807, NULL, 1, 0", "out of range"),
        ("'foo', x'010902', 'b', 1, 9223372036854775807, 1, NULL, 1, 0", "out of range"),
        ("'foo', x'010902', 'b', 1, 1, 1, NULL, 9223372036854775807, 0", "out of range"),
        ("'foo', x'010902', 'b', 1, 1, 1, NULL, 1, -1", "out of range"),
        ("'foo', x'010902', 'b', 1, 1, 1, NULL, 2, 0", "not there"),
        ("'foo', x'010902', 'b', 1, 1, 1, x'aabbccddeeff00112233445566778899aa', 1, 0", "16 bytes"),
        ("'foo', x'010902', 'b', NULL, 1, 1, NULL, 1, 0", "NOT NULL"),
        ("'foo', x'010902', 'b', 13, 1, 1, NULL, 1, 0", "CHECK"),
    ] {
        db.run("BEGIN");
        let error =
            db.conn.execute_batch(&format!("INSERT INTO crsql_changes VALUES ({bad})")).unwrap_err().to_string();
        db.run("COMMIT");
        assert!(error.contains(why), "{bad}: {error}");
        assert_eq!(db.changes(), before, "{bad}");
    }
}

#[test]
fn copies_that_exchanged_everything_are_equal() {
    let peers: Vec<Peer> = (0..3).map(|_| Peer::new(FOO)).collect();
    peers[0].run("INSERT INTO foo VALUES (1, 'a', 'a'), (2, 'a', 'a'), (3, 'a', 'a')");
    for peer in &peers[1..] {
        peer.merge(&peers[0].changes_since(0));
    }
    peers[0].run("UPDATE foo SET b = 'zero' WHERE a = 1; DELETE FROM foo WHERE a = 2");
    peers[1].run("UPDATE foo SET b = 'one', c = 'one'; DELETE FROM foo WHERE a = 3");
    peers[2]
        .run("DELETE FROM foo WHERE a = 1; INSERT INTO foo VALUES (1, 'two', 'two'); UPDATE foo SET a = 9 WHERE a = 3");
    for _ in 0..2 {
        for from in &peers {
            for to in &peers {
                to.merge(&from.changes_since(0));
            }
        }
    }
    let rows = peers[0].rows("SELECT * FROM foo ORDER BY a");
    for peer in &peers {
        assert_eq!(peer.rows("SELECT * FROM foo ORDER BY a"), rows);
        assert_eq!(peer.merge(&peers[0].changes_since(0)), 0, "a merge of what is known changes nothing");
    }
}

#[test]
fn user_triggers_can_tell_a_merge_from_a_local_write() {
    let db = Peer::new(
        "CREATE TABLE foo (a PRIMARY KEY NOT NULL, b); CREATE TABLE seen (bit);
         CREATE TRIGGER t AFTER INSERT ON foo BEGIN INSERT INTO seen VALUES (crsql_internal_sync_bit()); END;
         SELECT crsql_as_crr('foo');",
    );
    db.run("INSERT INTO foo VALUES (1, 1)");
    db.insert_change("foo", "010902", "'b', 1, 1, 1, 1, 0", 'a');
    assert_eq!(db.rows("SELECT bit FROM seen"), ["0", "1"]);
}

#[test]
fn writes_of_user_triggers_to_other_tables_are_tracked_during_a_merge() {
    let db = Peer::new(
        "CREATE TABLE foo (a PRIMARY KEY NOT NULL, b); CREATE TABLE audit (a PRIMARY KEY NOT NULL, n NOT NULL DEFAULT 0);
         SELECT crsql_as_crr('foo'); SELECT crsql_as_crr('audit');
         CREATE TRIGGER t AFTER INSERT ON foo BEGIN INSERT INTO audit VALUES (NEW.a, 1); END;",
    );
    db.insert_change("foo", "010902", "'b', 1, 1, 1, 1, 0", 'a');
    assert_eq!(db.rows("SELECT \"table\", cid, val FROM crsql_changes ORDER BY 1"), ["audit n 1", "foo b 1"]);
}

#[test]
fn names_that_need_quotes_are_as_good_as_others() {
    let schema = r#"CREATE TABLE "my ""table's" ("primary key" PRIMARY KEY NOT NULL, "select", "a""b", key); SELECT crsql_as_crr('my "table''s');"#;
    let (a, b) = (Peer::new(schema), Peer::new(schema));
    a.run(r#"INSERT INTO "my ""table's" VALUES ('x', 1, 2, 3); UPDATE "my ""table's" SET "a""b" = 9"#);
    a.run(
        r#"INSERT OR REPLACE INTO "my ""table's" VALUES ('x', 4, 5, 6); UPDATE "my ""table's" SET "primary key" = 'y'"#,
    );
    b.merge(&a.changes_since(0));
    assert_eq!(b.rows(r#"SELECT * FROM "my ""table's""#), ["y 4 5 6"]);
    assert_eq!(b.changes().len(), 5);
}

#[test]
fn a_table_may_be_wider_than_an_integer_has_bits() {
    let columns: Vec<String> = (0..150).map(|i| format!("c{i}")).collect();
    let schema =
        format!("CREATE TABLE wide (id PRIMARY KEY NOT NULL, {}); SELECT crsql_as_crr('wide')", columns.join(", "));
    let db = Peer::new(&schema);
    db.run("INSERT INTO wide (id) VALUES (1)");
    db.run("UPDATE wide SET c0 = 1, c61 = 1, c62 = 1, c123 = 1, c124 = 1, c149 = 1");
    let changed = db.rows("SELECT cid, col_version, seq FROM crsql_changes WHERE db_version = 2");
    assert_eq!(changed, ["c0 2 0", "c61 2 1", "c62 2 2", "c123 2 3", "c124 2 4", "c149 2 5"]);
    db.run("UPDATE wide SET id = 2, c149 = 2");
    assert_eq!(db.rows("SELECT count(*) FROM crsql_changes WHERE db_version = 3"), ["152"]);
}

#[test]
fn a_replace_that_fires_delete_triggers_deletes_and_reinserts() {
    let db = Peer::new(TWO);
    db.run("INSERT INTO foo VALUES (1, 1); PRAGMA recursive_triggers = ON; INSERT OR REPLACE INTO foo VALUES (1, 2)");
    assert_eq!(db.rows("SELECT cid, val, col_version, cl FROM crsql_changes"), ["-1 ∅ 3 3", "b 2 1 3"]);
}

#[test]
fn columns_named_like_the_rowid_do_not_hide_it() {
    let db = Peer::new("CREATE TABLE foo (rowid TEXT PRIMARY KEY NOT NULL, oid); SELECT crsql_as_crr('foo');");
    db.run("INSERT INTO foo VALUES ('x', 1); UPDATE foo SET oid = 2; DELETE FROM foo");
    assert_eq!(db.changes(), ["010b0178 -1 ∅ 2 3 2 0"]);
}

#[test]
fn a_key_with_a_collation_names_one_row_in_all_its_spellings() {
    let db = Peer::new("CREATE TABLE foo (a TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('foo');");
    db.run("INSERT INTO foo VALUES ('A', 1); INSERT OR REPLACE INTO foo VALUES ('a', 2)");
    assert_eq!(db.rows("SELECT count(*), max(col_version) FROM crsql_changes"), ["1 2"]);
    db.run("DELETE FROM foo; INSERT INTO foo VALUES ('A', 3)");
    assert_eq!(db.rows("SELECT cid, cl FROM crsql_changes"), ["-1 3", "b 3"]);
}

#[test]
fn a_replaced_key_is_found_after_its_affinity_was_applied() {
    let db = Peer::new(
        "CREATE TABLE foo (a INT NOT NULL, b TEXT NOT NULL, c, PRIMARY KEY (a, b)); SELECT crsql_as_crr('foo');",
    );
    db.run("INSERT INTO foo VALUES ('5', 7, 1); INSERT OR REPLACE INTO foo VALUES (5, '7', 2)");
    assert_eq!(db.rows("SELECT val, col_version FROM crsql_changes"), ["2 2"]);
}

#[test]
fn vacuum_keeps_every_clock_with_its_row() {
    let db = Peer::new("CREATE TABLE foo (a TEXT PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('foo');");
    db.run("INSERT INTO foo VALUES ('a', 1), ('b', 2), ('c', 3), ('d', 4); DELETE FROM foo WHERE a IN ('a', 'c')");
    let before = db.changes();
    db.run("VACUUM");
    assert_eq!(db.changes(), before);
}

#[test]
fn bounds_on_versions_select_what_they_say() {
    let db = Peer::new(TWO);
    for i in 1..=5 {
        db.run(&format!("INSERT INTO foo VALUES ({i}, {i})"));
    }
    let versions = |condition: &str| {
        db.rows(&format!("SELECT db_version FROM crsql_changes WHERE {condition} ORDER BY db_version DESC, seq ASC"))
    };
    assert_eq!(versions("db_version > 3"), ["5", "4"]);
    assert_eq!(versions("db_version >= 3 AND db_version < 5"), ["4", "3"]);
    assert_eq!(versions("db_version = 2"), ["2"]);
    assert_eq!(versions("db_version = 2.0 OR db_version = '4'"), ["4", "2"]);
    assert_eq!(versions("db_version <= 1 OR val = 5"), ["5", "1"]);
    assert_eq!(versions("db_version > 99"), [""; 0]);
    assert_eq!(versions("site_id IS NOT crsql_site_id()"), [""; 0]);
}

#[test]
fn the_log_does_not_grow_with_history() {
    let db = Peer::new(FOO);
    db.run("INSERT INTO foo VALUES (1, 0, 0), (2, 0, 0), (3, 0, 0); DELETE FROM foo WHERE a = 3");
    let mut update = db.conn.prepare("UPDATE foo SET b = b + 1 WHERE a = 1").unwrap();
    for _ in 0..10_000 {
        update.execute([]).unwrap();
    }
    drop(update);
    assert_eq!(db.rows("SELECT count(*) < 5000, max(version) FROM crsql_log"), ["1 10002"]);
    let all = [
        "010901 c 0 1 1 1 1",
        "010902 b 0 1 1 1 2",
        "010902 c 0 1 1 1 3",
        "010903 -1 ∅ 2 2 2 0",
        "010901 b 10000 10001 10002 1 0",
    ];
    assert_eq!(db.changes(), all);
    assert_eq!(db.changes_since(2).len(), 1);
}
