//! What the engine knows about one connection, and about its open transaction.

use std::cell::{Cell, RefCell, RefMut};
use std::sync::Arc;

use rusqlite::{Connection, MAIN_DB, StatementStatus, TransactionState};

use super::attached::Token;
use super::catalog::{self, Catalog};
use super::flush::{CellWrites, Pending};
use super::journal::{Journal, Point};
use super::log::Touched;
use super::rows::{Lazy, Rows};
use super::sites::SiteCache;
use super::table::{Table, TableId};
use super::tables::Tables;
use super::trace::Kept;
use super::{Error, Result, SiteId, Version};

/// How many prepared statements a connection keeps.
pub(super) const STATEMENTS: usize = 256;

/// For how many tables it keeps those that read and write clocks beside them.
const KEPT_TABLES: usize = 8;

/// A handle to the engine's state for SQLite's callbacks.
#[derive(Clone)]
pub(super) struct Shared(Arc<State>);

impl Shared {
    pub(super) fn new(conn: &Connection, site: SiteId) -> Result<Self> {
        // SAFETY: the handle is open, and `finalize` lets go of its statements before it is closed.
        let inner = unsafe { Connection::from_handle(conn.handle()) }?;
        inner.set_prepared_statement_cache_capacity(STATEMENTS);
        #[expect(clippy::arc_with_non_send_sync, reason = "see the impls of Send and Sync")]
        Ok(Self(Arc::new(State {
            site,
            // SAFETY: only compared.
            handle: unsafe { conn.handle() } as usize,
            schema_version: RefCell::default(),
            schema_repreparations: Cell::new(0),
            rows: RefCell::default(),
            conn: inner,
            catalog: RefCell::default(),
            journal: RefCell::default(),
            cell_writes: RefCell::default(),
            answer: Cell::new(false),
            pending: RefCell::default(),
            tracers: RefCell::default(),
            transaction: Transaction::default(),
            sync_bit: Cell::new(0),
            merging: Cell::new(None),
        })))
    }
}

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
    /// Prepared on `conn`, and thus dropped before it; so are `rows`.
    schema_version: RefCell<Lazy<'static>>,
    /// How often SQLite had to prepare it anew.
    schema_repreparations: Cell<i32>,
    /// The tables used last come last.
    rows: RefCell<Vec<Rows<'static>>>,
    /// The same connection, for callbacks; it does not own it.
    conn: Connection,
    catalog: RefCell<Catalog>,
    pub(super) journal: RefCell<Journal>,
    /// What a flush that is under way adds to clocks.
    pub(super) cell_writes: RefCell<CellWrites>,
    /// What the function of a trigger that was called last answers.
    pub(super) answer: Cell<bool>,
    /// The clocks that a statement under way stores.
    pub(super) pending: RefCell<Pending>,
    /// Connections on which queries are traced, for whoever traces next.
    pub(super) tracers: RefCell<Vec<Kept>>,
    pub(super) transaction: Transaction,
    /// `crsql_internal_sync_bit`: not 0 while the application asks that nothing be tracked.
    pub(super) sync_bit: Cell<i64>,
    /// The table whose rows a merge is writing. Its triggers report nothing; those of other tables do.
    pub(super) merging: Cell<Option<TableId>>,
}

/// What is true until the open transaction ends.
#[derive(Default)]
pub(super) struct Transaction {
    /// Whether SQLite will tell of its end.
    joined: Cell<bool>,
    /// The last version before it, once somebody needed to know.
    pub(super) base: Cell<Option<Version>>,
    /// The version under which it will commit.
    pub(super) pending: Cell<Option<Version>>,
    /// The next seq.
    pub(super) seq: Cell<i64>,
    /// Whether ties go to the larger site id, once a merge needed to know.
    merge_equal_values: Cell<Option<bool>>,
    /// What it left in `main` to tell its triggers from those of attached databases.
    pub(super) token: Cell<Option<Token>>,
    /// Merged changes that won.
    pub(super) rows_impacted: Cell<i64>,
    /// The sites that it has met.
    pub(super) sites: RefCell<SiteCache>,
    /// The rows that it touched, as they came, so that a savepoint can take back the last.
    pub(super) touched: RefCell<Vec<(Version, Touched)>>,
    /// Whether the log lacks some of them.
    pub(super) log_is_stale: Cell<bool>,
    /// Whether writes were taken from the journal whose clocks could not be written: the transaction must not commit.
    pub(super) is_broken: Cell<bool>,
}

