//! The engine of one connection: the calls that the rest of the crate makes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use rusqlite::Connection;

use super::flush::{self, flush, flush_clocks};
use super::merge::{self, Merged};
use super::migrate::{self, Plan};
use super::read::{self, RowId, WholeRow, Window};
use super::state::{STATEMENTS, Shared, State};
use super::trace::{self, Reach, RowFilter, Tracer};
use super::{Change, Ordinal, Result, SiteId, Version};
use super::{
    catalog, changes_vtab, check, clocks_vtab, clset, forget, fract, functions, journal_vtab, notes, unpack_vtab,
};

/// The engine installed on one connection. Clones are handles to the same engine.
#[derive(Clone)]
pub struct Engine {
    shared: Shared,
}

impl Engine {
    /// Registers functions, virtual tables and the engine's own tables on `conn`. Must be the first thing done with a
    /// connection. A database that is new becomes one of the engine's; one that the engine knows is not written to.
    ///
    /// # Errors
    /// [`Error::Foreign`](super::Error::Foreign) for a file of the original cr-sqlite, and SQLite's errors.
    pub fn install(conn: &Connection) -> Result<Self> {
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        let site = catalog::initialize(conn)?;
        let shared = Shared::new(conn, site)?;
        functions::register(conn, &shared)?;
        notes::register(conn, &shared)?;
        flush::register(conn, &shared)?;
        fract::register(conn, &shared)?;
        unpack_vtab::register(conn)?;
        clset::register(conn, shared.clone())?;
        journal_vtab::register(conn, shared.clone())?;
        changes_vtab::register(conn, shared.clone())?;
        clocks_vtab::register(conn, shared.clone())?;
        Ok(Self { shared })
    }

    /// `crsql_site_id()`.
    pub fn site_id(&self) -> SiteId {
        self.shared.state().site
    }

    /// The number of the schema, which changes with it.
    pub fn schema_version(&self, conn: &Connection) -> Result<i64> {
        self.shared.state_for(conn)?.schema_version()
    }

    /// `crsql_db_version()`: the newest committed local version.
    pub fn db_version(&self, conn: &Connection) -> Result<Version> {
        self.shared.state_for(conn)?.committed_version(conn)
    }

    /// Gives the open write transaction a version, of at least `at_least`, also if it changes nothing. Returns the version.
    pub fn take_version(&self, conn: &Connection, at_least: Version) -> Result<Version> {
        let state = self.shared.state_for(conn)?;
        state.join(conn)?;
        let version = state.next_version(conn, at_least)?;
        catalog::set_version(conn, version)?;
        Ok(version)
    }

    /// The ordinal of a site, if it has one.
    pub fn ordinal(&self, conn: &Connection, site: SiteId) -> Result<Option<Ordinal>> {
        catalog::ordinal(conn, site).map(|ordinal| ordinal.map(Ordinal::from))
    }

    /// The ordinal of a site, which gets one if it has none. The caller holds a write transaction.
    pub fn ordinal_or_new(&self, conn: &Connection, site: SiteId) -> Result<Ordinal> {
        let state = self.shared.state_for(conn)?;
        state.join(conn)?;
        state.ask_sites(|sites| sites.ordinal(conn, site)).map(|(ordinal, _)| ordinal.into())
    }

    /// The site that has `ordinal`.
    pub fn site(&self, conn: &Connection, ordinal: Ordinal) -> Result<SiteId> {
        catalog::site(conn, ordinal.get())
    }

    /// Visits the changes of `window`, ordered by local version, then author, author's version and seq, until `visit`
    /// breaks. What the open transaction has written so far is included.
    pub fn changes(
        &self,
        conn: &Connection,
        window: Window,
        visit: &mut dyn FnMut(Version, Change) -> ControlFlow<()>,
    ) -> Result<()> {
        self.read(conn, |state| read::window(conn, state, window, visit))
    }

    /// Visits every row and tombstone of the replicated tables, until `visit` breaks.
    pub fn rows(&self, conn: &Connection, visit: &mut dyn FnMut(WholeRow) -> ControlFlow<()>) -> Result<()> {
        self.read(conn, |state| read::all_rows(conn, state, visit))
    }

    /// Visits, once each, the rows and tombstones that were touched after the local version `since`, until `visit` breaks.
    /// After a change of the schema that does not name all whose changes are others now.
    pub fn rows_since(
        &self,
        conn: &Connection,
        since: Version,
        visit: &mut dyn FnMut(WholeRow) -> ControlFlow<()>,
    ) -> Result<()> {
        self.read(conn, |state| read::rows_since(conn, state, since, visit))
    }

    /// One row or tombstone, if it is there.
    pub fn row(&self, conn: &Connection, id: RowId) -> Result<Option<WholeRow>> {
        self.read(conn, |state| read::one_row(conn, state, id))
    }

    /// Reads what is recorded, with what the open transaction has written so far.
    fn read<T>(&self, conn: &Connection, read: impl FnOnce(&State) -> Result<T>) -> Result<T> {
        let state = self.shared.state_for(conn)?;
        flush(conn, state)?;
        if !conn.is_autocommit() {
            return read(state);
        }
        // One snapshot, and one lock on the file instead of one a statement.
        conn.execute_batch("BEGIN")?;
        let outcome = read(state);
        conn.execute_batch("COMMIT")?;
        outcome
    }

