//! What the triggers of replicated tables call: functions that note a write in the [journal](super::journal).
//!
//! | function | notes |
//! | --- | --- |
//! | `crsql_note_insert(table, key, cells, pk…)` | a row with so many cells was inserted; no `pk` where it is the key |
//! | `crsql_note_update(table, key, word, new, old, …)` | which of some columns of a row changed |
//! | `crsql_note_move(table, key, old key, new pk…, old pk…)` | a row took another primary key; none where the key is it, or only the key changed |
//! | `crsql_note_delete(table, key, pk…)` | a row was deleted |
//! | `crsql_note_replacing(table, key, pk…)` | the next write of this primary key replaces the row with this key |
//! | `crsql_notes(table)` | whether a write to the table is of interest: not if a merge makes it |
//! | `crsql_confirm_note(token)` | that it was `main` that was written to; asked for where a note returns true ([`attached`]) |
//!
//! They are *aggregate* functions, each over the one row of its SELECT. Of a scalar function SQLite assumes that it may fail
//! after rows were written, so it keeps a copy of every page that a statement changes whose triggers call one; of an
//! aggregate it does not, and that copy is a large part of what an update or a delete costs. An error in one may thus leave
//! a row written that was not noted: the transaction can only be rolled back then, which [`flush`](super::flush) sees to.
//! A function costs less than an insert into a virtual table, too.

use std::ffi::{CString, c_int, c_void};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error as SqlError, ffi};

use super::call::{self, Arguments};
use super::journal::{COLUMNS_PER_WORD, Event, Kind};
use super::pack::Packer;
use super::state::Shared;
use super::table::TableId;
use super::{Error, Result, attached, value};

/// How many columns a table can have.
const MAX_COLUMNS: i64 = 32_767;

/// Does what a function is for, and returns what it answers.
type Work = fn(&Shared, &Arguments<'_>) -> Result<bool>;

/// A function as it is registered.
struct Function {
    shared: Shared,
    work: Work,
}

/// Registers the functions on `conn`.
pub(super) fn register(conn: &Connection, shared: &Shared) -> Result<()> {
    let functions: [(&str, c_int, Work); 7] = [
        ("crsql_note_insert", -1, |shared, call| note(shared, call, insert)),
        ("crsql_note_update", -1, |shared, call| note(shared, call, update)),
        ("crsql_note_move", -1, |shared, call| note(shared, call, change_key)),
        ("crsql_note_delete", -1, |shared, call| note(shared, call, delete)),
        ("crsql_note_replacing", -1, |shared, call| note(shared, call, replacing)),
        ("crsql_confirm_note", 1, |shared, call| attached::confirm(shared.state(), call.get(0)).map(|()| true)),
        ("crsql_notes", 1, |shared, call| Ok(!shared.is_merging(TableId(call.integer(0)?)))),
    ];
    for (name, arguments, work) in functions {
        let name = CString::new(name).map_err(SqlError::NulError)?;
        let function = Box::into_raw(Box::new(Function { shared: shared.clone(), work }));
        let flags = ffi::SQLITE_UTF8 | ffi::SQLITE_INNOCUOUS;
        // SAFETY: the handle is open, and SQLite takes the box over even when it fails.
        let code = unsafe {
            ffi::sqlite3_create_function_v2(
                conn.handle(),
                name.as_ptr(),
                arguments,
                flags,
                function.cast(),
                None,
                Some(step),
                Some(finish),
                Some(forget),
            )
        };
        if code != ffi::SQLITE_OK {
            return Err(SqlError::SqliteFailure(ffi::Error::new(code), None).into());
        }
    }
    Ok(())
}

/// # Safety
/// `context` must be one that SQLite passed to a function of this module.
unsafe fn function<'a>(context: *mut ffi::sqlite3_context) -> &'a Function {
    // SAFETY: the user data is the box given to sqlite3_create_function_v2, which lives as long as the function.
    unsafe { &*ffi::sqlite3_user_data(context).cast::<Function>() }
}

unsafe extern "C" fn step(context: *mut ffi::sqlite3_context, argc: c_int, argv: *mut *mut ffi::sqlite3_value) {
    // SAFETY: SQLite passes a context and arguments.
    let (function, arguments) = unsafe { (function(context), Arguments::new(argc, argv)) };
    let state = function.shared.state();
    match (function.work)(&function.shared, &arguments) {
        Ok(answer) => state.answer.set(answer),
        Err(error) => {
            // Without a transaction that is joined, whose end SQLite tells of, there is none that wrote anything.
            let joined = state.join(function.shared.conn());
            state.transaction.is_broken.set(joined.is_ok() && state.transaction.is_joined());
            // SAFETY: SQLite passes a context.
            unsafe { call::fail(context, error) };
        }
    }
}

unsafe extern "C" fn finish(context: *mut ffi::sqlite3_context) {
    // SAFETY: SQLite passes a context.
    let answer = unsafe { function(context) }.shared.state().answer.replace(false);
    // SAFETY: as above.
    unsafe { call::answer(context, ValueRef::Integer(answer.into())) };
}

unsafe extern "C" fn forget(function: *mut c_void) {
    // SAFETY: the pointer is the box given to sqlite3_create_function_v2, and SQLite calls this once.
    drop(unsafe { Box::from_raw(function.cast::<Function>()) });
}

/// Notes a write. Returns whether it must be confirmed.
fn note(shared: &Shared, call: &Arguments<'_>, read: fn(&Arguments<'_>) -> Result<Option<Kind>>) -> Result<bool> {
    let table = TableId(call.integer(0)?);
    if shared.is_merging(table) {
        return Ok(false);
    }
    let is_silent = shared.is_silent();
    if is_silent {
        shared.journal().fall_behind();
    }
    let kind = match read(call)? {
        // Where a row stands has to be known in any case.
        Some(Kind::Insert { key, pk: Some(pk), .. }) if is_silent => Kind::Untracked { key, pk },
        Some(kind @ Kind::Replacing { .. }) => kind,
        Some(kind) if !is_silent => kind,
        _ => return Ok(false),
    };
    let (conn, state) = (shared.conn(), shared.state());
    let must_confirm = match attached::must_confirm(conn, state) {
        // Nobody asked: what cannot be told from a write to an attached database is left alone.
        Ok(true) | Err(_) if is_silent => return Ok(false),
        must_confirm => must_confirm?,
    };
    state.join(conn)?;
    shared.journal().push(Event { table, kind });
    Ok(must_confirm)
}

