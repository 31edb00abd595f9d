//! What the engine knows about a replicated table, and the SQL by which it reaches its rows and clocks.
//!
//! A live row's clock stands under the row's own integer key, its rowid, so that a clock costs an append and no second
//! copy of the primary key. SQLite keeps rowids for good where a table has an INTEGER PRIMARY KEY; where the primary
//! key is an index of its own, VACUUM keeps them too, because it copies such a table row by row with its rowids.
//! Only where there is no rowid does a table of keys give each primary key a number.
//! A tombstone has no row, so tombstones stand in a table of their own, found by primary key: live rows never wait for
//! them.
//!
//! Every primary key that was ever seen has a *number*, cr-sqlite's `__crsql_key`: the key of its row, unless that is
//! another row's number ([`rows`](super::rows) sees to it), and the id of its tombstone.

use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use super::clock::ColumnId;
use super::pack::{self, Packer};
use super::quote::{identifier, join, list};
use super::tokens::{Options, options};
use super::{Error, Result, triggers};
use crate::crr::sort::sort_by_key;

/// How many rows to read at a time where all are wanted.
const PAGE: usize = 256;

/// A replicated table's number in this database. It survives renames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TableId(pub(super) i64);

/// A replicated table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) id: TableId,
    pub(super) name: Arc<str>,
    /// The name that its clocks, tombstones and triggers carry: the one it had when it was replicated, until a rename is
    /// settled.
    pub(super) stored_as: Arc<str>,
    /// In the order of the primary key.
    pub(super) pks: Vec<PkColumn>,
    /// The replicated columns outside the primary key, in the order of the table.
    pub(super) columns: Vec<Column>,
    pub(super) key: Key,
    /// Whether the application has triggers on it, which may do anything.
    pub(super) has_triggers: bool,
    pub(super) sql: TableSql,
}

/// What a row's integer key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Its INTEGER PRIMARY KEY, the column of this (quoted) name.
    Integer(String),
    /// Its rowid, by a name that no column hides.
    Rowid(&'static str),
    /// The number that `T__crsql_keys` gives its primary key: a table WITHOUT ROWID, or one whose columns hide the rowid.
    Mapped,
}

impl Key {
    /// Whether a row takes another key when it takes another primary key, and only then.
    pub(super) fn follows_pk(&self) -> bool {
        !matches!(self, Self::Rowid(_))
    }
}

/// A column of the primary key.
#[derive(Debug)]
pub(super) struct PkColumn {
    pub(super) name: String,
    /// A type name that gives the same affinity, empty for none.
    affinity: &'static str,
    pub(super) collation: String,
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
    /// The key of a row of the table, where that is called `t`.
    pub(super) key: String,
    /// Clock and number of the row with a key.
    pub(super) load_clock: String,
    /// Key, clock, number.
    pub(super) store_clock: String,
    /// Stores the clocks that are [pending](super::flush::Pending).
    pub(super) write_pending: String,
    /// Adds what a flush has in hand to the clocks of the rows with keys from one to another.
    pub(super) add_writes: String,
    pub(super) replace_clock: String,
    pub(super) drop_clock: String,
    /// The key of the row with a primary key.
    pub(super) find_row: String,
    /// The key that a primary key has in the table of keys; empty where there is none.
    pub(super) map_key: String,
    /// Gives a primary key a key of its own.
    pub(super) add_key: String,
    /// Gives each primary key that has none a key, in their order.
    pub(super) add_missing_keys: String,
    /// Key, number and clock of its tombstone of each row without a clock, in the order of primary keys.
    pub(super) rows_without_clock: String,
    /// Primary key columns of the row with a key.
    pub(super) pk: String,
    /// Primary key columns, then the columns, of the row with a key.
    pub(super) row: String,
    /// Key, number, clock, primary key columns, then the columns, of the rows with keys from one to another.
    pub(super) rows: String,
    /// Key, number, clock and primary key columns of the next rows from a key on.
    pub(super) clock_page: String,
    /// Id, number, clock and primary key columns of the next tombstones from an id on.
    pub(super) tombstone_page: String,
    /// `rows` without the columns.
    pub(super) row_pks: String,
    /// The condition by which a row has a key.
    pub(super) has_key: String,
    pub(super) delete_row: String,
    /// `INSERT INTO` or `UPDATE` the table, with the conflict clause of a merge.
    pub(super) insert_into: String,
    pub(super) update: String,
    /// Inserts a row with all its columns, unless it is there.
    pub(super) insert_row: String,
    pub(super) any_tombstone: String,
    pub(super) find_tombstone: String,
    /// Id, number, clock and primary key columns of the tombstones with ids from one to another.
    pub(super) tombstones: String,
    pub(super) store_tombstone: String,
    pub(super) drop_tombstone: String,
    pub(super) any_number: String,
    /// Whether a number belongs to a tombstone, or to a row with another key.
    pub(super) number_taken: String,
    /// A number that no row and no tombstone has.
    pub(super) free_number: String,
}

