use std::ops::Range;

use super::image::{BLOCK, CHUNK};

/// A set of the blocks of one chunk.
#[derive(Clone, Copy, Default)]
pub(super) struct Blocks([u64; COUNT / 64]);

const COUNT: usize = CHUNK / BLOCK;
const _: () = assert!(COUNT.is_multiple_of(64));

impl Blocks {
    /// Adds every block that a range of bytes touches.
    pub(super) fn insert(&mut self, bytes: &Range<usize>) {
        let blocks = if bytes.is_empty() { 0..0 } else { bytes.start / BLOCK..bytes.end.div_ceil(BLOCK) };
        for block in blocks {
            if let Some(word) = self.0.get_mut(block / 64) {
                *word |= 1 << (block % 64);
            }
        }
    }

    /// Removes the blocks that begin at `byte` or later.
    pub(super) fn truncate(&mut self, byte: usize) {
        for block in byte.div_ceil(BLOCK)..COUNT {
            if let Some(word) = self.0.get_mut(block / 64) {
                *word &= !(1 << (block % 64));
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The runs of blocks that lie side by side, as ranges of bytes.
    pub(super) fn runs(self) -> impl Iterator<Item = Range<usize>> {
        let mut next = if self.is_empty() { COUNT } else { 0 };
        std::iter::from_fn(move || {
            let start = (next..COUNT).find(|block| self.contains(*block))?;
            let end = (start..COUNT).find(|block| !self.contains(*block)).unwrap_or(COUNT);
            next = end;
            Some(start * BLOCK..end * BLOCK)
        })
    }

    fn contains(&self, block: usize) -> bool {
        self.0.get(block / 64).is_some_and(|word| word & 1 << (block % 64) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_ranges_are_one_run_and_a_run_may_cross_a_word() {
        let mut blocks = Blocks::default();
        blocks.insert(&(BLOCK - 1..BLOCK + 1));
        blocks.insert(&(60 * BLOCK..70 * BLOCK));
        blocks.insert(&(70 * BLOCK..CHUNK));
        blocks.insert(&(5000..5000));
        assert_eq!(blocks.runs().collect::<Vec<_>>(), [0..2 * BLOCK, 60 * BLOCK..CHUNK]);
        assert_eq!(blocks.len(), 2 + COUNT - 60);
    }

    #[test]
    fn a_truncation_keeps_the_block_that_it_cuts() {
        let mut blocks = Blocks::default();
        blocks.insert(&(0..CHUNK));
        blocks.truncate(100 * BLOCK + 1);
        assert_eq!((blocks.runs().next(), blocks.len()), (Some(0..101 * BLOCK), 101));
        blocks.truncate(0);
        assert!(blocks.is_empty());
    }
}
