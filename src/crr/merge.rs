//! Merging: what a change from elsewhere does to a row.
//!
//! The decision is cr-sqlite's. With `cl` the causal length and `cv` the cell's version, incoming against local:
//!
//! 1. A smaller `cl` loses: it speaks of an incarnation of the row that is over.
//! 2. An even `cl` that is larger deletes the row.
//! 3. An odd `cl` that is larger brings the row back; the cells of the incarnation before drop to version 0, so that
//!    any cell of the new one beats them.
//! 4. At equal `cl` the larger `cv` wins, then the larger [value](super::value); with `merge-equal-values` on, equal
//!    values go to the larger site id, and so do sentinels of equal `cl`, so that all copies agree on the author.
//!
//! Changes of one row are merged together: one read and one write of the row, however many cells they bring.

mod row;

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::Connection;

use super::catalog::Tables;
use super::clock::{ColumnId, SELF, Stamp};
use super::log::Touched;
use super::rows::Rows;
use super::state::State;
use super::table::{Table, TableId};
use super::{Change, Error, Result, SENTINEL, SiteId, Version, catalog, value};
use row::Row;

/// What a merge did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged {
    /// Changes that won, as `crsql_rows_impacted()` counts them.
    pub applied: u64,
    /// The local version under which the winners were stored; `None` when nothing won.
    pub version: Option<Version>,
}

/// Merges `changes` under the next local version.
///
/// Row by row, since the order of changes does not matter; within a row the newest incarnation first, which makes the
/// older ones moot, and its sentinel first of all.
pub(super) fn merge(conn: &Connection, state: &State, changes: &[Change]) -> Result<Merged> {
    let mut merge = Merge::new(conn, state, Numbering::Local)?;
    let mut changes: Vec<&Change> = changes.iter().collect();
    changes.sort_by_key(|c| (&c.table, &c.pk, Reverse(c.cl), &*c.cid != SENTINEL));
    for row in changes.chunk_by(|a, b| a.table == b.table && a.pk == b.pk) {
        merge.row(row)?;
    }
    merge.finish()
}

/// Which local version a merged change gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbering {
    /// The next one: local versions count local transactions. A peer cannot push them up.
    Local,
    /// At least the change's own, as in cr-sqlite. For changes that arrive through SQL.
    AtLeastTheirs,
}

/// How far one change may push this copy's own version.
const MAX_JUMP: i64 = 1 << 32;

/// A merge under way. Rows are written as they come.
pub(super) struct Merge<'a> {
    conn: &'a Connection,
    state: &'a State,
    numbering: Numbering,
    tables: Arc<Tables>,
    stored: HashMap<TableId, Rows<'a>>,
    ordinals: HashMap<SiteId, i64>,
    sites: HashMap<i64, SiteId>,
    touched: BTreeMap<Version, Vec<Touched>>,
    applied: u64,
}

impl<'a> Merge<'a> {
    pub(super) fn new(conn: &'a Connection, state: &'a State, numbering: Numbering) -> Result<Self> {
        state.join(conn)?;
        Ok(Self {
            conn,
            state,
            numbering,
            tables: state.tables(conn)?,
            stored: HashMap::new(),
            ordinals: HashMap::new(),
            sites: HashMap::new(),
            touched: BTreeMap::new(),
            applied: 0,
        })
    }

    /// Merges changes of one row, in order.
    pub(super) fn row(&mut self, changes: &[&Change]) -> Result<()> {
        let Some(first) = changes.first() else {
            return Ok(());
        };
        let known = self.tables.named(&first.table);
        let table = known.cloned().ok_or_else(|| Error::UnknownTable(first.table.to_string()))?;
        let mut stored = match self.stored.remove(&table.id) {
            Some(stored) => stored,
            None => Rows::new(self.conn, table.clone()),
        };
        let mut row = Row::load(&mut stored, table.unpack_pk(&first.pk)?)?;
        for change in changes {
            self.change(&mut stored, &mut row, change)?;
        }
        if !row.versions.is_empty() {
            let guard = Merging::begin(self.state, table.id);
            let touched = row.store(&mut stored)?;
            drop(guard);
            for version in row.versions {
                self.touched.entry(version).or_default().push(touched);
            }
        }
        self.stored.insert(table.id, stored);
        Ok(())
    }

    /// Tells the transaction what was touched.
    pub(super) fn finish(self) -> Result<Merged> {
        let version = self.touched.keys().last().copied();
        for (version, rows) in self.touched {
            self.state.touch(self.conn, version, rows)?;
        }
        let impacted = &self.state.transaction.rows_impacted;
        impacted.set(impacted.get() + self.applied as i64);
        Ok(Merged { applied: self.applied, version })
    }

