//! Databases in a browser: pages in memory, kept in IndexedDB.
//!
//! A service worker has no synchronous files, so SQLite works on an image of the file in memory ([`image`], [`vfs`]),
//! and what a commit changed is written behind it, before anyone is told of the commit ([`opened`]). IndexedDB's cost is
//! that of its records, so a commit is *one*: a log record with all changed blocks. From time to time a checkpoint
//! carries the log over to large chunks of the file ([`log`]).
//!
//! One IndexedDB database holds one SQLite database, in three object stores ([`stored`]):
//!
//! | store | key | value |
//! | --- | --- | --- |
//! | `chunks` | number of the chunk | 256 KiB of the checkpointed file |
//! | `log` | generation | one commit after the checkpoint |
//! | `meta` | `head` | format, generation and size of the checkpointed file |
//! | `meta` | `epoch` | how often the database was opened: the fence |
//!
//! What holds, always:
//! - A call is answered when its commit, and everything it may have seen, is in a completed transaction of IndexedDB
//!   with durability `strict`. Calls that wait at the same time share a transaction.
//! - The stored state is that of one commit: a transaction writes all of a commit or nothing.
//! - Two instances can be alive during an update of the worker. One owns a database: it holds the Web Lock of that name
//!   ([`lock`]), and every transaction checks that the epoch is still its own, so that an instance which lost its lock
//!   in whatever way writes nothing.
//! - When a write fails, memory is ahead of the disk. Everyone who waits gets the error, memory is thrown away, and the
//!   next call loads what is stored. So it goes too when the browser closes the connection, or somebody deletes the
//!   database. What is stored can be read also where there is no room left to write.
//! - Where the browser refuses to store anything, databases are in memory only, and say so ([`Database::kept`]).
//!
//! `image`, `record`, `log` and `vfs` know nothing of a browser and are tested natively, with a crash at every step.

mod blocks;
pub(crate) mod image;
pub(crate) mod log;
#[cfg(test)]
mod model;
pub(crate) mod record;
pub(crate) mod vfs;

#[cfg(target_family = "wasm")]
mod connection;
#[cfg(target_family = "wasm")]
mod database;
#[cfg(target_family = "wasm")]
mod failure;
#[cfg(target_family = "wasm")]
mod lock;
#[cfg(target_family = "wasm")]
mod opened;
#[cfg(target_family = "wasm")]
mod run;
#[cfg(target_family = "wasm")]
mod stored;
#[cfg(target_family = "wasm")]
mod transfer;

#[cfg(target_family = "wasm")]
pub use database::{Database, Store};
#[cfg(target_family = "wasm")]
pub use run::run;
#[cfg(target_family = "wasm")]
pub use transfer::{Export, Import};
