//! What asks from outside how the server is: `/healthz`, `/readyz` and `/metrics`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header;
use tokio::task::spawn_blocking;

use super::metrics::{self, Metrics, Scene};
use crate::http::Drain;
use crate::http::problem::{Code, Problem};

/// Written and removed again to see whether the folder takes what is written.
const PROBE: &str = ".ready";

/// Whether the server takes new work.
#[derive(Clone)]
pub(super) struct Readiness {
    drain: Drain,
    data: PathBuf,
}

impl Readiness {
    /// Of a server that serves what is in `data` until `drain` begins.
    pub(super) fn new(drain: Drain, data: PathBuf) -> Self {
        Self { drain, data }
    }

    async fn check(&self) -> Result<(), String> {
        if self.drain.has_begun() {
            return Err("the server is stopping".into());
        }
        let data = self.data.clone();
        let written = spawn_blocking(move || probe(&data)).await.map_err(io::Error::other).flatten();
        written.map_err(|error| format!("the folder of the databases cannot be written: {}", error.kind()))
    }
}

fn probe(data: &Path) -> io::Result<()> {
    let probe = data.join(PROBE);
    let written = File::create(&probe).and_then(|mut file| file.write_all(b"ready\n"));
    // Somebody else who asks at this moment may have removed it.
    let removed = fs::remove_file(&probe).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    });
    written.and(removed)
}

/// `/healthz`: the process answers. `/readyz`: it takes new work.
pub(super) fn routes(readiness: Readiness) -> Router {
    let ready = |State(readiness): State<Readiness>| async move {
        match readiness.check().await {
            Ok(()) => "ready\n".into_response(),
            Err(reason) => Problem::new(Code::Unavailable, reason).into_response(),
        }
    };
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready)).with_state(readiness)
}

/// `/metrics`.
pub(super) fn metrics(metrics: Arc<Metrics>, scene: Scene) -> Router {
    let state = Arc::new((metrics, scene));
    Router::new().route("/metrics", get(show)).with_state(state)
}

async fn show(State(state): State<Arc<(Arc<Metrics>, Scene)>>) -> Response {
    match spawn_blocking(move || state.0.render(&state.1)).await {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response(),
        Err(_) => Problem::new(Code::Internal, "the metrics could not be gathered").into_response(),
    }
}
