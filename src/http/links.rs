//! What the operations need to know of the links to an upstream, which are made in a room above this one.

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::store::{self, Database, Dbid};

/// The links of a host's databases to their upstream. `upstream::Upstream` is the one.
pub trait Links: Send + Sync + 'static {
    /// Makes sure that the link of `database` runs. Called when a request opened or created it.
    fn attend(&self, database: &Database);

    /// The state of a link, or `None` where there is none.
    fn status(&self, dbid: &Dbid) -> Option<LinkStatus>;

    /// Stops a link, or lets it go on; the database remembers it.
    fn pause(&self, database: &Database, paused: bool) -> BoxFuture<'_, Result<(), store::Error>>;
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
}

/// What a link is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// The upstream cannot be reached; the link tries again by itself.
    Offline,
    /// The first request of an attempt is on its way.
    Connecting,
    /// Both directions run.
    Online,
    /// Stopped by hand.
    Paused,
    /// The upstream answered that it will not take part; the link asks again, seldom.
    Refused,
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
