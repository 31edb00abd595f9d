//! Subscriptions within filters of rows: their queries are run again only where a write can matter to them, and no answer
//! shows the difference.

use crsql_sync::sync::{Error, Filter, Position, RowFilters, SqlError};
use fastrand::Rng;

use super::filtered::{TASKS, compiled, filters, tasks, visible};
use super::generate::{Generator, SCHEMA};
use super::incremental::{ask_for, asking_as, id, rows, runs};
use super::subscriber::{Asked, Subscriber};
use super::*;

#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn after_every_write_a_subscription_within_random_filters_has_the_rows_that_a_copy_of_those_rows_would_send() {
    let (mut asked, mut run, mut hidden) = (0, 0, 0);
    for seed in 0..seeds(10, 40) {
        let (mut generator, mut rng) = (Generator::new(seed + 2_000_000), Rng::with_seed(seed ^ 0xb0d));
        let mut full = replica(SCHEMA);
        let mut log = generator.rows();
        log.iter().for_each(|row| write(&mut full, row));
        // The same for all: what tells them apart is what they may read.
        let queries: Vec<Sql> = (0..rng.usize(1..3)).map(|_| query(&generator.query())).collect();
        let mut subscribers: Vec<_> = (0..3)
            .map(|i| {
                let filters = filters(&mut generator, &mut rng);
                let within = Some(compiled(&filters));
                (Subscriber::new(format!("s{i}"), replica(SCHEMA), queries.clone(), within), filters)
            })
            .collect();
        for step in 0..rng.usize(2..10) {
            if step > 0 {
                for _ in 0..rng.usize(1..3) {
                    log.push(generator.write());
                    write(&mut full, &log[log.len() - 1]);
                }
            }
            for (subscriber, filters) in &mut subscribers {
                let context = || format!("seed {seed}, step {step}\n{filters:#?}\n{queries:#?}\n{}", log.join(";\n"));
                let Asked { ran, .. } = subscriber.ask(&mut full, context);
                asked += 1;
                run += u32::from(ran);
                let shown = visible(&full, filters);
                for Sql { sql, .. } in &queries {
                    let wanted = answer(&shown, sql);
                    assert_eq!(answer(&subscriber.copy, sql), wanted, "{sql}\n{}", context());
                    hidden += u32::from(wanted != answer(&full, sql));
                }
            }
        }
    }
    assert!(hidden > 0 && run * 10 < asked * 9, "of {asked}, {run} ran a query, {hidden} were kept from rows");
}

fn of_task(sql: &str) -> RowFilters {
    [("task", Filter::new(sql))].into_iter().collect()
}

fn owned_by(user: &str) -> RowFilters {
    [("task", Filter::new("owner = ?").list([user.to_owned()]))].into_iter().collect()
}

/// Asks for a subscription within filters of which `seen` was the last answer, and says which tasks come and which leave.
fn ask(host: &mut Replica, filters: &RowFilters, name: &str, sql: &str, seen: &mut Option<Position>) -> [usize; 2] {
    let request = QueriesRequest { filters: Some(filters.clone()), ..asking_as(name, *seen, &[query(sql)]) };
    let answer = ask_for(host, &request, seen);
    [rows(&answer).len(), answer.left.len()]
}

/// A host whose tables for subscriptions are there: they make its schema another one.
fn host() -> Replica {
    let mut host = tasks();
    ask(&mut host, &of_task("1"), "the first", "SELECT 1 FROM member", &mut None);
    host
}

#[test]
fn equal_queries_of_callers_with_different_filters_share_nothing() {
    let mut host = host();
    let sql = "SELECT title FROM task";
    let mut all = None;
    let everything = QueriesRequest { subscription: None, ..asking_as("all", None, &[query(sql)]) };
    ask_for(&mut host, &asking_as("all", None, &[query(sql)]), &mut all);
    assert_eq!(rows(&host.changes_for_queries(&everything).unwrap().0).len(), 4);
    let mut of_both = [None, None];
    let ran = runs(&mut host, |host| {
        assert_eq!(ask(host, &owned_by("ann"), "ann", sql, &mut of_both[0]), [2, 0]);
        assert_eq!(ask(host, &owned_by("bob"), "bob", sql, &mut of_both[1]), [2, 0]);
        assert_eq!(ask(host, &owned_by("nobody"), "nobody", sql, &mut None), [0, 0]);
        assert_eq!(ask(host, &owned_by("ann"), "ann too", sql, &mut None), [2, 0]);
    });
    assert_eq!(ran, 3);
    // A row goes from one to the other, and nothing is run for it.
    let ran = runs(&mut host, |host| {
        write(host, "UPDATE task SET owner = 'bob' WHERE id = 'a1'");
        assert_eq!(ask(host, &owned_by("ann"), "ann", sql, &mut of_both[0]), [0, 1]);
        assert_eq!(ask(host, &owned_by("bob"), "bob", sql, &mut of_both[1]), [1, 0]);
    });
    assert_eq!(ran, 0);
}

