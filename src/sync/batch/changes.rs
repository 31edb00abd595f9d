//! Changes as arrays: `[table, pk, cid, val, col_version, version, site, cl, seq]`.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeSeq, SerializeTuple, Serializer};

use crate::crr::{CausalLength, Change, ColVersion, Seq, Version};
use crate::sync::json::{Hex, JsonRef, JsonValue};

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
        row.serialize_element(&change.site.to_string())?;
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