    /// One that says which rows queries read, of what `reach` leaves of each table.
    ///
    /// It is good until the schema changes.
    pub fn tracer<'c>(&'c self, conn: &'c Connection, reach: &dyn Fn(&str) -> Reach) -> Result<Tracer<'c>> {
        let state = self.shared.state_for(conn)?;
        flush(conn, state)?;
        Tracer::new(conn, state, reach)
    }

    /// The names of the replicated tables.
    pub fn table_names(&self, conn: &Connection) -> Result<Vec<Arc<str>>> {
        let tables = self.shared.state_for(conn)?.tables(conn)?;
        Ok(tables.names().map(|names| names.name.clone()).collect())
    }

    /// Which of the rows of a table with these packed primary keys are alive and do not meet a filter, by their places. The
    /// caller holds a transaction.
    pub fn hidden<'k>(
        &self,
        conn: &Connection,
        table: &str,
        filter: &RowFilter,
        pks: impl Iterator<Item = &'k [u8]>,
    ) -> Result<Vec<usize>> {
        let state = self.shared.state_for(conn)?;
        flush(conn, state)?;
        let Some(table) = state.tables(conn)?.named(conn, table)? else { return Ok(Vec::new()) };
        let keys = read::live_keys(conn, &table, pks)?;
        let alive: Vec<i64> = keys.iter().filter_map(|(_, key)| *key).collect();
        let visible = trace::visible(conn, &table, filter, &alive)?;
        let is_hidden = |key: Option<i64>| key.is_none_or(|key| !visible.contains(&key));
        Ok(keys.into_iter().filter(|(_, key)| is_hidden(*key)).map(|(at, _)| at).collect())
    }

    /// What the rows of a table are called that have these integer keys, as [`Reads`](super::Reads) names them.
    pub fn row_ids(&self, conn: &Connection, table: &str, keys: &[i64]) -> Result<Vec<RowId>> {
        self.read(conn, |state| read::row_ids(conn, state, table, keys))
    }

    /// The rows and tombstones that were touched after the local version `since`, those that may be alive with their keys.
    pub fn touched(&self, conn: &Connection, since: Version) -> Result<BTreeMap<RowId, Option<i64>>> {
        self.read(conn, |state| read::touched(conn, state, since))
    }

    /// Visits the rows and tombstones of these names, table by table, each with its changes after the local version
    /// `since`, until `visit` breaks. It is told whether the row is alive. Rows without such changes are passed over.
    pub fn changes_of(
        &self,
        conn: &Connection,
        rows: &[RowId],
        since: Version,
        visit: &mut dyn FnMut(RowId, bool, Vec<Change>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.read(conn, |state| read::changes_of(conn, state, rows, since, visit))
    }

    /// Removes a live row and its clock, as if this copy had never had it: no other copy hears of it, and it comes back whole
    /// with whoever sends it. False, and nothing done, for a row that has writes of this copy's own after the local version
    /// `sent`. The caller holds a write transaction, and rolls it back on an error.
    pub fn forget(&self, conn: &Connection, table: &str, pk: &[u8], sent: Version) -> Result<bool> {
        let state = self.shared.state_for(conn)?;
        flush_clocks(conn, state)?;
        forget::forget(conn, state, table, pk, sent)
    }

    /// Takes back what transactions of this copy's own, those of which `is_of` knows the version, wrote to a row: what of it was not
    /// overwritten goes, as if it had never been written, and no other copy hears of it. What it had overwritten is not known
    /// here, and comes back with whoever sends it. The caller holds a write transaction, and rolls it back on an error.
    pub fn take_back(&self, conn: &Connection, table: &str, pk: &[u8], is_of: &dyn Fn(Version) -> bool) -> Result<()> {
        let state = self.shared.state_for(conn)?;
        flush_clocks(conn, state)?;
        forget::take_back(conn, state, table, pk, is_of)
    }

    /// Merges `changes` under one new local version. The caller holds a write transaction and rolls it back on an error.
    pub fn merge(&self, conn: &Connection, changes: &[Change]) -> Result<Merged> {
        let state = self.shared.state_for(conn)?;
        flush_clocks(conn, state)?;
        merge::merge(conn, state, changes)
    }

    /// Reads all clocks and returns what is wrong with them, in sentences.
    pub fn check(&self, conn: &Connection) -> Result<Vec<String>> {
        let state = self.shared.state_for(conn)?;
        flush(conn, state)?;
        check::check(conn, state.tables(conn)?.as_ref())
    }

    /// What has to be done for the database to take the shape that `schema` describes: `CREATE` statements, and calls of
    /// `crsql_as_crr` and `crsql_fract_as_ordered`.
    pub fn plan_migration(&self, conn: &Connection, schema: &str) -> Result<Plan> {
        migrate::plan(conn, self.shared.state_for(conn)?, schema)
    }

    /// Does what [`plan_migration`](Self::plan_migration) says, also what is destructive, and returns what was done. All or
    /// nothing, within the caller's transaction if there is one.
    pub fn migrate(&self, conn: &Connection, schema: &str) -> Result<Plan> {
        migrate::migrate(conn, self.shared.state_for(conn)?, schema, "")
    }

    /// Sets `merge-equal-values`: whether ties go to the larger site id, so that copies agree on authors too. All copies
    /// of a database must set it alike.
    pub fn set_merge_equal_values(&self, conn: &Connection, on: bool) -> Result<()> {
        self.shared.state_for(conn)?.set_merge_equal_values(conn, on.into())
    }
}
