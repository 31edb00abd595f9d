//! The engine of one connection: its state, and the calls that the rest of the crate makes.

use std::cell::{Cell, RefCell, RefMut};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use rusqlite::{Connection, ffi};

use super::catalog::{self, Catalog};
use super::journal::Journal;
use super::log::{self, Touched};
use super::merge::{Merge, Numbering};
use super::table::{Table, TableId};
use super::{Change, Error, Result, SENTINEL, SiteId, Version};
use super::{changes_vtab, compact, flush, functions, journal, read};

/// How many prepared statements a connection keeps.
const STATEMENTS: usize = 256;

/// The engine installed on one connection. Clones are handles to the same engine.
#[derive(Clone)]
pub struct Engine {
    shared: Shared,
}

/// Which changes to read: those with `since < local version <= until`.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Start, exclusive; [`Version::ZERO`] for the beginning.
    pub since: Version,
    /// End, inclusive.
    pub until: Version,
    /// Leave out what this site wrote.
    pub exclude: Option<SiteId>,
}

/// What a merge did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged {
    /// Changes that won, as `crsql_rows_impacted()` counts them.
    pub applied: u64,
    /// The local version under which the winners were stored; `None` when nothing won.
    pub version: Option<Version>,
}

impl Engine {
    /// Registers functions, virtual tables and the engine's own tables on `conn`. Must be the first thing done with a
    /// connection. A database that is new becomes one of the engine's; one that the engine knows is not written to.
    ///
    /// # Errors
    /// [`Error::Foreign`] for a file of the original cr-sqlite, and SQLite's errors.
    pub fn install(conn: &Connection) -> Result<Self> {
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        let site = catalog::initialize(conn)?;
        // SAFETY: the handle is open, and `finalize` lets go of its statements before it is closed.
        let inner = unsafe { Connection::from_handle(conn.handle()) }?;
        inner.set_prepared_statement_cache_capacity(STATEMENTS);
        #[expect(clippy::arc_with_non_send_sync, reason = "see the impls of Send and Sync for Shared")]
        let shared = Shared(Arc::new(State {
            site,
            // SAFETY: only compared.
            handle: unsafe { conn.handle() } as usize,
            conn: inner,
            catalog: RefCell::default(),
            journal: RefCell::default(),
            transaction: Transaction::default(),
            sync_bit: Cell::new(0),
            merging: Cell::new(None),
            merge_equal_values: Cell::new(catalog::merge_equal_values(conn)?),
        }));
        functions::register(conn, &shared)?;
        journal::register(conn, shared.clone())?;
        changes_vtab::register(conn, shared.clone())?;
        Ok(Self { shared })
    }

    /// `crsql_site_id()`.
    pub fn site_id(&self) -> SiteId {
        self.shared.0.site
    }

    /// `crsql_db_version()`: the newest committed local version.
    pub fn db_version(&self, conn: &Connection) -> Result<Version> {
        self.state(conn)?.committed_version(conn)
    }

    /// Visits the changes of `window`, ordered by local version, then author, author's version and seq, until `visit`
    /// breaks. What the open transaction has written so far is included.
    pub fn changes(
        &self,
        conn: &Connection,
        window: Window,
        visit: &mut dyn FnMut(Version, Change) -> ControlFlow<()>,
    ) -> Result<()> {
        let state = self.state(conn)?;
        state.flush(conn)?;
        read::window(conn, state, window, visit)
    }

    /// Merges `changes` under one new local version. The caller holds a write transaction and rolls it back on an error.
    pub fn merge(&self, conn: &Connection, changes: &[Change]) -> Result<Merged> {
        let state = self.state(conn)?;
        state.flush(conn)?;
        let mut merge = Merge::new(conn, state, Numbering::Local)?;
        let mut changes: Vec<&Change> = changes.iter().collect();
        // Row by row, since the order of changes does not matter; within a row the newest incarnation first, which
        // makes the older ones moot, and its sentinel first of all.
        changes.sort_by_key(|c| (&c.table, &c.pk, Reverse(c.cl), &*c.cid != SENTINEL));
        for row in changes.chunk_by(|a, b| a.table == b.table && a.pk == b.pk) {
            merge.row(row)?;
        }
        merge.finish()
    }

