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

mod columns;
mod plan;
mod reads;
mod statement;
mod table;

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::Value;
use rusqlite::{Batch, Connection, fallible_iterator::FallibleIterator, params_from_iter};
use thiserror::Error;

use super::Result;
use super::quote::{identifier, join};
use super::state::State;
use columns::Columns;
pub use reads::Reads;

/// Why a query was not traced.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TraceError {
    /// It is no query, or one that cannot be traced; the text says why.
    #[error("{0}")]
    Refused(String),
    /// The database failed.
    #[error(transparent)]
    Engine(#[from] super::Error),
}

impl From<rusqlite::Error> for TraceError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error.into())
    }
}

/// Runs queries, and says which rows they read.
pub struct Tracer<'c> {
    /// Holds the virtual tables.
    queries: Connection,
    shared: Arc<Mutex<Shared>>,
    refusal: Arc<Mutex<Option<String>>>,
    replica: PhantomData<&'c Connection>,
}

/// What the virtual tables share.
struct Shared {
    /// The replica's connection; it does not own it.
    replica: Connection,
    tables: HashMap<String, Arc<Traced>>,
    reads: Reads,
}

/// A table that is traced.
#[derive(Debug)]
struct Traced {
    name: Arc<str>,
    /// The key of a row where the table is called `t`.
    key: String,
    columns: Columns,
}

impl<'c> Tracer<'c> {
    pub(super) fn new(conn: &'c Connection, state: &State, may_read: &dyn Fn(&str) -> bool) -> Result<Self> {
        let mut tables = HashMap::new();
        for table in state.tables(conn)?.all(conn)?.into_iter().filter(|table| may_read(&table.name)) {
            let traced = Traced {
                name: table.name.clone(),
                key: table.sql.key.clone(),
                columns: Columns::load(conn, &table.name)?,
            };
            tables.insert(table.name.to_string(), Arc::new(traced));
        }
        // SAFETY: the handle is open for as long as the borrow of its connection lasts.
        let replica = unsafe { Connection::from_handle(conn.handle()) }?;
        let virtual_tables: Vec<String> = tables
            .keys()
            .map(|name| format!("CREATE VIRTUAL TABLE main.{} USING crsql_traced", identifier(name)))
            .collect();
        let shared = Arc::new(Mutex::new(Shared { replica, tables, reads: Reads::default() }));
        let mut queries = Connection::open_in_memory()?;
        table::register(&queries, shared.clone())?;
        queries.execute_batch(&join(virtual_tables, ";"))?;
        let mut views = conn.prepare("SELECT sql FROM main.sqlite_schema WHERE type = 'view'")?;
        for view in views.query_map([], |row| row.get::<_, String>(0))? {
            queries.execute_batch(&view?)?;
        }
        let refusal = Arc::new(Mutex::new(None));
        let told = refusal.clone();
        queries.authorizer(Some(move |context: AuthContext<'_>| match judge(&context) {
            None => Authorization::Allow,
            Some(reason) => {
                lock(&told).get_or_insert(reason);
                Authorization::Deny
            }
        }))?;
        Ok(Self { queries, shared, refusal, replica: PhantomData })
    }

    /// Runs one query to its end, and adds the rows that it read to those of earlier ones.
    ///
    /// # Errors
    /// [`TraceError::Refused`] for what is no single query, and for one that reads tables which are not replicated.
    pub fn trace(&self, sql: &str, params: &[Value]) -> Result<(), TraceError> {
        lock(&self.refusal).take();
        let mut batch = Batch::new(&self.queries, sql);
        let refused = |error: rusqlite::Error| match lock(&self.refusal).take() {
            Some(reason) => TraceError::Refused(reason),
            None if error.to_string().contains("no such table") => {
                TraceError::Refused(format!("{error}, or it is none that is replicated and may be read"))
            }
            None => TraceError::Refused(error.to_string()),
        };
        let mut query =
            batch.next().map_err(refused)?.ok_or_else(|| TraceError::Refused("the text holds no statement".into()))?;
        if !query.readonly() || query.is_explain() != 0 || query.column_count() == 0 {
            return Err(TraceError::Refused("only a query can stand here".into()));
        }
        if query.parameter_count() != params.len() {
            let (takes, given) = (query.parameter_count(), params.len());
            return Err(TraceError::Refused(format!("the query takes {takes} parameters, and {given} were given")));
        }
        if batch.next().map_err(refused)?.is_some() {
            return Err(TraceError::Refused("only one query can stand here; send several as a list".into()));
        }
        let mut rows = query.query(params_from_iter(params)).map_err(refused)?;
        while rows.next().map_err(refused)?.is_some() {}
        Ok(())
    }

    /// What was read since this was asked last.
    pub fn take_reads(&self) -> Reads {
        std::mem::take(&mut lock(&self.shared).reads)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why something that a query does may not be done.
fn judge(context: &AuthContext<'_>) -> Option<String> {
    match context.action {
        AuthAction::Select | AuthAction::Recursive => None,
        AuthAction::Read { table_name, .. } => {
            let name = table_name.to_ascii_lowercase();
            (name.starts_with("sqlite_") || name.starts_with("pragma_") || FOREIGN.contains(&name.as_str()))
                .then(|| format!("{table_name} is not replicated, so what is read of it cannot be sent"))
        }
        AuthAction::Function { function_name } => {
            let name = function_name.to_ascii_lowercase();
            UNSTEADY
                .contains(&name.as_str())
                .then(|| format!("the function {function_name} answers otherwise in each copy"))
        }
        _ => Some("only a query can stand here".into()),
    }
}

/// Tables of SQLite's own that are there without being created, and tell of this connection.
const FOREIGN: [&str; 4] = ["bytecode", "dbstat", "fts3tokenize", "tables_used"];

/// Functions whose results no other copy can come to, or that reach beyond the query.
const UNSTEADY: [&str; 7] =
    ["changes", "fts3_tokenizer", "last_insert_rowid", "load_extension", "random", "randomblob", "total_changes"];