fn insert(call: &Arguments<'_>) -> Result<Option<Kind>> {
    let pk = if call.len() > 3 { Some(packed(call, 3, call.len())?) } else { None };
    Ok(Some(Kind::Insert { key: call.integer(1)?, cells: call.integer(2)?.clamp(0, MAX_COLUMNS), pk }))
}

fn update(call: &Arguments<'_>) -> Result<Option<Kind>> {
    let pairs = (call.len().saturating_sub(3) / 2).min(COLUMNS_PER_WORD);
    let changed = |i: &usize| value::compare(call.get(3 + 2 * i), call.get(4 + 2 * i)).is_ne();
    let mask = (0..pairs).filter(changed).fold(0u64, |mask, i| mask | 1 << i);
    if mask == 0 {
        return Ok(None);
    }
    let word = usize::try_from(call.integer(2)?).unwrap_or_default();
    Ok(Some(Kind::Update { key: call.integer(1)?, word, mask }))
}

fn change_key(call: &Arguments<'_>) -> Result<Option<Kind>> {
    let (first, last) = (3, call.len());
    let middle = first + last.saturating_sub(first) / 2;
    let pk = |from, to| if from < to { packed(call, from, to).map(Some) } else { Ok(None) };
    Ok(Some(Kind::Move {
        key: call.integer(1)?,
        old_key: call.integer(2)?,
        pk: pk(first, middle)?,
        old_pk: pk(middle, last)?,
    }))
}

fn delete(call: &Arguments<'_>) -> Result<Option<Kind>> {
    Ok(Some(Kind::Delete { key: call.integer(1)?, pk: packed(call, 2, call.len())? }))
}

fn replacing(call: &Arguments<'_>) -> Result<Option<Kind>> {
    Ok(Some(Kind::Replacing { key: call.integer(1)?, pk: packed(call, 2, call.len())? }))
}

/// Packs the arguments from one place to before another.
fn packed(call: &Arguments<'_>, from: usize, to: usize) -> Result<Vec<u8>> {
    if from >= to {
        return Err(Error::InvalidKey("a trigger names none"));
    }
    let mut packer = Packer::new(to - from)?;
    for i in from..to {
        packer.push(call.get(i));
    }
    Ok(packer.finish())
}
