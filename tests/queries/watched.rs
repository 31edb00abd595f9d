//! What a result depends on, so that whoever watches it knows when to ask again.

use crsql_sync::crr::pack::pack;
use crsql_sync::sync::{Batch, Dependencies, Request, Since};
use fastrand::Rng;

use super::generate::{Generator, SCHEMA};
use super::*;

#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn dependencies(replica: &Replica, sql: &str) -> Option<Dependencies> {
    replica.depends_on(&[query(sql)]).unwrap()
}

/// The rows that alone matter to a query, as their keys were packed.
fn rows(replica: &Replica, sql: &str) -> Option<Vec<(String, Vec<Vec<u8>>)>> {
    let rows = dependencies(replica, sql)?.rows?;
    Some(rows.into_iter().map(|(table, keys)| (table.to_string(), keys.into_iter().collect())).collect())
}

/// Whether a batch may have changed what depends on these.
fn concerns(batch: &Batch, dependencies: &Dependencies) -> bool {
    batch.changes.iter().any(|change| match &dependencies.rows {
        Some(rows) => rows.get(&change.table).is_some_and(|keys| keys.contains(&*change.pk)),
        None => dependencies.tables.contains(&*change.table),
    })
}

#[test]
fn a_query_that_looks_for_rows_by_their_keys_depends_on_these_alone() {
    let full = replica(SCHEMA);
    let key = |values: &[Value]| pack(values).unwrap();
    let (integer, text) = (|i| Value::Integer(i), |text: &str| Value::Text(text.to_owned()));
    let in_a = |keys: &[i64]| Some(vec![("a".to_owned(), keys.iter().map(|&id| key(&[integer(id)])).collect())]);
    assert_eq!(rows(&full, "SELECT * FROM a WHERE id = 5"), in_a(&[5]));
    assert_eq!(rows(&full, "SELECT x + 1 FROM a WHERE rowid = 5 AND x > 3"), in_a(&[5]));
    assert_eq!(rows(&full, "SELECT count(*) FROM a WHERE id IN (1, 2, NULL)"), in_a(&[1, 2]));
    assert_eq!(rows(&full, "SELECT EXISTS (SELECT 1 FROM a WHERE id = 5)"), in_a(&[5]));
    assert_eq!(rows(&full, "SELECT * FROM a WHERE id = 1 OR id = 2"), in_a(&[1, 2]));
    assert_eq!(rows(&full, "SELECT * FROM b WHERE id = 'x'"), Some(vec![("b".to_owned(), vec![key(&[text("x")])])]));
    let pair = Some(vec![("c".to_owned(), vec![key(&[integer(1), text("t")])])]);
    assert_eq!(rows(&full, "SELECT * FROM c WHERE t = 't' AND x = 1"), pair);
    // Without a row of `a` nobody asked for one of `b`.
    let joined = "SELECT b.t FROM a JOIN b ON b.id = a.t WHERE a.id = 5";
    assert!(rows(&full, joined).unwrap().iter().any(|(table, keys)| table == "a" && *keys == [key(&[integer(5)])]));

    for sql in [
        "SELECT * FROM a",
        "SELECT * FROM a WHERE id > 5",
        "SELECT * FROM a WHERE id = 5.0",
        "SELECT * FROM a WHERE id = '5'",
        "SELECT * FROM b WHERE id = 5",
        "SELECT * FROM b WHERE id = 'x' COLLATE NOCASE",
        "SELECT * FROM b WHERE t = 'x'",
        "SELECT * FROM c WHERE x = 1",
        "SELECT count(*) FROM a",
        "SELECT max(id) FROM a",
        "SELECT * FROM a WHERE id = 5 UNION SELECT * FROM a WHERE x = 5",
        "SELECT * FROM a WHERE id = abs(random())",
    ] {
        assert_eq!(rows(&full, sql), None, "{sql}");
        assert!(dependencies(&full, sql).is_some_and(|it| !it.tables.is_empty()), "{sql}");
    }
}

#[test]
fn a_key_that_is_stored_in_another_form_than_it_is_asked_for_has_its_whole_table_watched() {
    let full = replica(
        "CREATE TABLE n (id TEXT PRIMARY KEY NOT NULL COLLATE NOCASE, x);
         CREATE TABLE p (id TEXT NOT NULL, x, PRIMARY KEY (id COLLATE NOCASE));
         CREATE TABLE r (id REAL PRIMARY KEY NOT NULL, x);
         CREATE TABLE u (id PRIMARY KEY NOT NULL, x);
         SELECT crsql_as_crr('n'); SELECT crsql_as_crr('p'); SELECT crsql_as_crr('r'); SELECT crsql_as_crr('u');",
    );
    for sql in [
        "SELECT * FROM n WHERE id = 'a'",
        "SELECT * FROM p WHERE id = 'a'",
        "SELECT * FROM r WHERE id = 1",
        "SELECT * FROM u WHERE id = 1",
    ] {
        assert_eq!(rows(&full, sql), None, "{sql}");
    }
    assert!(rows(&full, "SELECT * FROM u WHERE id = 'a'").is_some());
}

#[test]
fn a_result_that_no_change_concerns_stays_as_it_is_through_random_writes_and_merges() {
    let (mut by_row, mut kept) = (0, 0);
    let seeds = seeds(30, 100);
    for seed in 0..seeds {
        let mut generator = Generator::new(seed);
        let mut rng = Rng::with_seed(seed);
        let (mut full, mut other) = (replica(SCHEMA), replica(SCHEMA));
        generator.rows().iter().for_each(|row| write(&mut full, row));
        let queries: Vec<String> =
            (0..6).map(|n| if n == 0 { generator.query() } else { generator.query_by_key() }).collect();
        let mut watched: Vec<_> = queries.iter().map(|sql| (answer(&full, sql), dependencies(&full, sql))).collect();
        by_row += watched.iter().filter(|(_, it)| it.as_ref().is_some_and(|it| it.rows.is_some())).count();
        for step in 0..12 {
            let since = Since::After(full.at().unwrap());
            let sql = generator.write();
            if rng.bool() {
                write(&mut full, &sql);
            } else {
                write(&mut other, &sql);
                let batch = other.request_changes(&Request::after(Since::Beginning)).unwrap();
                full.apply_changes(&batch).unwrap();
            }
            let batch = full.request_changes(&Request::after(since)).unwrap();
            for (sql, (before, depends)) in queries.iter().zip(&mut watched) {
                let depends_on = depends.clone().unwrap_or_else(|| panic!("{sql}"));
                let now = answer(&full, sql);
                if concerns(&batch, &depends_on) {
                    *depends = dependencies(&full, sql);
                    *before = now;
                } else {
                    kept += usize::from(depends_on.rows.is_some() && !batch.changes.is_empty());
                    assert_eq!(*before, now, "seed {seed}, step {step}\n{sql}\n{depends_on:?}\n{:?}", batch.changes);
                }
            }
        }
    }
    assert!(by_row > seeds as usize && kept > 5 * seeds as usize, "{by_row} of {seeds} by rows, {kept} kept");
}
