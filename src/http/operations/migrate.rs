use std::time::Duration;

use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;

use super::create::{self, Answer};
use crate::http::auth::Operation;
use crate::http::call::{Call, answer};
use crate::http::plan::Plan;
use crate::http::problem::{Code, Problem};
use crate::store;
use crate::sync::{MigrationStatus, Schema};

/// How long a migration may take. It copies tables at most; but triggers run when batches that waited for it are merged.
const MAX_TIME: Duration = Duration::from_secs(600);

#[derive(Deserialize)]
struct Body {
    schema: String,
    #[serde(default)]
    allow_destructive: Vec<String>,
}

/// `createOrMigrateDatabase`
pub(in crate::http) async fn handle(call: Call, body: axum::body::Body) -> Result<Response, Problem> {
    let bounds = call.enter(Operation::Migrate, Vec::new()).await?;
    let Body { schema, allow_destructive } = call.json(body, Code::InvalidRequest).await?;
    let schema = store::run(move || Schema::parse(&schema)).await??;
    let database = create::open(&call, &bounds).await?;
    let seen = bounds.clone();
    let migrate = move |replica: &mut crate::sync::Replica| {
        if replica.schema().map(Schema::hash) != Some(schema.hash()) {
            bounds.check_define()?;
        }
        replica
            .within(MAX_TIME, |replica| replica.create_or_migrate_database(&schema, &allow_destructive))
            .map_err(Problem::from)
    };
    let migrated = database.call(migrate).await??;
    call.attend(&database);
    let (status, text) = match migrated.status {
        MigrationStatus::Created => (StatusCode::CREATED, "created"),
        MigrationStatus::Migrated => (StatusCode::OK, "migrated"),
        MigrationStatus::Unchanged => (StatusCode::OK, "unchanged"),
    };
    let (plan, at) = (Some(Plan::from(&migrated.plan)), seen.seen_at(migrated.at));
    answer(status, &Answer { status: text, plan, site: at.site, schema: migrated.schema, at })
}
