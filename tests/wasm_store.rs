//! The browser's store, on real IndexedDB, inside a service worker.

#![cfg(target_family = "wasm")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crsql_sync::store::{Database, Dbid, Error, Store};
use crsql_sync::sync::{Replica, Schema};
use futures_timer::Delay;
use futures_util::future::join_all;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_service_worker);

// --- helpers

const NAME: &str = "test";

fn dbid() -> Dbid {
    Dbid::new(&format!("db-{}", (js_sys::Math::random() * 1e15) as u64)).unwrap()
}

fn store() -> Store {
    Store::new(NAME)
}

fn idb_name(dbid: &Dbid) -> String {
    format!("{NAME}/{dbid}")
}

/// A database with the replicated table `t(id, text)`.
async fn create(store: &Store, dbid: &Dbid) -> Database {
    let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY NOT NULL, text TEXT); SELECT crsql_as_crr('t');";
    let schema = Schema::parse(schema).unwrap();
    let database = store.open_or_create(dbid).await.unwrap();
    let created = database.call(move |replica| replica.create_database_if_not_exists(&schema).is_ok());
    assert!(created.await.unwrap());
    database
}

async fn execute(database: &Database, sql: &str) -> Result<(), Error> {
    let sql = sql.to_owned();
    database.call(move |replica| run(replica, &sql)).await
}

fn run(replica: &mut Replica, sql: &str) {
    replica.connection().execute_batch(sql).unwrap();
}

async fn number(database: &Database, sql: &str) -> Result<i64, Error> {
    let sql = sql.to_owned();
    database.call(move |replica| replica.connection().query_row(&sql, [], |row| row.get(0)).unwrap()).await
}

async fn count(database: &Database) -> i64 {
    number(database, "SELECT count(*) FROM t").await.unwrap()
}

/// What a new worker sees after the old one ended.
async fn reopened(store: Store, dbid: &Dbid) -> (Store, Database) {
    store.release_all().await;
    drop(store);
    let store = self::store();
    let database = store.open(dbid).await.unwrap();
    (store, database)
}

async fn javascript(code: &str) -> JsValue {
    let promise = js_sys::eval(&format!("(async () => {{ {code} }})()")).unwrap();
    JsFuture::from(js_sys::Promise::from(promise)).await.unwrap()
}

/// Opens the database's storage behind the store's back; `tx` is a transaction over all of it.
async fn behind(dbid: &Dbid, code: &str) -> JsValue {
    let name = idb_name(dbid);
    javascript(&format!(
        "const done = (request) => new Promise((resolve, reject) => {{
             request.onsuccess = () => resolve(request.result);
             request.onerror = () => reject(request.error);
         }});
         const db = await done(indexedDB.open('{name}'));
         const tx = db.transaction(['chunks', 'log', 'meta'], 'readwrite');
         try {{ {code} }} finally {{ db.close(); }}"
    ))
    .await
}

/// Makes the next call of `IDBObjectStore.prototype.add`, which writes a log record, do `code` instead.
async fn sabotage_next_commit(code: &str) {
    javascript(&format!(
        "const original = IDBObjectStore.prototype.add;
         IDBObjectStore.prototype.add = function (...args) {{
             IDBObjectStore.prototype.add = original;
             {code}
         }};"
    ))
    .await;
}

fn now() -> f64 {
    js_sys::Date::now()
}

fn performance_now() -> f64 {
    let performance = js_sys::Reflect::get(&js_sys::global(), &"performance".into()).unwrap();
    let now = js_sys::Reflect::get(&performance, &"now".into()).unwrap();
    js_sys::Function::from(now).call0(&performance).unwrap().as_f64().unwrap()
}

// --- durability

#[wasm_bindgen_test]
async fn a_commit_survives_the_end_of_the_worker() {
    let (store, dbid) = (store(), dbid());
    let database = create(&store, &dbid).await;
    execute(&database, "INSERT INTO t VALUES (1, 'milk')").await.unwrap();
    let (_store, database) = reopened(store, &dbid).await;
    assert_eq!(number(&database, "SELECT id FROM t WHERE text = 'milk'").await.unwrap(), 1);
}

