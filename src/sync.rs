//! What a replica says to its peers: batches of changes, and the cursors that say how far each got.
//!
//! A [`Replica`] is a database with the engine on it. Its operations are those of the protocol: create a database, read
//! the changes after a cursor ([`Replica::request_changes`]), merge a peer's ([`Replica::apply_changes`]). This room does no
//! I/O but SQLite's, is not async, and knows nothing of HTTP: any channel that carries a [`Batch`] will do.
//!
//! What holds at every instant, also after a crash:
//!
//! - The rows of a batch, the claims that come with it and the cursor that says it was received are committed together.
//! - A cursor never moves past something that was not merged: a batch that begins after it is refused, touching nothing.
//! - A cursor never moves back, whatever is replayed; merging a batch twice changes nothing.
//! - Whatever is missing is announced as missing: see `ledger.rs`.
//! - A transaction that comes in pieces shows with the last of them.
//! - What came from a peer is not sent back to it, though the cursor moves over it.
//! - The cursor of a peer does not move over what it refused; the rest is sent to it by name.
//! - Changes leave under the name of the principal that the database belongs to, or not at all.
//! - A database exists from the commit of its schema on, which brings all its tables or none.
//!
//! Values keep their type and every bit on the way through JSON, see [`json`], and through the shorter [`binary`] form.

mod admission;
mod answers;
mod apply;
mod authorizer;
pub mod batch;
pub mod binary;
mod by_name;
mod check;
mod clock;
mod cursor;
mod deadline;
mod discard;
mod error;
mod filters;
mod incoming;
pub mod json;
mod layout;
mod ledger;
mod migrate;
mod outbox;
mod partials;
mod peers;
mod principal;
mod program;
mod quarantine;
mod queries;
mod ranges;
mod renew;
mod replica;
mod request;
mod schema;
mod schemas;
pub mod session;
mod sql;
mod status;
mod tables;
mod unlogged;
mod upstream;
pub mod verify;
mod versions;
mod waiting;

pub use answers::{InvalidRequestKey, RequestKey};
pub use apply::Applied;
pub use batch::{Batch, Partial, RowName, SchemaHash};
pub use binary::InvalidBinary;
pub use clock::Clock;
pub use cursor::{Cursor, InvalidCursor, Origin, Place, Since};
pub use error::{ApplyError, CreateError, DiscardError, Error, MigrateError, RequestError, SqlError, VerifyError};
pub(crate) use filters::view_of;
pub use filters::{Filter, FilterParams, RowFilters};
pub use migrate::{Migrated, MigrationStatus};
pub use outbox::{Outgoing, Unsent};
pub use partials::Piece;
pub use peers::Peer;
pub use principal::WhenUnsent;
pub use quarantine::{DISCARDED, Quarantine, Quarantined, Refusal, Transaction};
pub use queries::{
    InvalidPosition, News, Position, QueriesRequest, Remember, Subscribed, Subscribing, SubscriptionId,
    SubscriptionRequest, WantedQueries,
};
pub use ranges::{InvertedRange, Point, Range, Ranges};
pub use replica::{Created, Replica};
pub use request::{Page, Request};
pub use schema::Schema;
pub use sql::{Dependencies, ResultSet, Sql, SqlLimits};
pub use status::Status;
pub use tables::Tables;
pub use verify::{Probe, Verified};
pub use versions::{VersionsRequest, Wanted};
