//! The host in a browser: a service worker that answers its pages' requests.
//!
//! JavaScript owns the listeners and decides, at once, which requests are ours; [`SyncWorker`] answers these. A web
//! `Request` becomes an [`http::Request`] for the same axum router that a server has, and its response a web `Response`
//! ([`convert`], [`streams`]). The upstream is asked by `fetch` ([`fetch`]).
//!
//! Nothing here outlives the worker, which the browser stops at will: what was answered is stored, and the rest was
//! never promised. So a start is always a recovery: the first event looks for databases with changes that the upstream
//! has not acknowledged, and lets their links run.
//!
//! The module has one thread. Where the shared code asks for `Send`, [`send_wrapper::SendWrapper`] gives it: values that
//! JavaScript owns never move to another thread, since there is none.

mod authorize;
mod config;
mod convert;
mod credentials;
mod fetch;
mod hook;
mod log;
mod streams;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::future::{Either, select};
use futures_util::stream::{self, StreamExt};
use js_sys::{Function, Promise};
use tower::ServiceExt;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{future_to_promise, spawn_local};
use web_sys::{Request, Response};

use self::config::Config;
use crate::http::links::Links;
use crate::http::{App, Drain};
use crate::store::{self, Database, Dbid, Store};
use crate::upstream::Upstream;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = include_str!("worker/types.d.ts");

/// How many databases are looked at together when a worker starts. One that another worker still has is waited for.
const RESUMED_AT_ONCE: usize = 8;

/// Answers the requests of this origin's pages.
#[wasm_bindgen]
pub struct SyncWorker {
    host: Rc<Host>,
}

struct Host {
    config: Config,
    store: Store,
    upstream: Option<Upstream>,
    authorize: Option<Function>,
    /// Changed by a drain: what a router began, its drain ends.
    serving: RefCell<Serving>,
    is_awake: Cell<bool>,
}

struct Serving {
    router: Router,
    drain: Drain,
}

#[wasm_bindgen]
impl SyncWorker {
    /// Throws a `TypeError` that names the setting which cannot be.
    #[wasm_bindgen(constructor)]
    pub fn new(
        #[wasm_bindgen(unchecked_optional_param_type = "SyncWorkerConfig")] config: JsValue,
        #[wasm_bindgen(unchecked_optional_param_type = "Authorize")] authorize: Option<Function>,
    ) -> Result<Self, JsValue> {
        console_error_panic_hook::set_once();
        log::to_console();
        let config = Config::from_js(&config)?;
        let host = Rc::new(Host {
            store: Store::new(config.storage()),
            upstream: config.upstream().map(|upstream| Upstream::new(upstream, fetch::Fetch, Arc::new(spawn_local))),
            serving: RefCell::new(Serving { router: Router::new(), drain: Drain::new() }),
            config,
            authorize,
            is_awake: Cell::new(false),
        });
        host.begin_serving();
        Ok(Self { host })
    }

    /// Answers a request under the prefix.
    #[wasm_bindgen(unchecked_return_type = "Promise<Response>")]
    pub fn handle(&self, request: Request) -> Promise {
        self.host.awake();
        let router = self.host.serving.borrow().router.clone();
        let stall = self.host.config.stall();
        future_to_promise(async move { answer(router, request, stall).await.map(JsValue::from) })
    }

    /// Answers a request that came in a message, and whose answer is no stream, without a `Request` and a `Response`: to make
    /// these and to read them takes longer than most answers do.
    #[wasm_bindgen(unchecked_return_type = "Promise<Answer>")]
    pub fn ask(&self, #[wasm_bindgen(unchecked_param_type = "Question")] question: convert::Question) -> Promise {
        self.host.awake();
        let router = self.host.serving.borrow().router.clone();
        future_to_promise(async move {
            let Ok(response) = router.oneshot(convert::question(&question)?).await;
            convert::answer(response).await
        })
    }

    /// Ends the event streams that are open, each with a `drain` event, so that an update can take over.
    pub fn drain(&self) {
        self.host.begin_serving().drain();
    }

    /// Tries the upstream now, if it is waited for.
    pub fn wake(&self) {
        self.host.awake();
        if let Some(upstream) = &self.host.upstream {
            upstream.wake();
        }
    }
}

/// Runs the router until it has a response, or the page has given up.
async fn answer(router: Router, request: Request, stall: Duration) -> Result<Response, JsValue> {
    let given_up = streams::aborted(&request.signal());
    let request = convert::request(&request).await?;
    match select(router.oneshot(request), given_up).await {
        Either::Left((Ok(response), _)) => convert::response(response, stall).await,
        Either::Left((Err(never), _)) => match never {},
        // Nobody is there to read it. What the request committed is stored all the same.
        Either::Right(((), _)) => Ok(Response::error()),
    }
}

impl Host {
    /// Sends requests from now on to a new router, and returns the drain of the one before.
    fn begin_serving(&self) -> Drain {
        let drain = Drain::new();
        let app = App::builder(self.store.clone())
            .routes(self.config.routes())
            .limits(self.config.limits())
            .sql(self.config.sql())
            .files(self.config.files())
            .pause(true)
            .drain(drain.clone());
        let app = match &self.upstream {
            Some(upstream) => app.links(Arc::new(upstream.clone())),
            None => app,
        };
        let app = match &self.authorize {
            Some(function) => app.authorize(authorize::Hook::new(function.clone())),
            None => app,
        };
        let router = app.build();
        self.serving.replace(Serving { router, drain }).drain
    }

    /// On the first event, and on later ones until it succeeded: goes on with what an earlier worker did not finish.
    fn awake(self: &Rc<Self>) {
        if self.upstream.is_some() && !self.is_awake.replace(true) {
            let host = Rc::clone(self);
            spawn_local(async move {
                let resumed = host.resume_links().await;
                host.is_awake.set(resumed);
            });
        }
    }

    /// Lets the links run of the databases that have something to send. The others wait for a request: a database in
    /// memory costs its size.
    async fn resume_links(&self) -> bool {
        let dbids = match self.store.list().await {
            Ok(dbids) => dbids,
            Err(error) => {
                tracing::warn!("the stored databases cannot be listed: {error}");
                return false;
            }
        };
        let resumed = stream::iter(dbids).map(|dbid| async move {
            match self.resume_link(&dbid).await {
                // A database without a schema: its creation never came to an end.
                Ok(()) | Err(store::Error::NotFound) => true,
                Err(error) => {
                    tracing::warn!(%dbid, "its unsent changes wait for the next event: {error}");
                    false
                }
            }
        });
        resumed.buffer_unordered(RESUMED_AT_ONCE).fold(true, async |all, one| all && one).await
    }

    async fn resume_link(&self, dbid: &Dbid) -> Result<(), store::Error> {
        let is_open = self.store.is_open(dbid);
        let database = self.store.open(dbid).await?;
        match &self.upstream {
            Some(upstream) if has_unsent(&database).await? => upstream.attend(&database),
            _ if is_open => {}
            _ => {
                drop(database);
                self.store.release_unused(dbid).await;
            }
        }
        Ok(())
    }
}

async fn has_unsent(database: &Database) -> Result<bool, store::Error> {
    database.call(|replica| replica.has_unsent()).await?.map_err(store::Error::Sync)
}
