//! What queries may not do, and what they may.

use crsql_sync::sync::{SubscriptionId, SubscriptionRequest};

use super::*;

#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const TODO: &str = "
    CREATE TABLE todo (id INTEGER PRIMARY KEY NOT NULL, title TEXT, due TEXT, tags TEXT);
    SELECT crsql_as_crr('todo');";

fn todos() -> Replica {
    let mut full = replica(TODO);
    write(
        &mut full,
        "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
         INSERT INTO todo SELECT i, 'Title ' || i, date('2024-01-01', '+' || i || ' days'), json_array('n' || (i % 3), 'all') FROM n",
    );
    full
}

/// Why a query is refused, asked once and as a subscription.
fn refusal(full: &mut Replica, request: &QueriesRequest) -> String {
    let once = full.changes_for_queries(request).unwrap_err().to_string();
    let id = SubscriptionId { holder: "ann".into(), name: "s".into() };
    let request = QueriesRequest {
        subscription: Some(SubscriptionRequest { id, position: None, is_told: true, now: 0 }),
        ..request.clone()
    };
    let subscribed = full.changes_for_queries(&request).unwrap_err().to_string();
    assert_eq!(once, subscribed);
    once
}

#[test]
fn a_query_whose_result_changes_as_time_goes_on_is_refused() {
    let mut full = todos();
    for (sql, by) in [
        ("SELECT * FROM todo WHERE due > date('now')", "date"),
        ("SELECT *, current_timestamp FROM todo", "current_timestamp"),
        ("SELECT * FROM todo WHERE due > date('now', '-1 day')", "date"),
        ("SELECT strftime('%s') FROM todo", "strftime"),
        ("SELECT datetime() FROM todo", "datetime"),
        ("SELECT unixepoch('now') FROM todo", "unixepoch"),
        ("SELECT julianday(substr('nowhere', 1, 3)) FROM todo", "julianday"),
    ] {
        let reason = refusal(&mut full, &asking(&[query(sql)]));
        assert!(reason.contains(&format!("as time goes on ({by})")), "{sql}: {reason}");
    }
    for sql in [
        "SELECT * FROM todo WHERE date(due, '+1 day') > date('2024-03-01')",
        "SELECT strftime('%m', due), count(*) FROM todo GROUP BY 1",
    ] {
        assert!(full.changes_for_queries(&asking(&[query(sql)])).is_ok(), "{sql}");
    }
}

#[test]
fn a_query_that_does_not_end_is_broken_off() {
    let mut full = todos();
    for sql in [
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
        "SELECT count(*) FROM todo a, todo b, todo c, todo d, todo e WHERE a.title || b.title = c.title || d.title || e.title",
    ] {
        let request = QueriesRequest { time: Duration::from_millis(100), ..asking(&[query(sql)]) };
        let reason = refusal(&mut full, &request);
        assert!(reason.contains("ran longer than 100ms"), "{reason}");
    }
    assert!(full.changes_for_queries(&asking(&[query("SELECT * FROM todo")])).is_ok());
}

#[test]
fn a_query_reads_no_more_rows_than_it_may() {
    let mut full = todos();
    let ask =
        |rows, sql: &[&str]| QueriesRequest { rows, ..asking(&sql.iter().map(|sql| query(sql)).collect::<Vec<_>>()) };
    let reason = refusal(&mut full, &ask(99, &["SELECT * FROM todo"]));
    assert!(reason.contains("more than 99 rows"), "{reason}");
    let joined = "SELECT count(*) FROM todo a, todo b";
    assert!(full.changes_for_queries(&ask(100, &[joined])).is_ok());
    let reason =
        refusal(&mut full, &ask(100, &["SELECT * FROM todo WHERE id < 60", "SELECT * FROM todo WHERE id > 50"]));
    assert!(reason.contains("statement 2"), "{reason}");
}

#[test]
fn a_value_is_no_larger_than_an_answer() {
    let mut full = todos();
    let request = QueriesRequest {
        most: Page { changes: usize::MAX, bytes: 1 << 20 },
        ..asking(&[query("SELECT zeroblob(100000000), hex(zeroblob(100000000)) FROM todo")])
    };
    let reason = refusal(&mut full, &request);
    assert!(reason.contains("too big"), "{reason}");
}

#[test]
fn a_pattern_is_no_longer_than_it_may() {
    let mut full = todos();
    let sql = format!("SELECT * FROM todo WHERE title LIKE '{}'", "%a".repeat(1000));
    let reason = refusal(&mut full, &asking(&[query(&sql)]));
    assert!(reason.contains("pattern too complex"), "{reason}");
    // That is not so for what the application does itself.
    full.connection().query_row(&sql.replace('*', "count(*)"), [], |_| Ok(())).unwrap();
}

#[test]
fn json_functions_work_on_the_rows_that_they_are_given() {
    let (mut full, mut copy) = (todos(), replica(TODO));
    for sql in [
        "SELECT todo.id FROM todo, json_each(todo.tags) WHERE json_each.value = 'n1'",
        "SELECT id, tags ->> 0 FROM todo WHERE tags ->> '$[1]' = 'all' AND id < 10",
        "SELECT json_group_array(title) FROM todo WHERE id IN (SELECT value FROM json_each('[1, 2, 3]'))",
        "SELECT key, count(*) FROM todo, json_tree(tags) GROUP BY key",
    ] {
        let (answer, _) = full.changes_for_queries(&asking(&[query(sql)])).unwrap();
        copy.apply_changes(&answer).unwrap();
        let (wanted, got) = (super::answer(&full, sql), super::answer(&copy, sql));
        assert_eq!(wanted, got, "{sql}");
        assert!(!wanted.is_empty(), "{sql}");
    }
}

#[test]
fn an_index_of_words_is_refused_by_a_reason_that_names_a_way() {
    let mut full = todos();
    full.connection()
        .execute_batch(
            "CREATE VIRTUAL TABLE words USING fts5(title, content=todo, content_rowid=id);
             INSERT INTO words (words) VALUES ('rebuild')",
        )
        .unwrap();
    for sql in [
        "SELECT * FROM todo WHERE id IN (SELECT rowid FROM words WHERE words MATCH 'title')",
        "SELECT * FROM words('title')",
        "SELECT * FROM Words",
    ] {
        let reason = refusal(&mut full, &asking(&[query(sql)]));
        assert!(reason.contains("is an index of this copy") && reason.contains("ask for the rows"), "{sql}: {reason}");
    }
}
