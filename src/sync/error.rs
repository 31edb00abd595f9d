use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::batch::SchemaHash;
use super::cursor::{Cursor, Since};
use crate::crr::{self, SiteId, TraceError, Version, migrate::Plan};

/// A replica's database failed, at opening or underneath an operation. Nothing of the operation was kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] crr::Error),
    /// SQLite failed.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// What was to be done took too long, and was broken off.
    #[error("it took longer than {0:?} and was broken off: perhaps the triggers of this schema do not end")]
    TookTooLong(Duration),
    /// A filter cannot say which rows may be used, so none may.
    #[error("the filter of the rows of {table} cannot be used: {reason}")]
    Filter {
        /// The table.
        table: String,
        /// Why.
        reason: String,
    },
    /// The tables of this module hold something that it did not write.
    #[error("the sync tables are damaged: {0}")]
    Corrupt(&'static str),
}

impl Error {
    /// SQLite's code, where it was SQLite that failed.
    pub fn sqlite_code(&self) -> Option<rusqlite::ErrorCode> {
        match self {
            Self::Engine(crr::Error::Sqlite(error)) | Self::Sqlite(error) => error.sqlite_error_code(),
            _ => None,
        }
    }
}

/// Why a database was not created.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The text is no schema.
    #[error("invalid schema: {0}")]
    InvalidSchema(String),
    /// The database exists with another structure.
    #[error("the database exists with another schema; ask for that one, or migrate it")]
    SchemaMismatch {
        /// The schema that it has.
        schema: SchemaHash,
    },
    /// The database exists as a full copy, which can not become a partial one.
    #[error("the database is here already, with everything that its upstream has: a partial copy needs another name")]
    NotPartial,
    /// The database failed.
    #[error(transparent)]
    Replica(#[from] Error),
}

/// Why a database was not migrated.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The text is no schema, or the database cannot be brought to it.
    #[error("invalid schema: {0}")]
    InvalidSchema(String),
    /// Values would be lost that were not named.
    #[error("the migration would lose data; name what may go")]
    Refused {
        /// All steps of the migration.
        plan: Plan,
    },
    /// The database failed.
    #[error(transparent)]
    Replica(#[from] Error),
}

impl From<CreateError> for MigrateError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Replica(error) => Self::Replica(error),
            CreateError::InvalidSchema(reason) => Self::InvalidSchema(reason),
            // Only for a database that is there, which is migrated.
            error @ (CreateError::SchemaMismatch { .. } | CreateError::NotPartial) => {
                Self::InvalidSchema(error.to_string())
            }
        }
    }
}

/// Why a batch was not applied.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The batch contradicts itself, or its rows cannot be of this database.
    #[error("invalid batch: {0}")]
    InvalidBatch(String),
    /// The batch begins after what is held of the sender: something in between is missing.
    #[error("the batch begins after what is held of its sender; send again from `expected`")]
    OutOfOrder {
        /// Where the next batch must begin, at the latest.
        expected: Since,
    },
    /// The rows are of another schema.
    #[error("the batch is of another schema than the database")]
    SchemaMismatch {
        /// The schema of this database.
        schema: SchemaHash,
    },
    /// A change is of a row that its sender may not use, or would make one such.
    #[error("version {version} of {site} changes a row of {table} that this caller may not use, or makes it one")]
    HiddenRow {
        /// The table.
        table: Arc<str>,
        /// The author of the change.
        site: SiteId,
        /// The author's transaction.
        version: Version,
    },
    /// The database failed.
    #[error(transparent)]
    Replica(#[from] Error),
}

/// Why changes could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The cursor is of another site.
    #[error("the cursor is of another copy than this one; begin again from 0")]
    CursorUnknown {
        /// This copy's own cursor.
        at: Cursor,
    },
    /// The cursor is past the end of this copy: it was restored from an older one.
    #[error("the cursor is ahead of this copy; begin again from 0, and send what it lacks")]
    CursorAhead {
        /// This copy's own cursor.
        at: Cursor,
    },
    /// The database failed.
    #[error(transparent)]
    Replica(#[from] Error),
}

/// Why transactions were not given up. The database is as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DiscardError {
    /// Another copy wrote one of them.
    #[error("site {site} wrote some of it, and has it: it can only be discarded there")]
    Foreign {
        /// The copy that wrote it.
        site: SiteId,
    },
    /// This copy wrote one of them, and gave it to other copies than the upstream.
    #[error("other copies have transaction {version} from this one, so it cannot be taken back")]
    Relayed {
        /// Its version.
        version: Version,
    },
    /// The database failed.
    #[error(transparent)]
    Replica(#[from] Error),
}

/// Why a probe was not answered. The database is as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The probe contradicts itself, or is too long.
    #[error("invalid probe: {0}")]
    InvalidProbe(String),
    /// The probe is of another schema: what it tells cannot be compared.
    #[error("the probe is of another schema than the database")]
    SchemaMismatch {
        /// The schema of this database.
        schema: SchemaHash,
    },
    /// The database failed.
    #[error(transparent)]
    Replica(#[from] Error),
}

/// Why SQL was not run. None of the statements of the request left a trace.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SqlError {
    /// A statement is not allowed here, wrong, or against a constraint, or its result is too large.
    #[error("statement {statement}: {reason}")]
    Refused {
        /// Which statement, from 1.
        statement: usize,
        /// Why.
        reason: String,
    },
    /// A statement would write, and the caller may only read.
    #[error("statement {statement} would write, and only reading is allowed")]
    ReadOnly {
        /// Which statement, from 1.
        statement: usize,
    },
    /// The request came before, under the same key, and was carried out.
    #[error(
        "this write was done when it was asked for first; its answer was too large to be kept, so read what it did"
    )]
    AlreadyDone,
    /// The database failed.
    #[error(transparent)]
    Replica(#[from] Error),
}

impl SqlError {
    /// Why a statement, by its place from 1, was not traced in so much `time`.
    pub(super) fn traced(statement: usize, error: TraceError, time: Duration) -> Self {
        match error {
            TraceError::Refused(reason) => Self::Refused { statement, reason },
            TraceError::TookTooLong => Self::too_long(statement, time),
            TraceError::Filter { table, reason } => Error::Filter { table: table.to_string(), reason }.into(),
            TraceError::Engine(error) => Error::from(error).into(),
        }
    }

    /// The same where it was broken off for taking more than its `time`.
    pub(super) fn unless_too_long(self, time: Option<Duration>) -> Self {
        match (self, time) {
            (Self::Refused { statement, .. }, Some(time)) => Self::too_long(statement, time),
            (error, _) => error,
        }
    }

    pub(super) fn too_long(statement: usize, time: Duration) -> Self {
        Self::Refused { statement, reason: format!("the request ran longer than {time:?}") }
    }
}
