//! Whether what the engine keeps agrees with itself.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::clock::{RowClock, Stamp};
use super::log::{self, Touched};
use super::quote::identifier;
use super::table::Table;
use super::tables::Tables;
use super::{Ordinal, Result, Version, catalog};

/// Visits the clocks of all rows and tombstones.
pub(super) fn clocks(
    conn: &Connection,
    tables: &Tables,
    visit: &mut dyn FnMut(Touched, &RowClock) -> Result<()>,
) -> Result<()> {
    for table in tables.all(conn)? {
        for (tombstone, name, key, clock) in [
            (false, Table::clocks(&table.stored_as), "key", "clock"),
            (true, Table::tombstones(&table.stored_as), "__crsql_id", "__crsql_clock"),
        ] {
            let sql = format!("SELECT {}, {} FROM main.{name} ORDER BY 1", identifier(key), identifier(clock));
            let mut scan = conn.prepare(&sql)?;
            let mut rows = scan.query([])?;
            while let Some(row) = rows.next()? {
                let clock = RowClock::decode(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
                visit(Touched { table: table.id, tombstone, key: row.get(0)? }, &clock)?;
            }
        }
    }
    Ok(())
}

/// Compares clocks with the log, the sites and the version, and returns what is wrong, in sentences.
pub(super) fn check(conn: &Connection, tables: &Tables) -> Result<Vec<String>> {
    let newest = catalog::version(conn)?.get();
    let mut wrong = Vec::new();
    let mut by_version = BTreeMap::<i64, Vec<Touched>>::new();
    let mut authors = BTreeSet::new();
    clocks(conn, tables, &mut |row, clock| {
        for version in clock.versions() {
            by_version.entry(version).or_default().push(row);
        }
        for (_, stamp) in clock.iter() {
            authors.insert(stamp.site);
            if !is_plausible(stamp, newest) {
                wrong.push(format!("{row:?} has a stamp that nobody can have given: {stamp:?}"));
            }
        }
        Ok(())
    })?;
    for (version, rows) in by_version {
        let mut logged = BTreeSet::new();
        logged.extend(log::read(conn, Version::or_zero(version)?)?);
        let unlogged = rows.into_iter().filter(|row| !logged.contains(row));
        wrong.extend(unlogged.map(|row| format!("the log of version {version} lacks {row:?}")));
    }
    for author in authors {
        if catalog::site(conn, author).is_err() {
            wrong.push(format!("clocks name a site {author}, which is in no list"));
        }
    }
    Ok(wrong)
}

/// Whether a stamp can be of a database that is at version `newest`.
fn is_plausible(stamp: &Stamp, newest: i64) -> bool {
    let own = stamp.site == Ordinal::SELF.get();
    stamp.local <= newest && stamp.col_version >= 0 && stamp.seq >= 0 && (!own || stamp.version <= newest)
}
