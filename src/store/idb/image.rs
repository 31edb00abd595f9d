//! The database file in memory: what SQLite reads and writes, and which parts of it are not stored yet.
//!
//! Invariants:
//! - Bytes at or past the size are zero, so a file that shrinks and grows again shows no old bytes.
//! - A block whose bytes differ from the newest log record's view of it is dirty.
//! - A chunk whose bytes differ from the stored chunk of the same number is stale.
//!
//! Blocks are much smaller than SQLite's pages on purpose: an insert changes some fifteen places of a few bytes, and what goes
//! to the log takes time. In blocks of 64 bytes a row's record has 1.7 kB, in ones of 512 it had 7.3.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use super::blocks::Blocks;

/// The unit of the stored image. Record count dominates IndexedDB's cost: a file loads three times faster in chunks of
/// this size than in ones of 64 KiB, and many times faster than by pages.
pub(crate) const CHUNK: usize = 256 * 1024;
/// The unit of the log.
pub(crate) const BLOCK: usize = 64;

/// There is no memory left for the file.
#[derive(Debug, thiserror::Error)]
#[error("no memory left for the database file")]
pub(crate) struct OutOfMemory;

struct Chunk {
    /// Always [`CHUNK`] bytes. Shared with snapshots, and copied before it is changed while one has it.
    bytes: Rc<Box<[u8]>>,
    dirty: Blocks,
    stale: bool,
}

/// The bytes of one database file.
#[derive(Default)]
pub(crate) struct Image {
    chunks: Vec<Chunk>,
    size: u64,
    /// The size in the newest log record.
    recorded_size: u64,
}

impl Image {
    /// Takes over stored chunks, in order. Each but the last is [`CHUNK`] bytes long.
    pub(crate) fn push_stored(&mut self, mut bytes: Vec<u8>) -> Result<(), OutOfMemory> {
        self.size = self.chunks.len() as u64 * CHUNK as u64 + bytes.len() as u64;
        self.recorded_size = self.size;
        bytes.try_reserve_exact(CHUNK.saturating_sub(bytes.len())).map_err(|_| OutOfMemory)?;
        bytes.resize(CHUNK, 0);
        self.chunks.push(Chunk::new(bytes, false));
        Ok(())
    }

