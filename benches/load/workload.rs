//! Who writes, and what.

use crsql_sync::sync::{Batch, Page, Replica, Request, Schema, Since};
use rusqlite::Connection;

pub const SCHEMA: &str = "
    CREATE TABLE todo (id TEXT PRIMARY KEY NOT NULL, title TEXT, done INTEGER, priority INTEGER);
    SELECT crsql_as_crr('todo');";

/// A copy of the database that writes and sends, in memory.
pub struct Author {
    replica: Replica,
    sent: Since,
}

impl Author {
    pub fn new() -> Self {
        let mut replica = Replica::open(Connection::open_in_memory().unwrap()).unwrap();
        replica.create_database_if_not_exists(&Schema::parse(SCHEMA).unwrap()).unwrap();
        Self { replica, sent: Since::Beginning }
    }

    pub fn site(&self) -> String {
        self.replica.site().to_string()
    }

    /// The batch of one transaction, which inserts rows of these titles.
    pub fn insert(&mut self, titles: impl Iterator<Item = String>) -> Batch {
        insert(&self.replica, titles);
        let page = Page { changes: usize::MAX, bytes: usize::MAX };
        let batch = self.replica.request_changes(&Request { page, ..Request::after(self.sent) }).unwrap();
        self.sent = batch.next.unwrap();
        batch
    }
}

/// One transaction, which inserts rows of these titles.
pub fn insert(replica: &Replica, titles: impl Iterator<Item = String>) {
    let transaction = replica.connection().unchecked_transaction().unwrap();
    let mut insert = transaction.prepare_cached("INSERT INTO todo VALUES (?, ?, ?, ?)").unwrap();
    for title in titles {
        let id = format!("{:016x}", fastrand::u64(..));
        insert.execute((id, title, fastrand::i64(0..2), fastrand::i64(0..6))).unwrap();
    }
    drop(insert);
    transaction.commit().unwrap();
}

/// A title of three words or so.
pub fn title(n: usize) -> String {
    format!("water the plants {n}")
}
