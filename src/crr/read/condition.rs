//! Conditions on single changes that are checked before anything but the clock of their row is read.

use super::super::SENTINEL;
use super::super::clock::{ColumnId, Stamp};
use super::super::table::Table;

/// What a change must be like.
#[derive(Clone, Debug)]
pub(in crate::crr) enum Condition {
    /// Of this column, or a sentinel.
    Column(String),
    /// With a number after one, up to another.
    Within { counter: Counter, after: i64, until: i64 },
    /// With another number.
    Not(Counter, i64),
}

/// The numbers of a change that conditions speak of.
#[derive(Clone, Copy, Debug)]
pub(in crate::crr) enum Counter {
    ColVersion,
    CausalLength,
    Seq,
    /// The author's.
    Version,
}

impl Condition {
    /// Whether an entry of the clock of a row of `table` is such a change; `cl` is the row's causal length.
    pub(super) fn is_met(&self, table: &Table, id: ColumnId, cl: i64, stamp: &Stamp) -> bool {
        let number = |counter| match counter {
            Counter::ColVersion => stamp.col_version,
            Counter::CausalLength => cl,
            Counter::Seq => stamp.seq,
            // As it is shown: what an alteration left under version 0 is of the author's first transaction.
            Counter::Version => stamp.version.max(1),
        };
        match self {
            Self::Column(name) if id == ColumnId::SENTINEL => name == SENTINEL,
            Self::Column(name) => table.column(id).is_some_and(|(_, column)| *column.name == **name),
            Self::Within { counter, after, until } => *after < number(*counter) && number(*counter) <= *until,
            Self::Not(counter, other) => number(*counter) != *other,
        }
    }
}
