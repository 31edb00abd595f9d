use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::http::app::Settings;
use crate::http::auth::Operation;
use crate::http::call::{Call, answer};
use crate::http::problem::{Code, Problem};
use crate::sync::{Cursor, ResultSet, Sql, SqlError, SqlLimits, json};

/// The largest number of statements in one request.
const MAX_STATEMENTS: usize = 1000;

/// One statement, or a list of them.
#[derive(Deserialize)]
#[serde(untagged, expecting = "{\"sql\":\"…\",\"params\":[…]}, or a list of such")]
enum Body {
    List(Vec<Sql>),
    One(Sql),
}

/// What SQL answers.
#[derive(Serialize)]
struct Answer {
    results: Vec<ResultSet>,
    #[serde(with = "json::text")]
    at: Cursor,
}

/// `exec` and `query`
pub(in crate::http) async fn handle(State(settings): State<Settings>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let call = Call::new(settings, parts).await?;
    // The hook judges the SQL, so the body is read first.
    let statements = match call.json(body, Code::InvalidRequest).await? {
        Body::List(statements) => statements,
        Body::One(statement) => vec![statement],
    };
    if statements.len() > MAX_STATEMENTS {
        return Err(Problem::new(Code::InvalidRequest, format!("a request has {MAX_STATEMENTS} statements at most")));
    }
    let texts = statements.iter().map(|statement| statement.sql.clone()).collect();
    let bounds = call.enter(Operation::Sql, texts).await?;
    let limits = &call.settings.limits;
    let limits = SqlLimits {
        rows: limits.sql_rows,
        bytes: limits.sql_bytes,
        time: limits.sql_time,
        read_only: bounds.read_only,
    };
    let database = call.open().await?;
    let run = move |replica: &mut crate::sync::Replica| -> Result<Answer, SqlError> {
        let results = replica.sql(&statements, limits)?;
        Ok(Answer { results, at: replica.at()? })
    };
    answer(StatusCode::OK, &database.call(run).await??)
}
