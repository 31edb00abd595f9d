//! Unsigned LEB128, the integer form of the engine's stored records, and of what peers send in binary.

use super::ids::MAX_COUNTER;
use super::{Error, Result};

/// Appends `value`, which must not be negative.
pub(crate) fn put(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, value.cast_unsigned());
}

/// Appends any 64 bits.
pub(crate) fn put_unsigned(out: &mut Vec<u8>, value: u64) {
    let mut rest = value;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A position in a stored record. Every read is checked: the record may be damaged.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        let (&first, rest) = self.0.split_first().ok_or(Error::Corrupt("a record ends early"))?;
        self.0 = rest;
        Ok(first)
    }

    /// What [`put`] wrote: a number that can be counted on from.
    pub(super) fn integer(&mut self) -> Result<i64> {
        let number = i64::try_from(self.unsigned()?).ok().filter(|number| *number <= MAX_COUNTER);
        number.ok_or(Error::Corrupt("a number in a record is too large"))
    }

    /// What [`put_unsigned`] wrote.
    pub(super) fn unsigned(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::Corrupt("a number in a record is too long"))
    }
}

/// Maps signed to unsigned so that small magnitudes stay short.
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Undoes [`zigzag`].
pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}
