//! The auth hook: asked before every operation, and its verdict enforced.

use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};

use crate::crr::SiteId;
use crate::store::Dbid;

/// An operation, as the auth hook sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// `createDatabaseIfNotExists`
    Create,
    /// `applyChanges`
    ApplyChanges,
    /// `getChanges`
    GetChanges,
    /// `startSSE`
    Events,
    /// `status`
    Status,
    /// `exec` and `query`
    Sql,
    /// Pausing and resuming the link to the upstream.
    Upstream,
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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Go on, within these bounds.
    Allow(Bounds),
    /// 401: the caller must say who it is.
    Unauthorized(String),
    /// 403: the caller may not do this.
    Forbidden(String),
}

/// The bounds of an allowance. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Nothing may be written.
    pub read_only: bool,
    /// The caller may speak for this site only.
    pub site: Option<SiteId>,
}

impl Verdict {
    /// Allows everything.
    pub const ALLOW: Self = Self::Allow(Bounds {
        read_only: false,
        site: None,
    });
    /// Allows what writes nothing.
    pub const READ_ONLY: Self = Self::Allow(Bounds {
        read_only: true,
        site: None,
    });
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
