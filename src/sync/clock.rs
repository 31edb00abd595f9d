//! What a copy holds of each site: its version vector, with the holes in it.

use std::collections::BTreeMap;

use super::ranges::{Range, Ranges};
use crate::crr::{SiteId, Version};

/// For each site, a set of its versions. As a copy's clock, those that it holds; in a batch, those that it brings; in a
/// request, those that are asked for.
///
/// As JSON: `{SITE: [[first, last], …]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock(BTreeMap<SiteId, Ranges<Version>>);

impl Clock {
    /// The versions of `site` after `start` up to `end`; none where `end` is not after `start`.
    pub fn after(site: SiteId, start: Version, end: Version) -> Self {
        let range = start.next().ok().and_then(|first| Range::new(first, end).ok());
        range.map(|range| Self::from_iter([(site, Ranges::from(range))])).unwrap_or_default()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many sites it knows.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The sites in ascending order, and the versions of each.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (SiteId, &Ranges<Version>)> + Clone {
        self.0.iter().map(|(site, versions)| (*site, versions))
    }

    /// The versions of `site`, if there are any.
    pub fn get(&self, site: SiteId) -> Option<&Ranges<Version>> {
        self.0.get(&site)
    }

    /// Whether it holds `version` of `site`.
    pub fn contains(&self, site: SiteId, version: Version) -> bool {
        self.0.get(&site).is_some_and(|versions| versions.contains(version))
    }

    /// Whether it holds everything that `other` does.
    pub fn covers(&self, other: &Self) -> bool {
        let covers = |site, versions: &Ranges<Version>| {
            versions.iter().all(|range| self.get(site).is_some_and(|held| held.contains_all(range)))
        };
        other.iter().all(|(site, versions)| covers(site, versions))
    }

    /// The last version of `site` up to which none is missing; zero where the first one is.
    pub fn contiguous(&self, site: SiteId) -> Version {
        self.get(site).and_then(Ranges::contiguous).unwrap_or(Version::ZERO)
    }

    /// Adds a range of versions of `site`.
    pub fn insert(&mut self, site: SiteId, range: Range<Version>) {
        self.0.entry(site).or_default().insert(range);
    }

    /// Takes all versions of `site` away.
    pub fn remove(&mut self, site: SiteId) -> Option<Ranges<Version>> {
        self.0.remove(&site)
    }

    /// What is in one of them or in both.
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (site, versions) in other.iter() {
            let held = all.0.entry(site).or_default();
            *held = held.union(versions);
        }
        all
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        self.iter().filter_map(|(site, versions)| Some((site, versions.intersection(other.get(site)?)))).collect()
    }

    /// What is in this one and not in the other.
    pub fn difference(&self, other: &Self) -> Self {
        let rest = |site, versions: &Ranges<Version>| match other.get(site) {
            Some(held) => versions.difference(held),
            None => versions.clone(),
        };
        self.iter().map(|(site, versions)| (site, rest(site, versions))).collect()
    }
}

impl FromIterator<(SiteId, Ranges<Version>)> for Clock {
    /// Versions of a site that comes twice are joined; a site without any is left out.
    fn from_iter<I: IntoIterator<Item = (SiteId, Ranges<Version>)>>(sites: I) -> Self {
        let mut clock = BTreeMap::<SiteId, Ranges<Version>>::new();
        for (site, versions) in sites.into_iter().filter(|(_, versions)| !versions.is_empty()) {
            let held = clock.entry(site).or_default();
            *held = if held.is_empty() { versions } else { held.union(&versions) };
        }
        Self(clock)
    }
}

/// `{SITE: [[first, last], …]}`
mod json {
    use serde::de::{self, Deserialize, Deserializer};
    use serde::ser::{Serialize, SerializeMap, Serializer};

    use super::*;

    impl Serialize for Clock {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(self.len()))?;
            for (site, versions) in self.iter() {
                map.serialize_entry(&site.to_string(), versions)?;
            }
            map.end()
        }
    }

    impl<'de> Deserialize<'de> for Clock {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let texts = BTreeMap::<String, Ranges<Version>>::deserialize(deserializer)?;
            let mut clock = Self::default();
            for (site, versions) in texts {
                let site: SiteId = site.parse().map_err(de::Error::custom)?;
                if clock.get(site).is_some() {
                    return Err(de::Error::custom("a site stands twice in a clock"));
                }
                if !versions.is_empty() {
                    clock.0.insert(site, versions);
                }
            }
            Ok(clock)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn site(n: u8) -> SiteId {
        SiteId::new([n; 16])
    }

    fn version(n: i64) -> Version {
        Version::new(n).unwrap()
    }

    type Naive = BTreeSet<(u8, i64)>;

    fn members() -> impl Strategy<Value = Naive> {
        prop::collection::btree_set((0..3u8, 1..12i64), 0..20)
    }

    fn clock(members: &Naive) -> Clock {
        members.iter().map(|(s, v)| (site(*s), Ranges::from(Range::one(version(*v))))).collect()
    }

    proptest! {
        #[test]
        fn clocks_are_sets_of_versions_by_site(a in members(), b in members()) {
            let (clock_a, clock_b) = (clock(&a), clock(&b));
            prop_assert_eq!(clock_a.union(&clock_b), clock(&(&a | &b)));
            prop_assert_eq!(clock_a.intersection(&clock_b), clock(&(&a & &b)));
            prop_assert_eq!(clock_a.difference(&clock_b), clock(&(&a - &b)));
            prop_assert_eq!(clock_a.covers(&clock_b), b.is_subset(&a));
            for (s, v) in (0..3).flat_map(|s| (1..12).map(move |v| (s, v))) {
                prop_assert_eq!(clock_a.contains(site(s), version(v)), a.contains(&(s, v)));
            }
            let json = serde_json::to_string(&clock_a).unwrap();
            prop_assert_eq!(serde_json::from_str::<Clock>(&json).unwrap(), clock_a);
        }
    }

    #[test]
    fn what_comes_after_a_version_counts_from_the_next_one() {
        assert!(Clock::after(site(1), version(3), version(3)).is_empty());
        let expected = Clock::from_iter([(site(1), Ranges::from(Range::new(version(4), version(5)).unwrap()))]);
        assert_eq!(Clock::after(site(1), version(3), version(5)), expected);
        assert_eq!(Clock::after(site(1), Version::ZERO, version(5)).contiguous(site(1)), version(5));
    }

    #[test]
    fn a_clock_that_is_none_is_refused() {
        let digits = "9a000000000000000000000000000000";
        let upper = digits.to_uppercase();
        for text in [
            format!(r#"{{"{digits}":[[2,1]]}}"#),
            format!(r#"{{"{digits}":[[0,1]]}}"#),
            format!(r#"{{"{digits}":[[1]]}}"#),
            format!(r#"{{"{digits}":[[1,9007199254740992]]}}"#),
            format!(r#"{{"{digits}":[[1,1]],"{upper}":[[1,1]]}}"#),
            r#"{"9a":[[1,1]]}"#.to_owned(),
        ] {
            assert!(serde_json::from_str::<Clock>(&text).is_err(), "{text}");
        }
    }
}
