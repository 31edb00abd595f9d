//! `crsql_as_crr` and `crsql_as_table`: an ordinary table becomes a replicated one, and back.

use std::ffi::c_int;
use std::sync::Arc;

use rusqlite::{Connection, Row, ffi};

use super::backfill;
use super::catalog::{self, end_savepoint};
use super::flush::flush;
use super::quote::identifier;
use super::state::State;
use super::table::{self, Shape, Table};
use super::{Error, Result, Version, layout, triggers};

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
    settle_renames(conn, state)?;
    forget_predecessor(conn, name)?;
    let table = describe(conn, name)?;
    triggers::create(conn, &table)?;
    let any = format!("SELECT EXISTS (SELECT 1 FROM main.{})", identifier(&table.name));
    // An empty table takes no version.
    if !conn.query_row(&any, [], |row| row.get::<_, bool>(0))? {
        return Ok(());
    }
    let version = state.next_version(conn, Version::ZERO)?;
    state.join(conn)?;
    let touched = backfill::missing_rows(conn, state, &table, version.get())?;
    touched.into_iter().for_each(|row| state.touch(version, row));
    Ok(())
}

/// Enters the table as it is now, and makes its clock tables where they are missing.
pub(super) fn describe(conn: &Connection, name: &str) -> Result<Arc<Table>> {
    let shape = Shape::load(conn, name)?;
    let id = catalog::add_table(conn, name, &shape)?;
    let table = Table::describe(conn, id, name, name)?;
    Ok(Arc::new(table.ok_or(Error::Corrupt("a table vanished while it was replicated"))?))
}

/// A table of this name may have been replicated and dropped. Its clocks are of other rows; its tombstones still speak of
/// primary keys, unless those are of other columns.
fn forget_predecessor(conn: &Connection, name: &str) -> Result<()> {
    layout::drop_clocks(conn, name)?;
    if has_other_pks(conn, name)? { layout::drop_pks(conn, name) } else { Ok(()) }
}

/// Whether the tombstones of `name` have other key columns than the table has now. The order counts for nothing.
pub(super) fn has_other_pks(conn: &Connection, name: &str) -> Result<bool> {
    let names = |sql: &str, of: &str| -> Result<Vec<String>> {
        let mut names = conn.prepare(sql)?;
        let names = names.query_map([of], |row| row.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    };
    let now = names("SELECT name FROM pragma_table_info(?, 'main') WHERE pk > 0 ORDER BY name", name)?;
    let then = names(
        "SELECT name FROM pragma_table_info(?, 'main') WHERE name NOT IN ('__crsql_id', '__crsql_clock') ORDER BY name",
        &format!("{name}__crsql_tombstones"),
    )?;
    Ok(now != then)
}

/// Brings the names of clock tables and triggers behind those of tables that were renamed since.
pub(super) fn settle_renames(conn: &Connection, state: &State) -> Result<()> {
    // One look at the names: reading all tables for each that is replicated would take time that grows with the square.
    let renamed = "SELECT EXISTS (SELECT 1 FROM main.sqlite_master m JOIN main.crsql_tables t
                   ON t.name = substr(m.name, 1, length(m.name) - length('__crsql_itrig'))
                   WHERE m.type = 'trigger' AND m.name LIKE '%__crsql_itrig' AND lower(m.tbl_name) <> lower(t.name))";
    if !conn.query_row(renamed, [], |row| row.get::<_, bool>(0))? {
        return Ok(());
    }
    let tables = state.tables(conn)?;
    for table in tables.all(conn)?.iter().filter(|table| table.name != table.stored_as) {
        triggers::drop_all(conn, &table.stored_as)?;
        forget_predecessor(conn, &table.name)?;
        conn.execute("DELETE FROM main.crsql_tables WHERE name = ?", [&*table.name])?;
        layout::drop_pks(conn, &table.name)?;
        layout::rename(conn, &table.stored_as, &table.name)?;
        conn.execute("UPDATE main.crsql_tables SET name = ? WHERE id = ?", (&*table.name, table.id.0))?;
        let table = describe(conn, &table.name)?;
        triggers::create(conn, &table)?;
    }
    Ok(())
}

