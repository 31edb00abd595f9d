//! Changes as they were read: what those of one row have in common stands once.

use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

use super::super::clock::Stamp;
use super::super::quote::identifier;
use super::super::table::Table;
use super::super::value::owned;
use super::super::{CausalLength, Change, ColVersion, Result, SENTINEL, Seq, SiteId, Version};
use crate::crr::sort::{sort_by, sort_by_key};

/// Changes of one version, or of one row.
#[derive(Default)]
pub(in crate::crr) struct Cells {
    pub(super) owners: Vec<Owner>,
    pub(super) cells: Vec<Cell>,
}

/// A change of a row.
pub(in crate::crr) struct Cell {
    /// The place of its row among the owners.
    pub(super) owner: usize,
    /// The place of its column in the table; none for a sentinel.
    pub(super) position: Option<usize>,
    pub(in crate::crr) val: Value,
    pub(in crate::crr) site: SiteId,
    pub(in crate::crr) stamp: Stamp,
}

/// The row that changes belong to.
pub(in crate::crr) struct Owner {
    pub(in crate::crr) table: Arc<Table>,
    /// The table's place among the tables.
    pub(super) index: usize,
    /// The key of a live row, or the id of a tombstone.
    pub(super) key: i64,
    pub(super) tombstone: bool,
    pub(in crate::crr) pk: Arc<[u8]>,
    pub(in crate::crr) cl: i64,
}

impl Cells {
    pub(in crate::crr) fn get(&self, at: usize) -> Option<(&Owner, &Cell)> {
        let cell = self.cells.get(at)?;
        Some((self.owners.get(cell.owner)?, cell))
    }

    pub(in crate::crr) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(in crate::crr) fn clear(&mut self) {
        self.owners.clear();
        self.cells.clear();
    }

    /// The order of `crsql_changes`: by version and seq, then by table, row, and column.
    pub(in crate::crr) fn sort(&mut self) {
        let owners = &self.owners;
        let row = |cell: &Cell| owners.get(cell.owner);
        sort_by(&mut self.cells, |a, b| {
            let by_row = || {
                let key = |cell| row(cell).map(|owner| (owner.index, owner.key));
                key(a).cmp(&key(b))
            };
            let name = |cell| row(cell).map(|owner| Cell::column(cell, owner).map_or(SENTINEL, |name| name));
            (a.stamp.local, a.stamp.seq)
                .cmp(&(b.stamp.local, b.stamp.seq))
                .then_with(by_row)
                .then_with(|| name(a).cmp(&name(b)))
        });
    }

    pub(in crate::crr) fn reverse(&mut self) {
        self.cells.reverse();
    }

    /// The order in which the library hands changes on.
    pub(super) fn sort_by_author(&mut self) {
        sort_by_key(&mut self.cells, |cell| (cell.site, cell.stamp.version, cell.stamp.seq));
    }

    /// Takes all out, in order, each with its local version. What an alteration left under version 0 counts to the
    /// first, here and with its author.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Result<(Version, Change)>> {
        let owners = std::mem::take(&mut self.owners);
        self.cells.drain(..).filter_map(move |cell| {
            let owner = owners.get(cell.owner)?;
            Some(cell.change(owner))
        })
    }

    pub(super) fn append(&mut self, other: &mut Self) {
        let first = self.owners.len();
        self.owners.append(&mut other.owners);
        self.cells.extend(other.cells.drain(..).map(|cell| Cell { owner: first + cell.owner, ..cell }));
    }
}

impl Cell {
    /// The name of its column; none for a sentinel.
    pub(in crate::crr) fn column<'o>(&self, owner: &'o Owner) -> Option<&'o Arc<str>> {
        owner.table.columns.get(self.position?).map(|column| &column.name)
    }

    /// Its value as it is now, where it was not read with the clock of its row.
    pub(in crate::crr) fn read(&self, owner: &Owner, conn: &Connection) -> Result<Value> {
        let Some(column) = self.column(owner) else { return Ok(Value::Null) };
        let Table { name, sql, .. } = &*owner.table;
        let sql = format!("SELECT {} FROM main.{} WHERE {}", identifier(column), identifier(name), sql.has_key);
        let value = conn.prepare_cached(&sql)?.query_row([owner.key], |row| Ok(owned(row.get_ref(0)?))).optional()?;
        Ok(value.unwrap_or(Value::Null))
    }

    fn change(self, owner: &Owner) -> Result<(Version, Change)> {
        let change = Change {
            table: owner.table.name.clone(),
            pk: owner.pk.clone(),
            cid: self.column(owner).cloned().unwrap_or_else(|| SENTINEL.into()),
            val: self.val,
            col_version: ColVersion::new(self.stamp.col_version)?,
            version: Version::new(self.stamp.version.max(1))?,
            site: self.site,
            cl: CausalLength::new(owner.cl)?,
            seq: Seq::new(self.stamp.seq)?,
        };
        Ok((Version::new(self.stamp.local.max(1))?, change))
    }

    /// A number for `crsql_changes`, unique among the changes of a database: the table, the column, the row, as in
    /// cr-sqlite for the first column. Where the three do not fit (more than 998 columns, keys below 0 or over 10^10)
    /// they are hashed into the negative numbers.
    pub(in crate::crr) fn rowid(&self, owner: &Owner) -> i64 {
        let position = match self.position {
            None => SENTINEL_PLACE + i64::from(owner.tombstone),
            Some(column) if (column as i64) < SENTINEL_PLACE => column as i64,
            // Past the two, and so past what the formula holds.
            Some(column) => column as i64 + 2,
        };
        let (index, key) = (owner.index, owner.key);
        if position < 1000 && (0..10_000_000_000).contains(&key) && index < 900_000 {
            return index as i64 * 10_000_000_000_000 + position * 10_000_000_000 + key;
        }
        let hash = [index as u64, position as u64, key as u64].into_iter().fold(0, |hash, part| mix(hash ^ part));
        (hash | 1 << 63).cast_signed()
    }
}

/// Where a sentinel stands among the columns of its row, for the rowid; a tombstone's stands one further.
const SENTINEL_PLACE: i64 = 998;

/// SplitMix64: one step and its finalizer.
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
