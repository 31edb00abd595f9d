//! Sets of numbers as ranges: the versions of a site, the seqs of a transaction.
//!
//! A set is kept as ranges in ascending order that neither overlap nor touch, so two sets are equal when their ranges
//! are, and the cost of everything here follows the number of ranges, not of members.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::crr::sort::sort_by_key;
use crate::crr::{self, Seq, Version};

/// A number that sets are made of: a counter that begins at `MIN` and ends at `MAX`.
pub trait Point: Copy + Ord + fmt::Debug {
    /// The smallest one.
    const MIN: Self;

    /// The number.
    fn get(self) -> i64;

    /// Checks the bounds.
    fn new(number: i64) -> Result<Self, crr::Error>;

    /// The one after this; `None` after the largest.
    fn succ(self) -> Option<Self> {
        Self::new(self.get().checked_add(1)?).ok()
    }

    /// The one before this; `None` before the smallest.
    fn pred(self) -> Option<Self> {
        Self::new(self.get().checked_sub(1)?).ok()
    }
}

macro_rules! point {
    ($name:ident) => {
        impl Point for $name {
            const MIN: Self = $name::MIN;

            fn get(self) -> i64 {
                self.get()
            }

            fn new(number: i64) -> Result<Self, crr::Error> {
                $name::new(number)
            }
        }
    };
}

point!(Version);
point!(Seq);

/// Numbers from `first` to `last`, both included.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Range<T> {
    /// The first number.
    pub first: T,
    /// The last one, which is not smaller.
    pub last: T,
}

/// A range that ends before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a range ends before it begins")]
pub struct InvertedRange;

impl<T: Point> Range<T> {
    /// The numbers from `first` to `last`.
    pub fn new(first: T, last: T) -> Result<Self, InvertedRange> {
        if first <= last { Ok(Self { first, last }) } else { Err(InvertedRange) }
    }

    /// One number.
    pub fn one(point: T) -> Self {
        Self { first: point, last: point }
    }

    /// Whether `point` is one of them.
    pub fn contains(&self, point: T) -> bool {
        self.first <= point && point <= self.last
    }

    /// What both hold.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last)).ok()
    }
}

impl<T: fmt::Debug + PartialEq> fmt::Debug for Range<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}..={:?}", self.first, self.last)
    }
}

/// A set of numbers.
///
/// ```
/// use crsql_sync::crr::Version;
/// use crsql_sync::sync::{Range, Ranges};
///
/// let version = |n| Version::new(n).unwrap();
/// let mut held = Ranges::from(Range::new(version(1), version(4)).unwrap());
/// held.insert(Range::one(version(7)));
/// held.insert(Range::new(version(5), version(6)).unwrap());
/// assert_eq!(held, Ranges::from(Range::new(version(1), version(7)).unwrap()));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Ranges<T>(Vec<Range<T>>);

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Point> Ranges<T> {
    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, in ascending order; none overlaps or touches another.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range<T>> + ExactSizeIterator + '_ {
        self.0.iter().copied()
    }

    /// The largest member.
    pub fn last(&self) -> Option<T> {
        self.0.last().map(|range| range.last)
    }

    /// Whether `point` is a member.
    pub fn contains(&self, point: T) -> bool {
        let at = self.0.partition_point(|range| range.last < point);
        self.0.get(at).is_some_and(|range| range.contains(point))
    }

    /// Whether all of `range` are members.
    pub fn contains_all(&self, range: Range<T>) -> bool {
        let at = self.0.partition_point(|held| held.last < range.first);
        self.0.get(at).is_some_and(|held| held.contains(range.first) && held.contains(range.last))
    }

    /// Whether `range` is one of the ranges.
    pub(super) fn has_range(&self, range: Range<T>) -> bool {
        let at = self.0.binary_search_by_key(&range.first, |held| held.first);
        at.is_ok_and(|at| self.0.get(at) == Some(&range))
    }

    /// The last of the members that follow each other from the smallest number there is: how far nothing is missing.
    pub fn contiguous(&self) -> Option<T> {
        self.0.first().filter(|range| range.first == T::MIN).map(|range| range.last)
    }

    /// Adds a range.
    pub fn insert(&mut self, range: Range<T>) {
        // Those that overlap or touch it.
        let from = self.0.partition_point(|held| held.last.succ().is_some_and(|after| after < range.first));
        let to = self.0.partition_point(|held| range.last.succ().is_none_or(|after| held.first <= after));
        let joined = self.0.get(from..to.max(from)).unwrap_or_default();
        let first = joined.first().map_or(range.first, |held| held.first.min(range.first));
        let last = joined.last().map_or(range.last, |held| held.last.max(range.last));
        self.0.splice(from..to.max(from), [Range { first, last }]);
    }

    /// Takes a range away.
    pub fn remove(&mut self, range: Range<T>) {
        let from = self.0.partition_point(|held| held.last < range.first);
        let to = self.0.partition_point(|held| held.first <= range.last).max(from);
        let cut = self.0.get(from..to).unwrap_or_default();
        let before = cut.first().and_then(|held| Range::new(held.first, range.first.pred()?).ok());
        let after = cut.last().and_then(|held| Range::new(range.last.succ()?, held.last).ok());
        self.0.splice(from..to, before.into_iter().chain(after));
    }

    /// What is in one of them or in both.
    pub fn union(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).collect()
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut ours, mut theirs) = (self.iter().peekable(), other.iter().peekable());
        let mut both = Vec::new();
        while let (Some(our), Some(their)) = (ours.peek(), theirs.peek()) {
            both.extend(our.intersection(their));
            if our.last < their.last {
                ours.next();
            } else {
                theirs.next();
            }
        }
        Self(both)
    }

    /// What is in this one and not in the other.
    pub fn difference(&self, other: &Self) -> Self {
        let mut theirs = other.iter().peekable();
        let mut rest = Vec::new();
        for range in self.iter() {
            let mut first = Some(range.first);
            while let (Some(from), Some(their)) = (first, theirs.peek()) {
                if their.first > range.last {
                    break;
                }
                rest.extend(their.first.pred().and_then(|last| Range::new(from, last).ok()));
                if their.last >= from {
                    first = their.last.succ().filter(|next| *next <= range.last);
                }
                if their.last > range.last {
                    break;
                }
                theirs.next();
            }
            rest.extend(first.map(|first| Range { first, last: range.last }));
        }
        Self(rest)
    }

    /// What lies between the members, from the smallest number up to the largest member.
    pub fn gaps(&self) -> Self {
        match self.last() {
            Some(last) => Self(vec![Range { first: T::MIN, last }]).difference(self),
            None => Self::default(),
        }
    }
}

