use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// The longest database id, in characters.
const MAX_LENGTH: usize = 128;

/// The name of a database: 1 to 128 characters of `[A-Za-z0-9._-]`, not beginning with a point.
///
/// A value of this type can stand in a path or a key as it is: it holds no separator, and is never `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dbid(Arc<str>);

/// A text that cannot name a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a database id is 1 to 128 characters of A-Z, a-z, 0-9, point, underscore and hyphen, and does not begin with a point"
)]
pub struct InvalidDbid;

impl Dbid {
    /// Checks the form.
    pub fn new(text: &str) -> Result<Self, InvalidDbid> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > MAX_LENGTH || text.starts_with('.') || !text.bytes().all(allowed) {
            return Err(InvalidDbid);
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Dbid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Dbid {
    type Err = InvalidDbid;

    fn from_str(text: &str) -> Result<Self, InvalidDbid> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_leave_its_folder_is_refused() {
        for text in ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "ä", "a\0", "%2e", &"x".repeat(129)] {
            assert_eq!(Dbid::new(text), Err(InvalidDbid), "{text:?}");
        }
        for text in ["a", "todo.v2", "_", "-", "a..b", &"x".repeat(128)] {
            assert_eq!(Dbid::new(text).unwrap().as_str(), text);
        }
    }
}
