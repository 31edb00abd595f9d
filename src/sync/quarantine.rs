//! Transactions that the upstream will not have, held back so that they do not hold up the others.
//!
//! Only their names are kept here: the rows stay where they are. A peer's cursor never moves over what is held back from it,
//! or it would promise what it does not hold; so what comes after is sent by name, until the peer has taken all of it
//! (docs/protocol.md, "What is held back").
//!
//! What is [discarded](super::discard) is held back until it is taken back, or for ever where it cannot be.

use rusqlite::{Connection, TransactionBehavior};

use super::batch::SchemaHash;
use super::clock::Clock;
use super::error::Error;
use super::principal;
use super::ranges::{Range, Ranges};
use super::replica::Replica;
use crate::crr::{Engine, Ordinal, SiteId, Version};

/// `peer` is who refused, by ordinal; our own stands for the upstream that answers first. `schemas` are those under which it was refused, theirs
/// and ours; empty where it is to be sent again. `since` is in milliseconds since 1970.
pub(super) const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS crsql_sync_quarantine (
        peer INTEGER NOT NULL, site INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
        status INTEGER, code TEXT NOT NULL, detail TEXT NOT NULL, since INTEGER NOT NULL, principal TEXT,
        schemas TEXT NOT NULL, PRIMARY KEY (peer, site, first)
    ) STRICT, WITHOUT ROWID;";

/// The code of what the application decided to never send.
pub const DISCARDED: &str = "discarded";

/// How many are shown of what is held back.
const SHOWN: i64 = 100;

/// A transaction, by its author's name for it.
pub type Transaction = (SiteId, Version);

/// Why the upstream would not have a transaction: what it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The answer's status.
    pub status: Option<u16>,
    /// A stable code, such as `invalid_batch`.
    pub code: String,
    /// The upstream's reason, for people.
    pub detail: String,
}

/// Transactions that are held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Their author.
    pub site: SiteId,
    /// Their versions; one, but for what was discarded.
    pub versions: Range<Version>,
    /// Why.
    pub refusal: Refusal,
    /// Since when, in milliseconds since 1970.
    pub since: i64,
    /// To whom the database belonged then.
    pub principal: Option<String>,
}

/// All that is held back from a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quarantine {
    /// How many transactions.
    pub count: u64,
    /// The first hundred entries.
    pub transactions: Vec<Quarantined>,
}

impl Replica {
    /// Holds a transaction back from `peer`, which refused it while it had the schema `theirs`. One that is held back
    /// already is given the newer reason.
    pub fn quarantine(
        &mut self,
        peer: SiteId,
        (site, version): Transaction,
        refusal: &Refusal,
        theirs: Option<&SchemaHash>,
    ) -> Result<(), Error> {
        let schemas = self.schemas_with(theirs);
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let peer = self.engine.ordinal_or_new(&transaction, peer)?;
        hold_back(&transaction, &self.engine, peer, site, Range::one(version), refusal, &schemas)?;
        transaction.commit()?;
        Ok(())
    }

    /// What is held back from `peer`.
    pub fn quarantined(&self, peer: SiteId) -> Result<Quarantine, Error> {
        let peer = self.engine.ordinal(&self.conn, peer)?;
        let mut count =
            self.conn.prepare_cached("SELECT total(last - first + 1) FROM crsql_sync_quarantine WHERE peer = ?1")?;
        let count: f64 = count.query_row([peer.map(Ordinal::get)], |row| row.get(0))?;
        let mut statement = self.conn.prepare_cached(
            "SELECT site, first, last, status, code, detail, since, principal FROM crsql_sync_quarantine
             WHERE peer = ?1 ORDER BY since, site, first LIMIT ?2",
        )?;
        let mut rows = statement.query((peer.map(Ordinal::get), SHOWN))?;
        let mut transactions = Vec::new();
        while let Some(row) = rows.next()? {
            transactions.push(Quarantined {
                site: self.engine.site(&self.conn, Ordinal::from(row.get::<_, i64>(0)?))?,
                versions: range(row.get(1)?, row.get(2)?)?,
                refusal: Refusal { status: row.get(3)?, code: row.get(4)?, detail: row.get(5)? },
                since: row.get(6)?,
                principal: row.get(7)?,
            });
        }
        Ok(Quarantine { count: count as u64, transactions })
    }

