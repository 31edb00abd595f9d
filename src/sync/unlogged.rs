//! Changes of which the log does not tell: rows that were forgotten, or taken back. What is kept of rows elsewhere has to hear of
//! them in another way.

use rusqlite::Connection;

use super::error::Error;
use super::replica::{set_setting, setting};
use super::verify;

/// How many times rows changed so.
const UNLOGGED: &str = "sync.unlogged";

/// Writes down that rows changed, in the transaction in which they did.
pub(super) fn note(conn: &Connection) -> Result<(), Error> {
    set_setting(conn, UNLOGGED, &times(conn)?.saturating_add(1))?;
    verify::forget(conn)
}

/// How many times rows changed.
pub(super) fn times(conn: &Connection) -> Result<i64, Error> {
    Ok(setting(conn, UNLOGGED)?.unwrap_or(0))
}
