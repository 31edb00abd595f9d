//! What SQL from outside may do, judged while a statement is prepared.
//!
//! SQLite asks an authorizer for every table, column, function and pragma that a statement names. The one installed here
//! is open except between [`Authorizer::prepare`]'s beginning and end: what the engine prepares for itself, at other
//! times, is not judged.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Batch, Connection, Statement, fallible_iterator::FallibleIterator};

use super::tables::Tables;

/// The rules under which a statement is prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// `CREATE TABLE / INDEX / VIEW / TRIGGER` and `SELECT crsql_as_crr(…)`.
    Schema,
    /// Reading, and writing rows of the app's tables and of `crsql_changes`.
    Rows,
    /// Reading and writing rows of these tables, and nothing that tells of others: neither the schema nor the engine's tables.
    /// Columns that a join compares unnamed are not seen here, see `program.rs`.
    RowsOf(Tables),
}

/// What a statement was seen to do.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// It creates something.
    pub(super) creates: bool,
    /// It reads a column.
    pub(super) reads: bool,
    /// It has a `SELECT`.
    pub(super) selects: bool,
    /// Functions that it calls, in lower case.
    pub(super) functions: Vec<String>,
    /// Why it was refused.
    pub(super) refusal: Option<String>,
}

#[derive(Default)]
struct State {
    rules: Option<Rules>,
    seen: Seen,
}

/// The authorizer of one connection.
pub(super) struct Authorizer(Arc<Mutex<State>>);

impl Authorizer {
    /// Installs it, open.
    pub(super) fn install(conn: &mut Connection) -> rusqlite::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let hook = state.clone();
        conn.authorizer(Some(move |context: AuthContext<'_>| {
            let mut state = hook.lock().unwrap_or_else(PoisonError::into_inner);
            let State { rules, seen } = &mut *state;
            match rules {
                None => Authorization::Allow,
                Some(rules) => judge(rules, &context, seen),
            }
        }))?;
        Ok(Self(state))
    }

    /// Prepares the next statement of `batch` under `rules`; `None` after the last one.
    pub(super) fn prepare<'conn>(
        &self,
        rules: &Rules,
        batch: &mut Batch<'conn, '_>,
    ) -> Result<Option<(Statement<'conn>, Seen)>, Refusal> {
        self.set(Some(rules.clone()));
        let prepared = batch.next();
        let seen = self.set(None);
        match (prepared, seen.refusal) {
            (_, Some(reason)) => Err(Refusal::Rule(reason)),
            (Err(error), None) => Err(Refusal::Sqlite(error)),
            (Ok(statement), None) => Ok(statement.map(|statement| (statement, Seen { refusal: None, ..seen }))),
        }
    }

    fn set(&self, rules: Option<Rules>) -> Seen {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.rules = rules;
        std::mem::take(&mut state.seen)
    }
}

/// Why a statement was not prepared.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A rule forbids it.
    Rule(String),
    /// SQLite does not understand it, or failed.
    Sqlite(rusqlite::Error),
}

/// Whether a name belongs to SQLite, the engine or this module.
pub(super) fn is_internal(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("sqlite_") || name.starts_with("crsql_") || name.contains("__crsql_")
}

fn judge(rules: &Rules, context: &AuthContext<'_>, seen: &mut Seen) -> Authorization {
    if let AuthAction::Function { function_name } = context.action {
        seen.functions.push(function_name.to_ascii_lowercase());
    }
    let refusal = match rules {
        Rules::Schema => judge_schema(context, seen),
        Rules::Rows => judge_rows(context),
        Rules::RowsOf(tables) => judge_rows_of(tables, context),
    };
    match refusal {
        None => Authorization::Allow,
        Some(reason) => {
            seen.refusal.get_or_insert(reason);
            Authorization::Deny
        }
    }
}

fn judge_schema(context: &AuthContext<'_>, seen: &mut Seen) -> Option<String> {
    match context.action {
        AuthAction::CreateTable { table_name: name } | AuthAction::CreateView { view_name: name } => {
            seen.creates = true;
            is_internal(name).then(|| format!("the name {name:?} is reserved"))
        }
        AuthAction::CreateIndex { index_name: name, table_name: table }
        | AuthAction::CreateTrigger { trigger_name: name, table_name: table } => {
            seen.creates = true;
            // SQLite makes the indexes of UNIQUE constraints itself.
            let automatic = name.starts_with("sqlite_autoindex_");
            if is_internal(name) && !automatic {
                return Some(format!("the name {name:?} is reserved"));
            }
            is_internal(table).then(|| format!("the table {table:?} is the engine's"))
        }
        AuthAction::Read { .. } => {
            seen.reads = true;
            None
        }
        AuthAction::Select => {
            seen.selects = true;
            None
        }
        AuthAction::Function { function_name } => {
            let name = function_name.to_ascii_lowercase();
            let refused = is_dangerous(&name) || (name.starts_with("crsql_") && name != "crsql_as_crr");
            refused.then(|| format!("the function {function_name} may not be called in a schema"))
        }
        AuthAction::Insert { table_name } | AuthAction::Update { table_name, .. } if is_master(table_name) => None,
        AuthAction::Reindex { .. } => None,
        _ => Some(
            "a schema holds CREATE TABLE, INDEX, VIEW and TRIGGER, and SELECT crsql_as_crr('…'), nothing else".into(),
        ),
    }
}

