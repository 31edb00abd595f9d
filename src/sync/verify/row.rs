//! The place and the print of a row.
//!
//! Everything is hashed in the form of packed values ([`pack`](crate::crr::pack)), which the protocol uses for primary keys:
//!
//! ```text
//! name:  pack(table) ‖ primary key, packed
//! state: pack(causal length) ‖ for each change, by column name: pack(column, col_version, site, value)
//! place: the first 8 bytes of SHA-256(name), big-endian
//! print: the first 16 bytes of SHA-256(name ‖ state), big-endian
//! ```
//!
//! The key is spelled in one way for all that SQLite takes for one key, since copies may hold a row under different ones: a
//! REAL that is equal to an INTEGER as that; text under NOCASE with small letters for A to Z, under RTRIM without spaces at its
//! end. Column names are ordered bytewise; the sentinel is `-1`, with NULL and the causal length. A REAL of -0 counts as 0, text
//! that is not UTF-8 as the blob that peers get of it.
//!
//! The name is in the print too: two rows that swapped their states must not add up to the same sum.

use rusqlite::types::{Value, ValueRef};
use sha2::{Digest, Sha256};

use super::probe::Item;
use crate::crr::pack::Packer;
use crate::crr::sort::sort_by;
use crate::crr::{self, Change, WholeRow};

/// The item that stands for a row.
pub(super) fn item(row: &WholeRow) -> Result<Item, crr::Error> {
    let mut hash = Sha256::new();
    hash.update(pack(&[ValueRef::from(&*row.table)])?);
    hash.update(&row.key);
    let place = u64::from_be_bytes(first(hash.clone()));
    let mut changes: Vec<&Change> = row.changes.iter().collect();
    sort_by(&mut changes, |a, b| a.cid.cmp(&b.cid));
    let cl = changes.first().map_or(0, |change| change.cl.get());
    hash.update(pack(&[ValueRef::Integer(cl)])?);
    for change in changes {
        let site = ValueRef::Blob(change.site.as_bytes());
        let col_version = ValueRef::Integer(change.col_version.get());
        hash.update(pack(&[ValueRef::from(&*change.cid), col_version, site, value(&change.val)])?);
    }
    Ok(Item { place, print: u128::from_be_bytes(first(hash)) })
}

/// A value as merging compares it: zero has no sign.
fn value(value: &Value) -> ValueRef<'_> {
    match value {
        Value::Real(0.0) => ValueRef::Real(0.0),
        value => value.into(),
    }
}

fn pack(values: &[ValueRef<'_>]) -> Result<Vec<u8>, crr::Error> {
    let mut packer = Packer::new(values.len())?;
    values.iter().for_each(|value| packer.push(*value));
    Ok(packer.finish())
}

/// The first bytes of a digest.
fn first<const N: usize>(hash: Sha256) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    bytes
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::crr::{CausalLength, ColVersion, RowId, SENTINEL, Seq, SiteId, Version, pack};

    fn change(cid: &str, val: Value, col_version: i64) -> Change {
        Change {
            table: "todo".into(),
            pk: Arc::new([1, 9, 1]),
            cid: cid.into(),
            val,
            col_version: ColVersion::new(col_version).unwrap(),
            version: Version::MIN,
            site: SiteId::new([0x9a; 16]),
            cl: CausalLength::FIRST,
            seq: Seq::ZERO,
        }
    }

    fn row(changes: Vec<Change>) -> WholeRow {
        WholeRow { id: RowId { table: 1, number: 1 }, table: "todo".into(), key: vec![1, 9, 1], changes }
    }

    /// The vectors of `docs/verify.md`.
    #[test]
    fn a_print_is_the_hash_of_the_packed_parts() {
        let alive = row(vec![change("title", Value::Text("milk".into()), 1), change("done", Value::Real(-0.0), 2)]);
        let dead = row(vec![Change { cl: CausalLength::new(2).unwrap(), ..change(SENTINEL, Value::Null, 2) }]);
        let site = "9a".repeat(16);
        let name = "010b04746f646f010901";
        let cells = [
            format!("040b04646f6e6509020c10{site}020000000000000000"),
            format!("040b057469746c6509010c10{site}0b046d696c6b"),
        ];
        let digest = |text: String| hex::encode(Sha256::digest(hex::decode(text).unwrap()));
        let vectors = [
            (alive, format!("010901{}{}", cells[0], cells[1]), 0xc52f_0a44_ac60_78ca_178f_0315_58fc_a6d0),
            (dead, format!("010902040b022d3109020c10{site}05"), 0xf32d_2ce0_15d3_7993_243b_29d4_651f_b3f1),
        ];
        for (row, state, print) in vectors {
            assert_eq!(item(&row).unwrap(), Item { place: 0x9057_37f9_34c8_a430, print });
            assert_eq!(digest(name.into())[..16], format!("{:016x}", 0x9057_37f9_34c8_a430u64));
            assert_eq!(digest(format!("{name}{state}"))[..32], format!("{print:032x}"));
        }
    }

    #[test]
    fn neither_the_order_of_changes_nor_what_numbers_a_transaction_counts_and_all_else_does() {
        let base = row(vec![change(SENTINEL, Value::Null, 1), change("title", Value::Text("milk".into()), 1)]);
        let print = |row: &WholeRow| item(row).unwrap().print;
        let with = |change: &dyn Fn(&mut Change)| {
            let mut row = base.clone();
            change(&mut row.changes[1]);
            print(&row)
        };
        let mut turned = base.clone();
        turned.changes.reverse();
        assert_eq!(print(&turned), print(&base));
        assert_eq!(with(&|change| change.version = Version::MAX), print(&base));
        assert_eq!(with(&|change| change.seq = Seq::MAX), print(&base));
        let others = [
            with(&|change| change.cid = "done".into()),
            with(&|change| change.val = Value::Blob(b"milk".into())),
            with(&|change| change.val = Value::Null),
            with(&|change| change.col_version = ColVersion::MIN),
            with(&|change| change.site = SiteId::new([1; 16])),
            print(&WholeRow { table: "todos".into(), ..base.clone() }),
            print(&WholeRow { key: pack::pack(&[Value::Integer(2)]).unwrap(), ..base.clone() }),
            print(&row(vec![base.changes[0].clone()])),
        ];
        for (i, other) in others.iter().enumerate() {
            assert_ne!(*other, print(&base), "{i}");
            assert!(!others[..i].contains(other), "{i}");
        }
    }
}
