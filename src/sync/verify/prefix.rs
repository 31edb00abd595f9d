//! Prefixes of places: the nodes of a tree in which each has sixteen children.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The hexadecimal digits of a place.
const DIGITS: u8 = 16;

/// All places that begin with some hexadecimal digits; as text, those digits. The order is that of places, a node before
/// those under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The first place.
    first: u64,
    /// How many digits.
    depth: u8,
}

impl Prefix {
    /// Of no digits: all places.
    pub const ROOT: Self = Self { first: 0, depth: 0 };

    /// All digits of one place.
    pub const fn of(place: u64) -> Self {
        Self { first: place, depth: DIGITS }
    }

    /// The first `depth` digits of a place.
    pub(super) fn at(place: u64, depth: u8) -> Self {
        let prefix = Self { first: place, depth: depth.min(DIGITS) };
        Self { first: place & !prefix.rest(), ..prefix }
    }

    /// How many digits.
    pub fn depth(&self) -> u8 {
        self.depth
    }

    /// The first place that has it.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The last place that has it.
    pub fn last(&self) -> u64 {
        self.first | self.rest()
    }

    /// Whether a place begins with it.
    pub fn contains(&self, place: u64) -> bool {
        (self.first..=self.last()).contains(&place)
    }

    /// The prefixes of one more digit, in order; none where it names one place.
    pub fn children(self) -> impl Iterator<Item = Self> {
        let depth = self.depth + 1;
        let digits = if depth <= DIGITS { 0..16u64 } else { 0..0 };
        digits.map(move |digit| Self { first: self.first | digit << (64 - 4 * u32::from(depth)), depth })
    }

    /// The fewest prefixes that cover it from `place` on.
    pub(super) fn from(self, place: u64) -> impl Iterator<Item = Self> {
        let behind = move |depth| {
            let on_the_way = Self::at(place, depth);
            on_the_way.children().filter(move |child| child.first > place)
        };
        std::iter::once(Self::of(place)).chain((self.depth..DIGITS).flat_map(behind))
    }

    /// A number for it, unique among prefixes of up to fifteen digits: its digits behind a 1. Those of its children follow
    /// each other.
    pub(super) fn number(&self) -> i64 {
        let bits = 4 * u32::from(self.depth);
        (1u64.unbounded_shl(bits) | self.first.unbounded_shr(64 - bits)).cast_signed()
    }

    /// The bits behind its digits.
    fn rest(&self) -> u64 {
        u64::MAX.unbounded_shr(4 * u32::from(self.depth))
    }
}

/// A text that is no prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a prefix is up to 16 hexadecimal digits")]
pub struct InvalidPrefix;

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = hex::encode(self.first.to_be_bytes());
        f.write_str(digits.get(..usize::from(self.depth)).unwrap_or(&digits))
    }
}

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let depth = u8::try_from(text.len()).ok().filter(|depth| *depth <= DIGITS).ok_or(InvalidPrefix)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).map(u64::from).ok_or(InvalidPrefix);
        let first = text.bytes().try_fold(0u64, |first, byte| Ok(first << 4 | digit(byte)?))?;
        Ok(Self { first: first.unbounded_shl(64 - 4 * u32::from(depth)), depth })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_reads_as_it_was_written() {
        for text in ["", "0", "f", "a3f", "0000000000000000", "fedcba9876543210"] {
            assert_eq!(prefix(text).to_string(), text);
        }
        for text in ["g", "+1", " 1", "é", "00000000000000000"] {
            assert!(text.parse::<Prefix>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn children_share_out_the_places_of_their_parent() {
        for text in ["", "8", "a3f", "fedcba98765432", "fedcba987654321"] {
            let parent = prefix(text);
            let children: Vec<Prefix> = parent.children().collect();
            assert_eq!((children[0].first(), children[15].last()), (parent.first(), parent.last()));
            for pair in children.windows(2) {
                assert_eq!(pair[0].last() + 1, pair[1].first());
            }
            for child in children {
                assert_eq!(Prefix::at(child.last(), parent.depth()), parent);
                if child.depth() < DIGITS {
                    assert_eq!(child.number() >> 4, parent.number());
                }
            }
        }
        assert_eq!(prefix("fedcba9876543210").children().count(), 0);
    }

    #[test]
    fn what_is_left_of_a_prefix_is_covered_once() {
        for (text, place) in [("", 0), ("", u64::MAX), ("a", 0xa3f5_0000_0000_0000), ("a3", 0xa3ff_ffff_ffff_fffe)] {
            let prefix = prefix(text);
            let mut rest: Vec<Prefix> = prefix.from(place).collect();
            rest.sort();
            assert_eq!((rest[0].first(), rest.last().unwrap().last()), (place, prefix.last()));
            assert!(rest.windows(2).all(|pair| pair[0].last() + 1 == pair[1].first()));
        }
    }

    #[test]
    fn a_node_comes_before_those_under_it_and_after_those_before_it() {
        let ascending = ["", "0", "00", "0f", "1", "1000000000000000", "f"].map(prefix);
        assert!(ascending.is_sorted_by(|a, b| a < b));
    }
}