    /// Sets `merge-equal-values`: whether ties go to the larger site id, so that copies agree on authors too. All copies
    /// of a database must set it alike.
    pub fn set_merge_equal_values(&self, conn: &Connection, on: bool) -> Result<()> {
        self.state(conn)?.set_merge_equal_values(conn, on)
    }

    /// The state, for the one connection that it belongs to.
    fn state(&self, conn: &Connection) -> Result<&State> {
        // SAFETY: only compared.
        if unsafe { conn.handle() } as usize != self.shared.0.handle {
            return Err(Error::ForeignConnection);
        }
        Ok(&self.shared.0)
    }
}

/// A handle to the engine's state for SQLite's callbacks.
#[derive(Clone)]
pub(super) struct Shared(Arc<State>);

// SAFETY: state is reached in two ways. Callbacks run on the thread that is using the connection. Calls through `Engine`
// need a `&Connection` of this very connection, which is `!Sync`, so it is on one thread at a time; what they reach
// without one (the site id) never changes.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// What the engine knows about one connection.
pub(super) struct State {
    pub(super) site: SiteId,
    handle: usize,
    /// The same connection, for callbacks; it does not own it.
    conn: Connection,
    catalog: RefCell<Catalog>,
    journal: RefCell<Journal>,
    pub(super) transaction: Transaction,
    /// `crsql_internal_sync_bit`: not 0 while the application asks that nothing be tracked.
    pub(super) sync_bit: Cell<i64>,
    /// The table whose rows a merge is writing. Its triggers report nothing; those of other tables do.
    pub(super) merging: Cell<Option<TableId>>,
    pub(super) merge_equal_values: Cell<bool>,
}

/// What is true until the open transaction ends.
#[derive(Default)]
pub(super) struct Transaction {
    /// Whether SQLite will tell of its end.
    joined: Cell<bool>,
    /// The last version before it, once somebody needed to know.
    base: Cell<Option<Version>>,
    /// The version under which it will commit.
    pub(super) pending: Cell<Option<Version>>,
    /// The next seq.
    pub(super) seq: Cell<i64>,
    /// Merged changes that won.
    pub(super) rows_impacted: Cell<i64>,
    /// The rows that it touched. Kept whole until it ends, since a savepoint may take back what was written of it;
    /// a row too many does no harm.
    touched: RefCell<BTreeMap<Version, Vec<Touched>>>,
    /// Whether the log lacks some of them.
    log_is_stale: Cell<bool>,
}

impl State {
    /// The newest committed version, also while a transaction is under way.
    pub(super) fn committed_version(&self, conn: &Connection) -> Result<Version> {
        match self.transaction.base.get() {
            Some(base) => Ok(base),
            None => catalog::version(conn),
        }
    }

    /// The version under which the open transaction commits: the one after the last, or as much later as `at_least`.
    pub(super) fn next_version(&self, conn: &Connection, at_least: Version) -> Result<Version> {
        let base = self.committed_version(conn)?;
        let pending = self.transaction.pending.get().unwrap_or(Version::ZERO);
        let next = base.next()?.max(pending).max(at_least);
        self.transaction.pending.set(Some(next));
        Ok(next)
    }

    /// Notes that `version`, the open transaction's, touched `rows`.
    pub(super) fn touch(
        &self,
        conn: &Connection,
        version: Version,
        rows: impl IntoIterator<Item = Touched>,
    ) -> Result<()> {
        if !self.transaction.joined.get() {
            // SQLite tells a virtual table of the end of a transaction only when it was written to.
            conn.prepare_cached("INSERT INTO crsql_local_writes (op) VALUES (0)")?.execute([])?;
        }
        self.transaction.touched.borrow_mut().entry(version).or_default().extend(rows);
        self.transaction.log_is_stale.set(true);
        Ok(())
    }

