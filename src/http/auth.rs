//! The auth hook: asked before every operation, and its verdict enforced.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_timer::Delay;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use http::{HeaderMap, Method};

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
    /// `verify`
    Verify,
    /// `startSSE`
    Events,
    /// `status`
    Status,
    /// `exec` and `query`
    Sql,
    /// Pausing and resuming the link to the upstream.
    Upstream,
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
            Self::Verify => "verify",
            Self::Events => "startSSE",
            Self::Status => "status",
            Self::Sql => "sql",
            Self::Upstream => "upstream",
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
    /// The caller may speak for this site only: as the claimed site, as a batch's sender, and as the author of its
    /// changes. Who is bound can therefore not relay what others wrote.
    pub site: Option<SiteId>,
}

impl Verdict {
    /// Allows everything.
    pub const ALLOW: Self = Self::Allow(Bounds { read_only: false, site: None });
    /// Allows what writes nothing.
    pub const READ_ONLY: Self = Self::Allow(Bounds { read_only: true, site: None });
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
    let failure = match select(Box::pin(verdict), Delay::new(patience)).await {
        Either::Left((Ok(Ok(Verdict::Allow(bounds))), _)) => {
            bounds.check_claim(site)?;
            return Ok(bounds);
        }
        Either::Left((Ok(Ok(Verdict::Unauthorized(reason))), _)) => {
            return Err(Problem::new(Code::Unauthorized, reason));
        }
        Either::Left((Ok(Ok(Verdict::Forbidden(reason))), _)) => {
            return Err(Problem::new(Code::Forbidden, reason));
        }
        Either::Left((Ok(Err(reason)), _)) => reason,
        Either::Left((Err(_panic), _)) => "it panicked".into(),
        Either::Right(_) => format!("it took longer than {patience:?}"),
    };
    tracing::error!(operation = operation.as_str(), %dbid, "the auth hook failed, which denies: {failure}");
    Err(Problem::new(Code::Forbidden, "whether this is allowed could not be found out; try again later"))
}

impl Bounds {
    /// Refuses a claim to be another site than the one allowed.
    fn check_claim(&self, site: Option<SiteId>) -> Result<(), Problem> {
        match (self.site, site) {
            (Some(allowed), Some(claimed)) => self.check_site(allowed == claimed),
            _ => Ok(()),
        }
    }

    /// Refuses to speak for a site other than the one allowed.
    pub(super) fn check_speaker(&self, mut sites: impl Iterator<Item = SiteId>) -> Result<(), Problem> {
        match self.site {
            Some(allowed) => self.check_site(sites.all(|site| site == allowed)),
            None => Ok(()),
        }
    }

    fn check_site(&self, same: bool) -> Result<(), Problem> {
        if same { Ok(()) } else { Err(Problem::new(Code::Forbidden, "the caller may not speak for this site")) }
    }

    /// Refuses to write where only reading is allowed.
    pub(super) fn check_write(&self) -> Result<(), Problem> {
        if self.read_only { Err(Problem::new(Code::Forbidden, "the caller may only read")) } else { Ok(()) }
    }
}
