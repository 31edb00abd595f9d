//! A new site id for a database that was copied, or restored from an older copy.
//!
//! (site, version) names a transaction for ever, so two copies that go on under one site id would give one name to two
//! transactions. What the copy wrote until now stays the work of the old site.

use rusqlite::{Connection, params};

use super::clock::RowClock;
use super::quote::identifier;
use super::table::Table;
use super::tables::Tables;
use super::{Ordinal, Result, SiteId, Version, catalog};

/// What a renewal did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// The copy's site id until now, and the ordinal that it has from now on.
    pub old: (SiteId, Ordinal),
    /// Its new one.
    pub new: SiteId,
    /// Its newest version. Numbering goes on from there.
    pub version: Version,
}

/// Gives the database of `conn` a new site id. Takes time that grows with the database: each clock names its authors.
///
/// The engine must not be installed on `conn`; it can be once the caller's write transaction is committed.
pub fn renew(conn: &Connection) -> Result<Renewed> {
    let old = catalog::site(conn, Ordinal::SELF.get())?;
    let new = SiteId::new(catalog::random_site(conn)?);
    conn.execute("UPDATE main.crsql_site_id SET site_id = ? WHERE ordinal = 0", [new.as_bytes()])?;
    let ordinal = catalog::add_site(conn, old)?;
    for table in Tables::load(conn)?.all(conn)? {
        restamp(conn, &Table::clocks(&table.stored_as), "key", "clock", ordinal)?;
        restamp(conn, &Table::tombstones(&table.stored_as), "__crsql_id", "__crsql_clock", ordinal)?;
    }
    Ok(Renewed { old: (old, ordinal.into()), new, version: catalog::version(conn)? })
}

/// Puts `ordinal` in the place of this copy's own in the clocks of one table.
fn restamp(conn: &Connection, table: &str, key: &str, clock: &str, ordinal: i64) -> Result<()> {
    let (key, clock) = (identifier(key), identifier(clock));
    // Read a piece at a time: what is being scanned is not written to.
    let mut read = conn
        .prepare(&format!("SELECT {key}, {clock} FROM main.{table} WHERE {key} > ? ORDER BY {key} LIMIT {AT_ONCE}"))?;
    let mut write = conn.prepare(&format!("UPDATE main.{table} SET {clock} = ? WHERE {key} = ?"))?;
    let mut last = i64::MIN;
    loop {
        let mut records = Vec::new();
        let mut rows = read.query([last])?;
        while let Some(row) = rows.next()? {
            records.push((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?));
        }
        drop(rows);
        let Some((newest, _)) = records.last() else { return Ok(()) };
        last = *newest;
        for (key, record) in records {
            let mut clock = RowClock::decode(&record)?;
            if clock.replace_site(Ordinal::SELF.get(), ordinal) {
                let mut record = Vec::new();
                clock.encode(&mut record);
                write.execute(params![record, key])?;
            }
        }
    }
}

/// How many records are read at once.
const AT_ONCE: usize = 1000;
