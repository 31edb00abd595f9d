//! The operations over real connections.
#![cfg(all(feature = "server", not(target_family = "wasm")))]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod auth;
mod beside;
#[cfg(target_os = "linux")]
mod disk;
mod errors;
mod events;
mod kill;
mod links;
mod operations;
mod process;
mod support;
