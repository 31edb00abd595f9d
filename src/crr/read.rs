//! Reading changes: from the log to the clocks to the values.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row};

use super::catalog::Tables;
use super::clock::{ColumnId, RowClock, SELF, Stamp};
use super::log::{self, Run};
use super::state::State;
use super::table::{Table, TableId};
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
    /// The place of its table, and the key of its row: the order of changes with the same seq.
    pub(super) row: (usize, i64),
}

/// What a [`Reader`] passes over without reading its values.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    /// Exclusive; −1 before all that there is, also before what an alteration left under version 0.
    pub(super) since: i64,
    /// Inclusive.
    pub(super) until: i64,
    pub(super) site: Sites,
    /// Only the changes of this table.
    pub(super) table: Option<String>,
    /// Whether values are wanted; without, all are NULL and no base row is read for more than its key.
    pub(super) values: bool,
    /// The newest version first.
    pub(super) descending: bool,
}

/// Whose changes to read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sites {
    All,
    Only(SiteId),
    Except(SiteId),
}

/// The same by ordinals; a site that has none wrote nothing here.
#[derive(Clone, Copy)]
enum Ordinals {
    All,
    Only(Option<i64>),
    Except(Option<i64>),
}

impl From<Window> for Selection {
    fn from(window: Window) -> Self {
        Self {
            since: if window.since == Version::ZERO { -1 } else { window.since.get() },
            until: window.until.get(),
            site: window.exclude.map_or(Sites::All, Sites::Except),
            table: None,
            values: true,
            descending: false,
        }
    }
}

