//! Merging is commutative, associative and idempotent: for what whole histories among two to five copies leave behind,
//! by the library's call and through SQL.
//!
//! `LAWS_CASES` sets how many histories, `LAWS_SEED` replays those of a run that failed.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::Peer;
use common::histories::{SCHEMA, TABLES, statement};
use crsql_sync::crr::{Change, SENTINEL};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use rusqlite::params_from_iter;
use rusqlite::types::Value;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

const CASES: u32 = if cfg!(target_family = "wasm") { 8 } else { 64 };

#[derive(Clone, Debug)]
struct History {
    copies: usize,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize, String),
    Sync(usize, usize),
}

fn history() -> impl Strategy<Value = History> {
    let step = prop_oneof![
        3 => (0..5usize, statement()).prop_map(|(copy, sql)| Step::Write(copy, sql)),
        1 => (0..5usize, 0..5usize).prop_map(|(from, to)| Step::Sync(from, to)),
    ];
    (2..=5usize, prop::collection::vec(step, 1..30)).prop_map(|(copies, steps)| History { copies, steps })
}

/// How changes travel.
#[derive(Clone, Copy, Debug)]
enum Way {
    Call,
    Sql,
}

/// What a copy says of itself to others.
#[derive(Clone)]
struct Said {
    changes: Vec<Change>,
    rows: Vec<Vec<Value>>,
}

const COLUMNS: &str = "\"table\", pk, cid, val, col_version, db_version, site_id, cl, seq, site_version";

struct Copy {
    peer: Peer,
    way: Way,
    equal_values: bool,
}

impl Copy {
    fn new(way: Way, equal_values: bool) -> Self {
        let peer = Peer::new(SCHEMA);
        peer.run(&format!("SELECT crsql_config_set('merge-equal-values', {})", i32::from(equal_values)));
        Self { peer, way, equal_values }
    }

    /// An empty copy that has heard `said`, one after the other.
    fn after(&self, said: &[&Said]) -> Vec<String> {
        let copy = Copy::new(self.way, self.equal_values);
        said.iter().for_each(|said| {
            copy.hear(said);
        });
        copy.state()
    }

    fn say(&self) -> Said {
        let mut statement = self.peer.conn.prepare(&format!("SELECT {COLUMNS} FROM crsql_changes")).unwrap();
        let rows = statement.query_map([], |row| (0..10).map(|i| row.get(i)).collect());
        Said { changes: self.peer.changes_since(0), rows: rows.unwrap().collect::<Result<_, _>>().unwrap() }
    }

    /// How many changes won.
    fn hear(&self, said: &Said) -> u64 {
        match self.way {
            Way::Call => self.peer.merge(&said.changes),
            Way::Sql => {
                let sql = format!("INSERT INTO crsql_changes ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
                self.peer.run("BEGIN");
                for row in &said.rows {
                    self.peer.conn.prepare_cached(&sql).unwrap().execute(params_from_iter(row)).unwrap();
                }
                let Value::Integer(impacted) = self.peer.value("SELECT crsql_rows_impacted()") else { panic!() };
                self.peer.run("COMMIT");
                impacted.try_into().unwrap()
            }
        }
    }

    /// The rows, and with `merge-equal-values` who wrote each cell, when and where in the transaction.
    fn state(&self) -> Vec<String> {
        let rows = |table| self.peer.rows(&format!("SELECT '{table}', * FROM \"{table}\" ORDER BY 2, 3"));
        let mut state: Vec<String> = TABLES.into_iter().flat_map(rows).collect();
        if self.equal_values {
            // A row that comes back by SQL takes the author of whichever of its changes came first, until its sentinel
            // is heard from a larger site.
            let told = |c: &&Change| matches!(self.way, Way::Call) || &*c.cid != SENTINEL || !c.cl.is_alive();
            let changes = self.peer.changes_since(0);
            let mut authors: Vec<String> = changes.iter().filter(told).map(|c| format!("{c:?}")).collect();
            authors.sort();
            state.extend(authors);
        }
        state
    }
}

fn both(a: &Said, b: &Said) -> Said {
    Said { changes: [&a.changes[..], &b.changes[..]].concat(), rows: [&a.rows[..], &b.rows[..]].concat() }
}

fn obeys(history: &History, way: Way, equal_values: bool) {
    let copies: Vec<Copy> = (0..history.copies).map(|_| Copy::new(way, equal_values)).collect();
    for step in &history.steps {
        match step {
            Step::Write(copy, sql) => copies[copy % copies.len()].peer.run(sql),
            Step::Sync(from, to) => {
                copies[to % copies.len()].hear(&copies[from % copies.len()].say());
            }
        }
    }
    let said: Vec<Said> = copies.iter().map(Copy::say).collect();
    let (empty, a, b, c) = (&copies[0], &said[0], &said[1], &said[said.len() - 1]);
    assert_eq!(empty.after(&[a, b]), empty.after(&[b, a]), "commutative");
    let (ab, bc) = (both(a, b), both(b, c));
    assert_eq!(empty.after(&[&ab, c]), empty.after(&[a, &bc]), "associative");
    assert_eq!(empty.after(&[&ab, c]), empty.after(&[a, b, c]), "associative, one by one");
    assert_eq!(empty.after(&[a, a]), empty.after(&[a]), "idempotent");

    // The copies hear all others, each in an order of its own, and themselves.
    for (i, copy) in copies.iter().enumerate() {
        for offset in 0..said.len() {
            copy.hear(&said[(i + offset) % said.len()]);
        }
    }
    let all: Vec<&Said> = said.iter().rev().collect();
    let expected = empty.after(&all);
    for copy in &copies {
        assert_eq!(copy.state(), expected, "copies that heard the same");
        all.iter().for_each(|said| assert_eq!(copy.hear(said), 0, "nothing is left to say"));
    }
}

fn check(way: Way, equal_values: bool) {
    let cases = std::option_env!("LAWS_CASES").and_then(|n| n.parse().ok()).unwrap_or(CASES);
    let seed = std::option_env!("LAWS_SEED").and_then(|n| n.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| any::<u64>().new_tree(&mut TestRunner::default()).unwrap().current());
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let run = |history: History| {
        obeys(&history, way, equal_values);
        Ok(())
    };
    runner.run(&history(), run).unwrap_or_else(|failure| panic!("LAWS_SEED={seed}: {failure}"));
}

#[test]
fn batches_obey_the_laws_in_rows_and_authors() {
    check(Way::Call, true);
}

#[test]
fn batches_obey_the_laws_in_rows_when_equal_values_have_no_winner() {
    check(Way::Call, false);
}

#[test]
fn changes_through_sql_obey_the_laws_in_rows_and_authors() {
    check(Way::Sql, true);
}

#[test]
fn changes_through_sql_obey_the_laws_in_rows_when_equal_values_have_no_winner() {
    check(Way::Sql, false);
}
