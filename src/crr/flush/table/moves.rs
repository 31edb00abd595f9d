//! Rows that take another primary key, or another place.

use super::super::super::Result;
use super::super::super::clock::{ColumnId, RowClock};
use super::super::super::log::{self, Touched};
use super::super::super::rows::Clocked;
use super::super::cells::after;
use super::{Row, Writes, incarnation};

impl Writes<'_> {
    /// The row with `old_key` is deleted, and its cells are those of another one, written now.
    pub(super) fn change_pk(&mut self, key: i64, old_key: i64, pk: Vec<u8>, old_pk: &[u8]) -> Result<()> {
        self.hints.forget(old_key);
        let moved = self.take_or_new(old_key)?;
        let victim = self.take_replaced(key, Some(&pk))?;
        let tombstone = if victim.is_none() { self.stored.find_packed_tombstone(&pk)? } else { None };
        let beaten = |column| victim.as_ref().and_then(|row| row.clock.get(column)).map(|stamp| stamp.col_version);
        let mut clock = RowClock::default();
        for (column, stamp) in moved.clock.iter().filter(|(column, _)| *column != ColumnId::SENTINEL) {
            // Over a live row the moved cell must beat the one that it replaces, or copies that merge it would differ.
            let col_version = beaten(column).map_or(stamp.col_version, |beaten| after(stamp.col_version.max(beaten)));
            clock.set(column, self.stamp(col_version, self.state.take_seqs(1)));
        }
        if victim.is_some() || tombstone.is_some() {
            // The row that was here may have cells, here or elsewhere, which the moved one has not: they are beaten too.
            for column in self.table.columns.iter().map(|column| column.id) {
                if clock.get(column).is_none() {
                    let col_version = after(beaten(column).unwrap_or(0));
                    clock.set(column, self.stamp(col_version, self.state.take_seqs(1)));
                }
            }
        }
        self.bury(old_key, Some(&moved), old_pk)?;
        let (cl, number) = match (victim, tombstone) {
            (Some(victim), _) => {
                let cl = victim.clock.sentinel().map_or(Ok(1), |stamp| incarnation(stamp.col_version, 2))?;
                (cl, victim.number)
            }
            (None, Some(tombstone)) => {
                self.stored.exhume(tombstone.number)?;
                (incarnation(tombstone.stamp.col_version, 1)?, tombstone.number)
            }
            (None, None) => (1, self.new_number(key)?),
        };
        clock.set(ColumnId::SENTINEL, self.stamp(cl, self.state.take_seqs(1)));
        self.put(key, Some(Clocked { clock, number }));
        Ok(())
    }

    /// The rowid changed and the primary key did not: it is the same row elsewhere.
    pub(super) fn change_rowid(&mut self, key: i64, old_key: i64) -> Result<()> {
        self.hints.forget(old_key);
        let Some(row) = self.take(old_key)? else { return Ok(()) };
        self.stored.keep_number(row.number);
        // What the log says of the old key is true of the new one.
        let entry = Touched { table: self.table.id, tombstone: false, key };
        let mut touched = false;
        for version in row.clock.versions() {
            // This transaction's is written at its end.
            if version == self.version {
                touched = true;
            } else {
                log::add(self.stored.conn, version, entry)?;
            }
        }
        self.rows.insert(key, Row::Known { clocked: Some(row), changed: true, touched });
        Ok(())
    }
}
