//! Transactions of which only pieces have come. Their changes wait in a buffer, out of sight, until all are there: a
//! transaction appears whole or not at all.

use rusqlite::Connection;
use rusqlite::types::Value;

use super::batch::Partial;
use super::error::Error;
use super::json;
use super::ranges::{Range, Ranges};
use crate::crr::{CausalLength, Change, ColVersion, Engine, Ordinal, Seq, SiteId, Version};

pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS crsql_sync_partials (
        site INTEGER NOT NULL, version INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
        PRIMARY KEY (site, version, first)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS crsql_sync_buffer (
        site INTEGER NOT NULL, version INTEGER NOT NULL, seq INTEGER NOT NULL, tbl TEXT NOT NULL, pk BLOB NOT NULL,
        cid TEXT NOT NULL, val ANY, col_version INTEGER NOT NULL, cl INTEGER NOT NULL,
        PRIMARY KEY (site, version, seq, tbl, pk, cid)
    ) STRICT, WITHOUT ROWID;";

/// A transaction, by the ordinal of its author.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transaction {
    pub(super) site: Ordinal,
    pub(super) version: Version,
}

impl Transaction {
    fn key(self) -> (i64, i64) {
        (self.site.get(), self.version.get())
    }
}

/// Adds a piece. If it was the last one that lacked, returns all changes of the transaction, which wait no longer.
pub(super) fn add<'a>(
    conn: &Connection,
    of: Transaction,
    partial: &Partial,
    changes: impl Iterator<Item = &'a Change>,
) -> Result<Option<Vec<Change>>, Error> {
    let mut held = seqs(conn, of)?;
    partial.seqs.iter().for_each(|range| held.insert(range));
    // Behind its last change a transaction has none.
    if partial.seqs.last().is_some_and(|last| last >= partial.last_seq)
        && let Ok(rest) = Range::new(partial.last_seq, Seq::MAX)
    {
        held.insert(rest);
    }
    let mut insert = conn.prepare_cached(
        "INSERT OR REPLACE INTO crsql_sync_buffer (site, version, seq, tbl, pk, cid, val, col_version, cl)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    let (site, version) = of.key();
    for change in changes {
        let (table, pk, cid) = (&*change.table, &*change.pk, &*change.cid);
        let (col_version, cl) = (change.col_version.get(), change.cl.get());
        insert.execute((site, version, change.seq.get(), table, pk, cid, &change.val, col_version, cl))?;
    }
    if held.contiguous() == Some(Seq::MAX) {
        let all = buffered(conn, of, partial.site)?;
        forget(conn, of.site, Range::one(of.version))?;
        return Ok(Some(all));
    }
    conn.prepare_cached("DELETE FROM crsql_sync_partials WHERE site = ?1 AND version = ?2")?.execute(of.key())?;
    let mut insert =
        conn.prepare_cached("INSERT INTO crsql_sync_partials (site, version, first, last) VALUES (?1, ?2, ?3, ?4)")?;
    for range in held.iter() {
        insert.execute((site, version, range.first.get(), range.last.get()))?;
    }
    Ok(None)
}

/// The positions of a transaction that are there; none of one that does not wait.
pub(super) fn seqs(conn: &Connection, of: Transaction) -> Result<Ranges<Seq>, Error> {
    let mut select =
        conn.prepare_cached("SELECT first, last FROM crsql_sync_partials WHERE site = ?1 AND version = ?2")?;
    let mut rows = select.query(of.key())?;
    let mut ranges = Vec::new();
    while let Some(row) = rows.next()? {
        ranges.push(range(row.get(0)?, row.get(1)?)?);
    }
    Ok(ranges.into_iter().collect())
}

/// Forgets the pieces of transactions that are now held whole.
pub(super) fn forget(conn: &Connection, site: Ordinal, versions: Range<Version>) -> Result<(), Error> {
    let key = (site.get(), versions.first.get(), versions.last.get());
    let mut delete =
        conn.prepare_cached("DELETE FROM crsql_sync_partials WHERE site = ?1 AND version BETWEEN ?2 AND ?3")?;
    if delete.execute(key)? > 0 {
        conn.prepare_cached("DELETE FROM crsql_sync_buffer WHERE site = ?1 AND version BETWEEN ?2 AND ?3")?
            .execute(key)?;
    }
    Ok(())
}

/// A transaction that waits, and what is there of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Piece {
    /// The author.
    #[serde(with = "json::text")]
    pub site: SiteId,
    /// The author's transaction.
    #[serde(with = "json::point")]
    pub version: Version,
    /// Positions in it.
    pub seqs: Ranges<Seq>,
}

/// All transactions that wait, and what lacks of each.
pub(super) fn lacking(conn: &Connection, engine: &Engine) -> Result<Vec<Piece>, Error> {
    let mut select =
        conn.prepare_cached("SELECT DISTINCT site, version FROM crsql_sync_partials ORDER BY site, version")?;
    let mut rows = select.query([])?;
    let mut pieces = Vec::new();
    while let Some(row) = rows.next()? {
        let of = Transaction { site: Ordinal::from(row.get::<_, i64>(0)?), version: version(row.get(1)?)? };
        let all = Ranges::from(range(Seq::MIN.get(), Seq::MAX.get())?);
        let seqs = all.difference(&seqs(conn, of)?);
        pieces.push(Piece { site: engine.site(conn, of.site)?, version: of.version, seqs });
    }
    Ok(pieces)
}

/// Whether any transaction waits.
pub(super) fn is_any(conn: &Connection) -> Result<bool, Error> {
    Ok(conn.prepare_cached("SELECT 1 FROM crsql_sync_partials LIMIT 1")?.exists([])?)
}

fn buffered(conn: &Connection, of: Transaction, site: SiteId) -> Result<Vec<Change>, Error> {
    let mut select = conn.prepare_cached(
        "SELECT seq, tbl, pk, cid, val, col_version, cl FROM crsql_sync_buffer WHERE site = ?1 AND version = ?2",
    )?;
    let mut rows = select.query(of.key())?;
    let mut changes = Vec::<Change>::new();
    while let Some(row) = rows.next()? {
        let pk = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
        let pk = match changes.last().filter(|last| *last.pk == *pk) {
            Some(last) => last.pk.clone(),
            None => pk.into(),
        };
        changes.push(Change {
            table: row.get::<_, String>(1)?.into(),
            pk,
            cid: row.get::<_, String>(3)?.into(),
            val: row.get::<_, Value>(4)?,
            col_version: ColVersion::new(row.get(5)?)?,
            version: of.version,
            site,
            cl: CausalLength::new(row.get(6)?)?,
            seq: Seq::new(row.get(0)?)?,
        });
    }
    Ok(changes)
}

fn version(number: i64) -> Result<Version, Error> {
    Version::new(number).map_err(|_| Error::Corrupt("a partial transaction has no version"))
}

fn range(first: i64, last: i64) -> Result<Range<Seq>, Error> {
    let corrupt = || Error::Corrupt("the pieces of a partial transaction are out of range");
    let (first, last) = (Seq::new(first).map_err(|_| corrupt())?, Seq::new(last).map_err(|_| corrupt())?);
    Range::new(first, last).map_err(|_| corrupt())
}
