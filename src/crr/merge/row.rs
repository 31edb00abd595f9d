//! The row that a merge works on: read once, written once.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, ToSql, params_from_iter};

use super::super::clock::{ColumnId, RowClock, Stamp};
use super::super::log::Touched;
use super::super::quote::{identifier, list};
use super::super::rows::{self, Tombstone};
use super::super::table::Table;
use super::super::{Error, Result, Version};

/// A row as it was, and as it will be.
pub(super) struct Row {
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
    pub(super) versions: Vec<Version>,
}

/// What becomes of the row.
enum Now {
    Unknown,
    Dead(Stamp),
    Alive(RowClock),
}

impl Row {
    pub(super) fn load(conn: &Connection, table: &Table, pk: Vec<Value>) -> Result<Self> {
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

    pub(super) fn cl(&self) -> i64 {
        match &self.now {
            Now::Unknown => 0,
            Now::Dead(stamp) => stamp.col_version,
            Now::Alive(clock) => clock.cl(),
        }
    }

    pub(super) fn clock(&self) -> Option<&RowClock> {
        match &self.now {
            Now::Alive(clock) => Some(clock),
            _ => None,
        }
    }

    pub(super) fn sentinel(&self) -> Option<Stamp> {
        match &self.now {
            Now::Unknown => None,
            Now::Dead(stamp) => Some(*stamp),
            Now::Alive(clock) => clock.sentinel().copied(),
        }
    }

    pub(super) fn set_sentinel(&mut self, stamp: Stamp) {
        match &mut self.now {
            Now::Alive(clock) => clock.set(ColumnId::SENTINEL, stamp),
            dead => *dead = Now::Dead(stamp),
        }
    }

    pub(super) fn bury(&mut self, stamp: Stamp) {
        self.now = Now::Dead(stamp);
        self.values.clear();
        self.replaced = self.key.is_some();
    }

    pub(super) fn resurrect(&mut self, stamp: Stamp) {
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

    pub(super) fn set(&mut self, index: usize, column: ColumnId, value: Value, stamp: Stamp) {
        self.values.insert(index, value);
        if !matches!(self.now, Now::Alive(_)) {
            self.now = Now::Alive(RowClock::default());
        }
        if let Now::Alive(clock) = &mut self.now {
            clock.set(column, stamp);
        }
    }

    /// The value that a column has now.
    pub(super) fn value(&mut self, conn: &Connection, table: &Table, index: usize) -> Result<&Value> {
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
    pub(super) fn store(&self, conn: &Connection, table: &Table) -> Result<Touched> {
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
