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

mod part;
mod row;

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use rusqlite::Connection;

use super::clock::{ColumnId, SELF, Stamp};
use super::flush::flush_clocks;
use super::log::Touched;
use super::rows::Rows;
use super::state::State;
use super::table::{Table, TableId};
use super::tables::Tables;
use super::{CausalLength, Change, ColVersion, Error, Result, SENTINEL, SiteId, Version, catalog, value};
use crate::crr::sort::{sort_by, sort_by_key};
use part::{Part, is_same_row, is_same_table};
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
    // Those of a row mostly stand together.
    let mut parts: Vec<Part<'_>> = changes.chunk_by(is_same_row).filter_map(Part::new).collect();
    sort_by(&mut parts, Part::by_row);
    for of_table in parts.chunk_by(|a, b| is_same_table(a.first, b.first)) {
        merge.rows(of_table)?;
    }
    Ok(merge.finish())
}

/// Merges a change that arrives through SQL. The clock of its row is [noted](super::journal), so that the next change
/// of the same row finds it there.
///
/// SQLite does not take back what was done inside a statement that inserts one row into a virtual table. So a change that
/// fails must leave nothing: not its author, and no version.
pub(super) fn merge_one(conn: &Connection, state: &State, change: &Change) -> Result<()> {
    let pending = state.transaction.pending.get();
    let mut merge = Merge::new(conn, state, Numbering::AtLeastTheirs)?;
    if let Err(error) = merge.one(change) {
        state.transaction.pending.set(pending);
        if merge.has_added_site && !conn.is_autocommit() {
            state.transaction.sites.take();
            catalog::remove_site(conn, change.site)?;
        }
        return Err(error);
    }
    merge.finish();
    Ok(())
}

/// Which local version a merged change gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbering {
    /// The next one: local versions count local transactions. A peer cannot push them up.
    Local,
    /// At least the change's own, as in cr-sqlite. For changes that arrive through SQL.
    AtLeastTheirs,
}

/// How far one change may push this copy's own version.
const MAX_JUMP: i64 = 1 << 32;

/// A merge under way. Rows are written as they come.
struct Merge<'a> {
    conn: &'a Connection,
    state: &'a State,
    numbering: Numbering,
    tables: Arc<Tables>,
    /// The author of the change before; usually that of the next one too.
    author: Option<(SiteId, i64)>,
    /// Whether the author of a change was unknown until now.
    has_added_site: bool,
    /// Whether the last row was not there before, so that the next may be new too.
    expects_new: bool,
    applied: u64,
    version: Option<Version>,
}

impl<'a> Merge<'a> {
    fn new(conn: &'a Connection, state: &'a State, numbering: Numbering) -> Result<Self> {
        state.join(conn)?;
        let tables = state.tables(conn)?;
        Ok(Self {
            conn,
            state,
            numbering,
            tables,
            author: None,
            has_added_site: false,
            expects_new: false,
            applied: 0,
            version: None,
        })
    }

