//! Reading changes: from the log to the clocks to the values.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

use super::catalog::Tables;
use super::clock::{ColumnId, SELF, Stamp};
use super::log::{self, Touched};
use super::state::State;
use super::table::Table;
use super::{CausalLength, Change, ColVersion, Result, SENTINEL, Seq, SiteId, Version, catalog, rows};

/// Which changes to read: those with `since < local version <= until`.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Start, exclusive; [`Version::ZERO`] for the beginning.
    pub since: Version,
    /// End, inclusive.
    pub until: Version,
    /// Leave out what this site wrote.
    pub exclude: Option<SiteId>,
}

/// A change, and where it stands in this copy.
pub(super) struct LocalChange {
    pub(super) change: Change,
    pub(super) local: Version,
    /// A number for `crsql_changes`, unique among the changes of a database.
    pub(super) rowid: i64,
}

/// Visits the changes of `window` in order.
pub(super) fn window(
    conn: &Connection,
    state: &State,
    window: Window,
    visit: &mut dyn FnMut(Version, Change) -> ControlFlow<()>,
) -> Result<()> {
    let since = if window.since == Version::ZERO { -1 } else { window.since.get() };
    let mut reader = Reader::new(conn, state, since, window.until, window.exclude)?;
    let mut visit_all = |mut changes: Vec<LocalChange>| {
        changes.sort_by(|a, b| {
            let key = |c: &Change| (c.site, c.version, c.seq);
            key(&a.change).cmp(&key(&b.change))
        });
        changes.into_iter().try_for_each(|LocalChange { change, local, .. }| visit(local.max(Version::MIN), change))
    };
    // Version 0 is delivered as part of version 1, which no reader has passed that has not read both.
    let mut zero = Vec::new();
    while let Some(mut changes) = reader.next_version()? {
        if reader.since == 0 {
            zero = changes;
            continue;
        }
        if reader.since == 1 {
            changes.append(&mut zero);
        }
        for changes in [std::mem::take(&mut zero), changes] {
            if visit_all(changes).is_break() {
                return Ok(());
            }
        }
    }
    let _ = visit_all(zero);
    Ok(())
}

