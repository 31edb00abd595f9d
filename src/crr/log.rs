//! The log: for each local version, the rows that it touched.
//!
//! A delta is read by scanning the log after a cursor and picking from each row's clock the cells of that version, so
//! its cost follows the answer and not the database. An entry whose cells were overwritten since yields nothing.
//!
//! ```text
//! record: group*
//! group:  table id << 1 | tombstone: varint, number of runs: varint, (distance from the run before: zigzag varint, length − 1: varint)*
//! ```
//!
//! Runs are of consecutive keys, so the usual insert, whose rows are neighbours, takes a few bytes however large it is.

use rusqlite::{Connection, OptionalExtension};

use super::table::TableId;
use super::varint::{Reader, put, put_unsigned, unzigzag, zigzag};
use super::{Result, Version};
use crate::crr::sort::sort;

/// A row of the log: a live row by its key, or a tombstone by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Touched {
    pub(super) table: TableId,
    pub(super) tombstone: bool,
    pub(super) key: i64,
}

/// Writes down that `version` touched `rows`, which are sorted and without repeats.
pub(super) fn write(conn: &Connection, version: Version, rows: &[Touched]) -> Result<()> {
    let mut record = Vec::new();
    encode(rows, &mut record);
    conn.prepare_cached("INSERT OR REPLACE INTO main.crsql_log (version, touched) VALUES (?, ?)")?
        .execute((version.get(), record))?;
    Ok(())
}

/// Adds to what `version`, an earlier one, touched.
pub(super) fn add(conn: &Connection, version: i64, row: Touched) -> Result<()> {
    let version = Version::or_zero(version)?;
    let mut rows = read(conn, version)?;
    rows.push(row);
    sort(&mut rows);
    rows.dedup();
    write(conn, version, &rows)
}

/// The newest version that touched anything.
pub(super) fn newest(conn: &Connection) -> Result<Version> {
    let mut newest = conn.prepare_cached("SELECT coalesce(max(version), 0) FROM main.crsql_log")?;
    Version::or_zero(newest.query_row([], |row| row.get(0))?)
}

fn encode(rows: &[Touched], out: &mut Vec<u8>) {
    for group in rows.chunk_by(|a, b| (a.table, a.tombstone) == (b.table, b.tombstone)) {
        let Some(first) = group.first() else { continue };
        put(out, first.table.0 << 1 | i64::from(first.tombstone));
        let runs = || group.chunk_by(|a, b| a.key.checked_add(1) == Some(b.key));
        put(out, runs().count() as i64);
        let mut previous = 0i64;
        for run in runs() {
            let start = run.first().map_or(0, |row| row.key);
            put_unsigned(out, zigzag(start.wrapping_sub(previous)));
            put(out, run.len() as i64 - 1);
            previous = start;
        }
    }
}

/// The rows that the log has under `version`.
pub(super) fn read(conn: &Connection, version: Version) -> Result<Vec<Touched>> {
    let mut read = conn.prepare_cached("SELECT touched FROM main.crsql_log WHERE version = ?")?;
    let record: Option<Vec<u8>> = read.query_row([version.get()], |row| row.get(0)).optional()?;
    decode(&record.unwrap_or_default())
}

/// Reads a record written by [`write`].
pub(super) fn decode(record: &[u8]) -> Result<Vec<Touched>> {
    let rows = |Run { table, tombstone, first, last }| (first..=last).map(move |key| Touched { table, tombstone, key });
    Ok(runs(record)?.into_iter().flat_map(rows).collect())
}

/// Neighbours that one version touched: those with keys from `first` to `last`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) table: TableId,
    pub(super) tombstone: bool,
    pub(super) first: i64,
    pub(super) last: i64,
}

/// Reads a record written by [`write`], without spelling out its runs.
pub(super) fn runs(record: &[u8]) -> Result<Vec<Run>> {
    let mut reader = Reader(record);
    let mut runs = Vec::new();
    while !reader.is_empty() {
        let head = reader.integer()?;
        let (table, tombstone) = (TableId(head >> 1), head & 1 == 1);
        let mut previous = 0i64;
        for _ in 0..reader.integer()? {
            let first = previous.wrapping_add(unzigzag(reader.unsigned()?));
            let more = reader.integer()?;
            runs.push(Run { table, tombstone, first, last: first.saturating_add(more) });
            previous = first;
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows() -> impl Strategy<Value = Vec<Touched>> {
        let key = prop_oneof![0..20i64, any::<i64>()];
        prop::collection::btree_set((1..3i64, any::<bool>(), key), 0..40).prop_map(|rows| {
            rows.into_iter().map(|(table, tombstone, key)| Touched { table: TableId(table), tombstone, key }).collect()
        })
    }

    #[test]
    fn a_thousand_neighbours_take_a_few_bytes() {
        let rows: Vec<_> = (5000..6000).map(|key| Touched { table: TableId(3), tombstone: false, key }).collect();
        let mut record = Vec::new();
        encode(&rows, &mut record);
        assert!(record.len() <= 8, "{} bytes", record.len());
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(rows in rows()) {
            let mut record = Vec::new();
            encode(&rows, &mut record);
            prop_assert_eq!(decode(&record).unwrap(), rows);
        }
    }
}
