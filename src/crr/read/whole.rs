//! Whole rows: all that is known of a row at once, whatever the versions.

use std::ops::ControlFlow;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};

use super::super::log::{self, Run};
use super::super::pack::{Packer, unpack_borrowed};
use super::super::state::State;
use super::super::table::{Table, TableId};
use super::super::{Change, Result, Version};
use super::{Cells, Reader, Selection, Sites, Values};
use crate::crr::sort::sort_by_key;

/// What a primary key is called in this copy, whether its row is alive or deleted. Good until the schema changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId {
    /// The table's number.
    pub table: i64,
    /// The number of the primary key in the table.
    pub number: i64,
}

/// A row or a tombstone, with everything that is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct WholeRow {
    /// Its name in this copy.
    pub id: RowId,
    /// Its table.
    pub table: Arc<str>,
    /// Its packed primary key, in a spelling that is the same for all that SQLite takes for one key. Copies may hold a row
    /// under different ones: the first that came to each.
    pub key: Vec<u8>,
    /// All of its changes, in no particular order. At least one.
    pub changes: Vec<Change>,
}

type Visit<'a> = &'a mut dyn FnMut(WholeRow) -> ControlFlow<()>;

/// Visits every row and tombstone.
pub(in crate::crr) fn all_rows(conn: &Connection, state: &State, visit: Visit<'_>) -> Result<()> {
    let mut reader = Reader::of_all(conn, state)?;
    for table in reader.tables.clone().all(conn)? {
        for tombstone in [false, true] {
            let run = Run { table: table.id, tombstone, first: i64::MIN, last: i64::MAX };
            if reader.whole(conn, run, visit)?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Visits those that the log names after `since`, each once.
pub(in crate::crr) fn rows_since(conn: &Connection, state: &State, since: Version, visit: Visit<'_>) -> Result<()> {
    let mut runs = Vec::new();
    let mut log = conn.prepare_cached("SELECT touched FROM main.crsql_log WHERE version > ?")?;
    let mut records = log.query([since.get()])?;
    while let Some(record) = records.next()? {
        runs.extend(log::runs(record.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?);
    }
    sort_by_key(&mut runs, |run| (run.table, run.tombstone, run.first));
    let mut reader = Reader::of_all(conn, state)?;
    for of_table in runs.chunk_by(|a, b| (a.table, a.tombstone) == (b.table, b.tombstone)) {
        let mut read = None;
        for run in of_table {
            let first = read.map_or(run.first, |read: i64| run.first.max(read.saturating_add(1)));
            if read.is_some_and(|read| run.last <= read) {
                continue;
            }
            read = Some(run.last);
            if reader.whole(conn, Run { first, ..*run }, visit)?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Reads one, if it is there.
pub(in crate::crr) fn one_row(conn: &Connection, state: &State, id: RowId) -> Result<Option<WholeRow>> {
    let mut reader = Reader::of_all(conn, state)?;
    let Some(table) = reader.tables.get(conn, TableId(id.table))? else { return Ok(None) };
    let clocks = Table::clocks(&table.stored_as);
    let find = format!(
        "SELECT key FROM main.{clocks} WHERE number = ?1
         UNION ALL SELECT key FROM main.{clocks} WHERE key = ?1 AND number IS NULL"
    );
    let key: Option<i64> = conn.prepare_cached(&find)?.query_row([id.number], |row| row.get(0)).optional()?;
    let (tombstone, key) = key.map_or((true, id.number), |key| (false, key));
    let mut found = None;
    let mut keep = |row| {
        found = Some(row);
        ControlFlow::Break(())
    };
    _ = reader.whole(conn, Run { table: table.id, tombstone, first: key, last: key }, &mut keep)?;
    Ok(found)
}

impl Reader {
    /// One for rows with all of their changes.
    pub(super) fn of_all(conn: &Connection, state: &State) -> Result<Self> {
        let selection = Selection {
            since: -1,
            until: i64::MAX,
            site: Sites::All,
            table: None,
            pk: None,
            conditions: Vec::new(),
            values: Values::All,
            descending: false,
        };
        let mut reader = Self::new(conn, state, selection)?;
        reader.reading = i64::MIN..=i64::MAX;
        Ok(reader)
    }

    fn whole(&mut self, conn: &Connection, run: Run, visit: Visit<'_>) -> Result<ControlFlow<()>> {
        let mut cells = Cells::default();
        self.read_each(conn, run, &mut cells, &mut |number, cells| {
            // A row of which nothing is known to others is none.
            let Some(owner) = cells.owners.first() else { return Ok(ControlFlow::Continue(())) };
            let id = RowId { table: run.table.0, number };
            let (table, key) = (owner.table.name.clone(), spelling(&owner.table, &owner.pk)?);
            let changes = cells.drain().map(|change| Ok(change?.1)).collect::<Result<_>>()?;
            Ok(visit(WholeRow { id, table, key, changes }))
        })
    }
}

/// The spelling of a packed key that stands for all that are equal to it in this table: an INTEGER instead of a REAL of the same
/// value, small letters where case does not count, no spaces at the end where those do not.
fn spelling(table: &Table, pk: &[u8]) -> Result<Vec<u8>> {
    let mut packer = Packer::new(table.pks.len())?;
    for (value, column) in unpack_borrowed(pk)?.into_iter().zip(&table.pks) {
        let is = |collation: &str| column.collation.eq_ignore_ascii_case(collation);
        match value {
            ValueRef::Real(real) => packer.push(integer(real).map_or(value, ValueRef::Integer)),
            ValueRef::Text(text) if is("NOCASE") => packer.push(ValueRef::Text(&text.to_ascii_lowercase())),
            ValueRef::Text(text) if is("RTRIM") => {
                let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
                packer.push(ValueRef::Text(text.get(..end).unwrap_or(text)));
            }
            _ => packer.push(value),
        }
    }
    Ok(packer.finish())
}

/// The integer that is equal to `real`.
fn integer(real: f64) -> Option<i64> {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    (real.fract() == 0.0 && (-BOUND..BOUND).contains(&real)).then_some(real as i64)
}
