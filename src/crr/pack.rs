//! Packed values: the form of primary keys in `crsql_changes`, byte for byte cr-sqlite's.
//!
//! ```text
//! count: u8, then for each value a tag byte (n << 3 | type) and its data
//!   1 INTEGER  n big-endian bytes, as few as the two's complement pattern needs when read without sign; 0 takes none
//!   2 REAL     n = 0, then 8 bytes IEEE 754, big-endian
//!   3 TEXT     n big-endian bytes of length, then UTF-8
//!   4 BLOB     n big-endian bytes of length, then the bytes
//!   5 NULL     n = 0
//! ```
//!
//! A key has one form only: [`unpack`] refuses widths that are not minimal, values of the wrong type byte and anything
//! after the last value, so that no two byte strings name one row.
//!
//! ```
//! use crsql_sync::crr::pack::{pack, unpack};
//! use rusqlite::types::Value;
//!
//! let key = pack(&[Value::Integer(12), Value::Text("str".into()), Value::Blob(vec![1, 2, 3])])?;
//! assert_eq!(hex::encode(&key), "03090c0b037374720c03010203");
//! assert_eq!(unpack(&key)?.len(), 3);
//! # Ok::<(), crsql_sync::crr::Error>(())
//! ```

use rusqlite::types::{Value, ValueRef};

use super::{Error, Result};

const INTEGER: u8 = 1;
const REAL: u8 = 2;
const TEXT: u8 = 3;
const BLOB: u8 = 4;
const NULL: u8 = 5;

/// Packs at most 255 values.
pub fn pack(values: &[Value]) -> Result<Vec<u8>> {
    let mut packer = Packer::new(values.len())?;
    for value in values {
        packer.push(value.into());
    }
    Ok(packer.finish())
}

/// Packs values one by one.
pub(crate) struct Packer(Vec<u8>);

impl Packer {
    pub(crate) fn new(count: usize) -> Result<Self> {
        let count = u8::try_from(count).map_err(|_| Error::InvalidKey("more than 255 values"))?;
        let mut out = Vec::with_capacity(16);
        out.push(count);
        Ok(Self(out))
    }

    pub(crate) fn push(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.0.push(NULL),
            ValueRef::Integer(i) => self.tagged(INTEGER, i.cast_unsigned()),
            ValueRef::Real(r) => {
                self.0.push(REAL);
                self.0.extend(r.to_be_bytes());
            }
            ValueRef::Text(bytes) => {
                self.tagged(TEXT, bytes.len() as u64);
                self.0.extend(bytes);
            }
            ValueRef::Blob(bytes) => {
                self.tagged(BLOB, bytes.len() as u64);
                self.0.extend(bytes);
            }
        }
    }

    fn tagged(&mut self, kind: u8, number: u64) {
        let width = width(number);
        self.0.push((width as u8) << 3 | kind);
        self.0.extend(number.to_be_bytes().iter().skip(8 - width));
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// How many bytes `number` takes without leading zeros.
const fn width(number: u64) -> usize {
    (64 - number.leading_zeros() as usize).div_ceil(8)
}

/// Unpacks a key in canonical form.
///
/// # Errors
/// [`Error::InvalidKey`] also for text that is not UTF-8. SQLite takes any bytes for text, so such a key may come from a
/// table.
pub fn unpack(bytes: &[u8]) -> Result<Vec<Value>> {
    let own = |value: ValueRef<'_>| Value::try_from(value).map_err(|_| Error::InvalidKey("text that is not UTF-8"));
    unpack_borrowed(bytes)?.into_iter().map(own).collect()
}

/// The same without a copy; text may be any bytes.
pub(super) fn unpack_borrowed(bytes: &[u8]) -> Result<Vec<ValueRef<'_>>> {
    let mut reader = Reader { bytes, strict: true };
    let count = reader.take(1)?.first().copied().unwrap_or_default();
    let values = (0..count).map(|_| reader.value()).collect::<Result<Vec<_>>>()?;
    if !reader.bytes.is_empty() {
        return Err(Error::InvalidKey("bytes after the last value"));
    }
    Ok(values)
}

