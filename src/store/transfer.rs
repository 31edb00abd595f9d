//! What both hosts do with a database file that came from outside.

use rusqlite::{Connection, ErrorCode};

use super::Error;
use crate::sync::{self, Created, Replica};

/// Makes the file of `conn` a database of its own: it goes on under a new site id. Refuses one that is damaged, or that no
/// replica had, as [`Error::InvalidFile`].
pub(super) fn adopt(conn: Connection) -> Result<Created, Error> {
    let damage: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(refused)?;
    if damage != "ok" {
        return Err(Error::InvalidFile(format!("it is damaged: {damage}")));
    }
    if !Replica::is_one(&conn).map_err(refused)? {
        return Err(Error::InvalidFile("it is no copy of a database of crsql-sync".into()));
    }
    let replica = Replica::open_copy(conn).map_err(refused)?;
    let Some(schema) = replica.schema() else {
        return Err(Error::InvalidFile("no schema is recorded in it".into()));
    };
    let created = Created { created: true, schema: schema.hash().clone(), at: replica.at()? };
    replica.close()?;
    Ok(created)
}

/// Whatever goes wrong is the file's fault, unless there is no room for it.
fn refused(error: impl Into<sync::Error>) -> Error {
    let error = error.into();
    match error.sqlite_code() {
        Some(ErrorCode::DiskFull | ErrorCode::OutOfMemory) => Error::StorageFull,
        _ => Error::InvalidFile(error.to_string()),
    }
}
