//! The triggers of a replicated table: they report each write to the [journal](super::journal).
//!
//! A trigger does as little as it can: it calls a function that pushes a note on a vector ([`notes`](super::notes)). Clocks
//! are written at commit, once a row. Two triggers run *before* a write: they name a row that a
//! REPLACE is about to remove, since SQLite removes it without firing a delete trigger.

use rusqlite::{Connection, params_from_iter};

use super::Result;
use super::attached::note;
use super::journal::COLUMNS_PER_WORD;
use super::quote::{identifier, join, list};
use super::table::{Key, Table};

/// The suffixes of the triggers' names.
const SUFFIXES: [&str; 6] = ["itrig", "utrig", "mtrig", "dtrig", "rtrig", "prtrig"];

/// Creates the triggers of `table`, replacing those that stand.
pub(super) fn create(conn: &Connection, table: &Table) -> Result<()> {
    drop_all(conn, &table.name)?;
    conn.execute_batch(&insert(table))?;
    conn.execute_batch(&update(table))?;
    // The one that is created last fires first.
    conn.execute_batch(&change_pk(table))?;
    conn.execute_batch(&delete(table))?;
    if !table.key.follows_pk() {
        conn.execute_batch(&replace_by_insert(table))?;
        conn.execute_batch(&replace_by_update(table))?;
    }
    Ok(())
}

/// Drops the triggers of the table called `name`.
pub(super) fn drop_all(conn: &Connection, name: &str) -> Result<()> {
    for suffix in SUFFIXES {
        conn.execute_batch(&format!("DROP TRIGGER IF EXISTS main.{}", trigger(name, suffix)))?;
    }
    Ok(())
}

/// Whether the table `name` has triggers of the application. Its own carry the name `stored_as`.
pub(super) fn has_others(conn: &Connection, name: &str, stored_as: &str) -> Result<bool> {
    let own = SUFFIXES.map(|suffix| format!("{stored_as}__crsql_{suffix}"));
    let mut others = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM main.sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = lower(?1) AND name NOT IN (?2, ?3, ?4, ?5, ?6, ?7))
         OR EXISTS (SELECT 1 FROM temp.sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = lower(?1))",
    )?;
    Ok(others
        .query_row(params_from_iter(std::iter::once(name).chain(own.iter().map(|own| &**own))), |row| row.get(0))?)
}

fn trigger(name: &str, suffix: &str) -> String {
    identifier(&format!("{name}__crsql_{suffix}"))
}

fn insert(table: &Table) -> String {
    let pk = if has_integer_pk(table) { String::new() } else { pks(table, ", NEW.") };
    let cells = table.columns.len().max(1);
    let note = note(&format!("crsql_note_insert({}, {}, {cells}{pk})", table.id.0, key(table, "NEW.")));
    after("itrig", "INSERT", table, &format!("{}SELECT {note};", map_key(table)))
}

fn update(table: &Table) -> String {
    let (id, new_key, old_key) = (table.id.0, key(table, "NEW."), key(table, "OLD."));
    // A trigger of the application may fire between the insert of a row and that of its key.
    let mut body = map_key(table);
    if !table.key.follows_pk() {
        let note_move = note(&format!("crsql_note_move({id}, {new_key}, {old_key})"));
        body += &format!("SELECT {note_move} WHERE {new_key} <> {old_key};\n");
    }
    for (word, columns) in table.columns.chunks(COLUMNS_PER_WORD).enumerate() {
        let cells = columns.iter().map(|column| identifier(&column.name)).map(|name| format!("NEW.{name}, OLD.{name}"));
        let note_update = note(&format!("crsql_note_update({id}, {new_key}, {word}, {})", list(cells)));
        body += &format!("SELECT {note_update};\n");
    }
    // A trigger does something.
    if body.is_empty() {
        body = "SELECT NULL;".into();
    }
    after("utrig", "UPDATE", table, &body)
}

