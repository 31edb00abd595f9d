//! Queries of subscriptions are run again only where a write can matter to them, and no answer shows the difference.

use std::collections::BTreeSet;

use crsql_sync::crr::Version;
use crsql_sync::sync::{Batch, Position, Schema, Since, SubscriptionId, SubscriptionRequest, Tables};
use fastrand::Rng;

use super::generate::{Generator, schema};
use super::subscriber::{Asked, Subscriber};
use super::*;

#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

pub(super) fn id(name: &str) -> SubscriptionId {
    SubscriptionId { holder: "ann".into(), name: name.into() }
}

pub(super) fn asking_as(name: &str, position: Option<Position>, queries: &[Sql]) -> QueriesRequest {
    QueriesRequest {
        subscription: Some(SubscriptionRequest { id: id(name), position, is_told: true, now: 0 }),
        ..asking(queries)
    }
}

pub(super) fn answer_to(full: &mut Replica, request: &QueriesRequest) -> Batch {
    let (answer, remember) = full.changes_for_queries(request).unwrap();
    if let Some(remember) = remember {
        assert!(full.remember(&remember, 0).unwrap());
    }
    answer
}

/// Asks for a subscription of which `seen` was the last answer.
fn ask(full: &mut Replica, name: &str, seen: &mut Option<Position>, queries: &[Sql]) -> Batch {
    ask_for(full, &asking_as(name, *seen, queries), seen)
}

/// Asks, and writes down where the asker is then.
pub(super) fn ask_for(full: &mut Replica, request: &QueriesRequest, seen: &mut Option<Position>) -> Batch {
    let answer = answer_to(full, request);
    let Some(Since::After(since)) = answer.next else { panic!() };
    *seen = Some(Position { seen: answer.seen.unwrap(), since });
    answer
}

pub(super) fn rows(answer: &Batch) -> BTreeSet<(String, Vec<u8>)> {
    answer.changes.iter().map(|change| (change.table.to_string(), change.pk.to_vec())).collect()
}

pub(super) fn is_empty(answer: &Batch) -> bool {
    answer.changes.is_empty() && answer.left.is_empty()
}

pub(super) fn runs(full: &mut Replica, work: impl FnOnce(&mut Replica)) -> u64 {
    let before = full.query_runs();
    work(full);
    full.query_runs() - before
}

#[test]
fn after_every_write_a_subscription_has_the_rows_that_its_queries_read_if_they_are_run() {
    let (mut asked, mut run, mut silent) = (0, 0, 0);
    for seed in 0..seeds(15, 150) {
        let mut rng = Rng::with_seed(seed ^ 0x1dea);
        let mut generator = Generator::new(seed + 1_000_000);
        let schema = schema(seed);
        let mut full = replica(&schema);
        let mut log = generator.rows();
        log.iter().for_each(|row| write(&mut full, row));
        let mut subscribers: Vec<Subscriber> = (0..rng.usize(1..4))
            .map(|i| {
                let queries = (0..rng.usize(1..3)).map(|_| query(&generator.query())).collect();
                Subscriber::new(format!("s{i}"), replica(&schema), queries, None)
            })
            .collect();
        for step in 0..rng.usize(2..14) {
            if step > 0 {
                for _ in 0..rng.usize(1..3) {
                    log.push(generator.write());
                    write(&mut full, &log[log.len() - 1]);
                }
            }
            for subscriber in &mut subscribers {
                let queries = subscriber.queries.clone();
                let context = || format!("seed {seed}, step {step}\n{queries:#?}\n{}", log.join(";\n"));
                let Asked { had_news, ran } = subscriber.ask(&mut full, context);
                asked += 1;
                run += u32::from(ran);
                silent += u32::from(!had_news);
                for Sql { sql, .. } in &queries {
                    assert_eq!(answer(&subscriber.copy, sql), answer(&full, sql), "{sql}\n{}", context());
                }
            }
        }
    }
    assert!(silent * 10 > asked && run * 10 < asked * 9, "of {asked}, {run} ran a query, {silent} had no news");
}

const TODO: &str = "
    CREATE TABLE person (id INTEGER PRIMARY KEY NOT NULL, name TEXT, team TEXT);
    CREATE TABLE todo (id TEXT PRIMARY KEY NOT NULL, owner INTEGER, title TEXT, due TEXT, done INTEGER, tags TEXT);
    CREATE TABLE other (id INTEGER PRIMARY KEY NOT NULL, x);
    CREATE INDEX todo_owner ON todo (owner);
    SELECT crsql_as_crr('person');
    SELECT crsql_as_crr('todo');
    SELECT crsql_as_crr('other');";

