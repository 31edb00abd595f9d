//! The writes of one transaction to one table.
//!
//! Notes mostly come in the order of the writes. But triggers of the application that were created later fire before the
//! engine's own: what they write is noted before the write that fired them. So where there are any, what the notes come to is
//! [held against the table](Writes::settle).

mod hints;
mod moves;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::super::clock::{ColumnId, RowClock, SELF, Stamp};
use super::super::journal::{COLUMNS_PER_WORD, Kind};
use super::super::log::Touched;
use super::super::rows::{Clocked, Rows};
use super::super::state::State;
use super::super::table::Table;
use super::super::{CausalLength, Result, Version, pack};
use super::cells::{CellWrite, CellWrites, add_writes, after};
use hints::Hints;

/// Replays events against the rows that they name. Each row is read once, and written once by [`finish`](Self::finish).
pub(super) struct Writes<'c> {
    state: &'c State,
    version: i64,
    table: Arc<Table>,
    stored: Rows<'c>,
    /// What was read or written so far, by key, in the order in which it will be written.
    rows: BTreeMap<i64, Row>,
    hints: Hints,
    displaced: Vec<Displaced>,
    tombstones: Vec<i64>,
}

/// A row whose key another one took before its delete was noted.
struct Displaced {
    key: i64,
    row: Clocked,
    /// The primary key of the other one.
    by: Option<Vec<u8>>,
}

enum Row {
    /// Some cells of a row whose clock was not read yet were written.
    Updated(Vec<CellWrite>),
    /// Without a clock: the row is gone, or there is none yet.
    Known {
        clocked: Option<Clocked>,
        changed: bool,
        /// Whether a local write touched it. What a merge touched, it has told.
        touched: bool,
    },
}

impl<'c> Writes<'c> {
    pub(super) fn new(state: &'c State, version: Version, table: Arc<Table>) -> Self {
        Self {
            state,
            version: version.get(),
            stored: state.take_rows(&table),
            table,
            rows: BTreeMap::new(),
            hints: Hints::default(),
            displaced: Vec::new(),
            tombstones: Vec::new(),
        }
    }

    pub(super) fn event(&mut self, event: Kind) -> Result<()> {
        match event {
            Kind::Insert { key, pk, .. } => self.insert(key, pk),
            Kind::Update { key, word, mask } => self.update(key, word, mask),
            Kind::Move { key, old_key, pk: Some(pk), old_pk: Some(old_pk) } => {
                self.change_pk(key, old_key, pk, &old_pk)
            }
            Kind::Move { key, old_key, .. } if self.table.key.follows_pk() => {
                self.change_pk(key, old_key, integer_pk(key)?, &integer_pk(old_key)?)
            }
            Kind::Move { key, old_key, .. } => self.change_rowid(key, old_key),
            Kind::Delete { key, pk } => {
                self.hints.forget(key);
                let displaced = self.displaced.iter().position(|it| it.key == key && it.by.as_ref() != Some(&pk));
                let row = match displaced {
                    Some(at) => Some(self.displaced.swap_remove(at).row),
                    None => self.take(key)?,
                };
                self.bury(key, row.as_ref(), &pk)
            }
            Kind::Replacing { key, pk } => {
                self.hints.add(pk, key);
                Ok(())
            }
            Kind::Untracked { key, pk } => self.insert_untracked(key, &pk),
            Kind::Merged { key, row, .. } => {
                let touched = match self.rows.get(&key) {
                    Some(Row::Known { touched, .. }) => *touched,
                    Some(Row::Updated(_)) => true,
                    None => false,
                };
                self.rows.insert(key, Row::Known { clocked: Some(row), changed: true, touched });
                Ok(())
            }
            Kind::Burnt { .. } => Ok(()),
        }
    }

    fn insert(&mut self, key: i64, pk: Option<Vec<u8>>) -> Result<()> {
        let early = self.take_early(key)?;
        let replaced = self.take_replaced(key, pk.as_deref())?;
        if replaced.is_none()
            && self.table.has_triggers
            && let Some(other) = self.take(key)?
        {
            self.stored.keep_number(other.number);
            self.displaced.push(Displaced { key, row: other, by: pk.clone() });
        }
        let mut row = match replaced {
            Some(mut row) => {
                let seq = self.state.take_seqs(1);
                if let Some(sentinel) = row.clock.sentinel() {
                    row.clock.set(ColumnId::SENTINEL, self.stamp(incarnation(sentinel.col_version, 2)?, seq));
                }
                row
            }
            None => {
                let row = self.birth(key, pk)?;
                if !early.is_empty() && row.clock.sentinel().is_none() {
                    // As cr-sqlite counts an insert of a row that it knows.
                    self.state.take_seqs(1);
                }
                row
            }
        };
        add_writes(&mut row.clock, &early, self.version);
        let first = self.state.take_seqs(self.table.columns.len() as i64);
        for (seq, column) in (first..).zip(&self.table.columns) {
            let previous = row.clock.get(column.id).map_or(0, |stamp| stamp.col_version);
            row.clock.set(column.id, self.stamp(after(previous), seq));
        }
        self.put(key, Some(row));
        Ok(())
    }

