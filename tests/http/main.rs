//! The operations over real connections.
#![cfg(all(feature = "server", not(target_family = "wasm")))]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod auth;
mod beside;
#[cfg(target_os = "linux")]
mod disk;
mod docs;
mod encodings;
mod errors;
mod events;
mod frames;
mod kill;
mod links;
mod migrate;
mod openapi;
mod operations;
mod process;
mod request;
mod support;
mod verify;
