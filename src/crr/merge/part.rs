//! The changes of a batch, in an order in which those of one row stand together.

use std::cmp::Ordering;
use std::sync::Arc;

use super::super::Change;

/// Neighbours that are of one row.
pub(super) struct Part<'v> {
    /// How its key begins, which mostly tells it from others.
    begin: u64,
    pub(super) first: &'v Change,
    pub(super) changes: &'v [Change],
}

impl<'v> Part<'v> {
    pub(super) fn new(changes: &'v [Change]) -> Option<Self> {
        let first = changes.first()?;
        let begin =
            first.pk.iter().chain(std::iter::repeat(&0)).take(8).fold(0, |begin, byte| begin << 8 | u64::from(*byte));
        Some(Self { begin, first, changes })
    }

    pub(super) fn by_row(&self, other: &Self) -> Ordering {
        let (a, b) = (self.first, other.first);
        let by_table = if Arc::ptr_eq(&a.table, &b.table) { Ordering::Equal } else { a.table.cmp(&b.table) };
        by_table.then(self.begin.cmp(&other.begin)).then_with(|| a.pk.cmp(&b.pk))
    }
}

pub(super) fn is_same_table(a: &Change, b: &Change) -> bool {
    Arc::ptr_eq(&a.table, &b.table) || a.table == b.table
}

pub(super) fn is_same_row(a: &Change, b: &Change) -> bool {
    (Arc::ptr_eq(&a.pk, &b.pk) || a.pk == b.pk) && is_same_table(a, b)
}
