//! Which rows a query reads.
//!
//! A [`Tracer`] runs queries on a connection of its own, where each replicated table is a virtual one of the same name. That
//! reads the real table on the replica's connection, and notes the keys of the rows that it hands to the query. What a
//! condition of the query rejects is not handed over, as far as SQLite tells a virtual table of its conditions.
//!
//! **Why these rows are enough.** Let a copy hold, of the replica's rows, at least those that a query was handed, and no
//! rows that the replica lacks. Let it run the query by the same plan. At each step of each loop the plan asks a table for
//! its next row under some condition on that row. The replica answered with a row that the copy holds too, and what the copy
//! holds besides would have been handed over as well, or comes later than where the query stopped. So both
//! see the same rows in the same order, and come to the same result. And the result does not depend on the plan, for a query
//! that says what it wants: one whose `LIMIT` cuts through an `ORDER BY` with ties does not.
//!
//! Nothing here understands SQL. Joins, sub-queries, aggregates, windows and recursion are traced because whatever they
//! do, they do it with rows that they read. The price is that a condition SQLite keeps to itself, such as
//! `lower(title) = 'milk'`, has the whole table read.

mod clock;
mod columns;
mod index;
mod plan;
mod reads;
mod run;
mod scans;
mod sought;
mod statement;
mod table;
mod traced;
mod visible;

use std::ffi::c_int;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::Value;
use rusqlite::{Batch, Connection, OpenFlags, Statement, fallible_iterator::FallibleIterator, params_from_iter};
use thiserror::Error;
use web_time::Instant;

use super::Result;
use super::quote::{identifier, join};
use super::state::State;
use super::table::Table;
use super::tables::Tables;
pub use index::{Found, ScanIndex};
pub use reads::Reads;
use run::{Program, Run};
pub use scans::Scans;
pub use sought::Sought;
use traced::Traced;
pub(super) use visible::visible;
pub use visible::{Reach, RowFilter};

/// Why a query was not traced.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TraceError {
    /// It is no query, or one that cannot be traced; the text says why.
    #[error("{0}")]
    Refused(String),
    /// The filter of a table cannot tell of one of its rows whether it may be read.
    #[error("the filter of {table} failed: {reason}")]
    Filter {
        /// The table.
        table: Arc<str>,
        /// What SQLite says.
        reason: String,
    },
    /// It did not come to its end in time.
    #[error("the query ran too long")]
    TookTooLong,
    /// The database failed.
    #[error(transparent)]
    Engine(#[from] super::Error),
}

impl From<rusqlite::Error> for TraceError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error.into())
    }
}

/// What a run may take.
#[derive(Clone, Copy, Debug)]
pub struct TraceLimits {
    /// When it is broken off. What it does on the replica's own connection is not: that is the caller's to limit.
    pub until: Option<Instant>,
    /// How many different rows it may read.
    pub rows: usize,
    /// How large a single value may be, in bytes.
    pub value: usize,
}

/// What a run noted.
#[derive(Debug)]
pub struct Trace {
    /// The rows that it read.
    pub reads: Reads,
    /// What it asked for, if that was to be noted.
    pub scans: Scans,
    /// Whether the rows that it reads are all that its scans find, also after other rows were written.
    pub is_simple: bool,
}

/// Runs queries, and says which rows they read.
pub struct Tracer<'c> {
    /// `None` only while it is dropped.
    kept: Option<Kept>,
    state: &'c State,
    replica: PhantomData<&'c Connection>,
}

/// The connection for queries, which the engine keeps for the next tracer.
pub(super) struct Kept {
    /// The tables that it was made from, and those of them that it has.
    tables: Arc<Tables>,
    readable: Vec<Readable>,
    /// The other virtual tables that may be read, such as indexes of words.
    indexes: Vec<String>,
    /// Holds the virtual tables.
    queries: Connection,
    shared: Arc<Mutex<Shared>>,
    seen: Arc<Mutex<Seen>>,
    until: Arc<Mutex<Option<Instant>>>,
}

/// A table that may be read, and the filter of its rows.
type Readable = (Arc<Table>, Option<RowFilter>);