impl Transaction {
    /// Whether SQLite will tell of its end.
    pub(super) fn is_joined(&self) -> bool {
        self.joined.get()
    }
}

impl State {
    /// The newest committed version, also while a transaction is under way.
    pub(super) fn committed_version(&self, conn: &Connection) -> Result<Version> {
        if let Some(base) = self.transaction.base.get() {
            return Ok(base);
        }
        let base = catalog::version(conn)?;
        // Nobody else can commit before a transaction that writes ends, and SQLite will tell of that.
        if self.transaction.joined.get() {
            self.transaction.base.set(Some(base));
        }
        Ok(base)
    }

    /// The version under which the open transaction commits: the one after the last, or as much later as `at_least`.
    pub(super) fn next_version(&self, conn: &Connection, at_least: Version) -> Result<Version> {
        let base = self.committed_version(conn)?;
        let pending = self.transaction.pending.get().unwrap_or(Version::ZERO);
        let next = base.next()?.max(pending).max(at_least);
        self.transaction.pending.set(Some(next));
        Ok(next)
    }

    /// Notes that `version`, the open transaction's, touched a row.
    pub(super) fn touch(&self, version: Version, row: Touched) {
        let mut touched = self.transaction.touched.borrow_mut();
        if touched.last() != Some(&(version, row)) {
            touched.push((version, row));
        }
        self.transaction.log_is_stale.set(true);
    }

