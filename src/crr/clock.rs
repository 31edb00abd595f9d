//! The clock record of a row.
//!
//! cr-sqlite keeps a table row and an index entry for every cell. Here a row has one record, in which cells that were
//! written together share an entry: an insert of ten columns costs about six bytes. The per-cell view of the world,
//! `crsql_changes`, is computed from it.
//!
//! ```text
//! record: entry*
//! entry:  flags: u8, first column: varint, [count − 2: varint], [col_version: varint], local version: varint,
//!         [site ordinal, author's version: varint], author's seq: varint
//! flags:  1 several columns, of consecutive ids and seqs   2 col_version is 1   4 written here, under the local version
//! ```
//!
//! Column 0 is the sentinel; its `col_version` is the row's causal length. A row without one has causal length 1.

use super::varint::{Reader, put};
use super::{Error, Result};
use crate::crr::sort::sort;

const RUN: u8 = 1;
const FIRST_VERSION: u8 = 2;
const LOCAL: u8 = 4;

/// The ordinal of this copy's own site id.
pub(super) const SELF: i64 = 0;

/// A column of a table, by a number that survives renames and dropped neighbours. 0 is the sentinel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ColumnId(pub(super) i64);

impl ColumnId {
    pub(super) const SENTINEL: Self = Self(0);
}

/// Who set a cell, in which transaction, and how it ranks against other writes to the cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Compared in a merge; for a sentinel the causal length.
    pub(super) col_version: i64,
    /// The local transaction in which this copy stored it.
    pub(super) local: i64,
    /// The author, by ordinal.
    pub(super) site: i64,
    /// The author's transaction.
    pub(super) version: i64,
    /// The position in the author's transaction.
    pub(super) seq: i64,
}

/// The clock of a live row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RowClock {
    /// In ascending order of columns.
    cells: Vec<(ColumnId, Stamp)>,
}

impl RowClock {
    pub(super) fn get(&self, column: ColumnId) -> Option<&Stamp> {
        let at = self.cells.binary_search_by_key(&column, |cell| cell.0).ok()?;
        self.cells.get(at).map(|cell| &cell.1)
    }

    pub(super) fn set(&mut self, column: ColumnId, stamp: Stamp) {
        match self.cells.binary_search_by_key(&column, |cell| cell.0) {
            Ok(at) => {
                if let Some(cell) = self.cells.get_mut(at) {
                    cell.1 = stamp;
                }
            }
            Err(at) => self.cells.insert(at, (column, stamp)),
        }
    }

    /// Forgets the columns that `keep` does not know; the sentinel stays. Returns whether there were any.
    pub(super) fn retain_columns(&mut self, keep: impl Fn(ColumnId) -> bool) -> bool {
        let before = self.cells.len();
        self.cells.retain(|(column, _)| *column == ColumnId::SENTINEL || keep(*column));
        self.cells.len() != before
    }

    /// Forgets the entries that `keep` does not know, and returns their columns. The causal length stays: where its sentinel goes, a
    /// cell of this incarnation that stays speaks for it, as it does in a copy that never had the sentinel.
    pub(super) fn retain(&mut self, keep: impl Fn(&Stamp) -> bool) -> Vec<ColumnId> {
        let cl = self.cl();
        let mut gone = Vec::new();
        self.cells.retain(|(column, stamp)| {
            let stays = keep(stamp);
            gone.extend((!stays).then_some(*column));
            stays
        });
        let first = self.cells.iter().map(|(_, stamp)| *stamp).min_by_key(|stamp| (stamp.local, stamp.seq));
        if let (true, Some(first), None) = (cl > 1, first, self.sentinel()) {
            self.set(ColumnId::SENTINEL, Stamp { col_version: cl, ..first });
        }
        gone
    }

    /// Whether nothing is known of the row.
    pub(super) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Puts one author in the place of another. Returns whether that was the author of anything.
    pub(super) fn replace_site(&mut self, old: i64, new: i64) -> bool {
        let of_old = self.cells.iter_mut().filter(|(_, stamp)| stamp.site == old);
        of_old.map(|(_, stamp)| stamp.site = new).count() > 0
    }

    /// The causal length.
    pub(super) fn cl(&self) -> i64 {
        self.sentinel().map_or(1, |stamp| stamp.col_version)
    }

    pub(super) fn sentinel(&self) -> Option<&Stamp> {
        self.get(ColumnId::SENTINEL)
    }

