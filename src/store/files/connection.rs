//! Connections to a file: what is asked of it before it is taken for a database, and how they are set.

use std::io;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags};

use super::settings::Settings;
use crate::crr;
use crate::store::Error;
use crate::sync::{self, Replica};

/// The connection that writes. Without `create`, neither a file nor anything in one is made.
pub(super) fn writer(path: &Path, create: bool, settings: &Settings) -> Result<Replica, Error> {
    match path.metadata() {
        Ok(metadata) if !metadata.is_file() => return Err(Error::Unusable("it is not a file".into())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound && create => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::NotFound),
        Err(error) => return Err(Error::Io(error.to_string())),
    }
    let create_file = if create { OpenFlags::SQLITE_OPEN_CREATE } else { OpenFlags::empty() };
    let failed = |error| failure(path, error);
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | create_file, settings).map_err(failed)?;
    match content(&conn).map_err(|error| failed(error.into()))? {
        Content::Nothing if !create => return Err(Error::NotFound),
        Content::CrSqlite => return Err(Error::Unusable(crr::Error::Foreign.to_string())),
        Content::Foreign => return Err(Error::Unusable("it is the database of another application".into())),
        Content::Nothing | Content::Ours => {}
    }
    let read_only = conn.is_readonly(MAIN_DB).map_err(|error| failed(error.into()))?;
    if read_only {
        return Err(Error::ReadOnly);
    }
    let prepare = || {
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        // A log that was longer once gives its room back.
        conn.pragma_update(None, "journal_size_limit", i64::try_from(settings.wal).unwrap_or(i64::MAX))
    };
    prepare().map_err(|error| failed(error.into()))?;
    Replica::open(conn).map_err(failed)
}

/// A connection that reads beside one that writes.
pub(super) fn reader(path: &Path, settings: &Settings) -> Result<Replica, Error> {
    let conn = read_only(path, settings).map_err(|error| failure(path, error))?;
    Replica::open(conn).map_err(|error| failure(path, error))
}

/// A connection that reads, without the engine.
pub(super) fn read_only(path: &Path, settings: &Settings) -> Result<Connection, sync::Error> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, settings)
}

fn connect(path: &Path, flags: OpenFlags, settings: &Settings) -> Result<Connection, sync::Error> {
    // Each connection is used by one thread at a time.
    let conn = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(settings.busy)?;
    // A negative number is one of KiB.
    conn.pragma_update(None, "cache_size", -i64::try_from(settings.page_cache / 1024).unwrap_or(i64::MAX))?;
    // Where a file is mapped into memory, an error of the disk is a signal that ends the process.
    conn.pragma_update(None, "mmap_size", 0)?;
    Ok(conn)
}

/// What a file holds.
enum Content {
    Nothing,
    /// The engine's tables, of whatever version.
    Ours,
    /// Those of the original.
    CrSqlite,
    Foreign,
}

fn content(conn: &Connection) -> rusqlite::Result<Content> {
    let any = |of: &str| {
        let sql = format!("SELECT count(*) FROM sqlite_schema WHERE {of}");
        conn.query_row(&sql, [], |row| row.get::<_, i64>(0)).map(|count| count > 0)
    };
    Ok(if !any("true")? {
        Content::Nothing
    } else if any("name = 'crsql_tables'")? {
        Content::Ours
    } else if any("name = 'crsql_master'")? {
        Content::CrSqlite
    } else {
        Content::Foreign
    })
}

/// What it means that a file could not be opened.
pub(super) fn failure(path: &Path, error: sync::Error) -> Error {
    use ErrorCode as E;
    match error.sqlite_code() {
        Some(E::DiskFull) => Error::StorageFull,
        Some(E::ReadOnly) => Error::ReadOnly,
        Some(E::DatabaseBusy | E::DatabaseLocked) => Error::Unavailable("another program is using it".into()),
        Some(E::NotADatabase | E::DatabaseCorrupt) => Error::Unusable(error.to_string()),
        Some(E::CannotOpen) if !path.exists() => Error::NotFound,
        // Of permissions, or too many open files; the first stays as it is, and the second passes.
        Some(E::CannotOpen) => Error::Unavailable("its file cannot be opened".into()),
        Some(_) => error.into(),
        None => match &error {
            sync::Error::Engine(
                crr::Error::Foreign | crr::Error::UnknownFormat(_) | crr::Error::Corrupt(_) | crr::Error::ReadOnly,
            )
            | sync::Error::Corrupt(_) => Error::Unusable(error.to_string()),
            _ => error.into(),
        },
    }
}
