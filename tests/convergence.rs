//! Copies that have exchanged everything are equal, whatever was written and in whatever order changes travelled.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::Peer;
use crsql_sync::crr::Change;
use proptest::prelude::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

const PEERS: usize = 3;

/// An INTEGER PRIMARY KEY, a key that is an index of its own, and a table of keys alone.
const SCHEMA: &str = "
  CREATE TABLE num (id INTEGER PRIMARY KEY NOT NULL, x, y DEFAULT 7);
  CREATE TABLE txt (id TEXT NOT NULL, part INT NOT NULL, x, y TEXT, PRIMARY KEY (id, part));
  CREATE TABLE link (a NOT NULL, b NOT NULL, PRIMARY KEY (a, b));
  SELECT crsql_as_crr('num'); SELECT crsql_as_crr('txt'); SELECT crsql_as_crr('link');
  SELECT crsql_config_set('merge-equal-values', 1);";

#[derive(Clone, Debug)]
enum Step {
    Write {
        peer: usize,
        sql: String,
    },
    /// A peer takes what another has had since they last met, twice if asked.
    Sync {
        from: usize,
        to: usize,
        twice: bool,
    },
}

fn value() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["1", "2", "1.0", "'a'", "'b'", "NULL", "x'00'"])
}

fn statement() -> impl Strategy<Value = String> {
    let id = || 1..4i64;
    let num = (id(), id(), value(), value(), 0..8).prop_map(|(a, b, x, y, kind)| match kind {
        0 => format!("INSERT OR REPLACE INTO num VALUES ({a}, {x}, {y})"),
        1 => format!("INSERT INTO num VALUES ({a}, {x}, {y}) ON CONFLICT DO UPDATE SET x = excluded.x"),
        2 => format!("INSERT OR IGNORE INTO num (id, x) VALUES ({a}, {x})"),
        3 => format!("UPDATE num SET x = {x} WHERE id = {a}"),
        4 => format!("UPDATE num SET x = {x}, y = {y}"),
        5 => format!("UPDATE OR REPLACE num SET id = {b} WHERE id = {a}"),
        _ => format!("DELETE FROM num WHERE id = {a}"),
    });
    let txt = (id(), id(), value(), value(), 0..8).prop_map(|(a, b, x, y, kind)| match kind {
        0 => format!("INSERT OR REPLACE INTO txt VALUES ('k{a}', 1, {x}, {y})"),
        1 => format!("INSERT INTO txt VALUES ('k{a}', 1, {x}, {y}) ON CONFLICT DO UPDATE SET y = excluded.y"),
        2 => format!("INSERT OR IGNORE INTO txt (id, part, x) VALUES ('k{a}', 1, {x})"),
        3 => format!("UPDATE txt SET x = {x}, y = {y} WHERE id = 'k{a}'"),
        4 => format!("UPDATE OR REPLACE txt SET id = 'k{b}', x = {x} WHERE id = 'k{a}'"),
        5 => format!("UPDATE OR REPLACE txt SET id = 'k{b}' WHERE id = 'k{a}'"),
        _ => format!("DELETE FROM txt WHERE id = 'k{a}'"),
    });
    let link = (id(), id(), id(), 0..4).prop_map(|(a, b, c, kind)| match kind {
        0 | 1 => format!("INSERT OR IGNORE INTO link VALUES ({a}, {b})"),
        2 => format!("UPDATE OR REPLACE link SET b = {c} WHERE a = {a} AND b = {b}"),
        _ => format!("DELETE FROM link WHERE a = {a}"),
    });
    let one = prop_oneof![3 => num, 3 => txt, 1 => link];
    prop::collection::vec(one, 1..4).prop_map(|statements| format!("BEGIN; {}; COMMIT", statements.join("; ")))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..PEERS, statement()).prop_map(|(peer, sql)| Step::Write { peer, sql }),
        2 => (0..PEERS, 0..PEERS, any::<bool>()).prop_map(|(from, to, twice)| Step::Sync { from, to, twice }),
    ]
}

struct Group {
    peers: Vec<Peer>,
    /// `seen[to][from]`: the local version of `from` up to which `to` has everything.
    seen: [[i64; PEERS]; PEERS],
}

impl Group {
    fn new() -> Self {
        Self { peers: (0..PEERS).map(|_| Peer::new(SCHEMA)).collect(), seen: Default::default() }
    }

    fn sync(&mut self, from: usize, to: usize, since: i64) {
        let (sender, receiver) = (&self.peers[from], &self.peers[to]);
        let at = sender.engine.db_version(&sender.conn).unwrap().get();
        receiver.merge(&sender.changes_since(since));
        self.seen[to][from] = at;
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Write { peer, ref sql } => self.peers[peer].run(sql),
            Step::Sync { from, to, twice } if from != to => {
                let since = self.seen[to][from];
                self.sync(from, to, since);
                if twice {
                    self.sync(from, to, since);
                }
            }
            Step::Sync { .. } => {}
        }
    }

    /// Everybody takes from everybody what is new since they last met, until nothing is.
    fn settle(&mut self) {
        for _ in 0..PEERS {
            for from in 0..PEERS {
                for to in (0..PEERS).filter(|to| *to != from) {
                    self.sync(from, to, self.seen[to][from]);
                }
            }
        }
    }

    fn assert_equal(&self) {
        for table in ["num", "txt", "link"] {
            let content = |peer: &Peer| peer.rows(&format!("SELECT * FROM {table} ORDER BY 1, 2"));
            for peer in &self.peers[1..] {
                assert_eq!(content(peer), content(&self.peers[0]), "{table} differs");
            }
        }
        let clocks = |peer: &Peer| {
            let mut changes: Vec<String> = peer.changes_since(0).iter().map(authorship).collect();
            changes.sort();
            changes
        };
        for peer in &self.peers[1..] {
            assert_eq!(clocks(peer), clocks(&self.peers[0]), "who wrote what differs");
        }
    }
}

/// All that copies must agree on.
fn authorship(change: &Change) -> String {
    format!("{change:?}")
}

fn run(steps: &[Step]) {
    let mut group = Group::new();
    for step in steps {
        group.step(step);
    }
    group.settle();
    group.assert_equal();
    // Nothing is left to say, by cursor or in full.
    for from in 0..PEERS {
        for to in 0..PEERS {
            assert_eq!(group.peers[to].merge(&group.peers[from].changes_since(0)), 0);
        }
    }
}

#[test]
fn copies_that_exchanged_everything_agree_on_rows_and_authors() {
    let cases = std::option_env!("CONVERGENCE_CASES").and_then(|n| n.parse().ok()).unwrap_or(256);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let steps = prop::collection::vec(step(), 1..40);
    runner
        .run(&steps, |steps| {
            run(&steps);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}