    /// Merges changes of one table, row by row.
    fn rows(&mut self, parts: &[Part<'_>]) -> Result<()> {
        let Some(first) = parts.first() else { return Ok(()) };
        let table = self.table(first.first)?;
        let mut stored = self.state.take_rows(&table);
        let mut row = Vec::new();
        self.expects_new = true;
        for parts in parts.chunk_by(|a, b| is_same_row(a.first, b.first)) {
            row.clear();
            row.extend(parts.iter().flat_map(|part| part.changes));
            sort_by_key(&mut row, |change| (Reverse(change.cl), &*change.cid != SENTINEL));
            self.row(&mut stored, &row)?;
            if table.has_triggers {
                // They may have merged something too, by statements of their own.
                self.state.keep_rows(stored);
                stored = self.state.take_rows(&table);
            }
        }
        self.state.keep_rows(stored);
        Ok(())
    }

    /// Merges changes of one row, in order.
    fn row(&mut self, stored: &mut Rows<'_>, changes: &[&Change]) -> Result<()> {
        let Some(first) = changes.first() else { return Ok(()) };
        if self.is_likely_new(stored, changes)? && self.insert_new(stored, &first.pk, changes)? {
            return Ok(());
        }
        let pk = stored.table.unpack_pk(&first.pk)?;
        let mut row = Row::load(stored, pk)?;
        self.expects_new = !row.is_known();
        for change in changes {
            self.change(stored, &mut row, change)?;
        }
        if !row.versions.is_empty() {
            let guard = Merging::begin(self.state, stored.table.id);
            let touched = row.store(stored)?;
            drop(guard);
            self.touched(&row, touched);
        }
        Ok(())
    }

    /// Whether a row is best inserted without looking for it: the one before was new, and its cells are of version 1.
    fn is_likely_new(&self, stored: &mut Rows<'_>, changes: &[&Change]) -> Result<bool> {
        // Of an author that is known: one whose changes all lose is not to become so.
        let is_known = |site| self.author.is_some_and(|(last, ordinal)| last == site && ordinal != SELF);
        let is_first = |change: &&Change| change.cl == CausalLength::FIRST && change.col_version == ColVersion::FIRST;
        Ok(self.expects_new
            && !stored.table.has_triggers
            && changes.iter().all(|change| is_first(change) && is_known(change.site))
            && !stored.has_tombstones()?)
    }

    /// Inserts a row. False if it is there.
    fn insert_new(&mut self, stored: &mut Rows<'_>, pk: &[u8], changes: &[&Change]) -> Result<bool> {
        let applied = self.applied;
        let mut row = Row::unknown(stored.table.unpack_pk(pk)?);
        for change in changes {
            self.change(stored, &mut row, change)?;
        }
        let guard = Merging::begin(self.state, stored.table.id);
        let inserted = row.insert_new(stored)?;
        drop(guard);
        match inserted {
            Some(touched) => self.touched(&row, touched),
            None => self.applied = applied,
        }
        Ok(inserted.is_some())
    }

    /// Merges a change, and notes the clock of its row instead of storing it.
    fn one(&mut self, change: &Change) -> Result<()> {
        let table = self.table(change)?;
        if !change.cl.is_alive() {
            flush_clocks(self.conn, self.state)?;
            let mut stored = self.state.take_rows(&table);
            self.row(&mut stored, &[change])?;
            self.state.keep_rows(stored);
            return Ok(());
        }
        let pk = table.unpack_pk(&change.pk)?;
        if !self.state.journal.borrow().is_of_merges() {
            flush_clocks(self.conn, self.state)?;
        }
        let known = self.state.journal.borrow().merged(table.id, &change.pk).map(|(key, row)| (key, row.clone()));
        let mut stored = self.state.take_rows(&table);
        let mut row = match known {
            Some((key, clocked)) => Row::known(pk, key, clocked),
            None => Row::load(&mut stored, pk)?,
        };
        self.change(&mut stored, &mut row, change)?;
        if !row.versions.is_empty() {
            let guard = Merging::begin(self.state, table.id);
            let (key, clocked) = row.write(&mut stored)?;
            drop(guard);
            if clocked.number != key {
                // It must not be given to another row before this one is flushed.
                stored.store(key, &clocked)?;
            }
            self.state.journal.borrow_mut().push_merged(table.id, key, change.pk.clone(), clocked);
            self.touched(&row, Touched { table: table.id, tombstone: false, key });
        }
        self.state.keep_rows(stored);
        Ok(())
    }

    fn table(&self, change: &Change) -> Result<Arc<Table>> {
        let known = self.tables.named(self.conn, &change.table)?;
        known.ok_or_else(|| Error::UnknownTable(change.table.to_string()))
    }

    fn touched(&mut self, row: &Row<'_>, touched: Touched) {
        for &version in &row.versions {
            self.state.touch(version, touched);
            self.version = self.version.max(Some(version));
        }
    }

    fn finish(self) -> Merged {
        let impacted = &self.state.transaction.rows_impacted;
        impacted.set(impacted.get() + self.applied as i64);
        Merged { applied: self.applied, version: self.version }
    }

    fn change<'v>(&mut self, stored: &mut Rows<'_>, row: &mut Row<'v>, change: &'v Change) -> Result<()> {
        let sentinel = &*change.cid == SENTINEL;
        let column = if sentinel { None } else { Some(column(&stored.table, change, row.next_column())?) };
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
            None => self.state.merges_equal_values(self.conn)?,
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
        stored: &mut Rows<'_>,
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
        Ok(self.state.merges_equal_values(self.conn)?
            && change.site > self.state.ask_sites(|sites| sites.site(self.conn, current.site))?)
    }

    fn stamp(&mut self, row: &mut Row<'_>, change: &Change, col_version: i64) -> Result<Stamp> {
        let site = self.author(change.site)?;
        // A change of our own that comes back (from before a restore) keeps its number, which must not be given again.
        let ours = site == SELF || self.numbering == Numbering::AtLeastTheirs;
        let at_least = if ours { self.plausible(change.version)? } else { Version::ZERO };
        let local = self.state.next_version(self.conn, at_least)?;
        if !row.versions.contains(&local) {
            row.versions.push(local);
        }
        Ok(Stamp { col_version, local: local.get(), site, version: change.version.get(), seq: change.seq.get() })
    }

    /// The ordinal of the author of a change.
    fn author(&mut self, author: SiteId) -> Result<i64> {
        if let Some((_, ordinal)) = self.author.filter(|(last, _)| *last == author) {
            return Ok(ordinal);
        }
        let (ordinal, is_new) = self.state.ask_sites(|sites| sites.ordinal(self.conn, author))?;
        self.has_added_site |= is_new;
        self.author = Some((author, ordinal));
        Ok(ordinal)
    }

    /// Refuses a version that is far ahead of this copy's, which would use up its numbers.
    fn plausible(&self, version: Version) -> Result<Version> {
        let ahead = version.get() - self.state.committed_version(self.conn)?.get();
        if ahead > MAX_JUMP {
            return Err(Error::OutOfRange { what: "version", value: version.get() });
        }
        Ok(version)
    }
}

/// Finds a change's column, which is likely the one at `guess`.
fn column(table: &Table, change: &Change, guess: usize) -> Result<(usize, ColumnId)> {
    let is_it = |index: &usize| table.columns.get(*index).is_some_and(|column| column.name == change.cid);
    let index = Some(guess).filter(is_it).or_else(|| (0..table.columns.len()).find(is_it));
    index
        .and_then(|index| Some((index, table.columns.get(index)?.id)))
        .ok_or_else(|| Error::UnknownColumn { table: change.table.to_string(), column: change.cid.to_string() })
}

/// While it lives, writes to a table leave no clocks.
pub(super) struct Merging<'a> {
    state: &'a State,
    before: Option<TableId>,
}

impl<'a> Merging<'a> {
    pub(super) fn begin(state: &'a State, table: TableId) -> Self {
        Self { state, before: state.merging.replace(Some(table)) }
    }
}

impl Drop for Merging<'_> {
    fn drop(&mut self) {
        self.state.merging.set(self.before);
    }
}
