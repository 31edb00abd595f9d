//! Running SQL from outside.

mod filtered;

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::limits::Limit;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Batch, Connection, Statement, TransactionBehavior};
use serde::{Deserialize, Serialize};
use web_time::Instant;

use super::answers::{self, RequestKey};
use super::authorizer::{Authorizer, Refusal, Rules};
use super::deadline::Deadline;
use super::error::{Error, SqlError};
use super::json::JsonValue;
use super::replica::Replica;
use super::schema::is_fault_of_sql;
use super::tables::Tables;
use super::{outbox, program};
use crate::crr::{Sought, TraceLimits};

/// One statement and its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sql {
    /// One statement.
    pub sql: String,
    /// The values of `?1`, `?2`, …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<JsonValue>,
}

/// What a request's SQL may take.
#[derive(Clone, Debug)]
pub struct SqlLimits {
    /// Rows of all results together.
    pub rows: usize,
    /// Bytes of all results together.
    pub bytes: usize,
    /// Time of all statements together.
    pub time: Duration,
    /// Whether nothing may be written.
    pub read_only: bool,
    /// The only tables that may be read and written; `None` for all.
    pub tables: Option<Tables>,
}

/// The result of one statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultSet {
    /// The names of the columns; none for a statement that returns nothing.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<JsonValue>>,
    /// How many rows were inserted, updated or deleted.
    pub changes: u64,
}

/// What the results of statements depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependencies {
    /// The tables: while nothing changes in them, the results stay as they are.
    pub tables: BTreeSet<String>,
    /// The rows of these tables, there or not, that alone matter, by their packed keys; `None` where others may, too.
    pub rows: Option<Sought>,
}

/// Looking for rows by their keys finds few and takes little time, or is not worth it.
const MOST_SOUGHT: usize = 1000;
const SEEKING: Duration = Duration::from_millis(50);

/// The longest statement, in bytes: what SQLite makes of one while it reads it takes many times as much.
const MAX_STATEMENT: usize = 4 << 20;
/// The longest pattern of LIKE and GLOB, in bytes: matching one takes its length times that of the text, in one step.
const MAX_PATTERN: usize = 1000;
/// What a single value may take at least, in bytes, however little may be answered.
const MIN_VALUE: usize = 1 << 20;

impl Replica {
    /// Runs statements as one transaction: all of them, or none.
    pub fn sql(&mut self, statements: &[Sql], limits: SqlLimits) -> Result<Vec<ResultSet>, SqlError> {
        self.sql_once(None, statements, limits)
    }

    /// Like [`sql`](Self::sql), but statements that wrote are not run again when they come again with the same key: what
    /// was answered then is answered again.
    pub fn sql_once(
        &mut self,
        key: Option<&RequestKey>,
        statements: &[Sql],
        limits: SqlLimits,
    ) -> Result<Vec<ResultSet>, SqlError> {
        let deadline = Deadline::begin(&mut self.conn, limits.time).map_err(Error::from)?;
        let result = self.run(key, statements, limits);
        let passed = deadline.end(&mut self.conn).map_err(Error::from)?;
        result.map_err(|error| error.unless_too_long(passed))
    }

    /// What these statements, each allowed and run before, depend on. `None` where changes do not tell: a statement writes, or
    /// reads something else than replicated tables.
    pub fn depends_on(&self, statements: &[Sql]) -> Result<Option<Dependencies>, Error> {
        let (mut tables, mut is_direct) = (BTreeSet::new(), true);
        for statement in statements {
            let Some(reads) = program::reads(&self.conn, &statement.sql)? else { return Ok(None) };
            tables.extend(reads.tables);
            is_direct &= reads.is_direct;
        }
        let rows = if is_direct { self.sought(statements, &tables)? } else { None };
        Ok(Some(Dependencies { tables, rows }))
    }

