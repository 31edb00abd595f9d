use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::handler::Handler;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post, put};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use tokio::sync::Semaphore;

use super::auth::{Access, Authorize, Operation, Verdict};
use super::call::Call;
use super::events::{self, Frames, Shared, Tidings};
use super::links::Links;
use super::operations::{
    apply, create, file, get as get_changes, migrate, query, request, sql, status, subscriptions, ticket, upstream,
    verify,
};
use super::problem::{Code, Problem};
use super::tickets::Tickets;
use super::{Drain, Routes, batches};
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
pub(super) struct Settings {
    pub(super) store: Store,
    pub(super) hook: Arc<dyn Authorize>,
    /// What answers that may be kept depend on, besides their URL.
    pub(super) vary: HeaderValue,
    pub(super) limits: Limits,
    pub(super) links: Option<Arc<dyn Links>>,
    pub(super) drain: Drain,
    pub(super) frames: Shared<Frames>,
    pub(super) tidings: Shared<Tidings>,
    pub(super) tickets: Tickets,
    /// One for each event stream that may be open.
    pub(super) streams: Arc<Semaphore>,
    sql: bool,
    files: bool,
    pause: bool,
}

/// How much callers may ask of the host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The largest request body, in bytes.
    pub body: usize,
    /// The largest batch in the binary form, in bytes. Reading one may take 34 times as much memory.
    pub binary_body: usize,
    /// How long a request body may take to come.
    pub body_time: Duration,
    /// How many event streams are open at a time.
    pub streams: usize,
    /// The largest file that may become a database, in bytes. A browser has it in memory.
    pub file: usize,
    /// The changes of one batch.
    pub page_changes: usize,
    /// The bytes of one batch.
    pub page_bytes: usize,
    /// The changes of one answer to queries that are not subscribed to: it has no pages.
    pub query_changes: usize,
    /// The bytes of one such answer.
    pub query_bytes: usize,
    /// How many subscriptions one caller may have. Those that were used longest ago are forgotten.
    pub subscriptions: usize,
    /// How long a subscription is remembered that nobody uses.
    pub subscription: Duration,
    /// The rows of one `sql` request's results, together.
    pub sql_rows: usize,
    /// The bytes of one `sql` request's results, together.
    pub sql_bytes: usize,
    /// How long one `sql` request may run, and the queries of a subscription each time.
    pub sql_time: Duration,
    /// How long merging a batch may take.
    pub apply_time: Duration,
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
            body_time: Duration::from_secs(60),
            streams: 10_000,
            file: 1 << 30,
            page_changes: 10_000,
            page_bytes: 4 << 20,
            query_changes: 1_000_000,
            query_bytes: 64 << 20,
            subscriptions: 1_000,
            subscription: Duration::from_secs(7 * 24 * 60 * 60),
            sql_rows: 10_000,
            sql_bytes: 16 << 20,
            sql_time: Duration::from_secs(5),
            apply_time: Duration::from_secs(60),
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
            vary: batches::vary(&[]),
            limits: Limits::default(),
            links: None,
            drain: Drain::new(),
            frames: Shared::default(),
            tidings: Shared::default(),
            tickets: Tickets::default(),
            streams: Arc::new(Semaphore::new(Limits::default().streams)),
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

    /// Names the request headers that the auth hook goes by, besides `authorization` and `cookie`: a cache must not answer a
    /// request by what was answered to one with others.
    pub fn authorize_by(mut self, headers: impl IntoIterator<Item = HeaderName>) -> Self {
        self.settings.vary = batches::vary(&headers.into_iter().collect::<Vec<_>>());
        self
    }

    /// Changes the limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.streams = Arc::new(Semaphore::new(limits.streams.min(Semaphore::MAX_PERMITS)));
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
        let settings = Arc::new(settings);
        let path = |operation| routes.path(operation);
        let at = |run: Run| Endpoint { settings: settings.clone(), run };
        let mut router = Router::new()
            .route(&path(Operation::Create), put(at(|call, body| Box::pin(create::handle(call, body)))))
            .route(&path(Operation::Migrate), post(at(|call, body| Box::pin(migrate::handle(call, body)))))
            .route(&path(Operation::GetChanges), get(at(|call, _| Box::pin(get_changes::handle(call)))))
            .route(&path(Operation::ApplyChanges), post(at(|call, body| Box::pin(apply::handle(call, body)))))
            .route(&path(Operation::RequestChanges), post(at(|call, body| Box::pin(request::handle(call, body)))))
            .route(&path(Operation::ChangesForQueries), post(at(|call, body| Box::pin(query::handle(call, body)))))
            .route(&path(Operation::EndSubscription), delete(at(|call, _| Box::pin(query::end(call)))))
            .route(&path(Operation::Verify), post(at(|call, body| Box::pin(verify::handle(call, body)))))
            .route(&path(Operation::Events), get(at(|call, _| Box::pin(events::handle(call)))))
            .route(&path(Operation::Ticket), post(at(|call, _| Box::pin(ticket::handle(call)))))
            .route(&path(Operation::Status), get(at(|call, _| Box::pin(status::handle(call)))));
        if settings.sql {
            router = router.route(&path(Operation::Sql), post(at(|call, body| Box::pin(sql::handle(call, body)))));
        }
        if settings.files {
            // The two may have been given different names.
            router = router
                .route(&path(Operation::ExportFile), get(at(|call, _| Box::pin(file::export(call)))))
                .route(&path(Operation::ImportFile), put(at(|call, body| Box::pin(file::import(call, body)))));
        }
        if settings.pause && settings.links.is_some() {
            router =
                router.route(&path(Operation::Upstream), put(at(|call, body| Box::pin(upstream::handle(call, body)))));
            let one = at(|call, body| Box::pin(subscriptions::handle(call, body)));
            router = router
                .route(&routes.subscriptions(), get(at(|call, _| Box::pin(subscriptions::list(call)))))
                .route(&format!("{}/{{id}}", routes.subscriptions()), get(one.clone()).put(one.clone()).delete(one));
        }
        let router = router.method_not_allowed_fallback(method_not_allowed).fallback(no_route);
        match routes.as_prefix() {
            "" => router,
            // Nesting leaves out the prefix with a slash after it.
            prefix => Router::new().nest(prefix, router).route(&format!("{prefix}/"), any(no_route)),
        }
    }
}

/// An operation of this app.
type Run = fn(Call, Body) -> BoxFuture<'static, Result<Response, Problem>>;

/// One type of handler for all operations: axum's code for a handler and for a state is compiled once.
#[derive(Clone)]
struct Endpoint {
    settings: Arc<Settings>,
    run: Run,
}

impl Endpoint {
    async fn answer(self, request: Request) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let call = Call::new(self.settings, parts).await?;
        (self.run)(call, body).await
    }
}

impl Handler<(), ()> for Endpoint {
    type Future = BoxFuture<'static, Response>;

    fn call(self, request: Request, (): ()) -> Self::Future {
        Box::pin(self.answer(request).map(IntoResponse::into_response))
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
