//! The message that peers exchange.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, SerializeTuple, Serializer};

use super::cursor::{Cursor, Place, Since};
use super::json::{self, Hex, JsonRef, JsonValue};
use crate::crr::{CausalLength, Change, ColVersion, Seq, SiteId, Version};

/// Changes, and what having merged them lets the receiver claim.
///
/// `start` (exclusive) and `end` (inclusive) are in the sender's local versions: whoever held everything up to `start`
/// holds, with this batch, everything up to `end`. A batch without them answers by versions: it is merged, and moves no
/// cursor. Fields that this version of the protocol does not know are ignored; of those that it does, `partial` and
/// `clock` are still to come.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Batch {
    /// Always 1; another version is refused.
    pub protocol: Protocol,
    /// The site that sends it.
    #[serde(with = "json::text")]
    pub from: SiteId,
    /// The schema that the rows fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaHash>,
    /// What the receiver must hold of version `start + 1`, where the batch begins inside that version. Without this
    /// field, the last piece of a cut version would pass for the whole of it.
    #[serde(default, with = "json::optional_text", skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
    /// The sender's local version after which the batch begins.
    #[serde(default, with = "bound", skip_serializing_if = "Option::is_none")]
    pub start: Option<Version>,
    /// The sender's local version with which it ends.
    #[serde(default, with = "bound", skip_serializing_if = "Option::is_none")]
    pub end: Option<Version>,
    /// The transactions, by author, that the batch brings or shows to be empty.
    #[serde(default)]
    pub covers: Coverage,
    /// Whether the sender stopped at a limit.
    #[serde(default)]
    pub more: bool,
    /// Where to go on.
    #[serde(default, with = "json::optional_text", skip_serializing_if = "Option::is_none")]
    pub next: Option<Since>,
    /// What the sender holds of the receiver's versions, so that the receiver can forget what it keeps to not echo them.
    #[serde(default, with = "json::optional_text", skip_serializing_if = "Option::is_none")]
    pub have: Option<Cursor>,
    /// The rows.
    #[serde(default, with = "changes")]
    pub changes: Vec<Change>,
}

impl Batch {
    /// The point inside version `start + 1` at which the batch begins.
    pub(super) fn begins_within(&self) -> Option<Place> {
        match self.since {
            Some(Since::Within(place)) => Some(place),
            _ => None,
        }
    }

    /// The point inside version `end + 1` at which the batch stops.
    pub(super) fn stops_within(&self) -> Option<Place> {
        match self.next {
            Some(Since::Within(place)) => Some(place),
            _ => None,
        }
    }
}

/// The protocol's version, 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protocol;

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            1 => Ok(Self),
            other => Err(de::Error::custom(format_args!("protocol {other} is not spoken here, only 1"))),
        }
    }
}

/// The identity of a schema: a hash of its normalised structure.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SchemaHash(Arc<str>);

impl SchemaHash {
    pub(super) fn new(digits: &str) -> Self {
        Self(digits.into())
    }

    /// The hash as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SchemaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for SchemaHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SchemaHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Ok(Self::new(&text))
    }
}

/// Ranges of transactions by author. As JSON: `{SITE: [[first, last], …]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<SiteId, Vec<Range>>);

/// Transactions from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first transaction.
    pub first: Version,
    /// The last transaction.
    pub last: Version,
}

impl Coverage {
    /// The versions of `site` after `start` up to `end`; none where they are equal.
    pub fn of(site: SiteId, start: Version, end: Version) -> Self {
        match start.next() {
            Ok(first) if first <= end => Self(BTreeMap::from([(site, vec![Range { first, last: end }])])),
            _ => Self::default(),
        }
    }

    /// The ranges by author.
    pub fn iter(&self) -> impl Iterator<Item = (SiteId, &[Range])> {
        self.0.iter().map(|(site, ranges)| (*site, ranges.as_slice()))
    }
}

