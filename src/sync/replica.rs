use rusqlite::Connection;

use super::Error;
use crate::crr::{SiteId, Version};

/// One copy of a database, alone on its connection.
pub struct Replica {}

impl Replica {
    /// Installs the engine on `conn`, which must be fresh, and creates the tables of this module where they are missing.
    pub fn open(_conn: Connection) -> Result<Self, Error> {
        unimplemented!()
    }

    /// This copy's site.
    pub fn site(&self) -> SiteId {
        unimplemented!()
    }

    /// The newest local version.
    pub fn version(&self) -> Result<Version, Error> {
        unimplemented!()
    }

    /// Whether a schema was recorded. A database file without one counts as not existing.
    pub fn exists(&self) -> bool {
        unimplemented!()
    }

    /// The connection, for reads and for the host's own settings.
    pub fn connection(&self) -> &Connection {
        unimplemented!()
    }

    /// Closes the connection.
    pub fn close(self) -> Result<(), Error> {
        unimplemented!()
    }
}
