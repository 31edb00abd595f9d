//! The other end of a subscription: which rows this copy has of it.
//!
//! A row may be of several subscriptions. It is forgotten, where that is wanted, when it has left the last of them.

use std::ops::ControlFlow;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::super::apply::{Applied, apply};
use super::super::batch::{Batch, RowName};
use super::super::cursor::{Cursor, Since};
use super::super::error::{ApplyError, Error};
use super::super::layout::has_table;
use super::super::peers::{self, Event};
use super::super::replica::{Replica, set_setting, setting};
use super::super::schema::Schema;
use super::super::unlogged;
use super::Position;
use crate::crr::sort::sort;
use crate::crr::{Change, Engine, SiteId, Version, Window};

/// Created with the first answer.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS crsql_sync_subscribed (
        id INTEGER PRIMARY KEY, host BLOB NOT NULL, name TEXT NOT NULL, seen INTEGER NOT NULL, since INTEGER NOT NULL,
        whole INTEGER NOT NULL, UNIQUE (host, name)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS crsql_sync_subscribed_rows (
        tbl TEXT NOT NULL, pk BLOB NOT NULL, subscription INTEGER NOT NULL, stale INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (tbl, pk, subscription)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS crsql_sync_subscribed_stale ON crsql_sync_subscribed_rows (subscription, stale);";

/// What stands for no subscription, beside rows that are to be forgotten once their writes were sent.
const OF_NONE: i64 = 0;

const ADD: &str = "INSERT INTO crsql_sync_subscribed_rows (tbl, pk, subscription) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET stale = 0";
const REMOVE: &str = "DELETE FROM crsql_sync_subscribed_rows WHERE tbl = ?1 AND pk = ?2 AND subscription = ?3";

/// Whether a row is of another subscription.
const OTHERS: &str = "SELECT 1 FROM crsql_sync_subscribed_rows WHERE tbl = ?1 AND pk = ?2 AND subscription <> ?3";

/// The local version up to which this copy's own writes were looked at.
const LOOKED_AT: &str = "sync.looked_at";

/// How far a subscription of this copy's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// To be named with the next request.
    pub position: Position,
    /// Whether all rows of its queries were there when that was given.
    pub whole: bool,
}

impl Replica {
    /// How far the subscription `name` to the copy `host` is; `None` if nothing of it was merged.
    pub fn subscribed(&self, host: SiteId, name: &str) -> Result<Option<Subscribed>, Error> {
        if !has_table(&self.conn, "crsql_sync_subscribed_rows")? {
            return Ok(None);
        }
        let mut find = self
            .conn
            .prepare_cached("SELECT seen, since, whole FROM crsql_sync_subscribed WHERE host = ?1 AND name = ?2")?;
        let found = find.query_row((host.as_bytes(), name), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        let Some((seen, since, whole)) = found.optional()? else { return Ok(None) };
        let since = Cursor { site: host, version: Version::or_zero(since)? };
        Ok(Some(Subscribed { position: Position { seen, since }, whole }))
    }

    /// Merges an answer to this copy's subscription `name`, and writes down what this copy has of it by now: all of it or
    /// nothing. With `forgets` the rows that left all subscriptions are [forgotten](crate::crr::Engine::forget), but for those with
    /// writes that the host does not have yet: see [`forget_sent`](Self::forget_sent).
    pub fn apply_answer(&mut self, name: &str, answer: &Batch, forgets: bool) -> Result<Applied, ApplyError> {
        self.validate(answer)?;
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::from)?;
        let (applied, _) = merge(&transaction, &self.engine, self.schema.as_ref(), name, answer, forgets)?;
        transaction.commit().map_err(Error::from)?;
        Ok(applied)
    }

