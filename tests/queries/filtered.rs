//! Callers that may use some rows only: what they read is what a copy of those rows would answer, and what they write changes
//! no others.

use std::collections::BTreeSet;

use crsql_sync::sync::{ApplyError, Batch, Error, Filter, Request, RowFilters, SqlError};
use fastrand::Rng;

use super::generate::{Generator, SCHEMA};
use super::*;

#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const TABLES: [&str; 3] = ["a", "b", "c"];

fn limits() -> SqlLimits {
    SqlLimits { rows: 10_000, bytes: 1 << 20, time: Duration::from_secs(60), read_only: true, tables: None }
}

/// What a query answers within filters, in any order.
fn within(replica: &mut Replica, filters: &RowFilters, sql: &str) -> Result<Vec<String>, SqlError> {
    let mut results = replica.sql_within(&[query(sql)], &limits(), filters)?;
    let rows = results.remove(0).rows.into_iter();
    let mut rows: Vec<String> = rows.map(|row| row.into_iter().map(|value| show(value.0)).collect()).collect();
    rows.sort();
    Ok(rows)
}

/// Some of the tables with a random filter each, as text.
pub(super) fn filters(generator: &mut Generator, rng: &mut Rng) -> Vec<(&'static str, String)> {
    let some = TABLES.into_iter().filter(|_| rng.u32(..4) > 0).collect::<Vec<_>>();
    some.into_iter().map(|table| (table, generator.filter(table))).collect()
}

pub(super) fn compiled(filters: &[(&'static str, String)]) -> RowFilters {
    filters.iter().map(|(table, sql)| (*table, Filter::new(sql))).collect()
}

/// The condition of a table; all rows where it has none.
fn condition<'f>(filters: &'f [(&str, String)], table: &str) -> &'f str {
    filters.iter().find(|(of, _)| *of == table).map_or("1", |(_, sql)| sql)
}

/// The rows of a table that meet a condition, as `INSERT` takes them.
fn rows(replica: &Replica, table: &str, condition: &str) -> BTreeSet<String> {
    let sql = format!(
        "SELECT format('INSERT INTO {table} (id, x, t, r, b) VALUES (%s, %s, %s, %s, %s)',
                       quote(id), quote(x), quote(t), quote(r), quote(b)) FROM {table} WHERE ({condition})"
    );
    let mut select = replica.connection().prepare(&sql).unwrap();
    select.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// A copy of the rows within the filters, and of no others.