    fn change<'v>(&mut self, stored: &mut Rows<'a>, row: &mut Row<'v>, change: &'v Change) -> Result<()> {
        let sentinel = &*change.cid == SENTINEL;
        let column = if sentinel { None } else { Some(column(&stored.table, change)?) };
        if change.cl.get() == 0 || (!sentinel && !change.cl.is_alive()) {
            return Err(Error::InvalidChange("a cell of a row that is not there"));
        }
        let (cl, local) = (change.cl.get(), row.cl());
        match (cl.cmp(&local), column) {
            (Ordering::Less, _) => Ok(()),
            (Ordering::Equal, None) => self.equal_sentinel(row, change),
            (Ordering::Greater, None) if !change.cl.is_alive() => {
                let stamp = self.stamp(row, change, cl)?;
                row.bury(stamp);
                self.applied += 1;
                Ok(())
            }
            (Ordering::Greater, None) => self.resurrect(row, change),
            (ordering, Some((index, id))) => {
                if ordering == Ordering::Greater && (local != 0 || cl > 1) {
                    self.resurrect(row, change)?;
                }
                // Also in a new incarnation: a cell of version 0 must meet the old ones as if its sentinel had come first.
                if self.cell_wins(stored, row, index, id, change)? {
                    let stamp = self.stamp(row, change, change.col_version.get())?;
                    row.set(index, id, &change.val, stamp);
                    self.applied += 1;
                }
                Ok(())
            }
        }
    }

    /// Brings a row back, or starts a new incarnation of a live one.
    fn resurrect(&mut self, row: &mut Row<'_>, change: &Change) -> Result<()> {
        let stamp = self.stamp(row, change, change.cl.get())?;
        row.resurrect(stamp);
        self.applied += 1;
        Ok(())
    }

    /// Both copies know of this delete, or of this incarnation: at most its author changes. A first incarnation may
    /// have a sentinel there (its row was moved) and none here.
    fn equal_sentinel(&mut self, row: &mut Row<'_>, change: &Change) -> Result<()> {
        let wins = match row.sentinel() {
            Some(current) => self.author_wins(change, current)?,
            None => self.state.merge_equal_values.get(),
        };
        if wins {
            let stamp = self.stamp(row, change, change.cl.get())?;
            row.set_sentinel(stamp);
            self.applied += 1;
        }
        Ok(())
    }

    fn cell_wins<'v>(
        &mut self,
        stored: &mut Rows<'a>,
        row: &mut Row<'v>,
        index: usize,
        id: ColumnId,
        change: &'v Change,
    ) -> Result<bool> {
        let Some(current) = row.clock().and_then(|clock| clock.get(id)).copied() else {
            return Ok(true);
        };
        match change.col_version.get().cmp(&current.col_version) {
            Ordering::Greater => return Ok(true),
            Ordering::Less => return Ok(false),
            Ordering::Equal => {}
        }
        match value::compare((&change.val).into(), row.value(stored, index)?.into()) {
            Ordering::Greater => Ok(true),
            Ordering::Less => Ok(false),
            Ordering::Equal => self.author_wins(change, current),
        }
    }

    fn author_wins(&mut self, change: &Change, current: Stamp) -> Result<bool> {
        Ok(self.state.merge_equal_values.get() && change.site > self.site(current.site)?)
    }

    fn site(&mut self, ordinal: i64) -> Result<SiteId> {
        if let Some(&site) = self.sites.get(&ordinal) {
            return Ok(site);
        }
        let site = catalog::site(self.conn, ordinal)?;
        self.sites.insert(ordinal, site);
        Ok(site)
    }

    fn stamp(&mut self, row: &mut Row<'_>, change: &Change, col_version: i64) -> Result<Stamp> {
        let site = self.ordinal(change.site)?;
        // A change of our own that comes back (from before a restore) keeps its number, which must not be given again.
        let ours = site == SELF || self.numbering == Numbering::AtLeastTheirs;
        let at_least = if ours { self.plausible(change.version)? } else { Version::ZERO };
        let local = self.state.next_version(self.conn, at_least)?;
        if !row.versions.contains(&local) {
            row.versions.push(local);
        }
        Ok(Stamp { col_version, local: local.get(), site, version: change.version.get(), seq: change.seq.get() })
    }

    /// Refuses a version that is far ahead of this copy's, which would use up its numbers.
    fn plausible(&self, version: Version) -> Result<Version> {
        let ahead = version.get() - self.state.committed_version(self.conn)?.get();
        if ahead > MAX_JUMP {
            return Err(Error::OutOfRange { what: "version", value: version.get() });
        }
        Ok(version)
    }

    fn ordinal(&mut self, site: SiteId) -> Result<i64> {
        if let Some(&ordinal) = self.ordinals.get(&site) {
            return Ok(ordinal);
        }
        let ordinal = catalog::add_site(self.conn, site)?;
        self.ordinals.insert(site, ordinal);
        Ok(ordinal)
    }
}

fn column(table: &Table, change: &Change) -> Result<(usize, ColumnId)> {
    let found = table.columns.iter().enumerate().find(|(_, column)| column.name == change.cid);
    found
        .map(|(index, column)| (index, column.id))
        .ok_or_else(|| Error::UnknownColumn { table: change.table.to_string(), column: change.cid.to_string() })
}

/// While it lives, writes to a table leave no clocks.
struct Merging<'a> {
    state: &'a State,
    before: Option<TableId>,
}

impl<'a> Merging<'a> {
    fn begin(state: &'a State, table: TableId) -> Self {
        Self { state, before: state.merging.replace(Some(table)) }
    }
}

impl Drop for Merging<'_> {
    fn drop(&mut self) {
        self.state.merging.set(self.before);
    }
}
