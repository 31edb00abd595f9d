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

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, ToSql, params_from_iter};

use super::clock::{ColumnId, RowClock, SELF, Stamp};
use super::engine::{Merged, State};
use super::log::Touched;
use super::quote::{identifier, list};
use super::rows::{self, Tombstone};
use super::table::{Table, TableId};
use super::{Change, Error, Result, SENTINEL, SiteId, Version, catalog, value};

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
    tables: Arc<[Arc<Table>]>,
    ordinals: HashMap<SiteId, i64>,
    touched: BTreeMap<Version, Vec<Touched>>,
    applied: u64,
}

impl<'a> Merge<'a> {
    pub(super) fn new(conn: &'a Connection, state: &'a State, numbering: Numbering) -> Result<Self> {
        Ok(Self {
            conn,
            state,
            numbering,
            tables: state.tables(conn)?,
            ordinals: HashMap::new(),
            touched: BTreeMap::new(),
            applied: 0,
        })
    }

    /// Merges changes of one row, in order.
    pub(super) fn row(&mut self, changes: &[&Change]) -> Result<()> {
        let Some(first) = changes.first() else {
            return Ok(());
        };
        let known = self.tables.iter().find(|table| table.name == first.table);
        let table = known.cloned().ok_or_else(|| Error::UnknownTable(first.table.to_string()))?;
        let mut row = Row::load(self.conn, &table, table.unpack_pk(&first.pk)?)?;
        for change in changes {
            self.change(&table, &mut row, change)?;
        }
        if row.versions.is_empty() {
            return Ok(());
        }
        let guard = Merging::begin(self.state, table.id);
        let touched = row.store(self.conn, &table)?;
        drop(guard);
        for version in row.versions {
            self.touched.entry(version).or_default().push(touched);
        }
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

    fn change(&mut self, table: &Table, row: &mut Row, change: &Change) -> Result<()> {
        let sentinel = &*change.cid == SENTINEL;
        let column = if sentinel { None } else { Some(column(table, change)?) };
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
                if self.cell_wins(table, row, index, id, change)? {
                    let stamp = self.stamp(row, change, change.col_version.get())?;
                    row.set(index, id, change.val.clone(), stamp);
                    self.applied += 1;
                }
                Ok(())
            }
        }
    }

    /// Brings a row back, or starts a new incarnation of a live one.
    fn resurrect(&mut self, row: &mut Row, change: &Change) -> Result<()> {
        let stamp = self.stamp(row, change, change.cl.get())?;
        row.resurrect(stamp);
        self.applied += 1;
        Ok(())
    }

    /// Both copies know of this delete, or of this incarnation: at most its author changes. A first incarnation may
    /// have a sentinel there (its row was moved) and none here.
    fn equal_sentinel(&mut self, row: &mut Row, change: &Change) -> Result<()> {
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

    fn cell_wins(&self, table: &Table, row: &mut Row, index: usize, id: ColumnId, change: &Change) -> Result<bool> {
        let Some(current) = row.clock().and_then(|clock| clock.get(id)).copied() else {
            return Ok(true);
        };
        match change.col_version.get().cmp(&current.col_version) {
            Ordering::Greater => return Ok(true),
            Ordering::Less => return Ok(false),
            Ordering::Equal => {}
        }
        match value::compare((&change.val).into(), row.value(self.conn, table, index)?.into()) {
            Ordering::Greater => Ok(true),
            Ordering::Less => Ok(false),
            Ordering::Equal => self.author_wins(change, current),
        }
    }

    fn author_wins(&self, change: &Change, current: Stamp) -> Result<bool> {
        Ok(self.state.merge_equal_values.get() && change.site > catalog::site(self.conn, current.site)?)
    }

    fn stamp(&mut self, row: &mut Row, change: &Change, col_version: i64) -> Result<Stamp> {
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

/// A row as it was, and as it will be.
struct Row {
    pk: Vec<Value>,
    /// The key of the live row in the database.
    key: Option<i64>,
    tombstone: Option<Tombstone>,
    now: Now,
    /// The values of the row in the database, once they were needed.
    stored: Option<Vec<Value>>,
    /// New values, by position in the table's columns.
    values: BTreeMap<usize, Value>,
    /// Whether the row in the database goes away before a new one takes its place.
    replaced: bool,
    /// The local versions that touch it.
    versions: Vec<Version>,
}

/// What becomes of the row.
enum Now {
    Unknown,
    Dead(Stamp),
    Alive(RowClock),
}

impl Row {
    fn load(conn: &Connection, table: &Table, pk: Vec<Value>) -> Result<Self> {
        let key = table.find_key(conn, &pk)?;
        let clock = key.map(|key| rows::load_clock(conn, table, key)).transpose()?.flatten();
        let tombstone = match clock {
            Some(_) => None,
            None => rows::find_tombstone(conn, table, &pk)?,
        };
        let now = match (clock, &tombstone) {
            (Some(clock), _) => Now::Alive(clock),
            (None, Some(tombstone)) => Now::Dead(tombstone.stamp),
            (None, None) => Now::Unknown,
        };
        let (values, versions) = (BTreeMap::new(), Vec::new());
        Ok(Self { pk, key, tombstone, now, stored: None, values, replaced: false, versions })
    }

    fn cl(&self) -> i64 {
        match &self.now {
            Now::Unknown => 0,
            Now::Dead(stamp) => stamp.col_version,
            Now::Alive(clock) => clock.cl(),
        }
    }

    fn clock(&self) -> Option<&RowClock> {
        match &self.now {
            Now::Alive(clock) => Some(clock),
            _ => None,
        }
    }

    fn sentinel(&self) -> Option<Stamp> {
        match &self.now {
            Now::Unknown => None,
            Now::Dead(stamp) => Some(*stamp),
            Now::Alive(clock) => clock.sentinel().copied(),
        }
    }

    fn set_sentinel(&mut self, stamp: Stamp) {
        match &mut self.now {
            Now::Alive(clock) => clock.set(ColumnId::SENTINEL, stamp),
            dead => *dead = Now::Dead(stamp),
        }
    }

    fn bury(&mut self, stamp: Stamp) {
        self.now = Now::Dead(stamp);
        self.values.clear();
        self.replaced = self.key.is_some();
    }

    fn resurrect(&mut self, stamp: Stamp) {
        let mut clock = match std::mem::replace(&mut self.now, Now::Unknown) {
            Now::Alive(clock) => clock,
            _ => RowClock::default(),
        };
        for (_, cell) in clock.columns_mut() {
            *cell = Stamp { col_version: 0, local: stamp.local, ..*cell };
        }
        clock.set(ColumnId::SENTINEL, stamp);
        self.now = Now::Alive(clock);
    }

    fn set(&mut self, index: usize, column: ColumnId, value: Value, stamp: Stamp) {
        self.values.insert(index, value);
        if !matches!(self.now, Now::Alive(_)) {
            self.now = Now::Alive(RowClock::default());
        }
        if let Now::Alive(clock) = &mut self.now {
            clock.set(column, stamp);
        }
    }

    /// The value that a column has now.
    fn value(&mut self, conn: &Connection, table: &Table, index: usize) -> Result<&Value> {
        if let Some(value) = self.values.get(&index) {
            return Ok(value);
        }
        if self.stored.is_none() {
            let mut read = conn.prepare_cached(&table.sql.row)?;
            let mut rows = read.query([self.key])?;
            let row = rows.next()?;
            let column = |i| row.map_or(Ok(Value::Null), |row| row.get(table.pks.len() + i));
            self.stored = Some((0..table.columns.len()).map(column).collect::<Result<_, _>>()?);
        }
        let stored = self.stored.as_ref().and_then(|stored| stored.get(index));
        stored.ok_or(Error::Corrupt("a row has fewer columns than its table"))
    }

    /// Writes the row, then its clock. The row comes first: it is what can be refused, by a constraint.
    fn store(&self, conn: &Connection, table: &Table) -> Result<Touched> {
        match &self.now {
            Now::Alive(clock) => {
                if let (true, Some(key)) = (self.replaced, self.key) {
                    self.delete(conn, table, key)?;
                }
                let key = match self.key.filter(|_| !self.replaced) {
                    Some(key) => self.update(conn, table, key)?,
                    None => self.insert(conn, table)?,
                };
                if let Some(tombstone) = &self.tombstone {
                    rows::drop_tombstone(conn, table, tombstone.id)?;
                }
                rows::store_clock(conn, table, key, clock)?;
                Ok(Touched { table: table.id, tombstone: false, key })
            }
            Now::Dead(stamp) => {
                if let Some(key) = self.key {
                    self.delete(conn, table, key)?;
                }
                let id = self.tombstone.as_ref().map(|tombstone| tombstone.id);
                let id = rows::store_tombstone(conn, table, id, &self.pk, *stamp)?;
                Ok(Touched { table: table.id, tombstone: true, key: id })
            }
            Now::Unknown => Err(Error::Corrupt("a merge touched a row and left nothing")),
        }
    }

    fn delete(&self, conn: &Connection, table: &Table, key: i64) -> Result<()> {
        conn.prepare_cached(&table.sql.delete_row)?.execute([key])?;
        rows::drop_clock(conn, table, key)
    }

    fn update(&self, conn: &Connection, table: &Table, key: i64) -> Result<i64> {
        if !self.values.is_empty() {
            let set = list(self.columns(table).map(|name| format!("{name} = ?")));
            let sql = format!("UPDATE {} SET {set} WHERE {} = ?", identifier(&table.name), table.key);
            let values = self.values.values().map(|value| value as &dyn ToSql);
            conn.prepare_cached(&sql)?.execute(params_from_iter(values.chain([&key as &dyn ToSql])))?;
        }
        Ok(key)
    }

    fn insert(&self, conn: &Connection, table: &Table) -> Result<i64> {
        let columns = list(table.pks.iter().map(|pk| identifier(&pk.name)).chain(self.columns(table)));
        let values = || self.pk.iter().chain(self.values.values());
        let marks = list(values().map(|_| "?"));
        let sql = format!("INSERT INTO {} ({columns}) VALUES ({marks})", identifier(&table.name));
        conn.prepare_cached(&sql)?.execute(params_from_iter(values()))?;
        Ok(conn.last_insert_rowid())
    }

    fn columns<'t>(&self, table: &'t Table) -> impl Iterator<Item = String> + use<'t, '_> {
        self.values.keys().filter_map(|&index| table.columns.get(index)).map(|column| identifier(&column.name))
    }
}
