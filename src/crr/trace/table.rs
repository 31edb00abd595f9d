//! `crsql_traced`: a replicated table as queries see it that are traced.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_char, c_int};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

use rusqlite::vtab::{
    Context, CreateVTab, Filters, IndexInfo, Module, VTab, VTabConnection, VTabCursor, VTabKind, sqlite3_vtab,
    sqlite3_vtab_cursor,
};
use rusqlite::{Connection, Error as SqlError, ErrorCode, ffi};

use super::super::module::{self, StaticModule};
use super::plan::{self, Plan};
use super::scans::{Scalar, Shape};
use super::statement::{Statement, Value};
use super::traced::Traced;
use super::{Shared, TraceError, lock};

/// Registers the module.
pub(super) fn register(conn: &Connection, shared: Arc<Mutex<Shared>>) -> rusqlite::Result<()> {
    module::register(conn, c"crsql_traced", &MODULE, shared)
}

/// The most values in a set that are looked for one by one; where there are more, all rows are handed over.
const MOST_VALUES: usize = 10_000;

/// How many statements a cursor keeps, and one.
const MOST_STATEMENTS: usize = 7;

/// rusqlite's module, but that values go from one connection to the other as they are.
static MODULE: StaticModule = StaticModule({
    // SAFETY: `Module` is `repr(transparent)` over `sqlite3_module`.
    let base: ffi::sqlite3_module = unsafe { std::mem::transmute(Module::<Table>::read_only_module()) };
    ffi::sqlite3_module { xFilter: Some(filter), xNext: Some(next), xEof: Some(eof), xColumn: Some(column), ..base }
});

#[repr(C)]
struct Table {
    base: sqlite3_vtab,
    traced: Arc<Traced>,
    shared: Arc<Mutex<Shared>>,
}

// SAFETY: `repr(C)`, and the base comes first.
unsafe impl<'vtab> VTab<'vtab> for Table {
    type Aux = Arc<Mutex<Shared>>;
    type Cursor = Cursor<'vtab>;

    fn connect(
        _: &mut VTabConnection,
        aux: Option<&Self::Aux>,
        _: &[u8],
        _: &[u8],
        name: &[u8],
        _: &[&[u8]],
    ) -> rusqlite::Result<(Cow<'static, CStr>, Self)> {
        let shared = aux.ok_or_else(|| SqlError::ModuleError("no tracer".into()))?.clone();
        let traced = lock(&shared).tables.iter().find(|table| table.name.as_bytes() == name).cloned();
        let traced = traced.ok_or_else(|| SqlError::ModuleError("not a table that is traced".into()))?;
        let declaration = CString::new(traced.columns.declaration())?;
        Ok((Cow::Owned(declaration), Self { base: sqlite3_vtab::default(), traced, shared }))
    }

    fn best_index(&self, info: &mut IndexInfo) -> rusqlite::Result<bool> {
        plan::choose(&self.traced, info)?;
        Ok(true)
    }

    fn open(&'vtab mut self) -> rusqlite::Result<Cursor<'vtab>> {
        Ok(Cursor {
            base: sqlite3_vtab_cursor::default(),
            traced: self.traced.clone(),
            shared: self.shared.clone(),
            plan: (String::new(), Plan::default()),
            statements: Vec::new(),
            row: None,
            vtab: PhantomData,
        })
    }
}

impl CreateVTab<'_> for Table {
    const KIND: VTabKind = VTabKind::Default;
}

#[repr(C)]
struct Cursor<'vtab> {
    base: sqlite3_vtab_cursor,
    traced: Arc<Traced>,
    shared: Arc<Mutex<Shared>>,
    /// The plan that was asked for last, and its text.
    plan: (String, Plan),
    /// Those prepared so far: inner loops run them again and again.
    statements: Vec<Prepared>,
    /// The statement whose row this stands on, and the row's key.
    row: Option<(usize, i64)>,
    vtab: PhantomData<&'vtab Table>,
}

/// A way to read rows.
struct Prepared {
    sql: String,
    statement: Statement,
    shape: Arc<Shape>,
}

