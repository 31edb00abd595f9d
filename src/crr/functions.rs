//! The SQL functions.

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::Value;

use super::error::to_sql_error;
use super::flush::flush;
use super::pack::{self, Packer};
use super::state::Shared;
use super::value::owned;
use super::{Error, Result, Version, alter, catalog, incoming, migrate, replicate};

pub(super) const INNOCUOUS: FunctionFlags = FunctionFlags::SQLITE_UTF8.union(FunctionFlags::SQLITE_INNOCUOUS);
pub(super) const DETERMINISTIC: FunctionFlags = INNOCUOUS.union(FunctionFlags::SQLITE_DETERMINISTIC);
pub(super) const DIRECT_ONLY: FunctionFlags = FunctionFlags::SQLITE_UTF8.union(FunctionFlags::SQLITE_DIRECTONLY);

/// The one setting there is.
const MERGE_EQUAL_VALUES: &str = "merge-equal-values";

/// What was built: `crsql_sha()`.
const BUILD: &str = concat!("crsql-sync ", env!("CARGO_PKG_VERSION"));

/// Registers all functions on `conn`.
pub(super) fn register(conn: &Connection, shared: &Shared) -> Result<()> {
    let add = |name: &str, arguments, flags, function: fn(&Shared, &Context<'_>) -> Result<Value>| {
        let shared = shared.clone();
        conn.create_scalar_function(name, arguments, flags, move |context| {
            function(&shared, context).map_err(to_sql_error)
        })
    };
    add("crsql_as_crr", -1, DIRECT_ONLY, as_crr)?;
    add("crsql_as_table", -1, DIRECT_ONLY, |shared, context| {
        replicate::as_table(shared.conn(), shared.state(), &table_name(context)?)?;
        Ok(Value::Null)
    })?;
    add("crsql_begin_alter", -1, DIRECT_ONLY, |shared, context| {
        alter::begin(shared.conn(), shared.state(), &table_name(context)?)?;
        Ok(Value::Text("OK".into()))
    })?;
    add("crsql_commit_alter", -1, DIRECT_ONLY, |shared, context| {
        alter::commit(shared.conn(), shared.state(), &table_name(context)?)?;
        Ok(Value::Null)
    })?;
    add("crsql_automigrate", -1, DIRECT_ONLY, automigrate)?;
    add("crsql_site_id", 0, DETERMINISTIC, |shared, _| Ok(Value::Blob(shared.state().site.as_bytes().to_vec())))?;
    add("crsql_db_version", 0, INNOCUOUS, db_version)?;
    add("crsql_next_db_version", -1, INNOCUOUS, next_db_version)?;
    add("crsql_get_seq", 0, INNOCUOUS, |shared, _| seq(shared, 0))?;
    add("crsql_increment_and_get_seq", 0, INNOCUOUS, |shared, _| seq(shared, 1))?;
    add("crsql_rows_impacted", 0, INNOCUOUS, |shared, _| {
        Ok(Value::Integer(shared.state().transaction.rows_impacted.get()))
    })?;
    add("crsql_internal_sync_bit", -1, INNOCUOUS, sync_bit)?;
    add("crsql_pack_columns", -1, DETERMINISTIC, pack_columns)?;
    add("crsql_unpack_column", 2, DETERMINISTIC, unpack_column)?;
    add("crsql_config_set", 2, DIRECT_ONLY, config_set)?;
    add("crsql_config_get", 1, INNOCUOUS, config_get)?;
    add("crsql_sha", 0, DETERMINISTIC, |_, _| Ok(Value::Text(BUILD.into())))?;
    add("crsql_finalize", -1, DIRECT_ONLY, |shared, _| {
        shared.finalize();
        Ok(Value::Text("finalized".into()))
    })?;
    Ok(())
}

/// `crsql_automigrate(schema[, cleanup])`.
fn automigrate(shared: &Shared, context: &Context<'_>) -> Result<Value> {
    let text = |i| if i < context.len() { context.get::<Option<String>>(i) } else { Ok(None) };
    if context.is_empty() {
        return Err(Error::Migration("crsql_automigrate takes a schema".into()));
    }
    migrate::migrate(shared.conn(), shared.state(), &text(0)?.unwrap_or_default(), &text(1)?.unwrap_or_default())?;
    Ok(Value::Text("migration complete".into()))
}

/// `crsql_as_crr(table)`, `crsql_as_crr(schema, table)`: the schema is always main.
fn as_crr(shared: &Shared, context: &Context<'_>) -> Result<Value> {
    replicate::as_crr(shared.conn(), shared.state(), &table_name(context)?)?;
    Ok(Value::Text("OK".into()))
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

fn db_version(shared: &Shared, _: &Context<'_>) -> Result<Value> {
    Ok(Value::Integer(shared.state().committed_version(shared.conn())?.get()))
}

/// `crsql_next_db_version([at_least])`. The answer becomes the version of the open transaction.
fn next_db_version(shared: &Shared, context: &Context<'_>) -> Result<Value> {
    let at_least = match context.len() {
        1 => Version::or_zero(incoming::integer(context.get_raw(0))?.max(0))?,
        _ => Version::ZERO,
    };
    Ok(Value::Integer(shared.state().next_version(shared.conn(), at_least)?.get()))
}

fn seq(shared: &Shared, take: i64) -> Result<Value> {
    flush(shared.conn(), shared.state())?;
    Ok(Value::Integer(shared.state().take_seqs(take)))
}

fn sync_bit(shared: &Shared, context: &Context<'_>) -> Result<Value> {
    let state = shared.state();
    if context.len() == 1 {
        state.sync_bit.set(incoming::integer(context.get_raw(0))?);
    }
    let merging = state.merging.get().is_some();
    Ok(Value::Integer(if merging { 1 } else { state.sync_bit.get() }))
}

fn pack_columns(_: &Shared, context: &Context<'_>) -> Result<Value> {
    let mut packer = Packer::new(context.len())?;
    for i in 0..context.len() {
        packer.push(context.get_raw(i));
    }
    Ok(Value::Blob(packer.finish()))
}

/// `crsql_unpack_column(packed, i)`: one of the packed values. For views.
fn unpack_column(_: &Shared, context: &Context<'_>) -> Result<Value> {
    let at: u16 = context.get(1)?;
    let values = pack::unpack_borrowed(context.get_raw(0).as_blob().map_err(rusqlite::Error::from)?)?;
    Ok(values.into_iter().nth(at.into()).map_or(Value::Null, owned))
}

fn config_set(shared: &Shared, context: &Context<'_>) -> Result<Value> {
    let (name, value): (String, i64) = (context.get(0)?, context.get(1)?);
    known_setting(&name)?;
    shared.state().set_merge_equal_values(shared.conn(), value)?;
    Ok(Value::Integer(value))
}

fn config_get(shared: &Shared, context: &Context<'_>) -> Result<Value> {
    known_setting(&context.get::<String>(0)?)?;
    Ok(Value::Integer(catalog::merge_equal_values(shared.conn())?))
}

fn known_setting(name: &str) -> Result<()> {
    if name == MERGE_EQUAL_VALUES { Ok(()) } else { Err(Error::UnknownSetting(name.to_owned())) }
}