impl Serialize for Coverage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (site, ranges) in &self.0 {
            let ranges: Vec<_> = ranges.iter().map(|range| (range.first.get(), range.last.get())).collect();
            map.serialize_entry(&site.to_string(), &ranges)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Coverage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = BTreeMap::<String, Vec<(i64, i64)>>::deserialize(deserializer)?;
        let mut coverage = BTreeMap::new();
        for (site, pairs) in texts {
            let site = SiteId::from_str(&site).map_err(de::Error::custom)?;
            let mut ranges = Vec::with_capacity(pairs.len());
            for (first, last) in pairs {
                let first = Version::new(first).map_err(de::Error::custom)?;
                let last = Version::new(last).map_err(de::Error::custom)?;
                if first > last {
                    return Err(de::Error::custom("a range of versions ends before it begins"));
                }
                ranges.push(Range { first, last });
            }
            if coverage.insert(site, ranges).is_some() {
                return Err(de::Error::custom("a site stands twice in `covers`"));
            }
        }
        Ok(Self(coverage))
    }
}

/// `start` and `end`: integers, of which a reader also takes the tagged form.
mod bound {
    use rusqlite::types::Value;
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::{JsonValue, Version};

    pub(super) fn serialize<S: Serializer>(bound: &Option<Version>, serializer: S) -> Result<S::Ok, S::Error> {
        match bound {
            Some(version) => serializer.serialize_i64(version.get()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Version>, D::Error> {
        match JsonValue::deserialize(deserializer)?.0 {
            Value::Null => Ok(None),
            Value::Integer(version) => Version::or_zero(version).map(Some).map_err(de::Error::custom),
            _ => Err(de::Error::custom("`start` and `end` are integers")),
        }
    }
}

/// Changes as arrays: `[table, pk, cid, val, col_version, version, site, cl, seq]`.
mod changes {
    use super::*;

    pub(super) fn serialize<S: Serializer>(changes: &[Change], serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(changes.len()))?;
        for change in changes {
            seq.serialize_element(&Row(change))?;
        }
        seq.end()
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Change>, D::Error> {
        let rows = Vec::<OwnedRow>::deserialize(deserializer)?;
        let mut changes: Vec<Change> = rows.into_iter().map(|row| row.0).collect();
        share(&mut changes);
        Ok(changes)
    }

    /// Lets neighbours of one row, or of one table, share its names.
    fn share(changes: &mut [Change]) {
        let mut changes = changes.iter_mut();
        let Some(mut last) = changes.next() else { return };
        for next in changes {
            if last.pk == next.pk {
                next.pk = last.pk.clone();
            }
            if last.table == next.table {
                next.table = last.table.clone();
            }
            last = next;
        }
    }

    struct Row<'a>(&'a Change);

    impl Serialize for Row<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let change = self.0;
            let mut row = serializer.serialize_tuple(9)?;
            row.serialize_element(&*change.table)?;
            row.serialize_element(&hex::encode(&change.pk))?;
            row.serialize_element(&*change.cid)?;
            row.serialize_element(&JsonRef(&change.val))?;
            row.serialize_element(&change.col_version.get())?;
            row.serialize_element(&change.version.get())?;
            row.serialize_element(&hex::encode(change.site.as_bytes()))?;
            row.serialize_element(&change.cl.get())?;
            row.serialize_element(&change.seq.get())?;
            row.end()
        }
    }

    struct OwnedRow(Change);

