//! The small print of the SQL surface: what is counted, numbered and accepted where.
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
const ALL: &str = "SELECT \"table\", pk, cid, val, col_version, db_version, site_id, cl, seq FROM crsql_changes";

/// Carries changes through SQL, as users of cr-sqlite do.
fn sync(from: &Peer, to: &Peer, which: &str) {
    let mut select = from.conn.prepare(&format!("{ALL} {which}")).unwrap();
    let mut changes = select.query([]).unwrap();
    to.run("BEGIN");
    while let Some(change) = changes.next().unwrap() {
        let values = (0..9).map(|i| change.get::<_, rusqlite::types::Value>(i).unwrap());
        to.conn
            .execute("INSERT INTO crsql_changes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rusqlite::params_from_iter(values))
            .unwrap();
    }
    to.run("COMMIT");
}

fn change_of(db: &Peer, site: &str) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO crsql_changes (\"table\", pk, cid, val, col_version, db_version, cl, seq, site_id)";
    db.conn.execute(&format!("{sql} VALUES ('foo', x'010901', 'b', 5, 2, 1, 1, 0, {site})"), [])
}

#[test]
fn site_ids_of_one_to_sixteen_bytes_are_kept_as_they_are() {
    for (site, stored) in
        [("x'aa'", "x'aa'"), ("'abc'", "x'616263'"), ("zeroblob(16)", "x'00000000000000000000000000000000'")]
    {
        let db = Peer::new(FOO);
        change_of(&db, site).unwrap();
        assert_eq!(db.rows("SELECT site_id FROM crsql_changes"), [stored]);
    }
}

#[test]
fn a_change_without_a_site_is_this_copys_own() {
    for site in ["NULL", "x''"] {
        let db = Peer::new(FOO);
        change_of(&db, site).unwrap();
        assert_eq!(db.rows("SELECT site_id = crsql_site_id() FROM crsql_changes"), ["1"]);
    }
}

#[test]
fn a_site_id_of_seventeen_bytes_is_refused() {
    let db = Peer::new(FOO);
    assert!(change_of(&db, "zeroblob(17)").is_err());
    assert!(db.rows(ALL).is_empty());
}

#[test]
fn each_transaction_that_writes_takes_one_version() {
    let db = Peer::new("");
    let version = || db.rows("SELECT crsql_db_version()");
    assert_eq!(version(), ["0"]);
    db.run("CREATE TABLE foo (a PRIMARY KEY NOT NULL, b)");
    assert_eq!(version(), ["0"]);
    db.run("SELECT crsql_as_crr('foo')");
    assert_eq!(version(), ["0"]);
    db.run("INSERT INTO foo VALUES (1, 2)");
    assert_eq!(version(), ["1"]);
    db.run("BEGIN; INSERT INTO foo VALUES (2, 2); INSERT INTO foo VALUES (3, 2); COMMIT");
    assert_eq!(version(), ["2"]);
    db.run("BEGIN; INSERT INTO foo VALUES (4, 2); ROLLBACK");
    assert_eq!(version(), ["2"]);
}

#[test]
fn rows_impacted_counts_winners_until_the_transaction_ends() {
    let db = Peer::new(FOO);
    assert_eq!(db.insert_change("foo", "010901", "'b', 5, 1, 1, 1, 0", 'a'), 1);
    assert_eq!(db.rows("SELECT crsql_rows_impacted()"), ["0"], "the transaction is over");
    assert_eq!(db.insert_change("foo", "010901", "'b', 5, 1, 1, 1, 0", 'a'), 0, "the same again");
    assert_eq!(db.insert_change("foo", "010901", "'b', 4, 1, 1, 1, 0", 'b'), 0, "a smaller value");
    assert_eq!(db.insert_change("foo", "010901", "'b', 6, 1, 1, 1, 0", 'b'), 1, "a larger value");
    assert_eq!(db.insert_change("foo", "010901", "'b', 0, 2, 1, 1, 0", 'b'), 1, "a larger clock");
    assert_eq!(db.insert_change("foo", "010901", "'-1', NULL, 2, 1, 2, 0", 'b'), 1, "a delete");
    assert_eq!(db.insert_change("foo", "010901", "'-1', NULL, 2, 1, 2, 0", 'a'), 0, "the same delete");
}

#[test]
fn the_author_of_a_change_is_kept_over_a_relay() {
    let [a, b, c] = [(); 3].map(|()| Peer::new(FOO));
    a.run("INSERT INTO foo VALUES (1, 2.0e2), (2, x'1232')");
    sync(&a, &b, "");
    b.run("INSERT INTO foo VALUES (3, 'of b')");
    sync(&b, &c, "");
    let select = "SELECT a, b FROM foo ORDER BY a";
    assert_eq!(c.rows(select), ["1 200.0", "2 x'1232'", "3 of b"]);
    let authors = c.rows("SELECT lower(hex(site_id)) FROM crsql_changes ORDER BY pk");
    let (a, b) = (a.engine.site_id().to_string(), b.engine.site_id().to_string());
    assert_eq!(authors, [a.clone(), a, b]);
}

#[test]
fn a_merge_moves_the_receiver_to_the_senders_version_and_a_later_write_wins_back() {
    let [a, b] = [(); 2].map(|()| Peer::new(FOO));
    a.run("INSERT INTO foo VALUES (1, 'a')");
    for i in 0..4 {
        a.run(&format!("UPDATE foo SET b = 'a{i}'"));
    }
    sync(&a, &b, "");
    assert_eq!(b.rows("SELECT crsql_db_version()"), ["5"]);
    b.run("UPDATE foo SET b = 'b'");
    sync(&b, &a, "WHERE db_version > 5");
    assert_eq!(a.rows("SELECT b FROM foo"), ["b"]);
}

#[test]
fn a_merge_of_what_is_known_moves_no_version() {
    let [a, b] = [(); 2].map(|()| Peer::new(FOO));
    for db in [&a, &b] {
        db.run("INSERT INTO foo VALUES (1, 1); UPDATE foo SET b = 2; DELETE FROM foo; INSERT INTO foo VALUES (1, 3)");
    }
    let before = (a.rows(ALL), b.rows(ALL));
    sync(&a, &b, "");
    sync(&b, &a, "");
    assert_eq!((a.rows(ALL), b.rows(ALL)), before);
}

#[test]
fn changes_are_told_apart_by_their_site() {
    let [a, b] = [(); 2].map(|()| Peer::new(FOO));
    a.run("INSERT INTO foo VALUES (1, 1)");
    b.run("INSERT INTO foo VALUES (2, 1), (3, 1)");
    sync(&b, &a, "");
    let count = |condition: &str| a.rows(&format!("SELECT count(*) FROM crsql_changes WHERE site_id {condition}"));
    assert_eq!(count("IS crsql_site_id()"), ["1"]);
    assert_eq!(count("= crsql_site_id()"), ["1"]);
    assert_eq!(count("IS NOT crsql_site_id()"), ["2"]);
    assert_eq!(count("IS NULL"), ["0"]);
}

#[test]
fn a_table_of_keys_alone_replicates() {
    let [a, b] = [(); 2].map(|()| {
        Peer::new("CREATE TABLE foo (a NOT NULL, b NOT NULL, PRIMARY KEY (a, b)); SELECT crsql_as_crr('foo');")
    });
    a.run("INSERT INTO foo VALUES (4, 5)");
    assert_eq!(a.rows("SELECT hex(pk), cid FROM crsql_changes"), ["0209040905 -1"]);
    sync(&a, &b, "");
    a.run("UPDATE foo SET b = 6");
    sync(&a, &b, "WHERE db_version > 1");
    assert_eq!(b.rows("SELECT a, b FROM foo"), ["4 6"]);
}

#[test]
fn nothing_is_recorded_while_the_sync_bit_is_set() {
    let db = Peer::new(FOO);
    assert_eq!(db.rows("SELECT crsql_internal_sync_bit(1)"), ["1"]);
    db.run("INSERT INTO foo VALUES (1, 1)");
    assert_eq!(db.rows("SELECT crsql_internal_sync_bit()"), ["1"]);
    assert_eq!(db.rows("SELECT crsql_internal_sync_bit(0)"), ["0"]);
    assert!(db.rows(ALL).is_empty());
    db.run("INSERT INTO foo VALUES (2, 1)");
    assert_eq!(db.rows(ALL).len(), 1);
}

#[test]
fn as_crr_takes_its_table_from_one_two_or_three_arguments() {
    let table = "CREATE TABLE foo (a PRIMARY KEY NOT NULL, b)";
    for call in ["crsql_as_crr('foo')", "crsql_as_crr('main', 'foo')", "crsql_as_crr('foo', 1, 2)"] {
        assert_eq!(Peer::new(table).rows(&format!("SELECT {call}")), ["OK"]);
    }
    for call in ["crsql_as_crr()", "crsql_as_crr(NULL)"] {
        let db = Peer::new(table);
        assert!(db.conn.query_row(&format!("SELECT {call}"), [], |_| Ok(())).is_err(), "{call}");
    }
}

#[test]
fn a_setting_is_stored_and_an_unknown_one_refused() {
    let db = Peer::new("");
    assert_eq!(db.rows("SELECT crsql_config_get('merge-equal-values')"), ["0"]);
    assert_eq!(db.rows("SELECT crsql_config_set('merge-equal-values', 1)"), ["1"]);
    assert_eq!(db.rows("SELECT crsql_config_get('merge-equal-values')"), ["1"]);
    assert_eq!(db.rows("SELECT value FROM crsql_master WHERE key = 'config.merge-equal-values'"), ["1"]);
    let unknown = db.conn.query_row("SELECT crsql_config_set('other', 1)", [], |_| Ok(()));
    assert!(unknown.unwrap_err().to_string().contains("Unknown setting name"));
}

#[test]
fn a_setting_keeps_its_number_and_follows_its_transaction() {
    let db = Peer::new(FOO);
    let get = || db.rows("SELECT crsql_config_get('merge-equal-values')").concat();
    assert_eq!(db.rows("SELECT crsql_config_set('merge-equal-values', 2)"), ["2"]);
    assert_eq!(get(), "2");
    assert_eq!(db.rows("SELECT value FROM crsql_master WHERE key = 'config.merge-equal-values'"), ["2"]);
    let tie = "INSERT INTO crsql_changes VALUES ('foo', x'010901', 'b', 1, 1, 1, ";
    db.run(&format!("{tie} x'aa', 1, 0); {tie} x'bb', 1, 0)"));
    let author = || db.rows("SELECT lower(hex(site_id)) FROM crsql_changes").concat();
    assert_eq!(author(), "aa", "any number but 1 is off");
    db.run(&format!("BEGIN; SELECT crsql_config_set('merge-equal-values', 1); {tie} x'bb', 1, 0)"));
    assert_eq!(author(), "bb");
    db.run("ROLLBACK");
    assert_eq!(get(), "2");
    db.run(&format!("{tie} x'cc', 1, 0)"));
    assert_eq!(author(), "aa");
    for bad in ["'1'", "NULL", "1.5", "x'01'"] {
        assert!(
            db.conn
                .query_row(&format!("SELECT crsql_config_set('merge-equal-values', {bad})"), [], |_| Ok(()))
                .is_err()
        );
    }
    assert_eq!(get(), "2");
}

#[test]
fn a_table_that_is_too_wide_is_refused_and_one_that_just_fits_takes_merges() {
    let wide = |columns: usize| {
        let names = (1..columns).map(|i| format!("c{i}")).collect::<Vec<_>>().join(", ");
        format!("CREATE TABLE wide (id INTEGER PRIMARY KEY NOT NULL, {names})")
    };
    let refused = |schema: &str| {
        let db = Peer::new(schema);
        let asked = db.conn.query_row("SELECT crsql_as_crr('wide')", [], |_| Ok(()));
        asked.unwrap_err().to_string()
    };
    assert!(refused(&wide(1998)).contains("too many columns"));
    let keys = (0..600).map(|i| format!("k{i} NOT NULL")).collect::<Vec<_>>().join(", ");
    let names = (0..600).map(|i| format!("k{i}")).collect::<Vec<_>>().join(", ");
    let error = refused(&format!("CREATE TABLE wide ({keys}, PRIMARY KEY ({names}))"));
    assert!(error.contains("too many primary key columns"), "{error}");

    let schema = format!("{}; SELECT crsql_as_crr('wide')", wide(1997));
    let (a, b) = (Peer::new(&schema), Peer::new(&schema));
    a.run("INSERT INTO wide (id, c1996) VALUES (1, 'last'); UPDATE wide SET c60 = 'middle'");
    b.merge(&a.changes_since(0));
    b.run("INSERT INTO crsql_changes VALUES ('wide', x'010902', 'c1996', 'other', 1, 1, x'aa', 1, 0)");
    assert_eq!(b.rows("SELECT id, c60, c1996 FROM wide"), ["1 middle last", "2 ∅ other"]);
}
