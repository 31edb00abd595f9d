//! The keys by which a query looks for rows.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_int;
use std::sync::Arc;

use rusqlite::types::Value;

use super::Trace;
use super::columns::Columns;
use super::scans::Scan;
use super::traced::Traced;
use crate::crr::pack::pack;

/// Rows that a query looks for by their primary keys, whether they are there or not: for each table the packed keys.
pub type Sought = BTreeMap<Arc<str>, BTreeSet<Vec<u8>>>;

/// The most keys of one condition.
const MOST_KEYS: usize = 100;

impl Trace {
    /// The rows that the query looked for, if it did so by their primary keys only: its result stays as it is until one of them
    /// changes, appears or goes. `None` where it looked for rows in another way, or its scans were not noted.
    ///
    /// Until then each table answers what it is asked as it did before, so the query goes through the same steps.
    pub fn sought(&self) -> Option<Sought> {
        if self.scans.are_unsure() {
            return None;
        }
        let mut sought = Sought::new();
        for of_table in self.scans.tables.values() {
            let keys = sought.entry(of_table.table.name.clone()).or_default();
            for scan in of_table.scans.as_ref()? {
                keys.extend(packed_keys(&of_table.table, scan)?);
            }
        }
        Some(sought)
    }
}

/// The packed keys of all rows that meet a condition. `None` where it does not name whole keys, or a key could be stored in
/// another form than it is asked for in.
fn packed_keys(Traced { columns, .. }: &Traced, scan: &Scan) -> Option<Vec<Vec<u8>>> {
    let mut keys = vec![Vec::with_capacity(columns.pks.len())];
    for &at in &columns.pks {
        let by_rowid = || scan.equal_to(-1).filter(|_| columns.integer_pk == Some(at));
        let values = c_int::try_from(at).ok().and_then(|column| scan.equal_to(column)).or_else(by_rowid)?;
        if keys.len() * values.len() > MOST_KEYS {
            return None;
        }
        let mut longer = Vec::with_capacity(keys.len() * values.len());
        for value in values {
            let value = stored(columns, at, value.to_value()?)?;
            // No key has NULL in it.
            if value != Value::Null {
                longer.extend(keys.iter().map(|key: &Vec<_>| [key.as_slice(), std::slice::from_ref(&value)].concat()));
            }
        }
        keys = longer;
    }
    keys.iter().map(|key| pack(key).ok()).collect()
}

/// The form in which a column at a place holds what is equal to a value; `None` where there may be several.
fn stored(columns: &Columns, at: usize, value: Value) -> Option<Value> {
    let column = columns.all.get(at)?;
    let is_one = match &value {
        Value::Null | Value::Blob(_) => true,
        Value::Text(_) => column.is_exact && matches!(column.affinity, "TEXT" | ""),
        // Beyond that some stand there as REAL.
        Value::Integer(integer) => column.affinity == "INTEGER" && integer.unsigned_abs() < 1 << 53,
        Value::Real(_) => false,
    };
    is_one.then_some(value)
}