impl<T: Point> From<Range<T>> for Ranges<T> {
    fn from(range: Range<T>) -> Self {
        Self(vec![range])
    }
}

impl<T: Point> FromIterator<Range<T>> for Ranges<T> {
    fn from_iter<I: IntoIterator<Item = Range<T>>>(ranges: I) -> Self {
        let mut all: Vec<_> = ranges.into_iter().collect();
        sort_by_key(&mut all, |range| range.first);
        let mut joined = Vec::<Range<T>>::with_capacity(all.len());
        for range in all {
            match joined.last_mut().filter(|last| last.last.succ().is_none_or(|after| range.first <= after)) {
                Some(last) => last.last = last.last.max(range.last),
                None => joined.push(range),
            }
        }
        Self(joined)
    }
}

impl<T: Point> fmt::Debug for Ranges<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

/// `[[first, last], …]`
impl<T: Point> Serialize for Ranges<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|range| (range.first.get(), range.last.get())))
    }
}

/// In any order.
impl<'de, T: Point> Deserialize<'de> for Ranges<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let range = |(first, last)| {
            let (first, last) = (T::new(first), T::new(last));
            Range::new(first.map_err(de::Error::custom)?, last.map_err(de::Error::custom)?).map_err(de::Error::custom)
        };
        Vec::<(i64, i64)>::deserialize(deserializer)?.into_iter().map(range).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::crr::ids::MAX_COUNTER;

    type Naive = BTreeSet<i64>;

    /// The few numbers that the tests are about: small ones, and the largest.
    fn points() -> impl Iterator<Item = i64> {
        (1..24).chain(MAX_COUNTER - 3..=MAX_COUNTER)
    }

    fn version(n: i64) -> Version {
        Version::new(n).unwrap()
    }

    fn range((first, last): (i64, i64)) -> Range<Version> {
        Range::new(version(first), version(last)).unwrap()
    }

    fn ranges() -> impl Strategy<Value = Vec<(i64, i64)>> {
        let small = (1..20i64, 0..4i64).prop_map(|(first, more)| (first, first + more));
        let large = (0..4i64, 0..4i64).prop_map(|(a, b)| (MAX_COUNTER - a.max(b), MAX_COUNTER - a.min(b)));
        prop::collection::vec(prop_oneof![4 => small, 1 => large], 0..8)
    }

    fn of(ranges: &[(i64, i64)]) -> Ranges<Version> {
        ranges.iter().map(|bounds| range(*bounds)).collect()
    }

    fn naive(ranges: &[(i64, i64)]) -> Naive {
        ranges.iter().flat_map(|(first, last)| *first..=*last).collect()
    }

    /// That the set has the members of `expected`, and the form that it promises.
    fn check(set: &Ranges<Version>, expected: &Naive) -> Result<(), TestCaseError> {
        for point in points() {
            prop_assert_eq!(set.contains(version(point)), expected.contains(&point), "{} in {:?}", point, set);
        }
        for pair in set.0.windows(2) {
            prop_assert!(pair[0].last.get() + 1 < pair[1].first.get(), "{:?}", set);
        }
        prop_assert!(set.iter().all(|range| range.first <= range.last));
        prop_assert_eq!(set.last().map(|last| last.get()), expected.last().copied());
        let contiguous = (1..).take_while(|point| expected.contains(point)).last();
        prop_assert_eq!(set.contiguous().map(|last| last.get()), contiguous);
        Ok(())
    }

    #[test]
    fn an_inverted_range_is_refused() {
        assert_eq!(Range::new(version(2), version(1)), Err(InvertedRange));
    }

    proptest! {
        #[test]
        fn sets_of_ranges_are_sets(a in ranges(), b in ranges(), one in (1..22i64, 0..5i64)) {
            let ((set_a, naive_a), (set_b, naive_b)) = ((of(&a), naive(&a)), (of(&b), naive(&b)));
            check(&set_a, &naive_a)?;
            check(&set_a.union(&set_b), &(&naive_a | &naive_b))?;
            check(&set_a.intersection(&set_b), &(&naive_a & &naive_b))?;
            check(&set_a.difference(&set_b), &(&naive_a - &naive_b))?;

            let one = (one.0, one.0 + one.1);
            let of_one = naive(&[one]);
            prop_assert_eq!(set_a.contains_all(range(one)), of_one.is_subset(&naive_a));
            let mut more = set_a.clone();
            more.insert(range(one));
            check(&more, &(&naive_a | &of_one))?;
            let mut less = set_a.clone();
            less.remove(range(one));
            check(&less, &(&naive_a - &of_one))?;
            prop_assert!(set_a.gaps().intersection(&set_a).is_empty());
        }
    }
}
