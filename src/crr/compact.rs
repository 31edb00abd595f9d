//! Keeping the log in proportion to the database, not to its history.
//!
//! An entry of the log is of use while some cell of its row is still of its version. Now and then, in the commit of a
//! transaction, the log is written anew from the clocks. A reader that stands at some cursor sees no difference: versions
//! without cells are what it would have passed over.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::check::clocks;
use super::log::{self, Touched};
use super::tables::Tables;
use super::{Result, Version, catalog};
use crate::crr::sort::sort;

/// How often to ask whether it is time, in versions.
const INTERVAL: i64 = 256;

/// A log of fewer versions is left alone.
const SMALL: i64 = 4096;

/// `crsql_master`: the version at which the log was last compacted, and how many records it had then.
const COMPACTED: &str = "log_compacted";
const KEPT: &str = "log_kept";

/// Compacts the log when it may have doubled since the last time.
pub(super) fn if_due(conn: &Connection, tables: &Tables, version: Version) -> Result<()> {
    if version.get() % INTERVAL != 0 {
        return Ok(());
    }
    let compacted: i64 = catalog::master(conn, COMPACTED)?.unwrap_or_default();
    let kept: i64 = catalog::master(conn, KEPT)?.unwrap_or_default();
    if version.get().saturating_sub(compacted) < kept.max(SMALL) {
        return Ok(());
    }
    let kept = compact(conn, tables)?;
    catalog::set_master(conn, COMPACTED, version.get())?;
    catalog::set_master(conn, KEPT, kept)
}

/// Writes the log anew, and returns how many records it has.
pub(super) fn compact(conn: &Connection, tables: &Tables) -> Result<i64> {
    let mut touched: BTreeMap<i64, Vec<Touched>> = BTreeMap::new();
    clocks(conn, tables, &mut |row, clock| {
        for version in clock.versions() {
            touched.entry(version).or_default().push(row);
        }
        Ok(())
    })?;
    conn.execute("DELETE FROM main.crsql_log", [])?;
    let records = touched.len() as i64;
    for (version, mut rows) in touched {
        sort(&mut rows);
        log::write(conn, Version::or_zero(version)?, &rows)?;
    }
    Ok(records)
}
