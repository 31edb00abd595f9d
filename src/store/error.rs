use thiserror::Error;

use super::InvalidDbid;
use crate::sync;

/// Why a database cannot be had, or a call on it was not carried out.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// No database of this id was created here.
    #[error("there is no database of this name; create it first")]
    NotFound,
    /// There is a database of this id already.
    #[error("there is a database of this name already")]
    Exists,
    /// A file that was to become a database is none, or is damaged.
    #[error("the file cannot become a database: {0}")]
    InvalidFile(String),
    /// The id has not the form of one.
    #[error(transparent)]
    InvalidDbid(#[from] InvalidDbid),
    /// Another instance owns the storage, or this one is going away. Trying again later may succeed.
    #[error("the database cannot be had now: {0}")]
    Unavailable(String),
    /// The file is damaged, or no database of ours.
    #[error("the file of this database cannot be used: {0}")]
    Unusable(String),
    /// The storage takes no writes.
    #[error("the storage is read-only")]
    ReadOnly,
    /// The disk or the quota is full. Nothing of the call was kept.
    #[error("the storage is full")]
    StorageFull,
    /// The replica could not be opened.
    #[error(transparent)]
    Sync(#[from] sync::Error),
    /// The storage failed otherwise.
    #[error("the storage failed: {0}")]
    Io(String),
}
