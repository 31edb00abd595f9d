//! The operations over real connections.
#![cfg(all(feature = "server", not(target_family = "wasm")))]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod auth;
mod backup;
mod commands;
mod configuration;
mod documented;
mod errors;
mod events;
mod followers;
mod links;
mod observed;
mod operations;
mod process;
mod stopping;
mod support;
mod tls;
