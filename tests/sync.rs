//! Replicas that exchange batches, with nothing in between.
//!
//! The same bodies run natively and, in a service worker, in wasm.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use common::replicas::{TODO, add, empty, limits, replica, run, sql, try_sql};
use crsql_sync::crr::{SiteId, Version};
use crsql_sync::sync::{
    ApplyError, Batch, CreateError, Cursor, Error, Outgoing, Page, Replica, Request, RequestError, RequestKey, Schema,
    Since, Sql, SqlError, SqlLimits,
};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

fn rows(replica: &mut Replica) -> String {
    sql(replica, "SELECT * FROM todo ORDER BY id")
}

fn version(n: i64) -> Version {
    Version::or_zero(n).unwrap()
}

fn request(since: Since) -> Request {
    Request::after(since)
}

fn all(replica: &mut Replica) -> Batch {
    replica.request_changes(&request(Since::Beginning)).unwrap()
}

fn after(replica: &Replica, n: i64) -> Since {
    Since::After(Cursor { site: replica.site(), version: version(n) })
}

/// Applies to `to` everything that `from` has for it, a page at a time, through JSON.
fn pull(from: &mut Replica, to: &mut Replica, page: Page) -> usize {
    let mut batches = 0;
    loop {
        let since = to.received(from.site()).unwrap();
        let batch = from.request_changes(&Request { exclude: Some(to.site()), page, ..Request::after(since) }).unwrap();
        let batch: Batch = serde_json::from_str(&serde_json::to_string(&batch).unwrap()).unwrap();
        let applied = to.apply_changes(&batch).unwrap();
        assert_eq!(Some(applied.received), batch.next);
        batches += 1;
        if !batch.more {
            return batches;
        }
    }
}

