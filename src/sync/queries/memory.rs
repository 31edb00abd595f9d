//! What is remembered of a subscription: which rows its holder has.
//!
//! An answer may be lost on its way, so each has a number, and the holder says with its next request which one it merged last.
//! A row that was sent with an answer counts as held once that answer, or a later one, is named. So there are two
//! answers to keep apart: the one that was named last (`seen`), and the newest (`given`). When the newest is named it
//! becomes the one that was seen; when the older one is named again, the newest was lost, and is forgotten.

use rusqlite::{Connection, OptionalExtension};

use super::super::error::Error;
use super::super::layout::has_table;
use crate::crr::ids::MAX_COUNTER;
use crate::crr::{RowId, Version};

/// Created with the first subscription.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS crsql_sync_subscriptions (
        id INTEGER PRIMARY KEY, holder TEXT NOT NULL, name TEXT NOT NULL, queries BLOB NOT NULL,
        seen INTEGER NOT NULL, seen_at INTEGER NOT NULL, given INTEGER NOT NULL, given_at INTEGER NOT NULL,
        used INTEGER NOT NULL, UNIQUE (holder, name)
    ) STRICT;
    CREATE INDEX IF NOT EXISTS crsql_sync_subscriptions_used ON crsql_sync_subscriptions (used);
    CREATE TABLE IF NOT EXISTS crsql_sync_held (
        subscription INTEGER NOT NULL, tbl INTEGER NOT NULL, number INTEGER NOT NULL,
        entered INTEGER NOT NULL, gone INTEGER, PRIMARY KEY (subscription, tbl, number)
    ) STRICT, WITHOUT ROWID;";

/// Which subscription: its holder, as the host knows it, and the name that the holder gave it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId {
    /// The principal whose it is; nobody else can name it.
    pub holder: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

/// A subscription as its holder has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    id: SubscriptionId,
    /// The hash of its queries.
    queries: [u8; 32],
    /// Its record, if there is one.
    record: Option<i64>,
    /// The answer that its holder merged last, 0 for none, and the newest local version at that time.
    seen: i64,
    pub(super) seen_at: Version,
    /// The number of the newest answer, and the newest that its holder named.
    given: i64,
    named: i64,
}

impl Subscription {
    /// Finds it. One of which the answer `seen` is not known, or whose queries were others, begins anew.
    pub(super) fn find(
        conn: &Connection,
        id: SubscriptionId,
        queries: [u8; 32],
        seen: Option<i64>,
    ) -> Result<Self, Error> {
        // A number that somebody may still name is not given again.
        let named = seen.filter(|seen| (0..=MAX_COUNTER).contains(seen)).unwrap_or(0);
        let unknown = |id| Self { id, queries, record: None, seen: 0, seen_at: Version::ZERO, given: 0, named };
        if !has_any(conn)? {
            return Ok(unknown(id));
        }
        let mut find = conn.prepare_cached(
            "SELECT id, queries, seen, seen_at, given, given_at FROM crsql_sync_subscriptions
             WHERE holder = ?1 AND name = ?2",
        )?;
        let found = find
            .query_row((&id.holder, &id.name), |row| {
                let same = row.get::<_, Vec<u8>>(1)? == queries;
                let answers: [(i64, i64); 2] = [(row.get(2)?, row.get(3)?), (row.get(4)?, row.get(5)?)];
                Ok((row.get(0)?, same, answers))
            })
            .optional()?;
        let Some((record, same, answers)) = found else { return Ok(unknown(id)) };
        let given = answers[1].0;
        let seen = answers.into_iter().find(|(number, _)| same && *number > 0 && Some(*number) == seen);
        let (seen, at) = seen.unwrap_or((0, 0));
        let seen_at = Version::or_zero(at).map_err(|_| Error::Corrupt("an answer to a subscription has no version"))?;
        Ok(Self { id, queries, record, seen, seen_at, given, named })
    }

    /// Whether its holder has nothing of it.
    pub(super) fn is_new(&self) -> bool {
        self.seen == 0
    }

    /// The number of the next answer.
    pub(super) fn next(&self) -> i64 {
        self.given.max(self.named) + 1
    }

    /// The same, as if its holder had nothing.
    pub(super) fn anew(self) -> Self {
        Self { seen: 0, seen_at: Version::ZERO, ..self }
    }

