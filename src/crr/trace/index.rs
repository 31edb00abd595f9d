//! Whose scans would find a row.

use std::collections::{BTreeSet, HashMap};
use std::ffi::c_int;
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row};

use super::super::Result;
use super::super::quote::{identifier, list};
use super::super::sort::sort;
use super::scans::{Scalar, Scan, Scans};
use super::traced::Traced;

/// Scans by the rows that they would find, each with the number of whom it is of.
///
/// Those that ask for certain values of some columns stand under these values; so a row is looked for once for each such set
/// of columns, however many scans there are. The others are tried one by one.
#[derive(Debug, Default)]
pub struct ScanIndex(HashMap<i64, OfTable>);

/// Scans by the values that some columns have in what they find.
type ByValues = HashMap<Box<[Scalar]>, Vec<(u64, Arc<Scan>)>>;

#[derive(Debug)]
struct OfTable {
    table: Arc<Traced>,
    /// Who asked for all rows, or for more conditions than are told apart.
    any: BTreeSet<u64>,
    by_values: HashMap<Vec<c_int>, ByValues>,
    listed: HashMap<u64, Vec<Arc<Scan>>>,
}

/// Whose scans find a row.
#[derive(Debug, Default)]
pub struct Found {
    /// Their numbers.
    pub by: BTreeSet<u64>,
    /// Those of whom that cannot be said, since a filter failed.
    pub unsure: BTreeSet<u64>,
}

impl ScanIndex {
    /// Adds those of somebody.
    pub fn add(&mut self, of: u64, scans: &Scans) {
        for (&id, theirs) in &scans.tables {
            let of_table = self.0.entry(id).or_insert_with(|| OfTable::new(&theirs.table));
            let Some(scans) = &theirs.scans else {
                of_table.any.insert(of);
                continue;
            };
            for scan in scans {
                let columns = scan.columns(&theirs.table);
                if columns.is_empty() {
                    of_table.listed.entry(of).or_default().push(scan.clone());
                    continue;
                }
                let tuples = scan.tuples(&columns);
                let by_values = of_table.by_values.entry(columns).or_default();
                for tuple in tuples {
                    by_values.entry(tuple).or_default().push((of, scan.clone()));
                }
            }
        }
    }

    /// Removes those of somebody, which are these.
    pub fn remove(&mut self, of: u64, scans: &Scans) {
        for (id, theirs) in &scans.tables {
            let Some(of_table) = self.0.get_mut(id) else { continue };
            of_table.any.remove(&of);
            of_table.listed.remove(&of);
            for scan in theirs.scans.iter().flatten() {
                let columns = scan.columns(&theirs.table);
                let Some(by_values) = of_table.by_values.get_mut(&columns) else { continue };
                for tuple in scan.tuples(&columns) {
                    if let Some(found) = by_values.get_mut(&tuple) {
                        found.retain(|(other, _)| *other != of);
                        if found.is_empty() {
                            by_values.remove(&tuple);
                        }
                    }
                }
                if by_values.is_empty() {
                    of_table.by_values.remove(&columns);
                }
            }
            if of_table.is_empty() {
                self.0.remove(id);
            }
        }
    }

    /// Who has a scan of that table, some of them more than once.
    pub fn of_table(&self, table: i64) -> Vec<u64> {
        let Some(of_table) = self.0.get(&table) else { return Vec::new() };
        let by_values = of_table.by_values.values().flat_map(HashMap::values).flatten().map(|(of, _)| *of);
        by_values.chain(of_table.listed.keys().copied()).chain(of_table.any.iter().copied()).collect()
    }

    /// Whose scans find the row of a key as it is now; without a key, or where there is no such row, those of any row.
    pub fn finding(&self, conn: &Connection, table: i64, key: Option<i64>) -> Result<Found> {
        let mut found = Found::default();
        let Some(of_table) = self.0.get(&table) else { return Ok(found) };
        found.by.clone_from(&of_table.any);
        if let Some(key) = key {
            of_table.find(conn, key, &mut found)?;
        }
        Ok(found)
    }
}

impl OfTable {
    fn new(table: &Arc<Traced>) -> Self {
        Self { table: table.clone(), any: BTreeSet::new(), by_values: HashMap::new(), listed: HashMap::new() }
    }

    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.by_values.is_empty() && self.listed.is_empty()
    }

    fn find(&self, conn: &Connection, key: i64, found: &mut Found) -> Result<()> {
        let mut looked_at: Vec<c_int> = self.by_values.keys().flatten().copied().collect();
        sort(&mut looked_at);
        looked_at.dedup();
        if let Some(row) = self.values(conn, key, &looked_at)? {
            for (columns, by_values) in &self.by_values {
                let value = |column| row.get(looked_at.binary_search(column).ok()?).cloned();
                let tuple: Option<Vec<Scalar>> = columns.iter().map(value).collect();
                for (of, scan) in tuple.and_then(|tuple| by_values.get(&*tuple)).into_iter().flatten() {
                    found.try_scan(conn, key, *of, scan)?;
                }
            }
        }
        for (of, scans) in &self.listed {
            for scan in scans {
                found.try_scan(conn, key, *of, scan)?;
            }
        }
        Ok(())
    }

    /// What a row has in some columns.
    fn values(&self, conn: &Connection, key: i64, columns: &[c_int]) -> Result<Option<Vec<Scalar>>> {
        if columns.is_empty() {
            return Ok(None);
        }
        let names = list(columns.iter().map(|&column| self.table.column(column)));
        let Traced { name, has_key, .. } = &*self.table;
        let sql = format!("SELECT {names} FROM main.{} t WHERE {has_key}", identifier(name));
        let read = |row: &Row<'_>| (0..columns.len()).map(|i| Ok(Scalar::of(row.get_ref(i)?).folded())).collect();
        Ok(conn.prepare_cached(&sql)?.query_row([key], read).optional()?)
    }
}

impl Found {
    fn try_scan(&mut self, conn: &Connection, key: i64, of: u64, scan: &Scan) -> Result<()> {
        if self.by.contains(&of) || self.unsure.contains(&of) {
            return Ok(());
        }
        match meets(conn, key, scan) {
            Ok(false) => {}
            Ok(true) => _ = self.by.insert(of),
            // It fails for whom it keeps, and for nobody else.
            Err(error) if scan.shape.filter.is_some() && !is_interrupt(&error) => _ = self.unsure.insert(of),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn is_interrupt(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
}

/// Whether a scan would find the row of a key.
fn meets(conn: &Connection, key: i64, scan: &Scan) -> rusqlite::Result<bool> {
    let mut test = conn.prepare_cached(&scan.shape.test)?;
    let filter = scan.shape.filter.as_deref().unwrap_or_default();
    for (place, value) in (1..).zip(filter) {
        test.raw_bind_parameter(place, value)?;
    }
    test.raw_bind_parameter(filter.len() + 1, key)?;
    for (place, value) in (filter.len() + 2..).zip(&scan.values) {
        test.raw_bind_parameter(place, value)?;
    }
    Ok(test.raw_query().next()?.is_some())
}
