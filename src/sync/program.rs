//! Which tables a statement opens, as its program says.
//!
//! The authorizer is asked for the columns that a statement names. A join by USING or NATURAL compares columns that nobody
//! named, and the authorizer is not asked for those. A program leaves nothing out.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::tables::Tables;

/// What the program of `sql`, one statement, opens that is not in `tables`; `None` where that is nothing.
pub(super) fn opens_besides(conn: &Connection, sql: &str, tables: &Tables) -> rusqlite::Result<Option<String>> {
    let mut explain = conn.prepare(&format!("EXPLAIN {sql}"))?;
    let mut owner = conn.prepare("SELECT tbl_name FROM main.sqlite_schema WHERE rootpage = ?1")?;
    // The statement's own program comes first, then those of the triggers that it fires, each with its trigger's name.
    let mut program = explain.raw_query();
    let (mut is_first, mut is_engines) = (true, false);
    while let Some(step) = program.next()? {
        let (opcode, root, database): (String, i64, i64) = (step.get("opcode")?, step.get("p2")?, step.get("p3")?);
        let opened = match opcode.as_str() {
            "Init" => {
                let name: Option<String> = step.get("p4")?;
                is_engines = !is_first && name.is_some_and(|name| is_trigger_of(&name, tables));
                is_first = false;
                continue;
            }
            // The engine's triggers write the engine's tables.
            _ if is_engines => continue,
            "OpenRead" | "OpenWrite" | "ReopenIdx" if database == 0 => {
                let mut found = owner.query([root])?;
                found.next()?.map(|table| table.get(0)).transpose()?.unwrap_or_else(|| "sqlite_schema".to_owned())
            }
            "OpenRead" | "OpenWrite" | "ReopenIdx" => "of another database".to_owned(),
            "VOpen" => "that is virtual".to_owned(),
            _ => continue,
        };
        if !tables.contains(&opened) {
            return Ok(Some(opened));
        }
    }
    Ok(None)
}

/// What a statement that only reads opens.
pub(super) struct Reads {
    /// The tables.
    pub(super) tables: BTreeSet<String>,
    /// Whether it goes through none of them, so it looks for single rows.
    pub(super) is_direct: bool,
}

/// The tables whose rows `sql`, one statement, reads; `None` where changes do not tell what its result depends on: it
/// writes, or reads a virtual table, one that is not replicated, or the engine's counters.
pub(super) fn reads(conn: &Connection, sql: &str) -> rusqlite::Result<Option<Reads>> {
    let statement = conn.prepare(sql)?;
    if !statement.readonly() || statement.is_explain() != 0 {
        return Ok(None);
    }
    drop(statement);
    let mut explain = conn.prepare(&format!("EXPLAIN {sql}"))?;
    let mut replicated = conn.prepare(
        "SELECT tbl_name FROM main.sqlite_schema o WHERE rootpage = ?1 AND EXISTS
             (SELECT 1 FROM main.sqlite_schema WHERE name = o.tbl_name || '__crsql_clock')",
    )?;
    let mut reads = Reads { tables: BTreeSet::new(), is_direct: true };
    let mut cursors = BTreeSet::new();
    let mut program = explain.raw_query();
    while let Some(step) = program.next()? {
        let (opcode, cursor): (String, i64) = (step.get("opcode")?, step.get("p1")?);
        let (root, database): (i64, i64) = (step.get("p2")?, step.get("p3")?);
        let opened: Option<String> = match opcode.as_str() {
            "OpenRead" | "ReopenIdx" if database == 0 => {
                cursors.insert(cursor);
                let mut found = replicated.query([root])?;
                found.next()?.map(|table| table.get(0)).transpose()?
            }
            "OpenRead" | "ReopenIdx" | "OpenWrite" | "VOpen" => None,
            "Function" | "PureFunc" => {
                let called: Option<String> = step.get("p4")?;
                if !called.is_some_and(|name| name.starts_with("crsql_")) {
                    continue;
                }
                None
            }
            "Rewind" | "Last" | "Next" | "Prev" | "Count" => {
                reads.is_direct &= !cursors.contains(&cursor);
                continue;
            }
            _ => continue,
        };
        match opened {
            Some(table) => reads.tables.insert(table),
            None => return Ok(None),
        };
    }
    Ok(Some(reads))
}

/// Whether a program's title is that of one of the engine's triggers on a table of the set. A schema cannot use such names.
fn is_trigger_of(title: &str, tables: &Tables) -> bool {
    let name = title.strip_prefix("-- TRIGGER ").and_then(|name| name.split_once("__crsql_"));
    name.is_some_and(|(table, _)| tables.contains(table))
}
