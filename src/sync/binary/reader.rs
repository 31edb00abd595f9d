//! Reading bytes of which nothing is believed.

use super::{Field, InvalidBinary};
use crate::crr;
use crate::crr::varint::unzigzag;

/// The error is boxed: it is larger than what is read, and hardly ever there.
pub(super) type Result<T> = std::result::Result<T, Box<InvalidBinary>>;

/// What is left to read of one field.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) field: Field,
    rest: &'a [u8],
    /// Where `rest` ends in the whole batch.
    end: usize,
    /// Where what was read last begins, as its distance from there.
    last: usize,
}

impl<'a> Reader<'a> {
    /// Reads `rest`, which ends at `end` of the whole batch.
    pub(super) fn new(field: Field, rest: &'a [u8], end: usize) -> Self {
        Self { field, rest, end, last: rest.len() }
    }

    /// The next bytes, as a field of their own.
    pub(super) fn inner(&mut self, field: Field) -> Result<Self> {
        let length = self.number()?;
        let rest = self.take(length)?;
        Ok(Self::new(field, rest, self.end - self.rest.len()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// An error in what was read last.
    #[cold]
    #[inline(never)]
    pub(super) fn fail(&self, reason: &'static str) -> Box<InvalidBinary> {
        Box::new(InvalidBinary::Invalid { field: self.field.name(), at: self.end - self.last, reason })
    }

    /// An error in what comes next.
    pub(super) fn fail_next(mut self, reason: &'static str) -> Box<InvalidBinary> {
        self.last = self.rest.len();
        self.fail(reason)
    }

    /// Checks that nothing is left.
    pub(super) fn end(self) -> Result<()> {
        if self.is_empty() { Ok(()) } else { Err(self.fail_next("more than there should be")) }
    }

    /// How many numbers are left. Each ends with the first byte that is less than 128.
    pub(super) fn count(&self) -> usize {
        self.rest.iter().filter(|byte| **byte < 0x80).count()
    }

    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8]> {
        self.last = self.rest.len();
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (taken, rest) = split.ok_or_else(|| self.fail("it ends early"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// All that is left.
    pub(super) fn take_all(&mut self) -> &'a [u8] {
        self.last = self.rest.len();
        std::mem::take(&mut self.rest)
    }

    /// A number of up to 64 bits, in its shortest form only.
    pub(super) fn number(&mut self) -> Result<u64> {
        self.last = self.rest.len();
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or_else(|| self.fail("it ends early"))?;
            self.rest = rest;
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

    /// A number that is one of few, or the largest there is: it counts or names things in memory.
    pub(super) fn index(&mut self) -> Result<usize> {
        Ok(usize::try_from(self.number()?).unwrap_or(usize::MAX))
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
        let bytes = self.take_all();
        self.utf8(bytes)
    }

    /// A length, and a text of so many bytes.
    pub(super) fn prefixed_text(&mut self) -> Result<&'a str> {
        let length = self.number()?;
        let bytes = self.take(length)?;
        self.utf8(bytes)
    }

    /// What was read last, as text.
    pub(super) fn utf8<'b>(&self, bytes: &'b [u8]) -> Result<&'b str> {
        std::str::from_utf8(bytes).map_err(|_| self.fail("text that is not UTF-8"))
    }
}
