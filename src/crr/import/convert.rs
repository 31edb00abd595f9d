//! The clocks of one table after another, in one pass over each.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::fallible_streaming_iterator::FallibleStreamingIterator;
use rusqlite::{CachedStatement, Connection, Row, Rows};

use super::super::clock::{ColumnId, RowClock, SELF, Stamp};
use super::super::ids::MAX_COUNTER;
use super::super::log::{self, Touched};
use super::super::quote::{identifier, join, list};
use super::super::rows::{Clocked, Rows as TableRows};
use super::super::table::{Key, Shape, Table, TableId};
use super::super::{CausalLength, Error, Result, SENTINEL, SiteId, Version, catalog, layout, triggers};
use super::{Imported, Irregular, Progress, source};
use crate::crr::sort::sort;

/// How many rows to convert between two reports.
const REPORT: u64 = 4096;

pub(super) struct Converter<'a> {
    conn: &'a Connection,
    /// Those that clocks may name.
    sites: HashSet<i64>,
    /// The newest version in the file.
    version: Version,
    /// What the repairs were given so far, of a version after that.
    repair_seq: i64,
    touch: CachedStatement<'a>,
    tables: u64,
    rows: u64,
    tombstones: u64,
    irregular: Irregular,
}

/// One of cr-sqlite's keys, with the row that it stands for.
struct Old {
    number: i64,
    /// Packed.
    pk: Vec<u8>,
    /// The key of the live row.
    live: Option<i64>,
    /// Whether the live row spells the primary key the same way.
    exact: bool,
}

impl<'a> Converter<'a> {
    pub(super) fn new(
        conn: &'a Connection,
        sites: HashSet<i64>,
        version: Version,
        irregular: Irregular,
    ) -> Result<Self> {
        // The log is in the order of versions, the clocks are not: SQLite sorts in bounded memory.
        conn.execute_batch(
            "DROP TABLE IF EXISTS temp.crsql_import;
             CREATE TEMP TABLE crsql_import (version INTEGER, tbl INTEGER, tombstone INTEGER, key INTEGER)",
        )?;
        let touch = conn.prepare_cached("INSERT INTO temp.crsql_import VALUES (?, ?, ?, ?)")?;
        Ok(Self { conn, sites, version, repair_seq: 0, touch, tables: 0, rows: 0, tombstones: 0, irregular })
    }

    /// Converts the clocks of the table called `name`, and makes it one of the engine's.
    pub(super) fn table(&mut self, name: &str, progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
        let shape = Shape::load(self.conn, name)?;
        if !knows_keys(self.conn, name, &shape)? {
            return self.skip(name);
        }
        for taken in ["rows", "tombstones", "keys"].map(|kind| format!("{name}__crsql_{kind}")) {
            source::free(self.conn, &taken)?;
        }
        let id = catalog::add_table(self.conn, name, &shape)?;
        let table =
            Table::describe(self.conn, id, name, name)?.ok_or(Error::Corrupt("a table vanished during its import"))?;
        let table = Arc::new(table);
        if table.key == Key::Mapped {
            self.keys(&table)?;
        }
        let before = self.rows;
        self.clocks(&table, progress)?;
        source::discard(self.conn, name)?;
        layout::create_views(self.conn, name, &shape)?;
        triggers::create(self.conn, &table)?;
        self.tables += 1;
        let count = format!("SELECT count(*) FROM main.{}", identifier(name));
        let all: i64 = self.conn.query_row(&count, [], |row| row.get(0))?;
        self.irregular.untracked += all.cast_unsigned().saturating_sub(self.rows - before);
        Ok(())
    }

    /// Leaves a table that has triggers or keys of cr-sqlite's and no clocks as an ordinary one.
    pub(super) fn skip(&mut self, name: &str) -> Result<()> {
        self.irregular.skipped_tables.push(name.to_owned());
        source::discard(self.conn, name)
    }

    /// Gives the primary keys of a table without rowids the keys that cr-sqlite gave them.
    fn keys(&self, table: &Table) -> Result<()> {
        let columns = list(table.pks.iter().map(|pk| identifier(&pk.name)));
        self.conn.execute_batch(&format!(
            "INSERT OR IGNORE INTO main.{} (__crsql_key, {columns}) SELECT __crsql_key, {columns} FROM main.{}",
            Table::keys(&table.name),
            source::pks(&table.name),
        ))?;
        Ok(self.conn.execute_batch(&table.sql.add_missing_keys)?)
    }

