//! Taking over a database of the original cr-sqlite, 0.15 or 0.16.
//!
//! [`import`] changes the clocks from cr-sqlite's storage to the engine's, in place and inside the caller's transaction.
//! Afterwards `crsql_changes` shows what it showed before, and the copy goes on living under its own site id. Rows are
//! not touched. What is inconsistent in the file is repaired or left out, never in silence: [`Imported`] counts it.
//!
//! cr-sqlite renumbers a change when it merges it, so the version under which another site made a change is not in the
//! file. Such a change gets the number under which this copy stored it, which is never smaller than the author's. It
//! ranks nothing: merges compare causal lengths, column versions, values and sites. But it does not name the author's
//! transaction, and that this copy has *some* change of a site says nothing about the changes before it. So the last
//! version of the import stays in `crsql_master` as `imported_version`: of other sites' changes, those of local versions
//! up to it have numbers of this copy. Changes of this copy itself keep their own numbers, which are exact.

mod convert;
mod source;

use rusqlite::Connection;

use self::convert::Converter;
use super::{Error, Result, SiteId, Version, catalog};

/// The first version of cr-sqlite whose files have the tables that are read here.
const OLDEST: i64 = 150_000;

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The table that is being converted.
    pub table: &'a str,
    /// Its rows that are done, live and deleted ones.
    pub done: u64,
    /// All its rows.
    pub total: u64,
}

/// What an import did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The copy's site id, which it keeps.
    pub site: SiteId,
    /// Its newest version.
    pub version: Version,
    /// Replicated tables.
    pub tables: u64,
    /// Live rows with clocks.
    pub rows: u64,
    /// Deleted rows.
    pub tombstones: u64,
    /// What was not as it should be.
    pub irregular: Irregular,
}

/// What was inconsistent in the file, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Irregular {
    /// Replicated tables that were dropped or renamed without telling cr-sqlite, or got another primary key: their clocks
    /// are left out, their rows stay as they are in a table that is not replicated.
    pub skipped_tables: Vec<String>,
    /// Clocks whose row is gone without a tombstone: left out, as nothing is known of such a row.
    pub dangling_rows: u64,
    /// Clocks of columns that are gone, of a deleted row's cells, or of no row at all: left out.
    pub dangling_cells: u64,
    /// Clocks of a second spelling of a primary key that its collation or type makes the same: left out.
    pub ghosts: u64,
    /// Live rows that were marked as deleted: alive again, as changes of this copy in a version of their own.
    pub revived: u64,
    /// Live rows without clocks. They stay, and replicate from their next change on.
    pub untracked: u64,
    /// Changes of version 0 or less, which no peer would ever ask for: they count to version 1.
    pub version_zero: u64,
    /// Column versions and seqs that are negative or over 2^53 − 1: the nearest that are not.
    pub out_of_range: u64,
    /// Deleted rows whose primary key cannot be one of their table: left out.
    pub invalid_keys: u64,
    /// Changes of an author who is not in the list of sites: they count to this copy.
    pub unknown_authors: u64,
}

/// Converts the database of `conn` in place. The caller holds a write transaction, and rolls it back on an error. The
/// engine must not be installed on `conn`; it can be once the transaction is committed.
///
/// # Errors
/// [`Error::NotImportable`] for a file that is none of cr-sqlite's, or too old, or taken over already.
pub fn import(conn: &Connection, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Imported> {
    let site = check(conn)?;
    let irregular = Irregular::default();
    let sites = source::sites(conn)?;
    let clocked = source::clocked_tables(conn)?;
    let version = source::version(conn, &clocked)?;
    for name in catalog::ADDED {
        source::free(conn, name)?;
    }
    catalog::create_tables(conn)?;
    catalog::set_master(conn, "imported_version", version.get())?;
    let mut converter = Converter::new(conn, sites, version, irregular)?;
    for name in &clocked {
        converter.table(name, progress)?;
    }
    for name in source::clockless_tables(conn, &clocked)? {
        converter.skip(&name)?;
    }
    converter.finish(site)
}

/// Whether the file can be imported; its site id.
fn check(conn: &Connection) -> Result<SiteId> {
    let refuse = |why: String| Err(Error::NotImportable(why));
    if catalog::has_table(conn, "crsql_tables")? {
        return refuse("this database is one of crsql-sync already: it needs no import".into());
    }
    let old = catalog::has_table(conn, "__crsql_siteid")?;
    if !catalog::has_table(conn, "crsql_site_id")? && !old || !catalog::has_table(conn, "crsql_master")? {
        return refuse("this is no database of cr-sqlite".into());
    }
    let version: i64 = catalog::master(conn, "crsqlite_version")?.unwrap_or_default();
    if old && version >= OLDEST {
        return refuse(
            "this database was made by cr-sqlite before the release of 0.15, which stored clocks in another way".into(),
        );
    }
    if version < OLDEST {
        return refuse(format!(
            "this database was made by cr-sqlite {}.{}, which stored clocks in another way; 0.15 and 0.16 can be imported",
            version / 1_000_000,
            version / 10_000 % 100
        ));
    }
    match source::own_site(conn)? {
        Some(site) => Ok(site),
        None => refuse("this database has no site id of 16 bytes, so nobody can tell whose changes it holds".into()),
    }
}
