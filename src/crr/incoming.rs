//! Reads a row that is inserted into `crsql_changes`.
//!
//! cr-sqlite asks SQLite to convert what it is given. Here a conversion that loses nothing is made: a number may come as
//! text or as a real, a name as a blob, a key or a site id as text. What would have to be guessed is refused.

use rusqlite::types::Value;
use rusqlite::vtab::Inserts;

use super::{CausalLength, Change, ColVersion, Error, Result, Seq, SiteId, Version};

/// Where the columns stand among the arguments of an insert, behind two rowids.
const TABLE: usize = 2;
const PK: usize = 3;
const CID: usize = 4;
const VAL: usize = 5;
const COL_VERSION: usize = 6;
const DB_VERSION: usize = 7;
const SITE_ID: usize = 8;
const CL: usize = 9;
const SEQ: usize = 10;
const SITE_VERSION: usize = 11;

/// Reads the change. Numbers left out are 0; a site left out is `own`.
pub(super) fn change(args: &Inserts<'_>, own: SiteId) -> Result<Change> {
    let db_version = integer(args.get(DB_VERSION)?)?;
    let version = match args.get(SITE_VERSION)? {
        Value::Null => db_version,
        version => integer(version)?,
    };
    Ok(Change {
        table: name(args.get(TABLE)?)?.into(),
        pk: bytes(args.get(PK)?).ok_or(Error::InvalidKey("it is a blob"))?,
        cid: name(args.get(CID)?)?.into(),
        val: args.get(VAL)?,
        col_version: ColVersion::new(integer(args.get(COL_VERSION)?)?)?,
        // cr-sqlite writes 0 for rows that an alteration added to a fresh database: they count to the first transaction.
        version: Version::new(version.max(1))?,
        site: match bytes(args.get(SITE_ID)?).ok_or(Error::InvalidSiteId)? {
            site if site.is_empty() => own,
            site => SiteId::from_slice(&site)?,
        },
        cl: CausalLength::new(integer(args.get(CL)?)?)?,
        seq: Seq::new(integer(args.get(SEQ)?)?)?,
    })
}

fn integer(value: Value) -> Result<i64> {
    let integer = match &value {
        Value::Null => Some(0),
        Value::Integer(value) => Some(*value),
        // Reals of this size are exact.
        Value::Real(value) if value.fract() == 0.0 && value.abs() <= (1i64 << 53) as f64 => Some(*value as i64),
        Value::Text(text) => text.trim().parse().ok(),
        Value::Real(_) | Value::Blob(_) => None,
    };
    integer.ok_or(Error::InvalidChange("versions, cl and seq are integers"))
}

/// A missing name is empty, and so is known to no table.
fn name(value: Value) -> Result<String> {
    let name = match value {
        Value::Null => Some(String::new()),
        // The sentinel, as a number.
        Value::Integer(number) => Some(number.to_string()),
        Value::Text(name) => Some(name),
        Value::Blob(name) => String::from_utf8(name).ok(),
        Value::Real(_) => None,
    };
    name.ok_or(Error::InvalidChange("tables and columns are named by text"))
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Blob(bytes) => Some(bytes),
        Value::Text(text) => Some(text.into_bytes()),
        Value::Integer(_) | Value::Real(_) => None,
    }
}