impl Table {
    /// Reads the table `name`, whether it has its triggers or not.
    pub(super) fn describe(conn: &Connection, id: TableId, name: &str, stored_as: &str) -> Result<Option<Self>> {
        let shape = Shape::load(conn, name)?;
        if shape.pks.is_empty() {
            return Ok(None);
        }
        let mut ids = conn.prepare_cached("SELECT id FROM main.crsql_columns WHERE tbl = ? AND name = ?")?;
        let mut columns = Vec::new();
        for column in &shape.columns {
            // A column that was added without telling the engine is not replicated yet.
            if let Some(row) = ids.query((id.0, column))?.next()? {
                columns.push(Column { id: ColumnId(row.get(0)?), name: column.as_str().into() });
            }
        }
        let has_triggers = triggers::has_others(conn, name, stored_as)?;
        // A statement that fails in its one row has nothing to take back, unless triggers wrote something. Only where SQLite
        // is not told so, it keeps a copy of each page that the statement changes.
        let or_fail = if has_triggers || has_conflict_clauses(conn, name)? { "" } else { "OR FAIL " };
        let sql = TableSql::new(name, stored_as, &shape, &columns, or_fail);
        Ok(Some(Self {
            id,
            name: name.into(),
            stored_as: stored_as.into(),
            pks: shape.pks,
            columns,
            key: shape.key,
            has_triggers,
            sql,
        }))
    }

    /// A column, and its place among the columns.
    pub(super) fn column(&self, id: ColumnId) -> Option<(usize, &Column)> {
        // Columns stand in the order of their numbers, unless the table was rebuilt in another order.
        let guess = usize::try_from(id.0 - 1).ok().filter(|&at| self.columns.get(at).is_some_and(|c| c.id == id));
        let at = guess.or_else(|| self.columns.iter().position(|column| column.id == id))?;
        self.columns.get(at).map(|column| (at, column))
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
    pub(super) fn unpack_pk<'k>(&self, pk: &'k [u8]) -> Result<Vec<ValueRef<'k>>> {
        let values = pack::unpack_borrowed(pk)?;
        if values.len() != self.pks.len() {
            return Err(Error::InvalidKey("the number of values is not that of the primary key"));
        }
        if values.contains(&ValueRef::Null) {
            return Err(Error::InvalidKey("a primary key holds no NULL"));
        }
        if matches!(self.key, Key::Integer(_)) && !matches!(values.as_slice(), [ValueRef::Integer(_)]) {
            return Err(Error::InvalidKey("an INTEGER PRIMARY KEY takes an integer"));
        }
        Ok(values)
    }

    /// The name of the table of clocks.
    pub(super) fn clocks(name: &str) -> String {
        identifier(&format!("{name}__crsql_rows"))
    }

    /// The name of the table of keys, where the primary keys have theirs from it.
    pub(super) fn keys(name: &str) -> String {
        identifier(&format!("{name}__crsql_keys"))
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
    pub(super) key: Key,
}