    /// The rows that statements look for, where they do nothing else.
    fn sought(&self, statements: &[Sql], tables: &BTreeSet<String>) -> Result<Option<Sought>, Error> {
        let mut tracer = self.engine.tracer(&self.conn, &|name| tables.contains(name).into())?;
        let mut all = Sought::new();
        for Sql { sql, params } in statements {
            let params: Vec<Value> = params.iter().map(|param| param.0.clone()).collect();
            let limits = TraceLimits { until: Some(Instant::now() + SEEKING), rows: MOST_SOUGHT, value: usize::MAX };
            let Some(sought) = tracer.trace(sql, &params, limits, true).ok().and_then(|trace| trace.sought()) else {
                return Ok(None);
            };
            for (table, keys) in sought {
                all.entry(table).or_default().extend(keys);
            }
        }
        Ok(Some(all))
    }

    fn run(
        &mut self,
        key: Option<&RequestKey>,
        statements: &[Sql],
        limits: SqlLimits,
    ) -> Result<Vec<ResultSet>, SqlError> {
        if limits.read_only {
            // Inside the caller's snapshot, if there is one.
            let snapshot = self.conn.savepoint().map_err(Error::from)?;
            return run_all(&snapshot, &self.authorizer, statements, limits).map(|(results, _)| results);
        }
        // A write transaction from the start: one that becomes it later could find that another has overtaken it.
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::from)?;
        if let Some(known) = key.map(|key| answers::recall(&transaction, key)).transpose()?.flatten() {
            return Ok(known);
        }
        let (results, writes) = run_all(&transaction, &self.authorizer, statements, limits)?;
        if writes {
            outbox::mark_unsent(&transaction, None)?;
            if let Some(key) = key {
                answers::keep(&transaction, key, &results)?;
            }
        }
        transaction.commit().map_err(|error| Failure::Sqlite(error).at(statements.len()))?;
        Ok(results)
    }
}

/// The results of statements, and whether one of them writes.
fn run_all(
    conn: &Connection,
    authorizer: &Authorizer,
    statements: &[Sql],
    limits: SqlLimits,
) -> Result<(Vec<ResultSet>, bool), SqlError> {
    let _tight = Tight::begin(conn, limits.bytes).map_err(Error::from)?;
    let mut results = Vec::with_capacity(statements.len());
    let mut room = Room { rows: limits.rows, bytes: limits.bytes };
    let mut writes = false;
    let rules = limits.tables.map_or(Rules::Rows, Rules::RowsOf);
    for (index, sql) in statements.iter().enumerate() {
        let fail = |reason: Failure| reason.at(index + 1);
        let mut batch = Batch::new(conn, &sql.sql);
        let mut statement = prepare(authorizer, &rules, &mut batch).map_err(fail)?;
        if limits.read_only && !statement.readonly() {
            return Err(SqlError::ReadOnly { statement: index + 1 });
        }
        if let Rules::RowsOf(tables) = &rules {
            check_program(conn, &statement, &sql.sql, tables).map_err(fail)?;
        }
        let (columns, rows) = run_one(&mut statement, &sql.params, &mut room).map_err(fail)?;
        let changes = if statement.readonly() { 0 } else { conn.changes() };
        writes |= !statement.readonly();
        drop(statement);
        if !matches!(authorizer.prepare(&rules, &mut batch), Ok(None)) {
            return Err(fail(Failure::refused("only one statement can stand here; send several as a list")));
        }
        results.push(ResultSet { columns, rows, changes });
    }
    Ok((results, writes))
}

/// SQLite's own limits, as low as statements from outside need them. They count for what cannot be broken off, being one step.
struct Tight<'conn> {
    conn: &'conn Connection,
    before: Vec<(Limit, i32)>,
}

impl<'conn> Tight<'conn> {
    /// `answer` is how many bytes may be answered: a value that is larger is of no use.
    fn begin(conn: &'conn Connection, answer: usize) -> rusqlite::Result<Self> {
        let mut tight = Self { conn, before: Vec::new() };
        for (limit, value) in [
            (Limit::SQLITE_LIMIT_LENGTH, answer.max(MIN_VALUE)),
            (Limit::SQLITE_LIMIT_SQL_LENGTH, MAX_STATEMENT),
            (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, MAX_PATTERN),
        ] {
            let before = conn.limit(limit)?;
            conn.set_limit(limit, before.min(i32::try_from(value).unwrap_or(i32::MAX)))?;
            tight.before.push((limit, before));
        }
        Ok(tight)
    }
}

