//! A model of the stored state for tests: the three object stores as maps, each [`Write`] atomic, and a crash at any
//! named point of it.

use std::collections::BTreeMap;

use super::image::Image;
use super::log::{Limits, Log, Restore, Write};

/// Where a write is cut off, seen from its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing of it reached the disk.
    Before,
    /// Some of its requests had run; the store rolls them back.
    Within,
    /// It is on the disk, and nobody was told.
    After,
}

pub(crate) const FAULTS: [Fault; 3] = [Fault::Before, Fault::Within, Fault::After];

/// The process ended in the middle of a write.
#[derive(Debug)]
pub(crate) struct Crashed;

#[derive(Clone, Default)]
pub(crate) struct Model {
    head: Option<Vec<u8>>,
    chunks: BTreeMap<u32, Vec<u8>>,
    log: BTreeMap<u64, Vec<u8>>,
}

impl Model {
    pub(crate) fn execute(&mut self, write: &Write, image: &Image, fault: Option<Fault>) -> Result<(), Crashed> {
        if fault == Some(Fault::Before) {
            return Err(Crashed);
        }
        let mut transaction = self.clone();
        match write {
            Write::Append { generation, record } => {
                let taken = transaction.log.insert(generation.get(), record.clone());
                assert!(taken.is_none(), "a generation is written once");
            }
            Write::Checkpoint { head, chunks } => {
                for index in chunks {
                    let bytes = image.chunk(*index).expect("a stale chunk is there");
                    transaction.chunks.insert(*index, bytes.to_vec());
                }
                transaction.chunks.retain(|index, _| u64::from(*index) < head.chunks());
                transaction.head = Some(head.encode());
                transaction.log.clear();
            }
        }
        if fault == Some(Fault::Within) {
            return Err(Crashed);
        }
        *self = transaction;
        if fault == Some(Fault::After) {
            return Err(Crashed);
        }
        Ok(())
    }

    pub(crate) fn load(&self, limits: Limits) -> (Image, Log) {
        let mut restore = Restore::new(self.head.as_deref(), limits).unwrap();
        for index in 0..restore.chunks() {
            restore.chunk(self.chunks[&(index as u32)].clone()).unwrap();
        }
        for record in self.log.values() {
            restore.record(record).unwrap();
        }
        restore.finish().unwrap()
    }

    pub(crate) fn records(&self) -> usize {
        self.log.len()
    }

    pub(crate) fn raw_records(&self) -> impl Iterator<Item = &[u8]> {
        self.log.values().map(Vec::as_slice)
    }

    pub(crate) fn remove_record(&mut self, nth: usize) {
        let key = *self.log.keys().nth(nth).unwrap();
        self.log.remove(&key);
    }
}
