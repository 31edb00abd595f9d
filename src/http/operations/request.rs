use std::sync::Arc;

use axum::response::Response;
use serde::Deserialize;

use crate::crr::{SiteId, Version};
use crate::http::auth::{Bounds, Operation};
use crate::http::batches::Freshness;
use crate::http::call::Call;
use crate::http::extract;
use crate::http::problem::{Code, Problem};
use crate::sync::{self, Batch, Clock, Cursor, Page, Piece, Replica, SchemaHash, Since, VersionsRequest, Wanted, json};

/// A request by cursor, or, with `versions`, `all_but` or `pieces`, by versions.
#[derive(Deserialize)]
struct Body {
    #[serde(default, with = "json::optional_text")]
    since: Option<Since>,
    #[serde(default, with = "json::optional_text")]
    until: Option<Cursor>,
    #[serde(default, with = "json::optional_text")]
    exclude: Option<SiteId>,
    known: Option<Clock>,
    versions: Option<Clock>,
    all_but: Option<Clock>,
    pieces: Option<Vec<Piece>>,
    schema: Option<SchemaHash>,
    limit: Option<usize>,
}

/// What a body asks for.
enum Asked {
    ByCursor(sync::Request),
    ByVersions(VersionsRequest),
}

/// `requestChanges`
pub(in crate::http) async fn handle(call: Call, body: axum::body::Body) -> Result<Response, Problem> {
    let bounds = call.enter(Operation::RequestChanges, Vec::new()).await?;
    bounds.check_unfiltered()?;
    let body: Body = call.json(body, Code::InvalidRequest).await?;
    let page = call.settings.limits.page(extract::limit(body.limit)?);
    let asked = body.asked(call.site, page, &bounds)?;
    let database = call.open().await?;
    let batch = database.read(move |replica| asked.answer(replica)).await??;
    call.answer_batch(&batch, Freshness::Open)
}

impl Body {
    fn asked(self, caller: Option<SiteId>, page: Page, bounds: &Bounds) -> Result<Asked, Problem> {
        let exclude = self.exclude.or(caller);
        let Some(wanted) = self.wanted()? else {
            return Ok(Asked::ByCursor(sync::Request {
                since: self.since.unwrap_or(Since::Beginning),
                until: self.until,
                exclude,
                known: self.known.map(Arc::new),
                schema: self.schema,
                tables: bounds.tables.clone(),
                page,
            }));
        };
        // What is asked for by name is whole transactions.
        bounds.check_whole()?;
        if self.until.is_some() || self.known.is_some() {
            return Err(invalid("`until` and `known` are of requests by cursor; by versions, say `all_but`"));
        }
        Ok(Asked::ByVersions(VersionsRequest {
            wanted,
            pieces: self.pieces.unwrap_or_default(),
            since: self.since.and_then(completed),
            exclude,
            schema: self.schema,
            page,
        }))
    }

    /// The transactions that are asked for by name.
    fn wanted(&self) -> Result<Option<Wanted>, Problem> {
        match (&self.versions, &self.all_but) {
            (Some(_), Some(_)) => Err(invalid("`versions` and `all_but` exclude each other")),
            (Some(versions), None) => Ok(Some(Wanted::Versions(versions.clone()))),
            (None, Some(known)) => Ok(Some(Wanted::AllBut(known.clone()))),
            (None, None) => Ok(self.pieces.as_ref().map(|_| Wanted::Versions(Clock::default()))),
        }
    }
}

impl Asked {
    fn answer(&self, replica: &mut Replica) -> Result<Batch, Problem> {
        match self {
            Self::ByCursor(request) => Ok(replica.request_changes(request)?),
            Self::ByVersions(request) => Ok(replica.request_versions(request)?),
        }
    }
}

/// The cursor of the versions that are held whole.
fn completed(since: Since) -> Option<Cursor> {
    match since {
        Since::Beginning => None,
        Since::After(cursor) => Some(cursor),
        Since::Within(place) => {
            let version = Version::or_zero(place.cursor.version.get() - 1).ok()?;
            Some(Cursor { version, ..place.cursor })
        }
    }
}

fn invalid(reason: &str) -> Problem {
    Problem::new(Code::InvalidRequest, reason)
}
