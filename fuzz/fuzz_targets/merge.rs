//! Malformed changes: never a panic, and an error leaves the database as it was.
#![no_main]

use std::ops::ControlFlow;

use arbitrary::Arbitrary;
use crsql_sync::crr::{CausalLength, Change, ColVersion, Engine, Seq, SiteId, Version, Window, pack};
use libfuzzer_sys::fuzz_target;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

/// A key that is the rowid; a key with an index of its own; keys alone; names that need quotes; constraints.
const SCHEMAS: [&str; 5] = [
    "CREATE TABLE t (id INTEGER PRIMARY KEY NOT NULL, x, y DEFAULT 7)",
    "CREATE TABLE t (id TEXT NOT NULL, part INT NOT NULL, x INTEGER, y TEXT, PRIMARY KEY (id, part))",
    "CREATE TABLE t (id NOT NULL, x NOT NULL, PRIMARY KEY (x, id))",
    "CREATE TABLE t (\"i\"\"d\" BLOB PRIMARY KEY NOT NULL, x, y REAL, \"order\", rowid TEXT)",
    "CREATE TABLE t (id ANY PRIMARY KEY NOT NULL, x TEXT CHECK (x IS NOT '13'), y INTEGER NOT NULL DEFAULT 1) STRICT",
];
const TABLES: [&str; 4] = ["t", "T", "crsql_log", ""];
const COLUMNS: [&str; 8] = ["-1", "x", "y", "id", "order", "rowid", "X", ""];
const KEYS: [&[u8]; 8] = [
    b"\x01\x09\x01", b"\x01\x09\x02", b"\x02\x0b\x01a\x09\x01", b"\x02\x09\x01\x09\x02", b"\x01\x0b\x01a", b"\x01\x0c\x01\xff",
    b"\x02\x0b\x01b\x05", b"\x01\x02\x3f\xf0\0\0\0\0\0\0",
];
const NUMBERS: [i64; 12] = [0, 1, 2, 3, 4, 5, -1, i64::MIN, i64::MAX, 1 << 53, (1 << 53) - 1, 1 << 32];
const WRITES: [&str; 8] = [
    "INSERT OR REPLACE INTO t VALUES (1, 1, 'a')",
    "INSERT OR IGNORE INTO t VALUES ('a', 1, 1, 'a')",
    "INSERT OR IGNORE INTO t VALUES (1, 2)",
    "INSERT OR REPLACE INTO t VALUES (x'ff', 1, 1.5, 'a', 'b')",
    "UPDATE t SET x = 2",
    "DELETE FROM t",
    "UPDATE OR REPLACE t SET id = 2 WHERE id = 1",
    "UPDATE t SET y = 3",
];

#[derive(Arbitrary, Debug)]
struct Input {
    schema: u8,
    equal_values: bool,
    prior: Vec<u8>,
    in_transaction: bool,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Insert([Field; 9]),
    Merge(Vec<Typed>),
    Unpack(Vec<u8>),
    UnpackBySql(Field),
    Write(u8),
    Commit,
}

/// A value in SQL, of any type and any bytes, often one that means something at its place.
#[derive(Arbitrary, Debug)]
enum Field {
    Known(u8),
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Field {
    fn at(&self, place: usize) -> Field {
        let Field::Known(choice) = *self else {
            return self.clone();
        };
        let choice = usize::from(choice);
        match place {
            0 => Field::Text(TABLES[choice % TABLES.len()].into()),
            1 => Field::Blob(KEYS[choice % KEYS.len()].into()),
            2 => Field::Text(COLUMNS[choice % COLUMNS.len()].into()),
            6 => Field::Blob(vec![choice as u8 % 3; 16]),
            _ => Field::Integer(NUMBERS[choice % NUMBERS.len()]),
        }
    }
}

impl Clone for Field {
    fn clone(&self) -> Self {
        match self {
            Field::Known(choice) => Field::Known(*choice),
            Field::Null => Field::Null,
            Field::Integer(i) => Field::Integer(*i),
            Field::Real(r) => Field::Real(*r),
            Field::Text(bytes) => Field::Text(bytes.clone()),
            Field::Blob(bytes) => Field::Blob(bytes.clone()),
        }
    }
}

impl ToSql for Field {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Field::Known(choice) => ValueRef::Integer((*choice).into()),
            Field::Null => ValueRef::Null,
            Field::Integer(i) => ValueRef::Integer(*i),
            Field::Real(r) => ValueRef::Real(*r),
            Field::Text(bytes) => ValueRef::Text(bytes),
            Field::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// A change that the library's types allow.
#[derive(Arbitrary, Debug)]
struct Typed {
    table: u8,
    pk: Field,
    cid: u8,
    val: Field,
    counters: [Counter; 4],
    site: u8,
}

#[derive(Arbitrary, Debug)]
enum Counter {
    Known(u8),
    Any(i64),
}

impl Counter {
    fn get(&self) -> i64 {
        match *self {
            Counter::Known(choice) => NUMBERS[usize::from(choice) % NUMBERS.len()],
            Counter::Any(number) => number,
        }
    }
}

impl Typed {
    fn change(&self) -> Option<Change> {
        let [col_version, version, cl, seq] = &self.counters;
        let pk = match self.pk.at(1) {
            Field::Blob(bytes) | Field::Text(bytes) => bytes,
            _ => Vec::new(),
        };
        let val = match self.val.at(3) {
            Field::Integer(i) => Value::Integer(i),
            Field::Real(r) => Value::Real(r),
            Field::Text(bytes) => Value::Text(String::from_utf8_lossy(&bytes).into()),
            Field::Blob(bytes) => Value::Blob(bytes),
            Field::Null | Field::Known(_) => Value::Null,
        };
        Some(Change {
            table: TABLES[usize::from(self.table) % TABLES.len()].into(),
            pk: pk.into(),
            cid: COLUMNS[usize::from(self.cid) % COLUMNS.len()].into(),
            val,
            col_version: ColVersion::new(col_version.get()).ok()?,
            version: Version::new(version.get()).ok()?,
            site: SiteId::new([self.site % 3; 16]),
            cl: CausalLength::new(cl.get()).ok()?,
            seq: Seq::new(seq.get()).ok()?,
        })
    }
}

struct Database {
    conn: Connection,
    engine: Engine,
}

impl Database {
    fn new(schema: usize, equal_values: bool) -> Self {
        let conn = Connection::open_in_memory().unwrap();
        let engine = Engine::install(&conn).unwrap();
        conn.execute_batch(&format!("{}; SELECT crsql_as_crr('t')", SCHEMAS[schema])).unwrap();
        engine.set_merge_equal_values(&conn, equal_values).unwrap();
        Self { conn, engine }
    }

