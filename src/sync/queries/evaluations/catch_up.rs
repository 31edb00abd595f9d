//! What was written since the last look, and which queries it matters to.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::{At, Evaluation, Evaluations, Known};
use crate::crr::sort::sort;
use crate::crr::{Engine, RowId, Version};
use crate::sync::error::Error;
use crate::sync::unlogged;

/// After how many touched rows queries are run again rather than looked at row by row.
const MOST_TOUCHED: usize = 10_000;

impl Evaluations {
    /// Looks at what was committed until now.
    pub(in crate::sync::queries) fn catch_up(&mut self, engine: &Engine, conn: &Connection) -> Result<Version, Error> {
        let (schema, version) = (engine.schema_version(conn)?, engine.db_version(conn)?);
        let now = At { schema, unlogged: unlogged::times(conn)?, version };
        match self.at {
            Some(at) if at == now => return Ok(version),
            Some(at) if at.version < version && now == (At { version, ..at }) => {
                if let Err(error) = self.look(engine, conn, at.version, version) {
                    self.clear();
                    return Err(error);
                }
            }
            _ => self.clear(),
        }
        self.at = Some(now);
        Ok(version)
    }

    fn look(&mut self, engine: &Engine, conn: &Connection, since: Version, now: Version) -> Result<(), Error> {
        if self.all.is_empty() {
            return Ok(());
        }
        let touched = engine.touched(conn, since)?;
        if touched.len() > MOST_TOUCHED {
            let mut tables: Vec<i64> = touched.keys().map(|row| row.table).collect();
            tables.dedup();
            for of in tables.into_iter().flat_map(|table| self.index.of_table(table)).collect::<Vec<_>>() {
                self.make_stale(of, now);
            }
            return Ok(());
        }
        let mut moves: BTreeMap<u64, Vec<(RowId, bool)>> = BTreeMap::new();
        for (&row, &key) in &touched {
            let finding = self.index.finding(conn, row.table, key)?;
            let mut readers = BTreeSet::new();
            readers.extend(self.readers.range((row, 0)..=(row, u64::MAX)).map(|(_, of)| *of));
            for of in finding.unsure {
                self.make_stale(of, now);
            }
            let finding = finding.by;
            for &of in readers.union(&finding) {
                match self.all.get_mut(&of) {
                    Some(Evaluation { run: Known::Run(run), changed, .. }) if run.is_simple => {
                        *changed = now;
                        if readers.contains(&of) != finding.contains(&of) {
                            moves.entry(of).or_default().push((row, finding.contains(&of)));
                        }
                    }
                    _ => self.make_stale(of, now),
                }
            }
        }
        for (of, moves) in moves {
            self.move_rows(of, &moves);
        }
        self.make_room();
        Ok(())
    }

    /// Lets rows come in (true) or leave, which are in order.
    fn move_rows(&mut self, of: u64, moves: &[(RowId, bool)]) {
        let Some(Evaluation { run: Known::Run(run), .. }) = self.all.get_mut(&of) else { return };
        let before = run.rows.len();
        let stays = |row: &RowId| moves.binary_search_by(|(moved, _)| moved.cmp(row)).is_err();
        run.rows.retain(stays);
        run.rows.extend(moves.iter().filter(|(_, enters)| *enters).map(|(row, _)| *row));
        sort(&mut run.rows);
        self.weight = self.weight + run.rows.len() - before;
        for &(row, enters) in moves {
            if enters {
                self.readers.insert((row, of));
            } else {
                self.readers.remove(&(row, of));
            }
        }
    }

    fn make_stale(&mut self, of: u64, now: Version) {
        if let Some(evaluation) = self.all.get_mut(&of) {
            evaluation.changed = now;
            let run = std::mem::replace(&mut evaluation.run, Known::Stale);
            self.take_out(of, &run);
        }
    }
}