    impl<'de> Deserialize<'de> for OwnedRow {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_seq(RowVisitor)
        }
    }

    struct RowVisitor;

    impl<'de> Visitor<'de> for RowVisitor {
        type Value = OwnedRow;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a change: [table, pk, cid, val, col_version, version, site, cl, seq]")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OwnedRow, A::Error> {
            let mut row = Columns { seq: &mut seq, read: 0 };
            let change = Change {
                table: row.next::<String>()?.into(),
                pk: row.next::<Hex>()?.0.into(),
                cid: row.next::<String>()?.into(),
                val: row.next::<JsonValue>()?.0,
                col_version: row.counter(ColVersion::new)?,
                version: row.counter(Version::new)?,
                site: row.next::<String>()?.parse().map_err(de::Error::custom)?,
                cl: row.counter(CausalLength::new)?,
                seq: row.counter(Seq::new)?,
            };
            if seq.next_element::<de::IgnoredAny>()?.is_some() {
                return Err(de::Error::invalid_length(10, &self));
            }
            Ok(OwnedRow(change))
        }
    }

    struct Columns<'a, A> {
        seq: &'a mut A,
        read: usize,
    }

    impl<'de, A: SeqAccess<'de>> Columns<'_, A> {
        fn next<T: Deserialize<'de>>(&mut self) -> Result<T, A::Error> {
            let element = self.seq.next_element()?;
            self.read += 1;
            element.ok_or_else(|| de::Error::invalid_length(self.read - 1, &RowVisitor))
        }

        fn counter<T>(&mut self, check: fn(i64) -> Result<T, crate::crr::Error>) -> Result<T, A::Error> {
            let integer = self.next()?;
            check(integer).map_err(de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::types::Value;

    use super::*;

    const BATCH: &str = r#"{
        "protocol":1,"from":"9a000000000000000000000000000000","schema":"5b","start":41,"end":44,
        "covers":{"9a000000000000000000000000000000":[[42,44]],"c0000000000000000000000000000000":[[7,7]]},
        "more":false,"next":"9a000000000000000000000000000000.44",
        "changes":[["todo","010901","title","milk",1,42,"9a000000000000000000000000000000",1,0]]}"#;

    fn read(text: &str) -> Result<Batch, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// `BATCH` with one text replaced by another.
    fn read_with(from: &str, to: &str) -> Result<Batch, serde_json::Error> {
        assert!(BATCH.contains(from));
        read(&BATCH.replace(from, to))
    }

    #[test]
    fn a_batch_reads_as_it_was_written() {
        let batch = read(BATCH).unwrap();
        assert_eq!(batch.end, Version::new(44).ok());
        assert_eq!(batch.changes[0].val, Value::Text("milk".into()));
        assert_eq!(*batch.changes[0].pk, [1, 9, 1]);
        let written = serde_json::to_string(&batch).unwrap();
        assert_eq!(written, BATCH.split_whitespace().collect::<String>());
        assert_eq!(read(&written).unwrap(), batch);
    }

    #[test]
    fn fields_of_a_later_protocol_are_ignored() {
        let batch = read_with(r#""more":false"#, r#""more":false,"clock":{"a":[[[1]]]},"partial":[]"#).unwrap();
        assert_eq!(batch, read(BATCH).unwrap());
    }

    #[test]
    fn a_batch_of_the_least_fields_is_empty() {
        let batch = read(r#"{"protocol":1,"from":"9a000000000000000000000000000000"}"#).unwrap();
        assert!(batch.start.is_none() && batch.changes.is_empty());
    }

    #[test]
    fn a_batch_out_of_bounds_is_refused() {
        let spoilt = [
            (r#""protocol":1"#, r#""protocol":2"#),
            (r#""protocol":1,"#, ""),
            (r#""from":"9a000000000000000000000000000000","#, ""),
            (r#""from":"9a"#, r#""from":"9a9a"#),
            (r#""start":41"#, r#""start":-1"#),
            (r#""end":44"#, r#""end":9007199254740992"#),
            (r#""end":44"#, r#""end":44.0"#),
            ("[42,44]", "[44,42]"),
            ("[42,44]", "[0,44]"),
            ("[42,44]", "[42]"),
            (r#""010901""#, r#""01090""#),
            (r#",1,42,"#, ",1,0,"),
            (r#",1,42,"#, ",1,9223372036854775807,"),
            (r#",1,42,"#, ",-1,42,"),
            (r#",1,42,"#, ",1,42.5,"),
            (r#"",1,0]"#, r#"",1,-1]"#),
            (r#"",1,0]"#, r#"",9007199254740992,0]"#),
            (r#"",1,0]"#, r#"",1]"#),
            (r#"",1,0]"#, r#"",1,0,0]"#),
            (r#""milk""#, "[]"),
            (r#""todo""#, "null"),
        ];
        for (from, to) in spoilt {
            assert!(read_with(from, to).is_err(), "{from} -> {to}");
        }
    }

    #[test]
    fn coverage_counts_from_after_the_start() {
        let site = SiteId::new([1; 16]);
        let version = |n| Version::or_zero(n).unwrap();
        assert_eq!(Coverage::of(site, version(3), version(3)), Coverage::default());
        let (_, ranges) =
            Coverage::of(site, version(3), version(5)).iter().map(|(s, r)| (s, r.to_vec())).next().unwrap();
        assert_eq!(ranges, [Range { first: version(4), last: version(5) }]);
    }
}
