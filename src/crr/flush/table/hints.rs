//! Rows that a write is about to replace.

use std::collections::HashMap;

use super::super::super::journal::Journal;
use super::super::super::table::TableId;

/// The rows that are about to be replaced, by the primary key of the write that will, and by their keys.
#[derive(Default)]
pub(super) struct Hints {
    by_pk: HashMap<Vec<u8>, i64>,
    by_key: HashMap<i64, Vec<u8>>,
}

impl Hints {
    pub(super) fn add(&mut self, pk: Vec<u8>, key: i64) {
        self.forget(key);
        self.by_pk.insert(pk.clone(), key);
        self.by_key.insert(key, pk);
    }

    pub(super) fn take(&mut self, pk: &[u8]) -> Option<i64> {
        let key = self.by_pk.remove(pk)?;
        self.by_key.remove(&key);
        Some(key)
    }

    /// Leaves what was not used to the next flush: this one may have come in the middle of a statement.
    pub(super) fn keep(self, journal: &mut Journal, table: TableId) {
        for (pk, key) in self.by_pk {
            journal.push_hint(table, key, pk);
        }
    }

    /// The row with `key` is gone, so no later write can be replacing it.
    pub(super) fn forget(&mut self, key: i64) {
        if let Some(pk) = self.by_key.remove(&key) {
            self.by_pk.remove(&pk);
        }
    }
}
