//! Batches as bodies and as answers.
//!
//! A batch that answers a closed range may be kept: whoever merges it later than others may claim what it covers all the
//! same, and what was overwritten since comes with a later version. So it is given a validator and a long life. It is
//! for its caller alone (`private`), since nobody but the auth hook knows what else of the request it looked at.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};

use super::call::Call;
use super::extract::{self, SITE_HEADER};
use super::media::{Form, values};
use super::problem::{Code, Problem};
use crate::sync::Batch;

/// A day: long enough for a night of retries, and what is kept grows stale, if not wrong.
const KEEP: &str = "private, max-age=86400, immutable";

/// What an answer depends on, besides its URL and what else the auth hook goes by.
const VARY: [&str; 5] = ["accept", "accept-encoding", "authorization", "cookie", SITE_HEADER];

/// The value of `vary` where the auth hook goes by `more` headers.
pub(super) fn vary(more: &[HeaderName]) -> HeaderValue {
    let names: Vec<_> = VARY.into_iter().chain(more.iter().map(HeaderName::as_str)).collect();
    // Names of headers are always a value of one. By the star, an answer depends on everything.
    HeaderValue::try_from(names.join(", ")).unwrap_or(HeaderValue::from_static("*"))
}

/// Whether an answer may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Another request may find more.
    Open,
    /// Nothing will ever have to be added to it.
    Closed,
}

impl Call {
    /// The body, which is a batch in either form.
    pub(super) async fn batch(&self, body: Body) -> Result<Batch, Problem> {
        match Form::of_body(self.headers())? {
            Form::Json => self.json(body, Code::InvalidBatch).await,
            Form::Binary => {
                let limit = self.body_limit(self.settings.limits.binary_body);
                let bytes = extract::bytes(self.headers(), body, limit).await?;
                Batch::from_binary(&bytes).map_err(|error| Problem::new(Code::InvalidBatch, error.to_string()))
            }
        }
    }

    /// A batch as the answer, in the form that the caller wants.
    pub(super) fn answer_batch(&self, batch: &Batch, freshness: Freshness) -> Result<Response, Problem> {
        let form = Form::wanted(self.headers());
        let bytes = form.encode(batch)?;
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::VARY, self.settings.vary.clone());
        if freshness == Freshness::Open {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        } else {
            let tag = tag(&bytes);
            let is_held = holds(self.headers(), &tag);
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(KEEP));
            headers.insert(header::ETAG, HeaderValue::try_from(tag).map_err(|error| Problem::internal(&error))?);
            if is_held {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                return Ok(response);
            }
        }
        self.observer.sent(batch.changes.len(), None);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
        *response.body_mut() = Body::from(bytes);
        Ok(response)
    }
}

/// A strong validator.
fn tag(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    format!("\"{}\"", hex::encode(hash.get(..16).unwrap_or_default()))
}

/// Whether the caller holds what `tag` names. A compressed answer had it as a weak one.
fn holds(headers: &HeaderMap, tag: &str) -> bool {
    values(headers, &header::IF_NONE_MATCH).any(|held| held == "*" || held.strip_prefix("W/").unwrap_or(held) == tag)
}