    /// Reads keys and clocks side by side, both in the order of cr-sqlite's keys.
    fn clocks(&mut self, table: &Arc<Table>, progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
        let (name, conn) = (&*table.name, self.conn);
        let count = format!("SELECT count(*) FROM main.{}", source::pks(name));
        let total = conn.query_row(&count, [], |row| row.get::<_, i64>(0))?.cast_unsigned();
        let mut report = |done| progress(Progress { table: name, done, total });
        report(0);
        let ids: HashMap<&str, ColumnId> = table.columns.iter().map(|column| (&*column.name, column.id)).collect();
        let mut keys = conn.prepare(&select_keys(table))?;
        let mut keys = keys.query([])?;
        let mut cells = conn.prepare(&format!(
            "SELECT key, col_name, col_version, db_version, site_id, seq FROM main.{} ORDER BY key, col_name",
            source::clocks(name)
        ))?;
        let mut cells = Cells::new(cells.query([])?)?;
        let mut stored = TableRows::new(conn, table.clone());
        let mut done = 0;
        while let Some(row) = keys.next()? {
            let old = Old {
                number: row.get(0)?,
                live: row.get(1)?,
                exact: row.get::<_, Option<bool>>(2)?.unwrap_or_default(),
                pk: table.pack_pk(row, 3)?,
            };
            let mut clock = RowClock::default();
            while let Some(key) = cells.key.filter(|key| *key <= old.number) {
                let cell = cells.row()?;
                let column = if cell.get_ref(1)?.as_str().map_err(rusqlite::Error::from)? == SENTINEL {
                    Some(ColumnId::SENTINEL)
                } else {
                    ids.get(cell.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?).copied()
                };
                match column.filter(|_| key == old.number) {
                    Some(column) => clock.set(column, self.stamp(cell)?),
                    None => self.irregular.dangling_cells += 1,
                }
                cells.advance()?;
            }
            self.row(&mut stored, &old, clock)?;
            done += 1;
            if done % REPORT == 0 {
                report(done);
            }
        }
        while cells.key.is_some() {
            self.irregular.dangling_cells += 1;
            cells.advance()?;
        }
        if done % REPORT != 0 {
            report(done);
        }
        Ok(())
    }

    fn stamp(&mut self, cell: &Row<'_>) -> Result<Stamp> {
        let (col_version, seq): (i64, i64) = (cell.get(2)?, cell.get(5)?);
        let mut bounded = |number: i64| {
            let nearest = number.clamp(0, MAX_COUNTER);
            self.irregular.out_of_range += u64::from(nearest != number);
            nearest
        };
        let (col_version, seq) = (bounded(col_version), bounded(seq));
        let mut local: i64 = cell.get(3)?;
        if local <= 0 {
            local = 1;
            self.irregular.version_zero += 1;
        }
        let local = Version::new(local)?.get();
        let site = match cell.get::<_, Option<i64>>(4)?.and_then(|site| self.sites.get(&site)) {
            Some(site) => *site,
            None => {
                self.irregular.unknown_authors += 1;
                SELF
            }
        };
        Ok(Stamp { col_version, local, site, version: local, seq })
    }

    fn row(&mut self, stored: &mut TableRows<'a>, old: &Old, mut clock: RowClock) -> Result<()> {
        if clock.iter().next().is_none() {
            return Ok(());
        }
        let dead = clock.sentinel().copied().filter(|stamp| stamp.col_version % 2 == 0);
        match (old.live, dead) {
            (None, Some(stamp)) => {
                self.irregular.dangling_cells += clock.iter().count() as u64 - 1;
                self.tombstone(stored, old, stamp)
            }
            (None, None) => {
                self.irregular.dangling_rows += 1;
                Ok(())
            }
            (Some(_), Some(_)) if !old.exact => {
                self.irregular.ghosts += 1;
                Ok(())
            }
            (Some(key), Some(stamp)) => {
                self.revive(&stored.table, &mut clock, stamp)?;
                self.live(stored, old, key, clock)
            }
            (Some(key), None) => self.live(stored, old, key, clock),
        }
    }

    fn live(&mut self, stored: &mut TableRows<'a>, old: &Old, key: i64, clock: RowClock) -> Result<()> {
        let taken = stored.load(key)?.is_some();
        self.irregular.ghosts += u64::from(taken);
        if taken && !old.exact {
            return Ok(());
        }
        let number = if stored.table.key.follows_pk() { key } else { old.number };
        let row = Clocked { clock, number };
        stored.store(key, &row)?;
        self.rows += u64::from(!taken);
        for version in row.clock.versions() {
            self.touch.execute((version, stored.table.id.0, false, key))?;
        }
        Ok(())
    }

    /// A row that is there is alive. What says so, and its cells, are news to everybody: changes of this copy.
    fn revive(&mut self, table: &Table, clock: &mut RowClock, dead: Stamp) -> Result<()> {
        let version = self.version.next()?.get();
        let mut stamp = |col_version| {
            self.repair_seq += 1;
            Stamp { col_version, local: version, site: SELF, version, seq: self.repair_seq - 1 }
        };
        clock.set(ColumnId::SENTINEL, stamp(CausalLength::new(dead.col_version + 1)?.get()));
        for column in &table.columns {
            let col_version = clock.get(column.id).map_or(1, |cell| cell.col_version);
            clock.set(column.id, stamp(col_version));
        }
        self.irregular.revived += 1;
        Ok(())
    }

