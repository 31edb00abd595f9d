//! A replicated SQLite database for any app.
//!
//! `crsql-sync` is one core with three hosts: a browser's service worker, an existing Rust server, and the standalone
//! binary `crsql-sync`. The rooms, from the bottom up; each imports only from those below it:
//!
//! | module | holds |
//! | --- | --- |
//! | [`crr`] | conflict-free replicated relations: cr-sqlite's SQL surface on one SQLite connection |
//! | [`sync`] | what a replica says to its peers: batches, cursors, apply and request. No I/O, no async |
//! | [`store`] | database id → open replica; files natively, IndexedDB in the browser |
//! | [`http`] | the operations as one axum `Router`: routes, auth hook, problem documents, event stream |
//! | [`upstream`] | the client of [`http`]: push, pull, retry |
//! | `worker` | the service worker host (wasm only) |
//! | `extension` | [`crr`] as a loadable extension of any SQLite (native only) |
//! | `server` | the standalone host and its command line (native only) |
//!
//! `ARCHITECTURE.md` tells how a change flows through them.

pub mod crr;
#[cfg(all(feature = "loadable-extension", not(target_family = "wasm")))]
pub mod extension;
pub mod http;
#[cfg(all(feature = "server", not(target_family = "wasm")))]
pub mod server;
pub mod store;
pub mod sync;
pub mod upstream;
#[cfg(target_family = "wasm")]
pub mod worker;

/// The examples of the README.
#[cfg(all(doctest, not(target_family = "wasm")))]
#[doc = include_str!("../README.md")]
struct Readme;
