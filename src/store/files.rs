//! One file a database: `DIR/DBID.db`.

use std::path::Path;

use tokio::sync::watch;

use super::{Dbid, Error};
use crate::crr::Version;
use crate::sync::Replica;

/// The databases of one folder.
#[derive(Clone)]
pub struct Store {}

impl Store {
    /// Takes the folder, which no other store may have open.
    pub fn at(_dir: impl AsRef<Path>) -> Result<Self, Error> {
        unimplemented!()
    }

    /// The database of that id, or [`Error::NotFound`]; never creates anything.
    pub async fn open(&self, _dbid: &Dbid) -> Result<Database, Error> {
        unimplemented!()
    }

    /// The database of that id; where there is none, its storage, in which a schema is still to be recorded.
    pub async fn open_or_create(&self, _dbid: &Dbid) -> Result<Database, Error> {
        unimplemented!()
    }
}

/// One open database.
#[derive(Clone)]
pub struct Database {}

impl Database {
    /// Its id.
    pub fn dbid(&self) -> &Dbid {
        unimplemented!()
    }

    /// Runs `f` with the replica, alone. Resolves after everything that was committed so far is durable.
    pub async fn call<T: Send + 'static>(
        &self,
        _f: impl FnOnce(&mut Replica) -> T + Send + 'static,
    ) -> Result<T, Error> {
        unimplemented!()
    }

    /// The newest durable local version.
    pub fn watch(&self) -> watch::Receiver<Version> {
        unimplemented!()
    }
}
