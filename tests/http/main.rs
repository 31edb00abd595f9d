//! The operations over real connections.
#![cfg(all(feature = "server", not(target_family = "wasm")))]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod auth;
mod backup;
mod beside;
mod commands;
mod configuration;
#[cfg(target_os = "linux")]
mod disk;
mod docs;
mod documented;
mod encodings;
mod errors;
mod events;
mod files;
mod followers;
mod frames;
mod gate;
#[cfg(target_os = "linux")]
mod hostile;
mod kill;
mod links;
mod lossy;
mod migrate;
mod node;
mod observed;
mod openapi;
mod operations;
mod partial;
mod process;
mod proxy;
mod query;
mod request;
mod stopping;
mod support;
mod tls;
mod upstream;
mod verify;