#[test]
fn two_replicas_that_exchange_batches_end_up_equal() {
    let (mut a, mut b) = (replica(), replica());
    add(&mut a, "1");
    add(&mut a, "2");
    add(&mut b, "3");
    run(&mut b, "INSERT INTO todo VALUES ('2', 'other', 1)");
    pull(&mut a, &mut b, Page::default());
    pull(&mut b, &mut a, Page::default());
    run(&mut a, "DELETE FROM todo WHERE id = '1'");
    pull(&mut a, &mut b, Page::default());
    assert_eq!(rows(&mut a), rows(&mut b));
    assert_eq!(rows(&mut a), r#"[["2","title of 2",1],["3","title of 3",0]]"#);
}

#[test]
fn a_replayed_batch_does_not_move_the_cursor_back() {
    let (mut a, mut b) = (replica(), replica());
    add(&mut a, "1");
    let first = all(&mut a);
    add(&mut a, "2");
    let both = all(&mut a);
    b.apply_changes(&both).unwrap();
    let again = b.apply_changes(&first).unwrap();
    assert_eq!(again.applied, 0);
    assert_eq!(again.received, after(&a, a.version().unwrap().get()));
    let empty = Batch { changes: vec![], end: Some(version(1)), next: None, ..first };
    assert_eq!(b.apply_changes(&empty).unwrap().received, again.received);
}

#[test]
fn a_batch_that_begins_after_the_cursor_is_refused_and_changes_nothing() {
    let (mut a, mut b) = (replica(), replica());
    add(&mut a, "1");
    let at = a.version().unwrap().get();
    add(&mut a, "2");
    let second = a.request_changes(&request(after(&a, at))).unwrap();
    let before = b.version().unwrap();
    let Err(ApplyError::OutOfOrder { expected }) = b.apply_changes(&second) else { panic!() };
    assert_eq!(expected, after(&a, 0));
    assert_eq!(b.version().unwrap(), before);
    assert_eq!(rows(&mut b), "[]");
    b.apply_changes(&all(&mut a)).unwrap();
    assert_eq!(rows(&mut a), rows(&mut b));
}

#[test]
fn a_batch_without_a_start_is_merged_and_moves_no_cursor() {
    let (mut a, mut b) = (replica(), replica());
    add(&mut a, "1");
    let batch = Batch { start: None, end: None, next: None, ..all(&mut a) };
    let applied = b.apply_changes(&batch).unwrap();
    assert!(applied.applied > 0);
    assert_eq!(applied.received, after(&a, 0));
}

#[test]
fn a_batch_that_is_wrong_is_refused_whole() {
    let (mut a, mut b) = (replica(), replica());
    add(&mut a, "1");
    let good = all(&mut a);
    let spoil = |f: &dyn Fn(&mut Batch)| {
        let mut batch = good.clone();
        f(&mut batch);
        batch
    };
    let last = good.changes.len() - 1;
    let bad = [
        spoil(&|batch| batch.changes[last].table = "nothing".into()),
        spoil(&|batch| batch.changes[last].cid = "nothing".into()),
        spoil(&|batch| batch.changes[last].cid = "id".into()),
        spoil(&|batch| batch.changes[last].pk = [].into()),
        spoil(&|batch| {
            let pk = &mut batch.changes[last].pk;
            *pk = [&pk[..], &[0]].concat().into();
        }),
        spoil(&|batch| batch.changes[last].pk = [2, 9, 1, 9, 1].into()),
        spoil(&|batch| batch.changes[last].pk = [0].into()),
        spoil(&|batch| batch.start = batch.end.map(|end| end.next().unwrap())),
        spoil(&|batch| batch.end = None),
        spoil(&|batch| batch.since = Some(Since::Beginning)),
    ];
    let at = b.at().unwrap();
    for batch in bad {
        assert!(matches!(b.apply_changes(&batch), Err(ApplyError::InvalidBatch(_))), "{batch:?}");
    }
    assert_eq!(b.at().unwrap(), at);
    assert_eq!(rows(&mut b), "[]");
    assert_eq!(b.received(a.site()).unwrap(), after(&a, 0));
    let own = Batch { from: b.site(), ..good };
    assert!(matches!(b.apply_changes(&own), Err(ApplyError::InvalidBatch(_))));
}

#[test]
fn a_batch_of_another_schema_is_refused() {
    let mut a = empty();
    a.create_database_if_not_exists(&Schema::parse(&TODO.replace("title TEXT", "title TEXT, note TEXT")).unwrap())
        .unwrap();
    let mut b = replica();
    add(&mut a, "1");
    let Err(ApplyError::SchemaMismatch { schema }) = b.apply_changes(&all(&mut a)) else { panic!() };
    assert_eq!(&schema, b.schema().unwrap().hash());
}

#[test]
fn what_came_from_a_peer_is_not_sent_back_to_it_but_is_passed_on() {
    let (mut a, mut b, mut c) = (replica(), replica(), replica());
    add(&mut a, "1");
    add(&mut c, "2");
    pull(&mut c, &mut a, Page::default());
    pull(&mut a, &mut b, Page::default());
    add(&mut b, "3");
    let exclude = Some(a.site());
    let back = b.request_changes(&Request { exclude, ..request(Since::Beginning) }).unwrap();
    assert!(back.changes.iter().all(|change| change.site == b.site()), "{back:?}");
    assert_eq!(back.end, b.version().ok());
    let on = all(&mut b);
    assert_eq!(on.changes.iter().map(|change| change.site).collect::<std::collections::BTreeSet<_>>().len(), 3);
}

#[test]
fn pages_end_where_a_version_ends() {
    let (mut a, mut b) = (replica(), replica());
    for id in 0..10 {
        add(&mut a, &id.to_string());
    }
    let page = Page { changes: 5, ..Page::default() };
    let first = a.request_changes(&Request { page, ..request(Since::Beginning) }).unwrap();
    assert!(first.more);
    assert_eq!(first.changes.len(), 4);
    assert_eq!(first.next, first.end.map(|end| after(&a, end.get())));
    assert_eq!(pull(&mut a, &mut b, page), 5);
    assert_eq!(rows(&mut a), rows(&mut b));
}

#[test]
fn a_version_over_the_limit_is_cut_and_its_last_piece_alone_is_refused() {
    let (mut a, mut b, mut c) = (replica(), replica(), replica());
    let values: Vec<_> = (0..50).map(|id| format!("('{id:02}', 'x', 0)")).collect();
    run(&mut a, &format!("INSERT INTO todo VALUES {}", values.join(",")));
    add(&mut c, "c");
    pull(&mut c, &mut a, Page::default());
    let page = Page { changes: 7, ..Page::default() };
    assert!(pull(&mut a, &mut b, page) > 10);
    assert_eq!(rows(&mut a), rows(&mut b));

    let mut pieces = Vec::new();
    let mut since = Since::Beginning;
    loop {
        let piece = a.request_changes(&Request { page, ..request(since) }).unwrap();
        since = piece.next.unwrap();
        pieces.push(piece);
        if !pieces.last().unwrap().more {
            break;
        }
    }
    // All but the last piece of the big version leave it uncovered.
    let cut = pieces.iter().filter(|piece| matches!(piece.next, Some(Since::Within(_)))).count();
    assert!(cut > 10);
    for piece in &pieces[..cut] {
        assert_eq!(piece.start, piece.end);
        assert_eq!(piece.covers.iter().count(), 0);
    }
    let mut d = replica();
    d.apply_changes(&pieces[0]).unwrap();
    let Err(ApplyError::OutOfOrder { expected }) = d.apply_changes(&pieces[2]) else { panic!() };
    assert_eq!(Some(expected), pieces[0].next);
    let Err(ApplyError::OutOfOrder { .. }) = d.apply_changes(&pieces[cut]) else { panic!() };
    for piece in &pieces[1..] {
        d.apply_changes(piece).unwrap();
    }
    d.apply_changes(&pieces[1]).unwrap();
    assert_eq!(rows(&mut a), rows(&mut d));
    assert_eq!(d.received(a.site()).unwrap(), Since::After(a.at().unwrap()));
}

#[test]
fn pieces_of_a_version_that_changes_meanwhile_still_add_up() {
    let (mut a, mut b) = (replica(), replica());
    let values: Vec<_> = (0..20).map(|id| format!("('{id:02}', 'x', 0)")).collect();
    run(&mut a, &format!("INSERT INTO todo VALUES {}", values.join(",")));
    let page = Page { changes: 6, ..Page::default() };
    let mut since = Since::Beginning;
    for round in 0.. {
        let batch = a.request_changes(&Request { page, exclude: Some(b.site()), ..request(since) }).unwrap();
        assert_eq!(batch.since, Some(since).filter(|since| matches!(since, Since::Within(_))));
        b.apply_changes(&batch).unwrap();
        since = batch.next.unwrap();
        if !batch.more {
            break;
        }
        if round < 3 {
            run(&mut a, &format!("UPDATE todo SET title = 'y' WHERE id IN ('0{round}', '1{round}')"));
        }
    }
    assert_eq!(rows(&mut a), rows(&mut b));
}

#[test]
fn until_before_what_is_held_moves_nothing() {
    let mut a = replica();
    add(&mut a, "1");
    let at = a.at().unwrap();
    run(&mut a, "INSERT INTO todo (id) VALUES ('2'), ('3')");
    let page = Page { changes: 2, ..Page::default() };
    let since = a.request_changes(&Request { page, ..request(Since::After(at)) }).unwrap().next.unwrap();
    assert!(matches!(since, Since::Within(_)));
    let batch = a.request_changes(&Request { until: Some(at), ..request(since) }).unwrap();
    assert_eq!((batch.next, batch.more, batch.changes.len()), (Some(since), false, 0));
}

#[test]
fn a_cursor_of_another_copy_or_ahead_of_this_one_is_told_apart() {
    let mut a = replica();
    let other = Since::After(Cursor { site: SiteId::new([7; 16]), version: version(1) });
    assert!(matches!(a.request_changes(&request(other)), Err(RequestError::CursorUnknown { .. })));
    let ahead = after(&a, 99);
    assert!(matches!(a.request_changes(&request(ahead)), Err(RequestError::CursorAhead { .. })));
}

#[test]
fn until_bounds_a_request() {
    let mut a = replica();
    add(&mut a, "1");
    let at = a.at().unwrap();
    add(&mut a, "2");
    let batch = a.request_changes(&Request { until: Some(at), ..request(Since::Beginning) }).unwrap();
    assert_eq!((batch.end, batch.more), (Some(at.version), false));
    assert_eq!(batch.changes.len(), 2);
}

#[test]
fn a_schema_is_the_same_whatever_its_comments_and_spaces() {
    let mut a = replica();
    let dressed = "create table todo(id text primary key not null, -- the key
        title TEXT,   done integer default 0); select crsql_as_crr('todo')";
    let created = a.create_database_if_not_exists(&Schema::parse(dressed).unwrap()).unwrap();
    assert!(!created.created);
    for other in [
        TODO.replace("DEFAULT 0", "DEFAULT 1"),
        TODO.replace("TEXT", "BLOB"),
        TODO.replace("SELECT crsql_as_crr('todo');", ""),
        format!("{TODO} CREATE INDEX by_title ON todo (title);"),
    ] {
        let other = Schema::parse(&other).unwrap();
        let Err(CreateError::SchemaMismatch { schema }) = a.create_database_if_not_exists(&other) else { panic!() };
        assert_eq!(&schema, a.schema().unwrap().hash());
    }
}

