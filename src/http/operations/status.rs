use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use super::subscriptions::Subscription;
use crate::crr::SiteId;
use crate::http::auth::{Bounds, Operation};
use crate::http::call::{Call, answer};
use crate::http::links::LinkStatus;
use crate::http::problem::Problem;
use crate::store::{Database, Kept};
use crate::sync::{self, Clock, Cursor, Replica, SchemaHash, json};

/// What a database tells of itself.
#[derive(Serialize)]
struct Answer {
    #[serde(with = "json::text")]
    site: SiteId,
    #[serde(with = "json::text")]
    at: Cursor,
    schema: Option<SchemaHash>,
    /// All that is held, for those who ask: it grows with the number of sites.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<Clock>,
    /// What is known to lack.
    gaps: Clock,
    /// Batches that wait for a migration.
    waiting: u64,
    size: Size,
    storage: Kept,
    peers: Vec<Peer>,
    unsent: Unsent,
    quarantined: Quarantined,
    /// What a partial copy subscribes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions: Option<Vec<Subscription>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<LinkStatus>,
}

#[derive(Serialize)]
struct Size {
    bytes: i64,
    free_bytes: i64,
}

/// A peer, and how far each has what the other had.
#[derive(Serialize)]
struct Peer {
    #[serde(with = "json::text")]
    site: SiteId,
    #[serde(with = "json::text")]
    received: Cursor,
    #[serde(with = "json::text")]
    acknowledged: Cursor,
}

/// What the upstream lacks.
#[derive(Serialize)]
struct Unsent {
    changes: u64,
    since: Option<i64>,
}

/// What is held back from the upstream.
#[derive(Serialize)]
struct Quarantined {
    count: u64,
    transactions: Vec<HeldBack>,
}

#[derive(Serialize)]
struct HeldBack {
    #[serde(with = "json::text")]
    site: SiteId,
    versions: [i64; 2],
    status: Option<u16>,
    code: String,
    detail: String,
    since: i64,
    principal: Option<String>,
}

impl From<sync::Quarantined> for HeldBack {
    fn from(held_back: sync::Quarantined) -> Self {
        let sync::Quarantined { site, versions, refusal, since, principal } = held_back;
        let sync::Refusal { status, code, detail } = refusal;
        Self { site, versions: [versions.first.get(), versions.last.get()], status, code, detail, since, principal }
    }
}

/// `status`
pub(in crate::http) async fn handle(call: Call) -> Result<Response, Problem> {
    let bounds = call.enter(Operation::Status, Vec::new()).await?;
    let database = call.open().await?;
    respond(&call, &bounds, &database).await
}

/// The status document.
pub(super) async fn respond(call: &Call, bounds: &Bounds, database: &Database) -> Result<Response, Problem> {
    let (wants_clock, is_filtered) = (call.query.wants_clock()?, bounds.rows.is_some());
    let read = move |replica: &mut Replica| -> Result<_, sync::Error> {
        let clock = match (wants_clock, is_filtered) {
            (false, _) => None,
            (true, true) => Some(Clock::default()),
            (true, false) => Some(replica.clock()?),
        };
        let shows_subscriptions = !is_filtered && replica.is_partial()?;
        let subscribing = if shows_subscriptions { Some(replica.subscribing()?) } else { None };
        Ok((replica.status()?, clock, subscribing))
    };
    let (status, clock, subscriptions) = database.read(read).await??;
    let status = if is_filtered { without_others(status) } else { status };
    let storage = database.kept().await?;
    let upstream = call.settings.links.as_ref().and_then(|links| links.status(database.dbid()));
    let subscriptions = subscriptions.map(|all| Subscription::list(all, upstream.as_ref()));
    // What the upstream said may be about rows of others.
    let upstream = upstream.map(|link| if is_filtered { LinkStatus { error: None, ..link } } else { link });
    let at = bounds.seen_at(status.at);
    let peers = status.peers.into_iter().map(|peer| Peer {
        site: peer.site,
        received: Cursor { site: peer.site, version: peer.received },
        acknowledged: Cursor { site: at.site, version: peer.acknowledged },
    });
    let unsent = status.unsent.unwrap_or_default();
    let quarantined = status.quarantined;
    let answered = Answer {
        site: at.site,
        at,
        schema: status.schema,
        clock,
        gaps: status.missing,
        waiting: status.waiting,
        size: Size { bytes: status.bytes, free_bytes: status.free_bytes },
        storage,
        peers: peers.collect(),
        unsent: Unsent { changes: unsent.changes, since: unsent.since },
        quarantined: Quarantined {
            count: quarantined.count,
            transactions: quarantined.transactions.into_iter().map(HeldBack::from).collect(),
        },
        subscriptions,
        upstream,
    };
    answer(StatusCode::OK, &answered)
}

/// What whoever may use some rows only is told: where this copy is, and which schema it has. What is counted over all rows, and
/// who wrote them, is left out.
fn without_others(status: sync::Status) -> sync::Status {
    sync::Status {
        bytes: 0,
        free_bytes: 0,
        missing: Clock::default(),
        waiting: 0,
        peers: Vec::new(),
        unsent: None,
        quarantined: sync::Quarantine::default(),
        ..status
    }
}
