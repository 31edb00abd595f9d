use rusqlite::ErrorCode;
use thiserror::Error;

/// What can go wrong in the engine. An error leaves the database as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// SQLite refused: a constraint, a full disk, a lock, or a mistake in an SQL text.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// A change names a table that is not a CRR here.
    #[error("table {0:?} is not a replicated table of this database")]
    UnknownTable(String),
    /// A change names a column that its table does not have, or one of its primary key.
    #[error("table {table:?} has no replicated column {column:?}")]
    UnknownColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// The packed primary key is malformed, not in canonical form, or has the wrong number of values.
    #[error("invalid primary key: {0}")]
    InvalidKey(&'static str),
    /// A site id that is empty, too long or no blob.
    #[error("a site id has 1 to 16 bytes")]
    InvalidSiteId,
    /// A counter outside 0 to 2^53 − 1 (1 to 2^53 − 1 for a version).
    #[error("{what} {value} is out of range")]
    OutOfRange {
        /// Which counter.
        what: &'static str,
        /// Its value.
        value: i64,
    },
    /// A change that contradicts itself, such as a cell of a deleted row.
    #[error("invalid change: {0}")]
    InvalidChange(&'static str),
    /// The table cannot be made a CRR; the text says why.
    #[error("{0}")]
    NotReplicable(String),
    /// The database cannot take the shape that a schema asks for; the text says why.
    #[error("cannot migrate: {0}")]
    Migration(String),
    /// `crsql_commit_alter` of a table that `crsql_begin_alter` was not called for.
    #[error("failed compacting tables post alteration: {0:?} is not being altered")]
    NotAltering(String),
    /// A key or an argument of the fractional index that is none.
    #[error("{0}")]
    Order(&'static str),
    /// `crsql_config_set` or `crsql_config_get` of a setting that does not exist.
    #[error("Unknown setting name {0:?}")]
    UnknownSetting(String),
    /// The file was made by the original cr-sqlite, whose clocks are stored in another way.
    #[error(
        "this database was made by cr-sqlite: take it over with `crsql-sync import SRC DST`, or replay its crsql_changes into a new one"
    )]
    Foreign,
    /// A read-only connection to a database that the engine was never in.
    #[error("this database has no tables of the engine: open it once with a connection that may write")]
    ReadOnly,
    /// The file cannot be imported; the text says why.
    #[error("{0}")]
    NotImportable(String),
    /// The file was made by another version of this engine.
    #[error("this database has storage format {0}, which this version does not know")]
    UnknownFormat(i64),
    /// An engine was used with a connection that it was not installed on.
    #[error("the engine belongs to another connection")]
    ForeignConnection,
    /// A write to a replicated table of an attached database, whose clocks this connection does not keep.
    #[error("replicated tables of an attached database can be written to only where it is the main database")]
    Attached,
    /// A write of the open transaction could not be recorded, and so none of it may be committed.
    #[error("a write of this transaction could not be recorded: it can only be rolled back")]
    Unrecorded,
    /// The engine's own tables hold something that it did not write.
    #[error("the clock tables are damaged: {0}")]
    Corrupt(&'static str),
}

/// The engine's error as SQLite reports it: its own unchanged, ours as a message.
pub(super) fn to_sql_error(error: Error) -> rusqlite::Error {
    match error {
        // An error of a function reaches the caller either with its text or with its code. Of a locked database or a full
        // disk the code says all.
        Error::Sqlite(rusqlite::Error::SqliteFailure(error, Some(_)))
            if !matches!(error.code, ErrorCode::Unknown | ErrorCode::ConstraintViolation) =>
        {
            rusqlite::Error::SqliteFailure(error, None)
        }
        Error::Sqlite(error) => error,
        other => rusqlite::Error::UserFunctionError(Box::new(other)),
    }
}
