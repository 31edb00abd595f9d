//! The changes that queries need.

use std::ops::ControlFlow;
use std::time::Duration;

use rusqlite::types::Value;

use super::batch::{Batch, Protocol, SchemaHash};
use super::clock::Clock;
use super::cursor::{Cursor, Since};
use super::error::{Error, SqlError};
use super::replica::Replica;
use super::request::size_of;
use super::sql::Sql;
use super::tables::Tables;
use crate::crr::{SiteId, TraceError, Version};

/// Which queries' rows are asked for.
#[derive(Clone, Debug)]
pub struct QueriesRequest {
    /// The queries, each with its parameters.
    pub queries: Vec<Sql>,
    /// The asker: leave out what this site wrote.
    pub exclude: Option<SiteId>,
    /// The schema of the asker. One that has another is sent the text of ours.
    pub schema: Option<SchemaHash>,
    /// The only tables that may be read; `None` for all.
    pub tables: Option<Tables>,
    /// How much may be done for them.
    pub limits: QueryLimits,
}

/// What queries may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryLimits {
    /// Changes in the answer.
    pub changes: usize,
    /// Bytes of the answer, about as JSON takes them.
    pub bytes: usize,
    /// Time of all queries together.
    pub time: Duration,
}

impl Replica {
    /// All changes of every row that the queries read: whoever merges them and runs the same queries comes to the same
    /// results. Rows that only were looked at may be among them.
    ///
    /// The batch claims nothing and moves no cursor; its `next` is this copy's cursor at that time.
    pub fn changes_for_queries(&mut self, request: &QueriesRequest) -> Result<Batch, SqlError> {
        // One snapshot: what was read and its changes belong together.
        let snapshot = self.conn.savepoint().map_err(Error::from)?;
        let may_read = |name: &str| request.tables.as_ref().is_none_or(|tables| tables.contains(name));
        let tracer = self.engine.tracer(&snapshot, &may_read).map_err(Error::from)?;
        for (index, query) in request.queries.iter().enumerate() {
            let params: Vec<Value> = query.params.iter().map(|param| param.0.clone()).collect();
            tracer.trace(&query.sql, &params).map_err(|error| match error {
                TraceError::Refused(reason) => SqlError::Refused { statement: index + 1, reason },
                TraceError::Engine(error) => Error::from(error).into(),
            })?;
        }
        let (mut changes, mut bytes, mut is_full) = (Vec::new(), 0, false);
        for (table, keys) in tracer.take_reads().into_tables() {
            let mut take = |_, of_row: Vec<_>| {
                let mut wanted = of_row;
                wanted.retain(|change: &crate::crr::Change| Some(change.site) != request.exclude);
                bytes += wanted.iter().map(size_of).sum::<usize>();
                changes.append(&mut wanted);
                is_full |= changes.len() > request.limits.changes || bytes > request.limits.bytes;
                if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            self.engine.changes_of(&snapshot, &table, &keys, Version::ZERO, &mut take).map_err(Error::from)?;
        }
        if is_full {
            let reason = "the rows that the queries read are more than fit into one answer".into();
            return Err(SqlError::Refused { statement: request.queries.len(), reason });
        }
        let site = self.engine.site_id();
        let site = request.tables.as_ref().map_or(site, |tables| tables.view_of(site));
        let at = Cursor { site, version: self.engine.db_version(&snapshot).map_err(Error::from)? };
        drop(tracer);
        drop(snapshot);
        let mut batch = Batch {
            protocol: Protocol,
            from: site,
            schema: None,
            schema_text: None,
            since: None,
            start: None,
            end: None,
            covers: Clock::default(),
            partial: Vec::new(),
            more: false,
            next: Some(Since::After(at)),
            have: None,
            changes,
        };
        self.name_schema(&mut batch, request.schema.as_ref().filter(|_| request.tables.is_none()));
        Ok(batch)
    }
}
