use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use crate::crr::Sought;
use crate::http::auth::Operation;
use crate::http::call::{Call, answer};
use crate::http::extract;
use crate::http::problem::{Code, Problem};
use crate::sync::{Cursor, Dependencies, Replica, ResultSet, Sql, SqlError, SqlLimits, json};

/// The largest number of statements in one request.
const MAX_STATEMENTS: usize = 1000;

/// One statement, or a list of them.
struct Statements(Vec<Sql>);

impl<'de> Deserialize<'de> for Statements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StatementsVisitor)
    }
}

struct StatementsVisitor;

impl<'de> Visitor<'de> for StatementsVisitor {
    type Value = Statements;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"{"sql":"…","params":[…]}, or a list of such"#)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Statements, A::Error> {
        Sql::deserialize(MapAccessDeserializer::new(map)).map(|sql| Statements(vec![sql]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Statements, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Statements)
    }
}

/// What SQL answers.
#[derive(Serialize)]
struct Answer {
    results: Vec<ResultSet>,
    #[serde(with = "json::text")]
    at: Cursor,
    /// For those who ask: the tables that the statements read, `null` where changes do not tell what the results depend on.
    #[serde(skip_serializing_if = "Option::is_none")]
    tables: Option<Option<BTreeSet<String>>>,
    /// The rows of these tables, by their packed keys, where no others matter.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "digits")]
    rows: Option<Sought>,
}

/// The keys in hexadecimal digits.
fn digits<S: Serializer>(rows: &Option<Sought>, serializer: S) -> Result<S::Ok, S::Error> {
    let digits = |keys: &BTreeSet<Vec<u8>>| keys.iter().map(hex::encode).collect::<Vec<_>>();
    serializer.collect_map(rows.iter().flatten().map(|(table, keys)| (&**table, digits(keys))))
}

impl Answer {
    /// Names what the results depend on. Where the host chose the queries, keys may be more than they shall show.
    fn name(&mut self, dependencies: Option<Dependencies>, with_rows: bool) {
        let (tables, rows) = dependencies.map(|it| (it.tables, it.rows)).unzip();
        self.tables = Some(tables);
        self.rows = rows.flatten().filter(|_| with_rows);
    }
}

/// `exec` and `query`
pub(in crate::http) async fn handle(call: Call, body: Body) -> Result<Response, Problem> {
    // The hook judges the SQL, so the body is read first.
    let Statements(statements) = call.json(body, Code::InvalidRequest).await?;
    if statements.len() > MAX_STATEMENTS {
        return Err(Problem::new(Code::InvalidRequest, format!("a request has {MAX_STATEMENTS} statements at most")));
    }
    let texts = statements.iter().map(|statement| statement.sql.clone()).collect();
    let bounds = call.enter(Operation::Sql, texts).await?;
    // SQL writes in the name of this copy, and of any author by way of `crsql_changes`.
    let read_only = bounds.read_only || (bounds.sites.is_some() && bounds.queries.is_none());
    let statements = bounds.queries.clone().unwrap_or(statements);
    let limits = &call.settings.limits;
    let limits = SqlLimits {
        rows: limits.sql_rows,
        bytes: limits.sql_bytes,
        time: limits.sql_time,
        read_only,
        tables: bounds.tables.clone(),
    };
    let wants_tables = call.query.wants_tables()?;
    let key = extract::request_key(call.headers())?;
    let key = key.map(|key| bounds.own_key(key));
    let database = call.open().await?;
    if let Some(filters) = bounds.rows.clone() {
        // What these results depend on is more than their tables.
        let tables = wants_tables.then_some(None);
        let run = move |replica: &mut Replica| -> Result<Answer, SqlError> {
            let results = replica.sql_within(&statements, &limits, &filters)?;
            Ok(Answer { results, at: bounds.seen_at(replica.at()?), tables, rows: None })
        };
        return answer(StatusCode::OK, &database.read(run).await??);
    }
    let statements = Arc::new(statements);
    let run = |limits: SqlLimits| {
        let (key, statements, bounds) = (key.clone(), statements.clone(), bounds.clone());
        move |replica: &mut Replica| -> Result<Answer, SqlError> {
            let results = replica.sql_once(key.as_ref(), &statements, limits)?;
            let mut answer = Answer { results, at: bounds.seen_at(replica.at()?), tables: None, rows: None };
            if wants_tables {
                answer.name(replica.depends_on(&statements)?, bounds.queries.is_none());
            }
            Ok(answer)
        }
    };
    // Statements that turn out to read only wait for no write. Those under a key are told to write.
    if limits.read_only || key.is_none() {
        match database.read(run(SqlLimits { read_only: true, ..limits.clone() })).await? {
            Err(SqlError::ReadOnly { .. }) if !limits.read_only => {}
            ran => return answer(StatusCode::OK, &ran?),
        }
    }
    answer(StatusCode::OK, &database.call(run(limits)).await??)
}
