//! A server that keeps in step with a hub, with one list: what is said to it, and what is waited for.

use std::net::SocketAddr;
use std::sync::Arc;

use crsql_sync::http::Builder;
use crsql_sync::server::Reqwest;
use crsql_sync::upstream::{Config, Upstream};
use serde_json::{Value, json};

use crate::support::{Server, TODO, eventually};

pub(crate) fn link_to(address: SocketAddr) -> Upstream {
    link(Config::new(&format!("http://{address}/sync")).unwrap())
}

pub(crate) fn link(config: Config) -> Upstream {
    let spawn = Arc::new(|task| drop(tokio::spawn(task)));
    Upstream::new(config, Reqwest::new().unwrap(), spawn)
}

pub(crate) fn linked(upstream: Upstream) -> impl FnOnce(Builder) -> Builder {
    move |builder| builder.sql(true).links(Arc::new(upstream)).pause(true)
}

/// Waits until a server has these, and no others.
pub(crate) async fn has(server: &Server, ids: &[&str]) {
    eventually(&format!("{ids:?}"), || async { server.ids("a").await == ids }).await;
}

/// Waits until a server's link is in a state, and returns what it tells then.
pub(crate) async fn link_is(server: &Server, state: &str) -> Value {
    let found = std::sync::Mutex::new(Value::Null);
    eventually(state, || async {
        let upstream = server.status("a").await["upstream"].clone();
        let is_it = upstream["state"] == state;
        *found.lock().unwrap() = upstream;
        is_it
    })
    .await;
    found.into_inner().unwrap()
}

pub(crate) struct Node {
    pub(crate) server: Server,
    upstream: Upstream,
}

impl Node {
    pub(crate) async fn of(hub: &Server) -> Self {
        Self::by(link_to(hub.address)).await
    }

    /// One whose database has another schema.
    pub(crate) async fn of_schema(hub: &Server, schema: &str) -> Self {
        Self::made(link_to(hub.address), schema).await
    }

    pub(crate) async fn by(upstream: Upstream) -> Self {
        Self::made(upstream, TODO).await
    }

    async fn made(upstream: Upstream, schema: &str) -> Self {
        let server = Server::with(linked(upstream.clone())).await;
        server.put("/a", json!({ "schema": schema })).await.ok();
        Self { server, upstream }
    }

    /// Stops it, and starts it anew with what it stored, as a node of the hub at an address.
    pub(crate) async fn restart(self, hub: SocketAddr) -> Self {
        self.restart_by(link_to(hub)).await
    }

    pub(crate) async fn restart_by(self, upstream: Upstream) -> Self {
        let Self { server, upstream: before } = self;
        // The link ends with the last that holds it, and the store with the link.
        drop(before);
        let (folder, address) = server.stop().await;
        let server = Server::on(folder, address, linked(upstream.clone())).await;
        // A database is linked when it is asked for.
        server.status("a").await;
        Self { server, upstream }
    }

    pub(crate) async fn add(&self, id: &str) {
        self.server.add("a", id).await;
    }

    pub(crate) async fn sql(&self, sql: &str) -> Value {
        self.server.sql("a", sql).await
    }

    pub(crate) async fn ids(&self) -> Vec<String> {
        self.server.ids("a").await
    }

    pub(crate) async fn has(&self, ids: &[&str]) {
        has(&self.server, ids).await;
    }

    pub(crate) async fn status(&self) -> Value {
        self.server.status("a").await
    }

    pub(crate) async fn site(&self) -> String {
        self.status().await["site"].as_str().unwrap().to_owned()
    }

    /// Changes the link's settings.
    pub(crate) async fn set(&self, settings: Value) -> Value {
        self.server.put("/a/upstream", settings).await.ok()
    }

    pub(crate) async fn pause(&self) {
        self.set(json!({ "paused": true })).await;
    }

    pub(crate) async fn resume(&self) {
        self.set(json!({ "paused": false })).await;
    }

    pub(crate) async fn retry(&self) {
        self.set(json!({ "retry": true })).await;
    }

    /// Ends a wait for the next attempt.
    pub(crate) fn wake(&self) {
        self.upstream.wake();
    }

    /// Waits until the link is in a state, and returns what it tells then.
    pub(crate) async fn link_is(&self, state: &str) -> Value {
        link_is(&self.server, state).await
    }

    pub(crate) async fn unsent(&self) -> u64 {
        self.status().await["unsent"]["changes"].as_u64().unwrap()
    }

    pub(crate) async fn all_sent(&self) {
        eventually("nothing unsent", || async { self.unsent().await == 0 }).await;
    }

    /// Waits until so many transactions are held back, and returns what is told of them.
    pub(crate) async fn quarantined(&self, count: u64) -> Value {
        eventually(&format!("{count} held back"), || async { self.status().await["quarantined"]["count"] == count })
            .await;
        self.status().await["quarantined"]["transactions"].clone()
    }
}