#[wasm_bindgen_test]
async fn a_full_quota_is_reported_and_the_last_durable_state_stands() {
    let (store, dbid) = (store(), dbid());
    let database = create(&store, &dbid).await;
    execute(&database, "INSERT INTO t VALUES (1, 'kept')").await.unwrap();
    sabotage_next_commit("throw new DOMException('full', 'QuotaExceededError');").await;
    let outcome = execute(&database, "INSERT INTO t VALUES (2, 'lost')").await;
    assert!(matches!(outcome, Err(Error::StorageFull)), "{outcome:?}");
    assert_eq!(count(&database).await, 1);
    execute(&database, "INSERT INTO t VALUES (3, 'kept')").await.unwrap();
    let (_store, database) = reopened(store, &dbid).await;
    assert_eq!(number(&database, "SELECT sum(id) FROM t").await.unwrap(), 4);
}

#[wasm_bindgen_test]
async fn an_aborted_transaction_fails_everyone_who_waits_for_it_and_nobody_after() {
    let (store, dbid) = (store(), dbid());
    let database = create(&store, &dbid).await;
    sabotage_next_commit("original.apply(this, args); this.transaction.abort();").await;
    let calls = (0..5).map(|id| {
        let database = database.clone();
        async move { execute(&database, &format!("INSERT INTO t VALUES ({id}, '')")).await }
    });
    let outcomes = join_all(calls).await;
    assert!(outcomes.iter().all(|o| matches!(o, Err(Error::Unavailable(_)))), "{outcomes:?}");
    assert_eq!(count(&database).await, 0);
}

#[wasm_bindgen_test]
async fn a_read_waits_for_what_it_saw() {
    let (store, dbid) = (store(), dbid());
    let database = create(&store, &dbid).await;
    sabotage_next_commit("original.apply(this, args); this.transaction.abort();").await;
    let write = execute(&database, "INSERT INTO t VALUES (1, '')");
    let read = number(&database, "SELECT count(*) FROM t");
    let (write, read) = futures_util::future::join(write, read).await;
    assert!(write.is_err());
    assert!(read.is_err(), "the row that it counted was never stored");
}

#[wasm_bindgen_test]
async fn a_caller_that_goes_away_takes_no_commit_with_it() {
    let (store, dbid) = (store(), dbid());
    let database = create(&store, &dbid).await;
    {
        let mut call = pin!(execute(&database, "INSERT INTO t VALUES (1, '')"));
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let (_store, database) = reopened(store, &dbid).await;
    assert_eq!(count(&database).await, 1);
}

#[wasm_bindgen_test]
async fn only_durable_versions_are_published() {
    let (store, dbid) = (store(), dbid());
    let database = create(&store, &dbid).await;
    let versions = database.watch();
    let before = *versions.borrow();
    let mut call = pin!(execute(&database, "INSERT INTO t VALUES (1, '')"));
    let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Pending), "the statement ran, its transaction is under way");
    assert_eq!(*versions.borrow(), before);
    call.await.unwrap();
    assert!(*versions.borrow() > before);
}

#[wasm_bindgen_test]
async fn a_transaction_that_a_call_leaves_open_is_rolled_back() {
    let (store, dbid) = (store(), dbid());
    let database = create(&store, &dbid).await;
    execute(&database, "BEGIN; INSERT INTO t VALUES (1, '')").await.unwrap();
    assert_eq!(count(&database).await, 0);
}

// --- existence

#[wasm_bindgen_test]
async fn opening_never_creates() {
    let (store, dbid) = (store(), dbid());
    assert!(matches!(store.open(&dbid).await, Err(Error::NotFound)));
    let code = format!("return (await indexedDB.databases()).some((db) => db.name === '{}')", idb_name(&dbid));
    assert_eq!(javascript(&code).await, JsValue::FALSE);
    assert!(!store.list().await.unwrap().contains(&dbid));
}

#[wasm_bindgen_test]
async fn a_database_whose_creation_failed_does_not_exist() {
    let (store, dbid) = (store(), dbid());
    drop(store.open_or_create(&dbid).await.unwrap());
    assert!(matches!(store.open(&dbid).await, Err(Error::NotFound)));
    create(&store, &dbid).await;
    assert!(store.open(&dbid).await.is_ok());
    assert!(store.list().await.unwrap().contains(&dbid));
}

