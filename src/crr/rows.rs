//! The clocks of a table's rows and the tombstones of its deleted ones, read and written by statements that stay
//! prepared while a [`Rows`] lives. A connection keeps those of the tables that it wrote to last
//! ([`State::take_rows`](super::state::State::take_rows)).
//!
//! It also keeps the numbers of primary keys apart (see [`table`](super::table)): a new row whose key is the number of
//! another row or of a tombstone, as after a rowid was used again, gets a free one, which is stored beside its clock.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params_from_iter};

use super::clock::{ColumnId, RowClock, Stamp};
use super::flush::Pending;
use super::state::State;
use super::table::{Key, Table};
use super::value::{bound, owned};
use super::{Error, Result};

/// A row's clock, and its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clocked {
    pub(super) clock: RowClock,
    pub(super) number: i64,
}

/// A deleted row.
#[derive(Debug)]
pub(super) struct Tombstone {
    /// Its id in the table of tombstones.
    pub(super) number: i64,
    /// The delete; its `col_version` is the causal length.
    pub(super) stamp: Stamp,
}

/// A statement that is prepared when it is first needed.
#[derive(Default)]
pub(super) struct Lazy<'c>(Option<CachedStatement<'c>>);

impl<'c> Lazy<'c> {
    pub(super) fn get(&mut self, conn: &'c Connection, sql: &str) -> Result<&mut CachedStatement<'c>> {
        Ok(match &mut self.0 {
            Some(statement) => statement,
            none => none.insert(conn.prepare_cached(sql)?),
        })
    }
}

/// Statements that write some of the columns of a row, by the places of these columns. The last few are kept.
#[derive(Default)]
pub(super) struct ByColumns<'c>(Vec<(Vec<usize>, CachedStatement<'c>)>);

/// How many: changes come cell by cell, and the columns of a table take turns.
const KEPT_BY_COLUMNS: usize = 16;

impl<'c> ByColumns<'c> {
    pub(super) fn get(
        &mut self,
        conn: &'c Connection,
        columns: impl Iterator<Item = usize> + Clone,
        sql: impl FnOnce() -> String,
    ) -> Result<&mut CachedStatement<'c>> {
        let at = match self.0.iter().position(|(its, _)| its.iter().copied().eq(columns.clone())) {
            Some(at) => at,
            None => {
                if self.0.len() == KEPT_BY_COLUMNS {
                    self.0.remove(0);
                }
                self.0.push((columns.collect(), conn.prepare_cached(&sql())?));
                self.0.len() - 1
            }
        };
        self.0.get_mut(at).map(|(_, statement)| statement).ok_or(Error::Corrupt("a statement is gone"))
    }
}

/// The clocks and tombstones of one table.
pub(super) struct Rows<'c> {
    pub(super) conn: &'c Connection,
    pub(super) table: Arc<Table>,
    load: Lazy<'c>,
    store: Lazy<'c>,
    write_pending: Lazy<'c>,
    add_writes: Lazy<'c>,
    drop: Lazy<'c>,
    find: Lazy<'c>,
    insert_row: Lazy<'c>,
    pub(super) insert_cells: ByColumns<'c>,
    pub(super) update_cells: ByColumns<'c>,
    find_tombstone: Lazy<'c>,
    store_tombstone: Lazy<'c>,
    drop_tombstone: Lazy<'c>,
    /// Whether the table has any tombstones, so that inserts into one without need not look.
    has_tombstones: Option<bool>,
    /// Whether any row's number was stored beside its clock.
    has_numbers: Option<bool>,
    /// Numbers that are not the key of their row, which may not be stored yet.
    given: BTreeSet<i64>,
    pending: Pending,
}

impl<'c> Rows<'c> {
    pub(super) fn new(conn: &'c Connection, table: Arc<Table>) -> Self {
        Self {
            conn,
            table,
            load: Lazy::default(),
            store: Lazy::default(),
            write_pending: Lazy::default(),
            add_writes: Lazy::default(),
            drop: Lazy::default(),
            find: Lazy::default(),
            insert_row: Lazy::default(),
            insert_cells: ByColumns::default(),
            update_cells: ByColumns::default(),
            find_tombstone: Lazy::default(),
            store_tombstone: Lazy::default(),
            drop_tombstone: Lazy::default(),
            has_tombstones: None,
            has_numbers: None,
            given: BTreeSet::new(),
            pending: Pending::default(),
        }
    }

    /// Forgets what may be otherwise in the next transaction.
    pub(super) fn forget(&mut self) {
        (self.has_tombstones, self.has_numbers) = (None, None);
        self.given.clear();
    }

    /// The clock of the live row with `key`.
    pub(super) fn load(&mut self, key: i64) -> Result<Option<Clocked>> {
        let load = self.load.get(self.conn, &self.table.sql.load_clock)?;
        let mut found = load.query([key])?;
        let Some(row) = found.next()? else { return Ok(None) };
        clocked(row, 0, key)
    }

