//! What is remembered of a subscription: which rows its holder has.
//!
//! An answer may be lost on its way, so each that changes which rows are held has a number, and the holder says which one it
//! merged last. For each row the numbers are kept of the answer that brought it and of the one that said that it left: so
//! what the holder had at a number can be told, also of one before the newest. A number that the holder itself named settles what
//! was before it.
//!
//! Answers make one line. Where one follows on an older number, those between were lost: their numbers are unknown
//! from then on, and so is what they brought.

use rusqlite::{Connection, OptionalExtension, named_params};

use super::super::error::Error;
use super::super::json;
use super::super::layout::has_table;
use super::super::sql::Sql;
use crate::crr::ids::MAX_COUNTER;
use crate::crr::{RowId, Version};

/// Created with the first subscription.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS crsql_sync_subscriptions (
        id INTEGER PRIMARY KEY, holder TEXT NOT NULL, name TEXT NOT NULL, queries TEXT NOT NULL,
        settled INTEGER NOT NULL, line INTEGER NOT NULL, given INTEGER NOT NULL, used INTEGER NOT NULL,
        UNIQUE (holder, name)
    ) STRICT;
    CREATE INDEX IF NOT EXISTS crsql_sync_subscriptions_used ON crsql_sync_subscriptions (used);
    CREATE TABLE IF NOT EXISTS crsql_sync_held (
        subscription INTEGER NOT NULL, tbl INTEGER NOT NULL, number INTEGER NOT NULL,
        entered INTEGER NOT NULL, gone INTEGER, PRIMARY KEY (subscription, tbl, number, entered)
    ) STRICT, WITHOUT ROWID;";

/// Seconds after which it is written down again that a subscription is used.
const USED: i64 = 3600;

/// Which subscription: its holder, as the host knows it, and the name that the holder gave it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId {
    /// Whose it is; nobody else can name it.
    pub holder: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

/// A subscription as its holder has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    id: SubscriptionId,
    /// Its record, if there is one.
    record: Option<Record>,
    /// The answer that its holder merged last, 0 for none, and the version up to which it has what changed.
    seen: i64,
    pub(super) since: Version,
    /// The newest number that its holder named.
    named: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    id: i64,
    queries: String,
    /// A number that is known, besides those from `line` to `given`.
    settled: i64,
    line: i64,
    given: i64,
    used: i64,
}

impl Record {
    fn knows(&self, number: i64) -> bool {
        number > 0 && (number == self.settled || (self.line..=self.given).contains(&number))
    }
}

impl Subscription {
    /// Finds it. Where the holder's position is not known, it begins anew.
    pub(super) fn find(conn: &Connection, id: SubscriptionId, position: Option<(i64, Version)>) -> Result<Self, Error> {
        let record = find(conn, &id)?;
        // A number that somebody may still name is not given again.
        let named = position.map_or(0, |(seen, _)| seen).clamp(0, MAX_COUNTER);
        let is_known = |&(seen, _): &(i64, Version)| record.as_ref().is_some_and(|record| record.knows(seen));
        let (seen, since) = position.filter(is_known).unwrap_or((0, Version::ZERO));
        Ok(Self { id, record, seen, since, named })
    }

    /// Whether its holder has nothing of it.
    pub(super) fn is_new(&self) -> bool {
        self.seen == 0
    }

    /// The same, as if its holder had nothing.
    pub(super) fn anew(self) -> Self {
        Self { seen: 0, since: Version::ZERO, ..self }
    }

    /// The answer that its holder merged last.
    pub(super) fn seen(&self) -> i64 {
        self.seen
    }

    /// The number of the next answer.
    pub(super) fn next(&self) -> i64 {
        self.record.as_ref().map_or(0, |record| record.given).max(self.named) + 1
    }

    /// Whether something has to be written down, besides which rows are held.
    pub(super) fn is_news(&self, queries: &str, now: i64) -> bool {
        let stands = |record: &Record| record.queries == queries && now - record.used < USED;
        self.is_new() || !self.record.as_ref().is_some_and(stands)
    }

