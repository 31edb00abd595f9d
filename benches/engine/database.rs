//! One database under one of three engines, all in the same SQLite.

use std::ops::ControlFlow;
use std::path::Path;

use crsql_sync::crr::{Change, Engine, Version, Window};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

/// What replicates the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Plain,
    /// The original, loaded as an extension.
    CrSqlite,
    /// This crate.
    Ours,
}

/// A row of `crsql_changes`.
pub type Row = Vec<Value>;

const COLUMNS: &str = "\"table\", pk, cid, val, col_version, db_version, site_id, cl, seq";

pub struct Database {
    pub conn: Connection,
    pub engine: Option<Engine>,
    kind: Kind,
}

impl Database {
    /// Opens or makes the file `path`.
    pub fn open(path: &Path, kind: Kind) -> Self {
        let conn = Connection::open(path).unwrap();
        conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL").unwrap();
        if kind == Kind::CrSqlite {
            let extension = std::env::var("CRSQLITE").unwrap();
            // SAFETY: whoever names the extension answers for it.
            unsafe {
                conn.load_extension_enable().unwrap();
                conn.load_extension(extension, Some("sqlite3_crsqlite_init")).unwrap();
            }
        }
        let engine = (kind == Kind::Ours).then(|| Engine::install(&conn).unwrap());
        Self { conn, engine, kind }
    }

    pub fn run(&self, sql: &str) {
        self.conn.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Makes the table `name` of a 16-byte key and five columns.
    pub fn create(&self, name: &str) {
        self.run(&format!("CREATE TABLE {name} (id BLOB PRIMARY KEY NOT NULL, a, b, c, d, e)"));
        if self.kind != Kind::Plain {
            self.run(&format!("SELECT crsql_as_crr('{name}')"));
        }
    }

    /// Calls `work` for each number, `batch` of them a transaction.
    pub fn in_batches(&self, numbers: u64, batch: u64, mut work: impl FnMut(&Connection, u64)) {
        for number in 0..numbers {
            if number % batch == 0 {
                self.run("BEGIN");
            }
            work(&self.conn, number);
            if number % batch == batch - 1 || number == numbers - 1 {
                self.run("COMMIT");
            }
        }
    }

    /// Inserts rows `from..from + rows` of the table `t`.
    pub fn insert(&self, from: u64, rows: u64, batch: u64) {
        self.in_batches(rows, batch, |conn, row| {
            let row = from + row;
            let values = (key(row), row as i64, "some text", 1.5 * row as f64, None::<i64>, "more text");
            conn.prepare_cached("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)").unwrap().execute(values).unwrap();
        });
    }

    pub fn db_version(&self) -> i64 {
        self.conn.query_row("SELECT crsql_db_version()", [], |row| row.get(0)).unwrap()
    }

    /// Steps through the changes after `since` by SQL, and counts them.
    pub fn count_changes(&self, since: i64) -> u64 {
        let sql = format!("SELECT {COLUMNS} FROM crsql_changes WHERE db_version > ?");
        let mut statement = self.conn.prepare_cached(&sql).unwrap();
        let mut rows = statement.query([since]).unwrap();
        let mut count = 0;
        while let Some(row) = rows.next().unwrap() {
            for column in 0..9 {
                std::hint::black_box(row.get_ref(column).unwrap());
            }
            count += 1;
        }
        count
    }

    /// All changes, as SQL gives them.
    pub fn sql_changes(&self) -> Vec<Row> {
        let mut statement = self.conn.prepare(&format!("SELECT {COLUMNS} FROM crsql_changes")).unwrap();
        let rows = statement.query_map([], |row| (0..9).map(|column| row.get(column)).collect());
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    }

    /// Merges changes row by row, so many in a transaction.
    pub fn sql_merge(&self, changes: &[Row], batch: u64) {
        self.in_batches(changes.len() as u64, batch, |conn, number| {
            let mut insert =
                conn.prepare_cached("INSERT INTO crsql_changes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)").unwrap();
            insert.execute(params_from_iter(&changes[number as usize])).unwrap();
        });
    }

    /// All changes after `since` by the library call.
    pub fn changes(&self, since: i64) -> Vec<Change> {
        let engine = self.engine.as_ref().unwrap();
        let window = Window {
            since: Version::or_zero(since).unwrap(),
            until: engine.db_version(&self.conn).unwrap(),
            exclude: None,
            newest_first: false,
        };
        let mut all = Vec::new();
        let mut keep = |_, change| {
            all.push(change);
            ControlFlow::Continue(())
        };
        engine.changes(&self.conn, window, &mut keep).unwrap();
        all
    }

    /// Merges changes by the library call, so many at a time.
    pub fn merge(&self, changes: &[Change], batch: u64) {
        for batch in changes.chunks(batch as usize) {
            self.run("BEGIN");
            self.engine.as_ref().unwrap().merge(&self.conn, batch).unwrap();
            self.run("COMMIT");
        }
    }

    /// The size of the file, in bytes.
    pub fn size(&self) -> u64 {
        self.run("PRAGMA wal_checkpoint(TRUNCATE)");
        std::fs::metadata(self.conn.path().unwrap()).unwrap().len()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.kind == Kind::CrSqlite {
            self.conn.flush_prepared_statement_cache();
            self.run("SELECT crsql_finalize()");
        }
    }
}

/// 16 bytes that look random, the same in every run.
pub fn key(row: u64) -> [u8; 16] {
    let mix = |x: u64| {
        let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb)
    };
    let (high, low) = (mix(row + 1), mix(row + 0x9e37_79b9));
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}