    /// The updates of a row that were noted before its insert.
    fn take_early(&mut self, key: i64) -> Result<Vec<CellWrite>> {
        if !matches!(self.rows.get(&key), Some(Row::Updated(_))) || self.stored.load(key)?.is_some() {
            return Ok(Vec::new());
        }
        match self.rows.remove(&key) {
            Some(Row::Updated(writes)) => Ok(writes),
            _ => Ok(Vec::new()),
        }
    }

    /// A row that was not there: a new one, or one that comes back.
    fn birth(&mut self, key: i64, pk: Option<Vec<u8>>) -> Result<Clocked> {
        let pk = pk.map_or_else(|| integer_pk(key), Ok)?;
        let mut clock = RowClock::default();
        if let Some(tombstone) = self.stored.find_packed_tombstone(&pk)? {
            self.stored.exhume(tombstone.number)?;
            let cl = incarnation(tombstone.stamp.col_version, 1)?;
            clock.set(ColumnId::SENTINEL, self.stamp(cl, self.state.take_seqs(1)));
            return Ok(Clocked { clock, number: tombstone.number });
        }
        if self.table.columns.is_empty() {
            clock.set(ColumnId::SENTINEL, self.stamp(1, self.state.take_seqs(1)));
        }
        Ok(Clocked { clock, number: self.new_number(key)? })
    }

    /// Most rows that are updated are not read here: [`finish`](Self::finish) writes their clocks where they stand.
    fn update(&mut self, key: i64, word: usize, mask: u64) -> Result<()> {
        let columns = self.table.columns.get(word.saturating_mul(COLUMNS_PER_WORD)..).unwrap_or_default();
        let columns = columns.iter().enumerate().take(COLUMNS_PER_WORD).filter(|(bit, _)| mask >> bit & 1 == 1);
        let writes = columns.map(|(_, column)| CellWrite { column: column.id, seq: self.state.take_seqs(1) });
        match self.rows.entry(key) {
            Entry::Vacant(place) => {
                place.insert(Row::Updated(writes.collect()));
            }
            Entry::Occupied(mut row) => match row.get_mut() {
                Row::Updated(before) => before.extend(writes),
                Row::Known { .. } => {
                    let writes: Vec<_> = writes.collect();
                    let mut row = self.take_or_new(key)?;
                    add_writes(&mut row.clock, &writes, self.version);
                    self.put(key, Some(row));
                }
            },
        }
        Ok(())
    }

    /// A row that was not tracked took the place of another, whose clock stays with the primary key.
    fn insert_untracked(&mut self, key: i64, pk: &[u8]) -> Result<()> {
        if self.table.key.follows_pk() {
            return Ok(());
        }
        match self.hints.take(pk) {
            Some(victim) if victim == key => Ok(()),
            Some(victim) => self.change_rowid(key, victim),
            // What was known of the row that had the key before is not about this one.
            None => self.take(key).map(drop),
        }
    }

    /// The row that a write with this primary key replaced, which is gone from where it stood.
    fn take_replaced(&mut self, key: i64, pk: Option<&[u8]>) -> Result<Option<Clocked>> {
        if self.table.key.follows_pk() {
            return self.take(key);
        }
        match pk.and_then(|pk| self.hints.take(pk)) {
            Some(victim) => {
                let row = self.take(victim)?;
                if let Some(row) = &row {
                    self.stored.keep_number(row.number);
                }
                Ok(row)
            }
            None => Ok(None),
        }
    }

    /// Leaves a tombstone for the row that had `key`.
    fn bury(&mut self, key: i64, row: Option<&Clocked>, pk: &[u8]) -> Result<()> {
        let cl = row.and_then(|row| row.clock.sentinel()).map_or(1, |stamp| stamp.col_version);
        let stamp = self.stamp(incarnation(cl, 1)?, self.state.take_seqs(1));
        let number = row.map_or_else(|| self.new_number(key), |row| Ok(row.number))?;
        self.stored.bury(number, &self.table.unpack_pk(pk)?, stamp)?;
        self.tombstones.push(number);
        Ok(())
    }

    fn stamp(&self, col_version: i64, seq: i64) -> Stamp {
        Stamp { col_version, local: self.version, site: SELF, version: self.version, seq }
    }

    fn new_number(&mut self, key: i64) -> Result<i64> {
        let last = self.rows.last_key_value().map_or(0, |(key, _)| *key);
        self.stored.new_number(key, last)
    }

