use thiserror::Error;

use crate::crr;

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
    /// The tables of this module hold something that it did not write.
    #[error("the sync tables are damaged: {0}")]
    Corrupt(&'static str),
}
