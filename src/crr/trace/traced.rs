use std::ffi::c_int;
use std::sync::Arc;

use rusqlite::Connection;

use super::super::Result;
use super::super::table::Table;
use super::super::tables::Tables;
use super::columns::Columns;
use super::scans::Scalar;
use super::visible::{self, RowFilter};

/// A table that is traced.
#[derive(Debug)]
pub(super) struct Traced {
    pub(super) id: i64,
    pub(super) name: Arc<str>,
    /// The key of a row where the table is called `t`.
    pub(super) key: String,
    /// The condition by which a row has a key.
    pub(super) has_key: String,
    pub(super) columns: Columns,
    /// The table, or those of its rows that meet its filter, as `t`.
    pub(super) source: String,
    pub(super) filter: Option<Filter>,
}

/// The condition that holds for all rows that are read.
#[derive(Debug)]
pub(super) struct Filter {
    /// The values of its parameters, which come before all others of a statement.
    pub(super) values: Arc<[Scalar]>,
    /// The tables of which any row may decide on those that meet it; `None` where not only tables do.
    pub(super) depends_on: Option<Vec<Arc<Traced>>>,
}

impl Traced {
    pub(super) fn new(conn: &Connection, tables: &Tables, table: &Table, filter: Option<&RowFilter>) -> Result<Self> {
        Ok(Self {
            id: table.id.0,
            name: table.name.clone(),
            key: table.sql.key.clone(),
            has_key: table.sql.has_key.clone(),
            columns: Columns::load(conn, table)?,
            source: visible::source(table, filter),
            filter: filter.map(|filter| Filter::new(conn, tables, filter)).transpose()?,
        })
    }

    /// A column where the table is called `t`; −1 is the key.
    pub(super) fn column(&self, number: c_int) -> String {
        match self.columns.get(number) {
            Some(column) => format!("t.{}", column.name),
            None => self.key.clone(),
        }
    }
}

impl Filter {
    fn new(conn: &Connection, tables: &Tables, filter: &RowFilter) -> Result<Self> {
        let of_name = |name: &String| match tables.named(conn, name)? {
            Some(table) => Traced::new(conn, tables, &table, None).map(|table| Some(Arc::new(table))),
            None => Ok(None),
        };
        let depends_on = match &filter.depends_on {
            Some(names) => names.iter().map(of_name).collect::<Result<Option<Vec<_>>>>()?,
            None => None,
        };
        Ok(Self { values: filter.values().collect(), depends_on })
    }
}