    /// Takes a row, to change it and [`put`](Self::put) it back, or not.
    fn take(&mut self, key: i64) -> Result<Option<Clocked>> {
        if let Some(Row::Known { clocked, changed, touched }) = self.rows.get_mut(&key) {
            (*changed, *touched) = (true, true);
            return Ok(clocked.take());
        }
        let mut clocked = self.stored.load(key)?;
        if let Some(Row::Updated(writes)) = self.rows.remove(&key) {
            let number = clocked.as_ref().map_or_else(|| self.new_number(key), |row| Ok(row.number))?;
            let row = clocked.get_or_insert_with(|| Clocked { clock: RowClock::default(), number });
            add_writes(&mut row.clock, &writes, self.version);
        }
        self.rows.insert(key, Row::Known { clocked: None, changed: clocked.is_some(), touched: true });
        Ok(clocked)
    }

    /// Takes a row that is there, with or without a clock.
    fn take_or_new(&mut self, key: i64) -> Result<Clocked> {
        match self.take(key)? {
            Some(row) => Ok(row),
            None => Ok(Clocked { clock: RowClock::default(), number: self.new_number(key)? }),
        }
    }

    fn put(&mut self, key: i64, clocked: Option<Clocked>) {
        self.rows.insert(key, Row::Known { clocked, changed: true, touched: true });
    }

    /// Makes rows agree with the table where triggers of the application may have been noted in another order than they
    /// wrote: a row that is there is alive, one that is not has no clock.
    fn settle(&mut self) -> Result<()> {
        for key in self.rows.keys().copied().collect::<Vec<_>>() {
            let Some(pk) = self.stored.pk(key)? else {
                if let Some(Row::Known { clocked, .. }) = self.rows.get_mut(&key) {
                    *clocked = None;
                }
                continue;
            };
            let Some(tombstone) = self.stored.find_packed_tombstone(&pk)? else { continue };
            self.stored.exhume(tombstone.number)?;
            let mut row = self.take_or_new(key)?;
            let cl = incarnation(tombstone.stamp.col_version, 1)?;
            row.clock.set(ColumnId::SENTINEL, self.stamp(cl, self.state.take_seqs(1)));
            for column in &self.table.clone().columns {
                if row.clock.get(column.id).is_none() {
                    row.clock.set(column.id, self.stamp(1, self.state.take_seqs(1)));
                }
            }
            row.number = tombstone.number;
            self.put(key, Some(row));
        }
        Ok(())
    }

    /// Writes the clocks, and adds what was touched to `touched`.
    pub(super) fn finish(mut self, touched: &mut Vec<Touched>) -> Result<()> {
        if self.table.has_triggers {
            self.settle()?;
        }
        let table = self.table.id;
        touched.extend(self.tombstones.iter().map(|&key| Touched { table, tombstone: true, key }));
        self.finish_updated(touched)?;
        for (key, row) in std::mem::take(&mut self.rows) {
            let Row::Known { clocked, changed: true, touched: is_touched } = row else { continue };
            match clocked {
                Some(clocked) => {
                    self.stored.pend(key, &clocked);
                    if is_touched {
                        touched.push(Touched { table, tombstone: false, key });
                    }
                }
                None => self.stored.drop(key)?,
            }
        }
        self.stored.write_pending(self.state)?;
        self.hints.keep(&mut self.state.journal.borrow_mut(), table);
        self.state.keep_rows(self.stored);
        Ok(())
    }

    /// Writes the clocks of the rows that were only updated, a statement for each run of neighbours.
    fn finish_updated(&mut self, touched: &mut Vec<Touched>) -> Result<()> {
        let mut updated = BTreeMap::new();
        self.rows.retain(|&key, row| match row {
            Row::Updated(writes) => updated.insert(key, std::mem::take(writes)).is_some(),
            Row::Known { .. } => true,
        });
        let keys: Vec<i64> = updated.keys().copied().collect();
        touched.extend(keys.iter().map(|&key| Touched { table: self.table.id, tombstone: false, key }));
        self.state.cell_writes.replace(CellWrites { version: self.version, rows: updated });
        for run in keys.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                self.stored.add_writes(*first, *last)?;
            }
        }
        // Rows that came in behind the engine's back have no clocks yet.
        for (key, writes) in self.state.cell_writes.take().rows {
            let mut row = Clocked { clock: RowClock::default(), number: self.new_number(key)? };
            add_writes(&mut row.clock, &writes, self.version);
            self.stored.store(key, &row)?;
        }
        Ok(())
    }
}

/// The packed primary key of a row whose key is its primary key.
fn integer_pk(key: i64) -> Result<Vec<u8>> {
    pack::pack(&[key.into()])
}

/// The causal length after a delete or another insert. Here there is nothing to fall back on: the last is the last.
fn incarnation(cl: i64, by: i64) -> Result<i64> {
    Ok(CausalLength::new(cl + by)?.get())
}
