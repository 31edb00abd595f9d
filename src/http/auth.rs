//! The auth hook: asked before every operation, and its verdict enforced.
//!
//! What a caller may do is the hook's to say, by [`Bounds`]; that it does no more is seen to by the operations, which are
//! given the bounds, and by the engine.

mod bounds;
#[cfg(any(feature = "server", target_family = "wasm", test))]
mod question;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};

pub use bounds::Bounds;
pub(super) use bounds::ended;

use super::patience::within;
use super::problem::{Code, Problem};
use crate::crr::SiteId;
use crate::store::Dbid;

/// An operation, as the auth hook sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// `createDatabaseIfNotExists`
    Create,
    /// `createOrMigrateDatabase`
    Migrate,
    /// `applyChanges`
    ApplyChanges,
    /// `getChanges`
    GetChanges,
    /// `requestChanges`
    RequestChanges,
    /// `getChangesForQueries`
    ChangesForQueries,
    /// Ending a subscription to queries.
    EndSubscription,
    /// `verify`
    Verify,
    /// `startSSE`
    Events,
    /// A ticket for `startSSE`: whoever may have one may open the stream.
    Ticket,
    /// `status`
    Status,
    /// `exec` and `query`
    Sql,
    /// Pausing and resuming the link to the upstream.
    Upstream,
    /// Reading the database as a file.
    ExportFile,
    /// Making a database of a file.
    ImportFile,
}

impl Operation {
    /// The operation's name in the protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "createDatabaseIfNotExists",
            Self::Migrate => "createOrMigrateDatabase",
            Self::ApplyChanges => "applyChanges",
            Self::GetChanges => "getChanges",
            Self::RequestChanges => "requestChanges",
            Self::ChangesForQueries => "getChangesForQueries",
            Self::EndSubscription => "endSubscription",
            Self::Verify => "verify",
            Self::Events => "startSSE",
            Self::Ticket => "ticket",
            Self::Status => "status",
            Self::Sql => "sql",
            Self::Upstream => "upstream",
            Self::ExportFile => "exportFile",
            Self::ImportFile => "importFile",
        }
    }
}

/// What the hook is told of a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Access {
    /// What is asked for.
    pub operation: Operation,
    /// Of which database. It need not exist.
    pub dbid: Dbid,
    /// The site that the caller says it is.
    pub site: Option<SiteId>,
    /// The request's method.
    pub method: Method,
    /// The request's headers.
    pub headers: HeaderMap,
    /// Where the request came from, on hosts that know.
    pub peer: Option<SocketAddr>,
    /// The SQL texts that would be run.
    pub sql: Vec<String>,
}

/// What the hook answers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// Go on, within these bounds.
    Allow(Bounds),
    /// 401: the caller must say who it is.
    Unauthorized(String),
    /// 403: the caller may not do this.
    Forbidden(String),
}

impl Verdict {
    /// Allows everything.
    pub const ALLOW: Self = Self::Allow(Bounds::NONE);
    /// Allows what writes nothing.
    pub const READ_ONLY: Self = Self::Allow(Bounds { read_only: true, ..Bounds::NONE });
}

impl From<Bounds> for Verdict {
    fn from(bounds: Bounds) -> Self {
        Self::Allow(bounds)
    }
}

/// The auth hook.
///
/// Any `Fn(Access) -> impl Future<Output = Result<Verdict, String>>` is one. A hook that fails, panics or takes longer
/// than the configured time denies.
pub trait Authorize: Send + Sync + 'static {
    /// Judges one request. The text of an error goes to the log, not to the caller.
    fn authorize(&self, access: Access) -> BoxFuture<'_, Result<Verdict, String>>;
}

impl<F, Fut> Authorize for F
where
    F: Fn(Access) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Verdict, String>> + Send + 'static,
{
    fn authorize(&self, access: Access) -> BoxFuture<'_, Result<Verdict, String>> {
        Box::pin(self(access))
    }
}

/// Where a request came from. A host that knows puts it among the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// Asks the hook, and enforces what can be enforced before the operation.
pub(super) async fn ask(hook: &dyn Authorize, patience: Duration, access: Access) -> Result<Bounds, Problem> {
    let (operation, dbid, site) = (access.operation, access.dbid.clone(), access.site);
    // The hook's own code runs inside the guard too, not only its future.
    let verdict = AssertUnwindSafe(async { hook.authorize(access).await }).catch_unwind();
    let failure = match within(verdict, patience).await {
        Some(Ok(Ok(Verdict::Allow(bounds)))) => {
            bounds.check_time()?;
            bounds.check_claim(site)?;
            tracing::debug!(operation = operation.as_str(), %dbid, principal = bounds.principal.as_deref(), "allowed");
            return Ok(bounds);
        }
        Some(Ok(Ok(Verdict::Unauthorized(reason)))) => {
            return Err(Problem::new(Code::Unauthorized, reason));
        }
        Some(Ok(Ok(Verdict::Forbidden(reason)))) => {
            return Err(Problem::new(Code::Forbidden, reason));
        }
        Some(Ok(Err(reason))) => reason,
        Some(Err(_panic)) => "it panicked".into(),
        None => format!("it took longer than {patience:?}"),
    };
    tracing::error!(operation = operation.as_str(), %dbid, "the auth hook failed, which denies: {failure}");
    Err(Problem::new(Code::Forbidden, "whether this is allowed could not be found out; try again later"))
}
