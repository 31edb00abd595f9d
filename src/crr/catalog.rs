//! The engine's own tables, and the list of replicated ones.
//!
//! | table | holds |
//! | --- | --- |
//! | `crsql_master` | key, value: format, `db_version`, settings |
//! | `crsql_site_id` | site id by ordinal; 0 is this copy |
//! | `crsql_tracked_peers` | cursors, for whoever syncs; the engine never reads it |
//! | `crsql_tables`, `crsql_columns` | replicated tables and their columns, by numbers that survive renames |
//! | `crsql_log` | for each local version, the rows that it touched |
//! | `T__crsql_rows`, `T__crsql_tombstones` | the clocks of the live and the deleted rows of `T` |
//! | `T__crsql_keys` | the keys of primary keys where `T` has no rowid |

use std::sync::Arc;

use rusqlite::{Connection, MAIN_DB, OptionalExtension, params};

use super::table::{Shape, TableId};
use super::tables::Tables;
use super::{Error, Result, SiteId, Version, layout};

/// The version of this storage layout.
const FORMAT: i64 = 2;

/// The version of cr-sqlite whose behaviour this is, as `crsql_master` has it.
const CRSQLITE_VERSION: i64 = 160_300;

/// Those of the engine's tables that cr-sqlite does not have.
pub(super) const ADDED: [&str; 3] = ["crsql_tables", "crsql_columns", "crsql_log"];

