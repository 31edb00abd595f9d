//! SQL of somebody who may use some rows only: queries, on a connection of their own that is handed those rows and no others.
//!
//! So a filter holds wherever a statement reads a table: in joins, aggregates, sub-queries and views. What a statement computes
//! it computes there, with nothing else at hand.

use rusqlite::Statement;
use web_time::Instant;

use super::super::deadline::Deadline;
use super::super::error::{Error, SqlError};
use super::super::filters::{Filters, RowFilters};
use super::super::replica::Replica;
use super::{Failure, MIN_VALUE, ResultSet, Room, Sql, SqlLimits, run_one};
use crate::crr::TraceLimits;

impl Replica {
    /// Runs statements that only read, within `filters`: they see the rows that meet those, and no others.
    pub fn sql_within(
        &mut self,
        statements: &[Sql],
        limits: &SqlLimits,
        filters: &RowFilters,
    ) -> Result<Vec<ResultSet>, SqlError> {
        let deadline = Deadline::begin(&mut self.conn, limits.time).map_err(Error::from)?;
        let results = self.run_within(statements, limits, filters);
        let passed = deadline.end(&mut self.conn).map_err(Error::from)?;
        results.map_err(|error| error.unless_too_long(passed))
    }

    fn run_within(
        &mut self,
        statements: &[Sql],
        limits: &SqlLimits,
        filters: &RowFilters,
    ) -> Result<Vec<ResultSet>, SqlError> {
        // One snapshot, inside the caller's if there is one.
        let snapshot = self.conn.savepoint().map_err(Error::from)?;
        let filters = Filters::compile(&snapshot, &self.engine, &self.authorizer, filters)?;
        let reach = |table: &str| filters.reach(limits.tables.as_ref(), table);
        let mut tracer = self.engine.tracer(&snapshot, &reach).map_err(Error::from)?;
        let traced = TraceLimits {
            until: Instant::now().checked_add(limits.time),
            rows: usize::MAX,
            value: limits.bytes.max(MIN_VALUE),
        };
        let mut room = Room { rows: limits.rows, bytes: limits.bytes };
        let each = |(index, sql): (usize, &Sql)| {
            let look = |statement: &mut Statement<'_>| match run_one(statement, &sql.params, &mut room) {
                Ok(table) => Ok(Ok(table)),
                Err(Failure::Sqlite(error)) => Err(error),
                Err(refused) => Ok(Err(refused)),
            };
            let looked = tracer.look(&sql.sql, traced, look);
            let table = looked.map_err(|error| SqlError::traced(index + 1, error, limits.time))?;
            let (columns, rows) = table.map_err(|refused| refused.at(index + 1))?;
            Ok(ResultSet { columns, rows, changes: 0 })
        };
        statements.iter().enumerate().map(each).collect()
    }
}
