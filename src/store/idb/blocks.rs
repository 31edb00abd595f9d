use std::ops::Range;

use super::image::{BLOCK, CHUNK};

/// A set of the blocks of one chunk.
#[derive(Clone, Copy)]
pub(super) struct Blocks {
    words: [u64; COUNT / 64],
    len: usize,
}

const COUNT: usize = CHUNK / BLOCK;
const _: () = assert!(COUNT.is_multiple_of(64));

impl Default for Blocks {
    fn default() -> Self {
        Self { words: [0; COUNT / 64], len: 0 }
    }
}

impl Blocks {
    /// Adds every block that a range of bytes touches.
    pub(super) fn insert(&mut self, bytes: &Range<usize>) {
        let blocks = if bytes.is_empty() { 0..0 } else { bytes.start / BLOCK..bytes.end.div_ceil(BLOCK) };
        for block in blocks {
            if let Some(word) = self.words.get_mut(block / 64) {
                let bit = 1 << (block % 64);
                self.len += usize::from(*word & bit == 0);
                *word |= bit;
            }
        }
    }

    /// Removes the blocks that begin at `byte` or later.
    pub(super) fn truncate(&mut self, byte: usize) {
        for block in byte.div_ceil(BLOCK)..COUNT {
            if let Some(word) = self.words.get_mut(block / 64) {
                let bit = 1 << (block % 64);
                self.len -= usize::from(*word & bit != 0);
                *word &= !bit;
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The runs of blocks that lie side by side, as ranges of bytes.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        let mut next = if self.is_empty() { COUNT } else { 0 };
        std::iter::from_fn(move || {
            let start = self.first_after(next, true)?;
            next = self.first_after(start, false).unwrap_or(COUNT);
            Some(start * BLOCK..next * BLOCK)
        })
    }

    /// The first block, from `at` on, that is in the set, or that is not.
    fn first_after(&self, mut at: usize, inside: bool) -> Option<usize> {
        while let Some(word) = self.words.get(at / 64) {
            let found = if inside { *word } else { !*word } >> (at % 64);
            if found != 0 {
                return Some(at + found.trailing_zeros() as usize);
            }
            at = (at / 64 + 1) * 64;
        }
        None
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
