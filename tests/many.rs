//! Ten thousand databases in one folder, five hundred of them in use. Prints what it takes; `cargo test --test many --
//! --ignored --nocapture`.
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crsql_sync::store::{Dbid, Settings, Store};
use crsql_sync::sync::{Replica, Request, Schema, Since};
use tokio::task::JoinSet;

const DATABASES: usize = 10_000;
const IN_USE: usize = 500;

fn dbid(n: usize) -> Dbid {
    Dbid::new(&format!("db{n}")).unwrap()
}

/// Files of databases with one table and a hundred rows. All but the first are copies: making each would take minutes.
async fn make(folder: &Path) {
    let store = Store::at(folder).unwrap();
    let first = store.open_or_create(&dbid(0)).await.unwrap();
    let schema = Schema::parse("CREATE TABLE t (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('t')").unwrap();
    first.call(move |replica| replica.create_database_if_not_exists(&schema).map(drop)).await.unwrap().unwrap();
    let rows = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100) INSERT INTO t SELECT i, randomblob(100) FROM n";
    first.call(|replica| replica.connection().execute_batch(rows)).await.unwrap().unwrap();
    store.close().await.unwrap();
    for n in 1..DATABASES {
        fs::copy(folder.join("db0.db"), folder.join(format!("db{n}.db"))).unwrap();
    }
}

fn write(replica: &mut Replica) {
    replica.connection().execute("INSERT INTO t VALUES (randomblob(16), randomblob(100))", []).unwrap();
}

fn read(replica: &mut Replica) -> usize {
    replica.request_changes(&Request::after(Since::Beginning)).unwrap().changes.len()
}

/// Megabytes of memory that the process has.
fn memory() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// Megabytes of it that SQLite holds.
fn of_sqlite() -> f64 {
    // SAFETY: it reads a counter.
    unsafe { rusqlite::ffi::sqlite3_memory_used() as f64 / (1 << 20) as f64 }
}

fn files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    println!(
        "{what:44} {:8} times  p50 {:>9.2?}  p99 {:>9.2?}  max {:>9.2?}  {:6.1} MB, {:6.1} of them SQLite's  {:5} files",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0),
        memory(),
        of_sqlite(),
        files()
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes ten thousand files"]
async fn ten_thousand_databases_and_five_hundred_in_use() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path()).await;
    // As the server has them where it may open many files.
    let mut settings = Settings::within(usize::MAX);
    // Nobody gives up: that is tested elsewhere.
    settings.patience = Duration::from_secs(600);
    let most = files() + settings.files();
    let store = Store::with(folder.path(), settings).unwrap();
    tell("begin", vec![Duration::ZERO]);

    let began = Instant::now();
    assert_eq!(store.list().await.unwrap().len(), DATABASES);
    tell("list", vec![began.elapsed()]);

    let mut times = Vec::new();
    for n in 0..IN_USE {
        let began = Instant::now();
        store.open(&dbid(n)).await.unwrap();
        times.push(began.elapsed());
    }
    tell("open, with room", times);

    for (what, writes) in [("500 at once: a read", false), ("500 at once: a write and a read", true)] {
        let mut tasks = JoinSet::new();
        for n in 0..IN_USE {
            let store = store.clone();
            tasks.spawn(async move {
                let database = store.open(&dbid(n)).await.unwrap();
                let mut times = Vec::new();
                for _ in 0..4 {
                    let began = Instant::now();
                    if writes {
                        database.call(write).await.unwrap();
                    }
                    assert!(database.read(read).await.unwrap() >= 100);
                    times.push(began.elapsed());
                }
                times
            });
        }
        tell(what, tasks.join_all().await.concat());
        assert!(files() <= most, "{} files, and {most} are allowed", files());
    }

    let began = Instant::now();
    assert_eq!(store.close_idle(Duration::ZERO).await, IN_USE);
    tell("close what is idle", vec![began.elapsed()]);

    let mut times = Vec::new();
    for n in IN_USE..DATABASES {
        let began = Instant::now();
        store.open(&dbid(n)).await.unwrap();
        times.push(began.elapsed());
    }
    tell("open, in the place of another", times);
    assert!(files() <= most, "{} files, and {most} are allowed", files());

    // Handles to all of them, as event streams have: each woken once.
    let mut handles = Vec::new();
    for n in 0..DATABASES {
        handles.push(store.open(&dbid(n)).await.unwrap());
    }
    tell("10,000 handles", vec![Duration::ZERO]);
    let mut tasks = JoinSet::new();
    for database in handles {
        tasks.spawn(async move {
            let began = Instant::now();
            database.read(read).await.unwrap();
            began.elapsed()
        });
    }
    tell("10,000 at once: a read", tasks.join_all().await);
    assert!(files() <= most, "{} files, and {most} are allowed", files());
    assert!(memory() < 600.0, "{} MB", memory());

    let began = Instant::now();
    store.close().await.unwrap();
    tell("close", vec![began.elapsed()]);
}

/// What pages take in the cache of a connection that has read sixteen megabytes, in MiB.
async fn cached(memory: usize) -> i32 {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    (settings.page_cache, settings.memory) = (64 << 20, memory);
    let store = Store::with(folder.path(), settings).unwrap();
    let database = store.open_or_create(&dbid(0)).await.unwrap();
    let schema = Schema::parse("CREATE TABLE t (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('t')").unwrap();
    database.call(move |replica| replica.create_database_if_not_exists(&schema).map(drop)).await.unwrap().unwrap();
    let fill = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 4000) INSERT INTO t SELECT i, randomblob(4000) FROM n";
    database.call(|replica| replica.connection().execute_batch(fill)).await.unwrap().unwrap();
    let read = |replica: &mut Replica| {
        let bytes: i64 =
            replica.connection().query_row("SELECT sum(length(hex(b))) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(bytes, 4000 * 8000);
        let (mut used, mut unused) = (0, 0);
        // SAFETY: the connection is open, and the pointers lead to numbers.
        unsafe { rusqlite::ffi::sqlite3_db_status(replica.connection().handle(), 1, &mut used, &mut unused, 0) };
        used >> 20
    };
    database.read(read).await.unwrap()
}

#[tokio::test]
async fn page_caches_grow_no_more_where_the_memory_ends() {
    assert!(cached(usize::MAX).await >= 15);
    let few = cached(8 << 20).await;
    assert!(few < 9, "{few} MiB");
}
