//! Updated cells: their clocks are written where they stand, by a function in an UPDATE of a run of rows.

use std::collections::BTreeMap;

use rusqlite::Connection;
use rusqlite::types::Value;

use super::super::Result;
use super::super::clock::{ColumnId, RowClock, SELF, Stamp};
use super::super::error::to_sql_error;
use super::super::functions::INNOCUOUS;
use super::super::ids::MAX_COUNTER;
use super::super::state::Shared;

/// One write of a cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct CellWrite {
    pub(super) column: ColumnId,
    pub(super) seq: i64,
}

/// What a flush is about to add to the clocks of a table's rows.
#[derive(Debug, Default)]
pub(in crate::crr) struct CellWrites {
    pub(super) version: i64,
    /// By key; each is taken when its clock is written.
    pub(super) rows: BTreeMap<i64, Vec<CellWrite>>,
}

/// Registers `crsql_add_writes(key, clock)`: the clock with the writes to the row added, while a flush writes them.
pub(in crate::crr) fn register(conn: &Connection, shared: &Shared) -> Result<()> {
    let shared = shared.clone();
    conn.create_scalar_function("crsql_add_writes", 2, INNOCUOUS, move |context| {
        let mut pending = shared.state().cell_writes.borrow_mut();
        let writes = pending.rows.remove(&context.get(0)?).unwrap_or_default();
        let record = context.get_raw(1).as_blob()?;
        let mut clock = RowClock::decode(record).map_err(to_sql_error)?;
        add_writes(&mut clock, &writes, pending.version);
        let mut record = Vec::with_capacity(record.len() + 16);
        clock.encode(&mut record);
        Ok(Value::Blob(record))
    })?;
    Ok(())
}

/// Adds local writes to a clock, in order.
pub(super) fn add_writes(clock: &mut RowClock, writes: &[CellWrite], version: i64) {
    for &CellWrite { column, seq } in writes {
        let previous = clock.get(column).map_or(0, |stamp| stamp.col_version);
        let stamp = Stamp { col_version: after(previous), local: version, site: SELF, version, seq };
        clock.set(column, stamp);
    }
}

/// The version of a cell's next write. A peer may have sent the last one there is; the cell stays writable, and among
/// writes of that version the larger value wins.
pub(super) fn after(col_version: i64) -> i64 {
    (col_version + 1).min(MAX_COUNTER)
}
