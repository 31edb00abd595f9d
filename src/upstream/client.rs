//! The upstream's operations as calls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use eventsource_stream::Eventsource;
use futures_util::stream::{BoxStream, StreamExt};
use http::Method;
use serde::{Deserialize, Serialize};

use super::answer::{Event, Json, media_type, not_ours, read_batch, read_event, success};
use super::exchange::{Ask, Exchange};
use super::failure::Failure;
use super::watchdog::Watchdog;
use crate::crr::SiteId;
use crate::http::BATCH_MEDIA_TYPE;
use crate::sync::{Batch, Clock, Cursor, Position, Probe, Schema, SchemaHash, Since, Sql, WantedQueries, json};

/// How long an event stream may be silent; the upstream shows a sign of life three times as often.
const SILENCE: Duration = Duration::from_secs(45);

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
/// The shorter form, or else JSON.
const BATCHES: &str = "application/vnd.crsql-sync.batch, application/json;q=0.9";

/// Calls on one database of the upstream.
pub(super) struct Client {
    exchange: Exchange,
    /// Whether the upstream takes batches in the binary form, until it says that it does not.
    takes_binary: AtomicBool,
}

/// What `createDatabaseIfNotExists` is sent.
#[derive(Serialize)]
struct Creation<'a> {
    schema: &'a str,
}

/// What is asked of `getChangesForQueries`.
#[derive(Serialize)]
struct Subscription<'a> {
    queries: &'a [Sql],
    subscription: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<i64>,
    #[serde(with = "json::optional_text", skip_serializing_if = "Option::is_none")]
    since: Option<Cursor>,
    schema: &'a SchemaHash,
}

/// An event stream, event by event.
pub(super) type Events = BoxStream<'static, Result<Event, Failure>>;

/// What the upstream is.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Remote {
    #[serde(with = "json::text")]
    pub(super) site: SiteId,
    /// The newest of its local versions.
    #[serde(with = "json::text")]
    pub(super) at: Cursor,
    pub(super) schema: Option<SchemaHash>,
}

/// What `applyChanges` answers.
#[derive(Deserialize)]
struct Applied {
    #[serde(rename = "applied")]
    _applied: u64,
    #[serde(with = "json::text")]
    received: Since,
}

/// What of a status is needed here.
#[derive(Deserialize)]
struct Held {
    clock: Clock,
}

/// What is asked of `requestChanges`.
#[derive(Serialize)]
struct Wanted<'a> {
    #[serde(with = "json::text")]
    since: Since,
    known: &'a Clock,
    schema: &'a SchemaHash,
}

impl Client {
    pub(super) fn new(exchange: Exchange) -> Self {
        Self { exchange, takes_binary: AtomicBool::new(true) }
    }

    /// Makes sure that the upstream has the database, if not with our schema.
    pub(super) async fn create(&self, schema: &Schema) -> Result<Remote, Failure> {
        let body = serde_json::to_vec(&Creation { schema: schema.text() }).map_err(Failure::again)?;
        let answer = match self.json(Method::PUT, "", Some(body.into())).await {
            Err(Failure::Refused(error)) if error.code == "schema_mismatch" => {
                self.json(Method::GET, "/status", None).await?
            }
            created => created?,
        };
        answer.parse()
    }

    /// What the upstream holds.
    pub(super) async fn clock(&self) -> Result<Clock, Failure> {
        let held: Held = self.json(Method::GET, "/status?clock=true", None).await?.parse()?;
        Ok(held.clock)
    }

    /// Sends a batch. Returns up to where the upstream says that it holds our versions.
    pub(super) async fn push(&self, batch: &Batch) -> Result<Since, Failure> {
        let applied: Applied = if self.takes_binary.load(Ordering::Relaxed) {
            match self.post(batch.to_binary().into(), BATCH_MEDIA_TYPE).await {
                Err(Failure::Unsupported(_)) => {
                    self.takes_binary.store(false, Ordering::Relaxed);
                    self.post_json(batch).await?
                }
                applied => applied?,
            }
        } else {
            self.post_json(batch).await?
        };
        Ok(applied.received)
    }