    /// The key of the row with this primary key, and its clock, if it has one.
    pub(super) fn find(&mut self, pk: &[ValueRef<'_>]) -> Result<Option<(i64, Option<Clocked>)>> {
        let find = self.find.get(self.conn, &self.table.sql.find_row)?;
        let found: Option<Option<i64>> = find.query_row(params_from_iter(bound(pk)), |row| row.get(0)).optional()?;
        match found {
            None => Ok(None),
            Some(Some(key)) => Ok(Some((key, self.load(key)?))),
            // A row that came in behind the engine's back has no key yet.
            Some(None) => Ok(Some((self.mapped(pk)?, None))),
        }
    }

    pub(super) fn store(&mut self, key: i64, row: &Clocked) -> Result<()> {
        let mut record = Vec::with_capacity(32);
        row.clock.encode(&mut record);
        let number = (row.number != key).then_some(row.number);
        self.store.get(self.conn, &self.table.sql.store_clock)?.execute((key, record, number))?;
        Ok(())
    }

    /// Leaves a row to [`write_pending`](Self::write_pending).
    pub(super) fn pend(&mut self, key: i64, row: &Clocked) {
        self.pending.push(key, &row.clock, (row.number != key).then_some(row.number));
    }

    /// Stores the rows that were left to it, by one statement.
    pub(super) fn write_pending(&mut self, state: &State) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.has_numbers = None;
        state.pending.replace(std::mem::take(&mut self.pending));
        let written = self.write_pending.get(self.conn, &self.table.sql.write_pending)?.execute([]);
        state.pending.take();
        written?;
        Ok(())
    }

    /// The packed primary key of the row with `key`, if it is there.
    pub(super) fn pk(&self, key: i64) -> Result<Option<Vec<u8>>> {
        let mut read = self.conn.prepare_cached(&self.table.sql.pk)?;
        let mut found = read.query([key])?;
        found.next()?.map(|row| self.table.pack_pk(row, 0)).transpose()
    }

    /// Adds the writes that a flush has in hand to the clocks of the rows with keys from `first` to `last`.
    pub(super) fn add_writes(&mut self, first: i64, last: i64) -> Result<()> {
        self.add_writes.get(self.conn, &self.table.sql.add_writes)?.execute((first, last))?;
        Ok(())
    }

    /// Writes another clock for a row that has one.
    pub(super) fn replace_clock(&mut self, key: i64, clock: &RowClock) -> Result<()> {
        let mut record = Vec::with_capacity(32);
        clock.encode(&mut record);
        self.conn.prepare_cached(&self.table.sql.replace_clock)?.execute((key, record))?;
        Ok(())
    }

    pub(super) fn drop(&mut self, key: i64) -> Result<()> {
        self.drop.get(self.conn, &self.table.sql.drop_clock)?.execute([key])?;
        Ok(())
    }

    /// The values of the row with `key`, NULL where there is none.
    pub(super) fn values(&self, key: i64) -> Result<Vec<Value>> {
        let mut read = self.conn.prepare_cached(&self.table.sql.row)?;
        let mut found = read.query([key])?;
        let row = found.next()?;
        let column = |i| row.map_or(Ok(Value::Null), |row| Ok(owned(row.get_ref(self.table.pks.len() + i)?)));
        (0..self.table.columns.len()).map(column).collect()
    }

