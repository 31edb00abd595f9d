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

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::quote::identifier;
use super::table::{Shape, Table, TableId};
use super::{Error, Result, SiteId, Version};

/// The version of this storage layout.
const FORMAT: i64 = 1;

/// The version of cr-sqlite whose behaviour this is, as `crsql_master` has it.
const CRSQLITE_VERSION: i64 = 160_300;

const DDL: &str = "
CREATE TABLE crsql_master (key TEXT PRIMARY KEY, value ANY);
CREATE TABLE crsql_site_id (site_id BLOB NOT NULL, ordinal INTEGER PRIMARY KEY);
CREATE UNIQUE INDEX crsql_site_id_site_id ON crsql_site_id (site_id);
CREATE TABLE crsql_tracked_peers (
  site_id BLOB NOT NULL, version INTEGER NOT NULL, seq INTEGER DEFAULT 0, tag INTEGER, event INTEGER,
  PRIMARY KEY (site_id, tag, event)
) STRICT;
CREATE TABLE crsql_tables (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE crsql_columns (tbl INTEGER NOT NULL, id INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (tbl, id)) STRICT, WITHOUT ROWID;
CREATE TABLE crsql_log (version INTEGER PRIMARY KEY, touched BLOB NOT NULL) STRICT;
";

/// Makes a new database one of the engine's, and returns its site id.
pub(super) fn initialize(conn: &Connection) -> Result<SiteId> {
    let known = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?";
    let has = |table: &str| conn.query_row(known, [table], |row| row.get::<_, bool>(0));
    if !has("crsql_tables")? {
        if has("crsql_master")? {
            return Err(Error::Foreign);
        }
        create(conn)?;
    }
    let format: Option<i64> = master(conn, "crsql_sync_format")?;
    if format != Some(FORMAT) {
        return Err(Error::UnknownFormat(format.unwrap_or_default()));
    }
    let site: Vec<u8> = conn
        .query_row("SELECT site_id FROM crsql_site_id WHERE ordinal = 0", [], |row| row.get(0))
        .optional()?
        .ok_or(Error::Corrupt("the site id is missing"))?;
    match site.try_into() {
        Ok(site) => Ok(SiteId::new(site)),
        Err(_) => Err(Error::Corrupt("the site id is not 16 bytes long")),
    }
}

fn create(conn: &Connection) -> Result<()> {
    conn.execute_batch("SAVEPOINT crsql_install")?;
    let created = (|| {
        conn.execute_batch(DDL)?;
        let mut set = conn.prepare("INSERT INTO crsql_master (key, value) VALUES (?, ?)")?;
        set.execute(("crsqlite_version", CRSQLITE_VERSION))?;
        set.execute(("crsql_sync_format", FORMAT))?;
        set.execute(("db_version", 0))?;
        let mut site: [u8; 16] = conn.query_row("SELECT randomblob(16)", [], |row| row.get(0))?;
        // The bits of a version 4 UUID (RFC 9562, section 5.4).
        site[6] = site[6] & 0x0f | 0x40;
        site[8] = site[8] & 0x3f | 0x80;
        conn.execute("INSERT INTO crsql_site_id (site_id, ordinal) VALUES (?, 0)", [site])?;
        Ok(())
    })();
    end_savepoint(conn, "crsql_install", created)
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
    let mut get = conn.prepare_cached("SELECT value FROM crsql_master WHERE key = ?")?;
    Ok(get.query_row([key], |row| row.get(0)).optional()?)
}

/// Sets a value of `crsql_master`.
pub(super) fn set_master(conn: &Connection, key: &str, value: impl rusqlite::ToSql) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO crsql_master (key, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
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

pub(super) fn merge_equal_values(conn: &Connection) -> Result<bool> {
    Ok(master::<i64>(conn, "config.merge-equal-values")?.unwrap_or_default() == 1)
}

/// The site with an ordinal.
pub(super) fn site(conn: &Connection, ordinal: i64) -> Result<SiteId> {
    let mut get = conn.prepare_cached("SELECT site_id FROM crsql_site_id WHERE ordinal = ?")?;
    let site: Option<Vec<u8>> = get.query_row([ordinal], |row| row.get(0)).optional()?;
    SiteId::from_slice(&site.ok_or(Error::Corrupt("a clock names an unknown site"))?)
}

/// The ordinal of a site, if one of its changes was ever kept here.
pub(super) fn ordinal(conn: &Connection, site: SiteId) -> Result<Option<i64>> {
    let mut get = conn.prepare_cached("SELECT ordinal FROM crsql_site_id WHERE site_id = ?")?;
    Ok(get.query_row([site.as_bytes()], |row| row.get(0)).optional()?)
}

/// The ordinal of a site, given to it now if it had none.
pub(super) fn add_site(conn: &Connection, site: SiteId) -> Result<i64> {
    if let Some(ordinal) = ordinal(conn, site)? {
        return Ok(ordinal);
    }
    let mut add = conn.prepare_cached("INSERT INTO crsql_site_id (site_id) VALUES (?) RETURNING ordinal")?;
    Ok(add.query_row([site.as_bytes()], |row| row.get(0))?)
}

/// Enters a table and its columns, or brings the columns of a known one up to date.
pub(super) fn add_table(conn: &Connection, name: &str, shape: &Shape) -> Result<TableId> {
    conn.execute("INSERT OR IGNORE INTO crsql_tables (name) VALUES (?)", [name])?;
    let id: i64 = conn.query_row("SELECT id FROM crsql_tables WHERE name = ?", [name], |row| row.get(0))?;
    let mut add = conn.prepare_cached(
        "INSERT INTO crsql_columns (tbl, id, name)
         SELECT ?1, coalesce((SELECT max(id) FROM crsql_columns WHERE tbl = ?1), 0) + 1, ?2
         WHERE NOT EXISTS (SELECT 1 FROM crsql_columns WHERE tbl = ?1 AND name = ?2)",
    )?;
    for column in &shape.columns {
        add.execute((id, column))?;
    }
    conn.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {} (key INTEGER PRIMARY KEY, clock BLOB NOT NULL) STRICT;
         CREATE TABLE IF NOT EXISTS {tombstones} (__crsql_id INTEGER PRIMARY KEY, __crsql_clock BLOB NOT NULL, {});
         CREATE UNIQUE INDEX IF NOT EXISTS {} ON {tombstones} ({});",
        Table::clocks(name),
        shape.declare_pks(),
        identifier(&format!("{name}__crsql_tombstones_pks")),
        shape.pk_list(""),
        tombstones = Table::tombstones(name),
    ))?;
    Ok(TableId(id))
}

/// The replicated tables, read again whenever SQLite says that the schema changed.
#[derive(Default)]
pub(super) struct Catalog {
    schema_version: Option<i64>,
    tables: Arc<[Arc<Table>]>,
}

impl Catalog {
    pub(super) fn tables(&mut self, conn: &Connection) -> Result<Arc<[Arc<Table>]>> {
        let current = conn.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0))?;
        if self.schema_version != Some(current) {
            self.tables = load(conn)?;
            self.schema_version = Some(current);
        }
        Ok(self.tables.clone())
    }
}

fn load(conn: &Connection) -> Result<Arc<[Arc<Table>]>> {
    let mut list = conn.prepare_cached("SELECT id, name FROM crsql_tables ORDER BY id")?;
    let tables = list.query_map([], |row| Ok((TableId(row.get(0)?), row.get::<_, String>(1)?)))?;
    let mut loaded = Vec::new();
    for table in tables {
        let (id, name) = table?;
        // A table that was dropped without telling the engine is passed over.
        loaded.extend(Table::load(conn, id, &name)?.map(Arc::new));
    }
    Ok(loaded.into())
}