    /// The statements of `table`, to be [given back](Self::keep_rows).
    pub(super) fn take_rows<'a>(&'a self, table: &Arc<Table>) -> Rows<'a> {
        let mut kept = self.rows.borrow_mut();
        match kept.iter().position(|rows| Arc::ptr_eq(&rows.table, table)) {
            Some(at) => kept.remove(at),
            None => Rows::new(&self.conn, table.clone()),
        }
    }

    /// Keeps statements for whoever needs them next.
    pub(super) fn keep_rows<'a>(&'a self, mut rows: Rows<'a>) {
        let mut kept = self.rows.borrow_mut();
        // A trigger of the application may have merged into the table meanwhile.
        if let Some(at) = kept.iter().position(|other| other.table.id == rows.table.id) {
            kept.remove(at);
            rows.forget();
        }
        if kept.len() == KEPT_TABLES {
            kept.remove(0);
        }
        // SAFETY: they borrow `self.conn` only, as `take_rows` made them, and are dropped before it.
        kept.push(unsafe { std::mem::transmute::<Rows<'a>, Rows<'static>>(rows) });
    }

    /// Asks the sites that the transaction has met. Meanwhile nobody else has them: what is asked may end the transaction,
    /// and then they are forgotten.
    pub(super) fn ask_sites<T>(&self, ask: impl FnOnce(&mut SiteCache) -> Result<T>) -> Result<T> {
        let mut sites = self.transaction.sites.take();
        let answer = ask(&mut sites)?;
        self.transaction.sites.replace(sites);
        Ok(answer)
    }

    /// What was learnt about rows and sites no longer holds.
    fn forget_rows(&self) {
        self.rows.borrow_mut().iter_mut().for_each(Rows::forget);
        self.transaction.sites.take();
    }

    /// Makes SQLite tell of the end of the open write transaction, and of rollbacks to savepoints in it. It tells a
    /// virtual table only after that was written to.
    pub(super) fn join(&self, conn: &Connection) -> Result<()> {
        if !self.transaction.joined.get() {
            conn.prepare_cached("INSERT INTO main.crsql_journal (joined) VALUES (1)")?.execute([])?;
        }
        Ok(())
    }

    /// Whether ties go to the larger site id.
    pub(super) fn merges_equal_values(&self, conn: &Connection) -> Result<bool> {
        if let Some(on) = self.transaction.merge_equal_values.get() {
            return Ok(on);
        }
        let on = catalog::merge_equal_values(conn)? == 1;
        if self.transaction.joined.get() {
            self.transaction.merge_equal_values.set(Some(on));
        }
        Ok(on)
    }

    /// 1 turns it on. Any other number is kept as it is, and means nothing.
    pub(super) fn set_merge_equal_values(&self, conn: &Connection, value: i64) -> Result<()> {
        self.transaction.merge_equal_values.set(None);
        catalog::set_merge_equal_values(conn, value)
    }

    /// Hands out `count` consecutive seqs, and returns the first.
    pub(super) fn take_seqs(&self, count: i64) -> i64 {
        self.transaction.seq.replace(self.transaction.seq.get() + count)
    }

    /// The replicated tables as they are now.
    pub(super) fn tables(&self, conn: &Connection) -> Result<Arc<Tables>> {
        let current = self.schema_version()?;
        if let Some(tables) = self.catalog.borrow().at(current) {
            return Ok(tables);
        }
        if conn.transaction_state(Some(MAIN_DB))? == TransactionState::Write {
            self.join(conn)?;
        }
        self.rows.borrow_mut().clear();
        let tables = Arc::new(Tables::load(conn)?);
        self.catalog.borrow_mut().set(current, tables.clone());
        Ok(tables)
    }

    /// The number of the schema of `main`. Forgets the tables when other things changed that they depend on: SQLite prepares
    /// all statements anew after temporary triggers came or went.
    pub(super) fn schema_version(&self) -> Result<i64> {
        // SAFETY: what is prepared on it is dropped before it.
        let conn = unsafe { std::mem::transmute::<&Connection, &'static Connection>(&self.conn) };
        let mut statement = self.schema_version.take();
        let read = statement.get(conn, "PRAGMA main.schema_version")?;
        let version = read.query_row([], |row| row.get(0))?;
        let repreparations = read.get_status(StatementStatus::RePrepare);
        if self.schema_repreparations.replace(repreparations) != repreparations {
            self.forget_tables();
        }
        self.schema_version.replace(statement);
        Ok(version)
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

    /// The state, if `conn` is the connection that it belongs to.
    pub(super) fn state_for(&self, conn: &Connection) -> Result<&State> {
        // SAFETY: only compared.
        if unsafe { conn.handle() } as usize == self.0.handle { Ok(&self.0) } else { Err(Error::ForeignConnection) }
    }

    pub(super) fn conn(&self) -> &Connection {
        &self.0.conn
    }

    pub(super) fn journal(&self) -> RefMut<'_, Journal> {
        self.0.journal.borrow_mut()
    }

    /// Whether writes to `table` are those of a merge, which sees to their clocks itself.
    pub(super) fn is_merging(&self, table: TableId) -> bool {
        self.0.merging.get() == Some(table)
    }

    /// Whether the application asks that local writes leave no clocks.
    pub(super) fn is_silent(&self) -> bool {
        self.0.sync_bit.get() != 0
    }

    pub(super) fn savepoint(&self, savepoint: i32) {
        let transaction = &self.0.transaction;
        let point = Point {
            seq: transaction.seq.get(),
            touched: transaction.touched.borrow().len(),
            rows_impacted: transaction.rows_impacted.get(),
            is_broken: transaction.is_broken.get(),
        };
        self.journal().savepoint(savepoint, point);
    }

    pub(super) fn rolled_back_to(&self, savepoint: i32) {
        let point = self.journal().rollback_to(savepoint);
        let transaction = &self.0.transaction;
        transaction.seq.set(point.seq);
        transaction.touched.borrow_mut().truncate(point.touched);
        transaction.rows_impacted.set(point.rows_impacted);
        transaction.is_broken.set(point.is_broken);
        transaction.merge_equal_values.set(None);
        transaction.token.set(None);
        transaction.log_is_stale.set(point.touched > 0);
        self.0.forget_rows();
        self.0.forget_tables();
    }

    pub(super) fn transaction_began(&self) {
        self.0.transaction.joined.set(true);
    }

    pub(super) fn transaction_rolled_back(&self) {
        self.0.forget_tables();
        self.transaction_ended();
    }

    pub(super) fn transaction_ended(&self) {
        let transaction = &self.0.transaction;
        transaction.joined.set(false);
        transaction.base.set(None);
        transaction.pending.set(None);
        transaction.seq.set(0);
        transaction.rows_impacted.set(0);
        transaction.merge_equal_values.set(None);
        transaction.token.set(None);
        transaction.touched.borrow_mut().clear();
        transaction.log_is_stale.set(false);
        transaction.is_broken.set(false);
        self.0.forget_rows();
        self.journal().clear();
    }

    /// Lets go of all prepared statements.
    pub(super) fn finalize(&self) {
        self.0.schema_version.take();
        self.0.rows.borrow_mut().clear();
        self.0.tracers.borrow_mut().clear();
        self.0.conn.flush_prepared_statement_cache();
    }
}