fn todos() -> Replica {
    let mut full = replica(TODO);
    write(&mut full, "INSERT INTO person VALUES (1, 'ann', 'red'), (2, 'bob', 'red'), (3, 'cid', 'blue')");
    write(
        &mut full,
        "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
         INSERT INTO todo SELECT 't' || i, 1 + i % 10, 'Title ' || (i % 10), date('2024-01-01', '+' || i || ' days'), i % 2,
             json_array('n' || (i % 3), 'all') FROM n",
    );
    // The first subscription of all makes tables for what is remembered, so the schema is another one after it.
    ask(&mut full, "the first", &mut None, &of_owner(0));
    full
}

fn of_owner(owner: i64) -> Vec<Sql> {
    vec![query(&format!("SELECT * FROM todo WHERE owner = {owner}"))]
}

#[test]
fn a_write_to_one_of_a_thousand_subscriptions_of_one_table_is_news_to_that_one_and_runs_no_query() {
    let mut full = todos();
    let name = |owner| format!("of {owner}");
    let mut seen: Vec<Option<Position>> = vec![None; 1000];
    for (owner, seen) in (0..).zip(&mut seen) {
        ask(&mut full, &name(owner), seen, &of_owner(owner));
    }
    let first = full.version().unwrap();
    let ran = full.query_runs();
    for (sql, who) in [
        ("UPDATE todo SET title = 'other' WHERE id = 't4'", vec![5]),
        ("UPDATE todo SET owner = 7 WHERE id = 't4'", vec![5, 7]),
        ("INSERT INTO todo (id, owner) VALUES ('new', 999)", vec![999]),
        ("INSERT INTO todo (id, owner) VALUES ('nobody', NULL)", vec![]),
        ("DELETE FROM todo WHERE id = 't2'", vec![3]),
        ("INSERT INTO other VALUES (1, 2)", vec![]),
    ] {
        let since = full.version().unwrap();
        write(&mut full, sql);
        let news = full.news().unwrap();
        let told: Vec<i64> = (0..1000).filter(|&owner| news.is_for(&id(&name(owner)), since)).collect();
        assert_eq!(told, who, "{sql}");
    }
    // All that it comes to.
    let news = full.news().unwrap();
    assert_eq!((0..1000).filter(|&owner| news.is_for(&id(&name(owner)), first)).count(), 4);
    let five = ask(&mut full, &name(5), &mut seen[5], &of_owner(5));
    assert_eq!(five.left.len(), 1);
    let seven = ask(&mut full, &name(7), &mut seen[7], &of_owner(7));
    assert_eq!(rows(&seven).len(), 1);
    let last = ask(&mut full, &name(999), &mut seen[999], &of_owner(999));
    assert_eq!(rows(&last).len(), 1);
    assert_eq!(full.query_runs(), ran);
}

#[test]
fn subscriptions_with_the_same_queries_share_their_runs() {
    let mut full = todos();
    let queries = vec![query("SELECT * FROM todo JOIN person ON owner = person.id"), of_owner(3).remove(0)];
    let ran = runs(&mut full, |full| {
        for i in 0..50 {
            ask(full, &format!("s{i}"), &mut None, &queries);
        }
    });
    assert_eq!(ran, 2);
    write(&mut full, "UPDATE person SET name = 'zoe' WHERE id = 1");
    let ran = runs(&mut full, |full| {
        for i in 0..50 {
            ask(full, &format!("s{i}"), &mut None, &queries);
        }
    });
    assert_eq!(ran, 1, "only the join reads persons");
}

#[test]
fn a_row_becomes_visible_because_another_row_changed() {
    let mut full = todos();
    let queries = vec![query("SELECT title FROM todo JOIN person ON owner = person.id WHERE team = 'green'")];
    let mut seen = None;
    assert!(is_empty(&ask(&mut full, "green", &mut seen, &queries)));
    let since = full.version().unwrap();
    write(&mut full, "UPDATE person SET team = 'green' WHERE id = 2");
    assert!(full.news().unwrap().is_for(&id("green"), since));
    let answer = ask(&mut full, "green", &mut seen, &queries);
    // Ten things to do, none of which changed.
    assert_eq!(rows(&answer).iter().filter(|(table, _)| table == "todo").count(), 10);
    write(&mut full, "UPDATE person SET team = 'red' WHERE id = 2");
    let answer = ask(&mut full, "green", &mut seen, &queries);
    assert_eq!(answer.left.iter().filter(|row| &*row.table == "todo").count(), 10);
}

#[test]
fn a_join_is_run_again_only_after_writes_to_rows_that_it_reads_or_would_read() {
    let mut full = todos();
    let queries = vec![query("SELECT title FROM person JOIN todo ON owner = person.id WHERE team = 'red'")];
    let mut seen = None;
    ask(&mut full, "red", &mut seen, &queries);
    for (sql, ran) in [
        ("INSERT INTO todo (id, owner) VALUES ('x', 3)", 0),
        ("UPDATE todo SET title = 'y' WHERE owner = 9", 0),
        ("INSERT INTO person VALUES (9, 'dan', 'blue')", 0),
        ("INSERT INTO todo (id, owner) VALUES ('y', 2)", 1),
        ("UPDATE person SET team = 'red' WHERE id = 9", 1),
        ("UPDATE todo SET title = 'z' WHERE owner = 9", 1),
        ("DELETE FROM todo WHERE id = 'y'", 1),
        ("DELETE FROM todo WHERE id = 'x'", 0),
    ] {
        write(&mut full, sql);
        assert_eq!(runs(&mut full, |full| _ = ask(full, "red", &mut seen, &queries)), ran, "{sql}");
    }
}

