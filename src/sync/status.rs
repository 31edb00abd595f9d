//! What a replica tells of itself.

use super::batch::SchemaHash;
use super::cursor::Cursor;
use super::error::Error;
use super::outbox::Unsent;
use super::peers::{self, Peer};
use super::replica::Replica;

/// What a replica tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its own cursor.
    pub at: Cursor,
    /// Its schema.
    pub schema: Option<SchemaHash>,
    /// The size of the database, in bytes.
    pub bytes: i64,
    /// How much of that is free for reuse.
    pub free_bytes: i64,
    /// The peers that it has cursors of.
    pub peers: Vec<Peer>,
    /// What the upstream lacks; `None` where no upstream ever answered.
    pub unsent: Option<Unsent>,
}

impl Replica {
    /// What this replica tells of itself.
    pub fn status(&self) -> Result<Status, Error> {
        let pragma = |name| self.conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let page_size = pragma("page_size")?;
        Ok(Status {
            at: self.at()?,
            schema: self.schema().map(|schema| schema.hash().clone()),
            bytes: pragma("page_count")? * page_size,
            free_bytes: pragma("freelist_count")? * page_size,
            peers: peers::all(&self.conn)?,
            unsent: self.upstream()?.map(|upstream| self.unsent(upstream)).transpose()?,
        })
    }
}
