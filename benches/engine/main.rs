//! The engine beside plain SQLite and the real cr-sqlite, in one process and one SQLite.
//!
//! `CRSQLITE=/path/crsqlite.so cargo bench --bench engine [-- PART…]`, where a part is `rows`, `growth`, `alter`, `tables`,
//! `ledger` or `queries`; `scripts/build-cr-sqlite` makes the extension, and without it that column stays empty. The engines take
//! turns; a figure is the best of three runs. Absolute numbers depend on the machine; the ratios hardly do.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing)]

mod database;
mod figures;
mod ledger;
mod queries;

use database::{Database, Kind, key};
use figures::{Figures, Goal};

const ROWS: u64 = 50_000;
const BATCH: u64 = 1_000;
/// The changes of so many rows.
const CHANGES: u64 = 5 * BATCH;
const RUNS: usize = 3;

/// Measures some operations under one engine.
type Part = fn(&mut Figures, Kind);

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let mut kinds = vec![Kind::Plain, Kind::Ours];
    if std::env::var_os("CRSQLITE").is_some() {
        kinds.insert(1, Kind::CrSqlite);
    }
    let mut figures = Figures::default();
    let parts: [(&str, usize, Part); 6] = [
        ("rows", RUNS, rows),
        ("growth", 1, growth),
        ("alter", RUNS, alter),
        ("tables", 1, tables),
        ("ledger", RUNS, ledger::ledger),
        ("queries", 1, queries::queries),
    ];
    for (name, runs, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            for _ in 0..runs {
                kinds.iter().for_each(|&kind| part(&mut figures, kind));
            }
        }
    }
    figures.print();
}

/// Writes and exchanges 50,000 rows, 1,000 a transaction.
fn rows(figures: &mut Figures, kind: Kind) {
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        let database = Database::open(&dir.path().join(name), kind);
        database.create("t");
        database
    };
    let a = open("a.db");
    figures.time(kind, "insert", Goal::OfPlain(2.0), || a.insert(0, ROWS, BATCH));
    figures.keep(kind, "file, kB", Goal::OfPlain(1.5), a.size() as f64 / 1e3);
    if kind != Kind::Plain {
        let last = a.db_version() - 1;
        figures.time(kind, "SQL: read all", Goal::OverCrSqlite(5.0), || assert_eq!(a.count_changes(0), 5 * ROWS));
        figures.time(kind, "SQL: poll of the last 1,000 rows", Goal::OverCrSqlite(3.0), || {
            assert_eq!(a.count_changes(last), 5 * BATCH);
        });
        let changes = a.sql_changes();
        let into = open("by-sql.db");
        figures.time(kind, "SQL: merge row by row", Goal::OverCrSqlite(2.0), || into.sql_merge(&changes, CHANGES));
    }
    read_and_merge_by_call(figures, kind, &a, &open);
    figures.time(kind, "update of one column", Goal::OfPlain(2.7), || {
        a.in_batches(ROWS, BATCH, |conn, row| {
            conn.prepare_cached("UPDATE t SET a = ? WHERE id = ?")
                .unwrap()
                .execute((row as i64 + 1, key(row)))
                .unwrap();
        });
    });
    figures.time(kind, "delete", Goal::OfPlain(3.0), || {
        a.in_batches(ROWS, BATCH, |conn, row| {
            conn.prepare_cached("DELETE FROM t WHERE id = ?").unwrap().execute([key(row)]).unwrap();
        });
    });
}

