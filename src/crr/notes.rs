//! What the triggers of replicated tables call: functions that note a write in the [journal](super::journal).
//!
//! | function | notes |
//! | --- | --- |
//! | `crsql_note_insert(table, key, cells, pk…)` | a row with so many cells was inserted; no `pk` where it is the key |
//! | `crsql_note_update(table, key, word, new, old, …)` | which of some columns of a row changed |
//! | `crsql_note_move(table, key, old key, moved, new pk…, old pk…)` | a row took another key, and, if `moved`, another primary key |
//! | `crsql_note_delete(table, key, pk…)` | a row was deleted |
//! | `crsql_note_replacing(table, key, pk…)` | the next write of this primary key replaces the row with this key |
//! | `crsql_notes(table)` | whether writes to the table are noted at the moment |
//! | `crsql_confirm_note(token)` | that it was `main` that was written to; asked for where a note returns true ([`attached`]) |
//!
//! A function costs less than an insert into a virtual table: with nothing else in the trigger, SQLite opens no savepoint
//! for the statement.

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};

use super::error::to_sql_error;
use super::journal::{COLUMNS_PER_WORD, Event, Kind};
use super::pack::Packer;
use super::state::Shared;
use super::table::TableId;
use super::{Error, Result, attached, value};

/// How many columns a table can have.
const MAX_COLUMNS: i64 = 32_767;

const FLAGS: FunctionFlags = FunctionFlags::SQLITE_UTF8.union(FunctionFlags::SQLITE_INNOCUOUS);

/// Registers the functions on `conn`.
pub(super) fn register(conn: &Connection, shared: &Shared) -> Result<()> {
    type Note = fn(&Context<'_>) -> Result<Option<Kind>>;
    let notes: [(&str, Note); 5] = [
        ("crsql_note_insert", insert),
        ("crsql_note_update", update),
        ("crsql_note_move", change_key),
        ("crsql_note_delete", |context| Ok(Some(Kind::Delete { key: context.get(1)?, pk: required_pk(context)? }))),
        ("crsql_note_replacing", |context| {
            Ok(Some(Kind::Replacing { key: context.get(1)?, pk: required_pk(context)? }))
        }),
    ];
    for (name, note) in notes {
        let shared = shared.clone();
        conn.create_scalar_function(name, -1, FLAGS, move |context| {
            let table = TableId(context.get(0)?);
            if !shared.is_tracking(table) {
                shared.journal().fall_behind();
                return Ok(false);
            }
            let Some(kind) = note(context).map_err(to_sql_error)? else { return Ok(false) };
            let (conn, state) = (shared.conn(), shared.state());
            let must_confirm = attached::must_confirm(conn, state).map_err(to_sql_error)?;
            state.join(conn).map_err(to_sql_error)?;
            shared.journal().push(Event { table, kind });
            Ok(must_confirm)
        })?;
    }
    let confirming = shared.clone();
    conn.create_scalar_function("crsql_confirm_note", 1, FLAGS, move |context| {
        attached::confirm(confirming.state(), context.get_raw(0)).map_err(to_sql_error)?;
        Ok(false)
    })?;
    let shared = shared.clone();
    conn.create_scalar_function("crsql_notes", 1, FLAGS, move |context| {
        Ok(shared.is_tracking(TableId(context.get(0)?)))
    })?;
    Ok(())
}

fn insert(context: &Context<'_>) -> Result<Option<Kind>> {
    let pk = if context.len() > 3 { Some(packed(context, 3, context.len())?) } else { None };
    Ok(Some(Kind::Insert { key: context.get(1)?, cells: context.get::<i64>(2)?.clamp(0, MAX_COLUMNS), pk }))
}

fn update(context: &Context<'_>) -> Result<Option<Kind>> {
    let pairs = (context.len().saturating_sub(3) / 2).min(COLUMNS_PER_WORD);
    let changed = |i: &usize| value::compare(context.get_raw(3 + 2 * i), context.get_raw(4 + 2 * i)).is_ne();
    let mask = (0..pairs).filter(changed).fold(0u64, |mask, i| mask | 1 << i);
    if mask == 0 {
        return Ok(None);
    }
    let word: i64 = context.get(2)?;
    Ok(Some(Kind::Update { key: context.get(1)?, word: usize::try_from(word).unwrap_or_default(), mask }))
}

fn change_key(context: &Context<'_>) -> Result<Option<Kind>> {
    let (first, last) = (4, context.len());
    let middle = first + last.saturating_sub(first) / 2;
    let pk = |from, to| if from < to { packed(context, from, to).map(Some) } else { Ok(None) };
    let (pk, old_pk) = if context.get(3)? { (pk(first, middle)?, pk(middle, last)?) } else { (None, None) };
    Ok(Some(Kind::Move { key: context.get(1)?, old_key: context.get(2)?, pk, old_pk }))
}

fn required_pk(context: &Context<'_>) -> Result<Vec<u8>> {
    packed(context, 2, context.len())
}

/// Packs the arguments from one place to before another.
fn packed(context: &Context<'_>, from: usize, to: usize) -> Result<Vec<u8>> {
    if from >= to {
        return Err(Error::InvalidKey("a trigger names none"));
    }
    let mut packer = Packer::new(to - from)?;
    for i in from..to {
        packer.push(context.get_raw(i));
    }
    Ok(packer.finish())
}
