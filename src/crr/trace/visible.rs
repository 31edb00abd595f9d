//! Tables of which some rows only may be seen.
//!
//! A filter stands in the statement that reads the real table, inside a query of its own that SQLite joins with what
//! surrounds it. There it finds the table by its name, its own sub-queries are asked of the real tables, and indexes on
//! what it compares are used.

use std::collections::BTreeSet;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::super::Result;
use super::super::quote::{identifier, list};
use super::super::table::{Key, Table};
use super::scans::Scalar;

/// A condition on the rows of a table.
#[derive(Clone, Debug)]
pub struct RowFilter {
    /// An SQL expression, which stands behind `WHERE` as well as within parentheses.
    pub sql: String,
    /// The values of its parameters, in the order of their numbers, as many as it has.
    pub params: Vec<Value>,
    /// The tables that its sub-queries read, any row of which may let rows in or out. `None` where changes of tables do not tell what
    /// it says.
    pub depends_on: Option<BTreeSet<String>>,
}

impl RowFilter {
    pub(super) fn values(&self) -> impl Iterator<Item = Scalar> {
        self.params.iter().map(|param| Scalar::of(param.into()))
    }
}

/// Values are the same where all their bits are.
impl PartialEq for RowFilter {
    fn eq(&self, other: &Self) -> bool {
        self.sql == other.sql && self.values().eq(other.values()) && self.depends_on == other.depends_on
    }
}

/// What of a table may be read.
#[derive(Clone, Debug, PartialEq)]
pub enum Reach {
    /// Nothing: it is not there.
    Nothing,
    /// The rows that meet a filter.
    Rows(RowFilter),
    /// All of it.
    All,
}

impl From<bool> for Reach {
    fn from(all: bool) -> Self {
        if all { Self::All } else { Self::Nothing }
    }
}

/// The table, or those of its rows that meet a filter, as `t`, for a `FROM`.
pub(super) fn source(table: &Table, filter: Option<&RowFilter>) -> String {
    let name = identifier(&table.name);
    let Some(RowFilter { sql, .. }) = filter else { return format!("main.{name} t") };
    let rowid = match table.key {
        Key::Rowid(alias) => format!("{alias} AS {alias}, "),
        Key::Integer(_) | Key::Mapped => String::new(),
    };
    // A comment in the filter ends with its line.
    format!("(SELECT {rowid}* FROM main.{name} WHERE (\n{sql}\n)) t")
}

/// Those of the rows with these integer keys that meet a filter.
pub(in crate::crr) fn visible(
    conn: &Connection,
    table: &Table,
    filter: &RowFilter,
    keys: &[i64],
) -> Result<BTreeSet<i64>> {
    let (key, source) = (&table.sql.key, source(table, Some(filter)));
    let named = "SELECT value FROM json_each(?)";
    let is_named = match table.key {
        Key::Integer(_) | Key::Rowid(_) => format!("{key} IN ({named})"),
        Key::Mapped => {
            let pks = |prefix| list(table.pks.iter().map(|pk| format!("{prefix}{}", identifier(&pk.name))));
            let keys = Table::keys(&table.stored_as);
            format!("({}) IN (SELECT {} FROM main.{keys} WHERE __crsql_key IN ({named}))", pks("t."), pks(""))
        }
    };
    let mut select = conn.prepare_cached(&format!("SELECT {key} FROM {source} WHERE {is_named}"))?;
    let named = Value::Text(format!("[{}]", list(keys.iter().map(i64::to_string))));
    let mut found = select.query(params_from_iter(filter.params.iter().chain([&named])))?;
    let mut visible = BTreeSet::new();
    while let Some(row) = found.next()? {
        visible.insert(row.get(0)?);
    }
    Ok(visible)
}
