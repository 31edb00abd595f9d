//! What there is in a file of cr-sqlite.

use std::collections::HashSet;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

use super::super::quote::identifier;
use super::super::{Error, Result, SiteId, Version, catalog};
use crate::crr::sort::sort;

/// The end of the name of a table of clocks.
const CLOCK: &str = "__crsql_clock";

/// This copy's own site id, if it is one.
pub(super) fn own_site(conn: &Connection) -> Result<Option<SiteId>> {
    let site: Option<Value> =
        conn.query_row("SELECT site_id FROM main.crsql_site_id WHERE ordinal = 0", [], |row| row.get(0)).optional()?;
    match site {
        Some(Value::Blob(site)) => Ok(<[u8; 16]>::try_from(site).ok().map(SiteId::new)),
        _ => Ok(None),
    }
}

/// The ordinals by which clocks may name a site.
pub(super) fn sites(conn: &Connection) -> Result<HashSet<i64>> {
    // cr-sqlite keeps a name that was given as text as text, and compares it with blobs.
    conn.execute("UPDATE main.crsql_site_id SET site_id = CAST(site_id AS BLOB) WHERE typeof(site_id) = 'text'", [])?;
    let mut list =
        conn.prepare("SELECT ordinal FROM main.crsql_site_id WHERE ordinal >= 0 AND length(site_id) BETWEEN 1 AND 16")?;
    let ordinals = list.query_map([], |row| row.get(0))?;
    Ok(ordinals.collect::<Result<_, _>>()?)
}

/// The names of the tables that have clocks, in the order in which cr-sqlite reads them.
pub(super) fn clocked_tables(conn: &Connection) -> Result<Vec<String>> {
    let mut list = conn.prepare("SELECT name FROM main.sqlite_master WHERE type = 'table' ORDER BY rowid")?;
    let names = list.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(names.iter().filter_map(|name| name.strip_suffix(CLOCK)).map(str::to_owned).collect())
}

/// The names of tables that have triggers or keys of cr-sqlite's, and no clocks.
pub(super) fn clockless_tables(conn: &Connection, clocked: &[String]) -> Result<Vec<String>> {
    let mut list =
        conn.prepare("SELECT name FROM main.sqlite_master WHERE type IN ('table', 'trigger') ORDER BY rowid")?;
    let names = list.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    let stem = |name: &String| {
        let stem = ["__crsql_pks", "__crsql_itrig"].iter().find_map(|end| name.strip_suffix(end))?;
        (!clocked.iter().any(|name| name == stem)).then(|| stem.to_owned())
    };
    let mut stems: Vec<String> = names.iter().filter_map(stem).collect();
    sort(&mut stems);
    stems.dedup();
    Ok(stems)
}

/// Refuses a file in which something has a name that the engine needs.
pub(super) fn free(conn: &Connection, name: &str) -> Result<()> {
    let known = "SELECT count(*) FROM main.sqlite_master WHERE lower(name) = lower(?)";
    if conn.query_row(known, [name], |row| row.get::<_, bool>(0))? {
        return Err(Error::NotImportable(format!(
            "{name:?} in this database has a name that crsql-sync needs: rename it first"
        )));
    }
    Ok(())
}

/// The newest version, at least 1 where there are any clocks.
pub(super) fn version(conn: &Connection, clocked: &[String]) -> Result<Version> {
    let mut newest: i64 = catalog::master(conn, "pre_compact_dbversion")?.unwrap_or_default();
    for name in clocked {
        let sql = format!("SELECT max(max(db_version), 1) FROM main.{}", clocks(name));
        let version: Option<i64> = conn.query_row(&sql, [], |row| row.get(0))?;
        newest = newest.max(version.unwrap_or_default());
    }
    Version::or_zero(newest)
}

/// The quoted name of cr-sqlite's table of clocks.
pub(super) fn clocks(name: &str) -> String {
    identifier(&format!("{name}{CLOCK}"))
}

/// The quoted name of cr-sqlite's table of primary keys.
pub(super) fn pks(name: &str) -> String {
    identifier(&format!("{name}__crsql_pks"))
}

/// Drops cr-sqlite's tables and triggers for `name`, also on a table that was renamed, and those of earlier releases.
pub(super) fn discard(conn: &Connection, name: &str) -> Result<()> {
    let mut list = conn.prepare_cached("SELECT name, tbl_name FROM main.sqlite_master WHERE type = 'trigger'")?;
    let triggers = list.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for trigger in triggers.collect::<Result<Vec<(String, String)>, _>>()? {
        let (trigger, table) = trigger;
        let stem = ["itrig", "utrig", "dtrig"].iter().find_map(|kind| trigger.strip_suffix(&format!("__crsql_{kind}")));
        let legacy = |stem: &str| {
            table.eq_ignore_ascii_case(name)
                && stem.strip_prefix(name).is_some_and(|column| column.starts_with('_'))
                && trigger.ends_with("utrig")
        };
        if stem.is_some_and(|stem| stem == name || legacy(stem)) {
            conn.execute_batch(&format!("DROP TRIGGER main.{}", identifier(&trigger)))?;
        }
    }
    conn.execute_batch(&format!(
        "DROP TABLE IF EXISTS main.{}; DROP TABLE IF EXISTS main.{}",
        clocks(name),
        pks(name)
    ))?;
    Ok(())
}
