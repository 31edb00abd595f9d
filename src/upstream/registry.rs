use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Config, Transport};
use crate::http::links::{LinkStatus, Links};
use crate::store::{self, Database, Dbid};

/// How the host runs a task in the background.
pub type Spawn = Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

/// The links of a host's databases, one each.
#[derive(Clone)]
pub struct Upstream {}

impl Upstream {
    /// No link runs before the first [`attend`](Links::attend).
    pub fn new(_config: Config, _transport: impl Transport, _spawn: Spawn) -> Self {
        unimplemented!()
    }

    /// Lets every link that waits for its next attempt try now.
    pub fn wake(&self) {
        unimplemented!()
    }
}

impl Links for Upstream {
    fn attend(&self, _database: &Database) {
        unimplemented!()
    }

    fn status(&self, _dbid: &Dbid) -> Option<LinkStatus> {
        unimplemented!()
    }

    fn pause(
        &self,
        _database: &Database,
        _paused: bool,
    ) -> BoxFuture<'_, Result<(), store::Error>> {
        unimplemented!()
    }
}