pub(super) fn visible(full: &Replica, filters: &[(&'static str, String)]) -> Replica {
    let mut copy = replica(SCHEMA);
    for table in TABLES {
        rows(full, table, condition(filters, table)).iter().for_each(|row| write(&mut copy, row));
    }
    copy
}

#[test]
fn random_queries_within_random_filters_are_answered_as_by_a_copy_of_those_rows() {
    let mut hidden = 0;
    for seed in 0..seeds(50, 250) {
        let (mut generator, mut rng) = (Generator::new(seed), Rng::with_seed(seed ^ 0xf117e4));
        let mut full = replica(SCHEMA);
        generator.rows().iter().for_each(|row| write(&mut full, row));
        let (filters, sql) = (filters(&mut generator, &mut rng), generator.query());
        let case = || format!("seed {seed}\n{filters:#?}\n{sql}");
        let copy = visible(&full, &filters);
        let wanted = answer(&copy, &sql);
        hidden += u32::from(wanted != answer(&full, &sql));
        let got = within(&mut full, &compiled(&filters), &sql).unwrap_or_else(|error| panic!("{}\n{error}", case()));
        assert_eq!(got, wanted, "{}", case());
        let asked = QueriesRequest { filters: Some(compiled(&filters)), ..asking(&[query(&sql)]) };
        let (batch, _) = full.changes_for_queries(&asked).unwrap();
        let mut sent = replica(SCHEMA);
        sent.apply_changes(&batch).unwrap();
        assert_eq!(answer(&sent, &sql), wanted, "{}", case());
        for table in TABLES {
            let (sent, may_be) = (rows(&sent, table, "1"), rows(&copy, table, "1"));
            assert!(sent.is_subset(&may_be), "{}\n{sent:#?} {may_be:#?}", case());
        }
    }
    assert!(hidden > 0, "no filter ever mattered");
}

/// Everything that a copy wrote, for another.
fn written(copy: &mut Replica, host: &Replica) -> Batch {
    let since = copy.acknowledged(host.site()).unwrap();
    copy.request_changes(&Request { exclude: Some(host.site()), ..Request::after(since) }).unwrap()
}

#[test]
fn random_writes_within_random_filters_change_no_row_outside() {
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..seeds(50, 200) {
        let (mut generator, mut rng) = (Generator::new(seed), Rng::with_seed(seed ^ 0x3417e));
        let mut host = replica(SCHEMA);
        generator.rows().iter().for_each(|row| write(&mut host, row));
        let filters = filters(&mut generator, &mut rng);
        let bound = compiled(&filters);
        let all = |replica: &Replica| TABLES.map(|table| rows(replica, table, "1"));
        let outside = |replica: &Replica| {
            TABLES.map(|table| rows(replica, table, &format!("({}) IS NOT TRUE", condition(&filters, table))))
        };
        let mut copy = replica(SCHEMA);
        if rng.bool() {
            let queries = TABLES.map(|table| query(&format!("SELECT * FROM {table}")));
            let asked = QueriesRequest { filters: Some(bound.clone()), ..asking(&queries) };
            copy.apply_changes(&host.changes_for_queries(&asked).unwrap().0).unwrap();
        }
        for _ in 0..rng.usize(1..6) {
            (0..rng.usize(1..3)).for_each(|_| write(&mut copy, &generator.write()));
            let batch = written(&mut copy, &host);
            let (before, hidden) = (all(&host), outside(&host));
            match host.apply_changes_within(&batch, &bound) {
                Ok(applied) => {
                    taken += 1;
                    copy.acknowledge(host.site(), applied.received).unwrap();
                    let after = all(&host);
                    for (at, hidden) in hidden.iter().enumerate() {
                        assert!(hidden.is_subset(&after[at]), "seed {seed}: a row outside was changed\n{filters:#?}");
                    }
                    for (at, hidden) in outside(&host).iter().enumerate() {
                        assert!(hidden.is_subset(&before[at]), "seed {seed}: a row was put outside\n{filters:#?}");
                    }
                    let again = host.apply_changes_within(&batch, &bound).unwrap();
                    assert_eq!(
                        (again.applied, all(&host)),
                        (0, after),
                        "seed {seed}: what comes again changes nothing"
                    );
                }
                Err(ApplyError::HiddenRow { site, .. }) => {
                    refused += 1;
                    assert_eq!((site, all(&host)), (copy.site(), before), "seed {seed}");
                    copy = replica(SCHEMA);
                }
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        assert_eq!(host.check().unwrap(), Vec::<String>::new(), "seed {seed}");
    }
    assert!(taken > 20 && refused > 20, "{taken} taken, {refused} refused");
}

pub(super) const TASKS: &str = "
    CREATE TABLE task (id TEXT PRIMARY KEY NOT NULL, owner TEXT, project INTEGER, title TEXT);
    CREATE TABLE member (project INTEGER NOT NULL, user TEXT NOT NULL, PRIMARY KEY (project, user)) WITHOUT ROWID;
    CREATE TABLE draft (id INTEGER PRIMARY KEY NOT NULL, text TEXT);
    CREATE VIEW titles AS SELECT title FROM task;
    CREATE INDEX task_owner ON task (owner);
    SELECT crsql_as_crr('task');
    SELECT crsql_as_crr('member');";

pub(super) fn tasks() -> Replica {
    let mut host = replica(TASKS);
    write(
        &mut host,
        "INSERT INTO task VALUES ('a1', 'ann', 1, 'milk'), ('a2', 'ann', 2, 'bread'), ('b1', 'bob', 2, 'gold'), ('b2', 'bob', 3, 'salt')",
    );
    write(&mut host, "INSERT INTO member VALUES (1, 'ann'), (2, 'ann'), (2, 'bob'), (3, 'bob')");
    host
}

/// The rows of somebody.
fn own(user: &str) -> RowFilters {
    [("Task", Filter::new("owner = :user").named([("user", user.to_owned())]))].into_iter().collect()
}

#[test]
fn a_filter_holds_wherever_a_statement_reads_the_table() {
    let mut host = tasks();
    for (sql, rows) in [
        ("SELECT id FROM task", &["'a1' ", "'a2' "] as &[&str]),
        ("SELECT count(*) FROM task", &["2 "]),
        ("SELECT max(id) FROM task", &["'a2' "]),
        ("SELECT title FROM task WHERE id = 'b1'", &[]),
        ("SELECT title FROM titles WHERE title > 'c'", &["'milk' "]),
        ("SELECT user, (SELECT count(*) FROM task WHERE project = 2) FROM member WHERE project = 3", &["'bob' 1 "]),
        ("SELECT count(*) FROM member JOIN task USING (project)", &["3 "]),
        ("SELECT EXISTS (SELECT 1 FROM main.task WHERE owner = 'bob')", &["0 "]),
        ("SELECT t.title FROM task t LEFT JOIN task o ON o.title > t.title WHERE o.id IS NULL", &["'milk' "]),
        ("SELECT id FROM task WHERE owner = 'bob' OR id IN ('b1', 'a1')", &["'a1' "]),
        ("SELECT id FROM task WHERE rowid = 3", &[]),
    ] {
        assert_eq!(within(&mut host, &own("ann"), sql).unwrap(), rows, "{sql}");
    }
    for sql in [
        "INSERT INTO task (id, owner) VALUES ('a3', 'ann')",
        "UPDATE task SET title = '' WHERE id = 'a1'",
        "DELETE FROM task",
        "SELECT val FROM crsql_changes",
        "SELECT text FROM draft",
        "SELECT name FROM sqlite_schema",
        "PRAGMA table_list",
        "EXPLAIN SELECT * FROM task",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) FROM n",
    ] {
        let limits = SqlLimits { time: Duration::from_millis(200), ..limits() };
        let refused = host.sql_within(&[query(sql)], &limits, &own("ann")).unwrap_err();
        assert!(matches!(refused, SqlError::Refused { statement: 1, .. }), "{sql}: {refused}");
    }
}

#[test]
fn a_filter_names_its_table_and_asks_others_as_they_are() {
    let mut host = tasks();
    let of_project =
        "EXISTS (SELECT 1 FROM member WHERE member.project = task.project AND user = ?1) OR task.owner = ?1";
    let filters: RowFilters =
        [("task", Filter::new(of_project).list(["ann".to_owned()])), ("member", Filter::new("user = 'nobody'"))]
            .into_iter()
            .collect();
    assert_eq!(within(&mut host, &filters, "SELECT id FROM task").unwrap(), ["'a1' ", "'a2' ", "'b1' "]);
    assert_eq!(within(&mut host, &filters, "SELECT count(*) FROM member").unwrap(), ["0 "]);
}

#[test]
fn a_filter_that_cannot_be_used_lets_nothing_through() {
    let mut host = tasks();
    let batch = Batch { changes: Vec::new(), ..written(&mut tasks(), &host) };
    for (table, filter) in [
        ("tasks", Filter::new("1")),
        ("draft", Filter::new("1")),
        ("titles", Filter::new("1")),
        ("task", Filter::new("")),
        ("task", Filter::new("owner = 'ann' OR")),
        ("task", Filter::new("nobody = 'ann'")),
        ("task", Filter::new("owner = 'ann') OR (1")),
        ("task", Filter::new("0 UNION SELECT 1")),
        ("task", Filter::new("1 ORDER BY 1")),
        ("task", Filter::new("1 LIMIT 1")),
        ("task", Filter::new("1 /*")),
        ("task", Filter::new("1; DELETE FROM task")),
        ("task", Filter::new("1)); --")),
        ("task", Filter::new("crsql_as_crr('draft')")),
        ("task", Filter::new("owner = ?")),
        ("task", Filter::new("owner = ?").list(["ann".to_owned(), "bob".to_owned()])),
        ("task", Filter::new("owner = :user").named([("who", "ann".to_owned())])),
        ("task", Filter::new("owner = :user").named([("user", "ann".to_owned()), ("who", "ann".to_owned())])),
        ("task", Filter::new("json_extract(title, '$') IS NULL")),
    ] {
        let filters: RowFilters = [(table, filter.clone())].into_iter().collect();
        let read = within(&mut host, &filters, "SELECT id FROM task").unwrap_err();
        assert!(matches!(read, SqlError::Replica(Error::Filter { .. })), "{filter:?}: {read}");
        let asked = QueriesRequest { filters: Some(filters.clone()), ..asking(&[query("SELECT id FROM task")]) };
        let asked = host.changes_for_queries(&asked).unwrap_err();
        assert!(matches!(asked, SqlError::Replica(Error::Filter { .. })), "{filter:?}: {asked}");
        if !filter.sql.contains("json") {
            let written = host.apply_changes_within(&batch, &filters).unwrap_err();
            assert!(matches!(written, ApplyError::Replica(Error::Filter { .. })), "{filter:?}: {written}");
        }
    }
    let commented: RowFilters = [("task", Filter::new("owner = 'ann' -- her own"))].into_iter().collect();
    assert_eq!(within(&mut host, &commented, "SELECT count(*) FROM task WHERE id > 'a1'").unwrap(), ["1 "]);
}

#[test]
fn whether_a_condition_fails_does_not_tell_of_rows_outside() {
    let mut host = tasks();
    let long = "%_".repeat(30_000);
    for title in ["gold", "none"] {
        let sql = format!("SELECT count(*) FROM task WHERE title = '{title}' AND owner LIKE '{long}'");
        assert_eq!(within(&mut host, &own("ann"), &sql).unwrap(), ["0 "], "{title}");
    }
}

/// A copy with some of the host's rows, and what it writes then.
fn writer(host: &mut Replica, user: &str, sql: &[&str]) -> (Replica, Batch) {
    let mut copy = replica(TASKS);
    let asked = QueriesRequest { filters: Some(own(user)), ..asking(&[query("SELECT * FROM task")]) };
    copy.apply_changes(&host.changes_for_queries(&asked).unwrap().0).unwrap();
    sql.iter().for_each(|sql| write(&mut copy, sql));
    let batch = written(&mut copy, host);
    (copy, batch)
}

fn table(host: &Replica) -> Vec<String> {
    answer(host, "SELECT * FROM task")
}

#[test]
fn rows_within_are_written_and_no_others() {
    for (writes, is_taken) in [
        (&["INSERT INTO task VALUES ('a3', 'ann', 1, 'tea')"] as &[&str], true),
        (&["UPDATE task SET title = 'oat milk' WHERE id = 'a1'"], true),
        (&["DELETE FROM task WHERE id = 'a1'"], true),
        (&["INSERT INTO task VALUES ('a3', 'ann', 1, 'tea')", "DELETE FROM task WHERE id = 'a3'"], true),
        (&["INSERT INTO member VALUES (3, 'ann')"], true),
        (&["DELETE FROM task WHERE id = 'a1'", "INSERT INTO task VALUES ('a1', 'ann', 9, 'again')"], true),
        (&["INSERT INTO task VALUES ('x', 'bob', 1, 'tea')"], false),
        (&["INSERT INTO task (id, title) VALUES ('x', 'tea')"], false),
        (&["UPDATE task SET owner = 'bob' WHERE id = 'a1'"], false),
        (&["UPDATE task SET title = 'x'", "UPDATE task SET owner = NULL WHERE id = 'a1'"], false),
        // Of rows that it does not have, but may guess.
        (&["INSERT INTO task VALUES ('b1', 'ann', 1, 'mine')"], false),
        (&["INSERT INTO task VALUES ('b1', 'bob', 2, 'gold')"], false),
        (&["INSERT INTO task VALUES ('b1', 'ann', 1, '')", "DELETE FROM task WHERE id = 'b1'"], false),
        (
            &[
                "INSERT INTO task VALUES ('b1', 'ann', 1, '')",
                "DELETE FROM task WHERE id = 'b1'",
                "INSERT INTO task VALUES ('b1', 'ann', 1, '')",
            ],
            false,
        ),
        (&["UPDATE task SET id = 'b1' WHERE id = 'a1'"], false),
    ] {
        let mut host = tasks();
        let before = table(&host);
        let (_, batch) = writer(&mut host, "ann", writes);
        match host.apply_changes_within(&batch, &own("ann")) {
            Ok(applied) => assert!(is_taken && applied.applied > 0, "{writes:?}"),
            Err(ApplyError::HiddenRow { table: of, site, .. }) => {
                assert_eq!((is_taken, &*of, site, table(&host)), (false, "task", batch.from, before), "{writes:?}");
            }
            Err(error) => panic!("{writes:?}: {error}"),
        }
    }
}

#[test]
fn a_refusal_names_the_first_transaction_that_is_at_fault() {
    let mut host = tasks();
    let writes = [
        "INSERT INTO task VALUES ('a3', 'ann', 1, 'tea')",
        "INSERT INTO task VALUES ('b2', 'ann', 1, 'tea')",
        "INSERT INTO task VALUES ('b1', 'ann', 1, 'tea')",
    ];
    let (copy, batch) = writer(&mut host, "ann", &writes);
    let refused = host.apply_changes_within(&batch, &own("ann")).unwrap_err();
    let second = batch.changes.iter().find(|change| change.pk.ends_with(b"b2")).unwrap().version;
    assert!(matches!(refused, ApplyError::HiddenRow { site, version, .. } if (site, version) == (copy.site(), second)));
}

/// Whoever could tell winning from losing would find every value by asking for smaller and larger ones.
#[test]
fn what_is_answered_does_not_depend_on_the_values_of_rows_outside() {
    let mut host = tasks();
    let mut answers = BTreeSet::new();
    for title in ["", "a", "gold", "gole", "zzz"] {
        let insert = format!("INSERT INTO task VALUES ('b1', 'ann', 1, '{title}')");
        let (_, mut batch) = writer(&mut host, "ann", &[&insert]);
        batch.changes.retain(|change| &*change.cid == "title");
        let ApplyError::HiddenRow { table, .. } = host.apply_changes_within(&batch, &own("ann")).unwrap_err() else {
            panic!("{title}")
        };
        answers.insert(table.to_string());
    }
    assert_eq!(answers.len(), 1);
}

#[test]
fn a_batch_that_comes_again_is_not_held_against_rows_that_moved() {
    let mut host = tasks();
    let (mut copy, batch) = writer(&mut host, "ann", &["UPDATE task SET title = 'oat milk' WHERE id = 'a1'"]);
    host.apply_changes_within(&batch, &own("ann")).unwrap();
    write(&mut host, "UPDATE task SET owner = 'bob' WHERE id = 'a1'");
    let before = table(&host);
    let again = host.apply_changes_within(&batch, &own("ann")).unwrap();
    assert_eq!((again.applied, table(&host)), (0, before.clone()));
    // What is new is.
    copy.acknowledge(host.site(), again.received).unwrap();
    write(&mut copy, "UPDATE task SET title = 'more milk' WHERE id = 'a1'");
    let more = written(&mut copy, &host);
    assert!(matches!(host.apply_changes_within(&more, &own("ann")), Err(ApplyError::HiddenRow { .. })));
    assert_eq!(table(&host), before);
}

#[test]
fn rows_come_into_a_filter_and_leave_it_without_having_changed() {
    let mut host = tasks();
    let filters: RowFilters =
        [("task", Filter::new("project IN (SELECT project FROM member WHERE user = 'ann')"))].into_iter().collect();
    let ask = |host: &mut Replica| {
        let asked = QueriesRequest { filters: Some(filters.clone()), ..asking(&[query("SELECT title FROM task")]) };
        let mut copy = replica(TASKS);
        copy.apply_changes(&host.changes_for_queries(&asked).unwrap().0).unwrap();
        answer(&copy, "SELECT id FROM task")
    };
    assert_eq!(ask(&mut host), ["'a1' ", "'a2' ", "'b1' "]);
    write(&mut host, "INSERT INTO member VALUES (3, 'ann')");
    assert_eq!(ask(&mut host), ["'a1' ", "'a2' ", "'b1' ", "'b2' "]);
    write(&mut host, "DELETE FROM member WHERE user = 'ann' AND project <> 1");
    assert_eq!(ask(&mut host), ["'a1' "]);
}