    fn rows(&self, sql: &str) -> Vec<String> {
        let mut statement = self.conn.prepare_cached(sql).unwrap();
        let columns = statement.column_count();
        let mut found = statement.query([]).unwrap();
        let mut rows = Vec::new();
        while let Some(row) = found.next().unwrap() {
            rows.push((0..columns).map(|i| format!("{:?} ", row.get_ref(i).unwrap())).collect());
        }
        rows
    }

    fn content(&self) -> Vec<String> {
        self.rows("SELECT * FROM t ORDER BY 1, 2")
    }

    /// Everything that can be seen of the database.
    fn snapshot(&self) -> Vec<String> {
        let mut all = self.content();
        all.extend(self.rows("SELECT *, site_version FROM crsql_changes"));
        all.extend(self.rows("SELECT crsql_db_version(), crsql_rows_impacted()"));
        all
    }

    fn changes(&self) -> Vec<Change> {
        let until = Version::or_zero((1 << 53) - 1).unwrap();
        let window = Window { since: Version::ZERO, until, exclude: None, newest_first: false };
        let mut changes = Vec::new();
        let mut keep = |_, change| {
            changes.push(change);
            ControlFlow::Continue(())
        };
        self.engine.changes(&self.conn, window, &mut keep).unwrap();
        changes
    }

    fn run(&self, sql: &str) {
        self.conn.execute_batch(sql).unwrap();
    }

    /// What a caller of [`Engine::merge`] does.
    fn merge(&self, changes: &[Change]) -> bool {
        self.run("SAVEPOINT merge");
        let merged = self.engine.merge(&self.conn, changes).is_ok();
        self.run(if merged { "RELEASE merge" } else { "ROLLBACK TO merge; RELEASE merge" });
        merged
    }

    /// Whether it was taken.
    fn step(&self, step: &Step) -> bool {
        match step {
            Step::Insert(fields) => {
                let fields = fields.iter().enumerate().map(|(place, field)| field.at(place));
                let sql = "INSERT INTO crsql_changes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
                self.conn.prepare_cached(sql).unwrap().execute(params_from_iter(fields)).is_ok()
            }
            Step::Merge(typed) => self.merge(&typed.iter().filter_map(Typed::change).collect::<Vec<_>>()),
            Step::Unpack(bytes) => {
                if let Ok(values) = pack::unpack(bytes) {
                    // Compared as text: NaN is not equal to itself.
                    assert_eq!(format!("{:?}", pack::pack(&values).unwrap()), format!("{bytes:?}"));
                }
                true
            }
            Step::UnpackBySql(field) => {
                let prepared = self.conn.prepare_cached("SELECT count(*) FROM crsql_unpack_columns(?)");
                prepared.is_ok_and(|mut statement| statement.query_row([field.at(1)], |_| Ok(())).is_ok())
            }
            // A row of the last incarnation that can be counted cannot be deleted, which shows when clocks are written.
            Step::Write(choice) => {
                let write = WRITES[usize::from(*choice) % WRITES.len()];
                self.run("SAVEPOINT write");
                let written = self.conn.execute_batch(&format!("{write}; SELECT count(*) FROM crsql_changes")).is_ok();
                self.run(if written { "RELEASE write" } else { "ROLLBACK TO write; RELEASE write" });
                written
            }
            Step::Commit => true,
        }
    }
}

fuzz_target!(|input: Input| {
    let schema = usize::from(input.schema) % SCHEMAS.len();
    let database = Database::new(schema, input.equal_values);
    for choice in input.prior.iter().take(8) {
        database.step(&Step::Write(*choice));
    }
    if input.in_transaction {
        database.run("BEGIN");
    }
    for step in input.steps.iter().take(24) {
        if matches!(step, Step::Commit) && input.in_transaction {
            database.run("COMMIT; BEGIN");
        }
        let before = database.snapshot();
        if !database.step(step) {
            assert_eq!(database.snapshot(), before, "{step:?}");
        }
        assert_eq!(database.conn.is_autocommit(), !input.in_transaction);
    }
    if input.in_transaction {
        database.run("COMMIT");
    }
    assert_eq!(database.rows("PRAGMA integrity_check"), [integrity_ok()]);
    let copy = Database::new(schema, input.equal_values);
    assert!(copy.merge(&database.changes()), "a copy refuses what was taken");
    assert_eq!(copy.content(), database.content());
});

fn integrity_ok() -> String {
    format!("{:?} ", ValueRef::Text(b"ok"))
}
