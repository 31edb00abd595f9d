//! Noise in place of changes: an error or a merge, never a panic, and never half a merge.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::Peer;
use proptest::prelude::*;
use rusqlite::types::Value;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

const SCHEMA: &str = "
  CREATE TABLE num (id INTEGER PRIMARY KEY NOT NULL, x CHECK (x IS NOT 13), y NOT NULL DEFAULT '');
  CREATE TABLE txt (id TEXT NOT NULL, part INT NOT NULL, x, PRIMARY KEY (id, part));
  SELECT crsql_as_crr('num'); SELECT crsql_as_crr('txt');
  INSERT INTO num VALUES (1, 1, 'a'), (2, 2, 'b'); INSERT INTO txt VALUES ('a', 1, 1); DELETE FROM num WHERE id = 2;";

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => (0..4i64).prop_map(Value::Integer),
        1 => prop::sample::select(vec![i64::MIN, -1, i64::MAX, 1 << 53, (1 << 53) - 1]).prop_map(Value::Integer),
        1 => value(),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        prop::sample::select(vec![0, 1, 13, i64::MIN]).prop_map(Value::Integer),
        Just(Value::Real(1.5)),
        ".{0,3}".prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Blob),
    ]
}

fn change() -> impl Strategy<Value = Vec<Value>> {
    let text = |names: &'static [&'static str]| {
        let known = prop::sample::select(names).prop_map(|name| Value::Text(name.into()));
        prop_oneof![9 => known, 1 => value()]
    };
    let pk = prop::sample::select(vec!["010901", "010902", "020b01610901", "020b01620901", "01", "", "0109", "014101"])
        .prop_map(|pk| Value::Blob(hex::decode(pk).unwrap()));
    let site = prop_oneof![4 => (0..3u8).prop_map(|i| Value::Blob(vec![i; 16])), 1 => value()];
    let fields = (
        text(&["num", "txt", "nothing"]),
        prop_oneof![9 => pk, 1 => value()],
        text(&["-1", "x", "y", "id", "z"]),
        value(),
        (number(), number(), number(), number()),
        site,
    );
    fields.prop_map(|(table, pk, cid, val, (cv, dv, cl, seq), site)| vec![table, pk, cid, val, cv, dv, site, cl, seq])
}

#[test]
fn noise_is_refused_whole_or_merged_whole() {
    let config = ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let histories = prop::collection::vec(change(), 1..30);
    let run = |history: Vec<Vec<Value>>| {
        let (db, copy) = (Peer::new(SCHEMA), Peer::new(SCHEMA));
        db.run("BEGIN");
        for change in history {
            let before = db.changes();
            let sql = "INSERT INTO crsql_changes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
            if db.conn.execute(sql, rusqlite::params_from_iter(change)).is_err() {
                prop_assert_eq!(db.changes(), before);
            }
        }
        // Other rows stay writable.
        db.run("COMMIT; PRAGMA integrity_check; INSERT INTO num VALUES (77, 1, 'still here')");
        // What was taken can be passed on, once. The rows need not be equal: noise brings rows back without the cells that
        // a copy would send along, and then each copy keeps the larger of the old values.
        copy.merge(&db.changes_since(0));
        prop_assert_eq!(copy.merge(&db.changes_since(0)), 0);
        prop_assert_eq!(copy.rows("SELECT count(*) FROM num WHERE id = 77"), ["1"]);
        Ok(())
    };
    runner.run(&histories, run).unwrap_or_else(|failure| panic!("{failure}"));
}
