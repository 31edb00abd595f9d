//! Local writes become clocks.
//!
//! The events of a transaction are replayed in order against the clocks of the rows that they name. The rules are
//! cr-sqlite's, statement by statement:
//!
//! | write | clock |
//! | --- | --- |
//! | insert of a new row | every cell at version 1, no sentinel; a table without other columns gets a sentinel at 1 |
//! | insert over a row (REPLACE) | every cell + 1; a sentinel, where there is one, + 2 |
//! | insert of a deleted row | sentinel + 1, every cell at version 1 |
//! | update | each changed cell + 1 |
//! | update of the primary key | the old row is deleted, the new one gets a sentinel, the cells move and are restamped |
//! | delete | a tombstone at the sentinel + 1, or 2; the cells are forgotten |
//!
//! Restamping differs from cr-sqlite, which leaves moved cells under their old version: a peer that reads from a cursor
//! never sees them, and the row arrives there without its values.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::{Connection, ffi};

use super::catalog::Tables;
use super::clock::{ColumnId, RowClock, SELF, Stamp};
use super::ids::MAX_COUNTER;
use super::journal::{COLUMNS_PER_WORD, Event, Kind};
use super::log::{self, Touched};
use super::rows::{self, Tombstone};
use super::state::State;
use super::table::{Table, TableId};
use super::{CausalLength, Result, Version, catalog, compact, pack};

/// Writes the clocks of the local writes so far, and the log of the open transaction.
pub(super) fn flush(conn: &Connection, state: &State) -> Result<()> {
    let events = state.journal.borrow_mut().take();
    if events.is_empty() && !state.transaction.log_is_stale.get() {
        return Ok(());
    }
    let rowid = conn.last_insert_rowid();
    let flushed = write_clocks(conn, state, events).and_then(|()| write_log(conn, state));
    // What the application inserted last is none of the clocks.
    // SAFETY: the handle is open.
    unsafe { ffi::sqlite3_set_last_insert_rowid(conn.handle(), rowid) };
    flushed
}

fn write_clocks(conn: &Connection, state: &State, events: Vec<Event>) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let version = state.next_version(conn, Version::ZERO)?;
    let mut flush = Flush {
        conn,
        state,
        version: version.get(),
        tables: state.tables(conn)?,
        rows: BTreeMap::new(),
        replaced: HashMap::new(),
        touched: Vec::new(),
        has_tombstones: HashMap::new(),
    };
    for event in events {
        flush.event(event)?;
    }
    flush.finish(version)
}

/// Writes the log of the open transaction so far, and with it the version that a reader finds after the commit.
fn write_log(conn: &Connection, state: &State) -> Result<()> {
    let transaction = &state.transaction;
    if !transaction.log_is_stale.get() {
        return Ok(());
    }
    if transaction.base.get().is_none() {
        transaction.base.set(Some(catalog::version(conn)?));
    }
    let mut touched = transaction.touched.borrow_mut();
    for (version, rows) in touched.iter_mut() {
        rows.sort_unstable();
        rows.dedup();
        log::write(conn, *version, rows)?;
    }
    transaction.log_is_stale.set(false);
    let Some(version) = touched.keys().last() else { return Ok(()) };
    catalog::set_version(conn, *version)?;
    compact::if_due(conn, state.tables(conn)?.as_ref(), *version)
}

struct Flush<'a> {
    conn: &'a Connection,
    state: &'a State,
    version: i64,
    tables: Arc<Tables>,
    /// The clocks read or written so far; `None` is a row without one. In the order in which they will be written.
    rows: BTreeMap<(TableId, i64), Row>,
    /// The keys of rows that are about to be replaced, by primary key.
    replaced: HashMap<(TableId, Vec<u8>), i64>,
    touched: Vec<Touched>,
    /// Whether a table has any tombstones, so that inserts into one without need not look.
    has_tombstones: HashMap<TableId, bool>,
}

#[derive(Default)]
struct Row {
    clock: Option<RowClock>,
    changed: bool,
}

