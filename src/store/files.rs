//! One file a database: `DIR/DBID.db`.
//!
//! A folder belongs to one [`Store`] at a time, over all processes: it holds a lock on `DIR/.lock`. What holds, always:
//!
//! - A database has one connection that writes. Calls queue for it in order, and one that began runs to its end, also when
//!   nobody waits for it any more.
//! - Connections that only read stand beside it ([`readers`]): a read waits for no write, and sees one snapshot.
//! - Files are in WAL mode with `synchronous = FULL`. SQLite syncs the log before it enters a commit into the index by
//!   which other connections find it (`walFrames` in its `wal.c`): a commit is durable before anybody sees it.
//! - A [`Database`] is a handle that costs no file. Its connections are opened when a call needs them ([`opened`]) and stay
//!   while there is [room](Settings::open_databases); then the database that was used longest ago makes place.
//! - An opening that failed leaves nothing behind, and a file that was removed or replaced is not taken for the one that
//!   was opened ([`file_id`]).
//!
//! Work on files runs on tokio's threads for blocking work: one a call that runs, none for a database that is idle.

mod backup;
mod connection;
mod database;
mod file_id;
mod folder;
mod memory;
mod opened;
mod readers;
mod run;
mod settings;
mod slots;
mod store;
#[cfg(test)]
mod tests;
mod transfer;

pub use backup::Progress;
pub use database::Database;
pub use memory::limit_memory;
pub use run::run;
pub use settings::Settings;
pub use store::Store;
pub use transfer::{Export, Import};
