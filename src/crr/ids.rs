//! The numbers and names that a change carries.
//!
//! Each is a type of its own, so that a transaction number is never taken for a position. All counters are bounded by
//! 2^53 − 1, the largest integer that JSON readers in JavaScript keep exactly; [`Version::new`] and its kin refuse the
//! rest, since a counter near `i64::MAX`, once merged, could never be incremented again.

use std::fmt;
use std::str::FromStr;

use super::Error;

/// The largest value of any counter: 2^53 − 1.
pub const MAX_COUNTER: i64 = (1 << 53) - 1;

/// One copy of a database. Ours have 16 random bytes with the bits of a version 4 UUID, as `crsql_site_id()` returns;
/// cr-sqlite takes changes of sites with shorter names too. Ordered bytewise, a prefix being smaller.
///
/// As text, and so on the wire, it has 32 hexadecimal digits: zeros stand behind a shorter name, which comes in by SQL only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId {
    /// Zeros follow the name.
    bytes: [u8; 16],
    len: u8,
}

impl SiteId {
    /// Takes the 16 bytes as they are.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self { bytes, len: 16 }
    }

    /// Takes a blob of 1 to 16 bytes.
    pub fn from_slice(name: &[u8]) -> Result<Self, Error> {
        let mut bytes = [0; 16];
        match bytes.get_mut(..name.len()) {
            Some(place) if !name.is_empty() => place.copy_from_slice(name),
            _ => return Err(Error::InvalidSiteId),
        }
        Ok(Self { bytes, len: name.len() as u8 })
    }

    /// The bytes, 16 or fewer.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&self.bytes)
    }
}

impl fmt::Display for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.bytes))
    }
}

impl fmt::Debug for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SiteId({self})")
    }
}

impl FromStr for SiteId {
    type Err = Error;

    /// Reads 32 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| Error::InvalidSiteId)?;
        Ok(Self::new(bytes))
    }
}

/// The short name of a site in one database: where it stands in `crsql_site_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(i64);

impl Ordinal {
    /// This copy's own site.
    pub const SELF: Self = Self(0);

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl From<i64> for Ordinal {
    fn from(number: i64) -> Self {
        Self(number)
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident, from $min:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(i64);

        impl $name {
            /// The smallest value that a change may carry.
            pub const MIN: Self = Self($min);
            /// The largest one.
            pub const MAX: Self = Self(MAX_COUNTER);

            /// Checks the bounds.
            pub const fn new(value: i64) -> Result<Self, Error> {
                if value < $min || value > MAX_COUNTER {
                    return Err(Error::OutOfRange { what: $what, value });
                }
                Ok(Self(value))
            }

            /// The number.
            pub const fn get(self) -> i64 {
                self.0
            }

            /// The number after this one, or an error at the end of the range.
            pub const fn next(self) -> Result<Self, Error> {
                Self::new(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// A site's own transaction number: its `db_version` when it committed. (site, version) names a transaction for ever.
    Version, from 1, "version"
}
counter! {
    /// The position of a change in its transaction, from 0.
    Seq, from 0, "seq"
}
counter! {
    /// A cell's Lamport counter, compared when two copies hold the same cell at the same causal length.
    ColVersion, from 0, "col_version"
}
counter! {
    /// How often a row was inserted and deleted: odd while it is alive, even while it is deleted.
    CausalLength, from 0, "cl"
}

impl Version {
    /// Before the first transaction: the version of a database to which nothing was written.
    pub const ZERO: Self = Self(0);

    /// Like [`Version::new`], but takes 0 as well.
    pub const fn or_zero(value: i64) -> Result<Self, Error> {
        if value == 0 { Ok(Self::ZERO) } else { Self::new(value) }
    }
}

impl Seq {
    /// The first position.
    pub const ZERO: Self = Self(0);
}

impl ColVersion {
    /// Of a cell that was written once.
    pub const FIRST: Self = Self(1);
}

impl CausalLength {
    /// A row that was inserted once and never deleted.
    pub const FIRST: Self = Self(1);

    /// Whether a row of this causal length is there.
    pub const fn is_alive(self) -> bool {
        self.0 % 2 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_near_the_maximum_is_refused() {
        assert!(Version::new(MAX_COUNTER).is_ok());
        assert!(Version::new(MAX_COUNTER + 1).is_err());
        assert!(Version::new(i64::MAX).is_err());
        assert!(Version::new(0).is_err());
        assert!(Version::new(MAX_COUNTER).unwrap().next().is_err());
    }

    #[test]
    fn a_site_id_is_one_to_sixteen_bytes_and_always_32_digits() {
        let id: SiteId = "000102030405060708090a0b0c0d0e0f".parse().unwrap();
        assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0e0f");
        for bad in ["", "aa", "aab", "zz", "000102030405060708090a0b0c0d0e0f10"] {
            assert!(bad.parse::<SiteId>().is_err(), "{bad} was taken");
        }
        let short = SiteId::from_slice(b"\xaa").unwrap();
        assert_eq!(short.as_bytes(), [0xaa]);
        assert_eq!(short.to_string(), "aa000000000000000000000000000000");
        assert!(SiteId::from_slice(&[]).is_err());
        assert!(SiteId::from_slice(&[0; 17]).is_err());
    }

    #[test]
    fn a_site_id_that_begins_another_is_smaller() {
        let ascending = [&[1][..], &[1, 0], &[1, 0, 0], &[1, 1], &[2]].map(|id| SiteId::from_slice(id).unwrap());
        assert!(ascending.is_sorted_by(|a, b| a < b));
    }
}