/// Unpacks what cr-sqlite would: numbers may have leading zeros, and bytes after the last value are passed over.
pub(super) fn unpack_leniently(bytes: &[u8]) -> Result<Vec<ValueRef<'_>>> {
    let mut reader = Reader { bytes, strict: false };
    let count = reader.take(1)?.first().copied().unwrap_or_default();
    (0..count).map(|_| reader.value()).collect()
}

struct Reader<'a> {
    bytes: &'a [u8],
    /// Whether only the canonical form is taken.
    strict: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Error::InvalidKey("it ends early"))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<u64> {
        if bytes > 8 {
            return Err(Error::InvalidKey("an integer of more than 8 bytes"));
        }
        let number = self.take(bytes)?.iter().fold(0u64, |number, &byte| number << 8 | u64::from(byte));
        if self.strict && width(number) != bytes {
            return Err(Error::InvalidKey("an integer with leading zeros"));
        }
        Ok(number)
    }

    fn length(&mut self, bytes: usize) -> Result<usize> {
        usize::try_from(self.number(bytes)?).map_err(|_| Error::InvalidKey("it ends early"))
    }

    fn value(&mut self) -> Result<ValueRef<'a>> {
        let tag = self.take(1)?.first().copied().unwrap_or_default();
        let n = usize::from(tag >> 3);
        match tag & 7 {
            INTEGER => Ok(ValueRef::Integer(self.number(n)?.cast_signed())),
            REAL if n == 0 || !self.strict => {
                let real = self.take(8)?.iter().fold(0u64, |bits, &byte| bits << 8 | u64::from(byte));
                let real = f64::from_bits(real);
                if real.is_nan() { Err(Error::InvalidKey("a NaN")) } else { Ok(ValueRef::Real(real)) }
            }
            TEXT => {
                let length = self.length(n)?;
                Ok(ValueRef::Text(self.take(length)?))
            }
            BLOB => {
                let length = self.length(n)?;
                Ok(ValueRef::Blob(self.take(length)?))
            }
            NULL if n == 0 || !self.strict => Ok(ValueRef::Null),
            _ => Err(Error::InvalidKey("an unknown type")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(value: impl Into<Value>) -> String {
        hex::encode(pack(&[value.into()]).unwrap())
    }

    #[test]
    fn integers_take_as_few_bytes_as_their_unsigned_pattern() {
        assert_eq!(packed(1), "010901");
        assert_eq!(packed(0), "0101");
        assert_eq!(packed(128), "010980");
        assert_eq!(packed(256), "01110100");
        assert_eq!(packed(2_147_483_648_i64), "012180000000");
        assert_eq!(packed(-1), "0141ffffffffffffffff");
    }

    #[test]
    fn other_types_match_the_reference() {
        assert_eq!(packed(1.5), "01023ff8000000000000");
        assert_eq!(packed(Value::Null), "0105");
        assert_eq!(packed("".to_owned()), "0103");
        assert_eq!(packed(Vec::new()), "0104");
        assert_eq!(packed("é".to_owned()), "010b02c3a9");
        assert_eq!(hex::encode(pack(&[4.into(), 5.into()]).unwrap()), "0209040905");
        assert_eq!(&packed("x".repeat(300))[..8], "0113012c");
    }

    #[test]
    fn what_is_not_in_canonical_form_is_refused() {
        for bad in [
            "",
            "01",
            "0109",
            "01110001",
            "0149000000000000000001",
            "010b0261",
            "010bff",
            "0106",
            "010d",
            "01090101",
            "010b01ff",
        ] {
            assert!(unpack(&hex::decode(bad).unwrap()).is_err(), "{bad} was taken");
        }
    }

    proptest! {
        #[test]
        fn unpacking_undoes_packing(ints in prop::collection::vec(any::<i64>(), 0..4), text in ".*", blob: Vec<u8>, real in prop::num::f64::NORMAL) {
            let mut values: Vec<Value> = ints.into_iter().map(Value::Integer).collect();
            values.extend([Value::Text(text), Value::Blob(blob), Value::Real(real), Value::Null]);
            prop_assert_eq!(unpack(&pack(&values).unwrap()).unwrap(), values);
        }

        #[test]
        fn no_two_byte_strings_unpack_to_the_same_values(bytes: Vec<u8>) {
            if let Ok(values) = unpack(&bytes) {
                prop_assert_eq!(pack(&values).unwrap(), bytes);
            }
        }
    }
}