    /// The rows that its holder has, in their order.
    pub(super) fn held(&self, conn: &Connection) -> Result<Vec<RowId>, Error> {
        if self.record.is_none() {
            return Ok(Vec::new());
        }
        let mut select = conn.prepare_cached(
            "SELECT tbl, number FROM crsql_sync_held
             WHERE subscription = ?1 AND entered <= ?2 AND (gone IS NULL OR gone > ?2) ORDER BY tbl, number",
        )?;
        let rows =
            select.query_map((self.record, self.seen), |row| Ok(RowId { table: row.get(0)?, number: row.get(1)? }))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Writes down the next answer, which was given when `at` was the newest version: the rows that it brings, and those that
    /// it says left. False where another answer was given since it was found.
    pub(super) fn give(
        &self,
        conn: &Connection,
        at: Version,
        entered: &[RowId],
        left: &[RowId],
        now: i64,
    ) -> Result<bool, Error> {
        conn.execute_batch(TABLES)?;
        let stands = Self::find(conn, self.id.clone(), self.queries, (!self.is_new()).then_some(self.seen))?;
        if (stands.record, stands.given, stands.seen) != (self.record, self.given, self.seen) {
            return Ok(false);
        }
        let record = match self.record {
            Some(record) => record,
            None => conn
                .prepare_cached(
                    "INSERT INTO crsql_sync_subscriptions (holder, name, queries, seen, seen_at, given, given_at, used)
                     VALUES (?1, ?2, ?3, 0, 0, 0, 0, 0)",
                )?
                .insert((&self.id.holder, &self.id.name, self.queries))?,
        };
        // What its holder turned out to have, and not to have.
        for settle in [
            "DELETE FROM crsql_sync_held WHERE subscription = ?1 AND (entered > ?2 OR gone <= ?2)",
            "UPDATE crsql_sync_held SET gone = NULL WHERE subscription = ?1 AND gone > ?2",
        ] {
            conn.prepare_cached(settle)?.execute((record, self.seen))?;
        }
        let next = self.next();
        let mut insert = conn.prepare_cached(
            "INSERT INTO crsql_sync_held (subscription, tbl, number, entered) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for row in entered {
            insert.execute((record, row.table, row.number, next))?;
        }
        let mut update = conn.prepare_cached(
            "UPDATE crsql_sync_held SET gone = ?4 WHERE subscription = ?1 AND tbl = ?2 AND number = ?3",
        )?;
        for row in left {
            update.execute((record, row.table, row.number, next))?;
        }
        conn.prepare_cached(
            "UPDATE crsql_sync_subscriptions
             SET queries = ?2, seen = ?3, seen_at = ?4, given = ?5, given_at = ?6, used = ?7 WHERE id = ?1",
        )?
        .execute((record, self.queries, self.seen, self.seen_at.get(), next, at.get(), now))?;
        Ok(true)
    }
}

/// Forgets a subscription; false where there was none.
pub(super) fn end(conn: &Connection, id: &SubscriptionId) -> Result<bool, Error> {
    if !has_any(conn)? {
        return Ok(false);
    }
    conn.prepare_cached(
        "DELETE FROM crsql_sync_held WHERE subscription IN
         (SELECT id FROM crsql_sync_subscriptions WHERE holder = ?1 AND name = ?2)",
    )?
    .execute((&id.holder, &id.name))?;
    let mut delete = conn.prepare_cached("DELETE FROM crsql_sync_subscriptions WHERE holder = ?1 AND name = ?2")?;
    Ok(delete.execute((&id.holder, &id.name))? > 0)
}

/// Forgets the subscriptions that were not used since a time, and of one holder those that were used longest ago where it has
/// more than `most`.
pub(super) fn expire(conn: &Connection, holder: &str, unused_since: i64, most: usize) -> Result<(), Error> {
    if !has_any(conn)? {
        return Ok(());
    }
    let mut old = conn.prepare_cached(
        "SELECT holder, name FROM crsql_sync_subscriptions WHERE used < ?1
         UNION SELECT holder, name FROM (
           SELECT holder, name FROM crsql_sync_subscriptions WHERE holder = ?2 ORDER BY used DESC, id DESC LIMIT -1 OFFSET ?3)",
    )?;
    let ids = old.query_map((unused_since, holder, most as i64), |row| {
        Ok(SubscriptionId { holder: row.get(0)?, name: row.get(1)? })
    })?;
    ids.collect::<Result<Vec<_>, _>>()?.iter().try_for_each(|id| end(conn, id).map(drop))
}

/// Whether there ever was a subscription.
fn has_any(conn: &Connection) -> Result<bool, Error> {
    has_table(conn, "crsql_sync_held")
}
