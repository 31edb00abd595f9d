//! Fractional indexing: rows of a list carry text keys, between any two of which there is room for another.
//!
//! `crsql_fract_as_ordered` gives a table triggers, by which a row goes to the front (-1) or the end (1) of its list,
//! and a view, by which it goes behind another row. Only the row that moves is written, so two copies that reorder one
//! list at the same time merge without a loss.

mod conflict;
mod keys;
mod ordered;

use rusqlite::Connection;
use rusqlite::functions::Context;
use rusqlite::types::ValueRef;

use super::error::to_sql_error;
use super::functions::{DETERMINISTIC, DIRECT_ONLY, INNOCUOUS};
use super::state::Shared;
use super::{Error, Result};

pub(super) use ordered::{as_ordered, drop_all};

/// Registers the functions.
pub(super) fn register(conn: &Connection, shared: &Shared) -> Result<()> {
    let engine = shared.clone();
    conn.create_scalar_function("crsql_fract_as_ordered", -1, DIRECT_ONLY, move |context| {
        let names = (0..context.len()).map(|i| name(context, i)).collect::<Result<Vec<_>>>();
        names.and_then(|names| ordered::as_ordered(engine.conn(), &names)).map_err(to_sql_error)?;
        Ok(rusqlite::types::Null)
    })?;
    conn.create_scalar_function("crsql_fract_key_between", 2, DETERMINISTIC, |context| {
        let between = || keys::between(key(context.get_raw(0))?.as_deref(), key(context.get_raw(1))?.as_deref());
        between().map_err(to_sql_error)
    })?;
    let engine = shared.clone();
    conn.create_scalar_function("crsql_fract_fix_conflict_return_old_key", -1, INNOCUOUS, move |context| {
        conflict::fix(engine.conn(), context).map_err(to_sql_error)
    })?;
    Ok(())
}

/// The argument `i`, which names a table or a column.
fn name(context: &Context<'_>, i: usize) -> Result<String> {
    context.get(i).map_err(|_| Error::Order("a table and its columns are named by text"))
}

/// A key as it stands in a table. What is not text is no key, and NULL is an open end.
fn key(value: ValueRef<'_>) -> Result<Option<String>> {
    match value {
        ValueRef::Null => Ok(None),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(Error::Order("a key is of printable ASCII characters")),
        },
        _ => Err(Error::Order("a key is text")),
    }
}
