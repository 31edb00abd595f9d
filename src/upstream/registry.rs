use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::link::{Handle, Link, Orders};
use super::{Config, Transport};
use crate::http::links::{LinkSettings, LinkState, LinkStatus, Links};
use crate::store::{self, Database, Dbid};

/// How the host runs a task in the background.
pub type Spawn = Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

/// The links of a host's databases, one each. Clones share them; the links end with the last clone.
#[derive(Clone)]
pub struct Upstream {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    transport: Arc<dyn Transport>,
    spawn: Spawn,
    links: Mutex<HashMap<Dbid, Handle>>,
}

impl Upstream {
    /// No link runs before the first [`attend`](Links::attend).
    pub fn new(config: Config, transport: impl Transport, spawn: Spawn) -> Self {
        let transport = Arc::new(transport);
        Self { shared: Arc::new(Shared { config, transport, spawn, links: Mutex::default() }) }
    }

    /// Lets every link that waits for its next attempt try now.
    pub fn wake(&self) {
        self.links().values().for_each(Handle::wake);
    }

    /// What the links are doing, one each.
    pub fn states(&self) -> Vec<LinkState> {
        self.links().values().map(|handle| handle.state.status().state).collect()
    }

    fn links(&self) -> MutexGuard<'_, HashMap<Dbid, Handle>> {
        self.shared.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Links for Upstream {
    fn attend(&self, database: &Database) {
        let mut links = self.links();
        if links.contains_key(database.dbid()) {
            return;
        }
        let Shared { config, transport, spawn, .. } = &*self.shared;
        let (link, handle) = Link::new(database.clone(), config.clone(), transport.clone());
        links.insert(database.dbid().clone(), handle);
        spawn(link.run().boxed());
    }

    fn status(&self, dbid: &Dbid) -> Option<LinkStatus> {
        self.links().get(dbid).map(|handle| handle.state.status())
    }

    fn set(&self, database: &Database, settings: LinkSettings) -> BoxFuture<'_, Result<(), store::Error>> {
        let database = database.clone();
        async move {
            let orders = database.call(move |replica| Orders::change(replica, settings)).await??;
            self.attend(&database);
            if let Some(handle) = self.links().get(database.dbid()) {
                handle.restart(orders);
            }
            Ok(())
        }
        .boxed()
    }
}
