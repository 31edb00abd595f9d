use std::fmt;
use std::str::FromStr;

use super::super::cursor::Cursor;

/// How far the holder of a subscription is. As text: `SEEN@SITE.VERSION`.
///
/// ```
/// # use crsql_sync::sync::Position;
/// let position: Position = "7@9a000000000000000000000000000000.41".parse()?;
/// assert_eq!((position.seen, position.since.version.get()), (7, 41));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The number of the answer that it merged last.
    pub seen: i64,
    /// Where that answer said to go on: it has the changes of its rows up to there.
    pub since: Cursor,
}

/// A text that is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position in a subscription is SEEN@SITE.VERSION")]
pub struct InvalidPosition;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.seen, self.since)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (seen, since) = text.split_once('@').ok_or(InvalidPosition)?;
        let (seen, since) = (seen.parse(), since.parse());
        Ok(Self { seen: seen.map_err(|_| InvalidPosition)?, since: since.map_err(|_| InvalidPosition)? })
    }
}
