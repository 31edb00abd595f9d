use std::sync::Arc;
use std::time::Duration;

use axum::Router;

use super::auth::Authorize;
use super::links::Links;
use super::{Drain, Routes};
use crate::store::Store;

/// The operations of one store as a router.
pub struct App;

/// The settings of an [`App`].
pub struct Builder {}

/// How much one request may ask of the host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The largest request body, in bytes.
    pub body: usize,
    /// The changes of one batch.
    pub page_changes: usize,
    /// The bytes of one batch.
    pub page_bytes: usize,
    /// The rows of one `sql` request's results, together.
    pub sql_rows: usize,
    /// How long one `sql` request may run.
    pub sql_time: Duration,
    /// How long the auth hook may take.
    pub authorize: Duration,
    /// How often a silent event stream shows that it is alive.
    pub heartbeat: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 16 << 20,
            page_changes: 10_000,
            page_bytes: 4 << 20,
            sql_rows: 10_000,
            sql_time: Duration::from_secs(5),
            authorize: Duration::from_secs(10),
            heartbeat: Duration::from_secs(15),
        }
    }
}

impl App {
    /// Begins with the default settings: prefix `/sync`, no `sql`, everything allowed.
    pub fn builder(_store: Store) -> Builder {
        unimplemented!()
    }
}

impl Builder {
    /// Moves or renames the routes.
    pub fn routes(self, _routes: Routes) -> Self {
        unimplemented!()
    }

    /// Sets the auth hook.
    pub fn authorize(self, _hook: impl Authorize) -> Self {
        unimplemented!()
    }

    /// Changes the limits.
    pub fn limits(self, _limits: Limits) -> Self {
        unimplemented!()
    }

    /// Whether SQL may be run.
    pub fn sql(self, _on: bool) -> Self {
        unimplemented!()
    }

    /// Connects the databases to an upstream.
    pub fn links(self, _links: Arc<dyn Links>) -> Self {
        unimplemented!()
    }

    /// Shares the handle that ends the event streams.
    pub fn drain(self, _drain: Drain) -> Self {
        unimplemented!()
    }

    /// The router.
    pub fn build(self) -> Router {
        unimplemented!()
    }
}
