use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::app::Settings;
use super::auth::{self, Access, Bounds, Operation, PeerAddr};
use super::extract::{self, BodyLimit, Names, Query};
use super::observe::{Observed, Observer};
use super::problem::{Code, Problem};
use crate::crr::SiteId;
use crate::store::{Database, Dbid};
use crate::sync::json;

/// A request on its way to an operation. It is [`enter`](Call::enter)ed before anything is done for it.
pub(super) struct Call {
    pub(super) settings: Arc<Settings>,
    pub(super) dbid: Dbid,
    pub(super) names: Names,
    pub(super) query: Query,
    /// The site that the caller says it is.
    pub(super) site: Option<SiteId>,
    pub(super) observer: Arc<dyn Observer>,
    parts: Parts,
}

impl Call {
    /// Reads what every operation needs from the head of the request.
    pub(super) async fn new(settings: Arc<Settings>, mut parts: Parts) -> Result<Self, Problem> {
        let names = Names::of(&mut parts).await;
        let dbid = names.dbid()?;
        let query = Query::of(&parts);
        let site = extract::site(&parts.headers, &query)?;
        let observer = Observed::of(&parts.extensions);
        Ok(Self { settings, dbid, names, query, site, observer, parts })
    }

    /// Asks the auth hook.
    pub(super) async fn enter(&self, operation: Operation, sql: Vec<String>) -> Result<Bounds, Problem> {
        self.observer.asked(operation, &self.dbid);
        let access = Access {
            operation,
            dbid: self.dbid.clone(),
            site: self.site,
            method: self.parts.method.clone(),
            headers: self.parts.headers.clone(),
            peer: self.parts.extensions.get::<PeerAddr>().map(|peer| peer.0),
            sql,
        };
        let bounds = auth::ask(&*self.settings.hook, self.settings.limits.authorize, access).await?;
        self.observe(&bounds);
        Ok(bounds)
    }

    fn observe(&self, bounds: &Bounds) {
        if let Some(principal) = &bounds.principal {
            self.observer.known(principal);
        }
    }

    /// Lets the reader of an event stream in by its ticket, or asks the auth hook where it shows none.
    pub(super) async fn enter_stream(&self) -> Result<Bounds, Problem> {
        let Some(ticket) = self.query.ticket()? else {
            return self.enter(Operation::Events, Vec::new()).await;
        };
        self.observer.asked(Operation::Events, &self.dbid);
        let bounds = self.settings.tickets.redeem(ticket, &self.dbid)?;
        self.observe(&bounds);
        bounds.check_time()?;
        bounds.check_claim(self.site)?;
        Ok(bounds)
    }

    pub(super) fn method(&self) -> &Method {
        &self.parts.method
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The body, which is JSON. `code` is for JSON that is not what was expected.
    pub(super) async fn json<T: DeserializeOwned>(&self, body: Body, code: Code) -> Result<T, Problem> {
        let body = extract::json(self.headers(), body, self.body_limit(self.settings.limits.body)).await?;
        json::read(&body).map_err(|error| extract::not_expected(&error, code))
    }

    pub(super) fn body_limit(&self, bytes: usize) -> BodyLimit {
        BodyLimit { bytes, time: self.settings.limits.body_time }
    }

    /// Opens the database, which must exist.
    pub(super) async fn open(&self) -> Result<Database, Problem> {
        let database = self.settings.store.open(&self.dbid).await?;
        self.attend(&database);
        Ok(database)
    }

    /// Makes sure that the database's link to the upstream runs.
    pub(super) fn attend(&self, database: &Database) {
        if let Some(links) = &self.settings.links {
            links.attend(database);
        }
    }
}

/// An answer of JSON.
pub(super) fn answer(status: StatusCode, value: &impl Serialize) -> Result<Response, Problem> {
    let body = serde_json::to_vec(value).map_err(|error| Problem::internal(&error))?;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