    async fn post_json(&self, batch: &Batch) -> Result<Applied, Failure> {
        let body = serde_json::to_vec(batch).map_err(Failure::again)?;
        self.post(body.into(), JSON).await
    }

    async fn post(&self, body: Bytes, media_type: &'static str) -> Result<Applied, Failure> {
        let ask = Ask { method: Method::POST, path: "/changes".into(), accept: JSON, body: Some((body, media_type)) };
        Json::read(self.exchange.send(ask).await?).await?.parse()
    }

    /// Asks for the batch after `since`, and says how many bytes it took.
    pub(super) async fn changes(&self, since: Since, schema: &SchemaHash) -> Result<(Batch, usize), Failure> {
        let path = format!("/changes?since={since}&schema={schema}");
        let ask = Ask { method: Method::GET, path, accept: BATCHES, body: None };
        read_batch(self.exchange.send(ask).await?).await
    }

    /// The same, without the transactions in `known`.
    pub(super) async fn changes_but(
        &self,
        since: Since,
        known: &Clock,
        schema: &SchemaHash,
    ) -> Result<(Batch, usize), Failure> {
        let body = serde_json::to_vec(&Wanted { since, known, schema }).map_err(Failure::again)?;
        let path = "/changes/request".into();
        let ask = Ask { method: Method::POST, path, accept: BATCHES, body: Some((body.into(), JSON)) };
        read_batch(self.exchange.send(ask).await?).await
    }

    /// Sends a probe, and returns the answer.
    pub(super) async fn verify(&self, probe: &Probe) -> Result<Probe, Failure> {
        let body = serde_json::to_vec(probe).map_err(Failure::again)?;
        self.json(Method::POST, "/verify", Some(body.into())).await?.parse()
    }

    /// Opens the event stream after `since`.
    pub(super) async fn events(&self, since: Since, schema: &SchemaHash) -> Result<Events, Failure> {
        self.stream(format!("/events?since={since}&schema={schema}")).await
    }

    async fn stream(&self, path: String) -> Result<Events, Failure> {
        let response = self.exchange.send(Ask { method: Method::GET, path, accept: EVENTS, body: None }).await?;
        let response = success(response).await?;
        if media_type(&response) != EVENTS {
            return Err(not_ours(&response));
        }
        let events = Watchdog::new(response.into_body(), SILENCE).eventsource();
        Ok(events
            .map(|event| event.map_err(Failure::unreachable))
            .filter_map(|event| async { read_event(event) })
            .boxed())
    }

    /// Asks what is new of a subscription.
    pub(super) async fn subscribe(
        &self,
        wanted: &WantedQueries,
        position: Option<Position>,
        schema: &SchemaHash,
    ) -> Result<Batch, Failure> {
        let WantedQueries { name: subscription, queries, .. } = wanted;
        let (seen, since) = (position.map(|at| at.seen), position.map(|at| at.since));
        let body = Subscription { queries, subscription, seen, since, schema };
        let body = serde_json::to_vec(&body).map_err(Failure::again)?;
        let path = "/changes/query".into();
        let ask = Ask { method: Method::POST, path, accept: BATCHES, body: Some((body.into(), JSON)) };
        Ok(read_batch(self.exchange.send(ask).await?).await?.0)
    }

    /// Opens the event stream of a subscription that the upstream knows.
    pub(super) async fn subscription_events(
        &self,
        name: &str,
        Position { seen, since }: Position,
        schema: &SchemaHash,
    ) -> Result<Events, Failure> {
        self.stream(format!("/events?subscription={name}&seen={seen}&since={since}&schema={schema}")).await
    }

    /// Ends a subscription.
    pub(super) async fn unsubscribe(&self, name: &str) -> Result<(), Failure> {
        let path = format!("/changes/query?subscription={name}");
        let ask = Ask { method: Method::DELETE, path, accept: JSON, body: None };
        success(self.exchange.send(ask).await?).await.map(drop)
    }

    async fn json(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Json, Failure> {
        let ask = Ask { method, path: path.into(), accept: JSON, body: body.map(|body| (body, JSON)) };
        Json::read(self.exchange.send(ask).await?).await
    }
}
