//! Attached databases, which are none of this engine's: their triggers call the same functions as those of `main`.
//!
//! What a trigger reads, it reads in its own database. So while others are attached, a transaction leaves a token in `main`,
//! new each time, and a trigger that noted a write shows what it finds under that name.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, MAIN_DB, TransactionState};

use super::state::State;
use super::{Error, Result, catalog};

/// `crsql_master`: the token of the newest transaction that needed one.
const TOKEN: &str = "attached_token";

/// What a transaction leaves.
pub(super) type Token = [u8; 16];

/// SQLite tells the names of attached databases since then.
const NAMES_SINCE: i32 = 3_039_000;

/// The expression that a trigger evaluates to note a write by a `call`.
pub(super) fn note(call: &str) -> String {
    // Two SELECTs, so that the function is called also where nothing is found.
    let found = format!("SELECT value FROM crsql_master WHERE key = '{TOKEN}'");
    format!("CASE WHEN {call} THEN (SELECT crsql_confirm_note(({found}))) END")
}

/// Refuses a write that cannot have been one to `main`, before it is noted. Returns whether it must be
/// [confirmed](confirm) afterwards.
pub(super) fn must_confirm(conn: &Connection, state: &State) -> Result<bool> {
    let transaction = &state.transaction;
    if !transaction.is_joined() && conn.transaction_state(Some(MAIN_DB))? != TransactionState::Write {
        return Err(Error::Attached);
    }
    if transaction.token.get().is_some() {
        return Ok(true);
    }
    // 0 is `main`, 1 is `temp`.
    if rusqlite::version_number() >= NAMES_SINCE && conn.db_name(2).is_err() {
        return Ok(false);
    }
    let token: Token = conn.query_row("SELECT randomblob(16)", [], |row| row.get(0))?;
    catalog::set_master(conn, TOKEN, token)?;
    transaction.token.set(Some(token));
    Ok(true)
}

/// Takes the last note back, unless the trigger that made it found the token.
pub(super) fn confirm(state: &State, found: ValueRef<'_>) -> Result<()> {
    let token = state.transaction.token.get();
    if token.is_some_and(|token| found == ValueRef::Blob(&token)) {
        return Ok(());
    }
    state.journal.borrow_mut().take_back();
    Err(Error::Attached)
}
