//! The engine beside plain SQLite, in one run: `cargo bench --bench engine`.
//!
//! 50,000 rows of five columns with a 16-byte blob key, 1,000 rows a transaction, WAL, `synchronous=normal`, statements
//! prepared once. Each figure is the best of three runs. Absolute numbers depend on the machine; the ratios hardly do.
#![allow(missing_docs, clippy::unwrap_used)]

use std::ops::ControlFlow;
use std::time::Instant;

use crsql_sync::crr::{Engine, Version, Window};
use rusqlite::Connection;

const ROWS: u64 = 50_000;
const BATCH: u64 = 1_000;
const RUNS: usize = 3;

fn main() {
    let plain = best(|| run(false));
    let ours = best(|| run(true));
    println!("{:<28}{:>12}{:>12}{:>8}", "", "plain", "replicated", "ratio");
    for (name, plain, ours) in
        [("insert, rows/s", plain.insert, ours.insert), ("update of a column, rows/s", plain.update, ours.update)]
    {
        println!("{name:<28}{:>12.0}{:>12.0}{:>7.2}x", ROWS as f64 / plain, ROWS as f64 / ours, ours / plain);
    }
    println!("{:<28}{:>12.0}{:>12.0}{:>7.2}x", "file, bytes/row", plain.size, ours.size, ours.size / plain.size);
    println!("{:<28}{:>12}{:>12.0}", "read all, changes/s", "-", ours.changes / ours.read);
    println!("{:<28}{:>12}{:>12.0}", "merge, changes/s", "-", ours.changes / ours.merge);
    println!("{:<28}{:>12}{:>12.2}", "poll of 1,000 rows x 5, ms", "-", ours.poll * 1e3);
}

#[derive(Clone, Copy)]
struct Figures {
    insert: f64,
    update: f64,
    size: f64,
    changes: f64,
    read: f64,
    merge: f64,
    poll: f64,
}

fn best(run: impl Fn() -> Figures) -> Figures {
    let runs: Vec<Figures> = (0..RUNS).map(|_| run()).collect();
    let min = |of: fn(&Figures) -> f64| runs.iter().map(of).fold(f64::INFINITY, f64::min);
    Figures {
        insert: min(|f| f.insert),
        update: min(|f| f.update),
        size: min(|f| f.size),
        changes: min(|f| f.changes),
        read: min(|f| f.read),
        merge: min(|f| f.merge),
        poll: min(|f| f.poll),
    }
}

fn open(dir: &tempfile::TempDir, name: &str, replicated: bool) -> (Connection, Option<Engine>) {
    let conn = Connection::open(dir.path().join(name)).unwrap();
    conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL").unwrap();
    let engine = replicated.then(|| Engine::install(&conn).unwrap());
    conn.execute_batch("CREATE TABLE t (id BLOB PRIMARY KEY NOT NULL, a, b, c, d, e)").unwrap();
    if replicated {
        conn.execute_batch("SELECT crsql_as_crr('t')").unwrap();
    }
    (conn, engine)
}

fn run(replicated: bool) -> Figures {
    let dir = tempfile::tempdir().unwrap();
    let (conn, engine) = open(&dir, "a.db", replicated);
    let in_batches = |work: &mut dyn FnMut(u64)| {
        let start = Instant::now();
        for batch in 0..ROWS / BATCH {
            conn.execute_batch("BEGIN").unwrap();
            for row in 0..BATCH {
                work(batch * BATCH + row);
            }
            conn.execute_batch("COMMIT").unwrap();
        }
        start.elapsed().as_secs_f64()
    };
    let insert = in_batches(&mut |row| {
        conn.prepare_cached("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)")
            .unwrap()
            .execute((key(row), row as i64, "some text", 1.5 * row as f64, None::<i64>, "more text"))
            .unwrap();
    });
    let size = || {
        conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        std::fs::metadata(dir.path().join("a.db")).unwrap().len() as f64 / ROWS as f64
    };
    let (mut changes, mut read, mut merge, mut poll) = (0.0, 0.0, 0.0, 0.0);
    let bytes = size();
    if let Some(engine) = &engine {
        let since = |since| {
            conn.execute_batch("BEGIN").unwrap();
            let until = engine.db_version(&conn).unwrap();
            let mut all = Vec::new();
            let window = Window { since, until, exclude: None };
            let mut keep = |_, change| {
                all.push(change);
                ControlFlow::Continue(())
            };
            engine.changes(&conn, window, &mut keep).unwrap();
            conn.execute_batch("COMMIT").unwrap();
            all
        };
        let start = Instant::now();
        let all = since(Version::ZERO);
        read = start.elapsed().as_secs_f64();
        changes = all.len() as f64;
        let start = Instant::now();
        since(Version::new(engine.db_version(&conn).unwrap().get() - 1).unwrap());
        poll = start.elapsed().as_secs_f64();
        let (other, into) = open(&dir, "b.db", true);
        let start = Instant::now();
        for batch in all.chunks(5 * BATCH as usize) {
            other.execute_batch("BEGIN").unwrap();
            into.as_ref().unwrap().merge(&other, batch).unwrap();
            other.execute_batch("COMMIT").unwrap();
        }
        merge = start.elapsed().as_secs_f64();
    }
    let update = in_batches(&mut |row| {
        conn.prepare_cached("UPDATE t SET a = ? WHERE id = ?").unwrap().execute((row as i64 + 1, key(row))).unwrap();
    });
    Figures { insert, update, size: bytes, changes, read, merge, poll }
}

/// 16 bytes that look random, the same in every run.
fn key(row: u64) -> [u8; 16] {
    let mix = |x: u64| {
        let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb)
    };
    let (high, low) = (mix(row + 1), mix(row + 0x9e37_79b9));
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}