/// `crsql_as_table`: the table becomes an ordinary one, and what was known about its rows is forgotten. Versions go on
/// from where they are, so that readers see what is written if it is replicated again.
pub(super) fn as_table(conn: &Connection, state: &State, name: &str) -> Result<()> {
    flush(conn, state)?;
    conn.execute_batch("SAVEPOINT crsql_as_table")?;
    let outcome = settle_renames(conn, state)
        .and_then(|()| triggers::drop_all(conn, name))
        .and_then(|()| catalog::remove_table(conn, name));
    state.forget_tables();
    end_savepoint(conn, "crsql_as_table", outcome)
}

fn is_crr(conn: &Connection, name: &str) -> Result<bool> {
    let known =
        "SELECT count(*) FROM main.sqlite_master WHERE type = 'trigger' AND name = ? AND lower(tbl_name) = lower(?)";
    Ok(conn.query_row(known, [&format!("{name}__crsql_itrig"), name], |row| row.get(0))?)
}

/// What a table must be like. The first rule that it breaks is reported, in cr-sqlite's order and words.
pub(super) fn check(conn: &Connection, name: &str) -> Result<()> {
    let any = |sql: &str| conn.query_row(sql, [name], |row: &Row<'_>| row.get::<_, bool>(0));
    let refuse = |why: &str| Err(Error::NotReplicable(why.replace("{}", name)));
    if any("SELECT count(*) FROM pragma_index_list(?, 'main') WHERE origin <> 'pk' AND \"unique\"")? {
        return refuse("Table {} has unique indices besides the primary key. This is not allowed for CRRs");
    }
    // The primary key of a table WITHOUT ROWID is never NULL.
    let implicit = i32::from(table::declared(conn, name)?.without_rowid);
    let nullable = format!(
        "SELECT count(*) FROM pragma_table_info(?1, 'main') WHERE pk > 0 AND NOT \"notnull\" AND NOT {implicit}"
    );
    let solid =
        format!("SELECT count(*) FROM pragma_table_info(?1, 'main') WHERE pk > 0 AND (\"notnull\" OR {implicit})");
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
    if any("SELECT count(*) FROM main.sqlite_master WHERE type = 'table' AND name = ? AND sql LIKE '%autoincrement%'")?
    {
        return refuse(
            "{} has auto-increment primary keys. This is likely a mistake as two concurrent nodes will assign unrelated rows the same primary key. Either use a primary key that represents the identity of your row or use a database friendly UUID such as UUIDv7",
        );
    }
    if any("SELECT count(*) FROM pragma_foreign_key_list(?, 'main')")? {
        return refuse(
            "Table {} has checked foreign key constraints. CRRs may have foreign keys but must not have checked foreign key constraints as they can be violated by row level security or replication.",
        );
    }
    if any("SELECT count(*) FROM pragma_table_xinfo(?, 'main') WHERE pk = 0 AND \"notnull\" AND dflt_value IS NULL")? {
        return refuse(
            "Table {} has a NOT NULL column without a DEFAULT VALUE. This is not allowed as it prevents forwards and backwards compatibility between schema versions. Make the column nullable or assign a default value to it.",
        );
    }
    if any("SELECT count(*) FROM pragma_table_xinfo(?, 'main') WHERE pk = 0 AND name = '-1'")? {
        return refuse(
            "Table {} has a column named -1. This is not allowed for CRRs, whose changes call the row itself so",
        );
    }
    let columns: i64 = conn.query_row("SELECT count(*) FROM pragma_table_info(?, 'main')", [name], |row| row.get(0))?;
    if columns + 3 > limit(conn, ffi::SQLITE_LIMIT_COLUMN) {
        return refuse("Table {} has too many columns: what is kept of a row is read beside them");
    }
    let pks: i64 =
        conn.query_row("SELECT count(*) FROM pragma_table_info(?, 'main') WHERE pk > 0", [name], |row| row.get(0))?;
    if 3 + 2 * pks > limit(conn, ffi::SQLITE_LIMIT_FUNCTION_ARG) {
        return refuse("Table {} has too many primary key columns: a trigger names each of them twice");
    }
    Ok(())
}

/// One of SQLite's limits on this connection.
fn limit(conn: &Connection, which: c_int) -> i64 {
    // SAFETY: the handle is open; a negative number asks and changes nothing.
    unsafe { ffi::sqlite3_limit(conn.handle(), which, -1) }.into()
}
