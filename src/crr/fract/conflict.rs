//! `crsql_fract_fix_conflict_return_old_key`: makes room behind a row that shares its key with another.

use rusqlite::functions::Context;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, params_from_iter};

use super::super::quote::{identifier, join};
use super::super::{Error, Result};
use super::{key, keys, name};

const FAILED: Error = Error::Order("Failed fixing up ordering conflicts on insert");

/// Takes a table, its order column, its list columns, an integer, the names of the primary key, and its values in the row.
/// The row moves down a little; the answer is a key between its new place and its old one.
pub(super) fn fix(conn: &Connection, context: &Context<'_>) -> Result<String> {
    if context.len() < 4 {
        return Err(Error::Order("Too few arguments provided to fix up ordering conflicts"));
    }
    let separator = (2..context.len()).find(|&i| matches!(context.get_raw(i), ValueRef::Integer(_))).ok_or(FAILED)?;
    let pks = (context.len() - separator - 1) / 2;
    if pks == 0 || separator + 1 + 2 * pks != context.len() {
        return Err(FAILED);
    }
    let names = |range: std::ops::Range<usize>| range.map(|i| name(context, i)).collect::<Result<Vec<_>>>();
    let (table, order) = (identifier(&name(context, 0)?), identifier(&name(context, 1)?));
    let list = names(2..separator)?;
    let values: Vec<Value> =
        (separator + 1 + pks..context.len()).map(|i| context.get(i)).collect::<rusqlite::Result<_>>()?;
    // Names behind a table are never taken for text.
    let by_pk = |alias: &str| -> Result<String> {
        let pks = names(separator + 1..separator + 1 + pks)?;
        Ok(join(pks.iter().map(|pk| format!("{alias}.{} = ?", identifier(pk))), " AND "))
    };
    let same_list = join(list.iter().map(|column| format!("other.{0} IS anchor.{0} AND ", identifier(column))), "");
    let (old, previous) = conn
        .query_row(
            &format!(
                "SELECT anchor.{order}, (SELECT max(other.{order} COLLATE BINARY) FROM main.{table} other
                  WHERE {same_list} other.{order} COLLATE BINARY < anchor.{order}
                    AND CAST(other.{order} AS INTEGER) NOT IN (-1, 1))
                 FROM main.{table} anchor WHERE {}",
                by_pk("anchor")?
            ),
            params_from_iter(&values),
            |row| Ok((key(row.get_ref(0)?), key(row.get_ref(1)?))),
        )
        .map_err(|_| FAILED)?;
    let (old, previous) = (old?.ok_or(FAILED)?, previous?);
    let lowered = keys::between(previous.as_deref(), Some(&old))?;
    let new = keys::between(Some(&lowered), Some(&old))?;
    let by_pk = by_pk("moved")?;
    let parameters = std::iter::once(Value::Text(lowered)).chain(values);
    conn.execute(&format!("UPDATE main.{table} AS moved SET {order} = ? WHERE {by_pk}"), params_from_iter(parameters))?;
    Ok(new)
}
