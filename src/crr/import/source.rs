//! What there is in a file of cr-sqlite.

use std::collections::HashMap;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension};

use super::super::clock::SELF;
use super::super::quote::identifier;
use super::super::{Result, SiteId, Version, catalog};
use super::Irregular;

/// The end of the name of a table of clocks.
const CLOCK: &str = "__crsql_clock";

/// This copy's own site id, if it is one.
pub(super) fn own_site(conn: &Connection) -> Result<Option<SiteId>> {
    let site: Option<Value> =
        conn.query_row("SELECT site_id FROM crsql_site_id WHERE ordinal = 0", [], |row| row.get(0)).optional()?;
    match site {
        Some(Value::Blob(site)) => Ok(SiteId::from_slice(&site).ok()),
        _ => Ok(None),
    }
}

/// The ordinals by which clocks may name a site, and those by which ours will. Ids that are too short are filled up.
pub(super) fn sites(conn: &Connection, irregular: &mut Irregular) -> Result<HashMap<i64, i64>> {
    let mut sites = HashMap::new();
    let mut short = Vec::new();
    let mut list = conn.prepare("SELECT ordinal, site_id FROM crsql_site_id")?;
    let mut rows = list.query([])?;
    while let Some(row) = rows.next()? {
        let ordinal: i64 = row.get(0)?;
        let id = match row.get_ref(1)? {
            ValueRef::Blob(id) | ValueRef::Text(id) => id,
            _ => continue,
        };
        if id.len() > 16 || ordinal < SELF {
            continue;
        }
        if id.len() < 16 {
            let mut filled = id.to_vec();
            filled.resize(16, 0);
            short.push((ordinal, filled));
        }
        sites.insert(ordinal, ordinal);
    }
    drop(rows);
    for (ordinal, id) in short {
        let taken = catalog::ordinal(conn, SiteId::from_slice(&id)?)?;
        match taken {
            Some(other) => _ = sites.insert(ordinal, other),
            None => _ = conn.execute("UPDATE crsql_site_id SET site_id = ? WHERE ordinal = ?", (id, ordinal))?,
        }
        irregular.short_sites += 1;
    }
    Ok(sites)
}

/// The names of the tables that have clocks, in the order in which cr-sqlite reads them.
pub(super) fn clocked_tables(conn: &Connection) -> Result<Vec<String>> {
    let mut list = conn.prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")?;
    let names = list.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(names.iter().filter_map(|name| name.strip_suffix(CLOCK)).map(str::to_owned).collect())
}

/// The newest version, at least 1 where there are any clocks.
pub(super) fn version(conn: &Connection, clocked: &[String]) -> Result<Version> {
    let mut newest: i64 = catalog::master(conn, "pre_compact_dbversion")?.unwrap_or_default();
    for name in clocked {
        let sql = format!("SELECT max(max(db_version), 1) FROM {}", clocks(name));
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
    let mut list = conn.prepare_cached("SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'")?;
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
            conn.execute_batch(&format!("DROP TRIGGER {}", identifier(&trigger)))?;
        }
    }
    conn.execute_batch(&format!("DROP TABLE IF EXISTS {}; DROP TABLE IF EXISTS {}", clocks(name), pks(name)))?;
    Ok(())
}
