//! The tables of the histories, and random statements: few keys and few values, so that they collide.

use std::sync::OnceLock;

use crsql_sync::sync::{Replica, Schema, Sql};
use rusqlite::Connection;

use super::random::Random;
use super::storage::{self, Image};

const A: &str = "CREATE TABLE a (id INTEGER PRIMARY KEY NOT NULL, x, y);";
const A_LATER: &str = "CREATE TABLE a (id INTEGER PRIMARY KEY NOT NULL, x, y, z DEFAULT 7);";
const T: &str = "CREATE TABLE t (id TEXT NOT NULL, part INT NOT NULL, x, PRIMARY KEY (id, part));";
const K: &str = "CREATE TABLE k (a NOT NULL, b NOT NULL, PRIMARY KEY (a, b));";

/// A schema, what a migration makes of it, and the names of its tables.
pub struct Tables {
    pub schemas: [Schema; 2],
    pub names: &'static str,
    empty: Vec<u8>,
}

impl Tables {
    /// One of the few that there are.
    pub fn number(n: usize) -> &'static Self {
        static ALL: OnceLock<Vec<Tables>> = OnceLock::new();
        &ALL.get_or_init(|| ["a", "t", "k", "at", "atk"].map(Tables::new).into())[n % 5]
    }

    fn new(names: &'static str) -> Self {
        let schema = |later: bool| {
            let one = |name: char| match name {
                'a' if later => A_LATER,
                'a' => A,
                't' => T,
                _ => K,
            };
            // What a migration adds where there is no column to add.
            let added = if later && !names.contains('k') { "k" } else { "" };
            let names = || names.chars().chain(added.chars());
            let tables: String = names().map(one).collect();
            let replicated: String = names().map(|name| format!("SELECT crsql_as_crr('{name}');")).collect();
            Schema::parse(&(tables + &replicated)).unwrap()
        };
        let schemas = [schema(false), schema(true)];
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("PRAGMA page_size = 1024").unwrap();
        storage::be_predictable(&conn, 0);
        let mut replica = Replica::open(conn).unwrap();
        replica.create_database_if_not_exists(&schemas[0]).unwrap();
        let empty = storage::copy(replica.connection()).to_vec();
        Self { schemas, names, empty }
    }

    /// The image of an empty database with a site id of its own.
    pub fn empty(&self, random: &mut Random) -> Image {
        let conn = storage::open(&self.empty, 0);
        let site = [random.number(), random.number()].map(u64::to_be_bytes).concat();
        conn.execute("UPDATE crsql_site_id SET site_id = ?1 WHERE ordinal = 0", [site]).unwrap();
        storage::bytes(&conn).into()
    }

    /// A transaction.
    pub fn transaction(&self, random: &mut Random, migrated: bool) -> Vec<Sql> {
        let count = *random.pick(&[1, 1, 1, 2, 2, 3, 4]);
        (0..count).map(|_| Sql { sql: self.statement(random, migrated), params: vec![] }).collect()
    }

    fn statement(&self, random: &mut Random, migrated: bool) -> String {
        let k_is_there = migrated && !self.names.contains('k') && random.chance(25);
        let table = if k_is_there { b'k' } else { *random.pick(self.names.as_bytes()) };
        let mut key = || random.within(1..4);
        let (i, j, l) = (key(), key(), key());
        let mut value = || *random.pick(&["1", "2", "3", "'a'", "NULL"]);
        let (x, y) = (value(), value());
        let kind = random.within(0..12);
        match table {
            b'a' => match kind {
                0 => format!("INSERT OR REPLACE INTO a (id, x, y) VALUES ({i}, {x}, {y})"),
                1 => {
                    format!("INSERT INTO a (id, x, y) VALUES ({i}, {x}, {y}) ON CONFLICT DO UPDATE SET x = excluded.x")
                }
                2 | 3 => format!("INSERT OR IGNORE INTO a (id, x) VALUES ({i}, {x})"),
                4 if migrated => format!("UPDATE a SET z = {x} WHERE id = {i}"),
                4 | 5 => format!("UPDATE a SET x = {x} WHERE id = {i}"),
                6 => format!("UPDATE a SET y = {x} WHERE id >= {i}"),
                7 => format!("UPDATE a SET x = {x}, y = {y}"),
                8 => format!("UPDATE OR REPLACE a SET id = {j} WHERE id = {i}"),
                9 => format!("REPLACE INTO a (id, x, y) VALUES (1, {x}, 1), (2, {y}, 2), (3, {x}, {y}), (4, 1, 1)"),
                10 => "DELETE FROM a".into(),
                _ => format!("DELETE FROM a WHERE id = {i}"),
            },
            b't' => match kind {
                0 => format!("INSERT OR REPLACE INTO t VALUES ('k{i}', 1, {x})"),
                1 => format!("INSERT INTO t VALUES ('k{i}', 1, {x}) ON CONFLICT DO UPDATE SET x = excluded.x"),
                2 | 3 => format!("INSERT OR IGNORE INTO t VALUES ('k{i}', 1, {x}), ('k{j}', 2, {y})"),
                4..=6 => format!("UPDATE t SET x = {x} WHERE id = 'k{i}'"),
                7 => format!("UPDATE OR REPLACE t SET id = 'k{j}', x = {x} WHERE id = 'k{i}'"),
                8 => format!("UPDATE OR REPLACE t SET part = {l} WHERE id = 'k{i}'"),
                9 => format!("REPLACE INTO t VALUES ('k1', 1, {x}), ('k1', 2, {y}), ('k2', 1, {x}), ('k3', 1, 1)"),
                _ => format!("DELETE FROM t WHERE id = 'k{i}'"),
            },
            _ => match kind {
                0..=3 => format!("INSERT OR IGNORE INTO k VALUES ({i}, {j})"),
                4 => format!("REPLACE INTO k VALUES ({i}, {j})"),
                5..=7 => format!("UPDATE OR REPLACE k SET b = {l} WHERE a = {i} AND b = {j}"),
                8 => format!("INSERT OR IGNORE INTO k VALUES (1, {i}), (2, {j}), (3, {l})"),
                _ => format!("DELETE FROM k WHERE a = {i}"),
            },
        }
    }
}
