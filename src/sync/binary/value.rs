//! Values: what kind of value it is and how many bytes it has in one column, the bytes in another.

use rusqlite::types::Value;

use super::reader::{Reader, Result};
use crate::crr::varint::put_unsigned;

// The types of packed primary keys.
const INTEGER: u64 = 1;
const REAL: u64 = 2;
const TEXT: u64 = 3;
const BLOB: u64 = 4;
const NULL: u64 = 5;

/// Appends a value to both columns.
pub(super) fn put(kinds: &mut Vec<u8>, values: &mut Vec<u8>, value: &Value) {
    let mut put = |kind, bytes: &[u8]| {
        put_unsigned(kinds, (bytes.len() as u64) << 3 | kind);
        values.extend_from_slice(bytes);
    };
    match value {
        Value::Integer(integer) => {
            let bytes = integer.to_be_bytes();
            put(INTEGER, bytes.get(8 - width(*integer)..).unwrap_or(&bytes));
        }
        Value::Real(real) if !real.is_nan() => put(REAL, &real.to_be_bytes()),
        Value::Text(text) => put(TEXT, text.as_bytes()),
        Value::Blob(blob) => put(BLOB, blob),
        Value::Real(_) | Value::Null => put(NULL, &[]),
    }
}

/// Reads a value.
pub(super) fn next(kinds: &mut Reader<'_>, values: &mut Reader<'_>) -> Result<Value> {
    let kind = kinds.number()?;
    let bytes = values.take(kind >> 3)?;
    match kind & 7 {
        INTEGER => {
            let integer = integer(bytes).filter(|integer| width(*integer) == bytes.len());
            integer.map(Value::Integer).ok_or_else(|| values.fail("an integer that is longer than it needs to be"))
        }
        REAL => {
            let bytes = bytes.try_into().map_err(|_| kinds.fail("a real has 8 bytes"))?;
            let real = f64::from_be_bytes(bytes);
            if real.is_nan() { Err(values.fail("NaN is not a value of SQLite")) } else { Ok(Value::Real(real)) }
        }
        TEXT => values.utf8(bytes).map(|text| Value::Text(text.to_owned())),
        BLOB => Ok(Value::Blob(bytes.to_owned())),
        NULL if bytes.is_empty() => Ok(Value::Null),
        _ => Err(kinds.fail("an unknown kind of value")),
    }
}

/// An integer of at most 8 bytes, the first of which has the sign.
fn integer(bytes: &[u8]) -> Option<i64> {
    let mut all = match bytes.first() {
        Some(0x80..) => [0xff; 8],
        _ => [0; 8],
    };
    all.get_mut(8usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(i64::from_be_bytes(all))
}

/// The least bytes that keep an integer and its sign.
const fn width(integer: i64) -> usize {
    let same = if integer < 0 { integer.leading_ones() } else { integer.leading_zeros() };
    if integer == 0 { 0 } else { (65 - same as usize).div_ceil(8) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_takes_as_few_bytes_as_keep_its_sign() {
        let widths = [(0, 0), (1, 1), (-1, 1), (127, 1), (128, 2), (-128, 1), (-129, 2), (i64::MAX, 8), (i64::MIN, 8)];
        for (number, expected) in widths {
            assert_eq!(width(number), expected, "{number}");
            assert_eq!(integer(&number.to_be_bytes()[8 - expected..]), Some(number));
        }
        assert_eq!(integer(&[0; 9]), None);
    }
}
