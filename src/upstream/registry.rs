use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

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
    links: Mutex<HashMap<Dbid, Entry>>,
}

struct Entry {
    handle: Handle,
    /// Whether it ends with the host only.
    for_good: bool,
}

/// Keeps a link that nobody else asked for.
pub struct ForNow<'a> {
    upstream: &'a Upstream,
    dbid: Dbid,
}

impl Upstream {
    /// No link runs before the first [`attend`](Links::attend).
    pub fn new(config: Config, transport: impl Transport, spawn: Spawn) -> Self {
        let transport = Arc::new(transport);
        Self { shared: Arc::new(Shared { config, transport, spawn, links: Mutex::default() }) }
    }

    /// Lets every link that waits for its next attempt try now.
    pub fn wake(&self) {
        self.links().values().for_each(|link| link.handle.wake());
    }

    /// What the links are doing, one each.
    pub fn states(&self) -> Vec<LinkState> {
        self.links().values().map(|link| link.handle.state.status().state).collect()
    }

    /// Makes sure that the link of `database` runs until what is returned is dropped; longer, where somebody
    /// [attends](Links::attend) it too.
    pub fn attend_for_now(&self, database: &Database) -> ForNow<'_> {
        self.link(database, false);
        ForNow { upstream: self, dbid: database.dbid().clone() }
    }

    fn link(&self, database: &Database, for_good: bool) {
        let mut links = self.links();
        if let Some(link) = links.get_mut(database.dbid()) {
            link.for_good |= for_good;
            return;
        }
        let Shared { config, transport, spawn, .. } = &*self.shared;
        let (link, handle) = Link::new(database.clone(), config.clone(), transport.clone());
        links.insert(database.dbid().clone(), Entry { handle, for_good });
        spawn(link.run().boxed());
    }

    fn links(&self) -> MutexGuard<'_, HashMap<Dbid, Entry>> {
        self.shared.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ForNow<'_> {
    fn drop(&mut self) {
        let mut links = self.upstream.links();
        if links.get(&self.dbid).is_some_and(|link| !link.for_good) {
            links.remove(&self.dbid);
        }
    }
}

impl Links for Upstream {
    fn attend(&self, database: &Database) {
        self.link(database, true);
    }

    fn status(&self, dbid: &Dbid) -> Option<LinkStatus> {
        self.links().get(dbid).map(|link| link.handle.state.status())
    }

    fn set(&self, database: &Database, settings: LinkSettings) -> BoxFuture<'_, Result<(), store::Error>> {
        let database = database.clone();
        async move {
            let orders = database.call(move |replica| Orders::change(replica, settings)).await??;
            self.attend(&database);
            if let Some(link) = self.links().get(database.dbid()) {
                link.handle.restart(orders);
            }
            Ok(())
        }
        .boxed()
    }

    fn resubscribe(&self, database: &Database) {
        self.attend(database);
        if let Some(link) = self.links().get(database.dbid()) {
            link.handle.resubscribe();
        }
    }

    fn forgotten(&self, dbid: &Dbid) -> Option<watch::Receiver<()>> {
        self.links().get(dbid).map(|link| link.handle.state.forgotten())
    }
}