    /// Writes the log of the open transaction so far, and with it the version that a reader finds after the commit.
    fn write_log(&self, conn: &Connection) -> Result<()> {
        if !self.transaction.log_is_stale.get() {
            return Ok(());
        }
        if self.transaction.base.get().is_none() {
            self.transaction.base.set(Some(catalog::version(conn)?));
        }
        let mut touched = self.transaction.touched.borrow_mut();
        for (version, rows) in touched.iter_mut() {
            rows.sort_unstable();
            rows.dedup();
            log::write(conn, *version, rows)?;
        }
        self.transaction.log_is_stale.set(false);
        let Some(version) = touched.keys().last() else { return Ok(()) };
        catalog::set_version(conn, *version)?;
        compact::if_due(conn, &self.tables(conn)?, *version)
    }

    pub(super) fn set_merge_equal_values(&self, conn: &Connection, on: bool) -> Result<()> {
        catalog::set_master(conn, "config.merge-equal-values", i64::from(on))?;
        self.merge_equal_values.set(on);
        Ok(())
    }

    /// Hands out `count` consecutive seqs, and returns the first.
    pub(super) fn take_seqs(&self, count: i64) -> i64 {
        self.transaction.seq.replace(self.transaction.seq.get() + count)
    }

    /// The replicated tables as they are now.
    pub(super) fn tables(&self, conn: &Connection) -> Result<Arc<[Arc<Table>]>> {
        self.catalog.borrow_mut().tables(conn)
    }

    /// Writes the clocks of the local writes so far, and the log.
    pub(super) fn flush(&self, conn: &Connection) -> Result<()> {
        let events = self.journal.borrow_mut().take();
        if events.is_empty() && !self.transaction.log_is_stale.get() {
            return Ok(());
        }
        let rowid = conn.last_insert_rowid();
        let flushed = if events.is_empty() { Ok(()) } else { flush::flush(conn, self, events) };
        let flushed = flushed.and_then(|()| self.write_log(conn));
        // What the application inserted last is none of the clocks.
        // SAFETY: the handle is open.
        unsafe { ffi::sqlite3_set_last_insert_rowid(conn.handle(), rowid) };
        flushed
    }

    /// Forgets cached table definitions, after the engine itself changed them.
    pub(super) fn forget_tables(&self) {
        *self.catalog.borrow_mut() = Catalog::default();
    }
}

impl Shared {
    pub(super) fn state(&self) -> &State {
        &self.0
    }

    pub(super) fn conn(&self) -> &Connection {
        &self.0.conn
    }

    pub(super) fn journal(&self) -> RefMut<'_, Journal> {
        self.0.journal.borrow_mut()
    }

    /// Whether local writes to `table` leave clocks at the moment.
    pub(super) fn is_tracking(&self, table: TableId) -> bool {
        self.0.sync_bit.get() == 0 && self.0.merging.get() != Some(table)
    }

    pub(super) fn flush(&self) -> Result<()> {
        self.0.flush(&self.0.conn)
    }

    pub(super) fn savepoint(&self, savepoint: i32) {
        self.journal().savepoint(savepoint, self.0.transaction.seq.get());
    }

    pub(super) fn rolled_back_to(&self, savepoint: i32) {
        let seq = self.journal().rollback_to(savepoint);
        self.0.transaction.seq.set(seq);
        let touched = !self.0.transaction.touched.borrow().is_empty();
        self.0.transaction.log_is_stale.set(touched);
        self.0.forget_tables();
    }

    pub(super) fn transaction_began(&self) {
        self.0.transaction.joined.set(true);
    }

    pub(super) fn transaction_ended(&self) {
        let transaction = &self.0.transaction;
        transaction.joined.set(false);
        transaction.base.set(None);
        transaction.pending.set(None);
        transaction.seq.set(0);
        transaction.rows_impacted.set(0);
        transaction.touched.borrow_mut().clear();
        transaction.log_is_stale.set(false);
        self.journal().clear();
    }

    /// Lets go of all prepared statements.
    pub(super) fn finalize(&self) {
        self.0.conn.flush_prepared_statement_cache();
    }
}