    /// The length of the file.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Copies what the file has from `offset` on; the count falls short only at its end.
    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let available = self.size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let mut done = 0;
        for (index, range) in pieces(offset, available) {
            let len = range.len();
            if let (Some(chunk), Some(target)) =
                (self.chunks.get(index), buffer.get_mut(done..).and_then(|rest| rest.get_mut(..len)))
                && let Some(source) = chunk.bytes.get(range)
            {
                target.copy_from_slice(source);
            }
            done += len;
        }
        available
    }

    /// Writes at `offset`, growing the file as needed; a gap is filled with zeros. On an error nothing changed.
    pub(crate) fn write(&mut self, bytes: &[u8], offset: u64) -> Result<(), OutOfMemory> {
        let end = offset.checked_add(bytes.len() as u64).ok_or(OutOfMemory)?;
        for (index, _) in pieces(offset, bytes.len()) {
            self.chunks.get_mut(index).map_or(Ok(()), Chunk::own)?;
        }
        if end > self.size {
            self.set_size(end)?;
        }
        let mut rest = bytes;
        for (index, range) in pieces(offset, bytes.len()) {
            let (piece, after) = rest.split_at(range.len());
            rest = after;
            if let Some(chunk) = self.chunks.get_mut(index) {
                chunk.write(piece, range);
            }
        }
        Ok(())
    }

    /// Cuts or extends the file. New bytes are zero, and dirty.
    pub(crate) fn set_size(&mut self, size: u64) -> Result<(), OutOfMemory> {
        let count = usize::try_from(size.div_ceil(CHUNK as u64)).map_err(|_| OutOfMemory)?;
        if size < self.size {
            if let Some(last) = count.checked_sub(1) {
                self.chunks.get_mut(last).map_or(Ok(()), Chunk::own)?;
            }
            self.chunks.truncate(count);
            self.clear_tail(size);
        } else {
            self.grow(count)?;
            self.mark_dirty(self.size..size);
        }
        self.size = size;
        Ok(())
    }

    fn grow(&mut self, count: usize) -> Result<(), OutOfMemory> {
        let before = self.chunks.len();
        self.chunks.try_reserve(count.saturating_sub(before)).map_err(|_| OutOfMemory)?;
        while self.chunks.len() < count {
            let mut bytes = Vec::new();
            if bytes.try_reserve_exact(CHUNK).is_err() {
                self.chunks.truncate(before);
                return Err(OutOfMemory);
            }
            bytes.resize(CHUNK, 0);
            self.chunks.push(Chunk::new(bytes, true));
        }
        Ok(())
    }

    /// Zeroes what the last chunk holds past `size`, and forgets that it was dirty.
    fn clear_tail(&mut self, size: u64) {
        let used = (size % CHUNK as u64) as usize;
        if used != 0
            && let Some(chunk) = self.chunks.last_mut()
        {
            if let Some(tail) = Rc::get_mut(&mut chunk.bytes).and_then(|bytes| bytes.get_mut(used..)) {
                tail.fill(0);
            }
            chunk.dirty.truncate(used);
        }
    }

    fn mark_dirty(&mut self, range: Range<u64>) {
        for (index, range) in pieces(range.start, (range.end - range.start) as usize) {
            if let Some(chunk) = self.chunks.get_mut(index) {
                chunk.dirty.insert(&range);
            }
        }
    }

    /// Whether anything changed since the newest log record.
    pub(crate) fn is_dirty(&self) -> bool {
        self.size != self.recorded_size || self.chunks.iter().any(|chunk| !chunk.dirty.is_empty())
    }

    /// How many bytes changed since the newest log record, in whole blocks.
    pub(crate) fn dirty_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.dirty.len() * BLOCK).sum()
    }

    /// The changed parts, joined where they touch within a chunk and cut at the end of the file: offset and bytes.
    pub(crate) fn dirty_extents(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.chunks.iter().enumerate().flat_map(move |(index, chunk)| {
            let start = index as u64 * CHUNK as u64;
            let used = (self.size - start).min(CHUNK as u64) as usize;
            chunk.dirty.runs().filter_map(move |run| {
                let run = run.start..run.end.min(used);
                Some((start + run.start as u64, chunk.bytes.get(run)?))
            })
        })
    }

    /// Nothing is dirty any more; what was has made its chunks stale.
    pub(crate) fn mark_recorded(&mut self) {
        for chunk in &mut self.chunks {
            chunk.stale |= !chunk.dirty.is_empty();
            chunk.dirty = Blocks::default();
        }
        self.recorded_size = self.size;
    }

    /// The numbers of the chunks that differ from the stored ones.
    pub(crate) fn stale_chunks(&self) -> Vec<u32> {
        let stale = |(index, chunk): (usize, &Chunk)| (chunk.stale || !chunk.dirty.is_empty()).then_some(index as u32);
        self.chunks.iter().enumerate().filter_map(stale).collect()
    }

    /// The bytes of one chunk, cut at the end of the file.
    pub(crate) fn chunk(&self, index: u32) -> Option<&[u8]> {
        let start = u64::from(index) * CHUNK as u64;
        let used = self.size.saturating_sub(start).min(CHUNK as u64) as usize;
        self.chunks.get(index as usize)?.bytes.get(..used)
    }

    /// The file as it is now, whatever is written later.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { left: self.size, chunks: self.chunks.iter().map(|chunk| Rc::clone(&chunk.bytes)).collect() }
    }

    /// Nothing is dirty or stale any more.
    pub(crate) fn mark_stored(&mut self) {
        for chunk in &mut self.chunks {
            chunk.dirty = Blocks::default();
            chunk.stale = false;
        }
        self.recorded_size = self.size;
    }
}

/// The bytes of a file at one moment, chunk by chunk. A chunk takes memory of its own from when it is changed on.
pub(crate) struct Snapshot {
    left: u64,
    chunks: VecDeque<Rc<Box<[u8]>>>,
}

impl Snapshot {
    /// How many bytes are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// The next bytes, until none are left.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        let chunk = self.chunks.pop_front()?;
        let used = self.left.min(CHUNK as u64);
        self.left -= used;
        Some(chunk.get(..used as usize)?.to_vec())
    }
}

impl Chunk {
    fn new(bytes: Vec<u8>, stale: bool) -> Self {
        Self { bytes: Rc::new(bytes.into_boxed_slice()), dirty: Blocks::default(), stale }
    }

    /// Makes a copy of bytes that a snapshot has too, so that they can be changed.
    fn own(&mut self) -> Result<(), OutOfMemory> {
        if Rc::get_mut(&mut self.bytes).is_none() {
            let mut copy = Vec::new();
            copy.try_reserve_exact(CHUNK).map_err(|_| OutOfMemory)?;
            copy.extend_from_slice(&self.bytes);
            self.bytes = Rc::new(copy.into_boxed_slice());
        }
        Ok(())
    }

