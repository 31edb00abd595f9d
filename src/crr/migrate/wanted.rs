//! What a schema text describes: it is run in a database in memory.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::functions::Context;
use rusqlite::types::Value;
use rusqlite::{Batch, Connection};

use super::super::functions::DIRECT_ONLY;
use super::super::tokens::{Token, tokens};
use super::super::{Error, Result, fract};
use super::objects::Objects;

/// The shape that a database shall have.
pub(super) struct Wanted {
    pub(super) objects: Objects,
    /// The tables that shall be replicated.
    pub(super) crrs: Vec<String>,
    /// The tables that shall be ordered: table, column, list columns.
    pub(super) orders: Vec<Vec<String>>,
}

/// A call of a function of the engine in the text.
type Call = (&'static str, Vec<String>);

impl Wanted {
    /// Runs `schema`, then `cleanup`, which may do as little.
    pub(super) fn from_text(schema: &str, cleanup: &str) -> Result<Self> {
        let conn = Connection::open_in_memory()?;
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        for name in ["crsql_as_crr", "crsql_fract_as_ordered", "crsql_finalize"] {
            let calls = calls.clone();
            conn.create_scalar_function(name, -1, DIRECT_ONLY, move |context| {
                calls.lock().unwrap_or_else(PoisonError::into_inner).push((name, names(context)?));
                Ok(Value::Null)
            })?;
        }
        run(&conn, schema)?;
        run(&conn, cleanup)?;
        let (mut crrs, mut orders) = (Vec::new(), Vec::new());
        for (function, mut arguments) in std::mem::take(&mut *calls.lock().unwrap_or_else(PoisonError::into_inner)) {
            match function {
                // With a schema before it, which is main.
                "crsql_as_crr" => crrs.extend(arguments.pop()),
                "crsql_fract_as_ordered" => {
                    fract::as_ordered(&conn, &arguments)?;
                    orders.push(arguments);
                }
                _ => {}
            }
        }
        let objects = Objects::load(&conn)?;
        for name in &mut crrs {
            // By the name that the table has, however the call spells it.
            match objects.tables.iter().find(|table| table.name.eq_ignore_ascii_case(name)) {
                Some(table) => name.clone_from(&table.name),
                None => return Err(Error::Migration(format!("the schema replicates {name:?} and does not create it"))),
            }
        }
        Ok(Self { objects, crrs, orders })
    }
}

fn names(context: &Context<'_>) -> rusqlite::Result<Vec<String>> {
    (0..context.len()).map(|i| context.get(i)).collect()
}

/// Runs the statements that a schema may have: they create, and they call functions of the engine. None of them can run for
/// long, or reach out of the database in memory.
fn run(conn: &Connection, text: &str) -> Result<()> {
    let mut batch = Batch::new(conn, text);
    while let Some(mut statement) = batch.next()? {
        // Without its text a statement would pass for an empty one.
        let text = statement.expanded_sql().ok_or(Error::Corrupt("a statement of a schema has no text"))?;
        let mut words = tokens(&text);
        // Empty statements count to the next one.
        words.drain(..words.iter().take_while(|word| word.text == ";").count());
        if words.is_empty() {
            continue;
        }
        check(&words)?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
    }
    Ok(())
}

fn check(words: &[Token]) -> Result<()> {
    let is = |at: usize, keywords: &[&str]| words.get(at).is_some_and(|word: &Token| word.is_any(keywords));
    let has = |keyword| words.iter().any(|word| word.is(keyword));
    let allowed = if is(0, &["create"]) {
        let creates_rows = is(1, &["table"]) && has("select");
        is(1, &["table", "index", "unique", "view", "trigger"]) && !creates_rows
    } else if is(0, &["select"]) {
        let calls = words.get(1).is_some_and(|word| word.text.starts_with("crsql_"));
        calls && !words.iter().skip(1).any(|word| word.is_any(&["select", "from", "with"]))
    } else {
        is(0, &["begin", "commit", "end"])
    };
    if allowed {
        return Ok(());
    }
    let start: Vec<&str> = words.iter().take(3).map(|word| word.text.as_str()).collect();
    Err(Error::Migration(format!(
        "a schema creates tables, indices, views and triggers, and calls crsql_as_crr and crsql_fract_as_ordered; it cannot {:?}",
        start.join(" ")
    )))
}
