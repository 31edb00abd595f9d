//! The row that a merge works on: read once, written once.

use rusqlite::params_from_iter;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};

use super::super::clock::{ColumnId, RowClock, Stamp};
use super::super::log::Touched;
use super::super::quote::{identifier, list};
use super::super::rows::{Clocked, Rows, Tombstone, ignored, written};
use super::super::table::{Key, Table};
use super::super::value::bound;
use super::super::{Error, Result, Version};

/// A row as it was, and as it will be.
pub(super) struct Row<'v> {
    pk: Vec<ValueRef<'v>>,
    /// The key of the live row in the database.
    key: Option<i64>,
    /// Its number, or that of its tombstone.
    number: Option<i64>,
    is_buried: bool,
    now: Now,
    /// The values of the row in the database, once they were needed.
    stored: Option<Vec<Value>>,
    /// New values, by position in the table's columns, in ascending order.
    values: Vec<(usize, &'v Value)>,
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

impl<'v> Row<'v> {
    pub(super) fn load(rows: &mut Rows<'_>, pk: Vec<ValueRef<'v>>) -> Result<Self> {
        let (key, clocked) = match rows.find(&pk)? {
            Some((key, clocked)) => (Some(key), clocked),
            None => (None, None),
        };
        let tombstone = if clocked.is_none() { rows.find_tombstone(&pk)? } else { None };
        let is_buried = tombstone.is_some();
        let (number, now) = match (clocked, tombstone) {
            (Some(Clocked { clock, number }), _) => (Some(number), Now::Alive(clock)),
            (None, Some(Tombstone { number, stamp })) => (Some(number), Now::Dead(stamp)),
            (None, None) => (None, Now::Unknown),
        };
        let (values, versions) = (Vec::new(), Vec::new());
        Ok(Self { pk, key, number, is_buried, now, stored: None, values, replaced: false, versions })
    }

    /// A row of which nothing is known here.
    pub(super) fn unknown(pk: Vec<ValueRef<'v>>) -> Self {
        let (values, versions) = (Vec::new(), Vec::new());
        Self {
            pk,
            key: None,
            number: None,
            is_buried: false,
            now: Now::Unknown,
            stored: None,
            values,
            replaced: false,
            versions,
        }
    }

    /// Whether anything is known.
    pub(super) fn is_known(&self) -> bool {
        !matches!(self.now, Now::Unknown)
    }

    /// A live row that was just merged.
    pub(super) fn known(pk: Vec<ValueRef<'v>>, key: i64, Clocked { clock, number }: Clocked) -> Self {
        let (values, versions) = (Vec::new(), Vec::new());
        let (key, number, now) = (Some(key), Some(number), Now::Alive(clock));
        Self { pk, key, number, is_buried: false, now, stored: None, values, replaced: false, versions }
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

    pub(super) fn set(&mut self, index: usize, column: ColumnId, value: &'v Value, stamp: Stamp) {
        match self.values.binary_search_by_key(&index, |(at, _)| *at) {
            Ok(at) => {
                if let Some(set) = self.values.get_mut(at) {
                    set.1 = value;
                }
            }
            Err(at) => self.values.insert(at, (index, value)),
        }
        if !matches!(self.now, Now::Alive(_)) {
            self.now = Now::Alive(RowClock::default());
        }
        if let Now::Alive(clock) = &mut self.now {
            clock.set(column, stamp);
        }
    }

    /// The value that a column has now.
    pub(super) fn value(&mut self, rows: &Rows<'_>, index: usize) -> Result<&Value> {
        if let Ok(at) = self.values.binary_search_by_key(&index, |(at, _)| *at) {
            return self.values.get(at).map(|(_, value)| *value).ok_or(Error::Corrupt("a value is gone"));
        }
        if self.stored.is_none() {
            self.stored = Some(match self.key {
                Some(key) => rows.values(key)?,
                None => vec![Value::Null; rows.table.columns.len()],
            });
        }
        let stored = self.stored.as_ref().and_then(|stored| stored.get(index));
        stored.ok_or(Error::Corrupt("a row has fewer columns than its table"))
    }

    /// Writes the row, then its clock. The row comes first: it is what can be refused, by a constraint.
    pub(super) fn store(&mut self, rows: &mut Rows<'_>) -> Result<Touched> {
        let table = rows.table.id;
        if let Now::Dead(stamp) = self.now {
            let number = match self.number {
                Some(number) => number,
                None => rows.unseen_number(&self.pk)?,
            };
            if let Some(key) = self.key {
                rows.delete_row(key)?;
            }
            rows.bury(number, &self.pk, stamp)?;
            return Ok(Touched { table, tombstone: true, key: number });
        }
        let (key, clocked) = self.write(rows)?;
        rows.store(key, &clocked)?;
        Ok(Touched { table, tombstone: false, key })
    }

    /// Writes the row, which is alive, and returns its key and the clock that belongs to it.
    pub(super) fn write(&mut self, rows: &mut Rows<'_>) -> Result<(i64, Clocked)> {
        let Now::Alive(clock) = std::mem::replace(&mut self.now, Now::Unknown) else {
            return Err(Error::Corrupt("a merge left no row to write"));
        };
        if let (true, Some(key)) = (self.replaced, self.key) {
            rows.delete_row(key)?;
        }
        let key = match self.key.filter(|_| !self.replaced) {
            Some(key) => self.update(rows, key)?,
            None => self.insert(rows)?.ok_or_else(ignored)?,
        };
        if let (true, Some(number)) = (self.is_buried, self.number) {
            rows.exhume(number)?;
        }
        let number = match self.number {
            Some(number) => number,
            None => rows.new_number(key, 0)?,
        };
        Ok((key, Clocked { clock, number }))
    }

    /// Inserts the row, which is alive and of which nothing is known here, and its clock. `None` if it is there after all.
    pub(super) fn insert_new(&mut self, rows: &mut Rows<'_>) -> Result<Option<Touched>> {
        let Now::Alive(clock) = std::mem::replace(&mut self.now, Now::Unknown) else {
            return Err(Error::Corrupt("a merge left no row to insert"));
        };
        let Some(key) = self.insert(rows)? else { return Ok(None) };
        let number = rows.new_number(key, 0)?;
        rows.store(key, &Clocked { clock, number })?;
        Ok(Some(Touched { table: rows.table.id, tombstone: false, key }))
    }

    fn update(&self, rows: &mut Rows<'_>, key: i64) -> Result<i64> {
        if !self.values.is_empty() {
            let table = &rows.table;
            let sql = || {
                let set = list(self.columns(table).map(|name| format!("{name} = ?")));
                format!("{} SET {set} WHERE {}", table.sql.update, table.sql.has_key)
            };
            let values = self.values.iter().map(|(_, value)| ToSqlOutput::Borrowed((*value).into()));
            let update = rows.update_cells.get(rows.conn, self.positions(), sql)?;
            written(update.execute(params_from_iter(values.chain([ToSqlOutput::Borrowed(ValueRef::Integer(key))])))?)?;
        }
        Ok(key)
    }

    /// Inserts the row, and returns its key. `None` if the row is there, or the table ignores it.
    fn insert(&self, rows: &mut Rows<'_>) -> Result<Option<i64>> {
        let values = bound(&self.pk).chain(self.values.iter().map(|(_, value)| ToSqlOutput::Borrowed((*value).into())));
        let inserted = if self.values.len() == rows.table.columns.len() {
            rows.insert_row(values)?
        } else {
            let table = &rows.table;
            let sql = || {
                let columns = list(table.pks.iter().map(|pk| identifier(&pk.name)).chain(self.columns(table)));
                let marks = list(values.clone().map(|_| "?"));
                format!("{} ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING", table.sql.insert_into)
            };
            let insert = rows.insert_cells.get(rows.conn, self.positions(), sql)?;
            insert.execute(params_from_iter(values.clone()))?
        };
        match rows.table.key {
            _ if inserted == 0 => Ok(None),
            Key::Mapped => rows.mapped(&self.pk).map(Some),
            Key::Integer(_) | Key::Rowid(_) => Ok(Some(rows.conn.last_insert_rowid())),
        }
    }

    /// The column after the last that is written: changes come in the order of columns.
    pub(super) fn next_column(&self) -> usize {
        self.values.last().map_or(0, |(index, _)| index + 1)
    }

    /// The places of the columns that are written.
    fn positions(&self) -> impl Iterator<Item = usize> + Clone {
        self.values.iter().map(|(index, _)| *index)
    }

    fn columns<'t>(&self, table: &'t Table) -> impl Iterator<Item = String> + use<'t, '_, 'v> {
        self.values.iter().filter_map(|(index, _)| table.columns.get(*index)).map(|column| identifier(&column.name))
    }
}
