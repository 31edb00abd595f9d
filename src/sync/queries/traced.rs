use rusqlite::Connection;
use rusqlite::types::Value;
use sha2::{Digest, Sha256};
use web_time::Instant;

use super::super::authorizer::Authorizer;
use super::super::error::{Error, SqlError};
use super::super::filters::{self, Filters};
use super::super::sql::Sql;
use super::evaluations::{Evaluations, Key, Run};
use super::{QueriesRequest, SubscriptionId};
use crate::crr::sort::sort;
use crate::crr::{Engine, RowId, SiteId, Trace, TraceLimits, Tracer};

/// What a single value may take at least, in bytes, however little may be answered: a row is sent also where it is larger.
const MIN_VALUE: usize = 16 << 20;

/// Running the queries of a request.
pub(super) struct Tracing<'a> {
    engine: &'a Engine,
    conn: &'a Connection,
    authorizer: &'a Authorizer,
    request: &'a QueriesRequest,
    until: Option<Instant>,
    /// Once it was needed.
    tracer: Option<Tracer<'a>>,
}

impl<'a> Tracing<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        conn: &'a Connection,
        authorizer: &'a Authorizer,
        request: &'a QueriesRequest,
    ) -> Self {
        Self { engine, conn, authorizer, request, until: Instant::now().checked_add(request.time), tracer: None }
    }

    /// The rows that the queries read, in their order.
    pub(super) fn once(&mut self) -> Result<Vec<RowId>, SqlError> {
        let mut rows = Vec::new();
        for (index, query) in self.request.queries.iter().enumerate() {
            let (read, _) = self.run(index, query, rows.len(), false)?;
            add_rows(&mut rows, read);
        }
        Ok(rows)
    }

    /// The same for a subscription, of whose queries only those are run that could read others by now.
    pub(super) fn subscribed(&mut self, known: &mut Evaluations, id: &SubscriptionId) -> Result<Vec<RowId>, SqlError> {
        let mut queries = Vec::new();
        let rows = self.evaluate(known, &mut queries);
        match &rows {
            Ok(_) => known.subscribe(id, queries),
            Err(_) => queries.into_iter().for_each(|query| known.forget_unless_held(query)),
        }
        rows
    }

    fn evaluate(&mut self, known: &mut Evaluations, queries: &mut Vec<u64>) -> Result<Vec<RowId>, SqlError> {
        let mut rows = Vec::new();
        for (index, query) in self.request.queries.iter().enumerate() {
            let of = known.of_key(key(query, self.request));
            queries.push(of);
            if let Some(read) = known.rows(of) {
                add_rows(&mut rows, read.to_vec());
                continue;
            }
            let (read, Trace { scans, is_simple, .. }) = self.run(index, query, rows.len(), true)?;
            known.set(of, Run { rows: read.clone(), scans, is_simple });
            add_rows(&mut rows, read);
        }
        Ok(rows)
    }

    /// The rows that one query reads, in their order, where `before` were read already, and what else its run noted.
    fn run(
        &mut self,
        index: usize,
        query: &Sql,
        before: usize,
        notes_scans: bool,
    ) -> Result<(Vec<RowId>, Trace), SqlError> {
        let Self { engine, conn, authorizer, request, until, tracer } = self;
        let limits = TraceLimits {
            until: *until,
            rows: request.rows.saturating_sub(before),
            value: request.most.bytes.max(MIN_VALUE),
        };
        let tracer = match tracer {
            Some(tracer) => tracer,
            none => {
                let filters = Filters::compile_all(conn, engine, authorizer, request.filters.as_ref())?;
                let reach = |table: &str| filters.reach(request.tables.as_ref(), table);
                none.insert(engine.tracer(conn, &reach).map_err(Error::from)?)
            }
        };
        let params: Vec<Value> = query.params.iter().map(|param| param.0.clone()).collect();
        let trace = tracer.trace(&query.sql, &params, limits, notes_scans);
        let mut trace = trace.map_err(|error| SqlError::traced(index + 1, error, request.time))?;
        let mut rows = Vec::new();
        for (table, keys) in std::mem::take(&mut trace.reads).into_tables() {
            rows.extend(engine.row_ids(conn, &table, &keys).map_err(Error::from)?);
        }
        sort(&mut rows);
        Ok((rows, trace))
    }
}

/// Adds rows to others, both in their order.
fn add_rows(rows: &mut Vec<RowId>, mut others: Vec<RowId>) {
    if rows.is_empty() {
        *rows = others;
        return;
    }
    rows.append(&mut others);
    sort(rows);
    rows.dedup();
}

/// What tells what a query reads from what others do.
fn key(Sql { sql, params }: &Sql, request: &QueriesRequest) -> Key {
    let mut hasher = Sha256::new();
    for part in std::iter::once(sql.clone()).chain(params.iter().map(|param| format!("{param:?}"))) {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(u64::MAX.to_le_bytes());
    let nobody = SiteId::new([0; 16]);
    hasher.update(filters::view_of(nobody, request.tables.as_ref(), request.filters.as_ref()).as_bytes());
    hasher.finalize().into()
}
