//! The local writes of the open transaction, in order, until their clocks are written.
//!
//! Triggers [note](super::notes) each write here. The clocks are written once, when SQLite is about to commit
//! ([`journal_vtab`](super::journal_vtab)), or earlier when somebody in the same transaction reads changes or merges some. A savepoint that is rolled back takes its writes with it; the seqs they had used stay used, as in
//! cr-sqlite.
//!
//! A row that was merged through SQL is noted too, with the clock that it got: changes come cell by cell, and each next one of
//! the row finds it here.

use std::collections::HashMap;
use std::sync::Arc;

use super::rows::Clocked;
use super::table::TableId;

/// How many columns one event's mask speaks of. A trigger names two values for each, and SQLite's builds take as few as
/// 100 arguments.
pub(super) const COLUMNS_PER_WORD: usize = 48;

/// One write, or the hint that one is about to replace a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) table: TableId,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A row was inserted, perhaps over another one, with so many `cells`. No `pk` where it is the key.
    Insert { key: i64, cells: i64, pk: Option<Vec<u8>> },
    /// Columns of a row changed: bit *i* of `mask` is column `word * COLUMNS_PER_WORD + i`.
    Update { key: i64, word: usize, mask: u64 },
    /// A row took another primary key, perhaps with an update of its columns behind it.
    Move { key: i64, old_key: i64, pk: Option<Vec<u8>>, old_pk: Option<Vec<u8>> },
    /// A row was deleted.
    Delete { key: i64, pk: Vec<u8> },
    /// The next write of a row with this `pk` replaces the one with this `key`, unless it does not come about.
    Replacing { key: i64, pk: Vec<u8> },
    /// A row was inserted, perhaps over another one, while the application asked that nothing be tracked.
    Untracked { key: i64, pk: Vec<u8> },
    /// A merge left a row with this clock.
    Merged { key: i64, row: Clocked },
    /// Writes that were rolled back had used so many seqs.
    Burnt { seqs: i64 },
}

impl Event {
    /// How many seqs it uses, as far as can be told without looking at the row.
    fn seqs(&self) -> i64 {
        match &self.kind {
            Kind::Insert { cells, .. } => *cells,
            Kind::Update { mask, .. } => mask.count_ones().into(),
            Kind::Move { .. } => 2,
            Kind::Delete { .. } => 1,
            Kind::Replacing { .. } | Kind::Untracked { .. } | Kind::Merged { .. } => 0,
            Kind::Burnt { seqs } => *seqs,
        }
    }
}

/// The writes, and how far they have been flushed to clocks.
#[derive(Debug, Default)]
pub(super) struct Journal {
    events: Vec<Event>,
    /// The first event without a clock.
    flushed: usize,
    /// Open savepoints, innermost last.
    marks: Vec<Mark>,
    /// Where the rows stand that merges left, as long as there was nothing else since the last flush.
    merged: HashMap<TableId, HashMap<Arc<[u8]>, usize>>,
    /// Whether there was, or rows were written that nothing here tells of.
    is_mixed: bool,
}

/// What the journal held when a savepoint began.
#[derive(Clone, Copy, Debug)]
struct Mark {
    savepoint: i32,
    events: usize,
    flushed: usize,
    point: Point,
}

/// How far the transaction was.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Point {
    /// The next seq, after what had been flushed.
    pub(super) seq: i64,
    /// How many rows it had touched.
    pub(super) touched: usize,
    /// How many merged changes had won.
    pub(super) rows_impacted: i64,
    /// Whether it had lost the clocks of some writes.
    pub(super) is_broken: bool,
}

impl Journal {
    pub(super) fn push(&mut self, event: Event) {
        self.events.push(event);
        self.is_mixed = true;
    }

    /// Notes again that the next write of a row replaces another.
    pub(super) fn push_hint(&mut self, table: TableId, key: i64, pk: Vec<u8>) {
        self.events.push(Event { table, kind: Kind::Replacing { key, pk } });
    }

    /// Forgets the last event, which was not flushed.
    pub(super) fn take_back(&mut self) {
        if self.events.len() > self.flushed {
            self.events.pop();
        }
    }

    /// Rows were written and not noted.
    pub(super) fn fall_behind(&mut self) {
        self.is_mixed = true;
    }

    /// Whether only merges wrote anything since the last flush, so that what is stored is true of all other rows.
    pub(super) fn is_of_merges(&self) -> bool {
        !self.is_mixed
    }

