use std::sync::Arc;

use rusqlite::{Connection, Error};

use super::Trace;
use super::reads::Reads;
use super::scans::{Scalar, Scans, Shape};
use super::traced::Traced;

/// What a run that is under way noted so far.
#[derive(Debug, Default)]
pub(super) struct Run {
    reads: Reads,
    /// How many rows it may read yet.
    room: usize,
    /// `None` where nobody asks for them.
    scans: Option<Scans>,
    begun: usize,
    ended: usize,
}

impl Run {
    pub(super) fn new(room: usize, notes_scans: bool) -> Self {
        Self { room, scans: notes_scans.then(Scans::default), ..Self::default() }
    }

    pub(super) fn begin_scan(&mut self, table: &Arc<Traced>, shape: &Arc<Shape>, values: impl FnOnce() -> Vec<Scalar>) {
        self.begun += 1;
        if let Some(scans) = &mut self.scans {
            scans.add(table, shape, values);
        }
    }

    /// A scan came behind its last row.
    pub(super) fn end_scan(&mut self) {
        self.ended += 1;
    }

    pub(super) fn read(&mut self, table: &Arc<str>, key: i64) -> rusqlite::Result<()> {
        if self.reads.add(table, key, self.room) {
            return Ok(());
        }
        let room = self.room;
        Err(Error::ModuleError(format!("the query reads more than {room} rows")))
    }

    /// What it noted, where its query has a program of that kind.
    pub(super) fn end(self, program: Program) -> Trace {
        let scans = self.scans.unwrap_or_default();
        let is_simple = match program {
            Program::Other => false,
            // A `max` over nothing may be content with the first row that comes.
            Program::Aggregate if self.reads.is_empty() => false,
            Program::Aggregate | Program::Scan => self.begun == self.ended && scans.are_exact(),
        };
        Trace { reads: self.reads, scans, is_simple }
    }
}

/// What the program of a query is like.
pub(super) enum Program {
    /// It scans in one place. So what it asks for there depends on no row, and how often neither. It does not stop before the
    /// last row.
    Scan,
    /// The same, but that an aggregate may stop it.
    Aggregate,
    Other,
}

impl Program {
    pub(super) fn of(queries: &Connection, sql: &str) -> Self {
        let count = || -> rusqlite::Result<[usize; 3]> {
            let mut explain = queries.prepare(&format!("EXPLAIN {sql}"))?;
            let mut program = explain.raw_query();
            let [mut scans, mut limits, mut aggregates] = [0; 3];
            while let Some(step) = program.next()? {
                match step.get_ref("opcode")?.as_str()? {
                    "VFilter" => scans += 1,
                    "DecrJumpZero" => limits += 1,
                    "AggFinal" => aggregates += 1,
                    _ => {}
                }
            }
            Ok([scans, limits, aggregates])
        };
        match count() {
            Ok([1, 0, 0]) => Self::Scan,
            Ok([1, 0, _]) => Self::Aggregate,
            // What cannot be explained is run again.
            _ => Self::Other,
        }
    }
}
