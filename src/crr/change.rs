//! One change: a row of `crsql_changes` in its author's coordinates.

use std::sync::Arc;

use rusqlite::types::Value;

use super::ids::{CausalLength, ColVersion, Seq, SiteId, Version};

/// The column name of a row's *sentinel*, the change that says whether the row is there at all.
pub const SENTINEL: &str = "-1";

/// One change, as peers exchange it.
///
/// The columns are those of `crsql_changes`, with one difference: `version` and `seq` are those of the transaction in
/// which `site` made the change, not of the one in which some relay merged it. They name the change for ever.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The replicated table.
    pub table: Arc<str>,
    /// The primary key's values in the form of [`pack`](super::pack). Changes of one row best share it.
    pub pk: Arc<[u8]>,
    /// The column, or [`SENTINEL`].
    pub cid: Arc<str>,
    /// The column's value; NULL for a sentinel.
    pub val: Value,
    /// The cell's version; for a sentinel the causal length.
    pub col_version: ColVersion,
    /// The author's transaction.
    pub version: Version,
    /// The author.
    pub site: SiteId,
    /// The row's causal length.
    pub cl: CausalLength,
    /// The position in the author's transaction.
    pub seq: Seq,
}
