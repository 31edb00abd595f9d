//! Does the steps of a plan. The caller undoes all of them when one fails.

use rusqlite::Connection;

use super::super::quote::{identifier, list};
use super::super::state::State;
use super::super::tokens::tokens;
use super::super::{Error, Result, alter, fract, replicate};
use super::objects::{Object, Objects, find};
use super::plan::{Plan, Step};

pub(super) fn apply(conn: &Connection, state: &State, plan: &Plan) -> Result<()> {
    if plan.steps.is_empty() {
        return Ok(());
    }
    let before = Objects::load(conn)?;
    // SQLite refuses to alter a table while a view or a trigger speaks of what is gone. They come back below.
    drop_all(conn, "TRIGGER", &before.triggers)?;
    drop_all(conn, "VIEW", &before.views)?;
    for step in &plan.steps {
        do_step(conn, state, step)?;
    }
    restore(conn, "view", &before.views, plan)?;
    restore(conn, "trigger", &before.triggers, plan)?;
    try_all(conn)
}

fn do_step(conn: &Connection, state: &State, step: &Step) -> Result<()> {
    match step {
        Step::DropIndex { name } => run(conn, &format!("DROP INDEX main.{}", identifier(name))),
        Step::DropTable { name } => {
            fract::drop_all(conn, name)?;
            if state.tables(conn)?.has(name) {
                replicate::as_table(conn, state, name)?;
            }
            run(conn, &format!("DROP TABLE main.{}", identifier(name)))
        }
        Step::AlterTable { name, drop, add } => altering(conn, state, name, || {
            let table = identifier(name);
            for column in drop {
                run(conn, &format!("ALTER TABLE main.{table} DROP COLUMN {}", identifier(column)))?;
            }
            add.iter().try_for_each(|column| run(conn, &format!("ALTER TABLE main.{table} ADD COLUMN {column}")))
        }),
        Step::RebuildTable { name, keep, sql, .. } => altering(conn, state, name, || rebuild(conn, name, keep, sql)),
        // After the tables, so that an index speaks of columns that are there; before them, it would be altered with them.
        Step::Create { kind: "table", sql, .. } => create(conn, "table", sql),
        Step::Create { kind: "index", table, sql, .. } => {
            create(conn, "index", sql)?;
            // A replicated table has no unique index but its primary key's.
            if state.tables(conn)?.has(table) { replicate::check(conn, table) } else { Ok(()) }
        }
        // Views and triggers are created when all tables are there.
        Step::Create { .. } => Ok(()),
        Step::Replicate { name } => replicate::as_crr(conn, state, name),
        Step::Order { arguments } => fract::as_ordered(conn, arguments),
    }
}

/// Changes a table, as an alteration where it is replicated.
fn altering(conn: &Connection, state: &State, name: &str, change: impl FnOnce() -> Result<()>) -> Result<()> {
    fract::drop_all(conn, name)?;
    if !state.tables(conn)?.has(name) {
        return change();
    }
    alter::begin(conn, state, name)?;
    change()?;
    alter::commit(conn, state, name)
}

/// Makes a table anew (SQLite, "Making Other Kinds Of Table Schema Changes"). Its indices go, and come back.
fn rebuild(conn: &Connection, name: &str, keep: &[String], sql: &str) -> Result<()> {
    let indices: Vec<Object> =
        Objects::load(conn)?.indices.into_iter().filter(|index| index.table.eq_ignore_ascii_case(name)).collect();
    let new = identifier(&format!("{name}__crsql_new"));
    // The text is `CREATE TABLE`, a name, and the definition.
    let definition = tokens(sql).get(2).and_then(|name| sql.get(name.range.end..)).unwrap_or_default();
    run(conn, &format!("CREATE TABLE main.{new} {definition}"))?;
    let (table, columns) = (identifier(name), list(keep.iter().map(|column| identifier(column))));
    run(
        conn,
        &format!(
            "INSERT INTO main.{new} ({columns}) SELECT {columns} FROM main.{table};
             DROP TABLE main.{table};
             ALTER TABLE main.{new} RENAME TO {table};"
        ),
    )?;
    indices.iter().try_for_each(|index| create(conn, "index", &index.sql))
}

/// Runs a text of `sqlite_master`, in main whatever hides its tables.
fn create(conn: &Connection, kind: &str, sql: &str) -> Result<()> {
    let words = tokens(sql);
    // `CREATE UNIQUE INDEX` has one word more.
    let name = words.iter().position(|word| word.is(kind)).and_then(|at| words.get(at + 1));
    let text = name.and_then(|name| Some((sql.get(..name.range.start)?, sql.get(name.range.start..)?)));
    let (head, rest) = text.ok_or(Error::Corrupt("a statement of the schema has no name"))?;
    run(conn, &format!("{head}main.{rest}"))
}

fn drop_all(conn: &Connection, kind: &str, objects: &[Object]) -> Result<()> {
    objects.iter().try_for_each(|object| run(conn, &format!("DROP {kind} main.{}", identifier(&object.name))))
}

/// Creates the views or triggers that there were, and those of the plan in their place. What belonged to a table that is gone
/// is gone with it.
fn restore(conn: &Connection, kind: &str, before: &[Object], plan: &Plan) -> Result<()> {
    let planned = plan.steps.iter().filter_map(|step| match step {
        Step::Create { kind: its, name, table, sql } if *its == kind => Some((name, table, sql)),
        _ => None,
    });
    let planned: Vec<_> = planned.collect();
    let gone = |table: &str| plan.steps.iter().any(|step| matches!(step, Step::DropTable { name } if name == table));
    for old in before {
        if !planned.iter().any(|(name, ..)| name.eq_ignore_ascii_case(&old.name)) && !gone(&old.table) {
            create(conn, kind, &old.sql)?;
        }
    }
    planned.iter().try_for_each(|(_, _, sql)| create(conn, kind, sql))
}

/// Prepares what views and triggers do: they must find what they speak of.
fn try_all(conn: &Connection) -> Result<()> {
    let now = Objects::load(conn)?;
    let broken = |kind: &str, object: &Object, error: &rusqlite::Error| {
        Error::Migration(format!(
            "{kind} {:?} would not work any more ({error}): name it in the schema, or drop it",
            object.name
        ))
    };
    for view in &now.views {
        let select = format!("SELECT 1 FROM main.{}", identifier(&view.name));
        conn.prepare(&select).map_err(|error| broken("view", view, &error))?;
    }
    for trigger in now.triggers.iter().filter(|trigger| find(&now.tables, &trigger.table).is_some()) {
        let table = identifier(&trigger.table);
        let column = "SELECT name FROM pragma_table_info(?, 'main') LIMIT 1";
        let column = identifier(&conn.query_row(column, [&trigger.table], |row| row.get::<_, String>(0))?);
        for write in [
            format!("INSERT INTO main.{table} DEFAULT VALUES"),
            format!("UPDATE main.{table} SET {column} = {column}"),
            format!("DELETE FROM main.{table}"),
        ] {
            conn.prepare(&write).map_err(|error| broken("trigger", trigger, &error))?;
        }
    }
    Ok(())
}

fn run(conn: &Connection, sql: &str) -> Result<()> {
    Ok(conn.execute_batch(sql)?)
}