fn change_pk(table: &Table) -> String {
    let (id, new_key, old_key) = (table.id.0, key(table, "NEW."), key(table, "OLD."));
    let moved = join(table.pks.iter().map(|pk| changed(&pk.name)), " OR ");
    let pk = if has_integer_pk(table) { String::new() } else { pks(table, ", NEW.") + &pks(table, ", OLD.") };
    let note_move = note(&format!("crsql_note_move({id}, {new_key}, {old_key}{pk})"));
    let columns = list(table.pks.iter().map(|pk| identifier(&pk.name)));
    let body = format!("{}SELECT {note_move} WHERE {moved};", map_key(table));
    after("mtrig", &format!("UPDATE OF {columns}"), table, &body)
}

fn delete(table: &Table) -> String {
    let note = note(&format!("crsql_note_delete({}, {}{})", table.id.0, key(table, "OLD."), pks(table, ", OLD.")));
    after("dtrig", "DELETE", table, &format!("SELECT {note};"))
}

fn after(suffix: &str, write: &str, table: &Table, body: &str) -> String {
    let (trigger, name) = (trigger(&table.name, suffix), identifier(&table.name));
    format!("CREATE TRIGGER main.{trigger} AFTER {write} ON {name} BEGIN {body} END")
}

fn replace_by_insert(table: &Table) -> String {
    before("rtrig", "INSERT", table, &same_pk(table))
}

fn replace_by_update(table: &Table) -> String {
    let columns = list(table.pks.iter().map(|pk| identifier(&pk.name)));
    let victim = format!("{} AND {} <> {}", same_pk(table), key(table, ""), key(table, "OLD."));
    before("prtrig", &format!("UPDATE OF {columns}"), table, &victim)
}

/// A trigger that notes the row that a write is about to replace.
fn before(suffix: &str, write: &str, table: &Table, victim: &str) -> String {
    let (trigger, name, id) = (trigger(&table.name, suffix), identifier(&table.name), table.id.0);
    let note = note(&format!("crsql_note_replacing({id}, {}{})", key(table, ""), pks(table, ", NEW.")));
    format!(
        "CREATE TRIGGER main.{trigger} BEFORE {write} ON {name}
         WHEN (SELECT crsql_notes({id})) AND EXISTS (SELECT 1 FROM {name} WHERE {victim})
         BEGIN SELECT {note} FROM {name} WHERE {victim}; END"
    )
}

/// The condition by which a row has the primary key that is about to be written.
fn same_pk(table: &Table) -> String {
    let equal = |name: String| format!("{name} = NEW.{name}");
    join(table.pks.iter().map(|pk| equal(identifier(&pk.name))), " AND ")
}

fn has_integer_pk(table: &Table) -> bool {
    matches!(table.key, Key::Integer(_))
}

/// The key of the row that is called `row`: `NEW.`, `OLD.`, or empty for a row of the table itself.
fn key(table: &Table, row: &str) -> String {
    match &table.key {
        Key::Integer(column) => format!("{row}{column}"),
        Key::Rowid(alias) => format!("{row}{alias}"),
        Key::Mapped => {
            let by_pk = table.pks.iter().map(|pk| identifier(&pk.name)).map(|pk| format!("{pk} = {row}{pk}"));
            format!("(SELECT __crsql_key FROM {} WHERE {})", Table::keys(&table.name), join(by_pk, " AND "))
        }
    }
}

/// The statement that gives a new primary key a key, where they have theirs from the table of keys. It looks before it
/// inserts: the conflict clause of the application's statement would overrule one that stood here.
fn map_key(table: &Table) -> String {
    if table.key != Key::Mapped {
        return String::new();
    }
    let names = || table.pks.iter().map(|pk| identifier(&pk.name));
    let keys = Table::keys(&table.name);
    format!(
        "INSERT INTO {keys} ({}) SELECT {} WHERE NOT EXISTS (SELECT 1 FROM {keys} WHERE {});\n",
        list(names()),
        list(names().map(|name| format!("NEW.{name}"))),
        same_pk(table),
    )
}

/// The primary key columns, each behind `prefix`.
fn pks(table: &Table, prefix: &str) -> String {
    table.pks.iter().map(|pk| format!("{prefix}{}", identifier(&pk.name))).collect()
}

/// Whether a key column names another row: by the collation of its index, as SQLite tells rows apart.
fn changed(column: &str) -> String {
    let name = identifier(column);
    format!("NEW.{name} IS NOT OLD.{name}")
}