#[test]
fn a_scan_of_certain_rows_follows_them_without_being_run() {
    let mut full = todos();
    for sql in [
        "SELECT * FROM todo",
        "SELECT count(*) FROM todo WHERE owner IN (3, 4)",
        "SELECT * FROM todo WHERE due > '2024-03-01' AND title LIKE 'title%' ORDER BY due",
        "SELECT owner, group_concat(id) FROM todo WHERE done = 1 GROUP BY owner",
        "SELECT * FROM todo WHERE length(title) = 7",
    ] {
        let queries = [query(sql)];
        let mut seen = None;
        ask(&mut full, sql, &mut seen, &queries);
        let ran = runs(&mut full, |full| {
            for write_ in [
                "INSERT INTO todo VALUES ('n', 3, 'Title n', '2024-03-02', 1, NULL)",
                "UPDATE todo SET owner = 9, done = 0, due = NULL WHERE id = 'n'",
                "UPDATE todo SET owner = 4, done = 1, due = '2025' WHERE id = 'n'",
                "DELETE FROM todo WHERE id = 'n'",
            ] {
                write(full, write_);
                ask(full, sql, &mut seen, &queries);
                let thought = rows(&ask(full, "another", &mut None, &queries));
                assert_eq!(thought, rows(&answer_to(full, &asking(&queries))), "{sql}: {write_}");
            }
        });
        assert_eq!(ran, 0, "{sql}");
    }
}

#[test]
fn a_subscription_that_holds_the_first_rows_only_is_not_sent_more() {
    let mut full = todos();
    write(&mut full, "DELETE FROM other");
    for sql in
        ["SELECT * FROM other ORDER BY x LIMIT 2", "SELECT max(x) FROM other", "SELECT EXISTS (SELECT 1 FROM other)"]
    {
        let queries = [query(sql)];
        let mut seen = None;
        ask(&mut full, sql, &mut seen, &queries);
        for i in 0..6 {
            write(&mut full, &format!("INSERT INTO other VALUES ({i}, {i})"));
            ask(&mut full, sql, &mut seen, &queries);
            let thought = rows(&ask(&mut full, "another", &mut None, &queries));
            assert_eq!(thought, rows(&answer_to(&mut full, &asking(&queries))), "{sql}");
        }
        write(&mut full, "DELETE FROM other");
    }
}

#[test]
fn what_was_thought_does_not_outlive_a_migration() {
    let mut full = todos();
    let queries = [query("SELECT * FROM todo WHERE title = 'title 1'")];
    let mut seen = None;
    assert_eq!(rows(&ask(&mut full, "s", &mut seen, &queries)).len(), 0);
    let schema = Schema::parse(&TODO.replace("title TEXT", "title TEXT COLLATE NOCASE")).unwrap();
    full.create_or_migrate_database(&schema, &[]).unwrap();
    assert_eq!(rows(&ask(&mut full, "s", &mut seen, &queries)).len(), 10);
}

#[test]
fn a_copy_that_forgets_rows_tells_its_own_subscribers() {
    let (mut hub, mut between) = (todos(), replica(TODO));
    let mut seen = None;
    let answer = ask(&mut hub, "s", &mut seen, &of_owner(1));
    between.apply_answer("s", &answer, true).unwrap();
    let all = [query("SELECT * FROM todo")];
    let mut theirs = None;
    assert_eq!(rows(&ask(&mut between, "all", &mut theirs, &all)).len(), 10);
    write(&mut hub, "UPDATE todo SET owner = 2 WHERE id = 't10'");
    let answer = ask(&mut hub, "s", &mut seen, &of_owner(1));
    between.apply_answer("s", &answer, true).unwrap();
    assert_eq!(rows(&ask(&mut between, "all", &mut None, &all)).len(), 9);
}

#[test]
fn callers_of_different_tables_share_nothing() {
    let mut full = todos();
    let queries = [query("SELECT * FROM todo")];
    ask(&mut full, "s", &mut None, &queries);
    let tables: Option<Tables> = Some(["person"].into_iter().collect());
    let request = QueriesRequest { tables, ..asking_as("t", None, &queries) };
    assert!(full.changes_for_queries(&request).is_err());
}

#[test]
fn an_unknown_subscription_may_always_have_news() {
    let mut full = todos();
    let at = full.version().unwrap();
    let news = full.news().unwrap();
    assert!(news.is_for(&id("unknown"), Version::ZERO));
    assert!(!news.is_for(&id("unknown"), at));
}
