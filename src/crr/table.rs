//! What the engine knows about a replicated table, and the SQL by which it reaches its rows and clocks.
//!
//! A live row's clock stands under the row's own integer key, its rowid, so that a clock costs an append and no second
//! copy of the primary key. SQLite keeps rowids for good where a table has an INTEGER PRIMARY KEY; where the primary
//! key is an index of its own, VACUUM keeps them too, because it copies such a table row by row with its rowids.
//! A tombstone has no row, so tombstones stand in a table of their own, found by primary key: live rows never wait for
//! them.

use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::clock::ColumnId;
use super::pack::{self, Packer};
use super::quote::{identifier, join, list};
use super::{Error, Result};

/// A replicated table's number in this database. It survives renames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TableId(pub(super) i64);

/// A replicated table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) id: TableId,
    pub(super) name: Arc<str>,
    /// In the order of the primary key.
    pub(super) pks: Vec<PkColumn>,
    /// The replicated columns outside the primary key, in the order of the table.
    pub(super) columns: Vec<Column>,
    /// The SQL name of a row's integer key: its INTEGER PRIMARY KEY, quoted, or an alias of the rowid.
    pub(super) key: String,
    /// Whether the primary key is the integer key.
    pub(super) integer_pk: bool,
    pub(super) sql: TableSql,
}

/// A column of the primary key.
#[derive(Debug)]
pub(super) struct PkColumn {
    pub(super) name: String,
    /// A type name that gives the same affinity, empty for none.
    affinity: &'static str,
    collation: String,
}

/// A replicated column outside the primary key.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) id: ColumnId,
    pub(super) name: Arc<str>,
}

/// The statements that are the same for every row.
#[derive(Debug)]
pub(super) struct TableSql {
    pub(super) load_clock: String,
    pub(super) store_clock: String,
    pub(super) drop_clock: String,
    pub(super) find_key: String,
    /// Primary key columns, then the columns, of the row with a key.
    pub(super) row: String,
    /// Primary key columns alone.
    pub(super) row_pk: String,
    pub(super) delete_row: String,
    pub(super) any_tombstone: String,
    pub(super) find_tombstone: String,
    /// Clock, then primary key columns, of the tombstone with an id.
    pub(super) tombstone: String,
    pub(super) store_tombstone: String,
    pub(super) drop_tombstone: String,
}

impl Table {
    /// Reads the replicated table `name`, or `None` when its base table is gone.
    pub(super) fn load(conn: &Connection, id: TableId, name: &str) -> Result<Option<Self>> {
        let shape = Shape::load(conn, name)?;
        if shape.pks.is_empty() {
            return Ok(None);
        }
        let mut ids = conn.prepare_cached("SELECT id FROM crsql_columns WHERE tbl = ? AND name = ?")?;
        let mut columns = Vec::new();
        for column in &shape.columns {
            // A column that was added without telling the engine is not replicated yet.
            if let Some(row) = ids.query((id.0, column))?.next()? {
                columns.push(Column { id: ColumnId(row.get(0)?), name: column.as_str().into() });
            }
        }
        let sql = TableSql::new(name, &shape, &columns);
        Ok(Some(Self {
            id,
            name: name.into(),
            pks: shape.pks,
            columns,
            key: shape.key,
            integer_pk: shape.integer_pk,
            sql,
        }))
    }

    /// The packed primary key of a row whose key columns begin at `first`.
    pub(super) fn pack_pk(&self, row: &Row<'_>, first: usize) -> Result<Vec<u8>> {
        let mut packer = Packer::new(self.pks.len())?;
        for i in 0..self.pks.len() {
            packer.push(row.get_ref(first + i)?);
        }
        Ok(packer.finish())
    }

    /// Unpacks a key of this table, refusing one that could not have come from such a table.
    pub(super) fn unpack_pk(&self, pk: &[u8]) -> Result<Vec<Value>> {
        let values = pack::unpack(pk)?;
        if values.len() != self.pks.len() {
            return Err(Error::InvalidKey("the number of values is not that of the primary key"));
        }
        if values.contains(&Value::Null) {
            return Err(Error::InvalidKey("a primary key holds no NULL"));
        }
        if self.integer_pk && !matches!(values.as_slice(), [Value::Integer(_)]) {
            return Err(Error::InvalidKey("an INTEGER PRIMARY KEY takes an integer"));
        }
        Ok(values)
    }

    /// The integer key of the live row with this primary key.
    pub(super) fn find_key(&self, conn: &Connection, pk: &[Value]) -> Result<Option<i64>> {
        let mut find = conn.prepare_cached(&self.sql.find_key)?;
        let mut rows = find.query(params_from_iter(pk))?;
        Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
    }

    /// The name of the table of clocks.
    pub(super) fn clocks(name: &str) -> String {
        identifier(&format!("{name}__crsql_rows"))
    }

    /// The name of the table of tombstones.
    pub(super) fn tombstones(name: &str) -> String {
        identifier(&format!("{name}__crsql_tombstones"))
    }
}

/// A table as SQLite describes it.
pub(super) struct Shape {
    pub(super) pks: Vec<PkColumn>,
    pub(super) columns: Vec<String>,
    pub(super) key: String,
    pub(super) integer_pk: bool,
}

