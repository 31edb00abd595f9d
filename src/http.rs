//! The operations as HTTP: one axum `Router` for every host.
//!
//! [`App`] turns a [`Store`](crate::store::Store) into a router. What holds for every operation:
//!
//! - The [auth hook](auth) is asked first, and nothing is read or written before it allowed the request.
//! - An answer of success is sent after what it speaks of is durable; any other leaves the database as it was.
//! - Every error, also that of an unknown route below the prefix, is a [problem document](problem) with a stable code.
//! - An event stream reads its next batch from the database when the last one was taken: a slow reader costs nothing.
//!
//! | operation | route, by default below `/sync` |
//! | --- | --- |
//! | create | `PUT /{dbid}` |
//! | apply | `POST /{dbid}/changes` |
//! | get | `GET /{dbid}/changes?since=&until=&limit=&exclude=` |
//! | events | `GET /{dbid}/events?since=` |
//! | status | `GET /{dbid}/status` |
//! | sql | `POST /{dbid}/sql`, where it is switched on |
//! | upstream | `PUT /{dbid}/upstream`, where there is one and it may be paused |

mod app;
pub mod auth;
mod call;
mod drain;
mod events;
mod extract;
pub mod links;
pub mod observe;
mod operations;
pub mod problem;
mod routes;

pub use app::{App, Builder, Limits};
pub use auth::{Access, Authorize, Bounds, Operation, PeerAddr, Verdict};
pub use drain::Drain;
pub use extract::{IDEMPOTENCY_KEY, SITE_HEADER};
pub use observe::{Observed, Observer};
pub use problem::Problem;
pub use routes::{InvalidRoutes, Routes};