#[test]
fn a_schema_holds_nothing_but_definitions() {
    for text in [
        "",
        "-- nothing",
        "DROP TABLE x",
        "CREATE TABLE t (a)  ; INSERT INTO t VALUES (1)",
        "CREATE TEMP TABLE t (a)",
        "CREATE TABLE t AS SELECT 1 AS a",
        "CREATE TABLE crsql_t (a)",
        "CREATE TABLE t__crsql_rows (a)",
        "CREATE VIRTUAL TABLE t USING clset (a)",
        "CREATE TABLE t (a); SELECT * FROM t",
        "SELECT 1",
        "SELECT randomblob(16)",
        "SELECT crsql_as_crr(name) FROM sqlite_schema",
        "SELECT crsql_as_crr('nothing')",
        "EXPLAIN CREATE TABLE t (a)",
        "PRAGMA user_version = 3",
        "ATTACH ':memory:' AS x",
        "VACUUM",
        "BEGIN; CREATE TABLE t (a); COMMIT",
        "CREATE TABLE t (a); ALTER TABLE t ADD COLUMN b",
        "CREATE TABLE t (a",
        "SELECT load_extension('x')",
        "CREATE TABLE t (a PRIMARY KEY NOT NULL); SELECT crsql_as_crr('t'), crsql_db_version()",
        "CREATE TABLE t (a); SELECT crsql_as_crr('t')",
        "CREATE VIRTUAL TABLE t USING fts5(a, content='sqlite_schema')",
        "CREATE VIRTUAL TABLE t USING dbstat",
        "CREATE TEMP VIEW v AS SELECT 1",
        "CREATE TEMP TRIGGER g AFTER INSERT ON crsql_master BEGIN SELECT 1; END",
        "CREATE TABLE sqlite_t (a)",
        "CREATE VIEW crsql_v AS SELECT 1",
        "CREATE TABLE t (a); CREATE INDEX t__crsql_i ON t (a)",
        "CREATE INDEX i ON crsql_master (value)",
        "CREATE TRIGGER g AFTER INSERT ON crsql_master BEGIN SELECT 1; END",
        "VACUUM INTO '/tmp/copy.db'",
        "PRAGMA writable_schema = 1",
        "ANALYZE",
        "REINDEX",
        "CREATE TABLE t (a, b CHECK (load_extension(a)))",
        "CREATE TABLE t (a, b AS (fts3_tokenizer(a, b)))",
        "CREATE TABLE t (a); CREATE INDEX i ON t (load_extension(a))",
        "CREATE TABLE t (a); CREATE INDEX i ON t (a) WHERE fts3_tokenizer(a, a)",
        "CREATE TABLE t (a CHECK ((WITH RECURSIVE n AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT count(*) FROM n)))",
    ] {
        assert!(matches!(Schema::parse(text), Err(CreateError::InvalidSchema(_))), "{text:?}");
    }
    Schema::parse(
        "CREATE TABLE list (id INTEGER PRIMARY KEY NOT NULL, name TEXT, size INTEGER CHECK (size >= abs(0)));
         CREATE TABLE local (a TEXT PRIMARY KEY NOT NULL, b INTEGER DEFAULT (unixepoch()), UNIQUE (b)) WITHOUT ROWID, STRICT;
         CREATE INDEX by_name ON list (lower(name)) WHERE name IS NOT NULL;
         CREATE VIEW names AS SELECT name, count(*) FROM list GROUP BY name;
         CREATE TRIGGER keep AFTER INSERT ON list BEGIN UPDATE list SET size = 1 WHERE id = new.id; END;
         SELECT crsql_as_crr('list');",
    )
    .unwrap();
}

