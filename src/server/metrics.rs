//! `/metrics`: what the server has done and is doing, for Prometheus.
//!
//! Labels are operations, codes, states: their number is bounded. No label is a database's id, or anything else of a caller's.

mod process;

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use self::process::Process;
use crate::http::Operation;
use crate::http::links::LinkState;
use crate::http::problem::Code;
use crate::store::{Dbid, Store};
use crate::upstream::Upstream;

/// The media type of what [`Metrics::render`] returns.
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Seconds: from what memory answers to what a person gives up on.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
const LINK_STATES: [(LinkState, &str); 7] = [
    (LinkState::Offline, "offline"),
    (LinkState::Connecting, "connecting"),
    (LinkState::Online, "online"),
    (LinkState::Paused, "paused"),
    (LinkState::Refused, "refused"),
    (LinkState::Unauthorized, "unauthorized"),
    (LinkState::PrincipalChanged, "principal_changed"),
];

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// The metrics of one server.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Labels<3>, Counter>,
    seconds: Family<Labels<1>, Histogram>,
    changes: Family<Labels<1>, Counter>,
    batches: Family<Labels<1>, Counter>,
    streams: Gauge,
    lag: Histogram,
    databases: Gauge,
    database_bytes: Gauge<u64, AtomicU64>,
    links: Family<Labels<1>, Gauge>,
    process: Process,
}

/// What is looked at when somebody asks.
pub(super) struct Scene {
    pub(super) store: Store,
    pub(super) data: PathBuf,
    pub(super) upstream: Option<Upstream>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::default();
        let process = Process::register(&mut registry);
        let ours = registry.sub_registry_with_prefix("crsql_sync");
        ours.register("build", "The version that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        let (seconds, lag) = (Family::new_with_constructor(histogram), histogram());
        let bytes = Gauge::default();
        let text = "Time to the head of the answer";
        ours.register_with_unit("request_duration", text, Unit::Seconds, seconds.clone());
        let text = "From when an event stream heard of a write to when it handed out the event";
        ours.register_with_unit("stream_lag", text, Unit::Seconds, lag.clone());
        let text = "The size of the open databases, with their logs";
        ours.register_with_unit("open_databases", text, Unit::Bytes, bytes.clone());
        Self {
            requests: registered(ours, "requests", "Answers, by operation, class of status and code of problem"),
            changes: registered(
                ours,
                "changes",
                "Changes that were applied, beaten by what was held, refused, or sent",
            ),
            batches: registered(ours, "batches", "Batches that were applied, refused, or sent"),
            streams: registered(ours, "streams_open", "Open event streams"),
            databases: registered(ours, "databases_open", "Open databases"),
            links: registered(ours, "upstream_links", "Links to the upstream, by what they are doing"),
            database_bytes: bytes,
            seconds,
            lag,
            process,
            registry,
        }
    }

    /// A request was answered. `operation` is `None` where it was not for one.
    pub(super) fn answered(
        &self,
        operation: Option<Operation>,
        status: StatusCode,
        code: Option<Code>,
        after: Duration,
    ) {
        let operation = ("operation", operation.map_or("", Operation::as_str));
        let code = ("code", code.map_or("", Code::as_str));
        self.requests.get_or_create(&[operation, ("status", class(status)), code]).inc();
        self.seconds.get_or_create(&[operation]).observe(after.as_secs_f64());
    }

    /// A batch came; so many of its changes won, unless it was refused.
    pub(super) fn received(&self, changes: usize, won: Option<u64>) {
        let changes = changes as u64;
        match won {
            Some(won) => {
                self.count("applied", won.min(changes));
                self.changes.get_or_create(&[("result", "beaten")]).inc_by(changes.saturating_sub(won));
            }
            None => self.count("refused", changes),
        }
    }

    /// A batch is handed out.
    pub(super) fn sent(&self, changes: usize, lag: Option<Duration>) {
        self.count("sent", changes as u64);
        if let Some(lag) = lag {
            self.lag.observe(lag.as_secs_f64());
        }
    }

    pub(super) fn stream_began(&self) {
        self.streams.inc();
    }

    pub(super) fn stream_ended(&self) {
        self.streams.dec();
    }

    fn count(&self, result: &'static str, changes: u64) {
        self.batches.get_or_create(&[("result", result)]).inc();
        self.changes.get_or_create(&[("result", result)]).inc_by(changes);
    }

    /// Everything, as text. Looks at files, so it is no work for an async thread.
    pub(super) fn render(&self, scene: &Scene) -> String {
        let open = scene.store.opened();
        self.databases.set(open.len() as i64);
        self.database_bytes.set(open.iter().map(|dbid| bytes(scene, dbid)).sum());
        if let Some(upstream) = &scene.upstream {
            let states = upstream.states();
            for (state, name) in LINK_STATES {
                let count = states.iter().filter(|other| **other == state).count();
                self.links.get_or_create(&[("state", name)]).set(count as i64);
            }
        }
        self.process.look();
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn registered<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, text: &str) -> M {
    let metric = M::default();
    registry.register(name, text, metric.clone());
    metric
}

fn bytes(scene: &Scene, dbid: &Dbid) -> u64 {
    let size = |suffix| {
        let file = scene.data.join(format!("{dbid}.db{suffix}"));
        file.metadata().map_or(0, |metadata| metadata.len())
    };
    size("") + size("-wal")
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