impl Shape {
    /// Reads it; no primary key means that there is no such table, or none that can be replicated.
    pub(super) fn load(conn: &Connection, name: &str) -> Result<Self> {
        let mut columns = Vec::new();
        let mut pks = Vec::new();
        let mut info = conn.prepare_cached("SELECT name, type, pk FROM pragma_table_info(?) ORDER BY cid")?;
        let mut rows = info.query([name])?;
        while let Some(row) = rows.next()? {
            let (column, kind, pk): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if pk > 0 {
                pks.push((pk, column, kind));
            } else {
                columns.push(column);
            }
        }
        pks.sort_by_key(|pk| pk.0);
        let strict: bool = conn
            .prepare_cached("SELECT coalesce(max(strict), 0) FROM pragma_table_list(?) WHERE schema = 'main'")?
            .query_row([name], |row| row.get(0))?;
        let index: Vec<String> = conn
            .prepare_cached(
                "SELECT x.coll FROM pragma_index_list(?) l, pragma_index_xinfo(l.name) x WHERE l.origin = 'pk' AND x.key ORDER BY x.seqno",
            )?
            .query_map([name], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let integer_pk = index.is_empty() && !pks.is_empty();
        let key = match pks.first() {
            Some((_, column, _)) if integer_pk => identifier(column),
            _ => rowid_alias(pks.iter().map(|pk| &pk.1).chain(&columns)),
        };
        let collations = index.into_iter().chain(std::iter::repeat("BINARY".to_owned()));
        let pks = pks
            .into_iter()
            .zip(collations)
            .map(|((_, name, kind), collation)| PkColumn { name, affinity: affinity(&kind, strict), collation })
            .collect();
        Ok(Self { pks, columns, key, integer_pk })
    }

    /// The primary key columns as they are declared in the table of tombstones.
    pub(super) fn declare_pks(&self) -> String {
        list(self.pks.iter().map(|pk| {
            format!("{} {} NOT NULL COLLATE {}", identifier(&pk.name), pk.affinity, identifier(&pk.collation))
        }))
    }

    /// The primary key columns, quoted, each behind `prefix`.
    pub(super) fn pk_list(&self, prefix: &str) -> String {
        list(self.pks.iter().map(|pk| format!("{prefix}{}", identifier(&pk.name))))
    }
}

/// The name by which the rowid can be reached, empty when columns hide all three.
fn rowid_alias<'a>(columns: impl Iterator<Item = &'a String> + Clone) -> String {
    ["_rowid_", "rowid", "oid"]
        .into_iter()
        .find(|alias| !columns.clone().any(|column| column.eq_ignore_ascii_case(alias)))
        .unwrap_or_default()
        .to_owned()
}

/// A declared type with the affinity of `kind`, by SQLite's rules (datatype3, section 3.1).
fn affinity(kind: &str, strict: bool) -> &'static str {
    let kind = kind.to_ascii_uppercase();
    let has = |part| kind.contains(part);
    if has("INT") {
        "INTEGER"
    } else if has("CHAR") || has("CLOB") || has("TEXT") {
        "TEXT"
    } else if has("BLOB") || kind.is_empty() || (strict && kind == "ANY") {
        ""
    } else if has("REAL") || has("FLOA") || has("DOUB") {
        "REAL"
    } else {
        "NUMERIC"
    }
}

impl TableSql {
    fn new(name: &str, shape: &Shape, columns: &[Column]) -> Self {
        let (table, clocks, tombstones) = (identifier(name), Table::clocks(name), Table::tombstones(name));
        let key = &shape.key;
        let pks = shape.pk_list("");
        let by_pk = join(shape.pks.iter().map(|pk| format!("{} = ?", identifier(&pk.name))), " AND ");
        let all = list(shape.pks.iter().map(|pk| &*pk.name).chain(columns.iter().map(|c| &*c.name)).map(identifier));
        let marks = list(shape.pks.iter().map(|_| "?"));
        Self {
            load_clock: format!("SELECT clock FROM {clocks} WHERE key = ?"),
            store_clock: format!("INSERT OR REPLACE INTO {clocks} (key, clock) VALUES (?, ?)"),
            drop_clock: format!("DELETE FROM {clocks} WHERE key = ?"),
            find_key: format!("SELECT {key} FROM {table} WHERE {by_pk}"),
            row: format!("SELECT {all} FROM {table} WHERE {key} = ?"),
            row_pk: format!("SELECT {pks} FROM {table} WHERE {key} = ?"),
            delete_row: format!("DELETE FROM {table} WHERE {key} = ?"),
            any_tombstone: format!("SELECT EXISTS (SELECT 1 FROM {tombstones})"),
            find_tombstone: format!("SELECT __crsql_id, __crsql_clock FROM {tombstones} WHERE {by_pk}"),
            tombstone: format!("SELECT __crsql_clock, {pks} FROM {tombstones} WHERE __crsql_id = ?"),
            store_tombstone: format!(
                "INSERT OR REPLACE INTO {tombstones} (__crsql_id, __crsql_clock, {pks}) VALUES (?, ?, {marks})"
            ),
            drop_tombstone: format!("DELETE FROM {tombstones} WHERE __crsql_id = ?"),
        }
    }
}
