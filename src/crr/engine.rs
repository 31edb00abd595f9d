//! The engine of one connection.

use std::ops::ControlFlow;

use rusqlite::Connection;

use super::{Change, Result, SiteId, Version};

/// The engine installed on one connection. Clones are handles to the same engine.
#[derive(Clone)]
pub struct Engine {}

/// Which changes to read: those with `since < local version <= until`.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Start, exclusive; [`Version::ZERO`] for the beginning.
    pub since: Version,
    /// End, inclusive.
    pub until: Version,
    /// Leave out what this site wrote.
    pub exclude: Option<SiteId>,
}

/// What a merge did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged {
    /// Changes that won, as `crsql_rows_impacted()` counts them.
    pub applied: u64,
    /// The local version under which the winners were stored; `None` when nothing won.
    pub version: Option<Version>,
}

impl Engine {
    /// Registers functions, virtual tables and the engine's own tables on `conn`. Must be the first thing done with a connection.
    pub fn install(_conn: &Connection) -> Result<Self> {
        unimplemented!()
    }

    /// `crsql_site_id()`.
    pub fn site_id(&self) -> SiteId {
        unimplemented!()
    }

    /// `crsql_db_version()`: the newest committed local version.
    pub fn db_version(&self, _conn: &Connection) -> Result<Version> {
        unimplemented!()
    }

    /// Visits the changes of `window`, ordered by local version, then author, author's version and seq, until `visit` breaks.
    pub fn changes(
        &self,
        _conn: &Connection,
        _window: Window,
        _visit: &mut dyn FnMut(Version, Change) -> ControlFlow<()>,
    ) -> Result<()> {
        unimplemented!()
    }

    /// Merges `changes` under one new local version. The caller holds a write transaction and rolls it back on an error.
    pub fn merge(&self, _conn: &Connection, _changes: &[Change]) -> Result<Merged> {
        unimplemented!()
    }
}
