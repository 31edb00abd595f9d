//! `crsql_begin_alter` and `crsql_commit_alter`: a replicated table takes another shape.
//!
//! Between the two the table has no triggers: what is written then is compared with what was known before. As in
//! cr-sqlite, an alteration takes no version of its own. What it adds is recorded under the newest one there is, 0 in a
//! fresh database; rows deleted meanwhile vanish without a tombstone, and values changed in columns that stay are not
//! recorded. Copies get such changes by running the same migration, or by reading from the beginning.
//!
//! Rebuilding a table gives its rows other rowids, under which clocks stand. So `T__crsql_altering` keeps the clocks by
//! primary key until the commit.

use std::sync::Arc;

use rusqlite::{Connection, ErrorCode};

use super::catalog::{self, end_savepoint};
use super::clock::{ColumnId, RowClock};
use super::flush::flush;
use super::quote::{identifier, join, list};
use super::rows::Rows;
use super::state::State;
use super::table::Table;
use super::{Error, Result, Version, backfill, compact, layout, log, replicate, triggers};
use crate::crr::sort::sort;

/// What begins with `begin`; the name is cr-sqlite's. Each table that is being altered has opened one, and each commit ends
/// one, whichever that is.
const SAVEPOINT: &str = "alter_crr";

/// Begins to alter `name`. What is not replicated may be altered too, which does nothing.
pub(super) fn begin(conn: &Connection, state: &State, name: &str) -> Result<()> {
    flush(conn, state)?;
    conn.execute_batch(&format!("SAVEPOINT {SAVEPOINT}"))?;
    let begun = (|| {
        replicate::settle_renames(conn, state)?;
        if let Some(table) = state.tables(conn)?.named(conn, name)? {
            keep(conn, &table)?;
            triggers::drop_all(conn, name)?;
            layout::drop_views(conn, name)?;
        }
        catalog::set_master(conn, &marker(name), 1)
    })();
    state.forget_tables();
    if begun.is_err() { end_savepoint(conn, SAVEPOINT, begun) } else { begun }
}

/// Ends what [`begin`] began. On an error all is as it was before that; where several tables are being altered, as it was
/// before the first of them.
pub(super) fn commit(conn: &Connection, state: &State, name: &str) -> Result<()> {
    if catalog::master::<i64>(conn, &marker(name))?.is_none() {
        return Err(Error::NotAltering(name.to_owned()));
    }
    conn.execute_batch("SAVEPOINT crsql_commit_alter")?;
    let committed = flush(conn, state).and_then(|()| conclude(conn, state, name));
    let committed = end_savepoint(conn, "crsql_commit_alter", committed);
    state.forget_tables();
    let ended = committed.and_then(|()| end(conn, "RELEASE"));
    if ended.is_err() {
        while end(conn, "ROLLBACK TO")? && end(conn, "RELEASE")? {}
    }
    ended.map(drop)
}