impl Flush<'_> {
    fn event(&mut self, event: Event) -> Result<()> {
        if let Kind::Burnt { seqs } = event.kind {
            self.state.take_seqs(seqs);
            return Ok(());
        }
        let known = self.tables.get(event.table);
        // A table that is no longer replicated leaves its last writes untracked.
        let Some(table) = known.cloned() else {
            return Ok(());
        };
        match event.kind {
            Kind::Insert { key, pk, .. } => self.insert(&table, key, pk),
            Kind::Update { key, word, mask } => self.update(&table, key, word, mask),
            Kind::Move { key, old_key, pk: Some(pk), old_pk: Some(old_pk) } => {
                self.change_pk(&table, key, old_key, pk, &old_pk)
            }
            Kind::Move { key, old_key, .. } if table.integer_pk => {
                self.change_pk(&table, key, old_key, integer_pk(key)?, &integer_pk(old_key)?)
            }
            // The rowid changed and the primary key did not: it is the same row elsewhere.
            Kind::Move { key, old_key, .. } => {
                let clock = self.take(&table, old_key)?;
                self.put(&table, key, clock);
                Ok(())
            }
            Kind::Delete { key, pk } => {
                self.forget_replaced(&table, key);
                let clock = self.take(&table, key)?;
                self.bury(&table, &pk, clock.as_ref())
            }
            Kind::Replacing { key, pk } => {
                self.replaced.insert((table.id, pk), key);
                Ok(())
            }
            Kind::Burnt { .. } => Ok(()),
        }
    }

    fn insert(&mut self, table: &Table, key: i64, pk: Option<Vec<u8>>) -> Result<()> {
        let pk = pk.map_or_else(|| integer_pk(key), Ok)?;
        let victim = self.take_replaced(table, key, &pk)?;
        let mut clock = match victim {
            Some(mut clock) => {
                let seq = self.state.take_seqs(1);
                if let Some(sentinel) = clock.sentinel() {
                    clock.set(ColumnId::SENTINEL, self.stamp(incarnation(sentinel.col_version, 2)?, seq));
                }
                clock
            }
            None => match self.find_tombstone(table, &pk)? {
                Some(tombstone) => self.resurrect(table, &tombstone)?,
                None if table.columns.is_empty() => {
                    let mut clock = RowClock::default();
                    clock.set(ColumnId::SENTINEL, self.stamp(1, self.state.take_seqs(1)));
                    clock
                }
                None => RowClock::default(),
            },
        };
        let first = self.state.take_seqs(table.columns.len() as i64);
        for (seq, column) in (first..).zip(&table.columns) {
            let previous = clock.get(column.id).map_or(0, |stamp| stamp.col_version);
            clock.set(column.id, self.stamp(after(previous), seq));
        }
        self.put(table, key, Some(clock));
        Ok(())
    }

    fn update(&mut self, table: &Table, key: i64, word: usize, mask: u64) -> Result<()> {
        let mut clock = self.take(table, key)?.unwrap_or_default();
        for (bit, column) in table.columns.iter().skip(word * COLUMNS_PER_WORD).take(COLUMNS_PER_WORD).enumerate() {
            if mask >> bit & 1 == 1 {
                let previous = clock.get(column.id).map_or(0, |stamp| stamp.col_version);
                clock.set(column.id, self.stamp(after(previous), self.state.take_seqs(1)));
            }
        }
        self.put(table, key, Some(clock));
        Ok(())
    }

    fn change_pk(&mut self, table: &Table, key: i64, old_key: i64, pk: Vec<u8>, old_pk: &[u8]) -> Result<()> {
        self.forget_replaced(table, old_key);
        let moved = self.take(table, old_key)?.unwrap_or_default();
        let victim = self.take_replaced(table, key, &pk)?;
        let mut clock = RowClock::default();
        for (column, stamp) in moved.iter().filter(|(column, _)| *column != ColumnId::SENTINEL) {
            // Over a live row the moved cell must beat the one that it replaces, or copies that merge it would differ.
            let beaten = victim.as_ref().and_then(|victim| victim.get(column)).map(|stamp| stamp.col_version);
            let col_version = beaten.map_or(stamp.col_version, |beaten| after(stamp.col_version.max(beaten)));
            clock.set(column, self.stamp(col_version, self.state.take_seqs(1)));
        }
        self.bury(table, old_pk, Some(&moved))?;
        let sentinel = match victim {
            Some(victim) => victim.sentinel().map_or(Ok(1), |stamp| incarnation(stamp.col_version, 2))?,
            None => match self.find_tombstone(table, &pk)? {
                Some(tombstone) => {
                    rows::drop_tombstone(self.conn, table, tombstone.id)?;
                    incarnation(tombstone.stamp.col_version, 1)?
                }
                None => 1,
            },
        };
        clock.set(ColumnId::SENTINEL, self.stamp(sentinel, self.state.take_seqs(1)));
        self.put(table, key, Some(clock));
        Ok(())
    }

    /// The clock of the row that a write with this primary key replaced, which is gone from where it stood.
    fn take_replaced(&mut self, table: &Table, key: i64, pk: &[u8]) -> Result<Option<RowClock>> {
        if table.integer_pk {
            return self.take(table, key);
        }
        match self.replaced.remove(&(table.id, pk.to_vec())) {
            Some(victim) => self.take(table, victim),
            None => Ok(None),
        }
    }

    /// The row with `key` is gone, so no later write can be replacing it.
    fn forget_replaced(&mut self, table: &Table, key: i64) {
        self.replaced.retain(|(of, _), victim| *of != table.id || *victim != key);
    }

    /// Leaves a tombstone for a deleted row.
    fn bury(&mut self, table: &Table, pk: &[u8], clock: Option<&RowClock>) -> Result<()> {
        let cl = clock.and_then(RowClock::sentinel).map_or(1, |stamp| stamp.col_version);
        let stamp = self.stamp(incarnation(cl, 1)?, self.state.take_seqs(1));
        let id = rows::store_tombstone(self.conn, table, None, &table.unpack_pk(pk)?, stamp)?;
        self.has_tombstones.insert(table.id, true);
        self.touched.push(Touched { table: table.id, tombstone: true, key: id });
        Ok(())
    }

    fn find_tombstone(&mut self, table: &Table, pk: &[u8]) -> Result<Option<Tombstone>> {
        let any = match self.has_tombstones.get(&table.id) {
            Some(&any) => any,
            None => rows::has_tombstones(self.conn, table)?,
        };
        self.has_tombstones.insert(table.id, any);
        if any { rows::find_tombstone(self.conn, table, &table.unpack_pk(pk)?) } else { Ok(None) }
    }

    /// The clock of a deleted row that comes back.
    fn resurrect(&mut self, table: &Table, tombstone: &Tombstone) -> Result<RowClock> {
        rows::drop_tombstone(self.conn, table, tombstone.id)?;
        let mut clock = RowClock::default();
        clock
            .set(ColumnId::SENTINEL, self.stamp(incarnation(tombstone.stamp.col_version, 1)?, self.state.take_seqs(1)));
        Ok(clock)
    }

    fn stamp(&self, col_version: i64, seq: i64) -> Stamp {
        Stamp { col_version, local: self.version, site: SELF, version: self.version, seq }
    }

    /// Takes a row's clock, to change it and [`put`](Self::put) it back, or not.
    fn take(&mut self, table: &Table, key: i64) -> Result<Option<RowClock>> {
        if let Some(row) = self.rows.get_mut(&(table.id, key)) {
            row.changed = true;
            return Ok(row.clock.take());
        }
        let clock = rows::load_clock(self.conn, table, key)?;
        self.rows.insert((table.id, key), Row { clock: None, changed: clock.is_some() });
        Ok(clock)
    }

    fn put(&mut self, table: &Table, key: i64, clock: Option<RowClock>) {
        self.rows.insert((table.id, key), Row { clock, changed: true });
    }

    fn finish(mut self, version: Version) -> Result<()> {
        for ((id, key), row) in self.rows.iter().filter(|(_, row)| row.changed) {
            let Some(table) = self.tables.get(*id) else {
                continue;
            };
            match &row.clock {
                Some(clock) => {
                    rows::store_clock(self.conn, table, *key, clock)?;
                    self.touched.push(Touched { table: *id, tombstone: false, key: *key });
                }
                None => rows::drop_clock(self.conn, table, *key)?,
            }
        }
        if self.touched.is_empty() {
            return Ok(());
        }
        self.state.touch(self.conn, version, self.touched)
    }
}

/// The packed primary key of a row whose key is its primary key.
fn integer_pk(key: i64) -> Result<Vec<u8>> {
    pack::pack(&[key.into()])
}

/// The version of a cell's next write. A peer may have sent the last one there is; the cell stays writable, and among
/// writes of that version the larger value wins.
fn after(col_version: i64) -> i64 {
    (col_version + 1).min(MAX_COUNTER)
}

/// The causal length after a delete or another insert. Here there is nothing to fall back on: the last is the last.
fn incarnation(cl: i64, by: i64) -> Result<i64> {
    Ok(CausalLength::new(cl + by)?.get())
}
