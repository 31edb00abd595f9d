//! Database id to open replica, one writer each.
//!
//! [`Store::open`] finds a database that exists, [`Store::open_or_create`] makes the storage for a new one; a database
//! exists from the commit of its schema on. A [`Database`] is a handle that gives one caller at a time the
//! [`Replica`](crate::sync::Replica): [`Database::call`] resolves only after everything that was committed so far is
//! durable, and [`Database::watch`] tells of durable versions only. [`Database::read`] gives many callers at a time a
//! replica that only reads, and only what is durable. So whoever answers after `call` or `read`, or reads after `watch`,
//! never speaks of something that a power cut could take back.
//!
//! [`Database::export`] gives a database as a file, and [`Store::import`] makes one of a file; the copy goes on under a new
//! site id.
//!
//! Both hosts have the same surface: files natively ([`files`]), IndexedDB in the browser (`idb`).

mod dbid;
mod error;
#[cfg(not(target_family = "wasm"))]
pub mod files;
#[cfg(any(target_family = "wasm", test))]
pub mod idb;
mod kept;
mod transfer;

pub use dbid::{Dbid, InvalidDbid};
pub use error::Error;
#[cfg(not(target_family = "wasm"))]
pub use files::{Database, Export, Import, Progress, Settings, Store, limit_memory, run};
#[cfg(target_family = "wasm")]
pub use idb::{Database, Export, Import, Store, run};
pub use kept::Kept;