/// How many are kept: for the sets of tables and rows that callers may read.
const MOST_KEPT: usize = 4;

/// What the virtual tables share.
struct Shared {
    /// The replica's connection; it does not own it.
    replica: Connection,
    tables: Vec<Arc<Traced>>,
    run: Run,
    /// The filter that failed.
    failure: Option<TraceError>,
}

impl Shared {
    /// Limits the length of patterns on the replica's connection, and returns the limit before.
    fn limit_pattern(&self, most: c_int) -> rusqlite::Result<c_int> {
        let before = self.replica.limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH)?;
        self.replica.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, most)?;
        Ok(before)
    }
}

/// What was seen of a query while it was prepared.
#[derive(Default)]
struct Seen {
    refusal: Option<String>,
    is_recursive: bool,
    /// The functions that can tell the time.
    timely: Vec<String>,
}

/// How many steps of SQLite's machine pass between two looks at the clock.
const STEPS_BETWEEN_LOOKS: c_int = 10_000;

/// The longest query, in bytes.
const MAX_QUERY: c_int = 1 << 20;
/// The longest pattern of LIKE and GLOB, in bytes: matching one takes its length times that of the text, in one step.
const MAX_PATTERN: c_int = 1000;

impl Kept {
    fn new(
        conn: &Connection,
        tables: Arc<Tables>,
        readable: Vec<Readable>,
        reach: &dyn Fn(&str) -> Reach,
    ) -> Result<Self> {
        let mut traced = Vec::new();
        for (table, filter) in &readable {
            traced.push(Arc::new(Traced::new(conn, &tables, table, filter.as_ref())?));
        }
        // SAFETY: the handle is open for as long as a tracer borrows its connection, and nothing else uses it.
        let replica = unsafe { Connection::from_handle(conn.handle()) }?;
        let virtual_tables: Vec<String> = traced
            .iter()
            .map(|table| format!("CREATE VIRTUAL TABLE main.{} USING crsql_traced", identifier(&table.name)))
            .collect();
        let shared = Arc::new(Mutex::new(Shared { replica, tables: traced, run: Run::default(), failure: None }));
        clock::register()?;
        let mut queries = Connection::open_in_memory_with_flags_and_vfs(OpenFlags::default(), clock::VFS)?;
        table::register(&queries, shared.clone())?;
        queries.execute_batch(&join(virtual_tables, ";"))?;
        let mut views = conn.prepare("SELECT sql FROM main.sqlite_schema WHERE type = 'view'")?;
        for view in views.query_map([], |row| row.get::<_, String>(0))? {
            queries.execute_batch(&view?)?;
        }
        drop(views);
        let mut indexes = conn.prepare("SELECT name FROM main.sqlite_schema WHERE sql LIKE 'CREATE VIRTUAL TABLE%'")?;
        let mut indexes = indexes.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        indexes.retain(|name| reach(name) != Reach::Nothing);
        queries.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, MAX_QUERY)?;
        queries.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, MAX_PATTERN)?;
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let told = seen.clone();
        queries.authorizer(Some(move |context: AuthContext<'_>| {
            let seen = &mut *lock(&told);
            match judge(&context, seen) {
                None => Authorization::Allow,
                Some(reason) => {
                    seen.refusal.get_or_insert(reason);
                    Authorization::Deny
                }
            }
        }))?;
        let until: Arc<Mutex<Option<Instant>>> = Arc::default();
        let end = until.clone();
        queries.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || is_over(*lock(&end))))?;
        Ok(Self { tables, readable, indexes, queries, shared, seen, until })
    }

    fn is_of(&self, tables: &Arc<Tables>, readable: &[Readable]) -> bool {
        let ours = self.readable.iter().map(|(table, filter)| (table.id, filter));
        Arc::ptr_eq(&self.tables, tables) && ours.eq(readable.iter().map(|(table, filter)| (table.id, filter)))
    }
}