impl Shape {
    /// Reads it; no primary key means that there is no such table, or none that can be replicated.
    pub(super) fn load(conn: &Connection, name: &str) -> Result<Self> {
        let mut columns = Vec::new();
        let mut pks = Vec::new();
        let mut info = conn.prepare_cached("SELECT name, type, pk FROM pragma_table_info(?, 'main') ORDER BY cid")?;
        let mut rows = info.query([name])?;
        while let Some(row) = rows.next()? {
            let (column, kind, pk): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if pk > 0 {
                pks.push((pk, column, kind));
            } else {
                columns.push(column);
            }
        }
        sort_by_key(&mut pks, |pk| pk.0);
        let Options { strict, without_rowid } = declared(conn, name)?;
        let index: Vec<String> = conn
            .prepare_cached(
                "SELECT x.coll FROM pragma_index_list(?, 'main') l, pragma_index_xinfo(l.name, 'main') x WHERE l.origin = 'pk' AND x.key ORDER BY x.seqno",
            )?
            .query_map([name], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let key = match (pks.first(), rowid_alias(pks.iter().map(|pk| &pk.1).chain(&columns))) {
            (Some((_, column, _)), _) if index.is_empty() => Key::Integer(identifier(column)),
            (_, Some(alias)) if !without_rowid => Key::Rowid(alias),
            _ => Key::Mapped,
        };
        let collations = index.into_iter().chain(std::iter::repeat("BINARY".to_owned()));
        let pks = pks
            .into_iter()
            .zip(collations)
            .map(|((_, name, kind), collation)| PkColumn { name, affinity: affinity(&kind, strict), collation })
            .collect();
        Ok(Self { pks, columns, key })
    }

    /// The primary key columns as they are declared in tables of the engine.
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

/// The options of a table. From its definition: where SQLite is asked for them, it looks into every view there is.
pub(super) fn declared(conn: &Connection, name: &str) -> Result<Options> {
    let mut sql =
        conn.prepare_cached("SELECT sql FROM main.sqlite_master WHERE type = 'table' AND lower(name) = lower(?)")?;
    let sql: Option<String> = sql.query_row([name], |row| row.get(0)).optional()?;
    Ok(sql.as_deref().map(options).unwrap_or_default())
}

/// Whether the definition of a table may say what to do about conflicts, which a statement must not overrule.
fn has_conflict_clauses(conn: &Connection, name: &str) -> Result<bool> {
    let mut any = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM main.sqlite_master WHERE type = 'table' AND lower(name) = lower(?) AND sql LIKE '%conflict%')",
    )?;
    Ok(any.query_row([name], |row| row.get(0))?)
}

/// The name by which the rowid can be reached, if columns do not hide all three.
fn rowid_alias<'a>(columns: impl Iterator<Item = &'a String> + Clone) -> Option<&'static str> {
    ["_rowid_", "rowid", "oid"]
        .into_iter()
        .find(|alias| !columns.clone().any(|column| column.eq_ignore_ascii_case(alias)))
}