fn is_master(table: &str) -> bool {
    table == "sqlite_master" || table == "sqlite_schema"
}

fn judge_rows(context: &AuthContext<'_>) -> Option<String> {
    // The engine's own triggers write the engine's own tables; a schema cannot use their names.
    if context.accessor.is_some_and(is_internal) {
        return None;
    }
    match context.action {
        AuthAction::Select | AuthAction::Recursive => None,
        AuthAction::Read { table_name, .. } => judge_function_table(table_name),
        AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name } => {
            let refused = is_internal(table_name) && table_name != "crsql_changes";
            refused.then(|| format!("the table {table_name} is written by the engine only"))
        }
        AuthAction::Function { function_name } => {
            let name = function_name.to_ascii_lowercase();
            let refused = is_dangerous(&name) || (name.starts_with("crsql_") && !PURE.contains(&name.as_str()));
            refused.then(|| format!("the function {function_name} may not be called here"))
        }
        AuthAction::Pragma { pragma_name, pragma_value } => {
            let name = pragma_name.to_ascii_lowercase();
            let reads = PRAGMAS_OF_A_NAME.contains(&name.as_str())
                || (pragma_value.is_none() && PRAGMAS.contains(&name.as_str()));
            (!reads).then(|| format!("PRAGMA {pragma_name} may not be used here"))
        }
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => {
            Some("the statements of a request are one transaction already; send them as a list".into())
        }
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => {
            Some("a request reads and writes its own database only".into())
        }
        _ => Some("the schema cannot be changed here; create or migrate the database instead".into()),
    }
}

fn judge_rows_of(tables: &Tables, context: &AuthContext<'_>) -> Option<String> {
    // What the engine's triggers on an allowed table do.
    if let Some((table, _)) = context.accessor.and_then(|accessor| accessor.split_once("__crsql_"))
        && tables.contains(table)
    {
        return None;
    }
    match context.action {
        AuthAction::Read { table_name, .. }
        | AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name } => {
            (!tables.contains(table_name)).then(|| format!("the table {table_name} may not be used by this caller"))
        }
        AuthAction::Pragma { .. } => Some("this caller may not use pragmas".into()),
        // An accessor that is none of the above must not open more than the statement itself could.
        action => judge_rows(&AuthContext { action, accessor: None, ..*context }),
    }
}

/// Reading from a function: a pragma by another name tells no more than the pragma, and a tokenizer is none of a caller's.
fn judge_function_table(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let refused = match name.strip_prefix("pragma_") {
        Some(pragma) => !PRAGMAS_OF_A_NAME.contains(&pragma) && !PRAGMAS.contains(&pragma),
        None => name == "fts3tokenize",
    };
    refused.then(|| format!("the table {name} may not be read here"))
}

/// Functions of SQLite that run the machine code which their caller points at: of a library, or at an address.
fn is_dangerous(function: &str) -> bool {
    matches!(function, "load_extension" | "fts3_tokenizer")
}

/// The engine's functions that change nothing. `crsql_internal_sync_bit` is none: with an argument it ends the tracking of writes.
const PURE: [&str; 9] = [
    "crsql_config_get",
    "crsql_db_version",
    "crsql_fract_key_between",
    "crsql_get_seq",
    "crsql_pack_columns",
    "crsql_rows_impacted",
    "crsql_sha",
    "crsql_site_id",
    "crsql_version",
];

/// Pragmas that read, and whose argument is a name.
const PRAGMAS_OF_A_NAME: [&str; 8] = [
    "foreign_key_check",
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// Pragmas that read as long as they have no argument.
const PRAGMAS: [&str; 10] = [
    "compile_options",
    "data_version",
    "encoding",
    "foreign_keys",
    "freelist_count",
    "page_count",
    "page_size",
    "schema_version",
    "synchronous",
    "user_version",
];