#[test]
fn a_merge_into_a_table_whose_trigger_never_ends_is_broken_off_and_leaves_nothing() {
    let mut a = replica();
    add(&mut a, "1");
    let trap = "CREATE TRIGGER trap AFTER INSERT ON todo BEGIN
                  SELECT count(*) FROM (WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n);
                END;";
    let mut b = empty();
    b.create_database_if_not_exists(&Schema::parse(&format!("{TODO} {trap}")).unwrap()).unwrap();
    let mut batch = all(&mut a);
    batch.schema = None;
    let before = b.version().unwrap();
    let time = Duration::from_millis(50);
    for _ in 0..2 {
        let error = b.within(time, |b| b.apply_changes(&batch)).unwrap_err();
        assert!(matches!(error, ApplyError::Replica(Error::TookTooLong(taken)) if taken == time), "{error:?}");
        assert_eq!((b.version().unwrap(), rows(&mut b)), (before, "[]".into()));
        assert_eq!(b.status().unwrap().peers, []);
    }
    assert!(b.connection().is_autocommit());
}

#[test]
fn a_batch_that_begins_before_the_cursor_and_ends_after_it_moves_it_on() {
    let (mut a, mut b) = (replica(), replica());
    add(&mut a, "1");
    b.apply_changes(&all(&mut a)).unwrap();
    add(&mut a, "2");
    let applied = b.apply_changes(&all(&mut a)).unwrap();
    assert_eq!(applied.received, after(&a, a.version().unwrap().get()));
    assert_eq!(rows(&mut a), rows(&mut b));
}

