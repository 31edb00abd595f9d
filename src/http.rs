//! The operations as HTTP: one axum `Router` for every host.

mod app;
pub mod auth;
mod drain;
pub mod links;
mod routes;

pub use app::{App, Builder, Limits};
pub use auth::{Access, Authorize, Operation, Verdict};
pub use drain::Drain;
pub use routes::{InvalidRoutes, Routes};