/// Visits the changes of `window` in order.
pub(super) fn window(
    conn: &Connection,
    state: &State,
    window: Window,
    visit: &mut dyn FnMut(Version, Change) -> ControlFlow<()>,
) -> Result<()> {
    let mut reader = Reader::new(conn, state, window.into())?;
    let mut visit_all = |mut changes: Vec<LocalChange>| {
        changes.sort_by(|a, b| {
            let key = |c: &Change| (c.site, c.version, c.seq);
            key(&a.change).cmp(&key(&b.change))
        });
        changes.into_iter().try_for_each(|LocalChange { change, local, .. }| visit(local.max(Version::MIN), change))
    };
    // Version 0 is delivered as part of version 1, which no reader has passed that has not read both.
    let mut zero = Vec::new();
    while let Some(mut changes) = reader.next_version(conn)? {
        if reader.current == 0 {
            zero = changes;
            continue;
        }
        if reader.current == 1 {
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
pub(super) struct Reader {
    tables: Arc<Tables>,
    /// What is left to read.
    since: i64,
    until: i64,
    /// The version being read.
    current: i64,
    ordinals: Ordinals,
    table: Option<TableId>,
    values: bool,
    descending: bool,
    sites: HashMap<i64, SiteId>,
    sentinel: Arc<str>,
}

impl Reader {
    pub(super) fn new(conn: &Connection, state: &State, selection: Selection) -> Result<Self> {
        let tables = state.tables(conn)?;
        let ordinals = match selection.site {
            Sites::All => Ordinals::All,
            Sites::Only(site) => Ordinals::Only(catalog::ordinal(conn, site)?),
            Sites::Except(site) => Ordinals::Except(catalog::ordinal(conn, site)?),
        };
        let table = selection.table.map(|name| tables.named(&name).map(|table| table.id));
        // A table or a site that is not known here has no changes.
        let nothing = matches!(table, Some(None)) || matches!(ordinals, Ordinals::Only(None));
        Ok(Self {
            tables,
            since: selection.since,
            until: if nothing { -1 } else { selection.until },
            current: -1,
            ordinals,
            table: table.flatten(),
            values: selection.values,
            descending: selection.descending,
            sites: HashMap::from([(SELF, state.site)]),
            sentinel: SENTINEL.into(),
        })
    }

    /// The changes of the next version that has any, in no order; `None` at the end of the window.
    pub(super) fn next_version(&mut self, conn: &Connection) -> Result<Option<Vec<LocalChange>>> {
        let next = if self.descending {
            "SELECT version, touched FROM crsql_log WHERE version > ? AND version <= ? ORDER BY version DESC LIMIT 1"
        } else {
            "SELECT version, touched FROM crsql_log WHERE version > ? AND version <= ? ORDER BY version LIMIT 1"
        };
        loop {
            let mut log = conn.prepare_cached(next)?;
            let found: Option<(i64, Vec<u8>)> =
                log.query_row((self.since, self.until), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let Some((version, touched)) = found else {
                return Ok(None);
            };
            self.current = version;
            if self.descending {
                self.until = version - 1;
            } else {
                self.since = version;
            }
            let mut changes = Vec::new();
            for run in log::runs(&touched)? {
                self.read(conn, run, &mut changes)?;
            }
            if !changes.is_empty() {
                return Ok(Some(changes));
            }
        }
    }

    /// Adds those of the rows' changes that are of the current version.
    fn read(&mut self, conn: &Connection, run: Run, changes: &mut Vec<LocalChange>) -> Result<()> {
        if self.table.is_some_and(|only| only != run.table) {
            return Ok(());
        }
        // The log may speak of a table that is gone.
        let (Some(index), Some(table)) = (self.tables.position(run.table), self.tables.get(run.table).cloned()) else {
            return Ok(());
        };
        if run.tombstone {
            return (run.first..=run.last).try_for_each(|id| self.read_tombstone(conn, index, &table, id, changes));
        }
        let mut read = conn.prepare_cached(if self.values { &table.sql.rows } else { &table.sql.row_pks })?;
        // A row deleted without its triggers left its clock behind: there is nothing to say about it.
        let mut found = read.query((run.first, run.last))?;
        while let Some(row) = found.next()? {
            let clock = RowClock::decode(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
            if clock.iter().any(|(_, stamp)| self.wants(stamp)) {
                self.read_row(conn, index, &table, row, &clock, changes)?;
            }
        }
        Ok(())
    }

    /// `row` holds the key, the clock, the primary key, and the values where they are wanted.
    fn read_row(
        &mut self,
        conn: &Connection,
        index: usize,
        table: &Table,
        row: &Row<'_>,
        clock: &RowClock,
        changes: &mut Vec<LocalChange>,
    ) -> Result<()> {
        let owner = Owner {
            index,
            name: table.name.clone(),
            key: row.get(0)?,
            tombstone: false,
            pk: table.pack_pk(row, 2)?,
            cl: clock.cl(),
        };
        for (id, stamp) in clock.iter() {
            if !self.wants(stamp) {
                continue;
            }
            if id == ColumnId::SENTINEL {
                let cid = self.sentinel.clone();
                changes.push(self.change(conn, &owner, None, cid, Value::Null, stamp)?);
                continue;
            }
            // The column may have been dropped since.
            if let Some((position, column)) = table.column(id) {
                let val = if self.values { row.get(2 + table.pks.len() + position)? } else { Value::Null };
                changes.push(self.change(conn, &owner, Some(position), column.name.clone(), val, stamp)?);
            }
        }
        Ok(())
    }

    fn read_tombstone(
        &mut self,
        conn: &Connection,
        index: usize,
        table: &Table,
        id: i64,
        changes: &mut Vec<LocalChange>,
    ) -> Result<()> {
        let mut read = conn.prepare_cached(&table.sql.tombstone)?;
        let mut found = read.query([id])?;
        // The row may have come back since.
        let Some(row) = found.next()? else {
            return Ok(());
        };
        let stamp = rows::tombstone_stamp(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?;
        if self.wants(&stamp) {
            let (name, pk, cl) = (table.name.clone(), table.pack_pk(row, 1)?, stamp.col_version);
            let owner = Owner { index, name, key: id, tombstone: true, pk, cl };
            let cid = self.sentinel.clone();
            changes.push(self.change(conn, &owner, None, cid, Value::Null, &stamp)?);
        }
        Ok(())
    }

    fn wants(&self, stamp: &Stamp) -> bool {
        stamp.local == self.current
            && match self.ordinals {
                Ordinals::All => true,
                Ordinals::Only(site) => Some(stamp.site) == site,
                Ordinals::Except(site) => Some(stamp.site) != site,
            }
    }

    fn change(
        &mut self,
        conn: &Connection,
        owner: &Owner,
        position: Option<usize>,
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
            // What an alteration left under version 0 is of the author's first transaction.
            version: Version::new(stamp.version.max(1))?,
            site: self.site(conn, stamp.site)?,
            cl: CausalLength::new(owner.cl)?,
            seq: Seq::new(stamp.seq)?,
        };
        let local = Version::or_zero(self.current)?;
        Ok(LocalChange { change, local, rowid: owner.rowid(position), row: (owner.index, owner.key) })
    }

    fn site(&mut self, conn: &Connection, ordinal: i64) -> Result<SiteId> {
        if let Some(&site) = self.sites.get(&ordinal) {
            return Ok(site);
        }
        let site = catalog::site(conn, ordinal)?;
        self.sites.insert(ordinal, site);
        Ok(site)
    }
}

/// Where a sentinel stands among the columns of its row, for the rowid; a tombstone's stands one further.
const SENTINEL_POSITION: i64 = 998;

/// The row that a change belongs to.
struct Owner {
    /// The table's place among the tables.
    index: usize,
    name: Arc<str>,
    /// The key of a live row, or the id of a tombstone.
    key: i64,
    tombstone: bool,
    pk: Vec<u8>,
    cl: i64,
}

impl Owner {
    /// A number for one cell: the table, the column, the row, as in cr-sqlite for the first column. Where the three do
    /// not fit (more than 998 columns, keys below 0 or over 10^10) they are hashed into the negative numbers.
    fn rowid(&self, position: Option<usize>) -> i64 {
        let position = match position {
            None => SENTINEL_POSITION + i64::from(self.tombstone),
            Some(column) if (column as i64) < SENTINEL_POSITION => column as i64,
            // Past the two, and so past what the formula holds.
            Some(column) => column as i64 + 2,
        };
        if position < 1000 && (0..10_000_000_000).contains(&self.key) && self.index < 900_000 {
            return self.index as i64 * 10_000_000_000_000 + position * 10_000_000_000 + self.key;
        }
        let hash =
            [self.index as u64, position as u64, self.key as u64].into_iter().fold(0, |hash, part| mix(hash ^ part));
        (hash | 1 << 63).cast_signed()
    }
}

/// SplitMix64: one step and its finalizer.
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