/// The library's own calls. cr-sqlite has none: the same work is done by SQL.
fn read_and_merge_by_call(figures: &mut Figures, kind: Kind, from: &Database, open: &dyn Fn(&str) -> Database) {
    const READ: (&str, Goal) = ("call: read all", Goal::OverCrSqlite(5.0));
    const POLL: (&str, Goal) = ("call: poll of the last 1,000 rows", Goal::OverCrSqlite(3.0));
    const MERGE: (&str, Goal) = ("call: merge in batches", Goal::OverCrSqlite(8.0));
    const AT_ONCE: (&str, Goal) = ("at once: merge by call", Goal::OverCrSqlite(8.0));
    match kind {
        Kind::Plain => {}
        Kind::CrSqlite => {
            let last = from.db_version() - 1;
            let changes = figures.time(kind, READ.0, READ.1, || from.sql_changes());
            figures.time(kind, POLL.0, POLL.1, || from.count_changes(last));
            let into = open("by-call.db");
            figures.time(kind, MERGE.0, MERGE.1, || into.sql_merge(&changes, CHANGES));
            let into = open("at-once.db");
            figures.time(kind, AT_ONCE.0, AT_ONCE.1, || into.sql_merge(&changes, CHANGES * ROWS));
        }
        Kind::Ours => {
            let last = from.db_version() - 1;
            let changes = figures.time(kind, READ.0, READ.1, || from.changes(0));
            figures.time(kind, POLL.0, POLL.1, || from.changes(last));
            let into = open("by-call.db");
            figures.time(kind, MERGE.0, MERGE.1, || into.merge(&changes, CHANGES));
            let into = open("at-once.db");
            figures.time(kind, AT_ONCE.0, AT_ONCE.1, || into.merge(&changes, CHANGES * ROWS));
        }
    }
}

/// What the last transaction of ten rows costs to read must not depend on how many rows there are.
fn growth(figures: &mut Figures, kind: Kind) {
    const SMALL: &str = "last 10 rows of 1,000";
    if kind == Kind::Plain {
        return;
    }
    for (name, rows, goal) in
        [(SMALL, 1_000, Goal::None), ("last 10 rows of 1,000,000", 1_000_000, Goal::Of(1.5, SMALL))]
    {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(&dir.path().join("a.db"), kind);
        database.create("t");
        database.insert(0, rows, 10_000);
        database.insert(rows, 10, 10);
        let last = database.db_version() - 1;
        for _ in 0..20 {
            figures.time(kind, name, goal, || assert_eq!(database.count_changes(last), 50));
        }
    }
}

/// A new column on 100,000 rows.
fn alter(figures: &mut Figures, kind: Kind) {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(&dir.path().join("a.db"), kind);
    database.create("t");
    let known: bool = database
        .conn
        .query_row("SELECT count(*) FROM pragma_function_list WHERE name = 'crsql_commit_alter'", [], |row| row.get(0))
        .unwrap();
    if !known && kind != Kind::Plain {
        return;
    }
    database.insert(0, 100_000, BATCH);
    figures.time(kind, "add a column to 100,000 rows", Goal::Below(1_000.0), || {
        let (begin, commit) = match kind {
            Kind::Plain => ("BEGIN", "COMMIT"),
            _ => ("SELECT crsql_begin_alter('t')", "SELECT crsql_commit_alter('t')"),
        };
        database.run(&format!("{begin}; ALTER TABLE t ADD COLUMN f DEFAULT 7; {commit}"));
    });
}

/// 1,000 replicated tables of which one is used, beside one alone.
fn tables(figures: &mut Figures, kind: Kind) {
    const ONE: [&str; 3] = ["open, 1 table", "a write, 1 table", "a read, 1 table"];
    const MANY: [&str; 3] = ["open, 1,000 tables", "a write, 1,000 tables", "a read, 1,000 tables"];
    for (names, count) in [(ONE, 1), (MANY, 1_000)] {
        // Its query for the version is a UNION over all its tables, of which SQLite takes 500.
        if kind == Kind::CrSqlite && count > 500 {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let goal = |i: usize| if count == 1 || i == 0 { Goal::None } else { Goal::Of(1.5, ONE[i]) };
        let database = Database::open(&path, kind);
        database.run("BEGIN");
        database.create("t");
        (1..count).for_each(|i| database.create(&format!("t{i}")));
        database.run("COMMIT");
        drop(database);
        for run in 0..10 {
            let database = figures.time(kind, names[0], goal(0), || {
                let database = Database::open(&path, kind);
                database.run("SELECT count(*) FROM t");
                database
            });
            // The first write and the first read of a connection prepare what the others use.
            for i in 0..10 {
                let row = run * 10 + i;
                figures.time(kind, names[1], goal(1), || database.insert(row, 1, 1));
                if kind != Kind::Plain {
                    let last = database.db_version() - 1;
                    figures.time(kind, names[2], goal(2), || database.count_changes(last));
                }
            }
        }
    }
}