impl<'c> Tracer<'c> {
    pub(super) fn new(conn: &'c Connection, state: &'c State, reach: &dyn Fn(&str) -> Reach) -> Result<Self> {
        let tables = state.tables(conn)?;
        let readable = |table: Arc<Table>| match reach(&table.name) {
            Reach::Nothing => None,
            Reach::Rows(filter) => Some((table, Some(filter))),
            Reach::All => Some((table, None)),
        };
        let readable: Vec<Readable> = tables.all(conn)?.into_iter().filter_map(readable).collect();
        let kept = {
            let mut tracers = state.tracers.borrow_mut();
            tracers.retain(|kept| Arc::ptr_eq(&kept.tables, &tables));
            tracers.iter().position(|kept| kept.is_of(&tables, &readable)).map(|at| tracers.remove(at))
        };
        let kept = match kept {
            Some(kept) => kept,
            None => Kept::new(conn, tables, readable, reach)?,
        };
        Ok(Self { kept: Some(kept), state, replica: PhantomData })
    }

    /// Runs one query to its end. With `notes_scans` it also notes what it asked for, so that it need not be run again after
    /// every write.
    ///
    /// # Errors
    /// [`TraceError::Refused`] for what is no single query, for one that reads tables which are not replicated, or more rows
    /// than it may, and for one whose result changes by itself; [`TraceError::TookTooLong`].
    pub fn trace(
        &mut self,
        sql: &str,
        params: &[Value],
        limits: TraceLimits,
        notes_scans: bool,
    ) -> Result<Trace, TraceError> {
        let scan = |query: &mut Statement<'_>| {
            let mut rows = query.query(params_from_iter(params))?;
            while rows.next()?.is_some() {}
            Ok(())
        };
        let (_, program, run) = self.run(sql, limits, notes_scans, Some(params.len()), scan)?;
        Ok(run.end(program))
    }

    /// Runs one query, and hands it to `look` for its rows. It is handed no rows of the tables but those that may be read.
    ///
    /// # Errors
    /// As for [`trace`](Self::trace).
    pub(crate) fn look<T>(
        &mut self,
        sql: &str,
        limits: TraceLimits,
        look: impl FnOnce(&mut Statement<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, TraceError> {
        self.run(sql, limits, false, None, look).map(|(looked, ..)| looked)
    }

    fn run<T>(
        &mut self,
        sql: &str,
        limits: TraceLimits,
        notes_scans: bool,
        params: Option<usize>,
        look: impl FnOnce(&mut Statement<'_>) -> rusqlite::Result<T>,
    ) -> Result<(T, Program, Run), TraceError> {
        let Some(kept) = &mut self.kept else { return Err(TraceError::Refused("the tracer ended".into())) };
        let Kept { indexes, queries, shared, seen, until, .. } = kept;
        queries.set_limit(Limit::SQLITE_LIMIT_LENGTH, c_int::try_from(limits.value).unwrap_or(c_int::MAX))?;
        *lock(seen) = Seen::default();
        *lock(until) = limits.until;
        lock(shared).run = Run::new(limits.rows, notes_scans);
        lock(shared).failure = None;
        // Conditions that a table takes up are checked there.
        let pattern = lock(shared).limit_pattern(MAX_PATTERN)?;
        clock::was_asked();
        let outcome = run(queries, sql, params, look, &|error| refusal(error, seen, indexes));
        lock(shared).limit_pattern(pattern)?;
        let run = std::mem::take(&mut lock(shared).run);
        let seen = std::mem::take(&mut *lock(seen));
        if clock::was_asked() {
            let by = join(seen.timely, ", ");
            let reason = format!("its result changes as time goes on ({by}): give it the time as a parameter");
            return Err(TraceError::Refused(reason));
        }
        let failure = lock(shared).failure.take();
        match outcome {
            Err(_) if is_over(limits.until) => Err(TraceError::TookTooLong),
            Err(error) => Err(failure.unwrap_or(error)),
            Ok(looked) if notes_scans && !seen.is_recursive => Ok((looked, Program::of(queries, sql), run)),
            Ok(looked) => Ok((looked, Program::Other, run)),
        }
    }
}

/// The connection is kept for the next one.
impl Drop for Tracer<'_> {
    fn drop(&mut self) {
        let mut tracers = self.state.tracers.borrow_mut();
        if tracers.len() == MOST_KEPT {
            tracers.remove(0);
        }
        tracers.extend(self.kept.take());
    }
}

fn run<T>(
    queries: &Connection,
    sql: &str,
    params: Option<usize>,
    look: impl FnOnce(&mut Statement<'_>) -> rusqlite::Result<T>,
    refused: &dyn Fn(rusqlite::Error) -> TraceError,
) -> Result<T, TraceError> {
    let mut batch = Batch::new(queries, sql);
    let mut query =
        batch.next().map_err(refused)?.ok_or_else(|| TraceError::Refused("the text holds no statement".into()))?;
    if !query.readonly() || query.is_explain() != 0 || query.column_count() == 0 {
        return Err(TraceError::Refused("only a query can stand here".into()));
    }
    if let Some(given) = params
        && given != query.parameter_count()
    {
        let takes = query.parameter_count();
        return Err(TraceError::Refused(format!("the query takes {takes} parameters, and {given} were given")));
    }
    if batch.next().map_err(refused)?.is_some() {
        return Err(TraceError::Refused("only one query can stand here; send several as a list".into()));
    }
    look(&mut query).map_err(refused)
}

/// What an error says to whoever wrote the query.
fn refusal(error: rusqlite::Error, seen: &Mutex<Seen>, indexes: &[String]) -> TraceError {
    let text = error.to_string();
    TraceError::Refused(match (lock(seen).refusal.take(), text.split_once("no such table: ")) {
        (Some(reason), _) => reason,
        (None, Some((_, rest))) => {
            let is_missing = |name: &&String| {
                rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
                    && !rest
                        .get(name.len()..)
                        .unwrap_or_default()
                        .starts_with(|next: char| next.is_alphanumeric() || next == '_')
            };
            match indexes.iter().find(is_missing) {
                Some(name) => format!(
                    "{name} is an index of this copy, which others make for themselves: ask for the rows that it indexes, and search where they are"
                ),
                None => format!("{text}, or it is none that is replicated and may be read"),
            }
        }
        (None, None) => text,
    })
}

fn is_over(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() > until)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why something that a query does may not be done.
fn judge(context: &AuthContext<'_>, seen: &mut Seen) -> Option<String> {
    match context.action {
        AuthAction::Select => None,
        AuthAction::Recursive => {
            seen.is_recursive = true;
            None
        }
        AuthAction::Read { table_name, .. } => {
            let name = table_name.to_ascii_lowercase();
            (name.starts_with("sqlite_") || name.starts_with("pragma_") || FOREIGN.contains(&name.as_str()))
                .then(|| format!("{table_name} is not replicated, so what is read of it cannot be sent"))
        }
        AuthAction::Function { function_name } => {
            let name = function_name.to_ascii_lowercase();
            if TIMELY.contains(&name.as_str()) && !seen.timely.contains(&name) {
                seen.timely.push(name.clone());
            }
            UNSTEADY
                .contains(&name.as_str())
                .then(|| format!("the function {function_name} answers otherwise in each copy"))
        }
        _ => Some("only a query can stand here".into()),
    }
}

/// Whether a function, by its name in lower case, comes to the same result whenever and wherever it is called.
pub(crate) fn is_steady(function: &str) -> bool {
    !TIMELY.contains(&function) && !UNSTEADY.contains(&function)
}

/// Tables of SQLite's own that are there without being created, and tell of this connection.
const FOREIGN: [&str; 4] = ["bytecode", "dbstat", "fts3tokenize", "tables_used"];

/// Functions whose results no other copy can come to, or that reach beyond the query.
const UNSTEADY: [&str; 7] =
    ["changes", "fts3_tokenizer", "last_insert_rowid", "load_extension", "random", "randomblob", "total_changes"];

/// Functions that tell the time, where they are asked for it.
const TIMELY: [&str; 10] = [
    "current_date",
    "current_time",
    "current_timestamp",
    "date",
    "datetime",
    "julianday",
    "strftime",
    "time",
    "timediff",
    "unixepoch",
];
