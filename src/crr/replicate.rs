//! `crsql_as_crr`: an ordinary table becomes a replicated one.

use rusqlite::{Connection, Row};

use super::catalog::{self, end_savepoint};
use super::clock::{ColumnId, RowClock, SELF, Stamp};
use super::flush::flush;
use super::log::Touched;
use super::quote::identifier;
use super::state::State;
use super::table::{Shape, Table};
use super::{Error, Result, Version, rows, triggers};

/// Makes `name` a CRR; one that is a CRR already stays as it is. All or nothing, and the caller's transaction lives on.
pub(super) fn as_crr(conn: &Connection, state: &State, name: &str) -> Result<()> {
    check(conn, name)?;
    if is_crr(conn, name)? {
        return Ok(());
    }
    flush(conn, state)?;
    conn.execute_batch("SAVEPOINT crsql_as_crr")?;
    let outcome = replicate(conn, state, name);
    state.forget_tables();
    end_savepoint(conn, "crsql_as_crr", outcome)
}

/// The same inside a running statement, where no savepoint can begin: SQLite undoes a statement that fails.
pub(super) fn as_crr_within_statement(conn: &Connection, state: &State, name: &str) -> Result<()> {
    check(conn, name)?;
    flush(conn, state)?;
    let outcome = replicate(conn, state, name);
    state.forget_tables();
    outcome
}

fn replicate(conn: &Connection, state: &State, name: &str) -> Result<()> {
    let shape = Shape::load(conn, name)?;
    if shape.key.is_empty() {
        return Err(Error::NotReplicable(format!("Table {name} hides its rowid behind columns of that name")));
    }
    let id = catalog::add_table(conn, name, &shape)?;
    let table = Table::load(conn, id, name)?.ok_or(Error::Corrupt("a table vanished while it was replicated"))?;
    triggers::create(conn, &table)?;
    backfill(conn, state, &table)
}

fn is_crr(conn: &Connection, name: &str) -> Result<bool> {
    let known = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name = ?";
    Ok(conn.query_row(known, [format!("{name}__crsql_itrig")], |row| row.get(0))?)
}

/// Gives every row that has no clock one of version 1, in the order of primary keys, in a transaction of its own number.
fn backfill(conn: &Connection, state: &State, table: &Table) -> Result<()> {
    let pks = table.pks.iter().map(|pk| identifier(&pk.name)).collect::<Vec<_>>().join(", ");
    let mut keys = conn.prepare(&format!(
        "SELECT {key} FROM {} WHERE {key} NOT IN (SELECT key FROM {}) ORDER BY {pks}",
        identifier(&table.name),
        Table::clocks(&table.name),
        key = table.key,
    ))?;
    let keys: Vec<i64> = keys.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Ok(());
    }
    let version = state.next_version(conn, Version::ZERO)?;
    let stamp = |seq| Stamp { col_version: 1, local: version.get(), site: SELF, version: version.get(), seq };
    for &key in &keys {
        let mut clock = RowClock::default();
        if table.columns.is_empty() {
            clock.set(ColumnId::SENTINEL, stamp(state.take_seqs(1)));
        }
        for column in &table.columns {
            clock.set(column.id, stamp(state.take_seqs(1)));
        }
        rows::store_clock(conn, table, key, &clock)?;
    }
    let row = |key| Touched { table: table.id, tombstone: false, key };
    state.touch(conn, version, keys.into_iter().map(row))
}

/// What a table must be like. The first rule that it breaks is reported, in cr-sqlite's order and words.
fn check(conn: &Connection, name: &str) -> Result<()> {
    let any = |sql: &str| conn.query_row(sql, [name], |row: &Row<'_>| row.get::<_, bool>(0));
    let refuse = |why: &str| Err(Error::NotReplicable(why.replace("{}", name)));
    if any("SELECT count(*) FROM pragma_index_list(?) WHERE origin <> 'pk' AND \"unique\"")? {
        return refuse("Table {} has unique indices besides the primary key. This is not allowed for CRRs");
    }
    let implicit = "(SELECT max(wr) FROM pragma_table_list(?1) WHERE schema = 'main')";
    let nullable =
        format!("SELECT count(*) FROM pragma_table_info(?1) WHERE pk > 0 AND NOT \"notnull\" AND NOT {implicit}");
    let solid = format!("SELECT count(*) FROM pragma_table_info(?1) WHERE pk > 0 AND (\"notnull\" OR {implicit})");
    if !any(&solid)? {
        return refuse(
            "Table {} has no primary key or primary key is nullable. CRRs must have a non nullable primary key",
        );
    }
    if any(&nullable)? {
        return refuse(
            "Table {} has a composite primary key part of which is nullable. CRRs must have a non nullable primary key",
        );
    }
    if any("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ? AND sql LIKE '%autoincrement%'")? {
        return refuse(
            "{} has auto-increment primary keys. This is likely a mistake as two concurrent nodes will assign unrelated rows the same primary key. Either use a primary key that represents the identity of your row or use a database friendly UUID such as UUIDv7",
        );
    }
    if any("SELECT count(*) FROM pragma_foreign_key_list(?)")? {
        return refuse(
            "Table {} has checked foreign key constraints. CRRs may have foreign keys but must not have checked foreign key constraints as they can be violated by row level security or replication.",
        );
    }
    if any("SELECT count(*) FROM pragma_table_xinfo(?) WHERE pk = 0 AND \"notnull\" AND dflt_value IS NULL")? {
        return refuse(
            "Table {} has a NOT NULL column without a DEFAULT VALUE. This is not allowed as it prevents forwards and backwards compatibility between schema versions. Make the column nullable or assign a default value to it.",
        );
    }
    if any("SELECT coalesce(max(wr), 0) FROM pragma_table_list(?) WHERE schema = 'main'")? {
        return refuse("Table {} is WITHOUT ROWID, which cannot be replicated yet. Drop that clause");
    }
    Ok(())
}