#[test]
fn a_write_to_a_row_that_a_filter_hides_is_no_news() {
    let mut host = host();
    for sql in ["SELECT title FROM task", "SELECT title FROM task JOIN member USING (project)"] {
        ask(&mut host, &owned_by("ann"), sql, sql, &mut None);
        let mut is_news = |write_: &str| {
            let since = host.version().unwrap();
            write(&mut host, write_);
            host.news().unwrap().is_for(&id(sql), since)
        };
        assert!(!is_news("UPDATE task SET title = 'silver' WHERE id = 'b1'"), "{sql}");
        assert!(is_news("UPDATE task SET owner = 'ann' WHERE id = 'b1'"), "{sql}");
        ask(&mut host, &owned_by("ann"), sql, sql, &mut None);
        write(&mut host, "UPDATE task SET owner = 'bob' WHERE id = 'b1'");
        ask(&mut host, &owned_by("ann"), sql, sql, &mut None);
    }
}

#[test]
fn what_a_filter_reads_besides_its_row_lets_rows_in_and_out() {
    for (sql, other_runs, member_runs) in [
        ("owner = 'ann'", 0, 0),
        ("owner = 'ann' AND rowid < 30", 0, 0),
        ("EXISTS (SELECT 1 FROM member WHERE member.project = task.project AND user = 'ann')", 1, 2),
        ("project IN (SELECT project FROM task WHERE owner = 'ann')", 1, 0),
        ("title IN (SELECT title FROM titles WHERE title < 'h')", 1, 0),
        // What changes without a write, or is not replicated.
        ("project > length(date('now')) - 10", 2, 2),
        ("CURRENT_TIMESTAMP > 'a'", 2, 2),
        ("id NOT IN (SELECT text FROM draft)", 2, 2),
    ] {
        let (mut host, filters) = (host(), of_task(sql));
        let mut seen = None;
        let text = "SELECT id FROM task";
        let mut follow = |host: &mut Replica, writes: &[&str]| {
            runs(host, |host| {
                for write_ in writes {
                    write(host, write_);
                    ask(host, &filters, "s", text, &mut seen);
                    let thought = ask(host, &filters, "anew", text, &mut None)[0];
                    let once = QueriesRequest { filters: Some(filters.clone()), ..asking(&[query(text)]) };
                    assert_eq!(thought, rows(&host.changes_for_queries(&once).unwrap().0).len(), "{sql}: {write_}");
                }
            })
        };
        follow(&mut host, &["INSERT INTO task VALUES ('x', 'ann', 7, 'x')"]);
        let ran = [
            follow(&mut host, &["INSERT INTO task VALUES ('y', 'zoe', 3, 'y')"]),
            follow(&mut host, &["INSERT INTO member VALUES (3, 'ann')", "DELETE FROM member WHERE user = 'ann'"]),
        ];
        let runs_each = |ran: u64, most: u64| if most == 2 { ran >= 2 } else { ran <= most };
        assert!(runs_each(ran[0], other_runs) && runs_each(ran[1], member_runs), "{sql}: {ran:?}");
    }
}

#[test]
fn a_filter_that_fails_for_one_caller_is_no_failure_for_another() {
    let mut host = replica(TASKS);
    let fails = of_task("json_extract(title, '$.public') = 1");
    write(&mut host, r#"INSERT INTO task VALUES ('1', 'ann', 1, '{"public": 1}')"#);
    let sql = "SELECT title FROM task";
    ask(&mut host, &of_task("1"), "the first", sql, &mut None);
    let (mut theirs, mut seen) = (None, None);
    assert_eq!(ask(&mut host, &fails, "json", sql, &mut theirs), [1, 0]);
    assert_eq!(ask(&mut host, &owned_by("ann"), "ann", sql, &mut seen), [1, 0]);
    let since = host.version().unwrap();
    write(&mut host, "INSERT INTO task VALUES ('2', 'ann', 1, 'no JSON')");
    let news = host.news().unwrap();
    assert!(news.is_for(&id("json"), since) && news.is_for(&id("ann"), since));
    let ran = runs(&mut host, |host| assert_eq!(ask(host, &owned_by("ann"), "ann", sql, &mut seen), [1, 0]));
    assert_eq!(ran, 0);
    let request = QueriesRequest { filters: Some(fails), ..asking_as("json", theirs, &[query(sql)]) };
    let denied = host.changes_for_queries(&request).unwrap_err();
    assert!(matches!(denied, SqlError::Replica(Error::Filter { .. })), "{denied}");
}
