//! Asking once.

use crsql_sync::sync::SqlError;

use super::generate::{Generator, schema};
use super::*;

#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Sends what `queries` need from one to the other; how many rows that are.
fn send(full: &mut Replica, queries: &[Sql], copy: &mut Replica) -> Result<usize, SqlError> {
    let (answer, _) = full.changes_for_queries(&asking(queries))?;
    let mut rows: Vec<_> = answer.changes.iter().map(|change| (&change.table, &change.pk)).collect();
    rows.dedup();
    copy.apply_changes(&answer).unwrap();
    Ok(rows.len())
}

fn filled(schema: &str, rows: &[String]) -> Replica {
    let mut full = replica(schema);
    rows.iter().for_each(|row| write(&mut full, row));
    full
}

/// How the partial copy's answer differs from the full one's; `None` if not.
fn difference(schema: &str, rows: &[String], sql: &str) -> Option<String> {
    let (mut full, mut copy) = (filled(schema, rows), replica(schema));
    let sent = match send(&mut full, &[query(sql)], &mut copy) {
        Ok(sent) => sent,
        Err(error) => return Some(error.to_string()),
    };
    let (wanted, got) = (answer(&full, sql), answer(&copy, sql));
    (wanted != got).then(|| format!("full:    {wanted:?}\npartial: {got:?}\nrows sent: {sent}"))
}

#[test]
fn random_queries_are_answered_alike_by_a_copy_that_holds_what_they_read() {
    for seed in 0..seeds(200, 2_000) {
        let mut generator = Generator::new(seed);
        let mut rows = generator.rows();
        let (schema, sql) = (schema(seed), generator.query());
        if let Some(mut found) = difference(&schema, &rows, &sql) {
            // Leave out what is not needed for it.
            let mut at = 0;
            while at < rows.len() {
                let row = rows.remove(at);
                match difference(&schema, &rows, &sql) {
                    Some(still) => found = still,
                    None => {
                        rows.insert(at, row);
                        at += 1;
                    }
                }
            }
            panic!("seed {seed}\n{schema}\n{sql}\n{}\n{found}", rows.join(";\n"));
        }
    }
}

const TODO: &str = "
    CREATE TABLE person (id INTEGER PRIMARY KEY NOT NULL, name TEXT, team TEXT);
    CREATE TABLE todo (id TEXT PRIMARY KEY NOT NULL, owner INTEGER, title TEXT, due TEXT, done INTEGER, tag TEXT AS (lower(title)));
    CREATE TABLE setting (key TEXT PRIMARY KEY NOT NULL, value ANY);
    CREATE INDEX todo_owner ON todo (owner);
    CREATE VIEW open AS SELECT * FROM todo WHERE done = 0;
    SELECT crsql_as_crr('person');
    SELECT crsql_as_crr('todo');";

fn todos() -> Replica {
    let mut full = replica(TODO);
    write(&mut full, "INSERT INTO person VALUES (1, 'ann', 'red'), (2, 'bob', 'red'), (3, 'cid', 'blue')");
    write(
        &mut full,
        "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
         INSERT INTO todo SELECT 't' || i, 1 + i % 3, 'Title ' || (i % 10), date('2024-01-01', '+' || i || ' days'), i % 2 FROM n",
    );
    full
}

#[test]
fn no_more_is_sent_than_a_query_reads_by_its_conditions() {
    let mut full = todos();
    for (sql, rows) in [
        ("SELECT * FROM todo WHERE owner = 1", 33),
        ("SELECT title FROM todo WHERE id = 't7'", 1),
        ("SELECT * FROM todo WHERE id IN ('t7', 't8', 'none')", 2),
        ("SELECT * FROM todo WHERE title = 'Title 4' AND done = 0", 10),
        ("SELECT * FROM todo WHERE due >= '2024-01-11' AND due < '2024-01-21'", 10),
        ("SELECT * FROM todo WHERE title LIKE 'title 1'", 10),
        ("SELECT * FROM todo WHERE tag = 'title 1'", 10),
        ("SELECT * FROM todo WHERE owner = 9 OR id = 't3'", 1),
        ("SELECT * FROM todo ORDER BY due DESC LIMIT 5", 5),
        ("SELECT max(due) FROM todo", 1),
        ("SELECT * FROM person JOIN todo ON owner = person.id WHERE name = 'ann'", 1 + 33),
        ("SELECT name FROM person WHERE EXISTS (SELECT 1 FROM todo WHERE owner = person.id)", 3 + 3),
        ("SELECT * FROM open WHERE owner = 2 AND due < '2024-01-10'", 1),
        ("SELECT count(*) FROM todo WHERE owner = 3", 33),
        ("WITH mine AS (SELECT * FROM todo WHERE owner = 1) SELECT * FROM mine WHERE done = 1", 17),
    ] {
        let mut copy = replica(TODO);
        assert_eq!(send(&mut full, &[query(sql)], &mut copy).unwrap(), rows, "{sql}");
        assert_eq!(answer(&copy, sql), answer(&full, sql), "{sql}");
    }
}

#[test]
fn a_condition_that_sqlite_keeps_to_itself_has_the_whole_table_sent() {
    let mut full = todos();
    let sql = "SELECT * FROM todo WHERE length(title) = 7 AND substr(title, 7) = '3'";
    let mut copy = replica(TODO);
    assert_eq!(send(&mut full, &[query(sql)], &mut copy).unwrap(), 100);
    assert_eq!(answer(&copy, sql), answer(&full, sql));
}

#[test]
fn what_cannot_be_traced_is_refused() {
    let mut full = todos();
    for (sql, reason) in [
        ("SELECT * FROM setting", "or it is none that is replicated"),
        ("SELECT * FROM sqlite_schema", "sqlite_master is not replicated"),
        ("SELECT * FROM crsql_changes", "no such table: crsql_changes"),
        ("SELECT * FROM pragma_table_info('todo')", "not replicated"),
        ("SELECT fts3_tokenizer('simple') FROM todo", "function"),
        ("SELECT * FROM fts3tokenize", "replicated"),
        ("SELECT random() FROM todo", "the function random answers otherwise"),
        ("DELETE FROM todo", "may not be modified"),
        ("PRAGMA user_version", "only a query"),
        ("ATTACH 'x' AS y", "only a query"),
        ("SELECT 1; SELECT 2", "only one query"),
        ("", "no statement"),
        ("SELECT * FROM todo WHERE id = ?", "takes 1 parameters"),
        ("SELECT * FROM nowhere", "no such table: nowhere"),
        ("EXPLAIN SELECT * FROM todo", "only a query"),
    ] {
        let error = full.changes_for_queries(&asking(&[query(sql)])).unwrap_err().to_string();
        assert!(error.contains(reason), "{sql}: {error}");
    }
}

#[test]
fn a_caller_of_some_tables_can_only_query_those() {
    let mut full = todos();
    let tables = Some(["todo"].into_iter().collect());
    let ask = |sql| QueriesRequest { tables: tables.clone(), ..asking(&[query(sql)]) };
    assert!(full.changes_for_queries(&ask("SELECT * FROM open")).is_ok());
    for sql in
        ["SELECT 1 FROM person", "SELECT * FROM todo NATURAL JOIN person", "SELECT (SELECT 1 FROM person) FROM todo"]
    {
        let error = full.changes_for_queries(&ask(sql)).unwrap_err().to_string();
        assert!(error.contains("no such table: person"), "{error}");
    }
}
