//! Reads a row that is inserted into `crsql_changes`.
//!
//! cr-sqlite asks SQLite to convert what it is given. Here a conversion that loses nothing is made: a number may come as
//! text or as a real, a name as a blob, a key or a site id as text. What would have to be guessed is refused.

use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::vtab::Inserts;

use super::value::owned;
use super::{CausalLength, Change, ColVersion, Error, Result, Seq, SiteId, Version};

/// Reads the change. Numbers left out are 0; a site left out is `own`.
pub(super) fn change(args: &Inserts<'_>, own: SiteId) -> Result<Change> {
    // The columns stand behind two rowids.
    let mut values = args.iter().skip(2);
    let mut next = || values.next().unwrap_or(ValueRef::Null);
    let table = name(next())?;
    let pk = bytes(next()).ok_or(Error::InvalidKey("it is a blob"))?.into();
    let cid = name(next())?;
    let val = owned(next());
    let col_version = ColVersion::new(integer(next())?)?;
    let db_version = integer(next())?;
    let site = match bytes(next()).ok_or(Error::InvalidSiteId)? {
        [] => own,
        site => SiteId::from_slice(site)?,
    };
    let cl = CausalLength::new(integer(next())?)?;
    let seq = Seq::new(integer(next())?)?;
    let version = match next() {
        ValueRef::Null => db_version,
        site_version => integer(site_version)?,
    };
    // cr-sqlite writes 0 for rows that an alteration added to a fresh database: they count to the first transaction.
    let version = Version::new(version.max(1))?;
    Ok(Change { table, pk, cid, val, col_version, version, site, cl, seq })
}

/// A number, where nothing is lost by taking it for one; NULL is 0.
pub(super) fn integer(value: ValueRef<'_>) -> Result<i64> {
    let integer = match value {
        ValueRef::Null => Some(0),
        ValueRef::Integer(value) => Some(value),
        // Reals of this size are exact.
        ValueRef::Real(value) if value.fract() == 0.0 && value.abs() <= (1i64 << 53) as f64 => Some(value as i64),
        ValueRef::Text(text) => std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok()),
        ValueRef::Real(_) | ValueRef::Blob(_) => None,
    };
    integer.ok_or(Error::InvalidChange("versions, cl and seq are integers"))
}

/// A missing name is empty, and so is known to no table.
fn name(value: ValueRef<'_>) -> Result<Arc<str>> {
    let name = match value {
        ValueRef::Null => Some("".into()),
        // The sentinel, as a number.
        ValueRef::Integer(number) => Some(number.to_string().into()),
        ValueRef::Text(name) | ValueRef::Blob(name) => std::str::from_utf8(name).ok().map(Arc::from),
        ValueRef::Real(_) => None,
    };
    name.ok_or(Error::InvalidChange("tables and columns are named by text"))
}

fn bytes(value: ValueRef<'_>) -> Option<&[u8]> {
    match value {
        ValueRef::Null => Some(&[]),
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => Some(bytes),
        ValueRef::Integer(_) | ValueRef::Real(_) => None,
    }
}
