//! Filters as they are used in one database.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Batch, Connection, Statement};

use super::super::authorizer::{Authorizer, Refusal, Rules, Seen};
use super::super::error::Error;
use super::super::program;
use super::super::schema::is_fault_of_sql;
use super::super::tables::Tables;
use super::{Filter, FilterParams, RowFilters};
use crate::crr::quote::identifier;
use crate::crr::{self, Engine, Reach, RowFilter};

/// Filters that were found to be expressions over the tables of a database, with a value for each parameter.
#[derive(Debug, Default)]
pub(in crate::sync) struct Filters {
    by_table: HashMap<Arc<str>, RowFilter>,
}

impl Filters {
    /// Looks at all filters. One that cannot be used is an error.
    pub(in crate::sync) fn compile(
        conn: &Connection,
        engine: &Engine,
        authorizer: &Authorizer,
        filters: &RowFilters,
    ) -> Result<Self, Error> {
        let tables = engine.table_names(conn)?;
        let mut by_table = HashMap::new();
        for (name, filter) in filters.0.iter() {
            let table = tables.iter().find(|table| table.eq_ignore_ascii_case(name));
            let Some(table) = table.cloned() else {
                return Err(unusable(name, "there is no replicated table of this name"));
            };
            let filter = compile(conn, authorizer, &table, filter)?;
            by_table.insert(table, filter);
        }
        Ok(Self { by_table })
    }

    /// The same, where there may be none.
    pub(in crate::sync) fn compile_all(
        conn: &Connection,
        engine: &Engine,
        authorizer: &Authorizer,
        filters: Option<&RowFilters>,
    ) -> Result<Self, Error> {
        filters.map_or_else(|| Ok(Self::default()), |filters| Self::compile(conn, engine, authorizer, filters))
    }

    /// What of a table may be read by whoever may use these `tables`.
    pub(in crate::sync) fn reach(&self, tables: Option<&Tables>, table: &str) -> Reach {
        match self.by_table.get(table) {
            _ if tables.is_some_and(|tables| !tables.contains(table)) => Reach::Nothing,
            Some(filter) => Reach::Rows(filter.clone()),
            None => Reach::All,
        }
    }

    /// The filter of a table.
    pub(in crate::sync) fn of(&self, table: &str) -> Option<&RowFilter> {
        self.by_table.get(table)
    }
}

/// Makes sure that a filter is one expression, whatever stands around it, and gives its parameters their values.
fn compile(conn: &Connection, authorizer: &Authorizer, table: &str, filter: &Filter) -> Result<RowFilter, Error> {
    let (name, sql) = (identifier(table), &filter.sql);
    // What closes a parenthesis that it did not open is none without them, and what goes on behind an expression none within.
    prepare(conn, authorizer, table, &format!("SELECT 1 FROM main.{name} WHERE\n{sql}\n"), |_, _| ())?;
    let within = format!("SELECT 1 FROM main.{name} WHERE (\n{sql}\n)");
    let (names, is_steady) = prepare(conn, authorizer, table, &within, |statement, seen| {
        let names = 1..=statement.parameter_count();
        let names: Vec<_> = names.map(|at| statement.parameter_name(at).map(str::to_owned)).collect();
        (names, seen.functions.iter().all(|function| crr::is_steady(function)))
    })?;
    let params = params(&names, &filter.params).map_err(|why| unusable(table, why))?;
    let depends_on = if is_steady { depends_on(conn, table, sql)? } else { None };
    Ok(RowFilter { sql: sql.clone(), params, depends_on })
}

/// Prepares one statement by the rules for SQL from outside.
fn prepare<T>(
    conn: &Connection,
    authorizer: &Authorizer,
    table: &str,
    sql: &str,
    look: impl FnOnce(&Statement<'_>, &Seen) -> T,
) -> Result<T, Error> {
    let mut batch = Batch::new(conn, sql);
    let mut next = || match authorizer.prepare(&Rules::Rows, &mut batch) {
        Ok(statement) => Ok(statement),
        Err(Refusal::Rule(reason)) => Err(unusable(table, reason)),
        Err(Refusal::Sqlite(error)) if is_fault_of_sql(&error) => Err(unusable(table, error.to_string())),
        Err(Refusal::Sqlite(error)) => Err(error.into()),
    };
    match (next()?, next()?) {
        (Some((statement, seen)), None) if statement.readonly() => Ok(look(&statement, &seen)),
        _ => Err(unusable(table, "it is no expression")),
    }
}

/// The values of the parameters that have these names, each given and no other.
fn params(names: &[Option<String>], given: &FilterParams) -> Result<Vec<Value>, String> {
    match given {
        FilterParams::List(values) if values.len() == names.len() => {
            Ok(values.iter().map(|value| value.0.clone()).collect())
        }
        FilterParams::List(values) => {
            Err(format!("it takes {} parameters, and {} were given", names.len(), values.len()))
        }
        FilterParams::Named(values) => {
            let value = |name: &Option<String>| {
                let name = name.as_deref().and_then(|name| name.get(1..)).unwrap_or_default();
                let value = values.get(name).ok_or_else(|| format!("its parameter {name:?} was not given"))?;
                Ok(value.0.clone())
            };
            let all = names.iter().map(value).collect::<Result<Vec<_>, String>>()?;
            let is_taken = |name: &str| names.iter().flatten().any(|known| known.get(1..) == Some(name));
            match values.keys().find(|name| !is_taken(name)) {
                Some(name) => Err(format!("it has no parameter {name:?}")),
                None => Ok(all),
            }
        }
    }
}

/// The tables that the sub-queries of a filter read; `None` where that cannot be said. The row itself is put in its place, so
/// that reading the table again is told from reading the row.
fn depends_on(conn: &Connection, table: &str, filter: &str) -> Result<Option<BTreeSet<String>>, Error> {
    let name = identifier(table);
    let mut info = conn.prepare("SELECT name FROM pragma_table_xinfo(?, 'main')")?;
    let columns = info.query_map([table], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    // Columns come first: of two names that are one the first is meant.
    let columns = columns.iter().map(String::as_str).chain(["rowid", "_rowid_", "oid"]);
    let row: Vec<String> = columns.map(|column| format!("?1 AS {}", identifier(column))).collect();
    let sql = format!("SELECT (\n{filter}\n) FROM (SELECT {}) AS {name}", row.join(", "));
    match program::reads(conn, &sql) {
        Ok(reads) => Ok(reads.map(|reads| reads.tables)),
        Err(error) if is_fault_of_sql(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn unusable(table: &str, reason: impl Into<String>) -> Error {
    Error::Filter { table: table.to_owned(), reason: reason.into() }
}
