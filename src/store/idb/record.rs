//! A log record: everything that one commit changed in the database file, in one byte string.
//!
//! ```text
//! generation  u64 │ size of the file after it  u64 │ number of extents  u32
//! offset u64, length u32, for each extent
//! the bytes of the extents, one after the other
//! ```
//!
//! All numbers are little-endian. Bytes that the file gains and no extent covers do not exist: growing marks dirty.

use super::image::{Image, OutOfMemory};
use super::log::Generation;

/// What is stored does not make a database file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damaged {
    /// The bytes are not what this code wrote.
    #[error("{0}")]
    Malformed(&'static str),
    /// The file does not fit.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
}

/// Encodes what is dirty in `image`.
pub(crate) fn encode(generation: Generation, image: &Image) -> Vec<u8> {
    let count = image.dirty_extents().count();
    let mut record = Vec::with_capacity(20 + 12 * count + image.dirty_bytes());
    record.extend_from_slice(&generation.get().to_le_bytes());
    record.extend_from_slice(&image.size().to_le_bytes());
    record.extend_from_slice(&(count as u32).to_le_bytes());
    for (offset, bytes) in image.dirty_extents() {
        record.extend_from_slice(&offset.to_le_bytes());
        record.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    }
    for (_, bytes) in image.dirty_extents() {
        record.extend_from_slice(bytes);
    }
    record
}

/// Applies a record to the image as it was before it.
pub(crate) fn apply(record: &[u8], expected: Generation, image: &mut Image) -> Result<(), Damaged> {
    let mut header = Reader(record);
    if header.u64()? != expected.get() {
        return Err(Damaged::Malformed("a log record is missing"));
    }
    let size = header.u64()?;
    let count = header.u32()? as usize;
    let table = header.bytes(count.checked_mul(12).ok_or(SHORT)?)?;
    let (mut table, mut data) = (Reader(table), header);
    image.set_size(size)?;
    for _ in 0..count {
        let offset = table.u64()?;
        let bytes = data.bytes(table.u32()? as usize)?;
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > size) {
            return Err(Damaged::Malformed("a log record writes past the end of the file"));
        }
        image.write(bytes, offset)?;
    }
    if !data.0.is_empty() {
        return Err(Damaged::Malformed("a log record is too long"));
    }
    Ok(())
}

const SHORT: Damaged = Damaged::Malformed("a stored record is too short");

/// Takes little-endian numbers off the front of a byte string.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Damaged> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(SHORT)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Damaged> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Damaged> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> (Generation, Vec<u8>) {
        let generation = Generation::new(7);
        let mut image = Image::default();
        image.write(&[1; 600], 0).unwrap();
        image.write(&[2; 10], 100_000).unwrap();
        (generation, encode(generation, &image))
    }

    #[test]
    fn a_record_brings_another_image_to_the_same_bytes() {
        let (generation, record) = record();
        let mut image = Image::default();
        image.write(&[9; 200_000], 0).unwrap();
        apply(&record, generation, &mut image).unwrap();
        assert_eq!(image.size(), 100_010);
        let mut bytes = vec![0; 100_010];
        image.read(&mut bytes, 0);
        assert!(bytes[..600].iter().all(|b| *b == 1));
        assert!(bytes[600..100_000].iter().all(|b| *b == 0));
        assert!(bytes[100_000..].iter().all(|b| *b == 2));
    }

    #[test]
    fn a_record_cut_anywhere_or_of_another_generation_is_refused() {
        let (generation, record) = record();
        for len in (0..record.len()).step_by(83) {
            assert!(apply(&record[..len], generation, &mut Image::default()).is_err());
        }
        let longer = [record.clone(), vec![0]].concat();
        assert!(apply(&longer, generation, &mut Image::default()).is_err());
        assert!(apply(&record, Generation::new(8), &mut Image::default()).is_err());
    }
}