    /// Writes within the chunk, whose bytes are [its own](Self::own). A block that gets the bytes it had stays clean:
    /// SQLite writes whole pages.
    fn write(&mut self, bytes: &[u8], range: Range<usize>) {
        let Some(own) = Rc::get_mut(&mut self.bytes) else { return };
        let mut rest = bytes;
        let mut at = range.start;
        while !rest.is_empty() {
            let len = (BLOCK - at % BLOCK).min(rest.len());
            let (piece, after) = rest.split_at(len);
            if let Some(target) = own.get_mut(at..at + len)
                && target != piece
            {
                target.copy_from_slice(piece);
                self.dirty.insert(&(at..at + len));
            }
            rest = after;
            at += len;
        }
    }
}

/// Splits `len` bytes at `offset` at chunk bounds: chunk number and range within it.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let mut index = (offset / CHUNK as u64) as usize;
    let mut start = (offset % CHUNK as u64) as usize;
    let mut left = len;
    std::iter::from_fn(move || {
        let len = left.min(CHUNK - start);
        let piece = (index, start..start + len);
        left -= len;
        index += 1;
        start = 0;
        (len > 0).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(image: &Image) -> Vec<(u64, usize)> {
        image.dirty_extents().map(|(o, b)| (o, b.len())).collect()
    }

    /// Where the block of a byte begins.
    fn begin(byte: usize) -> usize {
        byte / BLOCK * BLOCK
    }

    #[test]
    fn a_page_written_again_with_one_byte_changed_dirties_one_block() {
        let mut image = Image::default();
        image.write(&[1; 8192], 8192).unwrap();
        image.mark_recorded();
        let mut page = [1; 8192];
        page[5000] = 2;
        image.write(&page, 8192).unwrap();
        assert_eq!(extents(&image), [(begin(8192 + 5000) as u64, BLOCK)]);
    }

    #[test]
    fn a_file_that_shrinks_and_grows_again_shows_no_old_bytes() {
        let mut image = Image::default();
        image.write(&[7; 3 * CHUNK], 0).unwrap();
        image.mark_recorded();
        image.set_size(700).unwrap();
        assert!(image.is_dirty(), "a change of size alone has to be stored");
        image.write(&[9], 2 * CHUNK as u64).unwrap();
        let mut bytes = vec![1; 2 * CHUNK + 10];
        assert_eq!(image.read(&mut bytes, 0), 2 * CHUNK + 1);
        assert!(bytes[..700].iter().all(|b| *b == 7));
        assert!(bytes[700..2 * CHUNK].iter().all(|b| *b == 0));
        assert_eq!(bytes[2 * CHUNK], 9);
        assert_eq!(
            extents(&image),
            [(begin(700) as u64, CHUNK - begin(700)), (CHUNK as u64, CHUNK), (2 * CHUNK as u64, 1)]
        );
    }

    #[test]
    fn an_offset_that_no_memory_can_hold_is_refused_and_changes_nothing() {
        let mut image = Image::default();
        image.write(&[1], 0).unwrap();
        image.mark_recorded();
        assert!(image.write(&[1], u64::MAX).is_err());
        assert!(image.write(&[1], 1 << 60).is_err());
        assert_eq!(image.size(), 1);
        assert!(!image.is_dirty());
    }

    #[test]
    fn a_changed_chunk_stays_stale_until_it_is_stored() {
        let mut image = Image::default();
        image.write(&[1; 2 * CHUNK], 0).unwrap();
        image.mark_stored();
        image.write(&[2], CHUNK as u64).unwrap();
        assert_eq!(image.stale_chunks(), [1]);
        image.mark_recorded();
        assert_eq!(image.stale_chunks(), [1]);
        image.mark_stored();
        assert!(image.stale_chunks().is_empty());
    }
    #[test]
    fn a_snapshot_stays_as_it_was() {
        let mut image = Image::default();
        image.write(&[1; CHUNK + 5], 0).unwrap();
        let mut snapshot = image.snapshot();
        image.write(&[2; 10], 3).unwrap();
        image.set_size(CHUNK as u64 - 7).unwrap();
        assert_eq!(snapshot.left(), CHUNK as u64 + 5);
        assert_eq!(snapshot.next(), Some(vec![1; CHUNK]));
        assert_eq!(snapshot.next(), Some(vec![1; 5]));
        assert_eq!(snapshot.next(), None);
        let mut bytes = [0; 13];
        image.read(&mut bytes, 0);
        assert_eq!(bytes, [1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]);
    }
}
