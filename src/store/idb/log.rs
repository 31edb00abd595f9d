//! What is written, and in which form: the write-ahead log of one database and its checkpoints.
//!
//! The stored state of a database is a *head* (generation and size of the checkpointed file), the file's *chunks*, and
//! a *log*: one record for each commit after the checkpoint. A commit appends one record; a checkpoint writes the
//! stale chunks and the head and empties the log. Either is one atomic transaction of whatever stores it.
//!
//! Invariants:
//! - A [`Write`] takes the image as it is when it is prepared, which the caller does between SQLite transactions only.
//! - Writes are executed in the order in which they were prepared, one at a time. After one fails the image is ahead of
//!   what is stored, so [`Log`] and image are dropped and loaded again: what is dirty is never taken for stored.
//! - Log records have consecutive generations, the first being the head's plus one. Anything else is damage.
//!
//! Nothing here knows IndexedDB: the same code runs against a model store in the crash tests.

use super::image::{CHUNK, Image};
use super::record::{self, Damaged, Reader};

/// A durable state of the file. Each commit makes the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(u64);

impl Generation {
    pub(crate) const fn new(value: u64) -> Self {
        Self(value)
    }

    pub(crate) const fn get(self) -> u64 {
        self.0
    }

    const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// When the log is checkpointed. Short logs load fast; rare checkpoints write little.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Beyond this a checkpoint is due when there is time.
    pub(crate) due: Extent,
    /// Beyond this the next commit is written as a checkpoint, so that the log stays bounded under any load.
    pub(crate) full: Extent,
}

/// A log's length.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extent {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

impl Extent {
    fn exceeds(self, limit: Self) -> bool {
        self.records > limit.records || self.bytes > limit.bytes
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { due: Extent { records: 256, bytes: 2 << 20 }, full: Extent { records: 2048, bytes: 16 << 20 } }
    }
}

/// The checkpointed file's generation and size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) generation: Generation,
    pub(crate) size: u64,
}

/// Changes with the layout of anything stored.
const FORMAT: u32 = 1;

impl Head {
    /// The stored form: format, generation, size.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = FORMAT.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.generation.get().to_le_bytes());
        bytes.extend_from_slice(&self.size.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader(bytes);
        if reader.u32()? != FORMAT {
            return Err(Damaged::Malformed("the database was stored by another version of this software"));
        }
        let head = Self { generation: Generation::new(reader.u64()?), size: reader.u64()? };
        Ok(head)
    }

    /// How many chunks the file has.
    pub(crate) fn chunks(self) -> u64 {
        self.size.div_ceil(CHUNK as u64)
    }
}

/// One atomic transaction of the store.
#[derive(Debug)]
pub(crate) enum Write {
    /// Add one log record under this generation, which is not there yet.
    Append { generation: Generation, record: Vec<u8> },
    /// Store these chunks of the image and the head; delete the chunks past the head's and every log record.
    Checkpoint { head: Head, chunks: Vec<u32> },
}

impl Write {
    /// The state that is durable once the write is.
    pub(crate) fn generation(&self) -> Generation {
        match self {
            Self::Append { generation, .. } => *generation,
            Self::Checkpoint { head, .. } => head.generation,
        }
    }
}

/// Decides on the form of each write.
pub(crate) struct Log {
    prepared: Generation,
    length: Extent,
    limits: Limits,
}

impl Log {
    /// The generation of the image as SQLite sees it now.
    pub(crate) fn current(&self, image: &Image) -> Generation {
        if image.is_dirty() { self.prepared.next() } else { self.prepared }
    }

    /// The write that makes everything dirty durable, or `None` when nothing is.
    pub(crate) fn prepare(&mut self, image: &mut Image) -> Option<Write> {
        let generation = self.current(image);
        if generation == self.prepared {
            return None;
        }
        let with_this =
            Extent { records: self.length.records + 1, bytes: self.length.bytes.saturating_add(image.dirty_bytes()) };
        if with_this.exceeds(self.limits.full) {
            return Some(self.checkpoint(image));
        }
        let record = record::encode(generation, image);
        self.length = with_this;
        self.prepared = generation;
        image.mark_recorded();
        Some(Write::Append { generation, record })
    }

    /// Whether the log is worth emptying.
    pub(crate) fn is_checkpoint_due(&self) -> bool {
        self.length.exceeds(self.limits.due)
    }

    /// The write that empties the log, with everything dirty in it.
    pub(crate) fn checkpoint(&mut self, image: &mut Image) -> Write {
        let head = Head { generation: self.current(image), size: image.size() };
        let chunks = image.stale_chunks();
        self.length = Extent::default();
        self.prepared = head.generation;
        image.mark_stored();
        Write::Checkpoint { head, chunks }
    }
}

/// Builds image and log from what is stored: first the head, then its chunks in order, then the log in order.
pub(crate) struct Restore {
    head: Head,
    image: Image,
    log: Log,
}

impl Restore {
    /// Starts from the stored head; none is stored before the first checkpoint.
    pub(crate) fn new(head: Option<&[u8]>, limits: Limits) -> Result<Self, Damaged> {
        let head = head.map(Head::decode).transpose()?.unwrap_or_default();
        Ok(Self {
            head,
            image: Image::default(),
            log: Log { prepared: head.generation, length: Extent::default(), limits },
        })
    }

    /// How many chunks have to be given.
    pub(crate) fn chunks(&self) -> u64 {
        self.head.chunks()
    }

    /// Takes the next chunk. It may be longer than the file now is, where the file shrank without touching it.
    pub(crate) fn chunk(&mut self, mut bytes: Vec<u8>) -> Result<(), Damaged> {
        let expected = (self.head.size - self.image.size()).min(CHUNK as u64) as usize;
        if expected == 0 || bytes.len() < expected {
            return Err(Damaged::Malformed("a stored chunk has the wrong length"));
        }
        bytes.truncate(expected);
        self.image.push_stored(bytes)?;
        Ok(())
    }

    /// Applies the next log record.
    pub(crate) fn record(&mut self, record: &[u8]) -> Result<(), Damaged> {
        if self.image.size() != self.head.size && self.log.length.records == 0 {
            return Err(Damaged::Malformed("a stored chunk is missing"));
        }
        let generation = self.log.prepared.next();
        record::apply(record, generation, &mut self.image)?;
        self.image.mark_recorded();
        self.log.prepared = generation;
        self.log.length.records += 1;
        self.log.length.bytes += record.len();
        Ok(())
    }

    /// The image of the newest durable state.
    pub(crate) fn finish(self) -> Result<(Image, Log), Damaged> {
        if self.log.length.records == 0 && self.image.size() != self.head.size {
            return Err(Damaged::Malformed("a stored chunk is missing"));
        }
        Ok((self.image, self.log))
    }
}

#[cfg(test)]
mod tests;