    fn tombstone(&mut self, stored: &mut TableRows<'a>, old: &Old, stamp: Stamp) -> Result<()> {
        let table = stored.table.clone();
        let Ok(pk) = table.unpack_pk(&old.pk) else {
            self.irregular.invalid_keys += 1;
            return Ok(());
        };
        // Two keys that differ here may be one by the collation: the longer history counts.
        if let Some(other) = stored.find_tombstone(&pk)? {
            self.irregular.ghosts += 1;
            if other.stamp.col_version >= stamp.col_version {
                return Ok(());
            }
            stored.exhume(other.number)?;
            self.tombstones -= 1;
        }
        let number = if stored.table.key.follows_pk() { stored.unseen_number(&pk)? } else { old.number };
        stored.bury(number, &pk, stamp)?;
        self.tombstones += 1;
        self.touch.execute((stamp.local, table.id.0, true, number))?;
        Ok(())
    }

    /// Writes the log, and the version that comes next.
    pub(super) fn finish(self, site: SiteId) -> Result<Imported> {
        let Self { conn, touch, tables, rows, tombstones, irregular, .. } = self;
        drop(touch);
        {
            let mut sorted = conn
                .prepare("SELECT DISTINCT version, tbl, tombstone, key FROM temp.crsql_import ORDER BY 1, 2, 3, 4")?;
            let mut sorted = sorted.query([])?;
            let mut touched: Vec<Touched> = Vec::new();
            let mut current = None;
            while let Some(row) = sorted.next()? {
                let version = Version::new(row.get(0)?)?;
                if let Some(done) = current.filter(|current| *current != version) {
                    log::write(conn, done, &touched)?;
                    touched.clear();
                }
                current = Some(version);
                touched.push(Touched { table: TableId(row.get(1)?), tombstone: row.get(2)?, key: row.get(3)? });
            }
            if let Some(last) = current {
                log::write(conn, last, &touched)?;
            }
        }
        conn.flush_prepared_statement_cache();
        conn.execute_batch("DROP TABLE temp.crsql_import")?;
        let version = if irregular.revived > 0 { self.version.next()? } else { self.version };
        catalog::set_version(conn, version)?;
        Ok(Imported { site, version, tables, rows, tombstones, irregular })
    }
}

/// The clock rows of a table, one at a time.
struct Cells<'stmt> {
    rows: Rows<'stmt>,
    /// The key of the current one.
    key: Option<i64>,
}

impl<'stmt> Cells<'stmt> {
    fn new(rows: Rows<'stmt>) -> Result<Self> {
        let mut cells = Self { rows, key: None };
        cells.advance()?;
        Ok(cells)
    }

    fn advance(&mut self) -> Result<()> {
        self.rows.advance()?;
        self.key = self.rows.get().map(|row| row.get(0)).transpose()?;
        Ok(())
    }

    fn row(&self) -> Result<&Row<'stmt>> {
        self.rows.get().ok_or(Error::Corrupt("a clock vanished during its import"))
    }
}

/// Whether cr-sqlite's keys of `name` are those of the table as it is now.
fn knows_keys(conn: &Connection, name: &str, shape: &Shape) -> Result<bool> {
    let mut list =
        conn.prepare_cached("SELECT name FROM pragma_table_info(?, 'main') WHERE name <> '__crsql_key' ORDER BY 1")?;
    let known = list.query_map([format!("{name}__crsql_pks")], |row| row.get(0))?;
    let known: Vec<String> = known.collect::<Result<_, _>>()?;
    let mut now: Vec<String> = shape.pks.iter().map(|pk| pk.name.clone()).collect();
    sort(&mut now);
    Ok(!now.is_empty() && known == now)
}

/// The statement that reads cr-sqlite's keys: number, the live row's key, whether it is spelled alike, the key's columns.
/// Their values have no affinity and no collation there; those of the live row's columns decide what is the same.
fn select_keys(table: &Table) -> String {
    let columns: Vec<String> = table.pks.iter().map(|pk| identifier(&pk.name)).collect();
    let same = join(columns.iter().map(|pk| format!("t.{pk} IS o.{pk}")), " AND ");
    let alike = columns.iter().map(|pk| format!("t.{pk} COLLATE BINARY IS o.{pk} AND typeof(t.{pk}) = typeof(o.{pk})"));
    format!(
        "SELECT o.__crsql_key, CASE WHEN t.{} IS NOT NULL THEN {} END, {}, {} FROM main.{} o LEFT JOIN main.{} t ON {same} ORDER BY o.__crsql_key",
        columns.first().map_or("NULL", String::as_str),
        table.sql.key,
        join(alike, " AND "),
        join(columns.iter().map(|pk| format!("o.{pk}")), ", "),
        source::pks(&table.name),
        identifier(&table.name),
    )
}