    /// Forgets the rows that left all subscriptions and wait until the host has their writes, which it has up to `sent`; with `own`
    /// also those that this copy wrote itself up to there, and that are of no subscription: nobody would tell of what becomes of
    /// them. Returns whether there were any.
    ///
    /// Best called a while after the host acknowledged that much, when it has answered to it: a row that a query reads, and that
    /// is forgotten before the answer says so, is away until then.
    pub fn forget_sent(&mut self, sent: Since, own: bool) -> Result<bool, Error> {
        let Since::After(Cursor { version: sent, .. }) = sent else { return Ok(false) };
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(TABLES)?;
        let mut rows = of_subscription(&transaction, OF_NONE, false)?;
        if own {
            rows.extend(written_here(&transaction, &self.engine, sent)?);
        }
        let forgot = forget(&transaction, &self.engine, rows, sent)?;
        transaction.commit()?;
        Ok(forgot)
    }
}

/// What [`Replica::apply_answer`] does, within its transaction; also returns whether rows were forgotten.
pub(super) fn merge(
    conn: &Connection,
    engine: &Engine,
    schema: Option<&Schema>,
    name: &str,
    answer: &Batch,
    forgets: bool,
) -> Result<(Applied, bool), ApplyError> {
    let applied = apply(conn, engine, schema, answer, None)?;
    let left = note(conn, name, answer)?;
    let sent = peers::cursor(conn, Event::Acknowledged, answer.from)?;
    let forgot = forgets && forget(conn, engine, left, sent)?;
    Ok((applied, forgot))
}

/// Ends what this copy has of a subscription `name` to the copy `host`.
pub(super) fn release(
    conn: &Connection,
    engine: &Engine,
    host: SiteId,
    name: &str,
    forgets: bool,
) -> Result<(), Error> {
    if !has_table(conn, "crsql_sync_subscribed_rows")? {
        return Ok(());
    }
    let id: Option<i64> = conn
        .prepare_cached("DELETE FROM crsql_sync_subscribed WHERE host = ?1 AND name = ?2 RETURNING id")?
        .query_row((host.as_bytes(), name), |row| row.get(0))
        .optional()?;
    let Some(id) = id else { return Ok(()) };
    let mut rows = of_subscription(conn, id, false)?;
    rows.extend(of_subscription(conn, id, true)?);
    let left = leave(conn, id, rows)?;
    if forgets {
        forget(conn, engine, left, peers::cursor(conn, Event::Acknowledged, host)?)?;
    }
    Ok(())
}

/// Has the subscriptions to one copy be to another, which takes its place. They begin anew there.
pub(in crate::sync) fn move_to(conn: &Connection, from: SiteId, to: SiteId) -> Result<(), Error> {
    if has_table(conn, "crsql_sync_subscribed_rows")? {
        conn.execute(
            "UPDATE OR IGNORE crsql_sync_subscribed SET host = ?2, seen = 0, since = 0, whole = 0 WHERE host = ?1",
            (from.as_bytes(), to.as_bytes()),
        )?;
    }
    Ok(())
}

/// How many rows are here of the subscription `name`.
pub(super) fn count(conn: &Connection, host: SiteId, name: &str) -> Result<u64, Error> {
    if !has_table(conn, "crsql_sync_subscribed_rows")? {
        return Ok(0);
    }
    let mut count = conn.prepare_cached(
        "SELECT count(*) FROM crsql_sync_subscribed_rows
         WHERE subscription = (SELECT id FROM crsql_sync_subscribed WHERE host = ?1 AND name = ?2)",
    )?;
    Ok(count.query_row((host.as_bytes(), name), |row| row.get::<_, i64>(0))?.unsigned_abs())
}

/// Forgets rows, but for those with writes that were not sent. These are noted, to be tried again. Returns whether there were
/// any to forget.
fn forget(
    conn: &Connection,
    engine: &Engine,
    rows: impl IntoIterator<Item = RowName>,
    sent: Version,
) -> Result<bool, Error> {
    let mut any = false;
    for RowName { table, pk } in rows {
        let forgot = engine.forget(conn, &table, &pk, sent)?;
        let note = if forgot { REMOVE } else { ADD };
        conn.prepare_cached(note)?.execute((&*table, &*pk, OF_NONE))?;
        any |= forgot;
    }
    if any {
        unlogged::note(conn)?;
    }
    Ok(any)
}

