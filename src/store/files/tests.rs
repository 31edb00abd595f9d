use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::*;
use crate::store::{Dbid, Error};
use crate::sync::{Replica, Request, Schema, Since};

mod places;

const SCHEMA: &str = "CREATE TABLE t (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('t')";

fn dbid(text: &str) -> Dbid {
    Dbid::new(text).unwrap()
}

async fn create(store: &Store, id: &str) -> Database {
    let database = store.open_or_create(&dbid(id)).await.unwrap();
    let schema = Schema::parse(SCHEMA).unwrap();
    database.call(move |replica| replica.create_database_if_not_exists(&schema)).await.unwrap().unwrap();
    database
}

fn insert(n: i64) -> impl FnOnce(&mut Replica) + Send {
    move |replica| {
        replica.connection().execute("INSERT INTO t VALUES (?1, randomblob(1000))", [n]).unwrap();
    }
}

fn count(replica: &mut Replica) -> i64 {
    replica.connection().query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

fn few(open_databases: usize) -> Settings {
    Settings {
        open_databases,
        patience: Duration::from_millis(100),
        busy: Duration::from_millis(100),
        ..Settings::default()
    }
}

fn open_count(store: &Store) -> usize {
    store.shared().slots().counts().1
}

/// Occupies a database until what is returned is dropped.
async fn occupy(database: &Database) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (begin, begun) = oneshot::channel();
    let database = database.clone();
    tokio::spawn(async move {
        let wait = move |_: &mut Replica| {
            begin.send(()).unwrap();
            let _ = released.recv();
        };
        database.call(wait).await
    });
    begun.await.unwrap();
    release
}

#[tokio::test]
async fn a_folder_belongs_to_one_store_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = Store::at(folder.path()).unwrap();
    assert!(matches!(Store::at(folder.path()), Err(Error::Unavailable(_))));
    drop(first);
    Store::at(folder.path()).unwrap();
}

#[tokio::test]
async fn opening_what_is_not_there_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path()).unwrap();
    assert!(matches!(store.open(&dbid("a")).await, Err(Error::NotFound)));
    std::fs::write(folder.path().join("b.db"), "").unwrap();
    assert!(matches!(store.open(&dbid("b")).await, Err(Error::NotFound)));
    assert_eq!(folder.path().join("b.db").metadata().unwrap().len(), 0);
    assert_eq!(store.list().await.unwrap(), [dbid("b")]);
    assert_eq!(store.shared().slots().counts(), (0, 0));
}

#[tokio::test]
async fn a_database_exists_from_the_commit_of_its_schema_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path()).unwrap();
    store.open_or_create(&dbid("a")).await.unwrap();
    assert!(matches!(store.open(&dbid("a")).await, Err(Error::NotFound)));
    create(&store, "a").await;
    store.open(&dbid("a")).await.unwrap();
}

#[tokio::test]
async fn a_watcher_is_told_of_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path()).unwrap();
    let database = create(&store, "a").await;
    let mut watch = database.watch();
    watch.mark_unchanged();
    database.call(insert(1)).await.unwrap();
    assert!(watch.has_changed().unwrap());
    let version = database.call(|replica| replica.version().unwrap()).await.unwrap();
    assert_eq!(*watch.borrow_and_update(), version);
}

#[tokio::test]
async fn a_call_that_panics_leaves_the_database_usable() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path()).unwrap();
    let database = create(&store, "a").await;
    let panics = |_: &mut Replica| -> () { panic!("on purpose") };
    assert!(matches!(database.call(panics).await, Err(Error::Io(_))));
    assert!(matches!(database.read(panics).await, Err(Error::Io(_))));
    database.call(insert(1)).await.unwrap();
    assert_eq!(database.read(count).await.unwrap(), 1);
}

#[tokio::test]
async fn a_read_waits_for_no_call_and_sees_what_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path()).unwrap();
    let database = create(&store, "a").await;
    database.call(insert(1)).await.unwrap();
    let (begin, begun) = oneshot::channel();
    let (release, released) = mpsc::channel::<()>();
    let writes = {
        let database = database.clone();
        tokio::spawn(async move {
            let write = move |replica: &mut Replica| {
                let conn = replica.connection();
                conn.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (2, 2)").unwrap();
                begin.send(()).unwrap();
                released.recv().unwrap();
                conn.execute_batch("COMMIT").unwrap();
            };
            database.call(write).await.unwrap();
        })
    };
    begun.await.unwrap();
    assert_eq!(database.read(count).await.unwrap(), 1);
    release.send(()).unwrap();
    writes.await.unwrap();
    assert_eq!(database.read(count).await.unwrap(), 2);
}

