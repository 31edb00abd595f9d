//! What occurs often is written once, and has a number from then on.

use std::collections::HashMap;

/// Entries, numbered from 0 in the order of their first use.
#[derive(Default)]
pub(super) struct Dictionary(HashMap<Box<[u8]>, u64>);

impl Dictionary {
    /// The number of an entry, and whether it is new.
    pub(super) fn number(&mut self, entry: &[u8]) -> (u64, bool) {
        if let Some(number) = self.0.get(entry) {
            return (*number, false);
        }
        let number = self.0.len() as u64;
        self.0.insert(entry.into(), number);
        (number, true)
    }
}
