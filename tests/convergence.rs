//! Copies that have exchanged everything are equal, whatever was written and in whatever order changes travelled.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::Peer;
use common::histories::{SCHEMA, TABLES, statement};
use crsql_sync::crr::Change;
use proptest::prelude::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

const PEERS: usize = 3;

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
        let peer = |_| {
            let peer = Peer::new(SCHEMA);
            peer.run("SELECT crsql_config_set('merge-equal-values', 1)");
            peer
        };
        Self { peers: (0..PEERS).map(peer).collect(), seen: Default::default() }
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
        for table in TABLES {
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