#[test]
fn a_write_that_comes_twice_with_one_key_is_done_once() {
    let mut a = replica();
    add(&mut a, "x");
    let count = [Sql { sql: "UPDATE todo SET done = done + 1 RETURNING done".into(), params: vec![] }];
    let key: RequestKey = "9f1c".parse().unwrap();
    let first = a.sql_once(Some(&key), &count, limits()).unwrap();
    assert_eq!(a.sql_once(Some(&key), &count, limits()).unwrap(), first);
    let at = a.at().unwrap();
    a.sql_once(Some(&"another".parse().unwrap()), &count, limits()).unwrap();
    assert_eq!(serde_json::to_string(&run(&mut a, "SELECT done FROM todo").rows).unwrap(), "[[2]]");
    assert_eq!(a.at().unwrap().version.get(), at.version.get() + 1);
    for bad in ["", "a b", "ü", &"x".repeat(129)] {
        assert!(bad.parse::<RequestKey>().is_err());
    }
}

#[test]
fn what_failed_is_run_again_and_old_answers_are_forgotten() {
    let mut a = replica();
    let key: RequestKey = "k".parse().unwrap();
    let insert = [Sql { sql: "INSERT INTO todo (id) VALUES ('x')".into(), params: vec![] }];
    add(&mut a, "x");
    assert!(a.sql_once(Some(&key), &insert, limits()).is_err());
    run(&mut a, "DELETE FROM todo");
    assert!(a.sql_once(Some(&key), &insert, limits()).is_ok());
    for i in 0..1_100 {
        let insert = [Sql { sql: format!("INSERT INTO todo (id) VALUES ({i})"), params: vec![] }];
        a.sql_once(Some(&format!("k{i}").parse().unwrap()), &insert, limits()).unwrap();
    }
    let kept = "SELECT count(*) FROM crsql_sync_answers";
    let kept: i64 = a.connection().query_row(kept, [], |row| row.get(0)).unwrap();
    assert!((1_024..1_024 + 64).contains(&kept), "{kept}");
}

#[test]
fn a_write_whose_answer_is_too_large_to_be_kept_is_not_done_again_either() {
    let mut a = replica();
    add(&mut a, "x");
    let key: RequestKey = "large".parse().unwrap();
    let sql = "UPDATE todo SET done = done + 1 RETURNING hex(zeroblob(50000))";
    let write = [Sql { sql: sql.into(), params: vec![] }];
    assert_eq!(a.sql_once(Some(&key), &write, limits()).unwrap()[0].rows.len(), 1);
    assert!(matches!(a.sql_once(Some(&key), &write, limits()), Err(SqlError::AlreadyDone)));
    assert_eq!(serde_json::to_string(&run(&mut a, "SELECT done FROM todo").rows).unwrap(), "[[1]]");
}

#[test]
fn a_foreign_key_of_a_local_table_does_not_refuse_a_merge() {
    let schema = format!("{TODO} CREATE TABLE note (id INTEGER PRIMARY KEY, todo TEXT REFERENCES todo (id));");
    let schema = Schema::parse(&schema).unwrap();
    let (mut a, mut b) = (empty(), empty());
    for replica in [&mut a, &mut b] {
        replica.create_database_if_not_exists(&schema).unwrap();
    }
    add(&mut a, "x");
    pull(&mut a, &mut b, Page::default());
    run(&mut b, "INSERT INTO note VALUES (1, 'x')");
    run(&mut a, "DELETE FROM todo");
    pull(&mut a, &mut b, Page::default());
    assert_eq!(rows(&mut b), "[]");
}

