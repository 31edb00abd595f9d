//! The message that peers exchange.

mod changes;
mod row_name;

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::clock::Clock;
use super::cursor::{Cursor, Place, Since};
use super::json::{self, JsonValue};
use super::ranges::Ranges;
use crate::crr::sort::sort_by_key;
use crate::crr::{Change, Seq, SiteId, Version};
pub use row_name::RowName;

/// Changes, and what having merged them lets the receiver claim.
///
/// `start` (exclusive) and `end` (inclusive) are in the sender's local versions: whoever held everything up to `start`
/// holds, with this batch, everything up to `end`. A batch without them answers by versions: it is merged, and moves no
/// cursor. Fields that this version of the protocol does not know are ignored.
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
    /// That schema as SQL, for a receiver that may not know it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_text: Option<String>,
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
    /// The transactions, by author, that the receiver holds once it has merged the batch: those that it brings, and those of
    /// which nothing is left to bring. Where there is a `start`, it must hold everything up to there as well.
    #[serde(default)]
    pub covers: Clock,
    /// The transactions that it brings a piece of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partial: Vec<Partial>,
    /// Whether the sender stopped at a limit.
    #[serde(default)]
    pub more: bool,
    /// Where to go on.
    #[serde(default, with = "json::optional_text", skip_serializing_if = "Option::is_none")]
    pub next: Option<Since>,
    /// What the sender holds of the receiver's versions, so that the receiver can forget what it keeps to not echo them.
    #[serde(default, with = "json::optional_text", skip_serializing_if = "Option::is_none")]
    pub have: Option<Cursor>,
    /// In an answer to a subscription, its number: the receiver names the one that it merged last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<i64>,
    /// Whether the subscription begins with this answer: what the receiver had of it before, and is not brought until there is
    /// no `more`, has left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begins: bool,
    /// Rows that the receiver has, and that the queries of the subscription do not read any more. They are not deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<RowName>,
    /// The rows.
    #[serde(default, with = "changes")]
    pub changes: Vec<Change>,
}

impl Batch {
    /// One that says nothing.
    pub(super) fn empty(from: SiteId) -> Self {
        Self {
            protocol: Protocol,
            from,
            schema: None,
            schema_text: None,
            since: None,
            start: None,
            end: None,
            covers: Clock::default(),
            partial: Vec::new(),
            more: false,
            next: None,
            have: None,
            seen: None,
            begins: false,
            left: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Whether it tells the receiver nothing but how far it has come.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.covers.is_empty() && self.partial.is_empty() && self.left.is_empty()
    }

    /// The pieces of transactions, each with its changes. An error where two are of one transaction.
    pub(super) fn pieces(&self) -> Result<Pieces<'_>, TwoPieces> {
        let mut pieces: Vec<_> = self.partial.iter().map(|partial| (partial, Vec::new())).collect();
        sort_by_key(&mut pieces, |(partial, _)| (partial.site, partial.version));
        let mut pieces = Pieces(pieces);
        if !pieces.0.is_sorted_by(|(a, _), (b, _)| (a.site, a.version) < (b.site, b.version)) {
            return Err(TwoPieces);
        }
        if !pieces.0.is_empty() {
            for change in &self.changes {
                if let Some((_, changes)) = pieces.find(change).and_then(|at| pieces.0.get_mut(at)) {
                    changes.push(change);
                }
            }
        }
        Ok(pieces)
    }

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

/// Pieces of transactions in the order of their authors and versions, and the changes of each.
pub(super) struct Pieces<'a>(pub(super) Vec<(&'a Partial, Vec<&'a Change>)>);

impl Pieces<'_> {
    /// Where the one is that a change belongs to.
    fn find(&self, of: &Change) -> Option<usize> {
        self.0.binary_search_by_key(&(of.site, of.version), |(partial, _)| (partial.site, partial.version)).ok()
    }

    /// Whether a change belongs to one.
    pub(super) fn contains(&self, change: &Change) -> bool {
        self.find(change).is_some()
    }
}

/// Two pieces are of one transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct TwoPieces;

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

impl FromStr for SchemaHash {
    type Err = Infallible;

    /// Any text is taken: one that is no hash is that of no schema.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::new(text))
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

/// A transaction that a batch brings a piece of. It is merged when all of its pieces are there.
///
/// As JSON: `{"site": SITE, "version": VERSION, "seqs": [[first, last], …], "last_seq": SEQ}`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Partial {
    /// The author.
    #[serde(with = "json::text")]
    pub site: SiteId,
    /// The author's transaction.
    #[serde(with = "json::point")]
    pub version: Version,
    /// The positions that the batch brings or shows to be empty.
    pub seqs: Ranges<Seq>,
    /// The last position that the sender knows of. A piece that reaches it is the last one.
    #[serde(with = "json::point")]
    pub last_seq: Seq,
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
        let batch = read_with(r#""more":false"#, r#""more":false,"clock":{"a":[[[1]]]},"later":[]"#).unwrap();
        assert_eq!(batch, read(BATCH).unwrap());
    }

    #[test]
    fn an_answer_to_a_subscription_reads_as_it_was_written() {
        let batch = read_with(r#""more":false"#, r#""more":false,"seen":7,"begins":true,"left":[["todo","010902"]]"#);
        let batch = batch.unwrap();
        assert_eq!((batch.seen, batch.begins), (Some(7), true));
        assert_eq!(batch.left, [RowName { table: "todo".into(), pk: [1, 9, 2].into() }]);
        assert_eq!(read(&serde_json::to_string(&batch).unwrap()).unwrap(), batch);
    }

    #[test]
    fn a_batch_of_the_least_fields_is_empty() {
        let batch = read(r#"{"protocol":1,"from":"9a000000000000000000000000000000"}"#).unwrap();
        assert!(batch.start.is_none() && batch.changes.is_empty());
    }

    #[test]
    fn a_short_name_of_a_site_has_32_digits_too() {
        let filled = read(BATCH).unwrap();
        let mut short = filled.clone();
        short.changes[0].site = SiteId::from_slice(&[0x9a]).unwrap();
        let written = serde_json::to_string(&short).unwrap();
        assert_eq!(read(&written).unwrap(), filled);
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
            (r#""more":false"#, r#""more":false,"partial":[{"site":"9a","version":1,"seqs":[[0,1]],"last_seq":1}]"#),
            (r#""milk""#, "[]"),
            (r#""todo""#, "null"),
            (r#""more":false"#, r#""left":[["todo","01090"]]"#),
            (r#""more":false"#, r#""left":[["todo"]]"#),
            (r#""more":false"#, r#""seen":"7""#),
        ];
        for (from, to) in spoilt {
            assert!(read_with(from, to).is_err(), "{from} -> {to}");
        }
    }
}
