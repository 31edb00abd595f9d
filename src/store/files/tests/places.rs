//! Which databases are open, and what frees the place of one.

use super::*;

#[tokio::test]
async fn what_is_not_used_for_a_while_is_closed_and_its_handle_stays_good() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path()).unwrap();
    let (a, b) = (create(&store, "a").await, create(&store, "b").await);
    for database in [&a, &b] {
        assert_eq!(database.read(count).await.unwrap(), 0);
    }
    assert_eq!(store.close_idle(Duration::from_secs(60)).await, 0);
    assert_eq!((open_count(&store), store.shared().readers.count()), (2, 2));

    tokio::time::sleep(Duration::from_millis(60)).await;
    a.call(insert(1)).await.unwrap();
    assert_eq!(store.close_idle(Duration::from_millis(50)).await, 1);
    assert_eq!(store.opened(), [dbid("a")]);
    assert_eq!(store.shared().readers.count(), 0, "that of a was not used for as long");
    assert!(!folder.path().join("b.db-wal").exists(), "its log was written back");

    let mut watch = b.watch();
    watch.mark_unchanged();
    b.call(insert(1)).await.unwrap();
    assert!(watch.has_changed().unwrap());
    assert_eq!((a.read(count).await.unwrap(), b.read(count).await.unwrap()), (1, 1));
}

#[tokio::test]
async fn what_a_call_is_using_is_not_closed_however_long_it_takes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path()).unwrap();
    let database = create(&store, "a").await;
    let release = occupy(&database).await;
    assert_eq!(store.close_idle(Duration::ZERO).await, 0);
    drop(release);
    // The call is the next to have it, after the one that occupied it.
    database.call(insert(1)).await.unwrap();
    assert_eq!(store.close_idle(Duration::ZERO).await, 1);
    assert_eq!(open_count(&store), 0);
}

#[tokio::test]
async fn an_opening_that_failed_frees_its_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("garbage.db"), "This is not a database. ".repeat(1000)).unwrap();
    let store = Store::with(folder.path(), few(1)).unwrap();
    for _ in 0..3 {
        assert!(matches!(store.open(&dbid("garbage")).await, Err(Error::Unusable(_))));
        assert!(matches!(store.open(&dbid("missing")).await, Err(Error::NotFound)));
    }
    let good = create(&store, "good").await;
    // Where the only place is taken, a failure costs whoever has it nothing but to be opened again.
    assert!(matches!(store.open(&dbid("garbage")).await, Err(Error::Unusable(_))));
    good.call(insert(1)).await.unwrap();
}

#[tokio::test]
async fn whoever_waits_for_a_place_is_told_when_an_opening_failed() {
    let folder = tempfile::tempdir().unwrap();
    // Opening it takes as long as another program keeps it locked.
    let path = folder.path().join("locked.db");
    create(&Store::at(folder.path()).unwrap(), "locked").await;
    let other = Connection::open(&path).unwrap();
    other.execute_batch("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE").unwrap();
    let settings = Settings { patience: Duration::from_secs(60), busy: Duration::from_millis(300), ..few(1) };
    let store = Store::with(folder.path(), settings).unwrap();
    let fails = tokio::spawn({
        let store = store.clone();
        async move { store.open(&dbid("locked")).await.map(|_| ()) }
    });
    while store.shared().free_places() > 0 {
        tokio::task::yield_now().await;
    }
    let good = dbid("good");
    tokio::time::timeout(Duration::from_secs(20), store.open_or_create(&good)).await.expect("it was told").unwrap();
    assert!(matches!(fails.await.unwrap(), Err(Error::Unavailable(_))));
}