/// Writes down what an answer says of a subscription. Returns the rows that are in none any more.
fn note(conn: &Connection, name: &str, answer: &Batch) -> Result<Vec<RowName>, Error> {
    conn.execute_batch(TABLES)?;
    let (host, whole) = (answer.from, !answer.more);
    let since = match answer.next {
        Some(Since::After(Cursor { site, version })) if site == host => version,
        _ => Version::ZERO,
    };
    let id: i64 = conn
        .prepare_cached(
            "INSERT INTO crsql_sync_subscribed (host, name, seen, since, whole) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET seen = excluded.seen, since = excluded.since, whole = excluded.whole RETURNING id",
        )?
        .query_row((host.as_bytes(), name, answer.seen.unwrap_or(0), since.get(), whole), |row| row.get(0))?;
    if answer.begins {
        conn.prepare_cached("UPDATE crsql_sync_subscribed_rows SET stale = 1 WHERE subscription = ?1")?
            .execute([id])?;
    }
    let (mut has, mut remove) = (conn.prepare_cached(ADD)?, conn.prepare_cached(REMOVE)?);
    let mut last = None;
    for change in &answer.changes {
        // The changes of a row come together. One that was deleted is nobody's to forget.
        let (row, is_alive) = ((&*change.table, &*change.pk), change.cl.get() % 2 == 1);
        if last != Some(row) {
            let note = if is_alive { &mut has } else { &mut remove };
            note.execute((row.0, row.1, id))?;
            last = Some(row);
        }
    }
    let mut gone = answer.left.clone();
    if whole {
        gone.extend(of_subscription(conn, id, true)?);
    }
    gone.extend(of_subscription(conn, OF_NONE, false)?);
    leave(conn, id, gone)
}

/// Notes that rows are not of a subscription any more. Returns those that are in none.
fn leave(conn: &Connection, id: i64, rows: Vec<RowName>) -> Result<Vec<RowName>, Error> {
    let (mut remove, mut others) = (conn.prepare_cached(REMOVE)?, conn.prepare_cached(OTHERS)?);
    for row in &rows {
        remove.execute((&*row.table, &*row.pk, id))?;
    }
    let mut left = Vec::new();
    for row in rows {
        if others.exists((&*row.table, &*row.pk, OF_NONE))? {
            remove.execute((&*row.table, &*row.pk, OF_NONE))?;
        } else {
            left.push(row);
        }
    }
    Ok(left)
}

/// The rows that this copy wrote, that the host has by now, and that are of no subscription: nobody would tell of what becomes of
/// them. Where a query reads such a row, it comes back with one of the next answers.
fn written_here(conn: &Connection, engine: &Engine, sent: Version) -> Result<Vec<RowName>, Error> {
    let since = setting(conn, LOOKED_AT)?.map_or(Ok(Version::ZERO), Version::or_zero)?;
    let mut own = Vec::new();
    if sent <= since {
        return Ok(own);
    }
    let window = Window { since, until: sent, exclude: None, newest_first: false };
    engine.changes(conn, window, &mut |_, Change { table, pk, site, cl, .. }| {
        // One that was deleted is nobody's to forget.
        if site == engine.site_id() && cl.get() % 2 == 1 {
            own.push(RowName { table, pk });
        }
        ControlFlow::Continue(())
    })?;
    set_setting(conn, LOOKED_AT, &sent.get())?;
    sort(&mut own);
    own.dedup();
    let mut others = conn.prepare_cached(OTHERS)?;
    let mut of_none = Vec::new();
    for row in own {
        if !others.exists((&*row.table, &*row.pk, OF_NONE))? {
            of_none.push(row);
        }
    }
    Ok(of_none)
}

/// The rows of a subscription that are noted as stale, or as not.
fn of_subscription(conn: &Connection, id: i64, stale: bool) -> Result<Vec<RowName>, Error> {
    let mut select =
        conn.prepare_cached("SELECT tbl, pk FROM crsql_sync_subscribed_rows WHERE subscription = ?1 AND stale = ?2")?;
    let rows = select.query_map((id, stale), |row| {
        Ok(RowName { table: row.get::<_, String>(0)?.into(), pk: row.get::<_, Vec<u8>>(1)?.into() })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