#[wasm_bindgen_test]
async fn a_database_deleted_from_outside_is_gone_and_can_be_created_again() {
    let (store, dbid) = (store(), dbid());
    let database = create(&store, &dbid).await;
    let name = idb_name(&dbid);
    javascript(&format!(
        "await new Promise((resolve, reject) => {{
             const request = indexedDB.deleteDatabase('{name}');
             request.onsuccess = resolve;
             request.onerror = reject;
         }})"
    ))
    .await;
    let outcome = number(&database, "SELECT count(*) FROM t").await;
    assert!(matches!(outcome, Err(Error::NotFound)), "{outcome:?}");
    let database = create(&store, &dbid).await;
    execute(&database, "INSERT INTO t VALUES (1, '')").await.unwrap();
    let (_store, database) = reopened(store, &dbid).await;
    assert_eq!(count(&database).await, 1);
}

// --- one owner

#[wasm_bindgen_test]
async fn a_second_instance_waits_until_the_first_lets_go() {
    let (first, dbid) = (store(), dbid());
    let database = create(&first, &dbid).await;
    let second = store();
    let opening = async {
        let started = now();
        let database = second.open(&dbid).await.unwrap();
        assert!(now() - started >= 250.0);
        count(&database).await
    };
    let letting_go = async {
        Delay::new(Duration::from_millis(300)).await;
        execute(&database, "INSERT INTO t VALUES (1, '')").await.unwrap();
        first.release_all().await;
    };
    let (count, ()) = futures_util::future::join(opening, letting_go).await;
    assert_eq!(count, 1);
}

#[wasm_bindgen_test]
async fn a_second_instance_does_not_wait_for_ever() {
    let (first, dbid) = (store(), dbid());
    let database = create(&first, &dbid).await;
    let outcome = store().open(&dbid).await;
    assert!(matches!(outcome, Err(Error::Unavailable(_))), "{outcome:?}");
    assert_eq!(count(&database).await, 0);
}

#[wasm_bindgen_test]
async fn an_instance_that_another_one_overtook_writes_nothing() {
    let (store, dbid) = (store(), dbid());
    let database = create(&store, &dbid).await;
    behind(
        &dbid,
        "const meta = tx.objectStore('meta'); await done(meta.put(await done(meta.get('epoch')) + 1, 'epoch'))",
    )
    .await;
    let outcome = execute(&database, "INSERT INTO t VALUES (1, 'stale')").await;
    assert!(matches!(outcome, Err(Error::Unavailable(_))), "{outcome:?}");
    // Nobody holds the lock, so this instance may take the database over again, as it is stored.
    assert_eq!(count(&database).await, 0);
    execute(&database, "INSERT INTO t VALUES (2, 'fresh')").await.unwrap();
}

#[wasm_bindgen_test]
async fn an_instance_whose_lock_was_stolen_lets_go() {
    let (store, dbid) = (store(), dbid());
    let database = create(&store, &dbid).await;
    let name = idb_name(&dbid);
    javascript(&format!(
        "await new Promise((stolen) => navigator.locks.request('{name}', {{ steal: true }}, () => {{
             stolen();
             return new Promise((resolve) => setTimeout(resolve, 500));
         }}))"
    ))
    .await;
    Delay::new(Duration::from_millis(50)).await;
    let started = now();
    execute(&database, "INSERT INTO t VALUES (1, '')").await.unwrap();
    assert!(now() - started > 200.0, "it had to wait for the thief");
}

// --- the log