    /// The key and the clock of the row with this `pk`, if a merge left it since the last flush, and only merges wrote.
    pub(super) fn merged(&self, table: TableId, pk: &[u8]) -> Option<(i64, &Clocked)> {
        if self.is_mixed {
            return None;
        }
        match &self.events.get(*self.merged.get(&table)?.get(pk)?)?.kind {
            Kind::Merged { key, row, .. } => Some((*key, row)),
            _ => None,
        }
    }

    /// Notes what a merge made of a row, instead of what one made of it before.
    pub(super) fn push_merged(&mut self, table: TableId, key: i64, pk: Arc<[u8]>, row: Clocked) {
        let kept = self.marks.last().map_or(0, |mark| mark.events).max(self.flushed);
        let event = Event { table, kind: Kind::Merged { key, row } };
        let places = self.merged.entry(table).or_default();
        match places.get(&pk).filter(|_| !self.is_mixed).and_then(|&at| self.events.get_mut(at).filter(|_| at >= kept))
        {
            Some(before) => *before = event,
            None => {
                places.insert(pk, self.events.len());
                self.events.push(event);
            }
        }
    }

    /// The events without clocks; they count as flushed from here on.
    pub(super) fn take(&mut self) -> Vec<Event> {
        self.merged.clear();
        self.is_mixed = false;
        if self.marks.is_empty() {
            // What was flushed under a savepoint that was released since has its clocks.
            let flushed = std::mem::take(&mut self.flushed).min(self.events.len());
            return std::mem::take(&mut self.events).split_off(flushed);
        }
        // A rollback to an open savepoint may undo the clocks, so the events stay until then.
        let taken = self.events.get(self.flushed..).unwrap_or_default().to_vec();
        self.flushed = self.events.len();
        taken
    }

    /// A savepoint begins.
    pub(super) fn savepoint(&mut self, savepoint: i32, point: Point) {
        self.marks.retain(|mark| mark.savepoint < savepoint);
        self.marks.push(Mark { savepoint, events: self.events.len(), flushed: self.flushed, point });
    }

    pub(super) fn release(&mut self, savepoint: i32) {
        self.marks.retain(|mark| mark.savepoint < savepoint);
    }

    /// Forgets what was written since `savepoint` began, and returns what the transaction goes on from.
    pub(super) fn rollback_to(&mut self, savepoint: i32) -> Point {
        self.marks.retain(|mark| mark.savepoint <= savepoint);
        // Without a mark, the savepoint is older than the first write.
        let start = Mark { savepoint, events: 0, flushed: 0, point: Point::default() };
        let mark = self.marks.last().filter(|mark| mark.savepoint == savepoint).copied().unwrap_or(start);
        let burnt = self.events.drain(mark.events.min(self.events.len())..).map(|event| event.seqs()).sum();
        self.flushed = mark.flushed;
        // What was flushed since is not any more.
        self.is_mixed = true;
        self.burn(burnt);
        mark.point
    }

    fn burn(&mut self, seqs: i64) {
        if seqs > 0 {
            self.events.push(Event { table: TableId(0), kind: Kind::Burnt { seqs } });
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(key: i64) -> Event {
        Event { table: TableId(1), kind: Kind::Insert { key, cells: 3, pk: None } }
    }

    #[test]
    fn a_rollback_to_a_savepoint_brings_back_what_was_flushed_since() {
        let mut journal = Journal::default();
        journal.push(insert(1));
        journal.savepoint(0, Point::default());
        journal.push(insert(2));
        assert_eq!(journal.take().len(), 2);
        journal.rollback_to(0);
        let burnt = Event { table: TableId(0), kind: Kind::Burnt { seqs: 3 } };
        assert_eq!(journal.take(), [insert(1), burnt]);
    }

    #[test]
    fn what_was_flushed_under_a_savepoint_is_not_flushed_again_after_its_release() {
        let mut journal = Journal::default();
        journal.push(insert(1));
        journal.savepoint(0, Point::default());
        assert_eq!(journal.take(), [insert(1)]);
        journal.release(0);
        journal.push(insert(2));
        assert_eq!(journal.take(), [insert(2)]);
    }

    #[test]
    fn released_savepoints_keep_their_writes() {
        let mut journal = Journal::default();
        journal.savepoint(0, Point::default());
        journal.push(insert(1));
        journal.release(0);
        assert_eq!(journal.take(), [insert(1)]);
        assert_eq!(journal.take(), []);
    }
}
