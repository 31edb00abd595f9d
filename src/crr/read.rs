//! Reading changes: from the log to the clocks to the values.

mod cells;
mod condition;
mod keys;
mod whole;

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::clock::{ColumnId, RowClock, Stamp};
use super::log::{self, Run};
use super::sites::SiteCache;
use super::state::State;
use super::table::{Table, TableId};
use super::tables::Tables;
use super::value::{bound, owned};
use super::{Change, Error, Result, SiteId, Version, catalog};
pub(super) use cells::Cells;
use cells::{Cell, Owner};
pub(super) use condition::{Condition, Counter};
pub(super) use keys::{changes_of, live_keys, row_ids, touched};
pub use whole::{RowId, WholeRow};
pub(super) use whole::{all_rows, one_row, rows_since};

/// Which changes to read: those with `since < local version <= until`.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Start, exclusive; [`Version::ZERO`] for the beginning.
    pub since: Version,
    /// End, inclusive.
    pub until: Version,
    /// Leave out what this site wrote.
    pub exclude: Option<SiteId>,
    /// Read the newest version first; within a version the order stays the same.
    pub newest_first: bool,
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
    /// Only those of rows with this packed primary key.
    pub(super) pk: Option<Vec<u8>>,
    /// Only those that meet all of these.
    pub(super) conditions: Vec<Condition>,
    pub(super) values: Values,
    /// The newest version first.
    pub(super) descending: bool,
}

/// Which values to read. Those that were not are NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// None: no row is read for more than its key.
    Unwanted,
    /// All, each row once.
    All,
    /// Those of versions of few rows, where reading them costs less than [asking](cells::Cell::read) for each.
    Few,
}

/// How many rows are few.
const FEW: i64 = 32;

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
            pk: None,
            conditions: Vec::new(),
            values: Values::All,
            descending: window.newest_first,
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
    // Version 0 is delivered as part of version 1, which no reader has passed that has not read both.
    let (mut zero, mut cells) = (Cells::default(), Cells::default());
    while reader.next_version(conn, &mut cells)? {
        if reader.reading == (0..=0) && !reader.descending {
            zero = std::mem::take(&mut cells);
            continue;
        }
        if reader.reading == (1..=1) {
            cells.append(&mut zero);
        }
        if visit_all(&mut zero, visit)?.is_break() || visit_all(&mut cells, visit)?.is_break() {
            return Ok(());
        }
    }
    visit_all(&mut zero, visit).map(drop)
}

