//! What a partial copy subscribes to at its upstream: the list that its link follows.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::super::batch::Batch;
use super::super::error::{ApplyError, Error};
use super::super::json;
use super::super::layout::has_table;
use super::super::replica::Replica;
use super::super::sql::Sql;
use super::held;

/// Created with the first subscription. One without queries has ended, and the upstream is still to be told.
const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS crsql_sync_wanted (
        name TEXT PRIMARY KEY, queries TEXT, forgets INTEGER NOT NULL, complete INTEGER NOT NULL,
        revision INTEGER NOT NULL
    ) STRICT";

/// A subscription that this copy wants.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedQueries {
    /// Its name, of this copy's choice.
    pub name: String,
    /// Its queries.
    pub queries: Vec<Sql>,
    /// Whether rows that have left it, and are of no other one, are [forgotten](crate::crr::Engine::forget).
    pub forgets: bool,
    /// Another one whenever it is wanted anew or with other queries: what was answered to it before counts no more.
    pub revision: i64,
}

/// A wanted subscription, and how far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribing {
    /// What is wanted.
    pub wanted: WantedQueries,
    /// Whether all rows of its queries have been here.
    pub complete: bool,
    /// How many rows of it are here.
    pub rows: u64,
}

impl Replica {
    /// Adds a subscription to those that are wanted, or changes it. False where it is wanted like this already.
    pub fn subscribe(&mut self, name: &str, queries: &[Sql], forgets: bool) -> Result<bool, Error> {
        let queries =
            serde_json::to_string(queries).map_err(|_| Error::Corrupt("a parameter of a query has no JSON"))?;
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(TABLE)?;
        let changed = transaction
            .prepare_cached(
                "INSERT INTO crsql_sync_wanted (name, queries, forgets, complete, revision)
                 VALUES (?1, ?2, ?3, FALSE, random())
                 ON CONFLICT DO UPDATE SET forgets = excluded.forgets, queries = excluded.queries,
                   complete = complete AND queries IS excluded.queries,
                   revision = iif(queries IS excluded.queries, revision, excluded.revision)
                 WHERE queries IS NOT excluded.queries OR forgets <> excluded.forgets",
            )?
            .execute((name, queries, forgets))?;
        transaction.commit()?;
        Ok(changed > 0)
    }

    /// Ends a subscription; false where there is none. Its rows stay, or, where it forgets, go like those that left.
    pub fn unsubscribe(&mut self, name: &str) -> Result<bool, Error> {
        if !has_any(&self.conn)? {
            return Ok(false);
        }
        let upstream = self.upstream()?;
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let forgets: Option<bool> = transaction
            .prepare_cached(
                "UPDATE crsql_sync_wanted SET queries = NULL, complete = FALSE
                 WHERE name = ?1 AND queries IS NOT NULL RETURNING forgets",
            )?
            .query_row([name], |row| row.get(0))
            .optional()?;
        if let (Some(forgets), Some(upstream)) = (forgets, upstream) {
            held::release(&transaction, &self.engine, upstream, name, forgets)?;
        }
        transaction.commit()?;
        Ok(forgets.is_some())
    }

    /// The subscriptions that are wanted, by name.
    pub fn wanted(&self) -> Result<Vec<WantedQueries>, Error> {
        if !has_any(&self.conn)? {
            return Ok(Vec::new());
        }
        let mut select = self.conn.prepare_cached(
            "SELECT name, queries, forgets, revision FROM crsql_sync_wanted WHERE queries IS NOT NULL ORDER BY name",
        )?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        let wanted = |(name, queries, forgets, revision): (String, String, bool, i64)| {
            let queries = json::read(queries.as_bytes());
            let queries = queries.map_err(|_| Error::Corrupt("a wanted subscription does not read as one"))?;
            Ok(WantedQueries { name, queries, forgets, revision })
        };
        rows.map(|row| wanted(row?)).collect()
    }

    /// The subscriptions that are wanted, and how far each is.
    pub fn subscribing(&self) -> Result<Vec<Subscribing>, Error> {
        let wanted = self.wanted()?;
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let upstream = self.upstream()?;
        let mut find = self.conn.prepare_cached("SELECT complete FROM crsql_sync_wanted WHERE name = ?1")?;
        wanted
            .into_iter()
            .map(|wanted| {
                let complete = find.query_row([&wanted.name], |row| row.get(0))?;
                let rows = upstream.map_or(Ok(0), |host| held::count(&self.conn, host, &wanted.name))?;
                Ok(Subscribing { wanted, complete, rows })
            })
            .collect()
    }

    /// The subscriptions that ended here, which the upstream was not told of yet.
    pub fn ended_subscriptions(&self) -> Result<Vec<String>, Error> {
        if !has_any(&self.conn)? {
            return Ok(Vec::new());
        }
        let mut select = self.conn.prepare_cached("SELECT name FROM crsql_sync_wanted WHERE queries IS NULL")?;
        let names = select.query_map([], |row| row.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// Records that the upstream was told that a subscription ended.
    pub fn set_ended(&mut self, name: &str) -> Result<(), Error> {
        self.conn
            .prepare_cached("DELETE FROM crsql_sync_wanted WHERE name = ?1 AND queries IS NULL")?
            .execute([name])?;
        Ok(())
    }

    /// Merges an answer to a wanted subscription, as [`apply_answer`](Self::apply_answer) does, unless it is not wanted any more,
    /// or with other queries. Returns whether rows were forgotten.
    pub fn apply_wanted(&mut self, wanted: &WantedQueries, answer: &Batch) -> Result<bool, ApplyError> {
        self.validate(answer)?;
        let WantedQueries { name, forgets, .. } = wanted;
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Error::from)?;
        if !advance(&transaction, wanted, !answer.more)? {
            return Ok(false);
        }
        let (_, forgot) = held::merge(&transaction, &self.engine, self.schema.as_ref(), name, answer, *forgets)?;
        transaction.commit().map_err(Error::from)?;
        Ok(forgot)
    }
}

/// Writes down whether all rows of a subscription came. False where it is not wanted any more.
fn advance(conn: &Connection, wanted: &WantedQueries, complete: bool) -> Result<bool, Error> {
    let mut update = conn.prepare_cached(
        "UPDATE crsql_sync_wanted SET complete = complete OR ?3
         WHERE name = ?1 AND revision = ?2 AND queries IS NOT NULL",
    )?;
    Ok(update.execute((&wanted.name, wanted.revision, complete))? > 0)
}

/// Whether there ever was a subscription.
fn has_any(conn: &Connection) -> Result<bool, Error> {
    has_table(conn, "crsql_sync_wanted")
}
