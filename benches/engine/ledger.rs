//! What the ledger costs: beside a merge without it, as history grows, and with very many sites.

use std::path::Path;

use crsql_sync::crr::{CausalLength, Change, ColVersion, Seq, SiteId, Version};
use crsql_sync::sync::batch::Protocol;
use crsql_sync::sync::{Batch, Clock, Cursor, Range, Ranges, Replica, Request, Schema, Since};
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::database::{Database, Kind, key};
use crate::figures::{Figures, Goal};

const SCHEMA: &str = "CREATE TABLE t (id BLOB PRIMARY KEY NOT NULL, a, b, c, d, e); SELECT crsql_as_crr('t');";

pub fn ledger(figures: &mut Figures, kind: Kind) {
    if kind != Kind::Ours {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    beside_a_merge(figures, &path("1"), 50, 1_000, ["merge, 1,000 rows", "apply, 1,000 rows"], 1.1);
    // A transaction of its own for so little: the pages that the ledger touches weigh as much as those of the row.
    beside_a_merge(figures, &path("2"), 500, 10, ["merge, 10 rows", "apply, 10 rows"], 2.0);
    beside_a_merge(figures, &path("3"), 2_000, 1, ["merge, 1 row", "apply, 1 row"], 3.0);

    let names = ["apply after 10 versions", "read after 10 versions"];
    history(figures, &path("4"), names, [Goal::None, Goal::None], 10);
    let goals = [Goal::Of(1.2, names[0]), Goal::Of(1.2, names[1])];
    history(figures, &path("5"), ["apply after 1,000,000 versions", "read after 1,000,000 versions"], goals, 1_000_000);

    sites(figures, &path("6"), names);
}

fn open(path: &Path) -> Replica {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL").unwrap();
    let mut replica = Replica::open(conn).unwrap();
    replica.create_database_if_not_exists(&Schema::parse(SCHEMA).unwrap()).unwrap();
    replica
}

/// As many transactions of as many rows, a batch each.
fn batches(path: &Path, transactions: u64, rows: u64) -> Vec<Batch> {
    let mut source = open(&path.with_extension("source"));
    let mut batches = Vec::new();
    let mut since = Since::Beginning;
    for transaction in 0..transactions {
        let conn = source.connection();
        conn.execute_batch("BEGIN").unwrap();
        for row in transaction * rows..(transaction + 1) * rows {
            let values = (key(row), row as i64, "some text", 1.5 * row as f64, None::<i64>, "more text");
            conn.prepare_cached("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)").unwrap().execute(values).unwrap();
        }
        conn.execute_batch("COMMIT").unwrap();
        let batch = source.request_changes(&Request::after(since)).unwrap();
        since = batch.next.unwrap();
        batches.push(batch);
    }
    batches
}

/// The engine's merge alone, and the whole of `apply_changes`: validation, ledger and cursors.
fn beside_a_merge(
    figures: &mut Figures,
    path: &Path,
    transactions: u64,
    rows: u64,
    names: [&'static str; 2],
    goal: f64,
) {
    let batches = batches(path, transactions, rows);
    let merging = Database::open(&path.with_extension("merge"), Kind::Ours);
    merging.create("t");
    merging.engine.as_ref().unwrap().set_merge_equal_values(&merging.conn, true).unwrap();
    figures.time(Kind::Ours, names[0], Goal::None, || {
        for batch in &batches {
            merging.run("BEGIN IMMEDIATE");
            merging.engine.as_ref().unwrap().merge(&merging.conn, &batch.changes).unwrap();
            merging.run("COMMIT");
        }
    });
    let mut applying = open(&path.with_extension("apply"));
    figures.time(Kind::Ours, names[1], Goal::Of(goal, names[0]), || {
        for batch in &batches {
            applying.apply_changes(batch).unwrap();
        }
    });
}

/// One transaction more, after so many.
fn history(figures: &mut Figures, path: &Path, names: [&'static str; 2], goals: [Goal; 2], versions: i64) {
    let mut replica = open(path);
    let author = SiteId::new([9; 16]);
    apply(&mut replica, author, 1, versions);
    // What is prepared once is not of interest.
    (1..=10).for_each(|n| apply(&mut replica, author, versions + n, versions + n));
    figures.time(Kind::Ours, names[0], goals[0], || {
        (11..=210).for_each(|n| apply(&mut replica, author, versions + n, versions + n));
    });
    let at = replica.at().unwrap();
    figures.time(Kind::Ours, names[1], goals[1], || {
        for _ in 0..200 {
            let since = Since::After(Cursor { version: Version::new(at.version.get() - 1).unwrap(), ..at });
            assert_eq!(replica.request_changes(&Request::after(since)).unwrap().changes.len(), 1);
        }
    });
}

/// The same with 100,000 sites, whose whole clock is asked for as well.
fn sites(figures: &mut Figures, path: &Path, without: [&'static str; 2]) {
    let mut replica = open(path);
    let peer = SiteId::new([8; 16]);
    let site = |n: u32| {
        let mut bytes = [7; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        SiteId::new(bytes)
    };
    figures.time(Kind::Ours, "hear of 100,000 sites", Goal::None, || {
        for first in (0..100_000).step_by(1_000) {
            let versions = Ranges::from(Range::new(Version::MIN, Version::new(9).unwrap()).unwrap());
            let covers = (first..first + 1_000).map(|n| (site(n), versions.clone())).collect();
            replica.apply_changes(&batch(peer, covers, Vec::new())).unwrap();
        }
    });
    let author = site(50_000);
    (10..=20).for_each(|n| apply(&mut replica, author, n, n));
    figures.time(Kind::Ours, "apply among 100,000 sites", Goal::Of(2.0, without[0]), || {
        (21..=220).for_each(|n| apply(&mut replica, author, n, n));
    });
    let at = replica.at().unwrap();
    figures.time(Kind::Ours, "read among 100,000 sites", Goal::Of(2.0, without[1]), || {
        for _ in 0..200 {
            let since = Since::After(Cursor { version: Version::new(at.version.get() - 1).unwrap(), ..at });
            let batch = replica.request_changes(&Request::after(since)).unwrap();
            assert_eq!((batch.changes.len(), batch.covers.len()), (1, 1));
        }
    });
    figures.time(Kind::Ours, "the whole clock of 100,000 sites", Goal::None, || {
        assert_eq!(replica.clock().unwrap().len(), 100_000);
    });
}

/// Applies a batch of one change that covers the author's versions from `first` to `last`.
fn apply(replica: &mut Replica, author: SiteId, first: i64, last: i64) {
    let version = Version::new(last).unwrap();
    let covers = Clock::from_iter([(author, Ranges::from(Range::new(Version::new(first).unwrap(), version).unwrap()))]);
    let mut pk = vec![1, 0x0c, 16];
    pk.extend(key(last as u64));
    let change = Change {
        table: "t".into(),
        pk: pk.into(),
        cid: "a".into(),
        val: Value::Integer(last),
        col_version: ColVersion::FIRST,
        version,
        site: author,
        cl: CausalLength::FIRST,
        seq: Seq::ZERO,
    };
    replica.apply_changes(&batch(author, covers, vec![change])).unwrap();
}

fn batch(from: SiteId, covers: Clock, changes: Vec<Change>) -> Batch {
    Batch {
        protocol: Protocol,
        from,
        schema: None,
        schema_text: None,
        since: None,
        start: None,
        end: None,
        covers,
        partial: Vec::new(),
        more: false,
        next: None,
        have: None,
        seen: None,
        begins: false,
        left: Vec::new(),
        changes,
    }
}