    /// Those of the quarantined transactions that are to be sent to `peer` again, whose schema is `theirs`: the schema here or
    /// there is another one than when they were refused, or it was [asked for](Self::retry_quarantined).
    pub fn quarantine_due(&self, peer: SiteId, theirs: Option<&SchemaHash>) -> Result<Vec<Transaction>, Error> {
        let Some(peer) = self.engine.ordinal(&self.conn, peer)? else { return Ok(Vec::new()) };
        let mut statement = self.conn.prepare_cached(
            "SELECT site, first FROM crsql_sync_quarantine
             WHERE peer = ?1 AND schemas <> ?2 AND (principal IS NULL OR principal IS ?3) AND code <> ?4",
        )?;
        let owner = principal::owner(&self.conn)?;
        let mut rows = statement.query((peer.get(), self.schemas_with(theirs), owner, DISCARDED))?;
        let mut due = Vec::new();
        while let Some(row) = rows.next()? {
            let site = self.engine.site(&self.conn, Ordinal::from(row.get::<_, i64>(0)?))?;
            due.push((site, version(row.get(1)?)?));
        }
        Ok(due)
    }

    /// Has everything that was refused sent again.
    pub fn retry_quarantined(&mut self) -> Result<(), Error> {
        self.conn.execute("UPDATE crsql_sync_quarantine SET schemas = ''", [])?;
        Ok(())
    }

    /// Records that `peer` has taken a transaction that was held back from it.
    pub fn release(&mut self, peer: SiteId, (site, version): Transaction) -> Result<(), Error> {
        let (Some(peer), Some(site)) = (self.engine.ordinal(&self.conn, peer)?, self.engine.ordinal(&self.conn, site)?)
        else {
            return Ok(());
        };
        let mut delete = self.conn.prepare_cached(
            "DELETE FROM crsql_sync_quarantine WHERE peer = ?1 AND site = ?2 AND first = ?3 AND last = ?3",
        )?;
        delete.execute((peer.get(), site.get(), version.get()))?;
        Ok(())
    }

    fn schemas_with(&self, theirs: Option<&SchemaHash>) -> String {
        let hash = |hash: Option<&SchemaHash>| hash.map_or("", SchemaHash::as_str).to_owned();
        format!("{} {}", hash(theirs), hash(self.schema().map(|schema| schema.hash())))
    }
}

/// The transactions that are held back from `peer`.
pub(super) fn held_back(conn: &Connection, engine: &Engine, peer: SiteId) -> Result<Clock, Error> {
    engine.ordinal(conn, peer)?.map_or(Ok(Clock::default()), |peer| held_back_by(conn, engine, peer))
}

/// The same by the peer's ordinal; our own stands for the upstream that answers first.
pub(super) fn held_back_by(conn: &Connection, engine: &Engine, peer: Ordinal) -> Result<Clock, Error> {
    let mut statement = conn.prepare_cached("SELECT site, first, last FROM crsql_sync_quarantine WHERE peer = ?1")?;
    let mut rows = statement.query([peer.get()])?;
    let mut clock = Vec::new();
    while let Some(row) = rows.next()? {
        let site = engine.site(conn, Ordinal::from(row.get::<_, i64>(0)?))?;
        clock.push((site, Ranges::from(range(row.get(1)?, row.get(2)?)?)));
    }
    Ok(clock.into_iter().collect())
}

/// Holds transactions that the upstream refused back from it for ever.
pub(super) fn give_up(conn: &Connection, engine: &Engine, peer: Ordinal, transactions: &Clock) -> Result<(), Error> {
    let mut update = conn.prepare_cached(
        "UPDATE crsql_sync_quarantine SET status = NULL, code = ?1, detail = ?2
         WHERE peer = ?3 AND site = ?4 AND first BETWEEN ?5 AND ?6",
    )?;
    for (site, versions) in transactions.iter() {
        let site = engine.ordinal_or_new(conn, site)?.get();
        for Range { first, last } in versions.iter() {
            update.execute((DISCARDED, "it was given up", peer.get(), site, first.get(), last.get()))?;
        }
    }
    Ok(())
}

/// The transactions of this copy's own that are held back from `peer` for ever.
pub(super) fn discarded(conn: &Connection, engine: &Engine, peer: SiteId) -> Result<Ranges<Version>, Error> {
    let peer = engine.ordinal(conn, peer)?;
    let mut select = conn
        .prepare_cached("SELECT first, last FROM crsql_sync_quarantine WHERE peer = ?1 AND site = 0 AND code = ?2")?;
    let mut rows = select.query((peer.map(Ordinal::get), DISCARDED))?;
    let mut versions = Vec::new();
    while let Some(row) = rows.next()? {
        versions.push(range(row.get(0)?, row.get(1)?)?);
    }
    Ok(versions.into_iter().collect())
}