#[test]
fn a_default_cannot_call_the_engine() {
    // Not every build of SQLite looks into a DEFAULT before it is used; then its use is refused.
    let schema = "CREATE TABLE t (a, b DEFAULT (crsql_as_crr('t')))";
    if let Ok(schema) = Schema::parse(schema) {
        let mut replica = empty();
        replica.create_database_if_not_exists(&schema).unwrap();
        assert!(try_sql(&mut replica, "INSERT INTO t (a) VALUES (1)").is_err());
    }
}

#[test]
fn a_failed_creation_leaves_nothing() {
    let mut a = empty();
    let schema = Schema::parse(TODO).unwrap();
    a.connection().execute_batch("CREATE TABLE other (x)").unwrap();
    assert!(matches!(a.create_database_if_not_exists(&schema), Err(CreateError::InvalidSchema(_))));
    assert!(!a.exists());
    a.connection().execute_batch("DROP TABLE other").unwrap();
    assert!(a.create_database_if_not_exists(&schema).unwrap().created);
    assert!(a.exists());
}

#[test]
fn sql_from_outside_is_kept_to_the_rows_of_its_database() {
    let mut a = replica();
    for text in [
        "ATTACH ':memory:' AS x",
        "DETACH main",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA writable_schema = 1",
        "PRAGMA user_version = 1",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT x",
        "VACUUM",
        "VACUUM INTO 'x.db'",
        "DROP TABLE todo",
        "CREATE TABLE t (a)",
        "CREATE TEMP TABLE t (a)",
        "ALTER TABLE todo ADD COLUMN x",
        "SELECT load_extension('x')",
        "SELECT crsql_as_crr('todo')",
        "SELECT crsql_next_db_version(99)",
        "DELETE FROM crsql_tracked_peers",
        "UPDATE crsql_master SET value = 1",
        "INSERT INTO crsql_journal (joined) VALUES (1)",
        "DELETE FROM sqlite_schema",
        "SELECT 1; SELECT 2",
        "SELECT ?1",
        "SELECT * FROM nothing",
        "SELEC 1",
        "",
        "SELECT CAST(x'ff' AS TEXT)",
        "SELECT fts3_tokenizer('simple')",
        "SELECT FTS3_Tokenizer('simple', x'4141414141414141')",
        "SELECT * FROM fts3tokenize('simple', 'a b')",
        "SELECT file FROM pragma_database_list",
        "SELECT count(*) FROM Pragma_Database_List",
        "SELECT * FROM pragma_optimize(-1)",
        "SELECT 1 IN pragma_function_list",
    ] {
        let error = try_sql(&mut a, text).unwrap_err();
        assert!(matches!(error, SqlError::Refused { statement: 1, .. }), "{text}: {error:?}");
    }
    for text in [
        "SELECT crsql_site_id(), crsql_db_version()",
        "PRAGMA table_info(todo)",
        "SELECT name FROM pragma_table_info('todo')",
        "SELECT 1; -- the end",
    ] {
        run(&mut a, text);
    }
    run(&mut a, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT * FROM n");
}

#[test]
fn a_schemas_own_triggers_cannot_reach_what_the_engine_keeps() {
    let sly = [
        ("INSERT ON todo", "UPDATE crsql_master SET value = 0"),
        ("UPDATE OF done ON todo", "DELETE FROM crsql_tracked_peers"),
        ("DELETE ON todo", "DELETE FROM todo__crsql_rows"),
        ("INSERT ON todo", "SELECT crsql_next_db_version(99)"),
        ("INSERT ON todo", "INSERT INTO log SELECT file FROM pragma_database_list"),
    ];
    for (event, body) in sly {
        let schema = format!("{TODO} CREATE TABLE log (id); CREATE TRIGGER sly AFTER {event} BEGIN {body}; END;");
        let error = Schema::parse(&schema).unwrap_err();
        assert!(matches!(&error, CreateError::InvalidSchema(reason) if reason.contains("a trigger on")), "{error}");
    }
    let good =
        "CREATE TRIGGER good AFTER DELETE ON todo BEGIN INSERT INTO log VALUES (old.id, crsql_db_version()); END;
                CREATE TRIGGER late AFTER INSERT ON todo BEGIN INSERT INTO not_yet_there VALUES (1); END;
                CREATE VIEW seen AS SELECT id FROM todo;
                CREATE TRIGGER instead INSTEAD OF INSERT ON seen BEGIN INSERT INTO todo (id) VALUES (new.id); END;";
    let mut a = empty();
    let schema = Schema::parse(&format!("{TODO} CREATE TABLE log (id, at); {good}")).unwrap();
    a.create_database_if_not_exists(&schema).unwrap();
    run(&mut a, "DELETE FROM todo");
}

#[test]
fn the_statements_of_a_request_are_one_transaction() {
    let mut a = replica();
    let statements = ["INSERT INTO todo (id) VALUES ('1')", "INSERT INTO todo (id) VALUES ('1')"];
    let statements = statements.map(|sql| Sql { sql: sql.into(), params: vec![] });
    let error = a.sql(&statements, limits()).unwrap_err();
    assert!(matches!(error, SqlError::Refused { statement: 2, .. }), "{error:?}");
    assert_eq!(rows(&mut a), "[]");
}

#[test]
fn a_request_that_takes_too_much_is_stopped() {
    let mut a = replica();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT";
    let statement = |sql: String| [Sql { sql, params: vec![] }];
    let time = Duration::from_millis(50);
    let error = a.sql(&statement(format!("{endless} count(*) FROM n")), SqlLimits { time, ..limits() }).unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
    let error = a.sql(&statement(format!("{endless} i FROM n")), limits()).unwrap_err();
    assert!(error.to_string().contains("LIMIT"), "{error}");
    let error = a.sql(&statement(format!("{endless} zeroblob(100000) FROM n")), limits()).unwrap_err();
    assert!(error.to_string().contains("LIMIT"), "{error}");
    for large in
        ["length(zeroblob(1000000000))", "length(randomblob(1000000000))", "length(printf('%.*c', 1000000000, 'x'))"]
    {
        let error = try_sql(&mut a, &format!("SELECT {large}")).unwrap_err();
        assert!(error.to_string().contains("too big"), "{large}: {error}");
    }
    // The engine's own work has SQLite's limits.
    assert_eq!(a.connection().query_row("SELECT length(zeroblob(20000000))", [], |row| row.get(0)), Ok(20_000_000));
    add(&mut a, "1");
}

#[test]
fn a_reader_writes_nothing() {
    let mut a = replica();
    let read_only = SqlLimits { read_only: true, ..limits() };
    let statement = [Sql { sql: "INSERT INTO todo (id) VALUES ('1')".into(), params: vec![] }];
    assert!(matches!(a.sql(&statement, read_only.clone()), Err(SqlError::ReadOnly { statement: 1 })));
    let statement = [Sql { sql: "SELECT count(*) FROM todo".into(), params: vec![] }];
    assert_eq!(a.sql(&statement, read_only).unwrap()[0].rows.len(), 1);
}

#[test]
fn what_a_result_depends_on_is_told_by_the_tables_that_were_read() {
    let mut a = empty();
    let schema = "CREATE TABLE todo (id TEXT PRIMARY KEY NOT NULL, list INTEGER, title TEXT);
        CREATE INDEX by_list ON todo (list);
        CREATE TABLE list (id INTEGER PRIMARY KEY NOT NULL, name TEXT);
        CREATE TABLE \"a Table\" (id INTEGER PRIMARY KEY NOT NULL);
        CREATE TABLE local (id INTEGER PRIMARY KEY, theme TEXT);
        CREATE VIEW shown AS SELECT id FROM todo WHERE list IN (SELECT id FROM list);
        SELECT crsql_as_crr('todo'); SELECT crsql_as_crr('list'); SELECT crsql_as_crr('a Table');";
    a.create_database_if_not_exists(&Schema::parse(schema).unwrap()).unwrap();
    let reads = |statements: &[&str]| {
        let statements: Vec<_> = statements.iter().map(|&sql| Sql { sql: sql.into(), params: vec![] }).collect();
        a.depends_on(&statements).unwrap().map(|it| it.tables.into_iter().collect::<Vec<_>>().join(" "))
    };
    for (sql, tables) in [
        ("SELECT * FROM todo WHERE id = '1'", "todo"),
        ("SELECT count(*) FROM TODO", "todo"),
        ("SELECT list FROM todo WHERE list > 1", "todo"),
        ("SELECT * FROM shown", "list todo"),
        ("SELECT 1 FROM todo JOIN list USING (id)", "list todo"),
        ("WITH n AS (SELECT id FROM \"a Table\") SELECT * FROM n", "a Table"),
        ("SELECT 1", ""),
    ] {
        assert_eq!(reads(&[sql]).as_deref(), Some(tables), "{sql}");
    }
    assert_eq!(reads(&["SELECT * FROM todo", "SELECT * FROM list"]).as_deref(), Some("list todo"));
    for sql in [
        "SELECT * FROM local",
        "SELECT * FROM todo, local",
        "SELECT * FROM crsql_changes",
        "SELECT * FROM todo WHERE id IN (SELECT value FROM json_each('[]'))",
        "SELECT crsql_db_version()",
        "SELECT name FROM sqlite_schema",
        "DELETE FROM todo",
        "EXPLAIN SELECT * FROM todo",
    ] {
        assert_eq!(reads(&["SELECT * FROM todo", sql]), None, "{sql}");
    }
}

#[test]
fn what_the_upstream_lacks_is_counted_until_it_acknowledges() {
    let (mut a, mut hub, mut c) = (replica(), replica(), replica());
    a.set_upstream(hub.site()).unwrap();
    assert_eq!(a.status().unwrap().unsent.unwrap().changes, 0);
    add(&mut c, "c");
    pull(&mut c, &mut hub, Page::default());
    pull(&mut hub, &mut a, Page::default());
    assert_eq!(a.status().unwrap().unsent.unwrap().changes, 0);
    add(&mut a, "1");
    let unsent = a.status().unwrap().unsent.unwrap();
    assert_eq!(unsent.changes, 2);
    assert!(unsent.since.unwrap() > 1_600_000_000_000);

    let acknowledged = a.acknowledged(hub.site()).unwrap();
    let batch = a.outgoing(&Outgoing::new(hub.site(), acknowledged, acknowledged, Page::default())).unwrap();
    assert_eq!(batch.changes.len(), 2);
    hub.apply_changes(&batch).unwrap();
    a.acknowledge(hub.site(), batch.next.unwrap()).unwrap();
    let unsent = a.status().unwrap().unsent.unwrap();
    assert_eq!((unsent.changes, unsent.since), (0, None));
    assert_eq!(rows(&mut a), rows(&mut hub));
}

#[test]
fn a_peer_that_lost_its_data_gets_back_even_its_own() {
    let (mut a, mut hub) = (replica(), replica());
    add(&mut hub, "h");
    pull(&mut hub, &mut a, Page::default());
    add(&mut a, "1");
    a.begin_again(hub.site()).unwrap();
    assert_eq!(a.received(hub.site()).unwrap(), after(&hub, 0));
    let start = a.acknowledged(hub.site()).unwrap();
    let batch = a.outgoing(&Outgoing::new(hub.site(), start, start, Page::default())).unwrap();
    assert!(batch.changes.iter().any(|change| change.site == hub.site()));
    a.acknowledge(hub.site(), batch.next.unwrap()).unwrap();
    add(&mut a, "2");
    let acknowledged = a.acknowledged(hub.site()).unwrap();
    let batch = a.outgoing(&Outgoing::new(hub.site(), acknowledged, acknowledged, Page::default())).unwrap();
    assert!(batch.changes.iter().all(|change| change.site == a.site()));
}

#[cfg(not(target_family = "wasm"))]
#[test]
fn the_state_of_the_sync_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Replica::open(rusqlite::Connection::open(folder.path().join("a.db")).unwrap()).unwrap();
    let mut hub = replica();
    add(&mut hub, "h");
    {
        let mut a = open();
        a.create_database_if_not_exists(&Schema::parse(TODO).unwrap()).unwrap();
        pull(&mut hub, &mut a, Page { changes: 1, ..Page::default() });
        a.set_upstream(hub.site()).unwrap();
        a.set_paused(true).unwrap();
        a.close().unwrap();
    }
    let a = open();
    assert!(a.exists() && a.is_paused().unwrap());
    assert_eq!(a.upstream().unwrap(), Some(hub.site()));
    assert_eq!(a.received(hub.site()).unwrap(), Since::After(hub.at().unwrap()));
}

#[test]
fn a_text_that_is_no_utf8_travels_as_a_blob() {
    let (mut a, mut b) = (replica(), replica());
    run(&mut a, "INSERT INTO todo (id, title) VALUES ('1', CAST(x'ff' AS TEXT)), ('2', 'fine')");
    pull(&mut a, &mut b, Page::default());
    assert_eq!(rows(&mut b), r#"[["1",{"$blob":"ff"},0],["2","fine",0]]"#);
}
