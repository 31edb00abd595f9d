//! Random transactions on tables of several shapes.

use proptest::prelude::*;

/// The tables of [`SCHEMA`].
pub const TABLES: [&str; 4] = ["num", "txt", "link", "any"];

/// An INTEGER PRIMARY KEY, a key that is an index of its own, a table of keys alone, and a strict one with values of all types
/// as keys.
pub const SCHEMA: &str = "
  CREATE TABLE num (id INTEGER PRIMARY KEY NOT NULL, x, y DEFAULT 7);
  CREATE TABLE txt (id TEXT NOT NULL, part INT NOT NULL, x, y TEXT, PRIMARY KEY (id, part));
  CREATE TABLE link (a NOT NULL, b NOT NULL, PRIMARY KEY (a, b));
  CREATE TABLE any (x ANY, id ANY PRIMARY KEY NOT NULL, \"a \"\"b\"\"\" REAL) STRICT;
  SELECT crsql_as_crr('num'); SELECT crsql_as_crr('txt'); SELECT crsql_as_crr('link');
  SELECT crsql_as_crr('any');";

fn value() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["1", "2", "1.0", "'a'", "'b'", "NULL", "x'00'"])
}

/// A key of any type. Not 1 beside 1.0: SQLite holds them for one key, their packed forms are two.
fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["1", "-7", "1.5", "'a'", "x'00'"])
}

/// A transaction.
pub fn statement() -> impl Strategy<Value = String> {
    let id = || 1..4i64;
    let num = (id(), id(), value(), value(), 0..8).prop_map(|(a, b, x, y, kind)| match kind {
        0 => format!("INSERT OR REPLACE INTO num VALUES ({a}, {x}, {y})"),
        1 => format!("INSERT INTO num VALUES ({a}, {x}, {y}) ON CONFLICT DO UPDATE SET x = excluded.x"),
        2 => format!("INSERT OR IGNORE INTO num (id, x) VALUES ({a}, {x})"),
        3 => format!("UPDATE num SET x = {x} WHERE id = {a}"),
        4 => format!("UPDATE num SET x = {x}, y = {y}"),
        5 => format!("UPDATE OR REPLACE num SET id = {b} WHERE id = {a}"),
        _ => format!("DELETE FROM num WHERE id = {a}"),
    });
    let txt = (id(), id(), value(), value(), 0..8).prop_map(|(a, b, x, y, kind)| match kind {
        0 => format!("INSERT OR REPLACE INTO txt VALUES ('k{a}', 1, {x}, {y})"),
        1 => format!("INSERT INTO txt VALUES ('k{a}', 1, {x}, {y}) ON CONFLICT DO UPDATE SET y = excluded.y"),
        2 => format!("INSERT OR IGNORE INTO txt (id, part, x) VALUES ('k{a}', 1, {x})"),
        3 => format!("UPDATE txt SET x = {x}, y = {y} WHERE id = 'k{a}'"),
        4 => format!("UPDATE OR REPLACE txt SET id = 'k{b}', x = {x} WHERE id = 'k{a}'"),
        5 => format!("UPDATE OR REPLACE txt SET id = 'k{b}' WHERE id = 'k{a}'"),
        _ => format!("DELETE FROM txt WHERE id = 'k{a}'"),
    });
    let link = (id(), id(), id(), 0..4).prop_map(|(a, b, c, kind)| match kind {
        0 | 1 => format!("INSERT OR IGNORE INTO link VALUES ({a}, {b})"),
        2 => format!("UPDATE OR REPLACE link SET b = {c} WHERE a = {a} AND b = {b}"),
        _ => format!("DELETE FROM link WHERE a = {a}"),
    });
    let any = (key(), key(), value(), 0..6).prop_map(|(id, other, x, kind)| match kind {
        0 => format!("INSERT OR REPLACE INTO any (id, x) VALUES ({id}, {x})"),
        1 => format!("UPDATE any SET x = {x} WHERE id = {id}"),
        2 => format!("UPDATE OR REPLACE any SET id = {other} WHERE id = {id}"),
        3 => "UPDATE any SET \"a \"\"b\"\"\" = 1.5, x = x".into(),
        _ => format!("DELETE FROM any WHERE id = {id}"),
    });
    let one = prop_oneof![3 => num, 3 => txt, 1 => link, 2 => any];
    prop::collection::vec(one, 1..4).prop_map(|statements| format!("BEGIN; {}; COMMIT", statements.join("; ")))
}
