//! Batches in the binary form: the same batches as in JSON, and nothing else is taken for one.
//!
//! `tests/vectors` holds some in both forms, for whoever writes another reader. The same bodies run natively and, in a
//! service worker, in wasm.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;

use common::batches;
use crsql_sync::crr::SiteId;
use crsql_sync::sync::{Batch, InvalidBinary};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;
use rusqlite::types::Value;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

/// A batch in both forms.
struct Vector {
    name: &'static str,
    json: &'static str,
    /// In hexadecimal digits.
    binary: &'static str,
}

macro_rules! vector {
    ($name:literal) => {
        Vector {
            name: $name,
            json: include_str!(concat!("vectors/", $name, ".json")).trim_end(),
            binary: include_str!(concat!("vectors/", $name, ".hex")).trim_end(),
        }
    };
}

fn vectors() -> [Vector; 6] {
    [insert(), vector!("least"), vector!("values"), vector!("orders"), vector!("pieces"), vector!("start-over")]
}

fn insert() -> Vector {
    vector!("insert")
}

impl Vector {
    fn batch(&self) -> Batch {
        serde_json::from_str(self.json).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        hex::decode(self.binary).unwrap()
    }
}

/// Bytes that are no batch, and why, a line each.
const REFUSED: &str = include_str!("vectors/refused.txt");

fn json(batch: &Batch) -> String {
    serde_json::to_string(batch).unwrap()
}

/// Runs `check` on values of `strategy`.
fn property<S: Strategy>(strategy: S, check: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config).run(&strategy, check).unwrap_or_else(|failure| panic!("{failure}"));
}

/// What is read must write and read again as the same batch. A later version's fields, which are passed over, do not.
fn check_if_read(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(batch) = Batch::from_binary(bytes) {
        prop_assert_eq!(Batch::from_binary(&batch.to_binary()), Ok(batch));
    }
    Ok(())
}

#[test]
fn both_forms_of_a_batch_are_read_and_written_alike() {
    for vector in vectors() {
        let (name, batch) = (vector.name, vector.batch());
        assert_eq!(json(&batch), vector.json, "{name}");
        assert_eq!(hex::encode(batch.to_binary()), vector.binary, "{name}");
        let read = Batch::from_binary(&vector.bytes()).unwrap();
        assert_eq!(read, batch, "{name}");
        assert_eq!(json(&read), vector.json, "{name}");
    }
}

#[test]
fn any_batch_survives_the_trip_by_either_form() {
    property(batches::batch(), |batch| {
        let bytes = batch.to_binary();
        let read = Batch::from_binary(&bytes).unwrap();
        prop_assert_eq!(&read, &batch);
        // Zeros of both signs are equal; their bytes and texts are not.
        prop_assert_eq!(read.to_binary(), bytes);
        let text = json(&batch);
        prop_assert_eq!(&json(&read), &text);
        let read: Batch = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(read, batch);
        Ok(())
    });
}

#[test]
fn damaged_batches_are_refused_or_read_as_other_ones() {
    let damage = prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| (at, Some(byte), 1)),
        (any::<Index>(), 0..9usize).prop_map(|(at, count)| (at, None, count)),
        (any::<Index>(), prop::sample::select(vec![0, 1, 0x7f, 0x80, 0xff])).prop_map(|(at, byte)| (at, Some(byte), 0)),
    ];
    property((batches::batch(), prop::collection::vec(damage, 1..4)), |(batch, damages)| {
        let mut bytes = batch.to_binary();
        for (at, byte, removed) in damages {
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..(at + removed).min(bytes.len()), byte);
        }
        check_if_read(&bytes)
    });
}

#[test]
fn noise_is_refused_or_read_as_a_batch() {
    let noise = prop::collection::vec(prop_oneof![0..50u8, any::<u8>()], 0..200);
    property(noise, |noise| {
        check_if_read(&noise)?;
        check_if_read(&[b"\xfecrb\x01\x01\x01\x01\x02\x100123456789abcdef".as_slice(), &noise, &[0]].concat())
    });
}

#[test]
fn a_batch_without_its_end_is_refused() {
    for vector in vectors() {
        let (name, bytes) = (vector.name, vector.bytes());
        for length in 0..bytes.len() {
            assert!(Batch::from_binary(&bytes[..length]).is_err(), "{length} bytes of {name}");
        }
        assert!(Batch::from_binary(&[bytes.as_slice(), &[0]].concat()).is_err(), "{name}");
    }
}

#[test]
fn what_breaks_a_rule_is_refused_with_the_place_and_the_reason() {
    for line in REFUSED.lines() {
        let (digits, expected) = line.split_once(' ').unwrap();
        let error = Batch::from_binary(&hex::decode(digits).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), expected, "{digits}");
    }
}

#[test]
fn other_formats_and_later_forms_are_told_apart() {
    for foreign in [b"".as_slice(), b"{\"protocol\":1}", b"\xfe", b"\xfecrb", b"\x1f\x8b\x08"] {
        assert_eq!(Batch::from_binary(foreign), Err(InvalidBinary::Foreign));
    }
    assert_eq!(Batch::from_binary(b"\xfecrb\x02anything"), Err(InvalidBinary::Version(2)));
}

#[test]
fn fields_of_a_later_version_are_passed_over() {
    let digits = insert().binary;
    let end = digits.len() - 2;
    // A field of tag 30 before the columns, one of tag 300 after them.
    let columns = digits.find("200100").unwrap();
    let later = [&digits[..columns], "1e03616263", &digits[columns..end], "ac020161", "00"].concat();
    assert_eq!(Batch::from_binary(&hex::decode(later).unwrap()), Ok(insert().batch()));
}

#[test]
fn neighbours_share_their_names_in_memory() {
    let batch = Batch::from_binary(&insert().bytes()).unwrap();
    let [a, b, c, _] = batch.changes.as_slice() else { panic!() };
    assert!(Arc::ptr_eq(&a.pk, &b.pk));
    assert!(Arc::ptr_eq(&a.table, &c.table));
    assert!(Arc::ptr_eq(&a.cid, &c.cid));
}

#[test]
fn a_short_name_of_a_site_is_filled_up_with_zeros_in_both_forms() {
    let filled = insert().batch();
    let mut short = filled.clone();
    short.changes.iter_mut().for_each(|change| change.site = SiteId::from_slice(&[0x9a]).unwrap());
    assert_eq!(short.to_binary(), filled.to_binary());
    assert_eq!(json(&short), json(&filled));
}

#[test]
fn a_real_that_is_no_number_is_written_as_null() {
    let mut batch = insert().batch();
    batch.changes[0].val = Value::Real(f64::NAN);
    assert_eq!(Batch::from_binary(&batch.to_binary()).unwrap().changes[0].val, Value::Null);
}
