//! What the operations need to know of the links to an upstream, which are made in a room above this one.

use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio::sync::watch;

use crate::store::{self, Database, Dbid};
use crate::sync::WhenUnsent;

/// The links of a host's databases to their upstream. `upstream::Upstream` is the one.
pub trait Links: Send + Sync + 'static {
    /// Makes sure that the link of `database` runs. Called when a request opened or created it.
    fn attend(&self, database: &Database);

    /// The state of a link, or `None` where there is none.
    fn status(&self, dbid: &Dbid) -> Option<LinkStatus>;

    /// Changes what a link does; the database remembers it.
    fn set(&self, database: &Database, settings: LinkSettings) -> BoxFuture<'_, Result<(), store::Error>>;

    /// Has a link look up in the database what it is to subscribe to.
    fn resubscribe(&self, database: &Database);

    /// Tells when rows leave a partial copy, of which no change tells. `None` where there is no link.
    fn forgotten(&self, dbid: &Dbid) -> Option<watch::Receiver<()>>;
}

/// What a link is told to do. What is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// Whether it is stopped.
    pub paused: Option<bool>,
    /// Who is signed in, and what becomes of changes that are another one's.
    pub principal: Option<(String, WhenUnsent)>,
    /// Sends again what the upstream refused.
    pub retry: bool,
}

/// What a link tells of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkStatus {
    /// The upstream's URL of the database.
    pub url: String,
    /// What the link is doing.
    pub state: LinkState,
    /// The last failure, until the next success.
    pub error: Option<LinkError>,
    /// Milliseconds to the next attempt, while one is waited for.
    pub retry_in_ms: Option<u64>,
    /// To whom the database belongs, where that was said.
    pub principal: Option<String>,
    /// When both sides last were known to have the same, in milliseconds since 1970.
    pub synced_at: Option<i64>,
    /// How far this attempt has caught up with the upstream; `None` before it begins to.
    pub progress: Option<Progress>,
    /// Of subscriptions that the upstream refuses, why.
    #[serde(skip)]
    pub refused: Vec<(String, LinkError)>,
}

/// How far a link has caught up, in the upstream's local versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Those that are here.
    pub received: i64,
    /// Those that the upstream has, as far as it is known.
    pub expected: i64,
    /// The bytes of the batches that came in this attempt.
    pub bytes: u64,
    /// Whether everything is here that the upstream had when it was asked.
    pub done: bool,
}

/// What a link is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// The upstream cannot be reached; the link tries again by itself.
    Offline,
    /// The first request of an attempt is on its way.
    #[default]
    Connecting,
    /// Both directions run.
    Online,
    /// Stopped by hand.
    Paused,
    /// The upstream answered that it will not take part; the link asks again, seldom.
    Refused,
    /// The upstream must know who asks; the link waits for credentials.
    Unauthorized,
    /// Somebody else is signed in than the one to whom the database belongs; nothing is sent.
    PrincipalChanged,
}

/// Why a link is not online: a problem document, or one made here for a failure that never became an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkError {
    /// The answer's status, where there was one.
    pub status: Option<u16>,
    /// A stable code, such as `forbidden`, `unreachable` or `not_a_sync_server`.
    pub code: String,
    /// What happened, for people.
    pub detail: String,
}