#[tokio::test]
async fn a_read_sees_one_snapshot_and_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path()).unwrap();
    let database = create(&store, "a").await;
    let (writer, runtime) = (database.clone(), tokio::runtime::Handle::current());
    let read = move |replica: &mut Replica| {
        let before = (count(replica), replica.version().unwrap());
        runtime.block_on(writer.call(insert(1))).unwrap();
        let after = (count(replica), replica.version().unwrap());
        let batch = replica.request_changes(&Request::after(Since::Beginning)).unwrap();
        assert!(batch.changes.is_empty());
        assert!(replica.connection().execute("INSERT INTO t VALUES (2, 2)", []).is_err());
        (before, after)
    };
    let (before, after) = database.read(read).await.unwrap();
    assert_eq!(before, after);
    assert_eq!(database.read(count).await.unwrap(), 1);
}

#[tokio::test]
async fn a_reader_sees_a_migration_with_the_rows_that_it_changed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path()).unwrap();
    let database = create(&store, "a").await;
    database.call(insert(1)).await.unwrap();
    let request = |replica: &mut Replica| replica.request_changes(&Request::after(Since::Beginning)).unwrap();
    let before = database.read(request).await.unwrap();
    let schema = Schema::parse(
        "CREATE TABLE t (a PRIMARY KEY NOT NULL, b, c DEFAULT 7); SELECT crsql_as_crr('t');
                                CREATE TABLE u (a PRIMARY KEY NOT NULL); SELECT crsql_as_crr('u')",
    )
    .unwrap();
    let hash = schema.hash().clone();
    let migrate = move |replica: &mut Replica| {
        replica.create_or_migrate_database(&schema, &[]).unwrap();
        replica.connection().execute_batch("UPDATE t SET c = 8; INSERT INTO u VALUES (1)").unwrap();
    };
    database.call(migrate).await.unwrap();
    let after = database.read(request).await.unwrap();
    assert_eq!(store.shared().readers.count(), 1, "it is the same connection");
    assert_ne!(before.schema, after.schema);
    assert_eq!(after.schema, Some(hash));
    let tables: Vec<_> = after.changes.iter().map(|change| (change.table.clone(), change.cid.clone())).collect();
    assert_eq!(tables.len(), 3, "{tables:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_are_as_many_as_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { readers: 3, readers_each: 2, ..Settings::default() };
    let store = Store::with(folder.path(), settings).unwrap();
    for id in ["a", "b", "c"] {
        create(&store, id).await;
    }
    let reads = (0..60).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let database = store.open(&dbid(["a", "b", "c"][n % 3])).await.unwrap();
            database.read(count).await.unwrap()
        })
    });
    for read in reads.collect::<Vec<_>>() {
        assert_eq!(read.await.unwrap(), 0);
    }
    assert!(store.shared().readers.count() <= 3);
}

#[tokio::test]
async fn a_handle_outlives_the_connections_of_its_database() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::with(folder.path(), few(3)).unwrap();
    let kept = create(&store, "kept").await;
    kept.call(insert(1)).await.unwrap();
    let mut watch = kept.watch();
    watch.mark_unchanged();
    for n in 0..10 {
        create(&store, &format!("n{n}")).await;
    }
    assert_eq!(store.shared().slots().counts(), (4, 3), "the ones that are open, and the one that we have");
    assert!(!folder.path().join("kept.db-wal").exists(), "its log was written back");
    kept.call(insert(2)).await.unwrap();
    assert!(watch.has_changed().unwrap());
    assert_eq!(kept.read(count).await.unwrap(), 2);
    assert_eq!(open_count(&store), 3);
}

