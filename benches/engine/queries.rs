//! What the queries of subscriptions add to a write, and what it takes to ask once.

use std::path::Path;
use std::time::{Duration, Instant};

use crsql_sync::sync::json::JsonValue;
use crsql_sync::sync::{
    Page, Position, QueriesRequest, Replica, Request, Schema, Since, Sql, SubscriptionId, SubscriptionRequest,
};
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::database::Kind;
use crate::figures::{Figures, Goal};

const SCHEMA: &str = "
    CREATE TABLE todo (id INTEGER PRIMARY KEY NOT NULL, owner INTEGER, title TEXT, due TEXT, done INTEGER);
    CREATE TABLE person (id INTEGER PRIMARY KEY NOT NULL, name TEXT, team INTEGER);
    CREATE INDEX todo_owner ON todo (owner);
    CREATE INDEX person_team ON person (team);
    SELECT crsql_as_crr('todo');
    SELECT crsql_as_crr('person');";

const ROWS: i64 = 100_000;
const SUBSCRIPTIONS: i64 = 1_000;
const WRITES: i64 = 200;
const ALL: Page = Page { changes: usize::MAX, bytes: usize::MAX };

pub fn queries(figures: &mut Figures, kind: Kind) {
    if kind != Kind::Ours {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut replica = filled(&dir.path().join("a.db"));
    once(figures, &mut replica);
    let by_owner = "SELECT * FROM todo WHERE owner = ?";
    let names = ["a write, of an owner", "added to it by 1,000 subscriptions"];
    subscribed(figures, &mut replica, by_owner, "owner", names);
    let by_team = "SELECT todo.* FROM person JOIN todo ON owner = person.id WHERE team = ?";
    let names = ["a write, of a team", "added to it by 1,000 subscriptions to joins"];
    subscribed(figures, &mut replica, by_team, "team", names);
}

fn filled(path: &Path) -> Replica {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL").unwrap();
    let mut replica = Replica::open(conn).unwrap();
    replica.create_database_if_not_exists(&Schema::parse(SCHEMA).unwrap()).unwrap();
    for (sql, rows) in [
        ("INSERT INTO person SELECT i, 'person ' || i, i % 1000 FROM n", 10_000),
        (
            "INSERT INTO todo SELECT i, i % 1000, 'buy some of number ' || i, date('2024-01-01', '+' || (i % 500) || ' days'), i % 2 FROM n",
            ROWS,
        ),
    ] {
        let numbers = format!("WITH n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {rows} - 1)");
        replica.connection().execute_batch(&format!("{numbers} {sql}")).unwrap();
    }
    replica
}

fn request(sql: &str, params: Vec<Value>, subscription: Option<SubscriptionRequest>) -> QueriesRequest {
    QueriesRequest {
        queries: vec![Sql { sql: sql.to_owned(), params: params.into_iter().map(JsonValue).collect() }],
        subscription,
        exclude: None,
        schema: None,
        tables: None,
        filters: None,
        page: Page::default(),
        most: ALL,
        rows: 1_000_000,
        time: Duration::from_secs(10),
    }
}

/// All 100,000 rows, beside what it takes to run the query alone and to read the changes of all rows.
fn once(figures: &mut Figures, replica: &mut Replica) {
    const BESIDE: &str = "100,000 rows: the query, and their changes";
    let sql = "SELECT * FROM todo";
    let since = Since::Beginning;
    for _ in 0..5 {
        figures.time(Kind::Ours, BESIDE, Goal::None, || {
            let mut statement = replica.connection().prepare(sql).unwrap();
            let mut rows = statement.query([]).unwrap();
            let mut count = 0;
            while let Some(row) = rows.next().unwrap() {
                count += (0..5).filter(|&i| row.get_ref(i).unwrap() != rusqlite::types::ValueRef::Null).count();
            }
            assert_eq!(count as i64, 5 * ROWS);
            drop(rows);
            drop(statement);
            let asked = Request { page: ALL, ..Request::after(since) };
            assert!(replica.request_changes(&asked).unwrap().changes.len() as i64 > 4 * ROWS);
        });
        figures.time(Kind::Ours, "100,000 rows: asked for once by it", Goal::Of(2.0, BESIDE), || {
            let (answer, _) = replica.changes_for_queries(&request(sql, vec![], None)).unwrap();
            assert_eq!(answer.changes.len() as i64, 4 * ROWS);
        });
    }
}

/// A write to what one of the subscriptions reads: who has news is found, and the answer to it is made and remembered.
fn subscribed(figures: &mut Figures, replica: &mut Replica, sql: &str, kind: &str, names: [&'static str; 2]) {
    let id = |n: i64| SubscriptionId { holder: kind.into(), name: n.to_string().into() };
    let ask = |replica: &mut Replica, n: i64, position: Option<Position>| -> Option<Position> {
        let subscription = SubscriptionRequest { id: id(n), position, is_told: true, now: 0 };
        let (answer, remember) =
            replica.changes_for_queries(&request(sql, vec![Value::Integer(n)], Some(subscription))).unwrap();
        if let Some(remember) = remember {
            assert!(replica.remember(&remember, 0).unwrap());
        }
        let Some(Since::After(since)) = answer.next else { panic!() };
        Some(Position { seen: answer.seen.unwrap(), since })
    };
    // The first subscription of all makes the tables for what is remembered.
    ask(replica, 0, None);
    let mut seen: Vec<Option<Position>> = (0..SUBSCRIPTIONS).map(|n| ask(replica, n, None)).collect();
    let write = |replica: &Replica, n: i64| {
        replica
            .connection()
            .execute("UPDATE todo SET title = ?1 WHERE id = ?2", (format!("title {n} of a {kind}"), n * 37))
            .unwrap();
    };
    let mut told = replica.news().unwrap().at();
    let (mut writing, mut added) = (Duration::ZERO, Duration::ZERO);
    for n in 0..WRITES {
        let start = Instant::now();
        write(replica, n);
        writing += start.elapsed();
        let start = Instant::now();
        let news = replica.news().unwrap();
        let hit: Vec<i64> = (0..SUBSCRIPTIONS).filter(|&n| news.is_for(&id(n), told)).collect();
        told = news.at();
        for &n in &hit {
            seen[n as usize] = ask(replica, n, seen[n as usize]);
        }
        added += start.elapsed();
        assert_eq!(hit.len(), 1);
    }
    let each = |time: Duration| time.as_secs_f64() * 1e3 / WRITES as f64;
    figures.keep(Kind::Ours, names[0], Goal::None, each(writing));
    figures.keep(Kind::Ours, names[1], Goal::Below(5.0), each(added));
}
