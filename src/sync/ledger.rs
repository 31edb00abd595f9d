//! The ledger: which transactions of which site this copy holds.
//!
//! History is not kept, so what is held cannot be counted from rows; it is what batches claimed. The rule for a claim is
//! that *whatever is missing is announced as missing*: a copy claims a transaction only if, for each cell that it wrote, the
//! copy has merged that write or one that beats it, or else some write that beats it is of a transaction that the copy does
//! not claim. So a copy that claims everything that anyone ever wrote has merged everything. The rule holds through every
//! exchange: a sender that brings, of the transactions that it claims, each change that it still has, passes its own claims on.
//!
//! The ledger is written in the transaction that writes the rows it speaks of. Its cost grows with sites and holes, never with
//! history: of each site it keeps the newest version heard of, and the gaps below. (The bookkeeping of Corrosion, `bookie.rs`.)
//!
//! Claims travel with cursors. Beside each site's entry stands the local version with which it changed last, so a
//! reader that comes with a cursor is told of the sites whose entries changed since. A batch that teaches claims and
//! no rows therefore makes a local version too.
//!
//! Of its own transactions a copy holds all. Its entry has in `at` the newest local version that is accounted for, and in `max` the
//! newest of these that may be a transaction of its own, and not a merge. Later local versions are its own.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::clock::Clock;
use super::error::Error;
use super::peers;
use super::ranges::{Range, Ranges};
use crate::crr::{Engine, Ordinal, SiteId, Version};

pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS crsql_sync_clock (
        site INTEGER PRIMARY KEY, max INTEGER NOT NULL, at INTEGER NOT NULL, via INTEGER NOT NULL, before INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS crsql_sync_clock_at ON crsql_sync_clock (at) WHERE site > 0;
    CREATE TABLE IF NOT EXISTS crsql_sync_gaps (
        site INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (site, first)
    ) STRICT, WITHOUT ROWID;";

/// What is known of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// The newest version heard of.
    max: Version,
    /// The local version with which the claims changed last.
    at: Version,
    /// The peer that brought that change.
    via: Ordinal,
    /// The local version with which they changed last by another one.
    before: Version,
}

