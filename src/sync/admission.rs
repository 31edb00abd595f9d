//! What somebody who may use some rows only may write.
//!
//! Each row that a batch names must be one that its sender may use: before the merge if it is alive, and after it if it is
//! then. That holds whether its changes win or not, since that depends on values that the sender must not learn. A row that is
//! not here, or was deleted, may be whose it will: its key is for who comes first, and what is left of one that was there is its
//! key and a counter. So its deletion is taken too: it does no more than inserting and deleting it would.
//!
//! A transaction that this copy claims has nothing to bring: its changes are merged or beaten. They are passed over, so that a
//! batch which comes again is not held against rows that others have moved meanwhile.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use super::error::{ApplyError, Error};
use super::filters::Filters;
use super::incoming::change_error;
use super::ledger::Ledger;
use super::ranges::Ranges;
use crate::crr::{self, Change, Engine, RowFilter, SiteId, Version};

/// The rows that changes are of, where their tables have a filter.
pub(super) struct Admission<'a> {
    conn: &'a Connection,
    engine: &'a Engine,
    tables: BTreeMap<&'a str, OfTable<'a>>,
}

/// The filter of a table, and its rows, each with the place of its first change.
type OfTable<'a> = (&'a RowFilter, Vec<(usize, &'a Change)>);

impl<'a> Admission<'a> {
    pub(super) fn of(conn: &'a Connection, engine: &'a Engine, filters: &'a Filters, changes: &'a [Change]) -> Self {
        let mut rows = HashMap::new();
        for (at, change) in changes.iter().enumerate() {
            if let Some(filter) = filters.of(&change.table) {
                rows.entry((&*change.table, &*change.pk)).or_insert((filter, at, change));
            }
        }
        let mut tables = BTreeMap::new();
        for ((table, _), (filter, at, change)) in rows {
            tables.entry(table).or_insert_with(|| (filter, Vec::new())).1.push((at, change));
        }
        Self { conn, engine, tables }
    }

    /// Refuses what is alive and may not be used, by the first of its changes.
    pub(super) fn check(&self) -> Result<(), ApplyError> {
        let mut first: Option<(usize, &Change)> = None;
        for (table, (filter, rows)) in &self.tables {
            let pks = rows.iter().map(|(_, change)| &*change.pk);
            let hidden = self.engine.hidden(self.conn, table, filter, pks).map_err(|error| failed(table, error))?;
            let hidden = hidden.into_iter().filter_map(|at| rows.get(at).copied());
            first = hidden.chain(first).min_by_key(|(at, _)| *at);
        }
        match first {
            Some((_, Change { table, site, version, .. })) => {
                Err(ApplyError::HiddenRow { table: table.clone(), site: *site, version: *version })
            }
            None => Ok(()),
        }
    }
}

/// A key that is none is the change's fault, what fails else is the filter's.
fn failed(table: &str, error: crr::Error) -> ApplyError {
    match error {
        crr::Error::Sqlite(error) if error.sqlite_error_code() != Some(rusqlite::ErrorCode::OperationInterrupted) => {
            Error::Filter { table: table.to_owned(), reason: error.to_string() }.into()
        }
        error => change_error(error),
    }
}

/// The changes of transactions that are not claimed here.
pub(super) fn unclaimed<'b>(
    conn: &Connection,
    engine: &Engine,
    changes: Cow<'b, [Change]>,
) -> Result<Cow<'b, [Change]>, Error> {
    let ledger = Ledger::new(conn, engine);
    let mut held: HashMap<SiteId, Ranges<Version>> = HashMap::new();
    for change in changes.iter() {
        if let Entry::Vacant(unknown) = held.entry(change.site) {
            let site = engine.ordinal(conn, change.site)?;
            unknown.insert(site.map(|site| ledger.held(site)).transpose()?.unwrap_or_default());
        }
    }
    let is_claimed = |change: &Change| held.get(&change.site).is_some_and(|versions| versions.contains(change.version));
    if !changes.iter().any(is_claimed) {
        return Ok(changes);
    }
    Ok(changes.iter().filter(|change| !is_claimed(change)).cloned().collect())
}