/// Holds these transactions of this copy's own, of which nothing is left, back from `peer` no longer.
pub(super) fn release_all(
    conn: &Connection,
    engine: &Engine,
    peer: SiteId,
    versions: &Ranges<Version>,
) -> Result<(), Error> {
    let peer = engine.ordinal(conn, peer)?;
    let mut delete = conn.prepare_cached(
        "DELETE FROM crsql_sync_quarantine WHERE peer = ?1 AND site = 0 AND code = ?2 AND first BETWEEN ?3 AND ?4",
    )?;
    for Range { first, last } in versions.iter() {
        delete.execute((peer.map(Ordinal::get), DISCARDED, first.get(), last.get()))?;
    }
    Ok(())
}

/// Holds transactions back from the upstream for ever, and what it refused as well.
pub(super) fn discard(conn: &Connection, engine: &Engine, peer: Ordinal, transactions: &Clock) -> Result<(), Error> {
    let detail = "the application gave it up when another principal came";
    let refusal = Refusal { status: None, code: DISCARDED.into(), detail: detail.into() };
    conn.prepare_cached("UPDATE crsql_sync_quarantine SET status = NULL, code = ?1, detail = ?2 WHERE peer = ?3")?
        .execute((&refusal.code, &refusal.detail, peer.get()))?;
    for (site, versions) in transactions.iter() {
        for versions in versions.iter() {
            hold_back(conn, engine, peer, site, versions, &refusal, "")?;
        }
    }
    Ok(())
}

/// Whether anything is held back that may still be sent.
pub(super) fn is_any(conn: &Connection) -> Result<bool, Error> {
    Ok(conn.prepare_cached("SELECT 1 FROM crsql_sync_quarantine WHERE code <> ?1 LIMIT 1")?.exists([DISCARDED])?)
}

/// Holds what is held back from one upstream for ever back from another one.
pub(super) fn carry_over(conn: &Connection, from: Ordinal, to: Ordinal) -> Result<(), Error> {
    conn.prepare_cached(
        "INSERT OR IGNORE INTO crsql_sync_quarantine
         SELECT ?1, site, first, last, status, code, detail, since, principal, schemas FROM crsql_sync_quarantine
         WHERE peer = ?2 AND code = ?3",
    )?
    .execute((to.get(), from.get(), DISCARDED))?;
    Ok(())
}

/// Makes the transactions that were this copy's own those of another site. What was refused is forgotten, since it is sent again
/// with everything else; what was discarded is not.
pub(super) fn hand_over(conn: &Connection, to: Ordinal) -> Result<(), Error> {
    conn.execute("DELETE FROM crsql_sync_quarantine WHERE code <> ?1", [DISCARDED])?;
    conn.execute("UPDATE crsql_sync_quarantine SET site = ?1 WHERE site = 0", [to.get()])?;
    Ok(())
}

fn hold_back(
    conn: &Connection,
    engine: &Engine,
    peer: Ordinal,
    site: SiteId,
    versions: Range<Version>,
    refusal: &Refusal,
    schemas: &str,
) -> Result<(), Error> {
    let site = engine.ordinal_or_new(conn, site)?;
    let owner = principal::owner(conn)?;
    let Refusal { status, code, detail } = refusal;
    let mut insert = conn.prepare_cached(
        "INSERT INTO crsql_sync_quarantine (peer, site, first, last, status, code, detail, since, principal, schemas)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, CAST(unixepoch('subsec') * 1000 AS INTEGER), ?8, ?9)
         ON CONFLICT (peer, site, first) DO UPDATE SET last = max(last, excluded.last), status = excluded.status,
             code = excluded.code, detail = excluded.detail, schemas = excluded.schemas",
    )?;
    let (first, last) = (versions.first.get(), versions.last.get());
    insert.execute((peer.get(), site.get(), first, last, status, code, detail, owner, schemas))?;
    Ok(())
}

fn range(first: i64, last: i64) -> Result<Range<Version>, Error> {
    Range::new(version(first)?, version(last)?).map_err(|_| Error::Corrupt("a range that is held back is inverted"))
}

fn version(number: i64) -> Result<Version, Error> {
    Version::new(number).map_err(|_| Error::Corrupt("a version that is held back is out of range"))
}
