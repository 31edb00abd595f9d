//! The triggers of a replicated table: they report each write to the [journal](super::journal).
//!
//! A trigger does as little as it can: one insert into `crsql_local_writes`, a virtual table that pushes a note on a
//! vector. Clocks are written at commit, once a row. Two triggers run *before* a write: they name a row that a
//! REPLACE is about to remove, since SQLite removes it without firing a delete trigger.

use rusqlite::Connection;

use super::Result;
use super::journal::{COLUMNS_PER_WORD, Op};
use super::quote::{identifier, join, list};
use super::table::{Key, Table};

/// The suffixes of the triggers' names.
const SUFFIXES: [&str; 5] = ["itrig", "utrig", "dtrig", "rtrig", "prtrig"];

/// Creates the triggers of `table`, replacing those that stand.
pub(super) fn create(conn: &Connection, table: &Table) -> Result<()> {
    drop_all(conn, &table.name)?;
    conn.execute_batch(&insert(table))?;
    conn.execute_batch(&update(table))?;
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
        conn.execute_batch(&format!("DROP TRIGGER IF EXISTS {}", trigger(name, suffix)))?;
    }
    Ok(())
}

fn trigger(name: &str, suffix: &str) -> String {
    identifier(&format!("{name}__crsql_{suffix}"))
}

fn insert(table: &Table) -> String {
    let pk = if has_integer_pk(table) { "NULL".to_owned() } else { packed(table, "NEW.") };
    format!(
        "CREATE TRIGGER {} AFTER INSERT ON {} BEGIN
           {}INSERT INTO crsql_local_writes (op, tbl, key, mask, pk) VALUES ({}, {}, {}, {}, {pk});
         END",
        trigger(&table.name, "itrig"),
        identifier(&table.name),
        map_key(table),
        Op::Insert as i64,
        table.id.0,
        key(table, "NEW."),
        table.columns.len().max(1),
    )
}

fn update(table: &Table) -> String {
    let (id, new_key) = (table.id.0, key(table, "NEW."));
    let moved = join(table.pks.iter().map(|pk| changed(&pk.name)), " OR ");
    let packed_if_moved = |prefix| format!("CASE WHEN {moved} THEN {} END", packed(table, prefix));
    let (pk, old_pk) = if has_integer_pk(table) {
        ("NULL".to_owned(), "NULL".to_owned())
    } else {
        (packed_if_moved("NEW."), packed_if_moved("OLD."))
    };
    // A table of keys alone has one word, which speaks of no columns.
    let words = table.columns.len().div_ceil(COLUMNS_PER_WORD).max(1);
    let mut body = map_key(table);
    for word in 0..words {
        let columns = table.columns.iter().skip(word * COLUMNS_PER_WORD).take(COLUMNS_PER_WORD);
        let cells = list(columns.flat_map(|column| {
            let name = identifier(&column.name);
            [format!("NEW.{name}"), format!("OLD.{name}")]
        }));
        let mask = if table.columns.is_empty() { "0".to_owned() } else { format!("crsql_changed_cells({cells})") };
        let (pk, old_pk) = if word == 0 { (pk.as_str(), old_pk.as_str()) } else { ("NULL", "NULL") };
        // The move is reported once; the words after the first speak of the row where it now is.
        let old_key = key(table, if word == 0 { "OLD." } else { "NEW." });
        body += &format!(
            "INSERT INTO crsql_local_writes (op, tbl, key, old_key, mask, word, pk, old_pk)
             VALUES ({}, {id}, {new_key}, {old_key}, {mask}, {word}, {pk}, {old_pk});\n",
            Op::Update as i64
        );
    }
    format!(
        "CREATE TRIGGER {} AFTER UPDATE ON {} BEGIN {body} END",
        trigger(&table.name, "utrig"),
        identifier(&table.name)
    )
}

fn delete(table: &Table) -> String {
    format!(
        "CREATE TRIGGER {} AFTER DELETE ON {} BEGIN
           INSERT INTO crsql_local_writes (op, tbl, key, pk) VALUES ({}, {}, {}, {});
         END",
        trigger(&table.name, "dtrig"),
        identifier(&table.name),
        Op::Delete as i64,
        table.id.0,
        key(table, "OLD."),
        packed(table, "OLD."),
    )
}

fn replace_by_insert(table: &Table) -> String {
    let victim = same_pk(table);
    format!(
        "CREATE TRIGGER {} BEFORE INSERT ON {} WHEN EXISTS (SELECT 1 FROM {1} WHERE {victim}) BEGIN {} END",
        trigger(&table.name, "rtrig"),
        identifier(&table.name),
        report_victim(table, &victim)
    )
}

fn replace_by_update(table: &Table) -> String {
    let name = identifier(&table.name);
    let columns = list(table.pks.iter().map(|pk| identifier(&pk.name)));
    let victim = format!("{} AND {} <> {}", same_pk(table), key(table, ""), key(table, "OLD."));
    format!(
        "CREATE TRIGGER {} BEFORE UPDATE OF {columns} ON {name} WHEN EXISTS (SELECT 1 FROM {name} WHERE {victim}) BEGIN {} END",
        trigger(&table.name, "prtrig"),
        report_victim(table, &victim)
    )
}

/// The condition by which a row has the primary key that is about to be written.
fn same_pk(table: &Table) -> String {
    let equal = |name: String| format!("{name} = NEW.{name}");
    join(table.pks.iter().map(|pk| equal(identifier(&pk.name))), " AND ")
}

fn report_victim(table: &Table, victim: &str) -> String {
    format!(
        "INSERT INTO crsql_local_writes (op, tbl, key, pk) SELECT {}, {}, {}, {} FROM {} WHERE {victim};",
        Op::Replacing as i64,
        table.id.0,
        key(table, ""),
        packed(table, "NEW."),
        identifier(&table.name),
    )
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

fn packed(table: &Table, prefix: &str) -> String {
    let columns = table.pks.iter().map(|pk| format!("{prefix}{}", identifier(&pk.name)));
    format!("crsql_pack_columns({})", list(columns))
}

/// Whether a key column names another row: by the collation of its index, as SQLite tells rows apart.
fn changed(column: &str) -> String {
    let name = identifier(column);
    format!("NEW.{name} IS NOT OLD.{name}")
}
