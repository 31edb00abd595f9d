//! Conflict-free replicated relations: cr-sqlite's SQL surface on one SQLite connection.
//!
//! [`Engine::install`] adds to a connection the functions, virtual tables and triggers that turn ordinary tables into
//! *conflict-free replicated relations* (CRRs): `SELECT crsql_as_crr('todo')`, after which every write leaves a clock
//! record and `crsql_changes` shows the difference between any two copies. The behaviour is that of cr-sqlite 0.16;
//! the storage is not: a row has one clock record, and the per-cell view is computed.

mod alter;
mod attached;
mod backfill;
mod call;
mod catalog;
pub mod change;
mod changes_vtab;
mod check;
mod clock;
mod clocks_vtab;
mod clset;
mod compact;
mod engine;
mod error;
mod flush;
mod forget;
mod fract;
mod functions;
pub mod ids;
pub mod import;
mod incoming;
mod journal;
mod journal_vtab;
mod layout;
mod log;
mod merge;
pub mod migrate;
mod module;
mod notes;
pub mod pack;
pub(crate) mod quote;
mod read;
pub mod renew;
mod replicate;
mod rows;
mod sites;
pub(crate) mod sort;
mod state;
mod table;
mod tables;
pub(crate) mod tokens;
mod trace;
mod triggers;
mod unpack_vtab;
mod value;
pub(crate) mod varint;

pub use change::{Change, SENTINEL};
pub use engine::Engine;
pub use error::Error;
pub use ids::{CausalLength, ColVersion, Ordinal, Seq, SiteId, Version};
pub use merge::Merged;
pub use read::{RowId, WholeRow, Window};
pub(crate) use trace::is_steady;
pub use trace::{Found, Reach, Reads, RowFilter, ScanIndex, Scans, Sought, Trace, TraceError, TraceLimits, Tracer};

/// The result of every fallible call in this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;