/// A declared type with the affinity of `kind`, by SQLite's rules (datatype3, section 3.1).
pub(super) fn affinity(kind: &str, strict: bool) -> &'static str {
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
    fn new(name: &str, stored_as: &str, shape: &Shape, columns: &[Column], or_fail: &str) -> Self {
        let in_main = |name: String| format!("main.{name}");
        let table = in_main(identifier(name));
        let (clocks, tombstones) = (in_main(Table::clocks(stored_as)), in_main(Table::tombstones(stored_as)));
        let keys = in_main(Table::keys(stored_as));
        let pks = shape.pk_list("");
        let each_pk = |condition: &dyn Fn(&str) -> String| {
            join(shape.pks.iter().map(|pk| condition(&identifier(&pk.name))), " AND ")
        };
        let by_pk = each_pk(&|pk| format!("{pk} = ?"));
        let t_by_pk = each_pk(&|pk| format!("t.{pk} = ?"));
        let all = || shape.pks.iter().map(|pk| &*pk.name).chain(columns.iter().map(|c| &*c.name)).map(identifier);
        let marks = |count| list(std::iter::repeat_n("?", count));
        // A row WITHOUT ROWID is reached from its key by its primary key, and the other way round.
        let mapped = each_pk(&|pk| format!("k.{pk} = t.{pk}"));
        let (key, has_key) = match &shape.key {
            Key::Integer(column) => (format!("t.{column}"), format!("{column} = ?")),
            Key::Rowid(alias) => (format!("t.{alias}"), format!("{alias} = ?")),
            Key::Mapped => (
                format!("(SELECT k.__crsql_key FROM {keys} k WHERE {mapped})"),
                format!("({pks}) = (SELECT {pks} FROM {keys} WHERE __crsql_key = ?)"),
            ),
        };
        // No join: SQLite would prepare it anew each time that its bindings are cleared.
        let find_row = format!("SELECT {key} FROM {table} t WHERE {t_by_pk}");
        // The clocks come first: their order is that of the keys.
        let joined = match shape.key {
            Key::Mapped => format!("{keys} k ON k.__crsql_key = c.key CROSS JOIN {table} t ON {mapped}"),
            _ => format!("{table} t ON {key} = c.key"),
        };
        let clocked = |columns: &str| {
            format!(
                "SELECT c.key, coalesce(c.number, c.key), c.clock, {columns} FROM {clocks} c CROSS JOIN {joined}
                 WHERE c.key BETWEEN ? AND ? ORDER BY c.key"
            )
        };
        let insert_into = format!("INSERT {or_fail}INTO {table}");
        Self {
            load_clock: format!("SELECT clock, number FROM {clocks} WHERE key = ?"),
            // No REPLACE: it makes SQLite journal the statement.
            store_clock: format!(
                "INSERT INTO {clocks} (key, clock, number) VALUES (?, ?, ?)
                 ON CONFLICT DO UPDATE SET clock = excluded.clock, number = excluded.number"
            ),
            write_pending: format!(
                "INSERT INTO {clocks} (key, clock, number) SELECT key, clock, number FROM main.crsql_pending WHERE true
                 ON CONFLICT DO UPDATE SET clock = excluded.clock, number = excluded.number"
            ),
            add_writes: format!(
                "UPDATE {clocks} SET clock = crsql_add_writes(key, clock) WHERE key BETWEEN ? AND ?"
            ),
            replace_clock: format!("UPDATE {clocks} SET clock = ?2 WHERE key = ?1"),
            drop_clock: format!("DELETE FROM {clocks} WHERE key = ?"),
            find_row,
            key: key.clone(),
            map_key: format!("SELECT __crsql_key FROM {keys} WHERE {by_pk}"),
            add_key: format!("INSERT INTO {keys} ({pks}) VALUES ({})", marks(shape.pks.len())),
            add_missing_keys: format!(
                "INSERT INTO {keys} ({pks}) SELECT {pks} FROM {table} t
                 WHERE NOT EXISTS (SELECT 1 FROM {keys} k WHERE {mapped}) ORDER BY {pks}"
            ),
            rows_without_clock: format!(
                "SELECT {key}, d.__crsql_id, d.__crsql_clock FROM {table} t LEFT JOIN {tombstones} d ON {}
                 WHERE {key} NOT IN (SELECT key FROM {clocks}) ORDER BY {}",
                each_pk(&|pk| format!("d.{pk} = t.{pk}")),
                shape.pk_list("t."),
            ),
            pk: format!("SELECT {pks} FROM {table} WHERE {has_key}"),
            row: format!("SELECT {} FROM {table} WHERE {has_key}", list(all())),
            rows: clocked(&list(all().map(|column| format!("t.{column}")))),
            clock_page: format!(
                "SELECT c.key, coalesce(c.number, c.key), c.clock, {} FROM {clocks} c CROSS JOIN {joined}
                 WHERE c.key >= ? ORDER BY c.key LIMIT {PAGE}",
                shape.pk_list("t."),
            ),
            tombstone_page: format!(
                "SELECT __crsql_id, __crsql_id, __crsql_clock, {pks} FROM {tombstones}
                 WHERE __crsql_id >= ? ORDER BY __crsql_id LIMIT {PAGE}"
            ),
            row_pks: clocked(&shape.pk_list("t.")),
            delete_row: format!("DELETE FROM {table} WHERE {has_key}"),
            insert_row: format!("{insert_into} ({}) VALUES ({}) ON CONFLICT DO NOTHING", list(all()), marks(all().count())),
            insert_into,
            update: format!("UPDATE {or_fail}{table}"),
            has_key,
            any_tombstone: format!("SELECT EXISTS (SELECT 1 FROM {tombstones})"),
            find_tombstone: format!("SELECT __crsql_id, __crsql_clock FROM {tombstones} WHERE {by_pk}"),
            tombstones: format!(
                "SELECT __crsql_id, __crsql_id, __crsql_clock, {pks} FROM {tombstones}
                 WHERE __crsql_id BETWEEN ? AND ? ORDER BY __crsql_id"
            ),
            store_tombstone: format!(
                "INSERT INTO {tombstones} (__crsql_id, __crsql_clock, {pks}) VALUES (?, ?, {})
                 ON CONFLICT DO UPDATE SET __crsql_id = excluded.__crsql_id, __crsql_clock = excluded.__crsql_clock",
                marks(shape.pks.len())
            ),
            drop_tombstone: format!("DELETE FROM {tombstones} WHERE __crsql_id = ?"),
            any_number: format!("SELECT EXISTS (SELECT 1 FROM {clocks} WHERE number IS NOT NULL)"),
            number_taken: format!(
                "SELECT EXISTS (SELECT 1 FROM {tombstones} WHERE __crsql_id = ?1)
                 OR EXISTS (SELECT 1 FROM {clocks} WHERE number = ?1)"
            ),
            free_number: format!(
                "SELECT 1 + max(coalesce((SELECT max(key) FROM {clocks}), 0), coalesce((SELECT max(number) FROM {clocks} WHERE number IS NOT NULL), 0),
                                coalesce((SELECT max(__crsql_id) FROM {tombstones}), 0))"
            ),
        }
    }
}