    /// All entries: the sentinel first, if there is one, then the columns.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ColumnId, &Stamp)> {
        self.cells.iter().map(|(column, stamp)| (*column, stamp))
    }

    /// The local versions in which any of it was stored, ascending: those under which the log names the row.
    pub(super) fn versions(&self) -> Vec<i64> {
        let mut versions: Vec<i64> = self.cells.iter().map(|(_, stamp)| stamp.local).collect();
        sort(&mut versions);
        versions.dedup();
        versions
    }

    /// The entries of columns, without the sentinel's.
    pub(super) fn columns_mut(&mut self) -> impl Iterator<Item = (ColumnId, &mut Stamp)> {
        self.cells.iter_mut().filter(|cell| cell.0 != ColumnId::SENTINEL).map(|(column, stamp)| (*column, stamp))
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut rest = self.cells.as_slice();
        while let Some(&(first, stamp)) = rest.first() {
            let run = run_length(rest);
            rest = rest.get(run..).unwrap_or_default();
            let local = stamp.site == SELF && stamp.version == stamp.local;
            let flag = |set, bit| if set { bit } else { 0 };
            out.push(flag(run > 1, RUN) | flag(stamp.col_version == 1, FIRST_VERSION) | flag(local, LOCAL));
            put(out, first.0);
            if run > 1 {
                put(out, run as i64 - 2);
            }
            if stamp.col_version != 1 {
                put(out, stamp.col_version);
            }
            put(out, stamp.local);
            if !local {
                put(out, stamp.site);
                put(out, stamp.version);
            }
            put(out, stamp.seq);
        }
    }

    pub(super) fn decode(record: &[u8]) -> Result<Self> {
        let mut reader = Reader(record);
        let mut cells = Vec::new();
        while !reader.is_empty() {
            let flags = reader.byte()?;
            let first = reader.integer()?;
            let count = if flags & RUN == 0 { 1 } else { reader.integer()?.saturating_add(2) };
            if count > 2000 * 16 {
                return Err(Error::Corrupt("a clock record has too many columns"));
            }
            let col_version = if flags & FIRST_VERSION == 0 { reader.integer()? } else { 1 };
            let local = reader.integer()?;
            let (site, version) =
                if flags & LOCAL == 0 { (reader.integer()?, reader.integer()?) } else { (SELF, local) };
            let seq = reader.integer()?;
            cells.extend((0..count).map(|i| {
                (
                    ColumnId(first.saturating_add(i)),
                    Stamp { col_version, local, site, version, seq: seq.saturating_add(i) },
                )
            }));
        }
        if !cells.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(Error::Corrupt("the columns of a clock record are out of order"));
        }
        Ok(Self { cells })
    }
}

/// How many of the first cells one entry can describe.
fn run_length(cells: &[(ColumnId, Stamp)]) -> usize {
    let follows = |pair: &[(ColumnId, Stamp)]| match pair {
        [(a, x), (b, y)] => b.0 == a.0 + 1 && *y == Stamp { seq: x.seq + 1, ..*x },
        _ => false,
    };
    1 + cells.windows(2).take_while(|pair| follows(pair)).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stamps() -> impl Strategy<Value = RowClock> {
        let stamp = (1..4i64, 1..3i64, 0..2i64, 1..3i64, 0..6i64)
            .prop_map(|(col_version, local, site, version, seq)| Stamp { col_version, local, site, version, seq });
        prop::collection::btree_map((0..8i64).prop_map(ColumnId), stamp, 0..8)
            .prop_map(|cells| RowClock { cells: cells.into_iter().collect() })
    }

    #[test]
    fn the_cells_of_one_insert_share_an_entry() {
        let mut clock = RowClock::default();
        for column in 1..=10 {
            clock.set(ColumnId(column), Stamp { col_version: 1, local: 7, site: SELF, version: 7, seq: column });
        }
        let mut record = Vec::new();
        clock.encode(&mut record);
        assert_eq!(record.len(), 5);
        assert_eq!(RowClock::decode(&record).unwrap(), clock);
    }

    #[test]
    fn what_is_forgotten_of_a_row_leaves_it_in_its_incarnation() {
        let stamp = |col_version, version| Stamp { col_version, local: version, site: SELF, version, seq: 0 };
        let mut clock = RowClock::default();
        clock.set(ColumnId::SENTINEL, stamp(3, 7));
        clock.set(ColumnId(1), stamp(1, 7));
        clock.set(ColumnId(2), stamp(2, 8));
        assert_eq!(clock.retain(|stamp| stamp.version != 7), [ColumnId::SENTINEL, ColumnId(1)]);
        assert_eq!((clock.cl(), clock.sentinel()), (3, Some(&stamp(3, 8))));
        clock.retain(|_| false);
        assert!(clock.is_empty());
    }

    #[test]
    fn a_row_without_sentinel_has_causal_length_one() {
        assert_eq!(RowClock::default().cl(), 1);
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(clock in stamps()) {
            let mut record = Vec::new();
            clock.encode(&mut record);
            prop_assert_eq!(RowClock::decode(&record).unwrap(), clock);
        }

        #[test]
        fn a_damaged_record_is_an_error_and_never_a_panic(record: Vec<u8>) {
            let _ = RowClock::decode(&record);
        }
    }
}
