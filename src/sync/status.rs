//! What a replica tells of itself.

use super::batch::SchemaHash;
use super::clock::Clock;
use super::cursor::Cursor;
use super::error::Error;
use super::ledger::Ledger;
use super::outbox::Unsent;
use super::partials::{self, Piece};
use super::peers::{self, Peer};
use super::quarantine::Quarantine;
use super::replica::Replica;
use super::waiting;

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
    /// Transactions that were heard of and are not held, those in pieces among them.
    pub missing: Clock,
    /// Batches that wait for a migration.
    pub waiting: u64,
    /// The peers that it has cursors of.
    pub peers: Vec<Peer>,
    /// What the upstream lacks; `None` where no upstream ever answered.
    pub unsent: Option<Unsent>,
    /// What is held back from it.
    pub quarantined: Quarantine,
}

impl Status {
    /// Whether nothing is known to lack.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.waiting == 0
    }
}

impl Replica {
    /// The transactions that this copy holds, of every site.
    pub fn clock(&self) -> Result<Clock, Error> {
        Ledger::new(&self.conn, &self.engine).clock()
    }

    /// The transactions that were heard of and are not held, those in pieces among them.
    pub fn missing(&self) -> Result<Clock, Error> {
        Ledger::new(&self.conn, &self.engine).missing()
    }

    /// Of the transactions that are held in pieces, what lacks.
    pub fn pieces(&self) -> Result<Vec<Piece>, Error> {
        partials::lacking(&self.conn, &self.engine)
    }

    /// What this replica tells of itself.
    pub fn status(&self) -> Result<Status, Error> {
        let pragma = |name| self.conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let page_size = pragma("page_size")?;
        let upstream = self.upstream()?;
        Ok(Status {
            at: self.at()?,
            schema: self.schema().map(|schema| schema.hash().clone()),
            bytes: pragma("page_count")? * page_size,
            free_bytes: pragma("freelist_count")? * page_size,
            missing: Ledger::new(&self.conn, &self.engine).missing()?,
            waiting: waiting::count(&self.conn)?,
            peers: peers::all(&self.conn)?,
            unsent: upstream.map(|upstream| self.unsent(upstream)).transpose()?,
            // Without an upstream, what nobody shall get.
            quarantined: self.quarantined(upstream.unwrap_or(self.site()))?,
        })
    }
}
