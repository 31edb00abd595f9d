//! Where a reader stands in a site's local versions.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::crr::{Change, Seq, SiteId, Version};

/// "I have everything that `site` had up to its local version `version`." As text: `SITE.VERSION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Whose local versions are counted.
    pub site: SiteId,
    /// The newest one that is held; zero for none.
    pub version: Version,
}

/// The author's name for a change, and its rank in the order of changes inside one local version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The author.
    pub site: SiteId,
    /// The author's transaction.
    pub version: Version,
    /// The position in it.
    pub seq: Seq,
}

impl Origin {
    /// That of `change`.
    pub fn of(change: &Change) -> Self {
        Self { site: change.site, version: change.version, seq: change.seq }
    }
}

/// A point inside a local version that is too large for one batch.
///
/// Everything before `cursor.version` is held, and of that version everything up to and including `last`. As text:
/// `SITE.VERSION~AUTHOR.VERSION.SEQ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The version that is cut.
    pub cursor: Cursor,
    /// The last change of it that is held.
    pub last: Origin,
}

/// What a reader has, as it stands in `since`, `next` and `expected`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Since {
    /// Nothing. As text: `0`.
    Beginning,
    /// All up to a cursor.
    After(Cursor),
    /// All up to a point inside a version.
    Within(Place),
}

impl Since {
    /// Whose local versions are counted, where any are held.
    pub fn site(&self) -> Option<SiteId> {
        match self {
            Self::Beginning => None,
            Self::After(cursor) => Some(cursor.site),
            Self::Within(place) => Some(place.cursor.site),
        }
    }

    /// Whether more is held than at `other`. Points of different sites are not ordered: neither is later.
    pub fn is_later_than(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Beginning, _) => false,
            (_, Self::Beginning) => true,
            _ => self.site() == other.site() && self.rank() > other.rank(),
        }
    }

    /// The first version that is not held completely, less one, and what is held of it.
    fn rank(&self) -> (i64, Option<Origin>) {
        match self {
            Self::Beginning => (0, None),
            Self::After(cursor) => (cursor.version.get(), None),
            Self::Within(place) => (place.cursor.version.get() - 1, Some(place.last)),
        }
    }
}

impl From<Cursor> for Since {
    fn from(cursor: Cursor) -> Self {
        Self::After(cursor)
    }
}

/// A text that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a cursor is `0`, or `SITE.VERSION` as an earlier answer gave it, where SITE is 32 hexadecimal digits")]
pub struct InvalidCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.site, self.version)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (site, version) = text.split_once('.').ok_or(InvalidCursor)?;
        Ok(Self {
            site: site.parse().map_err(|_| InvalidCursor)?,
            version: Version::or_zero(integer(version)?).map_err(|_| InvalidCursor)?,
        })
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beginning => f.write_str("0"),
            Self::After(cursor) => cursor.fmt(f),
            Self::Within(Place { cursor, last }) => {
                write!(f, "{cursor}~{}.{}.{}", last.site, last.version, last.seq)
            }
        }
    }
}

impl FromStr for Since {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        if text == "0" {
            return Ok(Self::Beginning);
        }
        let Some((cursor, last)) = text.split_once('~') else {
            return text.parse().map(Self::After);
        };
        let cursor: Cursor = cursor.parse()?;
        let (author, seq) = last.rsplit_once('.').ok_or(InvalidCursor)?;
        let author: Cursor = author.parse()?;
        if cursor.version == Version::ZERO || author.version == Version::ZERO {
            return Err(InvalidCursor);
        }
        let seq = Seq::new(integer(seq)?).map_err(|_| InvalidCursor)?;
        Ok(Self::Within(Place { cursor, last: Origin { site: author.site, version: author.version, seq } }))
    }
}

/// Digits only: no sign, no space.
fn integer(text: &str) -> Result<i64, InvalidCursor> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidCursor);
    }
    text.parse().map_err(|_| InvalidCursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "9a0000000000000000000000000000ff";
    const AUTHOR: &str = "c00000000000000000000000000000ff";

    fn since(text: &str) -> Since {
        text.parse().unwrap()
    }

    #[test]
    fn a_cursor_reads_as_it_was_written() {
        for text in ["0".into(), format!("{SITE}.0"), format!("{SITE}.44"), format!("{SITE}.44~{AUTHOR}.8.499")] {
            assert_eq!(since(&text).to_string(), text);
        }
    }

    #[test]
    fn a_text_that_is_no_cursor_is_refused() {
        let texts = [
            "".into(),
            "1".into(),
            "x".into(),
            SITE.into(),
            format!("{SITE}."),
            format!("{SITE}.-1"),
            format!("{SITE}.+1"),
            format!("{SITE}.9007199254740992"),
            format!("{SITE}.99999999999999999999"),
            format!("{SITE}.0~{AUTHOR}.8.499"),
            format!("{SITE}.1~{AUTHOR}.0.499"),
            format!("{SITE}.1~{AUTHOR}.1"),
            format!("{SITE}.1~"),
        ];
        for text in texts {
            assert!(text.parse::<Since>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_later_of_two_points_is_the_one_that_holds_more() {
        let texts = [
            "0".into(),
            format!("{SITE}.3"),
            format!("{SITE}.4~{AUTHOR}.8.1"),
            format!("{SITE}.4~{AUTHOR}.8.2"),
            format!("{SITE}.4"),
        ];
        for pair in texts.windows(2) {
            assert!(since(&pair[1]).is_later_than(&since(&pair[0])), "{pair:?}");
            assert!(!since(&pair[0]).is_later_than(&since(&pair[1])), "{pair:?}");
        }
        assert!(!since(&format!("{AUTHOR}.9")).is_later_than(&since(&format!("{SITE}.3"))));
    }
}