#[tokio::test]
async fn where_all_are_in_use_a_call_waits_for_one_and_not_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::with(folder.path(), few(2)).unwrap();
    let (a, b, c) = (create(&store, "a").await, create(&store, "b").await, create(&store, "c").await);
    let (in_a, _in_b) = (occupy(&a).await, occupy(&b).await);
    assert!(matches!(c.call(insert(1)).await, Err(Error::Unavailable(_))));
    let waits = tokio::spawn({
        let c = c.clone();
        async move { c.call(insert(2)).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(in_a);
    waits.await.unwrap().unwrap();
    assert_eq!(c.read(count).await.unwrap(), 1);
}

#[tokio::test]
async fn a_file_that_is_no_database_of_ours_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |id: &str| folder.path().join(format!("{id}.db"));
    {
        let store = Store::at(folder.path()).unwrap();
        for id in ["truncated", "flipped"] {
            let database = create(&store, id).await;
            for n in 0..20 {
                database.call(insert(n)).await.unwrap();
            }
        }
        store.close().await.unwrap();
    }
    std::fs::write(path("garbage"), "This is not a database. ".repeat(1000)).unwrap();
    std::fs::create_dir(path("folder")).unwrap();
    Connection::open(path("other"))
        .unwrap()
        .execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)")
        .unwrap();
    let original = "CREATE TABLE crsql_master (key TEXT PRIMARY KEY, value ANY)";
    Connection::open(path("original")).unwrap().execute_batch(original).unwrap();
    let bytes = std::fs::read(path("truncated")).unwrap();
    std::fs::write(path("truncated"), &bytes[..6000]).unwrap();
    let mut bytes = std::fs::read(path("flipped")).unwrap();
    bytes[100..1000].fill(0xa5);
    std::fs::write(path("flipped"), bytes).unwrap();

    let store = Store::at(folder.path()).unwrap();
    let good = create(&store, "good").await;
    for id in ["garbage", "folder", "other", "original", "truncated", "flipped"] {
        let read = |path: &Path| std::fs::read(path).ok();
        let before = read(&path(id));
        let error = store.open(&dbid(id)).await.err().unwrap();
        assert!(matches!(error, Error::Unusable(_)), "{id}: {error:?}");
        let error = store.open_or_create(&dbid(id)).await.err().unwrap();
        assert!(matches!(error, Error::Unusable(_)), "{id}: {error:?}");
        assert!(read(&path(id)) == before, "{id}");
    }
    assert_eq!(store.shared().slots().counts(), (1, 1));
    good.call(insert(1)).await.unwrap();
    // A file that was mended is found.
    std::fs::remove_file(path("garbage")).unwrap();
    create(&store, "garbage").await.call(insert(1)).await.unwrap();
}

#[tokio::test]
async fn a_log_that_is_damaged_or_without_its_index_costs_no_commit_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path()).unwrap();
    let database = create(&store, "a").await;
    for n in 0..5 {
        database.call(insert(n)).await.unwrap();
    }
    // As a power cut leaves it: the files of a database in use.
    for id in ["no-index", "damaged"] {
        for suffix in ["", "-wal", "-shm"] {
            let from = folder.path().join(format!("a.db{suffix}"));
            std::fs::copy(from, folder.path().join(format!("{id}.db{suffix}"))).unwrap();
        }
        std::fs::remove_file(folder.path().join(format!("{id}.db-shm"))).unwrap();
    }
    let log = folder.path().join("damaged.db-wal");
    let mut bytes = std::fs::read(&log).unwrap();
    let end = bytes.len();
    bytes[end - 2000..end - 1000].fill(0xa5);
    std::fs::write(&log, bytes).unwrap();
    for (id, expected) in [("no-index", 5), ("damaged", 4)] {
        let database = store.open(&dbid(id)).await.unwrap();
        assert_eq!(database.read(count).await.unwrap(), expected, "{id}");
        database.call(insert(100)).await.unwrap();
        assert_eq!(database.call(|replica| replica.check().unwrap()).await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_page_that_is_damaged_fails_what_reads_it_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    {
        let store = Store::at(folder.path()).unwrap();
        let database = create(&store, "a").await;
        for n in 0..100 {
            database.call(insert(n)).await.unwrap();
        }
        create(&store, "b").await;
        store.close().await.unwrap();
    }
    let conn = Connection::open(folder.path().join("a.db")).unwrap();
    let root: i64 =
        conn.query_row("SELECT rootpage FROM sqlite_schema WHERE name = 't'", [], |row| row.get(0)).unwrap();
    drop(conn);
    let mut bytes = std::fs::read(folder.path().join("a.db")).unwrap();
    bytes[(root as usize - 1) * 4096..][..100].fill(0xff);
    std::fs::write(folder.path().join("a.db"), bytes).unwrap();
    let store = Store::at(folder.path()).unwrap();
    let database = store.open(&dbid("a")).await.unwrap();
    let count = |replica: &mut Replica| {
        let count = replica.connection().query_row("SELECT count(b) FROM t", [], |row| row.get::<_, i64>(0));
        count.map_err(|error| error.sqlite_error_code())
    };
    let corrupt = Err(Some(rusqlite::ErrorCode::DatabaseCorrupt));
    assert_eq!(database.read(count).await.unwrap(), corrupt);
    assert_eq!(database.call(count).await.unwrap(), corrupt);
    database.read(|replica| replica.status().map(|_| ())).await.unwrap().unwrap();
    store.open(&dbid("b")).await.unwrap().call(insert(1)).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_written_to_a_file_that_was_removed_is_not_answered() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path()).unwrap();
    let remove = |id: &str| {
        for suffix in ["", "-wal", "-shm"] {
            std::fs::remove_file(folder.path().join(format!("{id}.db{suffix}"))).unwrap();
        }
    };
    let (a, b) = (create(&store, "a").await, create(&store, "b").await);
    for database in [&a, &b] {
        database.call(insert(1)).await.unwrap();
    }
    remove("a");
    assert!(matches!(a.call(insert(2)).await, Err(Error::Unavailable(_))));
    assert!(matches!(a.call(insert(2)).await, Err(Error::NotFound)));
    assert!(matches!(store.open(&dbid("a")).await, Err(Error::NotFound)));
    // The handle finds the one that takes its place.
    create(&store, "a").await;
    assert_eq!(a.read(count).await.unwrap(), 0);
    // Another file is put in the place of one that is open.
    b.backup_to(folder.path().join("copy"), |_| {}).await.unwrap();
    b.call(insert(2)).await.unwrap();
    remove("b");
    std::fs::rename(folder.path().join("copy"), folder.path().join("b.db")).unwrap();
    assert!(matches!(b.read(count).await, Err(Error::Unavailable(_))));
    assert_eq!(b.read(count).await.unwrap(), 1);
}

