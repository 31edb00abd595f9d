//! The SQL functions.

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};

use super::error::to_sql_error;
use super::flush::flush;
use super::pack::Packer;
use super::state::Shared;
use super::{Error, Result, Version, alter, replicate};

pub(super) const INNOCUOUS: FunctionFlags = FunctionFlags::SQLITE_UTF8.union(FunctionFlags::SQLITE_INNOCUOUS);
pub(super) const DETERMINISTIC: FunctionFlags = INNOCUOUS.union(FunctionFlags::SQLITE_DETERMINISTIC);
pub(super) const DIRECT_ONLY: FunctionFlags = FunctionFlags::SQLITE_UTF8.union(FunctionFlags::SQLITE_DIRECTONLY);

/// The one setting there is.
const MERGE_EQUAL_VALUES: &str = "merge-equal-values";

/// What was built: `crsql_sha()`.
const BUILD: &str = concat!("crsql-sync ", env!("CARGO_PKG_VERSION"));

/// Registers all functions on `conn`.
pub(super) fn register(conn: &Connection, shared: &Shared) -> Result<()> {
    let add = |name: &str, arguments, flags, function: fn(&Shared, &Context<'_>) -> Result<Output>| {
        let shared = shared.clone();
        conn.create_scalar_function(name, arguments, flags, move |context| {
            function(&shared, context).map(Output::into_value).map_err(to_sql_error)
        })
    };
    add("crsql_as_crr", -1, DIRECT_ONLY, as_crr)?;
    add("crsql_as_table", -1, DIRECT_ONLY, |shared, context| {
        replicate::as_table(shared.conn(), shared.state(), &table_name(context)?)?;
        Ok(Output::Null)
    })?;
    add("crsql_begin_alter", -1, DIRECT_ONLY, |shared, context| {
        alter::begin(shared.conn(), shared.state(), &table_name(context)?)?;
        Ok(Output::Text("OK"))
    })?;
    add("crsql_commit_alter", -1, DIRECT_ONLY, |shared, context| {
        alter::commit(shared.conn(), shared.state(), &table_name(context)?)?;
        Ok(Output::Null)
    })?;
    add("crsql_site_id", 0, DETERMINISTIC, |shared, _| Ok(Output::Blob(shared.state().site.as_bytes().to_vec())))?;
    add("crsql_db_version", 0, INNOCUOUS, db_version)?;
    add("crsql_next_db_version", -1, INNOCUOUS, next_db_version)?;
    add("crsql_get_seq", 0, INNOCUOUS, |shared, _| seq(shared, 0))?;
    add("crsql_increment_and_get_seq", 0, INNOCUOUS, |shared, _| seq(shared, 1))?;
    add("crsql_rows_impacted", 0, INNOCUOUS, |shared, _| {
        Ok(Output::Integer(shared.state().transaction.rows_impacted.get()))
    })?;
    add("crsql_internal_sync_bit", -1, INNOCUOUS, sync_bit)?;
    add("crsql_pack_columns", -1, DETERMINISTIC, pack_columns)?;
    add("crsql_config_set", 2, DIRECT_ONLY, config_set)?;
    add("crsql_config_get", 1, INNOCUOUS, config_get)?;
    add("crsql_sha", 0, DETERMINISTIC, |_, _| Ok(Output::Text(BUILD)))?;
    add("crsql_finalize", -1, DIRECT_ONLY, |shared, _| {
        shared.finalize();
        Ok(Output::Text("finalized"))
    })?;
    Ok(())
}

enum Output {
    Null,
    Integer(i64),
    Text(&'static str),
    Blob(Vec<u8>),
}

impl Output {
    fn into_value(self) -> rusqlite::types::Value {
        match self {
            Self::Null => rusqlite::types::Value::Null,
            Self::Integer(i) => i.into(),
            Self::Text(text) => text.to_owned().into(),
            Self::Blob(blob) => blob.into(),
        }
    }
}

/// `crsql_as_crr(table)`, `crsql_as_crr(schema, table)`: the schema is always main.
fn as_crr(shared: &Shared, context: &Context<'_>) -> Result<Output> {
    replicate::as_crr(shared.conn(), shared.state(), &table_name(context)?)?;
    Ok(Output::Text("OK"))
}

/// The arguments `(table)` or `(schema, table)`.
fn table_name(context: &Context<'_>) -> Result<String> {
    let table = match context.len() {
        0 => return Err(Error::NotReplicable("wrong number of args provided to crsql_as_crr".into())),
        2 => context.get::<Option<String>>(1)?,
        _ => context.get::<Option<String>>(0)?,
    };
    Ok(table.unwrap_or_default())
}

fn db_version(shared: &Shared, _: &Context<'_>) -> Result<Output> {
    Ok(Output::Integer(shared.state().committed_version(shared.conn())?.get()))
}

/// `crsql_next_db_version([at_least])`. The answer becomes the version of the open transaction.
fn next_db_version(shared: &Shared, context: &Context<'_>) -> Result<Output> {
    let at_least = match context.len() {
        1 => Version::or_zero(context.get::<Option<i64>>(0)?.unwrap_or_default().max(0))?,
        _ => Version::ZERO,
    };
    Ok(Output::Integer(shared.state().next_version(shared.conn(), at_least)?.get()))
}

fn seq(shared: &Shared, take: i64) -> Result<Output> {
    flush(shared.conn(), shared.state())?;
    Ok(Output::Integer(shared.state().take_seqs(take)))
}

fn sync_bit(shared: &Shared, context: &Context<'_>) -> Result<Output> {
    let state = shared.state();
    if context.len() == 1 {
        state.sync_bit.set(context.get::<Option<i64>>(0)?.unwrap_or_default());
    }
    let merging = state.merging.get().is_some();
    Ok(Output::Integer(if merging { 1 } else { state.sync_bit.get() }))
}

fn pack_columns(_: &Shared, context: &Context<'_>) -> Result<Output> {
    let mut packer = Packer::new(context.len())?;
    for i in 0..context.len() {
        packer.push(context.get_raw(i));
    }
    Ok(Output::Blob(packer.finish()))
}

fn config_set(shared: &Shared, context: &Context<'_>) -> Result<Output> {
    let (name, value): (String, i64) = (context.get(0)?, context.get(1)?);
    known_setting(&name)?;
    shared.state().set_merge_equal_values(shared.conn(), value == 1)?;
    Ok(Output::Integer(value))
}

fn config_get(shared: &Shared, context: &Context<'_>) -> Result<Output> {
    known_setting(&context.get::<String>(0)?)?;
    Ok(Output::Integer(shared.state().merge_equal_values.get().into()))
}

fn known_setting(name: &str) -> Result<()> {
    if name == MERGE_EQUAL_VALUES { Ok(()) } else { Err(Error::UnknownSetting(name.to_owned())) }
}