/// Ends the innermost savepoint of an alteration. False if there is none: the application may have committed the transaction
/// in which an alteration began.
fn end(conn: &Connection, how: &str) -> Result<bool> {
    match conn.execute_batch(&format!("{how} {SAVEPOINT}")) {
        Ok(()) => Ok(true),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// `crsql_master`: that a table is being altered.
fn marker(name: &str) -> String {
    format!("altering.{name}")
}

/// The table of clocks by primary key.
fn altering(name: &str) -> String {
    identifier(&format!("{name}__crsql_altering"))
}

fn keep(conn: &Connection, table: &Table) -> Result<()> {
    let pks = list(table.pks.iter().map(|pk| format!("t.{}", identifier(&pk.name))));
    conn.execute_batch(&format!(
        "CREATE TABLE main.{} AS SELECT coalesce(c.number, c.key) AS __crsql_number, c.clock AS __crsql_clock, {pks}
         FROM main.{} t JOIN main.{} c ON c.key = {}",
        altering(&table.name),
        identifier(&table.name),
        Table::clocks(&table.name),
        table.sql.key,
    ))?;
    Ok(())
}

fn conclude(conn: &Connection, state: &State, name: &str) -> Result<()> {
    conn.execute("DELETE FROM main.crsql_master WHERE key = ?", [marker(name)])?;
    let kept = "SELECT count(*) FROM main.sqlite_master WHERE type = 'table' AND name = ?";
    if !conn.query_row(kept, [format!("{name}__crsql_altering")], |row| row.get::<_, bool>(0))? {
        return Ok(());
    }
    replicate::check(conn, name)?;
    let version = state.committed_version(conn)?;
    catalog::set_master(conn, "pre_compact_dbversion", version.get())?;
    conn.execute_batch(&format!("DELETE FROM main.{}", Table::clocks(name)))?;
    let rebuilt = replicate::has_other_pks(conn, name)?;
    if rebuilt {
        layout::drop_pks(conn, name)?;
    }
    let known = columns(conn, name)?;
    // In this order, so that no new column gets the number of one that is gone and still has cells.
    let table = replicate::describe(conn, name)?;
    forget_dropped_columns(conn, name)?;
    if !rebuilt {
        restore(conn, &table)?;
        drop_cells(conn, &table, &known)?;
        backfill::missing_rows(conn, state, &table, version.get())?;
        backfill::missing_cells(conn, state, &table, version.get())?;
    } else {
        backfill::missing_rows(conn, state, &table, version.get())?;
    }
    conn.execute_batch(&format!("DROP TABLE main.{}", altering(name)))?;
    triggers::create(conn, &table)?;
    state.forget_tables();
    rewrite_log(conn, state)
}

/// The columns that the clocks may speak of.
fn columns(conn: &Connection, name: &str) -> Result<Vec<ColumnId>> {
    let mut ids = conn
        .prepare("SELECT c.id FROM main.crsql_columns c JOIN main.crsql_tables t ON t.id = c.tbl WHERE t.name = ?")?;
    let ids = ids.query_map([name], |row| Ok(ColumnId(row.get(0)?)))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

fn forget_dropped_columns(conn: &Connection, name: &str) -> Result<()> {
    conn.execute(
        "DELETE FROM main.crsql_columns WHERE tbl = (SELECT id FROM main.crsql_tables WHERE name = ?1)
         AND name NOT IN (SELECT name FROM pragma_table_info(?1, 'main') WHERE pk = 0)",
        [name],
    )?;
    Ok(())
}

/// Puts the clocks under the keys that their rows have now.
fn restore(conn: &Connection, table: &Table) -> Result<()> {
    let renumbered = layout::number_by_key(conn, table)?;
    let same = join(table.pks.iter().map(|pk| format!("t.{0} = a.{0}", identifier(&pk.name))), " AND ");
    let number = if renumbered { "NULL".to_owned() } else { format!("nullif(a.__crsql_number, {})", table.sql.key) };
    conn.execute_batch(&format!(
        "INSERT INTO main.{} (key, clock, number) SELECT {}, a.__crsql_clock, {number} FROM main.{} a CROSS JOIN main.{} t ON {same}",
        Table::clocks(&table.name),
        table.sql.key,
        altering(&table.name),
        identifier(&table.name),
    ))?;
    Ok(())
}

/// Forgets the cells of columns that are gone: another column may get their number.
fn drop_cells(conn: &Connection, table: &Arc<Table>, known: &[ColumnId]) -> Result<()> {
    let stays = |id: ColumnId| table.columns.iter().any(|column| column.id == id);
    if known.iter().all(|&id| stays(id)) {
        return Ok(());
    }
    let mut scan = conn.prepare(&format!("SELECT key, clock FROM main.{}", Table::clocks(&table.name)))?;
    let clocks: Vec<(i64, Vec<u8>)> =
        scan.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let mut rows = Rows::new(conn, table.clone());
    for (key, record) in clocks {
        let mut clock = RowClock::decode(&record)?;
        if !clock.retain_columns(stays) {
            continue;
        }
        // A row of which nothing is left is recorded anew, with all its cells, or no peer would hear of it.
        if clock.iter().next().is_none() {
            rows.drop(key)?;
        } else {
            rows.replace_clock(key, &clock)?;
        }
    }
    Ok(())
}

/// The log names rows by keys that may be others now, and lacks what was added.
fn rewrite_log(conn: &Connection, state: &State) -> Result<()> {
    state.join(conn)?;
    compact::compact(conn, state.tables(conn)?.as_ref())?;
    // What the open transaction has logged so far it logs again when it commits.
    let mut versions: Vec<Version> = state.transaction.touched.borrow().iter().map(|(version, _)| *version).collect();
    sort(&mut versions);
    versions.dedup();
    for version in versions {
        let touched = log::read(conn, version)?;
        state.transaction.touched.borrow_mut().extend(touched.into_iter().map(|row| (version, row)));
    }
    Ok(())
}