impl Cursor<'_> {
    fn open(&mut self, text: &str, args: &[*mut ffi::sqlite3_value]) -> rusqlite::Result<()> {
        if let Some((at, _)) = self.row.take()
            && let Some(prepared) = self.statements.get_mut(at)
        {
            prepared.statement.reset();
        }
        if self.plan.0 != text {
            let plan = Plan::parse(text).ok_or_else(|| SqlError::ModuleError("a plan cannot be read".into()))?;
            self.plan = (text.to_owned(), plan);
            self.statements.clear();
        }
        let plan = &self.plan.1;
        let mut bound: Vec<Value> = Vec::new();
        let mut counts = Vec::with_capacity(args.len());
        for (term, &value) in plan.terms.iter().zip(args) {
            // SAFETY: SQLite passes values that live as long as the call, and a set where the plan asked for one.
            let (values, is_constant) = unsafe {
                let values = if term.takes_set() { Value::all_of(value)? } else { vec![Value::copy(value)?] };
                (values, ffi::sqlite3_value_frombind(value) != 0)
            };
            let is_sound = |value: &Value| term.is_sound(&self.traced.columns, value.kind(), is_constant);
            let takes = values.len() <= MOST_VALUES && values.iter().all(is_sound);
            counts.push(takes.then_some(values.len()));
            bound.extend(values.into_iter().filter(|_| takes && term.takes_value()));
        }
        let sql = plan.sql(&self.traced, &counts);
        let filter = self.traced.filter.as_ref().map_or(&[][..], |filter| &filter.values);
        let first = c_int::try_from(filter.len()).map_err(|_| SqlError::ModuleError("too many parameters".into()))? + 1;
        let at = match self.statements.iter().position(|known| known.sql == sql) {
            Some(at) => at,
            None => {
                let mut statement = Statement::prepare(&lock(&self.shared).replica, &sql)?;
                for (place, value) in (1..).zip(filter) {
                    statement.set(place, value.as_ref())?;
                }
                let shape = Arc::new(Shape::new(&self.traced, plan, &counts));
                self.statements.truncate(MOST_STATEMENTS);
                self.statements.push(Prepared { sql, statement, shape });
                self.statements.len() - 1
            }
        };
        let Some(Prepared { statement, shape, .. }) = self.statements.get_mut(at) else { return Ok(()) };
        for (place, value) in (first..).zip(&bound) {
            statement.bind(place, value)?;
        }
        let values = || bound.iter().map(|value| Scalar::of(value.as_ref())).collect::<Vec<_>>();
        lock(&self.shared).run.begin_scan(&self.traced, shape, values);
        self.step(at)
    }

    /// Goes to the next row of a statement, and notes it.
    fn step(&mut self, at: usize) -> rusqlite::Result<()> {
        self.row = None;
        let Some(Prepared { statement, .. }) = self.statements.get_mut(at) else { return Ok(()) };
        let key = statement.step().map_err(|error| self.failed(error))?;
        let run = &mut lock(&self.shared).run;
        match key {
            Some(key) => {
                run.read(&self.traced.name, key)?;
                self.row = Some((at, key));
            }
            None => run.end_scan(),
        }
        Ok(())
    }

    /// Notes that the filter failed, if it was that. What a query itself computes may fail; but whether a filter did is for
    /// its author to know, not for who is to be kept by it.
    fn failed(&self, error: SqlError) -> SqlError {
        let interrupted = error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted);
        if self.traced.filter.is_some() && !interrupted {
            let failure = TraceError::Filter { table: self.traced.name.clone(), reason: error.to_string() };
            lock(&self.shared).failure = Some(failure);
        }
        error
    }

    /// Tells SQLite how a call ended.
    fn end(&mut self, outcome: rusqlite::Result<()>) -> c_int {
        match outcome {
            Ok(()) => ffi::SQLITE_OK,
            // SAFETY: a cursor belongs to a table while it is open, and SQLite frees the text.
            Err(error) => unsafe { rusqlite::to_sqlite_error(&error, &raw mut (*self.base.pVtab).zErrMsg) },
        }
    }
}

// SAFETY: `repr(C)`, and the base comes first.
unsafe impl VTabCursor for Cursor<'_> {
    /// SQLite calls [`filter`], [`next`], [`eof`] and [`column`] instead of these.
    fn filter(&mut self, _: c_int, _: Option<&str>, _: &Filters<'_>) -> rusqlite::Result<()> {
        Ok(())
    }

    fn next(&mut self) -> rusqlite::Result<()> {
        Ok(())
    }

    fn eof(&self) -> bool {
        true
    }

    fn column(&self, _: &mut Context, _: c_int) -> rusqlite::Result<()> {
        Ok(())
    }

    fn rowid(&self) -> rusqlite::Result<i64> {
        Ok(self.row.map_or(0, |(_, key)| key))
    }
}

/// Begins to read by a plan.
unsafe extern "C" fn filter(
    cursor: *mut sqlite3_vtab_cursor,
    _: c_int,
    plan: *const c_char,
    argc: c_int,
    argv: *mut *mut ffi::sqlite3_value,
) -> c_int {
    // SAFETY: SQLite passes a cursor of this module, and `Cursor` is `repr(C)` and begins with the `sqlite3_vtab_cursor`.
    let cursor = unsafe { &mut *cursor.cast::<Cursor<'_>>() };
    // SAFETY: the text is the one that `best_index` set.
    let plan = unsafe { CStr::from_ptr(plan) }.to_string_lossy();
    let args = match usize::try_from(argc) {
        // SAFETY: there are that many values, for the time of this call.
        Ok(count) if count > 0 => unsafe { std::slice::from_raw_parts(argv, count) },
        _ => &[],
    };
    let outcome = cursor.open(&plan, args);
    cursor.end(outcome)
}

/// Goes to the next row.
unsafe extern "C" fn next(cursor: *mut sqlite3_vtab_cursor) -> c_int {
    // SAFETY: as in `filter`.
    let cursor = unsafe { &mut *cursor.cast::<Cursor<'_>>() };
    let outcome = cursor.row.map_or(Ok(()), |(at, _)| cursor.step(at));
    cursor.end(outcome)
}

/// Whether there is no row left.
unsafe extern "C" fn eof(cursor: *mut sqlite3_vtab_cursor) -> c_int {
    // SAFETY: as in `filter`.
    unsafe { &*cursor.cast::<Cursor<'_>>() }.row.is_none().into()
}

/// Hands one column of the row to SQLite.
unsafe extern "C" fn column(cursor: *mut sqlite3_vtab_cursor, context: *mut ffi::sqlite3_context, i: c_int) -> c_int {
    // SAFETY: as in `filter`.
    let cursor = unsafe { &*cursor.cast::<Cursor<'_>>() };
    if let Some((at, _)) = cursor.row
        && let Some(prepared) = cursor.statements.get(at)
    {
        // SAFETY: SQLite passes a context. The key comes before the columns.
        unsafe { prepared.statement.hand_over(i + 1, context) };
    }
    ffi::SQLITE_OK
}