/// Reads one local version after another.
pub(super) struct Reader<'a> {
    conn: &'a Connection,
    tables: Arc<Tables>,
    /// Exclusive; −1 before all that there is, also before what an alteration left under version 0.
    since: i64,
    until: Version,
    exclude: Option<i64>,
    sites: HashMap<i64, SiteId>,
    sentinel: Arc<str>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        conn: &'a Connection,
        state: &State,
        since: i64,
        until: Version,
        exclude: Option<SiteId>,
    ) -> Result<Self> {
        let exclude = exclude.map(|site| catalog::ordinal(conn, site)).transpose()?.flatten();
        Ok(Self {
            conn,
            tables: state.tables(conn)?,
            since,
            until,
            exclude,
            sites: HashMap::from([(SELF, state.site)]),
            sentinel: SENTINEL.into(),
        })
    }

    /// The changes of the next version that has any, in no order; `None` at the end of the window.
    pub(super) fn next_version(&mut self) -> Result<Option<Vec<LocalChange>>> {
        loop {
            let mut log = self.conn.prepare_cached(
                "SELECT version, touched FROM crsql_log WHERE version > ? AND version <= ? ORDER BY version LIMIT 1",
            )?;
            let next: Option<(i64, Vec<u8>)> =
                log.query_row((self.since, self.until.get()), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let Some((version, touched)) = next else {
                return Ok(None);
            };
            self.since = version;
            let mut changes = Vec::new();
            for touched in log::decode(&touched)? {
                self.read(touched, &mut changes)?;
            }
            if !changes.is_empty() {
                return Ok(Some(changes));
            }
        }
    }

    /// Adds those of a row's changes that are of the current version.
    fn read(&mut self, touched: Touched, changes: &mut Vec<LocalChange>) -> Result<()> {
        let known = self.tables.position(touched.table).zip(self.tables.get(touched.table).cloned());
        // The log may speak of a table that is gone.
        let Some((index, table)) = known else {
            return Ok(());
        };
        if touched.tombstone {
            return self.read_tombstone(index, &table, touched.key, changes);
        }
        let Some(clock) = rows::load_clock(self.conn, &table, touched.key)? else {
            return Ok(());
        };
        if !clock.iter().any(|(_, stamp)| self.wants(stamp)) {
            return Ok(());
        }
        let mut read = self.conn.prepare_cached(&table.sql.row)?;
        let mut found = read.query([touched.key])?;
        // A row deleted without its triggers left its clock behind: there is nothing to say about it.
        let Some(row) = found.next()? else {
            return Ok(());
        };
        let owner =
            Owner { index, name: table.name.clone(), key: touched.key, pk: table.pack_pk(row, 0)?, cl: clock.cl() };
        for (id, stamp) in clock.iter() {
            if !self.wants(stamp) {
                continue;
            }
            if id == ColumnId::SENTINEL {
                let cid = self.sentinel.clone();
                changes.push(self.change(&owner, SENTINEL_POSITION, cid, Value::Null, stamp)?);
                continue;
            }
            let column = table.columns.iter().enumerate().find(|(_, column)| column.id == id);
            // The column may have been dropped since.
            if let Some((position, column)) = column {
                let val = row.get(table.pks.len() + position)?;
                changes.push(self.change(&owner, position, column.name.clone(), val, stamp)?);
            }
        }
        Ok(())
    }

    fn read_tombstone(&mut self, index: usize, table: &Table, id: i64, changes: &mut Vec<LocalChange>) -> Result<()> {
        let mut read = self.conn.prepare_cached(&table.sql.tombstone)?;
        let mut found = read.query([id])?;
        // The row may have come back since.
        let Some(row) = found.next()? else {
            return Ok(());
        };
        let stamp = rows::tombstone_stamp(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?;
        if self.wants(&stamp) {
            let (name, pk, cl) = (table.name.clone(), table.pack_pk(row, 1)?, stamp.col_version);
            // Ids of tombstones and keys of rows overlap: they count down from −1.
            let owner = Owner { index, name, key: -1 - id, pk, cl };
            let cid = self.sentinel.clone();
            changes.push(self.change(&owner, SENTINEL_POSITION, cid, Value::Null, &stamp)?);
        }
        Ok(())
    }

    fn wants(&self, stamp: &Stamp) -> bool {
        stamp.local == self.since && Some(stamp.site) != self.exclude
    }

    fn change(
        &mut self,
        owner: &Owner,
        position: usize,
        cid: Arc<str>,
        val: Value,
        stamp: &Stamp,
    ) -> Result<LocalChange> {
        let change = Change {
            table: owner.name.clone(),
            pk: owner.pk.clone(),
            cid,
            val,
            col_version: ColVersion::new(stamp.col_version)?,
            // What an alteration of a fresh database added counts to the first transaction.
            version: Version::new(stamp.version.max(1))?,
            site: self.site(stamp.site)?,
            cl: CausalLength::new(owner.cl)?,
            seq: Seq::new(stamp.seq)?,
        };
        Ok(LocalChange { change, local: Version::or_zero(self.since)?, rowid: owner.rowid(position) })
    }

    fn site(&mut self, ordinal: i64) -> Result<SiteId> {
        if let Some(&site) = self.sites.get(&ordinal) {
            return Ok(site);
        }
        let site = catalog::site(self.conn, ordinal)?;
        self.sites.insert(ordinal, site);
        Ok(site)
    }
}

/// Where a sentinel stands among the columns of its row, for the rowid.
const SENTINEL_POSITION: usize = 999;

/// The row that a change belongs to.
struct Owner {
    /// The table's place among the tables.
    index: usize,
    name: Arc<str>,
    key: i64,
    pk: Vec<u8>,
    cl: i64,
}

impl Owner {
    /// A number for one cell: the table, the column, the row. Keys over 10^10 wrap, as in cr-sqlite.
    fn rowid(&self, position: usize) -> i64 {
        self.index as i64 * 10_000_000_000_000 + position as i64 * 10_000_000_000 + self.key % 10_000_000_000
    }
}
