//! The operations as HTTP: one axum `Router` for every host.
//!
//! [`App`] turns a [`Store`](crate::store::Store) into a router. What holds for every operation:
//!
//! - The [auth hook](auth) is asked first, and nothing is read or written before it allowed the request.
//! - An answer of success is sent after what it speaks of is durable; any other leaves the database as it was.
//! - Every error, also that of an unknown route below the prefix, is a [problem document](problem) with a stable code.
//! - An event stream reads its next batch from the database when the last one was taken: a slow reader costs nothing, and
//!   readers at the same place share what is read.
//! - A body is bounded by what it is when it is decompressed.
//!
//! | operation | route, by default below `/sync` |
//! | --- | --- |
//! | create | `PUT /{dbid}` |
//! | migrate | `POST /{dbid}/migrate` |
//! | apply | `POST /{dbid}/changes` |
//! | get | `GET /{dbid}/changes?since=&until=&limit=&exclude=` |
//! | request | `POST /{dbid}/changes/request` |
//! | query | `POST /{dbid}/changes/query` |
//! | end | `DELETE /{dbid}/changes/query?subscription=` |
//! | verify | `POST /{dbid}/verify` |
//! | events | `GET /{dbid}/events?since=`, `GET /{dbid}/events?subscription=` |
//! | ticket | `POST /{dbid}/ticket`: lets in the events' reader that cannot set a header |
//! | status | `GET /{dbid}/status` |
//! | sql | `POST /{dbid}/sql`, where it is switched on |
//! | upstream | `PUT /{dbid}/upstream`, where there is one and it may be paused |
//! | file | `GET /{dbid}/file`, `PUT /{dbid}/file`, where files are switched on |

mod app;
pub mod auth;
mod batches;
mod call;
#[cfg(all(feature = "compression", not(target_family = "wasm")))]
pub mod compression;
mod drain;
mod events;
mod expiry;
mod extract;
pub mod links;
mod media;
pub mod observe;
mod operations;
pub(crate) mod patience;
mod plan;
pub mod problem;
mod routes;
mod subscription;
mod tickets;

pub use app::{App, Builder, Limits};
pub use auth::{Access, Authorize, Bounds, Operation, PeerAddr, Verdict};
pub use drain::Drain;
pub use extract::{IDEMPOTENCY_KEY, SITE_HEADER};
pub use media::BATCH_MEDIA_TYPE;
pub use observe::{Observed, Observer};
pub use problem::Problem;
pub use routes::{InvalidRoutes, Routes};