    /// The rows that its holder has, in their order.
    pub(super) fn held(&self, conn: &Connection) -> Result<Vec<RowId>, Error> {
        let Some(record) = self.record.as_ref().filter(|_| !self.is_new()) else { return Ok(Vec::new()) };
        let mut select = conn.prepare_cached(
            "SELECT tbl, number FROM crsql_sync_held
             WHERE subscription = ?1 AND entered <= ?2 AND (gone IS NULL OR gone > ?2) ORDER BY tbl, number",
        )?;
        let rows =
            select.query_map((record.id, self.seen), |row| Ok(RowId { table: row.get(0)?, number: row.get(1)? }))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Writes down the next answer: the rows that it brings, and those that it says left. `is_told` says that the holder
    /// itself named the number that it follows on. False where another answer was given since it was found.
    pub(super) fn give(&self, conn: &Connection, answer: &Given<'_>, now: i64) -> Result<bool, Error> {
        if self.record.is_none() {
            conn.execute_batch(TABLES)?;
        }
        let next = self.next();
        if find(conn, &self.id)? != self.record {
            return Ok(false);
        }
        let record = match &self.record {
            Some(record) => record.clone(),
            None => {
                let mut insert = conn.prepare_cached(
                    "INSERT INTO crsql_sync_subscriptions (holder, name, queries, settled, line, given, used)
                     VALUES (?1, ?2, '', 0, 0, 0, 0)",
                )?;
                let id = insert.insert((&self.id.holder, &self.id.name))?;
                Record { id, queries: String::new(), settled: 0, line: 0, given: 0, used: 0 }
            }
        };
        let is_older = self.seen < record.given;
        if is_older {
            for discard in [
                "DELETE FROM crsql_sync_held WHERE subscription = ?1 AND entered > ?2",
                "UPDATE crsql_sync_held SET gone = NULL WHERE subscription = ?1 AND gone > ?2",
            ] {
                conn.prepare_cached(discard)?.execute((record.id, self.seen))?;
            }
        }
        if answer.is_told {
            conn.prepare_cached("DELETE FROM crsql_sync_held WHERE subscription = ?1 AND gone <= ?2")?
                .execute((record.id, self.seen))?;
        }
        let mut insert = conn.prepare_cached(
            "INSERT INTO crsql_sync_held (subscription, tbl, number, entered) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for row in answer.entered {
            insert.execute((record.id, row.table, row.number, next))?;
        }
        let mut update = conn.prepare_cached(
            "UPDATE crsql_sync_held SET gone = ?4 WHERE subscription = ?1 AND tbl = ?2 AND number = ?3 AND gone IS NULL",
        )?;
        for row in answer.left {
            update.execute((record.id, row.table, row.number, next))?;
        }
        let breaks = is_older || answer.is_told;
        let (settled, line) = if breaks { (self.seen, next) } else { (record.settled, record.line) };
        conn.prepare_cached(
            "UPDATE crsql_sync_subscriptions
             SET queries = :queries, settled = :settled, line = :line, given = :given, used = :used WHERE id = :id",
        )?
        .execute(named_params! {
            ":queries": answer.queries, ":settled": settled, ":line": line, ":given": next, ":used": now, ":id": record.id,
        })?;
        Ok(true)
    }
}

/// What an answer changes of what is remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    pub(super) queries: &'a str,
    pub(super) is_told: bool,
    pub(super) entered: &'a [RowId],
    pub(super) left: &'a [RowId],
}

fn find(conn: &Connection, id: &SubscriptionId) -> Result<Option<Record>, Error> {
    if !has_any(conn)? {
        return Ok(None);
    }
    let mut find = conn.prepare_cached(
        "SELECT id, queries, settled, line, given, used FROM crsql_sync_subscriptions WHERE holder = ?1 AND name = ?2",
    )?;
    let found = find.query_row((&id.holder, &id.name), |row| {
        Ok(Record {
            id: row.get(0)?,
            queries: row.get(1)?,
            settled: row.get(2)?,
            line: row.get(3)?,
            given: row.get(4)?,
            used: row.get(5)?,
        })
    });
    Ok(found.optional()?)
}

/// The queries of a subscription, if it is known.
pub(super) fn queries(conn: &Connection, id: &SubscriptionId) -> Result<Option<Vec<Sql>>, Error> {
    let Some(record) = find(conn, id)? else { return Ok(None) };
    let queries = json::read(record.queries.as_bytes());
    queries.map(Some).map_err(|_| Error::Corrupt("the queries of a subscription cannot be read"))
}

/// Forgets a subscription; false where there was none.
pub(super) fn end(conn: &Connection, id: &SubscriptionId) -> Result<bool, Error> {
    let Some(record) = find(conn, id)? else { return Ok(false) };
    conn.prepare_cached("DELETE FROM crsql_sync_held WHERE subscription = ?1")?.execute([record.id])?;
    conn.prepare_cached("DELETE FROM crsql_sync_subscriptions WHERE id = ?1")?.execute([record.id])?;
    Ok(true)
}

/// Forgets the subscriptions that were not used since a time, and of one holder those that were used longest ago where it has
/// more than `most`. Returns which those were.
pub(super) fn expire(
    conn: &Connection,
    holder: &str,
    unused_since: i64,
    most: usize,
) -> Result<Vec<SubscriptionId>, Error> {
    if !has_any(conn)? {
        return Ok(Vec::new());
    }
    let mut old = conn.prepare_cached(
        "SELECT holder, name FROM crsql_sync_subscriptions WHERE used < ?1
         UNION SELECT holder, name FROM (
           SELECT holder, name FROM crsql_sync_subscriptions WHERE holder = ?2 ORDER BY used DESC, id DESC LIMIT -1 OFFSET ?3)",
    )?;
    let ids = old.query_map((unused_since, holder, most as i64), |row| {
        Ok(SubscriptionId { holder: row.get(0)?, name: row.get(1)? })
    })?;
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    ids.iter().try_for_each(|id| end(conn, id).map(drop))?;
    Ok(ids)
}

/// Whether there ever was a subscription.
fn has_any(conn: &Connection) -> Result<bool, Error> {
    has_table(conn, "crsql_sync_held")
}
