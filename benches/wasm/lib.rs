//! The engine as a browser has it, compiled to wasm, for `bench.mjs` to measure.
//!
//! The loops are in here, as an application's are; only the calls of whole operations come from JavaScript.
#![cfg(target_family = "wasm")]

use std::hint::black_box;
use std::ops::ControlFlow;

use crsql_sync::crr::{Change, Engine, Version, Window};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use wasm_bindgen::prelude::{JsError, wasm_bindgen};

type Result<T> = std::result::Result<T, JsError>;

const READ: &str =
    "SELECT \"table\", pk, cid, val, col_version, db_version, site_id, cl, seq FROM crsql_changes WHERE db_version > 0";

/// A database in memory.
#[wasm_bindgen]
pub struct Database {
    conn: Connection,
    engine: Option<Engine>,
}

/// Changes as SQL gives them: rows of `crsql_changes`.
#[wasm_bindgen]
pub struct Rows(Vec<Vec<Value>>);

/// Changes as the library call gives them.
#[wasm_bindgen]
pub struct Changes(Vec<Change>);

#[wasm_bindgen]
impl Database {
    /// A database with this engine, or of plain SQLite.
    #[wasm_bindgen(constructor)]
    pub fn open(replicated: bool) -> Result<Self> {
        let conn = Connection::open_in_memory()?;
        let engine = if replicated { Some(Engine::install(&conn)?) } else { None };
        Ok(Self { conn, engine })
    }

    /// Runs statements.
    pub fn exec(&self, sql: &str) -> Result<()> {
        Ok(self.conn.execute_batch(sql)?)
    }

    /// The text that a query gives.
    pub fn text(&self, sql: &str) -> Result<String> {
        Ok(self.conn.query_row(sql, [], |row| row.get(0))?)
    }

    /// Inserts the first `rows` rows of the workload into `table`, `batch` of them a transaction.
    pub fn insert(&self, table: &str, rows: u32, batch: usize) -> Result<()> {
        let sql = format!("INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?)");
        let rows: Vec<u32> = (0..rows).collect();
        self.in_batches(&rows, batch, |&row| {
            let values = (key(row), row, "some text", f64::from(row) + 0.5, None::<i64>, "more text");
            self.conn.prepare_cached(&sql)?.execute(values)?;
            Ok(())
        })
    }

    /// Steps through all changes by SQL, and counts them.
    pub fn count(&self) -> Result<u32> {
        let mut statement = self.conn.prepare_cached(READ)?;
        let mut rows = statement.query([])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            for column in 0..9 {
                black_box(row.get_ref(column)?);
            }
            count += 1;
        }
        Ok(count)
    }

    /// All changes, by SQL.
    pub fn rows(&self) -> Result<Rows> {
        let mut statement = self.conn.prepare_cached(READ)?;
        let rows = statement.query_map([], |row| (0..9).map(|column| row.get(column)).collect())?;
        Ok(Rows(rows.collect::<rusqlite::Result<_>>()?))
    }

    /// Inserts `rows` into `table`, which is `crsql_changes` or has its columns, `batch` of them a transaction.
    #[wasm_bindgen(js_name = insertRows)]
    pub fn insert_rows(&self, table: &str, rows: &Rows, batch: usize) -> Result<()> {
        let sql = format!("INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
        self.in_batches(&rows.0, batch, |row| {
            self.conn.prepare_cached(&sql)?.execute(params_from_iter(row))?;
            Ok(())
        })
    }

    /// All changes, by the library call.
    pub fn changes(&self) -> Result<Changes> {
        let engine = self.engine()?;
        let window = Window {
            since: Version::or_zero(0)?,
            until: engine.db_version(&self.conn)?,
            exclude: None,
            newest_first: false,
        };
        let mut changes = Vec::new();
        let mut keep = |_, change| {
            changes.push(change);
            ControlFlow::Continue(())
        };
        engine.changes(&self.conn, window, &mut keep)?;
        Ok(Changes(changes))
    }

    /// Merges by the library call, `batch` changes a transaction.
    pub fn merge(&self, changes: &Changes, batch: usize) -> Result<()> {
        for batch in changes.0.chunks(batch) {
            self.exec("BEGIN")?;
            self.engine()?.merge(&self.conn, batch)?;
            self.exec("COMMIT")?;
        }
        Ok(())
    }
}

impl Database {
    fn engine(&self) -> Result<&Engine> {
        self.engine.as_ref().ok_or_else(|| JsError::new("plain SQLite"))
    }

    fn in_batches<T>(&self, items: &[T], batch: usize, mut work: impl FnMut(&T) -> Result<()>) -> Result<()> {
        for batch in items.chunks(batch) {
            self.exec("BEGIN")?;
            batch.iter().try_for_each(&mut work)?;
            self.exec("COMMIT")?;
        }
        Ok(())
    }
}

#[wasm_bindgen]
impl Changes {
    /// How many.
    #[wasm_bindgen(getter)]
    pub fn length(&self) -> usize {
        self.0.len()
    }
}

/// The key of a row: 16 bytes that look random, the same in every run.
#[wasm_bindgen(js_name = key)]
pub fn key_bytes(row: u32) -> Vec<u8> {
    key(row).into()
}

fn key(row: u32) -> [u8; 16] {
    let mix = |x: u64| {
        let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb)
    };
    let (high, low) = (mix(u64::from(row) + 1), mix(u64::from(row) + 0x9e37_79b9));
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}
