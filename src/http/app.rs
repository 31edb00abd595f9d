use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post, put};
use http::{Method, StatusCode};

use super::auth::{Access, Authorize, Operation, Verdict};
use super::frames::AllFrames;
use super::links::Links;
use super::operations::{
    apply, create, file, get as get_changes, migrate, request, sql, status, ticket, upstream, verify,
};
use super::problem::{Code, Problem};
use super::tickets::Tickets;
use super::{Drain, Routes, events};
use crate::store::Store;
use crate::sync::Page;

/// The operations of one store as a router.
pub struct App;

/// The settings of an [`App`].
pub struct Builder {
    routes: Routes,
    settings: Settings,
}

/// What every handler is given.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) store: Store,
    pub(super) hook: Arc<dyn Authorize>,
    pub(super) limits: Limits,
    pub(super) links: Option<Arc<dyn Links>>,
    pub(super) drain: Drain,
    pub(super) frames: AllFrames,
    pub(super) tickets: Tickets,
    sql: bool,
    files: bool,
    pause: bool,
}

/// How much one request may ask of the host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The largest request body, in bytes.
    pub body: usize,
    /// The largest batch in the binary form, in bytes. Reading one may take 34 times as much memory.
    pub binary_body: usize,
    /// The largest file that may become a database, in bytes. A browser has it in memory.
    pub file: usize,
    /// The changes of one batch.
    pub page_changes: usize,
    /// The bytes of one batch.
    pub page_bytes: usize,
    /// The rows of one `sql` request's results, together.
    pub sql_rows: usize,
    /// The bytes of one `sql` request's results, together.
    pub sql_bytes: usize,
    /// How long one `sql` request may run.
    pub sql_time: Duration,
    /// How long the auth hook may take.
    pub authorize: Duration,
    /// How long a ticket for an event stream is good.
    pub ticket: Duration,
    /// How often a silent event stream shows that it is alive.
    pub heartbeat: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 16 << 20,
            binary_body: 4 << 20,
            file: 1 << 30,
            page_changes: 10_000,
            page_bytes: 4 << 20,
            sql_rows: 10_000,
            sql_bytes: 16 << 20,
            sql_time: Duration::from_secs(5),
            authorize: Duration::from_secs(10),
            ticket: Duration::from_secs(30),
            heartbeat: Duration::from_secs(15),
        }
    }
}

impl Limits {
    /// The size of a batch, at most `wanted` changes.
    pub(super) fn page(&self, wanted: Option<usize>) -> Page {
        let changes = wanted.unwrap_or(self.page_changes).min(self.page_changes);
        Page { changes, bytes: self.page_bytes }
    }
}

impl App {
    /// Begins with the default settings: prefix `/sync`, no `sql`, no files, everything allowed.
    pub fn builder(store: Store) -> Builder {
        let allow = |_: Access| std::future::ready(Ok(Verdict::ALLOW));
        let settings = Settings {
            store,
            hook: Arc::new(allow),
            limits: Limits::default(),
            links: None,
            drain: Drain::new(),
            frames: AllFrames::default(),
            tickets: Tickets::default(),
            sql: false,
            files: false,
            pause: false,
        };
        Builder { routes: Routes::default(), settings }
    }
}

impl Builder {
    /// Moves or renames the routes.
    pub fn routes(mut self, routes: Routes) -> Self {
        self.routes = routes;
        self
    }

    /// Sets the auth hook.
    pub fn authorize(mut self, hook: impl Authorize) -> Self {
        self.settings.hook = Arc::new(hook);
        self
    }

    /// Changes the limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Whether SQL may be run.
    pub fn sql(mut self, on: bool) -> Self {
        self.settings.sql = on;
        self
    }

    /// Whether databases may be read and made as files. Only from whom you trust: a file brings everything that is in it,
    /// triggers among it.
    pub fn files(mut self, on: bool) -> Self {
        self.settings.files = on;
        self
    }

    /// Connects the databases to an upstream.
    pub fn links(mut self, links: Arc<dyn Links>) -> Self {
        self.settings.links = Some(links);
        self
    }

    /// Whether a request may stop the links to the upstream and let them go on.
    pub fn pause(mut self, on: bool) -> Self {
        self.settings.pause = on;
        self
    }

    /// Shares the handle that ends the event streams.
    pub fn drain(mut self, drain: Drain) -> Self {
        self.settings.drain = drain;
        self
    }

    /// The router.
    pub fn build(self) -> Router {
        let Self { routes, settings } = self;
        let path = |operation| routes.path(operation);
        let mut router = Router::new()
            .route(&path(Operation::Create), put(create::handle))
            .route(&path(Operation::Migrate), post(migrate::handle))
            .route(&path(Operation::GetChanges), get(get_changes::handle))
            .route(&path(Operation::ApplyChanges), post(apply::handle))
            .route(&path(Operation::RequestChanges), post(request::handle))
            .route(&path(Operation::Verify), post(verify::handle))
            .route(&path(Operation::Events), get(events::handle))
            .route(&path(Operation::Ticket), post(ticket::handle))
            .route(&path(Operation::Status), get(status::handle));
        if settings.sql {
            router = router.route(&path(Operation::Sql), post(sql::handle));
        }
        if settings.files {
            // The two may have been given different names.
            router = router
                .route(&path(Operation::ExportFile), get(file::export))
                .route(&path(Operation::ImportFile), put(file::import));
        }
        if settings.pause && settings.links.is_some() {
            router = router.route(&path(Operation::Upstream), put(upstream::handle));
        }
        let router = router.method_not_allowed_fallback(method_not_allowed).fallback(no_route).with_state(settings);
        match routes.as_prefix() {
            "" => router,
            // Nesting leaves out the prefix with a slash after it.
            prefix => Router::new().nest(prefix, router).route(&format!("{prefix}/"), any(no_route)),
        }
    }
}

async fn no_route() -> Problem {
    Problem::new(Code::NotFound, "there is no such operation; see the protocol's table of routes")
}

/// The router adds the header `allow`.
async fn method_not_allowed(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::new(Code::MethodNotAllowed, "the route takes only the methods in `allow`").into_response()
}