const DDL: &str = "
CREATE TABLE IF NOT EXISTS main.crsql_master (key TEXT PRIMARY KEY, value ANY);
CREATE TABLE IF NOT EXISTS main.crsql_site_id (site_id BLOB NOT NULL, ordinal INTEGER PRIMARY KEY);
CREATE UNIQUE INDEX IF NOT EXISTS main.crsql_site_id_site_id ON crsql_site_id (site_id);
CREATE TABLE IF NOT EXISTS main.crsql_tracked_peers (
  site_id BLOB NOT NULL, version INTEGER NOT NULL, seq INTEGER DEFAULT 0, tag INTEGER, event INTEGER,
  PRIMARY KEY (site_id, tag, event)
) STRICT;
CREATE TABLE IF NOT EXISTS main.crsql_tables (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE IF NOT EXISTS main.crsql_columns (tbl INTEGER NOT NULL, id INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (tbl, id)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS main.crsql_log (version INTEGER PRIMARY KEY, touched BLOB NOT NULL) STRICT;
";

/// Makes a new database one of the engine's, and returns its site id.
pub(super) fn initialize(conn: &Connection) -> Result<SiteId> {
    if !has_table(conn, "crsql_tables")? {
        if has_table(conn, "crsql_master")? {
            return Err(Error::Foreign);
        }
        if conn.is_readonly(MAIN_DB)? {
            return Err(Error::ReadOnly);
        }
        create(conn)?;
    }
    let format: Option<i64> = master(conn, "crsql_sync_format")?;
    if format != Some(FORMAT) {
        return Err(Error::UnknownFormat(format.unwrap_or_default()));
    }
    let site: Vec<u8> = conn
        .query_row("SELECT site_id FROM main.crsql_site_id WHERE ordinal = 0", [], |row| row.get(0))
        .optional()?
        .ok_or(Error::Corrupt("the site id is missing"))?;
    match site.try_into() {
        Ok(site) => Ok(SiteId::new(site)),
        Err(_) => Err(Error::Corrupt("the site id is not 16 bytes long")),
    }
}

/// Whether the file has a table of this name.
pub(super) fn has_table(conn: &Connection, name: &str) -> Result<bool> {
    let known = "SELECT count(*) FROM main.sqlite_master WHERE type = 'table' AND name = ?";
    Ok(conn.query_row(known, [name], |row| row.get(0))?)
}

fn create(conn: &Connection) -> Result<()> {
    conn.execute_batch("SAVEPOINT crsql_install")?;
    let created = (|| {
        create_tables(conn)?;
        set_version(conn, Version::ZERO)?;
        conn.execute("INSERT INTO main.crsql_site_id (site_id, ordinal) VALUES (?, 0)", [random_site(conn)?])?;
        Ok(())
    })();
    end_savepoint(conn, "crsql_install", created)
}

/// 16 random bytes with the bits of a version 4 UUID (RFC 9562, section 5.4).
pub(super) fn random_site(conn: &Connection) -> Result<[u8; 16]> {
    let mut site: [u8; 16] = conn.query_row("SELECT randomblob(16)", [], |row| row.get(0))?;
    site[6] = site[6] & 0x0f | 0x40;
    site[8] = site[8] & 0x3f | 0x80;
    Ok(site)
}

/// Creates those of the engine's tables that are missing: all, or the ones that cr-sqlite does not have.
pub(super) fn create_tables(conn: &Connection) -> Result<()> {
    conn.execute_batch(DDL)?;
    set_master(conn, "crsqlite_version", CRSQLITE_VERSION)?;
    set_master(conn, "crsql_sync_format", FORMAT)
}

/// Releases `savepoint`, or takes back what was done since it began. The caller's own transaction stays as it is.
pub(super) fn end_savepoint<T>(conn: &Connection, savepoint: &str, outcome: Result<T>) -> Result<T> {
    if outcome.is_err() {
        conn.execute_batch(&format!("ROLLBACK TO {savepoint}"))?;
    }
    conn.execute_batch(&format!("RELEASE {savepoint}"))?;
    outcome
}

/// A value of `crsql_master`.
pub(super) fn master<T: rusqlite::types::FromSql>(conn: &Connection, key: &str) -> Result<Option<T>> {
    let mut get = conn.prepare_cached("SELECT value FROM main.crsql_master WHERE key = ?")?;
    Ok(get.query_row([key], |row| row.get(0)).optional()?)
}

/// Sets a value of `crsql_master`.
pub(super) fn set_master(conn: &Connection, key: &str, value: impl rusqlite::ToSql) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO main.crsql_master (key, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
    )?
    .execute(params![key, value])?;
    Ok(())
}

/// The newest version in the database, with what the open transaction stored.
pub(super) fn version(conn: &Connection) -> Result<Version> {
    Version::or_zero(master(conn, "db_version")?.unwrap_or_default())
}

pub(super) fn set_version(conn: &Connection, version: Version) -> Result<()> {
    set_master(conn, "db_version", version.get())
}

/// `crsql_master`: the one setting there is.
const MERGE_EQUAL_VALUES: &str = "config.merge-equal-values";

pub(super) fn merge_equal_values(conn: &Connection) -> Result<i64> {
    Ok(master(conn, MERGE_EQUAL_VALUES)?.unwrap_or_default())
}

pub(super) fn set_merge_equal_values(conn: &Connection, value: i64) -> Result<()> {
    set_master(conn, MERGE_EQUAL_VALUES, value)
}

/// The site with an ordinal.
pub(super) fn site(conn: &Connection, ordinal: i64) -> Result<SiteId> {
    let mut get = conn.prepare_cached("SELECT site_id FROM main.crsql_site_id WHERE ordinal = ?")?;
    let site: Option<Vec<u8>> = get.query_row([ordinal], |row| row.get(0)).optional()?;
    SiteId::from_slice(&site.ok_or(Error::Corrupt("a clock names an unknown site"))?)
}

/// The ordinal of a site, if one of its changes was ever kept here.
pub(super) fn ordinal(conn: &Connection, site: SiteId) -> Result<Option<i64>> {
    let mut get = conn.prepare_cached("SELECT ordinal FROM main.crsql_site_id WHERE site_id = ?")?;
    Ok(get.query_row([site.as_bytes()], |row| row.get(0)).optional()?)
}

/// Gives an ordinal to a site that has none.
pub(super) fn add_site(conn: &Connection, site: SiteId) -> Result<i64> {
    let mut add = conn.prepare_cached("INSERT INTO main.crsql_site_id (site_id) VALUES (?) RETURNING ordinal")?;
    Ok(add.query_row([site.as_bytes()], |row| row.get(0))?)
}

/// Takes back [`add_site`].
pub(super) fn remove_site(conn: &Connection, site: SiteId) -> Result<()> {
    conn.execute("DELETE FROM main.crsql_site_id WHERE site_id = ?", [site.as_bytes()])?;
    Ok(())
}

/// Enters a table and its columns, or brings the columns of a known one up to date.
pub(super) fn add_table(conn: &Connection, name: &str, shape: &Shape) -> Result<TableId> {
    conn.execute("INSERT OR IGNORE INTO main.crsql_tables (name) VALUES (?)", [name])?;
    let id: i64 = conn.query_row("SELECT id FROM main.crsql_tables WHERE name = ?", [name], |row| row.get(0))?;
    let mut add = conn.prepare_cached(
        "INSERT INTO main.crsql_columns (tbl, id, name)
         SELECT ?1, coalesce((SELECT max(id) FROM main.crsql_columns WHERE tbl = ?1), 0) + 1, ?2
         WHERE NOT EXISTS (SELECT 1 FROM main.crsql_columns WHERE tbl = ?1 AND name = ?2)",
    )?;
    for column in &shape.columns {
        add.execute((id, column))?;
    }
    layout::create(conn, name, shape)?;
    Ok(TableId(id))
}

/// Removes what the engine keeps of a table: clocks, tombstones, and its name.
pub(super) fn remove_table(conn: &Connection, name: &str) -> Result<()> {
    layout::drop_clocks(conn, name)?;
    layout::drop_pks(conn, name)?;
    // The number stays taken: the log still speaks of it, and another table's rows must not be found under it.
    conn.execute("UPDATE main.crsql_tables SET name = '__crsql_gone_' || id WHERE name = ?", [name])?;
    Ok(())
}

/// The replicated tables, read again whenever SQLite says that the schema changed.
///
/// SQLite counts schema changes, and a rollback counts back: the next change reaches the same number with another
/// schema. So tables that were read inside a write transaction are forgotten when it is rolled back; joining it
/// ([`State::join`](super::state::State::join)) makes SQLite tell. That costs nothing while the schema stays.
#[derive(Default)]
pub(super) struct Catalog {
    schema_version: Option<i64>,
    tables: Arc<Tables>,
}

impl Catalog {
    /// The tables as they were read, if that was under this schema version.
    pub(super) fn at(&self, schema_version: i64) -> Option<Arc<Tables>> {
        (self.schema_version == Some(schema_version)).then(|| self.tables.clone())
    }

    pub(super) fn set(&mut self, schema_version: i64, tables: Arc<Tables>) {
        (self.schema_version, self.tables) = (Some(schema_version), tables);
    }
}