#[tokio::test]
async fn a_lock_of_another_program_fails_writes_and_not_reads() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::with(folder.path(), few(10)).unwrap();
    let database = create(&store, "a").await;
    let other = Connection::open(folder.path().join("a.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let write = |replica: &mut Replica| {
        let written = replica.connection().execute("INSERT INTO t VALUES (1, 1)", []);
        written.map_err(|error| error.sqlite_error_code())
    };
    assert_eq!(database.call(write).await.unwrap(), Err(Some(rusqlite::ErrorCode::DatabaseBusy)));
    assert_eq!(database.read(count).await.unwrap(), 0);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(database.call(write).await.unwrap(), Ok(1));
    // A lock that lets nobody in.
    store.close().await.unwrap();
    drop(store);
    other.execute_batch("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE").unwrap();
    let store = Store::with(folder.path(), few(10)).unwrap();
    assert!(matches!(store.open(&dbid("a")).await, Err(Error::Unavailable(_))));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.open(&dbid("a")).await.unwrap().read(count).await.unwrap(), 1);
}

#[tokio::test]
async fn a_file_that_is_full_keeps_nothing_of_what_did_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path()).unwrap();
    let database = create(&store, "a").await;
    database.call(insert(1)).await.unwrap();
    let limit = |pages: &'static str| {
        move |replica: &mut Replica| replica.connection().query_row(pages, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let pages = database.call(limit("PRAGMA page_count")).await.unwrap();
    database
        .call(move |replica| replica.connection().pragma_update(None, "max_page_count", pages + 10))
        .await
        .unwrap()
        .unwrap();
    let fill = |replica: &mut Replica| {
        let many = "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n LIMIT 200)
                    INSERT INTO t SELECT i, randomblob(1000) FROM n";
        replica.connection().execute(many, []).map_err(|error| error.sqlite_error_code())
    };
    assert_eq!(database.call(fill).await.unwrap(), Err(Some(rusqlite::ErrorCode::DiskFull)));
    assert_eq!(database.read(count).await.unwrap(), 1);
    // The same connection goes on.
    database.call(insert(2)).await.unwrap();
    database
        .call(|replica| replica.connection().pragma_update(None, "max_page_count", i32::MAX))
        .await
        .unwrap()
        .unwrap();
    database.call(insert(1000)).await.unwrap();
    assert_eq!(database.call(fill).await.unwrap(), Err(Some(rusqlite::ErrorCode::ConstraintViolation)));
    assert_eq!(database.read(count).await.unwrap(), 3);
    assert_eq!(database.call(|replica| replica.check().unwrap()).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn closing_ends_what_began_refuses_what_did_not_and_frees_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path()).unwrap();
    let database = create(&store, "a").await;
    let release = occupy(&database).await;
    let queued = tokio::spawn({
        let database = database.clone();
        async move { database.call(insert(1)).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let closes = tokio::spawn({
        let store = store.clone();
        async move { store.close().await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!closes.is_finished());
    let refused = database.read(count).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    drop(release);
    closes.await.unwrap().unwrap();
    // It queued before the store was closed: it was carried out, or it was refused, and it knows which.
    let written = queued.await.unwrap();
    assert!(matches!(written, Ok(()) | Err(Error::Unavailable(_))), "{written:?}");
    assert!(!folder.path().join("a.db-wal").exists());
    let next = Store::at(folder.path()).unwrap();
    let rows = next.open(&dbid("a")).await.unwrap().read(count).await.unwrap();
    assert_eq!(rows, i64::from(written.is_ok()));
    assert!(matches!(database.call(insert(2)).await, Err(Error::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_of_one_moment_while_writes_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path()).unwrap();
    let database = create(&store, "a").await;
    for n in 0..2000 {
        database.call(insert(n)).await.unwrap();
        if n % 500 == 0 {
            assert_eq!(database.read(count).await.unwrap(), n + 1);
        }
    }
    let (writer, runtime) = (database.clone(), tokio::runtime::Handle::current());
    let (told, steps) = mpsc::channel();
    let mut n = 2000;
    let progress = move |progress: Progress| {
        runtime.block_on(writer.call(insert(n))).unwrap();
        n += 1;
        told.send(progress).unwrap();
    };
    let target = folder.path().join("copies").join("a.db");
    assert!(matches!(
        database.backup_to(&target, |_| {}).await,
        Err(Error::NotFound | Error::Unavailable(_) | Error::Io(_))
    ));
    std::fs::create_dir(target.parent().unwrap()).unwrap();
    database.backup_to(&target, progress).await.unwrap();
    let steps: Vec<_> = steps.iter().collect();
    assert!(steps.len() > 2 && steps.windows(2).all(|pair| pair[0].remaining > pair[1].remaining), "{steps:?}");
    assert_eq!(steps.last().unwrap().remaining, 0);
    assert_eq!(database.read(count).await.unwrap(), 2000 + steps.len() as i64);
    assert_eq!(std::fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
    let mut copy = Replica::open(Connection::open(&target).unwrap()).unwrap();
    assert_eq!(count(&mut copy), 2000);
    assert_eq!(copy.check().unwrap(), Vec::<String>::new());
    assert!(matches!(database.backup_to(&target, |_| {}).await, Err(Error::Io(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_breaks_off_a_backup_which_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path()).unwrap();
    let database = create(&store, "a").await;
    let fill = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000) INSERT INTO t SELECT i, randomblob(1000) FROM n";
    database.call(|replica| replica.connection().execute_batch(fill)).await.unwrap().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let (begin, begun) = oneshot::channel();
    let (go_on, goes_on) = mpsc::channel::<()>();
    let mut begin = Some(begin);
    let progress = move |_| {
        if let Some(begin) = begin.take() {
            begin.send(()).unwrap();
            goes_on.recv().unwrap();
        }
    };
    let target = copies.path().join("a.db");
    let backup = tokio::spawn(async move { database.backup_to(target, progress).await });
    begun.await.unwrap();
    let closes = tokio::spawn({
        let store = store.clone();
        async move { store.close().await }
    });
    while !store.shared().is_closed() {
        tokio::task::yield_now().await;
    }
    go_on.send(()).unwrap();
    closes.await.unwrap().unwrap();
    assert!(matches!(backup.await.unwrap(), Err(Error::Unavailable(_))));
    assert_eq!(std::fs::read_dir(copies.path()).unwrap().count(), 0);
    Store::at(folder.path()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_log_stays_short_while_reads_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::with(folder.path(), Settings { wal: 1 << 20, ..Settings::default() }).unwrap();
    let database = create(&store, "a").await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (database, stop) = (database.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let read = |replica: &mut Replica| {
                        count(replica);
                        std::thread::sleep(Duration::from_millis(5));
                    };
                    database.read(read).await.unwrap();
                }
            })
        })
        .collect();
    let mut longest = 0;
    for n in 0..2000 {
        database.call(insert(n)).await.unwrap();
        longest = longest.max(folder.path().join("a.db-wal").metadata().unwrap().len());
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    assert!(longest < 2 << 20, "{longest}");
}

/// What another program reads cannot be hurried.
#[tokio::test]
async fn a_snapshot_of_another_program_holds_up_no_writes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::with(folder.path(), Settings { wal: 100_000, ..Settings::default() }).unwrap();
    let database = create(&store, "a").await;
    let other = Connection::open(folder.path().join("a.db")).unwrap();
    other.execute_batch("BEGIN; SELECT * FROM t").unwrap();
    let log = || folder.path().join("a.db-wal").metadata().unwrap().len();
    let began = std::time::Instant::now();
    for n in 0..100 {
        database.call(insert(n)).await.unwrap();
    }
    assert!(log() > 300_000 && began.elapsed() < Duration::from_secs(5), "{} {:?}", log(), began.elapsed());
    other.execute_batch("COMMIT").unwrap();
    for n in 100..200 {
        database.call(insert(n)).await.unwrap();
    }
    assert!(log() < 300_000, "{}", log());
}
