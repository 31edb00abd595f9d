//! The tables that the engine keeps beside each replicated one, and the views that show them as cr-sqlite's.
//!
//! Neither view names the replicated table: SQLite refuses to rename any table while a view speaks of one that is gone.

use rusqlite::Connection;

use super::Result;
use super::quote::{identifier, list};
use super::table::{Key, Shape, Table};

/// Creates those of `name` that are missing.
pub(super) fn create(conn: &Connection, name: &str, shape: &Shape) -> Result<()> {
    let (pks, names) = (shape.declare_pks(), shape.pk_list(""));
    conn.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS main.{clocks} (key INTEGER PRIMARY KEY, clock BLOB NOT NULL, number INTEGER) STRICT;
         CREATE INDEX IF NOT EXISTS main.{} ON {clocks} (number) WHERE number IS NOT NULL;
         CREATE TABLE IF NOT EXISTS main.{tombstones} (__crsql_id INTEGER PRIMARY KEY, __crsql_clock BLOB NOT NULL, {pks});
         CREATE UNIQUE INDEX IF NOT EXISTS main.{} ON {tombstones} ({names});",
        numbers_index(name),
        tombstones_index(name),
        clocks = Table::clocks(name),
        tombstones = Table::tombstones(name),
    ))?;
    if shape.key == Key::Mapped {
        conn.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS main.{keys} (__crsql_key INTEGER PRIMARY KEY, {pks});
             CREATE UNIQUE INDEX IF NOT EXISTS main.{} ON {keys} ({names});",
            keys_index(name),
            keys = Table::keys(name),
        ))?;
    }
    create_views(conn, name, shape)
}

/// Creates the views, unless something has their names.
pub(super) fn create_views(conn: &Connection, name: &str, shape: &Shape) -> Result<()> {
    let (clock, pks) = (view(name, "clock"), view(name, "pks"));
    let entries = format!("crsql_table_clocks('{}')", name.replace('\'', "''"));
    let columns = shape.pks.iter().enumerate();
    let columns = list(columns.map(|(i, pk)| format!("crsql_unpack_column(pk, {i}) AS {}", identifier(&pk.name))));
    conn.execute_batch(&format!(
        "CREATE VIEW IF NOT EXISTS main.{clock} AS SELECT key, col_name, col_version, db_version, site_id, seq FROM {entries};
         CREATE VIEW IF NOT EXISTS main.{pks} AS SELECT key AS __crsql_key, {columns} FROM {entries} WHERE first;"
    ))?;
    let is_view = "SELECT count(*) FROM main.sqlite_master WHERE type = 'view' AND name = ?";
    if !conn.query_row(is_view, [format!("{name}__crsql_clock")], |row| row.get::<_, bool>(0))? {
        return Ok(());
    }
    // Entries for a row that is gone mean nothing, so there is nothing to keep of them.
    Ok(conn.execute_batch(&format!(
        "CREATE TRIGGER IF NOT EXISTS main.{} INSTEAD OF INSERT ON {clock}
         WHEN NOT EXISTS (SELECT 1 FROM {} WHERE __crsql_id = NEW.key)
         BEGIN SELECT RAISE(ABORT, 'the clocks of rows are written by the engine only'); END",
        view(name, "clock_insert"),
        Table::tombstones(name),
    ))?)
}

pub(super) fn drop_views(conn: &Connection, name: &str) -> Result<()> {
    Ok(conn.execute_batch(&format!(
        "DROP VIEW IF EXISTS main.{}; DROP VIEW IF EXISTS main.{}",
        view(name, "clock"),
        view(name, "pks")
    ))?)
}

fn view(name: &str, what: &str) -> String {
    identifier(&format!("{name}__crsql_{what}"))
}

/// Drops what speaks of the rows of `name` as they are; its tombstones stay.
pub(super) fn drop_clocks(conn: &Connection, name: &str) -> Result<()> {
    drop_views(conn, name)?;
    Ok(conn.execute_batch(&format!("DROP TABLE IF EXISTS main.{}", Table::clocks(name)))?)
}

/// Drops what speaks of primary keys.
pub(super) fn drop_pks(conn: &Connection, name: &str) -> Result<()> {
    Ok(conn.execute_batch(&format!(
        "DROP TABLE IF EXISTS main.{}; DROP TABLE IF EXISTS main.{}",
        Table::tombstones(name),
        Table::keys(name)
    ))?)
}

/// Gives the tables of `from` to `to`, which has none. Indexes and views get their new names by [`create`].
pub(super) fn rename(conn: &Connection, from: &str, to: &str) -> Result<()> {
    drop_views(conn, from)?;
    let exists = "SELECT count(*) FROM main.sqlite_master WHERE type = 'table' AND '\"' || replace(name, '\"', '\"\"') || '\"' = ?";
    for of in [Table::clocks, Table::tombstones, Table::keys] {
        if conn.query_row(exists, [of(from)], |row| row.get::<_, bool>(0))? {
            conn.execute_batch(&format!("ALTER TABLE main.{} RENAME TO {}", of(from), of(to)))?;
        }
    }
    for index in [numbers_index, tombstones_index, keys_index] {
        conn.execute_batch(&format!("DROP INDEX IF EXISTS main.{}", index(from)))?;
    }
    Ok(())
}

/// Where a row's number is its key, gives the tombstones the numbers of their primary keys, which they may lack when the
/// table had keys of another kind before. Returns whether a row's number is its key.
pub(super) fn number_by_key(conn: &Connection, table: &Table) -> Result<bool> {
    let (tombstones, keys) = (Table::tombstones(&table.name), Table::keys(&table.name));
    let columns = list(table.pks.iter().map(|pk| identifier(&pk.name)));
    let number = match &table.key {
        Key::Rowid(_) => return Ok(false),
        Key::Integer(column) => column.clone(),
        Key::Mapped => {
            conn.execute_batch(&format!(
                "INSERT OR IGNORE INTO main.{keys} ({columns}) SELECT {columns} FROM main.{tombstones}"
            ))?;
            conn.execute_batch(&table.sql.add_missing_keys)?;
            format!(
                "(SELECT __crsql_key FROM main.{keys} k WHERE ({columns}) = ({}))",
                list(table.pks.iter().map(|pk| format!("d.{}", identifier(&pk.name))))
            )
        }
    };
    // By a copy: one after another, they would stand in each other's way.
    conn.execute_batch(&format!(
        "CREATE TEMP TABLE crsql_renumbered AS SELECT {number} AS __crsql_id, __crsql_clock, {columns} FROM main.{tombstones} d;
         DELETE FROM main.{tombstones};
         INSERT INTO main.{tombstones} (__crsql_id, __crsql_clock, {columns}) SELECT * FROM temp.crsql_renumbered;
         DROP TABLE temp.crsql_renumbered;"
    ))?;
    Ok(true)
}

fn numbers_index(name: &str) -> String {
    identifier(&format!("{name}__crsql_rows_number"))
}

fn tombstones_index(name: &str) -> String {
    identifier(&format!("{name}__crsql_tombstones_pks"))
}

fn keys_index(name: &str) -> String {
    identifier(&format!("{name}__crsql_keys_pks"))
}
