//! Requests that come twice and are carried out once.
//!
//! A caller whose answer was lost cannot know whether its write was done. A browser even sends a request again by itself
//! when the worker dies that was answering it. So a request may carry a key of its own; what was answered to it is
//! committed with what it did, and a request that comes with the same key is given that answer.

use std::str::FromStr;

use rusqlite::{Connection, OptionalExtension};

use super::error::{Error, SqlError};
use super::json;
use super::sql::ResultSet;

/// How many answers are kept at least: more than are likely to be given before a request is repeated.
const KEPT: i64 = 1_024;
/// How many are forgotten together, which is cheaper than one with each that comes.
const FORGOTTEN: i64 = 64;

/// Of a larger answer it is only kept that it was given.
const LARGEST: usize = 64 << 10;

/// The name of one request, made up by its caller: 1 to 128 visible ASCII characters, such as a UUID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey(String);

/// A text that cannot name a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key of a request is 1 to 128 visible ASCII characters, such as a UUID")]
pub struct InvalidRequestKey;

impl RequestKey {
    /// The key as it is `principal`'s: whoever else uses the same is not given the same answer.
    pub fn of(self, principal: &str) -> Self {
        // A key as callers make them has no space in it.
        Self(format!("{principal} {}", self.0))
    }
}

impl FromStr for RequestKey {
    type Err = InvalidRequestKey;

    fn from_str(text: &str) -> Result<Self, InvalidRequestKey> {
        let valid = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidRequestKey) }
    }
}

pub(super) const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS crsql_sync_answers (
        id INTEGER PRIMARY KEY, request TEXT NOT NULL UNIQUE, answer TEXT NOT NULL
    ) STRICT;";

/// What was answered to the request before, if it is known.
pub(super) fn recall(conn: &Connection, key: &RequestKey) -> Result<Option<Vec<ResultSet>>, SqlError> {
    match answer(conn, key)? {
        None => Ok(None),
        Some(answer) if answer.is_empty() => Err(SqlError::AlreadyDone),
        Some(answer) => {
            let results = json::read(answer.as_bytes()).map_err(|_| Error::Corrupt("a kept answer is damaged"))?;
            Ok(Some(results))
        }
    }
}

fn answer(conn: &Connection, key: &RequestKey) -> Result<Option<String>, Error> {
    let mut find = conn.prepare_cached("SELECT answer FROM crsql_sync_answers WHERE request = ?")?;
    Ok(find.query_row([&key.0], |row| row.get(0)).optional()?)
}

/// Keeps an answer, to be committed with what it tells of.
pub(super) fn keep(conn: &Connection, key: &RequestKey, results: &[ResultSet]) -> Result<(), Error> {
    let answer = serde_json::to_string(results).ok().filter(|answer| answer.len() <= LARGEST).unwrap_or_default();
    let mut keep =
        conn.prepare_cached("INSERT INTO crsql_sync_answers (request, answer) VALUES (?, ?) RETURNING id")?;
    let id: i64 = keep.query_row((&key.0, answer), |row| row.get(0))?;
    if id % FORGOTTEN == 0 {
        conn.prepare_cached("DELETE FROM crsql_sync_answers WHERE id <= ?")?.execute([id - KEPT])?;
    }
    Ok(())
}
