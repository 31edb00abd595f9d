//! Reading bytes of which nothing is believed.

use super::{Field, InvalidBinary};
use crate::crr;
use crate::crr::varint::unzigzag;

pub(super) type Result<T> = std::result::Result<T, InvalidBinary>;

/// What is left to read of one field.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    field: &'static str,
    rest: &'a [u8],
    /// Where `rest` ends in the whole batch.
    end: usize,
}

impl<'a> Reader<'a> {
    /// Reads `rest`, with which all of what is read ends.
    pub(super) fn of_all(rest: &'a [u8], length: usize) -> Self {
        Self { field: "batch", rest, end: length }
    }

    /// A field that is not there.
    pub(super) fn absent(field: Field) -> Self {
        Self { field: field.name(), rest: &[], end: 0 }
    }

    /// The next field: its tag, and its bytes. `None` after the last one.
    pub(super) fn field(&mut self) -> Result<Option<(u64, Self)>> {
        let tag = self.number()?;
        if tag == 0 {
            self.end()?;
            return Ok(None);
        }
        let length = self.number()?;
        let rest = self.take(length)?;
        Ok(Some((tag, Self { field: Field::of(tag).map_or("", Field::name), rest, end: self.position() })))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn position(&self) -> usize {
        self.end - self.rest.len()
    }

    /// An error at this place.
    pub(super) fn fail(&self, reason: &'static str) -> InvalidBinary {
        InvalidBinary::Invalid { field: self.field, at: self.position(), reason }
    }

    /// Checks that nothing is left.
    pub(super) fn end(&self) -> Result<()> {
        if self.is_empty() { Ok(()) } else { Err(self.fail("more than there should be")) }
    }

    /// How many numbers are left. Each ends with the first byte that is less than 128.
    pub(super) fn count(&self) -> usize {
        self.rest.iter().filter(|byte| **byte < 0x80).count()
    }

    fn byte(&mut self) -> Result<u8> {
        let (&first, rest) = self.rest.split_first().ok_or_else(|| self.fail("it ends early"))?;
        self.rest = rest;
        Ok(first)
    }

    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8]> {
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (taken, rest) = split.ok_or_else(|| self.fail("it ends early"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// All that is left.
    pub(super) fn take_all(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// A number of up to 64 bits, in its shortest form only.
    pub(super) fn number(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            match byte {
                0 if shift > 0 => return Err(self.fail("a number that is longer than it needs to be")),
                2.. if shift == 63 => break,
                0..0x80 => return Ok(number),
                _ => {}
            }
        }
        Err(self.fail("a number of more than 64 bits"))
    }

    /// A number with a sign, small ones of either sign being short.
    pub(super) fn signed(&mut self) -> Result<i64> {
        self.number().map(unzigzag)
    }

    /// A number within the bounds that `check` knows.
    pub(super) fn counter<T>(&mut self, check: fn(i64) -> crr::Result<T>) -> Result<T> {
        let number = self.number()?;
        self.check(i64::try_from(number).ok(), check)
    }

    /// A number that was worked out, within the bounds that `check` knows; `None` where it has more than 64 bits.
    pub(super) fn check<T>(&self, number: Option<i64>, check: fn(i64) -> crr::Result<T>) -> Result<T> {
        number.and_then(|number| check(number).ok()).ok_or_else(|| self.fail("a number out of bounds"))
    }

    /// All that is left, as text.
    pub(super) fn text(&mut self) -> Result<&'a str> {
        let here = *self;
        here.utf8(self.take_all())
    }

    /// A length, and a text of so many bytes.
    pub(super) fn prefixed_text(&mut self) -> Result<&'a str> {
        let length = self.number()?;
        let here = *self;
        here.utf8(self.take(length)?)
    }

    /// The text that begins here.
    pub(super) fn utf8<'b>(&self, bytes: &'b [u8]) -> Result<&'b str> {
        std::str::from_utf8(bytes).map_err(|_| self.fail("text that is not UTF-8"))
    }
}