/// The ledger of the open transaction.
pub(super) struct Ledger<'a> {
    conn: &'a Connection,
    engine: &'a Engine,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(conn: &'a Connection, engine: &'a Engine) -> Self {
        Self { conn, engine }
    }

    /// Everything that is held.
    pub(super) fn clock(&self) -> Result<Clock, Error> {
        let mut gaps = self.gaps()?;
        let mut statement = self.conn.prepare_cached(
            "SELECT c.site, c.max, s.site_id FROM crsql_sync_clock c JOIN crsql_site_id s ON s.ordinal = c.site
             WHERE c.site > 0 AND c.max > 0",
        )?;
        let mut rows = statement.query([])?;
        let mut clock = Vec::new();
        while let Some(row) = rows.next()? {
            let (ordinal, max) = (Ordinal::from(row.get::<_, i64>(0)?), version(row.get(1)?)?);
            let site = SiteId::from_slice(row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?)?;
            let missing = gaps.remove(&ordinal).unwrap_or_default();
            clock.push((site, up_to(max).difference(&missing)));
        }
        let missing = gaps.remove(&Ordinal::SELF).unwrap_or_default();
        clock.push((self.engine.site_id(), up_to(self.own()?).difference(&missing)));
        Ok(clock.into_iter().collect())
    }

    /// What is held of one site.
    pub(super) fn held(&self, site: Ordinal) -> Result<Ranges<Version>, Error> {
        let max = match site {
            Ordinal::SELF => self.own()?,
            _ => self.entry(site)?.map_or(Version::ZERO, |entry| entry.max),
        };
        Ok(up_to(max).difference(&self.gaps_of(site, Version::ZERO)?))
    }

    /// Of the sites whose claims changed after local version `since` and not after `until`, all that is held. What `peer`
    /// itself brought, and its own transactions, it need not be told: for it an entry is of the time when another one
    /// changed it. Unless that was before the peer lost data: then it gets what it brought as well.
    pub(super) fn changed(&self, since: Version, until: Version, peer: Option<SiteId>) -> Result<Clock, Error> {
        let via = peer.map(|peer| self.engine.ordinal(self.conn, peer)).transpose()?.flatten();
        let lost = peer.map(|peer| peers::resend(self.conn, peer)).transpose()?.unwrap_or(Version::ZERO);
        let mut statement = self.conn.prepare_cached(
            "SELECT site, iif(via IS ?3 AND (before > ?4 OR ?4 = 0), before, at) AS changed FROM crsql_sync_clock
             WHERE at > ?1 AND site > 0 AND site IS NOT ?3 AND changed > ?1 AND changed <= ?2",
        )?;
        let mut rows = statement.query((since.get(), until.get(), via.map(Ordinal::get), lost.get()))?;
        let mut clock = Vec::new();
        while let Some(row) = rows.next()? {
            let site = Ordinal::from(row.get::<_, i64>(0)?);
            clock.push((self.engine.site(self.conn, site)?, self.held(site)?));
        }
        // A transaction of our own has its local version for its number. Merges before it are no transactions of ours.
        let own = self.own()?;
        if own > since {
            let missing = self.gaps_of(Ordinal::SELF, Version::ZERO)?;
            clock.push((self.engine.site_id(), up_to(own.min(until)).difference(&missing)));
        }
        Ok(clock.into_iter().collect())
    }

    /// The peers for which [`changed`](Self::changed) may be another one than for nobody in particular.
    pub(super) fn sources(&self, since: Version, until: Version) -> Result<Vec<SiteId>, Error> {
        let mut statement = self.conn.prepare_cached(
            "SELECT DISTINCT via FROM crsql_sync_clock
             WHERE at > ?1 AND site > 0 AND via > 0 AND (at <= ?2 OR before > ?1 AND before <= ?2)",
        )?;
        let mut rows = statement.query((since.get(), until.get()))?;
        let mut sources = Vec::new();
        while let Some(row) = rows.next()? {
            sources.push(self.engine.site(self.conn, Ordinal::from(row.get::<_, i64>(0)?))?);
        }
        Ok(sources)
    }

    /// Those of `versions` that are held.
    pub(super) fn held_of(&self, versions: &Clock) -> Result<Clock, Error> {
        let mut held = Vec::new();
        for (site, versions) in versions.iter() {
            if let Some(ordinal) = self.engine.ordinal(self.conn, site)? {
                held.push((site, self.held(ordinal)?.intersection(versions)));
            }
        }
        Ok(held.into_iter().collect())
    }

    /// What a peer says that it holds, as far as this copy holds it too. What it says of versions that this copy never
    /// wrote is from before this copy was restored: then nothing counts that it says of this copy's own.
    pub(super) fn common(&self, known: &Clock) -> Result<Clock, Error> {
        let mut common = self.held_of(known)?;
        let own = self.engine.site_id();
        if known.get(own).and_then(Ranges::last) > Some(self.engine.db_version(self.conn)?) {
            common.remove(own);
        }
        Ok(common)
    }

    /// What is known to be missing.
    pub(super) fn missing(&self) -> Result<Clock, Error> {
        let gaps = self.gaps()?;
        gaps.into_iter().map(|(site, missing)| Ok((self.engine.site(self.conn, site)?, missing))).collect()
    }

    /// Notes that a site is at `version`, which is not to say that it is held.
    pub(super) fn hear(&self, site: Ordinal, version: Version) -> Result<(), Error> {
        let entry = self.entry_or_new(site)?;
        if version <= entry.max {
            return Ok(());
        }
        if let Some(gap) = entry.max.next().ok().and_then(|first| Range::new(first, version).ok()) {
            self.add_gap(site, entry.max, gap)?;
        }
        self.store(site, Entry { max: version, ..entry })
    }

    /// Claims `versions` of a site, and returns whether any of them was not held before. `local` is told the local version
    /// that the change belongs to when there is one.
    pub(super) fn claim(
        &self,
        site: Ordinal,
        versions: &Ranges<Version>,
        via: Ordinal,
        local: &mut dyn FnMut() -> Result<Version, Error>,
    ) -> Result<bool, Error> {
        let Some(last) = versions.last() else { return Ok(false) };
        let Some(first) = versions.iter().next().map(|range| range.first) else { return Ok(false) };
        let entry = self.entry_or_new(site)?;
        // Those that the claim, or what it leaves out above `max`, overlaps or touches.
        let stored = self.gaps_of(site, before(first).min(entry.max))?;
        let beyond = entry.max.next().ok().and_then(|first| Range::new(first, last).ok());
        let mut missing = stored.clone();
        beyond.into_iter().for_each(|range| missing.insert(range));
        let missing = missing.difference(versions);
        if beyond.is_none() && missing == stored {
            return Ok(false);
        }
        self.replace_gaps(site, &stored, &missing)?;
        let (local, max) = (local()?, entry.max.max(last));
        let before = if entry.via == via { entry.before } else { entry.at };
        let at = if site == Ordinal::SELF { entry.at } else { local };
        self.store(site, Entry { max, at, via, before })?;
        Ok(true)
    }

    /// The newest version that may be a transaction of our own.
    pub(super) fn own(&self) -> Result<Version, Error> {
        let local = self.engine.db_version(self.conn)?;
        Ok(match self.entry(Ordinal::SELF)? {
            Some(entry) if entry.at >= local => entry.max,
            _ => local,
        })
    }

    /// Notes that local version `merged` is a merge, and no transaction of our own; `own` was the last one before it.
    pub(super) fn account_merge(&self, own: Version, merged: Version) -> Result<(), Error> {
        self.store(Ordinal::SELF, Entry { max: own, at: merged, ..EMPTY })
    }

    /// Makes the transactions that were this copy's own, up to local version `local`, those of another site. From now on it
    /// has none.
    pub(super) fn hand_over(conn: &Connection, to: Ordinal, local: Version) -> Result<(), Error> {
        conn.execute(
            "INSERT INTO crsql_sync_clock (site, max, at, via, before)
             SELECT ?1, iif(own.at >= ?2, own.max, ?2), ?2, ?1, 0
             FROM (SELECT 1) LEFT JOIN crsql_sync_clock own ON own.site = 0",
            (to.get(), local.get()),
        )?;
        conn.execute("UPDATE crsql_sync_gaps SET site = ?1 WHERE site = 0", [to.get()])?;
        conn.execute(
            "INSERT OR REPLACE INTO crsql_sync_clock (site, max, at, via, before) VALUES (0, 0, ?1, 0, 0)",
            [local.get()],
        )?;
        Ok(())
    }

    /// What is wrong with it, in sentences.
    pub(super) fn check(&self) -> Result<Vec<String>, Error> {
        let local = self.engine.db_version(self.conn)?;
        let mut wrong = Vec::new();
        let mut sites = self.conn.prepare("SELECT site, max, at FROM crsql_sync_clock ORDER BY site")?;
        let mut rows = sites.query([])?;
        while let Some(row) = rows.next()? {
            let (site, max, at): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if self.engine.site(self.conn, site.into()).is_err() {
                wrong.push(format!("the ledger names a site {site}, which is in no list"));
            }
            if at > local.get() {
                wrong
                    .push(format!("the ledger's entry of site {site} is of version {at}, and the database at {local}"));
            }
            if site == Ordinal::SELF.get() && max > local.get() {
                wrong.push(format!("the ledger has {max} transactions of this copy, and the database is at {local}"));
            }
        }
        let mut gaps = self.conn.prepare(
            "SELECT g.site, g.first, g.last, c.max, lag(g.last) OVER (PARTITION BY g.site ORDER BY g.first)
             FROM crsql_sync_gaps g LEFT JOIN crsql_sync_clock c ON c.site = g.site",
        )?;
        let mut rows = gaps.query([])?;
        while let Some(row) = rows.next()? {
            let (site, first, last): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (max, previous): (Option<i64>, Option<i64>) = (row.get(3)?, row.get(4)?);
            if gap(first, last).is_err() || previous.is_some_and(|previous| previous + 1 >= first) {
                wrong.push(format!("the gap from {first} to {last} of site {site} is inverted, or meets another"));
            }
            if max.is_none_or(|max| last > max) {
                wrong.push(format!("the gap from {first} to {last} of site {site} is beyond what was heard of it"));
            }
        }
        Ok(wrong)
    }

    fn entry(&self, site: Ordinal) -> Result<Option<Entry>, Error> {
        let mut statement =
            self.conn.prepare_cached("SELECT max, at, via, before FROM crsql_sync_clock WHERE site = ?1")?;
        let mut rows = statement.query([site.get()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(Entry {
            max: version(row.get(0)?)?,
            at: version(row.get(1)?)?,
            via: Ordinal::from(row.get::<_, i64>(2)?),
            before: version(row.get(3)?)?,
        }))
    }

    /// Of a site that the ledger does not have, nothing is held. Of ourselves everything is, merges included.
    fn entry_or_new(&self, site: Ordinal) -> Result<Entry, Error> {
        let entry = self.entry(site)?.unwrap_or(EMPTY);
        if site == Ordinal::SELF {
            return Ok(Entry { max: entry.max.max(self.engine.db_version(self.conn)?), ..entry });
        }
        Ok(entry)
    }

    fn store(&self, site: Ordinal, entry: Entry) -> Result<(), Error> {
        let mut statement = self.conn.prepare_cached(
            "INSERT OR REPLACE INTO crsql_sync_clock (site, max, at, via, before) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let Entry { max, at, via, before } = entry;
        statement.execute((site.get(), max.get(), at.get(), via.get(), before.get()))?;
        Ok(())
    }

    fn gaps(&self) -> Result<BTreeMap<Ordinal, Ranges<Version>>, Error> {
        let mut statement =
            self.conn.prepare_cached("SELECT site, first, last FROM crsql_sync_gaps ORDER BY site, first")?;
        let mut rows = statement.query([])?;
        let mut gaps = BTreeMap::<Ordinal, Ranges<Version>>::new();
        while let Some(row) = rows.next()? {
            gaps.entry(Ordinal::from(row.get::<_, i64>(0)?)).or_default().insert(gap(row.get(1)?, row.get(2)?)?);
        }
        Ok(gaps)
    }

    /// Those that reach or touch what comes after `after`.
    fn gaps_of(&self, site: Ordinal, after: Version) -> Result<Ranges<Version>, Error> {
        let mut statement = self
            .conn
            .prepare_cached("SELECT first, last FROM crsql_sync_gaps WHERE site = ?1 AND last >= ?2 ORDER BY first")?;
        let mut rows = statement.query((site.get(), after.get()))?;
        let mut gaps = Vec::new();
        while let Some(row) = rows.next()? {
            gaps.push(gap(row.get(0)?, row.get(1)?)?);
        }
        Ok(gaps.into_iter().collect())
    }

    /// Adds a gap after `max`, joined with one that ends there.
    pub(super) fn add_gap(&self, site: Ordinal, max: Version, gap: Range<Version>) -> Result<(), Error> {
        let stored = self.gaps_of(site, max)?;
        let mut missing = stored.clone();
        missing.insert(gap);
        self.replace_gaps(site, &stored, &missing)
    }

    /// Exactly what differs is deleted and inserted: a ledger that is not what was read is damaged.
    fn replace_gaps(&self, site: Ordinal, stored: &Ranges<Version>, missing: &Ranges<Version>) -> Result<(), Error> {
        let mut delete =
            self.conn.prepare_cached("DELETE FROM crsql_sync_gaps WHERE site = ?1 AND first = ?2 AND last = ?3")?;
        for gap in stored.iter().filter(|gap| !missing.has_range(*gap)) {
            if delete.execute((site.get(), gap.first.get(), gap.last.get()))? != 1 {
                return Err(Error::Corrupt("a gap in a site's versions is gone"));
            }
        }
        let mut insert =
            self.conn.prepare_cached("INSERT INTO crsql_sync_gaps (site, first, last) VALUES (?1, ?2, ?3)")?;
        for gap in missing.iter().filter(|gap| !stored.has_range(*gap)) {
            insert.execute((site.get(), gap.first.get(), gap.last.get()))?;
        }
        Ok(())
    }
}

const EMPTY: Entry = Entry { max: Version::ZERO, at: Version::ZERO, via: Ordinal::SELF, before: Version::ZERO };

fn up_to(max: Version) -> Ranges<Version> {
    Range::new(Version::MIN, max).map(Ranges::from).unwrap_or_default()
}

fn before(version: Version) -> Version {
    Version::or_zero(version.get() - 1).unwrap_or(Version::ZERO)
}

fn version(number: i64) -> Result<Version, Error> {
    Version::or_zero(number).map_err(|_| Error::Corrupt("a version in the ledger is out of range"))
}

fn gap(first: i64, last: i64) -> Result<Range<Version>, Error> {
    let corrupt = |_| Error::Corrupt("a gap in a site's versions is out of range");
    let (first, last) = (Version::new(first).map_err(corrupt)?, Version::new(last).map_err(corrupt)?);
    Range::new(first, last).map_err(|_| Error::Corrupt("a gap in a site's versions is inverted"))
}