/// Visits what was read of one version, and forgets it.
fn visit_all(cells: &mut Cells, visit: &mut dyn FnMut(Version, Change) -> ControlFlow<()>) -> Result<ControlFlow<()>> {
    cells.sort_by_author();
    for change in cells.drain() {
        let (local, change) = change?;
        if visit(local, change).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Reads one local version after another.
pub(super) struct Reader {
    tables: Arc<Tables>,
    /// What is left to read.
    since: i64,
    until: i64,
    /// The version being read, or all of a row.
    reading: RangeInclusive<i64>,
    ordinals: Ordinals,
    table: Option<TableId>,
    /// The packed primary key of the one row that is wanted, in that table, until it was read.
    row: Option<Vec<u8>>,
    conditions: Vec<Condition>,
    values: Values,
    /// Whether those of the version being read are read.
    reads_values: bool,
    descending: bool,
    sites: SiteCache,
}

impl Reader {
    pub(super) fn new(conn: &Connection, state: &State, selection: Selection) -> Result<Self> {
        let tables = state.tables(conn)?;
        let ordinals = match selection.site {
            Sites::All => Ordinals::All,
            Sites::Only(site) => Ordinals::Only(catalog::ordinal(conn, site)?),
            Sites::Except(site) => Ordinals::Except(catalog::ordinal(conn, site)?),
        };
        let table = selection.table.map(|name| tables.named(conn, &name)).transpose()?;
        // What is no primary key of the table is left to the caller to compare.
        let row = match (&table, selection.pk) {
            (Some(Some(table)), Some(pk)) => table.unpack_pk(&pk).is_ok().then_some(pk),
            _ => None,
        };
        let table = table.map(|table| table.map(|table| table.id));
        // A table or a site that is not known here has no changes.
        let nothing = matches!(table, Some(None)) || matches!(ordinals, Ordinals::Only(None));
        Ok(Self {
            tables,
            since: selection.since,
            until: if nothing { -1 } else { selection.until },
            reading: -1..=-1,
            ordinals,
            table: table.flatten(),
            row,
            conditions: selection.conditions,
            values: selection.values,
            reads_values: selection.values == Values::All,
            descending: selection.descending,
            sites: SiteCache::default(),
        })
    }

    /// Reads the changes of the next version that has any, in no order; of one row, those of all versions. False at the end
    /// of the window.
    pub(super) fn next_version(&mut self, conn: &Connection, cells: &mut Cells) -> Result<bool> {
        let next = if self.descending {
            "SELECT version, touched FROM main.crsql_log WHERE version > ? AND version <= ? ORDER BY version DESC LIMIT 1"
        } else {
            "SELECT version, touched FROM main.crsql_log WHERE version > ? AND version <= ? ORDER BY version LIMIT 1"
        };
        cells.clear();
        if let Some(pk) = self.row.take() {
            self.reading = self.since.saturating_add(1)..=self.until;
            self.until = -1;
            self.find(conn, &pk, cells)?;
            return Ok(!cells.cells.is_empty());
        }
        while cells.cells.is_empty() {
            let mut log = conn.prepare_cached(next)?;
            let found: Option<(i64, Vec<u8>)> =
                log.query_row((self.since, self.until), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let Some((version, touched)) = found else {
                return Ok(false);
            };
            self.reading = version..=version;
            if self.descending {
                self.until = version.saturating_sub(1);
            } else {
                self.since = version;
            }
            let runs = log::runs(&touched)?;
            if self.values == Values::Few {
                let rows = runs
                    .iter()
                    .map(|run| run.last.saturating_sub(run.first))
                    .fold(runs.len() as i64, i64::saturating_add);
                self.reads_values = rows <= FEW;
            }
            for run in runs {
                self.read(conn, run, cells)?;
            }
        }
        Ok(true)
    }

    /// Whether the values of what was read last are still to be asked for.
    pub(super) fn left_values(&self) -> bool {
        self.values == Values::Few && !self.reads_values
    }

    /// Adds the changes of the row with this primary key, alive or dead.
    fn find(&mut self, conn: &Connection, pk: &[u8], cells: &mut Cells) -> Result<()> {
        let Some(id) = self.table else { return Ok(()) };
        let Some(table) = self.tables.get(conn, id)? else { return Ok(()) };
        let pk = table.unpack_pk(pk)?;
        for (tombstone, sql) in [(false, &table.sql.find_row), (true, &table.sql.find_tombstone)] {
            let mut find = conn.prepare_cached(sql)?;
            let key: Option<Option<i64>> = find.query_row(params_from_iter(bound(&pk)), |row| row.get(0)).optional()?;
            if let Some(Some(key)) = key {
                self.read(conn, Run { table: table.id, tombstone, first: key, last: key }, cells)?;
            }
        }
        Ok(())
    }

    /// Adds those of the rows' changes that are of the versions being read.
    fn read(&mut self, conn: &Connection, run: Run, cells: &mut Cells) -> Result<()> {
        self.read_each(conn, run, cells, &mut |_, _| Ok(ControlFlow::Continue(()))).map(drop)
    }

    /// The same, and calls `then` with the number of each row after it, until that breaks.
    fn read_each(
        &mut self,
        conn: &Connection,
        run: Run,
        cells: &mut Cells,
        then: &mut dyn FnMut(i64, &mut Cells) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        if self.table.is_some_and(|only| only != run.table) {
            return Ok(ControlFlow::Continue(()));
        }
        // The log may speak of a table that is gone.
        let (Some(index), Some(table)) = (self.tables.position(run.table), self.tables.get(conn, run.table)?) else {
            return Ok(ControlFlow::Continue(()));
        };
        let mut read = conn.prepare_cached(match run.tombstone {
            true => &table.sql.tombstones,
            false if self.reads_values => &table.sql.rows,
            false => &table.sql.row_pks,
        })?;
        // What is not found came back since, or was deleted without its triggers: there is nothing to say about it.
        let mut found = read.query((run.first, run.last))?;
        while let Some(row) = found.next()? {
            self.read_row(conn, index, &table, run.tombstone, row, cells)?;
            if then(row.get(1)?, cells)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// `row` holds the key, the number, the clock, the primary key, and of a live row the values where they are wanted.
    fn read_row(
        &mut self,
        conn: &Connection,
        index: usize,
        table: &Arc<Table>,
        tombstone: bool,
        row: &Row<'_>,
        cells: &mut Cells,
    ) -> Result<()> {
        let clock = RowClock::decode(row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?)?;
        if tombstone && clock.sentinel().is_none() {
            return Err(Error::Corrupt("a tombstone has no causal length"));
        }
        let (owner, first) = (cells.owners.len(), cells.cells.len());
        for (id, &stamp) in clock.iter() {
            if !self.wants(table, id, clock.cl(), &stamp) {
                continue;
            }
            let (position, val) = if id == ColumnId::SENTINEL {
                (None, Value::Null)
            } else if let Some((position, _)) = table.column(id).filter(|_| !tombstone) {
                let val = if self.reads_values { row.get_ref(3 + table.pks.len() + position)? } else { ValueRef::Null };
                (Some(position), owned(val))
            } else {
                // The column was dropped since.
                continue;
            };
            let site = self.sites.site(conn, stamp.site)?;
            cells.cells.push(Cell { owner, position, val, site, stamp });
        }
        if cells.cells.len() > first {
            let (key, pk, cl) = (row.get(0)?, table.pack_pk(row, 3)?.into(), clock.cl());
            cells.owners.push(Owner { table: table.clone(), index, key, tombstone, pk, cl });
        }
        Ok(())
    }

    fn wants(&self, table: &Table, id: ColumnId, cl: i64, stamp: &Stamp) -> bool {
        self.reading.contains(&stamp.local)
            && self.conditions.iter().all(|condition| condition.is_met(table, id, cl, stamp))
            && match self.ordinals {
                Ordinals::All => true,
                Ordinals::Only(site) => Some(stamp.site) == site,
                Ordinals::Except(site) => Some(stamp.site) != site,
            }
    }
}