#[wasm_bindgen_test]
async fn a_thousand_small_commits_reload_and_the_log_stays_short() {
    let (store, dbid) = (store(), dbid());
    let database = create(&store, &dbid).await;
    for id in 0..1000 {
        execute(&database, &format!("INSERT INTO t VALUES ({id}, hex(randomblob(50)))")).await.unwrap();
    }
    Delay::new(Duration::from_millis(500)).await;
    let records = behind(&dbid, "return await done(tx.objectStore('log').count())").await.as_f64().unwrap();
    assert!(records < 300.0, "{records} log records were never checkpointed");
    let (_store, database) = reopened(store, &dbid).await;
    assert_eq!(number(&database, "SELECT sum(id) FROM t").await.unwrap(), 499_500);
    assert_eq!(
        number(&database, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'").await.unwrap(),
        1
    );
}

#[wasm_bindgen_test]
async fn commits_that_wait_together_share_a_transaction() {
    let (store, dbid) = (store(), dbid());
    let database = create(&store, &dbid).await;
    let count_records = || behind(&dbid, "return await done(tx.objectStore('log').count())");
    let before = count_records().await.as_f64().unwrap();
    let calls = (0..100).map(|id| {
        let database = database.clone();
        async move { execute(&database, &format!("INSERT INTO t VALUES ({id}, '')")).await.unwrap() }
    });
    join_all(calls).await;
    let records = count_records().await.as_f64().unwrap() - before;
    assert!(records < 10.0, "100 concurrent commits took {records} transactions");
}

#[wasm_bindgen_test]
async fn a_damaged_log_is_reported_not_skipped() {
    let (store, dbid) = (store(), dbid());
    let database = create(&store, &dbid).await;
    for id in 0..3 {
        execute(&database, &format!("INSERT INTO t VALUES ({id}, '')")).await.unwrap();
    }
    store.release_all().await;
    behind(
        &dbid,
        "const log = tx.objectStore('log'); const keys = await done(log.getAllKeys()); await done(log.delete(keys[1]))",
    )
    .await;
    let outcome = store.open(&dbid).await;
    assert!(matches!(outcome, Err(Error::Io(_))), "{outcome:?}");
}

// --- cost

fn percentile(times: &mut [f64], percent: usize) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() * percent / 100]
}

#[wasm_bindgen_test]
async fn a_single_row_is_durable_within_milliseconds() {
    let (store, dbid) = (store(), dbid());
    let database = create(&store, &dbid).await;
    execute(&database, "CREATE INDEX by_text ON t(text)").await.unwrap();
    let mut times = Vec::new();
    for id in 0..500 {
        let started = performance_now();
        execute(&database, &format!("INSERT INTO t VALUES ({id}, hex(randomblob(20)))")).await.unwrap();
        times.push(performance_now() - started);
    }
    let (p50, p95) = (percentile(&mut times, 50), percentile(&mut times, 95));
    console_log!("MEASURE durable single-row insert with one index: p50 {p50:.2} ms, p95 {p95:.2} ms");

    let started = performance_now();
    execute(
        &database,
        "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 10999)
         INSERT INTO t SELECT i, hex(randomblob(20)) FROM n",
    )
    .await
    .unwrap();
    let bulk = performance_now() - started;
    console_log!("MEASURE 10,000 rows with one index in one durable transaction: {bulk:.1} ms");
    assert!(p50 < 30.0 && bulk < 5000.0, "ten times the target: something is broken");
}

async fn reload_time(megabytes: i64) -> f64 {
    let (store, dbid) = (store(), dbid());
    let database = create(&store, &dbid).await;
    let rows = megabytes * 1000;
    execute(
        &database,
        &format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO t SELECT i, hex(randomblob(490)) FROM n"
        ),
    )
    .await
    .unwrap();
    // And a log on top.
    for id in 0..100 {
        execute(&database, &format!("UPDATE t SET text = '{id}' WHERE id = {id} * 97 + 1")).await.unwrap();
    }
    store.release_all().await;
    let mut times = Vec::new();
    for _ in 0..5 {
        let store = self::store();
        let started = performance_now();
        let database = store.open(&dbid).await.unwrap();
        assert_eq!(number(&database, "SELECT id FROM t WHERE id = 1000").await.unwrap(), 1000);
        times.push(performance_now() - started);
        assert_eq!(count(&database).await, rows);
        store.release_all().await;
    }
    percentile(&mut times, 50)
}

#[wasm_bindgen_test]
async fn a_large_database_loads() {
    let ten = reload_time(10).await;
    let twenty = reload_time(20).await;
    console_log!("MEASURE reopen and first answer: 10 MB {ten:.1} ms, 20 MB {twenty:.1} ms");
    assert!(ten < 1500.0, "ten times the target: something is broken");
}

#[wasm_bindgen_test]
async fn a_database_that_somebody_has_is_not_let_go_as_unused() {
    let (store, dbid) = (store(), dbid());
    let database = create(&store, &dbid).await;
    store.release_unused(&dbid).await;
    assert!(store.is_open(&dbid));
    drop(database);
    store.release_unused(&dbid).await;
    assert!(!store.is_open(&dbid));
}