impl Drop for Tight<'_> {
    fn drop(&mut self) {
        for (limit, before) in &self.before {
            // It was a limit before, so it can be one again.
            let _ = self.conn.set_limit(*limit, *before);
        }
    }
}

/// A failure of a statement that is still to be told which one it was.
enum Failure {
    Refused(String),
    Sqlite(rusqlite::Error),
}

impl Failure {
    fn refused(reason: impl Into<String>) -> Self {
        Self::Refused(reason.into())
    }

    fn at(self, statement: usize) -> SqlError {
        match self {
            Self::Refused(reason) => SqlError::Refused { statement, reason },
            Self::Sqlite(error) if is_fault_of_sql(&error) => {
                SqlError::Refused { statement, reason: error.to_string() }
            }
            Self::Sqlite(error) => Error::from(error).into(),
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn prepare<'conn>(
    authorizer: &Authorizer,
    rules: &Rules,
    batch: &mut Batch<'conn, '_>,
) -> Result<Statement<'conn>, Failure> {
    match authorizer.prepare(rules, batch) {
        Ok(Some((statement, _))) => Ok(statement),
        Ok(None) => Err(Failure::refused("the text holds no statement")),
        Err(Refusal::Rule(reason)) => Err(Failure::Refused(reason)),
        Err(Refusal::Sqlite(error)) => Err(Failure::Sqlite(error)),
    }
}

/// Refuses a statement whose program opens other tables.
fn check_program(conn: &Connection, statement: &Statement<'_>, sql: &str, tables: &Tables) -> Result<(), Failure> {
    if statement.is_explain() != 0 {
        return Err(Failure::refused("this caller may not have statements explained"));
    }
    match program::opens_besides(conn, sql, tables)? {
        Some(table) => Err(Failure::refused(format!("the table {table} may not be used by this caller"))),
        None => Ok(()),
    }
}

/// What is left of the limits.
struct Room {
    rows: usize,
    bytes: usize,
}

type Table = (Vec<String>, Vec<Vec<JsonValue>>);

fn run_one(statement: &mut Statement<'_>, params: &[JsonValue], room: &mut Room) -> Result<Table, Failure> {
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let count = statement.parameter_count();
    if params.len() != count {
        let reason = format!("the statement takes {count} parameters, and {} were given", params.len());
        return Err(Failure::Refused(reason));
    }
    for (index, param) in params.iter().enumerate() {
        statement.raw_bind_parameter(index + 1, &param.0)?;
    }
    let mut table = Vec::new();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        room.rows = room
            .rows
            .checked_sub(1)
            .ok_or_else(|| Failure::refused(format!("the result has more than {} rows; add a LIMIT", table.len())))?;
        let mut cells = Vec::with_capacity(columns.len());
        for (index, column) in columns.iter().enumerate() {
            let value = owned(row.get_ref(index)?).ok_or_else(|| {
                Failure::refused(format!("the text in column {column:?} is not UTF-8; CAST it AS BLOB"))
            })?;
            room.bytes = room
                .bytes
                .checked_sub(size_of(&value))
                .ok_or_else(|| Failure::refused("the result has too many bytes; add a LIMIT"))?;
            cells.push(JsonValue(value));
        }
        table.push(cells);
    }
    Ok((columns, table))
}

/// The value, unless it is text that is no UTF-8.
fn owned(value: ValueRef<'_>) -> Option<Value> {
    Some(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::Integer(integer),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Text(text) => Value::Text(std::str::from_utf8(text).ok()?.to_owned()),
        ValueRef::Blob(blob) => Value::Blob(blob.to_owned()),
    })
}

fn size_of(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len() + 8,
        Value::Blob(blob) => 2 * blob.len() + 8,
        _ => 8,
    }
}
