use std::ops::ControlFlow;

use rusqlite::Connection;

use super::super::error::Error;
use super::super::request::{Page, size_of};
use super::RowName;
use crate::crr::sort::sort;
use crate::crr::{Change, Engine, RowId, SiteId, Version};

/// An answer while it is put together.
pub(super) struct Answer<'a> {
    engine: &'a Engine,
    conn: &'a Connection,
    pub(super) changes: Vec<Change>,
    bytes: usize,
    pub(super) left: Vec<RowName>,
}

impl<'a> Answer<'a> {
    pub(super) fn new(engine: &'a Engine, conn: &'a Connection) -> Self {
        Self { engine, conn, changes: Vec::new(), bytes: 0, left: Vec::new() }
    }

    /// Adds whole rows, as many as fit, and says which those are, in their order. An empty answer takes one at least.
    pub(super) fn bring(&mut self, rows: &[RowId], page: Page) -> Result<Vec<RowId>, Error> {
        let (mut taken, mut is_full) = (Vec::new(), false);
        let (changes, bytes) = (&mut self.changes, &mut self.bytes);
        self.engine.changes_of(self.conn, rows, Version::ZERO, &mut |row, is_alive, mut of_row| {
            let size: usize = of_row.iter().map(size_of).sum();
            is_full = changes.len() + of_row.len() > page.changes || *bytes + size > page.bytes;
            if is_full && !changes.is_empty() {
                return ControlFlow::Break(());
            }
            is_full = false;
            taken.push(row);
            // They were read alive.
            if is_alive {
                *bytes += size;
                changes.append(&mut of_row);
            }
            ControlFlow::Continue(())
        })?;
        if !is_full {
            return Ok(rows.to_vec());
        }
        // Rows come by their keys, which may stand in another order than their numbers.
        sort(&mut taken);
        Ok(taken)
    }

    /// Adds the changes after `since` of rows that the asker has, but for its own. False where they do not fit.
    pub(super) fn update(
        &mut self,
        rows: &[RowId],
        since: Version,
        asker: Option<SiteId>,
        page: Page,
    ) -> Result<bool, Error> {
        let mut fits = true;
        let (changes, bytes) = (&mut self.changes, &mut self.bytes);
        self.engine.changes_of(self.conn, rows, since, &mut |_, _, of_row| {
            for change in of_row.into_iter().filter(|change| Some(change.site) != asker) {
                *bytes += size_of(&change);
                changes.push(change);
            }
            fits = changes.len() <= page.changes && *bytes <= page.bytes;
            if fits { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(fits)
    }

    /// Tells of rows that the asker has and the queries do not read any more. Those that were deleted since are no rows that left.
    pub(super) fn dismiss(&mut self, rows: &[RowId]) -> Result<(), Error> {
        let (changes, left) = (&mut self.changes, &mut self.left);
        self.engine.changes_of(self.conn, rows, Version::ZERO, &mut |_, is_alive, of_row| {
            match of_row.first() {
                Some(Change { table, pk, .. }) if is_alive => {
                    left.push(RowName { table: table.clone(), pk: pk.clone() })
                }
                _ => changes.extend(of_row),
            }
            ControlFlow::Continue(())
        })?;
        Ok(())
    }
}