    /// Inserts a row with all its columns, unless it is there, and returns how many it inserted.
    pub(super) fn insert_row<'v>(&mut self, values: impl Iterator<Item = ToSqlOutput<'v>>) -> Result<usize> {
        Ok(self.insert_row.get(self.conn, &self.table.sql.insert_row)?.execute(params_from_iter(values))?)
    }

    /// Deletes a row and its clock.
    pub(super) fn delete_row(&mut self, key: i64) -> Result<()> {
        written(self.conn.prepare_cached(&self.table.sql.delete_row)?.execute([key])?)?;
        self.drop(key)
    }

    /// The tombstone of the row with this primary key.
    pub(super) fn find_tombstone(&mut self, pk: &[ValueRef<'_>]) -> Result<Option<Tombstone>> {
        if !self.has_tombstones()? {
            return Ok(None);
        }
        let find = self.find_tombstone.get(self.conn, &self.table.sql.find_tombstone)?;
        let found: Option<(i64, Vec<u8>)> =
            find.query_row(params_from_iter(bound(pk)), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        found.map(|(number, record)| Ok(Tombstone { number, stamp: tombstone_stamp(&record)? })).transpose()
    }

    /// The tombstone of the row with this primary key, which is packed.
    pub(super) fn find_packed_tombstone(&mut self, pk: &[u8]) -> Result<Option<Tombstone>> {
        if !self.has_tombstones()? {
            return Ok(None);
        }
        self.find_tombstone(&self.table.clone().unpack_pk(pk)?)
    }

    /// Writes the tombstone of the row that had `number`, over the one that is there.
    pub(super) fn bury(&mut self, number: i64, pk: &[ValueRef<'_>], stamp: Stamp) -> Result<()> {
        let mut clock = RowClock::default();
        clock.set(ColumnId::SENTINEL, stamp);
        let mut record = Vec::with_capacity(16);
        clock.encode(&mut record);
        let head = [ValueRef::Integer(number), ValueRef::Blob(&record)].map(ToSqlOutput::Borrowed);
        let values = head.into_iter().chain(bound(pk));
        self.store_tombstone.get(self.conn, &self.table.sql.store_tombstone)?.execute(params_from_iter(values))?;
        self.has_tombstones = Some(true);
        Ok(())
    }

    /// Takes away the tombstone with `number`, which goes to the row that comes back.
    pub(super) fn exhume(&mut self, number: i64) -> Result<()> {
        self.keep_number(number);
        self.drop_tombstone(number)
    }

    /// Takes away the tombstone with `number`.
    pub(super) fn drop_tombstone(&mut self, number: i64) -> Result<()> {
        self.drop_tombstone.get(self.conn, &self.table.sql.drop_tombstone)?.execute([number])?;
        Ok(())
    }

    /// The number of a primary key that was never seen, whose row has `key`. Rows that are not stored yet may have keys
    /// up to `last`.
    pub(super) fn new_number(&mut self, key: i64, last: i64) -> Result<i64> {
        if self.table.key.follows_pk() || !self.is_taken(key)? {
            return Ok(key);
        }
        let given = self.given.last().copied().unwrap_or_default();
        let free = self.free_number()?.max(given.max(last).max(key).saturating_add(1));
        self.given.insert(free);
        Ok(free)
    }

    /// Keeps `number` from being given again before its row is stored.
    pub(super) fn keep_number(&mut self, number: i64) {
        self.given.insert(number);
    }

    fn is_taken(&mut self, number: i64) -> Result<bool> {
        if self.given.contains(&number) {
            return Ok(true);
        }
        let any = self.has_tombstones()? || self.has_numbers()?;
        let taken = || self.conn.prepare_cached(&self.table.sql.number_taken)?.query_row([number], |row| row.get(0));
        Ok(any && taken()?)
    }

    fn free_number(&self) -> Result<i64> {
        Ok(self.conn.prepare_cached(&self.table.sql.free_number)?.query_row([], |row| row.get(0))?)
    }

    /// The number of a primary key that has no row and no tombstone here.
    pub(super) fn unseen_number(&mut self, pk: &[ValueRef<'_>]) -> Result<i64> {
        match self.table.key {
            Key::Rowid(_) => self.free_number(),
            Key::Integer(_) => match pk {
                [ValueRef::Integer(key)] => Ok(*key),
                _ => Err(Error::InvalidKey("an INTEGER PRIMARY KEY takes an integer")),
            },
            Key::Mapped => self.mapped(pk),
        }
    }

    /// The key of a primary key in the table of keys, which it gets now if it has none.
    pub(super) fn mapped(&self, pk: &[ValueRef<'_>]) -> Result<i64> {
        let mut map = self.conn.prepare_cached(&self.table.sql.map_key)?;
        if let Some(key) = map.query_row(params_from_iter(bound(pk)), |row| row.get(0)).optional()? {
            return Ok(key);
        }
        self.conn.prepare_cached(&self.table.sql.add_key)?.execute(params_from_iter(bound(pk)))?;
        Ok(self.conn.last_insert_rowid())
    }

    /// Whether any row of the table is known to be deleted.
    pub(super) fn has_tombstones(&mut self) -> Result<bool> {
        if let Some(any) = self.has_tombstones {
            return Ok(any);
        }
        let any = self.conn.prepare_cached(&self.table.sql.any_tombstone)?.query_row([], |row| row.get(0))?;
        self.has_tombstones = Some(any);
        Ok(any)
    }

    fn has_numbers(&mut self) -> Result<bool> {
        if let Some(any) = self.has_numbers {
            return Ok(any);
        }
        let any = self.conn.prepare_cached(&self.table.sql.any_number)?.query_row([], |row| row.get(0))?;
        self.has_numbers = Some(any);
        Ok(any)
    }
}

/// Refuses a write that the table [ignores](ignored).
pub(super) fn written(rows: usize) -> Result<()> {
    if rows == 0 { Err(ignored()) } else { Ok(()) }
}

/// A trigger or a constraint of the table passed over a write (IGNORE): its clock would speak of a row that is not so.
pub(super) fn ignored() -> Error {
    Error::InvalidChange("its table ignores it")
}

/// A row's clock and number, which stand in the columns from `first`, if it has a clock.
fn clocked(row: &Row<'_>, first: usize, key: i64) -> Result<Option<Clocked>> {
    let Some(record) = row.get_ref(first)?.as_blob_or_null().map_err(rusqlite::Error::from)? else { return Ok(None) };
    let number: Option<i64> = row.get(first + 1)?;
    Ok(Some(Clocked { clock: RowClock::decode(record)?, number: number.unwrap_or(key) }))
}

/// Reads the record of a tombstone.
pub(super) fn tombstone_stamp(record: &[u8]) -> Result<Stamp> {
    RowClock::decode(record)?.sentinel().copied().ok_or(Error::Corrupt("a tombstone has no causal length"))
}
